"""The factorisations people knew before SAEs, behind the same interface, to compare with.

They are fitted, not trained: `fit_classical(acts, "PCA", n_atoms)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.classical._fitting import METHODS as METHODS, fit_classical as fit_classical
    from sae_nb.classical._model import Classical as Classical
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.classical._fitting import (
        archetypal_analysis as archetypal_analysis,
        far_apart as far_apart,
    )
