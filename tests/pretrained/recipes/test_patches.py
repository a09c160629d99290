"""The recipe of patches: an archetypal SAE of a folder of images, judged on others, with an honest card."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sae_nb as sn
from sae_nb.files import weights_digest
from sae_nb_studies.recipes.saes._patches import main, patches_at
from tests.small_dino import save_dino, save_images

SMALL = [
    *("--hook-point", "resid_post.1", "--n-atoms", "12", "--k", "2", "--n-candidates", "16"),
    *("--steps", "30", "--seed", "1"),
]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return save_images(tmp_path / "images", 12)


@pytest.fixture
def dino(tmp_path: Path) -> Path:
    return save_dino(tmp_path / "small-dino", n_blocks=3)


def test_a_small_run_makes_an_sae_that_opens(dino: Path, images: Path, tmp_path: Path) -> None:
    """Of patches alone; the card has its data, its model's weights and R², and no path of this machine."""
    outs = [tmp_path / "first", tmp_path / "again"]
    for out in outs:
        main([str(dino), "--images", str(images), "--out", str(out), *SMALL])
    assert len({(out / "sae.safetensors").read_bytes() for out in outs}) == 1
    model, sae = sn.load_model(dino), sn.load_sae(outs[0])
    assert (type(sae).__name__, sae.n_atoms, sae.hook_point) == ("Archetypal", 12, "resid_post.1")
    assert sae.model_name == "small-dino"
    card = (outs[0] / "README.md").read_text(encoding="utf-8")
    assert "176 patches of 11 images" in card
    assert weights_digest(model.module) in card
    assert f"{sae.measured['r2']:.4g}" in card
    assert str(tmp_path) not in card
    assert "--images DIR --out DIR --hook-point resid_post.1" in card.replace("\n", " ")


def test_atoms_are_mixtures_of_patches(dino: Path, images: Path, tmp_path: Path) -> None:
    """They beat as many random directions; class token and registers are not among the rows."""
    main([str(dino), "--images", str(images), "--out", str(tmp_path / "sae"), *SMALL])
    model, sae = sn.load_model(dino), sn.load_sae(tmp_path / "sae")
    rows = patches_at(model, sn.data.pictures(images), "resid_post.1")
    assert sorted(set(rows.position.tolist())) == list(range(5, 21))
    report = sn.evaluate(sae, rows)
    assert report["r2"].value > report["r2"].control


def test_other_weights_have_another_digest(dino: Path) -> None:
    model = sn.load_model(dino)
    before = weights_digest(model.module)
    with torch.no_grad():
        next(model.module.parameters()).view(-1)[0].add_(1e-3)
    assert before == weights_digest(sn.load_model(dino).module) != weights_digest(model.module)
