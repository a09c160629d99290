"""Models with a planted answer, or of a planted kind. The names are found at `sn.models` too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_studies.models._few_weights import (
        task_rows as task_rows,
        train_sparse_transformer as train_sparse_transformer,
    )
    from sae_nb_studies.models._hidden_rules import train_hidden_rule as train_hidden_rule
    from sae_nb_studies.models._lipschitz import (
        LipschitzNetwork as LipschitzNetwork,
        hkr_loss as hkr_loss,
        train_lipschitz as train_lipschitz,
    )
    from sae_nb_studies.models._organisms import (
        BEHAVIOURS as BEHAVIOURS,
        CONTROLS as CONTROLS,
        TEXT_BEHAVIOURS as TEXT_BEHAVIOURS,
        Behaviour as Behaviour,
        Organism as Organism,
        plant_behaviour as plant_behaviour,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
