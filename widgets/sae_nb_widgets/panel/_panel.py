"""Panel: the grammar every panel shares — where, title, answer, controls, stage, margin, menu."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

import ipywidgets as ipw
import plotly.graph_objects as go
import traitlets as t

from sae_nb.checks import checked, no_attribute
from sae_nb.figures import current_theme, template
from sae_nb.figures.theme import escape, format_duration
from sae_nb_widgets.panel import _pages as pages
from sae_nb_widgets.panel._background import Background
from sae_nb_widgets.panel._closing import close_whole, keep_messages, owned_widgets
from sae_nb_widgets.panel._declaring import Reaction, reactions, show, small_button
from sae_nb_widgets.panel._exports import HasExports
from sae_nb_widgets.panel._frame import Frame
from sae_nb_widgets.panel._glossary import first_words, first_words_html, keys_html, words_html
from sae_nb_widgets.panel._side_panel import HasSidePanel
from sae_nb_widgets.panel._theming import forget_styled, keep_styled

T = TypeVar("T")
WORTH_SAYING_SECONDS = 0.2
HEADING = ["chips", "where", "headline", "sure", "sure_words"]
"""Traits of a panel that are drawn at its top."""


class Stage(Enum):
    """How far a panel is made."""

    UNMADE = auto()
    """Its constructor has not come to its widgets, or failed before: there is nothing to close."""

    MADE = auto()
    ARRANGED = auto()
    """Its own widgets are in place, and it reacts to its traits."""

    CLOSED = auto()


class Panel(HasExports, HasSidePanel, ipw.VBox):
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

    _stage: Stage = Stage.UNMADE
    _below: Panel | None = None
    # What a saved session keeps of this panel, in the order in which it is set again.
    kept_traits: ClassVar[tuple[str, ...]] = ()
    # What older sessions call some of them.
    renamed_traits: ClassVar[Mapping[str, str]] = {}

    dark = t.Bool(False, help="Whether JupyterLab shows a dark theme.")

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return no_attribute(self, name)

    def save(self, *_: object, **__: object) -> NoReturn:
        """Answer where nothing is saved: nnsight puts a `save` of its own on every object."""
        raise AttributeError(
            f"A {type(self).__name__} is written by `panel.to_html(file)`; a dashboard's `save(folder)` keeps "
            "its state."
        )

    def __init__(self, *, chips: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        keep_messages()
        self._frame = Frame(self.export)
        self._key_actions: dict[str, Callable[[], None]] = {}
        self._figure: go.FigureWidget | None = None
        # One thread at a time changes what is on screen; observers may come from several.
        self._drawing = threading.RLock()
        super().__init__(**kwargs)
        self._stage = Stage.MADE
        self._background = Background(self._set_busy)
        # What the status line says while a channel works, by channel.
        self._doing: dict[str, str] = {}
        self.chips = dict(chips or {})
        self._build_frame()
        self.restyle()
        keep_styled(self)

    # --- building ---------------------------------------------------------------------------------

    def _build_frame(self) -> None:
        frame = self._frame
        self._link_texts()
        self.add_class("sae-nb-panel")
        frame.keys.on_msg(self._key_message)
        frame.help_button.observe(lambda change: self._toggle_help(change["new"]), "value")
        t.dlink((frame.keys, "dark"), (self, "dark"))
        self.observe(lambda _: self._draw_header(), HEADING)
        self.observe(lambda _: self._draw_words(), [*HEADING, "answer", "busy"])
        self._draw_header()
        self.children = frame.children

    def arrange(
        self,
        *,
        controls: Sequence[ipw.Widget] = (),
        figure: ipw.Widget | Sequence[ipw.Widget] | None = None,
        detail: Sequence[ipw.Widget] = (),
        more: Sequence[ipw.Widget] = (),
        primary: ipw.Widget | None = None,
    ) -> None:
        """Put widgets in the panel's slots.

        Parameters
        ----------
        controls
            One row under the answer; what is not needed at first sight belongs to `more`.
        figure
            The one thing to look at, and what belongs under it, in order.
        detail
            Blocks of the margin next to the figure (under it below 860 px).
        more
            Controls in the menu behind "⋯".
        primary
            The one button that is filled, at the right end of the row; None for none.
        """
        main = (
            [] if figure is None else [figure] if isinstance(figure, ipw.Widget) else list(figure)
        )
        inside = (w for one in main for w in pages.descendants(one))
        self._figure = next(filter(pages.is_plot, inside), None)
        acts = [] if primary is None else [primary.add_class("sae-nb-primary")]
        self._frame.fill([*controls, *acts], more, main, detail)
        self._frame.keys.tips = {
            widget.description: widget.tooltip
            for widget in pages.descendants(self)
            if getattr(widget, "tooltip", None) and getattr(widget, "description", None)
        }
        self._begin_to_react()

    def leave_out_controls(self) -> None:
        """Take the row of controls off the panel, where another view shows them."""
        show(self._frame.controls, False)

    def tuck_away(self, *widgets: ipw.Widget) -> None:
        """Show widgets only while the menu is open."""
        for widget in widgets:
            show(widget, self._frame.more_button.value)
            self._frame.more_button.observe(
                lambda change, widget=widget: show(widget, change["new"]), "value"
            )

    def _begin_to_react(self) -> None:
        if self._stage is not Stage.MADE:
            return
        self._stage = Stage.ARRANGED
        for name, reaction in reactions(type(self)).items():
            self.observe(partial(self._react, getattr(self, name), reaction), reaction.traits)

    def _react(self, method: Callable[[], None], reaction: Reaction, _: t.Bunch) -> None:
        if not self._closed and (reaction.early or self.ready):
            with self.reacting(reaction.doing.format(panel=self)):
                method()

    @property
    def _closed(self) -> bool:
        return self._stage in (Stage.UNMADE, Stage.CLOSED)

    @property
    def _reacts(self) -> bool:
        return self._stage is Stage.ARRANGED

    @property
    def ready(self) -> bool:
        """Whether there is something to draw: before that, nothing reacts to traits."""
        return True

    def bind_key(self, key: str, action: Callable[[], None]) -> None:
        """Call `action` when `key` ("ArrowLeft", "Escape", …) is pressed inside the panel."""
        self._key_actions[key] = action
        self._frame.keys.answered = sorted(self._key_actions)

    @checked
    def come_forward(self) -> None:
        """Show the top of this panel, now or as soon as it is on the page."""
        self._frame.keys.called = True

    def press(self, key: str) -> None:
        """Do what pressing `key` inside the panel does."""
        action = self._key_actions.get(key)
        if action is not None:
            with self.guarded(f"the key {key}"):
                action()

    def _key_message(self, _: object, content: object, __: object) -> None:
        if not isinstance(content, dict):
            return
        kind = content.get("kind")
        if kind == "key":
            self.press(str(content.get("key")))
            return
        if kind == "file":
            self._send_file()
            return
        self._message(content)

    def _message(self, content: dict[str, Any]) -> None:
        """Answer what else the page sends."""

    def show_below(self, panel: Panel, shut: str = "close this panel") -> None:
        """Show another panel under this one, in view, with a button that takes it off the page."""
        self._below = panel
        panel.come_forward()
        if not self._frame.drawer.children:
            self._frame.drawer.children = (
                panel, small_button(shut, "Take it off the page", self.shut_below)
            )  # fmt: skip

    def shut_below(self) -> None:
        """Take the panel under this one off the page."""
        below, self._below = self._below, None
        if below is not None:
            close_whole(self._frame.drawer.children[-1])
            self._frame.drawer.children = ()
            below.close()

    # --- drawing ----------------------------------------------------------------------------------

    def _draw_header(self) -> None:
        self._frame.draw_heading(self._live_heading())

    def first_words(self) -> str:
        """Return the insider words of the first screen, of its top and its margin, each with its meaning."""
        heading = self._live_heading()
        margin = pages.exported([self._frame.detail])
        drawn = ("value", "labels", "tokens")
        names = (str(getattr(widget, name, "")) for widget in margin for name in drawn)
        prefix = (
            one
            for w in pages.descendants(self._frame.main)
            for one in getattr(w, "prefix_names", ())
        )
        return first_words((*heading.where, heading.title, self.answer, *prefix, *names))

    def _draw_words(self) -> None:
        self._frame.words.value = first_words_html(self.first_words())

    def _toggle_help(self, shown: bool) -> None:
        sentences = "".join(f"<p>{escape(s)}</p>" for s in self.explanation if s)
        words = words_html(self._texts())
        searches = any(
            "sae-nb-search" in one._dom_classes
            for one in pages.descendants(self)
            if isinstance(one, ipw.DOMWidget)
        )
        keys = keys_html([*self._key_actions, *["/"] * searches])
        self._frame.help.value = (
            f'<div class="sae-nb-help" role="note">{sentences}{words}{keys}</div>'
        )
        show(self._frame.help, shown)

    def _texts(self) -> Iterator[str]:
        """Return the texts on the panel, as far as they may contain words of the glossary."""
        yield from (*self.explanation, *self.chips)
        for widget in pages.descendants(self._frame.body):
            yield from (
                str(getattr(widget, name, "")) for name in ("description", "hint", "tokens")
            )

    def restyle(self) -> None:
        """Redraw with the current theme's sizes."""
        sizes = current_theme()
        self._frame.draw_size(sizes)
        for name in ("normal", "lecture"):
            (self.add_class if name == sizes.scale else self.remove_class)(f"sae-nb-{name}")
        if self._figure is not None:
            self._figure.update_layout(template=template())
        if self._reacts:
            with self._drawing:
                self._rescale()

    def _rescale(self) -> None:
        """Draw again what takes its sizes from the theme; called only once the panel is arranged."""

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
            Text of the status line while it runs, and the beginning of an error ("steering atom 17").
        channel
            Requests on different channels do not displace each other.
        otherwise
            Called if `work` fails, before that is reported: to remove what no longer holds.
        """
        if doing:
            self._doing[channel] = f"{doing} …"
            self._write_status(self._doing[channel])
        started, n_asked = time.perf_counter(), self._n_said

        def finish(answer: T) -> None:
            with self._drawing:
                if self._closed:
                    return
                said = self.status, self._n_said
                refused = self.problem and self._n_said > n_asked
                done(answer)
                if refused:  # of what was done meanwhile: not this work's to take away
                    if not self.problem:
                        self._write_problem(said[0])
                    return
                seconds = time.perf_counter() - started
                if doing and (self.status, self._n_said) == said and seconds > WORTH_SAYING_SECONDS:
                    self._write_status(f"{doing}: {format_duration(seconds)}")
                elif doing and self.status == f"{doing} …":
                    self._write_status("")

        def failed(error: Exception) -> None:
            with self._drawing:
                if not self._closed:
                    if otherwise is not None:
                        otherwise()
                    self.fail(error, doing)

        self._background.submit(work, finish, failed, channel)

    def forget_async(self, channel: str = "main") -> None:
        """Drop what runs on a channel: neither its answer nor its error is shown."""
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
        # A change that another thread reacts to may not have asked for its work yet.
        self._background.wait(timeout, after=self._drawing)

    def _set_busy(self, busy: bool) -> None:
        if not self._closed:
            self.busy = busy
            if not busy:
                self._stop_loading()

    # --- what a session keeps ---------------------------------------------------------------------

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

    # --- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Free the panel, its figure and its threads; closing twice is harmless.

        Widgets that were made but have no place on screen are closed too, and so are the layouts and
        styles, which ipywidgets would keep for good.
        """
        # ipywidgets closes what is thrown away: not while Python's own modules are.
        if self._closed or sys.is_finalizing():
            return
        with self._drawing:  # what another thread is drawing is drawn to its end
            self._stage = Stage.CLOSED
            self.leave_page()
            forget_styled(self)
            self._background.close()
            self._key_actions.clear()
            self.unobserve_all()
            self.shut_below()
            for child in [*pages.descendants(self), *owned_widgets(self)]:
                if child is not self:
                    close_whole(child)
            self.layout.close()
            super().close()

    def __repr__(self) -> str:
        facts = ", ".join(f"{name} {text}" for name, text in self.chips.items())
        return f"{type(self).__name__}({facts})"

    def _repr_mimebundle_(self, **kwargs: object) -> object:
        bundle = super()._repr_mimebundle_(**kwargs)
        if not isinstance(bundle, dict):
            return bundle
        bundle["text/plain"] = f"{self!r}: {self.question} {self.status}".strip()
        with self.guarded("the picture for readers without JavaScript"):
            bundle["text/html"] = pages.fallback_html(self.page_now())
        return bundle


def as_json(value: object) -> object:
    """Return a trait's value as JSON has it: lists for tuples, Python's numbers for numpy's."""
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return [as_json(item) for item in sorted(value)]
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if callable(tolist := getattr(value, "tolist", None)):
        return as_json(tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
