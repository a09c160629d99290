"""PursuitStepper: how a sparse code comes about, step by step, forwards and backwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import plotly.graph_objects as go
import traitlets as t

from sae_nb.architectures import PursuitSteps
from sae_nb.atoms import AtomNames, Labels
from sae_nb.checks import check_k, checked
from sae_nb.figures.theme import format_count, format_number
from sae_nb.pursuit import as_tensors
from sae_nb.sessions import names_of
from sae_nb_widgets.components._atom_card import icons_of
from sae_nb_widgets.components._base import Box
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import Atom, Number, Whole, reacts
from sae_nb_widgets.panel._playing import PlayingPanel
from sae_nb_widgets.pursuit._assembly import Assembly, source_html
from sae_nb_widgets.pursuit._controls import ORDERS, PursuitControls
from sae_nb_widgets.pursuit._detail import Chosen, Parts, unexplained
from sae_nb_widgets.pursuit._figure import PursuitFigure, counted, scale_texts
from sae_nb_widgets.pursuit._runs import (
    NONE,
    OWN,
    PursuitRuns,
    algorithm_names,
    checked_bias,
    checked_shape,
    input_rows,
    own_steps,
    unit_atoms,
)

if TYPE_CHECKING:
    from jaxtyping import Float
    from plotly.callbacks import Points
    from torch import Tensor

    from sae_nb.architectures import SolverTrace, SparseAutoencoder
    from sae_nb.codes import SparseCodes


A_BUILDING_BLOCK = (
    "An atom is a building block, a direction: the input is a sum of a few, each times a number."
)
SMALL = 100_000_000
"""Multiplications up to which the first run is waited for: a tenth of a second."""


def _fewest_atoms(panel: PursuitStepper) -> int:
    return min(len(one) for one in panel.runs.dictionaries)


@checked(leave=("bias", "dictionary", "trace"))
class PursuitStepper(HasAtoms, PlayingPanel):
    """How is an input built from atoms, step by step?

    Runs one or two algorithms on one input, with the kernels' own trace, and shows every step: what
    is built so far, what is left, and the atom that comes next. `show_bars` unfolds the correlation of
    every atom with what is left; of a solver also what it makes small.

    Parameters
    ----------
    x
        One input, rows of them, or `Activations`.
    dictionary
        Atoms of unit norm, or an SAE: then its atoms, with its bias and its names of them.
    algorithms
        One or two of "mp", "omp", "gp" (greedy, k steps), "ista", "fista", "admm", "cg" (solvers, 60
        steps), and "own" where there is a trace, or a model such as `sn.lab.KDS` whose encoder is a
        solver. None is "own" there; else matching pursuit next to orthogonal matching pursuit, or on
        both dictionaries if two are given.
    k
        Steps of a greedy algorithm.
    picture_shape
        (height, width) or (3, height, width) where inputs are pictures; None draws coordinates.
    bias
        Subtracted from the inputs first, and added again to what is drawn; None is an SAE's own.
    other_dictionary
        Dictionary of the second algorithm in place of `dictionary`, of the same width.
    labels
        Names of atoms, by number.
    normalise
        Scale the atoms to unit norm first; coefficients then belong to the scaled atoms.
    trace
        Steps that a solver took on x without the bias: what `sparse_code(x, dictionary, trace=True)`
        returns, whole or its second part.

    Examples
    --------
    >>> import torch
    >>> panel = PursuitStepper(torch.tensor([3.0, 4.0]), torch.eye(2), algorithms=["mp"], k=2)
    >>> panel.wait()
    >>> panel.step = 1
    >>> panel.record["MP: residual norm"], panel.steps[0].next_atom(1)
    (3.0, 0)
    >>> panel.close()

    >>> from sae_nb.architectures import sparse_code
    >>> x, atoms = torch.tensor([[3.0, 4.0]]), torch.eye(2)
    >>> solved = sparse_code(x, atoms, solver="admm", weight=1.0, n_steps=30, trace=True)
    >>> panel = PursuitStepper(x, atoms, trace=solved)
    >>> panel.wait()
    >>> panel.steps[0].short, panel.last_step, round(float(panel.steps[0].objective[-1]), 3)
    ('solver', 30, 6.0)
    >>> panel.close()
    """

    question = "How is this input built from atoms, step by step?"
    explanation = (
        "The input is put together from atoms: what they build so far, and what is left of it. Under “bars "
        "and coefficients” each bar is the correlation of an atom with what is left. The ringed atom is "
        "taken next, which shrinks the bars of all atoms that overlap with it. Pale bars are where they began; "
        "a dot marks an atom that is in use. MP (matching pursuit) takes the best atom and keeps what it "
        "took; OMP (orthogonal MP) adjusts all coefficients again after every step; a solver changes many "
        "in each step. Unexplained: share of ‖x‖².",
        "This is a single input: do not generalise from it. A small remainder does not show that these "
        "are the true atoms: where atoms are alike, a good fit can use the wrong ones.",
        "Matching pursuit: Mallat and Zhang 1993; as an SAE's encoder: arXiv 2506.03093.",
    )
    stem = "pursuit"
    needs_kernel = "Going to another step needs a running kernel; this is the step that was shown."

    step = Whole(
        0, 0, lambda panel: panel.last_step, help="Which step is shown; 0 is before the first."
    )
    row = Whole(0, 0, lambda panel: len(panel.runs.x) - 1, help="Which of the inputs, from 0.")
    number = Whole(
        1, 1, lambda panel: len(panel.runs.x), help="The same, counted from 1, as on screen."
    )
    algorithm_a = t.Enum(
        (*PursuitSteps.ALGORITHMS, OWN), default_value="mp", help="First algorithm."
    )
    algorithm_b = t.Enum(
        (*PursuitSteps.ALGORITHMS, OWN, NONE),
        default_value=NONE,
        help="Second algorithm; empty for none.",
    )
    k = Whole(16, 1, _fewest_atoms, help="Steps of a greedy algorithm.")
    penalty_share = Number(
        PursuitSteps.PENALTY_SHARE,
        0,
        1,
        inside=True,
        help="λ of a solver as a share of the largest.",
    )
    nonnegative = t.Bool(True, help="Only coefficients ≥ 0.")
    show_bars = t.Bool(False, help="Whether bars and coefficients are shown under the stage.")
    order = t.Enum(tuple(ORDERS), default_value="sorted", help="Order of the bars.")
    fit_bars = t.Bool(False, help="Scale the bars to the step that is shown.")
    atom = Atom(help="Atom of the first dictionary that was clicked; can be linked.")
    marked = t.Bool(False, help="Whether that atom is marked in the bars and lists.")
    speed = Number(2.0, 0, 50, inside=True, help="Steps per second while it plays.")

    def __init__(
        self,
        x: Any,
        dictionary: Float[Tensor, "n_atoms d_in"] | SparseAutoencoder,
        *,
        algorithms: Sequence[str] | None = None,
        k: int = 16,
        picture_shape: tuple[int, ...] | None = None,
        bias: Float[Tensor, " d_in"] | None = None,
        other_dictionary: Float[Tensor, "other_atoms d_in"] | None = None,
        labels: Mapping[int, str] | None = None,
        normalise: bool = False,
        trace: SolverTrace | tuple[SparseCodes, SolverTrace] | None = None,
    ) -> None:
        sae: Any = dictionary if hasattr(dictionary, "dictionary") else None
        if sae is not None:
            bias = sae.bias if bias is None else bias
            dictionary = sae.dictionary
        source, placed = x, hasattr(x, "where") and hasattr(x, "context")
        x, dictionary = as_tensors(x, dictionary)
        first = second = unit_atoms(dictionary, normalise, "dictionary")
        if other_dictionary is not None:
            second = unit_atoms(other_dictionary, normalise, "other_dictionary", first.shape[1])
        bias = checked_bias(bias, first)
        rows = input_rows(x, first, bias)
        own, own_name = own_steps(sae, trace, x, len(rows), len(first))
        self.runs = PursuitRuns(rows, (first, second), own, own_name)
        self.n_atoms = len(first)
        two = other_dictionary is not None
        named = algorithm_names(algorithms, two=two, own=own is not None)
        fewest = min(len(first), len(second))
        # Nobody who steps through a solver has to know how many atoms a pursuit could take.
        k = check_k(k, fewest if own is None else max(k, fewest))
        shape = checked_shape(picture_shape, first.shape[1])
        self.steps: tuple[PursuitSteps, ...] = ()
        # Where the encoder is a solver, atoms need not be of a model's activations.
        self._from_sae = sae is not None and not own_name
        super().__init__()
        self.names = names_of(sae, labels=labels) if sae is not None else _named(labels)
        t.link((self, "row"), (self, "number"), transform=(_one_more, _one_less))
        self.k, self.algorithm_a, self.algorithm_b = min(k, fewest), named[0], named[1]
        self.chips = self._facts()
        self.controls = PursuitControls(self, len(self.runs.x))
        self.parts = Parts(shape, bias.cpu().numpy())
        self.chosen = Chosen(shape, self.runs.dictionaries, self.words_of)
        self.assembly = Assembly(
            shape,
            bias.cpu().numpy(),
            self.words_of,
            self.chosen.picture_of,
            icons_of=lambda atoms: icons_of(self.names, atoms),
            source_of=lambda row: source_html(source, row) if placed else "",
        )
        self.figure = PursuitFigure(self.words_of, self.chosen.picture_of)
        self._lay_out()
        # Multiplications of a run, roughly.
        cost = max(self.last_step * one.numel() for one in self.runs.dictionaries)
        self._run(at_once=cost <= SMALL)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The one or two algorithms shown."""
        return (self.algorithm_a, *([self.algorithm_b] if self.algorithm_b != NONE else []))

    @property
    def atom_line(self) -> str:
        """Description of an atom, in one line; here also one that no SAE found."""
        return super().atom_line if self._from_sae else A_BUILDING_BLOCK

    @property
    def last_step(self) -> int:
        """Last step of the player: of the records, or the most there can be until they are there."""
        if self.steps:
            return max(one.n_steps for one in self.steps)
        return max(
            self.k if name in PursuitSteps.GREEDY else PursuitSteps.SOLVER_STEPS
            for name in self.algorithms
        )

    @property
    def ready(self) -> bool:
        """Whether there are records."""
        return bool(self.steps)

    def _lay_out(self) -> None:
        self.arrange(
            controls=self.controls.first,
            more=self.controls.more,
            figure=[self.figure.plot, *self.parts.widgets],
            detail=self.chosen.widgets,
        )
        self.stage = Box([self.assembly.html]).add_class("sae-nb-stage")
        self._fold()
        for trace in self.figure.plot.data:
            trace.on_click(self._on_click)
        self.chosen.norms.observe(self._on_norms, "selected")
        self.bind_key("Home", lambda: self.set_trait("step", 0))
        self.bind_key("End", lambda: self.set_trait("step", self.last_step))
        self.bind_key("Escape", lambda: self.set_trait("marked", False))

    @reacts("show_bars", doing="opening the bars", early=True)
    def _fold(self) -> None:
        """Show bars and coefficients, or take them off the page: a hidden figure has no width to fit."""
        frame = self._frame
        frame.body.children = (self.stage, *((frame.main, frame.detail) if self.show_bars else ()))

    def draw_names(self) -> None:
        """Write the names under the bars again."""
        self._draw_bars()

    def words_of(self, atom: int, algorithm: int = 0) -> str:
        """Return the name of an atom of an algorithm's dictionary; empty if it is not known."""
        return self.names.words(atom) if self._first(algorithm) else ""

    def name_of(self, atom: int, algorithm: int = 0) -> str:
        """Return number and words of an atom of an algorithm's dictionary."""
        return self.names.name(atom) if self._first(algorithm) else str(atom)

    def _first(self, algorithm: int) -> bool:
        """Whether an algorithm uses the dictionary whose atoms have names."""
        return algorithm == 0 or not self.runs.two_dictionaries

    @t.validate("algorithm_a", "algorithm_b")
    def _can_run(self, proposal: t.Bunch) -> str:
        """Refuse steps that were not given, or that are of the other dictionary."""
        name, trait = str(proposal["value"]), proposal["trait"].name
        if name == OWN and self.runs.own is None:
            raise t.TraitError(
                f"`{trait}` must be an algorithm, got {OWN!r}, for which there are no steps. Give "
                "`trace`, or a model whose encoder is a solver."
            )
        if name == OWN and trait == "algorithm_b" and self.runs.two_dictionaries:
            raise t.TraitError(
                f"`{trait}` must be an algorithm, got {OWN!r}, whose steps are of the first dictionary. "
                "Set `algorithm_a`."
            )
        return name

    # --- what is asked ----------------------------------------------------------------------------

    @reacts(
        "row",
        "algorithm_a",
        "algorithm_b",
        "k",
        "penalty_share",
        "nonnegative",
        doing="running the pursuit",
        early=True,
    )
    def _asked(self) -> None:
        self._run()

    def _run(self, *, at_once: bool = False) -> None:
        """Run what is not known yet, off the main thread; an older request is dropped."""
        runs = self.runs
        asked = runs.asked(self)
        known = runs.known(asked)
        if known is not None:
            self._take(known)
            return

        def done(answer: Mapping[tuple[Any, ...], PursuitSteps]) -> None:
            # What was asked meanwhile may have been known, and is on screen already.
            if asked == runs.asked(self):
                self._take([answer[run] for run in asked])
            runs.keep(answer)

        doing = f"running {' and '.join(map(runs.title, self.algorithms))}"
        if at_once:
            with self.guarded(doing):
                done(runs.compute(asked))
        else:
            self.run_async(lambda: runs.compute(asked), done, doing=doing)

    def _take(self, steps: Sequence[PursuitSteps]) -> None:
        """Show other records, at the same step where they have it."""
        with self._drawing:
            first = not self.steps
            self.steps = tuple(steps)
            self.chips = self._facts()
            self.chosen.begin(steps, self.last_step)
            self._show_records()
            # Two are worth comparing where they part; before, they are the same.
            parting = _first_difference(steps) if first and not self.step else None
            self.step = min(parting or self.step, self.last_step)
            self._draw_step()
            if first and not self.marked:
                # An atom worth linking before one is clicked, without marking it.
                self.atom = max(steps[0].next_atom(0), 0)
                self.marked = False

    # --- drawing ----------------------------------------------------------------------------------

    def _show_records(self) -> None:
        self.figure.show_records(
            self.steps,
            order=self.order,
            same_atoms=not self.runs.two_dictionaries,
        )

    @reacts("order", doing="ordering the bars")
    def _draw_bars(self) -> None:
        self._show_records()
        self._draw_step()

    @reacts("step", "marked", "fit_bars", doing="drawing the step")
    def _draw_step(self) -> None:
        marked = self.atom if self.marked else -1
        self.figure.show_step(self.steps, self.step, atom=marked, fit=self.fit_bars)
        self.assembly.show(self.steps, self.step)
        self.parts.show(self.steps, self.step)
        self.chosen.show(self.steps, self.step, marked)
        self.controls.show_step(self.step, self.last_step)
        self.headline = pursuit_title(self.steps, self.step)
        self.conclude(_answer(self.steps, self.step))
        self.say(self._what_was_taken())

    @reacts("atom", doing="marking the atom", early=True)
    def _mark(self) -> None:
        if not self.marked:
            self.marked = True
        elif self.ready:
            self._draw_step()

    def _rescale(self) -> None:
        if self.ready:
            self._draw_bars()
        scale_texts(self.figure.plot)

    def _facts(self) -> dict[str, str]:
        sizes = [format_count(len(one)) for one in self.runs.dictionaries]
        facts = {"atoms": " | ".join(sizes) if self.runs.two_dictionaries else sizes[0]}
        n, width = self.runs.x.shape
        facts["width"] = format_count(width)
        if n > 1:
            facts["input"] = f"{self.number} of {format_count(n)}"
        return facts

    def _what_was_taken(self) -> str:
        """Say which atoms the step on screen took or uses, and which come next where it is the first."""
        said = []
        for i, one in enumerate(self.steps):
            at = one.reached(self.step)
            atom = int(one.chosen[at - 1]) if at else one.next_atom(0)
            if not one.greedy:
                said.append(f"{one.short} uses {counted(len(one.code_at(at)[0]))}")
            elif atom >= 0 and self._first(i):
                verb = "took" if at else "takes next"
                said.append(f"{one.short} {verb} {self.names.in_text(atom)}")
        return f"Step {self.step}: {', '.join(said)}." if said else f"Step {self.step}."

    # --- clicks -----------------------------------------------------------------------------------

    def _on_norms(self, change: t.Bunch) -> None:
        if change["new"] >= 0:
            self.step = change["new"]

    def _on_click(self, trace: go.Bar, points: Points, _: object) -> None:
        if points.point_inds:
            chosen = self.figure.atom_at(trace, points.point_inds[0])
            if chosen == self.atom:
                self.marked = not self.marked
            elif chosen < self.n_atoms:  # the second dictionary may have more
                self.atom = chosen

    # --- the player -------------------------------------------------------------------------------

    def forth(self) -> None:
        """Move one step further; at the last one nothing happens."""
        self.step = min(self.step + 1, self.last_step)

    def back(self) -> None:
        """Move one step back; at the first one nothing happens."""
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
        """The numbers of the step on screen."""
        shown: dict[str, Any] = {"step": self.step, "row": self.row}
        for i, one in enumerate(self.steps):
            at, name = one.reached(self.step), one.short
            atoms, values = one.code_at(at)
            pairs = zip(atoms.tolist(), values.tolist(), strict=True)
            shown[f"{name}: residual norm"] = float(one.residual_norms[at])
            shown[f"{name}: residual norms"] = one.residual_norms
            if one.objective is not None:
                shown[f"{name}: objective"] = float(one.objective[at])
                shown[f"{name}: objectives"] = one.objective
            shown[f"{name}: next atom"] = one.next_atom(at)
            shown[f"{name}: code"] = ", ".join(
                f"{self.name_of(atom, i)}: {format_number(value)}" for atom, value in pairs
            )
        return shown

    def static_chips(self) -> dict[str, str]:
        """Return the facts next to the question, and the step."""
        return {**self.chips, "step": f"{self.step} of {self.last_step}"}

    def above_widgets(self) -> Sequence[ipw.Widget]:
        """Return the widgets above the figure in exports: the stage."""
        return (self.assembly.html,)

    def export_name(self) -> str:
        """Return the name, without ending, of files the export buttons write."""
        return f"{self.stem}_{'_'.join(self.algorithms)}_step_{self.step}"


def _named(labels: Mapping[int, str] | None) -> AtomNames:
    """Names of the atoms of a bare dictionary: its labels."""
    return AtomNames(labels=Labels({int(atom): str(text) for atom, text in (labels or {}).items()}))


def _one_more(row: int) -> int:
    return row + 1


def _one_less(number: int) -> int:
    return number - 1


def pursuit_title(steps: Sequence[PursuitSteps], step: int) -> str:
    """Say how little a few atoms leave, or who of several leaves least; empty where nobody does."""
    if not step:
        return ""
    left = [unexplained(one, step) for one in steps]
    if len(steps) > 1:
        best = min(range(len(left)), key=lambda i: float(left[i].split()[0]))
        when = f"After {step} step{'s' if step != 1 else ''}"
        return f"{when} {steps[best].short} leaves least of this input" * (
            left.count(left[best]) == 1
        )
    n = int((steps[0].code_at(step)[1] != 0).sum())
    many = "1 atom leaves" if n == 1 else f"{n} atoms leave"
    return f"{many} {left[0]} of this input unexplained" * bool(n)


def _answer(steps: Sequence[PursuitSteps], step: int) -> str:
    """Say how much is unexplained, and where two greedy algorithms first choose differently."""
    left = [unexplained(one, step) for one in steps]
    names = [one.short for one in steps]
    when = f"After {step} step{'s' if step != 1 else ''}" if step else "Before the first step"
    if len(steps) == 1 and step:
        one = steps[0]
        stops = sorted({1, step, one.n_steps})
        text = f"Unexplained {', '.join(f'after step {i}: {unexplained(one, i)}' for i in stops)}"
    elif len(set(left)) == 1:
        text = f"{when} {left[0]} of the input is unexplained"
    else:
        others = [f"{name} {share}" for name, share in zip(names[1:], left[1:], strict=True)]
        text = (
            f"{when} {names[0]} leaves {left[0]} of the input unexplained and {', '.join(others)}"
        )
    first = _first_difference(steps)
    if first is None:
        return f"{text}."
    took = ", ".join(f"{one.short} takes atom {int(one.chosen[first - 1])}" for one in steps)
    said = f"{text}. They part at step {first}: {took}."
    last = max(one.n_steps for one in steps)
    if step == last:
        return said
    return f"{_in_the_end(steps, last)} {said}"


def _in_the_end(steps: Sequence[PursuitSteps], last: int) -> str:
    """Say which of several algorithms leaves least of the input, and how much each does."""
    left = [unexplained(one, last) for one in steps]
    if len(set(left)) == 1:
        return f"After {last} steps each leaves {left[0]} of the input unexplained."
    best = min(
        range(len(steps)), key=lambda i: float(steps[i].residual_norms[steps[i].reached(last)])
    )
    why = ", which fits all coefficients anew at each step," * (steps[best].short == "OMP")
    others = ", ".join(
        f"{one.short} {share}" for i, (one, share) in enumerate(zip(steps, left)) if i != best
    )
    who = f"{steps[best].short}{why}"
    return f"{who} leaves least of the input: {left[best]} after {last} steps; {others}."


def _first_difference(steps: Sequence[PursuitSteps]) -> int | None:
    """First step at which two greedy algorithms choose different atoms."""
    if len(steps) < 2 or not all(one.greedy for one in steps):
        return None
    pairs = zip(steps[0].chosen.tolist(), steps[1].chosen.tolist())
    return next((i + 1 for i, (a, b) in enumerate(pairs) if a != b), None)
