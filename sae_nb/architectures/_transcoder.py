"""Transcoder: codes of a layer's input that reconstruct its output."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures._composition import HOSTS, class_over
from sae_nb.architectures._one_step import OneStep
from sae_nb.architectures._recipe import InputScaling
from sae_nb.architectures.parts._operators import (
    UNIT_GUARD,
    DenseOperator,
    LearnedAdjoint,
    MatrixOperator,
)
from sae_nb.architectures.parts._proxes import Centre, Rows
from sae_nb.checks import Count, checked, one_of
from sae_nb.codes import SparseCodes
from sae_nb.kernels import squared_error


@checked
class Transcoder(OneStep):
    """A dictionary that reads one hook point and writes another: ŷ = zD + b, z from x.

    u = (x − μ)Eᵀ + a, z = [TopK_k(u)]₊, ŷ = zD + b, with ‖d_j‖ = 1, trained on ‖y − ŷ‖² / E‖y − μ_y‖² +
    α·AuxK. With x the input of an MLP and y its output, it replaces the MLP: each atom has a condition
    for its use (E) and an effect (D). Codes are in the units of y: a code is how far its atom is
    written.

    Parameters
    ----------
    d_in
        Width of x.
    d_out
        Width of y.
    k
        Of the base, where it has one.
    base
        The SAE whose selection and sparsity it takes: TopK, BatchTopK, JumpReLU, ReLU (the published
        recipe: an ℓ1 penalty), Gated, AbsTopK, Matryoshka. An object is of that class too.
    n_atoms, generator
        As in `TopK`.
    settings
        Of the base.

    Source
    ------
    Dunefsky, Chlenski and Nanda, "Transcoders find interpretable LLM feature circuits", arXiv
    2406.11944 (ReLU and ℓ1, unit atoms: jacobdunefsky/transcoder_circuits); TopK: Paulo, Shabalin and
    Belrose, arXiv 2501.18823 (EleutherAI/sparsify). There the decoder begins at zero. Ours begins
    where its first step would turn it, d_j ∝ Σ_i z_ij (y_i − b), and keeps unit atoms.

    Example
    -------
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> t = Transcoder(d_in=4, d_out=6, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> t.initialise((x, x @ torch.ones(4, 6)))
    >>> t(x).shape, t.encode(x).shape, t.dictionary.shape
    (torch.Size([300, 6]), (300, 8), torch.Size([8, 6]))
    """

    def __new__(cls, *_: object, base: str = "TopK", **__: object) -> Transcoder:
        """An object that is a transcoder and a base, once the base is known."""
        if "_host" not in vars(cls):
            cls = class_over(cls, one_of(base, HOSTS, name="base"))
        return super().__new__(cls)

    def __init__(
        self,
        d_in: Count,
        d_out: Count,
        n_atoms: Count,
        k: float | None = None,
        *,
        base: str = "TopK",
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> None:
        own: dict[str, Any] = {} if k is None else {"k": k}
        settings.setdefault("revival", "auxk")  # whatever the base prefers
        self.d_out, self.base = d_out, base
        super().__init__(d_in, n_atoms, **own, generator=generator, **settings)
        self._check_reaches("atoms are in another space than what they are read from")
        self.reading = InputScaling(self.d_in)

    __new__.__wrapped__ = __init__  # type: ignore[attr-defined]  # help() shows these arguments

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild a dictionary of this kind and size."""
        return super().settings() | {"d_out": self.d_out, "base": self.base}

    @property
    def writes(self) -> tuple[int, ...]:  # type: ignore[override]
        """Widths of the hook points it writes."""
        return (self.d_out,)

    @property
    def at_sites(self) -> list[Float[Tensor, "n_atoms d_m"]]:
        """Directions that the atoms read in x, and those they add to y; detached."""
        return [self.encoder.weight.detach(), self.dictionary]

    def _new_operator(self) -> MatrixOperator:
        return DenseOperator(self.d_out, self.n_atoms, generator=self.generator)

    def _new_encoder(self) -> LearnedAdjoint:
        return LearnedAdjoint(DenseOperator(self.d_in, self.n_atoms, generator=self.generator))

    def _seen(self, x: Rows) -> tuple[Rows, Centre]:
        """X around its mean, as long as the target: pre-codes come in the target's units."""
        return (x - self.reading.mean) * (self.reading.scale / self.scaling.scale), None

    def _scale(self, rows: Rows, generator: torch.Generator | None) -> None:
        super()._scale(rows, generator)
        self.reading.fit_(self.split(rows)[0])

    def _aim(self, codes: SparseCodes, left: Rows) -> None:
        """Each atom begins at Σ_i z_ij (y_i − b), where a decoder that began at zero would turn."""
        atoms = torch.zeros_like(self._free_atoms()).requires_grad_()
        with torch.enable_grad():
            error, *_ = squared_error(codes.detach(), atoms, None, self.operator.counted(left))
            (slope,) = torch.autograd.grad(error, atoms)
        norms = slope.norm(dim=1, keepdim=True)
        moved = norms > UNIT_GUARD * norms.max()
        weight = self._free_atoms()
        weight.copy_(torch.where(moved, -slope / norms, weight))

    def _atoms_to_set(self) -> torch.nn.Parameter:
        raise ValueError(
            f"`method` must be None for {type(self).__name__}, whose atoms begin at what the first codes "
            "are about. Leave it out."
        )
