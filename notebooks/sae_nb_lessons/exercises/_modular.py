"""Exercises of notebook 33: frequencies of an embedding, what they carry, and what logits are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor, whole_number
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose
from sae_nb_lessons.studies.modular import (
    all_logits,
    centred,
    key_frequencies,
    number_embedding,
    only,
    over_differences,
    right_answers,
    shares,
)

LEAST = 0.02
"""Share of the logits from which a frequency counts as theirs."""


def _rows(seed: int, p: int, d: int) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(p, d, generator=draws).double() + torch.randn(d, generator=draws).double()


def _cases() -> dict[str, tuple[Any, ...]]:
    return {"11 rows of width 4": (_rows(0, 11, 4),), "17 rows of width 6": (_rows(1, 17, 6),)}


# --- 33.1: the power ------------------------------------------------------------------------------


def _shares(E: Tensor) -> Tensor:
    """Return the shares by cosines and sines, one frequency after the other."""
    p, x = len(E), E - E.mean(dim=0)
    n = torch.arange(p).double()
    power = []
    for f in range(1, (p - 1) // 2 + 1):
        turn = 2 * math.pi * f * n / p
        power.append(float(((turn.cos() @ x) ** 2 + (turn.sin() @ x) ** 2).sum()))
    return torch.tensor(power).double() / sum(power)


def _share_slips() -> tuple[Slip, ...]:
    def made(change: str, E: Tensor) -> Tensor:
        waves = torch.fft.rfft(E, dim=0)
        power = waves.abs().square().sum(dim=1)
        ways: dict[str, Callable[[], Tensor]] = {
            "mean": lambda: power / power.sum(),
            "total": lambda: power[1:] / power.sum(),
            "shift": lambda: power[:-1] / power[:-1].sum(),
            "size": lambda: waves.abs().sum(dim=1)[1:] / waves.abs().sum(dim=1)[1:].sum(),
            "power": lambda: power[1:],
            "columns": lambda: torch.fft.rfft(E, dim=1).abs().square().sum(dim=0)[1:],
            "real": lambda: (r := waves.real.square().sum(dim=1)[1:]) / r.sum(),
            "imaginary": lambda: (r := waves.imag.square().sum(dim=1)[1:]) / r.sum(),
            "largest": lambda: (r := waves.abs().square().amax(dim=1)[1:]) / r.sum(),
            "whole": lambda: (r := torch.fft.fft(E, dim=0).abs().square().sum(1)[1:]) / r.sum(),
            "most": lambda: power[1:] / power[1:].max(),
            "signed": lambda: (r := waves.sum(dim=1).abs().square()[1:]) / r.sum(),
        }
        found = ways[change]()
        return found / found.sum() if change == "columns" else found

    told = {
        "mean": ("You keep frequency 0, the mean; it is no wave.", "Begin at 1: `[1:]`."),
        "total": ("You divide by a total that has the mean in it, so that the shares do not sum to 1.", "Take frequency 0 out first, then divide."),
        "shift": ("Your first number is frequency 0: everything stands one place too late.", "`rfft` begins with the mean; take `[1:]`."),
        "size": ("You add amplitudes; variance goes with their squares.", "`.abs().square()`."),
        "power": ("These are powers; divide them by their sum.", "Shares sum to 1."),
        "columns": ("You transform along the width; a wave goes over the numbers.", "`torch.fft.rfft(E, dim=0)`."),
        "real": ("Only cosines are counted; sines are the imaginary part.", "`.abs()` takes both."),
        "imaginary": ("Only sines are counted; cosines are the real part.", "`.abs()` takes both."),
        "largest": ("You take the strongest column; add over all of them.", "`.sum(dim=1)`."),
        "whole": ("Every frequency is there twice, f and p − f.", "`rfft` returns each once."),
        "most": ("You divide by the largest power; a share is of their sum.", "`/ power.sum()`."),
        "signed": ("You add columns before taking their size, so they cancel.", "Size first, then the sum over columns."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, change)) for change, texts in told.items())


def _judge_shares(mine: Callable[[Tensor], Tensor]) -> Mistake | str | None:
    return diagnose(mine, _shares, _cases(), _share_slips(), atol=1e-6)


# --- 33.2: what is left ---------------------------------------------------------------------------


def _kept(E: Tensor, frequencies: Sequence[int]) -> Tensor:
    """Return the mean and the projection on unit cosines and sines."""
    p = len(E)
    n = torch.arange(p).double()
    turns = [2 * math.pi * f * n / p for f in frequencies]
    basis = torch.stack([wave for turn in turns for wave in (turn.cos(), turn.sin())])
    basis = basis * (2 / p) ** 0.5
    mean = E.mean(dim=0)
    return mean + basis.T @ (basis @ (E - mean))


def _kept_slips() -> tuple[Slip, ...]:
    def made(change: str, E: Tensor, frequencies: Sequence[int]) -> Tensor:
        p, mean, right = len(E), E.mean(dim=0), _kept(E, frequencies)
        n = torch.arange(p).double()
        waves = torch.fft.fft(E, dim=0)
        half = torch.zeros_like(waves)
        at = [0, *frequencies]
        half[at] = waves[at]
        cosines = torch.stack([(2 * math.pi * f * n / p).cos() for f in frequencies])
        ways: dict[str, Callable[[], Tensor]] = {
            "mean": lambda: right - mean,
            "removed": lambda: E - right + mean,
            "both": lambda: E - right,
            "cosines": lambda: mean + cosines.T @ (cosines @ (E - mean)) * 2 / p,
            "lower": lambda: _kept(E, [f - 1 for f in frequencies if f > 1]),
            "higher": lambda: _kept(E, [f + 1 for f in frequencies]),
            "half": lambda: torch.fft.ifft(half, dim=0).real,
            "pass": lambda: _kept(E, list(range(1, max(frequencies) + 1))),
            "unscaled": lambda: mean + (right - mean) * p / 2,
            "first": lambda: _kept(E, frequencies[:1]),
            "columns": lambda: _kept(E.T, list(frequencies)).T,
            "nothing": lambda: E,
        }
        return ways[change]()

    told = {
        "mean": ("The mean is gone; it stays, and only waves are taken out.", "Keep frequency 0 as well."),
        "removed": ("You take these frequencies out; they are the ones to keep.", "Keep them, drop the others."),
        "both": ("You take these frequencies out, and the mean too.", "Keep them and the mean, drop the others."),
        "cosines": ("Only cosines are kept; a frequency is a cosine and a sine.", "Both, or the complex number of `rfft`."),
        "lower": ("You keep each time the frequency below: entry 0 of `rfft` is the mean.", "Frequency f is entry f."),
        "higher": ("You keep each time the frequency above.", "Frequency f is entry f of `rfft`."),
        "half": ("The waves are half as large: `fft` has each twice, f and p − f, and you kept one.", "`rfft` and `irfft`, or keep p − f as well."),
        "pass": ("You keep all frequencies up to the largest; keep those in the list alone.", "`kept[[0, *frequencies]] = waves[[0, *frequencies]]`."),
        "unscaled": ("The waves are p / 2 times too large.", "A cosine over p numbers has the squared length p / 2."),
        "first": ("Only the first frequency of the list is kept.", "All of them."),
        "columns": ("You filter along the width; a wave goes over the numbers.", "`dim=0`."),
        "nothing": ("This is the embedding as it was.", "Set the other frequencies to 0 before going back."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, change)) for change, texts in told.items())


def _judge_kept(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {
        f"{name} and frequencies {list(kept)}": (*given, list(kept))
        for (name, given), kept in zip(_cases().items(), ((2, 4), (1, 3, 6)), strict=True)
    }
    return diagnose(mine, _kept, cases, _kept_slips(), atol=1e-6)


@cache
def right_by_the_strongest() -> float:
    """Return the share of sums that are right with the embedding's strongest frequency alone."""
    E = number_embedding()
    return right_answers(only(E, [int(shares(E).argmax()) + 1]))


# --- 33.4: a function of a + b − c ----------------------------------------------------------------


def _by_difference(logits: Tensor, *, of: str = "a + b - c") -> Tensor:
    """Return the share of variance between groups; the mean over answers is off, groups by a loop."""
    x, p = centred(logits), len(logits)
    a, b, c = torch.meshgrid(*[torch.arange(p)] * 3, indexing="ij")
    group = {
        "a + b - c": (a + b - c) % p,
        "a + b + c": (a + b + c) % p,
        "a - b - c": (a - b - c) % p,
        "a - c": (a - c) % p,
        "no mod": a + b - c,
        "right": ((a + b - c) % p == 0).long(),
        "c": c,
    }[of]
    rest = x.clone()
    for one in torch.unique(group):
        rest[group == one] -= x[group == one].mean()
    return 1 - rest.square().sum() / x.square().sum()


def _difference_slips() -> tuple[Slip, ...]:
    share = _by_difference
    group = {
        name: partial(share, of=name)
        for name in ("a + b + c", "a - b - c", "a - c", "no mod", "right", "c")
    }

    def raw(x: Tensor) -> Tensor:
        g = over_differences(x)
        return 1 - (x - _spread(g, len(x))).square().sum() / (x - x.mean()).square().sum()

    def uncentred(x: Tensor) -> Tensor:
        return 1 - (x - _spread(over_differences(x), len(x))).square().sum() / x.square().sum()

    return (
        Slip("The mean over answers is still in: it is different for each sum, and no answer depends on it.", "`logits - logits.mean(dim=2, keepdim=True)` first.", raw),
        Slip("Nothing was centred; the mean of everything then counts as explained.", "`logits - logits.mean(dim=2, keepdim=True)` first.", uncentred),
        Slip("This is the share that is *not* explained.", "1 minus it.", lambda x: 1 - share(x)),
        Slip("This is a correlation, the root of the share.", "Leave the root out.", lambda x: share(x).sqrt()),
        Slip("You group by a + b + c; the right answer is where a + b − c is 0.", "Minus c.", group["a + b + c"]),
        Slip("You group by a − b − c, the control.", "a + b − c.", group["a - b - c"]),
        Slip("b does not enter your groups.", "(a + b − c) mod p.", group["a - c"]),
        Slip("Your groups are not taken modulo p: 53 and 0 are the same.", "`% p`.", group["no mod"]),
        Slip("You have two groups, right and wrong answers; there are p.", "One group for each value of (a + b − c) mod p.", group["right"]),
        Slip("Your groups are answers c, whatever the sum is.", "(a + b − c) mod p.", group["c"]),
        Slip("You took probabilities; asked is about logits.", "Leave the softmax out.", lambda x: share(x.softmax(dim=2))),
        Slip("This is the share of right answers.", "Variance between groups over all variance.", _share_right),
    )  # fmt: skip


def _spread(g: Tensor, p: int) -> Tensor:
    i = torch.arange(p)
    return g[(i[:, None, None] + i[None, :, None] - i) % p]


def _share_right(logits: Tensor) -> Tensor:
    i = torch.arange(len(logits))
    return (logits.argmax(dim=2) == (i[:, None] + i) % len(logits)).double().mean()


def _judge_difference(mine: Callable[[Tensor], Any]) -> Mistake | str | None:
    cases = {}
    for p, seed in ((7, 0), (11, 1)):
        draws = torch.Generator().manual_seed(seed)
        wave, noise = torch.randn(p, generator=draws), torch.randn(p, p, p, generator=draws)
        sums = torch.randn(p, p, 1, generator=draws)
        cases[f"logits of {p} numbers"] = ((_spread(wave, p) + noise + sums + 1).double(),)
    return diagnose(mine, _by_difference, cases, _difference_slips(), atol=1e-6)


# --- 33.5: the one that is missing ----------------------------------------------------------------


@cache
def missing_frequency() -> int:
    """Return the frequency that the embedding has and the logits have not."""
    of_logits = shares(over_differences(centred(all_logits()))[:, None])
    (found,) = (f for f in key_frequencies(number_embedding()) if of_logits[f - 1] < LEAST)
    return found


def _judge_missing(answer: int) -> str | None:
    right, key = missing_frequency(), key_frequencies(number_embedding())
    if answer == right:
        return None
    if answer in key:
        return f"Frequency {answer} is in both: its bar of the logits is not near 0."
    if 53 - answer == right:
        return (
            "A wave over 53 numbers of this frequency is the one of 53 less it; name the smaller."
        )
    return f"The embedding has hardly any of frequency {answer}; one of its {len(key)} high bars is asked for."


TASKS = tasks(
    "modular",
    {
        "33.1": Answer(
            function(tensor("frequencies"), takes="E (p, d), p odd"), judge=_judge_shares
        ),
        "33.2": Answer(
            function(tensor("p", "d"), takes="E (p, d) and a list of frequencies"),
            judge=_judge_kept,
        ),
        "33.3": Answer(number(0, 1), measure=right_by_the_strongest),
        "33.4": Answer(
            function(number(), takes="logits (p, p, p), as [a, b, c]"), judge=_judge_difference
        ),
        "33.5": Answer(whole_number(1, 52), judge=_judge_missing),
    },
)
