"""Published claims put to the test: one file per experiment, one artefact per run, one verdict per claim.

An experiment is a module in `sae_nb_studies.reproductions.experiments` with `run(seed, **size)`, which
returns numbers by name, and a TOML file of the same name with the claims, which set bounds for the numbers.
`python -m sae_nb_studies.reproductions NAME --seeds 0 1 2 --out docs/claims` runs it and writes its
results; the pages of claims are made from these files alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_studies.reproductions._artefacts import (
        artefact_of as artefact_of,
        read_artefacts as read_artefacts,
        summaries_of as summaries_of,
    )
    from sae_nb_studies.reproductions._claims import (
        Claim as Claim,
        Curve as Curve,
        Line as Line,
        Shown as Shown,
        Summary as Summary,
        Why as Why,
        summarise as summarise,
    )
    from sae_nb_studies.reproductions._committed import Recorded as Recorded, recorded as recorded
    from sae_nb_studies.reproductions._final_states import (
        show_pictures as show_pictures,
        trained_sae as trained_sae,
    )
    from sae_nb_studies.reproductions._own import (
        MeasuredClaim as MeasuredClaim,
        OwnClaim as OwnClaim,
        own_claim as own_claim,
    )
    from sae_nb_studies.reproductions._registry import (
        Experiment as Experiment,
        experiment as experiment,
        experiment_names as experiment_names,
        floor_exceptions as floor_exceptions,
    )
    from sae_nb_studies.reproductions._running import (
        run_experiment as run_experiment,
        short_run as short_run,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
