"""How wide the vectors at a hook point are, told from the module without running it."""

from __future__ import annotations

from typing import Any

from torch import nn

from sae_nb.hook_points import HookPoint
from sae_nb.models.families import Structure

_WIDTH_NAMES = ("hidden_size", "d_model", "n_embd", "dim", "embed_dim")


def width_at(module: nn.Module, structure: Structure | None, point: HookPoint) -> int | None:
    """Return the width at a hook point; None if only running the model would tell.

    Parameters
    ----------
    module
        The network.
    structure
        What was found in it.
    point
        One of its hook points.
    """
    part = module.get_submodule(point.path)
    side_names = ("in_features",) if point.side == "input" else ("out_features", "embedding_dim")
    for name in side_names:
        width = getattr(part, name, None)
        if isinstance(width, int):
            return width
    shape = getattr(part, "normalized_shape", None)
    if shape:
        return int(shape[-1])
    on_stream = structure is not None and point.kind != str(point)
    if on_stream or str(point) in ("embed", "final_norm"):
        return _stream_width(module, structure)
    return None


def _stream_width(module: nn.Module, structure: Structure | None) -> int | None:
    config: Any = getattr(module, "config", None)
    for name in _WIDTH_NAMES:
        width = getattr(config, name, None)
        if isinstance(width, int):
            return width
    if structure is None:
        return None
    # Without a configuration: a norm inside a block has the width of the stream.
    for part in module.get_submodule(structure.blocks).modules():
        shape = getattr(part, "normalized_shape", None)
        if shape:
            return int(shape[-1])
    return None
