"""Steer a live model with an atom: add, set, scale, ablate, splice; calibrate and measure what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.steering._answers import (
        Answers as Answers,
        Cost as Cost,
        kl as kl,
        log_odds as log_odds,
    )
    from sae_nb.steering._calibration import (
        CalibratedStrength as CalibratedStrength,
        StrengthSearch as StrengthSearch,
        calibrate_strength as calibrate_strength,
    )
    from sae_nb.steering._contexts import (
        Active as Active,
        ablate as ablate,
        random_direction as random_direction,
        splice as splice,
        steer as steer,
    )
    from sae_nb.steering._curve_reading import (
        CurveReading as CurveReading,
        read_hidden as read_hidden,
    )
    from sae_nb.steering._curve_walk import CurveWalk as CurveWalk, walk_along as walk_along
    from sae_nb.steering._direction import Direction as Direction, direction as direction
    from sae_nb.steering._dose_response import (
        Measure as Measure,
        SteeringCurve as SteeringCurve,
        best_effect as best_effect,
        dose_response as dose_response,
        read_measure as read_measure,
        summarise_dose_response as summarise_dose_response,
    )
    from sae_nb.steering._forecast import Forecast as Forecast, forecast as forecast
    from sae_nb.steering._nearest import NearestAtoms as NearestAtoms
    from sae_nb.steering._reading import Reading as Reading, read_unsteered as read_unsteered
    from sae_nb.steering._recipe import (
        SteeringRecipe as SteeringRecipe,
        edit_of as edit_of,
        two_groups as two_groups,
    )
    from sae_nb.steering._request import (
        Edit as Edit,
        check_hook_point as check_hook_point,
        policy_for as policy_for,
    )
    from sae_nb.steering._summary import (
        LEAST_CHANGE as LEAST_CHANGE,
        Steered as Steered,
        SteeringSummary as SteeringSummary,
        control_of as control_of,
        effects_of_adding as effects_of_adding,
        summarise_steering as summarise_steering,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
