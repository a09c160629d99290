"""Does a certificate call real what is real, from clean planted data to hopeless ones?

Rows of known atoms in 32 dimensions, three grades: more atoms, more coherence and noise, fewer rows. An atom of an
SAE is truly real if its cosine with a true atom is above 0.9. TopK, ReLU and MatchingPursuit, each with its own
sisters. "Seeds alone" calls an atom real if its mean return over the sisters of other seeds is at least 0.9.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import sae_nb as sn
from sae_nb.geometry import largest_cosines
from sae_nb.statistics import auroc

SHORT = {"steps": 60, "grades": ("clean", "hopeless"), "kinds": ("TopK",)}
D_IN, FOUND, ENOUGH = 32, 0.9, 0.1
GRADES = {  # true atoms, atoms of the SAE, k, coherence, noise, rows
    "clean": (48, 64, 4, 0.0, 0.0, 8000),
    "slight": (48, 64, 4, 0.15, 0.03, 6000),
    "hopeless": (96, 96, 6, 0.5, 0.1, 4000),
}
KINDS = ("TopK", "ReLU", "MatchingPursuit")


def run(
    seed: int,
    *,
    steps: int = 500,
    grades: tuple[str, ...] = tuple(GRADES),
    kinds: tuple[str, ...] = KINDS,
) -> dict[str, float]:
    """Judge an SAE of each kind at each grade by its certificate.

    `steps` of 256 rows, of the SAE and of its sisters; `grades` and `kinds`: names of some of them.
    """
    numbers: dict[str, float] = {}
    every: list[dict[str, Any]] = []
    for grade in grades:
        here = [_certified(grade, kind, seed, steps) for kind in kinds]
        for kind, one in zip(kinds, here, strict=True):
            numbers |= {f"{grade}, {kind}: {what}": one[what] for what in ("true", "said", "alone")}
        numbers |= {
            f"{grade}: error": max(abs(one["said"] - one["true"]) for one in here),
            f"{grade}: error of seeds alone": max(abs(one["alone"] - one["true"]) for one in here),
        }
        every += here
    said, right = (sum(one[name] for one in every) for name in ("n_said", "n_right"))
    alone, right_alone = (sum(one[name] for one in every) for name in ("n_alone", "right_alone"))
    judged = [one for one in every if ENOUGH <= one["true"] < 1]
    return numbers | {
        "precision": right / max(said, 1),
        "precision, lowest of a kind at a grade": min(
            (one["n_right"] / one["n_said"] for one in every if one["n_said"] >= ENOUGH * one["n"]), default=1.0
        ),
        "precision of seeds alone": right_alone / max(alone, 1),
        "share of all atoms that are real": sum(one["n"] * one["true"] for one in every)
        / sum(one["n"] for one in every),
        "auc, lowest": min(one["auc"] for one in judged),
        "auc of the density, mean": float(np.mean([one["auc of density"] for one in judged])),
        "an untrained SAE, real": max(one["untrained"] for one in every),
        "a frozen decoder, real": max(one["frozen"] for one in every),
        "a random twin, real": max(one["twin"] for one in every),
    }  # fmt: skip


def _certified(grade: str, kind: str, seed: int, steps: int) -> dict[str, Any]:
    n_true, n_atoms, k, coherence, noise, rows = GRADES[grade]
    data = sn.data.planted_dictionary(
        n_true, D_IN, rows, k, coherence=coherence, noise=noise, seed=seed
    )
    own: dict[str, Any] = {} if kind == "ReLU" else {"k": k}
    sae = getattr(sn, kind)(D_IN, n_atoms, generator=torch.Generator().manual_seed(seed), **own)
    config = sn.TrainConfig(steps=steps, batch_size=256, seed=seed)
    sn.train(sae, data.x, config, progress=False)
    found = sn.certificate(sae, data.x, config=config, seed=seed, progress=False)
    true = (largest_cosines(sae.dictionary, data.dictionary) > FOUND).numpy()
    said = (found.table["verdict"] == "real").to_numpy()
    alone = (found.table["return"] >= FOUND).to_numpy()
    controls = found.controls.set_index("dictionary")["real"]
    both = true.any() and not true.all()
    return {
        "n": len(true), "true": float(true.mean()), "said": float(said.mean()), "alone": float(alone.mean()),
        "n_said": int(said.sum()), "n_right": int((said & true).sum()),
        "n_alone": int(alone.sum()), "right_alone": int((alone & true).sum()),
        "auc": auroc(found.table["sure"].to_numpy(), true)[0] if both else float("nan"),
        "auc of density": auroc(found.table["density"].to_numpy(), true)[0] if both else float("nan"),
        "untrained": float(controls["an untrained SAE"]), "frozen": float(controls["a frozen decoder"]),
        "twin": float(controls["a random twin"]),
    }  # fmt: skip
