"""Sequences of activations: rows of each sample in order, checked, and batches of whole sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations._rows import generator_for
from sae_nb.checks import (
    as_tensor,
    at_least,
    check_count,
    check_integers,
    check_matrix,
    checked,
    is_array,
    shown,
)

if TYPE_CHECKING:
    from sae_nb.activations import Activations


# -------------------------------------------------------------------------------------------------
# Rows of many sequences in one matrix, and how long each sequence is.


class SequenceRows(Tensor):
    """Rows of sequences, one sequence after the other; what is computed from them is a plain tensor."""

    lengths: tuple[int, ...]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def of(
        cls, rows: Float[Tensor, "n d_in"], lengths: Sequence[int] | None = None
    ) -> SequenceRows:
        """Mark rows with the sequences they are, or without `lengths`, where nothing marks them yet, as one."""
        if lengths is None:
            if isinstance(rows, SequenceRows):
                return rows
            lengths = [len(rows)]
        if sum(lengths) != len(rows) or min(lengths, default=0) < 1:
            raise ValueError(
                f"`lengths` must be positive and add up to the {len(rows)} rows, got {list(lengths)}."
            )
        marked: SequenceRows = rows.as_subclass(cls)
        marked.lengths = tuple(int(length) for length in lengths)
        return marked


def padded(
    rows: Float[Tensor, "n width"], lengths: Sequence[int]
) -> Float[Tensor, "batch time width"]:
    """Return sequences side by side, short ones filled with zeros at the end, which no attention reads."""
    longest = max(lengths)
    if min(lengths) == longest:
        return rows.reshape(len(lengths), longest, -1)
    out = rows.new_zeros(len(lengths), longest, rows.shape[1])
    keep = mask_of(lengths).to(rows.device)
    return out.masked_scatter(keep[..., None], rows)


def unpadded(
    x: Float[Tensor, "batch time width"], lengths: Sequence[int]
) -> Float[Tensor, "n width"]:
    """Return the rows of sequences one after the other again, padding left out."""
    if min(lengths) == x.shape[1]:
        return x.flatten(0, 1)
    return x[mask_of(lengths).to(x.device)]


def mask_of(lengths: Sequence[int]) -> Bool[Tensor, "batch time"]:
    """Return a mask of where sequences side by side have rows of their own."""
    sizes = torch.tensor(list(lengths))
    return torch.arange(int(sizes.max())) < sizes[:, None]


# -------------------------------------------------------------------------------------------------
# Sequences of activations: rows of each sample in order, checked, and batches of whole sequences.


WHY = "A temporal SAE predicts each token from those before it, so their order is what it learns from."

Gaps = Literal["refuse", "cut"]


@checked
class Sequences:
    """The samples of activations as sequences, each in order of time.

    Parameters
    ----------
    acts
        Activations whose rows carry sample and position, or a tensor whose axis before the last is
        time.
    context
        Longer sequences are cut in pieces of nearly equal length, at most this; None leaves them
        whole.
    gaps
        Action if positions of a sample jump: "refuse", or "cut" there.

    Raises
    ------
    TypeError: If `acts` are neither activations nor a tensor, or are a stream, which has no order.
    ValueError: If rows have no positions, are shuffled or leave gaps, or a sequence has fewer than two.

    Example
    -------
    >>> from sae_nb.activations import Activations
    >>> sample, position = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 0, 1, 2])
    >>> acts = Activations.from_tensor(torch.randn(5, 2), sample=sample, position=position)
    >>> Sequences(acts).lengths, Sequences(torch.randn(2, 7, 3), context=5).lengths
    ((2, 3), (4, 3, 4, 3))
    """

    def __init__(
        self,
        acts: Activations | Float[Tensor, "*batch time d_in"],
        *,
        context: Annotated[int, at_least(2)] | None = None,
        gaps: Gaps = "refuse",
    ) -> None:
        self.acts = in_order(acts)
        self._rows = self.acts.joined
        starts = _starts(self.acts, gaps)
        lengths = _pieces(_lengths(starts, len(self.acts)), context)
        self.lengths: tuple[int, ...] = tuple(lengths)
        """Rows of each sequence, in the order of the activations."""
        self.starts: tuple[int, ...] = tuple(accumulate(lengths[:-1], initial=0))
        """First row of each."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __repr__(self) -> str:
        shortest, longest = min(self.lengths), max(self.lengths)
        tokens = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
        return f"Sequences({len(self)} of {tokens} tokens · {self.acts!r})"

    @property
    def d_in(self) -> int:
        """Width of a row."""
        return self.acts.d_in

    @property
    def hook_point(self) -> str | None:
        """Hook point of the model that the rows come from."""
        return self.acts.hook_point

    @property
    def model_name(self) -> str | None:
        """Name of the model that the rows come from."""
        return self.acts.model_name

    @property
    def sides(self) -> tuple[Activations, Activations]:
        """The activations that are read, and those to be written."""
        return self.acts.sides

    def rows(self, chosen: Sequence[int]) -> SequenceRows:
        """Return the rows of some sequences, one sequence after the other; of pairs both sides."""
        chosen = check_integers(chosen, name="chosen")
        if not chosen or not -len(self) <= min(chosen) <= max(chosen) < len(self):
            raise IndexError(
                f"`chosen` must name sequences from 0 to {len(self) - 1}, got {shown(chosen)}."
            )
        index = self.row_numbers(chosen)
        return SequenceRows.of(self._rows.rows(index), [self.lengths[i] for i in chosen])

    def row_numbers(self, chosen: Sequence[int]) -> Int[Tensor, " m"]:
        """Return which rows of the activations some sequences are."""
        spans = [torch.arange(self.starts[i], self.starts[i] + self.lengths[i]) for i in chosen]
        return torch.cat(spans)

    def groups(self, rows: int) -> Iterator[list[int]]:
        """Yield neighbouring sequences with at most `n` rows together, padding counted, or one alone."""
        group: list[int] = []
        longest = 0
        for i, length in enumerate(self.lengths):
            if group and (len(group) + 1) * max(longest, length) > rows:
                yield group
                group, longest = [], 0
            group.append(i)
            longest = max(longest, length)
        yield group

    def batches(
        self, batch_size: int, *, seed: int = 0, start: int = 0
    ) -> Iterator[Float[Tensor, "batch d_in"]]:
        """Yield batches of whole sequences for ever, about `batch_size` rows each.

        Every sequence comes once per epoch, in a fresh order; a batch may span two epochs.

        Parameters
        ----------
        batch_size
            Rows per batch; at least one sequence.
        seed
            Order. Batch number t depends on the seed, the sequences and `batch_size` alone.
        """
        check_count(batch_size, name="batch_size")
        check_count(start, name="start", at_least=0)
        per_batch = self.per_batch(batch_size)
        position = start * per_batch
        epoch, order = -1, torch.empty(0)
        while True:
            chosen = []
            for i in range(position, position + per_batch):
                if i // len(self) != epoch:
                    epoch = i // len(self)
                    order = torch.randperm(len(self), generator=generator_for(seed, epoch))
                chosen.append(int(order[i % len(self)]))
            yield self.rows(chosen)
            position += per_batch

    def per_batch(self, batch_size: int) -> int:
        """Return the mean number of sequences in a batch of that many rows."""
        mean = len(self.acts) / len(self)
        return min(max(1, round(batch_size / mean)), len(self))


def in_order(acts: object) -> Activations:
    """Return activations as they are, or the rows of a tensor (batch, time, d_in) with their positions."""
    from sae_nb.activations import Activations

    if isinstance(acts, Activations):
        return acts
    if not is_array(acts):
        raise TypeError(
            "Sequences are made of activations, or of a tensor (time, d_in) or (batch, time, d_in), got "
            f"{type(acts).__name__}. {WHY} A stream is shuffled: use capture, with store= where memory is "
            "short."
        )
    acts = as_tensor(acts)
    rows = check_matrix(acts, name="data", flatten=True)
    time = acts.shape[-2] if acts.ndim > 1 else 1
    if time < 2:
        raise ValueError(
            "Every sequence must have at least 2 tokens, (time, d_in) or (batch, time, d_in), got shape "
            f"{tuple(acts.shape)}. {WHY}"
        )
    index = torch.arange(len(rows))
    return Activations.from_tensor(rows, sample=index // time, position=index % time)


def _starts(acts: Activations, gaps: Gaps) -> Int[Tensor, " n_sequences"]:
    """First rows of sequences, after checking that rows of a sample follow one another in time."""
    sample, position = acts.sample, acts.position
    if acts.step is not None and bool((acts.step != acts.step[:1]).any()):
        raise ValueError(
            f"`acts` must be of one application of a module, got {len(torch.unique(acts.step))}, so that a "
            "token comes several times. Choose one: acts[acts.step == 0]."
        )
    if len(acts) > 1 and not bool(position.any()):
        raise ValueError(
            f"`acts` must carry positions, got {len(acts)} rows that are all at position 0. {WHY} Use "
            "sn.capture on whole texts, or pass a tensor (batch, time, d_in)."
        )
    same, step = sample[1:] == sample[:-1], position[1:] - position[:-1]
    begins = torch.cat([torch.tensor([True]), ~same])
    first, backwards = sample[begins], same & (step <= 0)
    twice = len(torch.unique(first)) < len(first)
    if twice or bool(backwards.any()):
        fault = "rows of one sample that are apart" if twice else "positions that do not rise"
        raise ValueError(
            f"Rows must be in order of time, sample by sample, got {fault} (rows were shuffled or chosen "
            f"at random). {WHY} Use the activations as captured, or choose whole samples with split."
        )
    jump = same & (step > 1)
    if gaps == "refuse" and bool(jump.any()):
        row = int(jump.nonzero()[0]) + 1
        raise ValueError(
            f"Positions of a sample must follow one another, but {acts.where(row)} comes after position "
            f"{int(position[row - 1])}: {int(jump.sum())} gaps in all. {WHY} Capture with "
            'drop_first=False or keep_special=True, or use sn.temporal.Sequences(acts, gaps="cut").'
        )
    begins[1:] |= jump
    starts = begins.nonzero().flatten()
    lengths = torch.tensor(_lengths(starts, len(acts)))
    short = (lengths < 2).nonzero().flatten()
    if len(short):
        raise ValueError(
            f"Every sequence must have at least 2 tokens, but {len(short)} of {len(lengths)} have 1; the "
            f"first is {acts.where(int(starts[short[0]]))}. Nothing comes before a lone token. Leave such "
            "samples out with acts.subset."
        )
    return starts


def _lengths(starts: Tensor, n: int) -> list[int]:
    lengths: list[int] = torch.diff(starts, append=torch.tensor([n])).tolist()
    return lengths


def _pieces(lengths: Sequence[int], context: int | None) -> list[int]:
    """Lengths after cutting: pieces of one sequence differ by at most one, so that none is tiny."""
    if context is None:
        return list(lengths)
    out = []
    for length in lengths:
        n = -(-length // context)
        out += [length // n + (i < length % n) for i in range(n)]
    return out
