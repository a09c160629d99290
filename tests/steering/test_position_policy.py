"""An SAE is put in a model at the positions it is for: those of the activations it was trained on."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
import torch

import sae_nb as sn
from sae_nb.activations import PositionPolicy
from tests.files.by_hand import write_manifest

AT = "resid_post.2"
TEXTS = [
    "Tom walked to the castle and said hello to the king.",
    "The cat sat in the garden.",
    "Mia had a red ball and a blue hat.",
    "Once there was a little dog who liked to run and jump in the park.",
] * 3


@pytest.fixture(scope="module")
def acts(gpt):
    return sn.capture(gpt, TEXTS, AT, progress=False)


@pytest.fixture(scope="module")
def sae(acts):
    return trained(acts)


def trained(data, steps=20):
    generator = torch.Generator().manual_seed(0)
    sae = sn.TopK(128, 96, k=8, generator=generator)
    sn.train(sae, data, steps=steps, batch_size=32, progress=False)
    return sae


@contextmanager
def by_hand(model, sae, keep):
    """A plain forward hook that puts x̂ in the place of x where keep(x) says so."""

    def hook(_module, _args, output):
        x = output[0] if isinstance(output, tuple) else output
        new = torch.where(keep(x)[..., None], sae(x), x)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    handle = model.module.get_submodule(model.hook_point(AT).path).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def not_first(x):
    keep = torch.ones(x.shape[:2], dtype=torch.bool)
    keep[:, 0] = False
    return keep


def ids_of(model, text):
    return torch.tensor([model.tokenizer(text)["input_ids"]])


def cross_entropy(model, texts):
    losses, n = 0.0, 0
    for text in texts:
        ids = ids_of(model, text)
        with torch.no_grad():
            logits = model.module(ids).logits[0]
        losses += torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="sum").item()
        n += ids.shape[1] - 1
    return losses / n


def test_training_states_the_positions_of_its_activations(sae, acts):
    policy = sae.position_policy
    assert policy.drop_first
    assert policy.drop_massive
    assert policy.source == "training"
    assert policy.norm_limits == dict(acts.context.policy.get("norm_limits", {}))
    plain = trained(acts.x, 2)  # a tensor says nothing of where its rows are from
    assert plain.position_policy is None


@pytest.mark.parametrize("keywords", [{"drop_first": False}, {"keep_special": False}])
def test_other_choices_of_capture_are_kept_too(gpt, keywords):
    policy = trained(sn.capture(gpt, TEXTS, AT, progress=False, **keywords), 1).position_policy
    for name, value in keywords.items():
        assert getattr(policy, name) == value


def test_a_stream_states_its_positions_and_its_limits_of_norms(gpt):
    stream = sn.stream(gpt, TEXTS, AT, buffer=64)
    policy = trained(stream, 2).position_policy
    assert policy.drop_first
    assert policy.norm_limits.keys() <= {AT}
    assert policy.norm_limits == PositionPolicy.of(stream).norm_limits


def test_a_splice_is_that_of_plain_torch_with_the_first_token_kept(gpt, sae):
    for text in TEXTS[:4]:
        with torch.no_grad(), by_hand(gpt, sae, not_first):
            expected = gpt.module(ids_of(gpt, text)).logits
        with torch.no_grad(), sn.splice(gpt, AT, sae) as splicing:
            torch.testing.assert_close(gpt.module(ids_of(gpt, text)).logits, expected)
    assert "first tokens" in repr(splicing)
    assert "training" in repr(splicing)


@pytest.mark.parametrize("everywhere", [{"positions": "all"}, {"keep": "all"}])
def test_positions_override_the_policy(gpt, sae, everywhere):
    ids = ids_of(gpt, TEXTS[0])
    with torch.no_grad(), by_hand(gpt, sae, lambda x: torch.ones(x.shape[:2], dtype=torch.bool)):
        expected = gpt.module(ids).logits
    with sn.splice(gpt, AT, sae, **everywhere) as splicing:
        with torch.no_grad():
            torch.testing.assert_close(gpt.module(ids).logits, expected)
    assert "first tokens" not in repr(splicing)
    with pytest.raises(TypeError, match="keep"):
        sn.splice(gpt, AT, sae, "all", keep="all")


def test_evaluate_states_the_loss_of_the_splice(gpt, sae, acts):
    report = sn.evaluate(sae, acts, model=gpt, inputs=TEXTS[:4], progress=False, n_bootstrap=0)
    with sn.splice(gpt, AT, sae):
        assert report["ce"].value == pytest.approx(cross_entropy(gpt, TEXTS[:4]), abs=1e-4)
    assert report["ce_clean"].value == pytest.approx(cross_entropy(gpt, TEXTS[:4]), abs=1e-4)


@pytest.mark.parametrize("mode", ["add", "set", "scale"])
def test_steering_without_the_error_leaves_out_what_capture_left_out(gpt, sae, mode):
    ids = ids_of(gpt, TEXTS[0])
    clean = sn.capture(gpt, [ids[0]], AT, drop_first=False, progress=False).x
    with sn.steer(gpt, AT, sae, atom=3, by=2.0, mode=mode, keep_error=False) as steering:
        steered = sn.capture(gpt, [ids[0]], AT, drop_first=False, progress=False).x
    assert torch.equal(steered[0], clean[0])
    assert not torch.isclose(steered[1:], clean[1:]).all(dim=1).any()
    assert "first tokens" in repr(steering)
    json.dumps(steering.recipe.settings())
    with sn.steer(gpt, AT, sae, 3, 2.0, mode=mode, keep_error=False, positions="all"):
        everywhere = sn.capture(gpt, [ids[0]], AT, drop_first=False, progress=False).x
    assert not torch.isclose(everywhere[0], clean[0]).all()


def test_generation_is_the_same_with_and_without_a_cache_alone_and_padded(gpt, sae):
    prompts = ["The cat sat", "Once there was a little dog who"]
    with sn.splice(gpt, AT, sae):
        alone = [gpt.generate(prompt, 6, return_ids=True) for prompt in prompts]
        together = gpt.generate(prompts, 6, return_ids=True)
        uncached = gpt.generate(prompts, 6, return_ids=True, use_cache=False)
    for one, both, slow in zip(alone, together, uncached, strict=True):
        assert torch.equal(one, both)
        assert torch.equal(one, slow)
    # Each token by hand: a whole pass with the first position kept.
    ids = ids_of(gpt, prompts[0])
    for _ in range(6):
        with torch.no_grad(), by_hand(gpt, sae, not_first):
            ids = torch.cat([ids, gpt.module(ids).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(alone[0], ids[0])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_moves_no_first_token(gpt, sae, side):
    short, long = ids_of(gpt, "The cat sat")[0], ids_of(gpt, TEXTS[3])[0]
    n = len(long) - len(short)
    before = n if side == "left" else 0
    ids = torch.stack([torch.nn.functional.pad(short, (before, n - before), value=0), long])
    mask = torch.ones_like(ids)
    mask[0, :before] = 0
    mask[0, before + len(short) :] = 0
    position = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad(), by_hand(gpt, sae, not_first):
        expected = gpt.module(short[None]).logits[0]
    with torch.no_grad(), sn.splice(gpt, AT, sae):
        padded = gpt.module(ids, attention_mask=mask, position_ids=position).logits
    torch.testing.assert_close(
        padded[0, before : before + len(short)], expected, atol=1e-4, rtol=1e-4
    )


def test_a_recipe_taken_elsewhere_keeps_the_policy(gpt, sae):
    ids = ids_of(gpt, TEXTS[0])
    with torch.no_grad(), by_hand(gpt, sae, not_first):
        expected = gpt.module(ids).logits
    with torch.no_grad(), sn.splice(gpt, AT, sae).recipe.to_hooks(gpt.module):
        torch.testing.assert_close(gpt.module(ids).logits, expected)


def test_a_massive_token_of_the_prompt_passes_through(gpt, sae):
    """Above the limit of the SAE's training, and where that is not known, above that of its text."""
    ids = ids_of(gpt, TEXTS[3])
    known = PositionPolicy(drop_first=True, drop_massive=True, norm_limits={AT: 1e4})
    for policy in (known, PositionPolicy(drop_first=True, drop_massive=True)):
        large = sn.splice(gpt, AT, lambda x: x * torch.where(not_third(x), 1.0, 1e6)[..., None])
        with large, sn.splice(gpt, AT, torch.zeros_like, policy) as splicing:
            gpt(ids)
        assert splicing.n_touched == ids.shape[1] - 2


def not_third(x):
    keep = torch.ones(x.shape[:2], dtype=torch.bool)
    keep[:, 3] = False
    return keep


def test_windows_of_packed_texts_begin_with_a_sink(gpt, sae):
    """What is replaced is what capture keeps of the same windows."""
    kept = sn.capture(gpt, TEXTS, AT, pack=True, context_length=16, progress=False)
    windows = gpt.batches(TEXTS, batch_size=4, pack=True, context_length=16)
    n = 0
    for batch in windows:
        with sn.splice(gpt, AT, sae) as splicing:
            gpt.forward(batch)
        n += splicing.n_touched
    assert n == len(kept)


@pytest.mark.parametrize("use_cache", [True, False])
def test_of_last_tokens_each_new_one_is_the_last_in_its_turn(gpt, use_cache):
    """Also where every step of `generate` runs the whole text again."""
    last = trained(sn.capture(gpt, TEXTS, AT, positions="last", progress=False), 5)
    ids = ids_of(gpt, TEXTS[1])
    n = ids.shape[1]
    how = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    how |= {"attention_mask": torch.ones_like(ids), "output_logits": True, "use_cache": use_cache}
    with sn.splice(gpt, AT, last):
        made = gpt.module.generate(ids, return_dict_in_generate=True, **how)
    from_the_prompts_last = (torch.arange(n + 4) >= n - 1)[None]
    with torch.no_grad(), by_hand(gpt, last, lambda x: from_the_prompts_last[:, : x.shape[1]]):
        expected = gpt.module(made.sequences).logits[:, n - 1 : -1]
    torch.testing.assert_close(torch.stack(made.logits, dim=1), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("chosen", [{"steps": "prompt"}, {"positions": torch.ones(64).bool()}])
def test_windows_of_packed_texts_are_edited_beyond_their_own_length(gpt, chosen):
    """A text goes on in the next window, and its tokens keep their positions."""
    how = {"pack": True, "context_length": 16, "drop_first": False, "progress": False}
    clean = sn.capture(gpt, TEXTS, AT, **how)
    with sn.steer(gpt, AT, direction=torch.ones(128), by=3.0, **chosen):
        steered = sn.capture(gpt, TEXTS, AT, **how)
    assert int(clean.position.max()) > 16
    torch.testing.assert_close(steered.x, clean.x + 3.0)


@pytest.mark.parametrize("chosen", ["last", -1, [0, -2]])
def test_nothing_is_counted_from_the_end_of_a_window(gpt, chosen):
    steering = sn.steer(gpt, AT, direction=torch.ones(128), by=3.0, positions=chosen)
    with steering, pytest.raises(ValueError, match="pack"):
        sn.capture(gpt, TEXTS, AT, pack=True, context_length=16, progress=False)
    with pytest.raises(ValueError, match="pack"):
        sn.capture(gpt, TEXTS, AT, positions="last", pack=True, progress=False)


def test_of_activations_put_together_what_any_kept_is_kept(gpt):
    """Also in parts of parts; what is said of them names no part for all."""
    usual = sn.capture(gpt, TEXTS, AT, progress=False)
    whole = sn.capture(gpt, TEXTS, AT, drop_first=False, progress=False)
    no_special = sn.capture(gpt, TEXTS, AT, keep_special=False, progress=False)
    both = sn.concatenate([usual, whole])
    for acts in (both, sn.concatenate([both, usual]), sn.concatenate([usual, both])):
        policy = PositionPolicy.of(acts)
        assert (policy.drop_first, policy.drop_massive) == (False, False)
        assert "some parts" in repr(acts)
    again = PositionPolicy.of(sn.concatenate([usual, usual]))
    assert (again.drop_first, again.drop_massive) == (True, True)
    assert not PositionPolicy.of(sn.concatenate([no_special, no_special])).keep_special
    nested = sn.concatenate([sn.concatenate([no_special, usual]), no_special])
    assert PositionPolicy.of(nested).keep_special


@pytest.mark.parametrize("positions", ["all", "cls", "patches"])
def test_of_images_what_was_captured_is_replaced(positions):
    """By default everything: images have no attention sink at their first token."""
    vit = sn.load_model("tiny-vit")
    pictures = sn.data.scenes(2, seed=0)
    acts = sn.capture(vit, pictures, "resid_post.3", positions=positions, progress=False)
    sae = sn.TopK(acts.d_in, 32, k=4)
    sn.train(sae, acts, steps=2, progress=False)
    with sn.splice(vit, "resid_post.3", sae) as splicing:
        vit(pictures)
    assert splicing.n_touched == len(acts)


# The card.


def test_the_policy_is_in_the_card(sae, tmp_path):
    sae.save(tmp_path / "sae")
    again = sn.load_sae(tmp_path / "sae")
    assert again.position_policy == sae.position_policy
    assert "first tokens" in again._repr_html_()


def test_an_older_card_has_the_default_which_is_said_once(gpt, sae, tmp_path, recwarn):
    sae.save(tmp_path / "sae")
    edit_card(tmp_path / "sae", lambda card: card.pop("position_policy"))
    old = sn.load_sae(tmp_path / "sae")
    assert old.position_policy is None
    with pytest.warns(UserWarning, match="position_policy"):
        splicing = sn.splice(gpt, AT, old)
    assert "default" in repr(splicing)
    with splicing:
        gpt(TEXTS[0])
    assert splicing.n_touched == ids_of(gpt, TEXTS[0]).shape[1] - 1
    recwarn.clear()
    sn.splice(gpt, AT, old)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("norm_limits", {AT: -1.0}),
        ("unheard_of", True),
    ],
)
def test_an_unknown_value_in_the_card_is_refused(sae, tmp_path, name, value):
    sae.save(tmp_path / "sae")
    edit_card(tmp_path / "sae", lambda card: card["position_policy"].update({name: value}))
    with pytest.raises(ValueError, match=r"position policy must be .*, got .*\. Mend"):
        sn.load_sae(tmp_path / "sae")


def edit_card(folder, change):
    """Change config.json as a person would, and the manifest that vouches for it."""
    file = folder / "config.json"
    card = json.loads(file.read_text())
    change(card)
    file.write_text(json.dumps(card))
    write_manifest(folder, "sae")


# SAEs of other libraries.


def saelens(sae, folder, **metadata):
    sn.interop.write_saelens(sae, folder)
    file = folder / "cfg.json"
    card = json.loads(file.read_text())
    card["metadata"].pop("position_policy", None)
    card["metadata"].update(metadata)
    file.write_text(json.dumps(card))
    return sn.interop.read_saelens(folder)


@pytest.mark.parametrize(
    ("metadata", "first", "special"),
    [
        ({"seqpos_slice": [None], "exclude_special_tokens": False}, False, True),
        ({"seqpos_slice": [1, None]}, True, True),
        ({"exclude_special_tokens": True}, False, False),
    ],
)
def test_a_file_of_saelens_states_its_positions(sae, tmp_path, metadata, first, special):
    policy = saelens(sae, tmp_path / "theirs", **metadata).position_policy
    assert (policy.drop_first, policy.keep_special, policy.source) == (first, special, "SAELens")


def test_a_file_of_saelens_without_them_has_its_default_which_is_said_once(gpt, sae, tmp_path):
    theirs = saelens(sae, tmp_path / "theirs")
    with pytest.warns(UserWarning, match="SAELens"), sn.splice(gpt, AT, theirs) as splicing:
        gpt(TEXTS[0])
    assert splicing.n_touched == ids_of(gpt, TEXTS[0]).shape[1]


def test_an_sae_of_ours_keeps_its_policy_on_the_way_through_saelens(sae, tmp_path):
    sn.interop.write_saelens(sae, tmp_path / "theirs")
    assert sn.interop.read_saelens(tmp_path / "theirs").position_policy == sae.position_policy
