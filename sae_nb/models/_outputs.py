"""What a module answered: the tensor that counts, the heads by name, batches joined to one answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from sae_nb.models._inputs import Batch


def main_tensor(raw: Any, *, prefer_pooled: bool = False) -> Tensor:
    """Return the tensor that counts in a raw output.

    A tensor is itself. Of a record: the logits; else, if preferred, the pooled output; else the
    last hidden state; else the first tensor.
    """
    if isinstance(raw, Tensor):
        return raw
    named = named_outputs(raw)
    wanted = ["logits", "pooler_output", "last_hidden_state"]
    if not prefer_pooled:
        wanted.remove("pooler_output")
    for name in wanted:
        if name in named:
            return named[name]
    return next(iter(named.values()))


def named_outputs(raw: Any) -> dict[str, Tensor]:
    """Return every tensor of a raw output by name; a lone tensor is called "output"."""
    if isinstance(raw, Tensor):
        return {"output": raw}
    if isinstance(raw, Mapping):
        pairs = [(str(name), value) for name, value in raw.items()]
    elif isinstance(raw, (tuple, list)):
        names = getattr(raw, "_fields", range(len(raw)))
        pairs = [(str(name), value) for name, value in zip(names, raw, strict=True)]
    else:
        pairs = list(vars(raw).items()) if hasattr(raw, "__dict__") else []
    found = {name: value for name, value in pairs if isinstance(value, Tensor)}
    if not found:
        raise TypeError(f"A model must return a tensor or a record of tensors, got {type(raw)}.")
    return found


def collected(answers: Iterable[tuple[Batch, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """Join the answers of all batches along their first axis, padding marked with NaN."""
    parts: dict[str, list[Tensor]] = {}
    for batch, named in answers:
        for name, tensor in named.items():
            parts.setdefault(name, []).append(_marked(tensor, batch))
    return {name: _joined(tensors) for name, tensors in parts.items()}


def _marked(tensor: Tensor, batch: Batch) -> Tensor:
    keep = batch.keep
    per_token = keep is not None and tensor.ndim >= 2 and tensor.shape[:2] == keep.shape
    if keep is None or not per_token or bool(keep.all()) or not tensor.is_floating_point():
        return tensor
    return tensor.masked_fill(
        ~keep.to(tensor.device).view(*keep.shape, *[1] * (tensor.ndim - 2)), torch.nan
    )


def _joined(tensors: list[Tensor]) -> Tensor:
    if len(tensors) == 1:
        return tensors[0]
    if len({tensor.shape[1:] for tensor in tensors}) == 1:
        return torch.cat(tensors)
    longest = max(tensor.shape[1] for tensor in tensors)
    shape = (sum(len(tensor) for tensor in tensors), longest, *tensors[0].shape[2:])
    joined = tensors[0].new_full(shape, torch.nan)
    row = 0
    for tensor in tensors:
        joined[row : row + len(tensor), : tensor.shape[1]] = tensor
        row += len(tensor)
    return joined
