"""Exercises of notebook 11: what a step takes away, how greed is fooled, and a pursuit of one's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor

from sae_nb.pursuit import matching_pursuit, orthogonal_matching_pursuit
from sae_nb_lessons.exercises._answers import WrongForm, function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

TOLERANCE = 0.01  # an answer rounded to two digits is right
CLOSE = 1e-3


# --- 11.2: what is left ---------------------------------------------------------------------------


def _judge_left(answer: float) -> str | None:
    whole = answer**2 + 16
    if abs(whole - 25) <= 2 * 3 * TOLERANCE:
        return None
    return (
        f"The part taken and the part left stand at a right angle. With {answer:g} left, "
        f"4² + {answer:g}² = {whole:.3g}, and ‖x‖² is 25."
    )


# --- 11.3: an atom that fools greed ---------------------------------------------------------------


def _judge_bait(answer: Tensor) -> Mistake | None:
    length, total = float(answer.norm()), float(answer.sum())
    if abs(length - 1) > 0.02:
        return _of_another_length(answer, length)
    correlation = total / length
    if correlation > 1 + 1e-9:
        return None
    if float(answer.abs().max()) > 0.999 * length and correlation > 0:
        return Mistake(
            "That is one of the two true atoms. The third must be taken before them.",
            "Between the two.",
        )
    if abs(correlation) < 0.02:
        return Mistake(
            "Your atom stands at a right angle to x: it explains nothing of it.",
            "Both entries above 0.",
        )
    if float(answer.max()) < 0:
        return Mistake(
            f"Your atom points away from x (correlation {correlation:.3g}), and codes are not negative.",
            "Turn its sign.",
        )
    return Mistake(
        f"Your atom correlates with x by {correlation:.3g}, and the two true atoms by 1 each: they "
        "would be taken first.",
        "Both entries above 0: the atom lies between the two.",
    )


def _of_another_length(answer: Tensor, length: float) -> Mistake:
    """Return the mistake of a vector that is no unit vector."""
    if length == 0:
        return Mistake("That is the vector of zeros, which points nowhere.", "Length 1.")
    if torch.allclose(answer, torch.ones(2, dtype=answer.dtype)):
        return Mistake(
            "That is x, and it has length 1.41, not 1.", "The right direction: divide by √2."
        )
    if abs(float(answer.abs().sum()) - 1) < CLOSE:
        return Mistake(
            f"Its entries add up to 1, and its length is {length:.3g}.",
            "The squares add up to 1: `answer / answer.norm()`.",
        )
    if torch.allclose(answer[0], answer[1]):
        return Mistake(
            f"The right direction, and your atom has length {length:.3g}, not 1.",
            f"Divide it by {length:.3g}.",
        )
    return Mistake(f"Your atom has length {length:.3g}, not 1.", "`answer / answer.norm()`.")


# --- 11.4: siblings -------------------------------------------------------------------------------


@cache
def named_by_one_step(within: float = 0.8) -> float:
    """Measure the share of the true atoms that one step names among siblings of a given cosine.

    `within`: mean cosine of two siblings. Returns the mean over three dictionaries, 300 inputs each.
    """
    from sae_nb_lessons.studies._support_study import ONE_STEP
    from sae_nb_lessons.studies import study_supports

    return float(study_supports("families", (within,)).of(ONE_STEP).mean())


# --- 11.5: a pursuit of one's own -----------------------------------------------------------------


def pursued(x: Tensor, dictionary: Tensor, k: int, mistake: str = "") -> Tensor:
    """Return codes of non-negative matching pursuit, or of one that makes a certain mistake."""
    z, r = torch.zeros(len(dictionary), dtype=x.dtype), x
    for _ in range(k + {"fewer": -1, "more": 1}.get(mistake, 0)):
        c = dictionary @ r
        j = c.abs().argmax() if mistake == "sign" else c.argmax()
        amount = c[j] if mistake in ("negative", "sign") else c[j].clamp(min=0)
        z[j] = amount if mistake == "overwrite" else z[j] + amount
        if mistake == "whole":
            r = x - amount * dictionary[j]
        elif mistake == "unit":
            r = r - dictionary[j]
        elif mistake != "no residual":
            r = r - amount * dictionary[j]
    return z


def _in_one_step(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
    c = (dictionary @ x).clamp(min=0)
    return torch.zeros_like(c).scatter_(0, c.topk(min(k, len(c))).indices, 1) * c


def _refitted(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
    return orthogonal_matching_pursuit(x[None], dictionary, k).to_dense()[0]


_SLIPS = (
    *(
        Slip(said, hint, partial(pursued, mistake=mistake))
        for mistake, (said, hint) in {
            "overwrite": ("An atom that is chosen again loses what it had before: you overwrite its coefficient.", "Add: `z[j] += a`."),
            "negative": ("Where no atom points along what is left, yours takes a negative amount.", "An atom is taken only as far as it correlates positively: `c[j].clamp(min=0)`."),
            "sign": ("You take the largest correlation by size, whatever its sign.", "Codes are not negative here: `c.argmax()`, not `c.abs().argmax()`."),
            "no residual": ("What was taken is never subtracted, so every step finds the same atom.", "After each step, `r = r - a * dictionary[j]`."),
            "whole": ("You subtract the last atom from x, and forget those before it.", "What is left shrinks from step to step: `r = r - …`, not `x - …`."),
            "unit": ("You subtract the whole atom, however much of it was taken.", "What was taken is `a * dictionary[j]`, and that is what goes."),
            "fewer": ("Yours stops one step early.", "k rounds: `for _ in range(k)`."),
            "more": ("Yours takes one step too many.", "k rounds: `for _ in range(k)`."),
        }.items()
    ),
    Slip("You take the k largest correlations with x at once. That is one step of TopK, not a pursuit.", "A loop of k rounds. In each, correlate what is left, and take one atom.", _in_one_step),
    Slip("You fit all amounts anew at each step. That is orthogonal matching pursuit.", "Earlier coefficients stay; only the chosen atom's changes.", _refitted),
)  # fmt: skip


def _judge_pursuit(pursue: Callable[[Tensor, Tensor, int], Tensor]) -> Mistake | str | None:
    def mine(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
        answer = pursue(x, dictionary, k)
        if answer.shape != (len(dictionary),):
            raise WrongForm(
                f"for {len(dictionary)} atoms your function returned {len(answer)} numbers: it "
                "must return one coefficient per atom"
            )
        return answer

    def right(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
        return matching_pursuit(x[None], dictionary, k).to_dense()[0]

    cases = {
        f"{name}, after {'1 step' if k == 1 else f'{k} steps'}": (x, dictionary, k)
        for name, (x, dictionary) in _CASES.items()
        for k in (1, 2, min(5, len(dictionary)))
    }
    return diagnose(mine, right, cases, _SLIPS, atol=CLOSE)


def _many(n_atoms: int, d_in: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n_atoms + 1, d_in, generator=generator, dtype=torch.float64)
    return rows[0], F.normalize(rows[1:], dim=1)


_CASES = {
    "orthogonal atoms": (
        torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64),
        torch.eye(3, dtype=torch.float64),
    ),
    "eight atoms in space (two are chosen twice)": _many(8, 3, seed=0),
    "an input that no atom points along": (
        torch.tensor([-1.0, -2.0], dtype=torch.float64),
        torch.eye(2, dtype=torch.float64),
    ),
    "twelve atoms of width five": _many(12, 5, seed=0),
}


TASKS = tasks(
    "pursuit",
    {
        "11.2": Answer(number(0, 5), judge=_judge_left),
        "11.3": Answer(tensor(2), judge=_judge_bait),
        "11.4": Answer(number(0, 1), measure=named_by_one_step),
        "11.5": Answer(function(tensor(None), takes="x, dictionary and k"), judge=_judge_pursuit),
    },
)
