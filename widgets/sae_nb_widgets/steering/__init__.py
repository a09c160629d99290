"""SteeringPanel: an atom made stronger in a live model, compared with a random direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb_widgets.steering._input_steering import InputSteering as InputSteering
    from sae_nb_widgets.steering._panel import SteeringPanel as SteeringPanel
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb_widgets.steering._controls import (
        unit_html as unit_html,
    )
    from sae_nb_widgets.steering._initial_state import (
        listen as listen,
        opening_atom as opening_atom,
    )
    from sae_nb_widgets.steering._scale import StrengthScale as StrengthScale
    from sae_nb_widgets.steering._strength import StrengthControl as StrengthControl
    from sae_nb_widgets.steering._words import (
        first_words as first_words,
        headline as headline,
        strength_words as strength_words,
    )
