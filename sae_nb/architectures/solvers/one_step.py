"""One step: the encoder of most SAEs, a first ISTA step with a learned adjoint."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures.encoders import LearnedAdjoint
from sae_nb.architectures.proxes import Prox
from sae_nb.codes import SparseCodes


def ista_step(
    x: Float[Tensor, "rows d_in"],
    adjoint: LearnedAdjoint,
    prox: Prox,
    *,
    centre: Float[Tensor, " d_in"],
    scale: Float[Tensor, ""],
) -> SparseCodes:
    """The first ISTA step from zero, with a learned adjoint: z = prox((x − b)Eᵀ + a / s).

    Parameters
    ----------
    x
        Activations in the model's units.
    adjoint
        E and a; a is learned in scaled units.
    prox
        The penalty.
    centre
        b.
    scale
        s, from the model's units to scaled ones.

    Source
    ------
    Gregor and LeCun, "Learning fast approximations of sparse coding", ICML 2010.
    """
    return prox.of_affine(x, adjoint.weight, adjoint.bias / scale, centre)
