"""Activations: rows read from a live model, where each came from, and how they lie on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.activations import tokens as tokens
    from sae_nb.activations._activations import (
        Activations as Activations,
        ActivationSource as ActivationSource,
    )
    from sae_nb.activations._aligning import (
        Alignment as Alignment,
        align as align,
        first_difference as first_difference,
    )
    from sae_nb.activations._context import (
        Context as Context,
        PlacedImages as PlacedImages,
        Ragged as Ragged,
    )
    from sae_nb.activations._hook_point_check import warn_of_place as warn_of_place
    from sae_nb.activations._positions import PositionPolicy as PositionPolicy
    from sae_nb.activations._rows import generator_for as generator_for
    from sae_nb.activations._sites import (
        Pairs as Pairs,
        WithGradient as WithGradient,
        acts_for as acts_for,
        acts_of_sites as acts_of_sites,
        check_one_place as check_one_place,
        check_sae as check_sae,
        concatenate as concatenate,
        reconstruction as reconstruction,
        uncoded as uncoded,
        where_written as where_written,
        written_codes as written_codes,
    )
    from sae_nb.activations._store import load_activations as load_activations
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
