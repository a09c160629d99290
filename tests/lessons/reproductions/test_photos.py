"""What the experiment on photographs is shown: every network of a folder, photographs drawn by seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_nb_studies.reproductions._final_states import photo_networks, show_photos, some_photos
from tests.models.small_models import small_vit


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    folder = tmp_path / "photo_vits"
    for seed, name in enumerate(("b", "a")):
        small_vit(seed, d_model=16, n_blocks=2).save(folder / name)
        (folder / name / "card.json").write_text(json.dumps({"name": name}))
    (folder / "b.checkpoint").mkdir()
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """CIFAR-10's binary version, of noise: training photographs are dark, those of the test bright."""
    draw = np.random.default_rng(0).integers
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        records = draw(0, 100, (12, 3073), dtype=np.uint8) + 150 * (name == "test_batch")
        records[:, 0] = draw(0, 10, 12)
        (tmp_path / f"{name}.bin").write_bytes(records.astype(np.uint8).tobytes())
    return tmp_path


def test_networks_come_by_name_and_a_folder_without_is_refused(networks: Path) -> None:
    assert [model.name for model in photo_networks(str(networks))] == ["a", "b"]
    with pytest.raises(FileNotFoundError, match=r"No vision transformers in .*recipes.photo_vit"):
        photo_networks(str(networks / "a"))


def test_photographs_judged_are_not_trained_on(networks: Path, photos: Path) -> None:
    (model, _) = photo_networks(str(networks))
    seen = show_photos(model, str(photos), 1, pictures=6)
    assert seen.train.x.shape == (6 * 69, 16)
    assert len(seen.pictures) == 3
    assert seen.pictures.pixels.min() > seen.trained_on.pixels.max()
    assert seen.patches(seen.test).shape == (3 * 64, 16)
    with pytest.raises(ValueError, match="needs drawn scenes"):
        _ = seen.blank


def test_a_seed_draws_its_own_photographs(photos: Path) -> None:
    first, again, other = (some_photos(str(photos), "train", 20, s).pixels for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
