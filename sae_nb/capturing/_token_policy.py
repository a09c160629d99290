"""Which captured vectors become rows: padding never, attention sinks not by default, all stated."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import one_of

if TYPE_CHECKING:
    from sae_nb.models import Batch, LiveModel


@dataclass(frozen=True, kw_only=True)
class RowPolicy:
    """What is dropped before vectors become rows.

    Position 0 of a decoder language model is an attention sink: its norm is up to a hundred times
    that of the others, one atom would explain it, and R² would look excellent while meaning nothing.
    """

    drop_first: bool
    """Drop the first token of every text and of every packed window, and BOS wherever it stands."""

    keep_special: bool = True
    """Keep special tokens (class, separator, end of text); padding is dropped in any case."""

    begin_id: int | None = None
    """Id of BOS, where there is one."""

    prefix_tokens: int = 0
    """Tokens before the first patch of a picture."""

    @classmethod
    def for_model(
        cls, model: LiveModel, *, drop_first: bool | Literal["auto"], keep_special: bool
    ) -> RowPolicy:
        """Resolve "auto": first tokens are dropped where the model is a decoder of language."""
        one_of(drop_first, (True, False, "auto"), name="drop_first")
        one_of(keep_special, (True, False), name="keep_special")
        return cls(
            drop_first=bool(model.causal) if drop_first == "auto" else bool(drop_first),
            keep_special=keep_special,
            begin_id=model.beginning_of_text,
            prefix_tokens=model.prefix_tokens,
        )


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a captured tensor is laid out, beyond its width."""

    columns: int | None
    """Vectors per sample; None: one per token of the batch."""

    grid: tuple[int, int] | None = None
    """Rows and columns of cells, where the tensor is a convolution's map."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchRows:
    """The rows that one batch gives at one hook point."""

    x: Float[Tensor, "m d_in"]
    sample: Int[Tensor, " m"]
    position: Int[Tensor, " m"]
    layout: Layout
    dropped: Counter[str] = field(default_factory=Counter)
    """How many vectors were left out, by reason."""

    def first(self, n: int | None) -> BatchRows:
        """Return only the first `n` rows; None: all."""
        x, sample, position = self.x[:n], self.sample[:n], self.position[:n]
        return replace(self, x=x, sample=sample, position=position)


def batch_rows(x: Float[Tensor, "n ..."], batch: Batch, policy: RowPolicy, point: str) -> BatchRows:
    """Lay out one captured tensor as rows and drop what the policy drops.

    (batch, time, d) gives a row per kept token. (batch, d) gives a row per sample at position 0. A
    convolution's map (batch, channels, height, width) gives a row per cell, row by row.
    """
    layout = _layout(x, batch, point)
    sample, position, keep, dropped = _kept(batch, layout, policy, point)
    x = x.flatten(2).transpose(1, 2) if layout.grid is not None else x
    x = x.reshape(*keep.shape, x.shape[-1])
    x = x.flatten(0, 1) if bool(keep.all()) else x[keep.to(x.device)]
    return BatchRows(
        x=x, sample=sample[keep], position=position[keep], layout=layout, dropped=dropped
    )


def count_rows(batch: Batch, layout: Layout, policy: RowPolicy) -> int:
    """Return how many rows a batch will give, without running the model."""
    return int(_kept(batch, layout, policy, "")[2].sum())


def _layout(x: Tensor, batch: Batch, point: str) -> Layout:
    width = batch.sample.shape[1]
    n_tokens = None if batch.token_ids is None else width
    if x.ndim == 2:
        # Some blocks (OPT's MLP, mixtures of experts) see the tokens of a batch end to end.
        flat = n_tokens is not None and n_tokens > 1 and x.shape[0] == batch.n * n_tokens
        return Layout(columns=None if flat else 1)
    if x.ndim == 3 and (n_tokens is None or x.shape[1] == n_tokens):
        return Layout(columns=None if x.shape[1] == width else x.shape[1])
    if x.ndim == 4 and n_tokens is None:
        return Layout(columns=x.shape[2] * x.shape[3], grid=(x.shape[2], x.shape[3]))
    wanted = f"(batch, {n_tokens}, d)" if n_tokens else "(batch, tokens, d)"
    raise ValueError(
        f"Activations at `{point}` must have shape (batch, d), {wanted} or, for pictures, (batch, "
        f"channels, height, width), got {tuple(x.shape)}. Choose another hook point; "
        "`model.hook_points()` lists those that fit."
    )


def _kept(
    batch: Batch, layout: Layout, policy: RowPolicy, point: str
) -> tuple[
    Int[Tensor, "batch columns"],
    Int[Tensor, "batch columns"],
    Bool[Tensor, "batch columns"],
    Counter[str],
]:
    sample, position = _where(batch, layout, policy, point)
    if layout.columns is None and batch.token_ids is not None:
        keep, dropped = _keep_tokens(batch, position, policy)
    else:
        # Patches and cells have no padding; a pooled vector is no attention sink.
        sinks = policy.drop_first and layout.columns != 1
        keep = position > 0 if sinks else torch.ones_like(position, dtype=torch.bool)
        dropped = Counter(n_dropped_first=int((~keep).sum()))
    return sample, position, keep, dropped


def _where(
    batch: Batch, layout: Layout, policy: RowPolicy, point: str
) -> tuple[Int[Tensor, "batch columns"], Int[Tensor, "batch columns"]]:
    sample, position = batch.sample.cpu(), batch.position.cpu()
    width, n_columns = sample.shape[1], layout.columns
    if n_columns is None:
        return sample, position
    column = torch.arange(n_columns)
    patches_only = n_columns == width - policy.prefix_tokens and n_columns > 1
    if patches_only and layout.grid is None:
        # Patch embeddings before cls and registers join them: named as the patches they are.
        column = column + policy.prefix_tokens
    elif n_columns > 1 and width > 1 and layout.grid is None:
        raise ValueError(
            f"Activations at `{point}` must have {width} tokens per sample like the inputs, got "
            f"{n_columns}. Choose another hook point, or check `patch_grid` and `prefix_tokens`."
        )
    if batch.keep is not None and bool((sample != sample[:, :1])[batch.keep.cpu()].any()):
        raise ValueError(
            f"Activations at `{point}` have no token axis, and a packed window holds several texts, "
            "so it cannot be said whose they are. Use pack=False."
        )
    return sample[:, :1].expand(-1, n_columns), column.expand(len(sample), -1)


def _keep_tokens(
    batch: Batch, position: Int[Tensor, "batch time"], policy: RowPolicy
) -> tuple[Bool[Tensor, "batch time"], Counter[str]]:
    real = torch.ones_like(position, dtype=torch.bool) if batch.keep is None else batch.keep.cpu()
    first = torch.zeros_like(real)
    if policy.drop_first:
        # The leftmost real column too: a packed window may begin in the middle of a text, and the
        # sink is where attention begins.
        first = real & ((position == 0) | (real.cumsum(dim=1) == 1))
        if policy.begin_id is not None and batch.token_ids is not None:
            first |= real & (batch.token_ids.cpu() == policy.begin_id)
    special = torch.zeros_like(real)
    if not policy.keep_special and batch.special is not None:
        special = real & batch.special.cpu() & ~first
    dropped = Counter(
        n_dropped_padding=int((~real).sum()),
        n_dropped_first=int(first.sum()),
        n_dropped_special=int(special.sum()),
    )
    return real & ~first & ~special, dropped
