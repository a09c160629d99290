"""Corrupted scenes: which scores detect them, and how well is the digit still read from them?

tiny-vit and its SAE at block 6. Rates, principal components, means and probes are learned on clean scenes;
other scenes are corrupted in four ways, at three strengths. The control is an untrained SAE of the same size.
"""

from __future__ import annotations

from typing import Any

import torch

import sae_nb as sn

SHORT = {"n_images": 20, "n_reference": 60, "strengths": (0.5,)}
PLACE = "resid_post.6"
SCORES = ("error", "firing", "pca error", "mahalanobis", "softmax")


def run(
    seed: int,
    *,
    n_images: int = 200,
    n_reference: int = 500,
    strengths: tuple[float, ...] = (0.2, 0.5, 0.8),
) -> dict[str, float]:
    """Measure each score's mean AUROC over corruptions and strengths, and the accuracy of digit probes.

    `n_images`: scenes to corrupt; `n_reference`: clean scenes to learn from.
    """
    model, sae = sn.load_model("tiny-vit"), sn.load_sae(f"tiny-vit/{PLACE}")
    drawn = sn.data.scenes(n_images, seed=300 + seed, split="test")
    clean = sn.data.scenes(n_reference, seed=400 + seed)
    found = measured(model, sae, drawn, clean, strengths, seed)
    numbers = {name: float(found.table[name].mean()) for name in SCORES}
    for name in SCORES[1:]:
        numbers[f"error − {name}"] = numbers["error"] - numbers[name]
    for kind, some in found.table.groupby("corruption"):
        numbers |= {f"{kind}, {name}": float(some[name].mean()) for name in SCORES}
    numbers |= probed(found.probes)
    generator = torch.Generator().manual_seed(seed)
    untrained = sn.TopK(sae.d_in, sae.n_atoms, sae.k, generator=generator).eval()  # type: ignore[arg-type]
    control = measured(model, untrained, drawn, clean, strengths, seed)
    numbers["error, untrained"] = float(control.table["error"].mean())
    return numbers | {f"{name}, untrained": value for name, value in probed(control.probes).items()}


def measured(
    model: sn.LiveModel,
    sae: sn.SparseAutoencoder,
    drawn: sn.data.Scenes,
    clean: sn.data.Scenes,
    strengths: tuple[float, ...],
    seed: int,
) -> Any:
    """Measure scores and probes of the digit with one SAE."""
    return sn.vision.robustness(
        model,
        sae,
        drawn.images,
        PLACE,
        reference=clean.images,
        labels=drawn.digit,
        reference_labels=clean.digit,
        strengths=strengths,
        n_bootstrap=0,
        seed=seed,
    )


def probed(probes: Any) -> dict[str, float]:
    """Return probes' accuracy on clean images, its mean on corrupted ones, and codes minus activations."""
    clean = probes["corruption"] == "clean"
    mean = {
        (name, spoiled): float(
            probes[(probes["reads"] == name) & (clean != spoiled)]["accuracy"].mean()
        )
        for name in ("codes", "activations")
        for spoiled in (False, True)
    }
    return {
        "probe of codes, clean": mean["codes", False],
        "probe of codes, corrupted": mean["codes", True],
        "probe of activations, clean": mean["activations", False],
        "probe of activations, corrupted": mean["activations", True],
        "probes corrupted, codes − activations": mean["codes", True] - mean["activations", True],
        "share kept, codes − activations": mean["codes", True] / mean["codes", False]
        - mean["activations", True] / mean["activations", False],
        "commonest digit": float(probes["floor"].iloc[0]),
    }
