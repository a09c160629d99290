"""Which architectures keep a parent on under its child? Planted trees with the truth known, and a language model.

The trees are those of `hierarchy` at ρ = 0.1; all SAEs have an atom per concept and the L0 of the truth. A parent
that is off counts where its child's atom is on and the child is true; how near concepts have an atom
is shown next to it, as an SAE without the concepts has nothing to absorb. On a language model the attribute is
the first letter of a token, as in the published task, with SAEs of one size and one mean L0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import sae_nb as sn
from sae_nb_studies.evaluation import absorption, swallowed

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

SHORT = {
    "steps": 60,
    "n": 4000,
    "model": "tiny-gpt",
    "texts": 100,
    "text_steps": 40,
    "letters": "s",
}
SIZE, TRUE_L0, TEST = 20, 1.36, 2000
ATOMS, K = 512, 8
"""On a language model: atoms and mean L0 of each SAE."""

Maker = Callable[[int, int, float, torch.Generator], Any]


def _plain(kind: Any, **settings: Any) -> Maker:
    return lambda d, n, k, g: kind(d, n, k, generator=g, **settings)


MAKERS: dict[str, Maker] = {
    "BatchTopK": _plain(sn.BatchTopK),
    "OrtSAE": _plain(sn.OrtSAE),
    "MaskedSAE": _plain(sn.MaskedSAE),
    "TreeSAE": _plain(sn.TreeSAE),
    "Matryoshka": _plain(sn.Matryoshka),
}


def run(
    seed: int,
    *,
    steps: int = 4000,
    n: int = 20_000,
    model: str = "smollm2-135m",
    texts: int = 400,
    text_steps: int = 800,
    letters: str = "stahwb",
) -> dict[str, float]:
    """Train each architecture on a tree and on a language model, and count what is absorbed.

    `steps` of 200 rows on `n` vectors of a tree; `model`: a language model; `text_steps` of 512 rows on its
    activations on so many `texts`; `letters`: first letters that are followed.
    """
    return _on_a_tree(seed, steps, n) | _on_texts(seed, model, texts, text_steps, letters)


def _on_a_tree(seed: int, steps: int, n: int) -> dict[str, float]:
    tree = sn.studies.data.concept_tree(n + TEST, seed=seed)
    known = (tree.x[n:], tree.codes.rows(slice(n, None)), tree.dictionary, tree.parent)
    makers = MAKERS | {
        "TreeSAE, levels known": _plain(
            sn.TreeSAE, groups=(11, 9), k_shares=(1 / TRUE_L0, 1 - 1 / TRUE_L0)
        ),
        "MP-SAE": lambda d, m, _, g: sn.MatchingPursuit(d, m, 4, tolerance=0.05, generator=g),
    }
    numbers: dict[str, float] = {}
    for name, make in makers.items():
        sae = make(SIZE, SIZE, TRUE_L0, torch.Generator().manual_seed(1000 + seed))
        config = sn.TrainConfig(steps=steps, batch_size=200, seed=seed)
        sn.train(sae, tree.x[:n], config, progress=False)
        found = swallowed(sae.eval(), *known, n_bootstrap=0, seed=seed)
        codes, cosines = (
            sae.encode(tree.x[n:]),
            sn.evaluation.match_atoms(tree.dictionary, sae.dictionary)[2],
        )
        numbers |= {
            f"tree, {name}": found.value,
            f"tree, {name}: random atoms": float(found.control or 0.0),
            f"tree, {name}: L0": float((codes.values != 0).sum()) / TEST,
            f"tree, {name}: cosine": float(cosines.mean()),
            f"tree, {name}: R²": _r2(sae, tree.x[n:]),
        }
    return numbers


def _on_texts(seed: int, model: str, texts: int, steps: int, letters: str) -> dict[str, float]:
    acts, first = _read(model, texts)
    numbers: dict[str, float] = {}
    makers = MAKERS | {"MP-SAE": lambda d, m, k, g: sn.MatchingPursuit(d, m, int(k), generator=g)}
    for name, make in makers.items():
        sae = make(acts.d_in, ATOMS, K, torch.Generator().manual_seed(1000 + seed))
        config = sn.TrainConfig(steps=steps, batch_size=512, seed=seed)
        sn.train(sae, acts, config, progress=False)
        of = [absorption(sae.eval(), acts, first == x, n_bootstrap=0, seed=seed) for x in letters]
        told = [one.value for one in of if not math.isnan(one.value)]
        controls = [float(one.control or 0.0) for one in of]
        codes = sae.encode(acts.x)
        numbers |= {
            f"text, {name}": float(np.mean(told)) if told else 0.0,
            f"text, {name}: letters told": len(told) / len(of),
            f"text, {name}: random atoms": float(np.nan_to_num(controls).mean()),
            f"text, {name}: L0": float((codes.values != 0).sum()) / len(acts),
            f"text, {name}: R²": _r2(sae, acts.x),
        }
    return numbers


@cache
def _read(model: str, n: int) -> tuple[sn.Activations, np.ndarray]:
    """Return activations of a block in the first half of a model, and the first letter of each token."""
    live = sn.load_model(model)
    texts = list(sn.data.prose("train").texts[:n])
    acts = sn.capture(live, texts, f"resid_post.{(live.n_layers or 3) // 4}", progress=False)
    words = [str(acts.tokens[i]).lstrip(" ␣Ġ·▁").lower() for i in range(len(acts))]  # type: ignore[index]
    return acts, np.array([word[:1] for word in words])


def _r2(sae: SparseAutoencoder, x: torch.Tensor) -> float:
    left = x - sae(x).detach()
    return 1 - float(left.square().sum() / (x - x.mean(dim=0)).square().sum())
