"""Promises of the recipe of models with known circuits: rows that ask what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sae_nb_studies.data.tasks import TASKS
from sae_nb_studies.recipes.known_circuits import CircuitRecipe

RECIPE = CircuitRecipe(
    name="tiny-induction", n_blocks=2, d_model=8, n_heads=2,
    steps=4, rows=4, decay_steps=2, warmup_steps=2, log_every=2, seed=1,
)  # fmt: skip


def rows(name: str, n: int = 50, *, held_out: bool = False) -> Any:
    """Of one seed."""
    return TASKS[name].draw(n, np.random.default_rng(0), held_out)


def test_what_is_asked_follows_the_earlier_copy() -> None:
    """The one earlier place of the letter is followed by the answer, and the answer comes next."""
    drawn = rows("tiny-induction")
    for row, t in (drawn.targets != -100).nonzero().tolist():
        ids = drawn.ids[row]
        (before,) = (ids[:t] == ids[t]).nonzero().ravel().tolist()
        assert ids[before + 1] == ids[t + 1] == drawn.targets[row, t]
    assert torch.unique(drawn.ids, dim=0).shape[0] == 50


def test_sums_that_are_held_out_are_never_trained_on() -> None:
    """A fifth of all pairs; every row asks for the sum modulo the prime at its end."""
    drawn, held = rows("tiny-modular", 3000), rows("tiny-modular", 3000, held_out=True)
    pairs = [{tuple(ids) for ids in part.ids[:, [1, 3]].tolist()} for part in (drawn, held)]
    assert not pairs[0] & pairs[1]
    assert len(pairs[1]) <= 53**2 / 5
    numbers = held.ids[:, [1, 3]] - 2
    assert torch.equal(held.targets[:, -1] - 2, numbers.sum(dim=1) % 53)
    assert (held.targets[:, :-1] == -100).all()


def test_brackets_are_judged_as_a_stack_would() -> None:
    """Every beginning of every string, by counting; no string is both held out and trained on."""
    drawn, held = rows("tiny-brackets", 300), rows("tiny-brackets", 300, held_out=True)
    words = TASKS["tiny-brackets"].vocabulary
    for ids, targets in zip(held.ids.tolist(), held.targets.tolist(), strict=True):
        depth, broken = 0, False
        for i, target in zip(ids[1:], targets[1:], strict=True):
            depth += 1 if words[i] == "(" else -1
            broken |= depth < 0
            assert words[target] == ("broken" if broken else "open" if depth else "balanced")
    strings = [set(map(tuple, part.ids.tolist())) for part in (drawn, held)]
    assert not strings[0] & strings[1]
    assert len(drawn) == len(held) == 300
    answers = held.targets[:, 1:].ravel().bincount()[-3:] / held.targets[:, 1:].numel()
    assert float(answers.max()) == pytest.approx(TASKS["tiny-brackets"].chance, abs=0.05)
