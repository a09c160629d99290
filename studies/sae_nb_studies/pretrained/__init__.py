"""Trials of a direction on the bundled models: images turned into a class, sentiment shifted in stories.

The names are found at `sn.pretrained` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_studies.pretrained._sentiment import (
        neutral_beginnings as neutral_beginnings,
        story_sentiment as story_sentiment,
    )
    from sae_nb_studies.pretrained._trials import (
        ClassTrial as ClassTrial,
        ClassTurn as ClassTurn,
        SentimentShift as SentimentShift,
        SentimentTrial as SentimentTrial,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
