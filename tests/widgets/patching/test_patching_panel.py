"""Promises of the PatchingPanel: the map is `patch`'s, a cell has its numbers, every control asks anew, newest wins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw

import sae_nb as sn

CLEAN, CORRUPTED = "One day she went home and", "One day he went home and"
ASKED = (" her", " his")


@cache
def induction() -> Any:
    return sn.load_model("tiny-induction")


@pytest.fixture
def panel() -> Iterator[sw.PatchingPanel]:
    made = sw.PatchingPanel(induction())
    made.n_pairs, made.sites = 8, "heads"
    made.wait(60)
    yield made
    made.close()


def test_the_map_is_that_of_patch(panel: sw.PatchingPanel) -> None:
    """The last layer on top; grey within nineteen controls; the first cell is that of the known circuit."""
    assert panel.template == "induction"
    pairs = sn.data.prompt_pairs("induction", 8, model=induction())
    by_hand = sn.circuits.patch(
        induction(),
        list(pairs.clean),
        list(pairs.corrupted),
        pairs.answers,
        "heads",
        n_controls=19,
        progress=False,
    )
    assert np.allclose(panel.grid.tints, by_hand.effect[::-1], atol=1e-5)
    assert panel.found.n_controls == 19
    low, high = by_hand.controls.min(axis=0).clip(max=0), by_hand.controls.max(axis=0).clip(min=0)
    inside = (low <= by_hand.effect) & (by_hand.effect <= high)
    assert panel.grid.quiet == inside[::-1].tolist()
    assert panel.grid.rows == ["1", "0"]
    assert (panel.row, panel.column) == (0, 2)
    assert f"correlation {by_hand.agreement:.3f}".replace("-", "−") in panel._score.value


def test_a_cell_has_its_numbers(panel: sw.PatchingPanel) -> None:
    """By click, key, list or trait; both maps and the list follow."""
    panel.grid.selected = (0, 3)
    assert (panel.row, panel.column) == (1, 3)
    bars = panel._detail_view.bars
    found = panel.found
    by_chance = [np.corrcoef(found.estimated.ravel(), one.ravel())[0, 1] for one in found.controls]
    beside = ["estimated"] if found.agreement > max(by_chance) else []
    assert bars.labels == ["measured", *beside, "control, least", "control, most"]
    ends = [float(end(found.controls[:, 1, 3])) for end in (np.min, np.max)]
    shown = dict(zip(bars.labels, bars.values, strict=True))
    assert shown["measured"] == pytest.approx(float(found.effect[1, 3]))
    assert [shown["control, least"], shown["control, most"]] == pytest.approx(
        [min(ends[0], 0), max(ends[1], 0)]
    )
    panel._detail_view.largest.selected = 0
    assert (panel.row, panel.column) == (0, 2)
    panel.press("ArrowUp")
    panel.press("ArrowRight")
    assert (panel.row, panel.column) == (1, 3)
    assert "Head 1.3" in panel._detail_view.place.value


def test_every_control_asks_again(panel: sw.PatchingPanel) -> None:
    """Method, direction, places, heads by position: the map is what they name."""
    panel.method = "attribution"
    panel.wait(60)
    assert panel.found.method == "attribution"
    panel.method, panel.direction, panel.sites = "exact", "noise", "heads_by_position"
    panel.wait(60)
    assert (panel.found.method, panel.found.direction) == ("exact", "noise")
    assert "taken away" in panel.grid.description
    panel.heads = "0.2, 1.3"
    panel.wait(60)
    assert panel.found.rows == ("0.2", "1.3")
    panel.control = panel.clean
    panel.wait(60)
    assert panel.found.control_source == "another input"
    panel.sites = "resid"
    panel.wait(60)


def test_a_typed_text_leaves_the_template(panel: sw.PatchingPanel) -> None:
    """Its answers are the model's own where none are given; a template fills the fields again."""
    with panel.hold_trait_notifications():
        panel.clean, panel.corrupted = "a b q c d r a", "c b q a d r a"
        panel.target = panel.other = ""
    panel.wait(60)
    assert panel.template == ""
    assert not panel.problem, panel.status
    assert panel.found.n_pairs == 1
    panel.template = "induction"
    panel.wait(60)
    assert panel.clean.split()[-1] in "abcdefghijklmnopqrstuvwxyz"
    assert panel.found.n_pairs == 8


def test_stop_keeps_the_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact measurement ends at the next layer; the next request is measured in full."""
    from sae_nb_widgets import patching

    asking = patching._panel  # type: ignore[attr-defined]
    answered, begun = asking.answered, threading.Event()
    waiting = threading.Event()

    def slow(model: Any, sae: Any, ask: Any, method: str, n_controls: int, callback: Any) -> Any:
        if method == "exact" and not waiting.is_set():
            begun.set()
            waiting.wait(30)
        return answered(model, sae, ask, method, n_controls, callback)

    monkeypatch.setattr(asking, "answered", slow)
    panel = sw.PatchingPanel(induction())
    assert begun.wait(30)
    assert panel.controls.stop.layout.display is None
    panel.press("Escape")
    waiting.set()
    panel.wait(60)
    assert panel.found.method == "attribution"
    assert panel.status.startswith("Stopped")
    assert panel.controls.stop.layout.display == "none"
    panel.sites = "heads"
    panel.wait(60)
    assert panel.found.method == "exact"
    panel.close()


def test_atoms_are_places_too() -> None:
    """The largest of an SAE, exactly and by attribution, next to others at random."""
    gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    panel = sw.PatchingPanel(gpt, CLEAN, CORRUPTED, ASKED, sae=sae)
    panel.sites = "atoms"
    panel.wait(60)
    found = sn.circuits.patch_atoms(gpt, sae, CLEAN, CORRUPTED, target=ASKED)
    assert panel.grid.rows == [f"atom {atom}" for atom in found.chosen[::-1]]
    assert np.allclose(np.ravel(panel.grid.tints), found.measured[found.chosen[::-1]], atol=1e-4)
    assert not panel.problem, panel.status
    panel.close()


def test_a_map_alone_is_shown(tmp_path: Path) -> None:
    """As `patch` found it, without a model; the page has its numbers, and needs no script."""
    gpt = sn.load_model("tiny-gpt")
    found = sn.circuits.patch(gpt, CLEAN, CORRUPTED, ASKED, progress=False)
    panel = sw.PatchingPanel(found)
    assert panel.found is found
    assert "“she”" in panel.headline or "“and”" in panel.headline
    assert np.allclose(panel.grid.tints, found.effect.T, atol=1e-6)
    panel.grid.selected = (2, 1)
    assert (panel.row, panel.column) == (1, 2)
    page = panel.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "sae-nb-shares" in page
    assert f"{found.effect.max():.2f}" in page
    panel.close()
