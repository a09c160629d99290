"""Figures of the library: records and plain arrays in, plotly figures out; colours in `theme`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.figures import theme as theme
    from sae_nb.figures._charts import Chart as Chart, Points as Points, draw_chart as draw_chart
    from sae_nb.figures._code_lengths import lengths_of_codes as lengths_of_codes
    from sae_nb.figures._images import image_and_maps as image_and_maps, image_sheet as image_sheet
    from sae_nb.figures._null import null_distribution as null_distribution
    from sae_nb.figures._plot_grids import (
        DOTTED as DOTTED,
        FLOOR as FLOOR,
        SYMBOLS as SYMBOLS,
        broken as broken,
        framed as framed,
        heatmaps as heatmaps,
        line as line,
        named as named,
        named_ticks as named_ticks,
        number_of as number_of,
        side_by_side as side_by_side,
        squares as squares,
    )
    from sae_nb.figures._static_render import to_png as to_png, to_svg as to_svg
    from sae_nb.figures._tokens import (
        quoted_token as quoted_token,
        quoted_tokens as quoted_tokens,
        visible_token as visible_token,
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
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the panels and the other rooms
    from sae_nb.figures._pages import html_page as html_page
    from sae_nb.figures._plot_grids import (
        cells as cells,
        on_axes as on_axes,
        plot_title as plot_title,
    )
    from sae_nb.figures._static_render import draw_figure as draw_figure, to_png_tag as to_png_tag
    from sae_nb.figures._sum_strips import sum_of_strips as sum_of_strips
    from sae_nb.figures._svg_layout import (
        filled as filled,
        hstack as hstack,
        key as key,
        padded as padded,
        paragraph as paragraph,
        random_tick as random_tick,
        solid_tick as solid_tick,
        stacked as stacked,
        wrapped as wrapped,
    )
    from sae_nb.figures._svg_shapes import (
        INK as INK,
        Dot as Dot,
        Drawing as Drawing,
        Label as Label,
        Picture as Picture,
        Polyline as Polyline,
        Rectangle as Rectangle,
        Stroke as Stroke,
        moved as moved,
        parse_colour as parse_colour,
        shortened as shortened,
        text_width as text_width,
    )
    from sae_nb.figures._training import (
        TRAINING_CURVES as TRAINING_CURVES,
        TrainingCurve as TrainingCurve,
        training_curves as training_curves,
    )
    from sae_nb.figures._volcano import (
        Volcano as Volcano,
        draw_volcano as draw_volcano,
        ring_volcano as ring_volcano,
        volcano as volcano,
    )
    from sae_nb.figures.theme import (
        FIGURE_CONFIG as FIGURE_CONFIG,
        THIN_SPACE as THIN_SPACE,
        Scale as Scale,
        Theme as Theme,
        css_colour as css_colour,
        escape as escape,
        format_count as format_count,
        format_duration as format_duration,
        format_number as format_number,
        format_percent as format_percent,
        heat_colour as heat_colour,
        readable_cividis as readable_cividis,
        scaled as scaled,
        signed_colours as signed_colours,
        still_config as still_config,
        use_scale as use_scale,
    )
