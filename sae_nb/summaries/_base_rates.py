"""How often atoms fire anyway: the base rate that an input's firings are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder


NO_BASE_RATE = (
    "no base rate is known: pass frequency= (one share per atom, activations or codes) to see what "
    "fires more than it usually does"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseRate:
    """Share of rows in which each atom fires, measured somewhere else, and its source in words."""

    frequency: Float[np.ndarray, " n_atoms"]
    n_rows: int | None
    """Rows it was measured on; None where it was given as numbers."""

    source: str

    @property
    def at_least(self) -> Float[np.ndarray, " n_atoms"]:
        """The frequency, never zero: an atom that was never seen may be as frequent as 1 / (n + 1)."""
        if self.n_rows is not None:
            least = 1 / (self.n_rows + 1)
        else:
            positive = self.frequency[self.frequency > 0]
            least = float(positive.min()) / 2 if positive.size else 1.0
        return np.clip(self.frequency, least, 1.0)


def base_rate(sae: SparseAutoencoder, given: Any = None) -> BaseRate | None:
    """Return the base rate that was given, or that of the pretrained SAE; None where there is none."""
    if isinstance(given, BaseRate):
        return given
    if given is None:
        store = pretrained_store(sae)
        return None if store is None else base_rate(sae, store)
    if isinstance(given, Activations):
        if given.d_in != int(sae.d_in):
            raise ValueError(
                f"Activations for a base rate must have width d_in={sae.d_in} to match the SAE, got "
                f"{given.d_in}. Capture them at `sae.hook_point`."
            )
        from sae_nb.summaries.input._contrast import encoded

        return _of(sae, encoded(sae, given), f"{len(given)} rows of activations")
    name = getattr(given, "name", None)
    return _of(sae, given, f"examples of {name}" if name else "the numbers given")


def labels_of(sae: SparseAutoencoder, given: Mapping[int, str] | None = None) -> Mapping[int, str]:
    """Return what atoms are called: what was given, or the pretrained SAE's labels, or nothing."""
    if given is not None:
        return given
    store = pretrained_store(sae)
    return {} if store is None else store.labels


def _of(sae: SparseAutoencoder, given: Any, words: str) -> BaseRate:
    n_rows = None
    if isinstance(given, SparseCodes):
        n_rows = len(given)
        words = f"{n_rows} rows of codes" if words == "the numbers given" else words
    frequency = getattr(given, "frequency", given)
    if isinstance(frequency, Tensor):
        frequency = frequency.detach().cpu()
    try:
        shares = np.asarray(frequency, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            "`frequency` must be one share per atom, codes or activations, got "
            f"{type(given).__name__}."
        ) from None
    if shares.shape != (int(sae.n_atoms),):
        raise ValueError(
            f"`frequency` must have one share for each of the {sae.n_atoms} atoms, got shape "
            f"{shares.shape}. Was it measured with another SAE?"
        )
    if not (np.isfinite(shares).all() and shares.min() >= 0 and shares.max() <= 1):
        raise ValueError(
            "`frequency` must lie between 0 and 1, got values from "
            f"{float(np.min(shares)):.4g} to {float(np.max(shares)):.4g}. Divide counts by rows."
        )
    return BaseRate(frequency=shares, n_rows=n_rows, source=words)


def pretrained_store(sae: SparseAutoencoder) -> Any:
    """Return the example store of the pretrained SAE that this one is; None if it is none.

    Compared by name and by dictionary, since an SAE trained anew at the same place has other atoms.
    """
    from sae_nb.pretrained import pretrained_names

    name = f"{getattr(sae, 'model_name', None)}/{getattr(sae, 'hook_point', None)}"
    if name not in pretrained_names():
        return None
    twin, mine = _dictionary_of(name), sae.dictionary.detach().cpu()
    same = twin.shape == mine.shape and torch.equal(twin, mine.to(twin))
    return _examples_of(name) if same else None


@lru_cache(maxsize=8)
def _examples_of(name: str) -> Any:
    from sae_nb.pretrained import load_examples

    return load_examples(name)


@lru_cache(maxsize=8)
def _dictionary_of(name: str) -> Float[Tensor, "n_atoms d_in"]:
    from sae_nb.pretrained import load_sae

    return load_sae(name).dictionary
