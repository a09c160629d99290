"""A name is told from others by what its atom writes: planted writers score 1, random directions half."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb_studies.evaluation import intervention_score

WORDS = ("fox", "winter", "library", "village", "garden", "letter")
BEGINNINGS = ["Once there was a", "One day the", "She went to the"]


@pytest.fixture(scope="module")
def writers() -> tuple[Any, Any]:
    """tiny-gpt, and atoms after its last block that are the unembedding of a word's first token."""
    gpt = sn.load_model("tiny-gpt")
    head = gpt.module.get_output_embeddings().weight.detach().float()
    ids = [gpt.tokenizer.encode(f" {word}", add_special_tokens=False)[0] for word in WORDS]
    dictionary = torch.nn.functional.normalize(head[ids] - head.mean(dim=0), dim=1)
    place = "resid_post.3"
    acts = SimpleNamespace(hook_point=place)
    peaks = torch.full((len(WORDS),), 8.0)
    return gpt, SimpleNamespace(dictionary=dictionary, max_strength=peaks, acts=acts)


def test_atoms_that_write_their_words_score_one_and_wrong_names_do_not(writers: Any) -> None:
    gpt, catalogue = writers
    found = intervention_score.__wrapped__(catalogue, gpt, dict(enumerate(WORDS)), BEGINNINGS)
    assert found.value > 0.9
    turned = dict(enumerate((*WORDS[1:], WORDS[0])))
    wrong = intervention_score.__wrapped__(catalogue, gpt, turned, BEGINNINGS)
    assert wrong.value < found.value - 0.3
    assert 0.1 < found.control < 0.9
