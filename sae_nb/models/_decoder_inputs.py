"""What the decoder of an encoder–decoder reads beside a source, and the batch of both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from sae_nb.models import _facts as facts
from sae_nb.models._inputs import Batch

if TYPE_CHECKING:
    from sae_nb.models._interface import Reads


def without_targets(model: Reads, source: Batch) -> list[Int[Tensor, " time"]]:
    """Return what the decoder reads of sources alone: its start token; the source after it, to judge it."""
    start = torch.tensor([facts.decoder_start(model.module)])
    judges = not model.generates and facts.forward_names(model.module) & {
        "labels",
        "start_positions",
    }
    ids, keep = source.token_ids, source.keep
    if not judges or ids is None or keep is None:
        return [start] * source.n
    texts = (row[kept].cpu() for row, kept in zip(ids, keep, strict=True))
    return [torch.cat([start, text[:-1]]) for text in texts]


def joined(model: Reads, source: Batch, targets: list[Int[Tensor, " time"]]) -> Batch:
    """Return the batch of a source and of what the decoder reads."""
    ids = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=model.pad_id)
    lengths = torch.tensor([len(one) for one in targets])
    keep = torch.arange(ids.shape[1]) < lengths[:, None]
    special = torch.isin(ids, torch.tensor(sorted(model.special_ids), dtype=torch.int64)) & keep
    position = torch.arange(ids.shape[1]).expand(ids.shape).masked_fill(~keep, -1)
    sample = torch.arange(source.first_sample, source.first_sample + source.n)[:, None]
    names = facts.forward_names(model.module)
    offered = {"decoder_input_ids": ids, "decoder_attention_mask": keep.long(), "use_cache": False}
    kwargs = source.kwargs | {name: value for name, value in offered.items() if name in names}
    batch = Batch(
        args=source.args,
        kwargs=kwargs,
        n=source.n,
        first_sample=source.first_sample,
        sample=sample.expand(ids.shape).masked_fill(~keep, -1),
        position=position,
        token_ids=ids,
        keep=keep,
        special=special,
        truncated=source.truncated,
        encoder=replace(source, args=(), kwargs={}),
    )
    return batch.to(model.device)
