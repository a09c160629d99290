"""How well is an atom's effect on the next token foreseen in SmolLM2-135M: by the direct path, by a Jacobian lens?

SAEs of 2 048 atoms train 250 steps on 200 texts of 25 tokens (documentation of Python); a Jacobian lens is
fitted on 24 other texts, and on others again 24 atoms that fire are added to the running model, each at its
largest strength on six texts, next to random directions of the same sizes. Seeds draw the SAEs, the texts that
they are measured on, and the atoms.

`store` keeps the lens (`benchmarks/lenses.py fit` makes the same) and every measurement, so that a stopped run
continues; seconds of a run that found them there are those of reading.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.files import read_tensors, write_tensors
from sae_nb.lenses import measured_effects
from sae_nb.statistics import rank_correlation

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

SHORT = {"model": "tiny-gpt", "store": "", "n_fit": 4, "n_train": 60, "steps": 60}
LENGTH, SKIPPED, N_MEASURED, N_ATOMS = 25, 4, 6, 24
LAYERS = {"early": 4, "middle": 12, "late": 22}
"""Of 30; in a short run the three blocks before the last of tiny-gpt."""


def run(
    seed: int,
    *,
    model: str = "smollm2",
    store: str = "lens-smollm2",
    n_fit: int = 24,
    n_train: int = 200,
    steps: int = 250,
) -> dict[str, float]:
    """Measure three blocks of the language model.

    `model`: a folder; `store`: a folder for the lens and the measurements; `n_fit`: texts of the
    lens; `n_train`, `steps`: texts and steps of the SAEs.
    """
    live = sn.load_model(model)
    texts, held_out = texts_of(live, "train"), texts_of(live, "test")
    lens = fitted(model, store, n_fit)
    some = held_out[N_MEASURED * seed : N_MEASURED * (seed + 1)]
    layers = LAYERS if live.n_layers == 30 else {"early": 0, "middle": 1, "late": 2}
    numbers: dict[str, float] = {"texts of the lens": float(lens.n_done)}
    for name, layer in layers.items():
        rows = texts[n_fit : n_fit + n_train]
        kept = Path(store) / f"measured-{layer}-{seed}.safetensors" if store else None
        found = measured(live, f"resid_post.{layer}", rows, some, seed, steps, kept)
        for by, guess in (("lens", lens), ("direct path", lens.plain())):
            numbers |= scores(f"{name}, {by}", guess.effects(found["added"], layer), found["truth"])
        numbers[f"{name}, gained"] = numbers[f"{name}, lens"] - numbers[f"{name}, direct path"]
    return numbers


@cache
def fitted(model: str, store: str, n_fit: int) -> sn.Lens:
    """Return the lens, which is the same for all seeds."""
    live = sn.load_model(model)
    folder = Path(store) / "lens" if store else None
    texts = texts_of(live, "train")[:n_fit]
    return sn.fit_lens(live, texts, context_length=LENGTH, store=folder, progress=False)


def texts_of(model: LiveModel, split: str) -> list[str]:
    """Return texts that are long enough, in an order of their own."""
    texts = sn.data.prose(split).texts  # type: ignore[arg-type]
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[i] for i in order if len(model.tokenizer.encode(texts[i])) > LENGTH]


def measured(
    model: LiveModel,
    point: str,
    rows: list[str],
    texts: list[str],
    seed: int,
    steps: int,
    kept: Path | None,
) -> dict[str, Tensor]:
    """Return directions, atoms first and then random ones, and their measured effects."""
    if kept is not None and kept.is_file():
        return {name: x.float() for name, x in read_tensors(kept).items()}
    acts = sn.capture(model, rows, point, context_length=LENGTH, progress=False)
    seen = sn.capture(model, texts, point, context_length=LENGTH, progress=False)
    torch.manual_seed(seed)
    sae = sn.TopK(acts.d_in, 2048, k=32)
    sn.train(sae, acts, steps=steps, seed=seed, progress=False)
    generator = torch.Generator().manual_seed(seed)
    here = seen.subset(seen.position >= SKIPPED)
    strongest = sae.encode(here.x).max(axis=0).detach()
    alive = (strongest > 0).nonzero().flatten()
    which = alive[torch.randperm(len(alive), generator=generator)[:N_ATOMS]]
    own = sae.dictionary[which]
    random = torch.randn(own.shape, generator=generator)
    random *= own.norm(dim=1, keepdim=True) / random.norm(dim=1, keepdim=True)
    added = torch.cat([own, random]) * strongest[which].repeat(2)[:, None]
    truth = measured_effects(model, texts, point, added, context_length=LENGTH)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(kept, {"added": added, "truth": truth.half()})
    return {"added": added, "truth": truth}


def scores(name: str, guess: Tensor, truth: Tensor) -> dict[str, float]:
    """Return rank correlation and share of the ten most raised found: of atoms, and of random directions."""
    n, numbers = len(guess) // 2, {}
    for kind, part in (("", slice(0, n)), (", random", slice(n, None))):
        pairs = list(zip(guess[part], truth[part], strict=True))
        numbers[f"{name}{kind}"] = float(
            np.mean([rank_correlation(a.numpy(), b.numpy()) for a, b in pairs])
        )
        tops = [{*a.topk(10).indices.tolist()} & {*b.topk(10).indices.tolist()} for a, b in pairs]
        numbers[f"{name}{kind}, hits"] = float(np.mean([len(both) / 10 for both in tops]))
    return numbers
