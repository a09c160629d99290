"""The report's rows on the dictionary itself, and on which atoms are used together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sae_nb.evaluation.coactive_pairs import LEAST_ROWS, Coactivation, coactivation
from sae_nb.evaluation.definitions import define
from sae_nb.evaluation.geometry_of_atoms import AtomGeometry, atom_geometry, encoder_cosines
from sae_nb.evaluation.measurement import UNKNOWN, Interval, Measurement, bootstrap_values
from sae_nb.evaluation.near_data import distances_to_data

if TYPE_CHECKING:
    from sae_nb.architectures.base import SparseAutoencoder
    from sae_nb.evaluation.row_pass import RowPass

Row = tuple[str, Measurement]


def atom_rows(
    sae: SparseAutoencoder, rows: RowPass, *, n_bootstrap: int, seed: int
) -> dict[str, Measurement]:
    """Return geometry, nearness to the data and use together, each beside the random dictionary's.

    An SAE of one atom has no neighbours, so that those rows are left out.
    """
    how = {"n_bootstrap": n_bootstrap, "seed": seed}
    random = rows.random.dictionary
    found = dict(_encoder_rows(sae, how)) | dict(_near_rows(sae, rows, how))
    if sae.n_atoms > 1:
        m = min(max(round(rows.sparsity.l0), 1), sae.n_atoms - 1)
        pair = atom_geometry(sae, m=m), atom_geometry(random, m=m)
        found = dict(_geometry_rows(*pair, how)) | found
        codes = rows.codes.codes(), rows.control_codes.codes()
        pair_used = coactivation(codes[0], sae.dictionary), coactivation(codes[1], random)
        found |= dict(_use_rows(*pair_used, _variance(rows), how))
    return found


def _measure(
    definition: str,
    value: float,
    floor: float | None,
    control: float | None,
    n: int,
    interval: Interval = UNKNOWN,
    unit: str = "atoms",
) -> Measurement:
    return Measurement(
        value=float(value),
        floor=None if floor is None else float(floor),
        control=None if control is None else float(control),
        interval=interval,
        definition=define(definition).id,
        n=n,
        unit=unit,
    )


def _geometry_rows(own: AtomGeometry, chance: AtomGeometry, how: dict[str, int]) -> Iterator[Row]:
    n, welch = len(own.max_cosine), own.welch
    quantiles: tuple[tuple[str, str, float], ...] = (
        ("max_cosine", "max_cosine_median", 0.5),
        ("max_cosine_p95", "max_cosine_p95", 0.95),
    )
    yield "coherence", _measure("coherence", own.coherence, welch, chance.coherence, n)
    for name, definition, q in quantiles:
        values = (float(np.quantile(g.max_cosine, q)) for g in (own, chance))
        interval = bootstrap_values(own.max_cosine, q, **how)
        yield name, _measure(definition, next(values), welch, next(values), n, interval)
    yield "babel", _measure("babel", own.babel, own.m * welch, chance.babel, n)
    yield "stable_rank", _measure("stable_rank", own.stable_rank, 1.0, chance.stable_rank, n)
    pair = own.effective_rank, chance.effective_rank
    yield "effective_rank", _measure("effective_rank", pair[0], 1.0, pair[1], n)
    yield (
        "duplicate_fraction",
        _measure(
            "duplicate_fraction",
            own.alike.mean(),
            0.0,
            chance.alike.mean(),
            n,
            bootstrap_values(own.alike, "mean", **how),
        ),
    )


def _encoder_rows(sae: SparseAutoencoder, how: dict[str, int]) -> Iterator[Row]:
    cosines = encoder_cosines(sae)
    if cosines is not None:
        interval = bootstrap_values(cosines, "median", **how)
        value = float(np.median(cosines))
        yield (
            "encoder_cosine",
            _measure("encoder_cosine", value, 0.0, None, len(cosines), interval),
        )


def _near_rows(sae: SparseAutoencoder, rows: RowPass, how: dict[str, int]) -> Iterator[Row]:
    if not bool((rows.near != rows.near[:1]).any()):
        return  # rows that are all alike have no directions
    away = distances_to_data(sae.dictionary.detach(), rows.near, rows.mean)
    chance = float(distances_to_data(rows.random.dictionary, rows.near, rows.mean).mean())
    interval = bootstrap_values(away, "mean", **how)
    yield "ood", _measure("ood_score", away.mean(), chance, chance, len(away), interval)


def _use_rows(
    own: Coactivation, chance: Coactivation, variance: float, how: dict[str, int]
) -> Iterator[Row]:
    c = len(own.counts)
    alone, n = 1 - 1 / c, own.n_rows
    connected = own.connectivity, alone, chance.connectivity
    yield "connectivity", _measure("connectivity", *connected, n, unit="rows")
    shares = [f.interference / variance if variance > 0 else np.nan for f in (own, chance)]
    against = shares[0], 0.0, shares[1]
    yield "negative_interference", _measure("negative_interference", *against, n, unit="rows")
    best, best_chance = (_best_npmi(found) for found in (own, chance))
    interval = bootstrap_values(best, "mean", **how)
    values = (float(v.mean()) if len(v) else float("nan") for v in (best, best_chance))
    yield "npmi_top", _measure("npmi_top", next(values), 0.0, next(values), len(best), interval)


def _best_npmi(found: Coactivation) -> np.ndarray:
    """NPMI of each atom with its closest partner, where it has one and enough rows."""
    return found.npmi[(found.counts >= LEAST_ROWS) & (found.partner[:, 0] >= 0), 0]


def _variance(rows: RowPass) -> float:
    """Mean squared distance of a row from the mean."""
    moments = rows.reconstruction.moments
    return float(moments.m2.sum()) / moments.n
