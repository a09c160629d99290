"""What a DepthTrajectory refuses before any work: models without depth, and parts of other models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sae_nb.dynamics.states import check_states

if TYPE_CHECKING:
    from sae_nb.architectures.base import SparseAutoencoder
    from sae_nb.models.live_model import LiveModel


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
