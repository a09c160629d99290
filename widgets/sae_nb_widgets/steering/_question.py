"""The rules of what a SteeringPanel may be asked: each returns a trait's value, or refuses it.

Of traits that are set together a rule sees the final values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sae_nb.checks import check_atom
from sae_nb.steering._edits import Positions
from sae_nb.summaries.input._answers import answering
from sae_nb_widgets.panel._samples import (
    check_point,
    target_of,
)

if TYPE_CHECKING:
    from sae_nb_widgets.steering._panel import SteeringPanel

MOST = 10_000.0
"""Largest strength either way, in any unit: far beyond what leaves anything of the model."""

ASKED: tuple[str, ...] = ("atom", "strength", "mode", "positions", "hook_point")
ASKED += ("sample", "seed", "head", "text", "others", "target_kl", "target")
"""Traits that make up what is asked: changing one runs the model."""


def hook_point_of(panel: SteeringPanel, value: str) -> str:
    """Return a hook point that atoms of this width can be added at."""
    check_point(panel.model, panel.sae, value)
    return value


def positions_in(panel: SteeringPanel, value: Any) -> Any:
    """Return positions that an input can have; None for all."""
    chosen = None if isinstance(value, str) and value == "all" else value
    chosen = tuple(chosen) if isinstance(chosen, list) else chosen
    Positions(chosen, prefix_tokens=panel.model.prefix_tokens)
    return chosen


def others_with(panel: SteeringPanel, value: Any) -> tuple[tuple[int, float], ...]:
    """Return atoms that are changed too, each once and with a finite strength."""
    try:
        pairs = tuple((int(atom), float(strength)) for atom, strength in value)
    except (TypeError, ValueError):
        raise ValueError(
            f"`others` must be pairs of an atom and its strength, got {value!r}."
        ) from None
    for atom, strength in pairs:
        check_atom(atom, panel.n_atoms)
        if not np.isfinite(strength):
            raise ValueError(f"`others` must have finite strengths, got {strength}.")
    if len({atom for atom, _ in pairs}) < len(pairs):
        raise ValueError(f"`others` must name each atom once, got {pairs}.")
    return pairs


def divergence(_: Any, value: float | None) -> float | None:
    """Return a divergence that a strength can be found for; None for none."""
    if value is not None and not 0 < value < np.inf:
        raise ValueError(f"`target_kl` must be positive and finite, in nats, got {value}.")
    return value


def head_of(panel: SteeringPanel, value: str) -> str:
    """Return a head that the model has."""
    answering(panel.model, value)
    return value


def target_in(panel: SteeringPanel, value: str) -> str:
    """Return a class or token that the head in force answers with."""
    target_of(answering(panel.model, panel.head), value)
    return value
