"""Small widgets of our own that every panel shares: pictures, tokens and bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb_widgets.components._base import Component as Component
    from sae_nb_widgets.components._branches import Branches as Branches
    from sae_nb_widgets.components._chips import Chips as Chips
    from sae_nb_widgets.components._concordance import Concordance as Concordance
    from sae_nb_widgets.components._draw_pad import DrawPad as DrawPad
    from sae_nb_widgets.components._histogram import Histogram as Histogram
    from sae_nb_widgets.components._paired_bars import Column as Column, PairedBars as PairedBars
    from sae_nb_widgets.components._picture_grid import PictureGrid as PictureGrid
    from sae_nb_widgets.components._sound_recorder import SoundRecorder as SoundRecorder
    from sae_nb_widgets.components._sparkbars import Sparkbars as Sparkbars, ThinBars as ThinBars
    from sae_nb_widgets.components._strength_slider import StrengthSlider as StrengthSlider
    from sae_nb_widgets.components._token_strip import TokenStrip as TokenStrip
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb_widgets.components._atom_card import (
        badge_html as badge_html,
        card_content as card_content,
        cards_html as cards_html,
        icons_of as icons_of,
        png_address as png_address,
    )
    from sae_nb_widgets.components._base import (
        HTML as HTML,
        Box as Box,
        Button as Button,
        LiveWidget as LiveWidget,
        SharedLayout as SharedLayout,
        ToggleButton as ToggleButton,
        VBox as VBox,
        atom_mark as atom_mark,
        is_shared as is_shared,
        lay_out as lay_out,
        layout_of as layout_of,
        mark_atoms as mark_atoms,
        shared as shared,
        style_sheet as style_sheet,
    )
    from sae_nb_widgets.components._branches import Way as Way, words_of_its_own as words_of_its_own
    from sae_nb_widgets.components._chips import DOTS as DOTS, sure_dots as sure_dots
    from sae_nb_widgets.components._concordance import joins_of as joins_of, word_at as word_at
    from sae_nb_widgets.components._curves import Chart as Chart, Curves as Curves, Line as Line
    from sae_nb_widgets.components._depth_strips import DepthStrips as DepthStrips
    from sae_nb_widgets.components._dot_rows import DotMark as DotMark, DotRows as DotRows
    from sae_nb_widgets.components._histogram import Mark as Mark
    from sae_nb_widgets.components._html_drawing import html_drawing as html_drawing
    from sae_nb_widgets.components._layer_grid import (
        LayerGrid as LayerGrid,
        two_digits as two_digits,
    )
    from sae_nb_widgets.components._paired_bars import (
        HOLLOW_PX as HOLLOW_PX,
        NEGATIVE as NEGATIVE,
        POSITIVE as POSITIVE,
    )
    from sae_nb_widgets.components._picture_grid import (
        StillGrid as StillGrid,
        as_film as as_film,
        as_heard as as_heard,
        grid_for as grid_for,
        of_one_grid as of_one_grid,
    )
    from sae_nb_widgets.components._point_map import (
        PointMap as PointMap,
        packed as packed,
        unpacked as unpacked,
        whole_bytes as whole_bytes,
    )
    from sae_nb_widgets.components._row_table import (
        RowTable as RowTable,
        csv_text as csv_text,
        plain_cell as plain_cell,
    )
    from sae_nb_widgets.components._scripts import read_static as read_static, script as script
