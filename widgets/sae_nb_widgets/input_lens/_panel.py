"""InputLens: which atoms a text or a picture uses — what fired, and what the answer hung on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
import traitlets as t
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.data import INKS, TEXTURES, Paper, Point
from sae_nb.evaluation import SpliceCheck
from sae_nb.figures import format_count, format_duration
from sae_nb.models import fit_picture
from sae_nb.summaries import (
    USE_ORDERS,
    BaseRate,
    Contrast,
    InputSummary,
    base_rate,
    labels_of,
    pretrained_store,
)
from sae_nb_widgets.components import PairedBars
from sae_nb_widgets.input_lens import _figure as input_lens_bars
from sae_nb_widgets.input_lens._controls import MOST_SHOWN, InputLensControls
from sae_nb_widgets.input_lens._detail import InputLensDetail
from sae_nb_widgets.input_lens._figure import input_lens_figure, signed_number
from sae_nb_widgets.input_lens._inputs import (
    InputExamples,
    InputSources,
    InputView,
    PictureView,
    TextView,
)
from sae_nb_widgets.input_lens._runs import Runs, Seen
from sae_nb_widgets.panel import Atom, Page, Panel, Whole, check_parts, reacts, show

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


SLOTS = ("first", "second")
HEATS = ("fired", "mattered")

EMPTY = {
    "language": "Type at least one word.",
    "vision": "Draw something, choose an example or upload a picture.",
}


@checked
class InputLens(Panel):
    """Which atoms does this use?

    Type a text; or choose, upload or draw a picture. The model runs once forwards and backwards, off
    the main thread; then bars say which atoms fired, beside their base rate, and which mattered for
    the answer, beside random directions. `atom` is a trait: link it with
    `traitlets.link((lens, "atom"), (browser, "atom"))`.

    Parameters
    ----------
    model
        A language or vision model, from `load_model` or `wrap`.
    sae
        Whose atoms.
    hook_point
        Where the SAE reads; None takes the SAE's own.
    acts
        Activations: base rates are measured on them, and their texts or pictures are the examples.
    frequency
        Base rates, as in `top_atoms`, where they are known already.
    labels
        What atoms are called.
    examples
        The example store of a pretrained SAE; None takes it where this is one.

    Raises
    ------
    TypeError, ValueError, HookPointNotFound: If the parts do not fit.

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
        "Bars on the left: how strongly each atom fires in this input, and how many times as often as "
        "usual. Bars on the right: how much it contributes to the answer, gradient × activation; the "
        "dashed tick is what random directions of the same strengths reach, and a splice check runs the "
        "model without the atom.",
        "A contribution is first order: where the model bends it can be wrong even in sign, so check it "
        "by splicing. One input is one input, and the floor between two inputs permutes positions, "
        "which are not independent.",
        "Contributions: Marks et al., “Sparse Feature Circuits”, arXiv 2403.19647; base rates, controls "
        "and floors are ours.",
    )
    stem = "input"
    needs_kernel = (
        "Typing, drawing and other atoms need a running kernel and were left out; the input, the atom "
        "shown over it, the bars and the numbers are all here."
    )

    text = t.Unicode("", help="What a language model reads.")
    compare_text = t.Unicode("", help="A second text beside it; empty for none.")
    picture = t.Any(None, help="What a vision model reads: uint8 (3, height, width).")
    compare_picture = t.Any(None, help="A second picture beside it; None for none.")
    comparing = t.Bool(False, help="Whether a second input stands beside the first.")
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
    sort = t.Enum(USE_ORDERS, default_value="total strength", help="Order of the bars.")
    heat = t.Enum(HEATS, default_value="fired", help="What is drawn over the input.")
    target = t.Unicode("", help="Class or token asked about; empty for the model's own answer.")
    n_shown = Whole(12, 1, MOST_SHOWN, help="How many atoms have bars.")
    ink = t.Enum(tuple(INKS), default_value=Paper().ink, help="Ink of drawings.")
    paper = t.Enum(TEXTURES, default_value="vertical", help="Texture behind drawings.")

    def __init__(
        self,
        model: LiveModel,
        sae: SparseAutoencoder,
        hook_point: str | None = None,
        *,
        acts: Activations | None = None,
        frequency: Any = None,
        labels: Mapping[int, str] | None = None,
        examples: Any = None,
    ) -> None:
        self.hook_point = _checked(model, sae, hook_point)
        self.model, self.sae, self.n_atoms, self.kind = model, sae, int(sae.n_atoms), model.kind
        store = pretrained_store(sae) if examples is None else examples
        examples_by_number = InputExamples(model, getattr(acts, "context", None), store)
        self.n_examples = len(examples_by_number)
        self._labels = labels_of(
            sae, labels if labels is not None else getattr(store, "labels", None)
        )
        self._given_rates = next((x for x in (frequency, acts, store) if x is not None), None)
        self._base: BaseRate | None = None
        self._seen: Seen | None = None
        self._runs = Runs(model, sae, self.hook_point, self._labels)
        # Of the first input, by atom.
        self._checks: dict[int, SpliceCheck] = {}
        self._atoms: list[int] = []
        self.sources = InputSources(self, examples_by_number)
        # What was done to the pictures, by the trait that holds them.
        self._picture_notes: dict[str, tuple[str, ...]] = {}
        self._begun = False
        self._chosen = self._filling = False
        super().__init__()
        self.chips = self._facts()
        self._build()
        self._measure_base_rates()

    @t.validate("picture", "compare_picture")
    def _picture_fits(self, proposal: t.Bunch) -> Any:
        value, name = proposal["value"], proposal["trait"].name
        if value is None:
            self._picture_notes[name] = ()
            return None
        try:
            picture, notes = fit_picture(self.model, value)
        except (OSError, TypeError, ValueError) as error:
            raise t.TraitError(str(error)) from None
        self._picture_notes[name] = (*self.sources.drawn_notes, *notes)
        old = getattr(self, name)
        # Comparing tensors gives tensors, which traitlets cannot ask "is it new?".
        same = (
            isinstance(old, Tensor) and old.shape == picture.shape and bool((old == picture).all())
        )
        return old if same else picture

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.controls = InputLensControls(self)
        self._bars = PairedBars(description="atoms")
        self._bars.empty_text = EMPTY[self.kind]
        self._detail_view = InputLensDetail(self._ask, self._choose_atom, self.splice_check)
        self._view: InputView
        if self.kind == "vision":
            view = PictureView(self.model.prefix_tokens, self.controls.at_pad)
            self.sources.listen(view.pad, self.controls.thickness)
            self._view = view
        else:
            self._view = TextView()
        self.arrange(
            controls=self.controls.first,
            more=self.controls.more,
            figure=[self._view.widget, self.controls.order, self._bars],
            detail=self._detail_view.widgets,
        )
        self._view.on_pick(lambda position: self.set_trait("token", position))
        self._bars.observe(lambda change: self._choose_row(change["new"]), "selected")
        self._bars.observe(lambda change: self._point_at(change["new"]), "hovered")
        self.bind_key("ArrowRight", lambda: self._step(1))
        self.bind_key("ArrowLeft", lambda: self._step(-1))
        self.bind_key("Escape", lambda: self.set_trait("token", -1))
        self.controls.fit(self.comparing)

    def _facts(self) -> dict[str, str]:
        facts = {"model": self.model.name, "at": self.hook_point, "SAE": type(self.sae).__name__}
        facts |= {"atoms": format_count(self.n_atoms)}
        if self._base is not None:
            facts["base rates"] = self._base.source
        return facts

    # --- base rates -------------------------------------------------------------------------------

    def _measure_base_rates(self) -> None:
        """Find how often atoms fire anyway; off the main thread where that means encoding."""
        given = self._given_rates
        if hasattr(given, "batches"):
            work: Callable[[], BaseRate | None] = lambda: base_rate(self.sae, given)  # noqa: E731
            self.run_async(work, self._begin, doing="measuring base rates")
        else:
            self._begin(base_rate(self.sae, given))

    def _begin(self, base: BaseRate | None) -> None:
        self._base, self._begun = base, True
        self.chips = self._facts()
        if base is not None:
            self.sort = "surprise"
        if self.text or self.picture is not None:
            self._request()
        elif self.n_examples:
            self.example = 0

    # --- where inputs come from -------------------------------------------------------------------

    def choose_example(self, number: int) -> None:
        """Make an example the input, also one that was chosen before something else was drawn."""
        if number >= 0:
            self.example = number
            with self.guarded(f"example {number}"):
                self.sources.choose(number)

    def draw(self, strokes: list[list[Point]], *, clear: bool = True) -> None:
        """Draw strokes on the pad, as a pointer would, and read what is drawn."""
        self.sources.draw(strokes, clear=clear)

    @reacts("example", doing="example {panel.example}", early=True)
    def _on_example(self) -> None:
        self.choose_example(self.example)

    @reacts("ink", "paper", doing="drawing", early=True)
    def _on_paper(self) -> None:
        self.sources.take_drawing()

    @reacts("comparing", doing="comparing", early=True)
    def _on_comparing(self) -> None:
        self.controls.fit(self.comparing)
        if not self.comparing:
            self.slot, self.compare_text, self.compare_picture = "first", "", None
        elif self.kind == "vision" and self.compare_picture is None:
            self.slot = "second"
            self.sources.choose_second()

    # --- running the model ------------------------------------------------------------------------

    @reacts("text", "picture", doing="reading", early=True)
    def _on_first(self) -> None:
        self.sources.changed("first")
        self._request()

    @reacts("compare_text", "compare_picture", doing="reading", early=True)
    def _on_second(self) -> None:
        self.sources.changed("second")
        if not self.comparing:
            self.comparing = self.compare_picture is not None or bool(self.compare_text)
        self._request()

    def _inputs(self) -> list[Any]:
        if self.kind == "language":
            given: list[Any] = [self.text, self.compare_text]
        else:
            given = [self.picture, self.compare_picture]
        return [x for x in given if x is not None and not (isinstance(x, str) and x == "")]

    @reacts("target", doing="reading", early=True)
    def _request(self) -> None:
        """Read what is there now; an older request is dropped."""
        given = self._inputs()
        if not self._begun or not given:
            return
        if self.kind == "vision" and self.picture is None:
            return
        asked, started = self.target, time.perf_counter()

        def done(seen: Seen) -> None:
            self._draw(seen, time.perf_counter() - started)

        runs, base = self._runs, self._base
        self.run_async(lambda: runs.read(given, asked, base), done, doing="reading")

    def refresh(self) -> None:
        """Run everything anew, after the model's weights changed, say."""
        self._runs.forget()
        self._checks.clear()
        self._request()

    def splice_check(self) -> None:
        """Run the model without the chosen atom: the exact effect beside the first-order one."""
        with self.guarded("splice check"):
            summary, atom = self.summary, self.atom
            if summary.place(atom) is None:
                raise ValueError(f"Atom {atom} does not fire in this input. Choose one with a bar.")

            def done(check: SpliceCheck) -> None:
                if self._seen is None or self._seen.first is not summary:
                    return  # another input is shown by now
                self._checks[atom] = check
                self._show_bars()
                self._show_atom()
                exact, first = signed_number(check.exact), signed_number(check.first_order)
                self.say(
                    f"Removing atom {summary.name_of(atom)} takes {exact} from the "
                    f"{summary.measure}; first order said {first}."
                )

            self.run_async(
                lambda: summary.splice_check(atom),
                done,
                doing=f"splicing atom {atom}",
                channel="splice",
            )

    # --- drawing ----------------------------------------------------------------------------------

    def _draw(self, seen: Seen, seconds: float) -> None:
        if self._seen is None or self._seen.first is not seen.first:
            self._checks.clear()
        self._seen = seen
        if not self._chosen:
            top = input_lens_bars.shown_atoms(seen.first, seen.contrast, self.sort, 1)
            self.atom = top[0] if top else self.atom
            self._chosen = False
        if self.token >= len(seen.first.tokens):
            self.token = -1
        self._detail_view.show_answers(seen.first, seen.second)
        self._show_bars()
        self._show_heat(self.atom)
        self._show_atom()
        self._show_position()
        self.say(self._sentence(seen, seconds))

    def _sentence(self, seen: Seen, seconds: float) -> str:
        first = seen.first
        fired = f"{format_count(len(first.used))} atoms fired at {len(first.read)} positions"
        drawn = [*self._picture_notes.get("picture", ())]
        if seen.second is not None:
            drawn += [*self._picture_notes.get("compare_picture", ()), *seen.second.notes]
        notes = list(dict.fromkeys([*drawn, *first.notes]))
        if seen.contrast is not None and seen.contrast.caveat:
            notes.append(seen.contrast.caveat)
        return " · ".join([fired, *notes, format_duration(seconds)])

    def _show_heat(self, atom: int) -> None:
        seen = self._seen
        if seen is None:
            return
        first, second = self.sources.name("first"), self.sources.name("second")
        names = [first or "the input"]
        if seen.second is not None:
            names = [f"A {first}".strip(), f"B {second}".strip()]
        self._view.show(seen.both, names, atom, self.heat)
        self._view.mark(self.token)

    def _show_atom(self) -> None:
        if self._seen is not None:
            check = self._checks.get(self.atom)
            self._detail_view.show_atom(self._seen.first, self.atom, check, self._seen.contrast)

    @reacts("token", doing="position {panel.token}")
    def _show_position(self) -> None:
        if self._seen is None:
            return
        position = self.token
        if position < 0:
            values = self._seen.first.strengths(self.atom)
            fires = bool(np.nan_to_num(values).any())
            position = int(np.nanargmax(np.abs(values))) if fires else -1
        self._detail_view.show_position(self._seen.first, position)
        self._view.mark(self.token)

    @reacts("atom", doing="atom {panel.atom}", early=True)
    def _on_atom(self) -> None:
        self._chosen = True
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

    @reacts("sort", "n_shown", doing="atom {panel.atom}")
    def _show_bars(self) -> None:
        seen = self._seen
        if seen is None:
            return
        atoms = input_lens_bars.shown_atoms(
            seen.first, seen.contrast, self.sort, self.n_shown, self.atom
        )
        self._atoms = atoms
        if seen.contrast is not None:
            columns = input_lens_bars.difference_columns(seen.contrast, atoms)
        else:
            columns = input_lens_bars.columns_of(seen.first, atoms, self._checks)
        names = [seen.first.name_of(atom) for atom in atoms]
        place = atoms.index(self.atom) if self.atom in atoms else -1
        self._bars.empty_text = "No atom fires here."
        self._filling = True
        self._bars.show(names, *columns, selected=place)
        self._filling = False

    # --- clicks -----------------------------------------------------------------------------------

    def _choose_row(self, row: int) -> None:
        if 0 <= row < len(self._atoms) and not self._filling:
            self._choose_atom(self._atoms[row])

    def _choose_atom(self, atom: int) -> None:
        self._chosen = True
        self.atom = atom

    def _point_at(self, row: int) -> None:
        with self.guarded("hover"):
            self._show_heat(self._atoms[row] if 0 <= row < len(self._atoms) else self.atom)

    def _ask(self, answer: int) -> None:
        self.target = f"#{answer}"

    def _step(self, by: int) -> None:
        if self._seen is not None:
            self.token = (self.token + by) % self.n_positions

    def on_open(self, callback: Callable[[int], None]) -> None:
        """Show an "open" button that calls back with the atom: to an `AtomBrowser`, say."""
        self._button(self._detail_view.open, callback)

    def on_steer(self, callback: Callable[[int], None]) -> None:
        """Show a "steer" button that calls back with the atom: to a `SteeringPanel`, say."""
        self._button(self._detail_view.steer, callback)

    def _button(self, button: ipw.Button, callback: Callable[[int], None]) -> None:
        def clicked(_: Any) -> None:
            with self.guarded(str(button.description)):
                callback(self.atom)

        button.on_click(clicked)
        show(button, True)

    # --- answers ----------------------------------------------------------------------------------

    @property
    def n_positions(self) -> int:
        """Positions of the first input; many before the model has read it."""
        return 2**31 if self._seen is None else len(self._seen.first.tokens)

    @property
    def summary(self) -> InputSummary:
        """The record of the first input; waits for work that is under way.

        Raises
        ------
        RuntimeError: If there is none, because there is no input or reading it failed.
        """
        self.wait()
        if self._seen is None:
            raise RuntimeError(f"There is no input yet: {self.status or EMPTY[self.kind]}")
        return self._seen.first

    @property
    def contrast(self) -> Contrast | None:
        """What the first input uses more than the second; None without a second."""
        self.wait()
        return None if self._seen is None else self._seen.contrast

    @property
    def check(self) -> SpliceCheck | None:
        """The splice check of the chosen atom in this input; None before `splice_check`."""
        self.wait()
        return self._checks.get(self.atom)

    # --- taking it away ---------------------------------------------------------------------------

    @property
    def record(self) -> dict[str, Any] | None:
        """The numbers behind the bars, for the table of exported pages."""
        seen = self._seen
        if seen is None:
            return None
        return input_lens_bars.record_table(seen.first, seen.second, seen.contrast, self._atoms)

    def current_figure(self) -> go.Figure | None:
        """Return the bars as a plotly figure, for pictures; on screen they are plain elements."""
        if self._seen is None:
            return None
        return input_lens_figure(list(self._bars.labels), list(self._bars.columns))

    def static_chips(self) -> dict[str, str]:
        """Return the facts beside the question in exports, and which atom is shown over the input."""
        name = f"{self.atom}" if self._seen is None else self._seen.first.name_of(self.atom)
        return {"atom": name, **self.chips}

    def export_name(self) -> str:
        """Return the file name of exports: the atom shown."""
        return f"input_atom_{self.atom}"

    def static_page(self) -> Page:
        """Return what `to_html` writes: a small page that needs neither kernel nor script."""
        return replace(super().static_page(), figure=None)


def _checked(model: Any, sae: Any, hook_point: str | None) -> str:
    """Refuse what is no readable model, no SAE, or no pair of the two; return the hook point."""
    name = hook_point or getattr(sae, "hook_point", None)
    if name is None and hasattr(sae, "dictionary"):
        raise ValueError(
            "`hook_point` must say where the SAE reads, because the SAE itself does not. Pass "
            'hook_point="resid_post.0", say.'
        )
    check_parts(model, sae, str(name))
    if model.kind not in ("language", "vision"):
        raise TypeError(
            f"InputLens reads texts and pictures, and {model.name} reads tensors. Use "
            "sn.top_atoms(model, sae, tensor) for its record."
        )
    return str(name)
