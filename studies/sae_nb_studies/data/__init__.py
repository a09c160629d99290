"""Planted data of one question each: trees, clouds, manifolds, processes, events, shortcuts, hidden rules.

The names are found at `sn.data` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_studies.data.planted._clouds import (
        ConceptClouds as ConceptClouds,
        PlantedHulls as PlantedHulls,
        planted_hulls as planted_hulls,
        six_gaussians as six_gaussians,
        uneven_dimensions as uneven_dimensions,
    )
    from sae_nb_studies.data.planted._events import (
        PlantedEvents as PlantedEvents,
        planted_events as planted_events,
    )
    from sae_nb_studies.data.planted._hidden_rules import (
        DecisionRule as DecisionRule,
        HiddenRules as HiddenRules,
        hidden_rules as hidden_rules,
    )
    from sae_nb_studies.data.planted._manifolds import (
        SHAPES as SHAPES,
        PlantedManifolds as PlantedManifolds,
        planted_manifolds as planted_manifolds,
    )
    from sae_nb_studies.data.planted._processes import (
        SlowAndFast as SlowAndFast,
        growing_rank as growing_rank,
        slow_and_fast as slow_and_fast,
    )
    from sae_nb_studies.data.planted._shortcuts import (
        PlantedShortcuts as PlantedShortcuts,
        planted_shortcuts as planted_shortcuts,
    )
    from sae_nb_studies.data.planted._trees import (
        ConceptTree as ConceptTree,
        concept_tree as concept_tree,
    )
    from sae_nb_studies.data.tasks import TASKS as TASKS
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
