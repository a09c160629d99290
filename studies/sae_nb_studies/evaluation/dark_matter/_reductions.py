"""What lowers the part of an SAE's error that no linear map of its input predicts: two ways, with controls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from sae_nb.activations import Activations
from sae_nb.checks import Count, Seed, checked
from sae_nb.findings import Finding
from sae_nb.pursuit import gradient_pursuit
from sae_nb_studies.evaluation.dark_matter._dark_matter import (
    _fit,
    _halves,
    _Refit,
    _rows_of,
    _RowsOf,
)

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

ENCODER, PURSUIT, EARLIER, OWN, OTHER_ROWS = (
    "encoder",
    "gradient pursuit",
    "earlier SAE",
    "its own output",
    "earlier SAE, other rows",
)


class ErrorReductions(Finding):
    """How much of an SAE's error is left, linear and not, after each way to lower it; by `reduce_error`."""

    HEADLINE = (
        "not linear in x: {encoder:.4f} of the variance; with gradient pursuit {pursuit:.4f}, with a linear "
        "map of the earlier SAE's output {earlier:.4f} (of its own {own:.4f}, of other rows "
        "{other_rows:.4f})"
    )

    table: pd.DataFrame
    """A row per way: way, R², linear, not linear: what is explained, and the two parts of what is not, as
    shares of Σ‖x − μ‖² on held-out rows. After one gain and a constant they add up to 1."""

    n: int
    """Held-out rows."""

    def not_linear(self, way: str) -> float:
        """Return the share of variance that is neither explained nor linear in x."""
        return float(self.table.set_index("way").loc[way, "not linear"])

    @property
    def encoder(self) -> float:
        """Of the SAE as it is."""
        return self.not_linear(ENCODER)

    @property
    def pursuit(self) -> float:
        """With codes by gradient pursuit over the same dictionary, with the encoder's k."""
        return self.not_linear(PURSUIT)

    @property
    def earlier(self) -> float:
        """With a linear map of the earlier SAE's output added."""
        return self.not_linear(EARLIER)

    @property
    def own(self) -> float:
        """The floor: with a linear map of the SAE's own output added."""
        return self.not_linear(OWN)

    @property
    def other_rows(self) -> float:
        """The control: with a linear map of the earlier SAE's output at other rows added."""
        return self.not_linear(OTHER_ROWS)


@checked(leave=("acts", "earlier_acts"))
def reduce_error(
    sae: SparseAutoencoder,
    acts: Activations,
    earlier: SparseAutoencoder,
    earlier_acts: Activations,
    *,
    max_rows: Count = 20_000,
    seed: Seed = 0,
) -> ErrorReductions:
    """Lower an SAE's error by a dearer code, and by what the SAE of an earlier place says of the same token.

    x̂ + A x̂_earlier with A = argmin ‖(x − x̂) − A x̂_earlier‖² on half of the samples; what is left is then
    split on the other half: linear is what B(x − μ) predicts of it, with B fitted on the first half, and not
    linear the rest.

    Parameters
    ----------
    sae, acts
        An SAE that reads one row at a time, and activations in its units that it was not trained on, with at
        least 4 rows per dimension; samples are split in two.
    earlier, earlier_acts
        An SAE of an earlier hook point, and activations there of the same inputs, row by row.
    max_rows
        Rows used at most, whole samples drawn at random.

    Raises
    ------
    TypeError, ValueError: If rows are too few, or the two activations are not of the same rows.

    Source
    ------
    Engels et al., "Decomposing the dark matter of sparse autoencoders", arXiv 2410.14670: gradient pursuit at
    inference lowers the nonlinear error very slightly, linear maps of earlier SAEs' outputs lower it more (the
    abstract). That a map of the SAE's own output and of other rows stand beside it is ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> x = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    >>> acts, earlier = sn.Activations.from_tensor(x + x.relu()), sn.Activations.from_tensor(x)
    >>> found = reduce_error(sn.TopK(8, 32, 2), acts, sn.TopK(8, 32, 2), earlier)
    >>> bool(found.pursuit < found.encoder)
    True
    """
    if len(acts) != len(earlier_acts) or not torch.equal(acts.sample, earlier_acts.sample):
        raise ValueError(
            f"`earlier_acts` must have the rows of `acts`, in their order; got {len(earlier_acts)} rows "
            f"beside {len(acts)}. Capture both hook points of the same inputs."
        )
    halves = _halves(sae, acts, 0.5, max_rows, seed)
    before = [
        _rows_of(earlier, half) for half in _halves(earlier, earlier_acts, 0.5, max_rows, seed)
    ]
    as_it_is = [_rows_of(sae, half) for half in halves]
    shuffled = [np.random.default_rng(seed).permutation(len(rows.x)) for rows in as_it_is]
    ways = {
        ENCODER: as_it_is,
        PURSUIT: [_pursued(sae, rows) for rows in as_it_is],
        EARLIER: _with_map(as_it_is, [rows.x_hat for rows in before]),
        OWN: _with_map(as_it_is, [rows.x_hat for rows in as_it_is]),
        OTHER_ROWS: _with_map(
            as_it_is, [rows.x_hat[order] for rows, order in zip(before, shuffled, strict=True)]
        ),
    }
    found = [(way, *_split(*rows)) for way, rows in ways.items()]
    table = pd.DataFrame(found, columns=["way", "R²", "linear", "not linear"])
    return ErrorReductions(table=table, n=len(as_it_is[1].x))


def _with_map(rows: list[_RowsOf], source: list[Float[np.ndarray, "n d"]]) -> list[_RowsOf]:
    """Add to x̂ the linear map of a source that foretells its error best on the first half."""
    fit = _fit(rows[0], source[0], rows[0].x - rows[0].x_hat)
    return [
        replace(part, x_hat=part.x_hat + fit(given))
        for part, given in zip(rows, source, strict=True)
    ]


@torch.no_grad()
def _pursued(sae: SparseAutoencoder, rows: _RowsOf) -> _RowsOf:
    """Code rows by gradient pursuit over the SAE's atoms, with as many as its encoder has on average."""
    atoms, x = sae.dictionary.detach(), torch.from_numpy(rows.x)
    first = sae.encode(x[:1].to(atoms))
    bias = (sae.decode(first) - first @ atoms).float().cpu()
    atoms = torch.nn.functional.normalize(atoms.float().cpu(), dim=1)
    k, target = max(round(float(rows.l0.mean())), 1), x.float() - bias
    x_hat = gradient_pursuit(target, atoms, k) @ atoms + bias
    return replace(rows, x_hat=x_hat.double().numpy())


def _split(fitted: _RowsOf, held: _RowsOf) -> tuple[float, float, float]:
    """Return what is explained, what a linear map of x predicts of the rest, and what is left then."""
    refit = _Refit(fitted)
    error, left = refit.error(fitted), refit.error(held)
    after = left - _fit(fitted, fitted.x, error)(held.x)
    whole = float(((held.x - held.x.mean(axis=0)) ** 2).sum())
    missed, rest = (float((part**2).sum()) / whole for part in (left, after))
    return 1 - missed, missed - rest, rest
