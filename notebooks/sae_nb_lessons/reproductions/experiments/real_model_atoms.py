"""Stability, absorption, meta-atoms and stitching again, on a real network that nobody here trained.

all-MiniLM-L6-v2 as a folder, by default `minilm` in the working directory; short runs take tiny-gpt in its
place. The same measurements as in `stability_evaluation` and `absorption`, on stories and prose.
"""

from __future__ import annotations

import numpy as np
import sae_nb as sn
from sae_nb.studies.evaluation import absorption, meta_dictionary
from sae_nb_lessons.reproductions.experiments import absorption as hierarchy
from sae_nb_lessons.reproductions.experiments import stability_evaluation as stability
from sae_nb_lessons.reproductions._three_models import PLACES


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

    `model`: a folder, or a bundled one; `stability_steps`, `steps`, `meta_steps` of 512 rows: of
    the runs compared with each other, of the SAEs whose atoms are followed, of the dictionaries of
    dictionaries; `letters`: first letters that are followed; `texts`: stories, and as many pieces
    of prose.
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
    """Rows of stories and prose at the model's usual place."""
    told = list(sn.data.stories(texts, seed=seed).texts)
    told += list(sn.data.prose("test").texts[:texts])
    place = PLACES["tiny-gpt" if model == "tiny-gpt" else "minilm"]
    return sn.capture(sn.load_model(model), told, place, max_rows=None, progress=False)


def words_of(acts: sn.Activations) -> list[str]:
    """Each row's token without the marks that tokenizers put before words and word pieces."""
    return [str(acts.tokens[i]).lstrip(" ␣Ġ·▁#").lower() for i in range(len(acts))]  # type: ignore[index]
