"""Numbers of a report by sample: which one moves it most, and what other libraries would report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.evaluation.report._compatibility import as_published, published_formulas
from sae_nb.evaluation.report._row_pass import encoded_rows

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder


MOST_ROWS = 16_384
"""Rows that are read, up to a chunk more: a click should be answered at once. Ours."""

CHUNK = 4096
"""Rows encoded at a time."""


@dataclass(frozen=True, kw_only=True)
class MovingSample:
    """The sample without which a number changes most."""

    sample: int
    value: float
    """The number over all rows that were read."""

    without: float
    """The number without this sample."""

    n_samples: int
    """Number of samples tried."""

    typical: float
    """Median |change| over the samples: how much any one moves it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowSums:
    """Sums per sample from which many definitions follow."""

    samples: Int[np.ndarray, " n_samples"]
    """Index of each sample."""

    columns: dict[str, Float[np.ndarray, " n_samples"]]
    """Sums over the rows of each sample, by name."""

    def most_moving(self, definition: str) -> MovingSample | None:
        """Return the sample whose removal changes a number most; None if it is not a sum over samples."""
        formula = _FORMULAS.get(definition)
        if formula is None or len(self.samples) < 2:
            return None
        total = {name: values.sum() for name, values in self.columns.items()}
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(formula(total))
            without = np.asarray(formula({k: total[k] - v for k, v in self.columns.items()}))
        change = np.abs(without - value)
        if not np.isfinite(change).any():
            return None
        place = int(np.nanargmax(np.where(np.isfinite(change), change, -1.0)))
        return MovingSample(
            sample=int(self.samples[place]),
            value=value,
            without=float(without[place]),
            n_samples=len(self.samples),
            typical=float(np.nanmedian(change)),
        )


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
    """Return sums by sample of the first rows, from which follows what each sample does to a number."""
    with torch.no_grad():
        x, codes, x_hat = _read(sae, acts, most_rows)
        counts = codes.l0.double()
        sizes = codes.values.double().abs()
        wide, x_hat = x.double(), x_hat.double()
        mean = wide.mean(dim=0)
        parts = {
            "n": torch.ones_like(counts),
            "e2": (wide - x_hat).square().sum(dim=1),
            "v2": (wide - mean).square().sum(dim=1),
            "x2": wide.square().sum(dim=1),
            "xh2": x_hat.square().sum(dim=1),
            "xxh": (wide * x_hat).sum(dim=1),
            "cos": torch.cosine_similarity(wide, x_hat, dim=1),
            "cosc": torch.cosine_similarity(wide - mean, x_hat - mean, dim=1),
            "ratio": x_hat.norm(dim=1) / wide.norm(dim=1).clamp_min(1e-12),
            "l0": counts,
            "l1": torch.zeros_like(counts).index_add_(0, codes.support.rows, sizes),
        }
    samples, index = np.unique(acts.sample[: len(x)].numpy(), return_inverse=True)
    columns = {
        name: np.bincount(index, weights=values.cpu().numpy(), minlength=len(samples))
        for name, values in parts.items()
    }
    return RowSums(samples=samples, columns=columns)


def _read(
    sae: SparseAutoencoder, acts: Activations, most: int
) -> tuple[Tensor, SparseCodes, Tensor]:
    """The first rows with codes and reconstructions; in whole samples where the SAE reads those."""
    parts: list[tuple[Tensor, SparseCodes, Tensor]] = []
    n = 0
    for _, x, codes, x_hat in encoded_rows(sae, acts, min(most, CHUNK)):
        parts.append((x, codes, x_hat))
        n += len(x)
        if n >= most:
            break
    rows, codes_of_parts, reconstructions = zip(*parts)
    return torch.cat(rows), SparseCodes.concatenate(codes_of_parts), torch.cat(reconstructions)


def published_values(
    sae: SparseAutoencoder, acts: Activations, definition: str
) -> dict[str, float]:
    """Return what other libraries' formulas of a quantity give on these very rows, by formula id.

    `definition`: Id of ours.
    """
    chosen = [f for f in published_formulas().values() if f.ours == definition]
    chosen = [f for f in chosen if set(f.needs) <= {"x", "x_hat", "codes", "dictionary"}]
    if not chosen:
        return {}
    with torch.no_grad():
        x, codes, x_hat = _read(sae, acts, MOST_ROWS)
        known: dict[str, Any] = {
            "x": x,
            "x_hat": x_hat,
            "codes": codes,
            "dictionary": sae.dictionary,
        }
        return {f.id: as_published(f.id, **{n: known[n] for n in f.needs}) for f in chosen}
