"""Can rules describe a function of tokens when the function is known?

Functions are planted on the tokens of passages that tiny-gpt reads: one statement about a token, two of
them, one with exceptions, and one that rules cannot express. Rules are made from half of the passages and
tested on the other half. A seed draws the passages and the functions.
"""

from __future__ import annotations

import numpy as np

import sae_nb as sn
from sae_nb_studies.evaluation import planted_functions

SHORT = {"n_texts": 60, "n_each": 2}
ONE, TWO = ("token", "letters", "place"), ("or", "and", "and not")


def run(seed: int, *, n_texts: int = 200, n_each: int = 8) -> dict[str, float]:
    """Plant `n_each` functions of every kind on `n_texts` passages, and score the rules for them."""
    texts = sn.data.prose("train").texts
    order = np.random.default_rng(seed).permutation(len(texts))[:n_texts]
    model = sn.load_model("tiny-gpt")
    acts = sn.capture(model, [texts[i] for i in order], "resid_post.0", progress=False)
    table = planted_functions(acts, n_each=n_each, seed=seed).score(seed=seed).set_index("kind")
    scores = table.score
    numbers = {kind: float(value) for kind, value in scores.items()}
    one, two = float(scores[list(ONE)].mean()), float(scores[list(TWO)].mean())
    return numbers | {
        "one": one,
        "two": two,
        "one ahead of two": one - two,
        "constant": float(table.constant.iloc[0]),
        "another's rule": float(table.other.iloc[0]),
    }
