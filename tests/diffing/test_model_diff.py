"""What a fine-tuning changed is found, next to random directions; identical models differ in nothing."""

import copy

import pytest
import torch

import sae_nb as sn
from sae_nb.diffing import changed_image
from sae_nb.diffing._own_atoms import own_atoms

TEXTS = list(sn.data.stories(16, seed=3).texts)


@pytest.fixture(scope="module")
def tuned(gpt):
    """The same model after some steps on stories in which every full stop is followed by one word."""
    module = copy.deepcopy(gpt.module).train()
    model = sn.wrap(module, tokenizer=gpt.tokenizer)
    texts = [text.replace(". ", ". garden ") for text in sn.data.stories(8, seed=11).texts]
    batch = next(iter(gpt.batches(texts, batch_size=8)))
    ids, keep = batch.token_ids, batch.keep
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
    for _ in range(8):
        logits = module(input_ids=ids, attention_mask=keep.long()).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits[keep[:, 1:]], ids[:, 1:][keep[:, 1:]])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    module.eval()
    return model


@pytest.mark.slow
def test_the_planted_word_comes_first_and_a_direction_carries_it(gpt, tuned):
    found = sn.diff_models(gpt, tuned, TEXTS, steps=40, n_components=2, progress=False)
    assert "garden".startswith(found.outcomes["outcome"][0].strip("␣ ·▁"))
    assert 0 < found.low <= found.kl <= found.high
    best = found.table.iloc[0]
    assert best["share"] > best["control"] + 0.1
    assert (found.table["share"].diff().dropna() <= 0).all()
    assert found.places["kl"].is_monotonic_decreasing
    assert {"mean difference", "principal component 1"} <= set(found.table["finding"])
    assert any("simplest method" in note or "share says" in note for note in found.notes)
    assert len(found.plot().data) == 2
    assert best["raises"].split(", ")[0].strip("␣ ·▁") in ("g", "garden", "gard")
    blocks = found.layers.set_index("hook_point")
    assert blocks["lens"].iloc[-1] == pytest.approx(
        found.kl, rel=0.3
    )  # the last block is the answer
    assert blocks["lens"].iloc[0] < blocks["lens"].iloc[-1]
    assert (blocks["difference"] > 0).all()
    assert found.exclusive["hook_point"].tolist() == sorted(set(found.table["hook_point"]))


def test_a_training_of_the_last_block_alone_is_looked_for_there(gpt):
    after = sn.load_model("tiny-gpt", "cpu")
    with torch.no_grad():
        for name, weight in after.module.named_parameters():
            if ".3." in name and weight.ndim == 2:
                weight.mul_(1.2)
    found = sn.diff_models(gpt, after, TEXTS[:2], steps=10, n_components=1, progress=False)
    assert set(found.table["hook_point"]) == {"resid_post.3"}
    assert (found.table["share"] != 0).all()
    assert any("resid_post.2" in note and "lies above" in note for note in found.notes)
    with pytest.raises(ValueError, match="`hook_points` must name a place where the states differ"):
        sn.diff_models(gpt, after, TEXTS[:1], hook_points=["resid_post.1"], progress=False)


def test_a_page_shows_every_text_with_what_changed_and_what_explains_it(gpt, tuned, tmp_path):
    texts = [*TEXTS[:5], "A <b>bold</b> dog. He ran."]
    found = sn.diff_models(gpt, tuned, texts, steps=2, n_components=1, progress=False)
    rows = found.texts
    assert len(rows) == found.n_places
    assert rows["kl"].mean() == pytest.approx(found.kl)
    assert 1 - rows["left"].mean() / rows["kl"].mean() == pytest.approx(
        found.table["share"][0], abs=1e-6
    )
    after = rows[rows["token"].str.strip() == "."]
    assert after["kl"].mean() > 2 * rows["kl"].mean()
    assert after["raised"].mode()[0].strip() in ("g", "garden", "gard")
    found.to_html(tmp_path / "changed.html")
    page = (tmp_path / "changed.html").read_text(encoding="utf-8")
    assert page.count("<h2>") == 6
    assert "underline" in page
    assert "<b>bold" not in page
    assert "<script" not in page


def test_identical_models_differ_in_nothing_and_it_is_said(gpt):
    found = sn.diff_models(gpt, gpt, TEXTS[:2], progress=False)
    assert found.same
    assert not len(found.table)
    assert "nothing differs" in repr(found)


def test_classes_of_a_shortcut_are_compared_too():
    layer = torch.nn.Linear(4, 3)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.bias[2] += 3.0
    a, b = (
        sn.wrap(torch.nn.Sequential(torch.nn.Identity(), one), class_names=["x", "y", "z"])
        for one in (layer, other)
    )
    found = sn.diff_models(a, b, torch.randn(12, 4), hook_points=["1"], steps=20, progress=False)
    assert found.outcomes["outcome"][0] == "z"
    best = found.table.iloc[0]
    assert best["share"] > 0.99
    assert best["share"] > best["control"]
    assert any("simplest method" in note for note in found.notes)


@pytest.mark.slow
def test_an_atom_of_one_model_alone_is_found_and_a_rotated_copy_has_none():
    data = sn.data.planted_dictionary(10, 16, 3000, 2, seed=4)
    x = data.x
    extra = torch.nn.functional.normalize(
        torch.randn(16, generator=torch.Generator().manual_seed(1)), dim=0
    )
    on = torch.rand(3000, 1, generator=torch.Generator().manual_seed(2)) < 0.2
    found = own_atoms(x, x + 2 * on * extra, steps=300, seed=0, most=2)
    assert found.of_b >= 1
    assert float(found.directions[0] @ extra) > 0.9
    assert found.of_b > found.control
    assert own_atoms(x, x.clone(), steps=300, seed=0, most=2).of_b <= found.control


def test_a_finer_grid_than_eight_is_covered_in_groups():
    """A classifier of the hub's kind with 12 × 12 patches: 64 covers, each by the model's own mean colour."""
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    config = ViTConfig(image_size=48, patch_size=4, num_labels=3, **sizes)
    names = ["circle", "square", "star"]
    before, after = (
        sn.wrap(ViTForImageClassification(config).eval(), class_names=names) for _ in range(2)
    )
    image = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    seen = changed_image(before, after, image)
    assert before.patch_grid == (12, 12)
    assert seen.covered.shape == (8, 8)
    read = next(iter(before.batches(image))).kwargs.get("pixel_values")
    read = next(iter(before.batches(image))).args[0] if read is None else read
    hidden = read.clone()
    hidden[:, :, 30:, 30:] = read.mean(dim=(2, 3), keepdim=True)  # cells 5 to 7 of 8, 6 pixels each
    with torch.no_grad():
        old, new = (
            one.module(pixel_values=hidden).logits.log_softmax(-1) for one in (before, after)
        )
    assert float((old.exp() * (old - new)).sum()) == pytest.approx(seen.covered[6, 6], abs=1e-5)
