"""Other libraries read what we wrote, compute, and write it again: `python docs/make_interop.py`.

Each library lives in an environment of its own (they cannot be installed together), made from the index
of your pip. In it runs one of the scripts below, which know nothing of sae_nb: it opens every SAE we
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

PAGE = Path(__file__).with_name("interop.md")


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
    command = [str(python), "-c", SCRIPTS[peer.name], str(files), *peer.theirs]
    subprocess.run(command, check=True)
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
    subprocess.run([str(python), "-c", SCRIPTS["lm_eval"], str(folder)], check=True)
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

SCRIPTS = {
    "saelens": """
import sys
from pathlib import Path

import torch
from sae_lens import SAE
from safetensors.torch import load_file, save_file

for folder in sorted(Path(sys.argv[1]).iterdir()):
    x = load_file(folder / "x.safetensors")["x"]
    sae = SAE.load_from_disk(str(folder / "ours"), device="cpu")
    with torch.no_grad():
        codes = sae.encode(x)
        # A linear map beside the atoms is a part of what a whole pass gives, and of no decoder.
        x_hat = sae(x) if hasattr(sae, "W_skip") else sae.decode(codes)
    codes = codes.to_dense() if codes.is_sparse else codes
    save_file(
        {"codes": codes.contiguous(), "x_hat": x_hat.contiguous()}, folder / "found.safetensors"
    )
    sae.save_model(str(folder / "again"))
""",
    "sparsify": """
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sparsify import SparseCoder

for folder in sorted(Path(sys.argv[1]).iterdir()):
    x = load_file(folder / "x.safetensors")["x"]
    sae = SparseCoder.load_from_disk(folder / "ours", device="cpu")
    with torch.no_grad():
        found = sae.encode(x)
        codes = torch.zeros(len(x), sae.num_latents).scatter(
            1, found.top_indices.long(), found.top_acts
        )
        x_hat = sae.decode(found.top_acts, found.top_indices)
        if sae.W_skip is not None:  # as its own whole pass does
            x_hat = x_hat + x @ sae.W_skip.mT
    save_file(
        {"codes": codes.contiguous(), "x_hat": x_hat.contiguous()}, folder / "found.safetensors"
    )
    sae.save_to_disk(folder / "again")
""",
    "dictionary_learning": """
import shutil
import sys
from pathlib import Path

import torch
from dictionary_learning.utils import load_dictionary
from safetensors.torch import load_file, save_file

for folder in sorted(Path(sys.argv[1]).iterdir()):
    x = load_file(folder / "x.safetensors")["x"]
    sae, config = load_dictionary(str(folder / "ours"), device="cpu")
    with torch.no_grad():
        codes = sae.encode(x)
        x_hat = sae.decode(codes)
    save_file(
        {"codes": codes.contiguous(), "x_hat": x_hat.contiguous()}, folder / "found.safetensors"
    )
    (folder / "again").mkdir()
    torch.save(sae.state_dict(), folder / "again" / "ae.pt")
    shutil.copy(folder / "ours" / "config.json", folder / "again" / "config.json")
""",
    "overcomplete": """
import json
import sys
from pathlib import Path

import torch
from overcomplete import sae as classes
from safetensors.torch import load_file, save_file

D_IN, N_ATOMS, N_POINTS = 8, 16, 24


def made(about: dict) -> torch.nn.Module:
    '''An SAE of the class and size that `about` names.'''
    numbers = {name: about[name] for name in ("top_k", "k", "delta") if name in about}
    if "normalization" in about:
        numbers["dictionary_params"] = {"normalization": about["normalization"]}
    if about["class"].startswith("RA"):
        numbers["points"] = torch.randn(N_POINTS, about["input_shape"])
    sae = getattr(classes, about["class"])(
        about["input_shape"], nb_concepts=about["nb_concepts"], **numbers
    )
    sae.running_threshold = about.get("running_threshold")
    return sae


def computed(sae: torch.nn.Module, x: torch.Tensor, center: torch.Tensor, to: Path) -> None:
    '''Its codes and reconstructions, beside its own state dict.'''
    with torch.no_grad():
        _, codes = sae.encode(x - center)
        x_hat = sae.decode(codes) + center
    save_file({"codes": codes.contiguous(), "x_hat": x_hat.contiguous()}, to / "found.safetensors")
    (to / "again").mkdir()
    torch.save(sae.state_dict(), to / "again" / "state_dict.pt")


files, own = Path(sys.argv[1]), sys.argv[2:]
for folder in sorted(files.iterdir()):
    x = load_file(folder / "x.safetensors")["x"]
    about = json.loads((folder / "ours" / "about.json").read_text())
    sae = made(about)
    sae.load_state_dict(torch.load(folder / "ours" / "state_dict.pt", weights_only=True))
    sae.eval()
    computed(sae, x, torch.tensor(about.get("center", 0.0)), folder)
    (folder / "again" / "about.json").write_text(json.dumps(about))

torch.manual_seed(0)
for name in own:
    about = {"class": name, "input_shape": D_IN, "nb_concepts": N_ATOMS}
    about |= {"k": 3} if name in ("MpSAE", "OMPSAE") else {}
    about |= {"top_k": 3} if name == "RATopKSAE" else {}
    about |= {"delta": 0.5} if name.startswith("RA") else {}
    sae = made(about)
    with torch.no_grad():
        for parameter in sae.parameters():  # away from where they start, so that none can be missed
            parameter.add_(0.3 * torch.randn_like(parameter))
    sae.get_dictionary()  # once in training mode: mixtures to the simplex, relaxations into their ball
    sae.eval()
    folder = files / name
    folder.mkdir()
    x = torch.randn(32, D_IN)
    save_file({"x": x}, folder / "x.safetensors")
    computed(sae, x, torch.tensor(0.0), folder)
    (folder / "again" / "about.json").write_text(json.dumps(about))
""",
    "lm_eval": """
import sys
from pathlib import Path

from lm_eval.models.hf_steered import SteeredModel
from safetensors.torch import load_file, save_file

folder = Path(sys.argv[1])
ids, found = load_file(folder / "ids.safetensors")["ids"], {}
for file in sorted(folder.glob("*.pt")):
    model = SteeredModel(
        pretrained=str(folder / "checkpoint"), steer_path=str(file), device="cpu", dtype="float32"
    )
    found[file.stem] = model._model_call(ids).contiguous()
save_file(found, folder / "found.safetensors")
""",
}
"""What runs where a library is installed: opens each SAE, computes, saves it again."""

if __name__ == "__main__":
    main()
