"""Are labels by rules worth anything? Compared with other atoms' labels, an untrained SAE and sister SAEs.

A seed draws stories and images, trains two SAEs on activations of tiny-gpt and two of tiny-vit, and
labels the first of each pair with `sn.label` on samples that it was not trained on; the second is the
sister in which atoms are looked for. Rules about images may use digit, texture and place, which are
known. Atoms of an SAE before training are labelled the same way: only what exceeds their score is
evidence for the trained SAE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import sae_nb as sn

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

SHORT = {"n_samples": 150, "steps": 60, "n_atoms": 60, "width": 256}
PLACES = {"tiny-gpt": "resid_post.3", "tiny-vit": "resid_post.6"}
ACTIVE, N_WINDOWS = 16, 60
SISTER = 1000
"""Added to a seed to get the sister's."""


def run(
    seed: int, *, n_samples: int = 700, steps: int = 800, n_atoms: int = 150, width: int = 512
) -> dict[str, float]:
    """Label `n_atoms` atoms of a trained and an untrained SAE of each model, and find them in a sister."""
    found: dict[str, float] = {}
    for name, place in PLACES.items():
        model = sn.load_model(name)
        rows, attributes = rows_of(model, place, n_samples, 2 * seed, held=False)
        held, attributes = rows_of(model, place, n_samples // 3, 2 * seed + 1, held=True)
        trained, other = (trained_on(rows, width, steps, seed + add) for add in (0, SISTER))
        pairs = {
            "": (trained, other),
            ", untrained": (fresh(rows.d_in, width, seed), fresh(rows.d_in, width, seed + SISTER)),
        }
        for ending, (sae, sister) in pairs.items():
            numbers = measured(sae, sister, held, attributes, n_atoms, seed)
            found |= {f"{name}{ending}, {what}": value for what, value in numbers.items()}
        for what in ("detection", "returns"):
            found[f"{name}, {what} beyond untrained"] = (
                found[f"{name}, {what}"] - found[f"{name}, untrained, {what}"]
            )
    return found


def rows_of(
    model: LiveModel, place: str, n: int, seed: int, *, held: bool
) -> tuple[sn.Activations, dict[str, Any]]:
    """Capture activations of fresh samples, and return them with the known attributes of each sample."""
    if model.kind == "language":
        texts = list(sn.data.stories(n, seed=seed).texts)
        return sn.capture(model, texts, place, batch_size=32, progress=False), {}
    images = sn.data.scenes(n, seed=seed, split="test" if held else "train")
    named = {
        "digit": (images.digit, [str(i) for i in range(10)]),
        "texture": (images.texture, images.texture_names),
        "position": (images.position, images.position_names),
    }
    attributes = {
        f"{kind} {name}": np.asarray(column == value)
        for kind, (column, names) in named.items()
        for value, name in enumerate(names)
    }
    return sn.capture(model, images.images, place, progress=False), attributes


def fresh(d_in: int, width: int, seed: int) -> sn.TopK:
    """Build an untrained SAE."""
    return sn.TopK(d_in, width, ACTIVE, generator=torch.Generator().manual_seed(seed)).eval()


def trained_on(rows: sn.Activations, width: int, steps: int, seed: int) -> sn.TopK:
    """Train such an SAE."""
    sae = fresh(rows.d_in, width, seed)
    sn.train(sae, rows, steps=steps, seed=seed, progress=False)
    return sae.eval()


def measured(
    sae: sn.TopK,
    sister: sn.TopK,
    held: sn.Activations,
    attributes: dict[str, Any],
    n_atoms: int,
    seed: int,
) -> dict[str, float]:
    """Label the first atoms of an SAE with `sn.label`, and return the means of the evidence."""
    labels = sn.label(
        sae,
        held,
        attributes=attributes,
        sisters=[sister],
        atoms=range(n_atoms),
        n_examples=N_WINDOWS,
        seed=seed,
        progress=False,
    )
    table = labels.table
    judged = [labels.evidence(atom) for atom in table.index[table.detection.notna()]]
    return {
        "detection": float(table.detection.mean()),
        "control": float(table.control.mean()),
        "beyond control": float((table.detection - table.control).mean()),
        "share that holds": float(np.mean([one.standing == "holds" for one in judged if one])),
        "labelled": float((table.label != "").mean()),
        "returns": float((table.returns / table.sisters).mean()),
        "returns, random": labels.floor,
    }
