"""SAEs that are trained already, with examples, coordinates and labels: open, look, steer.

Each is a folder of this package, named after its live model and hook point. Nothing here imports umap,
scikit-learn or nnsight, so a demo opens at once; `python -m sae_nb_studies.recipes.saes` made the
folders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.evaluation import FactorMatch as FactorMatch
    from sae_nb.pretrained import inputs as inputs
    from sae_nb.pretrained._bundled import pretrained_names as pretrained_names
    from sae_nb.pretrained._examples import (
        ExampleStore as ExampleStore,
        SteeredAtom as SteeredAtom,
        capture_for as capture_for,
        examples_of as examples_of,
        load_examples as load_examples,
        needed_examples as needed_examples,
        open_examples as open_examples,
    )
    from sae_nb.pretrained._lenses import lens_names as lens_names, load_lens as load_lens
    from sae_nb.pretrained._loading import load_sae as load_sae
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
