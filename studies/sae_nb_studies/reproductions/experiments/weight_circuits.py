"""Do weights alone say which atoms of a later transcoder an atom excites? Four transcoders of tiny-gpt's MLPs."""

from __future__ import annotations

import torch
from sklearn.metrics import roc_auc_score

import sae_nb as sn
from sae_nb_studies.circuits import check_connections
from sae_nb_studies.circuits._weights import token_scores

SHORT = {"steps": 30, "stories": 20, "n_atoms": 4}
PAIRS = ((0, 1), (1, 2), (2, 3), (0, 3))


def run(seed: int, *, steps: int = 600, stories: int = 300, n_atoms: int = 24) -> dict[str, float]:
    """Train a transcoder of each MLP and hold the weights between them against the running model."""
    gpt = sn.load_model("tiny-gpt")
    shown = list(sn.data.stories(stories, 2 * seed + 700).texts)
    fresh = list(sn.data.stories(max(stories // 6, 4), 2 * seed + 701).texts)
    names = [f"mlp_{side}.{layer}" for layer in range(4) for side in ("in", "out")]
    acts = sn.capture(gpt, shown, names, progress=False)
    trained = []
    for layer in range(4):
        generator = torch.Generator().manual_seed(10 * seed + layer)
        made = sn.Transcoder(128, 128, 256, 8, generator=generator)
        pair = acts[f"mlp_in.{layer}"], acts[f"mlp_out.{layer}"]
        sn.train(made, pair, steps=steps, batch_size=512, seed=seed, progress=False)
        trained.append(made.eval())
    numbers: dict[str, float] = {}
    for i, j in PAIRS:
        found = check_connections(gpt, trained[i], trained[j], fresh, n_atoms=n_atoms)
        numbers |= {f"{i} to {j}: rank": found.value, f"{i} to {j}: other atoms": found.floor}
    return numbers | _embedded(gpt, trained[0], fresh, n_atoms)


def _embedded(
    gpt: sn.LiveModel, first: sn.Transcoder, texts: list[str], n: int
) -> dict[str, float]:
    """How well de-embeddings tell the tokens at which atoms of the first MLP fire from the others."""
    acts = sn.capture(gpt, texts, "mlp_in.0", progress=False)
    assert acts.tokens is not None  # of a language model
    fires = first.encode(acts.x).to_dense().detach() != 0
    scores = token_scores(gpt, first)[acts.tokens.ids]
    often = fires.sum(dim=0).argsort(descending=True, stable=True)[:n].tolist()
    found = [
        [roc_auc_score(fires[:, atom].numpy(), scores[:, a].numpy()) for a in (atom, other)]
        for atom, other in zip(often, [*often[1:], often[0]], strict=True)
    ]
    own, others = torch.tensor(found).mean(dim=0).tolist()
    return {"de-embedding: AUC": own, "de-embedding: AUC of other atoms": others}
