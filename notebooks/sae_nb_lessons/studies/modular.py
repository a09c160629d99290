"""tiny-modular, which adds modulo 53: its sums, its numbers' embedding, and what is left of its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb_studies.data.tasks import MODULUS, all_sums
from sae_nb_studies.data.tasks import TASKS

P = MODULUS
N_FREQUENCIES = (P - 1) // 2
_FIRST = len(TASKS["tiny-modular"].vocabulary) - len(TASKS["tiny-modular"].words)
_NUMBERS = slice(_FIRST, _FIRST + P)


@cache
def _model() -> Any:
    import sae_nb as sn

    return sn.load_model("tiny-modular")


def number_embedding() -> Float[Tensor, "p d"]:
    """Return what the model knows of each number from 0 to 52 before it sees a sum."""
    weight: Tensor = _model().module.transformer.wte.weight
    return weight.detach()[_NUMBERS].double()


@contextmanager
def _embedded(numbers: Tensor | None) -> Iterator[None]:
    weight = _model().module.transformer.wte.weight
    before = weight.detach().clone()
    try:
        if numbers is not None:
            weight.data[_NUMBERS] = numbers.to(weight)
        yield
    finally:
        weight.data.copy_(before)


@torch.no_grad()
def all_logits(numbers: Float[Tensor, "p d"] | None = None) -> Float[Tensor, "p p p"]:
    """Return the logits of all answers c to all sums a + b, as [a, b, c]; `numbers` takes the embedding's place."""
    with _embedded(numbers):
        found = _model().module(torch.as_tensor(all_sums().ids)).logits[:, -1, _NUMBERS]
    return found.double().reshape(P, P, P)


def right_answers(numbers: Float[Tensor, "p d"] | None = None) -> float:
    """Return the share of the 53² sums that the model answers rightly."""
    a, b = torch.arange(P)[:, None], torch.arange(P)[None]
    return float((all_logits(numbers).argmax(dim=2) == (a + b) % P).double().mean())


def shares(E: Float[Tensor, "p columns"]) -> Float[Tensor, " frequencies"]:
    """Return the share that each frequency from 1 to (p − 1) / 2 has of the columns' variance."""
    power = torch.fft.rfft(E.double(), dim=0).abs().square().sum(dim=1)[1:]
    return power / power.sum()


def only(E: Float[Tensor, "p d"], frequencies: Sequence[int]) -> Float[Tensor, "p d"]:
    """Return rows of which the mean and some frequencies are left."""
    waves = torch.fft.rfft(E.double(), dim=0)
    kept = torch.zeros_like(waves)
    at = [0, *frequencies]
    kept[at] = waves[at]
    return torch.fft.irfft(kept, n=len(E), dim=0)


def without(E: Float[Tensor, "p d"], frequencies: Sequence[int]) -> Float[Tensor, "p d"]:
    """Return rows from which some frequencies are taken out."""
    return only(E, [f for f in range(1, len(E) // 2 + 1) if f not in frequencies])


def shuffled(E: Float[Tensor, "p d"], seed: int) -> Float[Tensor, "p d"]:
    """Return the rows in a random order: the same numbers, no waves."""
    return E[torch.randperm(len(E), generator=torch.Generator().manual_seed(seed))]


def key_frequencies(E: Float[Tensor, "p d"]) -> list[int]:
    """Return frequencies that have more of the variance than any has after the rows were shuffled."""
    floor = max(float(shares(shuffled(E, seed)).max()) for seed in range(20))
    return [i + 1 for i, share in enumerate(shares(E).tolist()) if share > floor]


def drawn_frequencies(key: Sequence[int], n: int, seed: int) -> list[int]:
    """Return other frequencies, drawn at random."""
    others = [one for one in range(1, N_FREQUENCIES + 1) if one not in key]
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))
    return sorted(others[i] for i in order[:n].tolist())


def centred(logits: Float[Tensor, "p p p"]) -> Float[Tensor, "p p p"]:
    """Return the logits of each sum less their mean over answers, which no answer depends on."""
    return logits - logits.mean(dim=2, keepdim=True)


def over_differences(logits: Float[Tensor, "p p p"]) -> Float[Tensor, " p"]:
    """Return the mean logit at each value of (a + b − c) mod p."""
    p = len(logits)
    i = torch.arange(p)
    d = (i[:, None, None] + i[None, :, None] - i) % p
    sums = torch.zeros(p, dtype=logits.dtype).index_add_(0, d.flatten(), logits.flatten())
    return sums / p**2


def wave_sizes(logits: Float[Tensor, "p p p"], frequencies: Sequence[int]) -> list[float]:
    """Return how large the logits' waves of some frequencies over a + b − c are."""
    waves = torch.fft.rfft(over_differences(centred(logits))).abs() * 2 / len(logits)
    return [float(waves[f]) for f in frequencies]
