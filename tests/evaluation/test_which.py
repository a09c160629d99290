"""Advice on planted data is what they were made to need, with the margins that were measured."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.evaluation import which_sae
from sae_nb.evaluation._recommend import (
    Advice,
    Assumed,
    Finding,
    _assumed,
    _few_atoms,
    _rows,
    _spread,
)

SEEDS = pytest.mark.parametrize("seed", [0, 1])


def gaussian(seed: int = 0, n: int = 2000, d_in: int = 32) -> Tensor:
    return torch.randn(n, d_in, generator=torch.Generator().manual_seed(seed))


def test_rows_are_scaled_by_their_spread_and_copies_are_no_rows() -> None:
    x = 5 * gaussian(n=600) + 3
    drawn = _rows(x, 512, torch.Generator().manual_seed(0))
    assert len(drawn) == 512
    assert float((drawn - drawn.mean(dim=0)).square().sum(dim=1).mean()) == pytest.approx(1)
    with pytest.raises(ValueError, match="got 511 among 600"):
        _rows(x[torch.arange(600) % 511], 600, torch.Generator())


def found(advice: Advice) -> tuple[Finding, Finding, Finding, Finding]:
    dimension, count, hierarchy, sign = advice.findings
    return dimension, count, hierarchy, sign


# What each measure sees. Gates are the worst of three seeds with a margin; see the numbers beside.


@pytest.mark.slow
@SEEDS
def test_uneven_dimensions_are_seen(seed: int) -> None:
    """Clouds of 6 to 126 dimensions: ratio ≥ 6.8, against 1.8 for a Gaussian cloud."""
    advice = which_sae(sn.data.uneven_dimensions(400, seed=seed).x)
    dimension = found(advice)[0]
    assert dimension.holds is False
    assert dimension.value > 6 > dimension.limit + 1
    assert advice.first_try == "SpaDE"


@SEEDS
def test_even_dimensions_are_not_taken_for_uneven(seed: int) -> None:
    """Sums of four atoms: ratio ≤ 1.95; a single Gaussian cloud 1.8, as its surrogate."""
    for x in (sn.data.planted_dictionary(96, 32, n=2000, k=4, seed=seed).x, gaussian(seed)):
        dimension = found(which_sae(x))[0]
        assert dimension.holds
        assert dimension.value < 2.2 < dimension.limit - 1


@pytest.mark.slow
@SEEDS
def test_hierarchy_is_seen(seed: int) -> None:
    """Nine of the twenty concepts of the tree come only on top of another: 0.45, chance 0."""
    advice = which_sae(sn.data.concept_tree(2000, seed=seed).x)
    hierarchy = found(advice)[2]
    assert hierarchy.value == pytest.approx(9 / 20, abs=0.05)
    assert (hierarchy.floor, hierarchy.holds) == (0, False)
    assert advice.first_try == "MatchingPursuit"


@pytest.mark.slow
@SEEDS
@pytest.mark.parametrize("coherence", [0.0, 0.6])
def test_atoms_without_a_hierarchy_are_not_taken_for_one(coherence: float, seed: int) -> None:
    """Single atoms, overlapping ones included: at most 0.05 of the atoms."""
    x = sn.data.planted_dictionary(
        40, 32, n=2000, k=1, coherence=coherence, noise=0.02, seed=seed
    ).x
    hierarchy = found(which_sae(x))[2]
    assert hierarchy.holds
    assert hierarchy.value < 0.1


@pytest.mark.slow
@SEEDS
@pytest.mark.parametrize("support", ["exact", "bernoulli"])
def test_sums_of_two_independent_atoms_are_no_hierarchy(support: str, seed: int) -> None:
    """Rows of two atoms each, or of two on average: at most 0.035 of the atoms found."""
    x = sn.data.planted_dictionary(20, 20, n=4000, k=2, support=support, seed=seed).x
    hierarchy = found(which_sae(x))[2]
    assert hierarchy.holds
    assert hierarchy.value < 0.12


@pytest.mark.slow
@SEEDS
def test_number_of_atoms_is_seen(seed: int) -> None:
    """Independent atoms spread like their shuffle (ratio 1.0 to 1.1), one or two a row far less."""
    varied = sn.data.planted_dictionary(20, 20, n=2000, k=2, support="bernoulli", seed=seed).x
    count = found(which_sae(varied))[1]
    assert count.holds is False
    assert count.value > 0.85 * count.floor
    fixed = sn.data.planted_dictionary(40, 32, n=2000, k=1, noise=0.02, seed=seed).x
    count = found(which_sae(fixed))[1]
    assert count.holds
    assert count.value < 0.4 * count.floor


@pytest.mark.slow
@SEEDS
def test_signs_are_seen(seed: int) -> None:
    """Energy on negative codes, as a share of chance: 1.0 for signed codes, 0.4 for one-sided."""
    planted = {"n_atoms": 96, "d_in": 32, "n": 2000, "k": 4, "seed": seed}
    sign = found(which_sae(sn.data.planted_dictionary(**planted, nonnegative=False).x))[3]
    assert sign.holds is False
    assert sign.value > 0.93 * sign.floor
    sign = found(which_sae(sn.data.planted_dictionary(**planted).x))[3]
    assert sign.holds
    assert sign.value < 0.6 * sign.floor


@pytest.mark.slow
@SEEDS
def test_what_cannot_be_seen_is_said(seed: int) -> None:
    advice = which_sae(gaussian(seed))
    for finding in found(advice)[1:3]:
        assert finding.holds is None
        assert math.isnan(finding.value)
    assert repr(advice).count("not seen") == 2


# What must not matter


@pytest.mark.slow
def test_offset_scale_and_precision_do_not_matter() -> None:
    x = sn.data.planted_dictionary(96, 32, n=1000, k=4).x
    expected = [finding.holds for finding in which_sae(x).findings]
    for other in (x + 7, 1e15 * x, 1e-15 * x, x.half(), x.double()):
        assert [finding.holds for finding in which_sae(other).findings] == expected


@pytest.mark.slow
def test_activations_and_rows_agree() -> None:
    x = sn.data.concept_tree(1500).x
    advice = which_sae(sn.Activations.from_tensor(x), max_rows=1000)
    assert advice == which_sae(x, max_rows=1000)
    assert advice.n_rows == 1000


# Bad input


# By hand


def doubted(*tried: tuple[str, ...]) -> Advice:
    def one(names: tuple[str, ...], holds: bool | None) -> Assumed:
        return Assumed(
            assumption="a", measure="m", value=1.0, floor=1.0, limit=1.0, holds=holds, missed="x",
            try_instead=names,
        )  # fmt: skip

    assumed = (*(one(names, False) for names in tried), one(("JumpReLU",) * 5, True), one((), None))
    return Advice(findings=assumed, n_rows=5, dimensions=3.0, explained=0.5)


def test_the_first_try_is_what_most_doubts_name_first() -> None:
    """Of n names the first has n votes and the last one."""
    assert doubted().first_try == "TopK"
    assert doubted(("A", "B"), ("C", "B")).first_try == "A"  # two each of A, B and C
    assert doubted(("A", "B"), ("C", "B"), ("D", "B")).first_try == "B"
    assert doubted(("A",), ("C", "B")).first_try == "C"


def test_an_assumption_holds_up_to_its_limit() -> None:
    words = ("a", "m", "x", ("TopK",))
    for value, holds in ((1.0, True), (1.01, False), (math.nan, None)):
        assert _assumed(words, value, 0.5, 1.0).holds is holds


def test_rows_near_few_directions_are_read_by_them() -> None:
    """Three directions, one atom a row; an offset that all share is taken off; noise has no atoms."""
    generator = torch.Generator().manual_seed(0)
    which = torch.arange(600) % 3
    x = torch.eye(8)[which] * (1 + torch.rand(600, 1, generator=generator))
    codes, explained = _few_atoms(x, generator)
    assert codes is not None
    assert explained == pytest.approx(1, abs=1e-4)
    assert codes.l0.tolist() == [1] * 600
    # What is explained is a share of the energy: a tenth of noise in length is a hundredth of it.
    noise = torch.nn.functional.normalize(torch.randn(600, 8, generator=generator), dim=1)
    noisy = x + 0.1 * x.norm(dim=1, keepdim=True) * noise
    codes, explained = _few_atoms(noisy, generator)
    assert codes is not None
    assert explained == pytest.approx(0.99, abs=0.008)
    assert codes.l0.float().mean() == pytest.approx(1, abs=0.05)
    none, explained = _few_atoms(gaussian(n=600, d_in=24), generator)
    assert none is None
    assert explained < 0.9


def test_the_spread_of_counts_is_relative() -> None:
    for unit in (1.0, 1e-3):
        assert _spread(unit * torch.tensor([1.0, 3.0])) == pytest.approx(2**0.5 / 2)


def test_limits_lie_beyond_the_floor_by_their_margins() -> None:
    """Times 2.5, times 0.7, 0.15 more, times 0.8."""
    x = torch.eye(8)[torch.arange(520) % 3] * (1 + gaussian(n=520, d_in=1).abs())
    dimension, count, nested, sign = which_sae(x).findings
    assert dimension.limit == pytest.approx(2.5 * dimension.floor)
    assert count.limit == pytest.approx(0.7 * count.floor, nan_ok=True)
    assert nested.limit == pytest.approx(nested.floor + 0.15, nan_ok=True)
    assert sign.limit == pytest.approx(0.8 * sign.floor)
    assert not math.isnan(nested.floor)
