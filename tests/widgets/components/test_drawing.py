"""Drawings look like scenes: strokes cover pixels by a formula, and the bundled model reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sae_nb_widgets.components._draw_pad import raster

from sae_nb.data import Paper, Scenes, drawn_scene

Strokes = list[list[tuple[float, float]]]


def arc(cx: float, cy: float, rx: float, ry: float, start: float, end: float) -> Any:
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
    rows = raster([[(10.0, -50.0), (10.0, 50.0)]], thickness=3.0)
    distance = np.abs(np.arange(32) + 0.5 - 10.0)
    expected = np.round(255 * np.clip(2.0 - distance, 0, 1))
    assert (rows == expected).all()


# --- pictures -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ink_is_the_scenes_ink_and_paper_its_texture() -> None:
    coverage = raster(DIGITS[0])
    for name in Scenes.colour_names:
        paper = Paper(ink=name)
        picture = drawn_scene(coverage, paper).picture.float() / 255
        inked = picture[:, torch.from_numpy(coverage) == 255].mean(dim=1)
        torch.testing.assert_close(inked, torch.tensor(paper.rgb), atol=0.03, rtol=0)
        empty = picture[:, torch.from_numpy(coverage) == 0].amax(dim=1)
        assert float(empty.max()) < 0.45


@pytest.mark.parametrize("scale", [0.45, 1.45])
def test_drawings_of_another_size_are_scaled_and_said(scale: float) -> None:
    strokes = [[((x - 16) * scale + 16, (y - 16) * scale + 16) for x, y in s] for s in DIGITS[2]]
    drawn = drawn_scene(raster(strokes, 3.0))
    assert "scaled to" in drawn.notes[0]
    bright = (drawn.picture.float().mean(dim=0) > 150).nonzero()
    height = int(bright[:, 0].max() - bright[:, 0].min()) + 1
    assert 12 <= height <= 24


def test_drawing_in_a_corner_stays_in_the_picture() -> None:
    drawn = drawn_scene(raster([[(1, 1), (7, 1), (3, 8)]], 2.0))
    bright = (drawn.picture.float().mean(dim=0) > 150).sum()
    assert int(bright) > 20


# --- the model reads them -------------------------------------------------------------------------


@pytest.mark.slow
def test_model_reads_drawn_digits(vit: Any, record_property: Any) -> None:
    """Ten digits in three sizes, on every texture, in every ink: nearly all are right."""
    right = []
    for digit, strokes in DIGITS.items():
        pictures = []
        for n, texture in enumerate(Scenes.texture_names):
            for i, ink in enumerate(Scenes.colour_names):
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
