"""Rows: states of the layers at places of inputs, and the model's own answer to each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations import describe_ids
from sae_nb.lenses._head import Head, pooled, reads_tokens
from sae_nb.models import run

if TYPE_CHECKING:
    from sae_nb.models import Batch, LiveModel

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


def place_name(model: LiveModel, position: int) -> str:
    """Return the name of a place of an image: cls, a register, or a patch by row and column."""
    patch = position - model.prefix_tokens
    if patch < 0:
        return "cls" if position == 0 else f"register {position}"
    grid = model.patch_grid
    if grid is None:
        return f"{model.modality.place} {patch}"
    return f"{model.modality.place} {patch // grid[1]},{patch % grid[1]}"


def valid_places(batch: Batch, skip_first: int, n_places: int) -> Bool[Tensor, "n places"]:
    """Return the places that a fit and a check use.

    Of a text all but the first `skip_first`, of which the first is an attention sink, and the last; of an
    image all.
    """
    if batch.keep is None or batch.token_ids is None:
        return torch.ones(batch.n, n_places, dtype=torch.bool)
    keep, position = batch.keep.cpu(), batch.position.cpu()
    length = keep.sum(dim=1, keepdim=True)
    return keep & (position >= skip_first) & (position < length - 1)


# -------------------------------------------------------------------------------------------------
# Rows.


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """States of layers at places of inputs, with the states that the model's answer is made of."""

    states: Float[Tensor, "layers rows d"]
    last: Float[Tensor, "rows d"]
    """After the last block, where the head reads: at the row itself, or at its image's cls."""

    sample: Int[Tensor, " rows"]
    position: Int[Tensor, " rows"]
    kind: Int[Tensor, " rows"]
    """Number of the kind of place."""

    token: Int[Tensor, " rows"]
    """Ids of tokens; −1 in images."""

    def __len__(self) -> int:
        return len(self.sample)

    def chosen(self, which: Tensor) -> Rows:
        """Return some of the rows."""
        parts = {one.name: getattr(self, one.name) for one in fields(self)}
        cut = {name: x[:, which] if name == "states" else x[which] for name, x in parts.items()}
        return Rows(**cut)


def rows_of(
    head: Head,
    inputs: Any,
    layers: Sequence[int],
    *,
    skip_first: int | None,
    batch_size: int | None = None,
    context_length: int | None = None,
) -> Rows:
    """Run the model over inputs and return its states; `skip_first` None: at every place."""
    batches = head.model.batches(inputs, batch_size=batch_size, context_length=context_length)
    return joined(list(rows_by_batch(head, batches, layers, skip_first=skip_first)))


def rows_by_batch(
    head: Head, batches: Any, layers: Sequence[int], *, skip_first: int | None
) -> Iterator[Rows]:
    """Yield the rows of each batch."""
    model, names = head.model, [f"resid_post.{layer}" for layer in layers]
    places = kinds_of_places(model)
    for batch in batches:
        states = run(model, batch, read=[*names, head.last], answer=False).states
        last = states[head.last]
        n_places = last.shape[1]
        if skip_first is None:
            valid = torch.ones(batch.n, n_places, dtype=torch.bool)
            text = batch.keep is not None and batch.token_ids is not None
            valid = batch.keep.cpu() if text and batch.keep is not None else valid
        else:
            valid = valid_places(batch, skip_first, n_places)
        sample, column = valid.nonzero(as_tuple=True)
        if head.pool == "each":
            own = last.cpu()[sample, column]
        else:
            own = pooled(head, last).cpu()[sample]
        tokens = None if batch.token_ids is None else batch.token_ids.cpu()
        yield Rows(
            states=torch.stack([states[name].cpu()[sample, column].float() for name in names])
            if names
            else torch.empty(0, len(sample), last.shape[-1]),
            last=own.float(),
            sample=sample + batch.first_sample,
            position=column,
            kind=kind_at(places, column, model.prefix_tokens),
            token=torch.full_like(sample, -1) if tokens is None else tokens[sample, column],
        )


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
    if not reads_tokens(model):
        return tuple(place_name(model, int(position)) for position in rows.position)
    ids = rows.token.tolist()
    if model.tokenizer is None:
        return tuple(map(str, ids))
    names = describe_ids(model.tokenizer, set(ids))
    return tuple(names[i] for i in ids)
