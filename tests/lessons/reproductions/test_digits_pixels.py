"""Images of an IDX file are read as they are, and a file that is none is named."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from sae_nb_studies.reproductions.experiments import digits_pixels

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 3, 2), dtype=np.uint8)
HEADER = struct.pack(">IIII", 2051, 12, 3, 2)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(HEADER + PIXELS.tobytes())
    return path


def test_images_are_read_by_row_and_column(images: Path) -> None:
    assert np.array_equal(digits_pixels.read_idx_images(images).numpy(), PIXELS)


def test_training_and_test_images_are_different_ones(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digits_pixels, "N_TRAIN", 8)
    monkeypatch.setattr(digits_pixels, "N_TEST", 4)
    train, test = digits_pixels._pixels(str(images), 0)
    drawn = np.concatenate([train.numpy(), test.numpy()])
    whole = PIXELS.reshape(12, 6) / np.float32(255)
    assert sorted(map(tuple, drawn.tolist())) == sorted(map(tuple, whole.tolist()))
    assert not np.array_equal(
        drawn, np.concatenate([*map(np.asarray, digits_pixels._pixels(str(images), 1))])
    )
