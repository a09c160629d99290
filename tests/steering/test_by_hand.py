"""Numbers of edits, searches and costs that can be counted by hand."""

from __future__ import annotations

import math
import warnings
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sae_nb as sn
from sae_nb.statistics import logistic_probe
from sae_nb.steering._answers import Answers, kl, log_odds
from sae_nb.steering._calibration import StrengthSearch, combined_direction
from sae_nb.steering._direction import (
    METHODS,
    _best_random,
    _halves,
    _held_out,
    _parts,
    _rows,
    _span,
)
from sae_nb.steering._request import (
    _in_coefficients,
    _output_path,
    _warn_of_bound,
    check_amounts,
    check_atoms,
    named_step,
)
from sae_nb.steering.edits import (
    Along,
    AtomsOfSequences,
    MaskedEdit,
    Positions,
    _look_up,
    _own_positions,
    _written_by,
    change_atoms,
)
from sae_nb.steering.modes import MODES, UNITS, StrengthUnit, one_digit, strength_quantile
from tests.left_out import numbers_left_out


@pytest.fixture(scope="module")
def plain() -> Any:
    return sn.wrap(nn.Sequential(nn.Identity(), nn.Identity()), class_names=["a", "b", "c"])


# -------------------------------------------------------------------------------------------------
# Strengths.


class Point(str):
    """The name of a hook point, and the applications that it stands for."""

    step: Any


@pytest.mark.parametrize(
    ("name", "step", "named"),
    [("a", (0, 2), (0, 2)), ("a", "last", "last"), ("a@last", "last", None), ("a@3", 3, None),
     ("a", 3, None), ("a", None, None)],
)  # fmt: skip
def test_applications_are_named_that_the_name_does_not_have(
    name: str, step: Any, named: Any
) -> None:
    point: Any = Point(name)
    point.step = step
    assert named_step(point) == named


def test_strengths_are_rounded_to_one_digit() -> None:
    assert [one_digit(x) for x in (0.53, 17.0, 1.0, 0.0, -2.0, 249.0)] == [0.5, 20, 1, 1, 1, 200]


def test_a_slider_ends_at_lengths_of_a_state_and_a_panel_begins_at_a_quarter() -> None:
    words = {"name": "x", "words": "x", "many": "{}x", "one": "x"}
    unit = StrengthUnit(**words, widest=8.0, widest_lengths=2.0)
    assert (unit.slider_end(11.0), unit.slider_end(None), unit.slider_end(0.0)) == (20, 8, 8)
    assert unit.safe_strength(11.0, talks=False) == 5
    assert unit.safe_strength(None, talks=False) is None
    careful = StrengthUnit(**words, widest=8.0, safe=3.0, safe_for_text=2.0)
    assert (careful.slider_end(11.0), careful.safe_strength(11.0, talks=True)) == (8, 2)
    assert careful.safe_strength(None, talks=False) == 3
    assert (unit.amount_words("1"), unit.amount_words("2")) == ("x", "2x")
    # Of the two there are: ten, or two lengths of a state; five times what is usual, of which two are safe.
    plain, usual = UNITS["coefficient"], UNITS["p99"]
    assert (plain.slider_end(None), plain.slider_end(35.0), usual.slider_end(35.0)) == (10, 70, 5)
    assert [usual.safe_strength(None, talks=talks) for talks in (False, True)] == [2, 1]
    assert plain.safe_strength(35.0, talks=True) == 20


def test_what_is_usual_is_the_99th_percentile_of_what_fires() -> None:
    """Of strengths 1 to 101 it is 100, their sign apart; of an atom that never fires 0."""
    z = torch.zeros(150, 3)
    z[:101, 0] = torch.arange(1.0, 102)
    z[:101, 1] = -z[:101, 0]
    codes = sn.SparseCodes.from_dense(z)
    sae: Any = SimpleNamespace(n_atoms=3, dictionary=torch.eye(3))
    np.testing.assert_allclose(UNITS["p99"].sizes(sae, codes), [100, 100, 0], rtol=1e-6)
    np.testing.assert_allclose(strength_quantile(sae, codes, share=0.5), [51, 51, 0], rtol=1e-6)
    assert UNITS["coefficient"].sizes(sae).tolist() == [1, 1, 1]


def test_a_direction_is_compared_with_twenty_splits(plain: Any) -> None:
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    found = sn.direction(plain, "0", x[:6] + 3, x[6:], n_random=2)
    assert (found.n_splits, found.n_random, found.n_positive, found.n_negative) == (20, 2, 6, 6)


def test_a_search_goes_sixteen_times_as_far_at_most() -> None:
    """Of nothing 1, 16, 256; of far too much a sixteenth; of almost enough a quarter more, or a fifth less."""

    def tried(kl: float, n: int, largest: float = 1e4) -> list[float]:
        seen: list[float] = []

        def at(factor: float) -> float:
            seen.append(factor)
            return kl

        StrengthSearch(at, 1.0).find(n, largest)
        return seen

    assert tried(0.0, 3) == [1, 16, 256]
    assert tried(1e9, 3) == pytest.approx([1, 1 / 16, 1 / 256])
    assert tried(0.9, 3) == pytest.approx([1, 1.25, 1.25**2])
    assert tried(1.1, 3) == pytest.approx([1, 0.8, 0.64])
    assert tried(0.25, 2) == pytest.approx([1, 2])
    assert tried(0.0, 5, largest=20.0) == [1, 16, 20]


def test_modes_are_their_formulas() -> None:
    z = torch.tensor([-1.0, 0.0, 3.0])
    changed = {"add": z + 2, "cap": torch.tensor([-1.0, 0, 2]), "floor": torch.tensor([2.0, 2, 3]),
               "set": torch.full((3,), 2.0), "scale": 2 * z}  # fmt: skip
    for name, wanted in changed.items():
        change = torch.as_tensor(MODES[name].change(z, 2.0))
        torch.testing.assert_close(z + change, wanted)
    d = torch.tensor([3.0, 4.0])
    x = torch.tensor([[5.0, 0.0], [-3.0, 1.0]])  # ⟨x, d⟩ / ⟨d, d⟩ = 0.6, −0.2
    for name, moved in (("set", [2.0, 2.0]), ("scale", [1.2, -0.4]), ("cap", [0.6, -0.2])):
        step = torch.tensor(moved) - torch.tensor([0.6, -0.2])
        torch.testing.assert_close(Along(d, name, 2.0)(x), x + step[:, None] * d)
    assert Along(d, "set", 2.0).plain()[1:] == (-1.0, 2.0)
    assert Along(d, "scale", 3.0).plain()[1:] == (2.0, 0.0)
    assert Along(d, "add", 3.0).plain()[1:] == (0.0, 3.0)
    assert Along(d, "cap", 3.0).plain() is None


@pytest.mark.parametrize("keep_error", [True, False])
def test_latents_of_a_scaled_row_are_changed_in_its_scale(keep_error: bool) -> None:
    """Codes of rows of length 5 and 2 brought to length 1: a latent times 3 moves the row by twice it, times 5 or 2."""
    d = torch.eye(2)

    class Unit:
        dictionary, reads_sequences = d, False

        def uncoded(self, x: torch.Tensor) -> Any:
            return x.norm(dim=-1, keepdim=True), 0.0

        def encode(self, x: torch.Tensor) -> Any:
            return sn.SparseCodes.from_dense(x / x.norm(dim=-1, keepdim=True))

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return x + 100

    x = torch.tensor([[[3.0, 4.0], [0.0, 2.0]]])
    sae: Any = Unit()
    change = change_atoms(sae, (1,), d[[1]], mode="scale", by=(3.0,), keep_error=keep_error)
    start = x if keep_error else x + 100
    assert torch.allclose(change(x), start + torch.tensor([[[0, 2 * 4.0], [0, 2 * 2.0]]]))


def test_a_bound_is_warned_of_beyond_the_mean_of_the_other_group() -> None:
    """Means are 2 and 0: a cap at 0 and a floor at 2 leave usual texts alone."""
    direction = SimpleNamespace(middle=1.0, scale=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _warn_of_bound("cap", 0.0, direction)
        _warn_of_bound("floor", 2.0, direction)
        _warn_of_bound("cap", 5.0, direction)
        _warn_of_bound("floor", -5.0, direction)
        _warn_of_bound("add", -5.0, direction)
    with pytest.warns(UserWarning, match=r"cap, -0.1, lies below .* second group, 0:"):
        _warn_of_bound("cap", -0.1, direction)
    with pytest.warns(UserWarning, match=r"floor, 2.1, lies above .* first group, 2:"):
        _warn_of_bound("floor", 2.1, direction)


# -------------------------------------------------------------------------------------------------
# Runs.


def test_runs_are_counted_and_their_cost_is_foretold(plain: Any) -> None:
    answers = Answers(plain, torch.zeros(5, 3), "0", batch_size=2)
    assert (answers.n, answers.n_runs, len(answers.batches)) == (5, 1, 3)
    answers.add(torch.ones(3), 2.0)
    (rows, mask), *more = answers.edited_rows()
    assert (rows.shape, mask.sum(), len(more)) == ((2, 3), 2, 2)
    assert answers.n_runs == 3
    assert answers.cost.n_runs == 3
    assert 0 < answers.cost.seconds < 60
    answers.seconds_per_run = 0.5
    plan = answers.check_cost(4, 2.0, "a test")
    assert (plan.n_runs, plan.seconds, str(plan)) == (4, 2.0, "4 runs of the model, 2 s")
    assert answers.check_cost(4, None, "a test").seconds == 2
    with pytest.raises(ValueError, match="allows 2 s for a test, and it would take about 5 runs"):
        answers.check_cost(5, 2.0, "a test")


# -------------------------------------------------------------------------------------------------
# Positions.


def state(**more: Any) -> Any:
    facts = {"position": None, "keep": None, "prompt_length": None, "sample": None, "offset": 0}
    return SimpleNamespace(**{**facts, "role": None, **more})


def test_columns_have_positions_of_their_own() -> None:
    x = torch.zeros(2, 3, 1)
    position, length, real = _own_positions(x, state(offset=4))
    assert position.tolist() == [[4, 5, 6]] * 2
    assert (length.tolist(), bool(real.all())) == ([[7], [7]], True)
    padded = torch.tensor([[-1, 0, 1], [0, 1, 2]])
    keep = torch.tensor([[True, True, True], [True, True, False]])
    position, length, real = _own_positions(x, state(position=padded, keep=keep))
    assert length.tolist() == [[3], [3]]
    assert real.tolist() == [[False, True, True], [True, True, False]]
    _, length, _ = _own_positions(x, state(prompt_length=torch.tensor([2, 3])))
    assert length.tolist() == [[2], [3]]
    with pytest.raises(ValueError, match="must have the columns of its inputs"):
        _own_positions(x, state(position=padded[:, :2]))


def test_a_mask_is_read_at_each_samples_own_positions() -> None:
    """What is generated is in no mask; a row per sample, or one for all."""
    position = torch.tensor([[-1, 0, 1, 2], [0, 1, 2, 3]])
    length = torch.tensor([[2], [3]])
    one = torch.tensor([True, False, True])
    assert _look_up(one, position, length, state()).tolist() == [
        [False, True, False, False], [True, False, True, False],
    ]  # fmt: skip
    each = torch.tensor([[True, True, True], [False, True, False]])
    assert _look_up(each, position, length, state()).tolist() == [
        [False, True, True, False], [False, True, False, False],
    ]  # fmt: skip
    swapped = state(sample=torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]]))
    assert _look_up(each, position, length, swapped).tolist() == [
        [False, False, True, False], [True, True, True, False],
    ]  # fmt: skip
    with pytest.raises(ValueError, match="must cover every token of the input, 3"):
        _look_up(one[:2], position, length, state())
    with pytest.raises(ValueError, match="a row per sample, at least 2"):
        _look_up(each[:1], position, length, state())


def test_a_role_is_known_by_its_number_and_positions_come_in_any_form() -> None:
    role = torch.tensor([[2, 3, -1]])
    found = _written_by("assistant", role, state(role=role))
    assert found.tolist() == [[False, True, False]]
    assert Positions(torch.tensor([[0], [2]])).chosen == (0, 2)
    assert Positions(3).chosen == (3,)


def test_a_sequence_is_shown_to_its_sae_whole() -> None:
    """Kept tokens of each row are one sequence from the left; the others come back as they were."""
    x = torch.arange(1.0, 9).reshape(2, 4, 1)
    keep = torch.tensor([[False, True, True, False], [False] * 4])

    def summed(tokens: torch.Tensor) -> torch.Tensor:
        assert tokens.shape == (1, 2, 1)
        return tokens.cumsum(dim=1)

    found = AtomsOfSequences(summed).of_kept(x, keep)
    assert found[..., 0].tolist() == [[1, 2, 5, 4], [5, 6, 7, 8]]
    assert torch.equal(AtomsOfSequences(summed).of_kept(x, torch.zeros_like(keep)), x)
    # In generation the columns before come along, and only the newest is changed.
    edit = MaskedEdit(Positions(None), AtomsOfSequences(lambda tokens: tokens.cumsum(dim=1)))
    first = edit(x[:1, :3], state())
    assert first[0, :, 0].tolist() == [1, 3, 6]
    assert edit(x[:1, 3:], state(offset=3))[0, :, 0].tolist() == [10]
    with pytest.raises(ValueError, match="must see a text from its first token"):
        edit(x[:1, 3:], state(offset=7))
    assert (edit.n_runs, edit.n_touched) == (3, 5)


# -------------------------------------------------------------------------------------------------
# Directions.


def test_positions_are_the_last_of_texts_and_all_of_anything_else(plain: Any) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    x = torch.randn(16, 3)
    few = {"n_splits": 1, "n_random": 2}
    assert sn.direction(plain, "0", x[:8] + 3, x[8:], **few).positions == "all"
    sizes = {"n_layer": 1, "n_embd": 4, "n_head": 1, "vocab_size": 9, "n_positions": 8}
    module = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).eval()
    texts = [[[1, i, i], [2, i, 1]] for i in range(3, 9)]
    first, second = ([one[i] for one in texts] for i in (0, 1))
    found = sn.direction(sn.wrap(module), "resid_post.0", first, second, **few)
    assert found.positions == "last"


def test_groups_of_one_mean_are_refused(plain: Any) -> None:
    """A millionth of the largest coordinate is what rounding makes."""
    x = torch.zeros(16, 3)
    x[::2, 0], x[1::2, 0] = 2.0**20, -(2.0**20)
    few = {"n_splits": 1, "n_random": 2}
    moved = x[:8] + torch.tensor([0, 2.0, 0])
    found = sn.direction(plain, "0", moved, x[8:], **few)
    assert found.scale == pytest.approx(2)
    assert found.middle == pytest.approx(1)
    assert found.vector.tolist() == pytest.approx([0, 1, 0], abs=1e-6)
    with pytest.raises(ValueError, match="got the same mean at 0"):
        sn.direction(plain, "0", x[:8] + torch.tensor([0, 0.5, 0]), x[8:], **few)


@pytest.mark.parametrize(("scale", "small", "rank"), [(1e4, 1e-7, 1), (1e-4, 1e-12, 2)])
def test_the_span_of_rows_leaves_out_what_rounding_makes(
    scale: float, small: float, rank: int
) -> None:
    """Below a ten thousand millionth of the largest."""
    x = np.array([[scale, 0, 0], [-scale, 0, 0], [0, small, 0], [0, -small, 0]])
    basis, inside = _span(x + np.array([0, 0, scale]))
    assert basis.shape == (rank, 3)
    np.testing.assert_allclose(inside @ basis, x, atol=small)
    np.testing.assert_allclose(basis @ basis.T, np.eye(rank), atol=1e-12)


def test_parts_hold_a_share_of_each_group_and_keep_pairs() -> None:
    pairs = np.array([True] * 4 + [False] * 4)
    assert _parts(pairs, 3, None).tolist() == [0, 1, 2, 0] * 2
    drawn = _parts(pairs, 2, np.random.default_rng(0))
    assert drawn[:4].tolist() == drawn[4:].tolist()
    assert sorted(drawn[:4].tolist()) == [0, 0, 1, 1]
    odd = np.array([True, False, True, True, False])
    assert _parts(odd, 2, None).tolist() == [0, 0, 1, 0, 1]


def test_scores_of_held_out_rows_and_halves_by_hand() -> None:
    """Four rows of each group along one axis: every fold finds it, and so do both halves."""
    x = np.array([[7.0, 0], [8, 0], [9, 0], [9.5, 0], [0, 0], [1, 0], [2, 0], [2.5, 0]])
    y = np.array([True] * 4 + [False] * 4)

    def fit(rows: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return rows[truth].mean(axis=0) - rows[~truth].mean(axis=0)

    assert _held_out(x, y, fit) == 1.0
    assert _halves(x, y, fit, np.random.default_rng(0), 3) == pytest.approx(1.0)
    assert _held_out(-x, ~y, fit) == 1.0
    assert _best_random(x, y, 5, np.random.default_rng(0)) == 1.0
    worst = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    assert (
        _best_random(worst, np.array([True, True, False, False]), 4, np.random.default_rng(0))
        == 0.5
    )


def test_several_atoms_are_added_as_one_direction() -> None:
    """Unit atoms times their amounts; what adds up to nothing cannot be added."""
    sae: Any = SimpleNamespace(dictionary=torch.tensor([[3.0, 4.0], [0.0, 2.0], [0.0, -5.0]]))
    assert combined_direction(sae, [0, 1], [5.0, -1.0]).tolist() == pytest.approx([3, 3])
    with pytest.raises(ValueError, match="must leave something to add"):
        combined_direction(sae, [1, 2], [1.0, 1.0])


def test_an_edited_place_is_named_by_the_module_that_gives_it() -> None:
    """What a block reads is what the block before gives; the first part of an output is the output."""
    model: Any = SimpleNamespace(hook_point=lambda name: SimpleNamespace(path=f"path of {name}"))

    def path(**point: Any) -> str | None:
        usual = {"side": "input", "path": "own", "index": None, "kind": "x", "layer": 3}
        one: Any = SimpleNamespace(**{**usual, **point})
        return _output_path(model, one)

    assert path(kind="resid_pre") == "path of resid_post.2"
    assert path(kind="resid_pre", layer=1) == "path of resid_post.0"
    assert (path(kind="resid_pre", layer=0), path()) == (None, None)
    assert [path(side="output", index=i) for i in (None, 0, 1)] == ["own", "own", None]


def test_strengths_are_multiples_of_what_each_atom_usually_does() -> None:
    """In lengths of the atom where a unit vector is added; an atom that never fires has no strength."""
    sae: Any = SimpleNamespace(
        n_atoms=3, dictionary=torch.tensor([[3.0, 4.0], [0.0, 1.0], [1.0, 0.0]])
    )
    z = torch.tensor([[2.0, 0.5, 0.0]])
    codes = sn.SparseCodes.from_dense(z)

    def taken(mode: Any, unit: Any, atoms: tuple[int, ...]) -> tuple[float, ...]:
        return _in_coefficients((3.0, -1.0)[: len(atoms)], unit, mode, sae, atoms, codes)

    assert taken("add", "p99", (0, 1)) == pytest.approx((3 * 2 * 5, -0.5))
    assert taken("set", "p99", (0, 1)) == pytest.approx((3 * 2, -0.5))
    assert taken("add", "coefficient", (2,)) == (3.0,)
    with pytest.raises(ValueError, match=r"these never do in `acts`: \[2\]"):
        taken("add", "p99", (1, 2))
    with pytest.raises(ValueError, match="whose `by` is a factor"):
        taken("scale", "p99", (0,))
    assert check_amounts(2, 3) == (2.0, 2.0, 2.0)
    assert check_amounts([1, 2], 2) == (1.0, 2.0)
    for wrong in ([1.0], [1.0, float("inf")], [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match="`by` must be"):
            check_amounts(wrong, 2)
    assert check_atoms([2, 0], 3) == (2, 0)
    for again in ([], [1, 1]):
        with pytest.raises(ValueError, match="at least one atom, and each once"):
            check_atoms(again, 3)


def test_divergence_and_odds_are_those_of_the_probabilities() -> None:
    p, q = torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[0.25, 0.25, 0.5]])
    wanted = 0.5 * np.log(2) + 0.25 * np.log(0.5)
    assert float(kl(p.log(), q.log())) == pytest.approx(wanted)
    assert float(kl(p.log() + 7, q.log() - 3)) == pytest.approx(wanted)
    sure = torch.tensor([[0.0, -torch.inf]])
    assert float(kl(sure, torch.tensor([[0.0, 0.0]]))) == pytest.approx(np.log(2))
    odds = np.log([0.5 / 0.5, 0.75 / 0.25, 0.25 / 0.75])
    for target, wanted in zip((0, [0, 2], [1]), odds, strict=True):
        assert float(log_odds(p.log(), target)) == pytest.approx(wanted, abs=1e-6)
    two = torch.cat([p, q]).log()
    each = log_odds(two, torch.tensor([1, 2])).tolist()
    assert each == pytest.approx([np.log(1 / 3), 0], abs=1e-6)


@pytest.mark.parametrize("n_exchanged", [0, 2, 3])
def test_a_principal_direction_leads_to_the_first_group_of_exchanged_pairs_too(
    n_exchanged: int,
) -> None:
    """Three pairs whose differences are 2, 3 and 4 along the first axis, and little along the second."""
    second = np.array([[0.0, 5], [7, 1], [-4, 2]])
    first = second + np.array([[2, 0.1], [3, -0.1], [4, 0.0]])
    y = np.arange(3) >= n_exchanged
    x = np.concatenate([np.where(y[:, None], first, second), np.where(y[:, None], second, first)])
    found = METHODS["principal"](x, np.concatenate([y, ~y]))
    assert found == pytest.approx([1, 0], abs=0.01)
    exact = np.linalg.svd(first - second)[2][0]
    assert found == pytest.approx(exact * np.sign(exact[0]), abs=1e-9)
    assert METHODS["mean"](x, np.concatenate([y, ~y])) == pytest.approx([3, 0])


def test_a_probe_is_penalised_in_units_of_the_spread_of_its_rows() -> None:
    x = np.random.default_rng(0).standard_normal((12, 3)) * [1.0, 5.0, 0.1] + [9.0, 0.0, 0.0]
    y = np.arange(12) % 2 == 0
    spread = float(np.sqrt(((x - x.mean(axis=0)) ** 2).sum() / 12))
    expected = logistic_probe(x, y, scale=spread, quiet=True).weight[0]
    assert METHODS["probe"](x, y) == pytest.approx(expected)
    assert METHODS["probe"](100 * x, y) == pytest.approx(expected / 100, rel=1e-2)


def test_massive_rows_are_left_out_but_where_the_last_is_asked_for(
    plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row per input: the mean of its positions."""
    asked: list[Any] = []

    def capture(*_: Any, drop_massive: Any, **__: Any) -> Any:
        asked.append(drop_massive)
        x = torch.tensor([[1.0, 2], [3, 4], [7, 8]])
        return SimpleNamespace(x=x, sample=torch.tensor([0, 0, 1]))

    monkeypatch.setattr("sae_nb.steering._direction.capture", capture)
    assert _rows(plain, "0", [1, 2], "last", None).tolist() == [[2, 3], [7, 8]]
    _rows(plain, "0", [1, 2], "all", None)
    assert asked == [False, "auto"]
    with pytest.raises(ValueError, match="got none in input 2"):
        _rows(plain, "0", [1, 2, 3], "all", None)


def test_log_odds_by_hand() -> None:
    """ln p/(1−p): logits 0 and ln 3 give 3 to 1; two targets add their chances."""
    outputs = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    assert log_odds(outputs, 1).tolist() == pytest.approx([math.log(3), 0])
    three = torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    assert log_odds(three, [0, 1, 2]).tolist() == pytest.approx([math.log(3)])
    each = log_odds(outputs, torch.tensor([0, 1]))
    assert each.tolist() == pytest.approx([-math.log(3), 0])


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("Direction.nearest", {'n': 10, 'n_random': 100, 'seed': 0}),
        ("Direction.raises", {'n': 8}),
        ("Steered.answer", {'n_shown': 10}),
        ("best_effect", {'n_candidates': 16, 'n_controls': 8, 'seed': 0}),
        ("calibrate_strength", {'by': 1.0, 'max_runs': 20}),
        ("direction", {'n_splits': 20, 'n_random': 100, 'seed': 0}),
        ("dose_response", {'n_controls': 8, 'seed': 0}),
    ],
)  # fmt: skip
def test_numbers_that_are_left_out_are_those_that_its_page_states(
    name: str, numbers: dict[str, float]
) -> None:
    assert numbers_left_out(attrgetter(name)(sn.steering)) == numbers
