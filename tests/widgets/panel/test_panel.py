"""The grammar all panels share: status, slow work, keys, exports, and an end."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
import pytest
import sae_nb_widgets as sw
import traitlets as t
from sae_nb_widgets.panel import descendants, figure_widget
from sae_nb_widgets.panel._exporting import record_rows
from sae_nb_widgets.panel._glossary import words_in

from sae_nb.figures import escape
from tests.widgets.made import Held, Page

HOSTILE = '<script>alert("x")</script>'


@dataclass(frozen=True)
class Record:
    """What the panel below draws."""

    atom: int
    name: str
    strengths: np.ndarray


class Example(sw.Panel):
    """A panel with everything: a figure, pictures, tokens, bars."""

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
        """Numbers behind the figure."""
        return Record(17, HOSTILE, np.array([1.0, 0.5]))


@pytest.fixture
def panel():
    """A panel that is closed afterwards."""
    made = Example()
    return made


# --- status and slow work -----------------------------------------------------------------------


def test_an_error_becomes_one_sentence_and_a_logged_traceback(panel, caplog) -> None:
    """Escaped on screen, whole in the log; the panel lives on."""
    with caplog.at_level(logging.ERROR, logger="sae_nb_widgets"):
        panel.run_async(lambda: [][3], lambda _: None, doing=f"steering {HOSTILE}")
        panel.wait()
    assert panel.problem
    assert panel.status == f"steering {HOSTILE}: list index out of range"
    assert "<script>" not in panel._status_line.value
    assert "IndexError" in caplog.text
    assert "Traceback" in caplog.text
    panel.say("fine again")
    assert not panel.problem


def test_an_error_while_drawing_is_reported_too(panel, caplog) -> None:
    """A callback never dies silently."""
    panel.run_async(lambda: 1, lambda answer: answer.nothing, doing="drawing")
    panel.wait()
    assert panel.problem
    assert "no attribute 'nothing'" in panel.status
    with panel.guarded("clicking"):
        raise ValueError("no\nsuch\n  thing")
    assert panel.status == "clicking: no such thing"


def test_busy_shows_while_work_runs(panel) -> None:
    """A spinner with a name, gone afterwards."""
    work = Held()
    panel.run_async(work, lambda _: None, doing="looking")
    assert work.begun.wait(10)
    assert panel.busy
    assert panel.status == "looking …"
    assert 'aria-label="working"' in panel._status_line.value
    work.go.set()
    panel.wait()
    assert not panel.busy
    assert "…" not in panel.status  # nothing, or how long it took where the machine was slow


def test_what_done_says_stays(panel) -> None:
    """The panel's own sentence is not replaced by a duration."""
    panel.run_async(lambda: 3, lambda answer: panel.say(f"found {answer}"), doing="counting")
    panel.wait()
    assert panel.status == "found 3"


# --- layout and keys ------------------------------------------------------------------------------


def test_one_figure_widget_and_a_menu_that_opens_what_it_has(panel) -> None:
    """The FigureWidget is found among what is arranged; files and help are in the menu of every panel."""
    assert sum(isinstance(w, go.FigureWidget) for w in descendants(panel)) == 1
    assert panel._menu.layout.display == panel._more.layout.display == "none"
    panel._more_button.value = True
    assert panel._menu.layout.display is panel._more.layout.display is None
    words = [w.description for w in descendants(panel._menu) if isinstance(w, ipw.Button)]
    assert {"⤓ html", "⤓ png"} <= set(words)
    plain = sw.Panel()
    plain.arrange()
    plain._more_button.value = True
    assert plain._more.layout.display == plain._detail.layout.display == "none"
    assert plain._menu.layout.display is None


def test_controls_are_one_row_that_ends_in_the_primary_button(panel) -> None:
    """There is at most one; a row that another view shows is left out; tools come with the menu."""
    search, main, tool = ipw.Text(description="search"), ipw.Button(description="go"), ipw.HTML("t")
    panel.arrange(controls=[search], primary=main)
    assert panel._controls.children == (search, main)
    assert "sae-nb-primary" in main._dom_classes
    panel.leave_out_controls()
    panel.tuck_away(tool)
    assert panel._controls.layout.display == tool.layout.display == "none"
    panel._more_button.value = True
    assert tool.layout.display is None


def test_where_title_and_confidence_follow_their_traits(panel, tmp_path) -> None:
    """Model and place of the facts, then the panel's own words; all are data, on screen and on the page."""
    panel.chips = {"model": HOSTILE, "hook point": "resid_post.6"}
    assert "after block 6" in panel._title.value
    assert escape(panel.question) in panel._title.value
    panel.where, panel.headline = ("SmolLM2", HOSTILE, "atom 3"), HOSTILE
    panel.sure, panel.sure_words = 3, f"Finds {HOSTILE}"
    page = panel.to_html(tmp_path / "page.html").read_text()
    for html in (panel._title.value, page):
        assert "<script>alert" not in html
        assert "after block 6" not in html
        assert html.count("<i></i>") == 3
        assert html.count("sae-nb-off></i>") == 1
        assert escape(f"Finds {HOSTILE}") in html
        assert "atom 3" in html
    assert escape(panel.question) in panel._about.value
    with pytest.raises(t.TraitError):
        panel.sure = 5


def test_words_that_change_are_bold_and_stay_words(panel, tmp_path) -> None:
    """Only those given; atoms in the rest of the sentence keep their cards."""
    panel.conclude(f"Atom 3 makes it say groom & {HOSTILE}.", bold=["groom", HOSTILE])
    page = panel.to_html(tmp_path / "page.html").read_text()
    for html in (panel._answer_text.value, page):
        assert "<b>groom</b>" in html
        assert f"<b>{escape(HOSTILE)}</b>" in html
        assert 'data-atom="3"' in html
    panel.conclude("Nothing changed: groom.")
    assert "<b>" not in panel._answer_text.value


def test_keys_call_their_action_and_unknown_ones_nothing(panel) -> None:
    """What the browser sends is what `press` does; a failing action is reported."""
    pressed: list[str] = []
    panel.bind_key("ArrowRight", lambda: pressed.append("→"))
    panel.bind_key("Escape", lambda: pressed[99])
    panel._keys._handle_custom_msg({"kind": "key", "key": "ArrowRight"}, [])
    panel._keys._handle_custom_msg({"kind": "key", "key": "x"}, [])
    panel._keys._handle_custom_msg("nonsense", [])
    assert pressed == ["→"]
    panel.press("Escape")
    assert panel.problem
    assert panel._keys.answered == ["ArrowRight", "Escape"]


def test_synchronised_traits_keep_clear_of_those_of_ipywidgets() -> None:
    """A widget without its module and name cannot be opened by a browser."""
    for component in (sw.PictureGrid, sw.TokenStrip, sw.Sparkbars, type(sw.Panel()._keys)):
        state = component().get_state()
        assert state["_model_module"] == "anywidget"
        assert state["_esm"]


def test_help_is_three_sentences_and_the_words_that_are_used(panel) -> None:
    """What it shows, what it cannot show, the paper; then what its words mean."""
    panel._help_button.value = True
    assert panel._help.layout.display is None
    assert panel._help.value.count("<p>") == 4
    panel.bind_key("ArrowLeft", lambda: None)
    panel._toggle_help(True)
    assert "<kbd>←</kbd> back" in panel._help.value
    assert "<b>SAE</b>: sparse autoencoder" in panel._help.value


def test_chips_are_escaped_and_follow_the_trait(panel) -> None:
    """A model's name is data."""
    assert "<script>" not in panel._about.value
    panel.chips = {"R²": "0.912"}
    assert "0.912" in panel._about.value


# --- exports --------------------------------------------------------------------------------------


def test_page_is_one_file_that_needs_nothing_else(panel, tmp_path) -> None:
    """Script inside, no address outside, figure and detail and table there."""
    path = panel.to_html(tmp_path / "page.html")
    page = Page(path.read_text())
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe"}
        for name in ("src", "href"):
            assert not (attributes.get(name) or "data:").startswith(("http", "//", "/", "file"))
    assert len(max(page.scripts, key=len)) > 1_000_000
    assert any("Plotly.newPlot" in script for script in page.scripts)
    assert "The controls need a running kernel" in page.text
    assert "strengths" in page.text
    assert list(tmp_path.iterdir()) == [path]


def test_hostile_text_is_inert_in_the_page(panel, tmp_path) -> None:
    """Tokens, labels, chips, hover texts, records: no script but plotly's and the figure's."""
    text = panel.to_html(tmp_path / "page.html", share_script=True).read_text()
    page = Page(text)
    assert "alert(" not in "".join(page.scripts).replace("\\u003cscript\\u003ealert(", "")
    assert HOSTILE not in text
    assert HOSTILE in page.text
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]


def test_shared_script_lies_beside_the_pages_once(panel, tmp_path) -> None:
    """Ten pages, one script of 5 MB."""
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


def test_without_script_the_same_figure_is_there(panel, tmp_path) -> None:
    """A drawing with one rectangle per bar inside <noscript>."""
    text = panel.to_html(tmp_path / "page.html", share_script=True).read_text()
    still = text.split("<noscript>")[1].split("</noscript>")[0]
    assert still.count("<rect") == 3
    assert "<svg" in still


def test_a_failed_export_leaves_the_old_page(panel, tmp_path, monkeypatch) -> None:
    """Nothing partial under the final name, nothing temporary left."""
    path = tmp_path / "page.html"
    path.write_text("old")

    def full_disk(self: Path, content: bytes) -> int:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space"):
        panel.to_html(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_not_a_file(panel, tmp_path) -> None:
    """Rule, given, do."""
    with pytest.raises(ValueError, match="`path` must name a file"):
        panel.to_html(tmp_path)


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


def test_words_of_the_field_are_explained_where_they_stand(panel, tmp_path) -> None:
    """Under "help", on the fact behind "about", and on the exported page; others are left out."""
    panel.chips = {"R²": "0.9", "logits": "<b>"}
    panel._toggle_help(True)
    page = panel.to_html(tmp_path / "page.html").read_text()
    for text in (panel._help.value, page):
        assert "<b>R²</b>: share of the variance" in text
        assert "<b>logit</b>: the score of an answer" in text
        assert "<b>cls</b>" not in text
    assert "R²: 0.9 (share of the variance" in panel._about.value
    assert words_in(["class registers", "KL-free"]).keys() == {"register", "KL"}


def test_a_file_that_was_written_can_be_clicked_and_no_other_is_given_out(panel, tmp_path) -> None:
    """The link asks for what was written last; until something was, there is nothing to ask for."""
    sent: list[object] = []
    panel._keys.send = lambda content, buffers=None: sent.append((content, buffers))
    panel._key_message(None, {"kind": "file", "path": "/etc/passwd"}, None)
    assert sent == []
    panel.export_folder = str(tmp_path)
    panel.export("png")
    assert "data-file" in panel._status_line.value
    panel._key_message(None, {"kind": "file", "path": "/etc/passwd"}, None)
    written = (tmp_path / "example.png").read_bytes()
    assert sent == [({"kind": "file", "type": "image/png"}, [written])]
    panel.say("Something else.")
    assert "data-file" not in panel._status_line.value


def test_a_panel_without_a_figure_still_has_a_picture() -> None:
    """Its question, its answer and what is on it."""
    plain = sw.Panel(chips={"atoms": "16"})
    plain.conclude("Three of them fire.", numbers="KL 0.2")
    plain.arrange(detail=[ipw.HTML("<p>beside <b>it</b></p>")])
    svg = plain.to_svg()
    for words in (plain.question, "atoms 16", "Three of them fire.", "KL 0.2", ">beside<", ">it<"):
        assert words in svg


def test_records_become_tables_of_short_text() -> None:
    """Fields of a dataclass; long arrays are summarised; None is left out."""
    rows = dict(record_rows({"a": None, "b": np.arange(99.0), "c": [1, 2], "d": {"x": 1.5}}))
    assert rows == {"b": "99 numbers from 0 to 98.0", "c": "1, 2", "d": "x: 1.50"}
    assert dict(record_rows(Record(17, "n", np.array([1.0]))))["atom"] == "17"


def test_what_the_repr_of_a_record_leaves_out_is_not_in_its_table() -> None:
    """What a record keeps to compute with means nothing to a reader."""

    @dataclass
    class Kept:
        shown: int
        kept: object = field(repr=False)

    assert record_rows({"nested": Kept(1, object())}) == [("nested", "shown 1")]


# --- the end --------------------------------------------------------------------------------------


def test_an_answer_after_close_changes_nothing() -> None:
    """The thread ends; nobody is told."""
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


class Watched:
    """A lock that says when another thread comes to it."""

    def __init__(self) -> None:
        self.lock, self.wanted, self.owner = threading.RLock(), threading.Event(), None

    def __enter__(self) -> None:
        if threading.current_thread() is not self.owner:
            self.wanted.set()
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


@pytest.mark.parametrize("fails", [False, True])
def test_an_answer_on_its_way_to_the_screen_finds_a_closed_panel(fails: bool) -> None:
    """Neither it nor an error is shown once the panel is closed."""
    panel, drawn = Example(), []
    panel._drawing = held = Watched()
    held.owner = threading.current_thread()
    before = set(threading.enumerate())
    with held:
        panel.run_async(lambda: 1 / 0 if fails else 1, drawn.append)
        new = set(threading.enumerate()) - before
        (thread,) = (one for one in new if one.name == "sae_nb main")
        assert held.wanted.wait(10)
        panel.close()
    thread.join(10)
    assert drawn == []
    assert not panel.problem


def test_what_is_forgotten_leaves_no_sentence(panel) -> None:
    """The status line does not go on saying that something is under way."""
    work = Held()
    panel.run_async(work, lambda _: None, doing="counting", channel="numbers")
    assert work.begun.wait(10)
    assert panel.status == "counting …"
    panel.forget_async("numbers")
    assert panel.status == ""
    panel.run_async(work, lambda _: None, doing="counting", channel="numbers")
    panel.say("something else")
    panel.forget_async("numbers")
    assert panel.status == "something else"
    work.go.set()
    panel.wait()


def test_repr_is_short(panel) -> None:
    """A panel in a list prints a line, not its state."""
    assert len(repr(panel)) < 100


class Remembering(sw.Panel):
    """A panel with state of every kind."""

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
