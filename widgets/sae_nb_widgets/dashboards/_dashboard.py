"""Dashboard: the panels of one SAE laid out together, linked by the atom they show."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import traitlets as t
from plotly.offline import get_plotlyjs

from sae_nb.checks import checked
from sae_nb.figures import current_theme as theme
from sae_nb.figures.theme import escape, format_duration
from sae_nb.files import write_bytes
from sae_nb.sessions import save_session
from sae_nb_widgets.components._base import HTML, Box, VBox, layout_of, style_sheet
from sae_nb_widgets.components._scripts import read_static
from sae_nb_widgets.dashboards._subject import (
    Subject,
    beginning,
    can_show_heads,
    first_inputs,
    text_of,
)
from sae_nb_widgets.panel import Panel
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._closing import close_whole
from sae_nb_widgets.panel._declaring import TIGHT, Atom, control, show, small_button
from sae_nb_widgets.panel._glossary import AN_ATOM
from sae_nb_widgets.panel._heading import Heading, header_html
from sae_nb_widgets.panel._pages import (
    SHARED_SCRIPT,
    descendants,
    fallback_html,
    format_bytes,
    margins,
    page_html,
)
from sae_nb_widgets.panel._side_panel import HasSidePanel
from sae_nb_widgets.panel._sites import AsSite, SiteSubject
from sae_nb_widgets.panel._status import logger, sentence_html
from sae_nb_widgets.panel._theming import forget_styled, keep_styled

if TYPE_CHECKING:
    from sae_nb_widgets.atom import AtomBrowser
    from sae_nb_widgets.steering import SteeringPanel

CONCEPTS, STEER, DEPTH, TIME = "concepts", "steering", "depth", "time"
HEADS, WORK = "heads", "work"
TAB_NAMES = {
    CONCEPTS: ("find an atom", "All atoms on a map, and what makes the chosen one fire"),
    STEER: ("see what it does", "The live model with the chosen atom made stronger"),
    DEPTH: ("through the layers", "How a picture travels through the model"),
    TIME: ("through the text", "What the past already said"),
    HEADS: ("attention", "Which heads look where, and the answer without one"),
    WORK: ("work list", "Atoms that were starred, labelled or noted; two of them side by side"),
}
IN_BAR = "sae-nb-in-bar"
"""Class of controls that the bar shows: CSS leaves them out in panels."""

FACTS = ("model", "hook point", "SAE", "R²")
"""Chips of the browser that are shown next to the dashboard's title."""

TWICE = ("atom", "search", "strength")
"""Controls of which every panel has its own, by their words; in the bar one serves all."""

SAMPLES_IN_DEPTH, INPUTS_OF_HEADS = 32, 8
EXAMPLES_BESIDE_MAP, TEXTS_BESIDE_MAP = 8, 4
"""Number of examples of an atom that fit next to the map; texts take more room each."""
SESSION_NAME = "session"
LONGEST_NAME = 60


class Dashboard(AsSite, HasSidePanel, ipw.VBox):
    """ConceptMap next to the AtomBrowser; SteeringPanel and further views in tabs, under one bar.

    Make one with `sae_nb_widgets.dashboard`. All panels show the same `atom`; the bar, which stays in
    view, has its number, name, star and label, a search and, where it acts, the strength of steering.
    Tabs after the second are built when first opened, so an unopened view costs nothing.
    """

    atom = Atom(help="Atom that all panels show.")
    tab = t.Unicode(CONCEPTS, help="Which view is open.")
    status = t.Unicode("", help="What happened, how long it took, or what to do.")
    problem = t.Bool(False, help="Whether the status line reports an error.")

    def __init__(self, subject: Subject, *, atom: int | None = None) -> None:
        super().__init__()
        self.subject, self.n_atoms = subject, subject.catalogue.n_atoms
        self.panels: dict[str, Panel] = {}
        self._links: list[t.link] = []
        self._waiting: dict[str, Mapping[str, Any]] = {}
        self._ended = False
        self._relayed: tuple[Panel | None, str] = None, ""
        self._views: dict[str, ipw.Box] = {name: _view() for name in self._tabs()}
        self._build_concepts(atom)
        self._build_bar()
        self._show_tab()
        self.observe(lambda _: self._show_tab(), "tab")
        self.observe(self._draw_status, ["status", "problem"])

    # --- building ---------------------------------------------------------------------------------

    def _tabs(self) -> list[str]:
        about = self.subject
        depth = about.model.modality.is_image and OTHER_PANELS["depth"]() is not None
        past = about.catalogue.reads_sequences and OTHER_PANELS["time"]() is not None
        heads = can_show_heads(about.model)
        return [CONCEPTS, STEER, *[DEPTH] * depth, *[TIME] * past, *[HEADS] * heads, WORK]

    def _build_bar(self) -> None:
        self._folder = ipw.Text(
            value=SESSION_NAME,
            description="session",
            tooltip="Folder that keeps selection, filters, labels, notes, stars and recipes",
            continuous_update=False,
            layout=layout_of(width="150px"),
            style=TIGHT,
        )
        save = small_button("save", "Write the session to this folder", self._press_save)
        html = small_button(
            "⤓ html",
            "Write what is on screen as one HTML file that needs no kernel",
            lambda: self._try("writing", lambda: self.to_html("dashboard.html")),
        )
        self._line = HTML().add_class("sae-nb-statusline")
        self._name = HTML().add_class("sae-nb-name")
        browser = self.browser
        first = (browser.controls.subject, self._name, browser.notes.label, browser.controls.search)
        for widget in (browser.controls.subject, browser.notes.label, browser.controls.search):
            widget.add_class(IN_BAR)
        self._strength = _fields(self.steering, ("strength",))
        self._style = HTML(layout=layout_of(display="none"))
        self._choice = control(
            self,
            "tab",
            "",
            {name: TAB_NAMES[name][1] for name in self._views},
            kind=ipw.ToggleButtons,
            options={name: TAB_NAMES[name][0] for name in self._views},
        ).add_class("sae-nb-tabs")
        second = (self._choice, *self._strength, self._folder, save, html)
        bar = VBox([_row(*first), _row(*second), self._line])
        bar.add_class("sae-nb-bar-top")
        self.add_class("sae-nb-dashboard")
        facts = {name: browser.chips[name] for name in FACTS if name in browser.chips}
        header = HTML(header_html(Heading(question=TITLE, facts=facts, atom_line=AN_ATOM)))
        self._found = HTML().add_class("sae-nb-answer")
        start = HTML(escape(START)).add_class("sae-nb-start")
        self.children = (self._style, header, self._found, start, bar, *self._views.values())
        browser.names.observe(self._draw_name)
        browser.observe(self._draw_found, "answer")
        self._draw_found()
        self.observe(self._draw_name, "atom")
        self._draw_name()
        self.restyle()
        keep_styled(self)

    def _relay(self, change: t.Bunch) -> None:
        """Say in the bar what a panel has refused: its own line may be out of sight."""
        panel = change["owner"]
        if panel.problem:
            self._relayed = panel, panel.status
            with self.hold_trait_notifications():
                self.problem, self.status = True, panel.status
        elif self.problem and self._relayed == (panel, self.status):
            self.say("")

    def _draw_name(self, _: object = None) -> None:
        names = self.browser.names
        often = names.fires(self.atom).partition(" of ")[0]
        words = [names.words(self.atom), f"fires on {often}" if often else ""]
        self._name.value = escape(" · ".join(filter(None, words)))

    def _draw_found(self, _: object = None) -> None:
        """Say at the top what is known of the atom that all panels show."""
        browser = self.browser
        said, answer = browser.names.in_text(browser.atom), browser.answer
        goes_on = answer.startswith("Fires")
        answer = f" {answer[0].lower()}{answer[1:]}" if goes_on else f": {answer}"
        self._found.value = sentence_html(f"{said[0].upper()}{said[1:]}{answer}") * bool(
            browser.answer
        )

    def _build_concepts(self, atom: int | None) -> None:
        from sae_nb_widgets.atom import AtomBrowser
        from sae_nb_widgets.steering import SteeringPanel

        about = self.subject
        catalogue = about.catalogue
        browser = AtomBrowser(
            about.sae, catalogue.acts, about.model, lens=about.lens, atom=atom, labels=about.labels,
            catalogue=catalogue,
        )  # fmt: skip
        self._join("browser", browser)
        browser.tuck_away(browser.notes.widget)
        browser.steers_below = False
        browser.observe(self._asked_for, "steered")
        steering = SteeringPanel(
            about.model, about.hook_point, about.sae, about.inputs, catalogue, atom=browser.atom
        )
        self._join("steering", steering)
        # Last: its search for clusters loads scikit-learn in a thread, which slows what is made meanwhile.
        concept_map = self._concept_map(browser.atom)
        self._views[CONCEPTS].children = [concept_map, browser] if concept_map else [browser]
        if concept_map:
            self._views[CONCEPTS].add_class("sae-nb-two")
            # What the map says already is left out; the rest then fits a screen.
            show(browser.cards.near, False)
            is_text = about.model.modality.is_text
            beside = TEXTS_BESIDE_MAP if is_text else EXAMPLES_BESIDE_MAP
            browser.per_page = min(browser.per_page, beside)
        self._views[STEER].children = [steering]

    def _concept_map(self, atom: int) -> Panel | None:
        made = OTHER_PANELS["map"]()
        if made is None:
            return None
        about = self.subject
        panel: Panel = made(
            about.sae,
            catalogue=about.catalogue,
            examples=about.examples,
            labels=about.labels,
            model=about.model,
            atom=atom,
        )
        self._join("map", panel)
        panel.observe(self._asked_for, "steered")
        panel.observe(self._asked_to_compare, "compared")
        panel.observe(self._draw_selection, "selected")
        self._draw_selection()
        # What a search finds is listed by the map, with a table that can be sorted.
        most: int = made.MOST_FOUND
        strongest = lambda found: found[:most]  # noqa: E731
        self._links.append(t.dlink((self.browser, "found"), (panel, "selected"), strongest))
        panel.inputs.widget.add_class("sae-nb-inputs")
        panel.tuck_away(panel.map.brush_row)
        return panel

    def _draw_selection(self, _: object = None) -> None:
        """Leave out the map's account of a single atom and its inputs, which the browser gives."""
        shown: Any = self.panels["map"]
        several = len(shown.selected) > 1
        (shown.remove_class if several else shown.add_class)("sae-nb-lone")
        show(shown.inputs.widget, several)

    def _asked_for(self, change: t.Bunch) -> None:
        """Show an atom that the user asked to open or to steer with."""
        atoms = change["new"] if isinstance(change["new"], tuple) else (change["new"],)
        if atoms and atoms[0] >= 0:
            self.atom = int(atoms[0])
            self.tab = CONCEPTS if change["name"] == "opened" else STEER

    def _asked_to_compare(self, change: t.Bunch) -> None:
        """Put the first two atoms that the user asked to compare side by side, on the work list."""
        if len(change["new"]) > 1:
            self.compare(*change["new"][:2])

    @checked
    def compare(self, first: int, second: int) -> None:
        """Show two atoms side by side, under the work list."""
        self.tab = WORK
        todo = self.panels[WORK]
        todo.other, todo.atom = first, second
        todo.compare()

    def _join(self, name: str, panel: Panel) -> None:
        """Keep a panel and have it show the dashboard's atom."""
        self.panels[name] = panel
        panel.add_class("sae-nb-joined")
        if isinstance(panel, HasAtoms):
            panel.opens_below = False
            panel.observe(self._asked_for, "opened")
        panel.observe(self._relay, ["problem", "status"])
        for widget in _fields(panel, TWICE):
            widget.add_class(IN_BAR)
        if panel.has_trait("atom"):
            if name == "browser":
                self.atom = panel.atom
            self._links.append(t.link((self, "atom"), (panel, "atom")))
        if name in self._waiting:
            self._restore_panel(name, self._waiting.pop(name))

    # --- tabs -------------------------------------------------------------------------------------

    @t.validate("tab")
    def _tab_exists(self, proposal: t.Bunch) -> str:
        if proposal["value"] not in self._views:
            raise t.TraitError(
                f"`tab` must be one of {list(self._views)}, got {proposal['value']!r}."
            )
        return str(proposal["value"])

    def _show_tab(self) -> None:
        if self._closed:
            return
        if self.tab != CONCEPTS and self.tab not in self.panels:
            self._try(f"opening {self.tab}", lambda: self._build_tab(self.tab))
        for name, view in self._views.items():
            show(view, name == self.tab)
        for widget in self._strength:
            show(widget, self.tab == STEER)

    def _build_tab(self, name: str) -> None:
        started = time.perf_counter()
        make = {
            DEPTH: self._depth_panel,
            TIME: self._time_panel,
            HEADS: self._heads_panel,
            WORK: self._work_list,
        }
        panel = make[name]()
        self._views[name].children = [panel]
        self._join(name, panel)
        self.say(f"{TAB_NAMES[name][0]}: {format_duration(time.perf_counter() - started)}")

    def _depth_panel(self) -> Panel:
        about = self.subject
        inputs = about.inputs
        if inputs is None:
            inputs = about.catalogue.acts.context.pictures
        if inputs is None:
            raise ValueError(
                "`inputs` must be given to follow pictures through the layers, got None. Pass them "
                "to dashboard(…, inputs=pictures)."
            )
        return OTHER_PANELS[DEPTH]()(
            about.model, first_inputs(inputs, SAMPLES_IN_DEPTH), sae=about.sae
        )

    def _time_panel(self) -> Panel:
        about = self.subject
        text = text_of(about) if about.model.modality.is_text else first_inputs(about.inputs, 1)
        return OTHER_PANELS[TIME]()(about.model, about.sae, text, hook_point=about.hook_point)

    def _heads_panel(self) -> Panel:
        about, inputs = self.subject, self.subject.inputs
        if about.model.modality.is_text:
            inputs = beginning(text_of(about))
        elif inputs is None:
            inputs = about.catalogue.acts.context.pictures
        if inputs is None:
            raise ValueError(
                "`inputs` must be given for heads to look at, got None. Pass them to dashboard(…, inputs=…)."
            )
        several = inputs if isinstance(inputs, str) else first_inputs(inputs, INPUTS_OF_HEADS)
        reads_stream = str(about.sae.hook_point).startswith("resid_p")
        return OTHER_PANELS[HEADS]()(about.model, several, saes=about.sae if reads_stream else None)

    def _work_list(self) -> Panel:
        from sae_nb_widgets.atom import WorkList

        about = self.subject
        return WorkList(about.sae, catalogue=about.catalogue, labels=about.labels)

    # --- the panels by name -----------------------------------------------------------------------

    @property
    def map(self) -> Panel | None:
        """The ConceptMap."""
        return self.panels.get("map")

    @property
    def browser(self) -> AtomBrowser:
        """The AtomBrowser."""
        return self.panels["browser"]

    @property
    def steering(self) -> SteeringPanel:
        """The SteeringPanel."""
        return self.panels["steering"]

    @property
    def depth(self) -> Panel | None:
        """The DepthTrajectory; None before its tab is first opened, and where there is none."""
        return self.panels.get(DEPTH)

    @property
    def heads(self) -> Panel | None:
        """The HeadsPanel; None before its tab is first opened, and where there is none."""
        return self.panels.get(HEADS)

    @property
    def time(self) -> Panel | None:
        """The TemporalPanel; None before its tab is first opened, and where there is none."""
        return self.panels.get(TIME)

    @property
    def work(self) -> Panel | None:
        """The WorkList; None before its tab is first opened."""
        return self.panels.get(WORK)

    def wait(self, timeout: float = 60.0) -> None:
        """Return when no panel is working, with every answer drawn.

        Raises
        ------
        TimeoutError: If work is still running after `timeout` seconds.
        """
        for panel in list(self.panels.values()):
            panel.wait(timeout)

    # --- keeping ----------------------------------------------------------------------------------

    def state(self) -> dict[str, dict[str, Any]]:
        """Return the state of every panel, by name; of tabs not opened yet what was restored."""
        built = {name: panel.state() for name, panel in self.panels.items()}
        return {**{name: dict(state) for name, state in self._waiting.items()}, **built}

    def restore(self, panels: Mapping[str, Mapping[str, Any]]) -> None:
        """Take back what `state` gave; panels whose tab is closed get theirs when it is opened.

        Parts that do not fit any more are named in the status line; the rest is restored.
        """
        for name in sorted(panels, key=lambda name: name != "browser"):
            if name in self.panels:
                self._restore_panel(name, panels[name])
            elif name in (*OTHER_PANELS, WORK):
                self._waiting[name] = dict(panels[name])

    def _restore_panel(self, name: str, state: Mapping[str, Any]) -> None:
        self._try(f"restoring {name}", lambda: self.panels[name].restore(state))

    @checked
    def save(self, path: str | Path) -> Path:
        """Write the session: selection, filters, labels, notes, recipes and which SAE they are of.

        Parameters
        ----------
        path
            A folder of its own, or the SAE's, which then gets the session inside. An older session
            there is replaced.

        Returns
        -------
        Path
            The folder written; `sn.open_session(path).dashboard(model, sae, acts)` brings it back.

        Raises
        ------
        FileExistsError: If the folder holds something else.
        """
        written = save_session(
            path,
            self.subject.sae,
            panels=self.state(),
            labels=self.subject.labels,
            recipes=_recipes(self.steering),
            model_name=self.subject.model.name,
            atom=self.atom,
            tab=self.tab,
        )
        self.say(f"Session saved ✓ {written}")
        return written

    def _press_save(self) -> None:
        folder = self._folder.value
        reason = self._not_saved(folder) if folder.strip() else "the name is empty"
        if reason:
            name = folder if len(folder) <= LONGEST_NAME else f"{folder[:LONGEST_NAME]}…"
            with self.hold_trait_notifications():
                self.problem = True
                self.status = f"Cannot save to {name}: {reason}. Your earlier save is unchanged."

    def _not_saved(self, folder: str) -> str:
        """Save to a folder; return why that was not possible, or nothing."""
        try:
            self.save(folder)
        except FileExistsError:
            return "it holds something other than a session"
        except Exception as error:  # noqa: BLE001 - reported on screen and in the log
            logger.error("saving to %s", folder, exc_info=error)
            return "the folder cannot be created or written"
        return ""

    @checked
    def to_html(self, path: str | Path, share_script: bool = False) -> Path:
        """Write every panel that is built as one page that needs no kernel, what the atom does first.

        Parameters
        ----------
        path
            File to write; an existing one is replaced.
        share_script
            Put plotly's script in a `plotly.min.js` next to the file in place of inside it.

        Returns
        -------
        Path
            The file written, with plotly's script in it once, however many panels there are.
        """
        order = [
            name
            for name in ("steering", "browser", "map", DEPTH, TIME, HEADS, WORK)
            if name in self.panels
        ]
        shown = [self.panels[name] for name in order]
        written = write_panels(shown, Path(path), share_script=share_script)
        self.say(f"Written: {written} ({format_bytes(written.stat().st_size)}).")
        return written

    def site_subject(self) -> SiteSubject:
        """Return the atoms with their places on the map, where those are known."""
        examples = self.subject.examples
        xy = None if examples is None else examples.xy
        return SiteSubject(self.browser.names, self.subject.model, xy, self.subject.lens)

    # --- saying, ending ---------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Put a sentence in the status line."""
        with self.hold_trait_notifications():
            self.problem, self.status = False, text

    def _try(self, doing: str, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - reported on screen and in the log
            what = " ".join(str(error).split()) or type(error).__name__
            logger.error("%s: %s", doing, what, exc_info=error)
            with self.hold_trait_notifications():
                self.problem, self.status = True, f"{doing}: {what}"

    def restyle(self) -> None:
        """Redraw the bar with the current theme's sizes; the panels do so themselves."""
        size = f".sae-nb-dashboard {{ --sae-nb-font: {theme().font_px}px; }}"
        self._style.value = f"<style>{style_sheet('dashboard.css')}{size}</style>"

    def _draw_status(self, _: t.Bunch) -> None:
        kind = "sae-nb-problem" if self.problem else ""
        self._line.value = (
            f'<div role="status"><span class="{kind}">{escape(self.status)}</span></div>'
        )

    @property
    def _closed(self) -> bool:
        return self._ended

    def close(self) -> None:
        """Free every panel; closing twice is harmless."""
        if self._closed:
            return
        self._ended = True
        self.leave_page()
        forget_styled(self)
        for link in self._links:
            link.unlink()
        self.unobserve_all()
        everything = descendants(self)
        for panel in self.panels.values():
            panel.close()
        self.panels.clear()
        for widget in everything:
            if widget is not self:
                close_whole(widget)
        self.layout.close()
        super().close()

    def _repr_mimebundle_(self, **kwargs: object) -> object:
        bundle = super()._repr_mimebundle_(**kwargs)
        if isinstance(bundle, dict):
            bundle["text/plain"] = repr(self)
            bundle["text/html"] = "".join(fallback_html(p.page_now()) for p in self.panels.values())
        return bundle

    def __repr__(self) -> str:
        return f"Dashboard({', '.join(map(repr, self.panels.values()))})"


# --- parts ----------------------------------------------------------------------------------------


def _recipes(steering: SteeringPanel) -> list[dict[str, Any]]:
    """Return the recipe that steering shows now, then the kept ones."""
    kept = getattr(steering, "recipes", ())
    return [steering.recipe(), *(dict(one) for one in (kept() if callable(kept) else kept))]


def _concept_map() -> Any:
    from sae_nb_widgets.concept_map import ConceptMap

    return ConceptMap


def _depth() -> Any:
    from sae_nb_widgets.depth import DepthTrajectory

    return DepthTrajectory


def _temporal() -> Any:
    from sae_nb_widgets.temporal import TemporalPanel

    return TemporalPanel


def _heads() -> Any:
    from sae_nb_widgets.heads import HeadsPanel

    return HeadsPanel


OTHER_PANELS: dict[str, Callable[[], Any]] = {
    "map": _concept_map,
    "depth": _depth,
    "time": _temporal,
    "heads": _heads,
}
"""Views whose class is imported when one of them is built; a view is left out where it is None."""


def _view() -> ipw.Box:
    return Box().add_class("sae-nb-view")


def _row(*widgets: ipw.Widget) -> ipw.Box:
    return Box(widgets).add_class("sae-nb-bar-row")


def _fields(panel: Panel, words: Sequence[str]) -> list[ipw.Widget]:
    """Controls of a panel by the words before them."""
    return [one for one in descendants(panel) if getattr(one, "description", None) in words]


# -------------------------------------------------------------------------------------------------
# Several panels as one HTML file that needs no kernel, with plotly's script in it once.

START = (
    "Click a point of the map or search: next to it you see what makes that atom fire. “See what it does” "
    "makes it stronger in the live model."
)
TITLE = "What has this SAE learned, and what does it do?"
STYLE = "body { max-width: 1500px; } main.sae-nb-panel { margin: 0; } main .sae-nb-where { display: none; }"


def write_panels(panels: Sequence[Panel], path: Path, *, share_script: bool = False) -> Path:
    """Write the panels to one file, atomically."""
    if os.path.isdir(path):
        raise ValueError(f"`path` must name a file, got the folder {str(path)!r}. Add a file name.")
    content = get_plotlyjs()
    script = f"<script>{content}</script>"
    if share_script:
        script = f'<script src="{SHARED_SCRIPT}"></script>'
        write_bytes(path.parent / SHARED_SCRIPT, content.encode())
    write_bytes(path, _html(panels, script).encode())
    return path


def _html(panels: Sequence[Panel], script: str) -> str:
    pages = [page_html(panel.static_page(), "") for panel in panels]
    head = _between(pages[0], "<style>", "</style>")
    mains = ""
    for panel, page in zip(panels, pages, strict=True):
        # Of a map of which one atom is chosen the browser tells.
        lone = "sae-nb-lone " * ("sae-nb-lone" in getattr(panel, "_dom_classes", ()))
        main = _between(page, "<main", "</main>")
        mains += main.replace('<main class="', f'<main class="{lone}', 1)
    pair = " sae-nb-pages" if len(panels) > 2 else ""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(TITLE)}</title>{head}"
        f"<style>{read_static('dashboard.css')}{STYLE}</style>{script}</head><body>"
        f'<div class="sae-nb-dashboard"><h1 class="sae-nb-question">{escape(TITLE)}</h1>'
        f'<div class="sae-nb-view{pair}">{mains}</div></div>'
        f"<noscript><style>.sae-nb-live {{ display: none; }}</style></noscript>{margins()}</body></html>"
    )


def _between(page: str, start: str, end: str) -> str:
    first = page.index(start)
    return page[first : page.index(end, first) + len(end)]
