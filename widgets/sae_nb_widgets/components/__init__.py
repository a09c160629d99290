"""Small widgets of our own that every panel shares: pictures, tokens and bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.components._base import Component as Component
    from sae_nb_widgets.components._branches import Branches as Branches
    from sae_nb_widgets.components._chips import Chips as Chips
    from sae_nb_widgets.components._concordance import Concordance as Concordance
    from sae_nb_widgets.components._draw_pad import DrawPad as DrawPad
    from sae_nb_widgets.components._find_box import FindBox as FindBox
    from sae_nb_widgets.components._histogram import Histogram as Histogram
    from sae_nb_widgets.components._paired_bars import Column as Column, PairedBars as PairedBars
    from sae_nb_widgets.components._picture_grid import PictureGrid as PictureGrid
    from sae_nb_widgets.components._sound_recorder import SoundRecorder as SoundRecorder
    from sae_nb_widgets.components._sparkbars import Sparkbars as Sparkbars, ThinBars as ThinBars
    from sae_nb_widgets.components._strength_slider import StrengthSlider as StrengthSlider
    from sae_nb_widgets.components._token_strip import TokenStrip as TokenStrip
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
