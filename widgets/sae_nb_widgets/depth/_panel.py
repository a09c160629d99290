"""DepthTrajectory: how a model changes an input, layer by layer, and what becomes of a push on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
import traitlets as t
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.dynamics import DepthPaths, SelfCorrection, depth_inputs, token_kinds_of
from sae_nb.figures.theme import escape, format_count
from sae_nb.sessions import names_of
from sae_nb_widgets.components._base import HTML, VBox, lay_out
from sae_nb_widgets.components._depth_strips import DepthStrips
from sae_nb_widgets.depth._controls import SIMILARITY_WORDS, DepthControls, chooser
from sae_nb_widgets.depth._detail import DepthInputView
from sae_nb_widgets.depth._figure import DepthFigure, draw_paths, figure_height
from sae_nb_widgets.depth._paths import DepthLayout, drawn_paths, path_text
from sae_nb_widgets.depth._runs import (
    SMALL,
    DepthRuns,
    Measured,
    blocks_text,
    check_parts,
    first_labels,
    labels_of,
    layer_text,
    loops_of,
    truth_of,
)
from sae_nb_widgets.depth._state import DepthState
from sae_nb_widgets.depth._views import (
    STRIPS,
    THIS,
    answer_of,
    answers_html,
    charts_of,
    noun,
    read_title,
)
from sae_nb_widgets.panel._declaring import reacts, show

if TYPE_CHECKING:
    from plotly.callbacks import Points

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


FIRST_PUSH_AT = 3
"""Part of the depth after which a push begins, one in so many: most of the network is then to come."""
TALL = 200
"""Pixels of the chart that stands alone."""

STRIP_HEIGHTS, SMALL_STRIP = {1: 110, 2: 76}, 46
"""Pixels of one chart, by how many there are."""


@checked
class DepthTrajectory(DepthState):
    """How does the model change an input, layer by layer?

    Paths of token states towards where they end, over a strip that measures one thing from layer to
    layer: `strip` chooses which, and with it the sentence that answers. A push at one layer is run
    through the rest of the same network, live.

    Parameters
    ----------
    model
        A live model with repeated blocks.
    inputs
        Pictures, texts or token ids; the first 256 are taken, texts cut to one length at which most
        tokens are shown; of four and more, shorter ones are left out.
    labels
        Class of every input; None takes `inputs.digit` where there is one.
    states
        From `capture_states(model, inputs)`, if they are known already.
    raptor
        A surrogate of this model with `roll_out`; its path is dashed.
    sae
        Trained on one layer of this model: its atoms are followed over depth.

    Raises
    ------
    TypeError, ValueError: If the model has no blocks, or inputs, labels, states, Raptor and SAE do not fit
        together.

    Examples
    --------
    >>> import sae_nb as sn
    >>> pictures = sn.data.scenes(6, seed=0)
    >>> panel = DepthTrajectory(sn.load_model("tiny-vit"), pictures)
    >>> panel.wait()
    >>> panel.layer, panel.perturb_size = 6, 0.2
    >>> panel.wait()
    >>> panel.record["layer"], round(float(panel.pushed.angles[0, 4].mean()), 1)
    (6, 0.2)
    >>> panel.close()
    """

    question = "How does the model change an input, layer by layer?"
    explanation = (
        "Of a classifier of images: how many the model's own output layers would name right if it stopped "
        "after each block (without classes: as at the end), and, dashed, how often the same answers fit "
        "another image. Else, and where “show” "
        "says so: dots are states at the layer chosen, lines the way there: of the token you follow (thick) "
        "and of three whose ends lie far apart. The strip under them measures one thing from layer to layer "
        "(“show” chooses what), dashed grey is its control. “more” holds all other ways, pushes (a "
        "random nudge at one layer and, dotted, what the rest of the same network makes of it), phases, "
        "and other axes and colours of the paths.",
        "Two or three axes keep a part of the directions only (it is said above the paths), UMAP keeps "
        "neighbours and no distances, and phases that the centred similarity does not see are moves of "
        "the mean state. A push that fades may do so merely because states grow: dashed grey.",
        "“Block-Recurrent Dynamics in Vision Transformers”, arXiv 2512.19941; coherence, basins and the "
        "push are measured by formulas of ours.",
    )
    stem = "depth"
    needs_kernel = "Other inputs, layers and pushes need a running kernel; this is what was shown."

    kept_traits = (
        "picture",
        "token",
        "layer",
        "strip",
        "k",
        "similarity",
        "coordinates",
        "dimensions",
        "show",
        "trails",
        "color_by",
        "perturb_layer",
        "perturb_size",
        "perturb_seed",
        "atoms",
        "speed",
    )

    strip = t.Enum(tuple(STRIPS), "progress", help="What is measured from layer to layer.")

    def __init__(
        self,
        model: LiveModel,
        inputs: Any,
        *,
        labels: Sequence[Any] | Tensor | None = None,
        states: Float[Tensor, "n layers tokens d"] | None = None,
        raptor: Any = None,
        sae: SparseAutoencoder | None = None,
    ) -> None:
        self.model, self.sae = model, sae
        given, self._inputs = inputs, depth_inputs(model, inputs)
        self.labels = first_labels(labels_of(given, labels), len(self._inputs), self._inputs.kept)
        self.n_layers = 0 if model.structure is None else model.structure.n_blocks
        check_parts(model, states, len(self._inputs), raptor, sae)
        self.n_inputs, self.n_atoms = len(self._inputs), 0 if sae is None else sae.n_atoms
        # Known once the model has run.
        self.n_tokens = 1_000_000 if states is None else int(states.shape[2])
        truth = truth_of(given, self.labels, len(self._inputs))
        self._class_names = {
            name: names
            for name in truth
            if (names := getattr(given, f"{name}_names", None)) is not None
        }
        self.runs = DepthRuns(model, self._inputs, self.labels, sae, raptor, truth)
        self.layout_of_paths = DepthLayout(self, self._take_paths)
        super().__init__()
        self._set_out()
        self._build()
        self._measure(states)

    def _set_out(self) -> None:
        """Traits a person would choose first."""
        self.layer = self.n_layers
        self.k = min(3, self.most_phases)
        self.perturb_layer = max(self.n_layers // FIRST_PUSH_AT, 1)
        if self.runs.truth:
            self.strip = "named"
        if not self.has_classes:
            self.color_by, self.show = "token type", "tokens"

    @t.validate("strip")
    def _strip_can_be(self, proposal: t.Bunch) -> object:
        strip = STRIPS[proposal["value"]]
        if not strip.possible(self):
            raise t.TraitError(f"`strip` {proposal['value']} needs {strip.needs}.")
        return proposal["value"]

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.chips = {
            "model": self.model.name,
            "blocks": blocks_text(self.model),
            f"{noun(self)}s": format_count(self.n_inputs),
        }
        if self.sae is not None:
            self.names = names_of(self.sae)
        self.controls = DepthControls(self)
        self.figure = DepthFigure()
        self.view = DepthInputView(self._inputs, lambda token: self.set_trait("token", token))
        self.strips = DepthStrips(description="measured from layer to layer", own=THIS)
        self.strips.empty_text = "The model is running."
        self._answers = HTML()
        self._drawn = VBox([self.figure.plot, self.figure.legend])
        choice, drawn = (
            chooser(self, noun(self)),
            [self._drawn, self.strips],
        )
        if self._inputs.pictures is None:
            figure, detail = [choice, self.view.strip, *drawn], []
        else:
            figure, detail = drawn, [choice, self.view.grid, self._answers, self.view.strip]
        self.arrange(
            controls=self.controls.first, more=self.controls.more, figure=figure, detail=detail
        )
        if detail:
            lay_out(self._frame.body, grid_template_columns="minmax(0, 1fr) minmax(220px, 25%)")
        show(self._drawn, self.strip != "named")
        self.strips.observe(lambda change: self.set_trait("layer", change["new"]), "cursor")
        self.figure.on_click(self._on_click)
        self.bind_key("]", lambda: self.step_picture(1))
        self.bind_key("[", lambda: self.step_picture(-1))
        self.bind_key("Home", lambda: self.set_trait("layer", 0))
        self.bind_key("End", lambda: self.set_trait("layer", self.n_layers))
        self.bind_key("Escape", lambda: self.set_trait("perturb_size", 0.0))

    # --- work -------------------------------------------------------------------------------------

    def _measure(self, given: Tensor | None) -> None:
        """Capture and measure; states that are given and small are measured at once."""
        if given is not None and given.numel() < SMALL:
            with self.guarded("measuring states"):
                self._take(self.runs.measured(given))
            return
        doing = "measuring states" if given is not None else "running the model, every layer"
        self.loading(f"The model is reading {format_count(self.n_inputs)} {noun(self)}s")
        self.run_async(lambda: self.runs.measured(given), self._take, doing=doing)

    def _take(self, measured: Measured) -> None:
        """Draw everything for the first time."""
        states, summary = measured.states, measured.summary
        with self._drawing:
            self.states, self.summary, self.depths = states, summary, measured.depths  # type: ignore[assignment]
            self.read = measured.read
            if self.read is None and self.strip == "named":
                self.strip = "progress"
            self.n_tokens = states.shape[2]
            self.token = min(self.token, self.n_tokens - 1)
            kinds = token_kinds_of(self.model, states.positions)
            self.view.prepare(kinds, states.positions, self.model.places)
            if self.k > summary.most_phases:
                self.k = summary.most_phases
            if self.depths is not None and not self.atoms:
                self.atoms = list(self.depths.telling())
            self._draw_phases()
            self._draw_input()
            self.say(self._inputs.note)

    def _take_paths(self, paths: DepthPaths) -> None:
        self.paths = paths
        self._draw_paths()

    def _take_push(self, pushed: SelfCorrection) -> None:
        self.pushed = pushed
        self._draw_strips()
        self._draw_paths()

    def _take_roll(self, rolled: Tensor) -> None:
        self.rolled = rolled
        self._draw_strips()
        self._draw_paths()

    # --- drawing ----------------------------------------------------------------------------------

    @reacts("layer", doing="drawing the layer")
    def _draw_layer(self) -> None:
        self.strips.cursor = self.layer
        self.figure.show_layer(self.layer, dark=self.dark)
        self.view.shade(self._turned())

    @reacts("k", "similarity", doing="drawing the phases")
    def _draw_phases(self) -> None:
        summary, by = self.summary, self.similarity
        if summary is None:
            return
        gains, words = summary.gains(by), SIMILARITY_WORDS[by]
        self.figure.show_similarity(summary.similarity[by], self.cuts, gains, self.k, words)
        self._draw_strips()
        if self.color_by == "phase":
            self._draw_paths()

    @reacts("strip", doing="measuring")
    def _draw_strip(self) -> None:
        self.figure.show_parts(self.strip, self.layer, dark=self.dark)
        show(self._drawn, self.strip != "named")
        self._draw_strips()

    @reacts("picture", doing="choosing an input")
    def _draw_input(self) -> None:
        self.pushed = self.rolled = None
        self._show_input()
        self.layout_of_paths.request()
        states, picture = self.states, self.picture
        if self.runs.raptor is not None and states is not None:
            roll = lambda: self.runs.rolled(states, picture)  # noqa: E731
            self.run_async(roll, self._take_roll, doing="rolling Raptor out", channel="raptor")
        if self.perturb_size > 0:
            self._push()

    def _show_input(self) -> None:
        if self.summary is None:
            return
        # Brightest colour: the same at all layers, the violent first block left out.
        most = float(self.summary.trajectories.speed[self.picture, 1:].max().rad2deg())
        self.view.show(self.picture, self.token, self._turned(), most)
        self._draw_strips()

    @reacts("token", doing="choosing a token")
    def _draw_token(self) -> None:
        self.view.mark(self.token)
        self._draw_strips()
        self.layout_of_paths.request()

    @reacts("coordinates", "show", doing="laying out paths")
    def _lay_out(self) -> None:
        self.layout_of_paths.request()

    @reacts("color_by", doing="colouring")
    def _draw_colours(self) -> None:
        self._draw_strips()
        self._draw_paths()

    @reacts("dimensions", "trails", "dark", doing="drawing paths")
    def _draw_paths(self) -> None:
        if self.paths is not None:
            drawn = drawn_paths(self, self.dimensions)
            self.figure.show_paths(drawn, self.layer, dark=self.dark)

    @reacts("perturb_layer", "perturb_size", "perturb_seed", doing="pushing")
    def _push(self) -> None:
        """Run the rest of the network on a push of the selected input; without one, draw none."""
        states, picture = self.states, self.picture
        layer, size, seed = self.perturb_layer, self.perturb_size, self.perturb_seed
        if size > 0 and states is not None:
            self.run_async(
                lambda: self.runs.pushed(states, picture, layer=layer, size=size, seed=seed),
                self._take_push,
                doing=f"pushing layer {layer}",
                channel="push",
            )
            return
        # What is still running must not come back.
        self.forget_async("push")
        self.pushed = None
        self._draw_strips()
        self._draw_paths()

    @reacts("atoms", doing="following atoms")
    def _draw_atoms(self) -> None:
        self._draw_strips()
        if self.coordinates == "atoms":
            self.layout_of_paths.request()

    def _turned(self) -> Float[np.ndarray, " tokens"]:
        """Degrees by which the block before the cursor turned each token; 0 at the embeddings."""
        if self.summary is None or self.layer == 0:
            return np.zeros(self.n_tokens)
        return np.rad2deg(self.summary.trajectories.speed[self.picture, self.layer - 1].numpy())

    def _draw_strips(self) -> None:
        if self.summary is None:
            return
        charts, shows_phases = charts_of(self, self.strip), self.strip in ("phases", "all")
        tall = self.strip == "named" and len(charts) == 1
        self.strips.height = TALL if tall else STRIP_HEIGHTS.get(len(charts), SMALL_STRIP)
        self.headline = ""
        if self.strip == "named" and self.read is not None and self.pushed is None:
            self.headline = read_title(self.read)
        self._draw_answers()
        if shows_phases or self.color_by == "phase":
            self.strips.show(charts, cuts=self.cuts)
        else:
            ends, name = loops_of(self.model)
            self.strips.show(charts, cuts=ends, bands=name)
        self.strips.cursor = self.layer
        said, numbers = answer_of(self, self.strip)
        axes = ", ".join(axis for axis in self.paths.axes if "(" in axis) if self.paths else ""
        self.conclude(said, f"{numbers}; axes: {axes}" if axes else numbers)

    def _draw_answers(self) -> None:
        """Draw what the output layers would answer for the input that is shown."""
        shown = self.strip == "named" and self.read is not None
        show(self._answers, shown)
        if self.read is not None and shown:
            names, own = self._class_names, self.model.class_names
            if self.read.own and len(self.read.names) == 1 and own:
                names = {self.read.names[0]: own}
            said = answers_html(self.read, self.picture, names)
            filled = "the last one" if self.read.own else "right"
            title = f"This {noun(self)}: its answer after each block (filled: {filled})"
            self._answers.value = f'<div class="sae-nb-cardtitle">{escape(title)}</div>{said}'

    # --- choosing ---------------------------------------------------------------------------------

    def _on_click(self, trace: go.Scatter, points: Points, _: object) -> None:
        paths, place = self.paths, next(iter(points.point_inds), None)
        if place is None or paths is None:
            return
        with self.guarded("choosing"):
            if trace.meta == "gain":
                self.k = int(place) + 1
            elif trace.meta == "similarity":
                self.layer = int(points.xs[0])
            elif self.show == "pictures":
                self.picture = int(paths.inputs[self.figure.path_of(trace, place, self.layer)])
            else:
                self.token = int(paths.tokens[self.figure.path_of(trace, place, self.layer)])

    def step(self, by: int) -> None:
        """Go to another layer; at either end nothing happens.

        Parameters
        ----------
        by
            Number of steps.
        """
        self.layer = min(max(self.layer + by, 0), self.n_layers)

    # --- the player -------------------------------------------------------------------------------

    @property
    def at_end(self) -> bool:
        """Whether the cursor is at the last layer."""
        return self.layer >= self.n_layers

    def to_start(self) -> None:
        """Go to the embedding."""
        self.layer = 0

    def forth(self) -> None:
        """Move one layer further; at the last one nothing happens."""
        self.step(1)

    def back(self) -> None:
        """Move one layer back; at the embedding nothing happens."""
        self.step(-1)

    def close(self) -> None:
        """Stop playing, end a UMAP under way, and free the panel."""
        if not self._closed:
            self.layout_of_paths.end()
        super().close()

    def _rescale(self) -> None:
        self.figure.plot.layout.height = figure_height()
        if self.ready:
            self._show_input()

    # --- taking it away ---------------------------------------------------------------------------

    @property
    def record(self) -> dict[str, Any] | None:
        """The numbers of the view on screen; None before the model has run."""
        if self.summary is None:
            return None
        paths, phases = self.summary.trajectories, self.summary.phases[self.similarity][self.k]
        own = (self.picture, slice(None), self.token)
        shown: dict[str, Any] = {
            "layer": self.layer,
            "input": self.picture,
            "token": self.view.name(self.token),
            "phases": f"{phases} ({self.similarity})",
            "gain of k phases": self.summary.gains(self.similarity),
            "direction to the end": paths.convergence[own].numpy(),
            "angular speed": paths.speed[own].numpy(),
            "coherence": paths.coherence[self.picture].numpy(),
            "effective rank of updates": paths.update_rank.effective.numpy(),
        }
        if paths.basins is not None:
            shown["classes, within minus between"] = paths.basins.gap
        if self.pushed is not None:
            shown["angle after the push"] = self.pushed.angles[0, :, self.token].numpy()
            shown["if blocks ignored the push"] = self.pushed.norm_only[0, :, self.token].numpy()
        if self.depths is not None:
            shown["energy of atoms"] = {str(a): self.depths.energy[a] for a in self.atoms}
        return shown

    def current_figure(self) -> go.Figure | None:
        """Return the paths; None where what its output layers answer is shown in their place."""
        return None if self.strip == "named" else super().current_figure()

    def still_figure(self) -> go.Figure | None:
        """Return the figure with three axes seen along the third."""
        if self.dimensions == 2 or self.paths is None:
            return super().still_figure()
        with self._drawing:
            flat = go.Figure(self.figure.plot)
            draw_paths(flat, drawn_paths(self, 2), self.layer)
        return flat

    def static_chips(self) -> dict[str, str]:
        """Return the facts next to the question, the layer and the push."""
        facts = {**self.chips, "layer": layer_text(self.model, self.layer)}
        if self.ready:
            facts[noun(self)] = path_text(self, self.picture, self.token)
        if self.perturb_size > 0:
            facts["push"] = f"{self.perturb_size:g} at layer {self.perturb_layer}"
        return facts

    def export_name(self) -> str:
        """Return the name, without ending, of files the export buttons write."""
        return f"{self.stem}_{self.model.name}_input_{self.picture}_layer_{self.layer}"
