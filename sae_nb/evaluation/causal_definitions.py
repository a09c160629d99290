"""Definitions of the causal family: steering, ablation, attribution, and the illusion check."""

from __future__ import annotations

from sae_nb.evaluation.definitions import Definition

_NOTHING = "0: an edit that does nothing"

DEFINITIONS = (
    Definition(
        id="steering_success",
        formula="mean over the KL budgets of Δ log-odds of the target, at the strength that costs each",
        better="higher",
        floor=_NOTHING + ", or an atom chosen the same way from an SAE that learned nothing; the "
        "control is the 95 % quantile of random directions at equal KL",
        resampled="samples",
    ),
    Definition(
        id="steering_specificity",
        formula="Δ log-odds of the target per nat of KL, mean over the KL budgets",
        better="higher",
        floor=_NOTHING + ", or an atom chosen the same way from an SAE that learned nothing; the "
        "control is the 95 % quantile of random directions at equal KL",
        resampled="samples",
    ),
    Definition(
        id="nats_written",
        formula="mean −log p_clean of the tokens that the steered model writes, nats per token",
        better="lower",
        floor="what the clean model writes; the control is a random direction at equal KL",
        resampled="samples",
    ),
    Definition(
        id="nats_read",
        formula="mean over tokens of −log p_steered + log p_clean on neutral text, nats per token",
        better="lower",
        floor=_NOTHING + "; the control is a random direction at equal KL",
        resampled="samples",
    ),
    Definition(
        id="steering_robustness",
        formula="share of cells (variant × input) whose Δ log-odds exceeds the 95 % quantile of random "
        "directions of equal norm",
        better="higher",
        floor="0.05: what the quantile leaves to a random direction",
        resampled="samples",
    ),
    Definition(
        id="sign_flips",
        formula="share of cells (variant × input) whose Δ log-odds has the other sign than the mean's",
        better="lower",
        floor="0.5: an effect without a direction",
        resampled="samples",
    ),
    Definition(
        id="effect_spread",
        formula="standard deviation of Δ log-odds over variants of an input, over |mean|",
        better="lower",
        floor=_NOTHING + "; the control is the same for random directions of equal norm",
        resampled="samples",
    ),
    Definition(
        id="ablation_effect",
        formula="mean of m(x) − m(x without the atom), m the logit of the clean answer above the mean",
        better="none",
        floor=_NOTHING + "; the control is the 95 % quantile of |effect| of random directions",
        resampled="samples",
    ),
    Definition(
        id="fldd",
        formula="mean (m_patched − m_base) / mean (m_source − m_base), m the logit difference",
        better="higher",
        floor="0: the base answers as before; the control is the 95 % quantile of random directions",
        resampled="samples",
    ),
    Definition(
        id="dormant_index",
        formula="Var_t⟨v_row, x_t⟩ / mean Var_t⟨r, x_t⟩ over random directions r of the row space",
        better="higher",
        floor="1: a random direction of the row space; well below it the part that acts is dormant",
        resampled="samples",
    ),
    Definition(
        id="attribution_agreement",
        formula="Spearman correlation of gradient × activation with the exact effect by splicing, over "
        "the atoms of an input",
        better="higher",
        floor="0; the control is the same with attributions in an order of chance",
        resampled="samples",
    ),
    Definition(
        id="attribution_faithfulness",
        formula="Σ s (m(K nodes kept) − m(none)) / Σ |m(all) − m(none)| over inputs, s the sign of "
        "m(all) − m(none), mean over 1 … 50 % of the nodes kept by falling |attribution|, errors "
        "included, the others at their mean",
        better="higher",
        floor="nodes kept in an order of chance",
        resampled="samples",
    ),
)
