"""Plain tensors for modules that read neither text nor pictures: the first axis counts samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sae_nb.models.inputs import Batch, Batches, plain_index
from sae_nb.models.samples import described

if TYPE_CHECKING:
    from sae_nb.models.live_model import LiveModel


def plain_batches(model: LiveModel, inputs: Any, *, batch_size: int) -> Batches:
    """Return batches of plain tensors.

    Parameters
    ----------
    model
        A wrapped module.
    inputs
        A tensor, a dict of tensors (keyword arguments), or an iterator or DataLoader of those, with
        or without labels.
    batch_size
        Rows per batch; an iterator's own batches are cut but not joined.

    Raises
    ------
    TypeError, ValueError
        If the inputs are not tensors with at least one row.
    """
    if isinstance(inputs, (Tensor, np.ndarray, Mapping)):
        checked = _checked(model, inputs)
        parts: Iterable[Any] = [checked]
        n_samples: int | None = _rows(checked)
    elif isinstance(inputs, (str, bytes)) or not isinstance(inputs, Iterable):
        raise _not_tensors(model, inputs)
    else:
        parts, n_samples = _peeked(model, inputs), None

    def batches() -> Iterator[Batch]:
        first = 0
        for part in parts:
            whole = _checked(model, part)
            for start in range(0, _rows(whole), batch_size):
                piece = _sliced(whole, slice(start, start + batch_size))
                yield _batch(model, piece, first)
                first += _rows(piece)

    return Batches(batches(), n_samples=n_samples, policy={})


def _peeked(model: LiveModel, inputs: Iterable[Any]) -> Iterator[Any]:
    iterator = iter(inputs)
    try:
        first = next(iterator)
    except StopIteration:
        raise ValueError("`inputs` must hold at least one tensor, got none.") from None
    _checked(model, first)

    def items() -> Iterator[Any]:
        yield first
        yield from iterator

    return items()


def _checked(model: LiveModel, part: Any) -> Tensor | dict[str, Tensor]:
    if isinstance(part, (tuple, list)) and part and isinstance(part[0], Tensor):
        part = part[0]
    if isinstance(part, np.ndarray):
        part = torch.from_numpy(part)
    if isinstance(part, Mapping):
        tensors = {str(name): value for name, value in part.items() if isinstance(value, Tensor)}
        if not tensors or len({len(value) for value in tensors.values()}) != 1:
            raise _not_tensors(model, part)
        part = tensors
    elif not isinstance(part, Tensor) or part.ndim == 0:
        raise _not_tensors(model, part)
    if _rows(part) == 0:
        raise ValueError(f"`inputs` must hold at least one row, got {described(part)}.")
    for value in part.values() if isinstance(part, dict) else (part,):
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"`inputs` must be finite, got NaN or infinity in {described(value)}. Drop those rows."
            )
    return part


def _not_tensors(model: LiveModel, inputs: Any) -> TypeError:
    return TypeError(
        f"`inputs` must be a tensor whose first axis counts samples for {model.name}, got "
        f"{described(inputs)}. Wrap the module with tokenizer=… to read text, or with preprocess=… "
        "to read pictures."
    )


def _rows(part: Tensor | dict[str, Tensor]) -> int:
    return len(next(iter(part.values()))) if isinstance(part, dict) else len(part)


def _sliced(part: Tensor | dict[str, Tensor], rows: slice) -> Tensor | dict[str, Tensor]:
    if isinstance(part, dict):
        return {name: value[rows] for name, value in part.items()}
    return part[rows]


def _batch(model: LiveModel, part: Tensor | dict[str, Tensor], first: int) -> Batch:
    def cast(value: Tensor) -> Tensor:
        return value.to(model.dtype) if value.is_floating_point() else value

    n = _rows(part)
    sample, position = plain_index(first, n, None)
    kwargs = {name: cast(value) for name, value in part.items()} if isinstance(part, dict) else {}
    args = () if isinstance(part, dict) else (cast(part),)
    batch = Batch(
        args=args, kwargs=kwargs, n=n, first_sample=first, sample=sample, position=position
    )
    return batch.to(model.device)
