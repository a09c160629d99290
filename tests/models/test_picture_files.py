"""What image files hold besides colours: transparency, orientation, frames; bytes of files; nothing in silence."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import sae_nb as sn

PLACE = "resid_post.2"


@cache
def vit() -> Any:
    return sn.load_model("tiny-vit")


def rows(inputs: Any) -> torch.Tensor:
    return sn.capture(vit(), inputs, PLACE, progress=False).x


def photo() -> Image.Image:
    colours = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return Image.fromarray(colours)


def test_a_file_is_turned_upright_and_an_image_warned_of(tmp_path: Path) -> None:
    """By its EXIF orientation, as panels show it; an image in memory is read as its pixels lie."""
    turned, exif = photo().transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "a.png", exif=exif)
    assert torch.allclose(rows([tmp_path / "a.png"]), rows([photo()]), atol=1e-5)
    with (
        Image.open(tmp_path / "a.png") as opened,
        pytest.warns(UserWarning, match="exif_transpose"),
    ):
        rows([opened])


def test_transparent_parts_and_frames_are_warned_of(tmp_path: Path) -> None:
    """Colours under transparent parts are read; of several frames the first is."""
    see_through = photo().convert("RGBA")
    see_through.putalpha(0)
    with pytest.warns(UserWarning, match="transparent parts"):
        assert torch.allclose(rows([see_through]), rows([photo()]), atol=1e-5)
    photo().save(tmp_path / "a.gif", save_all=True, append_images=[photo().rotate(90)])
    with pytest.warns(UserWarning, match="several frames"):
        rows([tmp_path / "a.gif"])


def test_bytes_of_a_file_are_its_image() -> None:
    """Alone, opened, and as Hugging Face's data sets keep them undecoded."""
    file = io.BytesIO()
    photo().save(file, format="PNG")
    expected = rows([photo()])
    for given in (file.getvalue(), io.BytesIO(file.getvalue())):
        assert torch.allclose(rows(given), expected, atol=1e-5)
    row = {"bytes": file.getvalue(), "path": None}
    assert torch.allclose(rows(row), expected, atol=1e-5)
