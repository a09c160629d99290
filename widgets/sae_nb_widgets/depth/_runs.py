"""The computations of a DepthTrajectory: states, layout of paths, perturbations, roll-outs, atoms over
depth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sae_nb.checks import check_data
from sae_nb.dynamics import (
    AtomDepths,
    DepthInputs,
    DepthSummary,
    ReadByBlock,
    SelfCorrection,
    States,
    atom_depths,
    capture_states,
    check_states,
    read_by_block,
    self_correction,
    summarise_depth,
)

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel

SMALL = 16_000_000
"""Numbers up to which work is waited for: a tenth of a second or two."""


# -------------------------------------------------------------------------------------------------
# What a DepthTrajectory refuses before any work: models without depth, and parts of other models.


def blocks_text(model: LiveModel) -> str:
    """Return how many blocks run, and of how many that are shared or looped over."""
    structure = model.structure
    if structure is None or not structure.looped:
        return str(0 if structure is None else structure.n_blocks)
    return f"{structure.n_blocks} runs of {len(set(structure.paths))}"


def loops_of(model: LiveModel) -> tuple[tuple[int, ...], str]:
    """Return where loops end, from 0 on, and what every second one is called; nothing where blocks run once.

    Blocks that run again at once, as a tied network's do, are told apart; else rounds through all of them.
    """
    structure = model.structure
    if structure is None or not structure.looped:
        return (), ""
    paths = structure.paths
    n, pairs = len(paths), list(pairwise(paths))
    if len(set(paths)) > 1 and any(one == other for one, other in pairs):
        inner, name = [i for i, (one, other) in enumerate(pairs, 1) if one != other], "shared block"
    else:
        inner, name = [i for i in range(1, n) if paths[i] == paths[0]], "loop"
    return (0, *inner, n), f"every second {name}"


def layer_text(model: LiveModel, layer: int) -> str:
    """Return a layer among all, and of a looped network the block that makes it and the number of its run."""
    structure = model.structure
    n = 0 if structure is None else structure.n_blocks
    known = "" if structure is None or not layer else structure.application(layer - 1)
    return f"{layer} of {n}: {known}" if known else f"{layer} of {n}"


def labels_of(
    inputs: Inputs, labels: Sequence[object] | Tensor | None
) -> Sequence[object] | Tensor | None:
    """Return the labels given, else the digits of scenes, else None."""
    return getattr(inputs, "digit", None) if labels is None else labels


def truth_of(inputs: Inputs, labels: Sequence[object] | Tensor | None, n: int) -> dict[str, Any]:
    """Return the classes of the first inputs by name: those that scenes have, else the labels."""
    factors = (
        [name for name, values in vars(inputs).items() if isinstance(values, Tensor)]
        if hasattr(inputs, "texture_names")
        else []
    )
    known = {name: getattr(inputs, name)[:n] for name in factors if getattr(inputs, name).ndim == 1}
    return known or ({} if labels is None else {"class": labels})


def first_labels(
    labels: Sequence[object] | Tensor | None, n: int, kept: Sequence[int] | None = None
) -> Sequence[object] | Tensor | None:
    """Return the labels of the inputs that are shown; more were given if inputs were left out."""
    if labels is None:
        return None
    if isinstance(labels, Tensor):
        labels = check_data(labels, name="labels", what="classes")
    if getattr(labels, "ndim", 1) == 0:
        raise TypeError("`labels` must be a list, one entry per input, got one number.")
    if len(labels) < n:
        raise ValueError(f"`labels` must have one entry per input ({n}), got {len(labels)}.")
    if kept is None:
        return labels[:n]
    if len(labels) <= max(kept):
        raise ValueError(
            f"`labels` must have one entry per input ({max(kept) + 1}), got {len(labels)}."
        )
    if isinstance(labels, Tensor | np.ndarray):
        return labels[list(kept)]
    return [labels[i] for i in kept]


def check_parts(
    model: LiveModel,
    states: Tensor | None,
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
# What runs: all of these may run off the main thread, and touch no widget.


@dataclass(frozen=True)
class Measured:
    """The results of the first run."""

    states: States
    summary: DepthSummary
    depths: AtomDepths | None
    read: ReadByBlock | None


@dataclass(frozen=True, eq=False)
class DepthRuns:
    """A model, its inputs and what comes with them; answers are records."""

    model: LiveModel
    inputs: DepthInputs
    labels: Sequence[object] | Tensor | None
    sae: SparseAutoencoder | None
    raptor: Any
    truth: Mapping[str, Any]
    """Class of each input, by what an output layer names."""

    def measured(self, given: Tensor | None) -> Measured:
        """Capture states where none are given, and measure them."""
        states = given
        if states is None:
            states = capture_states(self.model, self.inputs.whole, backend="hooks")
        if not isinstance(states, States):
            states = States(states)
        summary = summarise_depth(states, self.labels, class_names=self.model.class_names)
        depths = None
        if self.sae is not None:
            depths = atom_depths(self.sae, states, self._home(states.n_layers))
        read = read_by_block(self.model, self.inputs.whole, states, self.truth or None)
        return Measured(states, summary, depths, read)

    def _home(self, n_layers: int) -> int:
        """Layer of the states that the SAE was trained on."""
        name = getattr(self.sae, "hook_point", None)
        layer = None if name is None else (point := self.model.hook_point(str(name))).layer
        return n_layers // 2 + 1 if layer is None else layer + (point.kind != "resid_pre")

    def pushed(
        self, states: States, picture: int, *, layer: int, size: float, seed: int
    ) -> SelfCorrection:
        """Run the rest of the network on a push of one input."""
        one, own = self.inputs.one(picture), states.take([picture])
        return self_correction(self.model, one, layer=layer, size=size, seed=seed, states=own)

    def rolled(self, states: States, picture: int) -> Tensor:
        """Let Raptor run from one input's embeddings."""
        weights = next(iter(getattr(self.raptor, "parameters", tuple)()), torch.zeros(0))
        embeddings = states[picture : picture + 1, 0].float().to(weights.device)
        with torch.no_grad():
            return torch.as_tensor(self.raptor.roll_out(embeddings))[0].float().cpu()
