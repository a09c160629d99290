"""One picture in any form becomes what the model reads, and every conversion is said."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sae_nb.models._image_inputs import fit_picture

COLOURS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    "given",
    [
        COLOURS,
        np.moveaxis(COLOURS, -1, 0),
        torch.from_numpy(np.moveaxis(COLOURS, -1, 0).copy()),
        torch.from_numpy(np.moveaxis(COLOURS, -1, 0).copy())[None],
        torch.from_numpy(np.moveaxis(COLOURS, -1, 0).copy()).float() / 255,
        Image.fromarray(COLOURS),
        COLOURS.astype(np.int64),
        [COLOURS],
        {"image": COLOURS},
    ],
)
def test_what_fits_is_taken_as_it_is(vit: Any, given: Any) -> None:
    """Pixel for pixel, whatever holds them; nothing is said."""
    picture, notes = fit_picture(vit, given)
    np.testing.assert_array_equal(picture.numpy(), np.moveaxis(COLOURS, -1, 0))
    assert notes == ()


@pytest.mark.parametrize(
    ("given", "note", "colour"),
    [
        (Image.new("L", (32, 32), 100), "grey levels", (100, 100, 100)),
        (Image.new("RGBA", (32, 32), (200, 0, 0, 0)), "transparent parts on black", (0, 0, 0)),
        (Image.new("1", (32, 32), 1), "black and white", (255, 255, 255)),
        (Image.new("CMYK", (32, 32), (0, 0, 0, 255)), "CMYK", (0, 0, 0)),
        (np.full((32, 32), 7, np.uint8), "grey levels", (7, 7, 7)),
        (np.ones((32, 32), bool), "black and white", (255, 255, 255)),
        (Image.fromarray(np.full((32, 32), 65535, np.uint16)), "16-bit", (255, 255, 255)),
        (np.full((1, 32, 32), 0.5, np.float32), "grey levels", (128, 128, 128)),
    ],
)
def test_other_modes_become_rgb_and_say_so(
    vit: Any, given: Any, note: str, colour: tuple[int, int, int]
) -> None:
    """Grey, palette, transparency, sixteen bits."""
    picture, notes = fit_picture(vit, given)
    assert picture[:, 5, 5].tolist() == list(colour)
    assert any(note in said for said in notes)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([COLOURS, COLOURS], "One image must be given at a time"),
        ({"pixel_values": torch.zeros(1, 3, 32, 32)}, "not normalised"),
        (torch.zeros(2, 3, 32, 32), r"one at a time; got \(2, 3, 32, 32\)"),
        (COLOURS / 100, "Divide bytes by 255"),
        (Image.new("1", (8_000, 8_000)), "8000×8000 pixels are more than 40000000"),
    ],
)
def test_what_is_no_single_picture_is_refused(vit: Any, given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_picture(vit, given)


def test_proportions_are_kept_by_cropping_the_middle(vit: Any) -> None:
    """The left and right thirds of a wide picture are gone."""
    wide = Image.new("RGB", (96, 32), (255, 0, 0))
    wide.paste((0, 255, 0), (32, 0, 64, 32))
    picture, notes = fit_picture(vit, wide)
    assert notes == ("96×32 cropped to 32×32",)
    assert picture[1].min() == 255
    assert picture[0].max() == 0


def test_files_and_their_bytes_are_opened_upright(vit: Any, tmp_path: Path) -> None:
    """A photo that says it lies on its side; the first frame of a moving picture."""
    lying = Image.new("RGB", (64, 32), (0, 0, 0))
    lying.paste((255, 255, 255), (0, 0, 32, 32))
    facts = Image.Exif()
    facts[0x0112] = 6
    lying.save(tmp_path / "photo.jpg", exif=facts)
    _, notes = fit_picture(vit, tmp_path / "photo.jpg")
    assert "turned upright" in notes
    frames = [Image.new("L", (32, 32), level) for level in (10, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    picture, notes = fit_picture(vit, buffer.getvalue())
    assert "first frame taken" in notes
    assert int(picture.max()) < 50
