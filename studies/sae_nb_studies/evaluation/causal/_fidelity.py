"""Is an attribution right? Its agreement with exact splices, and what the nodes it ranks first carry.

Nodes of an input: every entry (t, j) of its codes, and one error per position. With z̄_j the atom's mean
and μ the mean row, x_t = μ + Σ_j (z_tj − z̄_j) d_j + e_t, over the atoms active at t; nodes that are not
kept are at their mean. Faithfulness(K) = Σ s (m(K) − m(none)) / Σ |m(all) − m(none)| over inputs, s the sign
of m(all) − m(none); completeness is what goes when those K are taken away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import check_one_place
from sae_nb.capturing import capture
from sae_nb.checks import Resamples, Seed, at_least, check_matrix, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import Attribution, Measurement, Measurements, Resampling, attribute
from sae_nb.findings import Finding, column
from sae_nb.progress import progress_bar
from sae_nb.statistics import rank_correlation
from sae_nb.steering import Cost, splice
from sae_nb_studies.evaluation.causal._target_odds import mean_strengths

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Shares of the nodes that are kept. Ours."""


class AttributionFidelity(Finding, Measurements[str]):
    """The accuracy of attributions over some inputs; a mapping from name to `Measurement`."""

    HEADLINE = (
        "rank agreement with exact splices {rows[agreement]:.2f} (chance "
        "{rows[agreement].control:.2f}), faithfulness {rows[faithfulness]:.2f} (chance "
        "{rows[faithfulness].control:.2f}), errors carry {error_share:.0%} of the attribution; "
        "{cost}"
    )

    shares: tuple[float, ...] = field(metadata=column("share"))
    """Shares of nodes kept or taken away."""

    faithfulness: Float[np.ndarray, " shares"] = field(metadata=column())
    completeness: Float[np.ndarray, " shares"] = field(metadata=column())
    random: Float[np.ndarray, " shares"] = field(metadata=column())
    """Share carried by the nodes ranked first, pooled over inputs; the loss without them; faithfulness
    of the same numbers of nodes in random order.
    """

    first_order: Float[np.ndarray, " checks"]
    exact: Float[np.ndarray, " checks"]
    """Gradient × activation of the atoms that were checked, all inputs together; exact, by splicing."""

    error_share: float
    """Share of |attribution| that falls on error nodes: what the SAE does not explain."""

    rows: Mapping[str, Measurement]
    cost: Cost
    """"agreement" and "faithfulness"; what it took."""


@checked
def attribution_fidelity(
    model: LiveModel,
    hook_point: str,
    sae: SparseAutoencoder,
    inputs: Any,
    *,
    target: int | str | Callable[[Tensor], Tensor] | None = None,
    acts: Activations | Tensor | None = None,
    shares: Sequence[float] = SHARES,
    n_checked: Annotated[int, at_least(2)] = 8,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
    progress: bool = False,
) -> AttributionFidelity:
    """Compare gradient × activation with exact splices, and with what the nodes it ranks first carry.

    Parameters
    ----------
    model, hook_point, sae, target
        As for `attribute`.
    inputs, acts
        Each input is attributed by itself; rows that means are taken of, None: those of all inputs.
    shares
        Shares of nodes to keep, in (0, 1).
    n_checked
        Atoms per input whose effect is also found exactly: half those of largest attribution, half
        drawn from the rest.

    Source
    ------
    Faithfulness and completeness of kept nodes, errors as nodes: Marks et al., "Sparse Feature
    Circuits", arXiv 2403.19647, section 3.2. Pooled over inputs before dividing: ours.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> head = torch.nn.Linear(4, 2, bias=False)
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity(), head), class_names=["a", "b"])
    >>> sae = sn.TopK(d_in=4, n_atoms=8, k=2)
    >>> found = attribution_fidelity(model, "0", sae, torch.randn(3, 4))
    >>> float(abs(found.first_order - found.exact).max()) < 1e-4  # a linear model
    True
    """
    check_one_place(sae)
    resampling = Resampling(n_bootstrap, seed)
    rising = tuple(sorted(float(share) for share in shares))
    if not rising or not 0 < rising[0] <= rising[-1] < 1:
        raise ValueError(f"`shares` must lie in (0, 1), at least one, got {shares}.")
    batches = list(model.batches(inputs, batch_size=1))
    generator = np.random.default_rng(seed)
    if acts is None:
        acts = capture(model, inputs, hook_point, progress=False)
    rows = check_matrix(acts, name="acts", d_in=sae.d_in).detach()
    with torch.no_grad():
        codes = sae.encode(rows.float().to(sae.dictionary.device))
    means = rows.double().mean(dim=0).float().cpu(), mean_strengths(codes).float()
    judged = []
    with progress_bar(len(batches), "attribute", "input", enabled=progress) as bar:
        for batch in batches:
            one = attribute(model, batch, hook_point, sae, target=target)
            judged.append(_one(one, means, rising, n_checked, generator))
            bar.update()
    return _pooled(judged, rising, resampling)


@dataclass(frozen=True)
class _OneInput:
    """The results of one input."""

    # With the first nodes, lost without them, in random order.
    curves: Float[np.ndarray, "3 shares"]
    span: float
    first_order: Float[np.ndarray, " checks"]
    exact: Float[np.ndarray, " checks"]
    error: float
    total: float
    cost: Cost


Means = tuple[Float[Tensor, " d_in"], Float[Tensor, " n_atoms"]]


class _Nodes:
    """One input taken apart into nodes, and put together again from some of them."""

    def __init__(self, attribution: Attribution, means: Means) -> None:
        self._input = attribution
        self._mean, usual = means
        codes: SparseCodes = attribution.codes  # on the CPU
        self._row, self._atoms = codes.support.rows, codes.atoms.long()
        self._d = attribution.sae.dictionary.detach().float().cpu()
        self._centred = codes.values.detach().float() - usual[self._atoms]
        self._error = attribution.x - self._mean - self._sum(self._centred)
        gradient = torch.from_numpy(attribution.gradient)
        along = (self._d[self._atoms] * gradient[self._row]).sum(dim=1)
        self.attribution = torch.cat(
            [self._centred * along, (self._error * gradient).sum(dim=1)]
        ).numpy()
        self.n_errors = len(attribution.x)
        self.n_runs = 0

    def value(self, kept: Int[np.ndarray, " kept"]) -> float:
        """Return the measure with these nodes, the others at their mean."""
        flags, n = torch.zeros(len(self.attribution)), len(self._centred)
        flags[torch.from_numpy(kept)] = 1.0
        rows = self._mean + self._sum(self._centred * flags[:n]) + self._error * flags[n:, None]
        one = self._input
        places = torch.from_numpy(one.position)

        def change(x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
            put = x.clone()
            put[0, places] = rows.to(x)
            return put

        self.n_runs += 1
        edit = splice(one.model, one.hook_point, change)
        return float(one.outcome.measure(one.under(edit)))

    def _sum(self, values: Float[Tensor, " entries"]) -> Float[Tensor, "rows d_in"]:
        shape = (len(self._input.position), self._d.shape[1])
        return torch.zeros(shape).index_add_(0, self._row, values[:, None] * self._d[self._atoms])


def _one(
    attribution: Attribution,
    means: Means,
    shares: Sequence[float],
    n_checked: int,
    generator: np.random.Generator,
) -> _OneInput:
    start = time.perf_counter()
    nodes = _Nodes(attribution, means)
    n, weight = len(nodes.attribution), np.abs(nodes.attribution)
    falling, chance = np.argsort(-weight, kind="stable"), generator.permutation(n)
    low, high = nodes.value(falling[:0]), nodes.value(falling)
    sizes = [max(1, round(share * n)) for share in shares]
    curves = [
        [nodes.value(falling[:size]) - low for size in sizes],
        [high - nodes.value(falling[size:]) for size in sizes],
        [nodes.value(chance[:size]) - low for size in sizes],
    ]
    first, exact = _checked(attribution, n_checked, generator)
    n_runs = nodes.n_runs + len(exact) + 1
    return _OneInput(
        curves=np.array(curves),
        span=high - low,
        first_order=first,
        exact=exact,
        error=float(weight[n - nodes.n_errors :].sum()),
        total=float(weight.sum()),
        cost=Cost(n_runs=n_runs, seconds=time.perf_counter() - start),
    )


def _checked(
    attribution: Attribution, n_checked: int, generator: np.random.Generator
) -> tuple[Float[np.ndarray, " checks"], Float[np.ndarray, " checks"]]:
    """First order and exact effects of the largest atoms and of some of the rest."""
    active, totals, _ = attribution.totals()
    falling = np.argsort(-np.abs(totals), kind="stable")
    largest = falling[: n_checked // 2]
    rest = generator.permutation(falling[n_checked // 2 :])[: n_checked - len(largest)]
    chosen = np.concatenate([largest, rest])
    exact = [attribution.splice(int(active[i]), n_controls=0).exact for i in chosen]
    return totals[chosen].astype(np.float64), np.array(exact)


def _pooled(
    inputs: Sequence[_OneInput], shares: tuple[float, ...], resampling: Resampling
) -> AttributionFidelity:
    # An input whose answer lies below that of the mean row counts by how far, not against the others.
    spans = np.array([one.span for one in inputs])
    curves = np.sign(spans)[:, None, None] * np.stack([one.curves for one in inputs])
    with np.errstate(divide="ignore", invalid="ignore"):  # nothing hangs on x: undefined
        faithful, complete, random = curves.sum(axis=0) / np.abs(spans).sum()
    sums = np.stack([curves[:, 0].mean(axis=1), np.abs(spans)], axis=1)
    agreement = partial(rank_correlation, undefined=0.0)
    ranks = np.array([agreement(one.first_order, one.exact) for one in inputs])
    generator = np.random.default_rng(resampling.seed)
    chance = [agreement(generator.permutation(one.first_order), one.exact) for one in inputs]
    rows = {
        "agreement": resampling.mean(
            "attribution_agreement", ranks, floor=0.0, control=np.mean(chance)
        ),
        "faithfulness": Measurement.measured(
            "attribution_faithfulness",
            faithful.mean(),
            floor=random.mean(),
            control=random.mean(),
            interval=resampling.interval(sums, lambda s: s[:, 0] / s[:, 1]),
            n=len(inputs),
            unit="samples",
        ),
    }
    return AttributionFidelity(
        shares=shares,
        faithfulness=faithful,
        completeness=complete,
        random=random,
        first_order=np.concatenate([one.first_order for one in inputs]),
        exact=np.concatenate([one.exact for one in inputs]),
        error_share=sum(one.error for one in inputs)
        / max(sum(one.total for one in inputs), 1e-300),
        rows=rows,
        cost=Cost(
            n_runs=sum(one.cost.n_runs for one in inputs),
            seconds=sum(one.cost.seconds for one in inputs),
        ),
    )
