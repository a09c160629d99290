"""C-insertion and C-deletion: the answer as concepts come in, or go, in the order of their importance."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Count, Resamples, Seed, as_tensor, check_callable, checked
from sae_nb.figures import Chart, Points
from sae_nb.findings import Plotted
from sae_nb.statistics import bootstrap_counts, percentile_interval
from sae_nb_studies.vision._sobol import Head, ask, check_codes, numbers_of

if TYPE_CHECKING:
    import pandas as pd

Baseline = Literal["zero", "mean"]


class ConceptCurves(Plotted):
    """The answer with the k most important concepts alone, and without them, k = 0 … n_concepts."""

    insertion: Float[np.ndarray, " steps"]
    deletion: Float[np.ndarray, " steps"]
    """Means over inputs, in the units of the answer."""

    random_insertion: Float[np.ndarray, "draws steps"]
    random_deletion: Float[np.ndarray, "draws steps"]
    """The same with concepts in random order, one row a draw."""

    intervals: dict[str, tuple[float, float]]
    """95 % of both areas over resamples of the inputs."""

    baseline: Baseline

    @property
    def table(self) -> pd.DataFrame:
        """Areas under both curves with intervals; the floor and its sd are of random orders."""
        import pandas as pd

        rows = {}
        for name, curve, random in (
            ("insertion", self.insertion, self.random_insertion),
            ("deletion", self.deletion, self.random_deletion),
        ):
            low, high = self.intervals[name]
            areas = area(random)
            rows[name] = {
                "area": float(area(curve)),
                "low": low,
                "high": high,
                "floor": float(areas.mean()),
                "floor sd": float(areas.std()),
            }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("curve")

    @property
    def chart(self) -> Chart:
        """Both curves, and dashed with concepts in random order."""
        k = np.arange(len(self.insertion))
        series = (
            Points("insertion", k, self.insertion),
            Points("insertion, random order", k, self.random_insertion.mean(axis=0), control=True),
            Points("deletion", k, self.deletion),
            Points("deletion, random order", k, self.random_deletion.mean(axis=0), control=True),
        )
        return Chart(series=series, x="concepts inserted or deleted", y="answer")

    @property
    def headline(self) -> str:
        """Both areas, and those of random orders."""
        rows = self.table
        said = ", ".join(
            f"{name} {row.area:.3f} (random {row.floor:.3f})" for name, row in rows.iterrows()
        )
        return f"{said}; {self.baseline} baseline"


def area(curve: Float[np.ndarray, "... steps"]) -> Float[np.ndarray, "..."]:
    """Return area under curves over [0, 1] by trapezoids; that of a constant is the constant.

    >>> float(area(np.array([2.0, 2.0, 2.0])))
    2.0
    """
    return np.trapezoid(curve, dx=1 / (curve.shape[-1] - 1), axis=-1)


@checked(leave=("head", "codes", "importance"))
@torch.no_grad()
def concept_curves(
    head: Head,
    codes: Float[Tensor, "n ... n_concepts"],
    importance: Float[Tensor, " n_concepts"] | Float[Tensor, "n n_concepts"],
    *,
    baseline: Baseline = "mean",
    n_random: Count = 10,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> ConceptCurves:
    """Measure the answer as concepts are inserted, or deleted, the most important first.

    A good order lets insertion rise at once and deletion fall at once: a larger area of insertion, a smaller
    one of deletion, than random orders have.

    Parameters
    ----------
    head, codes
        As for `sobol`.
    importance
        Of each concept, for all inputs or per input: `sobol(…).total` or `.per_input`.
    baseline
        Replacement of a concept: 0, or its mean over inputs and places. Where a concept is rarely
        absent, 0 is what the model never sees.
    n_random
        Random orders, each the same for all inputs: the floor.
    n_bootstrap
        Resamples of the inputs that intervals are drawn from; 0 leaves them NaN.
    seed
        Of orders and resamples.

    Raises
    ------
    TypeError, ValueError: As `sobol`; also if `importance` does not have a number per concept.

    Source
    ------
    CRAFT, arXiv 2211.10154, §4.1 (C-insertion, C-deletion, theirs with zero). The floor is ours.

    Example
    -------
    >>> answer = lambda u: u @ torch.tensor([3.0, 1.0])
    >>> curves = concept_curves(answer, torch.ones(1, 2), [0.9, 0.1], baseline="zero")
    >>> curves.insertion.tolist(), curves.deletion.tolist()
    ([0.0, 3.0, 4.0], [4.0, 1.0, 0.0])
    """
    check_callable(head, name="head")
    codes = check_codes(codes)
    n, r = len(codes), codes.shape[-1]
    weight = as_tensor(importance, name="importance").detach().double()
    if weight.shape not in ((r,), (n, r)):
        raise ValueError(
            f"`importance` must have one number per concept, ({r},) or ({n}, {r}), got "
            f"{tuple(weight.shape)}. Use sobol(…).total."
        )
    numbers_of(weight, "importance")
    generator = torch.Generator().manual_seed(seed)
    orders = [(-weight).expand(n, r).argsort(dim=1, stable=True)]
    orders += [torch.randperm(r, generator=generator).expand(n, r) for _ in range(n_random)]
    filler = torch.zeros_like(codes[:1])
    if baseline == "mean":
        filler = codes.flatten(0, -2).mean(dim=0).expand_as(filler)
    curves = np.stack([walk(head, codes, filler, order) for order in orders])
    own = curves[0]  # (2, n, steps)
    counts = bootstrap_counts(n, n_bootstrap, seed) / n
    names = ("insertion", "deletion")
    return ConceptCurves(
        insertion=own[0].mean(axis=0),
        deletion=own[1].mean(axis=0),
        random_insertion=curves[1:, 0].mean(axis=1),
        random_deletion=curves[1:, 1].mean(axis=1),
        intervals={
            name: percentile_interval(counts @ area(curve))
            for name, curve in zip(names, own, strict=True)
        },
        baseline=baseline,
    )


Filler = Tensor | Callable[[Tensor], Tensor]
"""Replacement of the parts left out: one thing for all, or a function of what is kept."""


def walk(
    head: Head,
    codes: Float[Tensor, "n ... r"],
    filler: Filler,
    order: Int[Tensor, "n r"],
    counts: Int[Tensor, " steps"] | None = None,
) -> Float[np.ndarray, "2 n steps"]:
    """Return answers with the first k concepts of an order alone, then without them; k: all, or some
    `counts`.
    """
    n, r = order.shape
    rank = order.argsort(dim=1)  # place of each concept in the order
    steps = torch.arange(r + 1) if counts is None else counts
    there = rank[:, None, :] < steps[None, :, None]
    there = there.view(n, len(steps), *[1] * (codes.ndim - 2), r).to(codes.device)
    both = []
    for kept in (there, ~there):
        fill = filler(kept) if callable(filler) else filler[:, None]
        variants = torch.where(kept, codes[:, None], fill)
        both.append(ask(head, variants).double().numpy())
    return np.stack(both)
