"""What a concept map is made of, checked: dictionaries, activations, coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_matrix
from sae_nb.summaries.catalogue import AtomCatalogue

if TYPE_CHECKING:
    from sae_nb.ready_made.examples import ExampleStore


def dictionary_of(sae: Any, name: str) -> Float[Tensor, "n_atoms d_in"]:
    """Return the atoms of an SAE, or of a plain dictionary, as a copy on the CPU.

    Parameters
    ----------
    sae
        Either.
    name
        What an error calls it.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or not finite.
    """
    rows = sae if isinstance(sae, Tensor) else getattr(sae, "dictionary", None)
    if not isinstance(rows, Tensor):
        raise TypeError(
            f"`{name}` must be a sparse autoencoder or a (n_atoms, d_in) dictionary, got "
            f"{type(sae).__name__}. Load one with sn.load_sae."
        )
    # A copy: training goes on while the map is looked at.
    return check_matrix(rows.detach(), name=name).cpu().float().clone()


def catalogue_of(
    sae: Any, acts: Any, codes: Any, examples: ExampleStore | None, labels: Mapping[int, str]
) -> AtomCatalogue | None:
    """Return the encoded activations that were given in one of three ways; None for none.

    Parameters
    ----------
    sae
        Whose codes.
    acts, codes
        Activations, and their codes where they are known.
    examples
        Of a ready-made SAE, in place of both.
    labels
        Human readings by atom.

    Raises
    ------
    ValueError
        If there are codes alone.
    """
    if acts is not None:
        return AtomCatalogue(sae, acts, codes=codes, labels=labels)
    if codes is not None:
        raise ValueError("`codes` must come with the `acts` they are of, got codes alone.")
    return None if examples is None else examples.catalogue(sae)


def checked_xy(
    xy: Float[np.ndarray, "n 2"], n_atoms: int, n_others: int
) -> Float[np.ndarray, "n 2"]:
    """Return coordinates as float32, one row per atom of both dictionaries.

    Parameters
    ----------
    xy
        As given.
    n_atoms, n_others
        How many rows there must be.

    Raises
    ------
    ValueError
        If their shape is another, or one is not finite.
    """
    array = np.asarray(xy, np.float32)
    if array.shape != (n_atoms + n_others, 2) or not np.isfinite(array).all():
        both = f" and the {n_others} of `other` after them" if n_others else ""
        raise ValueError(
            f"`xy` must be finite, one row of two coordinates for each of the {n_atoms} atoms{both}, "
            f"got shape {array.shape}. Leave it out to have it computed."
        )
    return array
