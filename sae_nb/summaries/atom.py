"""One atom as a record of plain arrays: how often, how strongly, on what, next to which others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_atom, check_count
from sae_nb.summaries.catalogue import AtomCatalogue
from sae_nb.summaries.crops import Crops, build_crops
from sae_nb.summaries.examples import (
    BANDS,
    Band,
    Choice,
    Example,
    build_examples,
    choose_rows,
)
from sae_nb.summaries.firings import ORDERS, Order
from sae_nb.summaries.footprints import Footprint, footprint_of
from sae_nb.summaries.histograms import Histogram, strength_histogram
from sae_nb.summaries.logits import Effects, logit_effects

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.codes import SparseCodes
    from sae_nb.models import LiveModel

__all__ = [
    "BANDS",
    "ORDERS",
    "AtomCatalogue",
    "AtomSummary",
    "Band",
    "Crops",
    "Example",
    "Footprint",
    "Histogram",
    "Order",
    "describe_atom",
    "summarise_atom",
]

N_CROPS = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomSummary:
    """Everything a panel shows about one atom."""

    atom: int
    """Row of the dictionary."""

    n_atoms: int
    """Rows of the dictionary in all."""

    n_rows: int
    """Activations looked at."""

    n_fired: int
    """Rows in which the atom fires (z ≠ 0)."""

    frequency: float
    """n_fired / n_rows."""

    mean_strength: float
    """Mean |z| where it fires."""

    max_strength: float
    """Largest |z|."""

    p99: float
    """99th percentile of |z| where it fires."""

    histogram: Histogram
    """Strengths where it fires, with the bands marked."""

    frequencies: Histogram
    """How often the atoms of the whole dictionary fire."""

    band: Band
    """Which examples follow."""

    examples: tuple[Example, ...]
    """Rows of the band, at most one per sample."""

    n_examples: int
    """Examples the band has in all."""

    page: int
    """Which of them are here: those from page × examples per page on."""

    missing: str
    """Why there are no examples, where there are none."""

    nearest_atoms: Int[np.ndarray, " n"]
    """Atoms with the largest cosine, this one left out."""

    nearest_cosines: Float[np.ndarray, " n"]
    """Their cosines."""

    coactive_atoms: Int[np.ndarray, " m"]
    """Atoms that fire in the same rows more often than by chance."""

    coactive_lifts: Float[np.ndarray, " m"]
    """P(both) / (P(one) P(other))."""

    coactive_counts: Int[np.ndarray, " m"]
    """Rows in which both fire."""

    footprint: Footprint | None
    """Where in its sample it fires; None for plain vectors."""

    crops: Crops | None = None
    """The patches of the band themselves, for pictures."""

    logits_up: Effects = ()
    """Next tokens it raises most on the direct path, and how much; language models only."""

    logits_down: Effects = ()
    """Next tokens it lowers most."""


def summarise_atom(
    sae: Any,
    acts: Activations | Float[Tensor, "n d_in"],
    codes: SparseCodes | None = None,
    atom: int = 0,
    *,
    band: Band = "top",
    model: LiveModel | None = None,
    **choices: Any,
) -> AtomSummary:
    """Summarise one atom of `sae` on `acts`; for many atoms make one `AtomCatalogue` and ask it.

    Parameters
    ----------
    sae
        Any sparse autoencoder of the width of `acts`.
    acts
        Activations, or a plain matrix of them.
    codes
        Their codes, where they have been computed already.
    atom
        Row of the dictionary.
    band
        Which examples: "top", "99 %", "50 %", "random" or "just below".
    model
        A language model, for the tokens the atom raises.
    choices
        `n_examples`, `page`, `seed`, `n_neighbours` of `describe_atom`.

    Raises
    ------
    ValueError, TypeError, IndexError
        If the SAE and the activations do not fit, or there is no such atom or band.

    Example
    -------
    >>> import torch
    >>> from sae_nb.codes import SparseCodes
    >>> class Signs:
    ...     d_in, n_atoms, dictionary = 2, 2, torch.eye(2)
    ...     def encode(self, x, k=None):
    ...         return SparseCodes.from_dense(x.relu())
    >>> record = summarise_atom(Signs(), torch.tensor([[1.0, -1.0], [2.0, 3.0]]), atom=0)
    >>> record.n_fired, record.max_strength, [example.row for example in record.examples]
    (2, 2.0, [1, 0])
    """
    catalogue = AtomCatalogue(sae, acts, codes=codes)
    return describe_atom(catalogue, atom, band=band, model=model, **choices)


def describe_atom(
    catalogue: AtomCatalogue,
    atom: int,
    *,
    band: Band = "top",
    n_examples: int = 12,
    page: int = 0,
    seed: int = 0,
    n_neighbours: int = 8,
    model: LiveModel | None = None,
) -> AtomSummary:
    """Return everything a panel shows about one atom.

    Parameters
    ----------
    catalogue
        Encoded activations.
    atom
        Row of the dictionary.
    band
        Which examples: "top", "99 %", "50 %", "random" or "just below".
    n_examples
        Examples per page.
    page
        Which page of them; the last one there is when too large.
    seed
        Of the random band.
    n_neighbours
        Nearest and co-active atoms at most.
    model
        A language model, for the tokens the atom raises.

    Raises
    ------
    ValueError, TypeError, IndexError
        If there is no such atom, band or page.
    """
    atom = check_atom(atom, catalogue.n_atoms)
    check_count(n_examples, name="n_examples")
    check_count(page, name="page", at_least=0)
    choice = choose_rows(catalogue, atom, band, seed=seed)
    page = min(page, max(-(-len(choice.rows) // n_examples) - 1, 0))
    near, cosines = catalogue.nearest(atom, n_neighbours)
    joint, lifts, counts = catalogue.coactive(atom, n_neighbours)
    up, down = _logit_effects(catalogue, atom, model)
    firings = catalogue.firings
    return AtomSummary(
        atom=atom,
        n_atoms=catalogue.n_atoms,
        n_rows=len(catalogue.acts),
        n_fired=int(firings.n_fired[atom]),
        frequency=float(firings.frequency[atom]),
        mean_strength=float(firings.mean_strength[atom]),
        max_strength=float(firings.max_strength[atom]),
        p99=_quantile(np.abs(firings.strengths(atom)[1]), 0.99),
        histogram=strength_histogram(firings.strengths(atom)[1]),
        frequencies=catalogue.frequencies,
        band=band,
        examples=build_examples(catalogue, atom, _page(choice, page, n_examples)),
        n_examples=len(choice.rows),
        page=page,
        missing=choice.missing,
        nearest_atoms=near,
        nearest_cosines=cosines,
        coactive_atoms=joint,
        coactive_lifts=lifts,
        coactive_counts=counts,
        footprint=footprint_of(catalogue, atom),
        crops=build_crops(catalogue, atom, band, N_CROPS, seed=seed),
        logits_up=up,
        logits_down=down,
    )


def _page(choice: Choice, page: int, size: int) -> Choice:
    part = slice(page * size, (page + 1) * size)
    return Choice(rows=choice.rows[part], strengths=choice.strengths[part])


def _quantile(size: Float[np.ndarray, " uses"], q: float) -> float:
    return float(np.quantile(size, q)) if len(size) else 0.0


def _logit_effects(
    catalogue: AtomCatalogue, atom: int, model: LiveModel | None
) -> tuple[Effects, Effects]:
    return ((), ()) if model is None else logit_effects(model, catalogue.dictionary[atom])
