"""Inputs of a view of depth, of one size: as people see them, and one at a time as the model reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from sae_nb.models._inputs import described
from sae_nb.models._one_input import outcome_names

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


MOST_INPUTS = 256
LONGEST_TEXT = 64
FEW_TEXTS = 4
"""Texts of which none is left out, however short."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthInputs:
    """Inputs of one size."""

    samples: Tensor
    """Pixel values, token ids of one length, or plain tensors: what the model reads."""

    pictures: UInt8[np.ndarray, "n 3 height width"] | None
    """As displayed."""

    tokens: tuple[tuple[str, ...], ...]
    """Texts, token by token; none for pictures."""

    note: str
    """Note on the omitted part; empty if nothing is omitted."""

    name: str = ""
    """Under which the model is given the samples; empty: as a tensor."""

    kept: tuple[int, ...] | None = None
    """Of the texts given those that are shown; None: the first ones, all of them."""

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def whole(self) -> Tensor | dict[str, Tensor]:
        """All inputs, as the model reads them."""
        return self._read(self.samples)

    def one(self, index: int) -> Tensor | dict[str, Tensor]:
        """Return one input, as the model reads it."""
        return self._read(self.samples[index : index + 1])

    def _read(self, samples: Tensor) -> Tensor | dict[str, Tensor]:
        if not self.name:
            return samples
        if self.name != "input_ids":
            return {self.name: samples}
        # Padding is left out already: the padding token's id, where a text was cut behind it, is a token.
        return {"input_ids": samples, "attention_mask": torch.ones_like(samples)}


def depth_inputs(model: LiveModel, inputs: Inputs) -> DepthInputs:
    """Read inputs of a live model; texts are cut to the length at which most tokens are shown."""
    notes: list[str] = []
    if model.modality.is_text:
        ids, kept = _token_ids(model, inputs, notes)
        tokens = tuple(tuple(outcome_names(model, row.numpy())) for row in ids)
        note = " ".join(notes)
        return DepthInputs(
            samples=ids, pictures=None, tokens=tokens, note=note, kept=kept, name="input_ids"
        )
    parts, shown, n, name = [], [], 0, ""
    for batch in model.batches(inputs):
        read = batch.as_inputs(model)
        name, part = next(iter(read.items())) if isinstance(read, dict) else ("", read)
        parts.append(part)
        if batch.pictures is not None:
            shown.append(batch.pictures)
        n += batch.n
        if n > MOST_INPUTS:
            notes.append(f"Only the first {MOST_INPUTS} inputs are shown.")
            break
    if not parts:
        raise ValueError(f"`inputs` must hold at least one, got {described(inputs)}.")
    pictures = torch.cat(shown)[:MOST_INPUTS] if shown else None
    return DepthInputs(
        samples=torch.cat(parts)[:MOST_INPUTS],
        pictures=None if pictures is None else pictures.numpy(),
        tokens=(),
        note=" ".join(notes),
        name=name,
    )


def _token_ids(
    model: LiveModel, inputs: Inputs, notes: list[str]
) -> tuple[Tensor, tuple[int, ...]]:
    """Token ids of one length, and whose they are: texts are cut to it, and shorter ones left out."""
    rows: list[Tensor] = []
    for batch in model.batches(inputs):
        if batch.token_ids is None:
            raise TypeError(f"`inputs` must be texts or token ids, got {described(inputs)}.")
        keep = [slice(None)] * batch.n if batch.keep is None else batch.keep
        rows += [ids[real] for ids, real in zip(batch.token_ids, keep, strict=True)]
    if len(rows) > MOST_INPUTS:
        notes.append(f"Only the first {MOST_INPUTS} of {len(rows)} texts are shown.")
        rows = rows[:MOST_INPUTS]
    lengths = [len(row) for row in rows]
    if min(lengths, default=0) < 2:
        raise ValueError(
            f"`inputs` must be texts of at least 2 tokens, got one of {min(lengths, default=0)}. Leave it out."
        )
    length = _common_length(lengths)
    kept = tuple(i for i, n in enumerate(lengths) if n >= length)
    if max(lengths) > length:
        notes.append(f"Texts are cut to {length} tokens.")
    if len(kept) < len(rows):
        notes.append(f"{len(rows) - len(kept)} of {len(rows)} texts are shorter and left out.")
    return torch.stack([rows[i][:length] for i in kept]), kept


def _common_length(lengths: Sequence[int]) -> int:
    """Return the length at which most tokens are shown, of half of the texts at least; of a few, of all.

    >>> _common_length([5, 40, 40, 50]), _common_length([5, 30])
    (40, 5)
    """
    ordered = sorted(min(n, LONGEST_TEXT) for n in lengths)
    least = len(ordered) // 2 if len(ordered) >= FEW_TEXTS else 0
    most = [(n * (len(ordered) - i), -n) for i, n in enumerate(ordered[: least + 1])]
    return -max(most)[1]
