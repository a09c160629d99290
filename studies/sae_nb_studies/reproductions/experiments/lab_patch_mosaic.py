"""Why does diffusion make new images (the lab)? Patches, wavelets, and a rule that noise hides.

Mosaics: four black-and-white images of 16 × 16 (signs of Gaussian random fields, low-pass of width 0.09
cycles a pixel) and four held out; 12 samples in 30 steps by the score of whole images and of patches of
side 3, 5, 9. Wavelets: patches of 16 × 16 of the two sample images of scikit-learn, grey, of mean 0 and
variance 1, noise of 0.1; evaluated on tiles of the images that no training patch touches; control: the
same images with random phases. Parity: the posterior mean of bits with an even sum, compared with
enumeration, and the information that the other bits give about one.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

import sae_nb as sn

SHORT = {"n_samples": 3, "n_steps": 8, "n_train": 3000, "n_test": 1000}
SIDE, WIDTH, PATCHES = 16, 0.09, (3, 5, 9)
TILE, NOISE = 64, 0.1
GROUPS, SIGMAS = (2, 4, 6, 8), (1.0, 1.5)


def run(
    seed: int,
    *,
    n_samples: int = 12,
    n_steps: int = 30,
    n_train: int = 30000,
    n_test: int = 8000,
) -> dict[str, float]:
    """Measure copies and shared patches by patch size, errors by gates, and products by number of bits."""
    return (
        mosaics(seed, n_samples, n_steps)
        | wavelets(seed, n_train, n_test)
        | parity(seed, 20 * n_samples)
    )


def mosaics(seed: int, n_samples: int, n_steps: int) -> dict[str, float]:
    """Measure what samples share with the training images, compared with held-out images."""
    fields = random_fields(8, torch.Generator().manual_seed(seed))
    known, others = fields[:4], fields[4:]
    numbers: dict[str, float] = {}
    for side in (*PATCHES, 15, None):
        fitted = sn.lab.PatchMosaic(side, n_steps=n_steps).fit(known)
        made = fitted.sample(n_samples, seed=seed)
        name = "ideal" if side is None else str(side)
        numbers |= shares(fitted, made.images.sign(), name)
        numbers[f"sources of {name}"] = float(made.n_sources().float().mean())
    numbers |= shares(fitted, others, "held out")
    grown = [numbers[f"7 × 7 of {name}"] for name in (*PATCHES, "ideal")]
    return numbers | {
        "copies of patches": max(numbers[f"copies of {side}"] for side in PATCHES),
        "least growth": min(b - a for a, b in itertools.pairwise(grown)),
    }


def shares(known: sn.lab.PatchDictionary, images: Tensor, name: str) -> dict[str, float]:
    """Return the share of images that are training images, exact or shifted, and of patches that are in one."""
    return {
        f"copies of {name}": float((known.found(images, SIDE) == 1).float().mean()),
        f"5 × 5 of {name}": float(known.found(images, 5).mean()),
        f"7 × 7 of {name}": float(known.found(images, 7).mean()),
    }


def random_fields(n: int, generator: torch.Generator) -> Tensor:
    """Draw signs of smooth Gaussian random fields that wrap around."""
    f = torch.fft.fftfreq(SIDE)
    low = torch.exp(-(f[:, None] ** 2 + f**2) / (2 * WIDTH**2))
    noise = torch.randn(n, 1, SIDE, SIDE, generator=generator)
    return torch.fft.ifft2(torch.fft.fft2(noise) * low).real.sign()


def wavelets(seed: int, n_train: int, n_test: int) -> dict[str, float]:
    """Measure moments of Haar coefficients, and errors on unseen tiles by features.

    The same for images with random phases.
    """
    rng = np.random.default_rng(seed)
    numbers: dict[str, float] = {}
    for name in ("photos", "random phases"):
        images = [
            np.asarray(image, dtype=float).mean(axis=2) for image in load_sample_images().images
        ]
        if name == "random phases":
            images = [scrambled(image, rng) for image in images]
        train, test = cut(images, n_train, n_test, rng)
        noise = torch.from_numpy(rng.standard_normal(test.shape)).to(test)
        for gates in ("linear", "cubic", "self", "neighbours"):
            fitted = sn.lab.wavelet_score(train, NOISE, gates=gates, seed=seed)
            left = fitted.denoise(test + NOISE * noise) - test
            numbers[f"{name}, {gates}"] = float(left.square().mean()) / NOISE**2
        moments = fitted.moments
        variance = moments["variance"].to_numpy()
        numbers |= {
            f"{name}, kurtosis": float(moments["kurtosis"].iloc[0]),
            f"{name}, least rise": float((variance[1:] / variance[:-1]).min()),
            f"{name}, gated / linear": numbers[f"{name}, neighbours"] / numbers[f"{name}, linear"],
            f"{name}, self / linear": numbers[f"{name}, self"] / numbers[f"{name}, linear"],
            f"{name}, threshold": fitted.threshold() / NOISE,
        }
    return numbers


def scrambled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image with the same power at every frequency, and random phases."""
    phases = np.fft.fft2(rng.standard_normal(image.shape))
    return np.fft.ifft2(np.abs(np.fft.fft2(image - image.mean())) * phases / np.abs(phases)).real


def cut(
    images: list[np.ndarray], n_train: int, n_test: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Cut patches from tiles to train on, and from a fifth of the tiles to test on."""
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for image in images:
        scaled = (image - image.mean()) / image.std()
        rows, columns = (length // TILE for length in image.shape)
        tiles = rng.permutation(rows * columns)
        held_out = len(tiles) // 5
        for kept, chosen, n in zip(
            found, (tiles[held_out:], tiles[:held_out]), (n_train, n_test), strict=True
        ):
            for tile in rng.choice(chosen, n // len(images)):
                top, left = TILE * np.array(divmod(tile, columns)) + rng.integers(
                    0, TILE - SIDE + 1, 2
                )
                kept.append(scaled[top : top + SIDE, left : left + SIDE])
    train, test = (torch.from_numpy(np.stack(kept)).float() for kept in found)
    return train, test


def parity(seed: int, n: int) -> dict[str, float]:
    """Measure the distance from enumeration, with and without the rule, and the product by number of bits."""
    generator = torch.Generator().manual_seed(seed)
    numbers, off, off_alone = {}, [], []
    for sigma in SIGMAS:
        for n_bits in GROUPS:
            bits = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=n_bits))).double()
            even = bits[bits.prod(dim=1) > 0]
            clean = even[torch.randint(len(even), (n,), generator=generator)]
            y = clean + sigma * torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
            apart = (y[:, None] - even).square().sum(dim=2)
            exact = (-apart / (2 * sigma**2)).softmax(dim=1) @ even
            found = sn.lab.parity_posterior(y, sigma)
            off.append(float((found.mean - exact).abs().max()))
            off_alone.append(float((found.alone - exact).abs().mean()))
            numbers[f"product of {n_bits} at {sigma}"] = float(found.product.abs().mean())
    steps = [
        numbers[f"product of {b} at {s}"] / numbers[f"product of {a} at {s}"]
        for s in SIGMAS
        for a, b in itertools.pairwise(GROUPS)
    ]
    return numbers | {
        "off enumeration": max(off),
        "off without the rule": min(off_alone),
        "largest step": max(steps),
    }
