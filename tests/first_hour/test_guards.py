"""What is kept, bounded or named: folders of others, packed files, another model's SAE, devices."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn

# Files


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
def test_a_repository_in_a_site_is_still_one(tmp_path: Path) -> None:
    """Also after `git gc`, which leaves empty folders that git needs."""
    x, site = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), tmp_path / "site"
    sae = sn.TopK(4, 8, k=2, generator=torch.Generator().manual_seed(0))
    sn.site.write_site(site, sae, x)

    def git(*words: str) -> str:
        named = ["git", "-C", str(site), "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
        return subprocess.run(named, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    git("pack-refs", "--all")
    (site / "link").symlink_to("index.html")
    sn.site.write_site(site, sae, x, overwrite=True)
    assert git("log", "--format=%s").strip() == "first"
    assert git("status", "--short").strip() == "?? link"
    assert (site / "link").is_symlink()


def packed_zeros(path: Path, n: int) -> None:
    """Write an archive of one array of zeros, which shrinks a thousandfold."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("W_enc.npy", "w") as file,
    ):
        kind = {"descr": "<f4", "fortran_order": False, "shape": (4, n)}
        np.lib.format.write_array_header_1_0(file, kind)  # type: ignore[arg-type]
        file.write(bytes(16 * n))


@pytest.mark.parametrize("name", ["params.npz", "ae.pt", "train.npz"])
def test_an_archive_that_unpacks_to_far_more_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything of it is unpacked, with its bound; weights as they are written pass."""
    monkeypatch.setattr("sae_nb.files._atomic.UNPACKED_ALWAYS", 1 << 20)
    packed_zeros(tmp_path / name, 1 << 18)

    def unpacked(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(np, "load", unpacked)
    monkeypatch.setattr(torch, "load", unpacked)
    with pytest.raises(ValueError, match=r"must unpack to at most 1 MiB, got 4 MiB"):
        if name == "params.npz":
            sn.interop.read_gemma_scope(tmp_path)
        elif name == "ae.pt":
            sn.interop.read_openai(tmp_path / name)
        else:
            sn.data.cifar10(tmp_path)


# Devices

ABSENT = [
    "cuda",
    "cuda:3",
    "mps",
    "xpu",
    "tpu",
    "gpu",
    0,
    torch.device("cuda"),
    torch.device("mps"),
]


@pytest.fixture(scope="module")
def at_hand() -> dict[str, Any]:
    """One of each thing that is put on a device."""
    rows = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    sae = sn.TopK(8, 16, k=2, generator=torch.Generator().manual_seed(0))
    acts = sn.Activations.from_tensor(rows)
    return {"model": sn.load_model("tiny-gpt"), "sae": sae, "acts": acts, "codes": sae.encode(acts)}


PLACED: dict[str, Any] = {
    "load_model": lambda _, device: sn.load_model("tiny-gpt", device=device),
    "load_model, bits": lambda _, device: sn.load_model("nobody/none", device=device, bits=8),
    "sae.to": lambda here, device: here["sae"].to(device),
    "sae.to, by name": lambda here, device: here["sae"].to(device=device),
    "sae.cuda": lambda here, device: here["sae"].cuda(device),
    "model.to": lambda here, device: here["model"].to(device),
    "acts.to": lambda here, device: here["acts"].to(device),
    "codes.to": lambda here, device: here["codes"].to(device),
    "train": lambda here, device: sn.train(here["sae"], here["acts"], steps=1, device=device),
}  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
@pytest.mark.parametrize("call", PLACED)
def test_a_device_that_is_not_there_is_named(call: str, at_hand: dict[str, Any]) -> None:
    """With what was given and what this machine has, in whatever form torch's users write it."""
    for device in ABSENT:
        given = device if isinstance(device, str) else "cuda:0" if device == 0 else str(device)
        with pytest.raises(ValueError, match=rf"`device` must be .*got '{given}'.*Use .*'cpu'"):
            PLACED[call](at_hand, device)


def test_a_device_may_be_given_as_torch_gives_it(at_hand: dict[str, Any]) -> None:
    """Also to `train`, which keeps its name."""
    assert sn.TrainConfig(device=torch.device("cpu")).device == "cpu"
    assert at_hand["acts"].to(torch.device("cpu")).device.type == "cpu"


# Pictures


def chunk(name: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG."""
    crc = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def picture(path: Path, side: int, *, text: int = 0, last: bool = False) -> Path:
    """Write a grey PNG of one colour, with a packed text before or after its pixels."""
    words = [chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * text))] if text else []
    pixels = chunk(b"IDAT", zlib.compress(bytes((side + 1) * min(side, 64))))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    parts = [header, pixels, *words] if last else [header, *words, pixels]
    path.write_bytes(b"".join([b"\x89PNG\r\n\x1a\n", *parts, chunk(b"IEND", b"")]))
    return path
