"""Places of an answer after each block, against the model's own norm and unembedding."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb.lenses import answer_ranks
from sae_nb.lenses._ranks import OPENINGS
from sae_nb.models import run


@pytest.mark.slow
def test_ranks_are_those_of_the_states_read_by_hand() -> None:
    """By the model's own norm and unembedding, at one block, and of one other text."""
    gpt, text = sn.load_model("tiny-gpt"), "One day Tom went to the"
    found = answer_ranks(gpt, text)

    def logits(words: str, block: int) -> torch.Tensor:
        point = f"resid_post.{block}"
        with torch.no_grad():
            state = run(gpt, next(iter(gpt.batches([words]))), read=point).states[point][0, -1]
            return gpt.module.lm_head(gpt.module.model.norm(state))

    answer = int(run(gpt, next(iter(gpt.batches([text]))), answer="end").answer.one().argmax())
    for block in (1, 3):
        for one, place in ((text, found.rank[block]), (OPENINGS[4], found.others[4, block])):
            seen = logits(one, block)
            assert place == 1 + int((seen > seen[answer]).sum())
        assert found.top[block] == gpt.tokenizer.decode([int(logits(text, block).argmax())])
    assert found.answer == gpt.tokenizer.decode([answer])
    with pytest.raises(ValueError, match="place"):
        answer_ranks(gpt, text, 99)
    with pytest.raises(ValueError, match="lens.read"):
        answer_ranks(sn.load_model("tiny-vit"), text)
