"""Dictionaries that are fitted, not trained, behind the interface of an SAE.

The factorisations in use before SAEs, to compare with: `fit_classical(acts, "PCA", n_atoms)`. And
`ITDA`, whose atoms are rows of the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.classical._fitting import (
        METHODS as METHODS,
        archetypal_analysis as archetypal_analysis,
        far_apart as far_apart,
        fit_classical as fit_classical,
    )
    from sae_nb.classical._itda import ITDA as ITDA
    from sae_nb.classical._model import Classical as Classical
    from sae_nb.classical._semi_nmf import SemiNMF as SemiNMF
    from sae_nb.classical._supervised import (
        SupervisedDictionary as SupervisedDictionary,
        supervised_dictionary as supervised_dictionary,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
