"""Rows with a massive norm in what is judged: which they are, and how a report states it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._massive import (
    massive,
    row_norms,
)
from sae_nb.evaluation.report._measurement import number_text


@dataclass(frozen=True, kw_only=True, eq=False)
class MassiveRows:
    """The exceptions among some rows; as many as its length."""

    rows: Int[Tensor, " massive"]
    norms: Float[Tensor, " massive"]
    median: float
    """Their numbers and norms, and the median norm of all rows."""

    def __len__(self) -> int:
        return len(self.rows)

    def left_out_of(self, acts: Activations) -> Activations:
        """Return activations without them."""
        if not len(self):
            return acts
        keep = torch.ones(len(acts), dtype=torch.bool)
        keep[self.rows] = False
        return acts.subset(keep)

    def said(self, acts: Activations) -> Iterator[str]:
        """Yield cautions that count them and name the largest."""
        if not len(self):
            return
        yield (
            f"{len(self)} of {len(acts)} rows have more than ten times the median norm, "
            f"{number_text(self.median)}: every number but r2_with_massive is without them."
        )
        largest = int(self.norms.argmax())
        yield (
            f"The largest of them has norm {number_text(float(self.norms[largest]))}: "
            f"{acts.where(int(self.rows[largest]))}."
        )


def massive_rows(sae: object, acts: Activations, batch_size: int) -> MassiveRows:
    """Return rows whose norm is massive where an SAE reads or where it writes.

    None of those an SAE of sequences reads, in which each row is needed by the rows after it.
    """
    found = torch.zeros(len(acts), dtype=torch.bool)
    for site in {id(one): one for one in (acts, acts.target)}.values():
        norms = torch.cat(
            [row_norms(site.rows(part)).cpu() for part in _parts(len(acts), batch_size)]
        )
        if not getattr(sae, "reads_sequences", False):
            found |= massive(norms)
    return MassiveRows(
        rows=found.nonzero().flatten(),
        norms=norms[found],
        median=float(norms.median()),
    )


def _parts(n: int, size: int) -> Iterator[Int[Tensor, " part"]]:
    return iter(torch.split(torch.arange(n), size))
