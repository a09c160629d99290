"""Panel: the grammar every panel shares — question, controls, one figure, detail, status line."""

from __future__ import annotations

import logging
import math
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import ipywidgets as ipw
import plotly.graph_objects as go
import traitlets as t

from sae_nb.atoms import AtomNames
from sae_nb.checks import checked
from sae_nb.figures import (
    FIGURE_CONFIG,
    THIN_SPACE,
    Drawing,
    Scale,
    Theme,
    current_theme,
    escape,
    format_duration,
    template,
    use_scale,
)
from sae_nb.files import write_bytes
from sae_nb_widgets.components import LiveWidget, card_content, mark_atoms, script, style_sheet
from sae_nb_widgets.panel import _exporting as exporting
from sae_nb_widgets.panel._background import Background
from sae_nb_widgets.panel._browsers import BROWSERS
from sae_nb_widgets.panel._declaring import Reaction, reactions, show, small_button
from sae_nb_widgets.panel._exporting import descendants

# -------------------------------------------------------------------------------------------------
# The theme on screen: open panels follow a change of scale, and figures become widgets.


class Restylable(Protocol):
    """Something on screen that can redraw itself in a new scale."""

    def restyle(self) -> None:
        """Redraw with the current theme."""


_on_screen: weakref.WeakSet[Any] = weakref.WeakSet()


@checked
def theme(scale: Scale | None = None) -> Theme:
    """Return the current theme, after switching to `scale` if one is given.

    Parameters
    ----------
    scale
        "normal" (13 px text) or "lecture" (16 px). Open panels are redrawn. None changes nothing.

    Raises
    ------
    ValueError: If no scale has that name.

    Examples
    --------
    >>> theme("lecture").font_px
    16
    >>> theme("normal").font_px
    13
    """
    if scale is not None:
        use_scale(scale)
        for panel in list(_on_screen):
            panel.restyle()
    return current_theme()


def keep_styled(panel: Restylable) -> None:
    """Redraw `panel` whenever the scale changes, for as long as it is alive."""
    _on_screen.add(panel)


def forget_styled(panel: Restylable) -> None:
    """Redraw `panel` no more."""
    _on_screen.discard(panel)


def figure_widget(figure: go.Figure | None = None, *, height: int | None = None) -> go.FigureWidget:
    """Return a FigureWidget in the current theme that fills the width it is given.

    Build one per panel and update it in place.
    """
    from sae_nb_widgets.panel._plot import Plot

    widget = Plot(figure if figure is not None else go.Figure())
    widget.update_layout(
        template=template(),
        autosize=True,
        height=height or current_theme().figure_height_px,
    )
    widget._config = {**widget._config, **FIGURE_CONFIG}
    return widget


# -------------------------------------------------------------------------------------------------
# Closing what a panel made: widgets on screen and off, their layouts and their styles.


def close_whole(widget: ipw.Widget) -> None:
    """Close a widget with its layout and style, which are widgets of their own."""
    parts = [getattr(widget, name, None) for name in ("layout", "style")]
    widget.close()
    for part in parts:
        if isinstance(part, ipw.Widget):
            part.close()


def owned_widgets(owner: Any, depth: int = 3) -> list[ipw.Widget]:
    """Return widgets among an object's attributes, and among those of its own small objects.

    Panels are left out: they close themselves.
    """
    found: list[ipw.Widget] = []
    for name, value in list(vars(owner).items()):
        if name == "_trait_values":  # holds what is shared too, such as plotly's script
            continue
        several = list(value.values()) if isinstance(value, dict) else value
        for one in several if isinstance(several, list | tuple) else (value,):
            if hasattr(type(one), "kept_traits"):
                continue
            if isinstance(one, ipw.Widget):
                found += descendants(one)
            ours = type(one).__module__.startswith("sae_nb_widgets.")
            if depth and ours and hasattr(one, "__dict__"):
                found += owned_widgets(one, depth - 1)
    return found


# -------------------------------------------------------------------------------------------------
# Panel: the grammar every panel shares — question, controls, one figure, detail, status line.


T = TypeVar("T")
logger = logging.getLogger("sae_nb_widgets")
WORTH_SAYING_SECONDS = 0.2
LONGEST_GIVEN = 40
UNBROKEN = "\u202f"
"""A thin space at which no line is broken: a number stays whole in a sentence."""


class PanelKeys(LiveWidget):
    """Invisible part of a panel: hears its keys, tells light from dark, shows the cards of atoms."""

    _esm = script("atom_card", "panel_keys")
    _css = style_sheet("components.css", "panel.css")

    # Not `keys`: ipywidgets keeps the list of synchronised traits under that name.
    answered = t.List(t.Unicode(), help="Keys the panel answers.").tag(sync=True)
    dark = t.Bool(False, help="Whether the page is dark.").tag(sync=True)
    tips = t.Dict(help="Name of a control to what it does, where ipywidgets does not show it.").tag(
        sync=True
    )


class Panel(ipw.VBox):
    """One question, its controls, its figure, its detail; state is traits, drawing is reactions.

    A subclass sets `question`, `explanation` and `stem`, builds its widgets, and calls `arrange`;
    from then on its methods marked with `reacts` are called when their traits change. It overrides
    `record` (what is drawn, for exports) and, where needed, `current_figure` and `static_detail`.
    Slow work goes through `run_async`; everything else that may fail in a callback goes inside
    `with self.guarded("doing what"):`.

    Examples
    --------
    >>> class Counter(Panel):
    ...     question = "How often?"
    ...     explanation = ("Shows a count.", "Cannot show why.", "Ours.")
    >>> panel = Counter(chips={"atoms": "16"})
    >>> panel.run_async(lambda: 6 * 7, lambda answer: panel.say(f"{answer}"))
    >>> panel.wait()
    >>> panel.status
    '42'
    >>> panel.close()
    """

    question: ClassVar[str] = "What is this?"
    explanation: ClassVar[tuple[str, str, str]] = ("", "", "")
    stem: ClassVar[str] = "panel"
    # True until everything is made: a panel whose constructor failed has nothing to close.
    _closed: bool = True
    needs_kernel: ClassVar[str] = "The controls need a running kernel and were left out."
    # What a saved session keeps of this panel, in the order in which it is set again.
    kept_traits: ClassVar[tuple[str, ...]] = ()
    # What older sessions call some of them.
    renamed_traits: ClassVar[Mapping[str, str]] = {}

    answer = t.Unicode("", help="The answer to the question, in one sentence.")
    numbers = t.Unicode("", help="The expert's numbers behind the answer.")
    show_numbers = t.Bool(False, help="Whether the numbers behind the answer are shown.")
    opened = t.Int(-1, help="Atom somebody asked to open in a browser; -1 for none.")
    opens_below = t.Bool(True, help="Whether that browser opens under this panel.")
    status = t.Unicode("", help="What happened, how long it took, or what to do.")
    problem = t.Bool(False, help="Whether the status line reports an error.")
    busy = t.Bool(False, help="Whether work is running off the main thread.")
    dark = t.Bool(False, help="Whether JupyterLab shows a dark theme.")
    chips = t.Dict(help="Facts beside the question: name to text.")
    export_folder = t.Unicode(".", help="Where the html and png buttons write.")

    def __init__(self, *, chips: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        self._header = ipw.HTML()
        self._atom_names = AtomNames()
        self._written: Path | None = None
        self._loading = ""
        self._below: Any = None
        self._style = ipw.HTML(layout=ipw.Layout(display="none"))
        self._keys = PanelKeys()
        self._key_actions: dict[str, Callable[[], None]] = {}
        self._figure: go.FigureWidget | None = None
        self._reacts = False
        self._controls = ipw.Box()
        self._last = ipw.Box().add_class("sae-nb-together")
        self._more = ipw.Box(layout=ipw.Layout(display="none"))
        self._main = ipw.VBox()
        self._detail = ipw.VBox()
        self._body = ipw.Box([self._main, self._detail])
        # One thread at a time changes what is on screen; observers may come from several.
        self._drawing = threading.RLock()
        super().__init__(**kwargs)
        self._closed = False
        self._background = Background(self._set_busy)
        # What the status line says while a channel works, by channel.
        self._doing: dict[str, str] = {}
        self.chips = dict(chips or {})
        self._build_frame()
        self.restyle()
        keep_styled(self)

    # --- building ---------------------------------------------------------------------------------

    def _build_frame(self) -> None:
        for widget, name in (
            (self, "panel"),
            (self._controls, "controls"),
            (self._more, "controls"),
            (self._main, "main"),
            (self._detail, "detail"),
            (self._body, "body"),
        ):
            widget.add_class(f"sae-nb-{name}")
        self._make_foot()
        self._keys.on_msg(self._key_message)
        t.dlink((self._keys, "dark"), (self, "dark"))
        self.observe(self._draw_status, ["status", "problem", "busy"])
        self._draw_status()
        self.observe(lambda _: self._draw_header(), "chips")
        self._draw_header()
        self._make_answer()
        top = (
            self._style,
            self._keys,
            self._header,
            self._answer_line,
            self._controls,
            self._more,
        )
        self._drawer = ipw.VBox().add_class("sae-nb-drawer")
        self.observe(self._open_below, "opened")
        self.children = (*top, self._body, self._help, self._foot, self._drawer)

    def _make_answer(self) -> None:
        self._answer_text = ipw.HTML().add_class("sae-nb-answer")
        self._numbers_text = ipw.HTML().add_class("sae-nb-numbers")
        self._numbers_button = _small_toggle("numbers", "The measured numbers behind this sentence")
        t.link((self, "show_numbers"), (self._numbers_button, "value"))
        parts = [self._answer_text, self._numbers_button, self._numbers_text]
        self._answer_line = ipw.Box(parts).add_class("sae-nb-answerline")
        self.observe(self._draw_answer, ["answer", "numbers", "show_numbers"])
        self._draw_answer()

    def _make_foot(self) -> None:
        self._status_line = ipw.HTML().add_class("sae-nb-statusline")
        self._help = ipw.HTML(layout=ipw.Layout(display="none"))
        self._more_button = _small_toggle("more", "Show the rest of the controls")
        self._more_button.layout.display = "none"
        self._more_button.observe(lambda change: show(self._more, change["new"]), "value")
        tools = [self._status_line, *self._tool_buttons()]
        self._foot = ipw.Box(tools).add_class("sae-nb-foottools")

    def _tool_buttons(self) -> list[ipw.Widget]:
        html = small_button(
            "⤓ html",
            "Write this view as one HTML file that needs no kernel",
            lambda: self.export("html"),
        )
        png = small_button("⤓ png", "Write the figure as a picture", lambda: self.export("png"))
        self._help_button = _small_toggle("?", "What this shows, what it cannot show, the paper")
        self._help_button.observe(lambda change: self._toggle_help(change["new"]), "value")
        return [html, png, self._help_button]

    def arrange(
        self,
        *,
        controls: Sequence[ipw.Widget] = (),
        figure: ipw.Widget | Sequence[ipw.Widget] | None = None,
        detail: Sequence[ipw.Widget] = (),
        more: Sequence[ipw.Widget] = (),
    ) -> None:
        """Put widgets in the panel's slots.

        Parameters
        ----------
        controls
            Row under the question; at most three should matter at first sight.
        figure
            The one figure, or the figure and what belongs under it, in order.
        detail
            Cards beside the figure (under it below 700 px).
        more
            Controls hidden behind a "more" button.
        """
        main = (
            [] if figure is None else [figure] if isinstance(figure, ipw.Widget) else list(figure)
        )
        # By type name along the bases: asking plotly for the class imports seconds of validation code.
        plots = (w for w in main if any(c.__name__ == "FigureWidget" for c in type(w).__mro__))
        self._figure = next(plots, None)
        # "more" goes to the next line with the control before it, never alone.
        self._last.children = (*controls[-1:], self._more_button)
        self._controls.children = (*controls[:-1], self._last)
        show(self._more_button, bool(more))
        show(self._controls, bool(controls) or bool(more))
        self._more.children = tuple(more)
        self._main.children, self._detail.children = tuple(main), tuple(detail)
        show(self._detail, bool(detail))
        toggle = self._body.remove_class if detail else self._body.add_class
        toggle("sae-nb-plain")
        self._keys.tips = {
            widget.description: widget.tooltip
            for widget in exporting.descendants(self)
            if getattr(widget, "tooltip", None) and getattr(widget, "description", None)
        }
        if self.has_trait("atom"):
            self.bind_key("s", self._star_shown)
        self._begin_to_react()

    def _begin_to_react(self) -> None:
        if self._reacts:
            return
        self._reacts = True
        for name, reaction in reactions(type(self)).items():
            self.observe(partial(self._react, getattr(self, name), reaction), reaction.traits)

    def _react(self, method: Callable[[], None], reaction: Reaction, _: t.Bunch) -> None:
        if not self._closed and (reaction.early or self.ready):
            with self.reacting(reaction.doing.format(panel=self)):
                method()

    @property
    def ready(self) -> bool:
        """Whether there is something to draw: before that, nothing reacts to traits."""
        return True

    def bind_key(self, key: str, action: Callable[[], None]) -> None:
        """Call `action` when `key` ("ArrowLeft", "Escape", …) is pressed inside the panel."""
        self._key_actions[key] = action
        self._keys.answered = sorted(self._key_actions)

    @checked
    def press(self, key: str) -> None:
        """Do what pressing `key` inside the panel does."""
        action = self._key_actions.get(key)
        if action is not None:
            with self.guarded(f"the key {key}"):
                action()

    def _key_message(self, _: Any, content: Any, __: Any) -> None:
        kind = content.get("kind") if isinstance(content, dict) else None
        if kind == "key":
            self.press(str(content.get("key")))
            return
        if kind == "file":
            self._send_file()
            return
        atom = content.get("atom") if isinstance(content, dict) else None
        if not isinstance(atom, int):
            return
        with self.guarded(f"atom {atom}"):
            if kind == "card":
                self._send_card(atom)
            elif kind == "open":
                self.open_atom(atom)
            elif kind == "star":
                self.star(atom, bool(content.get("starred")))

    def _send_file(self) -> None:
        """Send the page the file that was written last: no other file is ever given out."""
        path = self._written
        if path is None:
            return
        with self.guarded(f"opening {path.name}"):
            kind = exporting.FILE_TYPES[path.suffix.removeprefix(".")]
            self._keys.send({"kind": "file", "type": kind}, [path.read_bytes()])

    # --- saying -----------------------------------------------------------------------------------

    @checked
    def conclude(self, answer: str, numbers: str = "") -> None:
        """Answer the panel's question in one sentence under it; empty where there is no answer.

        `numbers`: What an expert asks for next (norms, nats, seconds), shown on demand.
        """
        self._loading = ""
        with self.hold_trait_notifications():
            self.answer, self.numbers = answer, numbers
        self._draw_answer()

    @checked
    def loading(self, what: str, seconds: float | None = None) -> None:
        """Say that something is loading, and how long it takes; `conclude` ends that.

        Nothing is claimed meanwhile: the answer that stood there is cleared.
        """
        about = "" if seconds is None else f" (about {format_duration(seconds)})"
        self.conclude("")
        self._loading = f"{what}{about} …"
        self._draw_answer()

    def refuse(self, control: str, rule: str, given: str, stays: str) -> None:
        """Say that a field did not take what was typed, by which rule, and what is in force."""
        shown = given if len(given) <= LONGEST_GIVEN else f"{given[:LONGEST_GIVEN]}…"
        what = f"“{shown}” is not one" if shown.strip() else "it was left empty"
        kept = f" It stays at {stays}." if stays else ""
        with self.hold_trait_notifications():
            self.problem, self.status = True, f"{control}: {rule}; {what}.{kept}"

    @checked
    def say(self, text: str) -> None:
        """Put a sentence in the status line."""
        with self.hold_trait_notifications():
            self.problem, self.status = False, text

    def fail(self, error: BaseException, doing: str = "") -> None:
        """Put an error in the status line as one sentence, and its traceback in the log."""
        what = " ".join(str(error).split()) or type(error).__name__
        logger.error("%s: %s", doing or self.stem, what, exc_info=error)
        self._stop_loading()
        with self.hold_trait_notifications():
            self.problem, self.status = True, f"{doing}: {what}" if doing else what

    @contextmanager
    def guarded(self, doing: str = "") -> Iterator[None]:
        """Turn an error inside the block into a sentence in the status line."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - reported on screen and in the log
            self.fail(error, doing)

    @contextmanager
    def reacting(self, doing: str) -> Iterator[None]:
        """What methods marked with `reacts` run in."""
        with self.guarded(doing):
            yield

    def _draw_status(self, _: Any = None) -> None:
        spin = '<span class="sae-nb-busy" role="img" aria-label="working"></span>'
        kind = "sae-nb-problem" if self.problem else ""
        text = exporting.linked(mark_atoms(self.status), self._written)
        self._status_line.value = (
            f'<div role="status">{spin if self.busy else ""}'
            f'<span class="{kind}">{text}</span></div>'
        )

    def _draw_answer(self, _: Any = None) -> None:
        busy = '<span class="sae-nb-busy" role="img" aria-label="loading"></span>'
        text = f"{busy}{escape(self._loading)}" if self._loading else mark_atoms(self.answer)
        text = text.replace(THIN_SPACE, UNBROKEN)
        self._answer_text.value = f'<div aria-live="polite">{text}</div>' if text else ""
        self._numbers_text.value = escape(self.numbers)
        show(self._answer_line, bool(text))
        show(self._numbers_button, bool(self.numbers))
        show(self._numbers_text, bool(self.numbers) and self.show_numbers)

    # --- atoms ------------------------------------------------------------------------------------

    @property
    def names(self) -> AtomNames:
        """What the atoms are called."""
        return self._atom_names

    @names.setter
    def names(self, names: AtomNames) -> None:
        if names is not self._atom_names:
            self._atom_names = names
            names.observe(self._labels_changed)

    def _labels_changed(self) -> None:
        if self._closed:
            return
        self._keys.send({"kind": "forget cards"})
        if self._reacts and self.ready:
            with self._drawing, self.guarded("labels"):
                self.draw_names()

    def draw_names(self) -> None:
        """Write names anew wherever they stand: a label was changed, here or in another panel."""

    @checked
    def open_atom(self, atom: int | None = None) -> None:
        """Ask for an atom to be opened in a browser, as the button on its card does.

        `atom`: None takes the one the panel shows.
        """
        self.opened = -1
        self.opened = getattr(self, "atom", -1) if atom is None else atom

    def _open_below(self, change: t.Bunch) -> None:
        """Show the atom in a browser under a panel that stands alone, and is none itself."""
        if change["new"] < 0 or not self.opens_below or not BROWSERS:
            return
        if self.names.catalogue is None:
            self.say("Opening an atom needs example activations; this panel knows none.")
            return
        with self.guarded(f"opening atom {change['new']}"):
            self._below = BROWSERS[0](self, change["new"], self._below)
            if not self._drawer.children:
                shut = small_button("close this browser", "Take it off the page", self.shut_below)
                self._drawer.children = (self._below, shut)

    def shut_below(self) -> None:
        """Take the browser under this panel off the page."""
        below, self._below = self._below, None
        if below is not None:
            close_whole(self._drawer.children[-1])
            self._drawer.children = ()
            below.close()

    @checked
    def star(self, atom: int, starred: bool = True) -> None:
        """Put an atom on the work list, or take it off; the key s does so with the atom shown."""
        self.names.labels.star(atom, starred)
        self.say(f"Atom {atom} is {'' if starred else 'no longer '}on the work list.")

    def _star_shown(self) -> None:
        atom = self.atom
        self.star(atom, not self.names.labels.is_starred(atom))

    def _send_card(self, atom: int) -> None:
        card = self.names.card(atom)
        starred = self.names.labels.is_starred(atom)
        content = card_content(card, starred=starred)
        self._keys.send({"kind": "card", "atom": atom, "card": content})

    def _draw_header(self) -> None:
        self._header.value = exporting.header_html(self.question, self.chips)

    def _toggle_help(self, shown: bool) -> None:
        sentences = "".join(f"<p>{escape(s)}</p>" for s in self.explanation if s)
        self._help.value = f'<div class="sae-nb-help" role="note">{sentences}</div>'
        show(self._help, shown)

    def restyle(self) -> None:
        """Redraw with the current theme's sizes."""
        sizes = current_theme()
        self._style.value = (
            f"<style>.sae-nb-panel.sae-nb-{sizes.scale} {{ --sae-nb-font: {sizes.font_px}px; "
            f"--sae-nb-title: {sizes.title_px}px; }}</style>"
        )
        for name in ("normal", "lecture"):
            (self.add_class if name == sizes.scale else self.remove_class)(f"sae-nb-{name}")
        if self._figure is not None:
            self._figure.update_layout(template=template())

    # --- slow work --------------------------------------------------------------------------------

    def run_async(
        self,
        work: Callable[[], T],
        done: Callable[[T], None],
        *,
        doing: str = "",
        channel: str = "main",
        otherwise: Callable[[], None] | None = None,
    ) -> None:
        """Compute `work()` off the main thread and hand its answer to `done`; the newest wins.

        Parameters
        ----------
        work
            Takes nothing, touches no widget. It holds the model's lock itself where it uses one.
        done
            Called with the answer unless a newer request on the same channel was made meanwhile.
        doing
            What the status line says while it runs, and how an error begins ("steering atom 17").
        channel
            Requests on different channels do not displace each other.
        otherwise
            Called where `work` fails, before that is said: to take away what no longer holds.
        """
        if doing:
            self._doing[channel] = f"{doing} …"
            self.say(self._doing[channel])
        started = time.perf_counter()

        def finish(answer: T) -> None:
            with self._drawing:
                if self._closed:
                    return
                said = self.status
                done(answer)
                seconds = time.perf_counter() - started
                if doing and self.status == said and seconds > WORTH_SAYING_SECONDS:
                    self.say(f"{doing}: {format_duration(seconds)}")
                elif doing and self.status == f"{doing} …":
                    self.say("")

        def failed(error: Exception) -> None:
            with self._drawing:
                if not self._closed:
                    if otherwise is not None:
                        otherwise()
                    self.fail(error, doing)

        self._background.submit(work, finish, failed, channel)

    def forget_async(self, channel: str = "main") -> None:
        """Nobody wants what runs on a channel any more: neither its answer nor its error is shown."""
        self._background.forget(channel)
        if self.status == self._doing.pop(channel, None):
            self.say("")

    @checked
    def wait(self, timeout: float = 60.0) -> None:
        """Return when no work is running, with every answer drawn.

        Raises
        ------
        TimeoutError: If work is still running after `timeout` seconds.
        """
        self._background.wait(timeout)

    def _set_busy(self, busy: bool) -> None:
        if not self._closed:
            self.busy = busy
            if not busy:
                self._stop_loading()

    def _stop_loading(self) -> None:
        if self._loading:
            self._loading = ""
            self._draw_answer()

    # --- taking it away ---------------------------------------------------------------------------

    @property
    def record(self) -> Any:
        """The record that is drawn (a dataclass or a mapping), or None."""
        return None

    def current_figure(self) -> go.Figure | None:
        """Return the figure on screen as a plain plotly figure."""
        return None if self._figure is None else go.Figure(self._figure)

    def still_figure(self) -> go.Figure | None:
        """Return the figure as pictures show it; None where components of the panel show all of it."""
        return self.current_figure()

    def static_chips(self) -> dict[str, str]:
        """Return the facts beside the question in exports; what controls say on screen included."""
        return dict(self.chips)

    def main_widgets(self) -> Sequence[ipw.Widget]:
        """Return what stands under the figure in exports."""
        return self._main.children

    def static_main(self) -> str:
        """Return what is under the figure as HTML that needs no script."""
        return exporting.static_html(self.main_widgets())

    def static_detail(self) -> str:
        """Return what is beside the figure as HTML that needs no script."""
        return exporting.static_html(self._detail.children)

    def export_name(self) -> str:
        """Return the name, without ending, of files the export buttons write."""
        return self.stem

    @checked
    def to_html(self, path: str | Path, share_script: bool = False) -> Path:
        """Write the view as one HTML file that needs no kernel, atomically.

        Hover, zoom and the current selection stay; controls are dropped and the page says so. A
        reader without JavaScript sees the same figure as a drawing, and the record as a table.

        Parameters
        ----------
        path
            File to write; an existing one is replaced.
        share_script
            Put plotly's 5 MB script in a `plotly.min.js` beside the file, where many pages share
            it, in place of inside the file.

        Returns
        -------
        Path
            The file written.
        """
        return exporting.write_page(self.static_page(), Path(path), share_script=share_script)

    def static_page(self) -> exporting.Page:
        """Return what `to_html` writes."""
        return exporting.Page(
            question=self.question,
            chips=self.static_chips(),
            answer=self.answer,
            numbers=self.numbers,
            explanation=self.explanation,
            figure=self.current_figure(),
            main=self.static_main(),
            detail=self.static_detail(),
            record=self.record,
            dropped=self.needs_kernel,
            names=self._atom_names,
        )

    @checked
    def to_png(self, path: str | Path | None = None) -> bytes:
        """Return the view as PNG on white at twice its size, drawn without a browser.

        Question, facts, answer, figure with its legend, and what is under and beside it.

        Parameters
        ----------
        path
            File to write as well; an existing one is replaced.
        """
        content = self._sheet().to_png()
        if path is not None:
            write_bytes(Path(path), content)
        return content

    @checked
    def to_svg(self, path: str | Path | None = None) -> str:
        """Return the view as SVG, which scales; otherwise as `to_png`.

        Parameters
        ----------
        path
            File to write as well; an existing one is replaced.
        """
        content = self._sheet().to_svg(on_white=True)
        if path is not None:
            write_bytes(Path(path), content.encode())
        return content

    def _sheet(self) -> Drawing:
        main = exporting.drawings(self.main_widgets(), exporting.MAIN_WIDTH)
        detail = exporting.drawings([self._detail], exporting.DETAIL_WIDTH)
        page = replace(self.static_page(), figure=self.still_figure())
        return exporting.sheet(page, main, detail)

    def state(self) -> dict[str, Any]:
        """Return what a saved session keeps of this panel, ready for JSON.

        Returns
        -------
        dict
            The traits named in `kept_traits` by name; tuples as lists, numpy numbers as Python's.
        """
        return {name: as_json(getattr(self, name)) for name in self.kept_traits}

    @checked
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave, in the order of `kept_traits`; what is not named stays.

        Parameters
        ----------
        state
            From `state()` of a panel of the same class, also by way of JSON.

        Raises
        ------
        ValueError: If it names something this panel does not keep.
        traitlets.TraitError: If a value does not fit this panel (an atom that its SAE does not have).
        """
        state = {self.renamed_traits.get(name, name): value for name, value in state.items()}
        unknown = sorted(set(state) - set(self.kept_traits))
        if unknown:
            raise ValueError(
                f"`state` must name what a {type(self).__name__} keeps "
                f"({', '.join(self.kept_traits) or 'nothing'}), got {', '.join(unknown)}. "
                "Take it from `state()` of the same kind of panel."
            )
        for name in self.kept_traits:
            if name in state:
                value = state[name]
                tuples = isinstance(value, list) and not isinstance(self.traits()[name], t.List)
                self.set_trait(name, tuple(value) if tuples else value)

    def export(self, kind: str) -> None:
        """Write `<export_folder>/<export_name>.<kind>` ("html" or "png") and say where, with a link."""
        name = re.sub(r"[^\w.-]+", "_", self.export_name())
        path = Path(self.export_folder) / f"{name}.{kind}"
        with self.guarded(f"writing {path.name}"):
            (self.to_html if kind == "html" else self.to_png)(path)
            self._written = path
            self.say(f"Written: {path} ({exporting.format_bytes(path.stat().st_size)}).")

    def close(self) -> None:
        """Free the panel, its figure and its threads; closing twice is harmless.

        Widgets that were made but have no place on screen are closed too, and so are the layouts and
        styles, which ipywidgets would keep for good.
        """
        # ipywidgets closes what is thrown away: not while Python's own modules are.
        if self._closed or sys.is_finalizing():
            return
        with self._drawing:  # what another thread is drawing is drawn to its end
            self._closed = True
            forget_styled(self)
            self._background.close()
            self._key_actions.clear()
            self.unobserve_all()
            self.shut_below()
            for child in [*exporting.descendants(self), *owned_widgets(self)]:
                if child is not self:
                    close_whole(child)
            self.layout.close()
            super().close()

    def __repr__(self) -> str:
        facts = ", ".join(f"{name} {text}" for name, text in self.chips.items())
        return f"{type(self).__name__}({facts})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if not isinstance(bundle, dict):
            return bundle
        bundle["text/plain"] = f"{self!r}: {self.question} {self.status}".strip()
        with self.guarded("the picture for readers without JavaScript"):
            bundle["text/html"] = exporting.fallback_html(
                self.question, self.static_chips(), self.current_figure(), self.record
            )
        return bundle


def as_json(value: Any) -> Any:
    """Return a trait's value as JSON has it: lists for tuples, Python's numbers for numpy's."""
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return [as_json(item) for item in sorted(value)]
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if callable(getattr(value, "tolist", None)):
        return as_json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _small_toggle(text: str, tooltip: str) -> ipw.ToggleButton:
    return ipw.ToggleButton(description=text, tooltip=tooltip).add_class("sae-nb-small")
