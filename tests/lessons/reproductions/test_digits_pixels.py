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
    """Every byte, in its place."""
    assert np.array_equal(digits_pixels.read_idx_images(images).numpy(), PIXELS)


def test_training_and_test_images_are_different_ones(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn anew for every seed, between 0 and 1."""
    monkeypatch.setattr(digits_pixels, "N_TRAIN", 8)
    monkeypatch.setattr(digits_pixels, "N_TEST", 4)
    train, test = digits_pixels._pixels(str(images), 0)
    drawn = np.concatenate([train.numpy(), test.numpy()])
    whole = PIXELS.reshape(12, 6) / np.float32(255)
    assert sorted(map(tuple, drawn.tolist())) == sorted(map(tuple, whole.tolist()))
    assert not np.array_equal(
        drawn, np.concatenate([*map(np.asarray, digits_pixels._pixels(str(images), 1))])
    )


@pytest.mark.parametrize(
    "content",
    [b"", HEADER, HEADER + PIXELS.tobytes()[:-1], b"\x1f\x8b" + bytes(200)],
    ids=["empty", "header alone", "cut short", "still packed"],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    """What it must be, what it is, what to do."""
    path = tmp_path / "digits.gz"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"digits.gz' must be an unpacked IDX file of images.*got \d+ bytes"
    ):
        digits_pixels.read_idx_images(path)


def test_too_few_images_are_refused(images: Path) -> None:
    """Before anything is trained."""
    with pytest.raises(ValueError, match="must hold 10000 images or more, got 12"):
        digits_pixels.run(0, images=str(images))
