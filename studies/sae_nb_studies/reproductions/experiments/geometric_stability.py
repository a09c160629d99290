"""Does the geometry of labels predict how steerable a model is, and does it notice training before CKA?

A point is a model, a depth and a factor of the scenes: two vision transformers, seven depths, three
factors. Rows are mean states of images; half of them are used to find directions and fit a probe, half to
be moved. Steering adds the difference of the means of two classes, and is scored by the share of moved
rows that the probe assigns to the new class. For digits and textures the live model is tested, too: its
own head, with twice that difference added at every token, minus the effect of a random direction of that
length.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import rankdata, spearmanr
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.geometry import geometric_stability

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

SHORT = {"n_images": 160, "layers": [0, 11], "n_pairs": 2, "steps": [250]}
MODELS, FACTORS, HEADS = ("tiny-vit", "tiny-vit-plain"), ("digit", "texture", "colour"), 2
N_SPLITS, MOVED = 5, 24
LIVE_BY = 2.0
"""Multiple of the difference of means added to the live model: with one, almost no answer changes."""


def run(
    seed: int,
    *,
    n_images: int = 400,
    layers: Sequence[int] = (0, 2, 4, 6, 8, 10, 11),
    n_pairs: int = 6,
    steps: Sequence[int] = (250, 1250, 2500),
) -> dict[str, float]:
    """Measure stability and steerability at each point, and drift and CKA over training.

    `n_images`: scenes; `n_pairs`: pairs of classes that the live model is steered between; `steps`:
    checkpoints that are compared with the trained model.
    """
    scenes = sn.data.scenes(n_images, seed=100 + seed)
    points = [
        point
        for name in MODELS
        for layer in layers
        for point in _points(sn.load_model(name), layer, scenes, n_pairs, seed)
    ]
    columns = {key: np.array([point[key] for point in points]) for key in points[0]}
    return _predictions(columns) | _training(scenes, layers, steps, seed)


def states(model: LiveModel, scenes: Any, layer: int) -> Float[Tensor, "images d_in"]:
    """Average the states of each image over its tokens."""
    acts = sn.capture(model, scenes.images, f"resid_post.{layer}", progress=False)
    sample = torch.as_tensor(acts.sample)
    sums = torch.zeros(len(scenes), acts.d_in).index_add_(0, sample, acts.x)
    return sums / sample.bincount()[:, None]


def _points(
    model: LiveModel, layer: int, scenes: Any, n_pairs: int, seed: int
) -> list[dict[str, float]]:
    x = states(model, scenes, layer)
    found = []
    for i, factor in enumerate(FACTORS):
        labels = torch.as_tensor(getattr(scenes, factor))
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
        stable = geometric_stability(x, labels, n_splits=N_SPLITS, seed=seed)
        shuffled = geometric_stability(x, labels[order], n_splits=1, seed=seed)
        accuracy, steered = of_probe(x, labels)
        live = float("nan")
        if i < HEADS:
            live = of_model(model, layer, scenes, factor, x, n_pairs, seed)
        found.append(
            {
                "supervised": float(stable.supervised or 0.0),
                "shuffled": float(shuffled.supervised or 0.0),
                "unsupervised": stable.feature_split,
                "between": float(stable.variance_ratio or 0.0),
                "accuracy": accuracy,
                "steered": steered,
                "live": live,
            }
        )
    return found


def of_probe(x: Tensor, labels: Int[Tensor, " n"]) -> tuple[float, float]:
    """Return a probe's accuracy on unseen rows, and the share of them that a difference of means moves over."""
    half = len(x) // 2
    rows = ((x - x[:half].mean(dim=0)) / x[:half].std(dim=0).clamp_min(1e-6)).double().numpy()
    y = labels.numpy()
    probe = LogisticRegression(C=0.1, max_iter=300).fit(rows[:half], y[:half])
    unseen, right = rows[half:], y[half:]
    means = {c: rows[:half][y[:half] == c].mean(axis=0) for c in np.unique(y[:half])}
    hits = [
        probe.predict(unseen[right == b] + means[a] - means[b]) == a
        for a, b in permutations(means, 2)
        if (right == b).any()
    ]
    return float(probe.score(unseen, right)), float(np.concatenate(hits).mean())


def of_model(
    model: LiveModel, layer: int, scenes: Any, factor: str, x: Tensor, n_pairs: int, seed: int
) -> float:
    """Return the share of steered images that the head assigns to the new class, minus the random share.

    The random share is that of a random direction of the same length.
    """
    rng = np.random.default_rng(seed)
    y, half = np.asarray(getattr(scenes, factor)), len(x) // 2
    drawn = permutations(rng.permutation(np.unique(y)).tolist(), 2)
    gains = []
    for a, b in islice(drawn, n_pairs):
        towards, away = (x[:half][torch.from_numpy(y[:half] == c)].mean(dim=0) for c in (a, b))
        direction = towards - away
        moved = scenes.images[half:][torch.from_numpy(y[half:] == b)][:MOVED]
        other = torch.from_numpy(rng.standard_normal(len(direction))).float()
        share = [
            answered(model, layer, moved, factor, d, LIVE_BY * float(direction.norm()), a)
            for d in (direction, other)
        ]
        gains.append(share[0] - share[1])
    return float(np.mean(gains))


def answered(
    model: LiveModel,
    layer: int,
    images: Tensor,
    factor: str,
    direction: Tensor,
    by: float,
    wanted: int,
) -> float:
    """Return the share of images that a head assigns to a class while a direction is added at every token."""
    unit = direction / direction.norm()
    with sn.steer(model, f"resid_post.{layer}", direction=unit, by=by, backend="hooks"):
        logits = model.heads(images)[factor]
    return float((logits.argmax(dim=-1) == wanted).float().mean())


def _predictions(at: dict[str, np.ndarray]) -> dict[str, float]:
    """Return rank correlations over points."""
    live = ~np.isnan(at["live"])
    return {
        "supervised and steered": rho(at["supervised"], at["steered"]),
        "shuffled and steered": rho(at["shuffled"], at["steered"]),
        "unsupervised and steered": rho(at["unsupervised"], at["steered"]),
        "size of unsupervised and steered": abs(rho(at["unsupervised"], at["steered"])),
        "accuracy and steered": rho(at["accuracy"], at["steered"]),
        "between and steered": rho(at["between"], at["steered"]),
        "supervised beyond accuracy": partial(at["supervised"], at["steered"], at["accuracy"]),
        "shuffled beyond accuracy": partial(at["shuffled"], at["steered"], at["accuracy"]),
        "supervised beyond between": partial(at["supervised"], at["steered"], at["between"]),
        "supervised and live": rho(at["supervised"][live], at["live"][live]),
        "shuffled and live": rho(at["shuffled"][live], at["live"][live]),
        "unsupervised and live": rho(at["unsupervised"][live], at["live"][live]),
        "accuracy and live": rho(at["accuracy"][live], at["live"][live]),
        "mean steered": float(at["steered"].mean()),
        "mean live": float(at["live"][live].mean()),
        "points": float(len(live)),
    }


def rho(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's correlation; 0 if one is constant."""
    return float(np.nan_to_num(spearmanr(a, b).statistic))


def partial(a: np.ndarray, b: np.ndarray, given: np.ndarray) -> float:
    """Correlate the ranks of two numbers after the ranks of a third are regressed out of both."""
    ranks = [rankdata(v) - (len(v) + 1) / 2 for v in (a, b, given)]
    base = ranks[2] / np.linalg.norm(ranks[2])
    left, right = (v - (v @ base) * base for v in ranks[:2])
    return float(left @ right / max(np.linalg.norm(left) * np.linalg.norm(right), 1e-12))


def _training(
    scenes: Any, layers: Sequence[int], steps: Sequence[int], seed: int
) -> dict[str, float]:
    """Measure the change from checkpoints to the trained model, as drift and as 1 − CKA."""
    drifts, ckas = [], []
    numbers: dict[str, float] = {}
    last = {layer: states(sn.load_model("tiny-vit"), scenes, layer) for layer in layers}
    for step in steps:
        model = sn.load_model(f"tiny-vit@step-{step}")
        here = {layer: states(model, scenes, layer) for layer in layers}
        for layer in layers:
            found = geometric_stability(last[layer], other=here[layer], n_splits=1, seed=seed)
            drifts.append(float(found.drift or 0.0))
            ckas.append(1 - cka(last[layer], here[layer]))
        n = len(layers)
        numbers |= {f"drift, step {step}": float(np.mean(drifts[-n:]))}
        numbers |= {f"1 − CKA, step {step}": float(np.mean(ckas[-n:]))}
    order = np.random.default_rng(seed).permutation(len(scenes))
    one, other = last[layers[-1]], last[layers[-1]][torch.from_numpy(order)]
    unlike = geometric_stability(one, other=other, n_splits=1, seed=seed)
    return numbers | {
        "drift / (1 − CKA)": float(np.mean(drifts) / np.mean(ckas)),
        "drift is larger": float(np.mean(np.array(drifts) > np.array(ckas))),
        "drift / (1 − CKA), shuffled rows": float(unlike.drift or 0.0) / (1 - cka(one, other)),
    }


def cka(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> float:
    """Return linear CKA: ‖AᵀB‖² / (‖AᵀA‖ ‖BᵀB‖) of centred rows."""
    a, b = ((rows - rows.mean(dim=0)).double() for rows in (a, b))
    return float((a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm()))
