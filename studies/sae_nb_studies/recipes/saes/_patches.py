"""Train an archetypal SAE on the patches of a folder of images, measure it on others, write its folder.

    python -m sae_nb_studies.recipes.saes patches dinov2-small --images DIR --out DIR

Archetypal atoms are mixtures of points of the data (arXiv 2502.12892); DINOv2 with registers was read with
such a dictionary in arXiv 2510.08638, whose k of 8 per token is the default here. Class token and registers
are left out: they are few, and far from the patches.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

from sae_nb.activations import Activations
from sae_nb.architectures import Archetypal, sae_folder
from sae_nb.capturing import capture
from sae_nb.checks import Count, Seed, checked
from sae_nb.data import PictureFolder, pictures
from sae_nb.evaluation import evaluate
from sae_nb.files import weights_digest, write_bytes
from sae_nb.models import LiveModel, load_model
from sae_nb.training import TrainConfig, train
from sae_nb_studies.recipes.saes._card import CARD, filled, report_table, shown_command
from sae_nb_studies.recipes.saes._shipping import plain

logger = logging.getLogger(__name__)

JUDGED_SHARE = 0.1
"""Of the images, never trained on. Ours."""


@checked
@dataclass(frozen=True, kw_only=True)
class PatchPlan:
    """Size, length and data of a training; defaults are starting values of ours, k that of arXiv 2510.08638."""

    hook_point: str = "resid_post.10"
    n_atoms: Count = 1024
    k: Count = 8
    """Mean number of atoms per patch (BatchTopK)."""

    n_candidates: Count = 2048
    """Centroids that atoms are mixed from."""

    steps: Count = 3000
    """Optimiser steps of 1024 patches."""

    n_images: Count = 2000
    """Images at most, drawn at random from the folder."""

    seed: Seed = 0


def patches_at(model: LiveModel, images: Any, hook_point: str) -> Activations:
    """Return the activations of the patches alone, without class token and registers."""
    acts = capture(model, images, hook_point, progress=False)
    return acts[acts.position >= model.prefix_tokens]


def make_patch_sae(
    model: LiveModel, images: PictureFolder, plan: PatchPlan, folder: Path, *, command: str = ""
) -> Archetypal:
    """Train, judge on images apart, write the folder with its card, and return the SAE."""
    if model.patch_grid is None:
        raise ValueError(
            f"`model` must see images as patches, got {model.name!r}, which does not. Use an image transformer."
        )
    trained_on, judged_on = _drawn(images, plan)
    acts = patches_at(model, trained_on, plan.hook_point)
    logger.info("captured %d patches of %d images", len(acts), len(trained_on))
    sae = Archetypal(
        acts.d_in,
        plan.n_atoms,
        plan.k,
        base="BatchTopK",
        n_candidates=plan.n_candidates,
        generator=torch.Generator().manual_seed(plan.seed),
    )
    history = train(
        sae, acts, TrainConfig(steps=plan.steps, seed=plan.seed), progress=False
    ).history
    judged = evaluate(sae, patches_at(model, judged_on, plan.hook_point))
    report = {row: plain(m) for row, m in judged.items()}
    logger.info("R² %.3f on %d images apart", report["r2"]["value"], len(judged_on))
    sae.measured = {name: report[name]["value"] for name in ("r2", "l0", "dead_fraction")}
    facts = {
        **asdict(plan),
        "model": model.name,
        "weights": weights_digest(model.module),
        "images": (len(trained_on), len(judged_on)),
        "patches": len(acts),
        "seconds": history[-1].seconds,
        "command": command,
    }
    with sae_folder(sae, folder) as partial:
        write_bytes(partial / CARD, patch_card(facts, report).encode())
    return sae


def _drawn(images: PictureFolder, plan: PatchPlan) -> tuple[PictureFolder, PictureFolder]:
    """Return images to train on and images to judge on, at random."""
    if len(images) < 2:
        raise ValueError(
            f"`images` must hold at least two, one of them to judge on, got {len(images)}. Add some to the "
            "folder."
        )
    generator = torch.Generator().manual_seed(plan.seed)
    order = torch.randperm(len(images), generator=generator)[: plan.n_images]
    n_judged = max(1, round(JUDGED_SHARE * len(order)))
    return images[order[n_judged:]], images[order[:n_judged]]


def patch_card(facts: dict[str, Any], report: dict[str, dict[str, float]]) -> str:
    """Return the card in Markdown."""
    about = (
        f"An archetypal SAE of {facts['n_atoms']} atoms, {facts['k']} per patch on average (BatchTopK), on "
        f"the patches of {facts['model']} at {facts['hook_point']}. Every atom is a mixture of "
        f"{facts['n_candidates']} centroids of its training patches, or lies near one. Its atoms have no "
        "names yet."
    )
    n_trained, n_judged = facts["images"]
    lines = [
        f"**Data**: {facts['patches']} patches of {n_trained} images; class token and registers left out.",
        f"**Model**: {facts['model']}, fingerprint of its weights as loaded {facts['weights']}",
        f"**Training**: {facts['steps']} steps, seed {facts['seed']}; {facts['seconds']:.0f} s on CPU threads: "
        f"{torch.get_num_threads()}; torch {torch.__version__}, {date.today().isoformat()}.",
        "**Licence**: of model and images; look at both before you share it.",
    ]
    parts = [
        f"# {facts['model']}/{facts['hook_point']}",
        filled(about),
        "\n".join(
            [*(filled(line, "- ") for line in lines), f"- **Command**: `{facts['command']}`"]
        ),
        "## How well it reconstructs",
        filled(f"On {n_judged} images that it was not trained on; 95 % intervals."),
        report_table(report),
    ]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Read the command line: `patches MODEL --images DIR --out DIR`."""
    defaults = PatchPlan()
    parser = argparse.ArgumentParser(
        prog="python -m sae_nb_studies.recipes.saes patches",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("model", help="name or folder, such as dinov2-small")
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of images, searched to any depth"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    for name, default in asdict(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    given = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    name, folder, out = given.pop("model"), given.pop("images"), given.pop("out")
    model = load_model(name)
    words = ["patches", *(model.name if word == name else word for word in arguments)]
    command = shown_command(words, hidden=("--images", "--out"))
    make_patch_sae(model, pictures(folder), replace(defaults, **given), out, command=command)
