"""Other libraries' formulas under their names, to reproduce a published number and to see it differ.

Each is what that library's code computes on one batch of everything, in fp64. A description in words,
its problem and the definition of ours to read instead are in `published.toml`.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_matrix, checked, one_of
from sae_nb.evaluation.report._reconstruction import EXPLAINED, check_same_shape
from sae_nb.geometry._coherence import check_dictionary

if TYPE_CHECKING:
    from sae_nb.codes import SparseCodes


@dataclass(frozen=True, kw_only=True, eq=False)
class PublishedFormula:
    """A number as some library computes it."""

    id: str
    """Library, dot, its own name for the number."""

    formula: str
    """Formula that the code computes; E = x − x̂."""

    needs: tuple[str, ...]
    """Arguments that it reads, of `x`, `x_hat`, `codes`, `dictionary`, `other`."""

    ours: str = ""
    caution: str = ""
    """Id of the definition to read instead, "" where it is the same; what is wrong with it, or ""."""

    compute: Callable[..., Tensor | float]
    """The formula itself, of what it needs by name, in fp64; codes stay sparse."""


@checked
@cache
def published_formulas() -> Mapping[str, PublishedFormula]:
    """Return every formula that `as_published` knows, by id.

    Example
    -------
    >>> published_formulas()["overcomplete.r2_score"].ours
    'r2_pooled'
    """
    text = resources.files(str(__package__)).joinpath("published.toml").read_text("utf-8")
    return {
        name: PublishedFormula(
            id=name,
            compute=_FORMULAS[name],
            needs=tuple(inspect.signature(_FORMULAS[name]).parameters),
            **words,
        )
        for name, words in tomllib.loads(text).items()
    }


@checked(leave=("x_hat",))
def as_published(
    formula: str,
    *,
    x: Float[Tensor, "n d_in"] | None = None,
    x_hat: Float[Tensor, "n d_in"] | None = None,
    codes: SparseCodes | None = None,
    dictionary: Float[Tensor, "n_atoms d_in"] | None = None,
    other: Float[Tensor, "n_atoms d_in"] | None = None,
) -> float:
    """Compute a number exactly as another library does, to compare with what was published.

    Parameters
    ----------
    formula
        One of `published_formulas()`, e.g. "saelens.explained_variance_legacy".
    dictionary, other
        Atoms; `other` for what compares two dictionaries.

    Raises
    ------
    ValueError: If something that it reads is missing, or shapes differ.

    Source
    ------
    SAELens 6.18 (evals.py), dictionary_learning 60ec6bf (evaluation.py, trainers), overcomplete
    a1781af (metrics.py), SAEBench 8042bb3 (evals/core), SAE-Dark-Matter ff5df15 (utils.py).

    Example
    -------
    >>> x = torch.tensor([[0.0, 10.0], [2.0, 10.0]])
    >>> constant = torch.tensor([[1.0, 10.0], [1.0, 10.0]])
    >>> as_published("overcomplete.r2_score", x=x, x_hat=constant) > 0.97
    True
    """
    known = published_formulas()
    chosen = known[one_of(formula, sorted(known), name="formula")]
    passed = {"x": x, "x_hat": x_hat, "codes": codes, "dictionary": dictionary, "other": other}
    missing = [f"`{name}`" for name in chosen.needs if passed[name] is None]
    if missing:
        raise ValueError(
            f"{formula!r} reads {', '.join(chosen.needs)}, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing."
        )
    return float(chosen.compute(**_checked({name: passed[name] for name in chosen.needs})))


def _checked(passed: Mapping[str, Any]) -> dict[str, Any]:
    """Return matrices in fp64, and codes as they are, if they fit together."""
    checked: dict[str, Any] = {
        name: value if name == "codes" else check_matrix(value, name=name).detach().double()
        for name, value in passed.items()
    }
    if "x_hat" in checked:
        check_same_shape(checked["x"], checked["x_hat"])
    if "codes" in checked and "dictionary" in checked:
        check_dictionary(checked["codes"], checked["dictionary"])
    return checked


# -------------------------------------------------------------------------------------------------
# Of activations and reconstructions.


def _cosine(x: Tensor, x_hat: Tensor) -> Tensor:
    return ((x * x_hat).sum(dim=1) / (x.norm(dim=1) * x_hat.norm(dim=1))).mean()


def _relative_bias(x: Tensor, x_hat: Tensor) -> Tensor:
    return x_hat.norm(dim=1).square().mean() / (x * x_hat).sum(dim=1).mean()


def _saelens_618(x: Tensor, x_hat: Tensor) -> Tensor:
    # The library's own slip: the mean square per dimension is squared once more (x² − x⁴).
    total = x.square().sum(dim=1).mean() - x.square().mean(dim=0).mean().square()
    return 1 - (x - x_hat).square().sum(dim=1).mean() / total


# -------------------------------------------------------------------------------------------------
# Of codes and dictionaries.


def _l0(codes: SparseCodes) -> Tensor:
    return (codes.values != 0).sum().double() / codes.n_rows


def _l1(codes: SparseCodes) -> Tensor:
    return codes.values.detach().double().abs().sum() / codes.n_rows


def _alive(codes: SparseCodes) -> Tensor:
    used = codes.atoms.long()[codes.values != 0]
    return (torch.bincount(used, minlength=codes.n_atoms) > 0).double().mean()


def _zero_sums(codes: SparseCodes) -> Tensor:
    sums = torch.zeros(codes.n_atoms, dtype=torch.float64)
    sums.index_add_(0, codes.atoms.long(), codes.values.detach().double())
    return (sums == 0).double().mean()


def _hoyer(codes: SparseCodes) -> Tensor:
    values, zeros = codes.values.detach().double(), torch.zeros(codes.n_rows, dtype=torch.float64)
    l1 = zeros.index_add(0, codes.support.rows, values.abs())
    l2 = zeros.index_add(0, codes.support.rows, values.square()).sqrt()
    # A row without an active latent is 0/0 there too.
    return ((codes.n_atoms**0.5 - l1 / l2) / (codes.n_atoms**0.5 - 1)).mean()


def _hungarian_loss(dictionary: Tensor, other: Tensor) -> float:
    from scipy.optimize import linear_sum_assignment

    first, second = (torch.nn.functional.normalize(d, dim=1) for d in (dictionary, other))
    cost = (1 - first @ second.T).numpy()
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].sum())


def _negative_interference(codes: SparseCodes, dictionary: Tensor) -> Tensor:
    z = codes.to_scipy().astype("float64")
    together = torch.from_numpy((z.T @ z).toarray())
    return torch.linalg.matrix_norm((-together * (dictionary @ dictionary.T)).clamp_min(0), 2)


_FORMULAS: dict[str, Callable[..., Tensor | float]] = {
    "dictionary_learning.frac_variance_explained": EXPLAINED["r2_varratio"],
    "dictionary_learning.l2_loss": lambda x, x_hat: (x - x_hat).norm(dim=1).mean(),
    "dictionary_learning.cossim": _cosine,
    "dictionary_learning.l2_ratio": lambda x, x_hat: (x_hat.norm(dim=1) / x.norm(dim=1)).mean(),
    "dictionary_learning.relative_reconstruction_bias": _relative_bias,
    "saelens.explained_variance_legacy": EXPLAINED["r2_pertoken"],
    "saelens.explained_variance": _saelens_618,
    "saelens.mse": lambda x, x_hat: ((x - x_hat).square().sum(dim=1) / len(x)).mean(),
    "saelens.cossim": _cosine,
    "saelens.relative_reconstruction_bias": _relative_bias,
    "saebench.explained_variance": _saelens_618,
    "overcomplete.r2_score": EXPLAINED["r2_scalar"],
    "overcomplete.avg_l2_loss": lambda x, x_hat: (x - x_hat).norm(dim=1).mean(),
    "overcomplete.avg_l1_loss": lambda x, x_hat: (x - x_hat).abs().sum(dim=1).mean(),
    "overcomplete.relative_avg_l2_loss": lambda x, x_hat: (
        (x - x_hat).norm(dim=1) / (x.norm(dim=1) + 1e-6)
    ).mean(),
    "dark_matter.r_squared": lambda x, x_hat: (
        1 - (x - x_hat).square().sum(0) / (x - x.mean(dim=0)).square().sum(0)
    ).mean(),
    "uncentred.r2": EXPLAINED["r2_uncentred"],
    "saelens.l0": lambda codes: (codes.values > 0).sum().double() / codes.n_rows,
    "saebench.l0": _l0,
    "saelens.l1": lambda codes: codes.values.detach().double().sum() / codes.n_rows,
    "overcomplete.l0": lambda codes: (
        (codes.values != 0).sum().double() / (codes.n_rows * codes.n_atoms)
    ),
    "overcomplete.l1": _l1,
    "dictionary_learning.l0": _l0,
    "dictionary_learning.l1_loss": _l1,
    "dictionary_learning.frac_alive": _alive,
    "overcomplete.hoyer": _hoyer,
    "overcomplete.dead_codes": _zero_sums,
    "overcomplete.cosine_hungarian_loss": _hungarian_loss,
    "archetypal.negative_interference": _negative_interference,
}
