"""Promises of lenses: their formula, their files, how a fit stops and continues, and their score."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import sae_nb as sn
from sae_nb.circuits import written_by_heads
from sae_nb.lenses import LensCheck, LensReading, measured_effects
from sae_nb.lenses._head import head_of

TEXTS = [
    "The cat sat in the garden and slept.",
    "Once there was a bear who lived alone.",
    "Tom went home to eat his supper.",
]


@pytest.fixture(scope="module")
def lens(gpt: Any) -> sn.Lens:
    return sn.fit_lens(gpt, TEXTS, progress=False)


def test_the_maps_are_those_of_the_reference_formula() -> None:
    """Targets summed, sources and prompts averaged, sinks and the last position out; its formula, re-typed."""
    torch.manual_seed(0)
    special = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(n_layer=3, n_embd=12, n_head=2, vocab_size=40, n_positions=16, **special)
    module = GPT2LMHeadModel(config).eval()
    prompts = [[1, 5, 9, 3, 7, 2, 8], [4, 4, 6, 11, 30, 12]]
    skip, wanted = 2, torch.zeros(2, 12, 12)
    for prompt in prompts:
        # Of Hugging Face's states the last is behind the final norm.
        kept: dict[str, torch.Tensor] = {}
        hook = module.transformer.h[2].register_forward_hook(
            lambda _m, _i, out, kept=kept: kept.update(
                last=out[0] if isinstance(out, tuple) else out
            )
        )
        states = module(torch.tensor([prompt]), output_hidden_states=True).hidden_states[1:]
        hook.remove()
        valid = range(skip, len(prompt) - 1)
        for layer in range(2):
            for row in range(12):
                target = sum(kept["last"][0, t, row] for t in valid)
                (slope,) = torch.autograd.grad(target, states[layer], retain_graph=True)
                wanted[layer, row] += slope[0, list(valid)].mean(dim=0) / len(prompts)
    found = sn.fit_lens(sn.wrap(module), prompts, skip_first=skip, progress=False).maps
    assert found is not None
    assert float((found[:, 0] - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())


@pytest.mark.slow
def test_a_small_direction_does_what_the_lens_foretells(vit: Any) -> None:
    """On the images of the fit, where only the norm's division is left out."""
    images = sn.data.scenes(6, seed=1).images
    lens = sn.fit_lens(vit, images, layers=[6], progress=False)
    directions = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    truth = measured_effects(vit, images, "resid_post.6", directions, 0.01)
    pairs = zip(lens.effects(directions, 6), truth, strict=True)
    assert np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]) > 0.95


def test_of_the_last_block_all_lenses_are_the_direct_path(gpt: Any, lens: sn.Lens) -> None:
    """There is nothing between: the logits' own linear part, to rounding."""
    sae = sn.load_sae("tiny-gpt/resid_post.3")
    atoms = sae.dictionary[:5]
    norm, head = gpt.module.model.norm, gpt.module.lm_head
    direct = (atoms * norm.weight) @ head.weight.T
    assert torch.allclose(lens.effects(sae)[:5], direct, atol=1e-4)


def test_an_interrupted_fit_leaves_a_lens_that_says_so(gpt: Any, tmp_path: Path) -> None:
    """Ctrl-C reaches the caller; what was done is there, in memory and on disk."""

    def stop(record: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(sn.Interrupted, match="after 1 of 3 samples") as caught:
        sn.fit_lens(gpt, TEXTS, layers=[1], store=tmp_path / "lens", progress=stop)
    part = caught.value.result
    assert part.partial
    assert "partial: stopped at 1 of 3" in repr(part)
    assert torch.equal(sn.load_lens(tmp_path / "lens", gpt).maps, part.maps)
    assert part.read(TEXTS[0]).agreement.shape == (1,)


@pytest.mark.slow
def test_a_saved_lens_reads_the_same_and_refuses_another_model(
    gpt: Any, vit: Any, lens: sn.Lens, tmp_path: Path
) -> None:
    lens.save(tmp_path / "lens")
    again = sn.load_lens(tmp_path / "lens")  # of a bundled model, which it loads itself
    a, b = lens.read(TEXTS[0]), again.read(TEXTS[0])
    assert np.array_equal(a.top, b.top)
    assert np.array_equal(a.kl, b.kl)
    with pytest.raises(ValueError, match="4 blocks of width 128"):
        sn.load_lens(tmp_path / "lens", vit)
    images = sn.data.scenes(1).images
    of_vit = sn.fit_lens(vit, images, layers=[10], progress=False)
    with pytest.raises(ValueError, match="another name and other weights"):
        of_vit.on(sn.load_model("tiny-vit-plain"))


def test_a_published_file_is_read_and_written(gpt: Any, lens: sn.Lens, tmp_path: Path) -> None:
    """The reference implementation's keys, in fp16; a running fit; and nothing but tensors is opened."""
    path = tmp_path / "tiny-gpt_jacobian_lens.pt"
    sn.interop.write_jacobian_lens(lens, path)
    content = torch.load(path, weights_only=True)
    assert set(content) >= {"J", "n_prompts", "source_layers", "d_model"}
    assert content["J"][1].dtype == torch.float16
    again = sn.load_lens(path, gpt)
    assert (again.n_done, again.layers, again.model_name) == (3, (0, 1, 2), "tiny-gpt")
    assert torch.allclose(again.maps, lens.maps, atol=2e-3)
    # What the reference implementation writes while it fits: no width, no "J".
    sums = {layer: 3 * matrix.float() for layer, matrix in content["J"].items()}
    state = {"jacobian_sum": sums, "n_done": 3, "next_idx": 4, "source_layers": [0, 1, 2]}
    torch.save(state, tmp_path / "running.pt")
    running = sn.load_lens(tmp_path / "running.pt", gpt)
    assert running.partial
    assert running.skip_first == 16
    assert torch.allclose(running.maps, again.maps)
    torch.save({**state, "n_done": 0}, tmp_path / "nothing.pt")
    with pytest.raises(ValueError, match="at least one prompt"):
        sn.load_lens(tmp_path / "nothing.pt")
    torch.save({"J": {0: Path("x")}}, tmp_path / "code.pt")
    with pytest.raises(ValueError, match="Nothing in it was run"):
        sn.load_lens(tmp_path / "code.pt")


def test_a_published_file_of_some_layers_fits_the_model_it_names_none_of(
    gpt: Any, lens: sn.Lens, tmp_path: Path
) -> None:
    """The file states layers and width, not blocks: of layer 1 alone any deeper model may be meant."""
    assert lens.maps is not None
    held = {"J": {1: lens.maps[1, 0].half()}, "n_prompts": 9, "source_layers": [1], "d_model": 128}
    path = tmp_path / "some_jacobian_lens_n9.pt"
    torch.save(held, path)
    read = sn.load_lens(path, gpt)
    assert (read.n_layers, read.layers, read.n_done, read.model_name) == (4, (1,), 9, "some")
    torch.save({**held, "metadata": {"target_layer": 2, "skip_first_positions": 0}}, path)
    assert sn.load_lens(path).skip_first == 0
    with pytest.raises(ValueError, match="3 blocks of width 128"):
        sn.load_lens(path, gpt)
    more = {"J": {0: torch.ones(128, 128), 1: torch.ones(128, 128)}, "input_gain": 2.0, "seed": 1}
    torch.save({**held, **more}, path)
    assert sn.load_lens(path).facts["not read"] == ["input_gain", "seed", "source_layers"]
    with pytest.raises(ValueError, match="3 blocks of width 128"):
        sn.load_lens(path, gpt)


@pytest.mark.slow
def test_a_lens_is_scored_next_to_none_a_floor_and_a_control(gpt: Any) -> None:
    """A tuned lens is nearer to the answer than none; a lens at another place knows nothing."""
    stories = sn.data.stories(30, seed=1).texts
    tuned = sn.fit_lens(gpt, list(stories[:20]), "tuned", steps=60, progress=False)
    found = tuned.check(list(stories[20:26]))
    assert isinstance(found, LensCheck)
    table = found.table
    assert (table["kl"] < table["logit kl"]).all()
    assert (table["kl"] < table["floor kl"]).all()
    assert (table["control agreement"] <= table["floor agreement"] + 0.05).all()
    assert tuned.curve["layer 0"].iloc[-1] < tuned.curve["layer 0"].iloc[0]


@pytest.mark.slow
def test_atoms_are_scored_by_the_running_model(vit: Any) -> None:
    """At block 6 of 12 the direct path misleads, and the Jacobian does not; random directions alike."""
    lens = sn.fit_lens(vit, sn.data.scenes(8, seed=3).images, layers=[6], progress=False)
    found = lens.check(
        sn.data.scenes(8, seed=4).images, sn.load_sae("tiny-vit/resid_post.6"), n_atoms=24
    )
    means = found.atoms_by_kind
    assert list(means.index) == ["atom", "random"]
    assert (means["correlation"] > 0.85).all()
    assert (means["correlation"] > means["logit correlation"] + 0.1).all()


def test_a_reading_names_places_and_knows_where_the_answer_settles(
    gpt: Any, vit: Any, lens: sn.Lens
) -> None:
    """Layer by layer and token by token, or patch by patch."""
    text = "Once upon a time"
    reading = lens.read(text, k=3)
    assert isinstance(reading, LensReading)
    assert reading.top.shape == (3, len(reading.tokens), 3)
    assert np.array_equal(reading.answer, gpt(text)[0].argmax(dim=-1).numpy())
    assert np.array_equal(reading.agrees, reading.rank == 0)
    row = len(reading.tokens) - 1
    first = int(reading.settles[row])
    assert first == -1 or reading.agrees[list(reading.layers).index(first) :, row].all()
    assert reading.grid().index.tolist() == [2, 1, 0]
    plain = sn.fit_lens(vit, sn.data.scenes(1).images, "logit", layers=[10], progress=False)
    patches = plain.read(sn.data.scenes(1).images)
    assert patches.tokens[0] == "cls"
    assert patches.tokens[-1] == "patch 7,7"


@pytest.mark.slow
def test_a_token_has_a_direction_that_raises_it(gpt: Any, vit: Any, lens: sn.Lens) -> None:
    """Its own row of the effects; a text of several tokens is refused with them."""
    cat = lens.direction(" cat", 1)
    own = gpt.tokenizer.encode(" cat", add_special_tokens=False)[0]
    assert torch.allclose(lens.effects(cat, 1)[0, own], cat @ cat, rtol=1e-3)
    with pytest.raises(ValueError, match="must be one token of tiny-gpt"):
        lens.direction(" extraordinary", 1)
    digits = sn.fit_lens(vit, sn.data.scenes(1).images, layers=[8], progress=False)
    assert int(digits.effects(digits.direction("3", 8), 8).argmax()) == 3
    textures = sn.fit_lens(
        vit, sn.data.scenes(1).images, "logit", layers=[8], head="texture", progress=False
    )
    assert textures.effects(torch.ones(64), 8).shape == (1, 8)


@pytest.mark.parametrize(
    "name", ["tiny-audio", "tiny-brackets", "tiny-gpt", "tiny-induction", "tiny-looped", "tiny-vit"]
)
def test_bundled_models_have_a_lens_with_its_score(name: str) -> None:
    """It opens offline, finds its model by itself, reads all blocks but the last, and states its score."""
    lens = sn.load_lens(name)
    assert lens.layers == tuple(range(lens.n_layers - 1))
    (layer,) = map(int, lens.facts["scores"])
    score = lens.facts["scores"][str(layer)]
    assert lens.score_in_words(layer).startswith("rank correlation 0.")
    assert score["correlation"] >= max(0.8, score["direct"])
    directions = torch.eye(lens.d)[:4]
    assert lens.effects(directions, layer).shape == (4, lens.head.n_outputs)


SMALL = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def test_heads_of_other_families_are_found_or_refused() -> None:
    """Logits that are capped or scaled, and a class head behind a Hugging Face ViT."""
    from transformers import (
        CohereConfig,
        CohereForCausalLM,
        Gemma2Config,
        Gemma2ForCausalLM,
        ViTConfig,
        ViTForImageClassification,
    )

    torch.manual_seed(0)
    ids = [[5, 9, 3, 7, 11, 13, 17]]
    gemma = sn.wrap(Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8)).eval())
    capped = sn.fit_lens(gemma, ids, skip_first=2, progress=False)
    assert capped.head.cap == 30.0
    cohere = sn.wrap(CohereForCausalLM(CohereConfig(**SMALL)).eval())
    scaled = sn.fit_lens(cohere, ids, skip_first=2, progress=False)
    assert scaled.head.scale == pytest.approx(0.0625, rel=1e-3)
    sizes = {name: SMALL[name] for name in list(SMALL)[:4]}
    config = ViTConfig(**sizes, image_size=16, patch_size=4, num_labels=7)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    of_images = sn.fit_lens(
        sn.wrap(ViTForImageClassification(config).eval()), images, progress=False
    )
    assert of_images.places == ("cls", "patches")
    assert of_images.counts == (1, 16)
    assert of_images.effects(torch.ones(1, 32), 1).shape == (1, 7)


def test_a_head_may_have_a_cap_of_another_name_and_a_factor_inside_it() -> None:
    """RecurrentGemma's cap, and a Gemma 2 whose unembedding is scaled: c · tanh(s · logits / c)."""
    from transformers import (
        Gemma2Config,
        Gemma2ForCausalLM,
        RecurrentGemmaConfig,
        RecurrentGemmaForCausalLM,
    )

    from sae_nb.lenses._head import head_of

    torch.manual_seed(0)
    ids = torch.tensor([[5, 9, 3, 7, 11, 13, 17]])
    recurrent = RecurrentGemmaConfig(**SMALL, head_dim=8, lru_width=32, attention_window_size=8)
    module = Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, tie_word_embeddings=False))
    head = module.lm_head
    head.register_forward_hook(lambda _module, _args, logits: 40 * logits)
    for model, cap, scale in (
        (sn.wrap(RecurrentGemmaForCausalLM(recurrent).eval()), 30.0, 1.0),
        (sn.wrap(module.eval()), 30.0, 40.0),
    ):
        found = head_of(model, next(iter(model.batches(ids))))
        assert found.cap == cap
        assert found.scale == pytest.approx(scale, rel=1e-3)
        last = sn.capture(model, ids, found.last, drop_first=False, progress=False).x
        assert torch.allclose(found.logits(last), model(ids)[0], atol=1e-3)


def test_sounds_and_loops_have_lenses() -> None:
    """A class of pitch from every frame; a digit of a sum from every turn of a block that runs again."""
    audio = sn.load_model("tiny-audio")
    lens = sn.fit_lens(audio, sn.data.sounds(3, seed=0), layers=[3], progress=False)
    assert lens.places == ("cls", "patches")
    reading = lens.read(sn.data.sounds(2, seed=1))
    assert set(reading.names.values()) <= set(audio.class_names)
    looped = sn.load_model("tiny-looped")
    ids = [[3 + i for i in range(14)], [20 + 2 * i for i in range(14)]]
    turns = sn.fit_lens(looped, ids, layers=[1, 5, 10], progress=False)
    assert turns.maps.shape == (3, 1, 48, 48)
    assert not torch.allclose(turns.maps[0], turns.maps[1])
    assert turns.effects(torch.ones(1, 48), 5).shape == (1, 10)


def test_a_decoder_has_a_lens_and_its_encoder_is_measured() -> None:
    """The decoder's tokens are answered from; what is added in the encoder moves the same answer."""
    from transformers import MarianConfig, MarianMTModel

    torch.manual_seed(0)
    heads = {f"{half}_attention_heads": 4 for half in ("encoder", "decoder")}
    sizes = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 3, **heads}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    module = MarianMTModel(MarianConfig(vocab_size=60, max_position_embeddings=40, **sizes, **ids))
    module.final_logits_bias.normal_()
    model = sn.wrap(module.eval())
    pairs = [
        (torch.tensor([5, 9, 11]), torch.tensor([7, 8, 12, 30, 41])),
        (torch.tensor([14, 6]), torch.tensor([22, 9, 9, 17])),
    ]
    lens = sn.fit_lens(model, pairs, skip_first=1, progress=False)
    assert lens.layers == (0, 1)
    assert lens.head is not None
    batch = next(iter(model.batches(pairs[:1], batch_size=1)))
    states = sn.capture(model, pairs[:1], "decoder.resid_post.2", progress=False).x
    with torch.no_grad():
        answer = module(*batch.args, **batch.kwargs).logits[0]
        assert torch.allclose(lens.head.logits(states), answer, atol=1e-4)
    assert [str(one) for one in lens.read(pairs[:1]).tokens] == ["3", "7", "8", "12", "30", "41"]
    directions = torch.randn(3, 32)
    moved = measured_effects(model, pairs, "encoder.resid_post.0", directions, 5.0, skip_first=1)
    assert moved.shape == (3, 60)
    assert (moved.abs().max(dim=1).values > 1e-4).all()
    sae = sn.TopK(32, 64, k=4)
    sae.hook_point = "encoder.resid_post.0"
    with pytest.raises(ValueError, match="must be in the decoder, whose blocks the lens reads"):
        lens.effects(sae)
    sae.hook_point = "decoder.resid_post.1"
    assert lens.effects(sae).shape == (64, 60)
    with pytest.raises(ValueError, match="with longer targets"):
        sn.fit_lens(model, [one for one, _ in pairs], progress=False)


MASKED = {
    "Bert": {}, "Roberta": {}, "DistilBert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64},
    "Albert": {"embedding_size": 16}, "Electra": {"embedding_size": 16}, "ModernBert": {},
}  # fmt: skip
"""Families of masked language models, with settings beyond the common ones."""

IDS = [[5, 9, 3, 7, 11, 13, 17], [4, 8, 15, 16, 23, 42]]


def masked(name: str) -> Any:
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**SMALL, "cls_token_id": 3, **MASKED[name]})
    module = getattr(transformers, f"{name}ForMaskedLM")(config).eval()
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 2:
                weight.normal_(0, 0.3)
    return sn.wrap(module)


@pytest.mark.parametrize("name", ["Bert", "Albert", "ModernBert"])
def test_heads_of_masked_language_models_give_their_answer(name: str) -> None:
    """Whatever their layers are called, and also where the embedding is narrower than the blocks (ALBERT)."""
    model = masked(name)
    lens = sn.fit_lens(model, IDS, skip_first=1, progress=False)
    assert lens.head is not None
    states = sn.capture(model, IDS[:1], lens.head.last, drop_first=False, progress=False).x
    with torch.no_grad():
        answer = model(torch.tensor(IDS[:1]))[0]
        assert torch.allclose(lens.head.logits(states), answer, atol=1e-4)
    assert lens.effects(torch.eye(32), 1).shape == (32, 60)
    with pytest.raises(ValueError, match="must answer with a projection"):
        sn.fit_lens(sn.wrap(model.module.base_model), IDS, progress=False)


def test_a_masked_head_is_differentiated_as_autograd_does(tmp_path: Path) -> None:
    """Maps lead to the last block; its head's own layers have their mean derivative, kept with the lens."""
    model = masked("Bert")
    lens = sn.fit_lens(model, IDS, skip_first=1, progress=False)
    bert, head = model.module.bert, model.module.cls.predictions
    slopes, maps = [], torch.zeros(32, 32)
    for ids in IDS:
        valid = list(range(1, len(ids) - 1))
        states = bert(torch.tensor([ids]), output_hidden_states=True).hidden_states
        for t in valid:
            slopes.append(torch.func.jacrev(head.transform)(states[-1][0, t].detach()))
        for row in range(32):
            target = states[-1][0, valid, row].sum()
            (slope,) = torch.autograd.grad(target, states[1], retain_graph=True)
            maps[row] += slope[0, valid].mean(dim=0) / len(IDS)
    mean = torch.stack(slopes).mean(dim=0)
    assert torch.allclose(lens.maps[0, 0], maps, atol=1e-5)
    assert torch.allclose(lens.slope, mean, atol=1e-5)
    direction = torch.randn(32, generator=torch.Generator().manual_seed(1))
    wanted = head.decoder.weight @ mean @ maps @ direction
    assert torch.allclose(lens.effects(direction, 0)[0], wanted, atol=1e-4)
    row = head.decoder.weight[7] @ mean @ maps
    assert torch.allclose(lens.direction(7, 0), row, atol=1e-4)
    lens.save(tmp_path / "lens")
    again = sn.load_lens(tmp_path / "lens", model)
    assert torch.equal(again.slope, lens.slope)
    assert torch.allclose(again.effects(direction, 0), lens.effects(direction, 0), atol=1e-5)
    small = measured_effects(model, IDS, "resid_post.1", torch.eye(32)[:8], 0.01, skip_first=1)
    pairs = zip(lens.effects(torch.eye(32)[:8], 1), small, strict=True)
    assert np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]) > 0.9


@pytest.fixture(scope="module")
def t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"d_model": 24, "d_kv": 6, "d_ff": 48, "num_layers": 3, "num_decoder_layers": 2}
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=60, num_heads=4, **sizes, **ids)
    module = T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 2:
                weight.normal_(0, 0.2)
    return sn.wrap(module, name="tiny-t5")


PAIRS = [
    (torch.tensor([5, 9, 11, 20]), torch.tensor([7, 8, 12, 30, 41])),
    (torch.tensor([14, 6]), torch.tensor([22, 9, 9, 17])),
]


def test_an_encoders_map_leads_to_what_the_decoder_answers(t5: Any) -> None:
    """Sources summed, the decoder's places averaged: the formula, re-typed with plain autograd."""
    lens = sn.fit_lens(t5, PAIRS, stream="encoder", skip_first=1, progress=False)
    assert lens.layers == (0, 1, 2)
    assert repr(lens).startswith("Lens(jacobian of tiny-t5: encoder blocks 0 … 2 of 3")
    module, wanted = t5.module, torch.zeros(3, 24, 24)
    for source, target in PAIRS:
        batch = next(iter(t5.batches([(source, target)], batch_size=1)))
        kept: dict[str, torch.Tensor] = {}
        hook = module.decoder.block[-1].register_forward_hook(
            lambda _m, _i, out, kept=kept: kept.update(last=out[0])
        )
        read = module(*batch.args, **batch.kwargs, output_hidden_states=True)
        hook.remove()
        # Of Hugging Face's states the last is behind the final norm: that of block 2 is what block 2 gave.
        n = kept["last"].shape[1]
        valid = list(range(1, n - 1))
        for row in range(24):
            mean = kept["last"][0, valid, row].mean()
            states = read.encoder_hidden_states[1:3]
            for layer, slope in enumerate(torch.autograd.grad(mean, states, retain_graph=True)):
                wanted[layer, row] += slope[0].sum(dim=0) / len(PAIRS)
    assert torch.allclose(
        lens.maps[:2, 0], wanted[:2], atol=1e-5 * float(wanted.abs().max()) + 1e-6
    )
    directions = torch.randn(6, 24, generator=torch.Generator().manual_seed(0))
    for layer in range(3):
        point = f"encoder.resid_post.{layer}"
        small = measured_effects(t5, PAIRS, point, directions, 0.01, skip_first=1)
        pairs = zip(lens.effects(directions, layer), small, strict=True)
        assert np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]) > 0.8


def test_an_encoders_lens_reads_saves_and_is_scored(t5: Any, tmp_path: Path) -> None:
    """A row per token of the source, next to the token that the decoder gives next; no logit lens."""
    lens = sn.fit_lens(t5, PAIRS, stream="encoder", skip_first=1, progress=False)
    reading = lens.read(PAIRS)
    assert reading.tokens == ("5", "9", "11", "20", "14", "6")
    with torch.no_grad():
        ids = [t5.module(*one.args, **one.kwargs).logits[0, -1].argmax()
               for one in t5.batches(PAIRS, batch_size=1)]  # fmt: skip
    assert reading.answer.tolist() == [int(ids[0])] * 4 + [int(ids[1])] * 2
    sae = sn.TopK(24, 64, k=4)
    sae.hook_point = "encoder.resid_post.1"
    found = lens.check(PAIRS, sae, n_atoms=4)
    assert "logit agreement" not in found.table
    assert list(found.atoms_by_kind.index) == ["atom", "random"]
    assert "direct path" not in lens.with_score(found).score_in_words(1)
    lens.save(tmp_path / "lens")
    again = sn.load_lens(tmp_path / "lens", t5)
    assert torch.allclose(again.effects(sae), lens.effects(sae), atol=1e-5)
    for refused in (lens.plain, lambda: lens.read_both(PAIRS)):
        with pytest.raises(ValueError, match="to be compared with the logit lens"):
            refused()
    sae.hook_point = "decoder.resid_post.0"
    with pytest.raises(ValueError, match="must be in the encoder"):
        lens.effects(sae)


def test_a_token_is_known_by_its_text(gpt: Any) -> None:
    head = head_of(gpt, next(iter(gpt.batches(TEXTS[:1], batch_size=1))))
    for word in (" cat", " the"):
        (number,) = gpt.tokenizer.encode(word, add_special_tokens=False)
        assert head.output(word) == number
    assert head.names([number]) == {number: " the"}
    with pytest.raises(ValueError, match="which are 2: "):
        head.output(" cat cat")


def test_what_reads_the_models_own_modules_waits_for_other_threads(gpt: Any) -> None:
    """Hooks that another thread has on a norm or a projection meanwhile act on its own states alone."""
    head = head_of(gpt, next(iter(gpt.batches(TEXTS[:1], batch_size=1))))
    states, outputs = torch.randn(3, head.d), torch.randn(3, head.d)
    asked = (lambda: head.logits(states), lambda: written_by_heads(gpt, 1, outputs))
    alone = [ask() for ask in asked]
    with ThreadPoolExecutor() as pool:
        with gpt.lock:
            paths = [gpt.hook_point(name).path for name in ("final_norm", "head_out.1")]
            hooks = [
                gpt.get_module(path).register_forward_hook(lambda _m, _i, out: 2 * out)
                for path in paths
            ]
            begun = [pool.submit(ask) for ask in asked]
            assert not wait(begun, timeout=0.2).done
            for hook in hooks:
                hook.remove()
        for one, before in zip(begun, alone, strict=True):
            assert torch.equal(one.result(60), before)
