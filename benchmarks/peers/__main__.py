"""Other libraries read what we wrote, compute, and write it again: `python benchmarks/peers`.

Each library lives in an environment of its own (they cannot be installed together), made from the index
of your pip. In it runs one script of this folder, which knows nothing of sae_nb: it opens every SAE we
wrote, encodes and decodes fixed inputs, and saves the SAE with the library's own call. Here the figures are
compared with ours, and what the library saved is read again. The table goes to docs/interop.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import sae_nb as sn
from sae_nb import golden
from sae_nb.files import read_tensors, write_tensors
from sae_nb.interop import write_dictionary_learning, write_saelens, write_sparsify

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "interop.md"


@dataclass(frozen=True)
class Peer:
    """A library, what it is asked to read, and how that is written."""

    name: str
    requirement: str
    architectures: tuple[str, ...]
    write: Callable[[Any, Path], object]


def _plain(sae: Any, folder: Path) -> None:
    """For a library without a file format: tensors by our names, for its script to put in place."""
    folder.mkdir(parents=True)
    tensors = {"dictionary": sae.dictionary, "bias": sae.bias, "k": torch.tensor(sae.k)}
    if hasattr(sae, "encoder"):
        tensors |= {
            "encoder": sae.encoder.weight,
            "encoder_bias": sae.encoder.bias / sae.scaling.scale,
        }
    write_tensors(folder / "tensors.safetensors", tensors)


PEERS = (
    Peer(
        "saelens",
        "sae-lens==6.54.12",
        (
            "TopK",
            "BatchTopK",
            "Matryoshka",
            "JumpReLU",
            "ReLU",
            "Gated",
            "AbsTopK",
            "MatchingPursuit",
        ),
        write_saelens,
    ),
    Peer("sparsify", "eai-sparsify==1.3.3", ("TopK",), write_sparsify),
    Peer(
        "dictionary_learning",
        "dictionary-learning==0.1.0",
        ("TopK", "BatchTopK", "Matryoshka", "JumpReLU", "ReLU", "Gated"),
        write_dictionary_learning,
    ),
    Peer("overcomplete", "overcomplete==0.3.0", ("TopK",), _plain),
)


def main() -> None:
    """Run every peer asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", nargs="*", default=[peer.name for peer in PEERS])
    parser.add_argument("--build", type=Path, default=Path("build/peers"))
    wanted = parser.parse_args()
    lines = [
        line for peer in PEERS if peer.name in wanted.peers for line in rows(peer, wanted.build)
    ]
    text = _HEAD + "\n".join(lines) + "\n"
    PAGE.write_text(text, encoding="utf-8")
    print(text)
    if any("**differs**" in line for line in lines):
        sys.exit("A library does not give our codes.")


def rows(peer: Peer, build: Path) -> list[str]:
    """Table rows of one library, one per architecture."""
    python = environment(peer, build / peer.name)
    files = build / f"{peer.name}-files"
    subprocess.run(["rm", "-rf", str(files)], check=True)
    for name in peer.architectures:
        recorded = golden.read(name)
        peer.write(sn.load_sae(recorded.folder), files / name / "ours")
        write_tensors(files / name / "x.safetensors", {"x": recorded.x.reshape(-1, 8)})
    script = HERE / f"in_{peer.name}.py"
    subprocess.run([str(python), str(script), str(files)], check=True)
    return [_row(peer, name, files / name) for name in peer.architectures]


def environment(peer: Peer, folder: Path) -> Path:
    """The Python of an environment that has the library, made at the first run."""
    python = folder / "bin" / "python"
    if not (folder / ".installed").is_file():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"torch=={torch.__version__.split('+')[0]}", "numpy"], check=True)
        subprocess.run([*pip, "safetensors", peer.requirement], check=True)
        (folder / ".installed").touch()
    return python


def _row(peer: Peer, name: str, folder: Path) -> str:
    recorded, found = golden.read(name), read_tensors(folder / "found.safetensors")
    codes = _apart(found["codes"], recorded.codes.to_dense().reshape(found["codes"].shape))
    x_hat = _apart(found["x_hat"], recorded.x_hat.reshape(found["x_hat"].shape))
    again = "no format"
    if (folder / "again").is_dir():
        sae = sn.load_sae(folder / "again")
        again = "same codes" if not recorded.differences(sae) else "**differs**"
    verdict = "same" if max(codes, x_hat) < 1e-5 else "**differs**"
    return (
        f"| {peer.requirement.replace('==', ' ')} | {name} | {verdict} | {codes:.1e} | {x_hat:.1e} | "
        f"{again} |"
    )


def _apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b.float()).abs().max())


_HEAD = """# Other libraries, round trip

Written by `make peers`: SAEs of ours (`sn.golden`) written for a library, opened by that library itself
in an environment of its own, run there on fixed inputs, saved there with its own call and read again
here. Largest differences of codes and reconstructions from ours; "same" is below 1e-5. overcomplete has
no file format: its own module is filled with our tensors. A library without a row was not run.

| library | architecture | its codes | codes apart by | x̂ apart by | saved there, read here |
| --- | --- | --- | --- | --- | --- |
"""

if __name__ == "__main__":
    main()
