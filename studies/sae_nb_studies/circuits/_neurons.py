"""Neurons as atoms: a transcoder of an MLP that is the MLP itself, so that graphs can be asked for neurons.

With neurons a = ReLU(xW + c) and y = aV + b, atom j is v_j / ‖v_j‖ and its strength ‖v_j‖ a_j.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.architectures import Transcoder
from sae_nb.checks import checked
from sae_nb.circuits import part_places

if TYPE_CHECKING:
    from sae_nb.models import HookPoint, LiveModel

TOLERANCE = 1e-3
"""Of the largest number that an MLP answers to drawn inputs: how far its transcoder may be from it."""


@checked
def neuron_transcoders(model: LiveModel) -> list[Transcoder]:
    """Return a transcoder of every MLP of ReLUs, whose atoms are its neurons.

    Nothing is trained and nothing is missed: pass them to `attribution_graph` (`drop_first=False` for the
    first position, too), and its nodes are neurons, by layer and position, and its errors are 0.

    Raises
    ------
    ValueError: If an MLP is not one layer of ReLUs between two projections.

    Example
    -------
    >>> import sae_nb as sn
    >>> modular = sn.load_model("tiny-modular")
    >>> (neurons,) = neuron_transcoders(modular)
    >>> neurons.n_atoms, neurons.hook_point, neurons.target_hook_point
    (256, 'mlp_in.0', 'mlp_out.0')
    """
    return [_transcoder(model, place) for place in part_places(model, "neuron")]


@torch.no_grad()
def _transcoder(model: LiveModel, post: HookPoint) -> Transcoder:
    read, write = (f"{name}.{post.layer}" for name in ("mlp_in", "mlp_out"))
    mlp = model.get_module(model.hook_point(write).path)
    last = model.get_module(post.path)
    first = [part for part in mlp.modules() if part is not last and _is_matrix(part)]
    width = model.width(write)
    if len(first) != 1 or width is None:
        raise _not_relus(model, write)
    into, offset = _affine(first[0], width)
    atoms, bias = _affine(last, into.shape[1])
    sizes = atoms.norm(dim=1)
    found = Transcoder(width, width, n_atoms=len(atoms), base="ReLU", generator=torch.Generator())
    found.encoder.weight.copy_(into.T * sizes[:, None])
    found.encoder.bias.copy_(offset * sizes)
    writes = sizes > 0  # a neuron that writes nothing keeps a drawn atom, and never fires
    found.atom_parameters()[0][writes] = atoms[writes] / sizes[writes, None]
    found.pre_bias.copy_(bias)
    found.hook_point, found.target_hook_point = read, write
    found.eval()
    x = torch.randn(64, width, generator=torch.Generator().manual_seed(0))
    y = mlp(x.to(next(mlp.parameters()))).float().cpu()
    if float((y - found(x)).abs().max()) > TOLERANCE * float(y.abs().max()):
        raise _not_relus(model, write)
    return found.to(model.device)


def _is_matrix(part: nn.Module) -> bool:
    weight = getattr(part, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2


def _affine(
    part: nn.Module, d_in: int
) -> tuple[Float[Tensor, "d_in d_out"], Float[Tensor, " d_out"]]:
    """The matrix and the offset of a projection, however it keeps them."""
    like = next(part.parameters())
    offset = part(like.new_zeros(1, d_in))
    matrix = part(torch.eye(d_in).to(like)) - offset
    return matrix.float().cpu(), offset[0].float().cpu()


def _not_relus(model: LiveModel, write: str) -> ValueError:
    return ValueError(
        f"`model` must have MLPs of one layer of ReLUs between two projections, and {write} of {model.name} is "
        "none. Train a `Transcoder` of it, or load one."
    )
