"""Networks that nobody here trained load, read, steer and generate as they are known to."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.models import LiveModel

OPENING = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big red ball."
)


def read(model: LiveModel, text: object, names: list[str]) -> dict[str, Tensor]:
    """Read output hook points with plain hooks."""
    seen: dict[str, Tensor] = {}
    handles = []
    for name in names:
        point = model.hook_point(name)

        def after(_m, _a, output, name=name):
            seen[name] = (output[0] if isinstance(output, tuple) else output).detach().clone()

        handles.append(model.get_module(point.path).register_forward_hook(after))
    model(text)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.slow
def test_the_photo_vit_tells_cats_from_horses(photo_vit, cats_and_horses) -> None:
    """About four in five, as published for it; guessing is one in two."""
    pictures, labels = cats_and_horses
    accuracy = (photo_vit(pictures).argmax(-1) == labels).float().mean()
    assert 0.74 < accuracy < 0.84
    assert photo_vit.class_names == ("cat", "horse")


def test_the_photo_vits_tokens_are_cls_then_patches(photo_vit) -> None:
    """A change in one patch starts at its own token; sums do not hold in a post-norm network."""
    pictures = torch.full((2, 3, 32, 32), 0.5)
    pictures[1, :, 8:12, 20:24] = 1.0
    states = read(photo_vit, pictures, ["embed"])["embed"]
    assert states.shape == (2, 65, 128)
    assert (states[0] != states[1]).any(-1).nonzero().flatten().tolist() == [1 + 2 * 8 + 5]
    (batch,) = photo_vit.batches(pictures)
    assert batch.sample.shape == (2, 65)
    assert photo_vit.structure.additive is None
    assert not any(point.startswith("resid_mid") for point in photo_vit.hook_points())


def test_adding_the_horse_direction_makes_cats_horses(photo_vit, cats_and_horses) -> None:
    """Steering at the last block's output moves the answer as the head's weights say."""
    pictures, labels = cats_and_horses
    weight = photo_vit.module.head.weight.detach()
    direction = weight[1] - weight[0]
    cats = pictures[labels == 0][:100]
    plain = photo_vit(cats)
    with sn.splice(photo_vit, "resid_post.3", lambda x: x + 4 * direction / direction.norm()):
        steered = photo_vit(cats)
    moved = (steered - plain) @ torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(
        moved, torch.full_like(moved, float(4 * direction.norm())), rtol=1e-3, atol=1e-3
    )
    assert (steered.argmax(-1) == 1).float().mean() > (plain.argmax(-1) == 1).float().mean()


def test_minilm_reads_meaning(open_real) -> None:
    """Paraphrases are near, other topics far; layers are Hugging Face's hidden states exactly."""
    model = open_real("minilm")
    assert (model.kind, model.causal, model.width("resid_post.3")) == ("language", False, 384)
    texts = [
        "An octopus has three hearts and blue blood.",
        "Octopuses possess three hearts, and their blood is blue.",
        "The stock market fell sharply on Monday.",
    ]
    states = model(texts)
    means = torch.stack([row[~row.isnan().any(-1)].mean(0) for row in states])
    cosine = torch.nn.functional.cosine_similarity(means[:1], means[1:])
    assert cosine[0] > 0.7
    assert cosine[1] < 0.3
    names = [f"resid_post.{layer}" for layer in range(6)]
    seen = read(model, texts[0], names)
    ids = model.tokenizer(texts[0], return_tensors="pt")
    with torch.no_grad():
        hidden = model.module(**ids, output_hidden_states=True).hidden_states
    for layer, name in enumerate(names):
        torch.testing.assert_close(seen[name], hidden[layer + 1], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_smollm2_knows_steers_and_has_its_sink(open_real) -> None:
    """Paris; a sentiment direction moves great over terrible both ways; position 0 is a sink."""
    model = open_real("smollm2")
    assert (model.structure.n_blocks, model.width("resid_post.15")) == (30, 576)
    answer = model.generate("The capital of France is", max_new_tokens=1, echo=False)
    assert answer.strip() == "Paris"

    loved, hated = "I love this wonderful film", "I hate this terrible film"
    layer = "resid_post.15"
    direction = (read(model, loved, [layer])[layer] - read(model, hated, [layer])[layer]).mean(
        (0, 1)
    )
    great, terrible = (model.tokenizer(word)["input_ids"][0] for word in (" great", " terrible"))
    leanings = []
    for amount in (-2.0, 0.0, 2.0):
        with sn.splice(model, layer, lambda x, a=amount: x + a * direction):
            logits = model("The movie I saw yesterday was")[0, -1]
        leanings.append(float(logits[great] - logits[terrible]))
    assert leanings[0] < leanings[1] < leanings[2]
    assert leanings[2] - leanings[1] > 1

    norms = read(model, OPENING, [layer])[layer][0].norm(dim=-1)
    assert norms[0] > 20 * norms[1:].mean()
