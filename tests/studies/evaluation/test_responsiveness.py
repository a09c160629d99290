"""Responsiveness: shares of values counted by hand, fixed rows, and atoms that turn an answer in the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb_studies.evaluation import Responsiveness, atom_responsiveness, responsiveness

X = torch.tensor([[0.0, 0.0, 5.0], [1.0, 0.0, 5.0], [3.0, 1.0, 0.0], [-9.0, 0.0, 0.0]])


def approve(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] + 2 * x[:, 1] > 2.5


@pytest.fixture(scope="module")
def found() -> Responsiveness:
    return responsiveness(approve, X, [lambda now: [now + 1, now + 3], [0, 1], None])


def test_shares_are_of_the_values_that_a_column_can_have(found: Responsiveness) -> None:
    """Of the rows denied: the first needs +3, the second +3 or the guarantor, the last has no way."""
    assert found.rows.tolist() == [0, 1, 3]
    np.testing.assert_allclose(found.scores, [[0.5, 0, 0], [0.5, 1, 0], [0, 0, 0]])
    assert found.n_values.tolist() == [[2, 1, 0]] * 3
    assert found.recourse == pytest.approx(2 / 3)
    assert "67% have a column" in str(found)
    assert found.table.responsive.tolist() == pytest.approx([2 / 3, 1 / 3, 0])


def test_a_ranking_by_what_cannot_be_changed_has_no_recourse(found: Responsiveness) -> None:
    by_the_third = np.tile([0.0, 1.0, 2.0], (3, 1))
    assert found.without_recourse(by_the_third) == 1
    assert found.without_recourse(by_the_third, n=2) == pytest.approx(2 / 3)
    assert found.without_recourse(found.scores) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="Rank the rows"):
        found.without_recourse(by_the_third[:2])
    assert found.plot().data[0].z.shape == (3, 3)


@pytest.mark.slow
def test_an_atom_turns_the_answer_as_it_does_by_hand() -> None:
    """A planted atom: the direction of the wanted token's unembedding, at strengths of 0 to 60."""
    gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    text = "One day she went to"
    seen = sn.capture(gpt, sn.data.stories(8, seed=0).texts, "resid_post.3", progress=False)
    top, wanted = gpt([text])[0, -1].topk(2).indices.tolist()
    found = atom_responsiveness(
        sae, gpt, text, seen, wanted=wanted, n_atoms=6, quantiles=(0.5, 0.9)
    )
    for i, name in enumerate(found.names):
        codes = sae.encode(seen.x).to_dense()[:, int(name)].detach()
        now = float(
            sae.encode(sn.capture(gpt, [text], "resid_post.3").x[-1:]).to_dense()[0, int(name)]
        )
        levels = [0.0, *torch.quantile(codes[codes > 0], torch.tensor([0.5, 0.9])).tolist()]
        hits = [_answer(gpt, sae, text, int(name), v - now) == wanted for v in levels if v != now]
        assert found.scores[0, i] == pytest.approx(np.mean(hits))
    with pytest.raises(ValueError, match="must not be the answer"):
        atom_responsiveness(sae, gpt, text, seen, wanted=top)


def _answer(gpt, sae, text: str, atom: int, by: float) -> int:
    def moved(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[:, -1] += by * sae.dictionary[atom].detach()
        return x

    with sn.steering.splice(gpt, "resid_post.3", moved):
        return int(gpt([text])[0, -1].argmax())
