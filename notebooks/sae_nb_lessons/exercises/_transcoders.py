"""Exercises of notebook 19: recovered loss, and a transcoder written by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

CLOSE = 0.005
EXACT = 1e-5


def _judge_recovered(answer: float) -> str | None:
    if abs(answer - 0.9) <= CLOSE:
        return None
    if abs(answer - 0.1) <= CLOSE:
        return "That is the share which is lost. How much is recovered?"
    if abs(answer - 1.2 / 1.25) <= CLOSE or abs(answer - 1.25 / 1.2) <= CLOSE:
        return "That compares with the model as it is alone. What is the MLP worth: 1.70 − 1.20."
    if abs(answer - 0.45) <= CLOSE:
        return "That is in nats. Which share is it of what the MLP is worth?"
    return f"The MLP is worth 0.5 nats, of which 0.05 are missing; not {answer:g}."


# --- 19.1: a transcoder ---------------------------------------------------------------------------


def transcode(x: Tensor, E: Tensor, a: Tensor, D: Tensor, b: Tensor, k: int) -> Tensor:
    """Return the output that k atoms of each row predict: codes of x by E and a, written by D, plus b."""
    values, atoms = (x @ E.T + a).topk(k, dim=1)
    return torch.zeros(len(x), len(E)).scatter(1, atoms, values.relu()) @ D + b


def _slips() -> tuple[Slip, ...]:
    def made(change: str, x: Tensor, E: Tensor, a: Tensor, D: Tensor, b: Tensor, k: int) -> Tensor:
        u = x @ E.T if change in ("offset", "late") else x @ E.T + a
        k = k - 1 if change == "fewer" else k
        if change == "codes":
            return torch.zeros_like(u).scatter(1, u.topk(k, dim=1).indices, 1.0) @ D + b
        by = u.abs() if change == "size" else u
        if change == "all":
            return u.relu() @ D + b
        atoms = by.topk(k, dim=1).indices
        if change == "batch":
            least = u.flatten().topk(k * len(x)).values.min()
            return torch.where(u >= least, u, 0.0).relu() @ D + b
        kept = (x @ E.T + a if change == "late" else u).gather(1, atoms)
        z = torch.zeros_like(u).scatter(1, atoms, kept if change == "signed" else kept.relu())
        return z @ D + (0 if change == "bias" else b)

    told = {
        "offset": ("The encoder's offset a is missing.", "One number per atom, added after the product."),
        "late": ("You add the offset after the k were chosen.", "`(x @ E.T + a).topk(k, dim=1)`: it decides who is among them."),
        "fewer": ("You keep one code fewer than k.", "`topk(k)` holds k; a slice `[:k]` does, too."),
        "bias": ("The output's bias b is missing: no atom should have to write the mean.", "b is added last, after D."),
        "all": ("You keep every positive code, not k of them.", "`u.topk(k, dim=1)` gives values and indices."),
        "size": ("You choose the largest by size, so strongly negative ones take places.", "`topk`, without `abs`."),
        "signed": ("Some of your codes are negative: a row with fewer than k positive ones keeps fewer.", "`.relu()` of what was kept."),
        "batch": ("You keep k per row on average, over all rows together. That is BatchTopK.", "Each row chooses its own: `dim=1`."),
        "codes": ("You write every chosen atom once, however strongly it is on.", "Put the values back at their indices: `scatter(1, indices, values)`."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, change)) for change, texts in told.items())


def _given(seed: int, n: int, n_atoms: int = 9) -> tuple[Tensor, ...]:
    draws = torch.Generator().manual_seed(seed)
    x, E = torch.randn(n, 4, generator=draws), torch.randn(n_atoms, 4, generator=draws)
    a, D = torch.randn(n_atoms, generator=draws) - 0.5, torch.randn(n_atoms, 3, generator=draws)
    return x, E, a, D, torch.randn(3, generator=draws)


def _judge_transcode(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {
        f"{n} rows and k = {k}": (*_given(seed, n), k)
        for seed, (n, k) in enumerate(((6, 3), (4, 6)))
    }
    return diagnose(mine, transcode, cases, _slips(), atol=EXACT)


TASKS = tasks(
    "transcoders",
    {
        "19.2": Answer(number(), judge=_judge_recovered),
        "19.1": Answer(
            function(tensor("n", "d"), takes="x, E, a, D, b and k"), judge=_judge_transcode
        ),
    },
)
