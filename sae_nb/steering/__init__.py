"""Steer a live model with an atom: add, set, scale, ablate, splice; calibrate and measure what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.steering._calibration import calibrate_strength as calibrate_strength
    from sae_nb.steering._contexts import (
        ablate as ablate,
        random_direction as random_direction,
        splice as splice,
        steer as steer,
    )
    from sae_nb.steering._dose_response import (
        best_effect as best_effect,
        dose_response as dose_response,
    )
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.steering._answers import (
        Answers as Answers,
        Cost as Cost,
        kl as kl,
        log_odds as log_odds,
    )
    from sae_nb.steering._calibration import (
        LARGEST as LARGEST,
        TARGETS as TARGETS,
        CalibratedStrength as CalibratedStrength,
        StrengthSearch as StrengthSearch,
        combined_direction as combined_direction,
    )
    from sae_nb.steering._contexts import Active as Active
    from sae_nb.steering._dose_response import (
        BestEffect as BestEffect,
        DoseResponse as DoseResponse,
        Effects as Effects,
        Measure as Measure,
        check_measure as check_measure,
        check_strengths as check_strengths,
        measured as measured,
        unit_atom as unit_atom,
    )
    from sae_nb.steering._edits import (
        Along as Along,
        Change as Change,
        MaskedEdit as MaskedEdit,
        Positions as Positions,
        Tap as Tap,
        Where as Where,
        change_atoms as change_atoms,
        latents as latents,
    )
    from sae_nb.steering._modes import (
        MODES as MODES,
        UNITS as UNITS,
        USUAL as USUAL,
        Mode as Mode,
        Unit as Unit,
        one_digit as one_digit,
    )
    from sae_nb.steering._request import (
        Edit as Edit,
        check_hook_point as check_hook_point,
        check_width as check_width,
        first_look as first_look,
        policy_for as policy_for,
        tap_of as tap_of,
    )
