"""The report's rows on the dictionary itself, and on which atoms are used together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sae_nb.checks import unchecked
from sae_nb.evaluation.dictionary._distances import MOST_ROWS, distances_row
from sae_nb.evaluation.dictionary._near_data import distances_to_data
from sae_nb.evaluation.report._measurement import Measurement, Resampling, measured
from sae_nb.geometry._coactivation import (
    LEAST_ROWS,
    Coactivation,
    coactivation,
)
from sae_nb.geometry._coherence import (
    AtomGeometry,
    atom_geometry,
    encoder_cosines,
)
from sae_nb.statistics import UNKNOWN, Interval

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.evaluation.report._row_pass import RowPass


def atom_rows(
    sae: SparseAutoencoder, rows: RowPass, resampling: Resampling
) -> dict[str, Measurement]:
    """Return geometry, nearness to the data and use together, each with the random dictionary's as control.

    An SAE of one atom has no neighbours, so that those rows are left out.
    """
    random = rows.random.dictionary
    found = _encoder(sae, resampling) | _near(sae, rows, resampling)
    if sae.n_atoms > 1:
        m = min(max(round(rows.sparsity.l0), 1), sae.n_atoms - 1)
        geometry, together = unchecked(atom_geometry), unchecked(coactivation)
        found = _geometry(geometry(sae, m=m), geometry(random, m=m), resampling) | found
        own = together(rows.codes.codes(), sae.dictionary)
        chance = together(rows.control_codes.codes(), random)
        moments = rows.reconstruction.moments
        variance = float(moments.m2.sum()) / moments.n  # mean squared distance from the mean
        found |= _use(own, chance, variance, resampling)
    return found | _distances(rows, resampling)


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


def _encoder(sae: SparseAutoencoder, resampling: Resampling) -> dict[str, Measurement]:
    cosines = unchecked(encoder_cosines)(sae)
    if cosines is None:
        return {}
    return {
        "encoder_cosine": measured(
            "encoder_cosine",
            np.median(cosines),
            floor=0.0,
            interval=resampling.spread(cosines, "median"),
            n=len(cosines),
            unit="atoms",
        )
    }


def _near(sae: SparseAutoencoder, rows: RowPass, resampling: Resampling) -> dict[str, Measurement]:
    if not bool((rows.near != rows.near[:1]).any()):
        return {}  # rows that are all alike have no directions
    away = distances_to_data(sae.dictionary.detach(), rows.near, rows.mean)
    chance = distances_to_data(rows.random.dictionary, rows.near, rows.mean).mean()
    return {"ood": resampling.mean("ood_score", away, floor=chance, control=chance, unit="atoms")}


def _distances(rows: RowPass, resampling: Resampling) -> dict[str, Measurement]:
    which, x, codes, chance = rows.drawn(MOST_ROWS)
    kept = distances_row(x - rows.mean, codes, chance, rows.group[which], resampling)
    return {} if kept is None else {"distances_kept": kept}


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
