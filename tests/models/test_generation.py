"""Generated texts are the library's own greedy texts, with and without cache, alone and in batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sae_nb.models import LiveModel, RunState, wrap
from sae_nb.models._generation import TokenStream
from sae_nb.models._interventions import Intervention

FAMILIES = ["gpt2", "llama", "gpt_neox", "gemma2", "qwen3", "opt", "bloom"]
PROMPTS = [[6, 7, 9], [11, 8, 13, 14, 15, 20], [6, 12]]


def lively(build, family: str, **changes: object) -> LiveModel:
    """A model that never ends its texts, so that lengths are known."""
    return wrap(build(family, eos_token_id=None, **changes))


def pushed(vector: Tensor, steps: str):
    def edit(x: Tensor, state: RunState) -> Tensor:
        here = steps == "all" or (state.step == 0) == (steps == "prompt")
        return x + vector if here else x

    return edit


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_text_is_hugging_faces_own(build, family) -> None:
    """Equal to `generate(do_sample=False)` token by token, for every prompt length."""
    model = lively(build, family)
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        theirs = model.module.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=9,
            do_sample=False,
            pad_token_id=0,
        )[0]
        assert torch.equal(model.generate(prompt, max_new_tokens=9), theirs)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [None, "prompt", "new", "all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_cache_and_batching_change_nothing_also_under_edits(build, family, steps) -> None:
    """Cached = uncached = one by one, with an edit at the prompt, at new tokens, or at both."""
    model = lively(build, family)
    plain = model.generate(PROMPTS, max_new_tokens=7)
    if steps is not None:
        vector = 10 * torch.randn(16, generator=torch.Generator().manual_seed(4))
        model.interventions += [
            Intervention(model.hook_point("resid_post.0"), pushed(vector, steps)),
            Intervention(model.hook_point("resid_pre.2"), pushed(-vector / 2, steps)),
            Intervention(model.hook_point("mlp_out.1"), pushed(vector, steps)),
        ]
    cached = model.generate(PROMPTS, max_new_tokens=7)
    uncached = model.generate(PROMPTS, max_new_tokens=7, use_cache=False)
    alone = [model.generate(prompt, max_new_tokens=7) for prompt in PROMPTS]
    for a, b, c, prompt in zip(cached, uncached, alone, PROMPTS, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
        assert a[: len(prompt)].tolist() == prompt
        assert len(a) == len(prompt) + 7
    changed = any(not torch.equal(a, b) for a, b in zip(plain, cached, strict=True))
    assert changed == (steps is not None)


@pytest.mark.parametrize("use_cache", [True, False])
def test_edits_are_told_the_same_with_and_without_cache(build, use_cache) -> None:
    """One state for the prompt, then one column per new token; own positions despite padding."""
    model = lively(build, "llama")
    told: dict[int, RunState] = {}
    shapes: dict[int, tuple[int, ...]] = {}

    def look(x: Tensor, state: RunState) -> Tensor:
        told[state.step], shapes[state.step] = state, tuple(x.shape)
        return x

    model.interventions.append(Intervention(model.hook_point("resid_post.1"), look))
    out = model.generate(PROMPTS, max_new_tokens=4, use_cache=use_cache)
    # The last new token is never read back.
    assert sorted(told) == [0, 1, 2, 3]
    assert shapes == {0: (3, 6, 16), 1: (3, 1, 16), 2: (3, 1, 16), 3: (3, 1, 16)}
    assert told[0].keep.sum(dim=1).tolist() == [3, 6, 2]
    assert told[0].position.tolist()[2] == [-1, -1, -1, -1, 0, 1]
    assert told[0].sample.tolist()[2] == [-1, -1, -1, -1, 2, 2]
    for step in (1, 2, 3):
        state = told[step]
        assert state.offset == 6 + step - 1
        assert state.prompt_length.tolist() == [3, 6, 2]
        assert state.position.tolist() == [[2 + step], [5 + step], [1 + step]]
        assert state.token_ids.flatten().tolist() == [int(ids[-5 + step]) for ids in out]


def ending(build, family: str = "llama") -> LiveModel:
    """A model whose end-of-text token comes up after a few steps for one prompt only."""
    model = lively(build, family)
    texts = model.generate(PROMPTS, max_new_tokens=8)
    new = [ids[len(p) :].tolist() for ids, p in zip(texts, PROMPTS, strict=True)]
    for row, tokens in enumerate(new):
        others = {t for r, ts in enumerate(new) if r != row for t in ts}
        for place, token in enumerate(tokens[1:6], start=1):
            if token not in others and token not in tokens[:place]:
                model.module.config.eos_token_id = token
                model.module.generation_config.eos_token_id = token
                return wrap(model.module)
    raise AssertionError("no such token; choose another seed")


@pytest.mark.parametrize("use_cache", [True, False])
def test_each_text_ends_at_its_own_end_of_text(build, use_cache) -> None:
    """The others go on undisturbed; ids after the end are not part of a text."""
    model = ending(build)
    end = model.module.generation_config.eos_token_id
    together = model.generate(PROMPTS, max_new_tokens=8, use_cache=use_cache)
    alone = [model.generate(p, max_new_tokens=8, use_cache=use_cache) for p in PROMPTS]
    lengths = [len(ids) - len(p) for ids, p in zip(together, PROMPTS, strict=True)]
    assert sorted(lengths)[-2:] == [8, 8]
    assert min(lengths) < 8
    for a, b, n in zip(together, alone, lengths, strict=True):
        assert torch.equal(a, b)
        assert (int(a[-1]) == end) == (n < 8)


def test_generation_stops_when_every_text_has_ended(build) -> None:
    """No forward pass is made for nothing."""
    model = ending(build)
    calls = 0

    def count(*_args: object) -> None:
        nonlocal calls
        calls += 1

    handle = model.module.register_forward_hook(count)
    texts = [model.generate(prompt, max_new_tokens=8) for prompt in PROMPTS]
    handle.remove()
    assert calls == sum(len(ids) - len(p) for ids, p in zip(texts, PROMPTS, strict=True)) < 24


@pytest.mark.slow
def test_sampling_is_seeded_and_has_the_right_distribution(build) -> None:
    """Same seed, same text, whatever torch's global generator does; frequencies are the softmax."""
    model = lively(build, "gpt2")
    first = model.generate(PROMPTS, max_new_tokens=6, temperature=1.3, seed=5)
    torch.manual_seed(99)
    again = model.generate(PROMPTS, max_new_tokens=6, temperature=1.3, seed=5)
    other = model.generate(PROMPTS, max_new_tokens=6, temperature=1.3, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))
    draws = model.generate([PROMPTS[0]] * 4000, max_new_tokens=1, temperature=0.7, seed=0)
    counts = torch.stack(draws)[:, -1].bincount(minlength=64) / 4000
    expected = (model(PROMPTS[0])[0, -1] / 0.7).softmax(-1)
    assert (counts - expected).abs().max() < 0.03


def test_texts_go_in_and_come_out(build, tokenizer) -> None:
    """A string for a string, a list for a list; ids, or only what is new, if asked for."""
    model = wrap(build("llama", eos_token_id=None), tokenizer=tokenizer("bos"))
    model.module.generation_config.eos_token_id = None
    model.tokenizer.eos_token = None
    model = wrap(model.module, tokenizer=model.tokenizer)
    text = model.generate("the cat sat", max_new_tokens=3)
    assert isinstance(text, str)
    assert text.startswith("the cat sat")
    new = model.generate("the cat sat", max_new_tokens=3, echo=False)
    assert text == "the cat sat" + new
    ids = model.generate("the cat sat", max_new_tokens=3, return_ids=True)
    assert ids.shape == (7,)
    assert ids[:4].tolist() == [1, 6, 7, 9]
    assert model.generate(["the cat sat", "a"], max_new_tokens=3)[0] == text
    only = model.generate([[6, 7]], max_new_tokens=3, return_ids=True, echo=False)
    assert [len(row) for row in only] == [3]


class Plain(nn.Module):
    """A causal language model that is not Hugging Face's: no mask, no cache, bare logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(16, 8)
        self.cell = nn.GRU(8, 8, batch_first=True)
        self.head = nn.Linear(8, 16)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.cell(3 * self.embed(tokens))[0])


def test_a_model_of_the_users_own_generates_too(tokenizer) -> None:
    """Without mask or cache: equal lengths run together, everything is read again."""
    model = wrap(Plain(), tokenizer=tokenizer(), causal=True)
    texts = [[6, 7, 9], [6, 12], [11, 8, 13]]
    out = model.generate(texts, max_new_tokens=4, return_ids=True)
    for prompt, ids in zip(texts, out, strict=True):
        for n in range(len(prompt), len(ids)):
            assert int(model.module(ids[None, :n])[0, -1].argmax()) == int(ids[n])


def test_dropout_is_off_while_generating(build) -> None:
    """Also for a module in training mode, which it is again afterwards."""
    module = build("gpt2", resid_pdrop=0.5)
    model = wrap(module)
    expected = model.generate(PROMPTS[0], max_new_tokens=5)
    module.train()
    assert torch.equal(model.generate(PROMPTS[0], max_new_tokens=5), expected)
    assert module.training


def test_a_fork_reads_a_recurrent_state_anew() -> None:
    """A state of what was read does not go back to an earlier token, and a cache of keys and values does."""
    from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    recurrent = {f"linear_num_{one}_heads": 2 for one in ("key", "value")}
    recurrent |= {f"linear_{one}_head_dim": 8 for one in ("key", "value")}
    kinds = ["linear_attention", "full_attention"]
    config = Qwen3NextConfig(
        **sizes, **heads, **recurrent, layer_types=kinds, mlp_only_layers=[0, 1], eos_token_id=None
    )
    stream = TokenStream(wrap(Qwen3NextForCausalLM(config)), [torch.tensor([6, 7, 9])])
    for _ in range(5):
        stream.step()
    fork = stream.forked(6, n_rows=2)
    for _ in range(2):
        fork.step()
    assert torch.equal(fork.ids, stream.ids.expand(2, -1))


@pytest.mark.slow
def test_without_a_cache_it_is_the_same_text(gpt: LiveModel) -> None:
    ids = torch.tensor([0, 100, 200, 300])
    streams = [TokenStream(gpt, [ids], use_cache=cached) for cached in (True, False)]
    for stream in streams:
        for _ in range(4):
            stream.step()
    forks = [stream.forked(n, n_rows=2) for n in (3, 6) for stream in streams]
    for fork in forks:
        for _ in range(3):
            fork.step()
    for with_cache, without in ((streams[0], streams[1]), forks[:2], forks[2:]):
        assert torch.equal(with_cache.ids, without.ids)
    assert [len(fork.ids) for fork in forks] == [2] * 4
