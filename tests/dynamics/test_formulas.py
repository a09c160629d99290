"""Every measurement of depth against its formula, written out in loops on a few uneven numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sae_nb as sn
from sae_nb.dynamics import (
    PhaseEvidence,
    Phases,
    States,
    gain_curve,
    layer_similarity,
    phase_evidence,
    segment_phases,
    self_correction,
    trajectories,
    update_rank,
)
from sae_nb.dynamics.paths._projection import fit_endpoints
from sae_nb.dynamics.paths._states import token_kinds_of
from sae_nb.dynamics.paths._trajectory import class_basins
from sae_nb.dynamics.phases._phases import _band, _best, check_cuts, check_similarity, phases_of
from tests.left_out import numbers_left_out

Normalise = Literal["mass", "mean"]


def phases_at(s: Any, cuts: Sequence[int], normalise: Any = "mass") -> Phases:
    return phases_of(check_similarity(s), cuts, normalise)


def uneven(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + 0.3


def similarities(n: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.rand(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (drawn + drawn.T) / 2


def cost(s: torch.Tensor, a: int, b: int, normalise: str) -> float:
    pairs = [1 - float(s[i, j]) for i, j in combinations(range(a, b), 2)]
    if normalise == "mass" or not pairs:
        return sum(pairs)
    return sum(pairs) / len(pairs) * (b - a)


def contrast(s: torch.Tensor, cuts: tuple[int, ...]) -> float:
    steps = []
    for a, b, c in zip(cuts, cuts[1:], cuts[2:], strict=False):
        for distance in range(1, min(b - a, c - b)):
            before = [float(s[i, i + distance]) for i in range(a, b - distance)]
            after = [float(s[i, i + distance]) for i in range(b, c - distance)]
            across = [float(s[i, i + distance]) for i in range(b - distance, b)]
            steps.append((np.mean(before) + np.mean(after)) / 2 - np.mean(across))
    return float(np.mean(steps)) if steps else math.nan


@pytest.mark.parametrize("normalise", ["mass", "mean"])
@pytest.mark.parametrize(("n", "k", "min_len"), [(8, 3, 2), (7, 2, 3), (5, 4, 1), (4, 1, 2)])
def test_the_best_cut_is_the_best_of_all(
    n: int, k: int, min_len: int, normalise: Normalise
) -> None:
    s = similarities(n, seed=n)
    every = [(0, *inner, n) for inner in combinations(range(1, n), k - 1)]
    fitting = [cuts for cuts in every if min(b - a for a, b in pairwise(cuts)) >= min_len]
    totals = [sum(cost(s, a, b, normalise) for a, b in pairwise(cuts)) for cuts in fitting]
    best = fitting[int(np.argmin(totals))]
    found = segment_phases(s, k, min_len, normalise)
    assert found.cuts == best
    assert found.cost == pytest.approx(min(totals))
    assert found.gain == pytest.approx(1 - min(totals) / cost(s, 0, n, normalise))
    assert found.layers == [range(a + 1, b + 1) for a, b in pairwise(best)]
    of = [next(m for m in range(k) if i < best[m + 1]) for i in range(n)]
    pairs = list(combinations(range(n), 2))
    within = [float(s[i, j]) for i, j in pairs if of[i] == of[j]]
    across = [float(s[i, j]) for i, j in pairs if of[i] != of[j]]
    assert found.within == pytest.approx(np.mean(within))
    assert found.across == pytest.approx(np.mean(across) if across else math.nan, nan_ok=True)
    assert found.contrast == pytest.approx(contrast(s, best), nan_ok=True)


def test_uneven_cuts_have_their_contrast() -> None:
    s = similarities(12, seed=3)
    alike = phases_at(torch.ones(4, 4), (0, 2, 4))
    assert (alike.cost, alike.gain) == (0, 0)
    for cuts in ((0, 3, 8, 12), (0, 5, 12), (0, 1, 12)):
        assert phases_at(s, cuts).contrast == pytest.approx(contrast(s, cuts), nan_ok=True)
    whole = phases_at(s, (0, 12))
    assert (whole.cuts, whole.gain) == ((0, 12), 0)
    for wrong in ((0, 12, 12), (1, 5, 12), (0, 5), (0,)):
        with pytest.raises(ValueError, match="`cuts` must be"):
            check_cuts(wrong, n_layers=12)


def test_a_phase_has_two_layers_unless_fewer_are_allowed() -> None:
    """The third of five layers is like no other: alone it is a phase only where one layer may be."""
    s = torch.eye(5)
    s[:4, :4] = 1
    assert segment_phases(s, 2).cuts == (0, 3, 5)
    assert segment_phases(s, 2, 1).cuts == (0, 4, 5)
    assert str(segment_phases(s, 2, 1)) == "1–4 | 5"
    assert [one.k for one in gain_curve(s)] == [1, 2]
    assert [one.k for one in gain_curve(s, min_len=1)] == [1, 2, 3, 4, 5]
    assert phase_evidence(s, 2, draws=1).phases.cuts == (0, 3, 5)
    with pytest.raises(ValueError, match="must fit in 5 layers"):
        segment_phases(s, 3)
    with pytest.raises(ValueError, match="at most the 5 layers"):
        segment_phases(s, 6, 1)


def test_what_one_cut_gives_many_give_at_once() -> None:
    s = torch.stack([similarities(9, seed=i) for i in range(4)])
    for normalise in ("mass", "mean"):
        gain, against = _best(s.numpy(), 3, 2, normalise)
        alone = [segment_phases(one, 3, 2, normalise) for one in s]
        assert gain == pytest.approx([one.gain for one in alone])
        near = 1 - 1e-3 * (1 - s.numpy())
        assert _best(near, 3, 2, normalise)[0] == pytest.approx(gain, rel=1e-3)
        assert against == pytest.approx([one.contrast for one in alone])


def test_a_band_keeps_the_numbers_of_each_diagonal() -> None:
    s = similarities(6).numpy()
    band = _band(s, np.random.default_rng(0))
    assert (band == band.T).all()
    assert band.diagonal().tolist() == [1] * 6
    for distance in range(1, 6):
        assert sorted(band.diagonal(distance)) == sorted(s.diagonal(distance))
    assert not np.allclose(band, s, atol=0.01)


def test_evidence_is_two_shares_of_nulls_and_one_of_redraws() -> None:
    halves = torch.arange(6) < 3
    phases = phases_at((halves[:, None] == halves).double(), (0, 2, 6))
    # 1 − 3/9: of 15 pairs nine are apart, and these cuts leave three of them together.
    assert phases.gain == pytest.approx(2 / 3)
    assert phases.contrast == pytest.approx((1 + 2 / 3) / 2 - 1)
    gains = np.array([0.1, phases.gain, 0.9, 0.2])
    found = PhaseEvidence(
        phases=phases, shuffled_gain=gains, banded_gain=gains, banded_contrast=gains - 1
    )
    assert found.p_shuffled == pytest.approx(3 / 5)
    assert found.p_banded == pytest.approx(2 / 5)
    none = np.full(19, -1.0)
    for same, supported in ((math.nan, True), (0.5, True), (0.49, False)):
        one = PhaseEvidence(
            phases=phases, shuffled_gain=none, banded_gain=none, banded_contrast=none,
            same_cuts=same,
        )  # fmt: skip
        assert one.p_banded == pytest.approx(0.05)
        assert one.supported == supported
    fewer = PhaseEvidence(
        phases=phases, shuffled_gain=none[1:], banded_gain=none, banded_contrast=none
    )
    assert not fewer.supported


def test_samples_that_agree_put_every_cut_where_it_is() -> None:
    """Three layers one way, two another, in all three samples."""
    one = torch.tensor([[1.0, 0.1], [1.0, 0.0], [1.0, 0.2], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    similarity = layer_similarity(one.repeat(3, 1, 1)[:, :, None])
    found = phase_evidence(similarity, 2, draws=5)
    assert found.phases.cuts == (0, 3, 5)
    assert found.boundary_frequency.tolist() == [0, 0, 1, 0, 0]
    assert found.same_cuts == 1
    assert found.level == 0.05
    alone = phase_evidence(layer_similarity(one[None, :, None]), 2, draws=2)
    assert (len(alone.boundary_frequency), math.isnan(alone.same_cuts)) == (0, True)


def test_two_samples_that_disagree_are_redrawn() -> None:
    """A redraw of two holds one of them twice half of the time, and then cuts as it does alone."""
    a = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
    b = torch.tensor([[1.0, 0.0]] * 5 + [[0.0, 1.0]])
    similarity = layer_similarity(torch.stack([a, b])[:, :, None])
    found = phase_evidence(similarity, 2, 1, draws=40)
    assert found.boundary_frequency.sum() == pytest.approx(1)
    assert found.boundary_frequency[[0, 2, 4]].tolist() == [0, 0, 0]
    assert min(found.boundary_frequency[[1, 3]]) > 0.1


def centred(x: torch.Tensor) -> torch.Tensor:
    return x - x.mean(dim=0)


def hsic(a: torch.Tensor, b: torch.Tensor, debiased: bool) -> float:
    k, m = a @ a.T, b @ b.T
    if not debiased:
        return float((k * m).sum())
    k, m, n = k.fill_diagonal_(0), m.fill_diagonal_(0), len(k)
    first = (k @ m).trace() + k.sum() * m.sum() / ((n - 1) * (n - 2))
    return float((first - 2 / (n - 2) * (k @ m).sum()) / (n * (n - 3)))


@pytest.mark.parametrize(("n", "debiased"), [(3, False), (4, True), (29, True), (30, False)])
def test_similarity_is_its_three_formulas(n: int, debiased: bool) -> None:
    """Class token and mean patch are two features: mean of both readings."""
    x = uneven(n, 4, 4, 3, seed=n)
    kinds = ("patch", "cls", "register", "patch")
    found = layer_similarity(x, token_kinds=kinds)
    assert found.debiased == debiased
    features = [x[:, 1:, 1], (x[:, 1:, 0] + x[:, 1:, 3]) / 2]
    for i in range(3):
        for j in range(3):
            raw = [F.cosine_similarity(f[:, i], f[:, j]) for f in features]
            off = [F.cosine_similarity(centred(f)[:, i], centred(f)[:, j]) for f in features]
            cka = []
            for f in features:
                a, b = centred(f[:, i].double()), centred(f[:, j].double())
                own = hsic(a, a, debiased) * hsic(b, b, debiased)
                cka.append(hsic(a, b, debiased) / own**0.5)
            assert float(found.raw[i, j]) == pytest.approx(float(torch.cat(raw).mean()), abs=1e-5)
            assert float(found.centred[i, j]) == pytest.approx(
                float(torch.cat(off).mean()), abs=1e-5
            )
            assert float(found.cka[i, j]) == pytest.approx(sum(cka) / 2, abs=1e-4)
    off_diagonal = (found.raw[0, 1] + found.raw[0, 2] + found.raw[1, 2]) / 3
    assert found.means["raw"] == pytest.approx(float(off_diagonal), abs=1e-6)
    assert f"raw {float(off_diagonal):.3f}" in repr(found)


def test_of_many_tokens_some_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of nine tokens, room being for four, every second: 0, 2, 4 and 6."""
    monkeypatch.setattr("sae_nb.dynamics.phases._similarity.MAX_CKA_ROWS", 4)
    x = uneven(3, 4, 3, 2)
    found = layer_similarity(x, token_kinds=["token"] * 3)
    rows = x[:, 1:].transpose(1, 2).flatten(0, 1)[[0, 2, 4, 6]].double()
    for i in range(3):
        for j in range(3):
            a, b = centred(rows[:, i]), centred(rows[:, j])
            cka = hsic(a, b, True) / (hsic(a, a, True) * hsic(b, b, True)) ** 0.5
            assert float(found.cka[i, j]) == pytest.approx(cka, abs=1e-4)


def test_tokens_that_a_sample_lacks_are_in_no_centre() -> None:
    """The second token is of two samples, the third of one alone, which has nothing to differ from."""
    x = uneven(3, 4, 3, 2)
    keep = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    x[1, :, 2] = x[2, :, 1:] = torch.nan
    found = layer_similarity(States(x, keep=keep))
    first, second = centred(x[:, 1:, 0]), centred(x[:2, 1:, 1])
    for i in range(3):
        for j in range(3):
            both = F.cosine_similarity(first[:, i], first[:, j])
            other = F.cosine_similarity(second[:, i], second[:, j])
            wanted = ((both[0] + other[0]) / 2 + (both[1] + other[1]) / 2 + both[2]) / 3
            assert float(found.centred[i, j]) == pytest.approx(float(wanted), abs=1e-5)


def normed(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def test_trajectories_are_means_over_inputs_and_tokens_that_are_there() -> None:
    x = uneven(3, 4, 3, 5)
    keep = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    x[1, :, 2] = x[2, :, 1:] = torch.nan
    found = trajectories(States(x, keep=keep, token_kinds=("cls", "token", "token")))
    u = normed(x)
    cosine = (u * u[:, -1:]).sum(-1)
    turned = torch.arccos((u[:, 1:] * u[:, :-1]).sum(-1))
    torch.testing.assert_close(found.convergence, cosine, equal_nan=True)
    torch.testing.assert_close(found.speed, turned, equal_nan=True, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.norms, x.norm(dim=-1), equal_nan=True)
    assert found.n_layers == 3
    of_tokens = [cosine[i, :, t] for i, t in ((0, 1), (0, 2), (1, 1))]
    torch.testing.assert_close(found.mean("convergence", "token"), sum(of_tokens) / 3)
    spread = torch.stack(of_tokens).std(dim=0, correction=0)
    torch.testing.assert_close(found.sd("convergence", "token"), spread)
    torch.testing.assert_close(
        found.coherence[:2], torch.stack([u[0, :, 1:].mean(dim=1), u[1, :, 1]]).norm(dim=-1)
    )
    whole = trajectories(States(x[:1], token_kinds=("cls", "token", "token")))
    assert whole.coherence_floor == pytest.approx(2**-0.5)
    assert list(whole.table.index) == [0, 1, 2, 3]
    assert np.isnan(whole.table["effective rank"][0])
    assert whole.table["stable rank"][3] == pytest.approx(float(whole.update_rank.stable[2]))


def test_the_floor_of_unequal_lengths_is_a_root_mean_square() -> None:
    """Of 1 and of 4 tokens: √((1/1 + 1/4) / 2)."""
    x = uneven(2, 3, 4, 2)
    x[0, :, 1:] = torch.nan
    keep = torch.tensor([[True, False, False, False], [True] * 4])
    assert trajectories(States(x, keep=keep)).coherence_floor == pytest.approx((1.25 / 2) ** 0.5)


@pytest.mark.parametrize(("n", "d"), [(2, 7), (5, 3)])
def test_update_ranks_are_those_of_singular_values(n: int, d: int) -> None:
    """‖D‖² / σ₁² and exp H(σ² / Σσ²), few rows and many."""
    x = uneven(n, 4, 2, d)
    found = update_rank(x)
    for step, (before, after) in enumerate(pairwise(normed(x).unbind(1))):
        share = torch.linalg.svdvals((after - before).reshape(-1, d).double()).square()
        share = share / share.sum()
        assert float(found.stable[step]) == pytest.approx(float(1 / share.max()), rel=1e-4)
        entropy = float(-(share * share.log()).sum())
        assert float(found.effective[step]) == pytest.approx(math.exp(entropy), rel=1e-4)
    assert found.limit == min(2 * n, d)


def test_basins_are_means_over_pairs_and_a_quantile_of_shuffles() -> None:
    x, labels = uneven(7, 3, 2, 4), np.array(["a", "b", "a", "c", "b", "a", "b"])
    found = class_basins(x, labels, seed=5)
    rng = np.random.default_rng(5)
    orders = [rng.permutation(np.unique(labels, return_inverse=True)[1]) for _ in range(40)]

    def means(cosines: torch.Tensor, of: np.ndarray) -> tuple[float, float]:
        pairs = [(float(cosines[i, j]), of[i] == of[j]) for i, j in combinations(range(7), 2)]
        mean = {key: np.mean([c for c, same in pairs if same == key]) for key in (True, False)}
        return float(mean[True]), float(mean[False])

    for layer in range(3):
        u = normed(x[:, layer, 0])
        cosines = u @ u.T
        within, between = means(cosines, labels)
        assert found.within[layer] == pytest.approx(within, abs=1e-5)
        assert found.between[layer] == pytest.approx(between, abs=1e-5)
        assert found.gap[layer] == pytest.approx(within - between, abs=1e-5)
        gaps = [np.subtract(*means(cosines, order)) for order in orders]
        assert found.floor[layer] == pytest.approx(np.quantile(gaps, 0.95), abs=1e-5)
        apart = (1 - cosines).numpy()
        scores = []
        for i in range(7):
            own = [apart[i, j] for j in range(7) if j != i and labels[j] == labels[i]]
            others = [
                np.mean([apart[i, j] for j in range(7) if labels[j] == name])
                for name in "abc"
                if name != labels[i]
            ]
            a, b = np.mean(own or [0]), min(others)
            scores.append((b - a) / max(a, b) if own else 0)
        assert found.silhouette[layer] == pytest.approx(np.mean(scores), abs=1e-5)
    assert (found.token, found.n_classes) == (0, 3)
    assert class_basins(x, labels, token=-2).gap == pytest.approx(found.gap)
    for token in (2, -3):
        with pytest.raises(ValueError, match="below the 2 tokens"):
            class_basins(x, labels, token=token)
    assert class_basins(x[:3], [0, 1, 1]).n_classes == 2
    with pytest.raises(ValueError, match="name some class twice"):
        class_basins(x[:2], [0, 1])


@pytest.mark.parametrize("kind", ["pca", "sphere"])
def test_endpoint_axes_are_singular_vectors(kind: Literal["pca", "sphere"]) -> None:
    x = uneven(9, 3, 2, 5)
    found = fit_endpoints(x[:, :, 1], 2, kind)
    u = normed(x[:, :, 1])
    centre = u[:, -1].mean(dim=0) * (kind == "pca")
    _, size, rows = torch.linalg.svd(u[:, -1] - centre)
    axes = rows[:2] * (rows[:2] * found.axes).sum(dim=1, keepdim=True).sign()
    torch.testing.assert_close(found.axes, axes, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.explained, size.square()[:2] / size.square().sum())
    flat = (u - centre) @ axes.T
    shown = normed(flat) if kind == "sphere" else flat
    torch.testing.assert_close(found.coordinates, shown, atol=1e-4, rtol=0)
    for layer in range(3):
        whole = u[:, layer] - u[:, layer].mean(dim=0) * (kind == "pca")
        kept = (whole @ axes.T).square().sum() / whole.square().sum()
        assert float(found.kept[layer]) == pytest.approx(float(kept), abs=1e-4)


def test_short_paths_are_kept_whole_by_the_axis_they_lie_on() -> None:
    """Two points have one line, however near each other they are."""
    x = torch.tensor([[1.0, 0.1, 0.0], [1.0, 0.0, 0.1]])[:, None, None].repeat(1, 2, 1, 1)
    found = fit_endpoints(x[:, :, 0], 1, "pca")
    assert found.kept.tolist() == pytest.approx([1, 1], abs=1e-4)
    assert found.explained.tolist() == pytest.approx([1], abs=1e-4)
    still = fit_endpoints(x[:1, :, 0].repeat(2, 1, 1), 1, "pca")
    assert (still.kept.tolist(), still.explained.tolist()) == ([0, 0], [0])


class Doubling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.attn = nn.Identity(), nn.Identity()
        self.goal = nn.Parameter(torch.tensor([1.0, 0.5, 0.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x + self.goal


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Doubling() for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def test_a_push_is_noise_of_the_states_length() -> None:
    """Behind it each block doubles the push, which blocks that add the same as before would not."""
    x = uneven(2, 2, 3)
    found = self_correction(sn.wrap(Stack()), x, layer=1, size=0.3, seed=4)
    noise = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(4))
    goal = torch.tensor([1.0, 0.5, 0.0])
    states = [x, 2 * x + goal, 4 * x + 3 * goal, 8 * x + 7 * goal]
    push = 0.3 * normed(noise) * states[1].norm(dim=-1, keepdim=True)
    wanted = [states[0], states[1] + push, states[2] + 2 * push, states[3] + 4 * push]
    torch.testing.assert_close(found.states, torch.stack(wanted, dim=1))
    for layer in range(1, 4):
        cosine = F.cosine_similarity(wanted[layer], states[layer], dim=-1)
        only = F.cosine_similarity(states[layer] + push, states[layer], dim=-1)
        torch.testing.assert_close(found.angles[:, layer], cosine.arccos(), atol=1e-4, rtol=0)
        torch.testing.assert_close(found.norm_only[:, layer], only.arccos(), atol=1e-4, rtol=0)
    angles, only = found.angles.mean(dim=(0, 2)), found.norm_only.mean(dim=(0, 2))
    assert found.ratio == pytest.approx(float(angles[3] / angles[1]))
    assert found.norm_only_ratio == pytest.approx(float(only[3] / only[1]))
    assert self_correction(sn.wrap(Stack()), x, layer=1, size=0).ratio == 1
    for layer in (-1, 4):
        with pytest.raises(ValueError, match="between 0 .embeddings. and 3"):
            self_correction(sn.wrap(Stack()), x, layer=layer, size=0.3)


def test_states_know_their_tokens_and_blocks() -> None:
    x = uneven(2, 3, 4, 5)
    blocks = [("b", 0), ("b", 1)]
    assert States(x).positions == (0, 1, 2, 3)
    assert States(x).n_layers == 2
    assert States(x).layers.values.tolist() == [[0, "", -1], [1, "", -1], [2, "", -1]]
    assert "of 1 shared blocks" in repr(States(x, blocks=blocks))
    assert "shared" not in repr(States(x, blocks=[("a", 0), ("b", 0)]))
    assert "(1 + 2) layers × 4 tokens" in repr(States(x))
    for wrong in (blocks[:1], [*blocks, ("b", 2)]):
        with pytest.raises(ValueError, match="one entry per layer from 1 on, 2"):
            States(x, blocks=wrong)
    for shape in ((2, 3), (3, 4)):
        with pytest.raises(ValueError, match="a mask of shape"):
            States(x, keep=torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize(
    ("prefix", "parameters", "kinds"),
    [
        (3, {"register_tokens": (1, 2, 5)}, ["cls", "register", "register", "patch", "patch"]),
        (2, {"register_tokens": (1, 2, 5)}, ["register", "register", "patch", "patch", "patch"]),
        (
            2,
            {"register_tokens": (1, 2, 5), "cls_token": (1, 1, 5)},
            ["cls", "register", *["patch"] * 3],
        ),
        (1, {}, ["cls", *["patch"] * 4]),
        (0, {}, ["patch"] * 5),
    ],
)
def test_tokens_before_the_patches_are_cls_and_registers(
    prefix: int, parameters: dict[str, tuple[int, ...]], kinds: list[str]
) -> None:
    """A first token is a register only where registers are all there is and nothing is called cls."""
    module = nn.ParameterDict({name: torch.zeros(shape) for name, shape in parameters.items()})
    modality = SimpleNamespace(is_image=True, is_text=False)
    model: Any = SimpleNamespace(
        modality=modality, prefix_tokens=prefix, module=module, patch_grid=(1, 5)
    )
    assert list(token_kinds_of(model, range(5))) == kinds
    assert list(token_kinds_of(model, [4, 0])) == [kinds[4], kinds[0]]
    modality.is_image = False  # a sound has patches, a text has none
    assert list(token_kinds_of(model, range(5))) == kinds
    modality.is_text = True
    assert list(token_kinds_of(model, range(2))) == ["token"] * 2


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("gain_curve", {'min_len': 2}),
        ("phase_evidence", {'min_len': 2, 'draws': 200, 'seed': 0, 'level': 0.05}),
        ("segment_phases", {'min_len': 2}),
        ("PhaseEvidence", {'level': 0.05}),
        ("self_correction", {'seed': 0}),
    ],
)  # fmt: skip
def test_numbers_that_are_left_out_are_those_that_its_page_states(
    name: str, numbers: dict[str, float]
) -> None:
    assert numbers_left_out(attrgetter(name)(sn.dynamics)) == numbers
