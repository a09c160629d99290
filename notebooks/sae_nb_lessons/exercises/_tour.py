"""Exercises of notebook 00: an activation, put together again; an atom, captured for and turned up."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import Tensor

import sae_nb as sn
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


# --- 00.3: an atom turned up ------------------------------------------------------------------------


def pushed(
    model: Any, hook_point: str, sae: Any, inputs: Tensor, atom: int, change: str = ""
) -> Tensor:
    """Return what twice an atom's 99th percentile does to the mean probability of each class.

    `change` names a slip.
    """
    acts = sn.capture(model, inputs, hook_point, progress=False)
    by = {"once": 1.0, "minus": -2.0}.get(change, 2.0)
    unit: Literal["coefficient", "p99"] = "coefficient" if change == "length" else "p99"
    before = model(inputs)
    with sn.steer(model, hook_point, sae, atom=atom, by=by, unit=unit, acts=acts):
        before = model(inputs) if change == "inside" else before
        after = model(inputs)
    before, after = (before.mean(0), after.mean(0)) if change == "first" else (before, after)
    if change != "logits":
        before, after = (one.softmax(-1) for one in (before, after))
    moved = {"turned": before - after, "alone": after}.get(change, after - before)
    moved = moved.abs() if change == "size" else moved
    if change == "first":
        return moved
    return moved.sum(0) if change == "sum" else moved.mean(1 if change == "classes" else 0)


_PUSHED_SLIPS = tuple(
    Slip(said, hint, partial(pushed, change=change))
    for change, (said, hint) in {
        "inside": ("Yours is 0: both runs are steered, or probabilities add up to 1 over the inputs.", "One run stands before the `with` block; classes are dimension 1."),
        "logits": ("These are changes of logits, not of probabilities.", "`.softmax(1)` of both answers."),
        "first": ("You take the mean of the logits first. The mean probability is another number.", "Probabilities of each input, and then their mean."),
        "turned": ("The sign is the other way round.", "With the atom, minus without it."),
        "alone": ("These are the probabilities with the atom. The change is asked.", "Subtract those without it."),
        "size": ("You take sizes of changes; some probabilities fall.", "Keep the sign."),
        "sum": ("You sum over the inputs.", "The mean over them."),
        "classes": ("You take the mean over the classes, in which changes add up to 0.", "The inputs are dimension 0."),
        "once": ("You add the percentile once.", "`by=2.0`"),
        "minus": ("You turn the atom down.", "`by` is positive."),
        "length": ("You add a step of length 2, whatever the atom's strengths are.", '`unit="p99"`, and the activations as `acts=`.'),
    }.items()
)  # fmt: skip


@cache
def _classifier(seed: int, atom: int, n_classes: int) -> tuple[Any, ...]:
    """A network of two layers with random weights, a place in it, an SAE of that place, inputs, and an atom that fires."""
    draws = torch.Generator().manual_seed(seed)
    layers = torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, n_classes)
    network = torch.nn.Sequential(*layers).requires_grad_(requires_grad=False)
    for weights in network.parameters():
        weights.copy_(torch.randn(weights.shape, generator=draws))
    sae = sn.TopK(5, 8, 2, generator=draws)
    return sn.wrap(network), "1", sae, torch.randn(40, 4, generator=draws), atom


def _judge_pushed(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {
        "a classifier of six classes": _classifier(0, 2, 6),
        "another, of three": _classifier(1, 0, 3),
    }
    return diagnose(mine, pushed, cases, _PUSHED_SLIPS)


TASKS = tasks(
    "tour",
    {
        "00.1": Answer(
            function(tensor("d"), takes="values (k,), atoms (k,), dictionary (n, d) and bias (d,)"),
            judge=_judge_rebuilt,
        ),
        "00.3": Answer(
            function(
                tensor("n_classes"),
                takes="a model, the name of a hook point, an SAE, inputs and the number of an atom",
            ),
            judge=_judge_pushed,
        ),
    },
)
