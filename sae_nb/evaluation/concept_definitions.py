"""Definitions of the families that ask what atoms tell: dark matter, probing, reading, cross-model."""

from __future__ import annotations

from sae_nb.evaluation.definitions import Definition

_MEAN = "predict the mean row"
_SHARE = "none: a share of the whole"
_AFTER = "Σ‖x_t − μ‖², held-out rows; maps are fitted on other samples"

_DARK_MATTER = (
    Definition(
        id="dark_matter_linear",
        formula="R²(e | x): 1 − Σ‖e_t − B(x_t − μ)‖² / Σ‖e_t‖² on held-out rows, e after one gain and "
        "a constant are refitted (arXiv 2410.14670)",
        better="lower",
        floor="inputs and errors shuffled against each other",
        resampled="samples",
    ),
    Definition(
        id="dark_matter_norm",
        formula="R²(‖e‖² | x, 1) on held-out rows (arXiv 2410.14670)",
        better="none",
        floor="the best of token identity, ‖x − μ‖² and L0 in the place of x",
        resampled="samples",
    ),
    Definition(
        id="error_share_explained",
        formula=f"1 − Σ‖x_t − x̂_t‖² / {_AFTER}",
        better="higher",
        floor=_SHARE,
        resampled="samples",
    ),
    Definition(
        id="error_share_shrinkage",
        formula=f"what one gain and a constant on x̂ win back, over {_AFTER}",
        better="lower",
        floor=_SHARE,
        resampled="samples",
    ),
    Definition(
        id="error_share_linear",
        formula=f"what e ≈ B(x − μ) wins back after that, over {_AFTER}",
        better="lower",
        floor=_SHARE,
        resampled="samples",
    ),
    Definition(
        id="error_share_nonlinear",
        formula=f"what ridge on random ReLU features of x wins back after that, over {_AFTER}",
        better="lower",
        floor=_SHARE,
        resampled="samples",
    ),
    Definition(
        id="error_share_rest",
        formula=f"what is left after that, over {_AFTER}",
        better="lower",
        floor=_SHARE,
        resampled="samples",
    ),
)

_PROBING = (
    Definition(
        id="probe_auroc",
        formula="mean over classes of P(s⁺ > s⁻) + ½ P(s⁺ = s⁻) on test labels, s of logistic "
        "regression on the k columns with the largest |mean⁺ − mean⁻| on training labels, its penalty "
        "chosen on validation labels",
        better="higher",
        floor="0.5: the same answer always",
        resampled="samples",
    ),
    Definition(
        id="probe_gain",
        formula="AUROC of the SAE's latents minus AUROC of the best of raw channels, principal "
        "components, difference of means and a random dictionary, each chosen on validation labels",
        better="higher",
        floor="0: the SAE adds nothing; the control is a random dictionary in the SAE's place",
        resampled="samples",
    ),
)

_READING = (
    Definition(
        id="explanation_detection",
        formula="mean over atoms of ½ (share of firing windows said to fire + share of silent windows "
        "said not to), explained on half of the samples and asked about the others",
        better="higher",
        floor="0.5: the same answer always; the control is another atom's explanation",
        resampled="atoms",
    ),
    Definition(
        id="explanation_fuzzing",
        formula="mean over atoms of ½ (share of windows with the firing rows marked that are accepted + "
        "share of those with as many other rows marked that are refused)",
        better="higher",
        floor="0.5: the same answer always; the control is another atom's explanation",
        resampled="atoms",
    ),
    Definition(
        id="explanation_intruder",
        formula="mean over atoms of the share of trials in which the one silent window among n is "
        "found, by the lowest mean cosine with the others or by a judge",
        better="higher",
        floor="1/n: any window; the control is windows shuffled between firing and silent",
        resampled="atoms",
    ),
    Definition(
        id="token_information",
        formula="Σ_v P(v | active) log₂ (P(v | active) / P(v)) over tokens v, bits",
        better="none",
        floor="as many rows drawn at random",
        resampled="samples",
    ),
)

_CROSS_MODEL = (
    Definition(
        id="itda_r2",
        formula="1 − Σ‖x_t − x̂_t‖² / Σ‖x_t − μ‖², x̂ by k steps of matching pursuit over rows taken from "
        "the activations themselves (arXiv 2505.17769)",
        better="higher",
        floor=_MEAN + "; the control is as many rows taken at random",
        resampled="samples",
    ),
    Definition(
        id="itda_jaccard",
        formula="|A ∩ B| / |A ∪ B| of the rows that two models' dictionaries took from the same inputs",
        better="none",
        floor="as many rows drawn at random for each",
        resampled="samples",
    ),
    Definition(
        id="cofiring_union",
        formula="mean over atoms of #rows in which all models fire / #rows in which any does",
        better="none",
        floor="the rows of the models shuffled against each other",
        resampled="atoms",
    ),
    Definition(
        id="matched_correlation",
        formula="mean of corr(z_i, z'_Π(i)) over rows, Π the best assignment of latents that fire often "
        "enough",
        better="none",
        floor="rows shuffled against each other",
        resampled="atoms",
    ),
)

DEFINITIONS = (*_DARK_MATTER, *_PROBING, *_READING, *_CROSS_MODEL)
