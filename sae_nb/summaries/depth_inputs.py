"""The inputs of a view of depth as people see them, and one at a time as the model reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from sae_nb.models.samples import described
from sae_nb.summaries.answers import outcome_names

if TYPE_CHECKING:
    from sae_nb.models.live_model import LiveModel

MOST_INPUTS = 256
LONGEST_TEXT = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthInputs:
    """Inputs of one size."""

    samples: Tensor
    """Pictures, token ids of one length, or plain tensors: what the model reads."""

    pictures: UInt8[np.ndarray, "n 3 height width"] | None
    """As shown to people."""

    tokens: tuple[tuple[str, ...], ...]
    """Texts, token by token; none for pictures."""

    note: str
    """What was left out; empty if nothing."""

    def __len__(self) -> int:
        return len(self.samples)

    def one(self, index: int) -> Tensor:
        """Return one input, as the model reads it.

        Parameters
        ----------
        index
            Which.
        """
        return self.samples[index : index + 1]


def depth_inputs(model: LiveModel, inputs: Any, *, most: int = MOST_INPUTS) -> DepthInputs:
    """Read inputs of a live model; texts are cut to the shortest of them.

    Parameters
    ----------
    model
        Who reads them.
    inputs
        As for `capture`.
    most
        Inputs beyond are left out, and it is noted.

    Raises
    ------
    TypeError, ValueError
        If the model cannot read them.

    Example
    -------
    >>> import sae_nb as sn
    >>> found = depth_inputs(sn.load_model("tiny-vit"), sn.data.scenes(3, seed=0))
    >>> len(found), found.pictures.shape, found.one(1).shape
    (3, (3, 3, 32, 32), torch.Size([1, 3, 32, 32]))
    """
    notes: list[str] = []
    if model.kind == "language":
        ids = _token_ids(model, inputs, most, notes)
        tokens = tuple(tuple(outcome_names(model, row.numpy())) for row in ids)
        return DepthInputs(samples=ids, pictures=None, tokens=tokens, note=" ".join(notes))
    parts, shown, n = [], [], 0
    for batch in model.batches(inputs):
        parts.append(batch.args[0] if batch.args else next(iter(batch.kwargs.values())))
        if batch.pictures is not None:
            shown.append(batch.pictures)
        n += batch.n
        if n > most:
            notes.append(f"Only the first {most} inputs are shown.")
            break
    if not parts:
        raise ValueError(f"`inputs` must hold at least one, got {described(inputs)}.")
    pictures = torch.cat(shown)[:most] if shown else None
    return DepthInputs(
        samples=_as_read(inputs, pictures, torch.cat(parts))[:most],
        pictures=None if pictures is None else pictures.numpy(),
        tokens=(),
        note=" ".join(notes),
    )


def _as_read(inputs: Any, pictures: Tensor | None, parts: Tensor) -> Tensor:
    """What can be read again: the very tensor given, pictures as shown, or plain inputs."""
    given = getattr(inputs, "images", inputs)
    if pictures is None:
        return parts
    # Bytes would round floats, and a push of size 0 would then be one of 1/255.
    whole = isinstance(given, Tensor) and given.ndim == 4
    return given if whole else pictures


def _token_ids(model: LiveModel, inputs: Any, most: int, notes: list[str]) -> Tensor:
    """Token ids of one length: every text is cut to the shortest."""
    rows: list[Tensor] = []
    for batch in model.batches(inputs):
        if batch.token_ids is None:
            raise TypeError(f"`inputs` must be texts or token ids, got {described(inputs)}.")
        keep = (
            torch.ones_like(batch.token_ids, dtype=torch.bool) if batch.keep is None else batch.keep
        )
        rows += [ids[real] for ids, real in zip(batch.token_ids, keep, strict=True)]
    if len(rows) > most:
        notes.append(f"Only the first {most} of {len(rows)} texts are shown.")
        rows = rows[:most]
    lengths = [len(row) for row in rows]
    length = min(*lengths, LONGEST_TEXT) if lengths else 0
    if length < 2:
        raise ValueError(
            f"`inputs` must be texts of at least 2 tokens, got one of {length}. Leave it out."
        )
    if max(lengths) > length:
        notes.append(f"Texts are cut to {length} tokens, so that all have as many.")
    return torch.stack([row[:length] for row in rows])
