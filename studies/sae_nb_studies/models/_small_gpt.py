"""A small GPT-2 for one task of words, and its tokenizer: a token per word between spaces, after a start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb_studies.data.tasks import START, UNKNOWN

if TYPE_CHECKING:
    from sae_nb_studies.data.tasks import Task

EMBEDDED = 0.15
"""Size of the initial embeddings of words and positions: the output of heads is small compared with
them at first.
"""


def new_tokenizer(task: Task) -> Any:
    """Return a tokenizer with one token per word between spaces, after a start."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(task.vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, words[START])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=START,
        unk_token=UNKNOWN,
        model_max_length=task.length + task.n_after,
    )


def small_gpt(
    task: Task, *, d_model: int, n_blocks: int, n_heads: int, n_neurons: int, seed: int
) -> Any:
    """Build an untrained GPT-2 of ReLUs from a seed; positions begin as sines and cosines."""
    from transformers import GPT2Config, GPT2LMHeadModel

    length = task.length + task.n_after
    config = GPT2Config(
        vocab_size=len(task.vocabulary),
        n_positions=length,
        n_embd=d_model,
        n_layer=n_blocks,
        n_head=n_heads,
        n_inner=n_neurons,
        activation_function="relu",
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = GPT2LMHeadModel(config)
        nn.init.normal_(model.transformer.wte.weight, std=EMBEDDED)
        with torch.no_grad():
            model.transformer.wpe.weight.copy_(waves(length, d_model))
    return model


def waves(length: int, width: int) -> Float[Tensor, "length width"]:
    """Where positions begin: sines and cosines, of which a head finds the token before at once."""
    rates = 1e-4 ** torch.linspace(0, 1, width // 2)
    angles = torch.arange(length)[:, None] * rates
    return EMBEDDED * torch.cat([angles.sin(), angles.cos()], dim=1)
