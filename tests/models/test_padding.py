"""Padding that a model reads is never put beside a text; generation settings and unlike heads are obeyed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.models._attention import attention_patterns

IDS = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
PROMPTS = [list(range(5, 14)), [20, 21], [30, 31, 32, 33, 34]]
N_NEW = 8


def lively(kind: str, **settings: Any) -> Any:
    """A random model of transformers whose weights are large enough that a token more or less is felt."""
    import transformers

    whole = getattr(transformers, kind)
    config = whole.config_class(**IDS, **settings)
    torch.manual_seed(0)
    module = whole(config).eval()
    for weight in module.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.3)
    return module


def gpt() -> Any:
    return lively("GPT2LMHeadModel", n_embd=32, n_layer=2, n_head=4, n_positions=64)


def bart(**settings: Any) -> Any:
    halves = {f"{half}_ffn_dim": 32 for half in ("encoder", "decoder")}
    layers = {"encoder_layers": 3, "decoder_layers": 2}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 2}
    shape = {"d_model": 32, "max_position_embeddings": 64, **halves, **layers, **heads}
    return lively("BartForConditionalGeneration", **shape, decoder_start_token_id=2, **settings)


class HandsOn(nn.Module):
    """A wrapper, as adapters' are, that names some arguments and hands on the others."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.inner, self.config = module, module.config

    def can_generate(self) -> bool:
        return True

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        return self.inner(input_ids, attention_mask=attention_mask, **more)


class KeepsBack(HandsOn):
    """One that takes a mask and no positions, so that padding on the left moves the text."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return self.inner(input_ids, attention_mask=attention_mask)


@pytest.mark.parametrize("wrapper", [HandsOn, KeepsBack])
def test_texts_of_a_wrapped_model_are_those_of_each_alone(wrapper: type[HandsOn]) -> None:
    """Equal to the inner model's own greedy texts, by transformers."""
    module = gpt()
    found = sn.wrap(wrapper(module)).generate(PROMPTS, N_NEW, return_ids=True)
    for prompt, ids in zip(PROMPTS, found, strict=True):
        given = torch.tensor([prompt])
        mask = torch.ones_like(given)
        own = module.generate(
            input_ids=given, attention_mask=mask, max_new_tokens=N_NEW, do_sample=False
        )
        assert ids.tolist() == own[0].tolist()


def test_a_cache_is_found_under_the_wrappers_own_name_for_the_rest() -> None:
    """An edit of the first position leaves alone a token that is read after a cache of others."""
    model = sn.wrap(HandsOn(gpt()))
    ids = torch.tensor([PROMPTS[0]])
    with (
        torch.no_grad(),
        sn.steer(model, "resid_post.0", direction=torch.ones(32), by=50.0, positions=[0]),
    ):
        begun = model.module(input_ids=ids[:, :4], use_cache=True)
        rest = model.module(input_ids=ids[:, 4:], past_key_values=begun.past_key_values).logits
        assert torch.allclose(rest, model([PROMPTS[0]])[:, 4:], atol=1e-3)


FEEL = {
    "RwkvForCausalLM": {"hidden_size": 32, "num_hidden_layers": 2, "context_length": 64},
    "BartForCausalLM": {
        "d_model": 32,
        "decoder_layers": 2,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 32,
        "max_position_embeddings": 64,
    },
    "TrOCRForCausalLM": {
        "d_model": 32,
        "decoder_layers": 2,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 32,
        "max_position_embeddings": 64,
    },
}


@pytest.mark.parametrize("kind", list(FEEL))
def test_families_that_take_a_mask_and_do_not_use_it_are_run_by_length(kind: str) -> None:
    """Every text is the one that its prompt alone gives."""
    model = sn.wrap(lively(kind, **FEEL[kind]))
    together = model.generate(PROMPTS, N_NEW, return_ids=True)
    alone = [model.generate(prompt, N_NEW, return_ids=True) for prompt in PROMPTS]
    assert [ids.tolist() for ids in together] == [ids.tolist() for ids in alone]


def test_a_classifier_that_reads_its_padding_answers_as_alone() -> None:
    """XLNet judges by the last position, which in a padded row is padding."""
    shape = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 32}
    model = sn.wrap(lively("XLNetForSequenceClassification", **shape))
    alone = torch.cat([model.module(torch.tensor([prompt])).logits.detach() for prompt in PROMPTS])
    assert torch.allclose(model(PROMPTS), alone, atol=1e-5)


def test_a_classifier_of_two_halves_reads_the_source_twice() -> None:
    """Bart's own answer, whose decoder reads the source, moved by one."""
    shape = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32}
    more = {"decoder_ffn_dim": 32, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    module = lively("BartForSequenceClassification", **shape, **more, decoder_start_token_id=2)
    texts = [[*prompt, 2] for prompt in PROMPTS]
    alone = torch.cat([module(torch.tensor([text])).logits.detach() for text in texts])
    assert torch.allclose(sn.wrap(module)(texts), alone, atol=1e-4)


SETTINGS: list[dict[str, Any]] = [
    {"forced_bos_token_id": 7},
    {"forced_eos_token_id": 2},
    {"repetition_penalty": 1.7},
    {"suppress_tokens": list(range(20, 50))},
    {"begin_suppress_tokens": list(range(10, 60))},
    {"no_repeat_ngram_size": 2},
    {"min_length": 7},
    {"bad_words_ids": [[9], [30, 31]]},
    {"encoder_repetition_penalty": 1.5},
    {"encoder_no_repeat_ngram_size": 1},
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: next(iter(one)))
@pytest.mark.parametrize("build", [gpt, bart])
def test_generation_settings_are_obeyed(build: Any, settings: dict[str, Any]) -> None:
    """Together, every prompt is continued as transformers' own greedy search continues it alone."""
    module = build()
    stated = {"forced_bos_token_id": None, "forced_eos_token_id": None} | settings
    for name, value in stated.items():
        setattr(module.generation_config, name, value)
    found = sn.wrap(module).generate(PROMPTS, N_NEW, return_ids=True, echo=False)
    for prompt, ids in zip(PROMPTS, found, strict=True):
        given = torch.tensor([prompt])
        own = module.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=N_NEW,
            do_sample=False,
        )[0].tolist()
        assert ids.tolist() == own[1 if build is bart else len(prompt) :]


def test_a_forced_first_token_comes_first() -> None:
    """As transformers has it of Bart and its family; without the setting another one comes."""
    module = bart()
    free = sn.wrap(module).generate(PROMPTS[0], 3, return_ids=True).tolist()
    module.generation_config.forced_bos_token_id = 7
    forced = sn.wrap(module).generate(PROMPTS[0], 3, return_ids=True).tolist()
    assert forced[0] == 7 != free[0]


def test_what_the_model_answers_is_left_as_it_was() -> None:
    """Settings change a copy of the logits, in single precision too."""
    module, seen = gpt(), list[tuple[Tensor, Tensor]]()
    module.generation_config.suppress_tokens = list(range(20, 50))

    def keep(_: nn.Module, __: Any, out: Any) -> None:
        seen.append((out.logits, out.logits.clone()))

    model = sn.wrap(module)
    model.module.register_forward_hook(keep)
    model.generate(PROMPTS[0], 2)
    assert len(seen) == 2
    assert all(torch.equal(logits, before) for logits, before in seen)


def test_other_ways_of_choosing_are_named() -> None:
    """Beams are not searched here; the warning says which setting that was."""
    module = gpt()
    module.generation_config.num_beams = 4
    with pytest.warns(UserWarning, match="num_beams=4"):
        sn.wrap(module).generate(PROMPTS[0], 1)


def test_heads_are_counted_by_halves() -> None:
    """Four of the encoder, two of the decoder: (2, 2) direct effects, and scores of each half's own."""
    model = sn.wrap(bart())
    assert model.n_heads == 2
    assert sn.circuits.direct_effects(model, [torch.arange(5, 12)], (7, 9)).values.shape == (2, 2)
    table = sn.circuits.head_scores(model, n_texts=1, n_tokens=4).table
    heads = table.groupby(["stream", "layer"]).size().groupby("stream").first()
    assert heads.to_dict() == {"encoder": 4, "decoder": 2, "cross": 2}


def test_two_attentions_of_one_layer_are_refused() -> None:
    """Three layers call attention six times, as DiffLlama's do: a number that three divides."""
    from transformers.models.llama.modeling_llama import LlamaAttention

    class Twice(LlamaAttention):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            super().forward(*args, **kwargs)
            return super().forward(*args, **kwargs)

    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    module = lively("LlamaForCausalLM", **shape, num_key_value_heads=2, intermediate_size=32)
    for layer in module.model.layers:
        layer.self_attn.__class__ = Twice
    model = sn.wrap(module)
    with pytest.raises(ValueError, match="3 layers of it, and 6"):
        attention_patterns(model, next(iter(model.batches([PROMPTS[0]]))))
