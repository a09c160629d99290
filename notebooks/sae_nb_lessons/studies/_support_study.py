"""Do encoders name the atoms an input was made of? One-step encoders, pursuits and FISTA compared.

The data have known answers; the likeness of the atoms varies, in one of two ways. In
"families", atoms resemble their siblings. With a "common direction", all of them lean one way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb import pursuit
from sae_nb.architectures import sparse_code
from sae_nb.codes import SparseCodes
from sae_nb.data import PlantedDictionary, planted_dictionary, planted_families
from sae_nb_studies.evaluation import support_recovery
from sae_nb.kernels import topk_encode

if TYPE_CHECKING:
    import pandas as pd


Kind = Literal["families", "common direction"]

N_ATOMS, FAMILY_SIZE, D_IN, K = 256, 8, 64, 6
N_TEST, N_FIT = 300, 4000
NOISE = 0.01

ONE_STEP, FITTED, MP, OMP, FISTA = (
    "one step",
    "one step, fitted",
    "matching pursuit",
    "orthogonal matching pursuit",
    "FISTA",
)
METHODS = (ONE_STEP, FITTED, MP, OMP, FISTA)


@dataclass(frozen=True, kw_only=True, eq=False)
class SupportStudy:
    """Share of the true atoms that each encoder names, by coherence and seed."""

    kind: Kind
    """Kind of likeness between atoms."""

    coherences: tuple[float, ...]
    """Mean cosine of siblings, or of all atoms."""

    seeds: tuple[int, ...]
    """Of dictionary, codes and noise."""

    recovery: Float[np.ndarray, "methods coherences seeds"]
    """Share of the true atoms among the k strongest, in the order of `METHODS`."""

    floor: Float[np.ndarray, "coherences seeds"]
    """The same for k atoms drawn at random."""

    k: int
    """True atoms per input."""

    n_atoms: int
    """Rows of the dictionary."""

    def of(self, method: str) -> Float[np.ndarray, "coherences seeds"]:
        """Return the recovery of one encoder.

        Parameters
        ----------
        method
            One of `METHODS`.

        Raises
        ------
        ValueError: If there is no encoder of that name.
        """
        if method not in METHODS:
            raise ValueError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}.")
        return self.recovery[METHODS.index(method)]

    @property
    def gap(self) -> Float[np.ndarray, "coherences seeds"]:
        """Amortisation gap: the recovery of FISTA minus that of the best one-step encoder."""
        return self.of(FISTA) - np.maximum(self.of(ONE_STEP), self.of(FITTED))

    @property
    def table(self) -> pd.DataFrame:
        """Means over seeds, one row per encoder, one column per coherence."""
        import pandas as pd

        means = np.concatenate([self.recovery.mean(axis=2), self.floor.mean(axis=1)[None]])
        names = [f"{coherence:g}" for coherence in self.coherences]
        return pd.DataFrame(means.round(3), index=[*METHODS, "random atoms"], columns=names)

    def __repr__(self) -> str:
        ends = (f"{self.of(m)[-1].mean():.2f} for {m}" for m in METHODS)
        return f"SupportStudy({self.kind}, cosine {self.coherences[-1]:g}: {', '.join(ends)})"


def study_supports(
    kind: Kind = "families",
    coherences: Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8),
    *,
    seeds: Sequence[int] = (0, 1, 2),
    n_test: int = N_TEST,
) -> SupportStudy:
    """Encode planted data with five encoders and count the true atoms that they name.

    "one step" keeps the k largest correlations x Dᵀ (a TopK encoder tied to the dictionary); "one
    step, fitted" keeps the k largest entries of the linear map that fits the true codes of other
    inputs best, which no trainable linear encoder knows; the others are iterative.

    Parameters
    ----------
    kind
        "families" (siblings are alike) or "common direction" (all atoms are).
    coherences
        Mean cosines, in [0, 1).
    seeds
        One dictionary each.
    n_test
        Inputs per dictionary.

    Raises
    ------
    ValueError: If the kind is unknown or a number is out of range.

    Example
    -------
    >>> study = study_supports(coherences=(0.0, 0.6), seeds=(0,), n_test=50)
    >>> bool(study.of("matching pursuit")[1, 0] > study.of("one step")[1, 0] > study.floor[1, 0])
    True
    """
    if kind not in ("families", "common direction"):
        raise ValueError(f"`kind` must be 'families' or 'common direction', got {kind!r}.")
    shape = (len(coherences), len(seeds))
    recovery, floor = np.zeros((len(METHODS), *shape)), np.zeros(shape)
    for i, coherence in enumerate(coherences):
        for j, seed in enumerate(seeds):
            data = _planted(kind, coherence, seed, n_test)
            truth = data.codes.rows(slice(N_FIT, None))
            for m, encode in enumerate(_ENCODERS.values()):
                recovery[m, i, j] = float(support_recovery(encode(data), truth).mean())
            drawn = _random_codes(n_test, seed)
            floor[i, j] = float(support_recovery(drawn, truth).mean())
    return SupportStudy(
        kind=kind,
        coherences=tuple(coherences),
        seeds=tuple(seeds),
        recovery=recovery,
        floor=floor,
        k=K,
        n_atoms=N_ATOMS,
    )


def _planted(kind: Kind, coherence: float, seed: int, n_test: int) -> PlantedDictionary:
    size: dict[str, Any] = {"d_in": D_IN, "n": N_FIT + n_test, "k": K, "noise": NOISE, "seed": seed}
    if kind == "families":
        return planted_families(N_ATOMS // FAMILY_SIZE, FAMILY_SIZE, within=coherence, **size)
    return planted_dictionary(N_ATOMS, coherence=coherence, **size)


def _one_step(data: PlantedDictionary) -> SparseCodes:
    return topk_encode(data.x[N_FIT:], data.dictionary, k=K)


def _fitted(data: PlantedDictionary) -> SparseCodes:
    """Fit the linear encoder, bias included, that is nearest to the true codes in least squares."""
    ones = torch.ones(len(data.x), 1)
    rows = torch.cat([data.x, ones], dim=1).double()
    codes = data.codes.rows(slice(0, N_FIT)).to_dense().double()
    weight = torch.linalg.lstsq(rows[:N_FIT], codes).solution.float()
    return topk_encode(data.x[N_FIT:], weight[:-1].T.contiguous(), weight[-1], k=K)


def _mp(data: PlantedDictionary) -> SparseCodes:
    return pursuit.matching_pursuit(data.x[N_FIT:], data.dictionary, K)


def _omp(data: PlantedDictionary) -> SparseCodes:
    return pursuit.orthogonal_matching_pursuit(data.x[N_FIT:], data.dictionary, K)


def _fista(data: PlantedDictionary) -> SparseCodes:
    return sparse_code(data.x[N_FIT:], data.dictionary, solver="fista", n_steps=100)


_ENCODERS: dict[str, Callable[[PlantedDictionary], SparseCodes]] = {
    ONE_STEP: _one_step,
    FITTED: _fitted,
    MP: _mp,
    OMP: _omp,
    FISTA: _fista,
}


def _random_codes(n: int, seed: int) -> SparseCodes:
    generator = torch.Generator().manual_seed(seed)
    atoms: Tensor = torch.rand(n, N_ATOMS, generator=generator).topk(K, dim=1).indices
    offsets = K * torch.arange(n + 1)
    return SparseCodes(torch.ones(n * K), atoms.flatten(), offsets, N_ATOMS)
