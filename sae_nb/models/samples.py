"""Walking through whatever people pass as inputs, one sample at a time, without loading it all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from torch import Tensor


class Samples(NamedTuple):
    """Samples to come, and how many if that is known."""

    items: Iterator[Any]
    n_samples: int | None


def is_many(inputs: Any) -> bool:
    """Whether something can be walked through: an iterator, a DataLoader, or a dataset."""
    return isinstance(inputs, Iterable) or _is_dataset(inputs)


def items_of(inputs: Any) -> Iterable[Any]:
    """Return the items of an iterable, or of a dataset that only has a length and an index."""
    # A torch dataset has no __iter__; the old sequence protocol would run past its end.
    if _is_dataset(inputs) and not isinstance(inputs, Iterable):
        return (inputs[i] for i in range(len(inputs)))
    return cast(Iterable[Any], inputs)


def _is_dataset(inputs: Any) -> bool:
    return hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")


def first_of_pair(item: Any, batch_ndim: int) -> Any:
    """Return the inputs of an (inputs, labels) pair as a DataLoader makes it; else the item itself.

    Parameters
    ----------
    item
        What an iterator gave.
    batch_ndim
        Axes of a batch of inputs: 2 for token ids, 4 for pictures.
    """
    if isinstance(item, (tuple, list)) and len(item) >= 2:
        first, second = item[0], item[1]
        is_batch = isinstance(first, (Tensor, np.ndarray)) and first.ndim >= batch_ndim
        if is_batch or (isinstance(item, tuple) and len(item) == 2 and _is_label(first, second)):
            return first
        texts = isinstance(first, (list, tuple)) and first and isinstance(first[0], str)
        if texts and isinstance(second, Tensor):
            return first
    return item


def _is_label(first: Any, second: Any) -> bool:
    """Whether a dataset's item (first, second) is a sample and its label, not two samples."""
    if isinstance(second, (int, np.integer)):
        return not isinstance(first, (int, np.integer))
    if isinstance(second, Tensor):
        return second.ndim == 0 and not (isinstance(first, Tensor) and first.ndim == 0)
    return isinstance(second, str) and not isinstance(first, (int, str))


def chained(inputs: Any, batch_ndim: int, read: Callable[[Any], Samples], *, name: str) -> Samples:
    """Return the samples of every item of an iterator, the first item checked at once.

    Parameters
    ----------
    inputs
        An iterator, generator, DataLoader or dataset.
    batch_ndim
        Axes of a batch of inputs.
    read
        Turns one item into samples.
    name
        What the message calls the inputs.

    Raises
    ------
    ValueError
        If the iterator is empty.
    """
    iterator = iter(items_of(inputs))
    try:
        first = next(iterator)
    except StopIteration:
        raise empty(name) from None
    opening = read(first_of_pair(first, batch_ndim))
    rest = (read(first_of_pair(item, batch_ndim)).items for item in iterator)
    # A dataset's length counts samples, a DataLoader's batches.
    known = len(inputs) if _is_dataset(inputs) and opening.n_samples == 1 else None
    return Samples(itertools.chain(opening.items, itertools.chain.from_iterable(rest)), known)


def empty(name: str) -> ValueError:
    """Return the error for inputs without a sample."""
    return ValueError(f"`inputs` must hold at least one {name}, got none.")


def chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of up to `size` items."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def described(inputs: Any) -> str:
    """Return a few words on what something is, for messages."""
    if isinstance(inputs, (Tensor, np.ndarray)):
        return f"a {type(inputs).__name__} of shape {tuple(inputs.shape)} and type {inputs.dtype}"
    if isinstance(inputs, str):
        return f"the text {inputs[:40]!r}" + ("…" if len(inputs) > 40 else "")
    if isinstance(inputs, Path):
        return f"the path {str(inputs)!r}"
    if isinstance(inputs, Mapping):
        return f"a dict with keys {list(inputs)}"
    if isinstance(inputs, (list, tuple)) and inputs:
        return f"a {type(inputs).__name__} of {type(inputs[0]).__name__}"
    return f"a {type(inputs).__name__}"
