"""Prompt pairs: alike but for one thing, reproducible, and aligned for a tokenizer if one is given."""

from __future__ import annotations

from typing import Any

import pytest

import sae_nb as sn

KINDS = ("agreement", "capitals", "indirect_objects", "greater_than", "induction")


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_differ_and_come_again(kind: Any) -> None:
    """Different pairs, whose two prompts have equally many words and different answers."""
    pairs = sn.data.prompt_pairs(kind, 8, seed=1)
    assert len(set(zip(pairs.clean, pairs.corrupted, strict=True))) == len(pairs) == 8
    for clean, corrupted, (target, other) in zip(
        pairs.clean, pairs.corrupted, pairs.answers, strict=True
    ):
        assert clean != corrupted
        assert target != other
        assert len(clean.split()) == len(corrupted.split())
    assert sn.data.prompt_pairs(kind, 8, seed=1).clean == pairs.clean
    assert sn.data.prompt_pairs(kind, 8, seed=2).clean != pairs.clean
    assert len(pairs[:3]) == 3


@pytest.mark.slow
def test_a_tokenizer_chooses() -> None:
    """Kept are pairs of equally many tokens whose answers are one token; too few are refused."""
    gpt = sn.load_model("tiny-gpt")
    pairs = sn.data.prompt_pairs("induction", 4, seed=0, model=gpt)
    for clean, corrupted, target in zip(pairs.clean, pairs.corrupted, pairs.targets, strict=True):
        n = len(gpt.tokens(clean))
        assert n == len(gpt.tokens(corrupted)) == len(gpt.tokens(clean + target)) - 1
    with pytest.raises(ValueError, match=r"that were found for tiny-gpt, got 20"):
        sn.data.prompt_pairs("capitals", 20, model=gpt)
