"""PatchingPanel: states of one run put into another, place by place, and what comes of the answer."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.checks import checked
from sae_nb.circuits import PatchMap
from sae_nb.figures.theme import format_number, format_percent
from sae_nb_widgets.components._layer_grid import LayerGrid
from sae_nb_widgets.panel import Panel
from sae_nb_widgets.panel._declaring import LARGEST_SEED, Whole, reacts, show
from sae_nb_widgets.panel._pages import COLUMNS
from sae_nb_widgets.panel._samples import one_text
from sae_nb_widgets.patching import _words as words
from sae_nb_widgets.patching._controls import (
    DIRECTIONS,
    METHODS,
    SITES,
    TEMPLATES,
    PatchingControls,
)
from sae_nb_widgets.patching._detail import PatchingDetail
from sae_nb_widgets.patching._queries import (
    N_CONTROLS,
    Answer,
    Question,
    StoppedError,
    answered,
    first_kind,
    pairs_of,
    seen,
)

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.circuits import Patching
    from sae_nb.data import PromptPairs
    from sae_nb.models import LiveModel

SAY_EVERY_SECONDS = 0.5
MOST_RECORDED = 20
STOPPED = {False: "estimates by attribution", True: "one control"}
"""What a map has that was stopped: before it was measured, and after."""

FEW_COLUMNS = 8
"""Columns up to which every one has its name, and its cells their numbers."""
MOST_PAIRS = 16
UNKNOWN = 2**31 - 1


@checked(leave=("model",))
class PatchingPanel(Panel):
    """Which places decide the answer?

    Two texts that differ in one thing are answered differently. States of one run are put into the other,
    place by place: the map shows the share of the difference that each place brings about, grey where a control
    does as much: first by attribution, then exactly against one control, then against nineteen. A click,
    arrow keys and a list choose a cell, whose numbers are shown. The pair is typed or drawn from a template;
    every control is a trait.

    Parameters
    ----------
    model
        A language model; or a `PatchMap` from `sn.circuits.patch`, which is shown as it is.
    clean, corrupted
        Texts of equally many tokens to begin with; None: a template whose pairs the model answers.
    target
        Next token of the clean text and of the corrupted one, whose logits are compared; None: the model's
        own answers.
    sae
        Of a place of the model: its atoms can be exchanged, too.

    Raises
    ------
    TypeError, ValueError: If the model reads no texts, or only one of the two texts is given.

    Examples
    --------
    >>> import sae_nb as sn
    >>> panel = PatchingPanel(sn.load_model("tiny-induction"))
    >>> panel.sites = "heads"
    >>> panel.wait()
    >>> panel.headline[:28]
    'Head 0.2 alone brings back 1'
    >>> panel.close()
    """

    question = "Which places decide the answer?"
    explanation = (
        "Of states, MLPs and attention rows are words and columns blocks; of heads rows are layers, the last "
        "on top. A cell is the share of the "
        "difference between the two answers that its state, taken from the other run, brings back (clean into "
        "corrupted) or takes away. Orange: towards the other answer; blue: against it. Grey: no more than "
        "the controls there, states that have nothing to do with the pair: other pairs, or random changes of "
        "the same size. By chance one place in ten is outside 19.",
        "A place that brings the answer back may only be one of several ways; places that are needed together "
        "show nothing alone. Attribution is a first-order estimate: it misses places that are saturated. "
        "Shares of several places do not add up.",
        "Meng et al., arXiv 2202.05262; Wang et al., arXiv 2211.00593; Zhang and Nanda, arXiv 2309.16042; "
        "attribution: Syed et al., arXiv 2310.10348.",
    )
    stem = "patching"
    kept_traits = (
        "template", "n_pairs", "seed", "clean", "corrupted", "target", "other", "control", "heads", "sites",
        "direction", "method", "row", "column",
    )  # fmt: skip
    needs_kernel = "Other texts, places and methods need a running kernel and were left out."

    template = t.Enum(tuple(TEMPLATES), default_value="", help='Template of the pairs; "": typed.')
    n_pairs = Whole(1, 1, MOST_PAIRS, help="Pairs of a template that are averaged.")
    seed = Whole(0, 0, LARGEST_SEED, help="Of the template's draws and of the control.")
    clean = t.Unicode("", help="The clean text; of several pairs the first.")
    corrupted = t.Unicode("", help="The corrupted text.")
    target = t.Unicode("", help="Next token of the clean text; empty: the model's own answers.")
    other = t.Unicode("", help="Next token of the corrupted text, whose logit is subtracted.")
    control = t.Unicode("", help="A text whose states are the control's; empty: chosen at random.")
    heads = t.Unicode("", help='Heads by position, such as "0.2 1.1"; empty: largest estimates.')
    sites = t.Enum(tuple(SITES), default_value="resid", help="Which places are exchanged.")
    direction = t.Enum(tuple(DIRECTIONS), default_value="denoise", help="Which run is changed.")
    method = t.Enum(tuple(METHODS), default_value="exact", help="How effects are found.")
    row = Whole(-1, 0, lambda panel: panel.n_rows - 1, none=-1, help="Row of the cell listed.")
    column = Whole(-1, 0, lambda panel: panel.n_columns - 1, none=-1, help="Its column.")

    def __init__(
        self,
        model: LiveModel | PatchMap,
        clean: Inputs | None = None,
        corrupted: Inputs | None = None,
        target: tuple[str, str] | str | None = None,
        *,
        sae: SparseAutoencoder | None = None,
    ) -> None:
        _check(model, clean, corrupted)
        self.model: Any = None if isinstance(model, PatchMap) else model
        self.sae = sae
        without = {"atoms"} if sae is None else set()
        if self.model is not None and self.model.n_heads is None:
            without |= {"heads", "heads_by_position"}
        self.site_names = tuple(name for name in SITES if name not in without)
        self._seen: Answer | None = None
        self._ask: Question | None = None
        self._pairs: tuple[tuple[Any, int, int], PromptPairs] | None = None
        self._stopping = threading.Event()
        self._said = 0.0
        super().__init__(chips={"model": self.model.name} if self.model is not None else {})
        one, other = (
            ("", "") if target is None else (target, "") if isinstance(target, str) else target
        )
        with self.hold_trait_notifications():
            if clean is not None:
                self.clean, self.corrupted = (
                    one_text(self.model, text) for text in (clean, corrupted)
                )
            self.target, self.other = one, other
            if self.model is not None and clean is None:
                self.template = first_kind(self.model) or ""
        if isinstance(model, PatchMap):
            with self.hold_trait_notifications():
                self.sites, self.direction, self.method = model.sites, model.direction, model.method
        self._build()
        if isinstance(model, PatchMap):
            self._take(seen(model, model.method))
        else:
            self._fill()
            self._request()

    def _build(self) -> None:
        self.controls = PatchingControls(self)
        self.grid, self.control_grid = LayerGrid(), LayerGrid()
        self.grid.observe(self._choose_cell, "selected")
        self._maps = ipw.Box([self.grid, self.control_grid]).add_class(COLUMNS)
        self._score = ipw.HTML()
        self._detail_view = PatchingDetail(self.choose)
        live = self.model is not None
        self.arrange(
            controls=self.controls.first if live else self.controls.more[-2:],
            more=self.controls.more if live else [],
            figure=[self._maps, self._score],
            detail=self._detail_view.widgets,
        )
        self.bind_key("ArrowUp", lambda: self._step(1, 0))
        self.bind_key("ArrowDown", lambda: self._step(-1, 0))
        self.bind_key("ArrowRight", lambda: self._step(0, 1))
        self.bind_key("ArrowLeft", lambda: self._step(0, -1))
        self.bind_key("Escape", self.stop)
        self._show_maps(False)

    # --- asking -----------------------------------------------------------------------------------

    @t.validate("sites")
    def _sites_exist(self, proposal: t.Bunch) -> object:
        if proposal["value"] not in self.site_names:
            raise t.TraitError(
                f"`sites` must be one of {list(self.site_names)} here, got {proposal['value']!r}. Atoms need "
                "PatchingPanel(…, sae=sae)."
            )
        return proposal["value"]

    @reacts("template", "n_pairs", "seed", doing="drawing pairs", early=True)
    def _fill(self) -> None:
        """Put the first pair of the template into the fields."""
        if self.template and self.model is not None:
            pairs = self._drawn()
            with self.hold_trait_notifications():
                self.clean, self.corrupted = pairs.clean[0], pairs.corrupted[0]
                self.target, self.other = pairs.answers[0]

    def _drawn(self) -> PromptPairs:
        """Return the pairs of the template, as many as are averaged; the last ones drawn are kept."""
        wanted = self.template, self.n_pairs, self.seed
        if self._pairs is None or self._pairs[0] != wanted:
            self._pairs = wanted, pairs_of(self.model, *wanted)
        return self._pairs[1]

    @reacts(
        "template", "n_pairs", "seed", "clean", "corrupted", "target", "other", "control", "heads", "sites",
        "direction", "method", doing="patching", early=True,
    )  # fmt: skip
    def _request(self) -> None:
        """Patch what is asked for now; what was asked before is stopped. The same request does nothing."""
        if self.model is None:
            return
        ask = self._asked()
        if ask == self._ask:
            return
        self._ask = ask
        self._stopping.set()
        self._stopping = threading.Event()
        with self.hold_trait_notifications():
            self.row = self.column = -1
        if not (ask.clean[0].strip() and ask.corrupted[0].strip()):
            self.forget_async()
            self._clear()
            self.say(
                "Type a clean and a corrupted text of equally many tokens, or choose a template."
            )
            return
        self._maps.add_class("sae-nb-stale")
        self.headline = ""
        self.loading("The model runs both texts")
        # Atoms are estimated and measured in one call.
        self._work(ask, ask.method if ask.sites == "atoms" else "attribution", 1)

    def _asked(self) -> Question:
        """Return the request; texts that are not the template's make the pair a typed one."""
        fields = self.clean, self.corrupted, self.target, self.other
        answers: tuple[tuple[str, str], ...] = (
            ((self.target, self.other),) if self.target or self.other else ()
        )
        clean: tuple[str, ...] = (self.clean,)
        corrupted: tuple[str, ...] = (self.corrupted,)
        if self.template:
            pairs = self._drawn()
            if fields == (pairs.clean[0], pairs.corrupted[0], *pairs.answers[0]):
                clean, corrupted = pairs.clean, pairs.corrupted
                answers = tuple(pairs.answers)
            else:
                self.template = ""
        return Question(
            clean, corrupted, answers, self.control, self.sites, self.heads, self.direction, self.method,
            self.seed,
        )  # fmt: skip

    def _work(self, ask: Question, method: str, n_controls: int) -> None:
        """Answer; then what is slower: what is measured, and that against more controls."""
        stopping, doing = self._stopping, "estimating" if method == "attribution" else "measuring"
        if n_controls > 1:
            doing = f"measuring {n_controls} controls"
        model, sae, began = self.model, self.sae, time.perf_counter()

        def report(done: int, total: int) -> None:
            if stopping.is_set():
                raise StoppedError
            now = time.perf_counter()
            if now - self._said > SAY_EVERY_SECONDS and done < total:
                self._said = now
                left = format_number((now - began) / done * (total - done), "s")
                with self._drawing:
                    if not self._closed and not stopping.is_set():
                        self.say(f"{doing}: {format_percent(done / total)}, {left} left")

        def work() -> Answer | None:
            try:
                return answered(model, sae, ask, method, n_controls, report)
            except StoppedError:
                return None

        def done(found: Answer | None) -> None:
            if found is None:
                self._show_stop(False)
                shown = self._seen is not None and self._seen.exact
                self.say(f"Stopped: the map shows {STOPPED[shown]}.")
                return
            self._take(found)
            drawn = not (found.of_atoms or ask.control) and len(found.controls) < N_CONTROLS
            further = ask.method == "exact" and not stopping.is_set() and (not found.exact or drawn)
            self._show_stop(further)
            if further:
                self._work(ask, "exact", N_CONTROLS if found.exact else 1)
            else:
                self.say("")

        self._show_stop(True)
        self.run_async(work, done, doing=doing, otherwise=self._clear)

    def stop(self) -> None:
        """Measure no further; what is shown stays."""
        self._stopping.set()

    def _show_stop(self, shown: bool) -> None:
        show(self.controls.stop, shown)

    # --- what was found ---------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether a map is shown."""
        return self._seen is not None

    @property
    def found(self) -> PatchMap | Patching | None:
        """The `PatchMap`, or of atoms the `Patching`, that is shown; None before there is one."""
        return None if self._seen is None else self._seen.found

    @property
    def n_rows(self) -> int:
        """Rows of the map; many before there is one."""
        return UNKNOWN if self._seen is None else len(self._seen.rows)

    @property
    def n_columns(self) -> int:
        """Columns of the map; many before there is one."""
        return UNKNOWN if self._seen is None else len(self._seen.columns)

    @property
    def record(self) -> dict[str, Any] | None:
        """The largest places with their numbers, for exported pages; None while there is no map."""
        one = self._seen
        if one is None:
            return None
        found = one.found
        rows: dict[str, Any] = {
            "asked": found.name,
            "clean": found.clean,
            "corrupted": found.corrupted,
            "pairs": found.n_pairs,
            "control": words.control_words(one),
        }
        if one.exact:
            rows["correlation with attribution"] = found.agreement
        order = np.argsort(-np.abs(one.effect), axis=None, kind="stable")[:MOST_RECORDED]
        for row, column in zip(*np.unravel_index(order, one.effect.shape), strict=True):
            numbers = f"{one.effect[row, column]:+.3f}"
            if words.shows_estimates(one):
                numbers += f"; attribution {one.estimated[row, column]:+.3f}"
            if not one.of_atoms:
                least, most = (end[row, column] for end in one.ends)
                numbers += f"; controls {least:+.3f} … {most:+.3f}"
            rows[words.place_words(one, int(row), int(column))] = numbers.replace("-", "−")
        return rows

    # --- drawing ----------------------------------------------------------------------------------

    def _take(self, found: Answer) -> None:
        """Draw a map; the chosen cell stays, or the first one is chosen once the map is what was asked for."""
        self._seen = found
        self._draw()
        whole = found.exact or self._ask is None or self._ask.method == "attribution"
        fits = 0 <= self.row < len(found.rows) and 0 <= self.column < len(found.columns)
        if whole and not fits:
            self.choose(*words.first_cell(found))
        elif fits:
            self._draw_cell()

    def _draw(self) -> None:
        one = self._seen
        if one is None:
            return
        said, found = words.claim(one), one.found
        self.grid.description = words.map_words(one)
        most = max(1.0, float(np.abs(one.effect).max(initial=0.0)))
        counted, rows = words.row_names(one)
        column = found.column if isinstance(found, PatchMap) else ""
        if one.across:
            tokens = [words.clean_word(one, column)[1:-1] for column in range(len(one.columns))]
            self.grid.show_shares(
                tokens, rows, one.effect.T.tolist(), maximum=most, names=(counted, column),
                quiet=() if not one.exact else (~one.outside).T.tolist(), spread=len(rows) > FEW_COLUMNS,
                marked=-1 if said.moves_at is None else said.moves_at,
            )  # fmt: skip
        else:
            self.grid.show_shares(
                rows[::-1], one.columns, one.effect[::-1].tolist(), maximum=most, names=(counted, column),
                quiet=(~one.outside)[::-1].tolist() if one.exact and not one.of_atoms else (),
            )  # fmt: skip
        if one.of_atoms:
            self.control_grid.description = f"Control: the same with {one.control_source}"
            self.control_grid.show_shares(
                one.control_rows[::-1], one.columns, one.controls[0][::-1].tolist(), maximum=most
            )
        self._maps.remove_class("sae-nb-stale")
        self._show_maps(True)
        asked = words.asked_words(found.name).replace(" − ", " rather than ")
        model = [] if self.model is None else [self.model.name]
        self.where = (*model, SITES[self.sites], asked)
        self._score.value = words.legend_html(one)
        self._detail_view.list(one)
        self.headline = said.title
        self.conclude(said.answer, words.numbers_words(one))

    @reacts("row", "column", doing="listing a cell")
    def _draw_cell(self) -> None:
        one = self._seen
        if one is None or min(self.row, self.column) < 0:
            return
        self._detail_view.show(one, self.row, self.column)
        cell = (
            (self.column, self.row) if one.across else (len(one.rows) - 1 - self.row, self.column)
        )
        if self.grid.selected != cell:
            self.grid.selected = cell

    def _clear(self) -> None:
        self._seen, self.headline = None, ""
        self.conclude("")
        self._show_stop(False)
        self._maps.remove_class("sae-nb-stale")
        self._show_maps(False)
        self._detail_view.clear()

    def _show_maps(self, shown: bool) -> None:
        for widget in (self.grid, self._score, *self._detail_view.widgets):
            show(widget, shown)
        show(self.control_grid, shown and self._seen is not None and self._seen.of_atoms)

    # --- moving about -----------------------------------------------------------------------------

    @checked
    def choose(self, row: int, column: int) -> None:
        """List a cell of the map: row and column, counted from 0."""
        with self.hold_trait_notifications():
            self.row, self.column = row, column

    def _choose_cell(self, change: t.Bunch) -> None:
        row, column = change["new"]
        one = self._seen
        if one is None or min(row, column) < 0:
            return
        self.choose(*((column, row) if one.across else (len(one.rows) - 1 - row, column)))

    def _step(self, up: int, right: int) -> None:
        """Choose the next cell in a direction of the map as it is drawn."""
        one = self._seen
        if one is None:
            return
        by_row, by_column = (right, -up) if one.across else (up, right)
        row = int(np.clip(self.row + by_row, 0, self.n_rows - 1))
        self.choose(row, int(np.clip(self.column + by_column, 0, self.n_columns - 1)))

    def close(self) -> None:
        """Stop measuring, and free the panel."""
        if not self._closed:
            self._stopping.set()
        super().close()


def _check(model: object, clean: Inputs, corrupted: Inputs) -> None:
    from sae_nb.models import LiveModel

    if isinstance(model, PatchMap):
        return
    if not isinstance(model, LiveModel):
        raise TypeError(
            f"`model` must be a live model or a PatchMap, got {type(model).__name__}. Load one by "
            "sn.load_model, or wrap yours by sn.wrap."
        )
    if not model.modality.is_text or not model.causal or model.tokenizer is None:
        raise ValueError(
            f"`model` must be a language model with a tokenizer that answers by a next token, got "
            f"{model.name}, which is {model.kind}. sn.circuits.patch takes any model and a target."
        )
    if (clean is None) != (corrupted is None):
        missing = "corrupted" if corrupted is None else "clean"
        raise ValueError(
            f"`{missing}` must be given with the other text, got None. Pass both, or none."
        )
