"""Small models, inputs for them, and the memory of a process that reads one again and again."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent
from typing import Any

import torch
from torch import Tensor, nn

from tests.models.conftest import FAMILIES
from tests.models.small_models import small_vit

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "mat",
    "a",
    "dog",
    "ran",
    "far",
    "away",
    "and",
    "then",
    "it",
    "slept",
]
TEXTS = ["the cat sat on the mat", "a dog ran far away and then it slept", "it", "a cat slept"]


def words_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    vocabulary = special | {word: i + len(special) for i, word in enumerate(WORDS)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **names)


def _made(family: str) -> nn.Module:
    import transformers

    torch.manual_seed(0)
    model_class, config_class, settings = FAMILIES[family]
    module: nn.Module = getattr(transformers, model_class)(
        getattr(transformers, config_class)(**settings)
    )
    return module.eval()


def gpt2() -> nn.Module:
    return _made("gpt2")


def llama() -> nn.Module:
    return _made("llama")


def bert() -> nn.Module:
    return _made("bert")


def vit(n_blocks: int = 4, seed: int = 0) -> nn.Module:
    return small_vit(seed, d_model=16, n_blocks=n_blocks, n_heads=2)


def pictures(n: int = 10) -> Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def growth(before: str, step: str, *, warm: int, times: int) -> float:
    """Resident memory of a process of its own after steps, in units of what it is once warm."""
    script = f"""
import ctypes, gc
import torch

def resident():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # pages freed but kept are noise of ±3 %
    return int(open("/proc/self/statm").read().split()[1]) * 4096

torch.set_num_threads(1)
{dedent(before)}
for _ in range({warm}):
    {step}
first = resident()
for _ in range({times}):
    {step}
print(resident() / first)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return float(done.stdout)
