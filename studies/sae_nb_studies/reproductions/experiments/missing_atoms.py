"""Do texts that are written by steering with the atoms that a set lacks reach those atoms?

The set holds stories; what it lacks is known from prose. tiny-gpt, block 1: a TopK trained on both, and a second one of
another seed that judges by the atom with the nearest direction. SmolLM2-135M, block 9: the SAE that comes with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import sae_nb as sn
from sae_nb_studies.uses import Synthesis, fill_gaps
from sae_nb_studies.uses._synthesis import WAYS, strengths, usual_strengths

SHORT = {"steps": 100, "n_atoms": 6, "real_atoms": 2}
PLACE, REAL = "resid_post.1", "resid_post.9"


def run(
    seed: int, *, steps: int = 500, n_atoms: int = 40, real_atoms: int = 10
) -> dict[str, float]:
    """Write for `n_atoms` atoms of tiny-gpt, and for `real_atoms` of SmolLM2, three texts each."""
    stories, prose = sn.data.stories(200, seed=seed).texts, sn.data.prose("train").texts
    drawn = np.random.default_rng(seed).permutation(len(prose))
    wide = [prose[i] for i in drawn[:120]]
    model = sn.load_model("tiny-gpt")
    rows = sn.capture(model, [*wide, *stories], PLACE, progress=False)
    own, judge = (trained(rows, s, steps) for s in (seed, seed + 1000))
    made = fill_gaps(model, own, stories, wide, PLACE, n_atoms=n_atoms, length=0.5, seed=seed)
    lm, sae = sn.load_model("smollm2-135m"), sn.load_sae(f"smollm2-135m/{REAL}")
    cut = [" ".join(text.split()[:40]) for text in wide[:60]]
    real = fill_gaps(lm, sae, stories[:40], cut, REAL, n_atoms=real_atoms, length=0.6, seed=seed)
    return {
        "lacking": float(made.n_lacking),
        **_numbers("tiny-gpt", made),
        **_judged(model, own, judge, made, wide),
        **_numbers("SmolLM2", real),
    }


def trained(rows: Any, seed: int, steps: int) -> sn.TopK:
    """Return a TopK of 512 atoms, k 16."""
    sae = sn.TopK(rows.x.shape[1], 512, 16, generator=torch.Generator().manual_seed(seed))
    sn.train(sae, rows, sn.TrainConfig(steps=steps, batch_size=512, seed=seed), progress=False)
    return sae


def _numbers(name: str, made: Synthesis) -> dict[str, float]:
    table = made.table.set_index("way")
    return {
        f"{name}: {column}, {way}": float(table.loc[way, column])
        for way in WAYS
        for column in ("covered", "own")
    }


def _judged(
    model: Any, own: sn.TopK, judge: sn.TopK, made: Synthesis, wide: list[str]
) -> dict[str, float]:
    """Share of the atoms whose nearest atoms in another SAE fire in earnest on texts of each way."""
    unit = [torch.nn.functional.normalize(s.dictionary.detach(), dim=1) for s in (own, judge)]
    near = (unit[0][made.atoms] @ unit[1].T).argmax(dim=1).numpy()
    usual = usual_strengths(judge.encode(sn.capture(model, wide, PLACE, progress=False).x))
    numbers = {}
    for way in WAYS:
        texts = [str(text) for text in made.texts[made.texts.way == way].text]
        ids = [torch.tensor(model.tokens(t)["id"].to_numpy()) for t in texts if t.strip()]
        fires = strengths(model, judge, PLACE, [row[:1] for row in ids], [row[1:] for row in ids])
        numbers[f"second SAE: covered, {way}"] = float(
            (fires[:, near] >= usual[near]).any(0).mean()
        )
    return numbers
