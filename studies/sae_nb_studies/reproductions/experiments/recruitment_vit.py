"""The atoms that tiny-vit's three tasks recruit, and where in the pictures they fire.

Final states, 256 atoms, k = 16: a TopK and an Archetypal SAE. The known masks show what is on a border or
elsewhere; "object taken out" is the same scene rendered without its digit.

The paper gives few numbers: the bounds follow its statements, and were set after one short pilot with seed 0.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sae_nb.architectures import SparseAutoencoder
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import explained_variance
from sae_nb_studies.minkowski import (
    border_band,
    elsewhere_scores,
    linear_probe,
    place_strengths,
    recruit,
    share_on,
    subspace_coherence,
)
from sae_nb_studies.reproductions._final_states import GRID, Seen, show_pictures, trained_sae

SHORT = {"pictures": 200, "steps": 150}
TOP = 20
TASKS = ("digit", "texture", "foreground")


def run(seed: int, *, pictures: int = 400, steps: int = 500) -> dict[str, float]:
    """Train both SAEs on one draw of pictures, attribute and score on another.

    `pictures`: to train on; half as many more to judge on.
    """
    seen = show_pictures(seed, pictures=pictures)
    numbers: dict[str, float] = {}
    for name in ("TopK", "Archetypal"):
        sae = trained_sae(seen, name, steps=steps, seed=seed)
        numbers |= {f"{name} {k}": v for k, v in numbers_of_tasks(seen, sae, seed).items()}
        if name == "TopK":
            numbers |= _places(seen, sae)
    return numbers


@torch.no_grad()
def numbers_of_tasks(seen: Seen, sae: SparseAutoencoder, seed: int) -> dict[str, float]:
    """Measure recruitment by the three heads, its exactness, and the coherence of each task's atoms."""
    x = seen.test.x
    codes = sae.encode(x)
    numbers = {"r2": explained_variance(x, sae.decode(codes))}
    alive = codes.frequency.nonzero()[:, 0]
    numbers["alive"] = len(alive) / sae.n_atoms
    coherence, floors, missed = [], [], []
    for task in TASKS:
        rows = _read_by(task, seen)
        part, head = codes.rows(rows), seen.model.get_module(task)
        weight = torch.as_tensor(head.weight).detach()
        found = recruit(part, sae.dictionary, weight)
        missed.append(_inexact(sae, part, found.importance, weight))
        numbers[f"{task} recruited"] = float(found.n_recruited.mean())
        alike = [
            subspace_coherence(sae.dictionary, found.top(y, TOP), among=alive, seed=seed)
            for y in range(len(weight))
        ]
        coherence.append(float(np.mean([one.value for one in alike])))
        floors.append(float(np.mean([one.floor for one in alike])))
        numbers[f"{task} coherence − random"] = coherence[-1] - floors[-1]
    numbers["coherence of tasks"] = float(np.mean(coherence))
    numbers["coherence of random atoms"] = float(np.mean(floors))
    numbers["coherence beyond random"] = float(np.mean(coherence) - np.mean(floors))
    return numbers | {"inexact": max(missed)}


def _read_by(task: str, seen: Seen) -> Tensor:
    """Return the indices of the rows that a head reads."""
    on = seen.patch if task == "foreground" else seen.test.position == 0
    return on.nonzero()[:, 0]


def _inexact(sae: SparseAutoencoder, codes: SparseCodes, importance: Tensor, w: Tensor) -> float:
    """Return the largest |mean logit − Σ_i I_iy − bias| of reconstructions, relative to the logits' size."""
    logits = (sae.decode(codes) @ w.T).mean(dim=0)
    nothing = SparseCodes.from_dense(torch.zeros(1, sae.n_atoms))
    constant = (sae.decode(nothing) @ w.T)[0]
    left = (logits - constant - importance.sum(dim=0)).abs().max()
    return float(left / logits.abs().max())


@torch.no_grad()
def _places(seen: Seen, sae: SparseAutoencoder) -> dict[str, float]:
    """Measure atoms on borders, on registers, and elsewhere than the digit that they are evidence for."""
    codes = sae.encode(seen.test.x)
    patches, n = codes.rows(seen.patch.nonzero()[:, 0]), len(seen.pictures)
    alive = patches.frequency > 0
    border = share_on(patches, border_band(seen.pictures.patch_mask.view(n, *GRID)).flatten())
    weight = torch.as_tensor(seen.model.get_module("foreground").weight).detach()
    top = recruit(patches, sae.dictionary, weight).top(0, TOP)
    place = torch.where(seen.test.position == 0, 0, torch.where(seen.patch, 2, 1))
    shares = place_strengths(codes, place, 3)
    shares = shares / shares.sum(dim=0).clamp_min(1e-30)
    only = shares > 0.95
    numbers = {
        "border, foreground atoms": float(border[top].nanmean()),
        "border, all atoms": float(border[alive].nanmean()),
        "on the digit, foreground atoms": float(
            share_on(patches, seen.pictures.patch_mask.flatten())[top].nanmean()
        ),
        "atoms on registers only": float(only[1].sum()),
        "atoms on cls only": float(only[0].sum()),
    }
    numbers["border beyond all"] = (
        numbers["border, foreground atoms"] - numbers["border, all atoms"]
    )
    return numbers | _elsewhere(seen, sae, patches, alive)


def _elsewhere(
    seen: Seen, sae: SparseAutoencoder, patches: SparseCodes, alive: Tensor
) -> dict[str, float]:
    """Return the share of elsewhere atoms among each digit's ten most important, and among all that fire.

    The head here is a linear probe of the digit on the mean patch, whose attribution to patches is exact.
    """
    weight, bias = linear_probe(_pooled(seen.patches(seen.train)), seen.trained_on.digit)
    test = _pooled(seen.patches(seen.test))
    accuracy = ((test @ weight.T + bias).argmax(dim=1) == seen.pictures.digit).float().mean()
    blank = sae.encode(seen.patches(seen.blank))
    digit = seen.pictures.digit.repeat_interleave(64)
    mask = seen.pictures.patch_mask.flatten()
    among, everywhere = [], []
    for y in range(10):
        rows = (digit == y).nonzero()[:, 0]
        part = patches.rows(rows)
        scores = elsewhere_scores(part, blank.rows(rows), mask[rows])
        top = recruit(part, sae.dictionary, weight).top(y, 10)
        among.append(float(scores.elsewhere[top].float().mean()))
        everywhere.append(float(scores.elsewhere[alive].float().mean()))
    return {
        "probe accuracy": float(accuracy),
        "elsewhere among top 10": float(np.mean(among)),
        "elsewhere among all": float(np.mean(everywhere)),
        "elsewhere beyond all": float(np.mean(among) - np.mean(everywhere)),
    }


def _pooled(patches: Tensor) -> Tensor:
    return patches.view(-1, 64, patches.shape[1]).mean(dim=1)
