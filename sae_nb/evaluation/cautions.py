"""What stands in the way of trusting a report: too few rows, dimensions that do not vary, dead SAEs."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sae_nb.activations import Activations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sae_nb.evaluation.row_pass import RowPass

USES_NEEDED = 10
"""Firings of an average atom from which shares of dead and rare atoms mean something. Ours: an atom of a
tenth of the average density is then missed in a third of the draws."""

_CHUNK = 8192


def cautions(rows: RowPass, n_atoms: int) -> tuple[str, ...]:
    """Return, in sentences, what these rows cannot show.

    Parameters
    ----------
    rows
        The finished passes.
    n_atoms
        Of the SAE.
    """
    return tuple(_said(rows, n_atoms))


def _said(rows: RowPass, n_atoms: int) -> Iterator[str]:
    n, l0 = rows.sparsity.n, rows.sparsity.l0
    still = int((rows.reconstruction.moments.m2 == 0).sum())
    d_in = len(rows.reconstruction.moments.m2)
    if still == d_in:
        yield "All rows are the same, so that nothing can be explained: give rows that vary."
    elif still:
        yield f"{still} of {d_in} dimensions do not vary; the per-dimension R² leaves them out."
    if l0 == 0:
        yield "No latent was active in any row: this SAE is dead on these activations."
        return
    needed = math.ceil(USES_NEEDED * n_atoms / l0)
    if n < needed:
        yield (
            f"{n} rows let an average atom fire {n * l0 / n_atoms:.1f} times; dead and rare fractions "
            f"need {needed} rows."
        )


def warn_if_trained_on(acts: Activations, trained_on: Activations | Tensor | None) -> float | None:
    """Warn where rows to be judged on are among those trained on; return their share.

    Parameters
    ----------
    acts
        Rows to be judged on.
    trained_on
        Rows of the training; None: not known.
    """
    if trained_on is None:
        return None
    known = _keys(
        trained_on if isinstance(trained_on, Activations) else Activations.from_tensor(trained_on)
    )
    shared = float(np.isin(_keys(acts), known).mean())
    if shared > 0:
        warnings.warn(
            f"{shared:.1%} of the {len(acts)} rows of `acts` are among those trained on, which flatters "
            "every row of the report. Hold samples out: `train, test = acts.split(0.9)`.",
            stacklevel=3,
        )
    return shared


def _keys(acts: Activations) -> np.ndarray:
    """One 64-bit number per row, made of its bits."""
    generator = np.random.default_rng(0)
    odd = generator.integers(-(2**62), 2**62, size=acts.d_in, dtype=np.int64) * 2 + 1
    parts = []
    for start in range(0, len(acts), _CHUNK):
        index = torch.arange(start, min(start + _CHUNK, len(acts)))
        bits = acts.rows(index).detach().float().cpu().contiguous().view(torch.int32).numpy()
        with np.errstate(over="ignore"):
            parts.append((bits.astype(np.int64) * odd).sum(axis=1))
    return np.concatenate(parts)
