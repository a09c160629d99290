"""A tiny random model of texts with images, with a processor that is made here."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from PIL import Image

import sae_nb as sn
from sae_nb.models import LiveModel

WORDS = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "what", "is", "this", "a", "red", "door", "?")
IMAGE = WORDS.index("<image>")


def processor() -> Any:
    """LLaVA's, of words and of images of 32 × 32 in patches of 8 × 8."""
    import tokenizers
    import transformers

    by_word = {word: i for i, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(by_word, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    name = "CLIPImageProcessorPil"
    kind = getattr(transformers, name, None) or transformers.CLIPImageProcessor
    images = kind(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
    )


@cache
def small_llava() -> LiveModel:
    """Three blocks of width 32; an image is 4 × 4 patches."""
    import transformers

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
    text = transformers.LlamaConfig(
        **sizes, num_hidden_layers=3, num_key_value_heads=4, vocab_size=len(WORDS),
        max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    vision = transformers.CLIPVisionConfig(
        **sizes, num_hidden_layers=2, image_size=32, patch_size=8
    )
    config = transformers.LlavaConfig(
        text_config=text, vision_config=vision, image_token_index=IMAGE, vision_feature_layer=-1
    )
    module = transformers.LlavaForConditionalGeneration(config).eval()
    return sn.wrap(module, processor())


def pairs(n: int = 6) -> list[tuple[str, Image.Image]]:
    """Texts of two lengths, each with an image of one colour."""
    texts = ("what is this <image> a red door ?", "<image> is this red ?")
    return [
        (texts[i % 2], Image.new("RGB", (40, 48), (40 * i, 250 - 40 * i, 90))) for i in range(n)
    ]
