"""The opening of a panel that changes atoms: a word that comes, or what changes the answer to its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sae_nb.steering import random_direction, unit_atom
from sae_nb.summaries import InputSummary, effects_of_adding, top_atoms
from sae_nb_widgets.steering._scale import StrengthScale

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.atoms import AtomNames
    from sae_nb.models import LiveModel

N_TRIED = 16
"""Atoms that matter most for the answer, which are tried."""

N_IMAGE_NAMES = 4
"""Names that are tried on an image: each takes two passes of its own."""

UNNAMED, WRITTEN, DOT = 0.05, 0.75, 0.25
"""Weight of an atom without a name that holds, and of one whose name was written by hand; a measured name has a
quarter for each of its dots, and one. Ours."""


def listen(
    model: LiveModel, sae: SparseAutoencoder, given: Any, hook_point: str, scale: StrengthScale
) -> InputSummary | None:
    """Find what fires in an input, and tell the scale; None where that cannot be read."""
    try:
        found = top_atoms(model, sae, given, hook_point)
    except (AttributeError, TypeError, ValueError):
        # A dictionary without an encoder or of several places, a model without gradients, an input of one
        # token: the panel works all the same.
        return None
    scale.hear(found.used.atom, found.used.strength)
    return found if len(found.used) else None


def opening_atom(found: InputSummary, scale: StrengthScale, names: AtomNames) -> int:
    """Return the atom to open on: the one that changes the answer furthest beyond a usual random direction of
    its length, times the evidence of its name.

    Tried are, in a text, the names whose words come when their atoms are turned up, or else the atoms that
    matter most for the answer; in an image the surest names and the atom that matters most.
    """
    run = found.run
    atoms = _candidates(found, names)
    if len(atoms) == 1:
        return atoms[0]
    sizes = [(scale.safe(a, "add") or 1.0) * scale.unit_size(a, "add") for a in atoms]
    lengths = torch.tensor(sizes)[:, None]
    ours = torch.stack([unit_atom(run.sae, atom).cpu() for atom in atoms])
    drawn = torch.stack([random_direction(run.sae.d_in, i) for i in range(len(atoms))])
    pushes = torch.cat([lengths * ours, lengths * drawn])
    # Of images several do not fit into one pass.
    size = len(pushes) if run.batch.images is None else 1
    passes = (pushes[i : i + size] for i in range(0, len(pushes), size))
    effects = np.concatenate(
        [effects_of_adding(run.model, run.batch, found.hook_point, some) for some in passes]
    )
    # Of a small push KL grows with the square of its length: the usual random one, at each atom's length.
    squares = np.square(sizes)
    beyond = effects[: len(atoms)] - squares * np.median(effects[len(atoms) :] / squares)
    weights = np.array([_evidence(names, atom) for atom in atoms])
    return atoms[int(np.argmax(np.where(beyond > 0, weights * beyond, beyond)))]


def _candidates(found: InputSummary, names: AtomNames) -> list[int]:
    """Return the atoms that are tried."""
    used = found.used
    order = np.lexsort((-np.abs(used.attribution), ~used.beyond))[:N_TRIED]
    matter = [int(used.atom[i]) for i in order]
    if found.run.batch.images is None:
        return names.said()[:N_TRIED] or matter
    return list(dict.fromkeys([*names.surest()[:N_IMAGE_NAMES], matter[0]]))


def _evidence(names: AtomNames, atom: int) -> float:
    """Return how much an atom's name is worth in the choice of the first one shown."""
    if not names.source(atom):
        return UNNAMED
    dots, _ = names.sureness(atom)
    return WRITTEN if dots is None else DOT * (1 + dots)
