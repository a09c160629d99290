"""The longest text is the longest that runs, also where positions are numbered from behind the padding's id."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

import sae_nb as sn

SMALL = {
    "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 8, "max_position_embeddings": 16,
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "padding", "longest"),
    [
        ("Bert", 0, 16),
        ("Roberta", 1, 14),
        ("Camembert", 1, 14),
        ("MPNet", 1, 14),
        ("Roberta", 3, 12),
    ],
)
def test_the_longest_text_runs_and_a_longer_one_does_not(
    family: str, padding: int, longest: int
) -> None:
    """A family without a row of its own is read as those that have: by its position embedding."""
    config = getattr(transformers, f"{family}Config")(**SMALL, pad_token_id=padding)
    module: Any = getattr(transformers, f"{family}ForMaskedLM")(config).eval()
    model = sn.wrap(module)
    assert model.context_length == longest
    ids = torch.full((1, longest), 9)
    assert module(input_ids=ids).logits.shape[1] == longest
    with pytest.raises((IndexError, RuntimeError)):
        module(input_ids=torch.full((1, longest + 1), 9))
