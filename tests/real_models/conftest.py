"""Models that nobody here trained, from the assets folder."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.scripts import script


def _beside(name: str) -> ModuleType:
    # Test folders are no packages, so a neighbour is imported by its file.
    return script(Path(__file__).with_name(f"{name}.py"))


@pytest.fixture(scope="session")
def photo_vit(assets: Path) -> Any:
    """The 4-block cat-or-horse vision transformer as a live model, made with `wrap`."""
    from sae_nb.models import wrap

    room = _beside("photo_vit")
    return wrap(
        room.photo_vit(assets / "data" / "weights" / "vit4_cat_horse"),
        preprocess=room.normalised,
        prefix_tokens=1,
        patch_grid=room.GRID,
        class_names=room.CLASS_NAMES,
        name="photo-vit",
    )


@pytest.fixture(scope="session")
def cats_and_horses(assets: Path) -> tuple[Tensor, Tensor]:
    """1000 test photographs of cats (0) and horses (1): bytes (n, 3, 32, 32), and labels."""
    stored = np.load(assets / "data" / "cifar10_test_a.npz")
    names = [str(name) for name in stored["classes"]]
    classes = {names.index("cat"): 0, names.index("horse"): 1}
    rows = [i for i, label in enumerate(stored["label"]) if int(label) in classes][:1000]
    blob, offset = stored["blob"], stored["offset"]

    def picture(row: int) -> Tensor:
        data = blob[offset[row] : offset[row + 1]].tobytes()
        return torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB")))

    pictures = torch.stack([picture(row) for row in rows]).permute(0, 3, 1, 2).contiguous()
    return pictures, torch.tensor([classes[int(stored["label"][row])] for row in rows])


@pytest.fixture(scope="session")
def open_real(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Return a function that loads "minilm", of the folder of real models, or "smollm2"."""
    from sae_nb.models import load_model

    def load(name: str) -> Any:
        if name == "smollm2":
            return load_model(request.getfixturevalue(name), device="cpu")
        place = request.getfixturevalue("real_models") / name
        if not place.is_dir():
            pytest.skip(f"needs {name} in the folder of real models")
        return load_model(place, device="cpu")

    return load
