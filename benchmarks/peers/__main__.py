"""Other libraries read what we wrote, compute, and write it again: `python benchmarks/peers`.

Each library lives in an environment of its own (they cannot be installed together), made from the index
of your pip. In it runs one script of this folder, which knows nothing of sae_nb: it opens every SAE we
wrote, encodes and decodes fixed inputs, and saves the SAE with the library's own call. Here the figures are
compared with ours, and what the library saved is read again. The table goes to docs/interop.md; libraries
that were not asked for keep their rows. lm_eval steers with the files that recipes write, and its logits are
compared with ours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
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


LM_EVAL = "lm_eval[hf]==0.4.13"
"""What steers with the files of recipes."""


def main() -> None:
    """Run every peer asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", nargs="*", default=[*(peer.name for peer in PEERS), "lm_eval"])
    parser.add_argument("--build", type=Path, default=Path("build/peers"))
    wanted = parser.parse_args()
    lines, kept = [], PAGE.read_text(encoding="utf-8").splitlines() if PAGE.is_file() else []
    for peer in PEERS:
        name = peer.requirement.partition("==")[0]
        if peer.name in wanted.peers:
            lines += rows(peer, wanted.build)
        else:
            lines += [line for line in kept if line.startswith(f"| {name} ")]
    steered = [line for line in kept if line.startswith("| lm_eval ")]
    if "lm_eval" in wanted.peers:
        steered = steering_rows(wanted.build)
    text = _HEAD + "\n".join(lines) + "\n" + _TAIL + _STEERING + "\n".join(steered) + "\n"
    PAGE.write_text(text, encoding="utf-8")
    print(text)
    if any("**differs**" in line for line in lines + steered):
        sys.exit("A library does not give our numbers.")


def rows(peer: Peer, build: Path) -> list[str]:
    """Table rows of one library, one per architecture."""
    python = environment((peer.requirement, *peer.beside), build / peer.name)
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


def environment(requirements: Sequence[str], folder: Path) -> Path:
    """The Python of an environment that has a library, made at the first run."""
    python = folder / "bin" / "python"
    asked = " ".join(("safetensors", *requirements))
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


def steering_rows(build: Path) -> list[str]:
    """Table rows of lm_eval, one per recipe: its logits of fixed tokens, and ours."""
    python, folder = environment((LM_EVAL,), build / "lm_eval"), build / "lm_eval-files"
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    ours = write_recipes(folder)
    subprocess.run([str(python), str(HERE / "in_lm_eval.py"), str(folder)], check=True)
    found = read_tensors(folder / "found.safetensors")
    rows = []
    for name, logits in ours.items():
        apart = _apart(found[name], logits)
        verdict = "same" if apart < 1e-4 else "**differs**"
        rows.append(
            f"| {LM_EVAL.replace('==', ' ').replace('[hf]', '')} | {name} | {verdict} | {apart:.1e} |"
        )
    return rows


def write_recipes(folder: Path) -> dict[str, torch.Tensor]:
    """A checkpoint, tokens and a `.pt` per recipe, as they leave; and our logits by the recipe's name."""
    gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    gpt.module.save_pretrained(folder / "checkpoint")
    gpt.tokenizer.save_pretrained(folder / "checkpoint")
    ids = torch.tensor([gpt.tokenizer("The list of names is")["input_ids"]])
    write_tensors(folder / "ids.safetensors", {"ids": ids})
    direction = sn.random_direction(sae.d_in, seed=0)
    recipes = {
        "atom added": sn.steer(gpt, "resid_post.3", sae, atom=17, by=4.0),
        "two atoms added": sn.steer(gpt, "resid_post.3", sae, atom=[17, 3], by=[4.0, -2.0]),
        "before a block": sn.steer(gpt, "resid_pre.2", direction=direction, by=3.0),
        "direction held": sn.steer(gpt, "mlp_out.2", direction=direction, mode="set", by=2.0),
    }
    logits = {}
    for name, steering in recipes.items():
        with steering:
            logits[name] = gpt(ids)
        steering.recipe.to_lm_eval(folder / f"{name}.pt")
    return logits


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

_STEERING = """
## Recipes that leave

Logits of tiny-gpt under lm_eval's `steered` model with the `.pt` that a recipe wrote, from ours; "same" is
below 1e-4. Compared with an lm_eval of its own environment, beside torch and transformers as they are
pinned here.

| library | recipe | its logits | apart by |
| --- | --- | --- | --- |
"""

if __name__ == "__main__":
    main()
