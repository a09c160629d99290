"""Exercise of notebook 00: an activation, put together again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose


def rebuilt(values: Tensor, atoms: Tensor, dictionary: Tensor, bias: Tensor) -> Tensor:
    """Return bias + the sum of the chosen atoms, each times its value."""
    return bias + values @ dictionary[atoms]


def _slips() -> tuple[Slip, ...]:
    def made(
        change: str, values: Tensor, atoms: Tensor, dictionary: Tensor, bias: Tensor
    ) -> Tensor:
        taken = {"first": torch.arange(len(atoms)), "sorted": atoms.sort().values}
        chosen = dictionary[taken.get(change, atoms)]
        chosen = chosen / chosen.norm(dim=1, keepdim=True) if change == "unit" else chosen
        weights = torch.ones_like(values) if change == "once" else values
        weights = values * (values == values.max()) if change == "strongest" else weights
        weights = values / values.sum() if change == "shares" else weights
        total = weights @ chosen
        total = total / len(values) if change == "mean" else total
        added = {"bias": torch.zeros_like(bias), "minus": -bias, "each": len(values) * bias}
        return total + added.get(change, bias)

    told = {
        "bias": ("The part that all patches share, the bias, is missing.", "Add `bias` at the end, once."),
        "minus": ("You subtract the bias. The encoder does that; here it is added back.", "`+ bias`"),
        "once": ("You add each atom once, however strongly it is on.", "Each atom times its value."),
        "first": ("You take the first atoms of the dictionary, not the chosen ones.", "`dictionary[atoms]`"),
        "mean": ("You take the mean over the atoms. An activation is their sum.", "`sum`, or a product `values @ …`."),
        "unit": ("You divide atoms by their length.", "Take the rows as they are."),
        "each": ("You add the bias once for every atom.", "Sum first, then add `bias` once."),
        "sorted": ("Values and atoms no longer belong together: one of them was sorted.", "Leave both in the order in which they come."),
        "shares": ("You divide the values by their sum: that is a weighted mean.", "Take the values as they are."),
        "strongest": ("Only the strongest atom is in yours.", "Sum over all of `atoms`."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, change)) for change, texts in told.items())


def _given(seed: int, k: int, n: int, d: int) -> tuple[Tensor, ...]:
    draws = torch.Generator().manual_seed(seed)
    atoms = torch.randperm(n, generator=draws)[:k]
    values = 0.5 + torch.rand(k, generator=draws)
    return values, atoms, torch.randn(n, d, generator=draws), torch.randn(d, generator=draws)


def _judge_rebuilt(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {"three of nine atoms": _given(0, 3, 9, 4), "five of six atoms": _given(1, 5, 6, 3)}
    return diagnose(mine, rebuilt, cases, _slips())


TASKS = tasks(
    "tour",
    {
        "00.1": Answer(
            function(tensor("d"), takes="values (k,), atoms (k,), dictionary (n, d) and bias (d,)"),
            judge=_judge_rebuilt,
        )
    },
)
