"""read_by_block: answers are those of the model's own heads on its own states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.dynamics import ReadByBlock, capture_states, read_by_block


@pytest.mark.slow
def test_the_last_answers_are_the_models_own() -> None:
    """Of both heads, on new pictures; wrong truths and those of another length are left out."""
    model, made = sn.load_model("tiny-vit"), sn.data.scenes(12, seed=3, split="test")
    states = capture_states(model, made.images)
    truth = {"digit": made.digit, "texture": made.texture, "nothing": made.digit, "short": [1, 2]}
    found = read_by_block(model, made.images, states, truth)
    assert found.names == ("digit", "texture")
    with torch.no_grad():
        by_head = model.heads(made.images)
    for i, name in enumerate(found.names):
        own = by_head[name].argmax(-1)
        assert found.answers[i, -1].tolist() == own.tolist()
        right = float((own == getattr(made, name)).float().mean())
        assert found.right[i, -1] == pytest.approx(right)
    assert found.answers.shape == (2, 13, 12)
    other = np.random.default_rng(0).permutation(12)
    known = made.digit.numpy()[other]
    assert found.control[0, 4] == pytest.approx(float((found.answers[0, 4] == known).mean()))


@pytest.mark.slow
def test_without_classes_answers_are_held_against_the_last_ones() -> None:
    """Every head that is one projection; at the end all are their own, and the control is another image's."""
    model, made = sn.load_model("tiny-vit"), sn.data.scenes(12, seed=3, split="test")
    states = capture_states(model, made.images)
    found = read_by_block(model, made.images, states)
    assert found.own
    assert set(found.names) == {"digit", "texture"}  # the foreground is of patches
    assert (found.truth == found.answers[:, -1]).all()
    assert (found.right[:, -1] == 1).all()
    digit = found.names.index("digit")
    same = found.answers[digit, 3] == found.answers[digit, -1]
    assert found.right[digit, 3] == pytest.approx(same.mean())
    assert "as the last answer at the end" in str(found)


@pytest.mark.slow
def test_what_has_no_classes_has_no_reading() -> None:
    model, made = sn.load_model("tiny-vit"), sn.data.scenes(4, seed=3)
    states = capture_states(model, made.images)
    assert read_by_block(model, made.images, states, {}) is None
    tokens = sn.data.stories(2, seed=0).texts
    gpt = sn.load_model("tiny-gpt")
    assert read_by_block(gpt, list(tokens), torch.zeros(2, 5, 3, 8), {"mood": [0, 1]}) is None


def test_what_is_read_stays_read_to_the_end() -> None:
    """From nine answers in ten on, where the control has fewer; not where they get lost again."""
    right = np.array([[0.95, 0.5, 0.9, 0.95], [0.95, 0.95, 0.95, 0.8], [0.2, 0.95, 1.0, 1.0]])
    control = np.array([[0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1], [0.1, 0.9, 0.95, 0.89]])
    none = np.zeros((3, 0), int)
    found = ReadByBlock(
        names=("a", "b", "c"), answers=none, truth=none, right=right, control=control
    )
    assert found.read_by == (2, None, 3)
