"""How the pretrained SAEs were made: train, match atoms with known factors, measure, write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.pretrained.making._steering import (
        ClassTrial as ClassTrial,
        ClassTurn as ClassTurn,
        SentimentShift as SentimentShift,
        SentimentTrial as SentimentTrial,
    )
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.pretrained.making._material import scene_factors as scene_factors
