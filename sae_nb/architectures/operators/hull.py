"""The archetypal dictionary: every atom points at a mixture of data points, D ∝ W C + Λ."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sae_nb.architectures.operators.dense import UNIT_GUARD, random_unit_rows
from sae_nb.architectures.operators.matrix import MatrixOperator
from sae_nb.architectures.proxes.simplex import SimplexProx

AT_THE_CENTRE = 1e-6
"""A candidate closer to the centre than this share of the typical distance has no direction."""


class HullOperator(MatrixOperator, nn.Module):
    """d_j = p_j / ‖p_j‖ with p_j = Σ_i w_ji c_i + Λ_j, w_j on the simplex, ‖Λ_j‖ ≤ δ.

    Candidates c_i are points around the centre of the data, in scaled units; they stay fixed. With
    δ = 0 every p_j is in their convex hull. Norms are divided out, as a code says how far an input
    reaches along an atom.

    Parameters
    ----------
    d_in
        Width of an activation.
    n_atoms
        Number of atoms.
    n_candidates
        Points to mix, at least as many as atoms.
    delta
        Longest step off the hull, in scaled units, where activations have norm √d_in in the root mean
        square.
    generator
        Draws the first candidates, on the sphere of that norm.

    Source
    ------
    "Archetypal SAE", arXiv 2502.12892 (KempnerInstitute/overcomplete,
    archetypal_dictionary.py). Theirs clips negative weights and divides by their sum; ours projects
    rows of W on the simplex, which keeps mixtures sparse under Adam.
    """

    candidates: Tensor

    def __init__(
        self,
        d_in: int,
        n_atoms: int,
        n_candidates: int,
        *,
        delta: float,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.delta = delta
        drawn = math.sqrt(d_in) * random_unit_rows(n_candidates, d_in, generator)
        self.register_buffer("candidates", drawn)
        self.mixture = nn.Parameter(torch.eye(n_atoms, n_candidates))
        # In units of √d_in its entries are as large as those of a unit atom, and so are Adam's steps.
        self.offset = nn.Parameter(torch.zeros(n_atoms, d_in)) if delta > 0 else None
        self._fused: tuple[object, Tensor] | None = None

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.mixture.shape[0]

    @property
    def d_in(self) -> int:
        """Width of an atom."""
        return self.candidates.shape[1]

    def relaxation(self) -> Float[Tensor, "n_atoms d_in"]:
        """Λ, in scaled units, with its gradient."""
        if self.offset is None:
            return self.candidates.new_zeros(self.n_atoms, self.d_in)
        return self.offset * math.sqrt(self.d_in)

    def points(self) -> Float[Tensor, "n_atoms d_in"]:
        """W C + Λ around the centre, in scaled units, with its gradient."""
        mixed = self.mixture @ self.candidates
        return mixed if self.offset is None else mixed + self.relaxation()

    def atoms(self) -> Float[Tensor, "n_atoms d_in"]:
        """The effective dictionary: unit rows, with their gradient.

        Without a gradient the product is computed once per state of the weights.
        """
        if torch.is_grad_enabled() and self.mixture.requires_grad:
            return self._directions()
        state = tuple(
            (t.data_ptr(), t._version, t.dtype)
            for t in (self.mixture, self.candidates, self.offset)
            if t is not None
        )
        if self._fused is None or self._fused[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._fused = (state, self._directions())
        return self._fused[1]

    def _directions(self) -> Tensor:
        points = self.points()
        return points / (points.norm(dim=1, keepdim=True) + UNIT_GUARD)

    @torch.no_grad()
    def start_from_(
        self, candidates: Float[Tensor, "n_candidates d_in"], chosen: Int[Tensor, " n_atoms"]
    ) -> None:
        """Take candidates, and let each atom begin as one of them.

        Parameters
        ----------
        candidates
            Points around the centre, in scaled units.
        chosen
            Which one each atom begins as.
        """
        self.candidates.copy_(candidates)
        self.mixture.zero_()
        self.mixture[torch.arange(self.n_atoms, device=chosen.device), chosen] = 1.0
        if self.offset is not None:
            self.offset.zero_()

    @torch.no_grad()
    def project_(self) -> None:
        """Return rows of W to the simplex and Λ to its ball."""
        self.mixture.copy_(SimplexProx().dense(self.mixture))
        if self.offset is not None:
            radius = self.delta / math.sqrt(self.d_in)
            norms = self.offset.norm(dim=1, keepdim=True)
            self.offset.mul_((radius / norms.clamp_min(radius)).clamp_max(1.0))


def with_direction(
    candidates: Float[Tensor, "n_candidates d_in"],
) -> Int[Tensor, " n_directed"]:
    """Candidates that are not at the centre, and so can be an atom by themselves.

    Parameters
    ----------
    candidates
        Points around the centre.
    """
    norms = candidates.norm(dim=1)
    typical = norms.square().mean().sqrt()
    return (norms > AT_THE_CENTRE * typical).nonzero().flatten()
