"""Gradients captured with activations: right values, aligned rows, nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import sae_nb as sn
from sae_nb.activations import concatenate
from sae_nb.capturing import capture
from sae_nb.models import LiveModel, wrap
from tests.capturing.small import TEXTS, gpt2, pictures, vit, words_tokenizer


@pytest.fixture(scope="module")
def language() -> LiveModel:
    return wrap(gpt2(), tokenizer=words_tokenizer(), name="tiny")


def by_hand(model: LiveModel, text: str, layer: int) -> Tensor:
    """∂ Σ −log p(next) / ∂ resid_post of one text, by autograd on the plain module."""
    module: Any = model.module
    ids = model.tokenizer(text, return_tensors="pt")["input_ids"]  # type: ignore[misc]
    kept: list[Tensor] = []

    def keep(_module: Any, _args: Any, output: Any) -> None:
        value = output[0] if isinstance(output, tuple) else output
        value.retain_grad()
        kept.append(value)

    handle = module.transformer.h[layer].register_forward_hook(keep)
    logits = module(ids).logits
    handle.remove()
    cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum").backward()
    return kept[0].grad[0]  # type: ignore[index]


@pytest.mark.parametrize("backend", ["nnsight", "hooks"])
def test_gradients_are_those_of_autograd(language: LiveModel, backend: Any) -> None:
    """Row by row, in whatever batch, weights frozen, under no_grad; the activations as without."""
    language.module.requires_grad_(True)
    expected = torch.cat([by_hand(language, text, 1)[1:] for text in TEXTS])
    language.module.zero_grad(set_to_none=True)
    plain = capture(language, TEXTS, "resid_post.1", progress=False)
    language.module.requires_grad_(False)
    for size in (1, 3, None):
        with torch.no_grad():
            acts = capture(
                language,
                TEXTS,
                "resid_post.1",
                gradient_of="next_token",
                backend=backend,
                batch_size=size,
                progress=False,
            )
        assert acts.gradient is not None
        assert torch.allclose(acts.gradient, expected, atol=1e-6)
        assert torch.allclose(acts.x, plain.x, atol=1e-6)
        assert torch.equal(acts.position, plain.position)
    assert not language.interventions
    assert all(weight.grad is None for weight in language.module.parameters())
    assert plain.gradient is None


def test_rows_keep_their_gradients(language: LiveModel, tmp_path: Path) -> None:
    """Chosen, split, joined, moved, saved and captured to a folder, each row with its own."""
    settings: dict[str, Any] = {"gradient_of": "next_token", "progress": False}
    acts = capture(language, TEXTS, "resid_post.0", **settings)
    gradient = acts.gradient
    assert gradient is not None
    some = torch.tensor([5, 1, 3])
    assert torch.equal(acts[some].gradient, gradient[some])
    first, second = acts.split(0.5, seed=0)
    for part in (first, second):
        place = 100 * acts.sample + acts.position
        at = [int((place == p).nonzero()) for p in 100 * part.sample + part.position]
        assert torch.equal(part.gradient, gradient[at])
    assert torch.equal(concatenate([acts[:2], acts[2:]]).gradient, gradient)
    half = acts.to(torch.float16)
    assert half.x.dtype == torch.float16
    assert torch.equal(half.gradient, gradient)
    with pytest.raises(ValueError, match="all bring gradients"):
        concatenate([acts[:2], capture(language, TEXTS, "resid_post.0", progress=False)])
    acts.save(tmp_path / "saved")
    stored = capture(
        language, TEXTS, "resid_post.0", store=tmp_path / "s", shard_rows=5, **settings
    )
    for other in (sn.load_activations(tmp_path / "saved"), stored):
        assert torch.equal(other.gradient, gradient)  # type: ignore[union-attr]
        assert torch.equal(other[4:9].gradient, gradient[4:9])  # type: ignore[index]
    with pytest.raises(ValueError, match="gradient_of"):
        capture(language, TEXTS, "resid_post.0", store=tmp_path / "s", shard_rows=5, progress=False)


def test_several_hook_points_in_one_pass(language: LiveModel) -> None:
    """Each with the gradient it has alone: what comes later hangs on what comes before."""
    both = capture(
        language, TEXTS, ["resid_post.0", "mlp_out.1"], gradient_of="next_token", progress=False
    )
    for name, acts in both.items():
        alone = capture(language, TEXTS, name, gradient_of="next_token", progress=False)
        assert torch.allclose(acts.gradient, alone.gradient, atol=1e-7)


def test_labels_and_functions() -> None:
    """Of a model of images: −log p of a class, of named heads, and any number of the answers."""
    model = wrap(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)))
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(7) % 3
    acts = capture(model, x, "1", gradient_of="labels", labels=labels, batch_size=3, progress=False)
    hidden = acts.x.clone().requires_grad_()
    cross_entropy(model.module[2](hidden), labels, reduction="sum").backward()  # type: ignore[operator, index]
    assert torch.allclose(acts.gradient, hidden.grad, atol=1e-6)
    own = capture(model, x, "1", gradient_of=lambda y: y[:, 0].sum(), progress=False)
    assert torch.allclose(own.gradient, model.module[2].weight[0].expand(7, 4))  # type: ignore[operator, index]
    with pytest.raises(ValueError, match="has no heads"):
        capture(model, x, "1", gradient_of="labels", labels={"digit": labels})
    with pytest.raises(ValueError, match="`labels` must have one"):
        capture(model, x, "1", gradient_of="labels", labels=labels[:5], progress=False)
    with pytest.raises(ValueError, match="classes that the model scores"):
        capture(model, x, "1", gradient_of="labels", labels=labels + 9, progress=False)


class Deaf(nn.Module):
    """Its second half sees nothing of the first; its third switches gradients off."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.a(x)
        return self.b(x) + self.c(x)


def test_a_gradient_that_does_not_exist_is_named(language: LiveModel) -> None:
    """Beside the loss or after it, switched off, of another kind."""
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"'a'.*no gradient"):
        capture(wrap(Deaf()), x, "a", gradient_of=torch.sum, progress=False)
    with pytest.raises(ValueError, match=r"switches gradients off"):
        capture(wrap(Deaf()), x, "b", gradient_of=lambda y: y.detach().sum(), progress=False)
    with pytest.raises(ValueError, match="needs a decoder of language"):
        capture(wrap(vit()), pictures(2), "resid_post.1", gradient_of="next_token")
    with pytest.raises(ValueError, match="needs `labels`"):
        capture(language, TEXTS, "resid_post.1", gradient_of="labels")
    with pytest.raises(ValueError, match="must be None without"):
        capture(language, TEXTS, "resid_post.1", labels=[1])
    with pytest.raises(ValueError, match="one number"):
        capture(language, TEXTS, "resid_post.1", gradient_of=lambda y: y, progress=False)
    assert not language.interventions


@pytest.mark.slow
def test_a_stream_brings_them_beside_its_rows(language: LiveModel) -> None:
    """Each activation with its own gradient, however rows are shuffled; `GradientSAE` trains on both."""
    acts = capture(language, TEXTS, "resid_post.1", gradient_of="next_token", progress=False)
    source = sn.stream(language, TEXTS, "resid_post.1", buffer=6, gradient_of="next_token")
    d = acts.d_in
    assert (source.has_gradient, source.sites, source.d_in) == (True, (d, d), 2 * d)
    assert "with gradients" in repr(source)
    rows = next(source.batches(len(acts), seed=0))
    both = torch.cat([acts.x, acts.gradient], dim=1)  # type: ignore[list-item]
    apart = torch.cdist(rows, both, compute_mode="donot_use_mm_for_euclid_dist")
    assert float(apart.min(dim=1).values.max()) < 1e-4
    config = sn.TrainConfig(steps=2, batch_size=4)
    sae = sn.GradientSAE(d, 8, 2, generator=torch.Generator().manual_seed(0))
    sn.train(sae, source, config, progress=False)
    assert (float(sae.gradient_scale) != 1.0, sae.hook_point) == (True, "resid_post.1")
    plain = sn.TopK(d, 8, 2, generator=torch.Generator().manual_seed(0))
    sn.train(plain, source, config, progress=False)
    twin = sn.TopK(d, 8, 2, generator=torch.Generator().manual_seed(0))
    sn.train(twin, sn.stream(language, TEXTS, "resid_post.1", buffer=6), config, progress=False)
    assert torch.allclose(plain.dictionary, twin.dictionary, atol=1e-5)
    with pytest.raises(ValueError, match="`data` must be two things for Transcoder"):
        sn.train(sn.Transcoder(d, d, 8, 2), source, config, progress=False)
    with pytest.raises(ValueError, match=r"must bring the gradient of each row for GradientSAE"):
        sn.train(sae, sn.stream(language, TEXTS, "resid_post.1"), config, progress=False)
