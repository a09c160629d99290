"""SteeringPanel: an atom made stronger in a live model, compared with a random direction."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import traitlets as t

from sae_nb.atoms import AtomCatalogue, peaks
from sae_nb.checks import as_dictionary, checked
from sae_nb.codes import SparseCodes
from sae_nb.figures.theme import format_count, format_duration
from sae_nb.files import identity_of
from sae_nb.generation import Continuation, summarise_continuation
from sae_nb.models import answering
from sae_nb.sessions import names_of
from sae_nb.steering import (
    LEAST_CHANGE,
    SteeringCurve,
    SteeringRecipe,
    SteeringSummary,
    summarise_dose_response,
)
from sae_nb.steering.modes import MODES, UNITS, Unit
from sae_nb_widgets.components._base import lay_out
from sae_nb_widgets.panel._declaring import (
    LARGEST_SEED,
    Atom,
    Number,
    Ruled,
    RuledNumber,
    RuledText,
    Whole,
    line,
    reacts,
    show,
)
from sae_nb_widgets.panel._heading import place_words
from sae_nb_widgets.panel._pages import LIVE_ONLY
from sae_nb_widgets.panel._samples import (
    Samples,
    check_parts,
    facts_of,
    stream_of,
    target_of,
    target_rule,
)
from sae_nb_widgets.panel._theming import figure_widget
from sae_nb_widgets.steering import _choices as choices, _figure as figures, _words as words
from sae_nb_widgets.steering._choices import ASKED, ChosenStrength, Opening, Phase
from sae_nb_widgets.steering._controls import OWN_ANSWER, SteeringControls
from sae_nb_widgets.steering._detail import SteeringDetail, SteeringMix
from sae_nb_widgets.steering._figure import CurveView, steering_figure, update_answer
from sae_nb_widgets.steering._initial_state import find_firing, opening_atom
from sae_nb_widgets.steering._page import HasPage
from sae_nb_widgets.steering._queries import Question, SteeringAnswer, SteeringRuns
from sae_nb_widgets.steering._scale import StrengthScale

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.files import SaeIdentity
    from sae_nb.models import LiveModel


CURVE_POINTS, TEXTS_PX = 11, 348


@checked(leave=("acts", "hook_point"))
class SteeringPanel(HasPage):
    """What if this atom were stronger?

    Every change runs the live model three times, off the main thread and under the model's lock:
    as it is, with the edit, and with a random direction of the same norm. The newest request wins.

    Parameters
    ----------
    model
        From `load_model` or `wrap`.
    hook_point
        Hook point at which the edit is made first.
    sae
        Whose atoms; of the width of the hook point.
    inputs
        Inputs of the model: texts, images, tensors. None takes those behind `acts`, or a few made-up
        ones.
    acts
        Activations, codes, or an `AtomCatalogue`: then strengths are multiples of each atom's 99th
        percentile. None takes the examples of a pretrained SAE, its own `strength_p99`, else the model's units.
    atom
        First one shown; None takes one that fires in the input and matters for its answer, with a name if
        there is one.
    strength
        First strength; None chooses one that can be seen: by the atom's 99th percentile where that is known,
        else by how strongly it fires in the input.

    Examples
    --------
    >>> import torch, sae_nb as sn
    >>> class Axes:
    ...     d_in = n_atoms = 2
    ...     dictionary = torch.eye(2)
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["cat", "dog"])
    >>> panel = SteeringPanel(model, "0", Axes(), torch.zeros(1, 2), atom=1, strength=3.0)
    >>> panel.summary.target_name, round(panel.summary.effect, 2)
    ('dog', 0.45)
    >>> panel.close()
    """

    question = "What if this were stronger?"
    explanation = (
        "A row is an answer of the model: the tick as it is, the dot with the atom's direction added at the "
        "hook point, the grey band under 19 random pushes of the same length, their median in white. A dot is "
        f"filled where it lies past band and tick by over {100 * LEAST_CHANGE:g} points "
        f"(numbers of a state: by over {LEAST_CHANGE:g}). The heat "
        "shows how far the state of each position moves in later layers. Its usual strength is that of the "
        "strongest 1 % of its firings (their 99th percentile).",
        "An effect inside the grey band says nothing about the atom, and a large overall shift (KL) means "
        "that the model is far from anything it was trained on. This is a single input; do not generalise "
        "from it.",
        "Adding atoms: “Scaling Monosemanticity” (Anthropic, 2024); why controls matter: "
        "arXiv 2602.14111.",
    )
    stem = "steering"
    kept_traits = ("recipes",)
    needs_kernel = (
        "Moving the strength needs a running kernel and was left out; the answer, the curves and the "
        "recipe are all here."
    )

    atom = Atom(help="Row of the dictionary that is made stronger.")
    strength = Number(0.0, -choices.MOST, choices.MOST, help="How much, in the panel's unit.")
    # The table itself, not a copy: a mode that is added to it can be chosen.
    mode = t.Enum(cast(Any, MODES), default_value="add", help="What is done with it.")
    positions = Ruled(
        None,
        rule=lambda panel, value: choices.positions_in(value, panel.model.prefix_tokens),
        help="None or 'all', a name such as 'cls' or 'last', or indices.",
    )
    hook_point = RuledText(
        "",
        rule=lambda panel, value: choices.hook_point_of(value, panel.model, panel.sae),
        help="Where in the model.",
    )
    target = RuledText(
        "",
        rule=lambda panel, value: choices.target_in(value, panel.model, panel.head),
        help="What the sentence is about; empty: the answer.",
    )
    sample = Whole(0, 0, lambda panel: len(panel.samples) - 1, help="Which of the inputs.")
    seed = Whole(0, 0, LARGEST_SEED, help="Of the random direction.")
    head = RuledText(
        "",
        rule=lambda panel, value: choices.head_of(value, panel.model),
        help="Which head answers; empty for the main one.",
    )
    text = t.Unicode("", help="What a language model reads.")
    others = Ruled(
        (),
        rule=lambda panel, value: choices.others_with(value, panel.n_atoms),
        help="Atoms changed with it: pairs of atom and strength.",
    )
    target_kl = RuledNumber(
        None,
        rule=lambda _, value: choices.divergence(value),
        allow_none=True,
        help="Divergence to find the strength for, in nats.",
    )
    max_new_tokens = Whole(20, 1, 200, help="Tokens that a continuation adds.")

    def __init__(
        self,
        model: LiveModel,
        hook_point: str,
        sae: SparseAutoencoder = None,  # type: ignore[assignment]
        inputs: Inputs | None = None,
        acts: Activations | SparseCodes | AtomCatalogue | None = None,
        *,
        atom: int | None = None,
        strength: float | None = None,
    ) -> None:
        hook_point = as_dictionary(hook_point, model)
        if sae is None and hasattr(hook_point, "dictionary"):  # an SAE knows where it reads
            hook_point, sae = cast(Any, hook_point).hook_point, cast(Any, hook_point)
        check_parts(model, sae, hook_point)
        self.model, self.sae, self.n_atoms, self.kind = model, sae, int(sae.n_atoms), model.kind
        self.reads_text = model.modality.is_text
        self.samples = Samples(model, inputs, getattr(acts, "acts", acts))
        self.scale = StrengthScale(talks=bool(model.causal))
        self._acts = acts
        self._phase = Phase.MEASURING
        self._opening = Opening(
            atom=atom is None,
            strength=strength is None,
            # A text goes on by itself, where nobody has said what is to be seen.
            text=atom is None and strength is None and bool(model.causal),
        )
        self._chosen = ChosenStrength()
        self._runs, self._version = SteeringRuns(model, sae), 0
        self._asked: Question | None = None
        self._answer: SteeringAnswer | None = None
        # Goes with the next answers: which strength was not kept for another atom.
        self._lowered = ""
        super().__init__()
        self.names = names_of(sae, acts if isinstance(acts, AtomCatalogue) else None)
        self.set_trait("hook_point", hook_point)
        self._begin_with(sae)
        self.atom, self.text, self.strength = atom or 0, self.samples.text(0) or "", strength or 0.0
        self._show_facts()
        self._build()
        self._measure_strengths()

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.controls = SteeringControls(self)
        self.mix = SteeringMix(lambda others: self.set_trait("others", others))
        self.mix.add_class(LIVE_ONLY)
        self.plot = figure_widget(steering_figure())
        self.doses = CurveView(self.plot, lambda atom: self.names.name(atom))
        self.cards = SteeringDetail(self.model)
        show(self.controls.go_on, bool(self.model.causal))
        self.arrange(
            controls=self.controls.first,
            primary=self.controls.go_on,
            more=[*self.controls.more, self.cards.changes],
            figure=[line(*self.controls.asked), *self.cards.main, self.mix, self.plot],
            detail=(self.cards.moved, *self.cards.cards),
        )
        # From the start as high as it will be: nothing is pushed away by what comes.
        room = figures.figure_height(figures.FEWEST_ROWS, curve=False)
        lay_out(self._frame.main, min_height=f"{room + TEXTS_PX * bool(self.model.causal)}px")
        if self._opening.text:
            self.cards.expect_continuation(self.text, "", down=False)
        self._fit_sliders()
        self._draw_title()
        self.cards.on_pick(lambda position: self.set_trait("positions", (position,)))
        self.bind_key("ArrowRight", lambda: self._step_atom(1))
        self.bind_key("ArrowLeft", lambda: self._step_atom(-1))
        self.bind_key("Escape", lambda: self.set_trait("positions", None))

    def _step_atom(self, step: int) -> None:
        self.atom = (self.atom + step) % self.n_atoms

    def draw_names(self) -> None:
        """Write sliders, sentence and recipes again with the names they have now."""
        self._draw_title()
        self._fit_sliders()
        self._conclude()
        self._offer_recipes()

    def _measure_strengths(self) -> None:
        """Find every atom's 99th percentile, and what fires in the input, off the main thread."""
        acts, opening, of_atoms = self._measured_on, self._opening, self.fitted is None
        known = of_atoms and self.scale.measured.known(self.sae, acts)
        reads_input = of_atoms and (opening.atom or (opening.strength and not known))
        scale = StrengthScale(talks=bool(self.model.causal))
        if not known and not reads_input:
            scale.know(self.sae, None)
            self._begin(scale, None)
            return
        given, hook_point = self.text or self.given(), self.hook_point

        def work() -> int | None:
            scale.know(self.sae, peaks(self.sae, acts))
            if not reads_input:
                return None
            found = find_firing(self.model, self.sae, given, hook_point, scale)
            return None if found is None else opening_atom(found, scale, self.names)

        self.loading("Measuring how strongly atoms fire")
        self.run_async(work, partial(self._begin, scale), doing="measuring strengths")

    def _begin(self, scale: StrengthScale, opening: int | None) -> None:
        self.scale = scale
        recipe, self._opening = self._opening.recipe, replace(self._opening, recipe=None)
        if opening is not None and self._opening.atom and recipe is None:
            self.atom = opening
        self._phase = Phase.READY
        if recipe is not None:
            self._take_recipe(recipe)
        self._choose_strength()
        self._chosen = replace(self._chosen, unit=self.unit)
        self._fit_sliders()
        self._draw_title()
        self._request()
        if self._opening.text:
            self.continue_text()

    def _choose_strength(self) -> None:
        # Somebody may be setting one at this moment: only what nobody has touched is chosen here.
        if self._opening.strength and not self.strength and self.target_kl is None:
            self._offer(self.scale.safe(self.atom, self.mode) or self.strength)

    # --- what is asked ----------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether it is known in which unit a strength is."""
        return self._phase is not Phase.MEASURING

    @property
    def unit(self) -> Unit:
        """Unit of `strength`: a measured one where that is known of the atom, else "coefficient"."""
        return self.scale.unit(self.atom, self.mode)

    @property
    def current(self) -> SteeringRecipe:
        """The panel's present request."""
        # Once each: another thread may change them meanwhile, and a unit belongs to a mode.
        atom, mode, scale = self.atom, self.mode, self.scale
        return SteeringRecipe(
            hook_point=self.hook_point,
            atom=atom,
            strength=self.strength,
            unit=scale.unit(atom, mode),
            p99=scale.of(atom, mode),
            others=tuple(
                (other, strength * scale.unit_size(other, mode))
                for other, strength in self.others
                if other != atom  # while it is the one in question, its slider is the large one
            ),
            mode=mode,
            positions=self.positions,
            sample=self.sample,
            seed=self.seed,
            head=self.head,
            text=self.text if self.reads_text and self.text else None,
            model_name=self.model.name,
            target_kl=self.target_kl,
            sae=self.identity,
            direction=self.typed,
        )

    @cached_property
    def identity(self) -> SaeIdentity:
        """Identity of the SAE of the atoms, as recipes and sessions write it."""
        return identity_of(self.sae)

    def target_rule(self) -> str:
        """State what sentence and curve can be about."""
        return target_rule(self.model, OWN_ANSWER)

    @contextmanager
    def reacting(self, doing: str) -> Iterator[None]:
        """Run in one thread at a time: the last request is that of the last traits."""
        with self._drawing, super().reacting(doing):
            yield

    @reacts("atom", "mode", "others", doing="steering", early=True)
    def _fit_sliders(self) -> None:
        self.controls.fit(self.scale)
        others = [other for other in self.others if other[0] != self.atom]
        self.mix.show(others, self._kept_words(), self.scale, self.mode, self.names)

    def _kept_words(self) -> str:
        """Return the atoms kept by "combine", until another atom is chosen; empty if none is waiting."""
        strength = dict(self.others).get(self.atom)
        if strength is None:
            return ""
        edit = words.strength_words(strength, self.unit, self.mode)
        return words.kept_words(self.names.in_text(self.atom), edit, bool(self.target_kl))

    @reacts("atom", doing="steering", early=True)
    def _stay_safe(self) -> None:
        """Keep no strength for another atom that it was not chosen for and that may break the model."""
        self._opening = replace(self._opening, atom=False)
        if not self.ready:
            return
        chosen, self._chosen = self._chosen, replace(self._chosen, unit=self.unit)
        safe, set_by_hand = self.scale.safe(self.atom, self.mode), self.strength
        its_own = (self.atom, set_by_hand) == chosen.of_recipe
        if safe is None or self._opening.strength or its_own or self.target_kl is not None:
            return
        if set_by_hand == chosen.offered:
            self._offer(safe)
            return
        if self.unit == chosen.unit and abs(set_by_hand) <= safe:
            return
        self.strength = float(np.copysign(safe, set_by_hand))
        self._lowered = words.lowered_words(self.strength, self.unit, set_by_hand)

    def _offer(self, strength: float) -> None:
        """Set a strength that was measured, unless one was chosen."""
        self._chosen = replace(self._chosen, offered=strength)
        self.strength = strength

    @reacts("strength", doing="steering", early=True)
    def _show_strength(self) -> None:
        self._opening = replace(self._opening, strength=False)  # whoever has chosen one keeps it
        self.controls.follow(self.scale)
        self._draw_title()

    def _draw_headline(self, outcome: str = "") -> None:
        outcome = outcome or "…" * (self._answer is not None)
        self.headline = words.headline(self.names, self.atom, self.strength, self.mode, outcome)

    @reacts("atom", "mode", "hook_point", doing="steering", early=True)
    def _draw_title(self) -> None:
        """Write what is done, and where, above the answer."""
        sure, why = self.names.sureness(self.atom)
        place = place_words(stream_of(self.model, self.hook_point))
        with self.hold_trait_notifications():
            what = "one direction" if self.n_atoms == 1 else f"{format_count(self.n_atoms)} atoms"
            self.where = (self.model.name, place, what)
            if self.ready or not self._opening.atom:  # else none was chosen yet
                self._draw_headline()
                self.sure, self.sure_words = sure, why

    def again(self) -> None:
        """Compare with other random directions."""
        self.seed = (self.seed + 1) % LARGEST_SEED

    @reacts("positions", doing="steering", early=True)
    def _show_positions(self) -> None:
        self.controls.show_positions()

    @reacts("hook_point", doing="steering", early=True)
    def _show_facts(self) -> None:
        facts = facts_of(self.model, self.sae, stream_of(self.model, self.hook_point))
        if self.samples.made_up:
            facts["inputs"] = "made up, none were given"
        self.chips = facts

    @reacts("sample", doing="steering", early=True)
    def _show_text(self) -> None:
        self.text = self.samples.text(self.sample) or ""

    @reacts("head", doing="steering", early=True)
    def _forget_target(self) -> None:
        """Another head has other classes."""
        self.target = ""

    @reacts("target_kl", doing="steering", early=True)
    def _add_for_target(self) -> None:
        """A divergence is only asked of what is added."""
        if self.target_kl is not None:
            self._chosen = replace(self._chosen, found=(self.strength, "add"))
            self.mode = "add"

    @reacts("strength", "mode", doing="steering", early=True)
    def _let_go_of_target(self) -> None:
        """No divergence is asked for once a strength or another mode is set by hand."""
        self._lowered = ""
        found = self._chosen.found
        if self.target_kl is not None and (self.strength, self.mode) != found:
            self.target_kl = None

    def given(self) -> object:
        """Return the input that is chosen."""
        return [self.text] if self.reads_text and self.text else self.samples[self.sample]

    @property
    def _emptied(self) -> bool:
        """Whether the user removed the input."""
        if not self.reads_text or self.text.strip():
            return False
        return self.samples.text(self.sample) is not None

    @reacts(*ASKED, doing="steering")
    def _request(self) -> None:
        """Run the model for what is asked now, unless that was asked last; an older request is dropped."""
        if not self.ready:
            return
        if self._emptied:
            self._clear()
            return
        recipe, target = self.current, None
        if self.target:
            target = target_of(answering(self.model, self.head), self.target)
        asked = Question(recipe, target, self._version)
        if asked.key == self._asked:
            return
        self._asked, given = asked.key, self.given()
        self._show_texts()  # of what was asked before, hence dimmed at once
        if self._answer is None:
            self.loading("The model runs with and without the edit")
        started = time.perf_counter()

        def done(answer: SteeringAnswer) -> None:
            if not self._emptied:  # the input may have been taken away meanwhile
                self._draw(replace(answer, seconds=time.perf_counter() - started))

        self.run_async(
            lambda: self._runs.answer(asked, given),
            done,
            doing=f"steering atom {self.atom}",
            otherwise=self._show_nothing,
        )

    def _clear(self) -> None:
        """Take away everything that was concluded from an input that is gone."""
        for channel in ("main", "curve", "text"):
            self.forget_async(channel)
        self._show_nothing()
        self.say(words.NO_IMAGE if self.model.modality.is_image else words.NO_TEXT)

    def _show_nothing(self) -> None:
        self._asked = self._answer = None
        self.doses.show(None)
        update_answer(self.plot, None)
        self.cards.show(None)
        self._end_writing()
        self._conclude()

    def refresh(self) -> None:
        """Run everything again, after the model's weights changed, say."""
        with self._drawing:
            self._read_anew()
            self._request()

    def _read_anew(self) -> None:
        """Have the SAE and the input read again, though they have the same names."""
        self._version += 1
        self.__dict__.pop("identity", None)

    def combine(self) -> None:
        """Keep the atom shown at its strength, whichever other atom is shown next."""
        kept = tuple(pair for pair in self.others if pair[0] != self.atom)
        self.others = (*kept, (self.atom, self.strength))

    # --- drawing ----------------------------------------------------------------------------------

    def _draw(self, answer: SteeringAnswer) -> None:
        self._answer, summary = answer, answer.summary
        self.scale.length = answer.length
        if summary.recipe.target_kl is not None:
            self._follow_found(summary.recipe)
        update_answer(self.plot, summary)
        self.cards.show(summary, self._edited(summary.recipe))
        if self.doses.curve is not None:
            self.doses.follow(summary, self.target)
        self.controls.curve.disabled = summary.outcome == "state"
        self.controls.recipe.value = json.dumps(self.current.to_json())
        self._conclude()
        said = (answer.note, self.trust, words.search_words(answer.found), self._lowered)
        self._write_status(" ".join(filter(None, said)))
        if self._opening.strength and not UNITS[self.unit].measured:
            # Only now is it known how long the states are.
            self._fit_sliders()
            self._choose_strength()
        self._opening = replace(self._opening, strength=False)

    # --- what is drawn ----------------------------------------------------------------------------

    def _edited(self, recipe: SteeringRecipe) -> str:
        """The atoms that are changed, as briefly as an image has room for."""
        return " + ".join(self.names.words(atom) or f"atom {atom}" for atom in recipe.atoms)

    def _conclude(self) -> None:
        """Report the result, in the names that atoms have now."""
        foretold = self.names.foretold(self.atom) if self.fitted is None else ""
        if self._answer is None:
            self.conclude(foretold.partition(" (")[0], reasons=foretold)
            return
        summary, writing = self._answer.summary, self._phase is Phase.WRITING
        if writing and not (self.answer or self.target):
            return  # the text is on its way: the odds of its first word would be taken back
        edit = words.edit_words(summary.recipe, self.names, self.scale)
        label, about = self.names.words(self.atom), summary.target_name * bool(self.target)
        outcome, said, reasons = words.tell_answer(summary, label, about)
        record = self._told
        if record is not None:
            outcome, said, texts = words.tell_texts(record.prompt, record.rows)
            reasons = f"{texts} {reasons}"
        self._draw_headline(outcome)
        reasons = " ".join(filter(None, (reasons, self.trust, foretold)))
        spent = f"{words.numbers_words(summary)} · {format_duration(self._answer.seconds)}"
        self.conclude(said, spent, reasons=f"{edit}: {reasons}")
        self._show_texts()

    def _show_texts(self) -> None:
        """Draw the continuations there are, and whether they are of what is asked now."""
        record = self.cards.continuation
        if record is not None:
            self.cards.show_continuation(self._push(record.recipe), record.recipe == self.current)

    def _push(self, one: SteeringRecipe) -> str:
        """Return the label of a text with an edit: "+ outer space 1.5×"."""
        return words.push_words(self.names, one.atom, one.strength, one.unit, one.mode)

    def _follow_found(self, recipe: SteeringRecipe) -> None:
        """Have the traits say what was found."""
        size, found = self.scale.unit_size, dict(recipe.others)
        self._chosen = replace(self._chosen, found=(recipe.strength, "add"))
        with self.hold_trait_notifications():
            self.strength = recipe.strength
            # One that is the atom in question for now is not in the recipe, and stays.
            self.others = tuple(
                (atom, found[atom] / size(atom, "add") if atom in found else strength)
                for atom, strength in self.others
            )

    def _rescale(self) -> None:
        if self._answer is not None:
            update_answer(self.plot, self._answer.summary)
            self.doses.draw()

    # --- answers ----------------------------------------------------------------------------------

    @property
    def summary(self) -> SteeringSummary:
        """The record shown; waits for work that is under way.

        Raises
        ------
        RuntimeError: If there is none because running the model failed.
        """
        self.wait()
        if self._answer is None:
            raise RuntimeError(f"There is no answer for atom {self.atom}: {self.status}")
        return self._answer.summary

    @property
    def curve(self) -> SteeringCurve | None:
        """The dose–response curve shown; None before `dose_response` and after another atom."""
        self.wait()
        return self.doses.curve

    @property
    def continuation(self) -> Continuation | None:
        """The continuation shown; None before `continue_text`."""
        self.wait()
        return self.cards.continuation

    @checked
    def dose_response(
        self, strengths: Sequence[float] | None = None, *, n_controls: int = 8
    ) -> None:
        """Measure effect and cost for many strengths, and draw them under the bars.

        Parameters
        ----------
        strengths
            In the panel's unit; None takes the slider's range.
        n_controls
            Random directions in the band.
        """
        with self.guarded("dose–response"):
            summary = self.summary
            if summary.outcome == "state":
                raise ValueError(f"{words.STATES_HAVE_NO_CURVE}: {self.model.name} gives states.")
            high = self.scale.limits(self.atom, "add")[1]
            asked = (
                self.model, self.given(), self.sae, self.current,
                np.linspace(-high, high, CURVE_POINTS).tolist() if strengths is None else list(strengths),
                summary.target,
            )  # fmt: skip
            self.run_async(
                lambda: summarise_dose_response(*asked, n_controls=n_controls),
                self._draw_curve,
                doing="dose–response",
                channel="curve",
            )

    def _draw_curve(self, curve: SteeringCurve) -> None:
        self.doses.show(curve, self.strength)
        if len(curve.response.control):
            self.say(words.curve_words(curve))

    def continue_text(self) -> None:
        """Continue the text before and after, and under three random directions."""
        # Until it is ready the unit of the strength is not known.
        self._opening = replace(self._opening, text=not self.ready)
        if not self.ready:
            return
        if self._emptied:
            self.say(words.NO_IMAGE if self.model.modality.is_image else words.NO_TEXT)
            return
        self._phase = Phase.WRITING
        down = self.strength < 0
        self.cards.expect_continuation(self.text, self._push(self.current), down)
        recipe, inputs, n_new = self.current, self.given(), self.max_new_tokens

        def work() -> Continuation:
            return summarise_continuation(
                self.model, inputs, self.sae, recipe, max_new_tokens=n_new
            )

        def done(record: Continuation) -> None:
            self.cards.continuation = record
            self._end_writing()
            self.say(self.trust)

        self.run_async(
            work, done, doing="continuing the text", otherwise=self._end_writing, channel="text"
        )

    def _end_writing(self) -> None:
        if self._phase is Phase.WRITING:
            self._phase = Phase.READY
            self._conclude()
