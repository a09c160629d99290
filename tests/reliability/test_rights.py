"""A folder without rights is named, with what to do, by whatever reads it; it is never taken for an empty one."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

import sae_nb as sn
from tests.small_dino import save_dino, save_images

NOBODY = 65534
pytestmark = pytest.mark.skipif(os.name == "nt", reason="rights are other things on Windows")


@pytest.fixture(scope="module")
def folders() -> Iterator[Path]:
    """A model, images, an SAE and activations, in a place that everyone may enter."""
    # Root becomes a stranger below, who must come as far as this, and TMPDIR may be root's alone.
    place = Path(mkdtemp(prefix="rights-", dir="/tmp" if os.geteuid() == 0 else None))
    save_dino(place / "model", n_blocks=2)
    save_images(place / "images", 4)
    sn.TopK(4, 8, 2).save(place / "sae")
    sn.Activations.from_tensor(sn.data.scenes(2, seed=0).images.flatten(1)).save(place / "acts")
    for made in (place, *place.rglob("*")):  # whatever the umask left
        made.chmod(0o755 if made.is_dir() else 0o644)
    yield place
    shutil.rmtree(place)


@contextmanager
def a_stranger(folder: Path, rights: int) -> Iterator[None]:
    """Leave a folder these rights, and be someone whom rights stop."""
    is_root = os.geteuid() == 0
    folder.chmod(rights)
    try:
        if is_root:
            os.seteuid(NOBODY)
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


def captured(folder: Path) -> Any:
    """Activations of a folder of images."""
    return sn.capture(sn.load_model("tiny-vit"), folder, "resid_post.1", progress=False)


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "load_model": ("model", sn.load_model),
    "load_sae": ("sae", sn.load_sae),
    "load_activations": ("acts", sn.load_activations),
    "pictures": ("images", sn.data.pictures),
    "capture": ("images", captured),
}


@pytest.mark.parametrize("rights", [0o000, 0o444], ids=["none", "to list it alone"])
@pytest.mark.parametrize("name", READERS)
def test_a_folder_without_rights_is_named(folders: Path, name: str, rights: int) -> None:
    """Read once before, so that no module is left to import."""
    folder, read = folders / READERS[name][0], READERS[name][1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # images of another size
        try:
            read(folder)
        except ValueError:
            assert name == "capture"
    said = f"/{folder.name}' must be a folder that you may read"
    with a_stranger(folder, rights), pytest.raises(PermissionError, match=said):
        read(folder)


def test_images_that_cannot_be_listed_are_not_taken_for_none(folders: Path) -> None:
    """Other folders are opened without a list of their files."""
    with a_stranger(folders / "images", 0o111), pytest.raises(PermissionError, match="may read"):
        sn.data.pictures(folders / "images")
    with a_stranger(folders / "sae", 0o111):
        assert sn.load_sae(folders / "sae").n_atoms == 8
