"""The grammar all panels share: status, slow work, keys, exports, and an end."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from pathlib import Path

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
import pytest
import sae_nb_widgets as sw
import traitlets as t
from sae_nb_widgets.panel._pages import descendants, record_rows
from sae_nb_widgets.panel._theming import figure_widget

from tests.widgets.made import Held, Page

HOSTILE = '<script>alert("x")</script>'


@dataclass(frozen=True)
class Record:
    atom: int
    name: str
    strengths: np.ndarray


class Example(sw.Panel):
    question = "Is 1 < 2 & 3?"
    explanation = ("It shows numbers.", "It cannot show why.", "Ours.")
    stem = "example"

    def __init__(self) -> None:
        super().__init__(chips={"SAE": HOSTILE})
        figure = go.Figure(go.Bar(x=[1, 2, 3], y=[3.0, 1.0, 2.0], hovertext=[HOSTILE] * 3))
        self.grid, self.strip, self.bars = sw.PictureGrid(), sw.TokenStrip(), sw.Sparkbars()
        self.grid.show(np.zeros((2, 3, 4, 4), np.uint8), heat=np.ones((2, 2, 2), np.float32))
        self.strip.show([[HOSTILE, " cat"]])
        self.bars.show([HOSTILE], [0.5])
        self.arrange(
            controls=[ipw.Text(description="search")],
            figure=[figure_widget(figure), self.grid, self.strip],
            detail=[self.bars],
            more=[ipw.Checkbox()],
        )

    @property
    def record(self) -> Record:
        return Record(17, HOSTILE, np.array([1.0, 0.5]))


@pytest.fixture
def panel():
    made = Example()
    return made


@pytest.mark.slow
def test_an_error_becomes_one_sentence_and_a_logged_traceback(panel, caplog) -> None:
    """Escaped on screen, whole in the log; the panel lives on."""
    with caplog.at_level(logging.ERROR, logger="sae_nb_widgets"):
        panel.run_async(lambda: [][3], lambda _: None, doing=f"steering {HOSTILE}")
        panel.wait()
    assert panel.problem
    assert "<script>" not in panel._frame.status_line.value
    assert "IndexError" in caplog.text
    assert "Traceback" in caplog.text
    panel.say("fine again")
    assert not panel.problem


def test_an_error_while_drawing_is_reported_too(panel, caplog) -> None:
    panel.run_async(lambda: 1, lambda answer: answer.nothing, doing="drawing")
    panel.wait()
    assert panel.problem
    assert "no attribute 'nothing'" in panel.status
    with panel.guarded("clicking"):
        raise ValueError("no\nsuch\n  thing")


def test_one_figure_widget_and_a_menu_that_opens_what_it_has(panel) -> None:
    """The FigureWidget is found among what is arranged; files and help are in the menu of every panel."""
    assert sum(isinstance(w, go.FigureWidget) for w in descendants(panel)) == 1
    assert panel._frame.menu.layout.display == panel._frame.more.layout.display == "none"
    panel._frame.more_button.value = True
    assert panel._frame.menu.layout.display is panel._frame.more.layout.display is None
    words = [w.description for w in descendants(panel._frame.menu) if isinstance(w, ipw.Button)]
    assert {"⤓ html", "⤓ png"} <= set(words)
    plain = sw.Panel()
    plain.arrange()
    plain._frame.more_button.value = True
    assert plain._frame.more.layout.display == plain._frame.detail.layout.display == "none"
    assert plain._frame.menu.layout.display is None


def test_a_page_has_a_margin_where_something_stands_in_it(panel, tmp_path) -> None:
    """An empty one was a bordered stub below the text."""
    plain = Example()
    plain.arrange(figure=[plain.strip])
    pages = [
        Page(one.to_html(tmp_path / f"{n}.html").read_text())
        for n, one in enumerate((panel, plain))
    ]
    margins = [
        sum("sae-nb-detail" in (a.get("class") or "") for _, a in page.tags) for page in pages
    ]
    assert margins == [1, 0]


def test_keys_call_their_action_and_unknown_ones_nothing(panel) -> None:
    """What the browser sends is what `press` does; a failing action is reported."""
    pressed: list[str] = []
    panel.bind_key("ArrowRight", lambda: pressed.append("→"))
    panel.bind_key("Escape", lambda: pressed[99])
    panel._frame.keys._handle_custom_msg({"kind": "key", "key": "ArrowRight"}, [])
    panel._frame.keys._handle_custom_msg({"kind": "key", "key": "x"}, [])
    panel._frame.keys._handle_custom_msg("nonsense", [])
    assert pressed == ["→"]
    panel.press("Escape")
    assert panel.problem
    assert panel._frame.keys.answered == ["ArrowRight", "Escape"]


@pytest.mark.slow
def test_shared_script_lies_beside_the_pages_once(panel, tmp_path) -> None:
    first = panel.to_html(tmp_path / "a.html", share_script=True)
    stamp = (tmp_path / "plotly.min.js").stat().st_mtime_ns
    panel.to_html(tmp_path / "b.html", share_script=True)
    assert (tmp_path / "plotly.min.js").stat().st_mtime_ns == stamp
    assert first.stat().st_size < 100_000
    sources = [
        a["src"] for tag, a in Page(first.read_text()).tags if tag == "script" and "src" in a
    ]
    assert sources == ["plotly.min.js"]
    (tmp_path / "plotly.min.js").write_text("cut short")
    panel.to_html(tmp_path / "b.html", share_script=True)
    assert (tmp_path / "plotly.min.js").stat().st_size > 1_000_000


def test_a_failed_export_leaves_the_old_page(panel, tmp_path, monkeypatch) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")

    def full_disk(self: Path, content: bytes) -> int:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space"):
        panel.to_html(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_buttons_write_where_the_panel_is_told_to(panel, tmp_path) -> None:
    """And say so; a folder that cannot be written is a sentence, not a crash."""
    panel.export_folder = str(tmp_path)
    panel.export("png")
    assert (tmp_path / "example.png").read_bytes().startswith(b"\x89PNG")
    assert "example.png" in panel.status
    (tmp_path / "file").write_text("")
    panel.export_folder = str(tmp_path / "file")
    panel.export("html")
    assert panel.problem


def test_a_file_that_was_written_can_be_clicked_and_no_other_is_given_out(panel, tmp_path) -> None:
    """The link asks for what was written last; until something was, there is nothing to ask for."""
    sent: list[object] = []
    panel._frame.keys.send = lambda content, buffers=None: sent.append((content, buffers))
    panel._key_message(None, {"kind": "file", "path": "/etc/passwd"}, None)
    assert sent == []
    panel.export_folder = str(tmp_path)
    panel.export("png")
    assert "data-file" in panel._frame.status_line.value
    panel._key_message(None, {"kind": "file", "path": "/etc/passwd"}, None)
    written = (tmp_path / "example.png").read_bytes()
    assert sent == [({"kind": "file", "type": "image/png"}, [written])]
    panel.say("Something else.")
    assert "data-file" not in panel._frame.status_line.value


def test_records_become_tables_of_short_text() -> None:
    """Fields of a dataclass; long arrays are summarised; None is left out."""
    rows = dict(record_rows({"a": None, "b": np.arange(99.0), "c": [1, 2], "d": {"x": 1.5}}))
    assert rows == {"b": "99 numbers from 0 to 98.0", "c": "1, 2", "d": "x: 1.50"}
    assert dict(record_rows(Record(17, "n", np.array([1.0]))))["atom"] == "17"


def test_an_answer_after_close_changes_nothing() -> None:
    panel = Example()
    work, drawn = Held(1), []
    before = set(threading.enumerate())
    panel.run_async(work, drawn.append)
    assert work.begun.wait(10)
    (thread,) = (t for t in threading.enumerate() if t not in before and t.name == "sae_nb main")
    panel.close()
    work.go.set()
    thread.join(10)
    assert drawn == []
    assert not thread.is_alive()


class Remembering(sw.Panel):
    stem = "remembering"
    kept_traits = ("atom", "picked", "share")
    atom = t.Int(0)
    picked = t.Any(None)
    share = t.Float(0.5)

    @t.validate("atom")
    def _exists(self, proposal: t.Bunch) -> int:
        if proposal["value"] > 9:
            raise t.TraitError("`atom` must be below 10.")
        return int(proposal["value"])


def test_state_comes_back_by_way_of_json() -> None:
    """Tuples, numpy numbers and sets survive; what a state does not name stays as it was."""
    panel, other = Remembering(), Remembering()
    panel.atom, panel.picked, panel.share = 7, (np.int64(3), 4), float(np.float32(0.25))
    state = json.loads(json.dumps(panel.state()))
    assert state == {"atom": 7, "picked": [3, 4], "share": 0.25}
    other.restore(state)
    assert (other.atom, other.picked, other.share) == (7, (3, 4), 0.25)
    other.restore({"share": 0.75})
    assert (other.atom, other.share) == (7, 0.75)


def test_a_state_of_something_else_is_refused() -> None:
    """Unknown names are named, before anything changes; an impossible value stays a trait error."""
    panel = Remembering()
    with pytest.raises(ValueError, match=r"atom, picked, share.*got colour, size"):
        panel.restore({"atom": 3, "colour": 1, "size": 2})
    assert panel.atom == 0
    with pytest.raises(t.TraitError, match="below 10"):
        panel.restore({"atom": 12})
    assert sw.Panel().state() == {}
