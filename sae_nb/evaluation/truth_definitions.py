"""Definitions of what is measured against known factors, and of what atoms are made of."""

from __future__ import annotations

from sae_nb.evaluation.definitions import Definition

_RANDOM = "a random dictionary of the same shape"

DEFINITIONS = (
    Definition(
        id="plausibility",
        formula="mean over classes of max_j ⟨v_i, d_j⟩, unit rows v_i of a classifier, unit atoms "
        "(arXiv 2502.12892)",
        better="higher",
        floor=_RANDOM,
        resampled="samples",
        differs="Rises with the number of atoms by chance: the paper shows no floor.",
    ),
    Definition(
        id="identifiability",
        formula="mean over factors of the balanced accuracy of (±z_i > λ), λ ≥ 0, atom i, sign and λ chosen "
        "on one half of the samples, judged on the other (after arXiv 2502.12892)",
        better="higher",
        floor="0.5: saying the same of every sample",
        resampled="samples",
        differs="The paper takes the accuracy, and chooses and judges on the same samples: "
        "a rare factor scores high by always saying no.",
    ),
    Definition(
        id="attribute_told",
        formula="balanced accuracy, on fresh samples, of a logistic regression on the main latents",
        better="higher",
        floor="0.5: saying the same of every sample",
        resampled="samples",
    ),
    Definition(
        id="absorption_fraction",
        formula="mean over rows where the probe is right of α / (α + m), m = Σ π_i of the main latents, "
        "α = min(T, P − m), T the 3 strongest absorbers, π_i = z_i ⟨d_i, p̂⟩; undefined where the "
        "main latents are not the attribute's own",
        better="lower",
        floor="0: the main latents carry all of it",
        resampled="samples",
        differs="SAEBench assumes unit atoms and takes cosine ≥ 0.1 for an absorber, which chance "
        "reaches below 400 dimensions; an undertrained SAE looks good there.",
    ),
    Definition(
        id="absorption_full",
        formula="share of the rows where the probe is right with every main latent silent and one "
        "absorber carrying 0.4 of the probe's projection",
        better="lower",
        floor="0: no row",
        resampled="samples",
    ),
    Definition(
        id="splits",
        formula="main latents − 1: latents added while F1 on fresh samples rises by more than 0.03",
        better="lower",
        floor="0: one latent tells the attribute",
        resampled="samples",
    ),
    Definition(
        id="swallowed",
        formula="P(no parent latent active | child latent active, parent true), mean over parents",
        better="lower",
        floor="0: parents fire with their children",
        resampled="samples",
    ),
    Definition(
        id="meta_r2",
        formula="r2_pooled of the unit atoms under a BatchTopK dictionary of their own, a quarter as "
        "many, 4 each on average",
        better="none",
        floor="0: predict the mean atom",
        resampled="atoms",
        differs="SAEBench: the same recipe on a GPU; the random control is ours.",
    ),
    Definition(
        id="novel_fraction",
        formula="share of live atoms of the larger SAE that lower ‖x − x̂‖² of the smaller one when their "
        "z_i d_i is added (arXiv 2502.04878)",
        better="none",
        floor="0: the larger SAE only renames",
        resampled="atoms",
        differs="The paper also calls an atom a reconstruction latent where its cosine with the "
        "smaller dictionary is high; here the error decides, the cosine is shown.",
    ),
)
