"""SteeringPanel: an atom made stronger in a live model, compared with a random direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.steering._input_steering import InputSteering as InputSteering
    from sae_nb_widgets.steering._panel import SteeringPanel as SteeringPanel
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
