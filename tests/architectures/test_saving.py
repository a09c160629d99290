"""Folders of SAEs: complete or not there, and refused by name when damaged or foreign."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder, TopK, sae_folder
from sae_nb.classical import Classical
from sae_nb.pretrained import load_sae
from tests.files.by_hand import write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    TopK(d_in=6, n_atoms=10, k=2).save(tmp_path / "sae")
    return tmp_path / "sae"


def test_a_folder_holds_three_plain_files(folder: Path) -> None:
    names = {file.name for file in folder.iterdir()}
    assert names == {"sae.safetensors", "config.json", "manifest.json"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["kind"] == "sae"
    assert manifest["architecture"] == "TopK"
    assert set(manifest["files"]) == {"sae.safetensors", "config.json"}


def test_weights_of_eight_bits_in_parts_come_back(tmp_path: Path) -> None:
    sae = TopK(d_in=60, n_atoms=500, k=4)
    with sae_folder(sae, tmp_path, matrices_as=torch.int8, part_bytes=20_000):
        pass
    assert not (tmp_path / "sae.safetensors").exists()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2 * 60 * 500 * 1.25
    read = load_sae(tmp_path)
    level = sae.dictionary.abs().amax(dim=1, keepdim=True) / 127
    apart = (read.dictionary - sae.dictionary).abs() / level
    assert 0.1 < float(apart.max()) < 0.75  # half a level, and the norm again
    assert torch.allclose(read.dictionary.norm(dim=1), torch.ones(500), atol=1e-6)


def test_weights_in_the_sae_s_own_precision_stay_in_their_file(tmp_path: Path) -> None:
    """The numbers of an SAE that was read are the system's pages of the file; `mmap=` says so."""
    TopK(d_in=64, n_atoms=512, k=4).save(tmp_path / "sae")
    read = load_sae(tmp_path / "sae")
    maps = Path("/proc/self/maps")
    if maps.is_file():
        first = {int(line.split("-")[0], 16): line for line in maps.read_text().splitlines()}
        at = max(begin for begin in first if begin <= read.dictionary.data_ptr())
        assert first[at].endswith("sae.safetensors")
    with pytest.raises(TypeError, match=r"takes no `mmap`.*get_slice"):
        load_sae(tmp_path / "sae", mmap=True)  # type: ignore[call-arg]


def test_another_kind_or_architecture_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architecture": "Future"}))
    write_manifest(folder, "sae")
    with pytest.raises(ValueError, match="must hold one of .*TopK.*, got 'Future'"):
        load_sae(folder)
    write_manifest(folder, "activations")
    with pytest.raises(ValueError, match="kind 'sae', got 'activations'"):
        load_sae(folder)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("temperature", 2, "must hold a TopK of this version.*`temperature`.*Update"),
        ("n_atoms", 11, r"sae\.safetensors.* must hold the tensors of a TopK"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    folder: Path, setting: str, value: int, message: str
) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["settings"][setting] = value
    (folder / "config.json").write_text(json.dumps(config))
    write_manifest(folder, "sae")
    with pytest.raises(ValueError, match=message):
        load_sae(folder)


def test_saving_replaces_an_sae_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    TopK(d_in=6, n_atoms=12, k=2).save(folder)
    assert load_sae(folder).n_atoms == 12
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="other files"):
        TopK(d_in=6, n_atoms=12, k=2).save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    write_manifest(tmp_path / "mine", "activations")
    with pytest.raises(FileExistsError, match="'activations'"):
        TopK(d_in=6, n_atoms=12, k=2).save(tmp_path / "mine")


def test_a_failed_save_leaves_the_old_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sae_nb.architectures import _saving as saving

    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(saving, "write_json", full)
    with pytest.raises(OSError, match="disk full"):
        TopK(d_in=6, n_atoms=12, k=2).save(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [file.name for file in folder.parent.iterdir()] == ["sae"]


def test_a_class_loads_its_own_kind(folder: Path) -> None:
    class Other(TopK):
        """Not what was saved."""

    assert isinstance(SparseAutoencoder.load(folder), TopK)
    with pytest.raises(ValueError, match="must hold a Other, got a TopK"):
        Other.load(folder)
    Classical(6, 10, method="KMeans").save(folder)
    with pytest.raises(ValueError, match="got 'Classical'. Use load_sae, which reads every kind"):
        TopK.load(folder)


def test_half_precision_weights_stay_as_they_are(tmp_path: Path) -> None:
    sae = TopK(d_in=6, n_atoms=10, k=2).double()
    sae.save(tmp_path / "sae")
    assert load_sae(tmp_path / "sae").dtype == torch.float64


def test_a_pretrained_sae_keeps_nothing_in_the_package() -> None:
    assert load_sae("tiny-vit/resid_post.6").folder is None


@pytest.mark.slow
def test_what_was_measured_is_kept_and_shown(tmp_path: Path) -> None:
    """Before training nothing is said; then R², L0 and dead atoms, also after loading."""
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    sae = TopK(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    assert repr(sae) == "TopK(d_in=4, n_atoms=8, k=2)"
    result = sn.train(
        sae, sn.Activations.from_tensor(x, hook_point="resid_post.6"), steps=30, progress=False
    )
    assert f"R² {result.history[-1].r2:.3f}".replace(" 0.", " .") in repr(sae)
    sae.save(tmp_path / "sae")
    assert repr(sn.load_sae(tmp_path / "sae")) == repr(sae)


def test_names_in_a_card_are_text() -> None:
    sae = TopK(d_in=4, n_atoms=8, k=2)
    sae.hook_point = "<script>"
    assert "<script>" not in sae._repr_html_()
    assert "&lt;script&gt;" in sae._repr_html_()
