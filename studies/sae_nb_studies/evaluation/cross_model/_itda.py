"""ITDAs of two models or layers, compared by the rows that they stored of the same inputs.

J = |A ∩ B| / |A ∪ B|: `ITDA.jaccard`, with the floor and the interval that a measurement has.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.activations import Activations, acts_for
from sae_nb.checks import Resamples, Seed, checked
from sae_nb.classical import ITDA
from sae_nb.evaluation import Measurement, Resampling

_DRAWS = 50  # random choices of rows behind the floor of the overlap


@checked
def compare_itda(
    first: ITDA,
    second: ITDA,
    acts: Activations | Float[Tensor, "n d_in"],
    *,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> Measurement:
    """Return the Jaccard index of the rows that two ITDAs stored of the same inputs.

    J = |A ∩ B| / |A ∪ B|, of ITDAs fitted to aligned activations of two models or layers, in one order.
    Its floor is the mean for the same numbers of rows drawn at random. The first rows are stored whatever
    they are, so that unrelated activations share somewhat more than that: shuffle before you fit.

    Parameters
    ----------
    acts
        Rows that `first` was fitted to: all rows that were available for storing. Those of `second` are
        the same tokens or patches.
    n_bootstrap, seed
        Samples of `acts` are redrawn that many times for the interval, from this seed; it also draws
        the floor.

    Raises
    ------
    ValueError: If one of them was not fitted yet, or stored a row that is not in `acts`.

    Source
    ------
    "Inference-Time Decomposition of Activations", arXiv 2505.17769 (layer_similarity.py). Floor and
    interval are ours.

    Example
    -------
    >>> import torch
    >>> x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    >>> one, other = (ITDA(4, 2, threshold=0.2).fit(rows, progress=False) for rows in (x, 3 * x))
    >>> compare_itda(one, other, x).value
    1.0
    """
    resampling = Resampling(n_bootstrap, seed)
    rows = acts_for(first, acts)
    a, b = (_stored(one, rows, name) for one, name in ((first, "first"), (second, "second")))
    n, n_first, n_second = len(rows), int(a.sum()), int(b.sum())
    # The overlap of random choices is hypergeometric.
    drawn = np.random.default_rng(seed).hypergeometric(n_first, n - n_first, n_second, size=_DRAWS)
    columns = np.stack([a & b, a | b], axis=1).astype(np.float64)
    both, either = resampling.grouped(columns, rows.sample.numpy()).T
    floor = (drawn / (n_first + n_second - drawn)).mean()
    return resampling.ratio(
        "itda_jaccard", both, either, floor=floor, n=int(either.sum()), unit="rows"
    )


def _stored(itda: ITDA, acts: Activations, name: str) -> Bool[np.ndarray, " n"]:
    """Return the rows of the activations that an ITDA stored."""
    if not itda.stored:
        raise ValueError(
            f"`{name}` must be fitted first: it stores no row yet. Use itda.fit(acts)."
        )
    place = zip(acts.sample.tolist(), acts.position.tolist(), strict=True)
    number = {where: row for row, where in enumerate(place)}
    chosen = np.zeros(len(acts), dtype=bool)
    for row in itda.stored:
        if (row.sample, row.position) not in number:
            raise ValueError(
                f"`acts` must be what `{name}` was fitted to, got {len(acts)} rows without "
                f"{row.words}, which it stored. Pass all of them, captured from the same inputs."
            )
        chosen[number[row.sample, row.position]] = True
    return chosen
