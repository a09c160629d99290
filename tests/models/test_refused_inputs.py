"""Inputs that a model does not read are refused by the call, with rule, given and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import sae_nb as sn
from sae_nb.models import LiveModel, wrap
from tests.models.conftest import build_model, build_tokenizer
from tests.models.test_picture_inputs import BYTES, FLOATS as PIXELS, PREPROCESS, Patches
from tests.models.test_sound_models import speech_model
from tests.models.test_sound_transformer import small
from tests.models.test_video_models import made

X = torch.zeros(7, 4)
FILMS = torch.rand(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
MODELS: dict[str, Callable[[], LiveModel]] = {
    "rows": lambda: wrap(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())),
    "texts": lambda: wrap(build_model("gpt2"), tokenizer=build_tokenizer()),
    "pictures": lambda: wrap(build_model("vit"), preprocess=PREPROCESS),
    "sounds": lambda: speech_model("WavLM", "layer"),
    "films": lambda: made("VideoMAE"),
}
BAD: dict[str, list[tuple[Any, type[Exception], str]]] = {
    "rows": [
        (torch.zeros(0, 4), ValueError, "at least one row"),
        (iter([]), ValueError, "at least one tensor"),
        (torch.tensor(3.0), TypeError, "first axis counts samples"),
        ("text", TypeError, "tokenizer="),
        ({"a": X, "b": X[:2]}, TypeError, "first axis counts samples"),
        (5, TypeError, "got int"),
        (torch.full((2, 4), torch.inf), ValueError, "finite"),
        (np.zeros((0, 4)), ValueError, "at least one row"),
    ],
    "texts": [
        ([], ValueError, "at least one text, got none"),
        (iter([]), ValueError, "at least one text, got none"),
        ("", ValueError, "one is ''"),
        (["the cat", ""], ValueError, "text 1 is ''"),
        (torch.zeros(0, 4, dtype=torch.long), ValueError, "must not be empty"),
        ([[]], ValueError, "at least one text"),
        (torch.rand(2, 3, 32, 32), TypeError, "texts or token ids for the language model"),
        (torch.rand(2, 8), TypeError, "texts or token ids"),
        (np.zeros((8, 8, 3), np.uint8), TypeError, "texts or token ids"),
        (torch.tensor([[3, 64]]), ValueError, "between 0 and 63 .* got 64"),
        ([[3, -1]], ValueError, "between 0 and 63 .* got -1"),
        ([3, 100], ValueError, "got 100"),
        (Path("nowhere.txt"), ValueError, "nowhere.txt"),
        ({"pixel_values": torch.rand(1, 3, 8, 8)}, TypeError, "keys .*pixel_values"),
        (3.5, TypeError, "float"),
        (None, TypeError, "NoneType"),
        ([None], TypeError, "NoneType"),
        (Image.new("RGB", (8, 8)), TypeError, "texts or token ids for the language model"),
        (SimpleNamespace(images=torch.rand(2, 3, 8, 8)), TypeError, "texts or token ids"),
        ([1.5, 2.5], TypeError, "float"),
        ([True, False], TypeError, "bool"),
    ],
    "pictures": [
        ([], ValueError, "at least one image, got none"),
        (iter([]), ValueError, "at least one image, got none"),
        (torch.zeros(0, 3, 32, 32), ValueError, "at least one image"),
        (torch.rand(2, 1, 32, 32), ValueError, r"3 channels.*\(2, 1, 32, 32\).*expand"),
        (torch.rand(2, 32, 32, 3), ValueError, r"3 channels.*permute\(0, 3, 1, 2\)"),
        (torch.rand(2, 4, 32, 32), ValueError, "3 channels"),
        (torch.rand(32, 32), TypeError, "images for the vision model"),
        (torch.rand(1, 2, 3, 32, 32), TypeError, "images for the vision model"),
        (torch.randint(0, 255, (2, 3, 32, 32)), TypeError, "int64"),
        (PIXELS * 255, ValueError, r"lie in \[0, 1\].*Divide bytes by 255"),
        (PIXELS - 0.5, ValueError, r"lie in \[0, 1\].*pixel_values"),
        (torch.full((1, 3, 32, 32), torch.nan), ValueError, "got values from nan"),
        ("the cat sat", TypeError, "the text 'the cat sat'"),
        (["the cat sat"], TypeError, "images for the vision model"),
        ("missing.png", FileNotFoundError, "missing.png"),
        (Path("missing"), FileNotFoundError, "missing"),
        ([1, 2, 3], TypeError, "list of int"),
        (torch.tensor([[1, 2, 3]]), TypeError, "int64"),
        ({"input_ids": torch.tensor([[1]])}, TypeError, "input_ids"),
        ({"pixel_values": torch.rand(3, 3)}, ValueError, r"\(n, channels, H, W\)"),
        (7, TypeError, "got int"),
        (None, TypeError, "NoneType"),
    ],
    "sounds": [
        (torch.zeros(2, 400), ValueError, "must not be silent"),
        (torch.randn(2, 400, 2), ValueError, "must be mono"),
        (torch.randn(400, 2), ValueError, "must be mono"),
        (torch.full((1, 400), torch.nan), ValueError, "clip 0 holds NaN"),
        ((torch.randn(400), 44_100), ValueError, "must have 16000 values per second"),
        (sn.data.sounds(1), ValueError, "must have 16000 values per second"),
        (torch.randn(1, 20), ValueError, "at least"),
        (
            {"input_values": torch.randn(2, 9), "attention_mask": torch.ones(2, 8)},
            ValueError,
            "the shape of",
        ),
        ([], ValueError, "at least one clip"),
    ],
    "films": [
        (FILMS[:, :3], ValueError, "must have 4 frames"),
        (FILMS[:, :, :1], ValueError, "must have 3 channels"),
        (FILMS.movedim(2, -1), ValueError, r"movedim\(-1, -3\)"),
        (3 * FILMS, ValueError, r"must lie in \[0, 1\]"),
        (FILMS[..., :16], ValueError, "must have 32×32 pixels"),
        (FILMS * torch.nan, ValueError, "must be finite"),
        ([], ValueError, "at least one video"),
        (FILMS[0, 0], TypeError, "must be videos"),
    ],
}
LOOSE = {"bos_token_id": None, "eos_token_id": None}
CALLS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a preprocess that loses pictures": (
        lambda: next(wrap(Patches(), preprocess=lambda x: x[:1]).batches(BYTES)),
        ValueError, r"`preprocess` must .* n=3",
    ),
    "prefix tokens that are not there": (
        lambda: sn.capture(
            wrap(build_model("vit"), prefix_tokens=3), torch.rand(1, 3, 32, 32), "resid_post.0", progress=False
        ),
        ValueError, r"tokens per sample.*got 17.*patch_grid",
    ),
    "a packed encoder": (
        lambda: wrap(build_model("bert"), tokenizer=build_tokenizer("cls")).batches(["the cat"], pack=True),
        ValueError, "`pack` needs a causal language model",
    ),
    "no token to begin with": (
        lambda: wrap(build_model("gpt2", **LOOSE)).batches([[3]], add_bos=True),
        ValueError, "no beginning-of-text",
    ),
    "no token between packed texts": (
        lambda: wrap(build_model("gpt2", **LOOSE)).batches([[3]], pack=True), ValueError, "end-of-text",
    ),
    "a tokenizer of another model": (
        lambda: next(
            wrap(build_model("gpt2", vocab_size=12), tokenizer=build_tokenizer()).batches("the mat ran far")
        ),
        ValueError, "between 0 and 11.*own tokenizer",
    ),
    "a clip of another length": (
        lambda: wrap(small())(torch.randn(2, 7000)), ValueError, "have 8000 values each, but clip 0 has 7000"
    ),
    "a clip of another rate": (
        lambda: wrap(small())((torch.randn(8000), 16_000)), ValueError, "8000 values per second"
    ),
    "an encoder that should write": (
        lambda: wrap(build_model("bert"), tokenizer=build_tokenizer("cls")).generate("the cat"),
        TypeError, "causal language model",
    ),
    "a decoder without its head": (
        lambda: wrap(build_model("llama").model).generate([3]), TypeError, "language-modelling head.*LlamaModel"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_inputs_are_refused_before_any_work(kind: str) -> None:
    """At the call, not at the first batch."""
    model = MODELS[kind]()
    for inputs, error, words in BAD[kind]:
        with pytest.raises(error, match=words):
            model.batches(inputs)


@pytest.mark.parametrize("case", CALLS)
def test_what_does_not_fit_the_model_is_named(case: str) -> None:
    call, error, words = CALLS[case]
    with pytest.raises(error, match=words):
        call()
