"""CurvePanel: the walk is steering along the curve, the chord a push; the dial, the table and keys are one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.components._html_drawing import html_drawing

import sae_nb as sn
from sae_nb.figures.shapes import Label
from sae_nb.figures.theme import WARM

POINT, TEXT = "resid_post.0", "3 + 4 ="


@pytest.fixture(scope="module")
def adder() -> Any:
    return sn.load_model("tiny-modular")


@pytest.fixture(scope="module")
def curve(adder: Any) -> sn.geometry.Curve:
    """The sums of tiny-modular, which adds modulo 53."""
    sums = [total for total in range(53) for _ in range(2)]
    texts = [f"{a} + {(total - a) % 53} =" for total, a in zip(sums, 53 * [5, 20], strict=True)]
    acts = sn.capture(adder, texts, POINT, positions="last", drop_first=False, progress=False)
    return sn.geometry.curve(acts, sums, closed=True, period=53, n_shuffled=1)


@pytest.fixture
def panel(adder: Any, curve: Any) -> Iterator[sw.CurvePanel]:
    made = sw.CurvePanel(adder, POINT, curve, TEXT, by=20, noun="sums")
    made.wait(60)
    yield made
    made.close()


def walked(adder: Any, curve: Any, by: float) -> Any:
    panel = sw.CurvePanel(adder, POINT, curve, TEXT, by=by)
    panel.wait(60)
    panel.close()
    return panel.record


class AroundACircle:
    """An SAE of eight atoms around the widest circle of the sums."""

    hook_point, model_name, n_atoms = POINT, "tiny-modular", 8

    def __init__(self, states: torch.Tensor) -> None:
        self.mean = states.mean(dim=0)
        plane = torch.linalg.svd(states - self.mean, full_matrices=False).Vh[:2]
        at = torch.arange(8) * torch.pi / 4
        self.dictionary, self.d_in = (
            torch.stack([at.cos(), at.sin()], dim=1) @ plane,
            len(self.mean),
        )

    def encode(self, acts: Any) -> sn.SparseCodes:
        near = (getattr(acts, "x", acts) - self.mean) @ self.dictionary.T
        return sn.SparseCodes.from_dense((near - 0.6 * near.amax(dim=1, keepdim=True)).clamp_min(0))


def test_a_found_ring_is_walked(adder: Any) -> None:
    """From its row, without a coordinate: the sums lie on it, and the walk passes others of them."""
    texts = [f"{a} + {(total - a) % 53} =" for total in range(53) for a in (2, 9, 20, 31, 44)]
    acts = sn.capture(adder, texts, POINT, positions="last", drop_first=False, progress=False)
    found = sn.geometry.find_shapes(AroundACircle(acts.x.float()), acts, groups=[np.arange(8)])
    assert found.kind == ("ring",)
    panel = sw.CurvePanel(adder, POINT, found.curve(0, acts), TEXT, by=0.5)
    panel.wait(60)
    walk = panel.record
    assert walk is not None
    assert len(set(walk.path.argmax(axis=1))) > 2
    assert len({row[0] for row in panel.table.cells}) == len(walk.places)
    panel.close()


def test_a_walk_is_what_steering_along_the_curve_gives(adder: Any, curve: Any) -> None:
    """Every step of the path, its end by the chord, and the middle of the chord by hand."""
    walk = walked(adder, curve, 6.0)
    assert walk.start == pytest.approx(7, abs=0.2)
    for i, by in enumerate(np.linspace(0, 6, 7)):
        with sn.steer(adder, POINT, curve=curve, by=float(by), positions="last"):
            steered = adder([TEXT])[0, -1].double().softmax(dim=-1)
        np.testing.assert_allclose(walk.path[i], steered.detach(), atol=1e-3)
    np.testing.assert_allclose(walk.chord[-1], walk.path[-1], atol=1e-5)
    np.testing.assert_allclose(walk.path[0], walk.before, atol=1e-5)
    push = curve.at(walk.start + 6) - curve.at(walk.start)
    with sn.steer(adder, POINT, direction=push, by=0.5, positions="last"):
        half = adder([TEXT])[0, -1].double().softmax(dim=-1)
    np.testing.assert_allclose(walk.chord[3], half.detach(), atol=1e-4)


def test_the_model_reads_the_sums_on_the_path_and_not_on_the_chord(panel: sw.CurvePanel) -> None:
    """From 7 to 27: 20 of 21 steps and more are called by their place, of the chord few."""
    names = [str(round(u)) for u in panel.record.places]
    along, chord = (
        [panel.model.tokenizer.decode([row.argmax()]).strip() for row in rows]
        for rows in (panel.record.path, panel.record.chord)
    )
    assert sum(a == b for a, b in zip(along, names, strict=True)) >= 19
    assert sum(a == b for a, b in zip(chord, names, strict=True)) <= 10
    assert panel.step not in (0, panel.n_steps)  # opens where they differ
    panel.walking = True
    assert "on the chord" in panel.answer


def test_dial_table_and_keys_choose_the_same_step(panel: sw.CurvePanel) -> None:
    panel.dial.value = 3
    assert (panel.step, panel.table.selected) == (3, 3)
    panel.table.selected = 5
    assert (panel.step, panel.dial.value) == (5, 5)
    panel._go(1)
    assert panel.step == 6
    panel.fold.value = True
    here = panel.plot.data[-1]
    assert len(here.x) == 2
    assert np.isfinite(np.asarray(here.x, float)).all()


def test_it_opens_on_hidden_sums_and_the_walk_is_behind_one_button(panel: sw.CurvePanel) -> None:
    """What is drawn is the reading; a page has the walk folded, and the title in both views."""
    assert panel.headline == "Along the ring, the model answers all 26 left-out sums"
    assert panel.where == ("tiny-modular", "after block 0", "“3 + 4 =” → “7”")
    drawn = {trace.name: trace for trace in panel.plot.data}
    on_curve = drawn["left-out sums, on the ring"]
    np.testing.assert_array_equal(on_curve.x, panel.reading.hidden)
    np.testing.assert_array_equal(on_curve.y, panel.reading.hidden)
    assert "<details><summary>walk along it" in panel.static_main()
    assert "26 of 26" in panel.counts.value
    # Every left-out sum is filled: it is read right.
    assert panel.ring.value.count(f'r="7.0" fill="{WARM}"') == len(panel.reading.hidden) == 26
    # In a picture without a browser its words, and not a swatch for each of its points.
    kinds = {type(stroke) for stroke in html_drawing(panel.ring.value, 300).strokes}
    assert kinds == {Label}
    panel.walking = True
    assert panel.ring.value == ""
    assert {trace.name for trace in panel.plot.data} >= {"along the curve", "chord", "the dial"}
    assert panel.headline.startswith("Along the ring")
    assert "<details>" not in panel.static_main()
    panel.walking = False
    assert "26 times" in panel.answer


def test_a_curve_of_few_values_shows_its_walk_and_says_that_nothing_can_be_hidden(
    adder: Any,
) -> None:
    u = torch.arange(5.0)
    rows = u[:, None] * torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    few = sn.geometry.curve(rows, u.tolist(), n_shuffled=1)
    panel = sw.CurvePanel(adder, POINT, few, TEXT, names=[f"<{'n' * 80}{i}>" for i in range(5)])
    panel.wait(60)
    assert panel.headline == "5 values are too few to hide some of them"
    assert panel.walking
    assert panel.answer.startswith("At ")
    panel.close()


def test_another_end_is_another_walk_and_too_far_is_refused(panel: sw.CurvePanel) -> None:
    panel.by = -4
    panel.wait(60)
    assert (panel.n_steps, len(panel.table.cells)) == (4, 5)
    assert panel.table.cells[-1][:2] == ["3", "“3”"]
    for wrong in (27, float("nan")):
        with pytest.raises(t.TraitError, match="between -26.5 and 26.5"):
            panel.by = wrong
    panel.text = " "
    panel.wait(60)
    assert panel.status == "Type what the model should read."


def test_an_open_curve_ends_at_its_ends_and_values_have_names(adder: Any) -> None:
    u = torch.arange(5.0)
    rows = torch.stack([u, u**2 / 4], dim=1) @ torch.randn(
        2, 64, generator=torch.Generator().manual_seed(0)
    )
    found = sn.geometry.curve(rows, u.tolist(), n_shuffled=1)
    walk = walked(adder, found, 4.0)
    assert walk.places.min() >= 0
    assert walk.places.max() <= 4
    with pytest.raises(ValueError, match="must have one for each of 5 values"):
        sw.CurvePanel(adder, POINT, found, TEXT, names=["a"])
