"""The widgets of a panel around its own: heading, answer, controls, menu, body, status line, drawer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as ipw
import traitlets as t

from sae_nb.figures.theme import Theme, escape
from sae_nb_widgets.components._base import (
    HTML,
    Box,
    LiveWidget,
    ToggleButton,
    VBox,
    layout_of,
    style_sheet,
)
from sae_nb_widgets.components._scripts import script
from sae_nb_widgets.panel._declaring import show, small_button
from sae_nb_widgets.panel._heading import Heading, about_html, title_html


class PanelKeys(LiveWidget):
    """Invisible part of a panel: hears its keys, tells light from dark, shows the cards of atoms."""

    _esm = script("atom_card", "panel_keys")
    _css = style_sheet("components.css", "panel.css")

    # Not `keys`: ipywidgets keeps the list of synchronised traits under that name.
    answered = t.List(t.Unicode(), help="Keys the panel answers.").tag(sync=True)
    dark = t.Bool(False, help="Whether the page is dark.").tag(sync=True)
    called = t.Bool(False, help="Whether the panel is to be scrolled into view.").tag(sync=True)
    tips = t.Dict(help="Name of a control to what it does, where ipywidgets does not show it.").tag(
        sync=True
    )


class Frame:
    """Where everything of a panel is on screen; `export` writes a file of a kind, "html" or "png"."""

    def __init__(self, export: Callable[[str], None]) -> None:
        self.style = HTML(layout=layout_of(display="none"))
        self.keys = PanelKeys()
        self.title, self.about = HTML(), HTML()
        self.more_button = small_toggle("⋯", "More controls, files to keep, numbers, help")
        self.more_button.add_class("sae-nb-menubutton")
        self.more_button.observe(lambda change: self._open_menu(change["new"]), "value")
        self.header = Box([self.title, self.about, self.more_button]).add_class("sae-nb-header")
        self.answer = HTML().add_class("sae-nb-answer")
        self.numbers = HTML().add_class("sae-nb-numbers")
        self.how_sure = small_toggle("how sure?", "What this rests on, and what chance would give")
        self.how_sure.add_class("sae-nb-howsure")
        self.reasons = HTML().add_class("sae-nb-reasons")
        self.words = HTML().add_class("sae-nb-numbers")
        claim = Box([self.answer, self.how_sure]).add_class("sae-nb-claim")
        self.answer_line = Box([claim, self.reasons, self.numbers, self.words]).add_class(
            "sae-nb-answerline"
        )
        self.controls = Box().add_class("sae-nb-controls")
        self.more = Box(layout=layout_of(display="none")).add_class("sae-nb-controls")
        self.main = VBox().add_class("sae-nb-main")
        self.detail = VBox().add_class("sae-nb-detail")
        self.body = Box([self.main, self.detail]).add_class("sae-nb-body")
        self.menu = self._menu(export)
        self.status_line = HTML().add_class("sae-nb-statusline")
        self.drawer = VBox().add_class("sae-nb-drawer")
        foot = Box([self.status_line]).add_class("sae-nb-foottools")
        top = (self.style, self.keys, self.header, self.answer_line, self.controls, self.menu)
        self.children = (*top, self.body, foot, self.drawer)

    def _menu(self, export: Callable[[str], None]) -> ipw.VBox:
        """Make what is behind "⋯": the rest of the controls, exports, numbers, keys and help."""
        self.numbers_button = small_toggle("numbers", "The measured numbers behind the sentence")
        tip = "What this shows, what it cannot show, the paper, the keys"
        self.help_button = small_toggle("help", tip)
        tip = "Write this view as one HTML file that needs no kernel"
        html = small_button("⤓ html", tip, lambda: export("html"))
        png = small_button("⤓ png", "Write the figure as a picture", lambda: export("png"))
        self.help = HTML(layout=layout_of(display="none"))
        self.written = HTML().add_class("sae-nb-written")
        tools = Box([self.numbers_button, html, png, self.help_button, self.written])
        tools.add_class("sae-nb-controls").add_class("sae-nb-foottools")
        menu = VBox([self.more, tools, self.help], layout=layout_of(display="none"))
        return menu.add_class("sae-nb-menu")

    def _open_menu(self, shown: bool) -> None:
        show(self.menu, shown)
        show(self.more, shown and bool(self.more.children))

    def fill(
        self,
        controls: Sequence[ipw.Widget],
        more: Sequence[ipw.Widget],
        main: Sequence[ipw.Widget],
        detail: Sequence[ipw.Widget],
    ) -> None:
        """Put a panel's own widgets in their places; without a detail the figure has the whole width."""
        self.controls.children, self.more.children = tuple(controls), tuple(more)
        self.main.children, self.detail.children = tuple(main), tuple(detail)
        show(self.controls, bool(controls))
        self.show_detail(bool(detail))

    def show_detail(self, shown: bool) -> None:
        """Show the column next to the figure, or give its room to the figure."""
        show(self.detail, shown)
        (self.body.remove_class if shown else self.body.add_class)("sae-nb-plain")

    def draw_heading(self, heading: Heading) -> None:
        """Write where the panel looks, its title, and the facts about that."""
        self.title.value, self.about.value = title_html(heading), about_html(heading)

    def draw_answer(self, answer: str, numbers: str, show_numbers: bool) -> None:
        """Write the answer, escaped HTML, and the numbers behind it."""
        self.answer.value = f'<div aria-live="polite">{answer}</div>' if answer else ""
        self.numbers.value = escape(numbers)
        show(self.answer_line, bool(answer))
        show(self.numbers_button, bool(numbers))
        show(self.numbers, bool(numbers) and show_numbers)

    def draw_reasons(self, reasons: str, shown: bool) -> None:
        """Write what the answer rests on, escaped HTML, behind "how sure?"."""
        self.reasons.value = reasons
        show(self.how_sure, bool(reasons))
        show(self.reasons, bool(reasons) and shown)

    def draw_status(self, text: str, *, problem: bool, busy: bool) -> None:
        """Write the status line, escaped HTML."""
        spin = '<span class="sae-nb-busy" role="img" aria-label="working"></span>'
        kind = "sae-nb-problem" if problem else ""
        self.status_line.value = (
            f'<div role="status">{spin if busy else ""}<span class="{kind}">{text}</span></div>'
        )

    def draw_size(self, theme: Theme) -> None:
        """Give the panel the letters of a theme."""
        font = f"--sae-nb-font: {theme.font_px}px"
        self.style.value = f"<style>.sae-nb-panel.sae-nb-{theme.scale} {{ {font}; }}</style>"


def small_toggle(text: str, tooltip: str) -> ipw.ToggleButton:
    """Return a small button that stays down."""
    return ToggleButton(description=text, tooltip=tooltip, _dom_classes=["sae-nb-small"])
