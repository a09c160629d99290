"""Drawings look like scenes: strokes cover pixels by a formula, and the bundled model reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import sae_nb as sn
from sae_nb.data import INKS, TEXTURES, Paper, drawn_scene, raster

Strokes = list[list[tuple[float, float]]]


def arc(cx: float, cy: float, rx: float, ry: float, start: float, end: float) -> Any:
    """Points of an ellipse, angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 24))
    return [(float(cx + rx * np.cos(a)), float(cy + ry * np.sin(a))) for a in angles]


DIGITS: dict[int, Strokes] = {
    0: [arc(16, 16, 6, 10, 0, 360)],
    1: [[(16, 6), (16, 26)]],
    2: [[*arc(16, 11, 6, 5, 180, 390), (10, 26), (23, 26)]],
    3: [[*arc(15, 11, 6, 5, 200, 450), *arc(15, 21, 6.5, 5.5, 270, 520)]],
    4: [[(18, 6), (9, 19), (24, 19)], [(19, 12), (19, 27)]],
    5: [[(22, 6), (12, 6), (11, 15), *arc(15, 20, 7, 6, 250, 490)]],
    6: [[(20, 6), (12, 15), *arc(16, 20, 6, 6, 200, 560)]],
    7: [[(9, 6), (23, 6), (14, 26)]],
    8: [arc(16, 11, 5, 5, 0, 360), arc(16, 21, 6, 5.5, 0, 360)],
    9: [arc(16, 12, 6, 6, 0, 360), [(22, 12), (20, 26)]],
}


# --- strokes --------------------------------------------------------------------------------------


def test_coverage_falls_with_the_distance_from_the_stroke() -> None:
    """Full inside, half at the edge, nothing beyond: by hand for a vertical line."""
    rows = raster([[(10.0, -50.0), (10.0, 50.0)]], thickness=3.0)
    distance = np.abs(np.arange(32) + 0.5 - 10.0)
    expected = np.round(255 * np.clip(2.0 - distance, 0, 1))
    assert (rows == expected).all()


def test_strokes_join_and_order_does_not_matter() -> None:
    """The union of segments, however they are drawn."""
    one = raster([[(4, 4), (20, 9), (11, 28)]])
    two = raster([[(11, 28), (20, 9)], [(20, 9), (4, 4)]])
    np.testing.assert_array_equal(one, two)
    dot = raster([[(16.0, 16.0)]], thickness=4.0)
    assert dot.sum() / 255 == pytest.approx(np.pi * 4, rel=0.05)


# --- pictures -------------------------------------------------------------------------------------


def test_ink_is_the_scenes_ink_and_paper_its_texture() -> None:
    """Where the stroke covers, the colour of scenes; elsewhere darker than any ink."""
    coverage = raster(DIGITS[0])
    for name, colour in INKS.items():
        picture = drawn_scene(coverage, Paper(ink=name)).picture.float() / 255
        inked = picture[:, torch.from_numpy(coverage) == 255].mean(dim=1)
        torch.testing.assert_close(inked, torch.tensor(colour), atol=0.03, rtol=0)
        empty = picture[:, torch.from_numpy(coverage) == 0].amax(dim=1)
        assert float(empty.max()) < 0.45


def test_same_seed_same_picture() -> None:
    """Tint, phase and noise hang on the seed alone."""
    coverage = raster(DIGITS[3])
    one, same, other = (drawn_scene(coverage, Paper(seed=s)).picture for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("scale", [0.45, 1.45])
def test_drawings_of_another_size_are_scaled_and_said(scale: float) -> None:
    """To the heights of scenes, and never out of the picture."""
    strokes = [[((x - 16) * scale + 16, (y - 16) * scale + 16) for x, y in s] for s in DIGITS[2]]
    drawn = drawn_scene(raster(strokes, 3.0))
    assert "scaled to" in drawn.notes[0]
    bright = (drawn.picture.float().mean(dim=0) > 150).nonzero()
    height = int(bright[:, 0].max() - bright[:, 0].min()) + 1
    assert 12 <= height <= 24


def test_drawing_in_a_corner_stays_in_the_picture() -> None:
    """A small one is enlarged about its centre and moved inside."""
    drawn = drawn_scene(raster([[(1, 1), (7, 1), (3, 8)]], 2.0))
    bright = (drawn.picture.float().mean(dim=0) > 150).sum()
    assert int(bright) > 20


@pytest.mark.parametrize(
    ("coverage", "words"),
    [
        (np.zeros((32, 32), np.uint8), "empty"),
        (np.zeros((28, 28), np.uint8), "32, 32"),
        (np.ones((32, 32)), "integers"),
    ],
)
def test_no_drawing_is_refused(coverage: Any, words: str) -> None:
    """Rule, given, do."""
    with pytest.raises((TypeError, ValueError), match=words):
        drawn_scene(coverage)


# --- the model reads them -------------------------------------------------------------------------


def test_model_reads_drawn_digits(vit: Any, record_property: Any) -> None:
    """Ten digits in three sizes, on every texture, in every ink: nearly all are right."""
    right = []
    for digit, strokes in DIGITS.items():
        pictures = []
        for n, texture in enumerate(TEXTURES):
            for i, ink in enumerate(INKS):
                scale, shift = ((1.0, 0), (0.8, 3), (0.9, -3))[(n + i) % 3]
                moved = [
                    [((x - 16) * scale + 16 + shift, (y - 16) * scale + 16) for x, y in s]
                    for s in strokes
                ]
                paper = Paper(ink=ink, texture=texture)
                pictures.append(drawn_scene(raster(moved, 3.0), paper).picture)
        right.append((vit(torch.stack(pictures)).argmax(dim=1) == digit).float().mean())
    accuracy = float(torch.stack(right).mean())
    record_property("accuracy of drawn digits", accuracy)
    assert accuracy > 0.93  # measured .97


def thinned(ink: np.ndarray) -> np.ndarray:
    """Zhang and Suen's thinning: the middle line of a shape."""
    ink = ink.astype(np.uint8)
    while True:
        before = ink.copy()
        for turn in (0, 1):
            p = np.pad(ink, 1)
            n = [p[:-2, 1:-1], p[:-2, 2:], p[1:-1, 2:], p[2:, 2:]]
            n += [p[2:, 1:-1], p[2:, :-2], p[1:-1, :-2], p[:-2, :-2]]
            steps = sum(((n[i] == 0) & (n[(i + 1) % 8] == 1)).astype(int) for i in range(8))
            corners = ((0, 2, 4), (2, 4, 6)) if turn == 0 else ((0, 2, 6), (0, 4, 6))
            edge = np.all([n[i] * n[j] * n[k] == 0 for i, j, k in corners], axis=0)
            loose = (sum(n) >= 2) & (sum(n) <= 6) & (steps == 1) & edge
            ink = np.where((ink == 1) & loose, 0, ink).astype(np.uint8)
        if (ink == before).all():
            return ink


def strokes_of(digit: np.ndarray, threshold: float) -> np.ndarray:
    """Segments (n, 2, 2) along the middle line of an 8 × 8 handwritten digit, in 64ths of its side."""
    big = F.interpolate(
        torch.from_numpy(digit)[None, None], scale_factor=8, mode="bicubic", align_corners=False
    )
    line = set(map(tuple, np.argwhere(thinned(big[0, 0].numpy() > threshold)).tolist()))
    steps = ((0, 1), (1, 0), (1, 1), (1, -1))
    pairs = [
        ((x, y), (x + dx, y + dy)) for y, x in line for dy, dx in steps if (y + dy, x + dx) in line
    ]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2, 2) + 0.5


def redrawn(digit: np.ndarray, height: float, thickness: float) -> np.ndarray:
    """Draw a handwritten digit with the pad's brush, by the strokes that resemble it most."""

    def likeness(threshold: float) -> float:
        cells = raster((strokes_of(digit, threshold) / 2).tolist(), 3.5).reshape(8, 4, 8, 4)
        cells = cells.mean(axis=(1, 3))
        return -float(((cells / max(cells.max(), 1) - digit / digit.max()) ** 2).sum())

    segments = strokes_of(digit, max((0.35, 0.45, 0.55, 0.65, 0.75), key=likeness))
    low, high = segments.min(axis=(0, 1)), segments.max(axis=(0, 1))
    scale = (height - thickness) / max(high - low)
    return raster(((segments - (low + high) / 2) * scale + 16).tolist(), thickness)


def test_unseen_handwriting_drawn_with_the_brush_is_read_nearly_as_scenes(
    vit: Any, record_property: Any
) -> None:
    """Test digits turned into strokes; what is lost is mostly what the strokes have lost."""
    digits = sn.data.digits("test")
    rows = np.random.default_rng(0).permutation(len(digits))[:60]
    generator = np.random.default_rng(1)
    pictures = []
    for row in rows:
        ink, texture = list(INKS)[generator.integers(8)], TEXTURES[generator.integers(8)]
        paper = Paper(ink=ink, texture=texture, seed=int(generator.integers(1000)))
        drawing = redrawn(digits.images[row].numpy(), 24.0, 3.0)
        pictures.append(drawn_scene(drawing, paper).picture)
    accuracy = float(
        (vit(torch.stack(pictures)).argmax(dim=1) == digits.digit[rows]).float().mean()
    )
    record_property("accuracy of redrawn handwriting", accuracy)
    assert accuracy > 0.88  # measured .95; scenes themselves .985
