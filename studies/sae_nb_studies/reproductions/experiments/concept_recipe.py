"""`MatchingPursuit.for_concepts` on concepts whose cosine within a level is a half, by public calls alone.

The tree of `concept_starts`, on trees that no setting was chosen on. The recipe, from random atoms and with k
growing, is compared with the same training without its rule: an input ends where it takes an atom again.
"""

from __future__ import annotations

import torch

import sae_nb as sn
from sae_nb.architectures import MatchingPursuit
from sae_nb_studies.data.planted._trees import N_CONCEPTS
from sae_nb_studies.reproductions.experiments import concept_starts as starts

SHORT = {"steps": 60, "n": 2000}
RHO = 0.5


def run(seed: int, *, steps: int = 7000, n: int = 30_000) -> dict[str, float]:
    """Train `steps` of 200 rows, of `n` vectors, with the rule and without it."""
    tree = sn.studies.data.concept_tree(n + starts.TEST, RHO, seed)
    *_, cosines = sn.evaluation.match_atoms(tree.dictionary, _pursuit(True, seed).dictionary)
    numbers = {"random least cosine": float(cosines.min())}
    for name, rule in (("recipe", True), ("without", False)):
        sae = _pursuit(rule, seed)
        starts._train(sae, tree.x[:n], steps, 0, seed, grow=True)
        measured = starts._measured(sae, tree).items()
        numbers |= {f"{name} {what}": value for what, value in measured}
    return numbers


def _pursuit(rule: bool, seed: int) -> MatchingPursuit:
    """Make the recipe's SAE, or the same without its rule."""
    generator = torch.Generator().manual_seed(seed)
    sae = sn.MatchingPursuit.for_concepts(N_CONCEPTS, N_CONCEPTS, generator=generator)
    sae.reselect = "stop" if rule else True
    return sae
