"""The rows of a model at the tokens of each text, and what channels read of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.capturing import capture
from sae_nb.monitoring._channels import by_hook_point
from sae_nb.steering._direction import listed

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.models import LiveModel
    from sae_nb.monitoring._channels import Bench, Channel

CHUNK = 64
"""Texts whose rows are in memory together."""


@dataclass(frozen=True, eq=False)
class TextRows:
    """One text: its rows by hook point (tokens, d_in), and where they are."""

    rows: dict[str, Tensor]
    acts: Activations
    at: Tensor

    @property
    def position(self) -> Int[np.ndarray, " tokens"]:
        """Position of each row in its text."""
        return torch.as_tensor(self.acts.position)[self.at].cpu().numpy()

    @property
    def tokens(self) -> tuple[str, ...]:
        """Token of each row; its position where there are none."""
        known = self.acts.tokens
        named = self.position if known is None else [known[i] for i in self.at.tolist()]
        return tuple(map(str, named))


@dataclass(frozen=True, eq=False)
class ReadText:
    """One text as channels read it."""

    text: TextRows
    values: Float[np.ndarray, "tokens channels"]
    scores: list[float]


def read_texts(
    model: LiveModel,
    channels: Sequence[Channel],
    inputs: Any,
    pool: str,
    k: int,
    batch_size: int | None,
    name: str,
) -> Iterator[ReadText]:
    """Yield each text with the values of channels at its tokens, and their scores."""
    benches = by_hook_point(channels)
    for text in rows_of_texts(model, inputs, list(benches), batch_size, name):
        yield read_text(text, channels, benches, pool, k)


def read_text(
    text: TextRows, channels: Sequence[Channel], benches: Mapping[str, Bench], pool: str, k: int
) -> ReadText:
    """Return what channels read of a text whose rows are known."""
    values: dict[str, np.ndarray] = {}
    scores: dict[str, float] = {}
    for point, bench in benches.items():
        read = bench(text.rows[point]).cpu().numpy()
        values |= {name: read[:, i] for i, name in enumerate(bench.names)}
        scores |= bench.scores(read, pool, k)
    names = [one.name for one in channels]
    columns = np.stack([values[name] for name in names], axis=1)
    return ReadText(text, columns, [scores[name] for name in names])


def rows_of_texts(
    model: LiveModel, inputs: Any, hook_points: Sequence[str], batch_size: int | None, name: str
) -> Iterator[TextRows]:
    """Yield the rows of each text at some hook points.

    First tokens of a decoder, which are attention sinks, are left out; massive ones are read.
    """
    texts = listed(model, inputs, name)
    if not len(texts):
        raise ValueError(f"`{name}` must hold at least one input, got none.")
    for start in range(0, len(texts), CHUNK):
        part = texts[start : start + CHUNK]
        found = capture(
            model,
            part,
            list(dict.fromkeys(hook_points)),
            drop_massive=False,
            batch_size=batch_size,
            progress=False,
        )
        acts = next(iter(found.values()))
        sample = torch.as_tensor(acts.sample).cpu().long()
        for i in range(len(part)):
            at = (sample == i).nonzero()[:, 0]
            if not len(at):
                raise ValueError(
                    f"Each input of `{name}` must have a token after the first, got none in input "
                    f"{start + i}. A first token is an attention sink that says nothing; leave the input out."
                )
            rows = {point: one.x[at.to(one.x.device)].float() for point, one in found.items()}
            yield TextRows(rows, acts, at)
