"""InputLens: which atoms a text, a picture or a sound uses — what fired, and what the answer hung on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
import traitlets as t

from sae_nb.activations import acts_of_sites
from sae_nb.checks import checked
from sae_nb.corpora import BaseRate, Contrast, InputSummary, base_rate
from sae_nb.data import Paper, Scenes
from sae_nb.evaluation import SpliceCheck
from sae_nb.figures.theme import format_duration
from sae_nb.pretrained import examples_of
from sae_nb.sessions import names_of
from sae_nb_widgets.components import DrawPad, PairedBars, SoundRecorder
from sae_nb_widgets.components._atom_card import icons_of
from sae_nb_widgets.components._draw_pad import Point
from sae_nb_widgets.input_lens import _figure as input_lens_bars
from sae_nb_widgets.input_lens._controls import MOST_SHOWN, ORDER_NAMES, InputLensControls
from sae_nb_widgets.input_lens._detail import InputLensDetail
from sae_nb_widgets.input_lens._figure import input_lens_figure
from sae_nb_widgets.input_lens._inputs import PICTURES, InputExamples, InputSources, checked_point
from sae_nb_widgets.input_lens._lattice import Lattice, claim_words, headline_words
from sae_nb_widgets.input_lens._runs import Answer, InputRuns, Phase, atom_to_open, example_to_open
from sae_nb_widgets.input_lens._views import WordsView, recorder_of, view_of
from sae_nb_widgets.input_lens._words import (
    answer_title,
    answer_words,
    measured_words,
    notes_words,
    nothing_given,
    numbers_words,
)
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import Atom, Whole, or_trait_error, reacts, show
from sae_nb_widgets.panel._pages import Page
from sae_nb_widgets.panel._samples import facts_of, newest, stream_of, target_of, target_rule

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


SLOTS = ("first", "second")
HEATS = ("fired", "mattered")

WAITING = "sae-nb-waiting"
MOST_TRIED, TRYING_SECONDS = 6, 2.0
"""Examples that are read at most to open on one in which atoms matter, and for how long another is begun."""

FIRST_READING_SECONDS = 4
"""Duration of the first answer of a kernel on two cores, including loading its libraries: 2.8 to 4.2 s."""


@checked
class InputLens(HasAtoms):
    """Which atoms does this use?

    Type a text; choose, upload or draw a picture; choose, upload or record a sound; upload a video (GIF, WebP),
    or set `picture` to its frames. The model runs once forwards and backwards, off the main thread; then a
    sentence states its answer and the atoms it depends on, and bars show which atoms were active, compared
    with how often they usually are, and which moved the answer, compared with random directions. It opens on
    the first atom whose heat can be seen. `atom` is a trait: link it with
    `traitlets.link((lens, "atom"), (browser, "atom"))`.

    Parameters
    ----------
    model
        A model of texts, images, sounds or videos, from `load_model` or `wrap`.
    sae
        Whose atoms.
    hook_point
        Hook point of the SAE; None takes the SAE's own. For a transcoder, where it writes.
    acts
        Activations: base rates are measured on them, and their texts, pictures or sounds are the
        examples. For a transcoder what it reads, or (what it reads, what it writes).
    frequency
        Base rates, as in `top_atoms`, where they are known already.
    labels
        Names of atoms.
    examples
        The example store of a pretrained SAE; None takes it where this is one.

    Examples
    --------
    >>> import torch, sae_nb as sn
    >>> model = sn.load_model("tiny-vit")
    >>> sae = sn.TopK(d_in=64, n_atoms=128, k=4, generator=torch.Generator().manual_seed(0))
    >>> lens = InputLens(model, sae, "resid_post.6")
    >>> lens.draw([[(9, 8), (22, 8), (14, 24)]])
    >>> lens.summary.answers[0][1], lens.problem
    ('7', False)
    >>> lens.close()
    """

    question = "Which atoms does this use?"
    explanation = (
        "Bars on the left: how strongly each atom is active in this input, and how many times as often as "
        "in the example set. Bars on the right: how much it moves the score of the answer (a logit above "
        "the mean of all), estimated by gradient × activation; the dashed tick is what random directions "
        "of the same strengths reach, and measuring runs the model without the atom.",
        "The estimate can be wrong even in sign where the model bends, so measure what you rely on. This "
        "is a single input; do not generalise from it. The noise floor between two inputs permutes "
        "positions, which are not independent.",
        "Contributions: Marks et al., “Sparse Feature Circuits”, arXiv 2403.19647; base rates, controls "
        "and floors are ours.",
    )
    stem = "input"
    needs_kernel = (
        "Typing, drawing and other atoms need a running kernel and were left out; the input, the atom "
        "shown over it, the bars and the numbers are all here."
    )

    text = t.Unicode("", help="What a language model reads.")
    compare_text = t.Unicode("", help="A second text to compare with; empty for none.")
    picture = t.Any(
        None,
        help="What a vision model reads: uint8 (3, height, width); of videos (frames, 3, height, width); the "
        "image in the text of a model that reads both.",
    )
    compare_picture = t.Any(None, help="A second picture to compare with; None for none.")
    sound = t.Any(
        None,
        help="What a model of sounds hears: values (time,), (values, rate) or a .wav file; kept as float32 "
        "(time,) at the model's rate.",
    )
    compare_sound = t.Any(None, help="A second sound to compare with; None for none.")
    comparing = t.Bool(False, help="Whether a second input is compared with the first.")
    slot = t.Enum(SLOTS, default_value="first", help="Which input drawing and choosing go to.")
    example = Whole(
        -1,
        0,
        lambda panel: panel.n_examples - 1,
        none=-1,
        help="Which example was chosen; -1 for none of them.",
    )
    atom = Atom(help="Row of the dictionary whose strength is shown over the input.")
    token = Whole(
        -1,
        0,
        lambda panel: panel.n_positions - 1,
        none=-1,
        help="Position whose strongest atoms are listed; -1 follows the atom.",
    )
    sort = t.Enum(tuple(ORDER_NAMES), default_value="attribution", help="Order of the rows.")
    heat = t.Enum(HEATS, default_value="fired", help="What is drawn over the input.")
    target = t.Unicode("", help="Class or token asked about; empty for the model's own answer.")
    n_shown = Whole(5, 1, MOST_SHOWN, help="How many atoms have bars.")
    ink = t.Enum(Scenes.colour_names, default_value=Paper().ink, help="Ink of drawings.")
    paper = t.Enum(Scenes.texture_names, default_value="vertical", help="Texture behind drawings.")

    def __init__(
        self,
        model: LiveModel,
        sae: SparseAutoencoder,
        hook_point: str | None = None,
        *,
        acts: Activations | tuple[Any, ...] | None = None,
        frequency: Any = None,
        labels: Mapping[int, str] | None = None,
        examples: Any = None,
    ) -> None:
        self.hook_point = checked_point(model, sae, hook_point)
        self.model, self.sae, self.n_atoms, self.kind = model, sae, int(sae.n_atoms), model.kind
        acts = None if acts is None else acts_of_sites(sae, acts, name="acts")
        if not (examples is None or hasattr(examples, "catalogue")):
            raise TypeError(
                f"`examples` must be what sn.load_examples returns, got {type(examples).__name__}. Leave it "
                "out for an SAE that is not bundled."
            )
        known = examples_of(sae)
        store = known if examples is None else examples
        if labels is None and known is None:
            labels = getattr(store, "labels", None)
        said = known.labels if labels is None and known is not None else labels
        examples_by_number = InputExamples(model, getattr(acts, "context", None), store)
        self.n_examples = len(examples_by_number)
        # Counted on the rows that browser and map count on: an atom has one frequency.
        stored = None if store is None else store.catalogue(sae)
        self._given_rates = next((x for x in (frequency, acts, stored) if x is not None), None)
        self._base: BaseRate | None = None
        self._answer: Answer | None = None
        self._runs = InputRuns(model, sae, self.hook_point, said or {})
        self._read_lattice: tuple[InputSummary, Lattice] | None = None
        # Of the first input, by atom.
        self._checks: dict[int, SpliceCheck] = {}
        self._atoms: list[int] = []
        self.sources = InputSources(self, examples_by_number)
        # What was done to pictures and sounds, by the trait that holds them.
        self._input_notes: dict[str, tuple[str, ...]] = {}
        self._rates: dict[str, float | None] = {}
        """Of videos, frames per second by the trait that holds them."""
        self._phase = Phase.COUNTING
        self._filling = False
        # The atom that the panel chose, which follows the input until another is chosen.
        self._offered = self.atom
        super().__init__()
        self.names = names_of(sae, labels=labels)
        self.chips = self._facts()
        self._build()
        self._measure_base_rates()

    @t.validate("target")
    def _target_exists(self, proposal: t.Bunch) -> str:
        or_trait_error(target_of, self.model, proposal["value"])
        return str(proposal["value"])

    @t.validate("picture", "compare_picture", "sound", "compare_sound")
    def _input_fits(self, proposal: t.Bunch) -> object:
        value, name = proposal["value"], proposal["trait"].name
        if value is None:
            self._input_notes[name] = ()
            return None
        try:
            fitted, notes, *rate = self.sources.fitted(name, value)
        except (OSError, TypeError, ValueError) as error:
            raise t.TraitError(str(error)) from None
        self._input_notes[name] = (*self.sources.drawn_notes, *notes)
        self._rates[name] = rate[0] if rate else None
        return newest(getattr(self, name), fitted)

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.controls = InputLensControls(self)
        self._bars = PairedBars(description="atoms", empty_text="")
        self._detail_view = InputLensDetail(
            self._ask, self._choose_atom, self.splice_check, words=self.has_words
        )
        maker: DrawPad | SoundRecorder | None = None
        if self.model.modality.is_image:
            maker = DrawPad(description="canvas to draw on", hint="or draw your own")
            self.sources.listen(maker, self.controls.thickness)
        elif self.model.modality == "audio":
            maker = self.recorder = recorder_of(self.model)
            self.sources.record_from(maker)
        self._view = view_of(self.model, maker, self.controls.at_pad)
        self.arrange(
            controls=self.controls.first,
            more=self.controls.more,
            figure=[self._view.widget, self._bars],
            detail=self._detail_view.widgets,
        )
        if isinstance(self._view, WordsView):
            self._view.on_word(self._choose_word)
        self._view.on_pick(lambda position: self.set_trait("token", position))
        self._bars.observe(lambda change: self._choose_row(change["new"]), "selected")
        self._bars.on_again(self._choose_row)
        self._bars.observe(lambda change: self._point_at(change["new"]), "hovered")
        self.bind_key("ArrowRight", lambda: self._step(1))
        self.bind_key("ArrowLeft", lambda: self._step(-1))
        self.bind_key("Escape", lambda: self.set_trait("token", -1))
        self.controls.fit(self.comparing)

    @property
    def has_words(self) -> bool:
        """Whether inputs are texts whose words can carry their atoms."""
        modality = self.model.modality
        return self._reads_text_alone and modality.fit is None and not modality.letters

    @property
    def _lattice(self) -> Lattice | None:
        """The words of the text on show, if they carry its atoms: of one text, and not for effects."""
        seen = self._answer
        if seen is None or seen.second is not None or self.heat != "fired" or not self.has_words:
            return None
        if self._read_lattice is None or self._read_lattice[0] is not seen.first:
            self._read_lattice = (seen.first, Lattice.of(seen.first, self.names))
        return self._read_lattice[1]

    def _facts(self) -> dict[str, str]:
        place = stream_of(self.model, self.hook_point)
        if getattr(self.sae, "writes", None) is not None:
            place = f"{self.sae.hook_point} → {place}"
        return facts_of(self.model, self.sae, place, self._base)

    def target_rule(self) -> str:
        """State which answers can be explained."""
        return target_rule(self.model, "the top answer")

    # --- base rates -------------------------------------------------------------------------------

    def _measure_base_rates(self) -> None:
        """Find how often atoms fire anyway; off the main thread where that means encoding."""
        given = self._given_rates
        work = partial(base_rate, self.sae, given)
        if hasattr(given, "batches"):
            self.loading("Counting how often each atom is usually active")
            self.run_async(work, self._begin)
        else:
            self._begin(work())

    def _begin(self, base: BaseRate | None) -> None:
        self._base, self._phase = base, Phase.OPEN
        self.chips = self._facts()
        if self._inputs():
            self._request()
        elif self.n_examples:
            self._open_example()
        else:
            self._clear()

    def _open_example(self) -> None:
        """Open on an example in which an atom with a name matters, among a few."""
        given, source = self.sources.example, self.names.source
        tried = [partial(given, number) for number in range(min(self.n_examples, MOST_TRIED))]
        runs, base, is_given = self._runs, self._base, lambda: bool(self._inputs())

        def work() -> int:
            return example_to_open(runs, base, tried, source, TRYING_SECONDS, is_given)

        def done(number: int) -> None:
            if not self._inputs():  # else an input was given meanwhile
                self.example = number

        words = f"The model is reading the {self.model.modality.sample}"
        self.loading(words, FIRST_READING_SECONDS)
        self._bars.add_class(WAITING)
        self.run_async(work, done, otherwise=self._show_nothing)

    # --- where inputs come from -------------------------------------------------------------------

    def choose_example(self, number: int) -> None:
        """Make an example the input, also one that was chosen before something else was drawn."""
        if number >= 0:
            self.example = number
            with self.guarded(f"input {number}"):
                self.sources.choose(number)

    def draw(self, strokes: list[list[Point]], *, clear: bool = True) -> None:
        """Draw strokes on the pad, as a pointer would, and read what is drawn."""
        self.sources.draw(strokes, clear=clear)

    @reacts("example", doing="input {panel.example}", early=True)
    def _on_example(self) -> None:
        self.choose_example(self.example)

    @reacts("ink", "paper", doing="drawing", early=True)
    def _on_paper(self) -> None:
        self.sources.take_drawing()

    @reacts("comparing", doing="comparing", early=True)
    def _on_comparing(self) -> None:
        self.controls.fit(self.comparing)
        if not self.comparing:
            self.slot, self.compare_text = "first", ""
            self.compare_picture = self.compare_sound = None
        elif not self.model.modality.is_text and self.sources.given("second") is None:
            self.slot = "second"
            self.sources.choose_second()

    # --- running the model ------------------------------------------------------------------------

    @reacts("text", "picture", "sound", doing="reading", early=True)
    def _on_first(self) -> None:
        self.sources.changed("first")
        self._request()

    @reacts("compare_text", "compare_picture", "compare_sound", doing="reading", early=True)
    def _on_second(self) -> None:
        self.sources.changed("second")
        if not self.comparing:
            second = self.sources.given("second")
            self.comparing = second is not None and not (isinstance(second, str) and not second)
        self._request()

    def _inputs(self) -> list[Any]:
        """The inputs there are, the first of them first; none where that one is gone."""
        given = [self._whole(slot) for slot in SLOTS]
        given = [None if isinstance(one, str) and not one.strip() else one for one in given]
        return [] if given[0] is None else [x for x in given if x is not None]

    def _whole(self, slot: str) -> object:
        """Return an input: of a video with its frames per second if known, of a text with its image."""
        value, rate = self.sources.given(slot), self._rates.get(self.sources.trait(slot))
        picture = getattr(self, PICTURES[slot])
        if isinstance(value, str) and picture is not None:
            return (value, picture)
        return value if value is None or rate is None else (value, rate)

    @reacts("target", doing="reading", early=True)
    def _request(self) -> None:
        """Read what is there now; an older request is dropped."""
        if self._phase is Phase.COUNTING:
            return
        given = self._inputs()
        if not given:
            self._clear()
            return
        if self._answer is None:
            words = f"The model is reading the {self.model.modality.sample}"
            self.loading(words, FIRST_READING_SECONDS if self._phase is Phase.OPEN else None)
            self._bars.add_class(WAITING)
            self.say("")
        asked, started = self.target, time.perf_counter()

        def done(seen: Answer) -> None:
            if self._inputs():  # else it was taken away meanwhile
                self._draw(replace(seen, seconds=time.perf_counter() - started))

        runs, base = self._runs, self._base
        doing = "" if self._answer is None else "reading"
        read = lambda: runs.read(given, asked, base)  # noqa: E731
        self.run_async(read, done, doing=doing, otherwise=self._show_nothing)

    def _clear(self) -> None:
        """Take away everything that was concluded from an input that is gone."""
        for channel in ("main", "splice"):
            self.forget_async(channel)
        with self._drawing:
            self._show_nothing()
            self.say(nothing_given(self.model))

    def _show_nothing(self) -> None:
        self._bars.remove_class(WAITING)
        self._answer, self._atoms = None, []
        self._checks.clear()
        self._view.clear()
        self._detail_view.clear()
        self._bars.empty_text = ""
        self._bars.show([])
        show(self.controls.order, False)
        self.headline = ""
        self.conclude("")

    def refresh(self) -> None:
        """Run everything again, after the model's weights changed, say."""
        self._runs.forget()
        self._checks.clear()
        self._request()

    def splice_check(self) -> None:
        """Run the model without the chosen atom: the measured effect next to the estimated one."""
        with self.guarded("measure by removing it"):
            summary, atom = self.summary, self.atom
            if summary.place(atom) is None:
                raise ValueError(f"Atom {atom} is silent on this input. Choose one that is listed.")

            def done(check: SpliceCheck) -> None:
                if self._answer is None or self._answer.first is not summary:
                    return  # another input is shown by now
                self._checks[atom] = check
                self._show_bars()
                self._show_atom()
                self._conclude()
                self.say(f"{self.names.in_text(atom)}. {measured_words(check, summary)}")

            self.run_async(
                lambda: summary.splice_check(atom),
                done,
                doing=f"measuring without atom {atom}",
                channel="splice",
            )

    # --- drawing ----------------------------------------------------------------------------------

    def _draw(self, seen: Answer) -> None:
        before, drawn = self._answer, self.sources.is_drawn("first")
        if before is None or before.first is not seen.first:
            self._checks.clear()
        self._answer, self._phase = replace(seen, drawn=drawn), Phase.READ
        show(self.controls.order, True)
        self._bars.remove_class(WAITING)
        stays = drawn and before is not None and before.drawn
        stays = stays and seen.first.place(self.atom) is not None
        if not self.atom_chosen and not stays:
            self._choose_by_itself(seen)
        new = before is None or before.first is not seen.first
        if self.token >= len(seen.first.tokens) or (new and self._lattice is not None):
            self.token = -1
        self._detail_view.show_answers(seen.first, seen.second)
        self._show_bars()
        self._show_heat(self.atom)
        self._show_atom()
        self._show_position()
        self._conclude()
        self.say(self._notes(seen))

    def _choose_by_itself(self, seen: Answer) -> None:
        """Show an atom of this input, as long as the user has not chosen another."""
        lattice = self._lattice
        first = None if lattice is None else lattice.first(self.names)
        if lattice is not None and first is not None and (under := lattice.under[first]):
            self._offered = self.atom = under[0]
            return
        ranked = input_lens_bars.shown_atoms(
            seen.first, seen.contrast, self.sort, self.n_shown, names=self.names
        )
        found = atom_to_open(seen.first, ranked, self._view.can_show, self.names)
        if found is not None:
            self._offered = self.atom = found

    @property
    def atom_chosen(self) -> bool:
        """Whether the user chose the atom; else the panel shows the first one of its input."""
        return self.atom != self._offered

    def _conclude(self) -> None:
        """Say what was found, in the names that atoms have now."""
        seen = self._answer
        if seen is not None:
            check = self._checks.get(self.atom)
            lattice = self._lattice
            if lattice is not None:
                self.headline = headline_words(lattice, self._word, self.atom, self.names)
                self.conclude(
                    claim_words(lattice, self.names),
                    numbers_words(seen.first, check, format_duration(seen.seconds)),
                    reasons=answer_words(seen.first, None, None, self.names, self._atoms),
                )
                return
            alone = seen.second is None and not self.model.modality.is_text
            self.headline = answer_title(seen.first, self.names, self.atom) if alone else ""
            self.conclude(
                answer_words(seen.first, seen.second, seen.contrast, self.names, self._atoms),
                numbers_words(seen.first, check, format_duration(seen.seconds)),
            )

    def draw_names(self) -> None:
        """Write rows, cards and sentence again with the names they have now."""
        self._show_bars()
        self._show_atom()
        self._read_lattice = None
        self._show_position()

    def _notes(self, seen: Answer) -> str:
        """Return the changes made to the inputs, and missing information."""
        made = [self._input_notes.get(self.sources.trait(slot), ()) for slot in ("first", "second")]
        return notes_words(made, seen.first, seen.second, seen.contrast)

    def _show_heat(self, atom: int) -> None:
        seen = self._answer
        if seen is None:
            return
        first, second = self.sources.name("first"), self.sources.name("second")
        names = [first or "the input"]
        if seen.second is not None:
            names = [f"A {first}".strip(), f"B {second}".strip()]
        self._view.show(seen.both, names, atom, self.heat)
        self._view.mark(self.token)
        self._show_words()

    @property
    def _word(self) -> int:
        """The word of the text that is chosen: by its token, or the one that carries the atom; −1 for none."""
        lattice = self._lattice
        if lattice is None:
            return -1
        at = lattice.word_of(self.token)
        fires = at >= 0 and any(atom == self.atom for atom, _, _ in lattice.words[at].fired)
        return at if fires else lattice.holding(self.atom)

    def _show_words(self) -> None:
        """Draw the words with their atoms, or rows and answers in their place."""
        lattice, seen = self._lattice, self._answer
        show(self._bars, lattice is None)
        show(self.controls.order, lattice is None and seen is not None)
        self._detail_view.of_words(lattice is not None)
        if not isinstance(self._view, WordsView):
            return
        if lattice is None or seen is None:
            self._view.as_lattice(False)
        else:
            self._view.show_lattice(lattice, seen.first, self._word, self.atom, self.names)

    def _choose_word(self, word: int) -> None:
        """Show the atom that a word carries; of one that carries none the strongest there."""
        lattice = self._lattice
        if lattice is None or not 0 <= word < len(lattice.words):
            return
        read, under = lattice.words[word], lattice.under[word]
        found = under or (read.fired[0] if read.fired else None)
        if found is not None:
            strengths = np.nan_to_num(np.abs(self._answer.first.strengths(found[0])))  # type: ignore[union-attr] # it is shown
            self._choose_atom(found[0])
            self.token = max(read.positions, key=lambda position: float(strengths[position]))
        else:
            self.token = read.positions[0]

    def _show_atom(self) -> None:
        if self._answer is not None:
            check = self._checks.get(self.atom)
            self._detail_view.show_atom(
                self._answer.first, self.atom, check, self._answer.contrast, self.names,
                effect=self._lattice is None,
            )  # fmt: skip

    @reacts("token", "n_shown", doing="position {panel.token}")
    def _show_position(self) -> None:
        if self._answer is None:
            return
        position = self.token
        if position < 0:
            values = self._answer.first.strengths(self.atom)
            fires = bool(np.nan_to_num(values).any())
            position = int(np.nanargmax(np.abs(values))) if fires else -1
        lattice = self._lattice
        at = -1 if lattice is None else lattice.word_of(position)
        word = "" if lattice is None or at < 0 else lattice.words[at].parts[1]
        self._detail_view.show_position(
            self._answer.first, position, self.names, self.n_shown, word
        )
        self._view.mark(self.token)
        self._show_words()
        self._conclude()

    @reacts("atom", doing="atom {panel.atom}", early=True)
    def _on_atom(self) -> None:
        if self.atom_chosen:
            self._offered = -1  # from now on, whichever is chosen next
        self._show_heat(self.atom)
        if self.atom in self._atoms:
            self._filling = True
            self._bars.selected = self._atoms.index(self.atom)
            self._filling = False
        else:
            self._show_bars()
        self._show_atom()
        self._show_position()

    @reacts("heat", doing="atom {panel.atom}")
    def _on_heat(self) -> None:
        self._show_heat(self.atom)
        self._show_atom()
        self._show_position()

    @reacts("sort", "n_shown", doing="atom {panel.atom}")
    def _on_sort(self) -> None:
        self._show_bars()
        self._conclude()

    def _show_bars(self) -> None:
        seen = self._answer
        if seen is None:
            return
        self._atoms = input_lens_bars.shown_atoms(
            seen.first, seen.contrast, self.sort, self.n_shown, self.atom, self.names
        )
        atoms = self._atoms
        columns, key = input_lens_bars.columns_and_key(
            seen.first, seen.contrast, atoms, self._checks
        )
        self._filling = True
        self._bars.description = input_lens_bars.rows_title(seen.first, seen.contrast, self.sort)
        self._bars.show(
            [self.names.name(atom) for atom in atoms],
            *columns,
            selected=atoms.index(self.atom) if self.atom in atoms else -1,
            atoms=atoms,
            icons=() if self._reads_text_alone else icons_of(self.names, atoms),
            key=key,
        )
        self._bars.empty_text = "No atom fires here."
        self._filling = False

    @property
    def _reads_text_alone(self) -> bool:
        return self.model.modality.is_text and not self.model.placeholders

    # --- clicks -----------------------------------------------------------------------------------

    def _choose_row(self, row: int) -> None:
        if 0 <= row < len(self._atoms) and not self._filling:
            self._choose_atom(self._atoms[row])

    def _choose_atom(self, atom: int) -> None:
        by_hand, self._offered = self.atom_chosen, -1
        if atom == self.atom and not by_hand:
            # It was shown already, and is chosen only now: who follows the choice must hear of it.
            self.notify_change(t.Bunch(name="atom", old=atom, new=atom, owner=self, type="change"))
        self.atom = atom

    def _point_at(self, row: int) -> None:
        with self.guarded("hover"):
            self._show_heat(self._atoms[row] if 0 <= row < len(self._atoms) else self.atom)

    def _ask(self, answer: int) -> None:
        names = self.model.class_names
        self.target = f"#{answer}" if self.model.modality.is_text or not names else names[answer]

    def _step(self, by: int) -> None:
        if self._answer is not None:
            self.token = (self.token + by) % self.n_positions

    def on_open(self, callback: Callable[[int], None]) -> None:
        """Show an "open" button that calls back with the atom: to an `AtomBrowser`, say."""
        self._button(self._detail_view.open, callback)

    def on_steer(self, callback: Callable[[int], None]) -> None:
        """Show a "steer" button that calls back with the atom: to a `SteeringPanel`, say."""
        self._button(self._detail_view.steer, callback)

    def _button(self, button: ipw.Button, callback: Callable[[int], None]) -> None:
        def clicked(_: object) -> None:
            with self.guarded(str(button.description)):
                callback(self.atom)

        button.on_click(clicked)
        show(button, True)

    # --- answers ----------------------------------------------------------------------------------

    @property
    def n_positions(self) -> int:
        """Positions of the first input; many before the model has read it."""
        return 2**31 if self._answer is None else len(self._answer.first.tokens)

    @property
    def summary(self) -> InputSummary:
        """The record of the first input; waits for work that is under way.

        Raises
        ------
        RuntimeError: If there is none, because there is no input or reading it failed.
        """
        self.wait()
        if self._answer is None:
            raise RuntimeError(f"There is no input yet: {self.status or nothing_given(self.model)}")
        return self._answer.first

    @property
    def contrast(self) -> Contrast | None:
        """The atoms that the first input uses more than the second; None without a second."""
        self.wait()
        return None if self._answer is None else self._answer.contrast

    @property
    def check(self) -> SpliceCheck | None:
        """The splice check of the chosen atom in this input; None before `splice_check`."""
        self.wait()
        return self._checks.get(self.atom)

    # --- taking it away ---------------------------------------------------------------------------

    @property
    def record(self) -> dict[str, Any] | None:
        """The numbers behind the bars, for the table of exported pages."""
        seen = self._answer
        if seen is None:
            return None
        return input_lens_bars.record_table(
            seen.first, seen.second, seen.contrast, self._atoms, self.names
        )

    def current_figure(self) -> go.Figure | None:
        """Return the bars as a plotly figure, for pictures; on screen they are plain elements."""
        if self._answer is None:
            return None
        return input_lens_figure(list(self._bars.labels), list(self._bars.columns))

    def still_figure(self) -> go.Figure | None:
        """Return nothing: the bars are components, with a key of their own."""
        return None

    def static_chips(self) -> dict[str, str]:
        """Return the facts next to the question in exports, and which atom is shown over the input."""
        return {"atom": self.names.name(self.atom), **self.chips}

    def static_page(self) -> Page:
        """Return what `to_html` writes: a small page that needs neither kernel nor script."""
        return replace(super().static_page(), figure=None)
