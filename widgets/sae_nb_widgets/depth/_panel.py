"""DepthTrajectory: how an input travels through the layers, and what becomes of a push on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics import SelfCorrection, token_kinds_of
from sae_nb.figures import format_number, to_png
from sae_nb.summaries import DepthPaths, depth_inputs
from sae_nb_widgets.components import DepthStrips
from sae_nb_widgets.depth import _controls as depth_controls, _figure as figures
from sae_nb_widgets.depth._drawing import THIS, DepthDrawing
from sae_nb_widgets.depth._input import DepthInputView
from sae_nb_widgets.depth._runs import Measured, check_parts, first_labels, labels_of
from sae_nb_widgets.panel import figure_widget, write_file

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


FIRST_PUSH_AT = 3
"""Part of the depth after which a push begins, one in so many: most of the network is then to come."""


class DepthTrajectory(DepthDrawing):
    """How does an input travel through the layers?

    Similarity of blocks with phases, paths of token states towards where they end, measurements over
    layers, and a push at one layer that the rest of the same network runs on, live.

    Parameters
    ----------
    model
        A live model with repeated blocks.
    inputs
        Pictures, texts or token ids; the first 256 are taken, texts cut to one length.
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
    traitlets.TraitError: If a trait is set to what cannot be shown.

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

    question = "How does an input travel through the layers?"
    explanation = (
        "Squares on the similarity matrix are the best k phases, their gain the share of dissimilarity "
        "between them; paths lead a token's direction to where it ends; strips measure each step "
        "(floors: independent directions, shuffled labels; update rank: effective in grey, stable in "
        "blue). A push is noise at one layer, and the dotted path what the rest of the same network "
        "makes of it.",
        "Two or three axes keep a part of the directions only (it is said above the paths), UMAP keeps "
        "neighbours and no distances, and phases that the centred similarity does not see are moves of "
        "the mean state. A push that fades may do so merely because states grow: dashed grey.",
        "“Block-Recurrent Dynamics in Vision Transformers”, arXiv 2512.19941; coherence, basins and the "
        "push are measured by formulas of ours.",
    )
    stem = "depth"
    needs_kernel = "Other inputs, layers and pushes need a running kernel; this is what was shown."

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
        self.model, self.sae, self._raptor = model, sae, raptor
        self._inputs = depth_inputs(model, inputs)
        self._labels = first_labels(labels_of(inputs, labels), len(self._inputs))
        self.n_layers = 0 if model.structure is None else model.structure.n_blocks
        check_parts(model, states, len(self._inputs), raptor, sae)
        self.n_inputs, self.n_atoms = len(self._inputs), 0 if sae is None else sae.n_atoms
        # Known once the model has run.
        self.n_tokens = 1_000_000 if states is None else int(states.shape[2])
        self.summary = self.states = self.depths = None
        self.paths = self.pushed = self.rolled = None
        self._drawn: figures.DrawnPaths | None = None
        super().__init__()
        self._set_out()
        self._build()
        self._measure(states, self._take)

    def _set_out(self) -> None:
        """Traits a person would choose first."""
        self.layer = self.n_layers
        self.k = min(3, self.most_phases)
        self.perturb_layer = max(self.n_layers // FIRST_PUSH_AT, 1)
        if not self.has_classes:
            self.color_by = "token type" if self.model.kind == "vision" else "phase"
            self.show = "tokens"

    @property
    def most_phases(self) -> int:
        """Largest k: phases of at least two blocks, six at most."""
        if self.summary is not None:
            return self.summary.most_phases
        return max(min(self.n_layers // 2, 6), 1)

    @property
    def has_classes(self) -> bool:
        """Whether inputs have labels."""
        return self._labels is not None

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.chips = {"model": self.model.name, "blocks": str(self.n_layers)}
        self.controls = depth_controls.build(self)
        self._picture = figure_widget(figures.depth_figure(), height=figures.figure_height())
        self._legend = ipw.HTML()
        self._view = DepthInputView(self._inputs, self._pick)
        self._shown = ipw.Box(self._view.arranged(depth_controls.chooser(self)))
        self._shown.add_class("sae-nb-line")
        self._strips = DepthStrips(description="measurements over layers", own=THIS)
        self._strips.empty_text = "The model is running."
        self.arrange(
            controls=self.controls.first,
            more=self.controls.more,
            figure=[self._picture, self._legend, self._shown],
            detail=[self._strips],
        )
        self._body.layout.grid_template_columns = "minmax(0, 1fr) minmax(240px, 32%)"
        self._listen()

    def _listen(self) -> None:
        self.observe(lambda _: self._on_layer(), "layer")
        self.observe(lambda _: self._on_phases(), ["k", "similarity"])
        self.observe(lambda _: self._on_input(), "picture")
        self.observe(lambda _: self._on_token(), "token")
        self.observe(lambda _: self._on_axes(), ["coordinates", "show"])
        self.observe(lambda _: self._on_look(), ["dimensions", "color_by", "dark"])
        self.observe(lambda _: self._on_push(), ["perturb_layer", "perturb_size", "perturb_seed"])
        self.observe(lambda _: self._on_atoms(), "atoms")
        self._strips.observe(lambda change: self.set_trait("layer", change["new"]), "cursor")
        for trace in self._picture.data:
            if str(trace.meta).startswith(("head", "gain", "similarity")):
                trace.on_click(self._on_click)
        self.can_play()
        for key, step in (("]", 1), ("[", -1)):
            self.bind_key(key, lambda step=step: self.step_picture(step))  # type: ignore[misc]
        self.bind_key("Home", lambda: self.set_trait("layer", 0))
        self.bind_key("End", lambda: self.set_trait("layer", self.n_layers))
        self.bind_key("Escape", lambda: self.set_trait("perturb_size", 0.0))

    def _take(self, measured: Measured) -> None:
        """Draw everything for the first time."""
        states, summary = measured.states, measured.summary
        with self._drawing:
            self.states, self.summary, self.depths = states, summary, measured.depths
            self.n_tokens = states.shape[2]
            self.token = min(self.token, self.n_tokens - 1)
            kinds = token_kinds_of(self.model, states.positions)
            self._view.prepare(kinds, states.positions, self.model.patch_grid)
            if self.k > summary.most_phases:
                self.k = summary.most_phases
            if self.depths is not None and not self.atoms:
                self.atoms = list(self.depths.telling())
            self.chips = self._facts()
            self._draw_phases()
            self._draw_input()
            self._on_axes()
            self._ask_of_input()
            if self._inputs.note:
                self.say(self._inputs.note)

    # --- what was changed -------------------------------------------------------------------------

    def _on_layer(self) -> None:
        with self.guarded("drawing the layer"), self._drawing:
            if self.summary is not None:
                self._strips.cursor = self.layer
                figures.draw_layer_mark(self._picture, self.layer)
                self._draw_trails()
                self._view.shade(self._turned())

    def _on_phases(self) -> None:
        with self.guarded("drawing the phases"), self._drawing:
            if self.summary is not None:
                self._draw_phases()
                self._strips.cuts = list(self._cuts)
                if self.color_by == "phase":
                    self._draw_paths()

    def _on_input(self) -> None:
        with self.guarded("choosing an input"), self._drawing:
            if self.summary is not None:
                self.pushed = self.rolled = None
                self._draw_input()
                self._on_axes()
                self._ask_of_input()

    def _on_token(self) -> None:
        with self.guarded("choosing a token"), self._drawing:
            if self.summary is not None:
                self._view.mark(self.token)
                self._draw_strips()
                self._on_axes()

    def _on_axes(self) -> None:
        with self.guarded("laying out paths"):
            self._lay_out(self._take_paths)

    def _on_look(self) -> None:
        with self.guarded("drawing paths"), self._drawing:
            self._draw_paths()

    def _on_push(self) -> None:
        with self.guarded("pushing"):
            if self.perturb_size > 0:
                self._push(self._take_push)
                return
            with self._drawing:
                # What is still running must not come back.
                self._background.submit(_nothing, _ignore, _ignore, "push")
                self.pushed = None
                self._draw_strips()
                self._draw_paths()

    def _on_atoms(self) -> None:
        with self.guarded("following atoms"), self._drawing:
            if self.summary is not None:
                self._draw_strips()
                if self.coordinates == "atoms":
                    self._on_axes()

    def _ask_of_input(self) -> None:
        if self._raptor is not None:
            self._roll(self._take_roll)
        if self.perturb_size > 0:
            self._push(self._take_push)

    def _on_click(self, trace: Any, points: Any, _: Any) -> None:
        if not points.point_inds or self._drawn is None:
            return
        with self.guarded("choosing"):
            place, name = points.point_inds[0], str(trace.meta)
            if name == "gain":
                self.k = int(place) + 1
            elif name == "similarity":
                self.layer = int(points.xs[0])
            else:
                group = int(name.split()[1])
                self._choose_path(int(figures.members(self._drawn, group, self.layer)[place]))

    def _choose_path(self, path: int) -> None:
        if self.paths is not None and self.show == "pictures":
            self.picture = int(self.paths.inputs[path])
        elif self.paths is not None:
            self.token = int(self.paths.tokens[path])

    def _pick(self, token: int) -> None:
        self.token = token

    def step(self, by: int) -> None:
        """Go to another layer; at either end nothing happens.

        Parameters
        ----------
        by
            How many further.
        """
        self.layer = min(max(self.layer + by, 0), self.n_layers)

    def step_picture(self, by: int) -> None:
        """Go to another input; after the last comes the first.

        Parameters
        ----------
        by
            How many further.
        """
        self.picture = (self.picture + by) % self.n_inputs

    # --- answers ----------------------------------------------------------------------------------

    def _take_paths(self, paths: DepthPaths) -> None:
        self.paths = paths
        self._draw_paths()

    def _take_push(self, pushed: SelfCorrection) -> None:
        with self._drawing:
            self.pushed = pushed
            self._draw_strips()
            self._draw_paths()
            self.say(_fading(pushed, self.token))

    def _take_roll(self, rolled: Tensor) -> None:
        self.rolled = rolled
        self._draw_strips()
        self._draw_paths()

    # --- the player -------------------------------------------------------------------------------

    @property
    def at_end(self) -> bool:
        """Whether the cursor is at the last layer."""
        return self.layer >= self.n_layers

    def to_start(self) -> None:
        """Go to the embedding."""
        self.layer = 0

    def forth(self) -> None:
        """One layer on; at the last one nothing happens."""
        self.step(1)

    def back(self) -> None:
        """One layer back; at the embedding nothing happens."""
        self.step(-1)

    def close(self) -> None:
        """Stop playing, end a UMAP under way, and free the panel."""
        if not self._closed:
            self._end_umap()
        super().close()

    def restyle(self) -> None:
        """Redraw with the current theme's sizes."""
        super().restyle()
        if self._figure is not None:
            with self._drawing:
                self._picture.layout.height = figures.figure_height()
                if self.summary is not None:
                    self._draw_input()

    # --- taking it away ---------------------------------------------------------------------------

    @property
    def record(self) -> dict[str, Any] | None:
        """What the view on screen says, in numbers; None before the model has run."""
        if self.summary is None:
            return None
        paths, phases = self.summary.trajectories, self.summary.phases[self.similarity][self.k]
        own = (self.picture, slice(None), self.token)
        shown: dict[str, Any] = {
            "layer": self.layer,
            "input": self.picture,
            "token": self._view.name(self.token),
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

    def to_png(self, path: str | Path | None = None) -> bytes:
        """Return the figure as PNG, drawn without a browser: three axes seen along the third.

        Parameters
        ----------
        path
            File to write as well.
        """
        if self.dimensions == 2 or self.paths is None:
            return super().to_png(path)
        with self._drawing:
            flat = go.Figure(self._picture)
            figures.draw_paths(flat, self._dressed(self.paths, 2), self.layer)
        content = to_png(flat)
        if path is not None:
            write_file(Path(path), content)
        return content

    def static_chips(self) -> dict[str, str]:
        """Return the facts beside the question, the layer and the push."""
        facts = {**self.chips, "layer": f"{self.layer} of {self.n_layers}"}
        if self.perturb_size > 0:
            facts["push"] = f"{self.perturb_size:g} at layer {self.perturb_layer}"
        return facts

    def export_name(self) -> str:
        """Return the name, without ending, of files the export buttons write."""
        return f"{self.stem}_{self.model.name}_input_{self.picture}_layer_{self.layer}"


def _fading(pushed: SelfCorrection, token: int) -> str:
    """Say what became of a push."""
    angles, control = (x[0, :, token] for x in (pushed.angles, pushed.norm_only))
    start, end, alone = (float(v) for v in (angles[pushed.layer], angles[-1], control[-1]))
    return (
        f"Push at layer {pushed.layer}: {format_number(start)} rad there, {format_number(end)} at the "
        f"end; {format_number(alone)} if later blocks ignored it."
    )


def _nothing() -> None:
    return None


def _ignore(_: Any) -> None:
    return None
