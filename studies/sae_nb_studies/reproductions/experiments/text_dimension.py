"""The dimension of texts by kind, at one length, and how much of it follows from the share of distinct tokens.

Four kinds: reference texts (CPython's own, bundled), an encyclopaedia, drama and film reviews. Texts are cut to
the same number of tokens before anything is measured, and read by all-MiniLM-L6-v2, a folder; two of the three
estimators measure some of them. Kinds that are not bundled are files `NAME.txt` in a folder, cut into pieces;
the recorded numbers are from WikiText-2 (validation, without its marks for unknown words and hyphens),
Shakespeare and film reviews. A short run takes tiny-gpt, and bundled stories in place of drama.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.decomposition import NMF
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sae_nb as sn
from sae_nb.models import LiveModel
from sae_nb_studies.reproductions._simpler import read
from sae_nb_studies.uses import TextDimension, text_dimension

SHORT = {"model": "tiny-gpt", "folder": "", "n": 4, "length": 40, "steps": 20}
SOME = 24  # texts of each kind that the other estimators measure
KINDS = ("encyclopaedia", "drama", "reviews")
ESTIMATORS = ("tree", "two_nn", "local")
N_ATOMS, ACTIVE, TOPICS = 256, 8, 12
PIECE = 140  # words: more than enough for the length, fewer than MiniLM's 512 tokens


def run(
    seed: int,
    *,
    n: int = 600,
    length: int = 128,
    steps: int = 400,
    model: str = "minilm",
    folder: str = "genres",
) -> dict[str, float]:
    """Measure `n` texts of each kind, drawn by the seed, or as many as there are.

    `length` of each in tokens; `steps` of the SAE whose atoms predict the dimension; `folder`: holds the texts.
    """
    live = sn.load_model(model)
    texts, kinds = drawn(folder, n, seed)
    point = f"resid_post.{(live.n_layers or 1) - 1}"
    first = [i for i, kind in enumerate(kinds) if kinds[:i].count(kind) < SOME]
    some = [texts[i] for i in first], [kinds[i] for i in first]
    results = {}
    for estimator in ESTIMATORS:
        measured, groups = (texts, kinds) if estimator == "tree" else some
        results[estimator] = text_dimension(
            live,
            measured,
            point,
            length=length,
            groups=groups,
            estimator=estimator,  # type: ignore[arg-type]
            progress=False,
        )
    numbers = {
        f"{kind}, {name}": value
        for name, result in results.items()
        for kind, value in result.table.groupby("group")["dimension"].median().items()
    }
    result = results["tree"]
    by_kind = result.groups.set_index("group")
    numbers |= {f"distinct, {kind}": float(by_kind["distinct"][kind]) for kind in by_kind.index}
    numbers |= orders(result, seed)
    return numbers | explained(live, texts, result, point, steps, seed)


def drawn(folder: str, n: int, seed: int) -> tuple[list[str], list[str]]:
    """Draw pieces of 140 words from each kind, and return them with their kinds."""
    draws = np.random.default_rng(seed)
    sources = {"reference": " ".join(sn.data.prose().texts)}
    if folder:
        sources |= {kind: (Path(folder) / f"{kind}.txt").read_text("utf-8") for kind in KINDS}
    else:
        sources["drama"] = " ".join(sn.data.stories(300, seed=seed).texts)
    texts, kinds = [], []
    for kind, source in sources.items():
        words = source.split()
        starts = draws.permutation(len(words) // PIECE)[:n] * PIECE
        texts += [" ".join(words[start : start + PIECE]) for start in starts]
        kinds += [kind] * len(starts)
    return texts, kinds


def orders(result: TextDimension, seed: int) -> dict[str, float]:
    """Compare medians of kinds: as measured, with the share of distinct tokens regressed out, and shuffled.

    Medians, as a few texts have dimensions of a hundred and more.
    """
    held = result.table.dropna()
    dimension, distinct = held["dimension"].to_numpy(), held["distinct"].to_numpy()
    slope, level = np.polyfit(distinct, dimension, 1)
    left = dimension - slope * distinct - level
    kinds = held["group"].to_numpy()
    shuffled = np.random.default_rng(seed).permutation(kinds)
    pairs = [("reference", "encyclopaedia"), ("encyclopaedia", "drama"), ("reference", "drama")]
    numbers = {"rho with distinct": float(result.simpler["rho"][0])}
    for low, high in pairs:
        if low in kinds and high in kinds:
            for name, values, labels in (
                ("", dimension, kinds), (", distinct held", left, kinds), (", shuffled", dimension, shuffled),
            ):  # fmt: skip
                numbers[f"{high} minus {low}{name}"] = float(
                    np.median(values[labels == high]) - np.median(values[labels == low])
                )
    return numbers


def explained(
    live: LiveModel, texts: list[str], result: TextDimension, point: str, steps: int, seed: int
) -> dict[str, float]:
    """Measure how well atoms, components, topics and distinct tokens predict the rank of held-out texts' dimension."""
    acts = sn.capture(live, texts, point, progress=False)
    draws = torch.Generator().manual_seed(seed)
    sae = sn.TopK(acts.d_in, N_ATOMS, ACTIVE, generator=draws)
    sn.train(sae, acts, steps=steps, seed=seed, progress=False)
    pca = sn.fit_classical(acts, "PCA", min(N_ATOMS, acts.d_in), k=ACTIVE)
    there = ~np.isnan(result.dimension)
    sample = acts.sample.numpy()
    counts = CountVectorizer().fit_transform(texts)
    topics = NMF(min(TOPICS, len(texts)), init="nndsvda", max_iter=300, tol=1e-3).fit_transform(
        counts.astype(float)
    )
    codes = {
        "SAE": read(sae.eval(), acts.x).of_samples(sample).toarray(),
        "PCA": read(pca, acts.x).of_samples(sample).toarray(),
        "NMF": topics,
        "distinct": result.table[["distinct"]].to_numpy(),
    }
    ranks = rankdata(result.dimension[there]) / there.sum()
    numbers = {
        f"R2 of dimension, {name}": held_out_r2(code[there], ranks, seed)
        for name, code in codes.items()
    }
    shuffled = np.random.default_rng(seed).permutation(ranks)
    numbers["R2 of dimension, shuffled"] = held_out_r2(codes["SAE"][there], shuffled, seed)
    for rival in ("PCA", "NMF", "distinct"):
        numbers[f"R2 of dimension, SAE ahead of {rival}"] = (
            numbers["R2 of dimension, SAE"] - numbers[f"R2 of dimension, {rival}"]
        )
    return numbers


def held_out_r2(codes: np.ndarray, dimension: np.ndarray, seed: int) -> float:
    """Return the held-out R² of a ridge regression, over four folds."""
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 6)))
    folds = KFold(4, shuffle=True, random_state=seed)
    made = cross_val_predict(model, codes, dimension, cv=folds)
    return float(1 - ((dimension - made) ** 2).sum() / ((dimension - dimension.mean()) ** 2).sum())
