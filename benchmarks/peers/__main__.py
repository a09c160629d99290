"""Other libraries read what we wrote, compute, and write it again: `python benchmarks/peers`.

Each library lives in an environment of its own (they cannot be installed together), made from the index
of your pip. In it runs one script of this folder, which knows nothing of sae_nb: it opens every SAE we
wrote, encodes and decodes fixed inputs, and saves the SAE with the library's own call. Here the figures are
compared with ours, and what the library saved is read again. The table goes to docs/interop.md; libraries
that were not asked for keep their rows.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import sae_nb as sn
from sae_nb.files import read_tensors, write_tensors
from sae_nb.interop import (
    write_dictionary_learning,
    write_overcomplete,
    write_saelens,
    write_sparsify,
)
from tests.golden import golden
from tests.golden.making import write_golden

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "interop.md"


@dataclass(frozen=True)
class Peer:
    """A library, what it is asked to read, and how that is written."""

    name: str
    requirement: str
    architectures: tuple[str, ...]
    write: Callable[[Any, Path], object]
    transcoders: Mapping[str, Any] | None = None
    """Settings under which it has our Transcoder and SkipTranscoder; None: it has none."""

    theirs: tuple[str, ...] = ()
    """Classes of its own that we only read: its script makes one each, with drawn weights."""

    beside: tuple[str, ...] = ()
    """Further requirements, where the library's own leave too much open to be imported."""


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
        transcoders={"base": "BatchTopK"},
    ),
    Peer(
        "sparsify",
        "eai-sparsify==1.3.3",
        ("TopK",),
        write_sparsify,
        transcoders={"base": "TopK", "d_out": 8},
    ),
    Peer(
        "dictionary_learning",
        "dictionary-learning==0.1.0",
        ("TopK", "BatchTopK", "Matryoshka", "JumpReLU", "ReLU", "Gated"),
        write_dictionary_learning,
    ),
    Peer(
        "overcomplete",
        "overcomplete==0.3.0",
        (
            "TopK",
            "Archetypal",
            "BatchTopK",
            "Matryoshka",
            "JumpReLU",
            "ReLU",
            "MatchingPursuit",
        ),
        write_overcomplete,
        theirs=("MpSAE", "OMPSAE", "RATopKSAE", "RAJumpSAE"),
        # It asks for any version and imports matplotlib.cm.get_cmap, which 3.11 no longer has.
        beside=("matplotlib<3.11",),
    ),
)


def main() -> None:
    """Run every peer asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", nargs="*", default=[peer.name for peer in PEERS])
    parser.add_argument("--build", type=Path, default=Path("build/peers"))
    wanted = parser.parse_args()
    lines, kept = [], PAGE.read_text(encoding="utf-8").splitlines() if PAGE.is_file() else []
    for peer in PEERS:
        name = peer.requirement.partition("==")[0]
        if peer.name in wanted.peers:
            lines += rows(peer, wanted.build)
        else:
            lines += [line for line in kept if line.startswith(f"| {name} ")]
    text = _HEAD + "\n".join(lines) + "\n" + _TAIL
    PAGE.write_text(text, encoding="utf-8")
    print(text)
    if any("**differs**" in line for line in lines):
        sys.exit("A library does not give our codes.")


def rows(peer: Peer, build: Path) -> list[str]:
    """Table rows of one library, one per architecture."""
    python = environment(peer, build / peer.name)
    files = build / f"{peer.name}-files"
    subprocess.run(["rm", "-rf", str(files)], check=True)
    asked = {name: golden.read(name) for name in peer.architectures}
    if peer.transcoders is not None:
        for name in ("Transcoder", "SkipTranscoder"):
            folder = build / f"{peer.name}-drawn" / name
            write_golden(name, folder, **peer.transcoders)
            asked[name] = golden.at(folder)
    for name, recorded in asked.items():
        peer.write(sn.load_sae(recorded.folder), files / name / "ours")
        write_tensors(files / name / "x.safetensors", {"x": recorded.x.reshape(-1, 8)})
    script = HERE / f"in_{peer.name}.py"
    subprocess.run([str(python), str(script), str(files), *peer.theirs], check=True)
    made = [_row(peer, recorded, files / name) for name, recorded in asked.items()]
    return made + [_row_of_theirs(peer, name, files / name) for name in peer.theirs]


def environment(peer: Peer, folder: Path) -> Path:
    """The Python of an environment that has the library, made at the first run."""
    python = folder / "bin" / "python"
    asked = " ".join(("safetensors", peer.requirement, *peer.beside))
    marker = folder / ".installed"
    if not marker.is_file() or marker.read_text() != asked:
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"torch=={torch.__version__.split('+')[0]}", "numpy"], check=True)
        subprocess.run([*pip, *asked.split()], check=True)
        marker.write_text(asked)
    return python


def _row(peer: Peer, recorded: golden.Golden, folder: Path) -> str:
    found = read_tensors(folder / "found.safetensors")
    codes = _apart(found["codes"], recorded.codes.to_dense().reshape(found["codes"].shape))
    x_hat = _apart(found["x_hat"], recorded.x_hat.reshape(found["x_hat"].shape))
    sae = sn.load_sae(folder / "again")
    again = "same codes" if not recorded.differences(sae) else "**differs**"
    verdict = "same" if max(codes, x_hat) < 1e-5 else "**differs**"
    return (
        f"| {peer.requirement.replace('==', ' ')} | {recorded.name} | {verdict} | {codes:.1e} | "
        f"{x_hat:.1e} | {again} |"
    )


def _row_of_theirs(peer: Peer, name: str, folder: Path) -> str:
    """The other way round: the library's own SAE and codes, and what we make of its file."""
    found, x = (
        read_tensors(folder / "found.safetensors"),
        read_tensors(folder / "x.safetensors")["x"],
    )
    sae = sn.load_sae(folder / "again")
    with torch.no_grad():
        codes = _apart(found["codes"], sae.encode(x).to_dense())
        x_hat = _apart(found["x_hat"], sae(x))
    verdict = "same" if max(codes, x_hat) < 1e-5 else "**differs**"
    library = peer.requirement.replace("==", " ")
    return f"| {library} | its own {name}, read here | {verdict} | {codes:.1e} | {x_hat:.1e} | its own file |"


def _apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b.float()).abs().max())


_HEAD = """# Other libraries, round trip

Written by `make peers`: SAEs of ours (`sn.golden`) written for a library, opened by that library itself
in an environment of its own, run there on fixed inputs, saved there with its own call and read again
here. Largest differences of codes and reconstructions from ours; "same" is below 1e-5. Transcoders have
thresholds for sae-lens, and for sparsify the width that they read. overcomplete has no file format: its classes
load our `state_dict.pt`, and inputs and reconstructions are moved by the centre that `about.json` names. Rows
"read here" go the other way: an SAE the library made, its codes, and ours from its file.
A library without a row was not run.

| library | architecture | its codes | codes apart by | x̂ apart by | saved there, read here |
| --- | --- | --- | --- | --- | --- |
"""

_TAIL = """
overcomplete's QSAE has dense codes (soft quantisation) and is not read. Files that these libraries wrote come
back to the bit, tensors and configuration, when they are read and written again
(`tests/interop/test_written_back.py`, 28 files of the four).
"""

if __name__ == "__main__":
    main()
