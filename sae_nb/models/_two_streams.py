"""Encoder–decoders: pairs of what the encoder reads and what the decoder reads, as one batch.

The columns of a batch are the decoder's; those of the encoder are in `batch.encoder`. The decoder reads its
start token, and after it the target where there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from sae_nb.models import _facts as facts
from sae_nb.models._decoder_inputs import joined, without_targets
from sae_nb.models._inputs import AddBos, Batch, Batches
from sae_nb.models._text_inputs import check_ids, text_ids, token_batches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sae_nb.checks import Inputs
    from sae_nb.models._interface import Reads, Runs

_AS_READ = "decoder_input_ids"  # transformers' name of what the decoder reads, start token and all
_TARGETS = (_AS_READ, "target", "targets", "labels")
_PREPARED = ("input_ids", "input_values", "pixel_values")
_IGNORED = -100  # of transformers' labels


@dataclass(frozen=True)
class Pairs:
    """Inputs of the encoder, and the texts that the decoder reads after its start token; None: none."""

    sources: object
    targets: list[Any] | None = None
    as_read: bool = False
    """Are token ids of targets what the decoder reads, as they are?"""


def pairs_of(inputs: Inputs) -> Pairs:
    """Tell the decoder's inputs from the encoder's: a dict that has both, or a list of pairs (source, text)."""
    if isinstance(inputs, Mapping):
        name = next((one for one in _TARGETS if one in inputs), None)
        if name is None:
            return Pairs(inputs)
        skipped = {*_TARGETS, "decoder_attention_mask"}
        rest = {key: value for key, value in inputs.items() if key not in skipped}
        (only, *more) = rest.values() if rest else (None,)
        plain = not more and not any(one in rest for one in _PREPARED)
        is_features = "input_features" in rest
        targets = _listed(inputs[name])
        if name == _AS_READ and "decoder_attention_mask" in inputs:
            masks = _listed(inputs["decoder_attention_mask"])
            targets = [
                torch.as_tensor(ids)[torch.as_tensor(kept) != 0]
                for ids, kept in zip(targets, masks, strict=True)
            ]
        return Pairs(only if plain and not is_features else rest, targets, name == _AS_READ)
    if isinstance(inputs, list) and inputs and all(_is_pair(one) for one in inputs):
        return Pairs([one[0] for one in inputs], [one[1] for one in inputs])
    if isinstance(inputs, list) and inputs and all(isinstance(one, Mapping) for one in inputs):
        pairs = [pairs_of(one) for one in inputs]
        if all(one.targets is not None for one in pairs):
            return Pairs(
                [one.sources for one in pairs],
                [t for one in pairs for t in one.targets or []],
                all(one.as_read for one in pairs),
            )
    return Pairs(inputs)


def _is_pair(one: object) -> bool:
    return isinstance(one, tuple) and len(one) == 2 and isinstance(one[1], str | list | Tensor)


def _listed(targets: object) -> list[Any]:
    if isinstance(targets, str):
        return [targets]
    if isinstance(targets, Tensor):
        return list(targets[None] if targets.ndim == 1 else targets)
    given = list(targets) if isinstance(targets, Iterable) else [targets]
    return [given] if given and isinstance(given[0], int) else given


def target_ids(model: Reads, pairs: Pairs) -> list[Int[Tensor, " time"]]:
    """Return what the decoder reads of each target: its start token, the target, without a closing token."""
    start, ends = (
        facts.decoder_start(model.module),
        facts.end_token_ids(model.module, model.tokenizer),
    )
    rows = []
    for target in pairs.targets or ():
        if isinstance(target, str):
            if model.tokenizer is None:
                raise TypeError(
                    f"{model.name} has no tokenizer, so targets must be token ids, got {target[:40]!r}. Pass "
                    "wrap(module, tokenizer), or ids."
                )
            (ids,) = text_ids(model, [target], target=True)
        else:
            ids = torch.as_tensor(target)
            ids = ids[ids != _IGNORED]
        ids = check_ids(model, ids) if ids.numel() else torch.zeros(0, dtype=torch.int64)
        if pairs.as_read and len(ids) and not isinstance(target, str):
            rows.append(ids)
            continue
        while len(ids) and int(ids[-1]) in ends and int(ids[-1]) != start:
            ids = ids[:-1]
        if not len(ids) or int(ids[0]) != start:
            ids = torch.cat([torch.tensor([start]), ids])
        rows.append(ids)
    return rows


def text_batches(
    model: Runs,
    inputs: Inputs,
    *,
    batch_size: int,
    context_length: int | None,
    pack: bool,
    add_bos: AddBos,
) -> Batches:
    """Return batches of token ids; of an encoder–decoder, of its sources and of its decoder's texts."""
    if pack and model.streams:
        raise ValueError(
            f"`pack` must be False for {model.name}, which reads a source and a target. Leave it out."
        )
    pairs = pairs_of(inputs) if model.streams else Pairs(inputs)
    read = token_batches(
        model,
        pairs.sources,
        batch_size=batch_size,
        context_length=context_length,
        pack=pack,
        add_bos=add_bos,
    )
    return with_targets(model, read, pairs) if model.streams else read


def with_targets(model: Reads, read: Batches, pairs: Pairs) -> Batches:
    """Return the batches of an encoder's inputs with what the decoder reads, sample by sample."""
    rows = None if pairs.targets is None else target_ids(model, pairs)
    if rows is not None and read.n_samples not in (None, len(rows)):
        raise ValueError(
            f"Each sample must have one target, got {len(rows)} for {read.n_samples}. Pass pairs: "
            "[(source, target), …]."
        )

    def batches() -> Iterator[Batch]:
        for batch in read:
            first, n = batch.first_sample, batch.n
            mine = without_targets(model, batch) if rows is None else rows[first : first + n]
            yield joined(model, batch, mine)

    return Batches(batches(), n_samples=read.n_samples, policy=read.policy)
