"""The factorisations people knew before SAEs, behind the same interface, to compare with.

They are fitted, not trained: `fit_classical(acts, "PCA", n_atoms)`.
"""

from __future__ import annotations

from sae_nb.classical.fitting import METHODS, fit_classical
from sae_nb.classical.model import Classical

__all__ = ["METHODS", "Classical", "fit_classical"]
