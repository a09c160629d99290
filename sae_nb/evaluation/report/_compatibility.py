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
from sae_nb.evaluation.report._row_pass import check_dictionary

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
    ValueError: If the formula is unknown, something it reads is missing, or shapes differ.

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


# -------------------------------------------------------------------------------------------------
# The formulas of `as_published`, one line each: what SAELens, SAEBench, overcomplete and others compute.


Pair = Callable[[Tensor, Tensor], Tensor]


def _pair(
    id: str,
    compute: Pair,
    formula: str,
    ours: str = "",
    caution: str = "",
) -> PublishedFormula:
    """A formula of x and x̂."""

    def of_materials(given: Materials) -> Tensor:
        return compute(given.x, given.x_hat)

    return PublishedFormula(
        id=id,
        formula=formula,
        needs=("x", "x_hat"),
        ours=ours,
        caution=caution,
        compute=of_materials,
    )


def _of_codes(
    id: str,
    compute: Callable[[Materials], Tensor | float],
    formula: str,
    ours: str = "",
    caution: str = "",
    needs: tuple[str, ...] = ("codes",),
) -> PublishedFormula:
    return PublishedFormula(
        id=id, formula=formula, needs=needs, ours=ours, caution=caution, compute=compute
    )


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=0)


def _saelens_618(x: Tensor, h: Tensor) -> Tensor:
    # The library's own slip: the mean square per dimension is squared once more (x² − x⁴).
    total = x.square().sum(dim=1).mean() - x.square().mean(dim=0).mean().square()
    return 1 - (x - h).square().sum(dim=1).mean() / total


def _perdim(x: Tensor, h: Tensor) -> Tensor:
    return (1 - (x - h).square().sum(dim=0) / _centred(x).square().sum(dim=0)).mean()


def _values(given: Materials) -> Tensor:
    return given.codes.values.detach().double()


def _shape(given: Materials) -> tuple[int, int]:
    return len(given.codes), given.codes.n_atoms


def _n_rows(given: Materials) -> int:
    return _shape(given)[0]


def _sums_of_atoms(given: Materials) -> Tensor:
    atoms = given.codes.atoms.long()
    return torch.zeros(_shape(given)[1], dtype=torch.float64).index_add(0, atoms, _values(given))


def _active_rows(given: Materials) -> Tensor:
    used = given.codes.atoms.long()[_values(given) != 0]
    return torch.bincount(used, minlength=_shape(given)[1])


def _hoyer(given: Materials) -> Tensor:
    codes, (n, c) = given.codes, _shape(given)
    row = torch.arange(n).repeat_interleave(codes.offsets.diff())
    zeros = torch.zeros(n, dtype=torch.float64)
    l1 = zeros.index_add(0, row, _values(given).abs())
    l2 = zeros.index_add(0, row, _values(given).square()).sqrt()
    # A row without an active latent is 0/0 there too.
    return ((c**0.5 - l1 / l2) / (c**0.5 - 1)).mean()


def _hungarian_loss(given: Materials) -> float:
    from scipy.optimize import linear_sum_assignment

    first, second = (
        torch.nn.functional.normalize(d, dim=1) for d in (given.dictionary, given.other)
    )
    cost = (1 - first @ second.T).numpy()
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].sum())


def _negative_interference(given: Materials) -> Tensor:
    z = given.codes.to_scipy().astype("float64")
    together = torch.from_numpy((z.T @ z).toarray())
    gram = given.dictionary @ given.dictionary.T
    return torch.linalg.matrix_norm((-together * gram).clamp_min(0), 2)


_OFFSET = "a constant offset in x̂ costs nothing"
_LEGACY = "averages ratios: rows near the mean decide"

FORMULAS: tuple[PublishedFormula, ...] = (
    _pair(
        "dictionary_learning.frac_variance_explained",
        lambda x, h: 1 - (x - h).var(dim=0).sum() / x.var(dim=0).sum(),
        "1 − Σ_j Var(E_j) / Σ_j Var(x_j)",
        "r2_pooled",
        _OFFSET,
    ),
    _pair(
        "dictionary_learning.l2_loss",
        lambda x, h: (x - h).norm(dim=1).mean(),
        "mean_t ‖e_t‖",
        "mse_token",
        "not squared, although it is called a loss",
    ),
    _pair(
        "dictionary_learning.cossim",
        lambda x, h: _cosine(x, h).mean(),
        "mean_t ⟨x_t, x̂_t⟩ / ‖x_t‖‖x̂_t‖",
    ),
    _pair(
        "dictionary_learning.l2_ratio",
        lambda x, h: (h.norm(dim=1) / x.norm(dim=1)).mean(),
        "mean_t ‖x̂_t‖ / ‖x_t‖",
    ),
    _pair(
        "dictionary_learning.relative_reconstruction_bias",
        lambda x, h: h.norm(dim=1).square().mean() / (x * h).sum(dim=1).mean(),
        "mean_t ‖x̂_t‖² / mean_t ⟨x_t, x̂_t⟩",
    ),
    _pair(
        "saelens.explained_variance_legacy",
        lambda x, h: (1 - (x - h).square().sum(1) / _centred(x).square().sum(1)).mean(),
        "mean_t (1 − ‖e_t‖² / ‖x_t − μ_batch‖²)",
        "r2_pooled",
        _LEGACY,
    ),
    _pair(
        "saelens.explained_variance",
        _saelens_618,
        "1 − mean‖e‖² / (mean‖x‖² − (mean_j mean_t x_tj²)²)",
        "r2_pooled",
        "subtracts x⁴ from x², so it depends on the units; does not centre",
    ),
    _pair(
        "saelens.mse",
        lambda x, h: ((x - h).square().sum(dim=1) / len(x)).mean(),
        "mean_t ‖e_t‖² / n",
        "mse_token",
        "divides by the number of rows twice: halves when rows double",
    ),
    _pair(
        "saelens.cossim",
        lambda x, h: _cosine(x, h).mean(),
        "mean_t ⟨x_t, x̂_t⟩ / ‖x_t‖‖x̂_t‖",
    ),
    _pair(
        "saelens.relative_reconstruction_bias",
        lambda x, h: h.norm(dim=1).square().mean() / (x * h).sum(dim=1).mean(),
        "mean_t ‖x̂_t‖² / mean_t ⟨x_t, x̂_t⟩",
    ),
    _pair(
        "saebench.explained_variance",
        _saelens_618,
        "as saelens.explained_variance",
        "r2_pooled",
        "as saelens.explained_variance",
    ),
    _pair(
        "overcomplete.r2_score",
        lambda x, h: 1 - (x - h).square().mean() / (x - x.mean()).square().mean(),
        "1 − mean(E²) / mean((x − m)²), m one number over all entries",
        "r2_pooled",
        "an offset per dimension counts as variance: 0.75 reads as 0.98",
    ),
    _pair(
        "overcomplete.avg_l2_loss",
        lambda x, h: (x - h).norm(dim=1).mean(),
        "mean_t ‖e_t‖",
        "mse_token",
        "not squared",
    ),
    _pair(
        "overcomplete.avg_l1_loss",
        lambda x, h: (x - h).abs().sum(dim=1).mean(),
        "mean_t ‖e_t‖₁",
        "mse_token",
    ),
    _pair(
        "overcomplete.relative_avg_l2_loss",
        lambda x, h: ((x - h).norm(dim=1) / (x.norm(dim=1) + 1e-6)).mean(),
        "mean_t ‖e_t‖ / (‖x_t‖ + 1e-6)",
        "fvu_pooled",
        "not centred, not squared",
    ),
    _pair(
        "dark_matter.r_squared",
        _perdim,
        "mean_j (1 − Σ_t e_tj² / Σ_t (x_tj − μ_j)²)",
        "r2_pooled",
        "a dimension with hardly any variance counts like any other; 0/0 where one has none",
    ),
    _pair(
        "uncentred.r2",
        lambda x, h: 1 - (x - h).square().sum() / x.square().sum(),
        "1 − ‖E‖² / ‖x‖²",
        "r2_pooled",
        "an offset counts as variance",
    ),
    _of_codes(
        "saelens.l0",
        lambda m: (_values(m) > 0).sum().double() / _n_rows(m),
        "mean_t #{j: z_tj > 0}",
        "l0_mean",
        "negative entries are not counted",
    ),
    _of_codes(
        "saebench.l0",
        lambda m: (_values(m) != 0).sum().double() / _n_rows(m),
        "mean_t #{j: z_tj ≠ 0}",
    ),
    _of_codes(
        "saelens.l1",
        lambda m: _values(m).sum() / _n_rows(m),
        "mean_t Σ_j z_tj",
        "l1_mean",
        "no absolute value: signed entries cancel",
    ),
    _of_codes(
        "overcomplete.l0",
        lambda m: (_values(m) != 0).sum().double() / (_shape(m)[0] * _shape(m)[1]),
        "mean over rows and atoms of 1[z ≠ 0]",
        "l0_mean",
        "a fraction of n_atoms, not a count",
    ),
    _of_codes(
        "overcomplete.l1",
        lambda m: _values(m).abs().sum() / _n_rows(m),
        "mean_t Σ_j |z_tj|",
    ),
    _of_codes(
        "dictionary_learning.l0",
        lambda m: (_values(m) != 0).sum().double() / _n_rows(m),
        "mean_t #{j: z_tj ≠ 0}",
    ),
    _of_codes(
        "dictionary_learning.l1_loss",
        lambda m: _values(m).abs().sum() / _n_rows(m),
        "mean_t Σ_j |z_tj|",
        "l1_mean",
        "the atoms' norms are not folded in",
    ),
    _of_codes(
        "dictionary_learning.frac_alive",
        lambda m: (_active_rows(m) > 0).double().mean(),
        "share of atoms active in the batch",
        "dead_fraction",
        "of one batch: the fewer rows, the fewer live",
    ),
    _of_codes(
        "overcomplete.hoyer",
        _hoyer,
        "mean_t (√c − ‖z‖₁/‖z‖₂) / (√c − 1)",
        "hoyer_mean",
        "0/0 for a row without an active latent",
    ),
    _of_codes(
        "overcomplete.dead_codes",
        lambda m: (_sums_of_atoms(m) == 0).double().mean(),
        "share of atoms with Σ_t z_tj = 0",
        "dead_fraction",
        "signed entries that cancel look dead",
    ),
    _of_codes(
        "overcomplete.cosine_hungarian_loss",
        _hungarian_loss,
        "min_Π Σ_i (1 − ⟨d_i, d'_Π(i)⟩)",
        "stability_hungarian",
        "a sum, which grows with the number of atoms",
        ("dictionary", "other"),
    ),
    _of_codes(
        "archetypal.negative_interference",
        _negative_interference,
        "‖ReLU(−(ZᵀZ) ⊙ (DDᵀ))‖₂, spectral norm (arXiv 2502.12892, eq. 14)",
        "negative_interference",
        "grows with the number of rows and the square of the units",
        ("codes", "dictionary"),
    ),
)


def _cosine(x: Tensor, h: Tensor) -> Tensor:
    return (x * h).sum(dim=1) / (x.norm(dim=1) * h.norm(dim=1))
