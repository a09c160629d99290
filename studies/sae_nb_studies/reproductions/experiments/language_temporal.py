"""E5 (ii) on a language model of 135 million parameters: are predicted codes slow after enough training?

SmolLM2-135M, the residual stream after block 15 of 30, windows of 96 tokens of the texts of `language`;
the published form, two atoms per dimension, k = 16, one training for each number of steps. Held-out texts
with known borders are spliced from three sources. A window with a massive token is left out whole: a few
such tokens have nearly all the variance. A short run uses tiny-gpt and the material of `temporal`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

import sae_nb as sn
from sae_nb.models import LiveModel
from sae_nb_studies.reproductions.experiments.language import _read, _windows
from sae_nb_studies.reproductions.experiments.temporal import (
    HOOK_POINT,
    MODEL,
    SPLICED,
    TIME,
    Material,
    material_of,
    measured,
    trained,
)

SHORT = {"model": MODEL, "texts": "", "windows": 60, "steps": [20, 40]}
K, BOTTLENECK = 16, 8


def run(
    seed: int,
    *,
    model: str = "smollm2",
    texts: str = "language",
    windows: int = 2000,
    steps: Sequence[int] = (300, 1200, 4800),
) -> dict[str, float]:
    """Train the published form for each number of steps, TopK for the last, and measure them on held-out text.

    `model`: a folder, or a bundled one; `texts`: the folder of data, empty: what the package has;
    `windows` of 96 tokens to train on; `steps` of 960 tokens, rising.
    """
    material = _material(model, texts, windows)
    d_in = material.test.shape[2]
    numbers: dict[str, float] = {}
    for n in steps:
        generator, began = torch.Generator().manual_seed(seed), time.perf_counter()
        sae = sn.Temporal(d_in, 2 * d_in, K, bottleneck_factor=BOTTLENECK, generator=generator)
        trained(sae, material.train, n, seed)
        seconds = time.perf_counter() - began
        found = measured(sae, material, seed) | {"seconds per step": seconds / n}
        numbers |= {f"{n} steps, {name}": value for name, value in found.items()}
    topk = sn.TopK(d_in, 2 * d_in, K, generator=torch.Generator().manual_seed(seed))
    found = measured(trained(topk, material.train, steps[-1], seed), material, seed)
    return numbers | {f"TopK {name}": value for name, value in found.items()}


@cache
def _material(model: str, texts: str, windows: int) -> Material:
    live = sn.load_model(model)
    if not texts:
        return material_of(live, HOOK_POINT, windows)
    place, parts = f"resid_post.{live.n_layers // 2 - 1}", _read(texts)  # type: ignore[operator]  # a model of blocks
    cut = [_windows(live, text, TIME, -(-windows // len(parts))) for text in parts]
    train, held_out = ([w for pair in cut for w in pair[i]] for i in (0, 1))
    spliced = sn.studies.temporal.spliced_documents(
        [torch.cat(test) for _, test in cut], n=SPLICED, piece_tokens=TIME // 3, seed=0
    )
    # The first token of each window is an attention sink and is not kept.
    sink = torch.stack([train[0][:1]] * SPLICED)
    ids: list[Tensor] = list(torch.cat([sink, spliced.tokens], dim=1))
    rows, whole = zip(
        *(_whole(live, place, inputs) for inputs in (train[:windows], held_out, ids)), strict=True
    )
    return Material(*rows, events=spliced.events[whole[2]])  # type: ignore[misc]  # three parts


def _whole(
    model: LiveModel, place: str, texts: list[Tensor]
) -> tuple[Float[Tensor, "m time d_in"], Bool[Tensor, " n"]]:
    """Return the activations of texts without a massive token, and which of the texts these are."""
    acts = sn.capture(
        model, texts, place, drop_first=True, drop_massive=True, max_rows=None, progress=False
    )
    whole = torch.bincount(acts.sample, minlength=len(texts)) == TIME
    return acts.x[whole[acts.sample]].reshape(-1, TIME, acts.d_in), whole
