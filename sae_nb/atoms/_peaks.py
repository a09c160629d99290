"""How strongly atoms fire at most: "usual", and "strongest seen", from one source for every panel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.atoms._catalogue import AtomCatalogue
from sae_nb.atoms._firings import Firings
from sae_nb.checks import checked
from sae_nb.codes import SparseCodes

if TYPE_CHECKING:
    from sae_nb.activations import Activations


@dataclass(frozen=True, kw_only=True, eq=False)
class Peaks:
    """Of every atom two strengths |z|, both counted on the same rows."""

    usual: Float[np.ndarray, " n_atoms"]
    """99th percentile over the rows in which it fires; 0 where it never does."""

    strongest: Float[np.ndarray, " n_atoms"]
    """The largest; NaN where only the percentile is known, because the SAE was saved with it."""


@checked(leave=("acts",))
def peaks(
    sae: Any,
    acts: AtomCatalogue | Activations | SparseCodes | Float[Tensor, "n d_in"] | None = None,
) -> Peaks | None:
    """Return how strongly every atom usually fires, and how strongly at most; None where nothing tells.

    Counted on `acts`; a catalogue (of a pretrained SAE that of its examples) has counted already. Without, what
    the SAE keeps of the rows it was measured on (`sae.strength_p99`), which are others: a panel that shows
    examples passes their catalogue, so that no atom has two peaks on one page.

    Example
    -------
    >>> import sae_nb as sn
    >>> sae = sn.load_sae("tiny-gpt/resid_post.3")
    >>> catalogue = sn.load_examples("tiny-gpt/resid_post.3").catalogue(sae)
    >>> found = peaks(sae, catalogue)
    >>> bool((found.usual <= found.strongest + 1e-6).all())
    True
    """
    if acts is None:
        stored = getattr(sae, "strength_p99", None)
        if stored is None:
            return None
        usual = np.asarray(torch.as_tensor(stored).detach().cpu(), dtype=np.float64)
        return Peaks(usual=usual, strongest=np.full(len(usual), np.nan))
    counted: Firings
    if isinstance(acts, Firings):
        counted = acts
    else:
        counted = Firings(acts) if isinstance(acts, SparseCodes) else AtomCatalogue(sae, acts)
    return Peaks(usual=counted.p99, strongest=counted.max_strength)
