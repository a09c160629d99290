"""A vision transformer and a GPT-2 that nobody trained, and an SAE that reads its own directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.models._vision_transformer import VisionTransformer, VisionTransformerConfig


def small_vit(seed: int = 0, **sizes: int) -> VisionTransformer:
    """Of these sizes, in eval mode, drawn with a seed."""
    config, draws = VisionTransformerConfig(**sizes), torch.Generator().manual_seed(seed)
    return VisionTransformer(config, generator=draws).eval()


def small_gpt(words: Sequence[str], **settings: Any) -> sn.LiveModel:
    """Two blocks, and a tokenizer of these words, of which the first ends a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=words[0]))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=words[0])
    torch.manual_seed(0)
    sizes = {"vocab_size": len(words), "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    module = GPT2LMHeadModel(GPT2Config(**sizes | settings)).eval()
    return sn.wrap(module, tokenizer=tokenizer, name="small gpt")


class PlainSae:
    """Codes are the products with unit directions."""

    hook_point = model_name = None

    def __init__(self, d_in: int, n_atoms: int) -> None:
        rows = torch.randn(n_atoms, d_in, generator=torch.Generator().manual_seed(0))
        self.dictionary = torch.nn.functional.normalize(rows, dim=1)
        self.d_in, self.n_atoms = d_in, n_atoms

    def encode(self, x: Tensor, k: int | None = None) -> sn.SparseCodes:
        return sn.SparseCodes.from_dense(x @ self.dictionary.T)

    def decode(self, codes: sn.SparseCodes) -> Tensor:
        return codes.to_dense() @ self.dictionary
