"""SparKer: a few Gaussian kernels that move and sharpen until they lie where data differ from a reference."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import (
    Between,
    Count,
    Seed,
    at_least,
    check_count,
    check_data,
    check_integer,
    check_matrix,
    check_memory,
    checked,
)
from sae_nb.findings import Finding
from sae_nb.statistics import permutation_p
from sae_nb_studies.lab._sparker_fit import (
    Draw,
    Rows,
    dealt,
    distance_quantiles,
    drawn,
    fit,
    kernels_at,
    spread,
)

if TYPE_CHECKING:
    from pandas import DataFrame

Level = Annotated[float, Between(0, 1, "()")]
"""Level of a test."""


SHARPENING = 0.7
"""Share of the steps in which the width falls; in the rest it stays."""


@checked
@dataclass(frozen=True, eq=False)
class SparKer:
    """A test of whether data follow a reference, by a few local kernels that go to where they do not.

    The alternative is n(x) = n_ref(x) exp f(x), with f(x) = Σ_m a_m k_m(x) c_m(x), kernels
    k_m = exp(−‖x − μ_m‖² / 2σ²) of one width, and c_m their softmax over m: they compete for every row.
    Centres and amplitudes minimise L = w Σ_ref (e^f − 1) − Σ_data f, with w the rows expected for each row of
    the reference; σ falls on the way, so that kernels first see from afar and then sharpen. The statistic is
    −2 L, twice a log-likelihood ratio, and p its place among fits to toys in which there is nothing to find.

    Parameters
    ----------
    n_kernels
        M. For k places where data differ, some more than k.
    widths
        First and last σ, in the units of x; None: the 0.9 and the 0.02 quantile of the distances between rows.
        In many dimensions distances are all alike: give a last width of the size of what is looked for.
    anneal
        False: σ is the last width from the first step on, as a control.
    competition
        False: c_m = 1.
    n_steps
        Of Adam, over all rows.
    largest
        Bound of |a_m|, else e^f runs away where the reference has no rows.

    Source
    ------
    After "Sparse, self-organizing ensembles of local kernels detect rare statistical anomalies", arXiv
    2511.03095, of which we had the abstract and summaries; loss and statistic as in GaiaGrosso/NPLM_package.
    Ours: the form of the competition, the schedule of the width, the bound, and toys by permutation.

    Example
    -------
    >>> draw = torch.Generator().manual_seed(0)
    >>> reference, data = torch.randn(800, 2, generator=draw), torch.randn(200, 2, generator=draw)
    >>> data[:20] = 0.1 * data[:20] + torch.tensor([1.6, -1.2])  # a clump that does not belong
    >>> found = SparKer(4, widths=(1.5, 0.25), n_steps=100).fit(reference, data, n_toys=19)
    >>> found.p_value
    0.05
    >>> bool(found.nearest(5)[0].max() < 20)  # rows by the strongest kernel
    True
    """

    n_kernels: Count = 8
    _: KW_ONLY
    widths: tuple[float, float] | None = None
    anneal: bool = True
    competition: bool = True
    n_steps: Count = 200
    largest: Annotated[float, Between(0, 20, "(]")] = 4.0

    def __post_init__(self) -> None:
        if self.widths is None:
            return
        first, last = self.widths
        if not (math.isfinite(first) and first >= last > 0):
            raise ValueError(
                f"`widths` must fall from the first to the last, both above 0, got {self.widths}. "
                "Use (1.5, 0.25)."
            )

    @checked(leave=("draw",))
    def fit(
        self,
        reference: Float[Tensor, "n_reference d_in"],
        data: Float[Tensor, "n_data d_in"],
        *,
        n_toys: Annotated[int, at_least(0)] = 99,
        level: Level = 0.05,
        draw: Draw | None = None,
        expected: float | None = None,
        seed: Seed = 0,
    ) -> AnomalyTest:
        """Move kernels to where `data` differ, and say how likely that is where nothing differs.

        Parameters
        ----------
        reference
            Rows in which there is nothing to find: points, codes, states of a model.
        data
            Rows that may hold something.
        n_toys
            Fits where there is nothing to find; 0 for kernels without p.
        level
            Smallest p that is to be reachable: it needs 1 / level − 1 toys.
        draw
            `draw(n, generator)` makes n fresh rows of what the reference is of; a toy is such rows in
            place of `data`. None: a toy redistributes the rows of both sides, which is exact for any
            rows that are exchangeable, and needs no more of them.
        expected
            Rows expected in `data` where there is nothing to find; toys then have a Poisson number of
            them, and a surplus counts as evidence. Needs `draw`. None: the number of rows is not
            evidence.
        seed
            Draws toys and first centres.

        Raises
        ------
        TypeError, ValueError: If rows are not finite matrices of one width, or are all the same; if
        there are
            too few toys for `level`.
        MemoryError: If kernels at all rows do not fit.
        """
        reference = check_data(check_matrix(reference, name="reference"), name="reference").detach()
        data = check_data(check_matrix(data, name="data", d_in=reference.shape[1]), name="data")
        data = data.detach().to(reference)
        check_toys(n_toys, level)
        if expected is not None and (draw is None or not 0 < expected < 2**31):
            raise ValueError(
                f"`expected` must be above 0 and go with `draw`, got {expected}. Leave it out where the "
                "number of rows is not evidence."
            )
        n, d_in = len(reference) + len(data), reference.shape[1]
        kept = self.n_steps * self.n_kernels * d_in
        check_memory(
            4 * (12 * n * self.n_kernels + 4 * n * d_in + kept),
            f"{self.n_kernels} kernels at {n} rows, and their way over {self.n_steps} steps,",
            "Use fewer rows or kernels.",
        )
        generator = torch.Generator().manual_seed(seed)
        known = torch.cat([reference, data]) if draw is None else reference
        centre, unit = known.mean(dim=0), spread(known)
        widths = self._schedule(known, generator)
        weight = (expected or len(data)) / len(reference)

        def fitted(ours: Tensor, theirs: Tensor) -> tuple[float, Tensor, Tensor]:
            rows = torch.cat([ours, theirs]).sub(centre).div_(unit)
            return fit(rows, len(ours), weight, widths / unit, self, generator)

        statistic, path, amplitudes = fitted(reference, data)
        sides = (
            dealt(reference, data, generator)
            if draw is None
            else (drawn(reference, draw, expected or len(data), expected is not None, generator))
        )
        null = [fitted(*next(sides))[0] for _ in range(n_toys)]
        return AnomalyTest(
            settings=self,
            reference=reference,
            data=data,
            statistic=statistic,
            null=torch.tensor(null, dtype=torch.float64),
            level=level,
            amplitudes=amplitudes,
            path=path * unit + centre,
            widths=widths,
        )

    def _schedule(self, rows: Rows, generator: torch.Generator) -> Float[Tensor, " n_steps"]:
        """σ_t = σ_0 (σ_1/σ_0)^min(1, t / 0.7 T)."""
        first, last = distance_quantiles(rows, generator) if self.widths is None else self.widths
        t = torch.arange(1, self.n_steps + 1, dtype=torch.float64) / (SHARPENING * self.n_steps)
        share = t.clamp_max(1.0) if self.anneal else torch.ones_like(t)
        return first * (last / first) ** share


class AnomalyTest(Finding):
    """Where data differ from a reference, and how sure that is; made by `SparKer.fit`."""

    settings: SparKer
    reference: Float[Tensor, "n_reference d_in"]
    data: Float[Tensor, "n_data d_in"]
    statistic: float
    """−2 L of the fit: how much better the kernels explain the data than the reference alone."""

    null: Float[Tensor, " n_toys"]
    """The same of each toy."""

    level: float
    amplitudes: Float[Tensor, " n_kernels"]
    """a: the logarithm of how many times more rows there are than the reference has, by a kernel alone."""

    path: Float[Tensor, "n_steps n_kernels d_in"]
    """Centres after every step, in the units of the rows."""

    widths: Float[Tensor, " n_steps"]
    """σ in every step."""

    @property
    def centres(self) -> Float[Tensor, "n_kernels d_in"]:
        """Final positions of the kernels."""
        return self.path[-1]

    @property
    def p_value(self) -> float:
        """(1 + toys that reach the statistic) / (1 + toys).

        Raises
        ------
        ValueError: If there are no toys.
        """
        if not len(self.null):
            raise ValueError(f"`p_value` must have toys, got none. {_needed(self.level)}")
        return float(permutation_p(self.null.numpy(), self.statistic))

    @checked
    def rejects(self, level: Level = 0.05) -> bool:
        """Return whether p ≤ level.

        Raises
        ------
        ValueError: If there are too few toys for that level.
        """
        check_toys(len(self.null), level)
        return self.p_value <= level

    @property
    def table(self) -> DataFrame:
        """A kernel per row, the strongest first: kernel, amplitude, and rows within 2σ: data, expected."""
        import pandas as pd

        order = torch.argsort(self.amplitudes, descending=True, stable=True)
        at, reach = self.centres[order], 2 * float(self.widths[-1])
        here, there = (
            (torch.cdist(at, x) <= reach).sum(dim=1) for x in (self.data, self.reference)
        )
        share = len(self.data) / len(self.reference)
        columns = {
            "kernel": order.cpu().numpy(),
            "amplitude": self.amplitudes[order].cpu().numpy(),
            "data": here.cpu().numpy(),
            "expected": there.cpu().numpy() * share,
        }
        return pd.DataFrame(columns)

    @checked
    def nearest(self, n: int = 5) -> Int[Tensor, "n_kernels n"]:
        """Return rows of the data nearest to each kernel, kernels in the order of `table`.

        Raises
        ------
        ValueError: If there are not that many rows.
        """
        check_count(n, name="n", at_most=len(self.data))
        order = torch.argsort(self.amplitudes, descending=True, stable=True)
        return torch.cdist(self.centres[order], self.data).topk(n, largest=False).indices

    @checked
    def log_ratio(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, " n"]:
        """Return f of some rows: the logarithm of how many times more there are than in the reference."""
        rows = check_data(check_matrix(x, d_in=self.data.shape[1]), name="x").detach().to(self.data)
        middle = self.centres.mean(dim=0)
        squares, at = (rows - middle).square().sum(dim=1), self.centres - middle
        width = float(self.widths[-1])
        kernels, _ = kernels_at(rows - middle, squares, at, width, self.settings.competition)
        return self.amplitudes @ kernels

    def figure(self, step: int | None = None) -> Any:
        """Draw the kernels over the rows at a step, by default the last; circles have radius σ.

        More than two dimensions are seen along the first two principal components of all rows.

        Raises
        ------
        IndexError: If there is no such step.
        """
        from sae_nb_studies.lab._sparker_figure import kernels_over_rows

        last = len(self.widths) - 1
        step = last if step is None else check_integer(step, name="step")
        if not 0 <= step <= last:
            raise IndexError(f"`step` must be between 0 and {last}, got {step}.")
        return kernels_over_rows(self, step)

    def null_figure(self) -> Any:
        """Draw the statistic among its toys.

        Raises
        ------
        ValueError: If there are no toys.
        """
        from sae_nb.figures import null_distribution

        if not len(self.null):
            raise ValueError(f"`null_figure` needs toys, got none. {_needed(self.level)}")
        return null_distribution(
            self.null.numpy(), self.statistic, level=self.level, x="statistic −2 L"
        )

    @property
    def headline(self) -> str:
        """Rows, kernels, the statistic and its p-value."""
        p = f"p = {self.p_value:.3g} of {len(self.null)} toys" if len(self.null) else "no toys"
        return (
            f"{len(self.data)} rows against {len(self.reference)}, {len(self.amplitudes)} kernels: "
            f"statistic {self.statistic:.1f}, {p}"
        )


def check_toys(n_toys: int, level: float) -> None:
    """Refuse a level that so few toys cannot reach; none at all are none on purpose."""
    if n_toys and 1 / (1 + n_toys) > level * (1 + 1e-9):
        raise ValueError(
            f"`n_toys` must be large enough for p ≤ {level:g}, got {n_toys}, of which the smallest p is "
            f"{1 / (1 + n_toys):.3g}. {_needed(level)}"
        )


def _needed(level: float) -> str:
    return f"Use n_toys={math.ceil(1 / level - 1e-9) - 1} or more for p ≤ {level:g}."
