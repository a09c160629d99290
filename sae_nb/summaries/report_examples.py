"""What is behind a row of a report: which sample moves it most, and what other libraries would report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from sae_nb.evaluation.compatibility import as_published, published_formulas

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures.base import SparseAutoencoder

MOST_ROWS = 16_384
"""Rows that are looked at: a click should be answered at once. Ours."""


@dataclass(frozen=True, kw_only=True)
class MovingSample:
    """The sample without which a number changes most."""

    sample: int
    """Its index in `acts.context`."""

    value: float
    """The number over all rows that were looked at."""

    without: float
    """The number without this sample."""

    n_samples: int
    """How many were tried."""

    typical: float
    """Median |change| over the samples: how much any one moves it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowSums:
    """Sums per sample from which many definitions follow."""

    samples: Float[np.ndarray, " n_samples"]
    """Index of each sample."""

    columns: dict[str, Float[np.ndarray, " n_samples"]]
    """Sums over the rows of each sample, by name."""


Formula = Callable[[dict[str, Any]], Any]

_FORMULAS: dict[str, Formula] = {
    "r2_pooled": lambda s: 1 - s["e2"] / s["v2"],
    "fvu_pooled": lambda s: s["e2"] / s["v2"],
    "mse_token": lambda s: s["e2"] / s["n"],
    "r2_uncentred": lambda s: 1 - s["e2"] / s["x2"],
    "cosine_uncentred": lambda s: s["cos"] / s["n"],
    "cosine_centred": lambda s: s["cosc"] / s["n"],
    "norm_ratio": lambda s: s["ratio"] / s["n"],
    "shrinkage_gamma": lambda s: s["xh2"] / s["xxh"],
    "l0_mean": lambda s: s["l0"] / s["n"],
    "l1_mean": lambda s: s["l1"] / s["n"],
}


def sums_by_sample(
    sae: SparseAutoencoder, acts: Activations, *, most_rows: int = MOST_ROWS
) -> RowSums:
    """Return what `most_moving` needs, in one pass over the rows.

    Parameters
    ----------
    sae
        In the units of `acts`.
    acts
        Rows with their samples; at most the first `most_rows` are read.
    most_rows
        See there.
    """
    with torch.no_grad():
        x = acts.x[:most_rows].float()
        codes = sae.encode(x)
        x_hat = sae.decode(codes).double()
        counts = (codes.offsets[1:] - codes.offsets[:-1]).double()
        row = torch.repeat_interleave(torch.arange(len(x)), counts.long())
        l1 = torch.zeros(len(x), dtype=torch.float64)
        l1.index_add_(0, row, codes.values.detach().double().abs())
        wide = x.double()
        mean = wide.mean(dim=0)
        parts = {
            "n": torch.ones(len(x), dtype=torch.float64),
            "e2": (wide - x_hat).square().sum(dim=1),
            "v2": (wide - mean).square().sum(dim=1),
            "x2": wide.square().sum(dim=1),
            "xh2": x_hat.square().sum(dim=1),
            "xxh": (wide * x_hat).sum(dim=1),
            "cos": torch.cosine_similarity(wide, x_hat, dim=1),
            "cosc": torch.cosine_similarity(wide - mean, x_hat - mean, dim=1),
            "ratio": x_hat.norm(dim=1) / wide.norm(dim=1).clamp_min(1e-12),
            "l0": counts,
            "l1": l1,
        }
    samples, index = np.unique(acts.sample[: len(x)].numpy(), return_inverse=True)
    columns = {
        name: np.bincount(index, weights=values.numpy(), minlength=len(samples))
        for name, values in parts.items()
    }
    return RowSums(samples=samples, columns=columns)


def most_moving(sums: RowSums, definition: str) -> MovingSample | None:
    """Return the sample without which a number changes most; None where it is no sum over samples.

    Parameters
    ----------
    sums
        From `sums_by_sample`.
    definition
        Id of the number's definition.

    Example
    -------
    >>> columns = {"e2": np.array([1.0, 1.0, 8.0]), "v2": np.array([10.0, 10.0, 10.0])}
    >>> found = most_moving(RowSums(samples=np.array([4, 5, 6]), columns=columns), "r2_pooled")
    >>> found.sample, round(found.value, 3), found.without
    (6, 0.667, 0.9)
    """
    formula = _FORMULAS.get(definition)
    if formula is None or len(sums.samples) < 2:
        return None
    total = {name: values.sum() for name, values in sums.columns.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(formula(total))
        without = np.asarray(formula({k: total[k] - v for k, v in sums.columns.items()}))
    change = np.abs(without - value)
    if not np.isfinite(change).any():
        return None
    place = int(np.nanargmax(np.where(np.isfinite(change), change, -1.0)))
    return MovingSample(
        sample=int(sums.samples[place]),
        value=value,
        without=float(without[place]),
        n_samples=len(sums.samples),
        typical=float(np.nanmedian(change)),
    )


def elsewhere(
    sae: SparseAutoencoder, acts: Activations, definition: str, *, most_rows: int = MOST_ROWS
) -> dict[str, float]:
    """Return what other libraries' formulas of a quantity give on these very rows, by formula id.

    Parameters
    ----------
    sae, acts
        As for `sums_by_sample`.
    definition
        Id of ours.
    most_rows
        Rows that are read.

    Example
    -------
    >>> import sae_nb as sn
    >>> rows = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)) + 5
    >>> acts = sn.Activations(rows, sample=torch.arange(64), position=torch.zeros(64).long())
    >>> sae = sn.TopK(d_in=4, n_atoms=8, k=2)
    >>> "overcomplete.r2_score" in elsewhere(sae, acts, "r2_pooled")
    True
    """
    chosen = [f for f in published_formulas().values() if f.ours == definition]
    chosen = [f for f in chosen if set(f.needs) <= {"x", "x_hat", "codes", "dictionary"}]
    if not chosen:
        return {}
    with torch.no_grad():
        x = acts.x[:most_rows].float()
        codes = sae.encode(x)
        given: dict[str, Any] = {
            "x": x,
            "x_hat": sae.decode(codes),
            "codes": codes,
            "dictionary": sae.dictionary,
        }
        return {f.id: as_published(f.id, **{n: given[n] for n in f.needs}) for f in chosen}
