"""Exercises of notebook 02: what a step takes away, how greed is fooled, and a pursuit of one's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor

from sae_nb.exercises.answers import WrongForm, function, number, tensor
from sae_nb.exercises.kit import Task
from sae_nb.pursuit import matching_pursuit

TOLERANCE = 0.01  # an answer rounded to two digits is right
CLOSE = 1e-3


# --- 02.1: what is left ---------------------------------------------------------------------------


def _judge_left(answer: float) -> str | None:
    whole = answer**2 + 16
    if abs(whole - 25) <= 2 * 3 * TOLERANCE:
        return None
    return (
        f"The part taken and the part left stand at a right angle. With {answer:g} left, "
        f"4² + {answer:g}² = {whole:.3g}, and ‖x‖² is 25."
    )


# --- 02.2: an atom that fools greed ---------------------------------------------------------------


def _judge_bait(answer: Tensor) -> str | None:
    length = float(answer.norm())
    if abs(length - 1) > 0.02:
        return f"Your atom has length {length:.3g}, not 1."
    correlation = float(answer.sum())
    if correlation > 1:
        return None
    return (
        f"Your atom correlates with x by {correlation:.3g}, and the two true atoms by 1 each: they "
        "would be taken first."
    )


# --- 02.3: siblings -------------------------------------------------------------------------------


@cache
def named_by_one_step(within: float = 0.8) -> float:
    """Share of the true atoms that one step names among siblings of a given cosine.

    Parameters
    ----------
    within
        Mean cosine of two siblings.

    Returns
    -------
    float
        Mean over three dictionaries, 300 inputs each.
    """
    from sae_nb.summaries.support_study import ONE_STEP, study_supports

    return float(study_supports("families", (within,)).of(ONE_STEP).mean())


# --- 02.4: a pursuit of one's own -----------------------------------------------------------------


def _judge_pursuit(pursue: Callable[[Tensor, Tensor, int], Tensor]) -> str | None:
    for name, (x, dictionary) in _CASES.items():
        for k in (1, 2, min(5, len(dictionary))):
            answer = pursue(x.clone(), dictionary.clone(), k)
            if answer.shape != (len(dictionary),):
                raise WrongForm(
                    f"for {len(dictionary)} atoms your function returned {len(answer)} numbers: it "
                    "must return one coefficient per atom"
                )
            expected = matching_pursuit(x[None], dictionary, k).to_dense()[0]
            if not torch.allclose(answer, expected, atol=CLOSE):
                atom = int((answer - expected).abs().argmax())
                steps = "1 step" if k == 1 else f"{k} steps"
                return f"For {name}, after {steps}, atom {atom} has {float(answer[atom]):.3g}."
    return None


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


TASKS = (
    Task(
        id="02.1",
        title="What is left",
        question=(
            "An input has length 5. The atom that matching pursuit takes first (its length is 1) "
            "correlates with it by 4. How long is the residual after this step?"
        ),
        form=number(0, 5),
        difficulty="warm-up",
        minutes=2,
        judge=_judge_left,
        why=(
            "Pythagoras: ‖r‖² falls by exactly the square of the correlation, at every step. So the "
            "residual never grows, and the largest correlation is the best next step there is."
        ),
        hints=(
            "What is subtracted lies along the atom; what is left is orthogonal to it.",
            "5² = 4² + ‖r‖².",
        ),
    ),
    Task(
        id="02.2",
        title="An atom that fools greed",
        question=(
            "The input is x = (1, 1), made of the atoms (1, 0) and (0, 1). Give a third atom, a unit "
            "vector in the plane, that matching pursuit takes first although it was not used."
        ),
        form=tensor(2),
        difficulty="core",
        minutes=4,
        judge=_judge_bait,
        why=(
            "Greed takes what explains most now. An atom between two others beats both where both are "
            "on, and nothing later takes it out again: the fit is as good, the support is wrong."
        ),
        hints=(
            "It must correlate with x by more than 1, which is what the two true atoms reach.",
            "Which direction correlates most with x?",
            "Close to the diagonal: `torch.tensor([0.6, 0.8])` correlates by 1.4.",
        ),
    ),
    Task(
        id="02.3",
        title="How far does one step get among siblings?",
        question=(
            "256 atoms, six of them on. When all are unrelated, one step (the six largest "
            "correlations) names 72 % of the true ones. Now they come in families of eight with a "
            "cosine of 0.8 between siblings. What share does one step name then?"
        ),
        form=number(0, 1),
        difficulty="core",
        minutes=3,
        measure=named_by_one_step,
        why=(
            "Seven siblings of a strong atom correlate with the input by 0.8 times its strength and "
            "take the places of weaker true atoms. A pursuit subtracts the strong atom first, and its "
            "siblings sink with it: that is what the fading bars show."
        ),
        hints=(
            "How many of the six places does one true atom's family fill?",
            "At worst a single family fills all six: one of six, 0.17. Random atoms have 0.02.",
        ),
    ),
    Task(
        id="02.4",
        title="Write matching pursuit",
        question=(
            "Write a function that takes one input x of shape (d,), a dictionary of shape (n, d) with "
            "unit rows, and k, and returns the n coefficients of non-negative matching pursuit. k "
            "times: correlate what is left with all atoms, take the largest correlation if it is "
            "positive, add it to that atom's coefficient, and subtract its part."
        ),
        form=function(tensor(None), takes="x, dictionary and k"),
        difficulty="stretch",
        minutes=10,
        judge=_judge_pursuit,
        why=(
            "Four lines, and at every step a product with the whole dictionary. "
            "`sn.matching_pursuit` does the same with one product in all and rows of the Gram matrix."
        ),
        hints=(
            "Start with `z = torch.zeros(len(dictionary), dtype=x.dtype)` and what is left, `r = x`.",
            "`c = dictionary @ r`, `j = c.argmax()`: how much is taken, and where does it go?",
            "An atom may be chosen again: add to its coefficient, do not overwrite it. And take "
            "`c[j].clamp(min=0)`.",
            "`z[j] += a`, then `r = r - a * dictionary[j]`.",
        ),
    ),
)
