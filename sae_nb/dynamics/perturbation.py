"""What a network makes of a push: noise added at one layer, and the rest of the same network run on it.

At layer l every token gets noise of ‖n‖ = ε‖a_l‖ in a random direction; θ_k is the angle between the
pushed and the undisturbed state at layer k ≥ l. θ shrinks where the network corrects itself, but also
where later blocks merely add to a longer state: that part alone is measured beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.capturing import run_hooked
from sae_nb.dynamics.directions import angles_between
from sae_nb.dynamics.states import States, capture_states, check_states
from sae_nb.steering import splice

if TYPE_CHECKING:
    from sae_nb.models.live_model import LiveModel


@dataclass(frozen=True, eq=False)
class SelfCorrection:
    """How far a push is still felt at every layer."""

    layer: int
    """Where it was pushed: 0 at the embeddings, l after block l."""

    size: float
    """Length of the push, in lengths of the state that was pushed."""

    angles: Float[Tensor, "n layers tokens"]
    """Radians between pushed and undisturbed states, embeddings first; 0 before the push."""

    norm_only: Float[Tensor, "n layers tokens"]
    """The same if later blocks added exactly what they add without the push: what longer states do."""

    states: Float[Tensor, "n layers tokens d"]
    """The pushed states."""

    @property
    def mean_angle(self) -> Float[Tensor, " layers"]:
        """Mean angle over inputs and tokens, layer by layer."""
        return self.angles.mean(dim=(0, 2))

    @property
    def mean_norm_only(self) -> Float[Tensor, " layers"]:
        """Mean of `norm_only` over inputs and tokens, layer by layer."""
        return self.norm_only.mean(dim=(0, 2))

    @property
    def ratio(self) -> float:
        """Angle at the end over the angle where it was pushed; below 1 the push fades."""
        return _ratio(self.mean_angle, self.layer)

    @property
    def norm_only_ratio(self) -> float:
        """The same for `norm_only`; `ratio` below it is correction by the blocks themselves."""
        return _ratio(self.mean_norm_only, self.layer)


def self_correction(
    model: LiveModel,
    inputs: Any,
    *,
    layer: int,
    size: float,
    seed: int = 0,
    states: Float[Tensor, "n layers tokens d"] | None = None,
    batch_size: int | None = None,
) -> SelfCorrection:
    """Push every token state at one layer, run the rest of the network, and compare with no push.

    θ_k = arccos⟨û_k(pushed), û_k⟩ for k = l … L; `norm_only` has a_k + n in place of the pushed a_k.

    Parameters
    ----------
    model
        A live model with blocks; edits that are active stay so.
    inputs
        Pictures, texts or token ids, as for `capture_states`.
    layer
        Where: 0 at the embeddings, l after block l.
    size
        ε, at least 0; 0 changes no bit.
    seed
        Of the directions.
    states
        Undisturbed states of these inputs, if they are known already.
    batch_size
        Samples per forward pass.

    Returns
    -------
    SelfCorrection
        Angles per input, layer and token.

    Raises
    ------
    ValueError
        If `layer` or `size` is out of range, or `states` are of other inputs.

    Source
    ------
    Self-correction is claimed in arXiv 2512.19941; the protocol is inferred, `norm_only` is ours.

    Example
    -------
    >>> from sae_nb.data import scenes
    >>> from sae_nb.models import load_model
    >>> fading = self_correction(load_model("tiny-vit"), scenes(2, seed=0), layer=4, size=0.0)
    >>> float(fading.angles.abs().max())
    0.0
    """
    if states is None:
        states = capture_states(model, inputs, backend="hooks", batch_size=batch_size)
    plain, _ = check_states(states, min_layers=1)
    pushed = pushed_states(
        model, inputs, layer=layer, size=size, seed=seed, batch_size=batch_size, like=states
    )
    if pushed.shape != plain.shape:
        raise ValueError(
            f"`states` must be of these inputs, of shape {tuple(pushed.shape)}, got "
            f"{tuple(plain.shape)}. Leave them out to have them captured."
        )
    noise = pushed[:, layer] - plain[:, layer].float()
    angles, norm_only = (torch.zeros(plain.shape[:3]) for _ in range(2))
    for k in range(layer, plain.shape[1]):
        before = plain[:, k].float()
        angles[:, k] = angles_between(pushed[:, k], before)
        norm_only[:, k] = angles_between(before + noise, before)
    return SelfCorrection(layer, float(size), angles, norm_only, pushed)


def pushed_states(
    model: LiveModel,
    inputs: Any,
    *,
    layer: int,
    size: float,
    seed: int = 0,
    batch_size: int | None = None,
    like: Float[Tensor, "n layers tokens d"] | None = None,
) -> Float[Tensor, "n layers tokens d"]:
    """States of every layer when every token is pushed at one of them.

    a_l ← a_l + ε‖a_l‖·n̂ with n̂ drawn evenly from the sphere, for each token of each input anew.

    Parameters
    ----------
    model, inputs, layer, size, seed, batch_size
        As for `self_correction`.
    like
        States that say which positions of a text are kept; all when None or a plain tensor.

    Returns
    -------
    Tensor
        In float32, embeddings first.

    Raises
    ------
    ValueError
        If `layer` or `size` is out of range.

    Example
    -------
    >>> from sae_nb.data import scenes
    >>> from sae_nb.models import load_model
    >>> pushed_states(load_model("tiny-vit"), scenes(2, seed=0), layer=12, size=0.1).shape
    torch.Size([2, 13, 69, 64])
    """
    points = _checked_points(model, layer, size)
    generator = torch.Generator().manual_seed(seed)

    def push(x: Tensor) -> Tensor:
        return x if size == 0 else x + size * _directions(x, generator)

    kept = list(like.positions) if isinstance(like, States) else slice(None)
    parts = []
    # The lock is held over edit and pass, so that no other thread runs the pushed model.
    with model.lock, splice(model, points[layer], push):
        for batch in model.batches(inputs, batch_size=batch_size):
            read = run_hooked(model, batch, points, backend="hooks", stop_early=False)
            parts.append(
                torch.stack([read[point][:, kept].float().cpu() for point in points], dim=1)
            )
    return torch.cat(parts)


def _directions(x: Tensor, generator: torch.Generator) -> Tensor:
    """A random direction per token, as long as the token's state."""
    noise = torch.randn(x.shape, generator=generator).to(x)
    return noise * (x.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True))


def _checked_points(model: LiveModel, layer: int, size: float) -> list[str]:
    n_blocks = 0 if model.structure is None else model.structure.n_blocks
    if not 0 <= layer <= n_blocks:
        raise ValueError(
            f"`layer` must be between 0 (embeddings) and {n_blocks}, got {layer}."
            + ("" if n_blocks else f" {model.name} has no blocks to run on.")
        )
    if not size >= 0 or size == float("inf"):
        raise ValueError(f"`size` must be finite and at least 0, got {size}.")
    return ["resid_pre.0", *(f"resid_post.{block}" for block in range(n_blocks))]


def _ratio(angles: Tensor, layer: int) -> float:
    start = float(angles[layer])
    return float(angles[-1]) / start if start > 0 else 1.0
