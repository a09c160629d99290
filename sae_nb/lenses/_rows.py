"""Rows: states of the layers at places of inputs, and the model's own answer to each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations.tokens import token_texts
from sae_nb.lenses._head import Head, pooled, reads_tokens
from sae_nb.models._running import run

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch

# -------------------------------------------------------------------------------------------------
# Kinds of places: each has a map of its own. The tokens of a text are one kind; of an image cls,
# registers and patches differ in what later blocks make of them.


Places = tuple[str, ...]


def kinds_of_places(model: LiveModel) -> Places:
    """Return the kinds of places that samples of a model have."""
    if reads_tokens(model):
        return ("token",)
    prefix = ("cls", "registers")[: min(model.prefix_tokens, 2)]
    return (*prefix, "patches")


def kind_at(places: Places, position: Int[Tensor, "*n"], prefix: int) -> Int[Tensor, "*n"]:
    """Return the number of the kind of place at each position; `prefix` places come before the patches."""
    if len(places) == 1:
        return torch.zeros_like(position)
    kind = position.clamp(max=1)  # cls, then registers if there are some
    return torch.where(position >= prefix, len(places) - 1, kind)


def point_of(layer: int, stream: str | None = None) -> str:
    """Return the hook point after a block; `stream` "encoder": one of an encoder–decoder's encoder."""
    return f"{'' if stream is None else f'{stream}.'}resid_post.{layer}"


def kept_places(batch: Batch, n_places: int) -> Bool[Tensor, "n places"]:
    """Return the places that are not padding."""
    keep = batch.keep
    if keep is None or batch.token_ids is None or keep.shape[1] != n_places:
        return torch.ones(batch.n, n_places, dtype=torch.bool)
    return keep.cpu()


def valid_places(batch: Batch, skip_first: int, n_places: int) -> Bool[Tensor, "n places"]:
    """Return the places that a fit and a check use.

    Of a text all but the first `skip_first`, of which the first is an attention sink, and the last; of an
    image all.
    """
    keep, position = kept_places(batch, n_places), batch.position.cpu()
    if batch.keep is None or batch.token_ids is None:
        return keep
    length = keep.sum(dim=1, keepdim=True)
    return keep & (position >= skip_first) & (position < length - 1)


# -------------------------------------------------------------------------------------------------
# Rows.


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """States of layers at places of inputs, with the states that the model's answer is made of."""

    states: Float[Tensor, "layers rows d"]
    last: Float[Tensor, "rows d"]
    """After the last block, where the head reads: at the row itself, at its image's cls, or, for rows of an
    encoder, at the last token of the decoder."""

    sample: Int[Tensor, " rows"]
    position: Int[Tensor, " rows"]
    kind: Int[Tensor, " rows"]
    """Number of the kind of place."""

    token: Int[Tensor, " rows"]
    """Ids of tokens; −1 where a place is none."""

    def __len__(self) -> int:
        return len(self.sample)

    def chosen(self, which: Tensor) -> Rows:
        """Return some of the rows."""
        parts = {one.name: getattr(self, one.name) for one in fields(self)}
        cut = {name: x[:, which] if name == "states" else x[which] for name, x in parts.items()}
        return Rows(**cut)


def rows_of(
    head: Head,
    inputs: Inputs,
    points: Sequence[str],
    *,
    skip_first: int | None,
    batch_size: int | None = None,
    context_length: int | None = None,
) -> Rows:
    """Run the model over inputs and return its states at hook points of one width.

    `skip_first` None: at every place, as always in an encoder.
    """
    batches = head.model.batches(inputs, batch_size=batch_size, context_length=context_length)
    return joined(list(rows_by_batch(head, batches, points, skip_first=skip_first)))


def rows_by_batch(
    head: Head, batches: Iterable[Batch], points: Sequence[str], *, skip_first: int | None
) -> Iterator[Rows]:
    """Yield the rows of each batch."""
    model, places = head.model, kinds_of_places(head.model)
    encoder = reads_encoder(model, points)
    for batch in batches:
        states = run(model, batch, read=[*points, head.last], answer=False).states
        last = states[head.last].cpu()
        seen = batch.at_encoder if encoder else batch
        n_places = states[points[0]].shape[1] if encoder else last.shape[1]
        if skip_first is None or encoder:
            valid = kept_places(seen, n_places)
        else:
            valid = valid_places(batch, skip_first, n_places)
        sample, column = valid.nonzero(as_tuple=True)
        if encoder:
            end = kept_places(batch, last.shape[1]).sum(dim=1) - 1
            own = last[sample, end[sample]]
        elif head.pool == "each":
            own = last[sample, column]
        else:
            own = pooled(head, last)[sample]
        ids = seen.token_ids
        yield Rows(
            states=torch.stack([states[name].cpu()[sample, column].float() for name in points])
            if points
            else torch.empty(0, len(sample), last.shape[-1]),
            last=own.float(),
            sample=sample + batch.first_sample,
            position=column,
            kind=kind_at(places, column, model.prefix_tokens),
            token=torch.full_like(sample, -1) if ids is None else ids.cpu()[sample, column],
        )


def reads_encoder(model: LiveModel, points: Sequence[str]) -> bool:
    """Return whether hook points are in the encoder of an encoder–decoder."""
    return bool(points) and model.hook_point(points[0]).encoder


def joined(parts: Sequence[Rows]) -> Rows:
    """Join rows of several batches."""
    made = {
        one.name: torch.cat(
            [getattr(part, one.name) for part in parts], dim=int(one.name == "states")
        )
        for one in fields(Rows)
    }
    return Rows(**made)


def row_names(model: LiveModel, rows: Rows) -> tuple[str, ...]:
    """Return the text of each row's token, or the name of its place."""
    if bool((rows.token < 0).any()):
        return tuple(map(model.places.token_name, rows.position.tolist()))
    ids = rows.token.tolist()
    if model.tokenizer is None:
        return tuple(map(str, ids))
    return tuple(token_texts(model.tokenizer, ids))
