"""Does a group of neurons steer better than an SAE's atom? SemiNMF and TopK of one size at an MLP's neurons.

Atoms are chosen by what they read on training inputs, then steer other inputs at equal KL; they are compared
with random directions and the difference of means. Digits in tiny-vit, sentiments in tiny-gpt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.evaluation import SteeringCurves
from sae_nb_studies.reproductions._recorded_order import steering_curves
from sae_nb_studies.reproductions.experiments.steering_science import (
    SENTIMENTS,
    Seen,
    first_token,
    prompts,
    reading_atom,
)

SHORT = {
    "digits": 1,
    "steps": 40,
    "fit_steps": 10,
    "pictures": 30,
    "texts": 30,
    "inputs": 3,
    "controls": 1,
}
VIT_POINT, GPT_POINT = "mlp_post.6", "mlp_post.3"
ATOMS, K, KEPT = 128, 16, 0.1
Concept = tuple[int, Any, int]
"""A label, the inputs to steer towards it, and the answer wanted."""


def run(
    seed: int,
    *,
    digits: int = 4,
    steps: int = 600,
    fit_steps: int = 300,
    pictures: int = 200,
    texts: int = 200,
    inputs: int = 12,
    controls: int = 6,
) -> dict[str, float]:
    """Fit both dictionaries at each model's neurons and steer with their atoms.

    `digits`: how many of the ten; `steps` of the SAE, `fit_steps` of SemiNMF; `pictures`, `texts`: to fit on
    and to choose atoms on; `inputs` to steer; `controls`: random directions.
    """
    sizes = {"steps": steps, "fit_steps": fit_steps, "controls": controls, "seed": seed}
    shown = sn.data.scenes(pictures, seed=1000 + seed, split="train")
    test = sn.data.scenes(20 * inputs, seed=2000 + seed, split="test")
    other = [test.images[torch.as_tensor(test.digit) != d][:inputs] for d in range(10)]
    wanted = np.random.default_rng(seed).permutation(10)[:digits].tolist()
    told = sn.data.stories(texts, seed=3000 + seed)
    gpt, begun = sn.load_model("tiny-gpt"), prompts(inputs, seed)
    of_digits = compared(
        (sn.load_model("tiny-vit"), VIT_POINT, shown, torch.as_tensor(shown.digit)),
        [(d, other[d], d) for d in wanted],
        **sizes,
    )
    of_sentiments = compared(
        (gpt, GPT_POINT, list(told.texts), torch.as_tensor(told.sentiment)),
        [(s, begun, first_token(gpt, word)) for s, word in SENTIMENTS.items()],
        **sizes,
    )
    return {f"digits, {name}": value for name, value in of_digits.items()} | {
        f"sentiments, {name}": value for name, value in of_sentiments.items()
    }


def compared(
    place: tuple[Any, str, Any, Tensor],
    concepts: Sequence[Concept],
    *,
    steps: int,
    fit_steps: int,
    controls: int,
    seed: int,
) -> dict[str, float]:
    """Return means over concepts for both dictionaries, the difference of means and random directions.

    `place`: model, hook point, the inputs shown, and the label of each; `concepts`: what to steer towards.
    """
    model, point, shown, label = place
    acts = sn.capture(model, shown, point, progress=False)
    groups = sn.SemiNMF(acts.d_in, ATOMS, kept=KEPT).fit(acts, n_steps=fit_steps, seed=seed)
    sae = sn.TopK(acts.d_in, ATOMS, K, generator=torch.Generator().manual_seed(seed))
    sn.train(sae, acts, sn.TrainConfig(steps=steps, seed=seed), progress=False)
    seen = Seen(model, point, acts, label, sae, sae)
    curves, auc = [], []
    for concept, inputs, target in concepts:
        (atom, reads), (other, other_reads) = (
            reading_atom(seen, d, concept) for d in (groups, sae)
        )
        rows = (label == concept)[acts.sample]
        curves.append(
            steering_curves(
                model, inputs, point, groups, atom, target,
                contrast=(acts.x[rows], acts.x[~rows]), rival=sae.dictionary[other].detach(),
                n_controls=controls, seed=seed,
            )
        )  # fmt: skip
        auc.append((reads, other_reads))
    r2 = [sn.evaluation.explained_variance(acts.x, d(acts.x).detach()) for d in (groups, sae)]
    return steered(curves) | {
        "AUC of reading": float(np.mean([reads for reads, _ in auc])),
        "AUC of reading, TopK": float(np.mean([reads for _, reads in auc])),
        "R2": r2[0],
        "R2, TopK": r2[1],
    }


def steered(curves: Sequence[SteeringCurves]) -> dict[str, float]:
    """Return mean Δ log-odds at equal KL over budgets and concepts, and how often SemiNMF's is larger."""
    own = np.array([c["success"].value for c in curves])
    others = {
        "TopK": np.array([c["success"].floor or 0.0 for c in curves]),
        "difference of means": np.array(
            [c.arms["difference of means"].area.mean() for c in curves]
        ),
        "random 95 %": np.array([c["success"].control or 0.0 for c in curves]),
    }
    numbers = {"success": float(own.mean())}
    for name, values in others.items():
        numbers[f"success, {name}"] = float(values.mean())
        numbers[f"beyond {name}"] = float((own > values).mean())
    return numbers
