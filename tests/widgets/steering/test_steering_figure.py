"""The figure of a steering: honest bars, an honest verdict, inert labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sae_nb_widgets.steering._words import answer_words

from sae_nb.summaries import SteeringSummary
from sae_nb.summaries._steering import SteeringRecipe

RECIPE = SteeringRecipe(hook_point="resid_post.1", atom=3, strength=2.0)


def summary(**given: Any) -> SteeringSummary:
    fields: dict[str, Any] = {
        "recipe": RECIPE,
        "edit_norm": 2.0,
        "outcome": "next token",
        "names": (" cat", "<script>alert(1)</script>", "\n"),
        "ids": np.array([4, 7, 9]),
        "before": np.array([0.7, 0.2, 0.0]),
        "after": np.array([0.1, 0.8, 0.02]),
        "random": np.array([0.65, 0.22, 0.0]),
        "target": 7,
        "kl": 1.2,
        "kl_random": 0.01,
        "controls": np.array([[0.65, 0.22, 0.0], [0.72, 0.16, 0.01]]),
        "kl_controls": np.array([0.01, 0.02]),
        "stands_out": None,
        "tokens": ("a",),
        "read_at": None,
        "state_change": None,
        "state_change_random": None,
    }
    return SteeringSummary(**(fields | given))


@pytest.mark.parametrize(
    ("kl", "stands_out", "verdict"),
    [
        (0.3, None, "In all, more than chance."),
        (0.01, 7, "In all, random pushes move it as far, but not this way."),
        (0.01, None, "In all, no more than chance."),
    ],
)
def test_the_verdict_is_about_the_whole_answer(
    kl: float, stands_out: int | None, verdict: str
) -> None:
    """A headline neither claims what its own control refutes, nor denies what is not in the top class."""
    found = summary(kl=kl, stands_out=stands_out)
    assert answer_words(found, "atom 1 added").endswith(verdict)
    assert found.beats_chance == ("no more than chance" not in verdict)
