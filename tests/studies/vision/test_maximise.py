"""Promises of maximisation: only phases move, the atom grows, and what a natural image does stands beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.figures import to_svg
from sae_nb_studies.vision._phases import Spectrum, random_crops

SHORT: Any = {"n_steps": 12, "n_crops": 2}


class Blobs(nn.Module):
    """Means of 4 × 4 patches as tokens, and their mean colour as three logits."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.patches(x))

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, 4)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _natural(n: int = 12, size: int = 16) -> Tensor:
    steps = torch.linspace(0, 6.3, size)
    a, b = _drawn(2, n, 3, 1, 1)
    return 0.5 + 0.2 * torch.sin(steps[:, None] * 2 * a + 9 * b) + 0.2 * torch.cos(3 * steps * b)


@pytest.fixture
def blobs() -> sn.LiveModel:
    torch.manual_seed(0)
    return sn.wrap(Blobs(), name="blobs", patch_grid=(4, 4))


@pytest.fixture
def sae(blobs: sn.LiveModel) -> sn.TopK:
    made = sn.TopK(4, 8, 2, generator=torch.Generator().manual_seed(0))
    acts = sn.capture(blobs, _natural(), "patches", progress=False)
    made.initialise(acts.x)
    return made.eval()


def _alive(blobs: sn.LiveModel, sae: sn.TopK) -> list[int]:
    acts = sn.capture(blobs, _natural(), "patches", progress=False)
    return sae.encode(acts).frequency.argsort(descending=True)[:2].tolist()


def test_only_phases_are_free() -> None:
    """Any phases give the magnitudes of the natural images, colours apart, in the space of logits."""
    x = _natural()
    spectrum = Spectrum.of(x)
    image = spectrum.images(spectrum.phases(2, torch.Generator().manual_seed(0)))
    back = torch.linalg.solve(spectrum.colours, (image.logit() - spectrum.mean).flatten(2))
    found = torch.fft.rfft2(back.view_as(image), norm="ortho").abs()
    inner = (slice(None), slice(None), slice(1, 8), slice(1, 8))  # others are real, and lose a part
    assert torch.allclose(found[inner], spectrum.magnitude.expand_as(found)[inner], atol=2e-3)


def test_the_phases_of_a_natural_image_give_it_back_where_all_are_alike() -> None:
    x = _natural(1)
    spectrum = Spectrum.of(x)
    apart = torch.linalg.solve(spectrum.colours, (x.logit() - spectrum.mean).flatten(2))
    phase = torch.fft.rfft2(apart.view_as(x), norm="ortho").angle()
    assert torch.allclose(spectrum.images(phase), x, atol=1e-4)


def test_a_whole_crop_without_noise_is_the_image() -> None:
    x = _natural(2)
    crops = random_crops(x, 3, 2.0, 0.0, 0.0, torch.Generator().manual_seed(0))
    assert torch.allclose(crops, x.repeat_interleave(3, 0), atol=1e-5)


@pytest.mark.slow
def test_atoms_grow_and_are_compared(blobs: sn.LiveModel, sae: sn.TopK) -> None:
    """Stronger than random phases; the record agrees with the SAE, also for atoms side by side."""
    atoms = _alive(blobs, sae)
    found = sn.vision.maximise(blobs, sae, atoms, "patches", images=_natural(), **SHORT)
    assert (found.activation > found.random.mean(axis=1)).all()
    assert (found.curve[:, -1] > found.curve[:, 0]).all()
    assert found.image.amin() >= 0
    assert found.image.amax() <= 1
    assert float(found.alpha.amin()) >= 0
    assert float(found.alpha.amax()) <= 1
    for i, atom in enumerate(atoms):
        for image, strength in (
            (found.image[i], found.activation[i]),
            (_natural()[found.best[i]], found.natural[i].max()),
        ):
            acts = sn.capture(blobs, image[None], "patches", progress=False)
            again = float(sae.encode(acts).to_dense()[:, atom].detach().max())
            assert again == pytest.approx(strength, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["universal", "crosscoder"])
def test_one_atom_in_two_models(blobs: sn.LiveModel, kind: str) -> None:
    """An image a model; a universal code has a strength for every pair, a crosscoder one for all models."""
    torch.manual_seed(1)
    other = sn.wrap(Blobs(), name="other", patch_grid=(4, 4))
    acts = [sn.capture(m, _natural(), "patches", progress=False) for m in (blobs, other)]
    generator = torch.Generator().manual_seed(0)
    make = sn.UniversalSAE if kind == "universal" else sn.Crosscoder
    shared = make([4, 4], 8, 2, generator=generator)
    shared.initialise([a.x for a in acts])
    codes = shared.eval().encode([a.x for a in acts])
    atom = int(codes.frequency.argmax())
    found = sn.vision.maximise(
        [blobs, other], shared, atom, "patches", images=_natural(), n_steps=3, n_crops=2
    )
    assert found.strengths.shape == ((2, 2) if kind == "universal" else (2, 1))
    assert list(found.table.index)[:2] == ["image of blobs", "image of other"]
    assert [image.shape for image in found.image] == [(3, 16, 16)] * 2
    assert "<image" in to_svg(found.plot())
    if kind == "universal":
        assert found.strengths[0, 0] == pytest.approx(found.parts[0].activation[0], rel=1e-3)


def test_what_is_natural_is_not_unusual(blobs: sn.LiveModel, sae: sn.TopK) -> None:
    """Distances of natural images are among themselves."""
    found = sn.vision.maximise(
        blobs, sae, _alive(blobs, sae)[0], "patches", images=_natural(), **SHORT
    )
    means = sn.capture(blobs, _natural(), "patches", progress=False).x.view(12, 16, 4).mean(dim=1)
    apart = torch.cdist(means, means) + 1e9 * torch.eye(12)
    assert np.allclose(found.natural_distance, apart.amin(dim=1), atol=1e-4)


def test_the_line_is_the_pre_activation(blobs: sn.LiveModel, sae: sn.TopK) -> None:
    """Of a one-step encoder: ⟨e_j, x − b⟩ + a_j at every place, also where it is negative."""
    from sae_nb_studies.vision._maximise import _readers, _reading

    atoms = _alive(blobs, sae)
    readers = _readers([blobs], sae, ["patches"], _natural(), several=False)
    states = [readers.all_states(0, readers.pixels[0].x)]
    reading = _reading(readers, 0, states, readers.strengths(states, 0, atoms), atoms)
    x = _drawn(1, 1, 5, 4, seed=3)
    rows = (x[0, 0] - sae.bias) @ sae.encoder.weight[atoms].T + sae.encoder.bias[atoms]
    assert torch.allclose(reading(x.expand(2, 1, 5, 4), "max")[:, 0], rows.amax(dim=0), atol=1e-4)
