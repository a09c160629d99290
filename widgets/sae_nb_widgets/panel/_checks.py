"""What a SteeringPanel refuses, and in which words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets as t

from sae_nb.steering import check_hook_point, check_width

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


def check_parts(model: Any, sae: Any, hook_point: str) -> None:
    """Refuse what is no live model, no SAE, or no pair of the two."""
    for name in ("hook_points", "interventions", "lock", "batches"):
        if not hasattr(model, name):
            raise TypeError(
                f"`model` must be a live model, got {type(model).__name__}. Make one with "
                "sn.load_model or sn.wrap."
            )
    if not hasattr(sae, "dictionary"):
        raise TypeError(
            f"`sae` must be a sparse autoencoder, got {type(sae).__name__}. Load one with sn.load_sae."
        )
    check_point(model, sae, hook_point)


def check_point(model: LiveModel, sae: SparseAutoencoder, name: str) -> None:
    """Refuse a hook point that does not exist, cannot be edited, or has another width."""
    check_width(model, check_hook_point(model, name), int(sae.d_in), "the SAE")


def or_trait_error(check: Any, *given: Any, **choices: Any) -> Any:
    """Call `check`; what it refuses becomes an error of the trait."""
    try:
        return check(*given, **choices)
    except (ValueError, TypeError, IndexError) as error:
        raise t.TraitError(str(error)) from None
