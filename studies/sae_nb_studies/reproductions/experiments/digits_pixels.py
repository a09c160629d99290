"""Matching pursuit compared with one-step SAEs on digits of 28×28 pixels: explained variance at equal sparsity.

8 000 images of MNIST to train, 2 000 to test, drawn again for every seed; 1 000 atoms. Each SAE is
trained with k = 2, 5, 10, 20 and encodes with k, 2k and 4k. You supply the images as a file in the IDX
format in which MNIST is published (recorded: its test images); without one (a short run) scikit-learn's
digits of 8×8 pixels are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn

SHORT = {"images": "", "ks": [5], "n_atoms": 256, "steps": 200}
KINDS = {"mp": "MatchingPursuit", "topk": "TopK", "batchtopk": "BatchTopK"}
N_TRAIN, N_TEST = 8000, 2000
IDX_IMAGES = 2051


def run(
    seed: int,
    *,
    images: str = "mnist-images-idx3-ubyte",
    ks: Sequence[int] = (2, 5, 10, 20),
    n_atoms: int = 1000,
    steps: int = 800,
) -> dict[str, float]:
    """Train every kind at each k and measure the numbers of the claims.

    `images`: IDX file of 10 000 images or more; empty: scikit-learn's; `ks`: selections in training; the
    claims are about the worst of them; `steps` of 256 rows.
    """
    train, test = _pixels(images, seed)
    numbers: dict[str, float] = {}
    for name, kind in KINDS.items():
        for k in ks:
            r2 = _r2(kind, k, train, test, n_atoms=n_atoms, steps=steps, seed=seed)
            numbers |= {_named(name, k, used): value for used, value in r2.items()}
    return numbers | _worst(numbers, ks)


def _pixels(images: str, seed: int) -> tuple[Tensor, Tensor]:
    """Return images to train and to test on, one per row, between 0 and 1."""
    if not images:
        return sn.data.digits("train").images.flatten(1), sn.data.digits("test").images.flatten(1)
    pixels = read_idx_images(Path(images))
    if len(pixels) < N_TRAIN + N_TEST:
        raise ValueError(
            f"{images!r} must hold {N_TRAIN + N_TEST} images or more, got {len(pixels)}. Give the file "
            "of MNIST's training or test images."
        )
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))
    train, test = order[:N_TRAIN], order[N_TRAIN : N_TRAIN + N_TEST]
    return pixels[train].flatten(1).float() / 255, pixels[test].flatten(1).float() / 255


def read_idx_images(path: Path) -> Tensor:
    """Read the images of an unpacked IDX file, bytes from 0 to 255, by row and column."""
    content = np.fromfile(path, dtype=np.uint8)
    header = content[:16].view(">i4").tolist() if len(content) >= 16 else [0] * 4
    magic, n, rows, columns = header
    if magic != IDX_IMAGES or len(content) != 16 + n * rows * columns:
        raise ValueError(
            f"{str(path)!r} must be an unpacked IDX file of images, as MNIST's *-images-idx3-ubyte are, "
            f"got {len(content)} bytes that begin otherwise or end early. Unpack it again."
        )
    return torch.from_numpy(content[16:].reshape(n, rows, columns).copy())


def _r2(
    kind: str, k: int, train: Tensor, test: Tensor, *, n_atoms: int, steps: int, seed: int
) -> dict[int, float]:
    """Train with k; return R² on unseen images with k, 2k and 4k atoms, on average for BatchTopK."""
    generator = torch.Generator().manual_seed(seed)
    sae = getattr(sn, kind)(train.shape[1], n_atoms, k, generator=generator)
    config = sn.TrainConfig(steps=steps, batch_size=256, seed=seed)
    sn.train(sae, train, config, progress=False)
    with torch.no_grad():
        return {
            used: sn.evaluation.explained_variance(test, sae.decode(sae.encode(test, k=used)))
            for used in (k, 2 * k, 4 * k)
        }


def _named(name: str, k: int, used: int) -> str:
    return f"{name} r2 k={k}, {used} used"


def _worst(numbers: dict[str, float], ks: Sequence[int]) -> dict[str, float]:
    """Return the numbers of the claims, each for the worst k."""

    def ahead_of(name: str) -> float:
        return min(numbers[_named("mp", k, k)] - numbers[_named(name, k, k)] for k in ks)

    def gains(name: str) -> list[float]:
        doubled = [(k, used) for k in ks for used in (k, 2 * k)]
        return [
            numbers[_named(name, k, 2 * used)] - numbers[_named(name, k, used)]
            for k, used in doubled
        ]

    return {
        "r2 ahead of TopK": ahead_of("topk"),
        "r2 ahead of BatchTopK": ahead_of("batchtopk"),
        "mp smallest gain": min(gains("mp")),
        "topk largest gain": max(gains("topk")),
        "topk smallest gain": min(gains("topk")),
    }
