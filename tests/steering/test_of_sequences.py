"""A Temporal in a text that grows: every token is told with the tokens before it, cached or not."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

import sae_nb as sn
from sae_nb.models import LiveModel, RunState, load_model
from sae_nb.steering.edits import MaskedEdit, Positions, change_atoms

POINT = "resid_post.1"


@pytest.fixture(scope="module")
def model() -> LiveModel:
    return load_model("tiny-gpt")


@pytest.fixture(scope="module", params=[False, True], ids=["published", "strict"])
def sae(request: pytest.FixtureRequest, model: LiveModel) -> sn.Temporal:
    made = sn.Temporal(
        model.width(POINT), 64, 4, request.param, generator=torch.Generator().manual_seed(0)
    )
    acts = sn.capture(model, [list(range(40, 100))], POINT, progress=False)
    made.initialise(acts.x, None)
    return made.eval()


def change_of(sae: sn.Temporal, kind: str) -> object:
    if kind == "splice":
        return sae
    atoms = (3, 11, 40)
    rows = sae.dictionary[list(atoms)].detach()
    return change_atoms(sae, atoms, rows, mode="add", by=(0.5,) * 3, keep_error=False)


@pytest.mark.parametrize("kind", ["splice", "atoms"])
def test_token_by_token_is_as_at_once(sae: sn.Temporal, model: LiveModel, kind: str) -> None:
    """Stretches of a left-padded batch give what the whole batch gives; padding stays as it was."""
    x = 3 * torch.randn(2, 9, sae.d_in, generator=torch.Generator().manual_seed(1))
    position = torch.tensor([[-1, -1, 0, 1, 2, 3, 4, 5, 6], list(range(9))])
    prompt = torch.tensor([3, 5])

    def states(first: int, last: int) -> RunState:
        part = position[:, first:last]
        return RunState(offset=first, keep=part >= 0, position=part, prompt_length=prompt)

    with torch.no_grad():
        whole = MaskedEdit(Positions("not_first"), change_of(sae, kind))(x, states(0, 9))
        edit = MaskedEdit(Positions("not_first"), change_of(sae, kind))
        cuts = [0, 5, 6, 7, 8, 9]
        parts = [edit(x[:, a:b], states(a, b)) for a, b in pairwise(cuts)]
        alone = MaskedEdit(Positions("not_first"), change_of(sae, kind))(x[:, 7:8], states(0, 1))
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-4, rtol=1e-4)
    assert torch.equal(whole[position < 1], x[position < 1])
    assert not torch.allclose(whole[1, 7:8], alone[1], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["splice", "atoms"])
def test_generation_with_and_without_a_cache_agree(
    sae: sn.Temporal, model: LiveModel, kind: str
) -> None:
    prompts = [list(range(40, 52)), list(range(70, 90))]

    def edited() -> object:
        if kind == "splice":
            return sn.splice(model, POINT, sae)
        return sn.ablate(model, POINT, sae, [3, 11], keep_error=False)

    with edited():
        cached = model.generate(prompts, max_new_tokens=5, return_ids=True)
        plain = model.generate(prompts, max_new_tokens=5, use_cache=False, return_ids=True)
        ids = list(prompts[0])
        for _ in range(5):
            ids.append(int(model([ids])[0, -1].argmax()))
    assert [one.tolist() for one in cached] == [one.tolist() for one in plain]
    assert cached[0].tolist() == ids
