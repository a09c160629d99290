"""SAEs that are trained already, with examples, coordinates and labels: open, look, steer.

Each is a folder on the shelf, named after its live model and hook point. Nothing here imports umap,
scikit-learn or nnsight, so a demo opens at once; `python -m sae_nb_studies.recipes.saes` made the
folders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.evaluation import FactorMatch as FactorMatch
    from sae_nb.pretrained._examples import (
        ExampleStore as ExampleStore,
        SteeredAtom as SteeredAtom,
        load_examples as load_examples,
    )
    from sae_nb.pretrained._lenses import load_lens as load_lens
    from sae_nb.pretrained._loading import (
        load_sae as load_sae,
        pretrained_names as pretrained_names,
    )
    from sae_nb.pretrained._sentiment import (
        neutral_beginnings as neutral_beginnings,
        story_sentiment as story_sentiment,
    )
    from sae_nb.pretrained._trials import (
        ClassTrial as ClassTrial,
        ClassTurn as ClassTurn,
        SentimentShift as SentimentShift,
        SentimentTrial as SentimentTrial,
    )
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.pretrained._evaluation_data import scene_factors as scene_factors
    from sae_nb.pretrained._examples import (
        LABELS as LABELS,
        SAMPLES_AT_ONCE as SAMPLES_AT_ONCE,
        captured_for as captured_for,
        examples_of as examples_of,
        write_examples as write_examples,
        write_facts as write_facts,
    )
    from sae_nb.pretrained._loading import (
        shelf_folder as shelf_folder,
        shelf_name as shelf_name,
        transcoder_places as transcoder_places,
        warn_of_misfit as warn_of_misfit,
    )
