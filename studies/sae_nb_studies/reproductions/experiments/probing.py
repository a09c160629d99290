"""Are SAEs useful for probing? Latents compared with every baseline that needs no SAE, on three models.

TopK SAEs, 8 atoms per dimension (at most 2048), k = 16. Labels belong to whole pictures (digit, texture) and
stories (sentiment, plural), over which codes and activations are averaged. Arms are chosen on validation
labels; a gain is the AUROC of the SAE's best arm minus that of the best baseline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sae_nb.evaluation import codes_of
from sae_nb_studies.evaluation import probe
from sae_nb_studies.evaluation.concepts._probe_fits import SAE
from sae_nb_studies.reproductions._three_models import Seen, models_of, seen_by, trained_on

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.codes import SparseCodes

SHORT = {"steps": 60, "samples": 300, "minilm": ""}
KS = (1, 2, 5)


def run(
    seed: int, *, steps: int = 600, samples: int = 800, minilm: str = "minilm"
) -> dict[str, float]:
    """Train an SAE on each model, and probe under four regimes.

    `samples`: labelled samples, half of which are tested on; the SAE is trained on up to 400 others;
    `minilm`: folder of all-MiniLM-L6-v2, or an empty string to leave it out.
    """
    numbers: dict[str, float] = {}
    for name, source in models_of(minilm).items():
        seen = seen_by(name, source, seed, train=min(400, samples), test=samples)
        sae = trained_on(seen, seed, steps=steps)
        codes = codes_of(sae, seen.test)
        for regime, options in regimes(seen).items():
            found = _probed(sae, seen, codes, options, seed)
            numbers |= {f"{name} {regime} {what}": value for what, value in found.items()}
    return numbers


def regimes(seen: Seen) -> dict[str, dict[str, Any]]:
    """Return options of `probe` for many labels, few, noisy ones, and test samples from elsewhere."""
    return {
        "plenty": {},
        "few": {"n_labels": 64},
        "noisy": {"label_noise": 0.3},
        "shifted": {"shifted": seen.labels["shifted"]},
    }


def _probed(
    sae: SparseAutoencoder, seen: Seen, codes: SparseCodes, options: dict[str, Any], seed: int
) -> dict[str, float]:
    """Probe every label of a model, and return means over labels."""
    studies = [
        probe(sae, seen.test, labels, codes=codes, ks=KS, n_bootstrap=0, seed=seed, **options)
        for label, labels in seen.labels.items()
        if label != "shifted"
    ]
    found = {
        "gain": [study.value for study in studies],
        "random gain": [float(study.control or 0.0) for study in studies],
        "all latents": [study.scores[SAE, "all"].value for study in studies],
        "all channels": [study.scores["raw channels", "all"].value for study in studies],
    }
    for k in KS:
        found[f"latents {k}"] = [study.scores[SAE, k].value for study in studies]
        found[f"gain {k}"] = [study.gains[k].value for study in studies]
        found[f"channels {k}"] = [study.scores["raw channels", k].value for study in studies]
    return {what: float(np.mean(values)) for what, values in found.items()}
