"""Small widgets of our own that every panel shares: pictures, tokens and bars."""

from __future__ import annotations

from sae_nb_widgets.components.base import Component
from sae_nb_widgets.components.picture_grid import PictureGrid
from sae_nb_widgets.components.sparkbars import Sparkbars
from sae_nb_widgets.components.token_strip import TokenStrip

__all__ = ["Component", "PictureGrid", "Sparkbars", "TokenStrip"]
