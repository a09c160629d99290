"""The width of the vectors at a hook point, read from the module without running it."""

from __future__ import annotations

from torch import nn

from sae_nb.models import _facts as facts
from sae_nb.models._families import Structure
from sae_nb.models._hook_points import HookPoint

_WIDTH_NAMES = ("hidden_size", "d_model", "n_embd", "dim", "embed_dim")


def width_at(module: nn.Module, structure: Structure | None, point: HookPoint) -> int | None:
    """Return the width at a hook point; None if that is known only from running the model."""
    part = module.get_submodule(point.path)
    # `nx` and `nf` are GPT-2's; of convolutions only those of one axis have rows of their channels.
    reads: tuple[str, ...] = ("in_features", "nx")
    writes: tuple[str, ...] = ("out_features", "nf", "embedding_dim")
    if isinstance(part, nn.Conv1d | nn.ConvTranspose1d):
        reads, writes = ("in_channels",), ("out_channels",)
    side_names = reads if point.side == "input" else writes
    for name in side_names:
        width = getattr(part, name, None)
        if isinstance(width, int):
            return width
    shape = getattr(part, "normalized_shape", None)
    if shape:
        return int(shape[-1])
    on_stream = structure is not None and point.kind not in (str(point), "mlp_post")
    if not on_stream and str(point) not in ("embed", "final_norm"):
        return None
    config = facts.config_of(module)
    if str(point) != "embed" and facts.has_stages(config):
        return None  # another one in each stage
    n_streams = 1 if point.form in (None, "time first") else facts.stream_count(module)
    for name in _WIDTH_NAMES:
        width = getattr(config, name, None)
        if isinstance(width, int):
            return width * n_streams
    if structure is None:
        return None
    # Without a configuration: a norm inside a block has the width of the stream.
    for part in module.get_submodule(structure.paths[0]).modules():
        shape = getattr(part, "normalized_shape", None)
        if shape:
            return int(shape[-1])
    return None
