"""Batches: what a module is given, and for every token which sample and position it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from sae_nb.models.interventions import RunState


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One forward pass worth of inputs.

    Texts are padded on the right, so a column is a position and a kept token sees what it would see
    alone. `sample` and `position` say for every column where it came from, also when documents are
    packed; they are (n, 1) zeros-and-indices where the number of tokens is not known before the
    model runs, see `token_index`.
    """

    args: tuple[Any, ...] = ()
    """Positional arguments of the module."""

    kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the module."""

    n: int
    """Rows: samples, or packed rows."""

    first_sample: int
    """Running index of the first sample in this batch."""

    sample: Int[Tensor, "batch time"]
    """Running index of each column's sample; −1 at padding."""

    position: Int[Tensor, "batch time"]
    """Index in the sample's own token sequence; −1 at padding."""

    token_ids: Int[Tensor, "batch time"] | None = None
    """Token ids; None without text."""

    keep: Bool[Tensor, "batch time"] | None = None
    """False at padding; None without text."""

    special: Bool[Tensor, "batch time"] | None = None
    """True at special tokens (BOS, end-of-text, CLS, SEP); padding is False. None without text."""

    pictures: UInt8[Tensor, "batch 3 height width"] | None = None
    """Pictures as shown to people: resized and cropped, not normalised. On the CPU."""

    truncated: int = 0
    """Samples of this batch that were longer than the context and cut."""

    def to(self, device: str | torch.device) -> Batch:
        """Return the batch with what the model and the indices need on a device."""
        changes: dict[str, Any] = {
            "args": tuple(_moved(value, device) for value in self.args),
            "kwargs": {name: _moved(value, device) for name, value in self.kwargs.items()},
        }
        for part in fields(self):
            value = getattr(self, part.name)
            if isinstance(value, Tensor) and part.name != "pictures":
                changes[part.name] = value.to(device)
        return replace(self, **changes)

    def token_index(
        self, n_tokens: int
    ) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
        """Return (sample, position) for a module that gave `n_tokens` tokens per row.

        Parameters
        ----------
        n_tokens
            Length of the time axis of what was captured.

        Raises
        ------
        ValueError
            If the batch knows its tokens and they are another number.
        """
        width = self.sample.shape[1]
        if width == n_tokens:
            return self.sample, self.position
        if width != 1:
            raise ValueError(
                f"Captured activations must have {width} tokens per row like the batch, got "
                f"{n_tokens}. Is `patch_grid` or `prefix_tokens` right for this model?"
            )
        position = torch.arange(n_tokens, device=self.sample.device)
        return self.sample.expand(-1, n_tokens), position.expand(self.n, -1)

    def state(self) -> RunState:
        """Return what edits are told about a plain forward pass of this batch."""
        known = self.sample.shape[1] > 1 or self.keep is not None
        return RunState(
            keep=self.keep,
            token_ids=self.token_ids,
            position=self.position if known else None,
            prompt_length=None if self.keep is None else self.keep.sum(dim=1),
            sample=self.sample if known else None,
        )


class Batches:
    """An iterator of batches that also states how the inputs were treated.

    Parameters
    ----------
    batches
        What to iterate.
    n_samples
        How many samples will come; None if only the end of an iterator will tell.
    policy
        How inputs are treated, by name.
    """

    def __init__(
        self, batches: Iterator[Batch], *, n_samples: int | None, policy: dict[str, Any]
    ) -> None:
        self._batches = batches
        self.n_samples = n_samples
        self.policy = policy

    def __iter__(self) -> Batches:
        """Return itself."""
        return self

    def __next__(self) -> Batch:
        """Return the next batch; counts truncated samples in ``policy["truncated"]``."""
        batch = next(self._batches)
        if batch.keep is not None:
            self.policy["truncated"] = self.policy.get("truncated", 0) + batch.truncated
        return batch


def plain_index(first: int, n: int, n_tokens: int | None) -> tuple[Tensor, Tensor]:
    """Return (sample, position) for n samples of n_tokens tokens each; None: not known, (n, 1)."""
    width = n_tokens or 1
    sample = torch.arange(first, first + n)[:, None].expand(n, width)
    return sample, torch.arange(width).expand(n, width)


def _moved(value: Any, device: str | torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
