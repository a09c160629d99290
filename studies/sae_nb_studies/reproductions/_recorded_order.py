"""Calls with the arguments that they had when the artefacts were recorded: inputs before the hook point, patterns held.

The code of an experiment is part of what its artefact states, so it stays as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sae_nb import circuits
from sae_nb_studies import evaluation

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


def ablation_effects(
    model: LiveModel, inputs: Any, point: str, sae: SparseAutoencoder, *more: Any, **how: Any
) -> Any:
    """Call `evaluation.ablation_effects`."""
    return evaluation.ablation_effects(model, point, sae, inputs, *more, **how)


def attribution_fidelity(
    model: LiveModel, inputs: Any, point: str, sae: SparseAutoencoder, **how: Any
) -> Any:
    """Call `evaluation.attribution_fidelity`."""
    return evaluation.attribution_fidelity(model, point, sae, inputs, **how)


def edit_success(model: LiveModel, inputs: Any, point: str, s: Any, *more: Any, **how: Any) -> Any:
    """Call `evaluation.edit_success`."""
    return evaluation.edit_success(model, point, s, inputs, *more, **how)


def fragility_battery(
    model: LiveModel, inputs: Any, point: str, sae: SparseAutoencoder, *more: Any, **how: Any
) -> Any:
    """Call `evaluation.fragility_battery`."""
    return evaluation.fragility_battery(model, point, sae, inputs, *more, **how)


def head_contributions(model: LiveModel, inputs: Any, *, method: str) -> Any:
    """Call `circuits.head_contributions`; "contextual" held attention patterns then."""
    return circuits.head_contributions(model, inputs, method=_as_then(method))


def neuron_contributions(model: LiveModel, inputs: Any, *, method: str) -> Any:
    """Call `circuits.neuron_contributions`; "contextual" held attention patterns then."""
    return circuits.neuron_contributions(model, inputs, method=_as_then(method))


def _as_then(method: str) -> Any:
    return "held" if method == "contextual" else method


def necessity(model: LiveModel, inputs: Any, point: str, s: Any, *more: Any, **how: Any) -> Any:
    """Call `evaluation.necessity`."""
    return evaluation.necessity(model, point, s, inputs, *more, **how)


def sparse_control(
    model: LiveModel, inputs: Any, targets: Any, point: str, s: Any, **how: Any
) -> Any:
    """Call `evaluation.sparse_control`."""
    return evaluation.sparse_control(model, point, s, inputs, targets, **how)


def steering_curves(
    model: LiveModel, inputs: Any, point: str, sae: SparseAutoencoder, *more: Any, **how: Any
) -> Any:
    """Call `evaluation.steering_curves`."""
    return evaluation.steering_curves(model, point, sae, inputs, *more, **how)


def sufficiency(model: LiveModel, inputs: Any, point: str, s: Any, *more: Any, **how: Any) -> Any:
    """Call `evaluation.sufficiency`."""
    return evaluation.sufficiency(model, point, s, inputs, *more, **how)
