"""Phrases: exactly additive where nothing but MLPs could hinder it; a tree's values are its words' and joins'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb_studies.circuits import phrase_contributions, phrase_tree

TEXT = "Anna was happy and she went to"
ASKED = (" her", " his")


@pytest.mark.slow
def test_tokens_add_up_to_the_whole_where_there_are_no_mlps() -> None:
    """tiny-induction is attention alone: with patterns and scales held the answer is linear in the words."""
    model = sn.load_model("tiny-induction")
    text = " ".join(model.tokenizer.convert_ids_to_tokens(list(range(2, 10))))
    n = model.batches([text], batch_size=1).__next__().token_ids.shape[1]
    spans = [*((i, i + 1) for i in range(n)), (0, 3), (3, n), (0, n)]
    for method in ("alone", "shared", "gradient"):
        values = phrase_contributions(model, text, spans, method=method).value.to_numpy()
        assert abs(values[n:]).min() > 1e-3
        np.testing.assert_allclose(values[:n].sum(), values[-1], rtol=1e-3)
        np.testing.assert_allclose(values[:3].sum(), values[n], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(values[3:n].sum(), values[n + 1], rtol=1e-3, atol=1e-3)


def test_a_phrase_left_out_is_zero_in_the_stream(gpt: Any) -> None:
    found = phrase_contributions(gpt, TEXT, [" happy", " she"], target=ASKED, method="ablation")
    her, his = (gpt.tokenizer.encode(word, add_special_tokens=False)[0] for word in ASKED)
    answers = [float(z[0, -1, her] - z[0, -1, his]) for z in (gpt([TEXT]), _without(gpt, found))]
    assert found.value[0] == pytest.approx(answers[0] - answers[1], abs=1e-3)


def _without(gpt: Any, found: Any) -> torch.Tensor:
    def gone(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[:, found["first"][0] : found.stop[0]] = 0
        return x

    with sn.steering.splice(gpt, "resid_pre.0", gone):
        return gpt([TEXT])


@pytest.mark.slow
def test_a_tree_joins_neighbours_until_one_is_left(gpt: Any) -> None:
    tree = phrase_tree(gpt, TEXT, target=ASKED)
    assert "".join(tree.words) == TEXT
    assert len(tree.spans) == 2 * len(tree.words) - 1
    assert tree.spans[-1] == (0, len(tree.words))
    words = tree.table.value[: len(tree.words)]
    assert tree.values[-1] == pytest.approx(words.sum() + tree.table.interaction.sum(), abs=1e-4)
    assert f"{tree.phrase(tree.spans[len(words)])}" in str(tree)
    rows = tree.plot().data[0].z
    np.testing.assert_allclose(rows[0], words)
    np.testing.assert_allclose(rows[-1], tree.values[-1])
