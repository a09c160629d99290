"""Small widgets of our own that every panel shares: pictures, tokens and bars."""

from __future__ import annotations

from sae_nb_widgets.components.base import Component
from sae_nb_widgets.components.draw_pad import DrawPad
from sae_nb_widgets.components.paired_bars import Column, PairedBars
from sae_nb_widgets.components.picture_grid import PictureGrid
from sae_nb_widgets.components.sparkbars import Sparkbars
from sae_nb_widgets.components.token_strip import TokenStrip

__all__ = [
    "Column",
    "Component",
    "DrawPad",
    "PairedBars",
    "PictureGrid",
    "Sparkbars",
    "TokenStrip",
]
