"""AtomBrowser: what makes an atom fire — strengths, examples, neighbours, labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import traitlets as t
from jaxtyping import Float
from torch import Tensor

from sae_nb.atoms import AtomCatalogue, AtomNames, AtomSummary, Band, Example, FoundAtoms, Labels
from sae_nb.checks import check_atom, checked
from sae_nb.evaluation import head_shares
from sae_nb.figures.theme import escape, format_count, format_number
from sae_nb.pretrained import needed_examples
from sae_nb.sessions import names_of
from sae_nb_widgets.atom._atom_view import AtomItself, AtomsAs, DrawnExamples, drawn_as
from sae_nb_widgets.atom._controls import AtomControls, AtomNotes, strengths_shown
from sae_nb_widgets.atom._detail import AtomDetail
from sae_nb_widgets.atom._effects import Effects
from sae_nb_widgets.atom._words import BAND_NAMES, answer, headline, numbers, table
from sae_nb_widgets.components._base import VBox
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import EVERYWHERE, Atom, Site, Whole, reacts, show
from sae_nb_widgets.panel._examples import (
    CropSheet,
    ExamplesView,
    SiteColumns,
    examples_view,
    place_in_words,
)
from sae_nb_widgets.panel._finding import Finder
from sae_nb_widgets.panel._heading import place_words

if TYPE_CHECKING:
    from sae_nb.activations import Activations, Context
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel


# Multiply-adds of an encoding that takes a laptop about a fifth of a second: less is not worth a
# thread and a loading screen.
ENCODE_AT_ONCE = 3_000_000_000
MOST_NEIGHBOURS = 6
ENOUGH, RARE = 30, 0.1
"""Firings, and frequency, between which an atom is worth opening on. Ours."""
MOST_EXAMPLES = 60
HEADS = "head_out"
OPENING = "Everyone in the village knew that"
"""Prompt of the texts that are written when an atom is turned up: one of those with which names were tested."""


@dataclass(frozen=True)
class Question:
    """The part of an atom's record that is drawn."""

    atom: int
    band: Band
    page: int
    per_page: int


@checked(leave=("acts",))
class AtomBrowser(HasAtoms):
    """What makes this atom fire?

    The activations are encoded once, off the main thread where that takes long; then every atom is
    one click. `atom` is a trait: link it with `traitlets.link((a, "atom"), (b, "atom"))`.

    A dictionary of several places has one more, `site`: a hook point, a model or a kind of inputs, by
    the names in `sites`. Neighbours, tokens raised, R² and examples are then of that one; with "all",
    examples of several models, or of images and their captions, are shown side by side.

    Parameters
    ----------
    sae
        Any sparse autoencoder, or a dictionary of several places (a transcoder, a crosscoder).
    acts
        Activations of its width, or a plain matrix; of several places what training takes. None: the
        examples of a pretrained SAE.
    model
        The live model: for the next tokens an atom raises along the direct path, and to measure what it
        does on its examples.
    lens
        A lens of the model, for what an atom raises with later blocks taken into account; its score is
        shown with it.
    atom
        First one shown; one with a name that holds when None, else the most frequent.
    labels
        Where labels and notes are kept: a folder (the SAE's, say), a JSON file, `Labels`, or a
        mapping to begin with. None takes the folder the SAE knows (`sae.folder`), else memory.
    catalogue
        An `AtomCatalogue` of the same SAE and activations, to encode only once for many panels.
    atoms_as
        Drawing of the atom itself, and of plain inputs in which it fires: (height, width) or (3,
        height, width) for images, "line" for a course over time, "point" for a place among data of two
        coordinates. None: as the dictionary specifies (`sae.atoms_as`), or not at all. If the
        dictionary has `orbits` (a number for each atom, or the atoms orbit by orbit, as in
        `sn.lab.GroupNetwork`), the others of the atom's orbit are shown next to it.

    Raises
    ------
    ValueError: If atoms cannot be drawn so.

    Example
    -------
    >>> import torch
    >>> from sae_nb.codes import SparseCodes
    >>> class Signs:
    ...     d_in, n_atoms, dictionary = 2, 2, torch.eye(2)
    ...     def encode(self, x, k=None):
    ...         return SparseCodes.from_dense(x.relu())
    >>> browser = AtomBrowser(Signs(), torch.tensor([[1.0, -1.0], [2.0, 3.0]]))
    >>> browser.atom, browser.summary.n_fired, browser.problem
    (0, 2, False)
    >>> browser.next()
    >>> browser.atom, browser.summary.n_fired
    (1, 1)
    >>> browser.close()
    """

    question = "What makes this atom fire?"
    explanation = (
        "Inputs in which the atom fires, strongest tokens in one column or patches outlined; the buttons "
        "choose how strong. Next to them: what the running model says more with the atom added (green: also "
        "on other examples), how strongly it fires, and the atoms whose directions are closest. “More about "
        "this atom” adds how many atoms fire how often, close-ups, and what fires with it. A frequency is "
        "always the share of the example set's positions (tokens; or patches, cls and registers).",
        "Examples show what goes together with the atom, not what causes it: look at the typical, weak and "
        "random ones too, since maxima flatter every atom, and turn it up to see what it does.",
        "After Bricken et al., Towards Monosemanticity (2023); lift and nearest atoms are ours.",
    )
    stem = "atom"
    kept_traits = (
        "site", "sort", "alive_only", "show_heat", "details", "search", "atom", "band", "page",
    )  # fmt: skip
    needs_kernel = (
        "Other atoms, bands, search and labels need a running kernel and were left out; the figure, "
        "the examples shown and the numbers are all here."
    )

    atom = Atom(help="Row of the dictionary shown.")
    site = Site(help="Which of several places is shown; “all” shows all of them together.")
    sort = t.Enum(
        AtomCatalogue.ORDERS, default_value="frequency", help="Order in which ‹ and › step."
    )
    band = t.Enum(
        get_args(Band), default_value="top", help="Which part of the histogram examples are from."
    )
    search = t.Unicode("", help="Number, label or token; ‹ and › then step through the matches.")
    alive_only = t.Bool(True, help="Step over atoms that never fire.")
    page = t.Int(0, min=0, help="Which examples of the band.")
    per_page = Whole(12, 1, MOST_EXAMPLES, help="Examples on a page.")
    show_heat = t.Bool(True, help="Draw the heat-map over pictures.")
    details = t.Bool(
        False, help="Whether histograms, close-ups, places and co-active atoms are shown too."
    )
    row = t.Int(-1, help="Row of the activations behind the example chosen; -1 for none.")
    found = t.Tuple(help="Atoms that match the search, best first.")
    label = t.Unicode("", help="What this atom is called.")
    note = t.Unicode("", help="Anything else about it.")
    saved = t.Bool(False, help="Whether what is written about this atom is on disk.")
    steered = t.Tuple(help="Event: atoms to steer with; () in between.")
    steers_below = t.Bool(
        True, help="Whether “Turn it up” opens the steering panel under this one."
    )

    def __init__(
        self,
        sae: Any,
        acts: Activations | Float[Tensor, "n d_in"] | None = None,
        model: LiveModel | None = None,
        *,
        lens: Lens | None = None,
        atom: int | None = None,
        labels: Labels | Mapping[int, str] | str | Path | None = None,
        catalogue: AtomCatalogue | None = None,
        atoms_as: AtomsAs | None = None,
    ) -> None:
        if acts is None and catalogue is None:
            catalogue = needed_examples(sae).catalogue(sae)
        self.catalogue = self._whole = catalogue or AtomCatalogue(sae, acts)  # type: ignore[arg-type]
        self.sites = self._whole.sites
        # Labels that came with the catalogue stay readable beneath what people write.
        names = names_of(self.catalogue.sae, self.catalogue, labels)
        self.labels = self.catalogue.labels = names.labels
        self.n_atoms = self.catalogue.n_atoms
        first = None if atom is None else check_atom(atom, self.n_atoms)
        self._way = drawn_as(atoms_as, self._whole)
        self._model, self._lens = model, lens
        self.effects = Effects(self, model, lens)
        self._record: AtomSummary | None = None
        self._order: np.ndarray = np.arange(self.n_atoms)
        self._drawn: Question | None = None
        self._chosen = False
        # While a row of the find box is taken, its atom.
        self._taken: int | None = None
        super().__init__(chips=self._chips())
        self.names, self.opens_below = names, False
        self._build()
        if first is not None:
            self.atom = first
        self._chosen = first is not None
        self._encode()

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self._rows = self._whole.row_word
        self.examples = self._examples_view()
        self.per_page = self.examples.per_page
        self.itself = AtomItself(self._whole, self._way, lambda atom: self.set_trait("atom", atom))
        self.site_columns = SiteColumns(self._whole, self._choose_example)
        self._examples = VBox([self.examples.widget, self.site_columns.widget])
        self.crops = CropSheet(self._choose_crop)
        self.notes = AtomNotes(self, self.labels)
        self.finder = Finder(
            self,
            lambda: self.catalogue,
            self._take_found,
            model=lambda: self._model,
        )
        self.controls = AtomControls(self, self.notes.star, self.catalogue.no_near_misses)
        self.cards = AtomDetail(
            self.names,
            self._rows,
            go=lambda atom: self.set_trait("atom", atom),
            band=lambda band: self.set_trait("band", band),
            often=self._go_to_frequency,
            measure=self.measure if self.effects.can_be_measured else None,
        )
        self.arrange(
            controls=self.controls.first,
            more=self.controls.more,
            primary=self.controls.turn_up if self._steerable else None,
            figure=[
                self._examples,
                self.controls.foot,
                self.crops.widget,
                self.notes.widget.add_class("sae-nb-ownname"),
            ],
            detail=[self.itself.widget, *self.cards.widgets],
        )
        self._show_details()
        self._listen_to_examples()
        self.bind_key("ArrowRight", self.next)
        self.bind_key("ArrowLeft", self.previous)
        self.bind_key("Escape", self.clear_selection)

    def _examples_view(self) -> ExamplesView:
        """Return how inputs are shown: in their own form, and plain vectors as the atoms are drawn."""
        context = self.catalogue.acts.context
        plain = context.modality.is_plain and context.pictures is None
        if plain and self._way is not None and self._way != "point":
            return DrawnExamples(self.catalogue, self._way)
        return examples_view(context)

    @property
    def dictionary_shown(self) -> SparseAutoencoder | None:
        """Whose atoms these are."""
        return self._whole.sae

    def _listen_to_examples(self) -> None:
        context = self.catalogue.acts.context
        self.examples.on_select(lambda example, part: self._choose_example(example, part, context))

    def _chips(self) -> dict[str, str]:
        acts, sae = self.catalogue.acts, self.catalogue.sae
        name = getattr(acts, "model_name", None) or getattr(sae, "model_name", None)
        facts = {"model": name, "hook point": acts.hook_point, "SAE": type(sae).__name__}
        if self.site != EVERYWHERE:
            facts["site"] = self.site
        facts |= {
            "atoms": format_count(self.n_atoms),
            self.catalogue.row_word: format_count(len(acts)),
        }
        if self.catalogue.encoded:
            codes = self.catalogue.codes
            facts["L0"] = format_number(codes.nnz / max(codes.n_rows, 1))
            facts["R²"] = None if self.catalogue.r2 is None else format_number(self.catalogue.r2)
        return {key: str(value) for key, value in facts.items() if value}

    # --- encoding ---------------------------------------------------------------------------------

    def _encode(self) -> None:
        acts = self.catalogue.acts
        cost = len(acts) * acts.d_in * self.n_atoms
        if self.catalogue.encoded or cost <= ENCODE_AT_ONCE:
            with self.guarded("encoding"):
                self._measure()
                self._ready(None)
            return
        self.examples.say("The SAE is encoding the activations; the first atom appears after that.")
        self.catalogue.callback = self.progress_of("encoding:", of=self._rows)
        self.run_async(self._measure, self._ready, doing="encoding", channel="encode")

    def _measure(self) -> None:
        for one in (self.catalogue, *self.catalogue.side_by_side):
            _ = one.frequency, one.max_strength
        _ = self.catalogue.r2
        self.names.caption(0)  # its words are counted once, before anyone waits for them

    def _ready(self, _: None) -> None:
        self.chips = self._chips()
        self.finder.search(self.search.strip(), self._keep_found)
        first = self.atom if self._chosen else self._worth_opening()
        if self.atom != first:
            self.atom = first
        else:
            self._draw()

    def _worth_opening(self) -> int:
        """Return the atom with the surest name, neither rare nor everywhere; else the most frequent one."""
        fires, often = self.catalogue.n_fired, self.catalogue.frequency
        confirmed = [
            (round(found.beyond_chance, 2), int(fires[atom]), atom)
            for atom in self.labels
            if 0 <= atom < self.n_atoms
            and (found := self.labels.evidence(atom)) is not None
            and found.beyond_chance > 0
            and fires[atom] >= ENOUGH
            and often[atom] <= RARE
            and self.names.source(atom)
        ]
        if confirmed:
            return max(confirmed)[2]
        named = (atom for atom in self.names.surest() if fires[atom])
        return next(named, int(self._order[0]) if len(self._order) else self.atom)

    def refresh(self) -> None:
        """Encode again: after more training of the same SAE, say."""
        old = self._whole
        self._whole = AtomCatalogue(old.sae, old.given, labels=self.labels)
        self.__dict__.pop("head_shares", None)
        self.names = names_of(old.sae, self._whole, self.labels)
        self._take_site()
        old_columns, self.site_columns = (
            self.site_columns,
            SiteColumns(self._whole, self._choose_example),
        )
        self._examples.children = (self.examples.widget, self.site_columns.widget)
        old_columns.close()
        self._record, self._drawn, self._chosen = None, None, True
        self._encode()

    # --- several places ---------------------------------------------------------------------------

    @reacts("site", doing="showing {panel.site}", early=True)
    def _change_site(self) -> None:
        before = self.catalogue.acts.context
        self._take_site()
        if self.catalogue.acts.context is not before:
            old, self.examples = self.examples, self._examples_view()
            self._listen_to_examples()
            self.examples.show_heat(self.show_heat)
            self._examples.children = (self.examples.widget, self.site_columns.widget)
            old.close()
        self._record, self._drawn, self._chosen = None, None, True
        self._encode()

    def _take_site(self) -> None:
        everywhere = self.site == EVERYWHERE
        self.catalogue = self._whole if everywhere else self._whole.at(self.site)
        self.catalogue.labels = self.labels

    # --- what is shown ----------------------------------------------------------------------------

    @property
    def summary(self) -> AtomSummary:
        """The record shown; waits for work that is under way.

        Raises
        ------
        RuntimeError: If there is none because encoding failed.
        """
        self.wait()
        if self._record is None or self._record.atom != self.atom:
            raise RuntimeError(f"There is no record of atom {self.atom}: {self.status}")
        return self._record

    @property
    def record(self) -> dict[str, Any] | None:
        """The numbers behind the figure, for the table of exported pages."""
        rows = self.catalogue.rows_in_words
        if self._record is None:
            return None
        found = table(self._record, self.names, rows, self.effects.of.get(self._record.atom))
        if self.head_shares is not None:
            found["attention_heads"] = self.head_shares[self._record.atom]
        return found

    def static_chips(self) -> dict[str, str]:
        """Return the facts next to the question in exports, and which atom and examples these are."""
        shown = {"atom": self.names.name(self.atom), "examples": BAND_NAMES[self.band]}
        return {**shown, **self.chips}

    def export_name(self) -> str:
        """Return the file name of exports: the atom and the band."""
        return f"{self.stem}_{self.atom}_{self.band}"

    @property
    def ready(self) -> bool:
        """Whether the activations are encoded."""
        return bool(self.catalogue.encoded)

    @reacts("atom", "band", doing="atom {panel.atom}", early=True)
    def _change_subject(self) -> None:
        self._chosen = True
        self.page = 0
        self._draw()

    @reacts("opened", doing="opening atom {panel.opened}")
    def _open(self) -> None:
        if self.opened >= 0:
            self.atom = self.opened

    @reacts("dark", doing="atom {panel.atom}")
    def _change_theme(self) -> None:
        self._drawn = None
        self._draw()

    @property
    def _wanted(self) -> Question:
        return Question(self.atom, self.band, self.page, self.per_page)

    @reacts("page", "per_page", doing="atom {panel.atom}")
    def _draw(self) -> None:
        """Show the record of the atom, band and page the traits ask for, unless it is shown."""
        wanted = self._wanted
        if not self.ready or self._closed or wanted == self._drawn:
            return
        self._drawn = wanted
        if self.band == "just below" and not self.catalogue.near_misses_known:
            self.run_async(self._summarise, self._show, doing="encoding with a larger k")
            return
        with self.guarded(f"atom {self.atom}"):
            self._show(self._summarise())

    def _summarise(self) -> AtomSummary:
        asked = self._drawn or self._wanted
        return self.catalogue.summary(
            asked.atom,
            asked.band,
            page=asked.page,
            n_examples=asked.per_page,
            n_neighbours=MOST_NEIGHBOURS,
            model=self._model,
            lens=self._lens,
        )

    # --- what it does to the model ----------------------------------------------------------------

    @property
    def _steerable(self) -> bool:
        """Whether there is a model in which the atom can be turned up."""
        return self._model is not None and not self.sites and bool(self._whole.acts.hook_point)

    @checked
    def measure(self) -> None:
        """Measure what the atom does to the model's answer on its examples, in the background."""
        if not self.effects.can_be_measured:
            self.say("Pass model= and activations that sn.capture made to measure an atom.")
            return
        self.effects.ask(self.atom)

    def draw_effects(self) -> None:
        """Write what is known by now of the atom shown."""
        if self._record is not None and self._record.atom == self.atom:
            self._show_words(self._record)

    def steer(self) -> None:
        """Turn the atom up in the running model: in a SteeringPanel below, or where a dashboard has one."""
        self.steered = ()
        self.steered = (self.atom,)

    @reacts("steered", doing="opening the steering panel")
    def _steer_below(self) -> None:
        if not self.steered or not self.steers_below:
            return
        if not self._steerable:
            self.say("Pass model= to see what the atom does when it is turned up.")
            return
        from sae_nb_widgets.steering import SteeringPanel

        if self._below is None:
            place, whole = str(self._whole.acts.hook_point), self._whole
            text = OPENING if self._talks else None
            self.show_below(
                SteeringPanel(self._model, place, whole.sae, text, whole, atom=self.atom)  # type: ignore[arg-type]
            )
        else:
            self._below.atom = self.atom
            self._below.come_forward()
        if self._talks and isinstance(self._below, SteeringPanel):
            self._below.continue_text()

    @property
    def _talks(self) -> bool:
        """Whether the model writes texts, so that the effect of an atom can be read."""
        return bool(getattr(self._model, "causal", False))

    # --- drawing ----------------------------------------------------------------------------------

    def _show(self, record: AtomSummary) -> None:
        if (record.atom, record.band) != (self.atom, self.band):
            return  # computed off the main thread for what is no longer asked for
        self._record = record
        if self.page != record.page:
            self._drawn = Question(record.atom, record.band, record.page, self.per_page)
            self.page = record.page
        self.effects.ask_quickly(record)
        self._show_parts(record)
        heads = self.head_shares
        self.cards.show_heads(None if heads is None else heads[record.atom], self._at_heads)
        self.controls.rank.value = escape(self._rank())
        self.controls.show(record)
        self.notes.show(record.atom)
        self.row = -1

    def _show_words(self, record: AtomSummary) -> None:
        """Write name and sentence of the atom, and draw the margin from the same record."""
        effects = self.effects.of.get(record.atom)
        name = getattr(self.catalogue.acts, "model_name", None) or ""
        place = place_words(str(self.catalogue.acts.hook_point or ""))
        with self.hold_trait_notifications():
            self.where = tuple(filter(None, (name, place, f"atom {record.atom}")))
            self.headline = headline(record, self.names)
            self.sure, self.sure_words = self.names.sureness(record.atom)
        said, bold, reasons = answer(record, self.names, self.catalogue, effects)
        shown = strengths_shown(record, self.catalogue.strengths(record.atom)[1])
        self.conclude(said, numbers(record, shown), bold, reasons=reasons)
        self.cards.show(record, effects, working=self.effects.under_way == record.atom)

    def _show_parts(self, record: AtomSummary) -> None:
        self._show_examples(record)
        if self.details:
            self.crops.show(record)
        self.itself.show(record.atom)
        self._show_words(record)

    def _show_examples(self, record: AtomSummary) -> None:
        """Draw examples, those of several sites side by side."""
        several = bool(record.sites)
        show(self.examples.widget, not several)
        show(self.site_columns.widget, several)
        if several:
            self.site_columns.show(record)
        else:
            self.examples.atom = record.atom
            self.examples.show(record.examples, record.max_strength, record.missing)

    def draw_names(self) -> None:
        """Write the answer, neighbours and matches again with the names they have now."""
        if self._record is not None:
            self.notes.show(self.atom)
            self._show_words(self._record)
            self.finder.refresh()

    @property
    def _at_heads(self) -> bool:
        """Whether atoms are read where the outputs of attention heads lie side by side."""
        place = self._whole.acts.hook_point or getattr(self._whole.sae, "hook_point", None)
        return not self.sites and str(place).partition(".")[0] == HEADS

    @cached_property
    def head_shares(self) -> Float[np.ndarray, "n_atoms n_heads"] | None:
        """Share of every head in every atom, of an SAE at `head_out.L`; None elsewhere, or without a model."""
        n_heads = None if self._model is None else self._model.n_heads
        if n_heads is None or not self._at_heads:
            return None
        return head_shares(self._whole.sae, n_heads)

    def _rank(self) -> str:
        places = np.flatnonzero(self._order == self.atom)
        among = f"{format_count(len(self._order))}{' found' if self.found else ''}"
        return (
            f"{format_count(int(places[0]) + 1)} of {among}" if len(places) else f"not in {among}"
        )

    # --- stepping and searching -------------------------------------------------------------------

    def next(self) -> None:
        """Show the next atom in the order chosen, or the next that matches the search."""
        self._step(1)

    def previous(self) -> None:
        """Show the atom before."""
        self._step(-1)

    def next_page(self) -> None:
        """Show further examples of the band."""
        self.page += 1

    def previous_page(self) -> None:
        """Show earlier examples of the band."""
        self.page = max(self.page - 1, 0)

    def _step(self, by: int) -> None:
        if not len(self._order):
            return
        places = np.flatnonzero(self._order == self.atom)
        place = (int(places[0]) + by) % len(self._order) if len(places) else 0
        self.atom = int(self._order[place])

    @reacts("search", doing="searching")
    def _search(self) -> None:
        self.finder.search(self.search.strip(), partial(self._use_found, self.atom))

    def _keep_found(self, found: FoundAtoms | None) -> None:
        self.found = () if found is None else tuple(found.atoms.tolist())
        self._reorder()

    def _use_found(self, before: int, found: FoundAtoms | None) -> None:
        """Step through what was found, from the row that was taken, or from the first.

        An atom chosen while the model read stays.
        """
        self._keep_found(found)
        taken, self._taken = self._taken, None
        if self.found and self.atom == before:
            self.atom = self.found[0] if taken is None else taken
        if self.search.strip():
            self.say_found(self.search.strip(), len(self.found), self.finder.advice)

    def _take_found(self, atom: int, found: FoundAtoms) -> None:
        word, self._taken = self.finder.widget.query.strip(), atom
        if self.search.strip() == word:
            self._use_found(self.atom, found)
        else:
            self.search = word

    @reacts("sort", "alive_only", doing="sorting")
    def _reorder(self) -> None:
        if self.found:
            self._order = np.array(self.found, np.int64)
            if self.sort == "steadiest":
                ranked = self.catalogue.order(self.sort)
                self._order = ranked[np.isin(ranked, self._order)]
        else:
            self._order = self.catalogue.order(self.sort, alive_only=self.alive_only)
        self.controls.rank.value = escape(self._rank())

    def clear_selection(self) -> None:
        """Choose no example and end the search."""
        self.examples.clear()
        self.site_columns.clear()
        self.finder.clear()
        self.search = ""
        self.say("")

    # --- clicks -----------------------------------------------------------------------------------

    def _go_to_frequency(self, frequency: float) -> None:
        """Show the atom whose frequency is nearest as a ratio: the axis that was clicked is logarithmic."""
        if self.catalogue.encoded:
            with np.errstate(divide="ignore"):
                apart = np.abs(np.log10(self.catalogue.frequency) - np.log10(frequency))
            self.atom = int(np.argmin(apart))

    def _choose_crop(self, row: int, words: str) -> None:
        self.row = row
        self.say(words)

    def _choose_example(self, example: Example | None, part: int, context: Context) -> None:
        self.row = -1 if example is None else example.row
        if example is not None:
            self.say(place_in_words(example, part, context))

    @reacts("show_heat", doing="drawing the heat", early=True)
    def _show_heat(self) -> None:
        self.examples.show_heat(self.show_heat)
        self.site_columns.show_heat(self.show_heat)

    @reacts("details", doing="details", early=True)
    def _show_details(self) -> None:
        show(self.crops.widget, self.details)
        self.cards.show_more(self.details)
        if self.details and self._record is not None:
            self.crops.show(self._record)

    def _rescale(self) -> None:
        if self._record is not None:
            self._show_parts(self._record)


def browser_below(names: AtomNames, atom: int, browser: AtomBrowser | None = None) -> AtomBrowser:
    """Return a browser that shows an atom of the SAE of these names; `browser` where there is one already."""
    if browser is None:
        sae = names.catalogue.sae  # type: ignore[union-attr] # it is asked for where there is one
        return AtomBrowser(sae, catalogue=names.catalogue, labels=names.labels, atom=atom)
    browser.atom = atom
    return browser
