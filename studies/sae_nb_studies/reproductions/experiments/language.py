"""Dark matter, absorption and probing again, on a language model of 135 million parameters.

SmolLM2-135M, the residual stream after block 15 of 30, plain texts in windows of 256 tokens; TopK SAEs of
two and of eight atoms per dimension, k = 32. Seeds share the texts; they differ in SAEs and in what is
drawn to measure. Probes are trained on sentences with one label each.

You supply the data as a folder: `texts/*.txt`, one file per source, and `labels/NAME.txt`, one sentence
per line. The recorded numbers are from film reviews, State of the Union addresses, articles (WikiText-2,
validation) and Shakespeare; labels from sentence polarity; without massive tokens, as captures are. A short
run uses tiny-gpt and texts that come with the package.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.architectures import SparseAutoencoder
from sae_nb.evaluation import codes_of
from sae_nb_studies.evaluation import absorption, split_error, stitch
from sae_nb_studies.reproductions._three_models import PLACES, Seen
from sae_nb_studies.reproductions.experiments.absorption import _means
from sae_nb_studies.reproductions.experiments.probing import _probed, regimes
from sae_nb_studies.reproductions.experiments.real_model_atoms import words_of

SHORT = {
    "model": "tiny-gpt",
    "texts": "",
    "windows": 260,
    "sentences": 240,
    "steps": [10, 30],
    "letters": ".",
}
TIME, BATCH, K = 256, 1024, 32
SMALL, LARGE = 2, 8
"""Atoms per dimension."""

TWIN = 500
"""Added to the seed of the small SAE for its second training, which should have nothing novel."""


def run(
    seed: int,
    *,
    model: str = "smollm2",
    texts: str = "language",
    windows: int = 1000,
    sentences: int = 1200,
    steps: Sequence[int] = (400, 1600),
    letters: str = "stahwb",
) -> dict[str, float]:
    """Train a large SAE for several numbers of steps, a small one twice, and measure all of it.

    `model`: a folder, or a bundled one; `texts`: the folder of data, empty: what the package has;
    `windows` of 256 tokens to train on, a fifth of that to evaluate on; `sentences` with labels; `steps`
    of 1024 rows, rising; `letters`: first letters that are followed.
    """
    material = _material(model, texts, windows, sentences)
    longest, numbers = steps[-1], dict[str, float]()
    for n in steps:
        began = time.perf_counter()
        large = _trained(material, LARGE, seed, n)
        seconds = (time.perf_counter() - began) / n
        found = _dark(large, material.test, seed) | {"seconds per step": seconds}
        numbers |= {f"{n} steps, {what}": value for what, value in found.items()}
    small = _trained(material, SMALL, seed, longest)
    found = _dark(small, material.test, seed)
    numbers |= {f"2 atoms per dimension, {what}": value for what, value in found.items()}
    numbers |= _novel(small, large, _trained(material, SMALL, seed + TWIN, longest), material, seed)
    first = np.array([word[:1] for word in words_of(material.test)])
    for times, sae in ((SMALL, small), (LARGE, large)):
        of = [absorption(sae, material.test, first == x, n_bootstrap=0, seed=seed) for x in letters]
        numbers |= _means(f"{times} atoms per dimension", of)
    return numbers | _probes(large, material, seed)


@dataclass(frozen=True, eq=False)
class Material:
    """Rows of one hook point: of texts, and of sentences with labels."""

    train: Activations
    test: Activations
    """Of the last sixth of each text."""

    labelled: Activations
    labels: dict[str, Int[Tensor, " sentences"]]


@cache
def _material(model: str, texts: str, windows: int, sentences: int) -> Material:
    live = sn.load_model(model)
    place = (
        PLACES["tiny-gpt"] if model == "tiny-gpt" else f"resid_post.{live.n_layers // 2 - 1}"  # type: ignore[operator]
    )
    time_ = TIME if texts else 64
    parts = _read(texts)
    each = -(-windows // len(parts))
    cut = [_windows(live, text, time_, each) for text in parts]
    train = [w for one, _ in cut for w in one][:windows]
    test = [w for _, one in cut for w in one][: max(2, windows // 5)]
    drawn, labels = _sentences(texts, sentences)

    def rows(inputs: list[Any]) -> Activations:
        return sn.capture(live, inputs, place, drop_first=True, max_rows=None, progress=False)

    return Material(rows(train), rows(test), rows(drawn), labels)


def _read(texts: str) -> list[str]:
    if not texts:
        prose = sn.data.prose("train")
        return ["\n".join(prose.texts)]
    return [file.read_text(encoding="utf-8") for file in _files(texts, "texts")]


def _files(texts: str, folder: str) -> list[Path]:
    return sorted(file for file in (Path(texts) / folder).iterdir() if file.suffix == ".txt")


def _windows(
    model: sn.models.LiveModel, text: str, size: int, n: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Cut windows one token longer than is kept, spread over a text; test windows are from its last sixth."""
    ids = torch.tensor(model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    pieces = list(ids.unfold(0, size + 1, size + 1))
    border = len(pieces) * 5 // 6
    return _spread(pieces[:border], n), _spread(pieces[border:], -(-n // 5))


def _spread(pieces: list[Tensor], n: int) -> list[Tensor]:
    """Return `n` pieces, or all, at equal distances."""
    at = np.unique(np.linspace(0, len(pieces) - 1, min(n, len(pieces))).round().astype(int))
    return [pieces[i] for i in at]


def _sentences(texts: str, n: int) -> tuple[list[str], dict[str, Tensor]]:
    """Return sentences with labels, all kinds in turn; those longer than the median are "shifted"."""
    if not texts:
        stories = sn.data.stories(n, 700)
        drawn, label = list(stories.texts), stories.sentiment + 1
    else:
        files = _files(texts, "labels")
        each = [
            _spread(f.read_text(encoding="utf-8").splitlines(), n // len(files))  # type: ignore[arg-type]
            for f in files
        ]
        pairs = [(s, i) for row in zip(*each, strict=True) for i, s in enumerate(row)]
        drawn, label = [s for s, _ in pairs], torch.tensor([i for _, i in pairs])
    lengths = torch.tensor([float(len(s)) for s in drawn])
    return drawn, {"label": label, "shifted": lengths > lengths.median()}


def _trained(material: Material, times: int, seed: int, steps: int) -> SparseAutoencoder:
    d_in = material.train.d_in
    generator = torch.Generator().manual_seed(seed)
    sae = sn.TopK(d_in, times * d_in, K, generator=generator)
    config = sn.TrainConfig(steps=steps, batch_size=BATCH, seed=seed)
    sn.train(sae, material.train, config, progress=False)
    return sae


def _dark(sae: SparseAutoencoder, test: Activations, seed: int) -> dict[str, float]:
    """Measure the SAE's error, and the share of it that a linear map of the input predicts."""
    split = split_error(sae, test, n_bootstrap=0, seed=seed)
    return {
        "linear r2": split.value,
        "shuffled": float(split.floor or 0.0),
        "random dictionary": float(split.control or 0.0),
        "norm r2": split.norm.value,
        "norm by the best plain predictor": float(split.norm.floor or 0.0),
        "gain": split.gain,
        **{f"share {part}": share.value for part, share in split.shares.items()},
    }


def _novel(
    small: SparseAutoencoder,
    large: SparseAutoencoder,
    twin: SparseAutoencoder,
    material: Material,
    seed: int,
) -> dict[str, float]:
    """Return the share of novel atoms of the large SAE, and of a second training of the small one."""
    novel = stitch(small, large, material.test, n_bootstrap=0, seed=seed)
    repeated = stitch(small, twin, material.test, n_bootstrap=0, seed=seed)
    return {
        "novel share": novel.value,
        "novel share of a twin": repeated.value,
        "novel − twin": novel.value - repeated.value,
        "novel share of random atoms": float(novel.control or 0.0),
        "R² gained by stitching": novel.r2_stitched - novel.r2_small,
        "R² gained by stitching a twin": repeated.r2_stitched - repeated.r2_small,
    }


def _probes(sae: SparseAutoencoder, material: Material, seed: int) -> dict[str, float]:
    """Measure the four regimes of `probing`; the shift is from short sentences to long ones."""
    seen = Seen(
        name="language", train=material.train, test=material.labelled, labels=material.labels
    )
    codes = codes_of(sae, seen.test)
    return {
        f"{regime} {what}": value
        for regime, options in regimes(seen).items()
        for what, value in _probed(sae, seen, codes, options, seed).items()
    }
