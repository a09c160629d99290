"""Distances between the states of two models after each block, and between what a lens reads out of them.

Lens: each model's own final norm and unembedding (or class head) applied to its own states, KL between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from sae_nb.lenses._head import Head, head_of, pooled
from sae_nb.steering._answers import kl

if TYPE_CHECKING:
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch

LENS_ROWS = 64
"""Rows of a batch that the lens reads, evenly spaced. Ours: a vocabulary per row and layer."""


@dataclass(eq=False)
class LayerDifference:
    """Sums over the rows of one hook point."""

    n: int = 0
    moved: float = 0.0
    square: float = 0.0
    total: Tensor | None = None
    lens: float = 0.0
    n_lens: int = 0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add the states of some rows, (n, d) each."""
        difference = y - x
        self.n += len(x)
        self.moved += float((difference.norm(dim=1) / x.norm(dim=1).clamp_min(1e-12)).sum())
        self.square += float(difference.double().square().sum())
        here = difference.double().sum(dim=0)
        self.total = here if self.total is None else self.total + here

    def add_lens(self, divergence: Tensor) -> None:
        """Add the divergence of what the lens reads at some rows."""
        self.lens += float(divergence.double().sum())
        self.n_lens += len(divergence)

    @property
    def row(self) -> tuple[float, float, float]:
        """Mean ‖y − x‖/‖x‖; share of the squared difference along its mean; mean KL of the lens, nats."""
        along = 0.0 if self.total is None else float(self.total.square().sum()) / max(self.n, 1)
        share = along / self.square if self.square > 0 else float("nan")
        lens = self.lens / self.n_lens if self.n_lens else float("nan")
        return self.moved / max(self.n, 1), share, lens


def heads_of(a: LiveModel, b: LiveModel, batch: Batch) -> tuple[Head, Head] | None:
    """Return the heads of both models; None where their answers are not made by a norm and a projection."""
    try:
        return head_of(a, batch), head_of(b, batch)
    except ValueError:
        return None


def lens_divergence(heads: tuple[Head, Head], x: Tensor, y: Tensor, keep: Tensor) -> Tensor:
    """Return KL(a ‖ b) of what each head reads of its own states, (n, places, d), at some rows."""
    rows = []
    for head, states in zip(heads, (x, y), strict=True):
        read = states[keep] if head.pool == "each" else pooled(head, states)
        step = max(1, len(read) // LENS_ROWS)
        rows.append(head.logits(read[::step]))
    return kl(rows[0].float(), rows[1].float())
