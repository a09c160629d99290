"""PursuitStepper: every control is a trait, the picture is the record, playing ends and leaks nothing."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import ipywidgets as ipw
import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.panel import descendants
from sae_nb_widgets.pursuit._detail import GOAL_TITLE, unexplained
from sae_nb_widgets.pursuit._figure import IN_CODE, NOW, RING, SELECTED, START, TRACES_PER_ALGORITHM

import sae_nb as sn
from sae_nb.architectures import sparse_code
from sae_nb.figures import format_number
from tests.widgets.made import soon

DATA = sn.data.planted_dictionary(60, 25, 4, 4, coherence=0.3, noise=0.02, seed=3)
PICTURES = DATA.x.relu()


@pytest.fixture
def panel() -> sw.PursuitStepper:
    """MP beside OMP on planted rows."""
    made = sw.PursuitStepper(DATA.x, DATA.dictionary, k=6)
    made.wait()
    assert not made.problem, made.status
    return made


def trace(made: sw.PursuitStepper, which: int, algorithm: int = 0) -> Any:
    """One trace of the figure on screen."""
    return made.current_figure().data[TRACES_PER_ALGORITHM * algorithm + which]


def players() -> int:
    """Threads that play."""
    return sum(one.name == "sae_nb player" and one.is_alive() for one in threading.enumerate())


# --- the picture is the record --------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [0, 1])
def test_bars_are_the_correlations_of_the_step(panel: sw.PursuitStepper, algorithm: int) -> None:
    """At every step, forwards and backwards, of both algorithms."""
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


def test_going_back_is_exact(panel: sw.PursuitStepper) -> None:
    """Everything on screen at step 2 is the same before and after a visit to the end."""
    panel.step = 2
    before = (panel.current_figure().to_json(), panel.chosen.atoms.value, panel.parts.curves.data)
    panel.step = panel.last_step
    assert panel.current_figure().to_json() != before[0]
    panel.step = 2
    after = (panel.current_figure().to_json(), panel.chosen.atoms.value, panel.parts.curves.data)
    assert after == before


def test_codes_are_those_of_the_kernels(panel: sw.PursuitStepper) -> None:
    """At the last step the two columns are the codes that sn.matching_pursuit and its refit give."""
    panel.step = panel.last_step
    for run, one in zip((sn.matching_pursuit, sn.orthogonal_matching_pursuit), panel.steps):
        expected = run(DATA.x[:1], DATA.dictionary, 6).to_dense()[0]
        shown = one.dense_code_at(panel.step, np.arange(60))
        np.testing.assert_allclose(shown, expected, rtol=1e-5, atol=1e-6)


def test_the_next_atom_is_ringed(panel: sw.PursuitStepper) -> None:
    """The ring sits on the bar of the atom that the next step adds to the list."""
    for step in range(panel.steps[0].n_steps):
        panel.step = step
        ringed = int(panel.figure.shown[0][int(trace(panel, RING).x[0])])
        panel.step = step + 1
        assert panel.steps[0].chosen[step] == ringed
        assert f">{ringed}<" in panel.chosen.atoms.value


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


# --- every control is a trait ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("row", 3), ("k", 3), ("nonnegative", False), ("algorithm_a", "gp"), ("algorithm_b", "ista")],
)
def test_trait_runs_the_algorithm_anew(panel: sw.PursuitStepper, name: str, value: Any) -> None:
    """The record on screen is of what was asked."""
    setattr(panel, name, value)
    panel.wait()
    assert not panel.problem, panel.status
    asked = {"row": panel.row, "nonnegative": panel.nonnegative}
    for one, algorithm in zip(panel.steps, panel.algorithms):
        fresh = sn.summaries.summarise_pursuit(
            DATA.x, DATA.dictionary, algorithm, k=panel.k, **asked
        )
        # Not to the bit: with or without the Gram matrix is for each call to plan.
        np.testing.assert_allclose(one.correlations, fresh.correlations, rtol=1e-5, atol=1e-5)
    assert name not in ("row", "nonnegative") or getattr(panel.steps[0], name) == value


def test_second_algorithm_can_be_left_out(panel: sw.PursuitStepper) -> None:
    """One algorithm has one row of bars and one column of atoms."""
    panel.algorithm_b = ""
    panel.wait()
    assert len(panel.steps) == 1
    drawn = [one for one in panel.current_figure().data if one.visible]
    assert len(drawn) == TRACES_PER_ALGORITHM
    assert not panel.current_figure().layout.xaxis2.visible
    assert "OMP" not in panel.chosen.atoms.value


def test_a_second_algorithm_of_more_steps_can_be_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The step goes back to the last one of the first, and nothing is drawn of both meanwhile."""
    panel = sw.PursuitStepper(DATA.x, DATA.dictionary, algorithms=["mp", "ista"], k=6)
    panel.step = 50
    panel.algorithm_b = ""
    panel.wait()
    assert (len(panel.steps), panel.step, panel.last_step) == (1, 6, 6)
    assert "6 of 6" in panel.controls.count.value
    assert not caplog.records


def test_an_answer_that_nobody_waits_for_is_not_drawn(panel: sw.PursuitStepper) -> None:
    """Going to another input and back at once ends at the first one, whoever answers last."""
    panel.row = 2
    panel.row = 0
    panel.wait()
    assert [one.row for one in panel.steps] == [0, 0]
    panel.row = 2
    panel.wait()
    assert [one.row for one in panel.steps] == [2, 2]


def test_the_first_picture_is_there_at_once() -> None:
    """A small problem is drawn before the panel is shown, for readers without a kernel too."""
    panel = sw.PursuitStepper(DATA.x, DATA.dictionary, k=3)
    assert len(panel.steps) == 2
    assert "MP: code" in panel._repr_mimebundle_()["text/html"]


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


def test_controls_follow_traits_and_traits_controls(panel: sw.PursuitStepper) -> None:
    """Slider, menus and fields are linked both ways."""
    panel.controls.step.value = 3
    assert panel.step == 3
    panel.step = 5
    assert panel.controls.step.value == 5
    menus = [one for one in descendants(panel) if isinstance(one, ipw.Dropdown)]
    by_name = {one.description: one for one in menus}
    by_name["B"].value = "gp"
    assert panel.algorithm_b == "gp"
    by_name["speed"].value = 8.0
    assert panel.speed == 8.0
    for control in (one for one in descendants(panel) if isinstance(one, ipw.Button)):
        assert control.tooltip


def test_order_and_scale_of_the_bars(panel: sw.PursuitStepper) -> None:
    """Dictionary order is by row; scaled bars fill their axis at a late step."""
    panel.order = "dictionary"
    assert panel.figure.shown[0].tolist() == list(range(60))
    panel.step = panel.last_step
    wide = panel.current_figure().layout.yaxis.range
    panel.fit_bars = True
    narrow = panel.current_figure().layout.yaxis.range
    assert narrow[1] - narrow[0] < 0.6 * (wide[1] - wide[0])


def test_a_shorter_run_takes_the_step_with_it(panel: sw.PursuitStepper) -> None:
    """At step 6 of 6, asking for k = 2 shows step 2 of 2."""
    panel.step = 6
    panel.k = 2
    panel.wait()
    assert (panel.step, panel.last_step, panel.controls.step.max) == (2, 2, 2)


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


def test_atom_is_shared_with_another_panel(panel: sw.PursuitStepper) -> None:
    """`traitlets.link` joins it with a panel whose atoms begin at 0; Escape unmarks here only."""
    other = sw.PursuitStepper(DATA.x, DATA.dictionary, k=3)
    t.link((other, "atom"), (panel, "atom"))
    other.atom = 17
    assert panel.atom == 17
    assert panel.marked
    panel.atom = 31
    assert other.atom == 31
    panel.press("Escape")
    assert other.marked
    assert not panel.problem


# --- solvers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ista", "fista", "admm", "cg"])
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


def test_codes_of_more_atoms_than_bars_are_stepped_through() -> None:
    """Conjugate gradients leave no atom at zero: the strongest have bars, and names among them."""
    signal = torch.randn(1, 128, generator=torch.Generator().manual_seed(0))
    operator = sn.architectures.CosineOperator(torch.ones(128, dtype=torch.bool))
    found = sn.lab.SparseBayes(noise=0.1, n_iterations=2).fit(signal, operator)
    panel = sw.PursuitStepper(found.x, operator.atoms(), trace=found.steps())
    panel.wait()
    panel.step = panel.last_step
    assert not panel.problem, panel.status
    assert len(panel.steps[0].code_at(panel.step)[0]) == 128


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


def test_steps_that_nobody_gave_are_refused() -> None:
    """Own steps need a trace or such a model, and are of the first dictionary."""
    with pytest.raises(ValueError, match="'mp', 'omp'"):
        sw.PursuitStepper(DATA.x, DATA.dictionary, algorithms=["own"])
    _, trace = sparse_code(DATA.x, DATA.dictionary, n_steps=2, trace=True)
    panel = sw.PursuitStepper(DATA.x, DATA.dictionary, algorithms=["mp"])
    with pytest.raises(t.TraitError, match="there are no steps"):
        panel.algorithm_a = "own"
    with pytest.raises(t.TraitError, match="algorithm_a"):
        panel.algorithm_a = ""
    panel = sw.PursuitStepper(DATA.x, DATA.dictionary, other_dictionary=torch.eye(25), trace=trace)
    panel.wait()
    with pytest.raises(t.TraitError, match="of the first dictionary"):
        panel.algorithm_b = "own"


# --- playing --------------------------------------------------------------------------------------


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


def test_pausing_stays_where_it_is(panel: sw.PursuitStepper) -> None:
    """After a pause nothing moves, and playing again goes on from there."""
    panel.speed = 40.0
    panel.playing = True
    assert soon(lambda: panel.step >= 2)
    panel.playing = False
    assert soon(lambda: players() == 0)
    here = panel.step
    time.sleep(0.1)
    assert panel.step == here
    panel.playing = True
    assert soon(lambda: panel.step == 6)


def test_closing_ends_the_player() -> None:
    """No thread outlives the panel, closing twice is harmless, and a late step draws nothing."""
    panel = sw.PursuitStepper(DATA.x, DATA.dictionary, k=6)
    panel.wait()
    panel.speed = 45.0
    panel.playing = True
    panel.close()
    panel.close()
    assert soon(lambda: players() == 0)


def test_many_starts_make_one_thread(panel: sw.PursuitStepper) -> None:
    """Pressing play and pause quickly never leaves two players behind."""
    panel.speed = 0.5
    for _ in range(10):
        panel.toggle()
    panel.playing = True
    assert soon(lambda: players() == 1)


# --- what it takes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "names"),
    [
        ({"k": 0}, ValueError, "`k`"),
        ({"k": 61}, ValueError, "n_atoms=60"),
        ({"algorithms": ["mp", "omp", "gp"]}, ValueError, "one or two"),
        ({"algorithms": []}, ValueError, "one or two"),
        ({"algorithms": ["lasso"]}, ValueError, "'mp', 'omp', 'gp', 'ista', 'fista'"),
        ({"picture_shape": (5, 6)}, ValueError, "d_in=25"),
        ({"other_dictionary": torch.eye(24)}, ValueError, "other_dictionary"),
        ({"bias": torch.zeros(24)}, ValueError, r"\(25,\), got \(24,\)"),
        ({"x": DATA.x[:, :9]}, ValueError, "`x`"),
        ({"x": "rows"}, TypeError, "`x`"),
        ({"x": [1.0, 2.0]}, ValueError, "d_in=25"),
        ({"trace": "steps"}, TypeError, "`trace`"),
        ({"trace": sparse_code(DATA.x[:2], DATA.dictionary, trace=True)}, ValueError, "`trace`"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], error: type, names: str) -> None:
    """By name, before anything is made."""
    given = {"x": DATA.x, "dictionary": DATA.dictionary} | change
    with pytest.raises(error, match=names):
        sw.PursuitStepper(**given)


def test_atoms_of_other_norms_are_a_sentence_on_screen() -> None:
    """The kernels' own message stands in the status line; normalise=True is the way out."""
    panel = sw.PursuitStepper(DATA.x, 3 * DATA.dictionary, k=3)
    panel.wait()
    assert panel.problem
    assert "unit norm" in panel.status
    mended = sw.PursuitStepper(DATA.x, 3 * DATA.dictionary, k=3, normalise=True)
    mended.wait()
    assert not mended.problem


def test_activations_and_arrays_are_taken_too() -> None:
    """One row, rows, an array, activations: all the same inputs."""
    acts = sn.Activations.from_tensor(DATA.x)
    for x in (DATA.x[0], DATA.x.numpy(), acts):
        panel = sw.PursuitStepper(x, DATA.dictionary, algorithms=["mp"], k=3)
        panel.wait()
        np.testing.assert_array_equal(panel.steps[0].x, DATA.x[0])


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


@pytest.mark.parametrize("algorithms", [["mp"], ["mp", "omp"]])
def test_every_strip_says_how_long_its_own_vector_is(algorithms: list[str]) -> None:
    """Not where their common scale ends, the same number three times; what is left in the headline's unit."""
    panel = sw.PursuitStepper(DATA.x[:1], DATA.dictionary, algorithms=algorithms, k=3)
    panel.wait()
    panel.step = 2
    given, built, left = (chart["note"] for chart in panel.parts.curves.charts)
    assert given == f"length {format_number(float(np.linalg.norm(DATA.x[0])))}"
    digits = 3 if len(algorithms) == 1 else 2
    lengths = [float(np.linalg.norm(one.x_hat[2])) for one in panel.steps]
    sizes = [format_number(length, digits=digits) for length in lengths]
    apart = " ".join(f"{name.upper()} {size}" for name, size in zip(algorithms, sizes))
    assert built == (f"length {sizes[0]}" if len(set(sizes)) == 1 else apart)
    whole = float((DATA.x[0] ** 2).sum())
    shares = [100 * float((one.residual_at(2) ** 2).sum()) / whole for one in panel.steps]
    assert [float(number) for number in re.findall(r"([\d.]+) %", left)] == pytest.approx(
        shares[: left.count("%")], rel=0.05
    )
    assert all(share.strip() in panel.answer for share in re.findall(r"[\d.]+ %", left))
    assert panel.parts.curves.static_html().count(given) == 1


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


def test_bars_without_names_have_no_numbers_under_them(panel: sw.PursuitStepper) -> None:
    """Sorted, 20, 92, 179 … would say nothing; in dictionary order the numbers are places."""
    assert set(panel.current_figure().layout.xaxis.ticktext) == {""}
    panel.order = "dictionary"
    assert all(text.isdigit() for text in panel.current_figure().layout.xaxis.ticktext)


def test_atoms_that_are_pictures_stand_under_their_bars() -> None:
    """As images that carry their own data, at the places of their bars."""
    made = sw.PursuitStepper(PICTURES, DATA.dictionary, k=4, picture_shape=(5, 5))
    made.wait()
    images = [one for one in made.current_figure().layout.images if one.xref == "x"]
    assert images
    assert all(one.source.startswith("data:image/png;base64,") for one in images)
    assert [one.x for one in images] == list(made.current_figure().layout.xaxis.tickvals)


def test_the_answer_is_in_percent_and_inputs_count_from_one(panel: sw.PursuitStepper) -> None:
    """How much is unexplained, and where the algorithms first choose differently."""
    pairs = list(zip(panel.steps[0].chosen.tolist(), panel.steps[1].chosen.tolist()))
    differ = next((i + 1 for i, (a, b) in enumerate(pairs) if a != b), None)
    assert panel.step == (differ or 0)  # it opens where the two part
    panel.step = 0
    assert "Before the first step 100 % of the input is unexplained" in panel.answer
    if differ is not None:
        ends = [unexplained(one, 6) for one in panel.steps]
        assert panel.answer.startswith(
            "OMP, which fits all coefficients anew at each step, leaves least of the input: "
            f"{ends[1]} after 6 steps; MP {ends[0]}. "
        )
    panel.step = 6
    left = [
        100 * (float(one.residual_norms[6]) / float(one.residual_norms[0])) ** 2
        for one in panel.steps
    ]
    mp, omp = (f"{float(f'{share:.2g}'):g} %" for share in left)
    assert panel.answer.startswith(
        f"After 6 steps MP leaves {mp} of the input unexplained and OMP {omp}"
    )
    # The numbers of the sentence stand over the curve that shows them.
    assert panel.chosen.norms.description == f"unexplained after step 6: MP {mp}, OMP {omp}"
    assert (f"They part at step {differ}: MP takes atom" in panel.answer) == (differ is not None)
    assert panel.chips["input"] == "1 of 4"
    panel.number = 3
    panel.wait()
    assert (panel.row, panel.chips["input"]) == (2, "3 of 4")


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


# --- taking it away -------------------------------------------------------------------------------


def test_inputs_of_a_shape_are_drawn_as_pictures() -> None:
    """Input, reconstructions and what is left as pictures; their numbers are those of the headline."""
    panel = sw.PursuitStepper(PICTURES, DATA.dictionary, k=4, picture_shape=(5, 5))
    panel.wait()
    panel.step = 2
    assert len(panel.parts.given.captions) == 1
    assert panel.parts.so_far.captions == ["MP so far", "OMP so far", "MP left", "OMP left"]
    left = [one.residual_norms[one.reached(2)] / one.residual_norms[0] for one in panel.steps]
    shares = [100 * float(share) ** 2 for share in left]
    np.testing.assert_allclose(panel.parts.so_far.strengths[2:], shares, rtol=1e-6)
    assert panel.parts.given.strengths == [100.0]
