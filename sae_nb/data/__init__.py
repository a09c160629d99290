"""Data with known answers, generated from a seed, and readers for your own images and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.data._captions import caption_words as caption_words, captions as captions
    from sae_nb.data._cifar10 import Photos as Photos, cifar10 as cifar10
    from sae_nb.data._digits import Digits as Digits, digits as digits
    from sae_nb.data._images import PictureFolder as PictureFolder, pictures as pictures
    from sae_nb.data._prompt_pairs import (
        PairKind as PairKind,
        PromptPairs as PromptPairs,
        prompt_pairs as prompt_pairs,
    )
    from sae_nb.data._records import Record as Record, Texts as Texts
    from sae_nb.data._scenes import (
        Paper as Paper,
        Scenes as Scenes,
        drawn_scene as drawn_scene,
        scenes as scenes,
        scenes_without_digit as scenes_without_digit,
    )
    from sae_nb.data._sounds import Sounds as Sounds, sounds as sounds
    from sae_nb.data._stories import Stories as Stories, stories as stories
    from sae_nb.data._texts import (
        Prose as Prose,
        TextFolder as TextFolder,
        clean_paragraph as clean_paragraph,
        first_told as first_told,
        prose as prose,
        text as text,
    )
    from sae_nb.data.planted._dictionaries import (
        PlantedDictionary as PlantedDictionary,
        planted_dictionary as planted_dictionary,
        planted_families as planted_families,
        sparse_features as sparse_features,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
