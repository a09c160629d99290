"""Exercises that ask for a function: the right one passes however it is written, each known mistake is named."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from sae_nb_lessons import exercise
from sae_nb_lessons.exercises._mistakes import FIXED, Slip
from sae_nb_lessons.studies._own_sae import encode, replacements
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from tests.lessons.exercises import core_answers, lab_answers, notebook_answers, safety_answers

TABLES = (core_answers, notebook_answers, lab_answers, safety_answers)


def transcoded(x: Tensor, E: Tensor, a: Tensor, D: Tensor, b: Tensor, k: int) -> Tensor:
    rows = []
    for row in x:
        u = E @ row + a
        kept = [j for j in u.argsort(descending=True)[:k].tolist() if u[j] > 0]
        rows.append(b + sum(u[j] * D[j] for j in kept))
    return torch.stack(rows)


def again(tokens: Sequence[int], n: int) -> list[bool]:
    text = ["".join(f"<{token}>" for token in tokens[: end + 1]) for end in range(len(tokens))]
    last = ["".join(f"<{token}>" for token in tokens[: end + 1][-n:]) for end in range(len(tokens))]
    return [end >= n and last[end] in (text[end - 1] if end else "") for end in range(len(tokens))]


def occluded(f: Callable[[Tensor], Tensor], image: Tensor, size: int, fill: float) -> Tensor:
    shape = [side // size for side in image.shape[1:]]
    squares = torch.arange(shape[0] * shape[1]).view(shape)
    places = squares.repeat_interleave(size, 0).repeat_interleave(size, 1)
    before, after = (
        f(image[None]),
        [f(torch.where(places == s, fill, image)[None]) for s in range(squares.numel())],
    )
    return (before - torch.cat(after)).view(shape)


def found(images: Tensor, captions: Tensor) -> float:
    cosines = torch.cosine_similarity(images[:, None], captions[None], dim=2).tolist()
    return sum(row[i] == max(row) for i, row in enumerate(cosines)) / len(cosines)


def sums(z: Tensor, w: Tensor) -> list[tuple[float, float]]:
    return list(zip(z.sum(dim=0).tolist(), w.sum(dim=0).tolist(), strict=True))


def detector(z: Tensor, y: Tensor) -> Tensor:
    hits = ((z > 0) & y[:, None]).sum(dim=0).double()
    recall, precision = hits / y.sum(), hits / (z > 0).sum(dim=0).clamp(min=1)
    return (2 / (1 / recall.clamp(min=1e-9) + 1 / precision.clamp(min=1e-9))).argmax()


def looked(x: Tensor, W_Q: Tensor, b_Q: Tensor, W_K: Tensor, b_K: Tensor) -> Tensor:
    rows = torch.zeros(len(x), len(x), dtype=x.dtype)
    for t, state in enumerate(x):
        query, keys = state @ W_Q + b_Q, x[: t + 1] @ W_K + b_K
        weight = (keys @ query / math.sqrt(len(b_Q))).exp()
        rows[t, : t + 1] = weight / weight.sum()
    return rows


def straight(end: Tensor, x: Tensor, y: Tensor, read: Any, stop: float) -> list[float]:
    start = float(read(end))
    moved = [float(read(end + b - a)) for a, b in zip(x, y, strict=True)]
    return [(one - start) / (stop - start) for one in moved]


def heard(x: Tensor, change: Tensor, *weights: Any) -> Tensor:
    *W, by = weights
    names = ("queries", "keys", "values")
    q, k, v = (((x + (name == by) * change) @ w)[None] for name, w in zip(names, W, strict=True))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)[0]


def turned(E: Tensor) -> Tensor:
    n = torch.arange(len(E)).double()
    turns = torch.outer(n, n) * 2 * math.pi / len(E)
    return torch.complex(turns.cos(), -turns.sin())


def frequency_shares(E: Tensor) -> Tensor:
    found = turned(E) @ (E - E.mean(dim=0)).to(torch.complex128)
    power = (found * found.conj()).real.sum(dim=1)
    return 2 * power[1 : (len(E) + 1) // 2] / power.sum()


def kept(E: Tensor, frequencies: Sequence[int]) -> Tensor:
    p, F = len(E), turned(E)
    at = [0, *frequencies, *(p - f for f in frequencies)]
    return (F[at].conj().T @ F[at] @ E.to(F)).real / p


def by_difference(logits: Tensor) -> Tensor:
    x, p = logits - logits.mean(dim=2, keepdim=True), len(logits)
    rows = [x[a, b].roll(-(a + b) % p) for a in range(p) for b in range(p)]
    return p**2 * torch.stack(rows).mean(dim=0).square().sum() / x.square().sum()


def agreement(x: Tensor, y: Tensor, half: Tensor) -> float:
    parts = [[(x[kept].mean(0) - y[kept].mean(0)).numpy()] for kept in (half, half.logical_not())]
    return 1 - float(cdist(*parts, metric="cosine")[0, 0])


def capped(x: Tensor, v: Tensor, most: float) -> Tensor:
    """The part along v and the part off it, put together anew."""
    onto = torch.outer(v, v) / (v @ v)
    along = (x @ v / v.norm()).clamp(max=most)
    return x - x @ onto + torch.outer(along, v) / v.norm()


def by_phases(
    means: Tensor, values: Tensor, frequencies: Sequence[int], period: float, at: Tensor
) -> Tensor:
    """Complex waves e^iωu and e^−iωu instead of cosines and sines."""
    both = torch.tensor([0, *frequencies, *(-f for f in frequencies)]).double()
    to, back = ((torch.outer(u, both) * 2j * math.pi / period).exp() for u in (at, values))
    return (to @ torch.linalg.pinv(back) @ means.to(back)).real


def by_logsumexp(later: Tensor, earlier: Tensor, temperature: float) -> Tensor:
    unit = [z / z.square().sum(dim=1, keepdim=True).sqrt() for z in (later, earlier)]
    cosines = torch.einsum("ia,ja->ij", *unit) / temperature
    ways = [(cosines.logsumexp(dim=d) - cosines.diagonal()).mean() for d in (0, 1)]
    return torch.stack(ways).mean()


def one_by_one(x: Tensor, points: Tensor, steps: int) -> Tensor:
    rows = []
    for row in x:
        far = [float((row - point).square().sum()) for point in points]
        around = points.roll(-far.index(min(far)), dims=0)
        rows.append(row - around[0] + around[steps % len(points)])
    return torch.stack(rows)


def channel_by_channel(W: Tensor, b: Tensor, keep: Tensor, mean: Tensor) -> Tensor:
    rows, bias = [], b
    for row, kept, level in zip(W, keep, mean, strict=True):
        rows.append(row if kept else torch.zeros_like(row))
        bias = bias if kept else bias + level * row
    return torch.stack([*rows, bias])


KNOWN: dict[str, str] = {
    "00.1": "_tour._slips",
    "02.1": "_own_sae._encoder_slips",
    "02.2": "_own_sae._LOSS_SLIPS",
    "02.3": "_own_sae._UNIT_SLIPS",
    "02.4": "_own_sae._DEAD_SLIPS",
    "03.7": "_evaluation._BEST_SLIPS",
    "04.1": "_probing._PROBE_SLIPS",
    "04.3": "_probing._SPARSE_SLIPS",
    "06.1": "_lens._LENS_SLIPS",
    "06.4": "_lens._HITS_SLIPS",
    "07.1": "_patching._SLIPS",
    "08.3": "_circuits._INDUCTION_SLIPS",
    "10.1": "_own_model._CAPTURE_SLIPS",
    "10.2": "_own_model._BUDGET_SLIPS",
    "10.3": "_own_model._KEPT_SLIPS",
    "34.2": "_safety._SCORE_SLIPS",
    "34.4": "_safety._NONE_SLIPS",
    "11.5": "_pursuit._SLIPS",
    "12.4": "_hierarchy._SLIPS",
    "13.2": "_projections._SLIPS",
    "14.2": "_archetypal._SLIPS",
    "15.4": "_depth._SLIPS",
    "16.3": "_minkowski._SLIPS",
    "17.2": "_time._SLIPS",
    "18.3": "_shapes._SLIPS",
    "19.1": "_transcoders._slips",
    "20.1": "_crosscoders._SLIPS",
    "21.2": "_corpora._Q_SLIPS",
    "21.5": "_corpora._GREEDY_SLIPS",
    "22.1": "_behaviour._slips",
    "23.2": "_talking._DETECTION_SLIPS",
    "23.3": "_talking._EDIT_SLIPS",
    "24.2": "_sharing._LEAST_SLIPS",
    "24.4": "_sharing._READER_SLIPS",
    "25.4": "_vision._SLIPS",
    "26.1": "_pixels._slips",
    "27.1": "_towers._SEARCH_SLIPS",
    "27.3": "_towers._SIDE_SLIPS",
    "27.4": "_towers._BRIDGE_SLIPS",
    "27.5": "_towers._DETECTOR_SLIPS",
    "28.2": "_hearing._DETECTOR_SLIPS",
    "28.4": "_hearing._MOMENT_SLIPS",
    "29.1": "_changes._slips",
    "30.1": "_heads._SLIPS",
    "31.1": "_attention_by_hand._pattern_slips",
    "31.2": "_attention_by_hand._writing_slips",
    "31.3": "_attention_by_hand._qk_slips",
    "31.5": "_attention_by_hand._copying_slips",
    "32.1": "_paths._straight_slips",
    "32.2": "_paths._heard_slips",
    "33.1": "_modular._share_slips",
    "33.2": "_modular._kept_slips",
    "33.4": "_modular._difference_slips",
    "35.1": "_moods._agreement_slips",
    "35.3": "_moods._cap_slips",
    "36.1": "_curves._fit_slips",
    "36.3": "_curves._move_slips",
    "37.1": "_neighbours._slips",
    "38.1": "_few_weights._slips",
    "lab_01.1": "_landmarks._SLIPS",
    "lab_02.1": "_similarity._SLIPS",
    "lab_03.1": "_waves._STEP_SLIPS",
    "lab_04.1": "_events._STEP_SLIPS",
    "lab_05.1": "_anomalies._SLIPS",
    "lab_06.2": "_error_bars._SLIPS",
    "lab_07.1": "_momentum._SLIPS",
    "lab_08.1": "_orbits._SLIPS",
    "lab_09.1": "_signatures._SLIPS",
    "lab_10.1": "_mosaics._SLIPS",
}
RIGHT: dict[str, Any] = {
    "02.1": encode,
    "02.2": lambda x, y: ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum(),
    "02.3": torch.nn.functional.normalize,
    "02.4": replacements,
    "19.1": transcoded,
    "22.1": again,
    "26.1": occluded,
    "27.1": found,
    "27.3": lambda z, w: [a / (a + b) if a + b else 0.5 for a, b in sums(z, w)],
    "27.4": lambda z, w, D: torch.einsum("na,nb,ad,bd->ab", z, w, D, D) / len(z),
    "27.5": detector,
    "28.2": lambda z, clip, n, cut: [bool((z[clip == one] > cut).any()) for one in range(n)],
    "31.1": looked,
    "31.2": lambda x, A, W_V, b_V, W_O: torch.einsum(
        "ts,sn,nd->td", A, torch.einsum("sd,dn->sn", x, W_V) + b_V, W_O
    ),
    "31.3": lambda x, W_V, W_O, W_Q, W_K: (
        x @ (W_Q / math.sqrt(W_Q.shape[1])) @ W_K.T @ (W_V @ W_O).T @ x.T
    ),
    "31.5": lambda m: float(np.trace(m) / np.abs(np.linalg.eigvals(m)).sum()),
    "32.1": straight,
    "32.2": heard,
    "33.1": frequency_shares,
    "33.2": kept,
    "33.4": by_difference,
    "35.1": agreement,
    "35.3": capped,
    "36.1": by_phases,
    "36.3": one_by_one,
    "37.1": by_logsumexp,
    "38.1": channel_by_channel,
    "29.1": lambda p, q: torch.distributions.kl_divergence(
        *(torch.distributions.Categorical(logits=one) for one in (p, q))
    ),
    **{one.id: one.right[0] for table in TABLES for one in table.ASKED if one.right},
}
"""Written in another way than the answer of the notebook."""


def slips_of(id: str) -> Iterable[Slip]:
    module, name = KNOWN[id].split(".")
    found = getattr(import_module(f"sae_nb_lessons.exercises.{module}"), name)
    return found() if callable(found) else found


def written_in(right: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that gives the right result of its first call, and the same ever after."""
    kept: list[Any] = []

    def fixed(*given: Any) -> Any:
        kept.extend([] if kept else [right(*given)])
        return kept[0]

    return fixed


@pytest.mark.parametrize("id", KNOWN)
def test_known_mistakes_are_named(id: str) -> None:
    """Each with its own hint, and a result that was written in; the right one passes."""
    assert exercise(id).check(RIGHT[id])
    ways = [(slip.said, slip.hint, slip.way) for slip in slips_of(id)]
    if id != "04.1":  # whose answer has another length for other data
        ways.append((FIXED.said, FIXED.hint, written_in(RIGHT[id])))
    for said, hint, way in ways:
        exercise(id).reset()
        verdict = exercise(id).check(way)
        assert verdict.state == "wrong", (said, verdict)
        assert (said, f"Hint: {hint}" if hint else verdict.hint) == (verdict.said, verdict.hint)


@pytest.mark.parametrize("removed", [False, True])
def test_a_hook_does_not_stay_on_the_block(removed: bool) -> None:
    def hooked(model: nn.Module, block: nn.Module, ids: Tensor) -> Tensor:
        kept: list[Tensor] = []
        handle = block.register_forward_hook(lambda *given: kept.append(given[2][0]))
        model(ids)
        if removed:
            handle.remove()
        return kept[0][0, 1:]

    said = "The model raised an error" if removed else "the hook is still on the block"
    assert said in exercise("10.1").check(hooked).message
