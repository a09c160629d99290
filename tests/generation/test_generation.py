"""Promises of a text written token by token: the model's own text and codes, forks that share everything but
what is added, nothing lost by a pause or an interruption."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.generation import Branch, Generation
from sae_nb.steering import random_direction

pytestmark = pytest.mark.slow

PLACE, PROMPT = "resid_post.1", "The list of"
SAMPLED = {"temperature": 1.0, "seed": 3}


@pytest.fixture(scope="module")
def sae(gpt: Any) -> Any:
    start = torch.Generator().manual_seed(0)
    return sn.TopK(gpt.width(PLACE), 64, 4, generator=start).eval()


def written(gpt: Any, sae: Any, n: int, prompt: str = PROMPT, **how: Any) -> Generation:
    made = Generation(gpt, sae, prompt, PLACE, **how)
    for _ in range(n):
        assert made.step()
    return made


@pytest.mark.parametrize("how", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_the_text_is_the_models_and_the_codes_are_of_one_pass(
    gpt: Any, sae: Any, how: dict[str, Any]
) -> None:
    made = written(gpt, sae, 5, **how)
    gpt.generate("Anna", 3)
    for _ in range(5):
        made.step()
    assert made.new_text() == gpt.generate(PROMPT, 10, echo=False, **how)
    ids = torch.tensor(made.branches[0].text.ids)
    acts = sn.capture(gpt, [ids], PLACE, progress=False)
    wanted = sae.encode(acts).to_dense().detach().numpy()
    atoms = np.flatnonzero(wanted.any(axis=0))
    found = np.stack([made.branches[0].text.strengths(int(atom)) for atom in atoms], axis=1)
    assert np.isnan(found[0]).all()
    assert found[1:] == pytest.approx(wanted[:, atoms], abs=1e-3)


@pytest.mark.parametrize("how", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("position", [2, 7], ids=["prompt", "written"])
def test_a_fork_goes_on_as_if_it_had_been_so_from_there(
    gpt: Any, sae: Any, how: dict[str, Any], position: int
) -> None:
    """Unsteered as the text without a fork; steered and random as `steer` has the model write anew."""
    made = written(gpt, sae, 12, **how)
    ids = made.branches[0].text.ids
    fork = made.fork(position, 5, 40.0, seed=1)
    n = 8
    for _ in range(n):
        made.step(fork)
    rows = [row.ids for row in made.branches[fork].rows]
    prompt = torch.tensor(ids[: position + 1])
    plain = ids if position >= made.n_prompt else gpt.generate(prompt, n, return_ids=True, **how)
    assert rows[Branch.UNSTEERED] == [int(i) for i in plain[: position + 1 + n]]
    assert all(row[: position + 1] == ids[: position + 1] for row in rows)
    if how and position >= made.n_prompt:
        return  # written anew it would begin with the first draw
    drawn = [
        (Branch.RANDOM + i, {"direction": random_direction(sae.d_in, 1 + i)}) for i in range(3)
    ]
    assert len(rows) == Branch.RANDOM + 3
    for row, edit in ((Branch.STEERED, {"sae": sae, "atom": 5}), *drawn):
        with sn.steer(gpt, PLACE, by=40.0, positions=lambda s: s.position >= position, **edit):
            anew = gpt.generate(prompt, n, return_ids=True, **how)
        assert rows[row] == anew.tolist()


def test_branches_of_branches_keep_what_was_before(gpt: Any, sae: Any) -> None:
    """The second fork leaves the steered text, and nothing is added twice; undo takes the newest away."""
    made = written(gpt, sae, 6)
    first = made.fork(5, 5, 60.0)
    for _ in range(4):
        made.step(first)
    second = made.fork(8, 6, 1e-6, branch=first)
    for _ in range(4):
        made.step(second)
    ids = made.branches[first].text.ids
    assert made.branches[second].text.ids[:9] == ids[:9]
    with sn.steer(
        gpt, PLACE, sae, 5, 60.0, positions=lambda s: (s.position >= 5) & (s.position < 8)
    ):
        anew = gpt.generate(torch.tensor(ids[:9]), 4, return_ids=True)
    assert made.branches[second].text.ids == anew.tolist()
    assert made.undo()
    assert made.undo()
    assert not made.undo()
    assert made.step()
    assert not gpt.interventions


def test_a_step_that_is_interrupted_has_not_happened(gpt: Any, sae: Any) -> None:
    """Half of the layers have a new column in their cache by then, and a draw may be made."""
    made = written(gpt, sae, 3, **SAMPLED)

    def interrupted(x: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), sn.splice(gpt, "resid_post.2", interrupted):
        made.step()
    for _ in range(4):
        made.step()
    assert made.new_text() == gpt.generate(PROMPT, 7, echo=False, **SAMPLED)


def test_it_ends_where_the_text_ends_or_the_context(gpt: Any, sae: Any) -> None:
    """The token that ends a text is not shown; one whose rows end one by one goes on with the rest."""
    made = Generation(gpt, sae, "This is", PLACE)
    while made.step():
        pass
    assert made.ended()
    assert made.new_text() == gpt.generate("This is", 60, echo=False)
    long = Generation(gpt, sae, torch.full((510,), 100), PLACE)
    while long.step():
        assert len(long.branches[0].text.ids) <= 512
    assert len(long.branches[0].text.ids) in range(510, 513)
