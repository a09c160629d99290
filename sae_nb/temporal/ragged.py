"""Rows of many sequences in one matrix, and how long each sequence is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class SequenceRows(Tensor):
    """Rows of sequences, one sequence after the other; what is computed from them is a plain tensor.

    Parameters
    ----------
    rows
        The rows.
    lengths
        Rows of each sequence, in order.

    Example
    -------
    >>> rows = SequenceRows.of(torch.zeros(5, 3), [2, 3])
    >>> rows.lengths, type(rows + 1).__name__
    ((2, 3), 'Tensor')
    """

    lengths: tuple[int, ...]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def of(cls, rows: Float[Tensor, "n d_in"], lengths: Sequence[int]) -> SequenceRows:
        """Say of rows which sequences they are.

        Parameters
        ----------
        rows
            One sequence after the other.
        lengths
            Rows of each; they add up to all.

        Raises
        ------
        ValueError
            If the lengths do not add up.
        """
        if sum(lengths) != len(rows) or min(lengths, default=0) < 1:
            raise ValueError(
                f"`lengths` must be positive and add up to the {len(rows)} rows, got {list(lengths)}."
            )
        marked: SequenceRows = rows.as_subclass(cls)
        marked.lengths = tuple(int(length) for length in lengths)
        return marked


def lengths_of(rows: Tensor) -> tuple[int, ...]:
    """How long the sequences are: those of `SequenceRows`, else all rows are one.

    Parameters
    ----------
    rows
        Rows in order of time.
    """
    return rows.lengths if isinstance(rows, SequenceRows) else (len(rows),)


def padded(
    rows: Float[Tensor, "n width"], lengths: Sequence[int]
) -> Float[Tensor, "batch time width"]:
    """Sequences side by side, short ones filled with zeros at the end, where no one sees them.

    Parameters
    ----------
    rows
        One sequence after the other.
    lengths
        Rows of each.

    Example
    -------
    >>> padded(torch.tensor([[1.0], [2.0], [3.0]]), [1, 2]).squeeze(-1).tolist()
    [[1.0, 0.0], [2.0, 3.0]]
    """
    longest = max(lengths)
    if min(lengths) == longest:
        return rows.reshape(len(lengths), longest, -1)
    out = rows.new_zeros(len(lengths), longest, rows.shape[1])
    keep = mask_of(lengths).to(rows.device)
    return out.masked_scatter(keep[..., None], rows)


def unpadded(
    x: Float[Tensor, "batch time width"], lengths: Sequence[int]
) -> Float[Tensor, "n width"]:
    """The rows of sequences one after the other again, padding left out.

    Parameters
    ----------
    x
        Sequences side by side.
    lengths
        Rows of each.

    Example
    -------
    >>> unpadded(torch.tensor([[[1.0], [0.0]], [[2.0], [3.0]]]), [1, 2]).flatten().tolist()
    [1.0, 2.0, 3.0]
    """
    if min(lengths) == x.shape[1]:
        return x.flatten(0, 1)
    return x[mask_of(lengths).to(x.device)]


def mask_of(lengths: Sequence[int]) -> Bool[Tensor, "batch time"]:
    """Where sequences side by side have rows of their own.

    Parameters
    ----------
    lengths
        Rows of each.

    Example
    -------
    >>> mask_of([1, 2]).int().tolist()
    [[1, 0], [1, 1]]
    """
    sizes: Int[Tensor, " batch"] = torch.tensor(list(lengths))
    return torch.arange(int(sizes.max())) < sizes[:, None]
