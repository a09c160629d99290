"""Exercises of notebook 38: the largest weights, a channel held at its mean, and a circuit for nonsense."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

# --- 38.1: a channel held at its mean, written into the next projection ------------------------------


def _held(W: Tensor, b: Tensor, keep: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    return keep[:, None] * W, b + ((1 - keep) * mean) @ W


def _joined(parts: tuple[Tensor, Tensor]) -> Tensor:
    return torch.cat([parts[0], parts[1][None]])


def _slips() -> tuple[Slip, ...]:
    def made(way: str, W: Tensor, b: Tensor, keep: Tensor, mean: Tensor) -> Tensor:
        right, constant = _held(W, b, keep, mean)
        ways: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
            "zero": lambda: (right, b),
            "turned": lambda: _held(W, b, 1 - keep, mean),
            "all": lambda: (right, b + mean @ W),
            "kept": lambda: (right, b + (keep * mean) @ W),
            "whole": lambda: (W, constant),
            "minus": lambda: (right, b - ((1 - keep) * mean) @ W),
            "alone": lambda: (right, constant - b),
            "columns": lambda: (W * keep[: W.shape[1]], constant),
            "weights": lambda: (right, b + (1 - keep) @ W),
            "level": lambda: (right, b + ((1 - keep) * mean.mean()) @ W),
            "nothing": lambda: (W, b),
        }
        return _joined(ways[way]())

    told = {
        "zero": ("Your channels are 0, not at their mean.", "`b` gets what the held channels add: their mean @ W."),
        "turned": ("You hold the channels that should be kept.", "`keep` is 1 where a channel stays as it is."),
        "all": ("Kept channels add their mean, too: they are counted twice.", "Only those with `keep` 0: `(1 - keep) * mean`."),
        "kept": ("The means of the kept channels are added.", "Those of the others: `(1 - keep) * mean`."),
        "whole": ("Held channels still vary: W reads them.", "Rows of W of channels that are held are 0."),
        "minus": ("The means are taken away, not added.", "b + …"),
        "columns": ("Columns of W are set to 0, which are what it writes.", "Channels that are read are its rows: `keep[:, None]`."),
        "weights": ("Each held channel stands at 1.", "Each at its own mean: `(1 - keep) * mean`."),
        "level": ("All held channels stand at one level.", "Each at its own mean: `(1 - keep) * mean`."),
        "nothing": ("Nothing is held.", "Rows of W with `keep` 0 become 0, and b changes."),
        "alone": ("The projection's own bias is lost.", "b + …"),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge(mine: Callable[..., tuple[Tensor, Tensor]]) -> Mistake | str | None:
    cases = {}
    for d, d_out, seed in ((5, 3, 0), (8, 4, 1)):
        draws = torch.Generator().manual_seed(seed)
        W, b, mean = (
            torch.randn(*n, generator=draws).double() for n in ((d, d_out), (d_out,), (d,))
        )
        cases[f"{d} channels"] = (W, b, (torch.arange(d) % 3 != seed).double(), mean + 0.5)
    return diagnose(
        lambda *given: mine(*given),
        lambda *given: _joined(_held(*given)),
        cases,
        _slips(),
        atol=1e-6,
    )


def on_nonsense() -> float:
    """Return the recorded loss of circuits pruned for exchanged answers, on the rows they were found on."""
    from sae_nb_studies.reproductions import recorded

    return float(recorded("few_weights").of("exchanged: loss").mean)


TASKS = tasks(
    "few_weights",
    {
        "38.1": Answer(
            function(
                tensor("d + 1", "d_out"), takes="W (d, d_out), b (d_out,), keep (d,) and mean (d,)"
            ),
            judge=_judge,
        ),
        "38.2": Answer(number(0, 10), measure=on_nonsense),
    },
)
