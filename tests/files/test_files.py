"""Files: whole or absent, and refused by name when damaged."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_nb.files import _atomic, _tensors
from sae_nb.files._atomic import check_archive
from sae_nb.files._fingerprints import weights_digest


def test_a_long_file_is_written_in_parts(tmp_path: Path) -> None:
    """Of the length asked for, and read as one; a part that is missing is noticed."""
    path, tensors = tmp_path / "t.safetensors", {"a": torch.arange(5000.0), "b": torch.ones(3)}
    _tensors.write_tensors(path, tensors, part_bytes=1900)
    parts = sorted(tmp_path.iterdir())
    assert len(parts) == 11
    assert max(part.stat().st_size for part in parts) == 1900
    read = _tensors.read_tensors(path)
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    (tmp_path / "t.safetensors.part7").unlink()
    with pytest.raises(ValueError, match="complete safetensors file"):
        _tensors.read_tensors(path)


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        _atomic.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [("[" * 100_000, "nested too deeply"), ('{"a": ' + "9" * 5000 + "}", "digits")],
)
def test_json_beyond_python_is_named(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"manifest\.json.*{words}"):
        _atomic.read_json(path)


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    _atomic.write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        _atomic.write_json(tmp_path / "a.json", object())
    assert _atomic.read_json(tmp_path / "a.json") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_tensors_come_back_even_when_shared(tmp_path: Path) -> None:
    x = torch.arange(6.0)
    _tensors.write_tensors(tmp_path / "t.safetensors", {"a": x, "b": x[2:4], "c": x.view(2, 3).T})
    back = _tensors.read_tensors(tmp_path / "t.safetensors")
    assert torch.equal(back["a"], x)
    assert torch.equal(back["b"], x[2:4])
    assert torch.equal(back["c"], x.view(2, 3).T)


def test_truncated_tensors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    _tensors.write_tensors(path, {"a": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:-17])
    with pytest.raises(ValueError, match=r"t\.safetensors.*cannot be read"):
        _tensors.read_tensors(path)


def test_a_pickle_is_recognised_and_never_opened(tmp_path: Path) -> None:
    """A pickle under a safetensors name is refused and says what it is."""
    path = tmp_path / "t.safetensors"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="pickle"):
        _tensors.read_tensors(path)
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="pickle"):
        _tensors.read_tensors(path)
    assert not (tmp_path / "ran").exists()


def _folder(path: Path, **facts: object) -> None:
    with _atomic.new_folder(path, replace=True) as folder:
        _tensors.write_tensors(folder / "t.safetensors", {"a": torch.ones(8)})
        _atomic.write_manifest(folder, "test", **facts)


def test_folder_is_verified(tmp_path: Path) -> None:
    """A manifest gives its facts back when all files are as written."""
    _folder(tmp_path / "f", colour="red")
    assert _atomic.read_manifest(tmp_path / "f", "test")["colour"] == "red"


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "altered", "missing"])
def test_damaged_folder_is_named(tmp_path: Path, damage: str) -> None:
    _folder(tmp_path / "f")
    file = tmp_path / "f" / "t.safetensors"
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "altered":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        file.unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=r"t\.safetensors"):
        _atomic.read_manifest(tmp_path / "f", "test")


def test_other_kind_and_version_are_refused(tmp_path: Path) -> None:
    _folder(tmp_path / "f")
    with pytest.raises(ValueError, match="kind 'sae', got 'test'"):
        _atomic.read_manifest(tmp_path / "f", "sae")
    with pytest.raises(ValueError, match="version 2, got 1"):
        _atomic.read_manifest(tmp_path / "f", "test", version=2)


def test_manifest_cannot_point_outside(tmp_path: Path) -> None:
    """A manifest that names a file outside its folder is refused."""
    _folder(tmp_path / "f")
    manifest = _atomic.read_manifest(tmp_path / "f", "test")
    (tmp_path / "secret").write_text("x")
    manifest["files"]["../secret"] = {"bytes": 1, "sha256": _atomic.sha256(tmp_path / "secret")}
    hostile = _atomic.sealed(manifest)
    _atomic.write_json(tmp_path / "f" / "manifest.json", hostile)
    with pytest.raises(ValueError, match="outside"):
        _atomic.read_manifest(tmp_path / "f", "test")


def test_error_in_the_block_leaves_the_old_folder(tmp_path: Path) -> None:
    """A folder is replaced only when the new one is complete."""
    _folder(tmp_path / "f", n=1)
    with pytest.raises(RuntimeError), _atomic.new_folder(tmp_path / "f", replace=True) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert _atomic.read_manifest(tmp_path / "f", "test")["n"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_foreign_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "thesis.tex").write_text("years of work")
    with (
        pytest.raises(FileExistsError, match="not ours"),
        _atomic.new_folder(tmp_path / "f", replace=True),
    ):
        pass
    assert (tmp_path / "f" / "thesis.tex").exists()


def test_kill_between_renames_is_recovered(tmp_path: Path) -> None:
    """A process killed in the middle of a replacement loses nothing."""
    _folder(tmp_path / "f", n=1)
    script = textwrap.dedent(
        """
        import os, sys, pathlib
        from sae_nb.files import _atomic, _exchange as exchange
        exchange._exchange = lambda *_: False  # as on systems that cannot
        target = pathlib.Path(sys.argv[1])
        rename = pathlib.Path.rename
        def killed(self, to):
            if self.name.endswith(".partial"):
                os._exit(9)
            return rename(self, to)
        pathlib.Path.rename = killed
        with _atomic.new_folder(target, replace=True) as folder:
            _atomic.write_manifest(folder, "test", n=2)
        """
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "f")], check=False)
    assert done.returncode == 9
    assert not (tmp_path / "f").exists()
    assert _atomic.read_manifest(tmp_path / "f", "test")["n"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no umask on Windows")
def test_umask_decides_who_may_read(tmp_path: Path) -> None:
    """Files and folders get the same rights as any others the user makes."""
    (tmp_path / "plain").write_text("x")
    (tmp_path / "plain_folder").mkdir()
    _atomic.write_json(tmp_path / "a.json", 1)
    _folder(tmp_path / "f")
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "f").stat().st_mode == (tmp_path / "plain_folder").stat().st_mode


def test_weights_of_any_size_have_a_digest() -> None:
    """49 152 tokens of 576 numbers, as SmolLM2 embeds them: float32 cannot count that far."""
    n = 49_152 * 576
    module = torch.nn.Module()
    module.embedding = torch.nn.Parameter(torch.zeros(1).expand(n), requires_grad=False)
    assert len(weights_digest(module)) == 32


def test_archives_as_libraries_write_them_pass(tmp_path: Path) -> None:
    """Numbers hardly shrink, and small ones always pass; what is not an archive is left to its reader."""
    rows = np.random.default_rng(0).normal(size=(64, 64)).astype("float32")
    np.savez_compressed(tmp_path / "a.npz", rows=rows, bias=np.zeros(4096, "float32"))
    torch.save({"rows": torch.zeros(4096)}, tmp_path / "b.pt")
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 cut short")
    for file in tmp_path.iterdir():
        check_archive(file)
