"""Texts that a model was not made for: another script, or emoji alone."""

from __future__ import annotations

from typing import Any

import pytest

import sae_nb as sn

POINT = "resid_post.3"
ODD = {
    "emoji": "😀🎉👩‍👩‍👧🏳️‍🌈",
    "one emoji": "😀",
    "Japanese": "昨日、猫が公園で遊んでいました。",
    "Arabic": "كان يا ما كان في قديم الزمان",
    "Russian": "Жили-были дед и баба.",
    "mixed": "Once 猫 upon 😀 a time",
}


@pytest.fixture(scope="module")
def sae() -> Any:
    return sn.load_sae(f"tiny-gpt/{POINT}")


@pytest.mark.parametrize("text", ODD.values(), ids=list(ODD))
def test_every_script_is_read_and_comes_back(gpt: Any, sae: Any, text: str) -> None:
    """A row per token but the first; what is written begins with the text as it was given."""
    n_tokens = len(gpt.tokenizer(text)["input_ids"])
    acts = sn.capture(gpt, text, POINT, progress=False)
    assert len(acts) == n_tokens - 1
    assert acts.x.isfinite().all()
    with sn.steer(gpt, POINT, sae, 1, 2.0):
        steered = gpt.generate(text, max_new_tokens=3)
    for written in (gpt.generate(text, max_new_tokens=3), steered):
        assert written.startswith(text)
    found = sn.top_atoms(gpt, sae, text, POINT)
    assert len(found.tokens) == n_tokens
