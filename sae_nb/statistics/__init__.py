"""Intervals, permutations, ranks and linear probes: on scipy and scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.statistics._bootstrap import (
        UNKNOWN as UNKNOWN,
        Bootstrap as Bootstrap,
        Interval as Interval,
        Statistic as Statistic,
        bootstrap_counts as bootstrap_counts,
        bootstrap_interval as bootstrap_interval,
        group_rows as group_rows,
        mean_interval as mean_interval,
        percentile_interval as percentile_interval,
        percentile_intervals as percentile_intervals,
        wilson_interval as wilson_interval,
    )
    from sae_nb.statistics._permutations import (
        Difference as Difference,
        mantel_null as mantel_null,
        n_arrangements as n_arrangements,
        permutation_p as permutation_p,
        permuted_difference as permuted_difference,
        q_values as q_values,
    )
    from sae_nb.statistics._probes import (
        LogisticProbe as LogisticProbe,
        logistic_probe as logistic_probe,
    )
    from sae_nb.statistics._ranks import (
        auroc as auroc,
        correlation as correlation,
        correlation_p as correlation_p,
        rank_correlation as rank_correlation,
        ranks_of as ranks_of,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
