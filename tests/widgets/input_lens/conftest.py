"""Lenses of a picture and of a text."""

from __future__ import annotations

from typing import Any

import pytest
import sae_nb_widgets as sw

from tests.widgets.input_lens.small import GPT_SAE, HOSTILE, PICTURES, VIT_SAE


@pytest.fixture
def lens(vit: Any) -> sw.InputLens:
    """One picture of noise through an untrained SAE with made-up base rates and labels."""
    made = sw.InputLens(
        vit, VIT_SAE, "resid_post.6", frequency=[0.05] * 96, labels={3: HOSTILE, 5: "five"}
    )
    made.picture = PICTURES[0]
    made.wait()
    return made


@pytest.fixture
def reading(gpt: Any) -> sw.InputLens:
    made = sw.InputLens(gpt, GPT_SAE, "resid_post.2")
    made.text = "Anna lived near the library with a small fox"
    made.wait()
    return made
