"""Exercises of notebook 06: the logit lens, what the direct path is worth, and how an effect is judged."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE, ROWS, WIDTH, TOKENS = 1e-3, 3, 8, 6


def logit_lens(states: Tensor, gain: Tensor, unembedding: Tensor) -> Tensor:
    """Return logits of states: RMS norm, gain, unembedding."""
    size = states.square().mean(dim=-1, keepdim=True).add(1e-6).sqrt()
    return (gain * states / size) @ unembedding.T


def _judge_lens(mine: Callable[[Tensor, Tensor, Tensor], Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    x = 5 * torch.randn(ROWS, WIDTH, generator=generator)
    gain = 0.5 + torch.rand(WIDTH, generator=generator)
    rows = torch.randn(TOKENS, WIDTH, generator=generator)
    answer = torch.as_tensor(mine(x.clone(), gain.clone(), rows.clone())).float()
    wanted = logit_lens(x, gain, rows)
    for words, other in (
        ("is not yet divided by its size, √(mean of squares)", (gain * x) @ rows.T),
        (
            "is divided by its length, not by √(mean of squares), which is √width smaller",
            logit_lens(x, gain, rows) / WIDTH**0.5,
        ),
        ("lacks the norm's gain", logit_lens(x, torch.ones(WIDTH), rows)),
    ):
        if torch.allclose(answer, other, rtol=CLOSE, atol=CLOSE):
            return f"The state {words}."
    if not torch.allclose(answer, wanted, rtol=CLOSE, atol=CLOSE):
        return (
            f"For a state of {WIDTH} numbers the first logit is {float(wanted[0, 0]):.3f}, and yours "
            f"gives {float(answer[0, 0]):.3f}."
        )
    return None


@cache
def direct_path_in_the_middle() -> float:
    """Return the rank correlation of the direct path with measured effects, tiny-vit block 6; recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("lens_effects").of("tiny-vit, direct path").mean


def hits(foreseen: Tensor, measured: Tensor, k: int) -> float:
    """Return the share of the k most raised outputs that were foreseen."""
    both = {*foreseen.topk(k).indices.tolist()} & {*measured.topk(k).indices.tolist()}
    return len(both) / k


def _judge_hits(mine: Callable[[Tensor, Tensor, int], float]) -> str | None:
    measured = torch.tensor([3.0, -9.0, 2.0, 0.5, 1.0, -0.1])
    cases = {
        "the measured effects themselves": (measured, measured, 2, 1.0),
        "the measured effects with their sign turned": (-measured, measured, 2, 0.0),
        "twice the measured effects": (2 * measured, measured, 3, 1.0),
        "effects that have one of the two right": (
            torch.tensor([9.0, 0.0, 1.0, 5.0, 0.0, 0.0]), measured, 2, 0.5,
        ),
    }  # fmt: skip
    for name, (foreseen, truth, k, wanted) in cases.items():
        answer = float(mine(foreseen.clone(), truth.clone(), k))
        if abs(answer - wanted) > CLOSE:
            return f"For {name}, k = {k}, yours gives {answer:.2f}, and it is {wanted:.2f}."
    return None


TASKS = tasks(
    "lens",
    {
        "06.1": Answer(
            function(tensor(ROWS, TOKENS), takes="states, the norm's gain, and the unembedding"),
            judge=_judge_lens,
        ),
        "06.3": Answer(number(-1, 1), measure=direct_path_in_the_middle),
        "06.4": Answer(
            function(number(0, 1), takes="foreseen effects, measured effects, and k"),
            judge=_judge_hits,
        ),
    },
)
