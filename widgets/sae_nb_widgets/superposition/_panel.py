"""SuperpositionToy: five features, two neurons, and one slider for how rare the features are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.checks import checked
from sae_nb.evaluation import SuperpositionSummary, fit_atoms, summarise_superposition
from sae_nb.figures import to_svg
from sae_nb.figures.theme import format_count
from sae_nb.models import Bottleneck, train_bottlenecks
from sae_nb_widgets.panel import Panel
from sae_nb_widgets.panel._declaring import control, reacts
from sae_nb_widgets.panel._frame import small_toggle
from sae_nb_widgets.panel._theming import figure_widget
from sae_nb_widgets.superposition._figure import (
    figure_height,
    fold_superposition_figure,
    scale_texts,
    superposition_figure,
    update_superposition_figure,
)
from sae_nb_widgets.superposition._words import (
    answer_words,
    compared_words,
    numbers_words,
    sweep_words,
    title_words,
)

SPARSITIES = (0.0, 0.3, 0.5, 0.65, 0.75, 0.83, 0.88, 0.92, 0.95, 0.97, 0.98, 0.99)
"""Sparsities of the trained toys: closer together where arrangements change. Ours."""

TOYS_SECONDS, ATOMS_SECONDS = 4.0, 6.0
"""Duration of training all toys, and the SAEs of one, on two cores (0.02 s a toy and step, three SAEs)."""

REST = "leaks, room, and who finds a feature"


@checked
class SuperpositionToy(Panel):
    """A toy bottleneck whose truth is known, at every sparsity: directions, room, neurons and atoms.

    All toys are trained when the panel is made, in a few seconds off the main thread; the slider then
    answers at once, and an SAE is trained on the hidden vectors of the toy it stops at.

    Parameters
    ----------
    toys
        From `sn.models.train_bottlenecks`, all of one size; None trains them here.
    sparsities
        Where to train, if no toys are given.
    n_features, n_hidden
        Sizes, if no toys are given. Two neurons can be drawn as a plane.
    seed
        Of the trainings here.
    find_atoms
        Whether SAEs are trained on the hidden vectors.

    Raises
    ------
    ValueError: If the toys differ in size or are untrained.

    Examples
    --------
    >>> toys = train_bottlenecks([0.5, 0.97], steps=100, n_restarts=1)
    >>> panel = SuperpositionToy(toys, find_atoms=False)
    >>> panel.sparsity = 0.9
    >>> panel.sparsity, panel.record.sparsity
    (0.97, 0.97)
    >>> panel.close()
    """

    question = "How do many features share few neurons?"
    explanation = (
        "Two toys that were trained alike; in one the features are rarer. Squares say when a feature is "
        "there, in one draw by chance. Each arrow is the direction that training gave one feature among the "
        "neurons; features in the ring were given none. Folded: WᵀW shows how "
        "much each feature leaks into the outputs of the others; the curves show what share of a "
        "dimension each has to itself. The bars show who detects a feature on new inputs (F1: 1 if "
        "always right, without misses or false alarms): the best "
        "neuron, or the best atom of an SAE that saw only the hidden vectors. Dashed: the best of the "
        "same number of random directions.",
        "Here the features are independent and their number is known. Neither holds in a real model: "
        "an SAE that finds atoms there has not shown that they are the model's own features.",
        "Elhage et al., “Toy models of superposition”, arXiv 2209.10652.",
    )
    stem = "superposition"
    needs_kernel = "The sparsity slider needs a running kernel and was left out."

    sparsity = t.Float(0.0, help="Chance that a feature is off; goes to the nearest trained one.")
    details = t.Bool(False, help="Whether leaks, room and who finds a feature are drawn, too.")

    def __init__(
        self,
        toys: Sequence[Bottleneck] | None = None,
        *,
        sparsities: Sequence[float] = SPARSITIES,
        n_features: int = 5,
        n_hidden: int = 2,
        seed: int = 0,
        find_atoms: bool = True,
        **kwargs: Any,
    ) -> None:
        self.toys = [] if toys is None else _sorted_toys(toys)
        self._levels = [float(toy.sparsity or 0.0) for toy in self.toys] or sorted(sparsities)
        self._sweep: list[SuperpositionSummary] = []
        self._seed, self._find_atoms = seed, find_atoms
        self._atoms_seconds = ATOMS_SECONDS
        shape = (n_features, n_hidden) if toys is None else tuple(self.toys[0].directions.shape)
        self._shape = (int(shape[0]), int(shape[1]))
        super().__init__(**kwargs)
        self._build()
        if self.toys:
            self._trained(self.toys)
        else:
            self._train()

    @property
    def record(self) -> SuperpositionSummary | None:
        """The record on screen; None while the toys are being trained."""
        return self._sweep[self._place] if self._sweep else None

    @property
    def toy(self) -> Bottleneck | None:
        """The toy that is shown; None while they are being trained."""
        return self.toys[self._place] if self.toys else None

    @property
    def _place(self) -> int:
        return self._levels.index(self.sparsity)

    @t.validate("sparsity")
    def _nearest_level(self, proposal: t.Bunch) -> float:
        value = float(proposal["value"])
        if not 0 <= value < 1:
            raise t.TraitError(f"`sparsity` must be at least 0 and below 1, got {value:g}.")
        return min(self._levels, key=lambda level: abs(level - value))

    # --- widgets ----------------------------------------------------------------------------------

    def _build(self) -> None:
        self.sparsity = self._levels[0]
        self.slider = control(
            self,
            "sparsity",
            "sparsity",
            "Chance that a feature is off: how rare it is",
            "min(520px, 100%)",
            kind=ipw.SelectionSlider,
            options={level: f"{level:g}" for level in self._levels},
        )
        self.plot = figure_widget(
            superposition_figure([], 0, alone=True), height=figure_height(alone=True)
        )
        self.fold = small_toggle(REST, "Three more views of the same toy")
        t.link((self, "details"), (self.fold, "value"))
        self.arrange(controls=[self.slider, self.fold], figure=self.plot)
        self.bind_key("ArrowLeft", lambda: self.step(-1))
        self.bind_key("ArrowRight", lambda: self.step(1))
        self._draw_facts()

    def step(self, by: int) -> None:
        """Go to another trained sparsity.

        Parameters
        ----------
        by
            Number of steps; stops at either end.
        """
        place = min(max(self._place + by, 0), len(self._levels) - 1)
        self.sparsity = self._levels[place]

    # --- work -------------------------------------------------------------------------------------

    def _train(self) -> None:
        n_features, n_hidden = self._shape
        what = f"training {len(self._levels)} toys of {n_features} features in {n_hidden} neurons"

        def work() -> list[Bottleneck]:
            return train_bottlenecks(
                self._levels, n_features=n_features, n_hidden=n_hidden, seed=self._seed
            )

        self.run_async(work, self._trained, doing=what)
        self.loading(f"{what[0].upper()}{what[1:]}", seconds=TOYS_SECONDS)

    def _trained(self, toys: list[Bottleneck]) -> None:
        self.toys = toys
        self._sweep = [summarise_superposition(toy) for toy in toys]
        built = superposition_figure(self._sweep, self._place, self._beside, alone=not self.details)
        with self.plot.batch_update():
            self.plot.data = ()
        self.plot.add_traces(built.data)
        self.plot.layout = built.layout
        opening = self._levels[self._worth_seeing]
        if self.sparsity == self._levels[0] != opening:  # nobody has moved it
            self.sparsity = opening
        else:
            self._moved()

    @reacts("details", doing="showing the other views")
    def _unfold(self) -> None:
        if self._sweep:
            self._fold()
        self._moved()

    @reacts("sparsity", doing="showing another sparsity")
    def _moved(self) -> None:
        """Draw the toy of this sparsity, and have its atoms found if they are shown and not known yet."""
        self._draw()
        record = self.record
        if record is not None and record.found is None and self._find_atoms and self.details:
            self._ask_for_atoms(self._place)

    def _ask_for_atoms(self, place: int) -> None:
        toy, seed = self.toys[place], self._seed
        began = time.perf_counter()

        def work() -> SuperpositionSummary:
            return summarise_superposition(toy, fit_atoms(toy, seed=seed), seed=seed)

        def done(record: SuperpositionSummary) -> None:
            self._sweep[place] = replace(self._sweep[place], found=record.found)
            self._atoms_seconds = time.perf_counter() - began
            self._draw()

        doing = f"training SAEs on the hidden vectors at sparsity {toy.sparsity:g}"
        self.run_async(work, done, doing=doing, channel="atoms")

    # --- drawing ----------------------------------------------------------------------------------

    def _draw(self) -> None:
        if self._sweep:
            waits = self._find_atoms and self._sweep[self._place].found is None
            waiting = f"training SAEs …<br>about {self._atoms_seconds:.0f} s" if waits else ""
            place, beside = self._place, self._beside
            update_superposition_figure(self.plot, self._sweep, place, beside, waiting)
            self._fold()
        self._draw_facts()

    def _draw_facts(self) -> None:
        n_features, n_hidden = self._shape
        self.chips = {
            "features": format_count(n_features),
            "neurons": format_count(n_hidden),
            "sparsity": f"{self.sparsity:g}",
        }
        self.where = (
            "a toy",
            f"{format_count(n_features)} features",
            f"{format_count(n_hidden)} neurons",
        )
        if self.record is not None:
            other = None if self._beside is None else self._sweep[self._beside]
            self.headline = title_words(self.record, other)
            found = self.record.found
            compared, measured = ("", []) if found is None else compared_words(found)
            numbers = [numbers_words(self.record), *measured]
            said = answer_words(self.record, other)
            reasons = " ".join(filter(None, (sweep_words(self._sweep), compared)))
            self.conclude(said, " · ".join(numbers), reasons=reasons)

    @property
    def _worth_seeing(self) -> int:
        """The place that the panel opens on: in the middle of those where most features are stored."""
        most = max(len(record.stored) for record in self._sweep)
        full = [i for i, record in enumerate(self._sweep) if len(record.stored) == most]
        return full[(len(full) - 1) // 2]

    @property
    def _beside(self) -> int | None:
        """The place of the toy that stands next to the shown one: the densest, or the one worth seeing."""
        other = self._worth_seeing if self._place == 0 else 0
        return None if other == self._place else other

    def _fold(self) -> None:
        fold_superposition_figure(self.plot, not self.details, paired=self._beside is not None)

    def _rescale(self) -> None:
        if self._sweep:
            self._fold()
            scale_texts(self.plot)

    def static_main(self) -> str:
        """Return what is under the figure; the views that are not shown are folded."""
        if self.details or not self._sweep:
            return super().static_main()
        rest = to_svg(superposition_figure(self._sweep, self._place))
        fold = f'<details><summary>{REST}</summary><div class="sae-nb-still">{rest}</div></details>'
        return super().static_main() + fold


def _sorted_toys(toys: Sequence[Bottleneck]) -> list[Bottleneck]:
    """Return toys by sparsity, refused if they do not fit in one sweep."""
    if not toys:
        raise ValueError(
            "`toys` must hold at least one, got none. Leave it out to train them here."
        )
    shapes = {tuple(toy.directions.shape) for toy in toys}
    if len(shapes) != 1 or any(toy.sparsity is None for toy in toys):
        untrained = sum(toy.sparsity is None for toy in toys)
        raise ValueError(
            f"`toys` must be trained and of one size, got sizes {sorted(shapes)}, {untrained} "
            "untrained. Make them with sn.models.train_bottlenecks(sparsities)."
        )
    return sorted(toys, key=lambda toy: toy.sparsity or 0.0)
