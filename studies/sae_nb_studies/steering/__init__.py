"""Steering beyond the panel: its effect against its cost.

The names are found at `sn.steering` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_studies.steering._cost import (
        SteeringCost as SteeringCost,
        steering_cost as steering_cost,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
