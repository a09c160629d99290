"""Panel: the grammar every panel shares — where, title, answer, controls, stage, margin, menu."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb_widgets.panel._panel import Panel as Panel
    from sae_nb_widgets.panel._theming import theme as theme
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb_widgets.panel._as_site import AsSite as AsSite, SiteSubject as SiteSubject
    from sae_nb_widgets.panel._beside import ShowsBeside as ShowsBeside
    from sae_nb_widgets.panel._browsers import BROWSERS as BROWSERS
    from sae_nb_widgets.panel._closing import close_whole as close_whole
    from sae_nb_widgets.panel._declaring import (
        EVERYWHERE as EVERYWHERE,
        LARGEST_SEED as LARGEST_SEED,
        TIGHT as TIGHT,
        Atom as Atom,
        Entry as Entry,
        Menu as Menu,
        Number as Number,
        Ruled as Ruled,
        RuledNumber as RuledNumber,
        RuledText as RuledText,
        Site as Site,
        Whole as Whole,
        Wholes as Wholes,
        button as button,
        control as control,
        icon_button as icon_button,
        line as line,
        or_trait_error as or_trait_error,
        reacts as reacts,
        roomy as roomy,
        several as several,
        show as show,
        site_menu as site_menu,
        small_button as small_button,
        text_field as text_field,
        wide as wide,
    )
    from sae_nb_widgets.panel._exporting import (
        COLUMNS as COLUMNS,
        LIVE_ONLY as LIVE_ONLY,
        PAGE_STYLE as PAGE_STYLE,
        SHARED_SCRIPT as SHARED_SCRIPT,
        Page as Page,
        descendants as descendants,
        fallback_html as fallback_html,
        format_bytes as format_bytes,
        page_html as page_html,
        static_html as static_html,
        write_page as write_page,
    )
    from sae_nb_widgets.panel._glossary import AN_ATOM as AN_ATOM, an_atom as an_atom
    from sae_nb_widgets.panel._heading import (
        Heading as Heading,
        header_html as header_html,
        place_words as place_words,
    )
    from sae_nb_widgets.panel._playing import (
        PlayingPanel as PlayingPanel,
        play_button as play_button,
    )
    from sae_nb_widgets.panel._plot import Plot as Plot
    from sae_nb_widgets.panel._samples import (
        Samples as Samples,
        check_parts as check_parts,
        check_point as check_point,
        facts_of as facts_of,
        newest as newest,
        stream_of as stream_of,
        target_of as target_of,
        target_rule as target_rule,
    )
    from sae_nb_widgets.panel._status import (
        logger as logger,
        sentence_html as sentence_html,
    )
    from sae_nb_widgets.panel._theming import (
        figure_widget as figure_widget,
        forget_styled as forget_styled,
        keep_styled as keep_styled,
    )
