"""Is an angle that a curve was not fitted on read right when images are moved there along it? tiny-vit, gratings.

Behind a digit lie stripes at an angle, which comes again after half a turn. A closed curve goes through the mean states
of the patches at a few known angles. Images of known angles are moved to each of the others, all patches alike: along
the curve, to the chord between the nearest known angles, to that point as far from the mean as the curve is, straight
on in the direction that the curve has where they are (as long a push), along a curve through shuffled angles, and in a
random direction. A ridge regression on a later layer, fitted on other images, reads the angle.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import sae_nb as sn
from sae_nb.geometry import curve

SHORT = {"n_probe": 400, "n_fit": 16, "n_test": 4}
N_ANGLES = 24
N_KNOWN = 6
STRIPE = 6.0
"""Pixels from one stripe to the next."""

POINT, READ = "resid_post.8", "resid_post.10"
N_PATCHES = 64
RIDGE = 1.0

Images = Float[Tensor, "n 3 32 32"]
Rows = Float[np.ndarray, "n d"]


def run(seed: int, *, n_probe: int = 1536, n_fit: int = 48, n_test: int = 24) -> dict[str, float]:
    """Fit on `n_fit` images an angle, read by a probe of `n_probe`; move `n_test` images to each left-out angle."""
    live, rng = sn.load_model("tiny-vit"), np.random.default_rng(seed)
    drawn = rng.random(n_probe) * N_ANGLES
    probe = ridge(pooled(live, gratings(drawn, rng, "train")[0]), drawn)
    order = rng.permutation(N_ANGLES)
    known, left = np.sort(order[:N_KNOWN]), np.sort(order[N_KNOWN:])
    shown, _ = gratings(np.repeat(np.arange(N_ANGLES), n_fit), rng, "train")
    acts = sn.capture(live, shown, POINT, positions="patches", progress=False)
    means = torch.as_tensor(acts.x).float().reshape(N_ANGLES, n_fit * N_PATCHES, -1).mean(dim=1)
    at, goal = rng.choice(known, len(left) * n_test), np.repeat(left, n_test)
    images, digit = gratings(at, rng, "test")
    read = partial(_read, live, probe, images, digit, goal)
    numbers: dict[str, float] = {}
    for name, push in pushes(means, known, at, goal, rng).items():
        error, right = read(partial(moved, live, push))
        numbers |= {f"{name}: error": error, f"{name}: digits": right}
    error, right = read(lambda _: nullcontext())
    own, _ = gratings(goal, rng, "test")
    fitted = _fit(means, known, known)
    return numbers | {
        "untouched: error": error,
        "untouched: digits": right,
        "images of that angle: error": _error(probe(pooled(live, own)), goal),
        "frequencies": float(len(fitted.order)),
        "R² at left-out angles": fitted.r2,
    }


def gratings(
    angle: Float[np.ndarray, " n"], rng: np.random.Generator, split: Any
) -> tuple[Images, Tensor]:
    """Draw digits before stripes; `angle` in steps of half a turn over N_ANGLES."""
    n = len(angle)
    scenes = sn.data.scenes(n, int(rng.integers(1 << 30)), split)
    turn = torch.from_numpy(angle).float()[:, None, None] * torch.pi / N_ANGLES
    phase, dark, step = (torch.from_numpy(rng.random((n, 1, 1))).float() for _ in range(3))
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    wave = torch.sin(2 * torch.pi * ((x * turn.cos() + y * turn.sin()) / STRIPE + phase))
    stripes = (0.5 + 1.5 * wave).clamp(0, 1)
    behind = (0.08 + 0.10 * dark + (0.10 + 0.05 * step) * stripes)[:, None].expand(-1, 3, -1, -1)
    noise = torch.from_numpy(rng.normal(scale=0.02, size=tuple(behind.shape))).float()
    images = torch.where(scenes.mask[:, None], scenes.images, behind + noise)
    return images.clamp(0, 1), scenes.digit


def pooled(live: sn.LiveModel, images: Images) -> Rows:
    """Return the mean patch of each image where the angle is read."""
    acts = sn.capture(live, images, READ, positions="patches", progress=False)
    rows = torch.as_tensor(acts.x).double().reshape(len(images), N_PATCHES, -1)
    return np.asarray(rows.mean(dim=1))


def ridge(x: Rows, angle: Float[np.ndarray, " n"]) -> Callable[[Rows], Float[np.ndarray, " n"]]:
    """Fit cosine and sine of the angle, and return what reads an angle off rows."""
    centre, scale = x.mean(axis=0), x.std(axis=0)
    z, turn = (x - centre) / scale, 2 * np.pi * angle / N_ANGLES
    y = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    weights = np.linalg.solve(z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ (y - y.mean(axis=0)))

    def read(rows: Rows) -> Float[np.ndarray, " n"]:
        cos, sin = ((rows - centre) / scale @ weights + y.mean(axis=0)).T
        return np.arctan2(sin, cos) * N_ANGLES / (2 * np.pi)

    return read


def pushes(
    means: Float[Tensor, "angles d"],
    known: np.ndarray,
    at: np.ndarray,
    goal: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Float[Tensor, "n d"]]:
    """Return what is added to all patches of each image, in every way."""
    along, shuffled = _fit(means, known, known), _fit(means, known, rng.permutation(known))
    start, centre = means[torch.from_numpy(at)], means[torch.from_numpy(known)].mean(dim=0)
    u, v = (torch.from_numpy(one).double() for one in (at, goal))
    curved = along.at(v) - start
    length = curved.norm(dim=1, keepdim=True)
    middle = torch.stack([_chord(means, known, int(s)) for s in goal])
    out = (along.at(v) - centre).norm(dim=1) / (middle - centre).norm(dim=1)
    half = N_ANGLES / 2
    ahead = torch.where((v - u + half).remainder(N_ANGLES) >= half, 1.0, -1.0)[:, None]
    straight = ahead * (along.at(u + 0.5) - along.at(u - 0.5))
    random = torch.from_numpy(rng.normal(size=tuple(start.shape))).float()
    return {
        "own mean": means[torch.from_numpy(goal)] - start,
        "curve": curved,
        "chord": middle - start,
        "chord, as far as the curve": centre + (middle - centre) * out[:, None] - start,
        "straight": straight / straight.norm(dim=1, keepdim=True) * length,
        "shuffled": shuffled.at(v) - start,
        "random direction": random / random.norm(dim=1, keepdim=True) * length,
    }


def _fit(means: Float[Tensor, "angles d"], known: np.ndarray, values: np.ndarray) -> Any:
    rows = means[torch.from_numpy(known)]
    return curve(rows, values, closed=True, period=N_ANGLES, n_shuffled=1)


def _chord(means: Float[Tensor, "angles d"], known: np.ndarray, s: int) -> Float[Tensor, " d"]:
    """The place of angle `s` between the nearest known angles on either side."""
    low = max(int(k) for k in [*known - N_ANGLES, *known] if k < s)
    high = min(int(k) for k in [*known, *known + N_ANGLES] if k > s)
    share = (s - low) / (high - low)
    return (1 - share) * means[low % N_ANGLES] + share * means[high % N_ANGLES]


def moved(
    live: sn.LiveModel, push: Float[Tensor, "n d"], rows: slice
) -> AbstractContextManager[Any]:
    """Run some rows of the images with a push of its own for each, on all its patches."""

    def change(h: Tensor) -> Tensor:
        return h + push[rows, None].to(h)

    return sn.splice(live, POINT, change, positions="patches", backend="hooks")


def _read(
    live: sn.LiveModel,
    probe: Callable[[Rows], np.ndarray],
    images: Images,
    digit: Tensor,
    goal: np.ndarray,
    edited: Callable[[slice], AbstractContextManager[Any]],
) -> tuple[float, float]:
    """Mean error of the angle in degrees, and the share of digits read right, of edited images."""
    found, right = [], []
    for start in range(0, len(images), 64):  # as many as a call takes at once
        rows = slice(start, start + 64)
        with edited(rows):
            found.append(pooled(live, images[rows]))
            right.append(live(images[rows]).argmax(dim=1) == digit[rows])
    return _error(probe(np.concatenate(found)), goal), float(torch.cat(right).double().mean())


def _error(read: np.ndarray, goal: np.ndarray) -> float:
    half = N_ANGLES / 2
    off = (read - goal + half) % N_ANGLES - half
    return float(np.abs(off).mean() * 180 / N_ANGLES)
