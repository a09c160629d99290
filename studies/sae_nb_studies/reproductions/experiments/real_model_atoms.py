"""Stability, absorption, meta-atoms and stitching again, on a real network trained elsewhere.

all-MiniLM-L6-v2 from a folder, by default `minilm` in the working directory; short runs take tiny-gpt in its
place. The measurements are those of `stability_evaluation` and `absorption`, on stories and prose.
"""

from __future__ import annotations

import numpy as np

import sae_nb as sn
from sae_nb_studies.evaluation import absorption, meta_dictionary
from sae_nb_studies.reproductions._three_models import PLACES
from sae_nb_studies.reproductions.experiments import (
    absorption as hierarchy,
    stability_evaluation as stability,
)

SHORT = {
    "model": "tiny-gpt",
    "stability_steps": 60,
    "steps": 80,
    "meta_steps": 50,
    "letters": ".",
    "texts": 60,
}
SMALL, LARGE = 64, 512


def run(
    seed: int,
    *,
    model: str = "minilm",
    stability_steps: int = 300,
    steps: int = 400,
    meta_steps: int = 300,
    letters: str = "stahwb",
    texts: int = 160,
) -> dict[str, float]:
    """Train the SAEs of both experiments on one model's activations and measure them.

    `model`: a folder, or the name of a bundled model; steps of 512 rows: `stability_steps` for the
    runs compared with each other, `steps` for the SAEs tested for absorption and stitching,
    `meta_steps` for the meta-dictionary; `letters`: first letters tested for absorption; `texts`:
    number of stories, and of pieces of prose.
    """
    acts = captured(model, seed, texts)
    numbers = {
        **stability._numbers("seeds", stability._trial(acts, seed, stability_steps)),
        **stability._numbers("halves", stability._trial(acts, seed, stability_steps, subset=0.5)),
    }
    first = np.array([word[:1] for word in words_of(acts)])
    saes = {n: hierarchy._trained(acts, n, seed, steps) for n in (SMALL, LARGE)}
    for n, sae in saes.items():
        found = [
            absorption(sae, acts, first == letter, n_bootstrap=0, seed=seed) for letter in letters
        ]
        numbers |= hierarchy._means(f"{n} atoms", found)
    meta = meta_dictionary(saes[LARGE], steps=meta_steps, seed=seed, n_bootstrap=0, progress=False)
    numbers |= hierarchy.stitched(saes, acts, seed, steps)
    return numbers | {
        "meta R²": meta.value,
        "meta R² of random atoms": float(meta.control or 0.0),
        "meta R² gained": meta.value - float(meta.control or 0.0),
    }


def captured(model: str, seed: int, texts: int) -> sn.Activations:
    """Capture stories and prose at the model's usual hook point."""
    told = list(sn.data.stories(texts, seed=seed).texts)
    told += list(sn.data.prose("test").texts[:texts])
    place = PLACES["tiny-gpt" if model == "tiny-gpt" else "minilm"]
    return sn.capture(sn.load_model(model), told, place, max_rows=None, progress=False)


def words_of(acts: sn.Activations) -> list[str]:
    """Return each row's token in lower case, without the marks that tokenizers put before words."""
    return [str(acts.tokens[i]).lstrip(" ␣Ġ·▁#").lower() for i in range(len(acts))]  # type: ignore[index]
