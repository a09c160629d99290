"""Known factors in trainings from several seeds: how surely an atom for each is found, and by chance."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from sae_nb.activations import Activations
from sae_nb.architectures import SparseAutoencoder, TopK
from sae_nb.evaluation import Factor, FactorEvidence, match_factors
from sae_nb.pretrained import capture_for
from sae_nb.pretrained.inputs import JUDGE, MATCH
from sae_nb_studies.recipes.saes._evidence import sister, training_rows
from sae_nb_studies.recipes.saes._material import material

if TYPE_CHECKING:
    from sae_nb_studies.recipes.saes._recipe import Plan

CONTROL_SEED = 10_000
"""Added to the seeds of dictionaries that are not trained."""

logger = logging.getLogger(__name__)

Captured = tuple[Activations, Sequence[Factor]]


def repeated(name: str, plan: Plan, shipped: SparseAutoencoder) -> dict[str, Any]:
    """Return F1 of every factor's best atom for each training, and for as many untrained dictionaries."""
    model, acts = training_rows(name, plan)
    sources = [material(model, purpose, plan.sizes, plan.seed) for purpose in (MATCH, JUDGE)]
    read = [capture_for(shipped, model, source.inputs) for source in sources]
    chosen, judged = ((rows, source.factors(rows)) for rows, source in zip(read, sources))
    scores, controls = [], []
    for seed in range(plan.seed, plan.seed + plan.repeats):
        sae = shipped if seed == plan.seed else sister(acts, plan, seed)
        scores.append(_scores(sae, chosen, judged))
        generator = torch.Generator().manual_seed(CONTROL_SEED + seed)
        untrained = TopK(acts.d_in, plan.n_atoms, plan.k, generator=generator)
        controls.append(_scores(untrained.eval(), chosen, judged))
        logger.info("training of seed %d is matched", seed)
    factors = {
        match.factor: {
            "f1": [round(found[match.factor].f1, 4) for found in scores],
            "found": [found[match.factor].found for found in scores],
            "random": [round(found[match.factor].f1, 4) for found in controls],
            "floor": round(match.floor, 4),
        }
        for match in scores[0].values()
    }
    return {"seeds": list(range(plan.seed, plan.seed + plan.repeats)), "factors": factors}


@torch.no_grad()
def _scores(sae: SparseAutoencoder, chosen: Captured, judged: Captured) -> dict[str, Any]:
    first, second = (
        FactorEvidence(codes=sae.encode(acts.x), sample=acts.sample.numpy(), factors=factors)
        for acts, factors in (chosen, judged)
    )
    return {match.factor: match for match in match_factors(first, second).by_factor}
