"""A tiny random protein model with ESM's own tokenizer, made here."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

import sae_nb as sn
from sae_nb.models import LiveModel

TOKENS = (
    "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>"
)
UBIQUITIN = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"
INSULIN_B = "FVNQHLCGSHLVEALYLVCGERGFFYTPKT"
PROTEINS = [UBIQUITIN, INSULIN_B, 3 * UBIQUITIN]
"""The third is of polyubiquitin: longer than what is shown around a residue."""


def tokenizer() -> Any:
    """ESM's: a residue is a token, between <cls> and <eos>."""
    import tokenizers
    import transformers

    by_token = {token: i for i, token in enumerate(TOKENS.split())}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(by_token, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    ends = [("<cls>", 0), ("<eos>", 2)]
    made.post_processor = tokenizers.processors.TemplateProcessing("<cls> $A <eos>", None, ends)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        cls_token="<cls>",
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


@cache
def small_esm() -> LiveModel:
    """Three blocks of width 32."""
    import transformers

    torch.manual_seed(0)
    config = transformers.EsmConfig(
        vocab_size=33, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
        pad_token_id=1, mask_token_id=32, max_position_embeddings=256, position_embedding_type="rotary",
    )  # fmt: skip
    return sn.wrap(transformers.EsmForMaskedLM(config).eval(), tokenizer())
