"""changed_phrase: its chances are products of probabilities that plain runs give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.diffing import changed_phrase, continued_set_back
from sae_nb.models import run

pytestmark = pytest.mark.slow


def logits(model: Any, ids: torch.Tensor, put: Any = None) -> torch.Tensor:
    with torch.no_grad():
        return run(model, next(iter(model.batches(ids[None]))), put=put or {}).answer.tensor[0]


def put_back(planted_phrase: Any, phrase_difference: Any, ids: torch.Tensor) -> Any:
    """The states of the first finding's place, with its direction as the model before has it."""
    place, along = phrase_difference.table["hook_point"][0], phrase_difference.directions[0]
    with torch.no_grad():
        theirs = run(
            planted_phrase.before,
            next(iter(planted_phrase.before.batches(ids[None]))),
            read=[place],
        )

    def put(x: torch.Tensor) -> torch.Tensor:
        moved = (x - theirs.states[place]) @ along
        return x - moved[..., None] * along

    return {place: put}


def test_chances_are_products_of_the_probabilities_of_its_tokens(
    planted_phrase: Any, phrase_difference: Any
) -> None:
    """At the first place of the second text, with the direction set back by hand."""
    texts = planted_phrase.inputs(2)
    phrase = changed_phrase(
        planted_phrase.before, planted_phrase.after, texts, phrase_difference, n_random=2
    )
    assert (phrase.phrase, phrase.token) == ("So it was.", ".")
    assert phrase.samples.tolist() == sorted(phrase.samples.tolist())
    assert phrase.after.min() > 0.9 > 0.05 > phrase.before.max()
    at = int(np.flatnonzero(phrase.samples == 1)[0])
    assert phrase.first[at]
    ids = next(iter(planted_phrase.before.batches([texts[1]]))).token_ids[0]
    stop = planted_phrase.before.tokenizer(".", add_special_tokens=False).input_ids[-1]
    begun = ids[: ids.tolist().index(stop) + 1]
    new = planted_phrase.before.tokenizer(" So it was.", add_special_tokens=False).input_ids
    whole = torch.cat([begun, torch.tensor(new)])
    for scores, said in (
        (logits(planted_phrase.before, whole), phrase.before),
        (logits(planted_phrase.after, whole), phrase.after),
        (
            logits(planted_phrase.after, whole, put_back(planted_phrase, phrase_difference, whole)),
            phrase.set_back,
        ),
    ):
        rows = scores.double().softmax(-1)[len(begun) - 1 : -1]
        by_hand = np.prod([float(row[token]) for row, token in zip(rows, new, strict=True)])
        assert said[at] == pytest.approx(by_hand, rel=1e-3, abs=1e-12)
    assert phrase.random[at] == pytest.approx(phrase.after[at], abs=0.1)
    assert phrase.random.shape == (len(phrase.samples), 2)


def test_what_is_set_back_at_every_step_is_the_likeliest_token_there(
    planted_phrase: Any, phrase_difference: Any
) -> None:
    ids = next(iter(planted_phrase.before.batches(["One day Tom went out."]))).token_ids[0]
    back, random = continued_set_back(
        planted_phrase.before, planted_phrase.after, ids, 3, phrase_difference
    )
    for written in back:
        likeliest = logits(
            planted_phrase.after, ids, put_back(planted_phrase, phrase_difference, ids)
        )[-1].argmax()
        assert written == int(likeliest)
        ids = torch.cat([ids, likeliest[None]])
    assert len(random) == 3


def test_two_equal_models_have_no_phrase(planted_phrase: Any) -> None:
    same = sn.diff_models(
        planted_phrase.before, planted_phrase.before, ["The cat sat."], progress=False
    )
    assert (
        changed_phrase(planted_phrase.before, planted_phrase.before, ["The cat sat."], same) is None
    )
    assert (
        continued_set_back(planted_phrase.before, planted_phrase.before, torch.tensor([3]), 2, same)
        == []
    )
