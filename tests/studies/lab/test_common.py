"""Promises that systems of the lab share: they are SAEs that are kept, stepped and built as such, and seeds decide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.lab import (
    KDS,
    WLSC,
    GroupNetwork,
    KernelSimilarity,
    Momentum,
    PatchMosaic,
    SparKer,
    likelihood_gradient,
)


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


X = 40 + 7 * torch.randn(200, 4, generator=drawn(3))
"""Inputs in a unit and place of their own."""

SAES = {KDS: (4, 6), WLSC: (4, 6), GroupNetwork: (4, 2, 3)}
every_sae = pytest.mark.parametrize(("kind", "sizes"), SAES.items(), ids=[k.__name__ for k in SAES])


@every_sae
def test_saved_as_an_sae(kind: Any, sizes: tuple[int, ...], tmp_path: Path) -> None:
    """The files are an SAE's, `load_sae` reads them, and codes and atoms are the same to the bit."""
    sae = kind(*sizes, n_steps=12, generator=drawn()).fit(X, steps=5)
    sae.save(tmp_path / "saved")
    again = sn.load_sae(tmp_path / "saved")
    assert type(again) is kind
    assert again.settings() == sae.settings()
    with torch.no_grad():
        assert torch.equal(again.encode(X).to_dense(), sae.encode(X).to_dense())
        assert torch.equal(again.dictionary, sae.dictionary)


@pytest.mark.slow
@every_sae
def test_unit_of_the_data_does_not_matter(kind: Any, sizes: tuple[int, ...]) -> None:
    one, other = (kind(*sizes, generator=drawn()) for _ in range(2))
    one.fit(X, steps=10)
    other.fit(100 * X - 5, steps=10)
    with torch.no_grad():
        assert torch.allclose(other(100 * X - 5), 100 * one(X) - 5, rtol=1e-3, atol=0.5)


@every_sae
def test_steps_are_a_trace_for_panels(kind: Any, sizes: tuple[int, ...]) -> None:
    """`steps` ends at the codes that `encode` gives, up to the unit of the data, and has each step before."""
    sae = kind(*sizes, generator=drawn()).fit(X, steps=5)
    with torch.no_grad():
        codes, trace = sae.steps(X[:3])
        z = sae.encode(X[:3]).to_dense()
    assert torch.allclose(codes.to_dense() * getattr(sae, "_unit", 1.0), z, atol=1e-4)
    assert torch.equal(trace.codes_at(sae.n_steps).to_dense(), codes.detach().to_dense())
    assert len(trace.steps) == sae.n_steps + 1


@every_sae
def test_on_another_device(kind: Any, sizes: tuple[int, ...]) -> None:
    with torch.device("meta"):
        sae = kind(*sizes)
    assert sae.dictionary.is_meta
    assert sae.dictionary.shape == (6, 4)


def rows(n: int, seed: int, width: int = 2) -> Tensor:
    return torch.randn(n, width, generator=drawn(seed))


def mosaic(seed: int) -> Tensor:
    images = rows(3, 0, 25).view(3, 1, 5, 5).double()
    return PatchMosaic(3, n_steps=4).fit(images).sample(2, seed=seed).images


DRAWN: dict[str, Callable[[int], Tensor]] = {
    "first codes": lambda seed: KernelSimilarity(4).fit(rows(40, 0, 4), seed=seed).z,
    "samples of the gradient": lambda seed: likelihood_gradient(
        rows(9, 0, 4), rows(3, 1, 4), noise=0.5, n_steps=2, seed=seed
    ),
    "weights and rows": lambda seed: Momentum().fit(steps=2, seed=seed).losses,
    "noise": mosaic,
    "toys": lambda seed: (
        SparKer(2, n_steps=5).fit(rows(60, 0), rows(30, 1), n_toys=19, seed=seed).null
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("drawn_by", DRAWN.values(), ids=DRAWN)
def test_a_seed_decides(drawn_by: Callable[[int], Tensor]) -> None:
    """Equal seeds, equal bits, another seed, others; torch's own generator is left alone."""
    before = torch.get_rng_state()
    one, again, other = (drawn_by(seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())
