"""SuperpositionToy: five features, two neurons, and one slider for how rare the features are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.checks import checked
from sae_nb.figures import escape, format_count, format_number
from sae_nb.models import Bottleneck, train_bottlenecks
from sae_nb.summaries import SuperpositionSummary, fit_atoms, summarise_superposition
from sae_nb_widgets.panel import Panel, control, figure_widget, reacts
from sae_nb_widgets.superposition._figure import (
    figure_height,
    scale_texts,
    superposition_figure,
    update_superposition_figure,
)

SPARSITIES = (0.0, 0.3, 0.5, 0.65, 0.75, 0.83, 0.88, 0.92, 0.95, 0.97, 0.98, 0.99)
"""Where the toys are trained: closer together where arrangements change. Ours."""

COLUMNS = (("neuron", "neurons"), ("atom", "atoms"), ("random", "random directions"))


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
    traitlets.TraitError: If `sparsity` is set to what is no chance.

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
        "Each arrow is where training put one feature among the neurons; WᵀW shows what is read of "
        "the others, and the curves how much of a dimension each has to itself. The bars ask who "
        "tells a feature apart on fresh inputs: the best neuron, or the best atom of an SAE that saw "
        "only the hidden vectors. Grey ticks are the best of as many random directions.",
        "Here the features are independent and their number is known. In a real model neither holds, "
        "so that atoms are found there does not say that they are the model's own.",
        "Elhage et al., “Toy models of superposition”, arXiv 2209.10652.",
    )
    stem = "superposition"
    needs_kernel = "The sparsity slider needs a running kernel and was left out."

    sparsity = t.Float(0.0, help="Chance that a feature is off; goes to the nearest trained one.")

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
        """What is shown; None while the toys are being trained."""
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
            raise t.TraitError(f"`sparsity` must be in [0, 1), got {value:g}.")
        return min(self._levels, key=lambda level: abs(level - value))

    # --- widgets ----------------------------------------------------------------------------------

    def _build(self) -> None:
        self.sparsity = self._levels[0]
        self.slider = control(
            self,
            "sparsity",
            "sparsity S",
            "Chance that a feature is off: how rare it is",
            "min(520px, 100%)",
            kind=ipw.SelectionSlider,
            options={level: f"{level:g}" for level in self._levels},
        )
        self.plot = figure_widget(superposition_figure([], 0), height=figure_height())
        self.readings = ipw.HTML()
        self.arrange(controls=[self.slider], figure=[self.plot, self.readings])
        self.bind_key("ArrowLeft", lambda: self.step(-1))
        self.bind_key("ArrowRight", lambda: self.step(1))
        self._draw_facts()

    def step(self, by: int) -> None:
        """Go to another trained sparsity.

        Parameters
        ----------
        by
            How many further; stops at either end.
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

    def _trained(self, toys: list[Bottleneck]) -> None:
        self.toys = toys
        self._sweep = [summarise_superposition(toy) for toy in toys]
        built = superposition_figure(self._sweep, self._place)
        with self.plot.batch_update():
            self.plot.data = ()
        self.plot.add_traces(built.data)
        self.plot.layout = built.layout
        self._moved()

    @reacts("sparsity", doing="showing another sparsity")
    def _moved(self) -> None:
        """Draw the toy of this sparsity, and have its atoms found if they are not known yet."""
        self._draw()
        record = self.record
        if record is not None and record.found is None and self._find_atoms:
            self._ask_for_atoms(self._place)

    def _ask_for_atoms(self, place: int) -> None:
        toy, seed = self.toys[place], self._seed

        def work() -> SuperpositionSummary:
            return summarise_superposition(toy, fit_atoms(toy, seed=seed), seed=seed)

        def done(record: SuperpositionSummary) -> None:
            self._sweep[place] = replace(self._sweep[place], found=record.found)
            self._draw()

        doing = f"training SAEs on the hidden vectors at sparsity {toy.sparsity:g}"
        self.run_async(work, done, doing=doing, channel="atoms")

    # --- drawing ----------------------------------------------------------------------------------

    def _draw(self) -> None:
        if self._sweep:
            update_superposition_figure(self.plot, self._sweep, self._place)
        self._draw_facts()

    def _draw_facts(self) -> None:
        n_features, n_hidden = self._shape
        self.chips = {
            "features": format_count(n_features),
            "neurons": format_count(n_hidden),
            "sparsity": f"{self.sparsity:g}",
        }
        record = self.record
        self.readings.value = "" if record is None else _numbers_html(record)

    def restyle(self) -> None:
        """Redraw with the current theme's sizes."""
        super().restyle()
        if self._sweep:
            self.plot.layout.height = figure_height()
            scale_texts(self.plot)


def _numbers_html(record: SuperpositionSummary) -> str:
    """The numbers behind the picture, in one or two lines."""
    first = (
        f"{len(record.stored)} of {len(record.directions)} features are stored; their "
        f"dimensionalities make {format_number(float(record.dimensionality.sum()))} of "
        f"{record.n_hidden}; mean interference {format_number(float(record.interference.mean()))}."
    )
    found = record.found
    if found is None:
        return f"<p>{escape(first)}</p>"
    scores = ", ".join(
        f"{words} {format_number(float(getattr(found, f'{name}_f1').mean()))}"
        for name, words in COLUMNS
    )
    second = (
        f"Mean F1: {scores}. Cosine of a stored feature with its atom "
        f"{format_number(found.cosine)}, with a neuron {format_number(found.cosine_neurons)}, with "
        f"the best of as many random directions {format_number(found.cosine_floor)}."
    )
    return f"<p>{escape(first)}</p><p>{escape(second)}</p>"


def _sorted_toys(toys: Sequence[Bottleneck]) -> list[Bottleneck]:
    """Toys by sparsity, refused if they cannot stand in one sweep."""
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
