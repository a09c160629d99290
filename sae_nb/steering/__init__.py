"""Steer a live model with an atom: add, set, scale, ablate, splice; calibrate and measure what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import lazy_exports

if TYPE_CHECKING:
    from sae_nb.steering._calibration import calibrate_strength as calibrate_strength
    from sae_nb.steering._contexts import (
        ablate as ablate,
        random_direction as random_direction,
        splice as splice,
        steer as steer,
    )
    from sae_nb.steering._direction import Direction as Direction, direction as direction
    from sae_nb.steering._dose_response import (
        best_effect as best_effect,
        dose_response as dose_response,
    )
    from sae_nb.steering._nearest import NearestAtoms as NearestAtoms
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
