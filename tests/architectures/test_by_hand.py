"""Starts, revivals, penalties and layers of architectures on a few numbers, by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import (
    BatchTopKProx,
    FixedOperator,
    IdentityProx,
    SoftProx,
    ThresholdProx,
    _sparse_coding as coding,
    admm,
    ista,
    summarise_pursuit,
)
from sae_nb.architectures._describing import measured_words
from sae_nb.architectures._jump_relu import jump, step
from sae_nb.architectures._matryoshka import default_groups, drawn_on
from sae_nb.architectures._recipe import InputScaling, TrainingDefaults, ramp
from sae_nb.architectures._revival import (
    IN_PURSUITS,
    REVIVALS,
    AtomRows,
    Dead,
    Masked,
    as_long_as_others,
    resampled_atoms,
    resampled_by_mask,
    set_anew,
)
from sae_nb.architectures._saving import Upload, _narrowed, save_sae, widened
from sae_nb.architectures._several_layers import Layers
from sae_nb.architectures.parts import _solvers as solvers
from sae_nb.architectures.parts._operators import UNIT_GUARD
from sae_nb.codes import SparseCodes
from sae_nb.temporal import SequenceRows
from tests.left_out import numbers_left_out


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Dead atoms


@pytest.mark.parametrize("n_due", [0, 1, 3, 6])
def test_a_mask_resamples_what_numbers_do(n_due: int) -> None:
    residual = drawn(4, 3) * torch.tensor([1.0, 0.1, 5.0, 2.0])[:, None]
    is_due = torch.zeros(7, dtype=torch.bool)
    is_due[torch.arange(n_due) + 1] = True
    atoms, directions = resampled_atoms(residual, is_due.nonzero().flatten())
    mask, rows = resampled_by_mask(residual, is_due)
    assert mask.nonzero().flatten().tolist() == atoms.tolist()
    torch.testing.assert_close(rows[mask], directions)
    nothing, _ = resampled_by_mask(0 * residual, is_due)
    assert not nothing.any()
    every, rows = resampled_by_mask(torch.eye(4), torch.ones(4, dtype=torch.bool))
    assert every.all()
    assert torch.equal(rows, torch.eye(4))


def test_rows_in_the_middle_of_equal_parts_are_taken() -> None:
    """Lengths² 1, 4, 4, 1: of three parts of 10/3 the middles are 5/3, 5 and 25/3."""
    residual = torch.tensor([[1.0, 0], [0, 2.0], [2.0, 0], [0, -1.0]])
    atoms, directions = resampled_atoms(residual, torch.tensor([5, 7, 8]))
    assert atoms.tolist() == [5, 7]  # two middles are in one row
    assert directions.tolist() == [[0, 1], [1, 0]]
    small, ways = resampled_atoms(0.01 * residual, torch.tensor([5, 7, 8]))
    assert small.tolist() == [5, 7]
    torch.testing.assert_close(ways, directions)
    last, way = resampled_atoms(torch.tensor([[0.0, 0], [0, 0], [3, 4]]), torch.tensor([5]))
    assert (last.tolist(), way.tolist()) == ([5], [[pytest.approx(0.6), pytest.approx(0.8)]])


@pytest.mark.parametrize("as_mask", [True, False])
def test_a_resampled_atom_begins_as_the_others_are(as_mask: bool) -> None:
    """A direction at half the mean length of those alive, 3 and 5; a median; a constant."""
    weight, bias, other = (
        torch.tensor([[3.0, 0], [9, 9], [0, 5]]),
        torch.tensor([1.0, 7, 2]),
        torch.ones(3, 2),
    )
    kept = [as_long_as_others(weight, 0.5), AtomRows.at_median(bias), AtomRows(other, 0.25)]
    mask, way = torch.tensor([False, True, False]), torch.tensor([[0.6, 0.8]])
    marked = (mask, way.expand(3, -1)) if as_mask else (torch.tensor([1]), way)
    set_anew(kept, marked, 3)
    assert weight.tolist() == [[3, 0], [pytest.approx(1.2), pytest.approx(1.6)], [0, 5]]
    assert bias.tolist() == [1, 2, 2]
    assert other.tolist() == [[1, 1], [0.25, 0.25], [1, 1]]


def test_terms_fade_and_resampling_ends() -> None:
    weights = [REVIVALS["push-up"].weight(share) for share in (0.0, 0.25, 0.5, 0.9)]
    assert weights == [1, 0.5, 0, 0]
    assert float(REVIVALS["push-up"].weight(torch.tensor(0.4))) == pytest.approx(0.2)
    assert float(REVIVALS["push-up"].weight(torch.tensor(0.9))) == 0
    assert REVIVALS["auxk"].weight(1.0) == 1
    residual, silent = drawn(3, 2), torch.tensor([0, 9, 9])
    until = REVIVALS["resample"].until
    marked = REVIVALS["resample"].marked(residual, silent, 9, until - 0.01)
    assert marked is not None
    assert marked[0].tolist() == [1, 2]
    assert REVIVALS["resample"].marked(residual, silent, 9, until) is None
    assert IN_PURSUITS.marked(residual, silent, 9, 1.0) is not None
    mask = REVIVALS["resample"].marked(residual, silent, 9, until, masked=True)
    assert mask is not None
    assert not mask[0].any()


def test_dead_atoms_by_number_and_by_mask_have_the_same_means() -> None:
    is_dead = torch.tensor([True, False, True, False])
    numbers, mask = Dead(is_dead.nonzero().flatten()), Masked(is_dead)
    assert (
        [numbers.share(n) for n in (1, 2, 8)]
        == [float(mask.share(n)) for n in (1, 2, 8)]
        == [1, 1, 0.25]
    )
    values = torch.tensor([1.0, 9.0, 5.0, 9.0])
    assert float(numbers.mean(numbers.of(values))) == float(mask.mean(mask.of(values))) == 3
    assert float(Masked(is_dead & False).mean(values)) == 0


# Penalties


def test_a_default_weight_is_a_tenth_of_the_largest_correlations() -> None:
    """Rows whose largest |⟨x − b, d⟩| are 4 and 2: λ = .3; of a hard threshold half of its square."""
    operator, bias = FixedOperator(torch.eye(2)), torch.tensor([1.0, 0.0])
    x = torch.tensor([[4.0, -4.0], [3.0, 1.0]])

    def chosen(prox: Any, **given: Any) -> Any:
        how = {"weight": None, "k": None, "groups": None} | given
        return coding.choose_penalty(prox, operator, x, bias, **how)

    assert coding._or_default(None, operator, x, bias) == pytest.approx(0.3)
    assert coding._or_default(None, operator, x, None) == pytest.approx(0.35)
    assert coding._hard_weight(None, operator, x, bias) == pytest.approx(0.045)
    assert coding._hard_weight(0.7, operator, x, bias) == 0.7
    z = torch.tensor([[1.0, -1.0]])
    assert chosen("soft")(z).to_dense().tolist() == [[pytest.approx(0.7), pytest.approx(-0.7)]]
    assert chosen("soft+")(z).to_dense().tolist() == [[pytest.approx(0.7), 0]]
    assert chosen("soft", weight=0)(z).to_dense().tolist() == [[1, -1]]
    assert chosen("hard", weight=0.5 + 1e-6)(z).nnz == 0
    assert chosen("hard", weight=0.5 - 1e-6)(z).nnz == 2
    with pytest.raises(ValueError, match="`weight`"):
        chosen("soft", weight=-0.1)


def test_links_are_chosen_by_the_range_of_the_data() -> None:
    assert coding._link("poisson", torch.tensor([[0.0, 3.0]])).max_rate == 6
    assert coding._link("poisson", torch.tensor([[0.0, 0.2]])).max_rate == 1
    for x, link in (
        ([[-0.1, 1.0]], "binomial"),
        ([[0.0, 1.1]], "binomial"),
        ([[-1.0, 2.0]], "poisson"),
    ):
        with pytest.raises(ValueError, match="`x`"):
            coding._link(link, torch.tensor(x))
    coding._link("binomial", torch.tensor([[0.0, 1.0]]))


def test_codes_to_start_from_are_of_the_same_rows_and_atoms() -> None:
    """From the answer itself one step stays there; from nothing, or from elsewhere, it goes there."""
    x, answer = torch.tensor([[3.0, 0.5]]), torch.tensor([[2.0, 0.0]])
    for start in (answer, torch.tensor([[7.0, -1.0]])):
        codes = SparseCodes.from_dense(start)
        found = sn.sparse_code(x, torch.eye(2), weight=1.0, n_steps=1, solver="ista", start=codes)
        torch.testing.assert_close(found.to_dense(), answer)
    for wrong in (torch.zeros(2, 2), torch.zeros(1, 3)):
        with pytest.raises(ValueError, match="`start`"):
            sn.sparse_code(x, torch.eye(2), start=SparseCodes.from_dense(wrong))
    bias = torch.tensor([1.0, 0.0])
    moved = sn.sparse_code(x, torch.eye(2), weight=1.0, n_steps=1, solver="ista", bias=bias)
    assert moved.to_dense().tolist() == [[1, 0]]
    for wrong_bias in (torch.zeros(3), torch.zeros(2).double(), torch.tensor([torch.nan, 0.0])):
        with pytest.raises(ValueError, match="`bias`"):
            sn.sparse_code(x, torch.eye(2), bias=wrong_bias)


def test_an_unrolled_graph_is_refused_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(coding, "check_memory", lambda n, *_: asked.append(n))
    operator, x = FixedOperator(torch.eye(5)), torch.ones(3, 5)
    coding._check_graph(operator, x, 4)
    coding._check_graph(operator, x.clone().requires_grad_(), None)
    assert asked == []
    coding._check_graph(operator, x.clone().requires_grad_(), 4)
    assert asked == [4 * coding.STEP_TILES * 3 * 5 * 4]


# Pursuits written out, and layers


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("reselect", [True, False])
def test_a_pursuit_written_out_gives_its_codes(nonnegative: bool, reselect: bool) -> None:
    x = drawn(20, 6).double()
    for limits in ({}, {"tolerance": 1.2}, {"relative_tolerance": 0.5}):
        sae = sn.MatchingPursuit(
            6, 9, 4, nonnegative=nonnegative, reselect=reselect, **limits,
            generator=torch.Generator().manual_seed(0),
        ).double().eval()  # fmt: skip
        found = sae.dense_codes(x)
        torch.testing.assert_close(found, sae.encode(x).to_dense().detach(), atol=1e-9, rtol=1e-7)
        assert bool(limits) <= bool((sae.encode(x).l0 < 4).any())


def test_atoms_of_layers_read_their_own_and_write_all_that_follow() -> None:
    """Directions at each site by `written`, and what is decoded by them; layer by layer in a running model."""
    c = sn.CrossLayerTranscoder(
        [5, 7, 6], 4, 2, generator=torch.Generator().manual_seed(0)
    ).double()
    xs = [drawn(30, d, seed=d).double() for d in (5, 7, 6)]
    c.initialise((xs, [x * 2 + 1 for x in xs]))
    c.eval()
    read, written = c.at_sites[:3], c.at_sites[3:]
    z = c.encode(torch.cat(xs, dim=1)).to_dense().detach()
    decoded = c.decode(c.encode(xs))
    for at in range(3):
        assert read[at].shape == (12, (5, 7, 6)[at])
        own = slice(4 * at, 4 * at + 4)
        assert bool((read[at][own] != 0).any(dim=1).all())
        assert not read[at].clone().index_fill_(0, torch.arange(12)[own], 0).any()
        assert not written[at][4 * at + 4 :].any()
        for layer in range(at + 1):
            torch.testing.assert_close(written[at][4 * layer : 4 * layer + 4], c.written(layer, at))
        torch.testing.assert_close(z @ written[at] + c.biases[at], decoded[at].detach())
    before: list[SparseCodes] = []
    for at in range(3):
        torch.testing.assert_close(c.write_at(xs[at], before).detach(), decoded[at].detach())
    with pytest.raises(ValueError, match="fewer than 3"):
        c.write_at(xs[0], before)
    for layer, at in ((0, 3), (3, 3), (1, 0), (-1, 0)):
        with pytest.raises(ValueError, match="`at`|`layer`"):
            c.written(layer, at)
    shares = c.shares()
    units = torch.split(c.operator.unit, [5, 7, 6])
    parts = zip(written, units, strict=True)
    energy = torch.stack([(part / unit).square().sum(dim=1) for part, unit in parts], dim=1)
    torch.testing.assert_close(shares, energy / energy.sum(dim=1, keepdim=True))
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(12).double())
    operator = c.operator
    assert isinstance(operator, Layers)
    torch.testing.assert_close(
        operator.synthesise(c.encode(torch.cat(xs, dim=1))).detach(),
        z @ operator.atoms().detach(),
    )
    assert (operator.n_atoms, operator.d_in) == (12, 18)
    tail = torch.cat(xs, dim=1)[:, 5:]
    left = torch.cat([xs[0], tail], dim=1)
    with torch.no_grad():
        rest = c.layers[1].start(xs[1], left)
        z = c.layers[1].training_codes(xs[1]).to_dense()
        wrote = z @ c.layers[1].operator.atoms()
    assert z.any()
    torch.testing.assert_close(rest, torch.cat([xs[0], tail - wrote], dim=1))


def test_a_prediction_sees_no_farther_than_was_trained() -> None:
    sae = sn.Temporal(4, 8, 2, context=9, generator=torch.Generator().manual_seed(0)).eval()
    assert sae._window(50) == 9  # nothing was trained
    sae.longest_trained.fill_(5)
    assert sae._window(5) == 5
    with pytest.warns(UserWarning, match="last 5 alone"):
        assert sae._window(6) == 5
    assert sae.train()._window(6) == 9
    rows = SequenceRows.of(drawn(16, 4), [4, 7, 5])
    for long, kept in ((5, 7), (8, 8), (20, 9)):  # the longest of the batch, at most the context
        sae.longest_trained.fill_(min(long, 9))
        sae.training_loss(rows, torch.zeros(8, dtype=torch.int64), 10, 0.5)
        assert int(sae.longest_trained) == kept
    default = sn.Temporal(4, 8, 2)
    assert set(default.learning_rate_shares().values()) == {0.5}
    assert default.prescale == pytest.approx(1 / math.sqrt(4))


class Moved(sn.TopK):
    """An SAE of which codes are halves, 1 being added."""

    def uncoded(self, x: Any) -> tuple[float, float]:
        return 2.0, 1.0


def test_what_no_code_holds_is_a_factor_and_a_summand() -> None:
    sae, x = Moved(4, 8, 2, generator=torch.Generator().manual_seed(0)), drawn(5, 4)
    codes = sae.encode(x)
    expected = 2 * sae.decode(codes) + 1
    torch.testing.assert_close(sae(x), expected)
    torch.testing.assert_close(sae.reconstruction(codes, x), expected)


def test_tied_rows_of_resampled_atoms_are_as_long_as_the_others_are() -> None:
    """Gains 2 and 4 of those alive: the mean, 3, times the share of a resampled length; no bias."""
    sae = sn.Temporal(4, 3, 1, n_heads=1, tied=True)
    sae.encoder.gain.data = torch.tensor([2.0, 9.0, 4.0])
    sae.encoder.bias.data = torch.tensor([1.0, 7.0, 1.0])
    share, way = sae.resampled_length, torch.tensor([[0.0, 0.6, 0.8, 0.0]])
    set_anew(sae._atom_rows(), (torch.tensor([1]), way), 3)
    torch.testing.assert_close(sae.dictionary[1], way[0])
    assert sae.encoder.gain.tolist() == [2, pytest.approx(3 * share), 4]
    assert sae.encoder.bias.tolist() == [1, 0, 1]
    every = torch.arange(3)
    set_anew(sae._atom_rows(), (every, way.expand(3, -1)), 3)
    torch.testing.assert_close(
        sae.encoder.gain.data, torch.full((3,), (2 + 3 * share + 4) / 3 * share)
    )


def test_atoms_are_aimed_at_what_their_codes_are_about() -> None:
    """Σ z (y − b), where that is more than a rounding of the largest; the others stay as they were drawn."""
    t = sn.Transcoder(3, 2, 5, 1, generator=torch.Generator().manual_seed(0)).double()
    before, left = t.dictionary.clone(), torch.tensor([[3e3, 4e3], [0.0, -2e3]]).double()
    z = torch.zeros(2, 5).double()
    z[0] = torch.tensor([1.0, UNIT_GUARD / 2, UNIT_GUARD * 2, 0.0, 1.0])
    z[1, 4] = 2
    with torch.no_grad():
        t._aim(SparseCodes.from_dense(z), left)
    expected = before.clone()
    expected[[0, 2]] = torch.tensor([0.6, 0.8]).double()
    expected[4] = torch.tensor([1.0, 0.0]).double()
    torch.testing.assert_close(t.dictionary, expected)


def test_default_groups_are_sixteenths_an_eighth_a_quarter_and_the_rest() -> None:
    assert default_groups(960) == (60, 60, 120, 240, 480)
    assert default_groups(24) == (2, 2, 3, 6, 11)
    assert [default_groups(n) for n in (1, 2, 3, 4)] == [(1,), (1, 1), (1, 1, 1), (1, 1, 1, 1)]


# Solvers in tiles, and words


def test_conjugate_gradients_stand_still_where_the_matrix_is_nothing() -> None:
    """diag(2, 0): along the first axis 6 / 2 at once; what is left along the second has no solution."""
    matrix = torch.tensor([2.0, 0.0])
    r, z = torch.tensor([[6.0, 0.0], [0.0, 3.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    step = next(solvers.conjugate_gradients(lambda p: p * matrix, r, torch.zeros(2), z))
    assert step.z.tolist() == [[4, 1], [1, 1]]
    assert step.length.tolist() == [[0.5], [0]]
    assert step.residual.tolist() == [[0, 0], [0, 3]]
    assert step.turn.tolist() == [[0], [1]]


def test_a_row_that_hardly_moves_stops() -> None:
    """ISTA on unit atoms is there at its first step; along one of length ½ it goes a quarter of what is left."""
    x = torch.tensor([[3.0, 0.5], [0.0, 0.0]])
    how: dict[str, Any] = {"n_steps": 9, "trace": True}
    codes, trace = ista(FixedOperator(torch.eye(2)), x, SoftProx(1.0), tolerance=0.0, **how)
    torch.testing.assert_close(codes.to_dense(), torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
    assert trace.n_steps.tolist() == [2, 1]
    half, far = FixedOperator(torch.diag(torch.tensor([1.0, 0.5]))), torch.tensor([[0.0, 4.0]])
    # 2, 3.5, 4.625, 5.46875: the second step is 43 % of the code, the third 24 %, the fourth 15 %
    for tolerance, steps in ((0.5, 2), (0.3, 3), (0.2, 4), (0.0, 9)):
        codes, trace = ista(half, far, IdentityProx(), tolerance=tolerance, **how)
        assert trace.n_steps.tolist() == [steps]
        left = 0.75**steps
        assert codes.to_dense()[0].tolist() == pytest.approx([0, 8 * (1 - left)])


def test_a_cap_on_memory_is_a_cap_on_rows_at_once() -> None:
    x = torch.zeros(7, 2)
    held = solvers.TILES_HELD * 4 * 5
    assert [t.stop - t.start for t in solvers._tiles(x, 5, 3 * held)] == [3, 3, 1]
    assert [t.stop - t.start for t in solvers._tiles(x, 5, 2 * held - 1)] == [1] * 7
    assert list(solvers._tiles(x, 5, None)) == [slice(0, 7)]
    with pytest.raises(MemoryError, match=str(held)):
        solvers._tiles(x, 5, held - 1)


@pytest.mark.parametrize(("tail", "steps"), [(None, 1.5), (2, 1.5), (1, 1.0)])
def test_gradients_flow_through_the_last_steps_alone(tail: int | None, steps: float) -> None:
    """An atom with ⟨d, d⟩ = ½: z₁ = √½ x, z₂ = z₁ / 2 + √½ x."""
    operator = FixedOperator(torch.diag(torch.tensor([1.0, 0.5**0.5])))
    x = torch.tensor([[0.0, 4.0]], requires_grad=True)
    z = ista(operator, x, IdentityProx(), n_steps=2, tail=tail).to_dense()
    assert z[0].tolist() == pytest.approx([0, 6 * 0.5**0.5])
    (found,) = torch.autograd.grad(z.sum(), x)
    assert float(found[0, 1]) == pytest.approx(steps * 0.5**0.5)


def test_an_sae_says_what_it_reaches() -> None:
    sae = sn.TopK(4, 10, 2)
    assert measured_words(sae) == []
    sae.measured = {"r2": 0.8125, "l0": 2.04, "dead_fraction": 0.3, "steps": 5.0, "of_steps": 9.0}
    assert measured_words(sae) == [
        "R² .812 on its last training batch", "L0 2.0", "3 dead", "cut short after 5 of 9 steps",
    ]  # fmt: skip
    sae.measured = {"r2": math.nan, "l0": 2.0, "held_out": 1.0}
    assert measured_words(sae) == ["L0 2.0"]
    assert f"{4 * 10 * 2 + 10 + 4} parameters" in sae._repr_html_()
    assert [ramp(share, 0.05) for share in (0.0, 0.025, 0.05, 0.5)] == [0, 0.5, 1, 1]
    assert [float(ramp(torch.tensor(share), 0.05)) for share in (0.025, 0.5)] == [0.5, 1]
    defaults = sae.recipe()
    steps = int(defaults.longest_warmup_steps / defaults.warmup_fraction)
    assert defaults.warmup_steps(steps * 10) == defaults.longest_warmup_steps
    assert defaults.warmup_steps(10) == round(10 * defaults.warmup_fraction)


def test_the_default_of_splitting_is_a_share_of_the_largest_eigenvalue() -> None:
    operator, x = FixedOperator(drawn(4, 3) * 2), drawn(5, 3, seed=1)
    rho = solvers.RHO_SHARE * float(operator.lipschitz())
    assert solvers.RHO_SHARE == 0.1
    found, named, other = (
        admm(operator, x, SoftProx(0.3), n_steps=3, **how).to_dense()
        for how in ({}, {"rho": rho}, {"rho": 3 * rho})
    )
    torch.testing.assert_close(found, named)
    assert not torch.allclose(found, other, atol=1e-3)


def test_weights_written_as_they_come_are_those_of_a_whole_save(tmp_path: Path) -> None:
    sae = sn.TopK(4, 6, 2, generator=torch.Generator().manual_seed(0))
    sae.save(tmp_path / "whole")
    save_sae(sae, tmp_path / "streamed", sae.state_dict())
    for name in ("sae.safetensors", "config.json"):
        assert (tmp_path / "streamed" / name).read_bytes() == (
            tmp_path / "whole" / name
        ).read_bytes()


def test_rows_of_eight_bits_have_127_levels_to_either_side() -> None:
    """Levels of 2 / 127, of nothing and of ½ / 127; halves go to the even one; a vector stays as it is."""
    state = {"w": torch.tensor([[1.0, -2.0], [0.0, 0.0], [0.5, 0.1]]), "b": torch.ones(2)}
    narrow = _narrowed(state, torch.int8)
    assert narrow["w"].tolist() == [[64, -127], [0, 0], [127, 25]]
    scale = narrow["w.row_scale"][:, 0]
    assert scale.tolist() == pytest.approx([2 / 127, 0, 0.5 / 127])
    assert float(scale[1]) > 0
    assert torch.equal(narrow["b"], state["b"])
    wide = widened(narrow)
    assert list(wide) == ["w", "b"]
    assert wide["w"][:, 0].tolist() == pytest.approx([128 / 127, 0, 0.5])
    half = _narrowed(state, torch.float16)
    assert (half["w"].dtype, half["b"].dtype) == (torch.float16, torch.float32)
    files = pd.DataFrame({"file": ["a", "b"], "bytes": [1_500_000, 4_000]})
    sent = Upload(repo="me/it", inside="x", folder=Path("f"), files=files, card="", url="u")
    assert repr(sent) == "Upload(2 files, 1.50 MB for hf:me/it/x: u)"


def test_a_pre_code_at_its_threshold_is_not_above_it() -> None:
    """θ = 2 and a window of a quarter of it to either side: |u − 2| < .5."""
    u = torch.tensor([1.0, 1.5, 1.75, 2.0, 2.25, 2.5, 4.0], requires_grad=True)
    theta = torch.full((7,), 2.0, requires_grad=True)
    above, near = [0, 0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 0, 0]
    z = jump(u, theta, 0.5)
    assert z.tolist() == [one * up for one, up in zip(u.tolist(), above, strict=True)]
    by_u, by_theta = torch.autograd.grad(z.sum(), (u, theta))
    assert (by_u.tolist(), by_theta.tolist()) == (above, [-2.0 * one for one in near])
    values, limits = u.detach()[:2, None].expand(2, 2), torch.tensor([1.0, 0.5])
    kept = ThresholdProx(limits)
    assert kept.dense(values).tolist() == kept(values).to_dense().tolist() == [[0, 1], [1.5, 1.5]]
    counted = step(u, theta, 0.5)
    assert counted.tolist() == above
    (by_theta,) = torch.autograd.grad(counted.sum(), theta)
    assert by_theta.tolist() == [-1.0 * one for one in near]


def test_atoms_of_free_norm_are_on_the_sphere_when_they_are_used() -> None:
    """Lengths 3 and 4 become 1, and what is on the sphere already stays to the bit."""
    sae = sn.MatchingPursuit(2, 3, 1, norms="free").train()
    assert sae.unit_rows() == []
    rows = torch.tensor([[3.0, 0], [0, 4], [0.6, 0.8]])
    sae.operator.weight.data = rows.clone()
    sae.operator.weight.grad = rows.clone()
    sae.before_optimiser_step()
    assert torch.equal(sae.operator.weight.grad, rows)
    assert sae.eval().operator.weight.tolist() == [[1, 0], [0, 1], pytest.approx([0.6, 0.8])]
    near = torch.tensor([[1 + 5e-7, 0], [0, 1 - 5e-7], [1, 0]])
    sae.operator.weight.data = near.clone()
    assert torch.equal(sae.train().eval().operator.weight, near)
    unit = sn.MatchingPursuit(2, 3, 1).train()
    assert [one.shape for one in unit.unit_rows()] == [(3, 2)]


def test_pre_codes_of_a_batch_share_its_entries() -> None:
    """1.5 a row are three of two rows, the largest, and never what is negative."""
    dense = torch.tensor([[1.0, 3.0, -4.0], [2.0, 0.5, -9.0]])
    for k, expected in (
        (1.5, [[1, 3, 0], [2, 0, 0]]),
        (1, [[0, 3, 0], [2, 0, 0]]),
        (0.5, [[0, 3, 0], [0, 0, 0]]),
        (3, [[1, 3, 0], [2, 0.5, 0]]),
    ):
        prox = BatchTopKProx(k)
        assert prox(dense).to_dense().tolist() == expected
        assert prox.of_affine(dense, torch.eye(3), None, None).to_dense().tolist() == expected


def test_a_prefix_is_decoded_alone() -> None:
    sae = sn.Matryoshka(2, 4, 2, groups=(1, 3)).eval()
    sae.operator.weight.data = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    sae.pre_bias.data = torch.tensor([0.5, 0.0])
    codes = SparseCodes.from_dense(torch.tensor([[2.0, 3, 0, 0], [0, 4, 5, 6]]))
    found = [sae.decode_prefix(codes, n).tolist() for n in (0, 1, 2)]
    assert found == [
        [[0.5, 0], [0.5, 0]],
        [[2.5, 0], [0.5, 0]],
        [[2.5, 3], [5.5, 10]],
    ]
    assert torch.equal(sae.decode_prefix(codes, 2), sae.decode(codes))
    with pytest.raises(ValueError, match="at most 2"):
        sae.decode_prefix(codes, 3)


def test_short_prefixes_are_drawn_by_the_inverse_root() -> None:
    """P(prefix ≥ m) ∝ 1 / √m: of prefixes below 4, 1 / √1 − 1 / √2 and so on over 1 − 1 / √4, on either device."""
    cut = np.arange(1, 5) ** -0.5
    expected = (cut[:-1] - cut[1:]) / (cut[0] - cut[-1])
    sae = sn.Matryoshka(2, 4, 1, groups=(4,), random_prefixes=2).train()
    torch.manual_seed(0)
    for draw in (lambda: drawn_on(torch.device("cpu"), 4, 1).tolist(), sae._drawn_widths):
        drawn = [tuple(draw()) for _ in range(500)]
        assert {last for _, last in drawn} == {4}
        found = np.bincount([first for first, _ in drawn], minlength=4)[1:] / 500
        np.testing.assert_allclose(found, expected, atol=0.08)
    assert drawn_on(torch.device("cpu"), 10, 9).tolist() == [*range(1, 11)]


def test_dictionaries_of_several_models_begin_at_the_parts_of_atoms() -> None:
    """Of unit length each; where an atom has no part in a model, that model keeps its own."""
    sae = sn.UniversalSAE([2, 3], 2, 1, generator=torch.Generator().manual_seed(0))
    before = [weight.detach().clone() for weight in sae.operator.weights]
    with torch.no_grad():
        sae._start_at(torch.tensor([[3.0, 4, 0, 0, 0], [0, 0, 0, 0, 2]]))
    first, second = sae.operator.weights
    assert first.tolist() == [pytest.approx([0.6, 0.8]), before[0][1].tolist()]
    assert second.tolist() == [before[1][0].tolist(), [0, 0, 1]]


def test_what_a_prediction_adds_of_sequences_of_an_activations_is_what_is_left_of_its_answer() -> (
    None
):
    """Two sequences of 3 and 2 tokens: x̂ less the novel part, one sequence after the other."""
    sae = sn.Temporal(4, 6, 2, n_heads=2, generator=torch.Generator().manual_seed(0)).eval()
    x = drawn(5, 4)
    acts = sn.Activations.from_tensor(
        x, sample=torch.tensor([0, 0, 0, 1, 1]), position=torch.tensor([0, 1, 2, 0, 1])
    )
    factor, predicted = sae.uncoded(acts)
    assert factor == 1
    expected = torch.cat([sae.uncoded(part[None])[1][0] for part in (x[:3], x[3:])])
    torch.testing.assert_close(predicted, expected)
    assert bool((predicted.abs().sum(dim=1)[[1, 2, 4]] > 0).all())
    torch.testing.assert_close(sae(acts), predicted + sae.decode(sae.encode(acts)))


def test_biases_of_an_encoder_are_learned_or_not() -> None:
    """A novel part of a ReLU is sparse by them alone."""
    for novel in ("TopK", "BatchTopK", "none"):
        fixed = sn.Temporal(4, 8, 2, novel=novel, encoder_bias=False)
        assert not fixed.encoder.bias.requires_grad
    assert sn.Temporal(4, 8, 2, novel="ReLU").encoder.bias.requires_grad
    with pytest.raises(ValueError, match="`encoder_bias`"):
        sn.Temporal(4, 8, 2, novel="ReLU", encoder_bias=False)


def test_a_constant_input_is_scaled_by_one() -> None:
    """Units are √(d / E‖x − μ‖²): of E‖x − μ‖² = ¼ and d = 2 they are √8; nothing to scale is left as it is."""
    scaling = InputScaling(2)
    scaling.fit_(torch.tensor([[1.5, 3.0], [0.5, 3.0]]))
    assert (scaling.mean.tolist(), float(scaling.scale)) == ([1, 3], pytest.approx(8**0.5))
    assert float(scaling.variance) == pytest.approx(0.25)
    scaling.fit_(torch.tensor([[1.0, 3.0], [1.0, 3.0]]))
    assert (scaling.mean.tolist(), float(scaling.scale)) == ([1, 3], 1)


def test_what_is_left_is_worth_a_step_above_rounding_alone() -> None:
    """Correlations fall from 1 to less than a hundred thousandth: then no atom is next."""
    x, atoms = torch.tensor([[1.0, 0.0]]), torch.eye(2)
    for left, best in ((1e-4, 1), (2e-5, 1), (5e-6, -1)):
        steps = summarise_pursuit(x, atoms, "mp", k=1)
        steps = replace(steps, nonnegative=False, correlations=np.array([[1.0, 0.0], [0.0, -left]]))
        assert [steps.next_atom(0), steps.next_atom(1)] == [0, best]
        assert replace(steps, nonnegative=True).next_atom(1) == -1


AUX = {"aux_weight": 1 / 32}
DEFAULTS: dict[str, dict[str, float]] = {
    "AbsTopK": AUX,
    "Archetypal": {"delta": 1},
    "BatchTopK": AUX,
    "CrossLayerTranscoder": AUX,
    "FeatureChoice": AUX | {"exponent": 0, "offset": 0},
    "Gated": {"aux_weight": 0, "sparsity": 0.3},
    "GradientSAE": AUX | {"gradient_weight": 1},
    "GroupBiasAdaptation": {
        "aux_weight": 0, "n_groups": 6, "highest_rate": 0.1, "ratio": 0.5, "every": 5, "step": 0.05,
    },
    "GroupSparse": {"penalty": 0.02, "mask": 0.25},
    "JumpReLU": AUX | {"sparsity": 1, "bandwidth": 0.5},
    "MaskedSAE": AUX | {"masked": 0.5, "masked_weight": 1},
    "MatchingPursuit": {"dropout": 0},
    "Matryoshka": AUX,
    "MutualChoice": AUX | {"aux_zipf": 0.5},
    "OrtSAE": AUX | {"orthogonality": 0.25, "chunk": 8192},
    "OrthogonalMatchingPursuit": {"dropout": 0},
    "PolySAE": AUX,
    "ReLU": {"aux_weight": 0, "sparsity": 0.15},
    "SpaDE": {"sparsity": 0.1},
    "TSAE": {"contrast": 0.03, "temperature": 0.1, "context": 2},
    "Temporal": {"n_heads": 4, "bottleneck_factor": 1, "n_layers": 1, "context": 512},
    "TopAFA": AUX | {"norm_weight": 4},
    "TopK": AUX,
    "TreeSAE": AUX | {"every": 100, "settled": 0.5},
    "UniversalSAE": AUX,
    "VariationalSAE": AUX | {"noise": 1, "divergence_weight": 0.01},
}  # fmt: skip
"""As published, where a paper names one: α = 1/32 is Gao et al.'s."""


@pytest.mark.parametrize("name", DEFAULTS)
def test_settings_that_are_left_out_are_those_that_its_page_states(name: str) -> None:
    assert numbers_left_out(getattr(sn, name)) == DEFAULTS[name]


def test_encoders_turn_as_fast_whatever_the_width() -> None:
    """0.08 / √d of one step, of transcoders of several layers at the mean width; pursuits 0.15 / √d."""
    assert sn.TopK(4, 8, 2).recipe() == TrainingDefaults(
        learning_rate=0.04, betas=(0.9, 0.999), epsilon=6.25e-10, weight_decay=0.0,
        warmup_fraction=0.05, longest_warmup_steps=1000, decay_fraction=0.2, gradient_clip=1.0,
    )  # fmt: skip
    rates = {
        sn.CrossLayerTranscoder([3, 15], 8, 2): 0.08 / 3,
        sn.UniversalSAE([4, 16], 8, 2): 0.04,
        sn.MatchingPursuit(9, 16, 2): 0.05,
        sn.SpaDE(9, 16): 0.02,
    }
    assert [one.recipe().learning_rate for one in rates] == pytest.approx(list(rates.values()))
    assert sn.MatchingPursuit(9, 16, 2).recipe().betas == (0.5, 0.9375)
    assert sn.SpaDE(9, 16).recipe().decay_fraction == 0.8
