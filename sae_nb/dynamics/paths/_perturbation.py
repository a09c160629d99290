"""A network's response to noise added at one layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Seed, at_least, checked
from sae_nb.dynamics.paths._states import States, capture_states, check_states
from sae_nb.dynamics.paths._trajectory import angles_between
from sae_nb.models._running import run
from sae_nb.steering import splice

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


# At layer l every token gets noise of ‖n‖ = ε‖a_l‖ in a random direction; θ_k is the angle between the
# perturbed and the undisturbed state at layer k ≥ l. θ shrinks where the network corrects itself, but also
# where later blocks merely add to a longer state: that part alone is measured beside it.


@dataclass(frozen=True, eq=False)
class SelfCorrection:
    """Return how far a perturbation is still felt at every layer."""

    layer: int
    """Where it was perturbed: 0 at the embeddings, l after block l."""

    size: float
    """Length of the perturbation, in lengths of the state."""

    angles: Float[Tensor, "n layers tokens"]
    """Radians between perturbed and undisturbed states, embeddings first; 0 before the perturbation."""

    norm_only: Float[Tensor, "n layers tokens"]
    """The same if later blocks added exactly what they add without the perturbation: what longer states do."""

    states: Float[Tensor, "n layers tokens d"]
    """The perturbed states."""

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
        """Angle at the end over the angle where it was perturbed; below 1 the perturbation fades."""
        return _ratio(self.mean_angle, self.layer)

    @property
    def norm_only_ratio(self) -> float:
        """The same for `norm_only`; `ratio` below it is correction by the blocks themselves."""
        return _ratio(self.mean_norm_only, self.layer)


@checked
def self_correction(
    model: LiveModel,
    inputs: Inputs,
    *,
    layer: int,
    size: Annotated[float, at_least(0)],
    seed: Seed = 0,
    states: Float[Tensor, "n layers tokens d"] | None = None,
    batch_size: int | None = None,
) -> SelfCorrection:
    """Perturb every token state at one layer, run the rest of the network, and compare.

    Of texts the states that are compared: an attention sink that `capture_states` leaves out is left as it is.

    θ_k = arccos⟨û_k(perturbed), û_k⟩ for k = l … L; `norm_only` has a_k + n in place of the perturbed a_k.

    Parameters
    ----------
    model
        A live model with blocks; edits that are active stay so.
    inputs
        Images, texts or token ids, as for `capture_states`.
    layer
        Where: 0 at the embeddings, l after block l.
    size
        ε, at least 0; 0 changes no bit.
    states
        Undisturbed states of these inputs, if they are known already.

    Raises
    ------
    ValueError: If the model has no such layer, or `states` are of other inputs.

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
    inputs = list(inputs) if isinstance(inputs, Iterator) else inputs  # they are read twice
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


@checked
def pushed_states(
    model: LiveModel,
    inputs: Inputs,
    *,
    layer: int,
    size: Annotated[float, at_least(0)],
    seed: Seed = 0,
    batch_size: int | None = None,
    like: Float[Tensor, "n layers tokens d"] | None = None,
) -> Float[Tensor, "n layers tokens d"]:
    """Return states of every layer when every token is perturbed at one of them.

    a_l ← a_l + ε‖a_l‖·n̂ with n̂ drawn evenly from the sphere, for each token of each input again.

    The states are in float32, embeddings first.

    Parameters as for `self_correction`; `like` are states by whose positions those of a text are chosen.

    Example
    -------
    >>> from sae_nb.data import scenes
    >>> from sae_nb.models import load_model
    >>> pushed_states(load_model("tiny-vit"), scenes(2, seed=0), layer=12, size=0.1).shape
    torch.Size([2, 13, 69, 64])
    """
    n_blocks = 0 if model.structure is None else model.structure.n_blocks
    if not 0 <= layer <= n_blocks:
        raise ValueError(
            f"`layer` must be between 0 (embeddings) and {n_blocks}, got {layer}."
            + ("" if n_blocks else f" {model.name} has no blocks to run on.")
        )
    points = ["resid_pre.0", *(f"resid_post.{block}" for block in range(n_blocks))]
    generator = torch.Generator().manual_seed(seed)

    def push(x: Tensor) -> Tensor:
        if size == 0:
            return x
        noise = torch.randn(x.shape, generator=generator).to(x)
        lengths = x.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
        return x + size * (noise * lengths)

    positions = list(like.positions) if isinstance(like, States) else None
    kept = slice(None) if positions is None else positions
    parts = []
    # The lock is held over edit and pass, so that no other thread runs the perturbed model.
    with model.lock, splice(model, points[layer], push, positions):
        for batch in model.batches(inputs, batch_size=batch_size):
            states = run(model, batch, read=points).states
            parts.append(
                torch.stack([states[point][:, kept].float().cpu() for point in points], dim=1)
            )
    return torch.cat(parts)


def _ratio(angles: Tensor, layer: int) -> float:
    start = float(angles[layer])
    return float(angles[-1]) / start if start > 0 else 1.0
