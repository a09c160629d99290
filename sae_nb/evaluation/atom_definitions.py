"""Definitions of what is measured on a dictionary and on which atoms are used together."""

from __future__ import annotations

from sae_nb.evaluation.definitions import Definition

_RANDOM = "a random dictionary of the same shape"
_NOTHING = "none: a description, not a score"

DEFINITIONS = (
    Definition(
        id="l1_mean",
        formula="mean_t Σ_j |z_tj| ‖d_j‖",
        better="none",
        floor=_NOTHING,
        resampled="samples",
        differs="SAELens and SAEBench sum z without its absolute value; none of them folds in ‖d_j‖.",
    ),
    Definition(
        id="hoyer_mean",
        formula="mean over rows with an active latent of (√c − ‖z‖₁/‖z‖₂) / (√c − 1); 1 = one atom",
        better="none",
        floor=_NOTHING,
        resampled="samples",
    ),
    Definition(
        id="coherence",
        formula="max_{i≠j} |⟨d_i, d_j⟩|, unit atoms; one copied pair decides it",
        better="none",
        floor="Welch bound √((c − d) / (d (c − 1))), which no dictionary goes below",
        resampled="atoms",
    ),
    Definition(
        id="max_cosine_median",
        formula="median over atoms i of max_{j≠i} |⟨d_i, d_j⟩|",
        better="none",
        floor="Welch bound √((c − d) / (d (c − 1))), which no dictionary goes below",
        resampled="atoms",
        differs="SAEBench stores the cosine with its sign, per atom.",
    ),
    Definition(
        id="max_cosine_p95",
        formula="95 % quantile over atoms i of max_{j≠i} |⟨d_i, d_j⟩|",
        better="none",
        floor="Welch bound √((c − d) / (d (c − 1))), which no dictionary goes below",
        resampled="atoms",
    ),
    Definition(
        id="babel",
        formula="max_i (sum of the m largest |⟨d_i, d_j⟩|, j ≠ i) with m the mean L0, rounded",
        better="none",
        floor="m times the Welch bound",
        resampled="atoms",
    ),
    Definition(
        id="stable_rank",
        formula="‖D‖_F² / σ₁², unit atoms",
        better="none",
        floor="1: all atoms parallel",
        resampled="atoms",
    ),
    Definition(
        id="effective_rank",
        formula="exp(−Σ p log p), p = σ / Σσ, unit atoms (arXiv 2502.12892, eq. 11)",
        better="none",
        floor="1: all atoms parallel",
        resampled="atoms",
        differs="sae_nb.geometry.effective_rank takes p = σ² / Σσ², the share of the energy.",
    ),
    Definition(
        id="encoder_cosine",
        formula="median over atoms of ⟨e_j, d_j⟩ / (‖e_j‖‖d_j‖)",
        better="none",
        floor="0: unrelated directions",
        resampled="atoms",
    ),
    Definition(
        id="duplicate_fraction",
        formula="share of atoms with |⟨d_i, d_j⟩| > 0.9 for an atom j of smaller number",
        better="lower",
        floor="0: no two atoms alike",
        resampled="atoms",
    ),
    Definition(
        id="ood_score",
        formula="1 − mean_j max_t ⟨d_j, x_t − μ⟩ / ‖x_t − μ‖, unit atoms; a copy (|cosine| > 0.99) of an "
        "earlier atom counts 1 (after arXiv 2502.12892, eq. 9)",
        better="lower",
        floor=_RANDOM,
        resampled="atoms",
        differs="Depends on the number of rows, and on centring; both are the caller's in the paper.",
    ),
    Definition(
        id="connectivity",
        formula="1 − #{(i, j): (ZᵀZ)_ij ≠ 0} / c² (arXiv 2502.12892, eq. 13); rises when fewer pairs "
        "are ever active together",
        better="none",
        floor="1 − 1/c: every atom fires alone; `pairs` is the raw count",
        resampled="atoms",
        differs="The paper prints d² for c²; two reimplementations divide by c².",
    ),
    Definition(
        id="negative_interference",
        formula="‖ReLU(−(ZᵀZ / n) ⊙ DDᵀ)‖_F / mean_t ‖x_t − μ‖², unit atoms (after arXiv 2502.12892, "
        "eq. 14)",
        better="lower",
        floor="0: orthogonal atoms",
        resampled="samples",
        differs="The paper takes the spectral norm and divides by nothing, so it grows with the rows.",
    ),
    Definition(
        id="npmi_top",
        formula="mean over atoms active in ≥ 10 rows of max_j NPMI(i, j), "
        "NPMI = log(p_ij / p_i p_j) / −log p_ij",
        better="none",
        floor="0: independent atoms",
        resampled="atoms",
    ),
    Definition(
        id="stability_auction",
        formula="as stability_hungarian, matched by auction; `error` bounds from above what the best "
        "matching could add",
        better="higher",
        floor="two random dictionaries of the same shape",
        resampled="atoms",
    ),
    Definition(
        id="stability_gain",
        formula="stability of the trained dictionaries − stability of the same runs before training",
        better="higher",
        floor="0: training adds no agreement",
        resampled="atoms",
        differs="None of the libraries measures the start, which two runs may share.",
    ),
)
