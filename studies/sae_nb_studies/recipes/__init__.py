"""Runnable recipes: ``python -m sae_nb_studies.recipes.<name>`` trains a bundled model from nothing.

They lie in a checkout alone, not in an installed package: nothing else of `sae_nb` may import them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_studies.recipes._language_data import (
        TrainingText as TrainingText,
        gather as gather,
        judged_ids as judged_ids,
        token_ids as token_ids,
    )
    from sae_nb_studies.recipes._language_training import card_text as card_text
    from sae_nb_studies.recipes.known_circuits import (
        CIRCUIT_RECIPES as CIRCUIT_RECIPES,
        train_circuit as train_circuit,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
