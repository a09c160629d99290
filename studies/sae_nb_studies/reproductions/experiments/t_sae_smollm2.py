"""Do atoms that are drawn to be alike at neighbouring tokens hold the topic of a text? T-SAE on SmolLM2-135M.

The residual stream after block 15 of 30, windows of 32 tokens of the texts of `language`; the topic of a token is
the source that it is from (the recorded: addresses, articles, films, plays); held out is the last sixth of each
source. Seeds share the texts. A short run uses tiny-gpt and the material of `t_sae`.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.reproductions.experiments import t_sae
from sae_nb_studies.reproductions.experiments.language import _read, _windows
from sae_nb_studies.reproductions.experiments.t_sae import TIME, Material

SHORT = {"texts": "", "steps": 60}
MODEL, HOOK_POINT = "smollm2-135m", "resid_post.15"
N_ATOMS, K = 768, 16


def run(
    seed: int,
    *,
    texts: str = "language",
    windows: int = 40,
    steps: int = 150,
) -> dict[str, float]:
    """Train the arms of `t_sae` on the same rows for `steps` of 256, and measure what they read.

    `texts`: the folder of data, empty: what the package has; `windows` of 32 tokens of each source to train on.
    """
    of = _material(texts, windows) if texts else t_sae.material(seed, 3)
    made = t_sae.arms(of, seed, steps, N_ATOMS, K)
    return t_sae.read(made, of, seed)


@cache
def _material(texts: str, windows: int) -> Material:
    live, parts = sn.load_model(MODEL, "cpu"), _read(texts)
    cut = [_windows(live, text, TIME, windows) for text in parts]
    ids: dict[str, Tensor] = {}
    x: dict[str, Tensor] = {}
    topic: dict[str, Tensor] = {}
    for i, part in enumerate(("train", "test")):
        rows = torch.stack([w for pair in cut for w in pair[i]])
        label = torch.tensor([t for t, pair in enumerate(cut) for _ in pair[i]])
        acts = sn.capture(
            live,
            list(rows),
            HOOK_POINT,
            drop_first=True,
            drop_massive=True,
            max_rows=None,
            progress=False,
        )
        # A window with a massive token is left out: a few such tokens have nearly all the variance.
        whole = torch.bincount(acts.sample, minlength=len(rows)) == TIME
        x[part] = acts.x[whole[acts.sample]].reshape(-1, TIME, acts.d_in)
        ids[part], topic[part] = rows[whole], label[whole]
    return Material(live, HOOK_POINT, ids, x, topic)
