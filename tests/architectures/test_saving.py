"""Folders of SAEs: complete or not there, and refused by name when damaged or foreign."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

import sae_nb as sn
from sae_nb.architectures import KIND, SparseAutoencoder, TopK, write_sae
from sae_nb.classical import Classical
from sae_nb.files import write_manifest
from sae_nb.pretrained import load_sae
from sae_nb.sessions import annotations_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved SAE."""
    TopK(d_in=6, n_atoms=10, k=2).save(tmp_path / "sae")
    return tmp_path / "sae"


def test_a_folder_holds_three_plain_files(folder: Path) -> None:
    """safetensors, JSON, and a manifest with sizes and checksums."""
    names = {file.name for file in folder.iterdir()}
    assert names == {"sae.safetensors", "config.json", "manifest.json"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["kind"] == "sae"
    assert manifest["architecture"] == "TopK"
    assert set(manifest["files"]) == {"sae.safetensors", "config.json"}


@pytest.mark.parametrize("name", ["sae.safetensors", "config.json"])
def test_a_file_cut_short_or_altered_is_refused_by_name(folder: Path, name: str) -> None:
    """By its length, and by its checksum."""
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=rf"{name}.* bytes, got {len(whole) - 1}"):
        load_sae(folder)
    (folder / name).write_bytes(bytes([*whole[:-2], whole[-2] ^ 1, whole[-1]]))
    with pytest.raises(ValueError, match=rf"{name}.* checksum"):
        load_sae(folder)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_sae(folder)


def test_weights_of_eight_bits_in_parts_come_back(tmp_path: Path) -> None:
    """To half a level of each row, with unit atoms; they cannot stay in their file."""
    sae = TopK(d_in=60, n_atoms=500, k=4)
    write_sae(sae, tmp_path, matrices_as=torch.int8, part_bytes=20_000)
    write_manifest(tmp_path, KIND)
    assert not (tmp_path / "sae.safetensors").exists()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2 * 60 * 500 * 1.25
    read = load_sae(tmp_path)
    level = sae.dictionary.abs().amax(dim=1, keepdim=True) / 127
    apart = (read.dictionary - sae.dictionary).abs() / level
    assert 0.1 < float(apart.max()) < 0.75  # half a level, and the norm again
    assert torch.allclose(read.dictionary.norm(dim=1), torch.ones(500), atol=1e-6)
    with pytest.raises(ValueError, match="`mmap` must be False"):
        load_sae(tmp_path, mmap=True)


def test_another_version_is_refused(folder: Path) -> None:
    """By its number."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": 99}))
    with pytest.raises(ValueError, match="version 1, got 99"):
        load_sae(folder)


def test_another_kind_or_architecture_is_refused(folder: Path) -> None:
    """With what it should have been."""
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
    """One of another version by its name, and tensors of other sizes with both named."""
    config = json.loads((folder / "config.json").read_text())
    config["settings"][setting] = value
    (folder / "config.json").write_text(json.dumps(config))
    write_manifest(folder, "sae")
    with pytest.raises(ValueError, match=message):
        load_sae(folder)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    """Not as a file, not in a folder, not under our own name."""

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('opened')",))

    file = tmp_path / "ae.pt"
    file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"ae\.pt.*pickle"):
        load_sae(file)
    with pytest.raises(ValueError, match=r"no.*manifest\.json|manifest\.json.*has none"):
        load_sae(tmp_path)
    folder = tmp_path / "sae"
    TopK(d_in=6, n_atoms=10, k=2).save(folder)
    (folder / "sae.safetensors").write_bytes(pickle.dumps(Bomb()))
    write_manifest(folder, "sae")
    with pytest.raises(ValueError, match=r"sae\.safetensors.*pickle"):
        load_sae(folder)


def test_folders_that_are_not_there_are_named(tmp_path: Path) -> None:
    """So are files where a folder is needed."""
    with pytest.raises(FileNotFoundError, match=r"nothing.*sae\.save"):
        load_sae(tmp_path / "nothing")
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(FileNotFoundError, match="must be a folder"):
        load_sae(tmp_path / "file.txt")


def test_saving_replaces_an_sae_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    """An older SAE gives way; other people's files do not."""
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
    """Nothing partial under the final name, nothing left beside it."""
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
    """The base class loads any; a sibling refuses."""

    class Other(TopK):
        """Not what was saved."""

    assert isinstance(SparseAutoencoder.load(folder), TopK)
    with pytest.raises(ValueError, match="must hold a Other, got a TopK"):
        Other.load(folder)
    Classical(6, 10, method="KMeans").save(folder)
    with pytest.raises(ValueError, match="got 'Classical'. Use load_sae, which reads every kind"):
        TopK.load(folder)


def test_half_precision_weights_stay_as_they_are(tmp_path: Path) -> None:
    """The dtype is the file's."""
    sae = TopK(d_in=6, n_atoms=10, k=2).double()
    sae.save(tmp_path / "sae")
    assert load_sae(tmp_path / "sae").dtype == torch.float64


def test_what_people_wrote_stays_when_an_sae_is_saved_again(folder: Path) -> None:
    """Labels lie beside the SAE, are found without being named, and outlive another save."""
    sae = load_sae(folder)
    assert sae.folder == folder
    annotations_of(None, sae).write(3, "digit 7", "seen twice")
    sae.save(folder)
    again = annotations_of(None, load_sae(folder))
    assert (again.label(3), again.note(3)) == ("digit 7", "seen twice")


def test_a_pretrained_sae_keeps_nothing_in_the_package() -> None:
    """Its folder is not for writing."""
    assert load_sae("tiny-vit/resid_post.6").folder is None


@pytest.mark.parametrize("name", ["sae.safetensors", "sae.pt", "sae.json"])
def test_a_files_name_is_refused(tmp_path: Path, name: str) -> None:
    """An SAE is a folder; the message says which name to use, and nothing is written."""
    sae = TopK(d_in=4, n_atoms=8, k=2)
    with pytest.raises(ValueError, match=r"saved as a folder.*Use sae\.save\('sae'\)"):
        sae.save(tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_the_file_inside_a_folder_leads_to_the_folder(tmp_path: Path) -> None:
    """Who passes the weights is told the folder they lie in."""
    TopK(d_in=4, n_atoms=8, k=2).save(tmp_path / "sae")
    with pytest.raises(FileNotFoundError, match=rf"Pass its folder, '{tmp_path}/sae'"):
        sn.load_sae(tmp_path / "sae" / "sae.safetensors")


def test_what_was_measured_is_kept_and_shown(tmp_path: Path) -> None:
    """Before training nothing is said; then R², L0 and dead atoms, also after loading."""
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    sae = TopK(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    assert repr(sae) == "TopK(d_in=4, n_atoms=8, k=2)"
    result = sn.train(
        sae, sn.Activations.from_tensor(x, hook_point="resid_post.6"), steps=30, progress=False
    )
    last = result.history[-1]
    said = f"TopK(d_in=4, n_atoms=8, k=2) · resid_post.6 · R² {last.r2:.3f}, L0 2.0, 0 dead"
    assert repr(sae) == said.replace(" 0.", " .")
    sae.save(tmp_path / "sae")
    assert repr(sn.load_sae(tmp_path / "sae")) == repr(sae)
    card = sn.load_sae(tmp_path / "sae")._repr_html_()
    assert "TopK: 4 → 8 atoms" in card
    assert "resid_post.6" in card
    assert str(tmp_path / "sae") in card


def test_a_pretrained_sae_says_what_it_reaches() -> None:
    """Where it reads, and what was measured on held-out samples."""
    line = repr(sn.load_sae("tiny-vit/resid_post.6"))
    assert line.startswith("TopK(d_in=64, n_atoms=512, k=16) · resid_post.6 of tiny-vit · R² .9")


def test_names_in_a_card_are_text() -> None:
    """What people type is escaped."""
    sae = TopK(d_in=4, n_atoms=8, k=2)
    sae.hook_point = "<script>"
    assert "<script>" not in sae._repr_html_()
    assert "&lt;script&gt;" in sae._repr_html_()


def test_printing_draws_nothing() -> None:
    """The global generator stands where it stood."""
    sae = TopK(d_in=4, n_atoms=8, k=2)
    before = torch.get_rng_state()
    repr(sae), sae._repr_html_()
    assert torch.equal(torch.get_rng_state(), before)
