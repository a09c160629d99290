"""PursuitStepper: how a sparse code comes about, step by step, forwards and backwards."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
import traitlets as t

from sae_nb.checks import check_k
from sae_nb.figures import format_count, format_number
from sae_nb.summaries import PURSUITS, PursuitSteps, strongest_atoms, summarise_pursuit
from sae_nb_widgets.panel import figure_widget, static_html
from sae_nb_widgets.pursuit import _controls as pursuit_controls
from sae_nb_widgets.pursuit._detail import Chosen, Parts
from sae_nb_widgets.pursuit._figure import (
    SHORT,
    TRACES_PER_ALGORITHM,
    pursuit_figure,
    scale_texts,
    update_records,
    update_step,
)
from sae_nb_widgets.pursuit._traits import (
    PursuitTraits,
    algorithm_names,
    checked_bias,
    checked_shape,
    input_rows,
    unit_atoms,
)

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


RECORDS_KEPT = 12
LEFT_PX = 196
SMALL = 100_000_000
"""Multiplications up to which the first run is waited for: a tenth of a second."""


class PursuitStepper(PursuitTraits):
    """How does the code come about?

    Runs one or two algorithms on one input, with the kernels' own trace, and shows every step: what
    is explained, what is left, and the correlation of every atom with it.

    Parameters
    ----------
    x
        One input, rows of them, or `Activations`.
    dictionary
        Atoms of unit norm.
    algorithms
        One or two of "mp", "omp", "gp" (greedy, k steps), "ista", "fista" (proximal, 60 steps). None
        is matching pursuit beside orthogonal matching pursuit, or on both dictionaries where two are
        given.
    k
        Steps of a greedy algorithm.
    picture_shape
        (height, width) or (3, height, width) where inputs are pictures; None draws coordinates.
    bias
        Subtracted from the inputs first, as an SAE does with its own, and added again to what is drawn.
    other_dictionary
        What the second algorithm uses in place of `dictionary`, of the same width.
    labels
        What people call atoms, by number.
    normalise
        Scale the atoms to unit norm first; coefficients then belong to the scaled atoms.

    Raises
    ------
    TypeError, ValueError: If inputs, dictionaries, k and picture shape do not fit together.
    traitlets.TraitError: If there is no such algorithm.

    Examples
    --------
    >>> import torch
    >>> panel = PursuitStepper(torch.tensor([3.0, 4.0]), torch.eye(2), algorithms=["mp"], k=2)
    >>> panel.wait()
    >>> panel.step = 1
    >>> panel.record["MP: residual norm"], panel.steps[0].next_atom(1)
    (3.0, 0)
    >>> panel.close()
    """

    question = "How does the code come about?"
    explanation = (
        "Each bar is the correlation of an atom with what is left of the input; the ringed one is "
        "taken next, and taking it shrinks the bars of all atoms that overlap with it. Pale bars are "
        "where they began.",
        "One input is one input, and a small residual does not say that the atoms are the true ones: "
        "on coherent dictionaries a good fit can have a wrong support.",
        "Matching pursuit: Mallat and Zhang 1993; as an SAE's encoder: arXiv 2506.03093.",
    )
    stem = "pursuit"
    needs_kernel = "Going to another step needs a running kernel; this is the step that was shown."

    def __init__(
        self,
        x: Any,
        dictionary: Float[Tensor, "n_atoms d_in"],
        *,
        algorithms: Sequence[str] | None = None,
        k: int = 16,
        picture_shape: tuple[int, ...] | None = None,
        bias: Float[Tensor, " d_in"] | None = None,
        other_dictionary: Float[Tensor, "other_atoms d_in"] | None = None,
        labels: Mapping[int, str] | None = None,
        normalise: bool = False,
    ) -> None:
        first = second = unit_atoms(dictionary, normalise, "dictionary")
        if other_dictionary is not None:
            second = unit_atoms(other_dictionary, normalise, "other_dictionary", first.shape[1])
        self._dictionaries, self.n_atoms = (first, second), len(first)
        self._bias = checked_bias(bias, first)
        self._x = input_rows(x, first, self._bias)
        named = algorithm_names(algorithms, two=other_dictionary is not None)
        check_k(k, min(len(first), len(second)))
        self._shape = checked_shape(picture_shape, first.shape[1])
        self._labels = labels or {}
        self._known: OrderedDict[tuple[Any, ...], PursuitSteps] = OrderedDict()
        self.steps: tuple[PursuitSteps, ...] = ()
        self._shown: list[np.ndarray] = []
        super().__init__()
        self.k, self.algorithm_a, self.algorithm_b = k, named[0], named[1]
        self.chips = self._facts()
        self._build()
        self._request(at_once=self._cost() <= SMALL)

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.controls = pursuit_controls.build(self, len(self._x))
        self._picture = figure_widget(pursuit_figure())
        for trace in self._picture.data:
            trace.on_click(self._on_click)
        self._parts = Parts(self._shape, self._bias.cpu().numpy())
        self._chosen = Chosen(self._shape, self.label_of)
        self.arrange(
            controls=self.controls.first,
            more=self.controls.more,
            figure=self._picture,
            detail=self._chosen.widgets,
        )
        left = ipw.Box(list(self._parts.widgets)).add_class("sae-nb-line")
        left.layout.min_width, left.layout.align_items = "0", "flex-start"
        self._body.children = (left, *self._body.children)
        # Three columns; below 700 px the style sheet puts them under each other.
        self._body.layout.grid_template_columns = (
            f"minmax(0, {LEFT_PX}px) minmax(0, 1fr) minmax(220px, 29%)"
        )
        self._listen()

    def _listen(self) -> None:
        asked = ["row", "algorithm_a", "algorithm_b", "k", "penalty_share", "nonnegative"]
        self.observe(self._on_asked, asked)
        self.observe(self._on_step, ["step", "marked", "fit_bars"])
        self.observe(self._on_atom, "atom")
        self.observe(self._on_order, "order")
        self._chosen.norms.observe(self._on_norms, "selected")
        self.can_play()
        self.bind_key("Home", lambda: self.set_trait("step", 0))
        self.bind_key("End", lambda: self.set_trait("step", self.last_step))
        self.bind_key("Escape", lambda: self.set_trait("marked", False))

    def label_of(self, atom: int) -> str:
        """What people call an atom; empty where it has no name."""
        return str(self._labels.get(atom, ""))

    def name_of(self, atom: int) -> str:
        """Number and label of an atom, in words."""
        return f"{atom} {self.label_of(atom)}".strip()

    # --- what is asked ----------------------------------------------------------------------------

    def _cost(self) -> int:
        """Multiplications of a run, roughly."""
        return max(self.last_step * one.numel() for one in self._dictionaries)

    def _request(self, *, at_once: bool = False) -> None:
        """Run what is not known yet, off the main thread; an older request is dropped."""
        asked = self._asked()
        missing = [key for key in asked if key not in self._known]
        if not missing:
            self._take([self._known[key] for key in asked])
            return

        def done(answer: Mapping[tuple[Any, ...], PursuitSteps]) -> None:
            self._known.update(answer)
            # What was asked meanwhile may have been known, and is on screen already.
            if asked == self._asked():
                self._take([self._known[key] for key in asked])
            while len(self._known) > RECORDS_KEPT:
                self._known.popitem(last=False)

        doing = f"running {' and '.join(SHORT[name] for name in self.algorithms)}"
        work = {key: self._known.get(key) for key in asked}
        if at_once:
            with self.guarded(doing):
                done(self._computed(work))
        else:
            self.run_async(lambda: self._computed(work), done, doing=doing)

    def _asked(self) -> list[tuple[Any, ...]]:
        return [self._key(i, name) for i, name in enumerate(self.algorithms)]

    def _key(self, index: int, name: str) -> tuple[Any, ...]:
        greedy = name in PURSUITS
        which = index if self._dictionaries[1] is not self._dictionaries[0] else 0
        return (name, self.row, which, self.nonnegative, self.k if greedy else self.penalty_share)

    def _computed(
        self, work: Mapping[tuple[Any, ...], PursuitSteps | None]
    ) -> dict[tuple[Any, ...], PursuitSteps]:
        """Run in the worker thread: touches no widget."""
        answer = {}
        for key, known in work.items():
            name, row, which, nonnegative, number = key
            size = {"k": number} if name in PURSUITS else {"penalty_share": number}
            answer[key] = known or summarise_pursuit(
                self._x, self._dictionaries[which], name, row=row, nonnegative=nonnegative, **size
            )
        return answer

    # --- drawing ----------------------------------------------------------------------------------

    def _take(self, steps: Sequence[PursuitSteps]) -> None:
        """Show other records, at the same step where they have it."""
        with self._drawing:
            first = not self.steps
            self.steps = tuple(steps)
            self.chips = self._facts()
            if self.step > self.last_step:
                self.step = self.last_step
            self._chosen.begin(steps, self._dictionaries, self.last_step)
            self._rebuild()
            if first and not self.marked:
                self._start_with(max(steps[0].next_atom(0), 0))

    def _start_with(self, atom: int) -> None:
        """Have an atom worth linking before one is clicked, without marking it."""
        self.atom = atom
        self.marked = False

    def _rebuild(self) -> None:
        """Make the bars anew: other atoms, another order, another size."""
        if not self.steps:
            return
        same = self._dictionaries[0] is self._dictionaries[1]
        groups = [self.steps] * len(self.steps) if same else [(one,) for one in self.steps]
        self._shown = [strongest_atoms(group, order=self.order) for group in groups]
        update_records(self._picture, self.steps, self._shown, name_of=self.name_of)
        self._draw()

    @property
    def _mark(self) -> int:
        return self.atom if self.marked else -1

    def _draw(self) -> None:
        with self._drawing:
            update_step(
                self._picture,
                self.steps,
                self._shown,
                self.step,
                atom=self._mark,
                fit=self.fit_bars,
            )
            self._parts.show(self.steps, self.step)
            self._chosen.show(self.steps, self.step, self._mark)
            pursuit_controls.fit_slider(self.controls, self.step, self.last_step)
            self.say(_sentence(self.steps, self.step))

    def restyle(self) -> None:
        """Redraw with the current theme's sizes."""
        super().restyle()
        if self._figure is not None:
            with self._drawing:
                self._rebuild()
                scale_texts(self._figure)

    def _facts(self) -> dict[str, str]:
        sizes = [format_count(len(one)) for one in self._dictionaries]
        two = self._dictionaries[0] is not self._dictionaries[1]
        facts = {"atoms": " | ".join(sizes) if two else sizes[0]}
        facts["width"] = format_count(self._x.shape[1])
        if len(self._x) > 1:
            facts["input"] = f"{self.row} of {format_count(len(self._x))}"
        return facts

    # --- what was changed -------------------------------------------------------------------------

    def _on_asked(self, _: t.Bunch) -> None:
        with self.guarded("running the pursuit"):
            self._request()

    def _on_step(self, _: t.Bunch) -> None:
        if self.steps:
            with self.guarded("drawing the step"):
                self._draw()

    def _on_atom(self, change: t.Bunch) -> None:
        if self.marked:
            self._on_step(change)
        else:
            self.marked = True

    def _on_order(self, _: t.Bunch) -> None:
        with self.guarded("ordering the bars"), self._drawing:
            self._rebuild()

    def _on_norms(self, change: t.Bunch) -> None:
        if change["new"] >= 0:
            self.step = change["new"]

    def _on_click(self, trace: go.Bar, points: Any, _: Any) -> None:
        if points.point_inds:
            index = list(self._picture.data).index(trace) // TRACES_PER_ALGORITHM
            atoms = self._shown[index]
            chosen = int(atoms[points.point_inds[0]])
            if chosen == self.atom:
                self.marked = not self.marked
            elif chosen < self.n_atoms:  # the second dictionary may have more
                self.atom = chosen

    # --- the player -------------------------------------------------------------------------------

    def forth(self) -> None:
        """One step on; at the last one nothing happens."""
        self.step = min(self.step + 1, self.last_step)

    def back(self) -> None:
        """One step back; at the first one nothing happens."""
        self.step = max(self.step - 1, 0)

    @property
    def at_end(self) -> bool:
        """Whether the last step is shown."""
        return self.step >= self.last_step

    def to_start(self) -> None:
        """Go before the first step."""
        self.step = 0

    # --- taking it away ---------------------------------------------------------------------------

    @property
    def record(self) -> dict[str, Any]:
        """What the step on screen says, in numbers."""
        shown: dict[str, Any] = {"step": self.step, "row": self.row}
        for one in self.steps:
            at, name = one.reached(self.step), SHORT[one.algorithm]
            atoms, values = one.code_at(at)
            pairs = zip(atoms.tolist(), values.tolist(), strict=True)
            shown[f"{name}: residual norm"] = float(one.residual_norms[at])
            shown[f"{name}: residual norms"] = one.residual_norms
            shown[f"{name}: next atom"] = one.next_atom(at)
            shown[f"{name}: code"] = ", ".join(
                f"{self.name_of(atom)}: {format_number(value)}" for atom, value in pairs
            )
        return shown

    def static_chips(self) -> dict[str, str]:
        """Return the facts beside the question, and the step."""
        return {**self.chips, "step": f"{self.step} of {self.last_step}"}

    def static_main(self) -> str:
        """Return what stands left of the figure as HTML that needs no script."""
        return static_html(self._parts.widgets)

    def export_name(self) -> str:
        """Return the name, without ending, of files the export buttons write."""
        return f"{self.stem}_{'_'.join(self.algorithms)}_step_{self.step}"


def _sentence(steps: Sequence[PursuitSteps], step: int) -> str:
    """Say how much is left, and where two greedy algorithms part."""
    parts = []
    for one in steps:
        whole, left = (
            float(one.residual_norms[0]) or 1.0,
            float(one.residual_norms[one.reached(step)]),
        )
        share = format_number(100 * (left / whole) ** 2)
        parts.append(f"{SHORT[one.algorithm]} leaves {share} % of ‖x‖²")
    text = f"Step {step}: {', '.join(parts)}"
    first = _first_difference(steps)
    if first is not None:
        text += f" · they part at step {first}"
    return text


def _first_difference(steps: Sequence[PursuitSteps]) -> int | None:
    """First step at which two greedy algorithms choose different atoms."""
    if len(steps) < 2 or any(one.penalty is not None for one in steps):
        return None
    pairs = zip(steps[0].chosen.tolist(), steps[1].chosen.tolist())
    return next((i + 1 for i, (a, b) in enumerate(pairs) if a != b), None)
