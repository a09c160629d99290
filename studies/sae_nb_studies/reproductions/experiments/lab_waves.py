"""Hearing the shape of a drum (the lab): can each point of a square tell its size?

Squares of side 5 to 15 on a grid of 32 × 32, one an image, ring for 100 steps of the wave equation. A
small network (64 units, scikit-learn) predicts the side from what is known at one point: its spectrum
over time, its last, mean or largest height, or a window of 7 × 7 points around it without any waves. 200
images to train on, 60 others to test on.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

import sae_nb as sn

SHORT = {"n_images": 60, "n_epochs": 2}
GRID, SIDES, WINDOW = 32, (5, 7, 9, 11, 13, 15), 7
UNITS, N_TEST = 64, 60


def run(seed: int, *, n_images: int = 200, n_epochs: int = 200) -> dict[str, float]:
    """Measure accuracy over points by each readout, and the fundamental's deviation from theory."""
    rng = np.random.default_rng(seed)
    train, sides = squares(n_images, rng)
    test, asked = squares(N_TEST, rng)
    waves = sn.lab.Waves()
    ringing, heard = waves.run(train), waves.run(test)
    labels, truth = (of_points(a, b) for a, b in ((train, sides), (test, asked)))
    numbers = {
        name: accuracy(ringing.features(name), labels, heard.features(name), truth, n_epochs, seed)
        for name in ("spectrum", "last", "mean", "max")
    }
    numbers["window"] = accuracy(windows(train), labels, windows(test), truth, n_epochs, seed)
    peaks = heard.fundamental().numpy()
    theory, next_larger = (
        np.array([sn.lab.square_fundamental(int(side) + more) for side in asked]) for more in (0, 2)
    )
    counts = np.bincount(labels, minlength=max(SIDES) + 1)
    return numbers | {
        "best other": max(value for name, value in numbers.items() if name != "spectrum"),
        "off theory": float(np.abs(peaks / theory - 1).max()),
        "off the next larger": float(np.abs(peaks / next_larger - 1).min()),
        "most common side": float((truth == counts.argmax()).mean()),
    }


def squares(n: int, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
    """Draw images with one square each, placed at random, and their sides."""
    sides = rng.choice(SIDES, n)
    shapes = torch.zeros(n, GRID, GRID, dtype=torch.bool)
    for shape, side in zip(shapes, sides, strict=True):
        top, left = rng.integers(0, GRID - side + 1, 2)
        shape[top : top + side, left : left + side] = True
    return shapes, sides


def of_points(shapes: torch.Tensor, sides: np.ndarray) -> np.ndarray:
    """Return the side of its square for every point inside."""
    return np.repeat(sides, shapes.flatten(1).sum(dim=1).numpy())


def windows(shapes: torch.Tensor) -> torch.Tensor:
    """Return the window around every point inside, as a feed-forward network of that reach would see it."""
    cut = torch.nn.functional.unfold(shapes.float()[:, None], WINDOW, padding=WINDOW // 2)
    return cut.movedim(1, -1).reshape(*shapes.shape, -1)[shapes]


def accuracy(
    x: torch.Tensor,
    labels: np.ndarray,
    asked: torch.Tensor,
    truth: np.ndarray,
    n_epochs: int,
    seed: int,
) -> float:
    """Return the share of points of other images whose square's side is predicted correctly."""
    scale = StandardScaler().fit(x.numpy())
    network = MLPClassifier(
        (UNITS,), max_iter=n_epochs, learning_rate_init=3e-3, batch_size=512, random_state=seed
    )
    network.fit(scale.transform(x.numpy()), labels)
    return float(network.score(scale.transform(asked.numpy()), truth))
