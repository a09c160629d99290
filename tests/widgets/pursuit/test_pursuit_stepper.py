"""PursuitStepper: every control is a trait, the picture is the record, playing ends and leaks nothing."""

from __future__ import annotations

import re
import threading
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from sae_nb_widgets.components._atom_card import png_address
from sae_nb_widgets.pursuit._detail import GOAL_TITLE, picture
from sae_nb_widgets.pursuit._figure import (
    IN_CODE,
    NOW,
    SELECTED,
    START,
    TRACES_PER_ALGORITHM,
    strongest_atoms,
)

import sae_nb as sn
from sae_nb.architectures import sparse_code, summarise_pursuit
from tests.widgets.made import soon

DATA = sn.data.planted_dictionary(60, 25, 4, 4, coherence=0.3, noise=0.02, seed=3)
PICTURES = DATA.x.relu()


@pytest.fixture
def panel() -> sw.PursuitStepper:
    made = sw.PursuitStepper(DATA.x, DATA.dictionary, k=6)
    made.wait()
    assert not made.problem, made.status
    return made


def trace(made: sw.PursuitStepper, which: int, algorithm: int = 0) -> Any:
    return made.current_figure().data[TRACES_PER_ALGORITHM * algorithm + which]


def players() -> int:
    return sum(one.name == "sae_nb player" and one.is_alive() for one in threading.enumerate())


def test_chosen_atoms_always_have_a_bar() -> None:
    """However few bars there are, the atoms of either algorithm are among them."""
    both = [summarise_pursuit(DATA.x, DATA.dictionary, name, k=6) for name in ("mp", "omp")]
    chosen = {atom for one in both for atom in one.chosen.tolist()}
    shown = strongest_atoms(both, most=len(chosen) + 2)
    assert chosen < set(shown.tolist())
    assert len(shown) == len(chosen) + 2


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [0, 1])
def test_bars_are_the_correlations_of_the_step(panel: sw.PursuitStepper, algorithm: int) -> None:
    record, shown = panel.steps[algorithm], panel.figure.shown[algorithm]
    for step in (0, 3, 6, 2, 0):
        panel.step = step
        np.testing.assert_array_equal(
            trace(panel, NOW, algorithm).y, record.correlations_at(step)[shown]
        )
        np.testing.assert_array_equal(
            trace(panel, START, algorithm).y, record.correlations[0][shown]
        )
        used, _ = record.code_at(step)
        assert set(shown[np.asarray(trace(panel, IN_CODE, algorithm).x, int)]) == set(used.tolist())


@pytest.mark.slow
def test_norms_are_those_of_the_trace(panel: sw.PursuitStepper) -> None:
    """The curves on the right hold the share of ‖x‖² left at every step, and a click goes there."""
    for i, one in enumerate(panel.steps):
        np.testing.assert_allclose(
            panel.chosen.norms.values(i)[: one.n_steps + 1],
            100 * (one.residual_norms / one.residual_norms[0]) ** 2,
            rtol=1e-4,
        )
    panel.chosen.norms.selected = 4
    assert panel.step == 4
    assert panel.chosen.norms.cursor == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [("row", 3), ("k", 3), ("nonnegative", False), ("algorithm_a", "gp"), ("algorithm_b", "ista")],
)
def test_trait_runs_the_algorithm_anew(panel: sw.PursuitStepper, name: str, value: Any) -> None:
    setattr(panel, name, value)
    panel.wait()
    assert not panel.problem, panel.status
    asked = {"row": panel.row, "nonnegative": panel.nonnegative}
    for one, algorithm in zip(panel.steps, panel.algorithms):
        fresh = summarise_pursuit(DATA.x, DATA.dictionary, algorithm, k=panel.k, **asked)
        # Not to the bit: with or without the Gram matrix is for each call to plan.
        np.testing.assert_allclose(one.correlations, fresh.correlations, rtol=1e-5, atol=1e-5)
    assert name not in ("row", "nonnegative") or getattr(panel.steps[0], name) == value


@pytest.mark.slow
def test_two_dictionaries_step_together() -> None:
    """The second column uses the other dictionary; without naming algorithms both are MP."""
    other = torch.nn.functional.normalize(torch.randn(30, 25), dim=1)
    panel = sw.PursuitStepper(DATA.x, DATA.dictionary, other_dictionary=other, k=5)
    panel.wait()
    assert panel.algorithms == ("mp", "mp")
    assert [one.n_atoms for one in panel.steps] == [60, 30]
    expected = sn.matching_pursuit(DATA.x[:1], other, 5).to_dense()[0]
    shown = panel.steps[1].dense_code_at(5, np.arange(30))
    np.testing.assert_allclose(shown, expected, atol=1e-6)


@pytest.mark.slow
def test_keys_step_play_and_clear(panel: sw.PursuitStepper) -> None:
    """→ ← go on and back and stop at the ends; space plays; Escape unmarks the atom."""
    panel.step = 0
    panel.press("ArrowLeft")
    assert panel.step == 0
    panel.press("ArrowRight")
    panel.press("ArrowRight")
    panel.press("ArrowLeft")
    assert panel.step == 1
    panel.press("End")
    panel.press("ArrowRight")
    assert panel.step == 6
    panel.atom = 9
    assert panel.marked
    panel.press("Escape")
    assert not panel.marked
    assert panel.atom == 9
    panel.press(" ")
    assert panel.playing
    panel.press(" ")
    assert not panel.playing


@pytest.mark.slow
def test_atom_can_be_linked_and_clicked(panel: sw.PursuitStepper) -> None:
    """A click on a bar marks its atom, in both algorithms and in the list; a second one unmarks it."""
    from plotly.callbacks import Points

    assert panel.atom == panel.steps[0].chosen[0]
    assert not panel.marked
    atom = int(panel.steps[0].chosen[1])
    place = int(np.flatnonzero(panel.figure.shown[0] == atom)[0])
    bars = panel.figure.plot.data[NOW]
    panel.step = 2
    panel._on_click(bars, Points(point_inds=[place]), None)
    assert panel.atom == atom
    assert "outline" in panel.chosen.atoms.value
    assert trace(panel, SELECTED).x.tolist() == [place]
    panel._on_click(bars, Points(point_inds=[place]), None)
    assert "outline" not in panel.chosen.atoms.value
    assert not len(trace(panel, SELECTED).x)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ista", "cg"])
def test_a_solver_shows_what_it_makes_small(algorithm: str) -> None:
    """Under the residuals, in per cent of where it began; pursuits beside it have no such curve."""
    panel = sw.PursuitStepper(DATA.x, DATA.dictionary, algorithms=["mp", algorithm], k=6)
    panel.wait()
    assert not panel.problem, panel.status
    record = panel.steps[1]
    assert [chart["title"] for chart in panel.chosen.norms.charts] == ["", GOAL_TITLE]
    drawn = panel.chosen.norms.values(2)[: record.n_steps + 1]
    np.testing.assert_allclose(drawn, 100 * record.objective / record.objective[0], rtol=1e-4)
    assert record.objective[-1] < record.objective[0]
    panel.step = 9
    assert panel.record[f"{algorithm.upper()}: objective"] == record.objective[9]
    assert "MP: objective" not in panel.record
    used = len(record.code_at(9)[0])
    assert f"{algorithm.upper()} uses {used} atoms" in panel.status
    panel.algorithm_b = "omp"
    panel.wait()
    assert [chart["title"] for chart in panel.chosen.norms.charts] == [""]


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False])
def test_a_solver_that_ran_elsewhere_is_stepped_through(whole: bool) -> None:
    """What sparse_code returned, or its trace alone: every code and objective, of every input."""
    solved = sparse_code(DATA.x, DATA.dictionary, solver="admm", n_steps=25, trace=True)
    panel = sw.PursuitStepper(DATA.x, DATA.dictionary, trace=solved if whole else solved[1])
    panel.wait()
    assert (panel.algorithms, panel.last_step) == (("own",), 25)
    panel.row = 2
    panel.wait()
    assert panel.steps[0].row == 2
    for step in (0, 4, 25, 4):
        panel.step = step
        shown = panel.steps[0].dense_code_at(step, np.arange(60))
        np.testing.assert_array_equal(shown, solved[1].codes_at(step).to_dense()[2])
        assert panel.record["solver: objective"] == float(solved[1].objective[2, step])
    panel.algorithm_b = "mp"
    panel.wait()
    assert not panel.problem, panel.status


@pytest.mark.slow
def test_a_model_that_is_a_solver_shows_its_own_steps() -> None:
    """KDS, input by input: its last step is its code, and an objective without a value is not drawn."""
    kds = sn.lab.KDS(25, 12, generator=torch.Generator().manual_seed(0)).fit(DATA.x, steps=5)
    panel = sw.PursuitStepper(DATA.x, kds)
    panel.wait()
    assert panel.algorithms == ("own",)
    for row in (0, 3):
        panel.row = row
        panel.wait()
        panel.step = panel.last_step
        shown = panel.steps[0].dense_code_at(panel.step, np.arange(12))
        expected = kds.encode(DATA.x[row : row + 1]).to_dense()[0].detach()
        np.testing.assert_allclose(shown, expected, atol=1e-5)
        left = DATA.x[row] - kds(DATA.x[row : row + 1])[0].detach()
        assert panel.record["KDS: residual norm"] == pytest.approx(float(left.norm()), rel=1e-3)
    assert panel.steps[0].objective is not None
    assert np.isinf(panel.steps[0].objective[0])
    assert np.isfinite(panel.chosen.norms.values(1)).all()


@pytest.mark.slow
def test_playing_goes_to_the_end_and_stops(panel: sw.PursuitStepper) -> None:
    """Every step is visited once, in order, and the thread ends."""
    seen: list[int] = []
    panel.step = 0
    panel.observe(lambda change: seen.append(change["new"]), "step")
    panel.speed = 40.0
    panel.playing = True
    assert soon(lambda: not panel.playing)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert soon(lambda: players() == 0)
    panel.playing = True  # at the end it begins anew
    assert seen[6] == 0
    panel.playing = False


def test_closing_ends_the_player() -> None:
    """No thread outlives the panel, closing twice is harmless, and a late step draws nothing."""
    panel = sw.PursuitStepper(DATA.x, DATA.dictionary, k=6)
    panel.wait()
    panel.speed = 45.0
    panel.playing = True
    panel.close()
    panel.close()
    assert soon(lambda: players() == 0)


@pytest.mark.slow
def test_bias_is_taken_off_first_and_drawn_again() -> None:
    """What is pursued is x − b; the curves of input and reconstruction hold b."""
    bias = torch.linspace(-1, 1, 25)
    panel = sw.PursuitStepper(DATA.x, DATA.dictionary, k=5, bias=bias)
    plain = sw.PursuitStepper(DATA.x - bias, DATA.dictionary, k=5)
    for made in (panel, plain):
        made.wait()
        made.step = 3
    for one, other in zip(panel.steps, plain.steps):
        np.testing.assert_array_equal(one.correlations, other.correlations)
    np.testing.assert_allclose(panel.parts.curves.values(0), DATA.x[0], rtol=1e-6, atol=1e-6)
    with_bias, without = (made.parts.curves.values(1) for made in (panel, plain))
    np.testing.assert_allclose(with_bias - without, bias, atol=1e-5)
    titles = [made.parts.curves.charts[1]["title"] for made in (panel, plain)]
    assert titles == ["bias + atoms", "built so far"]


@pytest.mark.slow
def test_an_sae_brings_its_bias_and_the_names_of_its_atoms() -> None:
    """Words under the bars, in headings, lists and status line; its own bias is taken off."""
    sae = sn.load_sae("tiny-vit/resid_post.6")
    x = sn.load_examples("tiny-vit/resid_post.6").acts.x[:3]
    panel = sw.PursuitStepper(x, sae, k=4)
    panel.wait()
    expected = sn.matching_pursuit(x[:1] - sae.bias, sae.dictionary, 4).to_dense()[0]
    shown = panel.steps[0].dense_code_at(4, np.arange(512))
    np.testing.assert_allclose(shown, expected.detach(), rtol=1e-4, atol=1e-4)
    panel.step = 1
    atom = int(panel.steps[0].chosen[0])
    words = panel.names.words(atom)
    assert words
    figure = panel.current_figure()
    assert f"took atom {atom} · {words}"[:20] in figure.layout.annotations[0].text
    assert any(text and text in words for text in figure.layout.xaxis.ticktext)
    assert panel.names.in_text(atom) in panel.status
    assert words in panel.chosen.atoms.value
    assert f'data-atom="{atom}"' in panel.chosen.atoms.value
    assert figure.data[NOW].meta["atoms"] == panel.figure.shown[0].tolist()
    panel.names.labels.write(atom, "<i>my own</i>")
    assert "&lt;i&gt;my own" in panel.chosen.atoms.value


@pytest.mark.slow
def test_large_dictionaries_show_their_strongest_bars(sent: list[int]) -> None:
    """16 384 atoms: 200 bars, said so on the axis, and a step costs less than 200 kB."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(16_384, 32, generator=generator)
    dictionary = torch.nn.functional.normalize(rows, dim=1)
    panel = sw.PursuitStepper(torch.randn(32, generator=generator), dictionary, k=16)
    panel.wait()
    figure = panel.current_figure()
    assert len(figure.data[NOW].y) == 200
    assert "200 of 16384" in figure.layout.xaxis2.title.text
    assert set(panel.steps[0].chosen.tolist()) <= set(panel.figure.shown[0].tolist())
    sent.clear()
    panel.forth()
    assert 0 < sum(sent) < 200_000


@pytest.mark.slow
def test_inputs_of_a_shape_are_drawn_as_pictures() -> None:
    """Input, reconstructions and what is left as pictures; their numbers are those of the headline."""
    panel = sw.PursuitStepper(PICTURES, DATA.dictionary, k=4, picture_shape=(5, 5))
    panel.wait()
    panel.step = 2
    shown = panel.assembly.html.value
    left = [one.residual_norms[one.reached(2)] / one.residual_norms[0] for one in panel.steps]
    for one, share in zip(panel.steps, left, strict=True):
        assert f"left: {float(f'{100 * float(share) ** 2:.2g}'):g} %" in shown
        assert f'data-atom="{one.next_atom(2)}">atom {one.next_atom(2)}<' in shown
        built = picture(one.x_hat[2], (5, 5), float(PICTURES[0].abs().max()), signed=False)
        assert png_address(built) in shown
    assert shown.count("sae-nb-now") == 2
    assert shown.count("sae-nb-later") == 4


@pytest.mark.slow
def test_other_inputs_are_stairs_of_named_atoms_that_end_at_what_is_left() -> None:
    """Each atom adds what the residual loses; the last stair is the rest, and solvers have none."""
    panel = sw.PursuitStepper(DATA.x, DATA.dictionary, algorithms=["omp", "ista"], k=4)
    panel.wait()
    panel.step = 3
    one, shown = panel.steps[0], panel.assembly.html.value
    omp = shown[: shown.index("ISTA")]
    widths = [float(text) for text in re.findall(r"width:([\d.]+)%", omp)]
    shares = 1 - (one.residual_norms[:4] / one.residual_norms[0]) ** 2
    expected = [*(100 * np.diff(shares)), 100 * (1 - shares[3])]
    np.testing.assert_allclose(widths, expected, atol=0.06)
    assert [int(n) for n in re.findall(r'data-atom="(\d+)"', omp)] == one.chosen[:4].tolist()
    assert "added next" in omp
    assert "added next" not in shown[shown.index("ISTA") :]
