"""Which directions of an activation the rest of the model reads: the row space of its Jacobian.

In a residual stream there is no single reader whose null space could be asked. So ∂y/∂x_t is sketched by
vector–Jacobian products: random weights u of the outputs give rows uᵀ ∂y/∂x_t, and the leading right
singular vectors of all of them span what is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from sae_nb.models.inputs import Batch
    from sae_nb.steered_answers import Answers

ENERGY = 0.99
"""Share of the Jacobian's energy that the row space holds. Ours."""

N_SKETCHES = 8
"""Vector–Jacobian products per batch. Ours: the ten logits of tiny-vit have rank nine."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadingSpace:
    """An orthonormal basis of what is read, and how much of the reading it holds."""

    basis: Float[Tensor, "rank d_in"]
    """Rows are orthonormal, the most read first."""

    energy: float
    """Share of ‖J‖² inside; the rest is called unread."""

    spectrum: Float[Tensor, " d_in"]
    """Singular values of the sketched Jacobian."""

    @property
    def rank(self) -> int:
        """How many directions."""
        return len(self.basis)

    def part(self, v: Float[Tensor, " d_in"]) -> Float[Tensor, " d_in"]:
        """Return the part of a vector that is read.

        Parameters
        ----------
        v
            Any vector.
        """
        return (self.basis @ v) @ self.basis


def reading_space(
    runs: Answers,
    *,
    energy: float = ENERGY,
    n_sketches: int = N_SKETCHES,
    seed: int = 0,
) -> ReadingSpace:
    """Return what the model's answers read at a hook point, at the positions that are edited.

    Parameters
    ----------
    runs
        Model, inputs, hook point and positions.
    energy
        Share of the Jacobian's energy to hold, in (0, 1].
    n_sketches
        Vector–Jacobian products per batch, at least; more where inputs are few, see `sketches_for`.
    seed
        Of the random weights of the outputs.

    Raises
    ------
    ValueError
        If `energy` is no share.
    """
    if not 0 < energy <= 1:
        raise ValueError(f"`energy` must be in (0, 1], got {energy}.")
    generator = torch.Generator().manual_seed(seed)
    gram: Tensor | None = None
    width = runs.model.width(runs.hook_point) or 0
    n_sketches = sketches_for(width, runs.n, n_sketches)
    for batch in runs.batches:
        for row in _products(runs, batch, n_sketches, generator):
            added = row.T @ row
            gram = added if gram is None else gram + added
    if gram is None:
        raise ValueError("`inputs` must hold at least one, got none.")
    return space_of(gram, energy)


def sketches_for(d_in: int, n_inputs: int, at_least: int = N_SKETCHES) -> int:
    """Return how many products per batch give at least twice as many rows as there are dimensions.

    With fewer rows than dimensions the span would be that of the draw and not of what is read.

    Parameters
    ----------
    d_in
        Dimensions.
    n_inputs
        Inputs; each gives one row or more per product.
    at_least
        Never fewer.

    Example
    -------
    >>> sketches_for(64, 100), sketches_for(64, 4)
    (8, 32)
    """
    return max(at_least, -(-2 * d_in // max(n_inputs, 1)))


def space_of(gram: Float[Tensor, "d_in d_in"], energy: float = ENERGY) -> ReadingSpace:
    """Return the leading directions of JᵀJ that hold a share of its trace.

    Parameters
    ----------
    gram
        JᵀJ, or WᵀW of a linear reader W (n_out, d_in).
    energy
        Share to hold.

    Example
    -------
    >>> w = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> space = space_of(w.T @ w)
    >>> space.rank, space.part(torch.tensor([1.0, 1.0, 1.0])).round().tolist()
    (2, [1.0, 1.0, 0.0])
    """
    values, vectors = torch.linalg.eigh(gram.double())
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    share = values.cumsum(0) / values.sum().clamp_min(1e-300)
    # A rank of zero would make everything unread: at least one direction is kept.
    rank = min(int((share < energy - 1e-12).sum()) + 1, len(values))
    return ReadingSpace(
        basis=vectors[:, :rank].T.float().contiguous(),
        energy=float(share[rank - 1]),
        spectrum=values.sqrt().float(),
    )


def _products(
    runs: Answers, batch: Batch, n_sketches: int, generator: torch.Generator
) -> list[Float[Tensor, "rows d_in"]]:
    """Rows uᵀ ∂y/∂x_t of one batch, for several u; the positions that are not edited give none."""
    seen: list[Tensor] = []

    def probe(x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
        seen[:] = [torch.zeros_like(x, requires_grad=True)]
        return x + seen[0]

    with torch.inference_mode(False), torch.enable_grad():
        answer = runs.with_graph(batch, probe).float()
        # A shift common to all logits changes no answer: only what is left after it counts.
        answer = answer - answer.mean(dim=-1, keepdim=True)
        found = []
        for _ in range(n_sketches):
            u = torch.randn(answer.shape, generator=generator).to(answer)
            (grad,) = torch.autograd.grad((answer * u).sum(), seen[0], retain_graph=True)
            found.append(grad.detach().double().cpu().reshape(-1, grad.shape[-1]))
    return found
