"""Histograms of an atom's strengths and of how often the atoms of a dictionary fire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from sae_nb.summaries.examples import QUANTILES

if TYPE_CHECKING:
    from sae_nb.summaries.firings import Firings

N_BINS = 40
BINS_PER_DECADE = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """How often something takes which value."""

    edges: Float[np.ndarray, " n_bins_plus_1"]
    """Borders of the bins."""

    counts: Int[np.ndarray, " n_bins"]
    """Members of each bin."""

    marks: dict[str, float] = field(default_factory=dict)
    """Values worth naming."""


def strength_histogram(strengths: Float[np.ndarray, " uses"]) -> Histogram:
    """Count how strongly an atom fires where it fires; rows in which it is silent are left out.

    Parameters
    ----------
    strengths
        z of every row in which it fires.

    Returns
    -------
    Histogram
        In units of z, from 0; `marks` are the strengths at the middle of each band that has one:
        "50 %", "99 %", "top".
    """
    low = min(float(strengths.min(initial=0.0)), 0.0)
    high = max(float(strengths.max(initial=0.0)), 0.0)
    span = (low, high if high > low else low + 1.0)
    counts, edges = np.histogram(strengths, bins=N_BINS, range=span)
    marks = {}
    if len(strengths):
        size = np.abs(strengths)
        marks = {name: float(np.quantile(size, q)) for name, q in QUANTILES.items()}
        marks["top"] = float(size.max())
    return Histogram(edges=edges, counts=counts, marks=marks)


def frequency_histogram(firings: Firings) -> Histogram:
    """Count the atoms that fire how often, in bins of equal width on a logarithmic axis.

    Parameters
    ----------
    firings
        Codes read atom by atom.

    Returns
    -------
    Histogram
        Shares of rows; atoms that never fire are in no bin, and `marks["never"]` is their number.

    Example
    -------
    >>> import torch
    >>> from sae_nb.codes import SparseCodes
    >>> from sae_nb.summaries.firings import Firings
    >>> codes = SparseCodes.from_dense(torch.tensor([[1.0, 0, 2], [2, 0, 0]]))
    >>> found = frequency_histogram(Firings(codes))
    >>> int(found.counts.sum()), found.marks
    (2, {'never': 1.0})
    """
    rarest = 1 / max(firings.n_rows, 2)
    n_bins = max(int(np.ceil(-np.log10(rarest) * BINS_PER_DECADE)), 1)
    edges = np.logspace(np.log10(rarest), 0, n_bins + 1)
    # A share of one row, or of all, must not fall out of the last bins by rounding.
    edges[0], edges[-1] = edges[0] * (1 - 1e-9), 1 + 1e-9
    counts, _ = np.histogram(firings.frequency[firings.alive], bins=edges)
    never = float(firings.n_atoms - int(firings.alive.sum()))
    return Histogram(edges=edges, counts=counts, marks={"never": never})
