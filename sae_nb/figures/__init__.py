"""Figures of the library: records and plain arrays in, plotly figures out; colours in `theme`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.figures import shapes as shapes, theme as theme
    from sae_nb.figures._charts import Chart as Chart, Points as Points, draw_chart as draw_chart
    from sae_nb.figures._code_lengths import lengths_of_codes as lengths_of_codes
    from sae_nb.figures._curve import (
        curve_with_chord as curve_with_chord,
        hidden_values as hidden_values,
    )
    from sae_nb.figures._images import image_and_maps as image_and_maps, image_sheet as image_sheet
    from sae_nb.figures._null import null_distribution as null_distribution
    from sae_nb.figures._plot_grids import (
        DOTTED as DOTTED,
        FLOOR as FLOOR,
        SYMBOLS as SYMBOLS,
        broken as broken,
        framed as framed,
        heatmap_cells as heatmap_cells,
        heatmaps as heatmaps,
        icicle as icicle,
        line as line,
        named as named,
        named_ticks as named_ticks,
        number_of as number_of,
        on_axes as on_axes,
        plot_title as plot_title,
        side_by_side as side_by_side,
        squares as squares,
    )
    from sae_nb.figures._static_render import (
        draw_figure as draw_figure,
        to_png as to_png,
        to_svg as to_svg,
    )
    from sae_nb.figures._tokens import (
        quoted_token as quoted_token,
        quoted_tokens as quoted_tokens,
        visible_token as visible_token,
    )
    from sae_nb.figures._training import (
        TRAINING_CURVES as TRAINING_CURVES,
        TrainingCurve as TrainingCurve,
    )
    from sae_nb.figures.theme import (
        category_style as category_style,
        cividis as cividis,
        colour_scale as colour_scale,
        current_theme as current_theme,
        fade as fade,
        plot_text as plot_text,
        template as template,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
