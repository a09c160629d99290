"""Data with known answers, generated from a seed, and readers for your own images and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.data._captions import captions as captions
    from sae_nb.data._cifar10 import Photos as Photos, cifar10 as cifar10
    from sae_nb.data._digits import Digits as Digits, digits as digits
    from sae_nb.data._images import PictureFolder as PictureFolder, pictures as pictures
    from sae_nb.data._scenes import (
        Paper as Paper,
        Scenes as Scenes,
        drawn_scene as drawn_scene,
        scenes as scenes,
        scenes_without_digit as scenes_without_digit,
    )
    from sae_nb.data._stories import Stories as Stories, stories as stories
    from sae_nb.data._texts import (
        Prose as Prose,
        TextFolder as TextFolder,
        prose as prose,
        text as text,
    )
    from sae_nb.data.planted._clouds import (
        ConceptClouds as ConceptClouds,
        PlantedHulls as PlantedHulls,
        planted_hulls as planted_hulls,
        six_gaussians as six_gaussians,
        uneven_dimensions as uneven_dimensions,
    )
    from sae_nb.data.planted._dictionaries import (
        PlantedDictionary as PlantedDictionary,
        planted_dictionary as planted_dictionary,
        planted_families as planted_families,
        sparse_features as sparse_features,
    )
    from sae_nb.data.planted._events import (
        PlantedEvents as PlantedEvents,
        planted_events as planted_events,
    )
    from sae_nb.data.planted._hidden_rules import (
        DecisionRule as DecisionRule,
        HiddenRules as HiddenRules,
        hidden_rules as hidden_rules,
    )
    from sae_nb.data.planted._manifolds import (
        SHAPES as SHAPES,
        PlantedManifolds as PlantedManifolds,
        planted_manifolds as planted_manifolds,
    )
    from sae_nb.data.planted._processes import (
        SlowAndFast as SlowAndFast,
        growing_rank as growing_rank,
        slow_and_fast as slow_and_fast,
    )
    from sae_nb.data.planted._shortcuts import (
        PlantedShortcuts as PlantedShortcuts,
        planted_shortcuts as planted_shortcuts,
    )
    from sae_nb.data.planted._trees import ConceptTree as ConceptTree, concept_tree as concept_tree
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.data._captions import caption_words as caption_words
    from sae_nb.data._images import (
        IMAGE_SUFFIXES as IMAGE_SUFFIXES,
        visible_files as visible_files,
    )
    from sae_nb.data._scenes import (
        INKS as INKS,
        TEXTURES as TEXTURES,
        Point as Point,
        raster as raster,
    )
    from sae_nb.data._small_tasks import (
        MODULUS as MODULUS,
        NOT_ASKED as NOT_ASKED,
        START as START,
        TASKS as TASKS,
        UNKNOWN as UNKNOWN,
        Rows as Rows,
        Task as Task,
        all_sums as all_sums,
    )
    from sae_nb.data._stories import (
        ANIMALS as ANIMALS,
        BEGINNINGS as BEGINNINGS,
        CONNECTIVES as CONNECTIVES,
        ENDINGS as ENDINGS,
        FEELINGS as FEELINGS,
        HAPPENINGS as HAPPENINGS,
        NEGATIVE as NEGATIVE,
        PEOPLE as PEOPLE,
        PLACES as PLACES,
        PLAIN as PLAIN,
        POSITIVE as POSITIVE,
        THINGS as THINGS,
    )
    from sae_nb.data._texts import (
        clean_paragraph as clean_paragraph,
        without_repeats as without_repeats,
    )
    from sae_nb.data.planted._clouds import Kind as Kind
    from sae_nb.data.planted._dictionaries import check_sparsity as check_sparsity
    from sae_nb.data.planted._hidden_rules import REASON as REASON, Explanation as Explanation
    from sae_nb.data.planted._trees import N_CONCEPTS as N_CONCEPTS
