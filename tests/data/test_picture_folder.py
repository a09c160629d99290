"""Promises of the folder reader: order, classes, lazy decoding, and files that are not pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sae_nb.data import pictures


def _save(path: Path, colour: tuple[int, ...], size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB" if len(colour) == 3 else "RGBA", size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _save(tmp_path / "dogs" / "b.png", (255, 0, 0))
    _save(tmp_path / "cats" / "deep" / "a.PNG", (0, 255, 0))
    _save(tmp_path / "cats" / "z.bmp", (0, 0, 255))
    _save(tmp_path / "loose.png", (255, 255, 255))
    _save(tmp_path / ".cache" / "hidden.png", (0, 0, 0))
    (tmp_path / "cats" / "notes.txt").write_text("no picture")
    return tmp_path


def test_class_is_the_first_subfolder(folder):
    found = pictures(folder)
    assert [str(path.relative_to(folder)) for path in found.paths] == [
        "cats/deep/a.PNG",
        "cats/z.bmp",
        "dogs/b.png",
        "loose.png",
    ]
    assert found.class_names == ("cats", "dogs")
    assert found.label.tolist() == [0, 0, 1, -1]


def test_pixels_are_colour_first_between_zero_and_one(folder):
    found = pictures(folder)
    assert torch.equal(found[2], torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 4, 6))
    assert torch.equal(torch.stack(list(found)), found.images)
    assert len(found[1:3]) == 2
    assert torch.equal(found[1:3].images, found.images[1:3])


def test_size_keeps_the_middle_of_the_longer_side(tmp_path):
    picture = np.zeros((10, 30, 3), dtype=np.uint8)
    picture[:, 10:20] = 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    found = pictures(tmp_path, size=10)
    assert found.images.shape == (1, 3, 10, 10)
    assert bool((found.images == 1).all())


def test_pictures_are_decoded_only_when_looked_at(folder):
    path = folder / "dogs" / "b.png"
    path.write_bytes(path.read_bytes()[:20])
    found = pictures(folder)
    assert found[0].shape == (3, 4, 6)
    with pytest.raises(ValueError, match="b.png"):
        found[2]


def test_transparent_parts_are_white_and_grey_becomes_colour(tmp_path):
    _save(tmp_path / "a.png", (0, 0, 0, 0))
    Image.new("L", (6, 4), 128).save(tmp_path / "b.png")
    found = pictures(tmp_path)
    assert bool((found[0] == 1).all())
    assert torch.allclose(found[1], torch.full((3, 4, 6), 128 / 255))


def test_a_photograph_is_turned_upright(tmp_path):
    picture = Image.new("RGB", (6, 4), (255, 0, 0))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert pictures(tmp_path)[0].shape == (3, 6, 4)
