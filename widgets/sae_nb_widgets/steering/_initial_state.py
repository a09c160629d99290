"""The opening of a panel that changes atoms: a word that comes, or what changes the answer to its input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sae_nb.corpora import InputSummary, top_atoms
from sae_nb.steering import effects_of_adding, random_direction
from sae_nb_widgets.steering._scale import StrengthScale

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.atoms import AtomNames
    from sae_nb.models import LiveModel

N_TRIED = 16
"""Atoms that matter most for the answer, which are tried."""

N_NAMES = 12
"""Labels that are tried on an image."""

UNNAMED, WRITTEN, DOT = 0.05, 0.75, 0.25
"""Weight of an atom without a name that holds, and of one whose name was written by hand; a measured name has a
quarter for each of its dots, and one. Ours."""


def find_firing(
    model: LiveModel, sae: SparseAutoencoder, given: object, hook_point: str, scale: StrengthScale
) -> InputSummary | None:
    """Find what fires in an input, and tell the scale; None where that cannot be read."""
    try:
        found = top_atoms(model, sae, given, hook_point)
    except (AttributeError, TypeError, ValueError):
        # A dictionary without an encoder or of several places, a model without gradients, an input of one
        # token: the panel works all the same.
        return None
    scale.note_firings(found.used.atom, found.used.strength)
    return found if len(found.used) else None


def opening_atom(found: InputSummary, scale: StrengthScale, names: AtomNames) -> int:
    """Return the atom to open on: the one that changes the answer furthest beyond a usual random direction of
    its length, times the evidence of its name.

    Tried are in a text the names whose words come when their atoms are turned up, or else the atoms that matter
    most for the answer; in an image the best labels, then those that matter.
    """
    run, used = found.run, found.used
    order = np.lexsort((-np.abs(used.attribution), ~used.beyond))[:N_TRIED]
    atoms = [int(used.atom[i]) for i in order]
    if run.batch.images is not None:  # several of these do not fit into one pass
        return atoms[0]
    if run.model.modality.is_image:
        atoms = list(dict.fromkeys([*_best_labels(names), *atoms]))[:N_TRIED]
    else:
        atoms = names.steerable()[:N_TRIED] or atoms
    sizes = [(scale.safe(a, "add") or 1.0) * scale.unit_size(a, "add") for a in atoms]
    lengths = torch.tensor(sizes)[:, None]
    rows = run.sae.dictionary[atoms].detach().float()
    ours = torch.stack([torch.nn.functional.normalize(row, dim=0) for row in rows]).cpu()
    drawn = torch.stack([random_direction(run.sae.d_in, i) for i in range(len(atoms))])
    pushes = torch.cat([lengths * ours, lengths * drawn])
    effects = effects_of_adding(run.model, run.batch, found.hook_point, pushes)
    # Of a small push KL grows with the square of its length: the usual random one, at each atom's length.
    squares = np.square(sizes)
    beyond = effects[: len(atoms)] - squares * np.median(effects[len(atoms) :] / squares)
    weights = np.array([_evidence(names, atom) for atom in atoms])
    return atoms[int(np.argmax(np.where(beyond > 0, weights * beyond, beyond)))]


def _best_labels(names: AtomNames) -> list[int]:
    """Return the atoms whose labels go furthest beyond chance."""

    def rank(atom: int) -> float:
        found = names.labels.evidence(atom)
        return WRITTEN if found is None else float(np.nan_to_num(found.beyond_chance))

    known = [atom for atom in names.labels if names.source(atom)]
    return sorted(known, key=rank, reverse=True)[:N_NAMES]


def _evidence(names: AtomNames, atom: int) -> float:
    """Return how much an atom's name is worth in the choice of the first one shown."""
    if not names.source(atom):
        return UNNAMED
    dots, _ = names.sureness(atom)
    return WRITTEN if dots is None else DOT * (1 + dots)
