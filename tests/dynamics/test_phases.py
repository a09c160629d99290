"""Phases: exact against brute force, planted ones recovered, none claimed where there are none (E7)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sae_nb.data import scenes
from sae_nb.dynamics import (
    Phases,
    capture_states,
    gain_curve,
    layer_similarity,
    phase_evidence,
    segment_phases,
)
from sae_nb.dynamics.phases._phases import check_cuts, check_similarity, phases_of
from sae_nb.models import LiveModel, load_model, wrap
from sae_nb_studies.dynamics import recursive_max_cut
from tests.scripts import script

DISTANCE = (torch.arange(12)[:, None] - torch.arange(12)).abs()


def phases_at(s: Any, cuts: Sequence[int], normalise: Any = "mass") -> Phases:
    return phases_of(check_similarity(s), cuts, normalise)


def blocks(*lengths: int, inside: float = 1.0, outside: float = 0.0) -> torch.Tensor:
    parts = torch.block_diag(*(torch.ones(n, n) for n in lengths))
    return outside + (inside - outside) * parts


def noise(size: int, scale: float, seed: int) -> torch.Tensor:
    drawn = torch.randn(size, size, generator=torch.Generator().manual_seed(seed)) * scale
    return (drawn + drawn.T) / 2


@pytest.mark.slow
def test_dynamic_programming_equals_brute_force() -> None:
    """Same cost as the best of all compositions on 50 random matrices, both normalisations (E7)."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        n = int(torch.randint(4, 11, (1,), generator=generator))
        w = torch.rand(n, n, generator=generator)
        s = 1 - (w + w.T) / 2
        for k in range(1, min(4, n // 2) + 1):
            all_cuts = [(0, *inner, n) for inner in combinations(range(1, n), k - 1)]
            fitting = [c for c in all_cuts if min(b - a for a, b in pairwise(c)) >= 2]
            for normalise in ("mass", "mean"):
                best = min(phases_at(s, cuts, normalise).cost for cuts in fitting)
                found = segment_phases(s, k, 2, normalise)
                assert found.cost == pytest.approx(best, abs=1e-9)
                assert found.cost == pytest.approx(phases_at(s, found.cuts, normalise).cost)


def test_mass_within_and_cut_between_add_up() -> None:
    s = 0.9**DISTANCE + noise(12, 0.1, 1)
    found = segment_phases(s, 3)
    of = np.repeat(np.arange(3), np.diff(found.cuts))
    crossing = torch.tensor(of[:, None] != of[None, :])
    assert found.cost + float((1 - s)[crossing].sum() / 2) == pytest.approx(
        segment_phases(s, 1).cost, abs=1e-5
    )


@pytest.mark.parametrize("lengths", [(5, 7), (4, 4, 4), (2, 6, 4), (3, 2, 5, 2), (2, 10)])
@pytest.mark.parametrize("normalise", ["mass", "mean"])
def test_planted_phases_are_recovered_exactly(lengths: tuple[int, ...], normalise: str) -> None:
    s = blocks(*lengths, inside=0.9, outside=0.2) + noise(12, 0.03, 2)
    s.fill_diagonal_(torch.nan)
    expected = tuple(np.cumsum((0, *lengths)).tolist())
    assert segment_phases(s, len(lengths), normalise=normalise).cuts == expected


def test_gain_rises_with_k_and_has_its_elbow_at_the_plant() -> None:
    gains = [phases.gain for phases in gain_curve(blocks(4, 4, 4))]
    assert gains == sorted(gains)
    assert gains[0] == 0
    assert gains[2] == pytest.approx(1)
    assert gains[1] < 0.8


@pytest.mark.parametrize("lengths", [(4, 4, 4), (5, 7), (6, 3, 3)])
def test_planted_phases_are_claimed(lengths: tuple[int, ...]) -> None:
    s = 0.5 * blocks(*lengths) + 0.5 * 0.9**DISTANCE + noise(12, 0.02, 3)
    found = phase_evidence(s, len(lengths), draws=100)
    assert found.supported
    assert found.phases.cuts == tuple(np.cumsum((0, *lengths)).tolist())
    assert found.phases.within > found.phases.across


@pytest.mark.parametrize("k", [2, 3, 4])
def test_no_phases_are_claimed_in_smooth_bands(k: int) -> None:
    """A band, steady or slowing down with depth, beats shuffled layers and still has no phases."""
    speeds = torch.tensor([1.29, 0.72, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.165, 0.15])
    position = speeds.cumsum(0)
    slowing = torch.exp(-0.4 * (position[:, None] - position).abs())
    for s in (0.9**DISTANCE, 0.6**DISTANCE, slowing):
        found = phase_evidence(s, k, draws=100)
        assert found.p_shuffled <= 0.05
        assert not found.supported


@pytest.mark.slow
def test_few_false_claims_on_noisy_bands() -> None:
    claimed = [
        phase_evidence(0.8**DISTANCE + noise(12, 0.05, seed), 3, draws=60, seed=seed).supported
        for seed in range(40)
    ]
    assert sum(claimed) <= 6


@pytest.mark.slow
def test_the_true_phases_of_the_tied_network_are_found() -> None:
    """4 + 4 + 4 at k = 3, stable over pictures, in the raw and the centred reading; not at k = 2."""
    states = capture_states(load_model("tiny-vit-tied"), scenes(96, seed=5))
    similarity = layer_similarity(states)
    found = phase_evidence(similarity, 3, draws=100)
    assert found.phases.cuts == (0, 4, 8, 12)
    assert found.supported
    assert found.same_cuts > 0.9
    assert segment_phases(similarity.centred, 3).cuts == (0, 4, 8, 12)
    assert not phase_evidence(similarity, 2, draws=100).supported


def test_max_cut_finds_planted_halves_and_stops_by_the_authors_rule() -> None:
    s = blocks(5, 7, inside=0.95, outside=0.3)
    assert recursive_max_cut(s, eps=0.2).cuts == (0, 5, 12)
    assert len(recursive_max_cut(s, eps=0.99).groups) == 1
    parts = recursive_max_cut(0.9**DISTANCE, eps=0.02)
    assert list(parts.gains) == sorted(parts.gains, reverse=True)


def test_max_cut_can_halve_a_phase_where_dynamic_programming_does_not() -> None:
    s = blocks(4, 4, 4, inside=0.95, outside=0.3)
    assert segment_phases(s, 3).cuts == (0, 4, 8, 12)
    assert recursive_max_cut(s, eps=0.1).cuts == (0, 4, 6, 8, 12)


@pytest.mark.parametrize("name", ["photo-vit", "stories"])
def test_no_phases_are_claimed_in_shallow_networks(assets: Path, name: str) -> None:
    """Negative controls: a four-block photograph ViT (post-norm) and a five-block language model."""
    if name == "stories":
        model = load_model(str(assets / "data" / "weights" / "stories260K_hf"))
        inputs = torch.randint(3, 500, (16, 48), generator=torch.Generator().manual_seed(0))
    else:
        model, inputs = _photo_vit(assets), scenes(48, seed=0).images
    states = capture_states(model, inputs)
    similarity = layer_similarity(states)
    for k in range(2, states.n_layers // 2 + 1):
        assert not phase_evidence(similarity, k).supported
        assert not phase_evidence(similarity, k, reading="centred").supported


def _photo_vit(assets: Path) -> LiveModel:
    path = Path(__file__).parents[1] / "real_models" / "photo_vit.py"
    module = script(path)
    vit = module.photo_vit(assets / "data" / "weights" / "vit4_cat_horse")
    return wrap(vit, preprocess=module.normalised, prefix_tokens=1, patch_grid=(8, 8))


@pytest.mark.parametrize("cuts", [(0,), (), (1, 3), (0, 3, 3), (0, 4, 2)])
def test_cuts_that_are_none_are_refused(cuts: tuple[int, ...]) -> None:
    assert check_cuts((0, 2, 5), n_layers=5) == (0, 2, 5)
    with pytest.raises(ValueError, match="0 = c_0"):
        check_cuts(cuts)
    with pytest.raises(ValueError, match="= 6"):
        check_cuts((0, 2, 5), n_layers=6)
