"""Do atoms that go with the dimension of a text move it? A language model writes with each of them turned up.

Texts of the four kinds of `text_dimension` say which of an SAE's atoms go with high dimension, and which with
low. The model continues beginnings of other such texts with each atom added, with random directions in its
place, and with nothing added. Every direction is so strong that it moves the next token of the beginnings by
the same divergence. The new text is reread without the beginning and without the push. You supply the kinds as
for `text_dimension`; a short run takes tiny-gpt and bundled texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
from torch import Tensor
from torch.nn.functional import normalize

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder
from sae_nb.corpora import documents
from sae_nb.models import LiveModel
from sae_nb.steering import Answers, StrengthSearch, random_direction
from sae_nb_studies.reproductions.experiments.text_dimension import drawn
from sae_nb_studies.uses import text_dimension

SHORT = {
    "model": "tiny-gpt",
    "sae": "tiny-gpt/resid_post.3",
    "folder": "",
    "n": 12,
    "beginnings": 3,
    "atoms": 1,
    "length": 40,
}
WORDS = 12
"""Of a beginning."""

KL = 0.5
"""Nats, mean over the beginnings: how far a direction moves the next token."""

MOST_RUNS = 12
TEMPERATURE = 0.8
SPARE = 16
"""Tokens written beyond those that are measured: a text that is reread may have fewer."""


def run(
    seed: int,
    *,
    model: str = "smollm2-135m",
    sae: str = "smollm2-135m/resid_post.16",
    folder: str = "genres",
    n: int = 60,
    beginnings: int = 12,
    atoms: int = 3,
    length: int = 96,
) -> dict[str, float]:
    """Correlate atoms with the dimension of `n` texts of each kind, and let the model write with some of them.

    `atoms` of each sign and twice as many random directions, each with all `beginnings`; `length` of a text in
    tokens; `folder`: holds the texts.
    """
    live, trained = sn.load_model(model), sn.load_sae(sae)
    texts, _ = drawn(folder, n, seed)
    order = np.random.default_rng(seed).permutation(len(texts))
    read, held_out = order[beginnings:], order[:beginnings]
    starts = [" ".join(texts[i].split()[:WORDS]) for i in held_out]
    high, low = going_with(live, trained, [texts[i] for i in read], length, atoms)
    numbers = {"atoms, high": high[1], "atoms, low": low[1]}
    rows = trained.dictionary.detach().float()
    directions = {
        "high": [normalize(rows[atom], dim=0) for atom in high[0]],
        "low": [normalize(rows[atom], dim=0) for atom in low[0]],
        "random": [random_direction(trained.d_in, 1000 * seed + i) for i in range(2 * atoms)],
    }
    # Bundled SAEs have a hook point; a type checker cannot know it.
    answers = Answers(live, starts, trained.hook_point, scored=True)  # type: ignore[arg-type]
    pushes = {name: [pushed(answers, one) for one in of] for name, of in directions.items()}
    pushes["nothing"] = [(None, True)]  # type: ignore[list-item]
    for name, of in pushes.items():
        written = [
            text
            for push, _ in of
            for text in continued(live, trained.hook_point, starts, push, length, seed)  # type: ignore[arg-type]
        ]
        found = text_dimension(live, written, length=length, progress=False).table.dropna()
        numbers |= {
            f"dimension, {name}": float(found["dimension"].median()),
            f"distinct, {name}": float(found["distinct"].mean()),
            f"measured, {name}": len(found) / len(written),
            f"reached, {name}": float(np.mean([reached for _, reached in of])),
        }
    return numbers


def going_with(
    live: LiveModel, sae: SparseAutoencoder, texts: Sequence[str], length: int, n: int
) -> tuple[tuple[list[int], float], tuple[list[int], float]]:
    """Return the atoms that go with high dimension and with low, and their mean correlations with its rank."""
    result = text_dimension(live, texts, length=length, progress=False)
    table = result.atoms(documents(live, sae, texts, sae.hook_point, progress=False))  # type: ignore[arg-type]
    table = table.sort_values("r", ignore_index=True)
    ends = table.tail(n), table.head(n)
    high, low = (([int(atom) for atom in end["atom"]], float(end["r"].mean())) for end in ends)
    return high, low


def pushed(answers: Answers, direction: Tensor) -> tuple[Tensor, bool]:
    """Return a direction at the length that moves the next token by `KL` nats, and whether one does."""
    search = StrengthSearch(lambda by: float(answers.kl(answers.add(direction, by)).mean()), KL)
    return direction * search.find(MOST_RUNS), search.reached


def continued(
    live: LiveModel, point: str, starts: Sequence[str], push: Tensor | None, length: int, seed: int
) -> list[str]:
    """Let the model continue texts with a direction added at every token, or with none."""
    steered = nullcontext() if push is None else sn.steer(live, point, direction=push)
    with steered:
        return list(live.generate(list(starts), length + SPARE, TEMPERATURE, seed, echo=False))
