"""Begin a Raptor at its teacher: each shared block a copy of one layer of its phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from sae_nb.dynamics.raptor import Raptor
from sae_nb.models.vision_transformer import VisionTransformer

if TYPE_CHECKING:
    from sae_nb.dynamics.raptor_block import RaptorBlock
    from sae_nb.models.live_model import LiveModel

# Of a Raptor's block, and of one of ours in `models.vision_transformer`.
_SAME = {
    "norm_1": "norm_1",
    "qkv": "attn.qkv",
    "out": "attn.out",
    "norm_2": "norm_2",
    "up": "mlp.up",
    "down": "mlp.down",
}


def start_from_teacher(raptor: Raptor, model: LiveModel) -> Raptor:
    """Copy the middle layer of each phase into its block, in place, and leave every gain at 1.

    A network whose layers really are shared is then told exactly, untrained. The authors begin at
    random weights; so does `Raptor.from_model`, and so do all our figures unless they say otherwise.

    Parameters
    ----------
    raptor
        From `Raptor.from_model(model, …)`, without a layer scale.
    model
        One of our vision transformers: the bundled ones, or one trained by their recipe.

    Raises
    ------
    ValueError
        If the model is of another make, or sizes differ.

    Source
    ------
    Ours.

    Example
    -------
    >>> from sae_nb.models import load_model
    >>> model = load_model("tiny-vit-tied")
    >>> raptor = start_from_teacher(Raptor.from_model(model, (0, 4, 8, 12)), model)
    >>> torch.equal(raptor.blocks[1].up.weight, model.module.blocks[7].mlp.up.weight)
    True
    """
    if not isinstance(model.module, VisionTransformer) or raptor.sizes.layer_scale is not None:
        raise ValueError(
            f"`model` must be a vision transformer of sae_nb's own make, got {model.name}, and the"
            " Raptor must have no layer scale. Begin at random weights: Raptor.from_model."
        )
    layers = model.module.blocks
    if len(layers) != raptor.n_layers:
        raise ValueError(
            f"`raptor` must stand for the {len(layers)} layers of {model.name}, got cuts"
            f" {raptor.cuts}."
        )
    for j, block in enumerate(raptor.blocks):
        _copy(block, layers[(raptor.cuts[j] + raptor.cuts[j + 1] - 1) // 2])
    return raptor


@torch.no_grad()
def _copy(block: nn.Module | RaptorBlock, layer: nn.Module) -> None:
    for ours, theirs in _SAME.items():
        block.get_submodule(ours).load_state_dict(layer.get_submodule(theirs).state_dict())
    last = block.get_submodule("gain_out")
    for parameter in last.parameters():
        parameter.zero_()
