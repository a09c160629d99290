"""Diffing: two models that are nearly the same, and where they part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.diffing._changed_image import (
        ChangedImage as ChangedImage,
        changed_image as changed_image,
    )
    from sae_nb.diffing._changed_phrase import (
        ChangedPhrase as ChangedPhrase,
        changed_phrase as changed_phrase,
        continued_set_back as continued_set_back,
    )
    from sae_nb.diffing._changed_text import (
        ChangedText as ChangedText,
        changed_text as changed_text,
    )
    from sae_nb.diffing._model_diff import (
        DifferentModelsError as DifferentModelsError,
        ModelDiff as ModelDiff,
        check_alike as check_alike,
        diff_models as diff_models,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
