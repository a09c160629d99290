"""The report's rows on the dictionary itself, and on which atoms are used together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sae_nb.evaluation.dictionary._distances import MOST_ROWS, distances_row
from sae_nb.evaluation.dictionary._near_data import distances_to_data
from sae_nb.evaluation.report._measurement import Measurement, Resampling, measured
from sae_nb.geometry._coactivation import LEAST_ROWS, Coactivation, PairCounts
from sae_nb.geometry._coherence import AtomGeometry, cosines_with_encoder, geometry_of, unit_atoms
from sae_nb.statistics import UNKNOWN, Interval

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.evaluation.report._row_pass import RowPass

_PARTNERS = 10  # named per atom


def atom_rows(
    sae: SparseAutoencoder, rows: RowPass, resampling: Resampling
) -> dict[str, Measurement]:
    """Return geometry, nearness to the data and use together, each with the random dictionary's as control.

    An SAE of one atom has no neighbours, so that those rows are left out.
    """
    atoms, random = sae.dictionary.detach(), rows.random.dictionary
    found: dict[str, Measurement] = {}
    copied: list[np.ndarray | None] = [None, None]
    if sae.n_atoms > 1:
        m = min(max(round(rows.sparsity.l0), 1), sae.n_atoms - 1)
        uses = [
            PairCounts(codes.codes(), one, _PARTNERS)
            for codes, one in ((rows.codes, atoms), (rows.control_codes, random))
        ]
        own, chance = (
            geometry_of(unit_atoms(one), m, use.add)
            for one, use in zip((atoms, random), uses, strict=True)
        )
        found |= _geometry(own, chance, resampling)
        copied = [own.copied, chance.copied]
    cosines = cosines_with_encoder(sae)
    if cosines is not None:
        found["encoder_cosine"] = measured(
            "encoder_cosine",
            np.median(cosines),
            floor=0.0,
            interval=resampling.spread(cosines, "median"),
            n=len(cosines),
            unit="atoms",
        )
    if bool((rows.near != rows.near[:1]).any()):  # rows that are all alike have no directions
        near, mean, products = rows.near, rows.mean, rows.products_at_random()
        away = distances_to_data(atoms, near, mean, copied=copied[0])
        floor = distances_to_data(random, near, mean, copied=copied[1], strongest=products).mean()
        found["ood"] = resampling.mean("ood_score", away, floor=floor, control=floor, unit="atoms")
    if sae.n_atoms > 1:
        moments = rows.reconstruction.moments
        variance = float(moments.m2.sum()) / moments.n  # mean squared distance from the mean
        own_use, random_use = (use.found() for use in uses)
        found |= _use(own_use, random_use, variance, resampling)
    which, x, codes, control = rows.drawn(MOST_ROWS)
    kept = distances_row(x - rows.mean, codes, control, rows.group[which], resampling)
    return found if kept is None else found | {"distances_kept": kept}


def _geometry(
    own: AtomGeometry, chance: AtomGeometry, resampling: Resampling
) -> dict[str, Measurement]:
    n, welch = len(own.max_cosine), own.welch

    def row(
        definition: str, value: float, floor: float, control: float, interval: Interval = UNKNOWN
    ) -> Measurement:
        return measured(
            definition, value, interval, floor=floor, control=control, n=n, unit="atoms"
        )

    def cosines(definition: str, q: float) -> Measurement:
        value, control = (float(np.quantile(g.max_cosine, q)) for g in (own, chance))
        return row(definition, value, welch, control, resampling.spread(own.max_cosine, q))

    return {
        "coherence": row("coherence", own.coherence, welch, chance.coherence),
        "max_cosine": cosines("max_cosine_median", 0.5),
        "max_cosine_p95": cosines("max_cosine_p95", 0.95),
        "babel": row("babel", own.babel, own.m * welch, chance.babel),
        "stable_rank": row("stable_rank", own.stable_rank, 1.0, chance.stable_rank),
        "effective_rank": row("effective_rank", own.effective_rank, 1.0, chance.effective_rank),
        "duplicate_fraction": resampling.mean(
            "duplicate_fraction", own.alike, floor=0.0, control=chance.alike.mean(), unit="atoms"
        ),
    }


def _use(
    own: Coactivation, chance: Coactivation, variance: float, resampling: Resampling
) -> dict[str, Measurement]:
    shares = [f.interference / variance if variance > 0 else np.nan for f in (own, chance)]
    # Of each atom with its closest partner, where it has one and enough rows.
    best, best_chance = (
        f.npmi[(f.counts >= LEAST_ROWS) & (f.partner[:, 0] >= 0), 0] for f in (own, chance)
    )
    alone, n = 1 - 1 / len(own.counts), own.n_rows
    return {
        "connectivity": measured(
            "connectivity", own.connectivity, floor=alone, control=chance.connectivity, n=n
        ),
        "negative_interference": measured(
            "negative_interference", shares[0], floor=0.0, control=shares[1], n=n
        ),
        "npmi_top": resampling.mean(
            "npmi_top",
            best,
            floor=0.0,
            control=best_chance.mean() if len(best_chance) else np.nan,
            unit="atoms",
        ),
    }
