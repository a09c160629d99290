"""Total Sobol indices of concepts: how much of an answer's variance goes away with each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import (
    Resamples,
    Seed,
    as_tensor,
    at_least,
    check_callable,
    check_matrix,
    checked,
)
from sae_nb.figures import Chart, Points
from sae_nb.findings import Plotted
from sae_nb.statistics import bootstrap_counts, percentile_intervals
from sae_nb_studies.vision._heads import ConceptHead

if TYPE_CHECKING:
    import pandas as pd

Head = Callable[[Tensor], Tensor]
"""Codes of shape (n, m, …, n_concepts), m variants of each of n inputs → an answer each, (n, m)."""


class SobolIndices(Plotted):
    """The effect of each concept on an answer, alone and with the others; means over inputs."""

    total: Float[np.ndarray, " n_concepts"]
    """S_T: share of the answer's variance that is left when all concepts but this one are held."""

    first: Float[np.ndarray, " n_concepts"]
    """S: share that the concept explains alone."""

    interval: Float[np.ndarray, "n_concepts 2"]
    """95 % of `total` over resamples of the design; NaN without resamples."""

    per_input: Float[np.ndarray, "n n_concepts"]
    """S_T of every input; 0 where no mask changes its answer."""

    n_designs: int
    n_runs: int
    """Rows of the design; answers of the head for each input."""

    @property
    def interaction(self) -> Float[np.ndarray, " n_concepts"]:
        """S_T − S: what the concept does only together with others. Its noise is that of both."""
        return self.total - self.first

    @property
    def order(self) -> list[int]:
        """Concepts, the most important first."""
        return np.argsort(-self.total, kind="stable").tolist()

    @property
    def table(self) -> pd.DataFrame:
        """One row per concept, the most important first; `equal` is what each had if all were alike."""
        import pandas as pd

        columns = {
            "total": self.total,
            "low": self.interval[:, 0],
            "high": self.interval[:, 1],
            "first": self.first,
            "interaction": self.interaction,
            "equal": self.total.mean(),
        }
        return pd.DataFrame(columns).rename_axis("concept").iloc[self.order]

    @property
    def chart(self) -> Chart:
        """S_T with its intervals, the most important concept first, and S."""
        names, total = [str(i) for i in self.order], self.total[self.order]
        low, high = self.interval[self.order].T
        bars = {
            "type": "data",
            "symmetric": False,
            "array": high - total,
            "arrayminus": total - low,
        }
        series = (
            Points("total", names, total, error_y=bars),
            Points("alone", names, self.first[self.order]),
        )
        axis = {"type": "category"}
        return Chart(series=series, x="concept", y="Sobol index", marks=True, xaxis=axis)

    @property
    def headline(self) -> str:
        """The concepts that matter most."""
        best = ", ".join(f"{i}: {self.total[i]:.3f}" for i in self.order[:5])
        return f"{len(self.total)} concepts, total {best}; {self.n_runs} runs an input"


@checked(leave=("head", "codes"))
@torch.no_grad()
def sobol(
    head: Head,
    codes: Float[Tensor, "n ... n_concepts"],
    *,
    n_designs: Annotated[int, at_least(2)] = 32,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> SobolIndices:
    """Measure how important concepts are to an answer, by masking them in a quasi-random design.

    Masks m ∈ [0, 1]^r from a scrambled Halton sequence, y = head(codes ⊙ m); A and B are two designs, C_i is
    A with column i from B. Jansen: S_T,i = Σ_j (y_A,j − y_C_i,j)² / (2N Var y), and, for the share alone,
    S_i = 1 − Σ_j (y_B,j − y_C_i,j)² / (2N Var y). Averaged over inputs. A concept has one mask at all
    places of an input.

    Parameters
    ----------
    head
        From codes (n, m, …, n_concepts), m variants of each of the n inputs, to answers (n, m): a
        `ConceptHead`, or a function of your own. It need not be linear.
    codes
        Codes of each input; the axes between the first and the last are places.
    n_designs
        N, at least 2; the head answers N(r + 2) times for each input. Of a sum, an index is off by an
        eighth of itself on average at 32, by a thirtieth at 128, by a hundredth at 512.
    n_bootstrap
        Resamples of the design that intervals are drawn from; 0 leaves them out.
    seed
        Of the design and the resamples.

    Returns
    -------
    SobolIndices
        `total` per concept with intervals, `first`, `interaction`, `table`, `plot()`.

    Raises
    ------
    TypeError: If `head` cannot be called, or gives no tensor.
    ValueError: If codes are empty or not finite, or the head's answers have another shape or are not finite.

    Source
    ------
    CRAFT, arXiv 2211.10154, §3.3; Jansen, "Analysis of variance designs for model output", 1999. Scrambling
    and intervals are ours.

    Example
    -------
    >>> answer = lambda u: u @ torch.tensor([3.0, 2.0, 1.0, 0.0])
    >>> found = sobol(answer, torch.ones(1, 4), n_designs=512)
    >>> found.total.round(1).tolist(), found.order[0]
    ([0.6, 0.3, 0.1, 0.0], 0)
    """
    check_callable(head, name="head")
    codes = check_codes(codes)
    r = codes.shape[-1]
    masks = torch.from_numpy(design(r, n_designs, seed)).to(codes)
    y = answers(head, codes, masks).double().numpy().reshape(len(codes), r + 2, n_designs)
    a, b, c = y[:, :1], y[:, 1:2], y[:, 2:]
    alone, without = np.square(b - c), np.square(a - c)
    counts = bootstrap_counts(n_designs, n_bootstrap, seed)
    even = np.ones((1, n_designs))
    per_input = _shares(without, y, even)[..., 0]
    # An answer that no mask moves has no shares: all of its indices are 0.
    moved = (without.max(axis=(1, 2)) > 0)[:, None]
    first = np.where(moved, 1 - _shares(alone, y, even)[..., 0], 0.0).mean(axis=0)
    spread = _shares(without, y, counts).mean(axis=0)
    return SobolIndices(
        total=per_input.mean(axis=0),
        first=first,
        interval=percentile_intervals(spread.T).T,
        per_input=per_input,
        n_designs=n_designs,
        n_runs=len(masks),
    )


def check_codes(codes: object) -> Tensor:
    """Return codes of at least one input and one concept, as a tensor."""
    tensor = as_tensor(codes, name="codes").detach()
    if tensor.ndim < 2 or tensor.numel() == 0:
        raise ValueError(
            f"`codes` must have shape (n, …, n_concepts), got {tuple(tensor.shape)}. One input alone is "
            "codes[None]."
        )
    tensor = tensor if tensor.is_floating_point() else tensor.float()
    return numbers_of(tensor, "codes")


def numbers_of(tensor: Tensor, name: str) -> Tensor:
    """Return the same tensor, if it holds finite numbers."""
    if tensor.device.type == "meta":
        raise ValueError(f"`{name}` must hold numbers, got a tensor on meta, which has none.")
    return check_matrix(tensor, name=name, flatten=True).reshape(tensor.shape)


def ask(head: Head, variants: Float[Tensor, "n m ... r"]) -> Float[Tensor, "n m"]:
    """Return the answers of a head, on the CPU, if there is one per input and variant."""
    n, m = variants.shape[:2]
    try:
        y = head(variants)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"`head` must take codes of shape {tuple(variants.shape)}, and it failed on them: {error}"
        ) from error
    return checked_answers(y, n, m)


def checked_answers(y: object, n: int, m: int) -> Float[Tensor, "n m"]:
    """Return an answer of a head, on the CPU, if it is one per input and variant."""
    if not isinstance(y, Tensor):
        raise TypeError(f"`head` must return a tensor, got {type(y).__name__}.")
    if y.shape != (n, m):
        raise ValueError(
            f"`head` must return an answer per input and variant, ({n}, {m}), got {tuple(y.shape)}. "
            "Choose one class or sum what it gives."
        )
    if not bool(y.isfinite().all()):
        raise ValueError("`head` must give finite answers, got NaN or infinity. Look at its codes.")
    return y.detach().cpu()


def design(r: int, n_designs: int, seed: int) -> Float[np.ndarray, "runs r"]:
    """Return A, B, then A with each column from B: N(r + 2) masks."""
    from scipy.stats import qmc

    points = qmc.Halton(2 * r, scramble=True, seed=seed).random(n_designs)
    a, b = points[:, :r], points[:, r:]
    swapped = np.repeat(a[None], r, axis=0)
    swapped[np.arange(r), :, np.arange(r)] = b.T
    return np.concatenate([a, b, swapped.reshape(-1, r)])


MOST_NUMBERS = 2**24
"""Numbers in one array of masked codes; more masks are taken in several steps."""


def answers(
    head: Head, codes: Float[Tensor, "n ... r"], masks: Float[Tensor, "runs r"]
) -> Float[Tensor, "n runs"]:
    """Return a head's answers to codes under each mask, as many masks at a time as fit."""
    if isinstance(head, ConceptHead) and torch.equal(head.codes, codes):
        return checked_answers(head.masked(masks), len(codes), len(masks))
    places = [1] * (codes.ndim - 2)
    size = max(MOST_NUMBERS // codes.numel(), 1)
    parts = [
        ask(head, codes[:, None] * some.view(1, len(some), *places, -1))
        for some in torch.split(masks, size)
    ]
    return torch.cat(parts, dim=1)


def _shares(
    squares: Float[np.ndarray, "n r designs"],
    y: Float[np.ndarray, "n parts designs"],
    counts: Float[np.ndarray, "draws designs"],
) -> Float[np.ndarray, "n r draws"]:
    """Σ squares / (2N Var y) in each resample of the design; the variance is that of A and B together."""
    n_designs = counts.shape[1]
    mean = (y[:, :2] @ counts.T).mean(axis=1) / n_designs
    square = (np.square(y[:, :2]) @ counts.T).mean(axis=1) / n_designs
    variance = np.maximum(square - mean**2, 0)[:, None]
    half = squares @ counts.T / (2 * n_designs)
    return np.divide(half, variance, out=np.zeros_like(half), where=variance > 1e-300)
