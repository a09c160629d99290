"""How much of an SAE's error can a linear map of its input predict? On two small models and a real one.

TopK SAEs, 8 atoms per dimension (at most 2048), k = 16; maps are fitted on half of the fresh samples and
evaluated on the other half. Bounds are the paper's statements for large language models.
"""

from __future__ import annotations

from sae_nb_studies.evaluation import split_error
from sae_nb_studies.reproductions._three_models import models_of, seen_by, trained_on

SHORT = {"steps": 60, "pictures": 60, "texts": 60, "minilm": ""}


def run(
    seed: int, *, steps: int = 600, pictures: int = 400, texts: int = 400, minilm: str = "minilm"
) -> dict[str, float]:
    """Train an SAE on each model and split its error.

    `pictures`, `texts`: to train on, and as many to evaluate; `minilm`: folder of all-MiniLM-L6-v2; empty
    leaves it out.
    """
    numbers: dict[str, float] = {}
    for name, source in models_of(minilm).items():
        n = pictures if name == "tiny-vit" else texts
        seen = seen_by(name, source, seed, train=n, test=n)
        sae = trained_on(seen, seed, steps=steps)
        split = split_error(sae, seen.test, n_bootstrap=0, seed=seed)
        found = {
            "linear r2": split.value,
            "shuffled": float(split.floor or 0.0),
            "random dictionary": float(split.control or 0.0),
            "norm r2": split.norm.value,
            "norm by the best plain predictor": float(split.norm.floor or 0.0),
            "gain": split.gain,
            **{f"share {part}": share.value for part, share in split.shares.items()},
        }
        numbers |= {f"{name} {what}": value for what, value in found.items()}
    return numbers
