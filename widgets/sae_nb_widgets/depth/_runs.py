"""What a DepthTrajectory computes off the main thread: states, paths, pushes, roll-outs, atoms, UMAP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics import (
    SelfCorrection,
    States,
    angles_between,
    capture_states,
    check_states,
    self_correction,
)
from sae_nb.geometry import UmapProcess, start_umap
from sae_nb.summaries import (
    AtomDepths,
    ChosenPaths,
    DepthInputs,
    DepthPaths,
    DepthSummary,
    atom_depths,
    choose_paths,
    lay_out,
    summarise_depth,
    umap_rows,
)
from sae_nb_widgets.depth._traits import DepthTraits

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


# -------------------------------------------------------------------------------------------------
# What a DepthTrajectory refuses before any work: models without depth, and parts of other models.


def labels_of(inputs: Any, labels: Any) -> Any:
    """Return the labels given, else the digits of scenes, else None."""
    return getattr(inputs, "digit", None) if labels is None else labels


def first_labels(labels: Any, n: int) -> Any:
    """The labels of the inputs that are shown; more were given where inputs were left out."""
    if labels is None:
        return None
    if len(labels) < n:
        raise ValueError(f"`labels` must have one entry per input ({n}), got {len(labels)}.")
    return labels[:n]


def check_parts(
    model: LiveModel,
    states: Any,
    n_inputs: int,
    raptor: Any,
    sae: SparseAutoencoder | None,
) -> None:
    """Refuse what does not fit together, before any work."""
    n_blocks = 0 if model.structure is None else model.structure.n_blocks
    if n_blocks < 2:
        raise ValueError(
            f"`model` must have at least two blocks, and {model.name} has {n_blocks}. Depth has no "
            "dynamics without them."
        )
    if states is not None:
        plain, _ = check_states(states)
        if plain.shape[:2] != (n_inputs, n_blocks + 1):
            raise ValueError(
                f"`states` must be of these {n_inputs} inputs and {n_blocks} blocks, embeddings "
                f"first, got shape {tuple(plain.shape)}. Take capture_states(model, inputs)."
            )
    width = model.width("resid_post.0")
    if sae is not None and width is not None and sae.d_in != width:
        raise ValueError(
            f"`sae` must have d_in={width} as the residual stream of {model.name}, got {sae.d_in}."
        )
    if raptor is not None and not callable(getattr(raptor, "roll_out", None)):
        raise TypeError(
            f"`raptor` must have a roll_out, got {type(raptor).__name__}. Take the .raptor of "
            "sn.dynamics.train_raptor(model, cuts)."
        )
    if raptor is not None and getattr(raptor, "n_layers", n_blocks) != n_blocks:
        raise ValueError(
            f"`raptor` must stand for {n_blocks} blocks as {model.name} has, got {raptor.n_layers}."
        )


# -------------------------------------------------------------------------------------------------
# What a DepthTrajectory computes off the main thread: states, paths, pushes, roll-outs, atoms, UMAP.


@dataclass(frozen=True)
class Measured:
    """What the first run gives."""

    states: States
    summary: DepthSummary
    depths: AtomDepths | None


class DepthRuns(DepthTraits):
    """Traits of a DepthTrajectory, and the work behind them; the newest request wins."""

    model: LiveModel
    sae: SparseAutoencoder | None
    states: States | None
    depths: AtomDepths | None
    paths: DepthPaths | None
    pushed: SelfCorrection | None
    rolled: Float[Tensor, "layers tokens d"] | None
    _inputs: DepthInputs
    _raptor: Any
    _labels: Any
    _umap: UmapProcess | None = None

    def _measure(self, given: Tensor | None, done: Callable[[Measured], None]) -> None:
        """Capture and measure; states that are given and small are measured at once."""
        if given is not None and given.numel() < SMALL:
            with self.guarded("measuring states"):
                done(self._measured(given))
            return
        doing = "measuring states" if given is not None else "running the model, all layers"
        self.run_async(lambda: self._measured(given), done, doing=doing)

    def _measured(self, given: Tensor | None) -> Measured:
        states = given
        if states is None:
            states = capture_states(self.model, self._inputs.samples, backend="hooks")
        if not isinstance(states, States):
            states = States(states)
        names = self.model.class_names
        summary = summarise_depth(states, self._labels, class_names=names)
        depths = None
        if self.sae is not None:
            depths = atom_depths(self.sae, states, self._home(states.n_layers))
        return Measured(states, summary, depths)

    def _home(self, n_layers: int) -> int:
        """Layer of the states that the SAE was trained on."""
        name = getattr(self.sae, "hook_point", None)
        if name is None:
            return n_layers // 2 + 1
        point = self.model.hook_point(str(name))
        return (
            n_layers // 2 + 1 if point.layer is None else point.layer + (point.kind != "resid_pre")
        )

    # --- paths ------------------------------------------------------------------------------------

    def _lay_out(self, done: Callable[[DepthPaths], None]) -> None:
        """Find where paths lie; where that takes a UMAP, PCA is shown until it is there."""
        states, summary = self.states, self.summary
        if states is None or summary is None:
            return
        asked = self.coordinates
        chosen = choose_paths(
            states,
            show=self.show,
            picture=self.picture,
            token=self.token,
            classes=summary.classes,
        )
        self._end_umap()
        process = None
        if asked == "umap":
            process = self._umap = start_umap(umap_rows(chosen))
        waiting = process is not None and not process.done
        atoms, sae, depths = tuple(self.atoms), self.sae, self.depths
        scale = 1.0 if depths is None else float(depths.scale[depths.home])

        def work() -> DepthPaths:
            if waiting or process is None:
                shown = "pca" if waiting else asked
                return lay_out(chosen, shown, sae=sae, atoms=atoms, scale=scale)
            return lay_out(chosen, asked, xy=process.wait())

        def take(paths: DepthPaths) -> None:
            done(paths)
            # Only now: a layout that is there at once must not be replaced by PCA.
            if waiting and process is not None:
                self._wait_for_umap(chosen, process, done)

        if chosen.fitted.numel() < SMALL and asked != "atoms":
            with self.guarded("laying out paths"):
                take(work())
        else:
            self.run_async(work, take, doing="laying out paths", channel="paths")

    def _wait_for_umap(
        self, chosen: ChosenPaths, process: UmapProcess, done: Callable[[DepthPaths], None]
    ) -> None:
        def work() -> DepthPaths | None:
            try:
                return lay_out(chosen, "umap", xy=process.wait())
            except RuntimeError:
                if process is self._umap:
                    raise
                return None  # another layout was asked for meanwhile, and this one ended

        def take(paths: DepthPaths | None) -> None:
            if paths is not None and process is self._umap and self.coordinates == "umap":
                done(paths)

        self.run_async(work, take, doing="UMAP of the paths (PCA meanwhile)", channel="umap")

    def _end_umap(self) -> None:
        process, self._umap = self._umap, None
        if process is not None:
            process.close()

    # --- the selected input -----------------------------------------------------------------------

    def _push(self, done: Callable[[SelfCorrection], None]) -> None:
        """Run the rest of the network on a push of the selected input."""
        states = self.states
        if states is None:
            return
        inputs, model, picture = self._inputs, self.model, self.picture
        layer, size, seed = self.perturb_layer, self.perturb_size, self.perturb_seed

        def work() -> SelfCorrection:
            return self_correction(
                model,
                inputs.one(picture),
                layer=layer,
                size=size,
                seed=seed,
                states=states.take([picture]),
            )

        self.run_async(work, done, doing=f"pushing layer {layer}", channel="push")

    def _roll(self, done: Callable[[Tensor], None]) -> None:
        """Let Raptor run from the selected input's embeddings."""
        if self.states is None or self._raptor is None:
            return
        raptor, one = self._raptor, slice(self.picture, self.picture + 1)
        weights = next(iter(getattr(raptor, "parameters", tuple)()), torch.zeros(0))
        embeddings = self.states[one, 0].float().to(weights.device)

        def work() -> Tensor:
            with torch.no_grad():
                return torch.as_tensor(raptor.roll_out(embeddings))[0].float().cpu()

        self.run_async(work, done, doing="rolling Raptor out", channel="raptor")

    def _rolled_angles(self) -> Float[np.ndarray, " layers"] | None:
        """Angle of the roll-out to the selected token's states."""
        if self.rolled is None or self.states is None:
            return None
        own = self.states[self.picture, :, self.token].float()
        return np.asarray(angles_between(self.rolled[:, self.token], own).numpy())


SMALL = 16_000_000
"""Numbers up to which work is waited for: a tenth of a second or two."""
