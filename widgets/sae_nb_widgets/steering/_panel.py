"""SteeringPanel: an atom made stronger in a live model, with a random direction beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.codes import SparseCodes
from sae_nb.figures import format_count, format_duration
from sae_nb.summaries import (
    Continuation,
    Reading,
    SteeringCurve,
    SteeringRecipe,
    SteeringSummary,
    answering,
    as_batch,
    read_answer,
    read_hook_point,
    summarise_continuation,
    summarise_dose_response,
    summarise_steering,
)
from sae_nb_widgets.panel import Samples, check_parts, figure_widget
from sae_nb_widgets.steering import _controls as steering_controls
from sae_nb_widgets.steering._controls import (
    PICKED,
    StrengthScale,
    measured_p99,
    one_digit,
    unit_html,
)
from sae_nb_widgets.steering._detail import SteeringDetail, SteeringMix, changes_sentence, sentence
from sae_nb_widgets.steering._figure import (
    curve_words,
    mark_strength,
    steering_figure,
    update_answer,
    update_curve,
)
from sae_nb_widgets.steering._recipes import SteeringCosts, cost_words

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.atoms import AtomCatalogue
    from sae_nb.models import LiveModel


STRENGTH_AT_FIRST = 2.0
"""Multiples of the 99th percentile: stronger than the atom is on almost any input."""

CURVE_POINTS = 11
CLEAN_RUNS_KEPT = 8
STATES_HAVE_NO_CURVE = (
    "A dose–response curve needs class scores (wrap the model with class_names=) or next tokens"
)
EXPLAINED: tuple[str, ...] = ("atom", "strength", "mode", "positions", "hook_point")
EXPLAINED += ("sample", "seed", "head", "text", "others", "target_kl")
"""Traits that make up the recipe: changing one runs the model."""


class SteeringPanel(SteeringCosts):
    """What happens if this atom were stronger?

    Every change runs the live model three times, off the main thread and under the model's lock:
    as it is, with the edit, and with a random direction of the same norm. The newest request wins.

    Parameters
    ----------
    model
        From `load_model` or `wrap`.
    hook_point
        Where the edit is made first.
    sae
        Whose atoms; of the width of the hook point.
    inputs
        What the model reads: texts, pictures, tensors. None takes those behind `acts`, or a few
        made-up ones.
    acts
        Activations, codes, or an `AtomCatalogue`: then strengths are multiples of each atom's 99th
        percentile. None takes the SAE's own `strength_p99`, else the model's units.
    atom
        First one shown.
    strength
        First strength; None chooses one that can be seen.

    Raises
    ------
    TypeError, ValueError: If model, SAE, inputs and activations do not fit together.
    traitlets.TraitError: If `hook_point` or `atom` does not exist.

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

    question = "What happens if this were stronger?"
    explanation = (
        "The bars are the model's answer as it is, with the atom's direction added at the hook point, "
        "and with a random direction of the same norm; the heat shows how far each position's state "
        "moves downstream.",
        "An effect no larger than the random direction's says nothing about the atom, and a large KL "
        "means that the model is far from anything it was trained on; one input is one input.",
        "Adding atoms: “Scaling Monosemanticity” (Anthropic, 2024); why controls matter: "
        "arXiv 2602.14111.",
    )
    stem = "steering"
    needs_kernel = (
        "Moving the strength needs a running kernel and was left out; the answer, the curves and the "
        "recipe are all here."
    )

    def __init__(
        self,
        model: LiveModel,
        hook_point: str,
        sae: SparseAutoencoder,
        inputs: Any = None,
        acts: Activations | SparseCodes | AtomCatalogue | None = None,
        *,
        atom: int = 0,
        strength: float | None = None,
    ) -> None:
        check_parts(model, sae, hook_point)
        self.model, self.sae, self.n_atoms, self.kind = model, sae, int(sae.n_atoms), model.kind
        self._samples = Samples(model, inputs, getattr(acts, "acts", acts))
        self._acts = acts
        self._scale = StrengthScale()
        self._clean: dict[Any, Reading] = {}
        self._summary: SteeringSummary | None = None
        self._curve: SteeringCurve | None = None
        self._continuation: Continuation | None = None
        self._ready, self._auto, self._text_waits = False, strength is None, False
        super().__init__()
        first_text = self._samples.text(0) or ""
        self.set_trait("hook_point", hook_point)
        self.atom, self.text, self.strength = atom, first_text, strength or 0.0
        self.chips = self._facts()
        self._build()
        self._measure_strengths()

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.controls = steering_controls.build(
            self,
            hook_points=steering_controls.editable(self.model, self.sae.d_in, self.hook_point),
            heads=steering_controls.answering_heads(self.model, self._samples[0]),
            n_samples=len(self._samples),
        )
        self._unit = ipw.HTML()
        self._mix = SteeringMix(lambda others: self.set_trait("others", others))
        self._picture = figure_widget(steering_figure())
        self._detail_view = SteeringDetail(self.kind, self.model.prefix_tokens)
        self._place()
        self._listen()

    def _place(self) -> None:
        first, more = steering_controls.rows(self, self.controls, self._unit, self._mix)
        self.arrange(
            controls=first,
            more=more,
            figure=[self._picture, self._detail_view.texts],
            detail=self._detail_view.cards,
        )

    def _listen(self) -> None:
        made = self.controls
        self._fit_slider()
        made.strength.observe(self._move_strength, "value")
        made.positions.observe(self._choose_positions, "value")
        made.hook_point.observe(lambda change: self.set_trait("hook_point", change["new"]), "value")
        made.curve.on_click(lambda _: self.dose_response())
        made.go_on.on_click(lambda _: self.continue_text())
        made.replay.on_click(lambda _: self._replay_text())
        made.combine.on_click(lambda _: self.combine())
        made.keep.on_click(lambda _: self.keep_recipe())
        made.kept.observe(self._choose_recipe, "value")
        made.target_kl.observe(lambda change: self.set_trait("target_kl", change["new"]), "value")
        self.observe(self._offer_recipes, "recipes")
        self._detail_view.on_pick(lambda position: self.set_trait("positions", (position,)))
        self.observe(self._on_change, list(EXPLAINED))
        self.bind_key("ArrowRight", lambda: self._step_atom(1))
        self.bind_key("ArrowLeft", lambda: self._step_atom(-1))
        self.bind_key("Escape", lambda: self.set_trait("positions", None))

    def _facts(self) -> dict[str, str]:
        facts = {"model": self.model.name, "at": self.hook_point}
        facts |= {"SAE": type(self.sae).__name__, "atoms": format_count(self.n_atoms)}
        if self._samples.made_up:
            facts["inputs"] = "made up, none were given"
        return facts

    def _measure_strengths(self) -> None:
        """Find every atom's 99th percentile, off the main thread where it must be measured."""
        if self._acts is None and getattr(self.sae, "strength_p99", None) is None:
            self._begin(None)
        else:
            self.run_async(
                lambda: measured_p99(self.sae, self._acts),
                self._begin,
                doing="measuring strengths",
            )

    def _begin(self, p99: Float[np.ndarray, " n_atoms"] | None) -> None:
        self._scale.p99, self._ready = p99, True
        self._scale.lengths = self.sae.dictionary.detach().float().norm(dim=1).cpu().numpy()
        if self._waiting is not None:
            self._take(self._waiting)
            self._waiting = None
        if self._auto and self.unit == "p99":
            self.strength = STRENGTH_AT_FIRST
        self._fit_slider()
        self._request()
        if self._text_waits:
            self.continue_text()

    def _fit_slider(self) -> None:
        ends = self._scale.limits(self.atom, self.mode)
        steering_controls.fit_slider(self.controls.strength, self.strength, *ends)
        self._unit.value = unit_html(self._scale.words(self.atom, self.mode))
        self._mix.show([o for o in self.others if o[0] != self.atom], self._scale, self.mode)

    def _input(self) -> Any:
        return [self.text] if self.kind == "language" and self.text else self._samples[self.sample]

    def _request(self) -> None:
        """Run the model for what is asked now; an older request is dropped."""
        if not self._ready:
            return
        recipe, inputs = self.current, self._input()
        started = time.perf_counter()

        def done(summary: SteeringSummary) -> None:
            self._draw(summary, time.perf_counter() - started)

        doing = f"steering atom {recipe.atom}"
        self.run_async(lambda: self._steered(recipe, inputs), done, doing=doing)

    def _steered(self, recipe: SteeringRecipe, inputs: Any) -> SteeringSummary:
        """Run in the worker thread: touches no widget."""
        model = answering(self.model, recipe.head)
        batch = as_batch(model, inputs)
        with self.model.lock:
            # What a `with` block around a cell has put in force is part of the clean run.
            others = tuple(id(edit) for edit in self.model.interventions)
        key = (recipe.text or recipe.sample, recipe.head, recipe.hook_point, others)
        clean = self._clean.get(key)
        if clean is None:
            read_at = read_hook_point(model, recipe.hook_point)
            clean = self._clean[key] = read_answer(model, batch, recipe.hook_point, read_at)
        self._scale.length = float(np.median(np.linalg.norm(clean.edited, axis=-1)))
        for old in list(self._clean)[:-CLEAN_RUNS_KEPT]:
            self._clean.pop(old, None)
        recipe = self._calibrated(recipe, inputs)
        return summarise_steering(self.model, batch, self.sae, recipe, clean=clean)

    def refresh(self) -> None:
        """Run everything anew, after the model's weights changed, say."""
        self._clean.clear()
        self._identity = None
        self._request()

    def _on_change(self, change: t.Bunch) -> None:
        with self.guarded("steering"):
            if change["name"] in ("atom", "mode", "others"):
                self._fit_slider()
            elif change["name"] == "strength":
                self._auto = False  # whoever has chosen one keeps it
                steering_controls.follow(self.controls.strength, self.strength)
            elif change["name"] == "target_kl":
                steering_controls.show_target(self.controls.target_kl, self.target_kl)
            elif change["name"] == "positions":
                self._show_positions()
            elif change["name"] == "hook_point":
                steering_controls.offer(self.controls.hook_point, self.hook_point)
                self.chips = self._facts()
            elif change["name"] == "sample":
                self.set_trait("text", self._samples.text(self.sample) or "")
            if not self._following:
                self._settle_target(change["name"])
                self._request()

    def _move_strength(self, change: t.Bunch) -> None:
        if not steering_controls.snapped(change["owner"], self.strength):
            self.strength = change["new"]

    def _step_atom(self, step: int) -> None:
        self.atom = (self.atom + step) % self.n_atoms

    # --- drawing ----------------------------------------------------------------------------------

    def _draw(self, summary: SteeringSummary, seconds: float) -> None:
        self._summary = summary
        if summary.recipe.target_kl is not None:
            self._follow_found(summary.recipe)
        update_answer(self._picture, summary)
        self._detail_view.show(summary)
        if self._curve is not None and _question(self._curve.recipe) != _question(summary.recipe):
            self._show_curve(None)
        elif self._curve is not None:
            mark_strength(self._picture, summary.recipe.strength)
        self.controls.curve.disabled = summary.outcome == "state"
        self.controls.recipe.value = json.dumps(self.recipe())
        self._detail_view.mark_stale(self.current)
        self.say(f"{sentence(summary)}{cost_words(self._found)} · {format_duration(seconds)}")
        if self._auto and self.unit == "coefficient":
            # Only now is it known how long the states are.
            self._fit_slider()
            self.strength = one_digit(self.controls.strength.max / 4)
        self._auto = False

    def _curve_done(self, curve: SteeringCurve) -> None:
        self._show_curve(curve)
        if len(curve.response.control):
            self.say(curve_words(curve))

    def _show_curve(self, curve: SteeringCurve | None) -> None:
        self._curve = curve
        with self._drawing:
            update_curve(self._picture, curve)
            mark_strength(self._picture, None if curve is None else self.strength)

    def restyle(self) -> None:
        """Redraw with the current theme's sizes."""
        super().restyle()
        if self._figure is not None and self._summary is not None:
            update_answer(self._picture, self._summary)
            update_curve(self._picture, self._curve)

    # --- where ------------------------------------------------------------------------------------

    def _choose_positions(self, change: t.Bunch) -> None:
        if change["new"] != PICKED:
            self.positions = None if change["new"] == "all" else change["new"]

    def _show_positions(self) -> None:
        """Have the menu show the positions, also when they were picked by hand."""
        menu = self.controls.positions
        # New options put the menu on its first one, which is not the reader's doing.
        menu.unobserve(self._choose_positions, "value")
        steering_controls.show_positions(menu, self.positions, self.kind)
        menu.observe(self._choose_positions, "value")

    # --- answers ----------------------------------------------------------------------------------

    @property
    def summary(self) -> SteeringSummary:
        """The record shown; waits for work that is under way.

        Raises
        ------
        RuntimeError: If there is none because running the model failed.
        """
        self.wait()
        if self._summary is None:
            raise RuntimeError(f"There is no answer for atom {self.atom}: {self.status}")
        return self._summary

    @property
    def curve(self) -> SteeringCurve | None:
        """The dose–response curve shown; None before `dose_response` and after another atom."""
        self.wait()
        return self._curve

    @property
    def continuation(self) -> Continuation | None:
        """The continuation shown; None before `continue_text`."""
        self.wait()
        return self._continuation

    @property
    def record(self) -> dict[str, Any] | None:
        """The numbers behind the figure, for the table of exported pages."""
        if self._summary is None:
            return None
        shown = {"answer": self._summary, "curve": self._curve, "continuation": self._continuation}
        return {name: value for name, value in shown.items() if value is not None}

    def export_name(self) -> str:
        """Return the file name of exports: the atom and its strength."""
        return f"steering_{self.atom}_{self.strength:g}"

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
            summary, recipe, inputs = self.summary, self.current, self._input()
            if summary.outcome == "state":
                raise ValueError(f"{STATES_HAVE_NO_CURVE}, and {self.model.name} gives states.")
            if strengths is None:
                high = self._scale.limits(self.atom, "add")[1]
                strengths = np.linspace(-high, high, CURVE_POINTS).tolist()
            target, given = summary.target, list(strengths)
            self.run_async(
                lambda: summarise_dose_response(
                    self.model, inputs, self.sae, recipe, given, target, n_controls=n_controls
                ),
                self._curve_done,
                doing="dose–response",
                channel="curve",
            )

    def continue_text(self) -> None:
        """Continue the text before and after, and under the random direction."""
        self._text_waits = not self._ready  # until then the unit of the strength is not known
        if self._text_waits:
            return
        recipe, inputs, n_new = self.current, self._input(), self.max_new_tokens

        def done(record: Continuation) -> None:
            self._continuation = record
            self._detail_view.show_continuation(record, self.current)
            self.say(changes_sentence(record))

        self.run_async(
            lambda: summarise_continuation(
                self.model, inputs, self.sae, recipe, max_new_tokens=n_new
            ),
            done,
            doing="continuing the text",
            channel="text",
        )


def _question(recipe: SteeringRecipe) -> SteeringRecipe:
    """Return what a dose–response curve is about: everything but how strong."""
    parts = recipe.scaled(1 / recipe.strength).others if recipe.strength else recipe.others
    others = tuple((atom, float(f"{amount:.4g}")) for atom, amount in parts)
    return replace(recipe, strength=0.0, others=others, seed=0, mode="add", target_kl=None)
