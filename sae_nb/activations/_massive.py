"""Rows with a massive norm: a few tokens of a language model whose activations are tens of times as long
as the others and hardly depend on the input.

One of them can hold most of the variance of thousands of rows, so that R², a loss or a verdict would be
about it alone.

Source: "Massive Activations in Large Language Models", arXiv 2402.17762. saprmarks/dictionary_learning
leaves out rows by the same rule, with a multiple to choose (`max_activation_norm_multiple`).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MASSIVE = 10.0
"""A row is massive if its norm is more than so many times the median norm."""

AT_MOST = 0.1
"""Where a larger share of the rows is, norms are spread widely and none of them is an exception. Ours."""

FEWEST = 5
"""Among fewer rows none is called an exception. Ours."""


def row_norms(x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Return the norms of rows where they are, in single precision whatever that of the rows is."""
    x = x.detach() if x.is_floating_point() else x.float()
    wide = torch.promote_types(x.dtype, torch.float32)
    return torch.linalg.vector_norm(x, dim=-1, dtype=wide).float()


def norm_limit(norms: Float[Tensor, " n"]) -> float:
    """Return the norm above which a row is massive: ten times the median.

    Infinity of few rows, of rows most of which are zero, and where more than a tenth of them is so long.
    """
    limit = MASSIVE * float(norms.median()) if len(norms) >= FEWEST else 0.0
    return limit if limit > 0 and bool(_are_few(above(norms, limit))) else math.inf


def above(norms: Float[Tensor, " n"], limit: float | Float[Tensor, ""]) -> Bool[Tensor, " n"]:
    """Return which norms are above a limit; never one that is not finite, which has to be refused."""
    return (norms > limit) & torch.isfinite(norms)


def _are_few(found: Bool[Tensor, " n"]) -> Bool[Tensor, ""]:
    return found.sum() <= math.ceil(AT_MOST * len(found))


def massive(norms: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Return which rows have a massive norm, as `norm_limit` says; without a wait for a card."""
    if len(norms) < FEWEST:
        return torch.zeros_like(norms, dtype=torch.bool)
    limit = MASSIVE * norms.median()
    found = above(norms, limit)
    return found & (limit > 0) & _are_few(found)


def ordinary_rows(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Int[Tensor, ""]]:
    """Return as many rows, with the one before in the place of a massive row, and how many there were.

    For a step that keeps its shape and asks a card nothing; before the first ordinary row stands the last.
    """
    found = massive(row_norms(x))
    places = torch.arange(len(x), device=x.device)
    before = torch.where(found, -1, places).cummax(dim=0).values
    return x.index_select(0, torch.where(before < 0, before.max(), before)), found.sum()
