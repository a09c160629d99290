"""Which formula stands behind a number: every measurement names one of these by its id.

Several quantities carry the same name in different libraries and are not interchangeable, so a
value without its definition id says nothing.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One measured quantity, in words and as a formula."""

    id: str
    """Stable name that reports and files carry."""

    formula: str
    """How it is computed; e = x − x̂, z the code, μ the mean row of the whole set."""

    better: Literal["higher", "lower", "one", "none"]
    """Which direction is good; "one" means close to 1, "none" that it depends."""

    floor: str
    """What the floor beside the value is."""

    resampled: Literal["samples", "atoms"]
    """What the bootstrap draws."""

    differs: str = ""
    """Where libraries compute something else under this name; empty where they agree or have none."""


_MEAN = "predict the mean row"
_MEAN_ABLATED = "mean ablation: every spliced position becomes the mean row"
_NO_FLOOR = "none: a description, not a score"

_ALL = (
    Definition(
        id="r2_pooled",
        formula="1 − Σ_t‖e_t‖² / Σ_t‖x_t − μ‖²",
        better="higher",
        floor=_MEAN,
        resampled="samples",
        differs="dictionary_learning: r2_varratio. SAELens: r2_pertoken (legacy), "
        "ev_saelens618. overcomplete: r2_scalar. SAE-Dark-Matter: r2_perdim.",
    ),
    Definition(
        id="r2_perdim",
        formula="mean over dimensions j with variance of 1 − Σ_t e_tj² / Σ_t (x_tj − μ_j)²",
        better="higher",
        floor=_MEAN,
        resampled="samples",
    ),
    Definition(
        id="r2_varratio",
        formula="1 − Σ_j Var(e_j) / Σ_j Var(x_j); a constant offset in x̂ costs nothing",
        better="higher",
        floor=_MEAN,
        resampled="samples",
    ),
    Definition(
        id="r2_pertoken",
        formula="mean_t (1 − ‖e_t‖² / ‖x_t − μ‖²)",
        better="higher",
        floor=_MEAN,
        resampled="samples",
    ),
    Definition(
        id="r2_scalar",
        formula="1 − mean(e²) / mean((x − m)²), m one number over all entries; inflates with offsets",
        better="higher",
        floor=_MEAN,
        resampled="samples",
    ),
    Definition(
        id="r2_uncentred",
        formula="1 − Σ_t‖e_t‖² / Σ_t‖x_t‖²",
        better="higher",
        floor=_MEAN,
        resampled="samples",
    ),
    Definition(
        id="ev_saelens618",
        formula="1 − mean‖e‖² / (mean‖x‖² − (mean_j mean_t x_tj²)²); x² − x⁴, so it depends on the units",
        better="higher",
        floor=_MEAN,
        resampled="samples",
    ),
    Definition(
        id="fvu_pooled",
        formula="Σ_t‖e_t‖² / Σ_t‖x_t − μ‖²",
        better="lower",
        floor=_MEAN,
        resampled="samples",
    ),
    Definition(
        id="fvu_token_median",
        formula="median_t ‖e_t‖² / ‖x_t − μ‖²",
        better="lower",
        floor=_MEAN,
        resampled="samples",
    ),
    Definition(
        id="fvu_trimmed",
        formula="Σ_t‖e_t‖² / Σ_t‖x_t − μ‖² without the 0.1 % of rows with the largest norm",
        better="lower",
        floor=_MEAN,
        resampled="samples",
    ),
    Definition(
        id="mse_token",
        formula="mean_t ‖e_t‖²",
        better="lower",
        floor=_MEAN,
        resampled="samples",
        differs="Divide by d_in for the mean over entries. dictionary_learning and overcomplete "
        "report mean ‖e‖, not squared; SAELens divides by the number of rows once more.",
    ),
    Definition(
        id="cosine_uncentred",
        formula="mean_t ⟨x_t, x̂_t⟩ / (‖x_t‖‖x̂_t‖)",
        better="higher",
        floor=_MEAN,
        resampled="samples",
        differs="High wherever a mean direction dominates: read cosine_centred beside it.",
    ),
    Definition(
        id="cosine_centred",
        formula="mean_t ⟨x_t − μ, x̂_t − μ⟩ / (‖x_t − μ‖‖x̂_t − μ‖), 0 where x̂_t = μ",
        better="higher",
        floor=_MEAN,
        resampled="samples",
    ),
    Definition(
        id="norm_ratio",
        formula="mean_t ‖x̂_t‖ / ‖x_t‖",
        better="none",
        floor=_MEAN,
        resampled="samples",
        differs="The mean of ratios, as SAELens and dictionary_learning; shrinkage_gamma is the "
        "ratio of means.",
    ),
    Definition(
        id="shrinkage_gamma",
        formula="Σ_t‖x̂_t‖² / Σ_t⟨x_t, x̂_t⟩; below 1 means shrinkage (arXiv 2404.16014, eq. 10)",
        better="one",
        floor=_MEAN,
        resampled="samples",
        differs="SAELens and dictionary_learning: the same ratio of means.",
    ),
    Definition(
        id="l0_mean",
        formula="mean_t #{j: z_tj ≠ 0}",
        better="none",
        floor=_NO_FLOOR,
        resampled="samples",
        differs="overcomplete: as a fraction of n_atoms. SAELens: counts z > 0, which misses "
        "negative entries.",
    ),
    Definition(
        id="l0_quantile",
        formula="quantile over rows of #{j: z_tj ≠ 0}",
        better="none",
        floor=_NO_FLOOR,
        resampled="samples",
    ),
    Definition(
        id="dead_fraction",
        formula="share of atoms with z_tj = 0 in every row of the set",
        better="lower",
        floor=_NO_FLOOR,
        resampled="atoms",
        differs="Depends on the rows looked at, which `n_rows` of the report states. "
        "overcomplete tests Σ_t z = 0, which signed codes fool; dictionary_learning "
        "looks at one batch.",
    ),
    Definition(
        id="density_median",
        formula="median over atoms of #{t: z_tj ≠ 0} / n",
        better="none",
        floor=_NO_FLOOR,
        resampled="atoms",
        differs="SAELens and SAEBench count z > 0.",
    ),
    Definition(
        id="dense_fraction",
        formula="share of atoms active in more than 0.1 of the rows",
        better="lower",
        floor=_NO_FLOOR,
        resampled="atoms",
    ),
    Definition(
        id="rare_fraction",
        formula="share of atoms active in fewer than 1e-5 of the rows (dead ones included)",
        better="lower",
        floor=_NO_FLOOR,
        resampled="atoms",
    ),
    Definition(
        id="ce_next_token",
        formula="mean over real next tokens of −log p(token), nats, fp32 log-softmax",
        better="lower",
        floor=_MEAN_ABLATED,
        resampled="samples",
    ),
    Definition(
        id="ce_labels",
        formula="mean over samples of −log p(label), nats, fp32 log-softmax",
        better="lower",
        floor=_MEAN_ABLATED,
        resampled="samples",
    ),
    Definition(
        id="ce_recovered_zero",
        formula="(CE_zero − CE_spliced) / (CE_zero − CE_clean)",
        better="higher",
        floor=_MEAN_ABLATED,
        resampled="samples",
        differs="SAELens, SAEBench and dictionary_learning: this one. Work on IOI: mean ablation.",
    ),
    Definition(
        id="ce_recovered_mean",
        formula="(CE_mean − CE_spliced) / (CE_mean − CE_clean)",
        better="higher",
        floor=_MEAN_ABLATED,
        resampled="samples",
    ),
    Definition(
        id="delta_ce",
        formula="CE_spliced − CE_clean, nats",
        better="lower",
        floor=_MEAN_ABLATED,
        resampled="samples",
    ),
    Definition(
        id="kl_clean_spliced",
        formula="mean of Σ_v p_clean(v) (log p_clean(v) − log p_spliced(v)), nats",
        better="lower",
        floor=_MEAN_ABLATED,
        resampled="samples",
        differs="SAEBench takes log(softmax), which underflows on confident tokens.",
    ),
    Definition(
        id="kl_score_zero",
        formula="(KL_zero − KL_spliced) / KL_zero",
        better="higher",
        floor=_MEAN_ABLATED,
        resampled="samples",
    ),
    Definition(
        id="agreement",
        formula="share of predictions whose most likely class equals the clean model's",
        better="higher",
        floor=_MEAN_ABLATED,
        resampled="samples",
    ),
    Definition(
        id="accuracy",
        formula="share of samples whose most likely class is the label",
        better="higher",
        floor=_MEAN_ABLATED,
        resampled="samples",
    ),
    Definition(
        id="accuracy_recovered_zero",
        formula="(acc_spliced − acc_zero) / (acc_clean − acc_zero)",
        better="higher",
        floor=_MEAN_ABLATED,
        resampled="samples",
    ),
    Definition(
        id="accuracy_recovered_mean",
        formula="(acc_spliced − acc_mean) / (acc_clean − acc_mean)",
        better="higher",
        floor=_MEAN_ABLATED,
        resampled="samples",
    ),
    Definition(
        id="output_cosine",
        formula="mean over outputs of ⟨y_clean, y_spliced⟩ / (‖y_clean‖‖y_spliced‖)",
        better="higher",
        floor=_MEAN_ABLATED,
        resampled="samples",
    ),
    Definition(
        id="cosine_recovered_zero",
        formula="(cos_spliced − cos_zero) / (1 − cos_zero), cosines with the clean output",
        better="higher",
        floor=_MEAN_ABLATED,
        resampled="samples",
    ),
    Definition(
        id="stability_hungarian",
        formula="mean over pairs of max_Π (1/c) Σ_i ⟨d_i, d'_Π(i)⟩, unit atoms "
        "(arXiv 2502.12892, eq. 2)",
        better="higher",
        floor="two random dictionaries of the same shape",
        resampled="atoms",
        differs="overcomplete: the sum of 1 − cosine, not divided by the number of atoms. "
        "interpreto: 1 − mean.",
    ),
)

_BY_ID = {definition.id: definition for definition in _ALL}

_FAMILIES = ("causal_definitions", "atom_definitions", "truth_definitions", "concept_definitions")
"""Modules here with `DEFINITIONS` of their own, read when an id is not among these."""


def _family_definitions() -> dict[str, Definition]:
    modules = (importlib.import_module(f"sae_nb.evaluation.{name}") for name in _FAMILIES)
    return {one.id: one for module in modules for one in module.DEFINITIONS}


def known_definitions() -> dict[str, Definition]:
    """Return every definition there is, by id.

    Example
    -------
    >>> "r2_pooled" in known_definitions()
    True
    """
    return _BY_ID | _family_definitions()


def define(definition: str) -> Definition:
    """Return what a definition id stands for.

    Parameters
    ----------
    definition
        An id as carried by `Measurement.definition`.

    Returns
    -------
    Definition
        Formula, direction, floor.

    Raises
    ------
    ValueError
        If there is no such id.

    Example
    -------
    >>> define("fvu_pooled").better
    'lower'
    """
    known = _BY_ID if definition in _BY_ID else _BY_ID | _family_definitions()
    if definition not in known:
        raise ValueError(f"`definition` must be one of {sorted(known)}, got {definition!r}.")
    return known[definition]
