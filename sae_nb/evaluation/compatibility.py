"""Other libraries' formulas under their names, to reproduce a published number and to see it differ.

Each is what that library's code computes on one batch of everything, in fp64; what is wrong with it is
said in `PublishedFormula.caution`, and which definition of ours to read instead in `.ours`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_matrix, one_of
from sae_nb.evaluation.encoded_rows import check_dictionary

if TYPE_CHECKING:
    from sae_nb.codes import SparseCodes

_ABSENT = torch.empty(0)
"""In place of what a formula does not read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Materials:
    """What formulas are computed from, in fp64; codes stay sparse."""

    x: Tensor = _ABSENT
    x_hat: Tensor = _ABSENT
    codes: Any = None
    dictionary: Tensor = _ABSENT
    other: Tensor = _ABSENT


@dataclass(frozen=True, kw_only=True, eq=False)
class PublishedFormula:
    """A number as some library computes it."""

    id: str
    """Library, dot, its own name for the number."""

    formula: str
    """What the code does; E = x − x̂."""

    needs: tuple[str, ...]
    """Which of `x`, `x_hat`, `codes`, `dictionary`, `other` it reads."""

    ours: str
    """Id of the definition to read instead; "" where it is the same."""

    caution: str
    """What is wrong with it, or "" ."""

    compute: Callable[[Materials], Tensor | float]
    """The formula itself."""


def published_formulas() -> Mapping[str, PublishedFormula]:
    """Every formula that `as_published` knows, by id.

    Example
    -------
    >>> published_formulas()["overcomplete.r2_score"].ours
    'r2_pooled'
    """
    from sae_nb.evaluation.compatibility_formulas import FORMULAS

    return {formula.id: formula for formula in FORMULAS}


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
    x, x_hat
        Activations and reconstructions.
    codes
        Codes of the same rows.
    dictionary, other
        Atoms; `other` for what compares two dictionaries.

    Returns
    -------
    float
        What that library would report.

    Raises
    ------
    ValueError
        If the formula is unknown, something it reads is missing, or shapes differ.

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
    given = {
        "x": x,
        "x_hat": x_hat,
        "codes": codes,
        "dictionary": dictionary,
        "other": other,
    }
    missing = [f"`{name}`" for name in chosen.needs if given[name] is None]
    if missing:
        raise ValueError(
            f"{formula!r} reads {', '.join(chosen.needs)}, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing."
        )
    kept = {name: given[name] for name in chosen.needs}
    return float(chosen.compute(_checked(kept)))


def _checked(given: Mapping[str, Any]) -> Materials:
    codes = given.get("codes")
    matrices = {
        name: check_matrix(value, name=name).detach().double()
        for name, value in given.items()
        if name != "codes"
    }
    x, x_hat, dictionary = (matrices.get(name) for name in ("x", "x_hat", "dictionary"))
    if x is not None and x_hat is not None and x.shape != x_hat.shape:
        raise ValueError(
            f"`x_hat` must have the shape of `x`, {tuple(x.shape)}, got {tuple(x_hat.shape)}."
        )
    if codes is not None and dictionary is not None:
        check_dictionary(codes, dictionary)
    return Materials(codes=codes, **matrices)
