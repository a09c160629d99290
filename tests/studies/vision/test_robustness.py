"""Promises of robustness: strength 0 changes nothing, what an SAE cannot write is noticed, probes are read once learned."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb_studies.vision import corrupt


class _Patches(nn.Module):
    """The four channels of each 1×1 pixel are a patch's activation; their mean is the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(3)[:, :, None, None])

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.features(pixel_values).mean(dim=(2, 3)) * 10


def _two_colours(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    red = torch.rand(n, 4, 4, generator=generator) < 0.3 + 0.4 * labels[:, None, None]
    images = torch.stack([red, ~red, torch.zeros_like(red)], dim=1).float() * 0.8
    return images, labels


def _sae() -> sn.TopK:
    sae = sn.TopK(3, 2, 1).eval()
    with torch.no_grad():
        sae.dictionary.copy_(torch.eye(3)[:2])
        sae.encoder.weight.copy_(torch.eye(3)[:2])
    return sae


def test_strength_zero_changes_nothing_and_more_changes_more() -> None:
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for kind in ("noise", "blur", "contrast", "occlusion"):
        assert torch.equal(corrupt(images, kind, 0.0), images)
        small, large = (
            float((corrupt(images, kind, s) - images).square().mean()) for s in (0.2, 0.9)
        )
        assert 0 < small < large, kind
        assert 0 <= corrupt(images, kind, 1.0).min() <= corrupt(images, kind, 1.0).max() <= 1
    flat = corrupt(images, "contrast", 1.0)
    assert torch.allclose(flat, images.mean(dim=(1, 2, 3), keepdim=True).expand_as(flat), atol=1e-6)
    assert float(corrupt(images * 0, "occlusion", 0.5).mean()) == pytest.approx(0.125)
    constant = torch.full((1, 3, 8, 8), 0.3)
    assert torch.allclose(corrupt(constant, "blur", 0.7), constant, atol=1e-6)


@pytest.mark.slow
def test_what_no_atom_writes_is_noticed_and_probes_keep_what_stays() -> None:
    """Noise makes blue, which neither the SAE nor the leading component has; labels survive it."""
    model = sn.wrap(_Patches(), class_names=["red", "green", "blue"])
    images, labels = _two_colours(40, 0)
    reference, others = _two_colours(60, 1)
    found = sn.vision.robustness(
        model, _sae(), images, "features", reference=reference, labels=labels,
        reference_labels=others, corruptions=["noise"], strengths=[0.0, 0.4], n_bootstrap=50,
    )  # fmt: skip
    table = found.table.loc["noise"]
    assert (table.loc[0.0] == 0.5).all()
    assert table.loc[0.4, "error"] == 1.0
    assert table.loc[0.4, "pca error"] == 1.0
    probes = found.probes.set_index(["strength", "reads"])
    assert (probes["floor"] == 0.5).all()
    assert probes.loc[(0.4, "codes"), "accuracy"].min() > 0.8
    assert probes.loc[(0.4, "activations"), "kept"].min() > 0.8
    noisy = found.detection.query("strength == 0.4")
    assert (noisy["low"] <= noisy["auroc"]).all()
    assert len(found.plot().data) == len(sn.vision._robustness.SCORES)
