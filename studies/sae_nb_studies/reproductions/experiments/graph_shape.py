"""Does the shape of an attribution graph predict that the answer is right, beyond simpler quantities?

Three models that are often wrong: the checker of brackets and the adder of tiny-modular, stopped as soon
as they are right in four of five cases, trained again for every seed; and tiny-gpt, which predicts the
next token of unseen stories. Graphs are of the model's own answer. A logistic regression on the shape of
graphs is evaluated on held-out graphs, and compared with the same on the length of the input, the
confidence, and the norm of activations, and on labels in a random order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.circuits import attribution_graph
from sae_nb_studies.circuits import Correctness, neuron_transcoders, predict_correctness
from sae_nb_studies.data.tasks import NOT_ASKED, TASKS
from sae_nb_studies.recipes import CIRCUIT_RECIPES, train_circuit

SHORT = {"n_graphs": 64, "n_stories": 24, "n_folds": 2}
NAMES = ("tiny-brackets", "tiny-modular", "tiny-gpt")
FIRST_SEED = 10
"""First seed of the trainings: those of a pilot have other ones."""

ENOUGH, EVERY = 0.8, 20
"""Share of right answers at which a training stops, and steps between two checks."""

FEWEST, MOST = 6, 20
"""Minimum and maximum number of a story's tokens that are read."""

TRACED = 64
"""Number of a story's atoms whose causes are traced."""


def run(
    seed: int, *, n_graphs: int = 240, n_stories: int = 160, n_folds: int = 5
) -> dict[str, float]:
    """Predict correctness from `n_graphs` graphs of each small model, and `n_stories` of tiny-gpt."""
    numbers = {}  # type: ignore[var-annotated]
    for name in NAMES:
        asked = stories(n_stories, seed) if name == "tiny-gpt" else rows(name, n_graphs, seed)
        graphs, right = [], []
        for model, dictionaries, ids, wanted, traced in asked:
            answer = int(model(ids)[0, -1].argmax())
            graphs.append(
                attribution_graph(
                    model,
                    dictionaries,
                    ids,
                    target=answer,
                    drop_first=name == "tiny-gpt",
                    max_nodes=traced,
                )
            )
            right.append(answer == wanted)
        found = predict_correctness(graphs, right, n_folds=n_folds, seed=seed)
        numbers |= {f"{name}, {key}": value for key, value in judged(found).items()}
    for key in ("shape", "shape, shuffled labels", "ahead", "added"):
        numbers[key] = float(np.mean([numbers[f"{name}, {key}"] for name in NAMES]))
    return numbers


def judged(found: Correctness) -> dict[str, float]:
    """Return the AUC of every way, the shape's lead over the best simpler one, and what it adds to them."""
    numbers = {way: found.auc(way) for way in found.scores.way}
    return numbers | {
        "right": float(found.correct.mean()),
        "ahead": found.ahead,
        "best simpler": found.auc() - found.ahead,
        "added": found.auc("shape and all three") - found.auc("all three"),
    }


Asked = Iterator[tuple[Any, Any, Tensor, int, int]]


def rows(name: str, n: int, seed: int) -> Asked:
    """Yield held-out inputs of a half-trained model, each cut after a random place with an answer."""
    model = half_trained(name, seed)
    neurons, rng = neuron_transcoders(model), np.random.default_rng(seed)
    drawn = TASKS[name].draw(n, rng, True)
    for ids, targets in zip(drawn.ids, drawn.targets, strict=True):
        place = int(rng.choice(np.flatnonzero(targets.numpy() != NOT_ASKED)))
        yield model, neurons, ids[None, : place + 1], int(targets[place]), 512


def half_trained(name: str, seed: int) -> Any:
    """Train the model of a recipe from another seed, and stop early.

    Training is restarted with more steps until the model is good enough.
    """
    whole = replace(CIRCUIT_RECIPES[name], seed=FIRST_SEED + seed, decay_steps=1)
    for steps in range(2 * EVERY, whole.steps, EVERY):
        with tempfile.TemporaryDirectory() as folder:
            card = train_circuit(replace(whole, steps=steps, log_every=steps), Path(folder))
            if card["held_out"]["accuracy"] >= ENOUGH:
                return sn.load_model(str(Path(folder) / name))
    raise RuntimeError(
        f"{name} must be right in {ENOUGH:.0%} of its answers, and is not after {steps} steps."
    )


def stories(n: int, seed: int) -> Asked:
    """Yield beginnings of stories, with a random number of tokens."""
    model = sn.load_model("tiny-gpt")
    transcoders = [sn.load_sae(f"tiny-gpt/mlp.{layer}") for layer in range(model.n_layers or 0)]
    rng = np.random.default_rng(seed)
    for text in sn.data.stories(n, seed=2000 + seed).texts:
        ids = torch.from_numpy(model.tokens(text)["id"].to_numpy()[None].copy())
        size = int(rng.integers(FEWEST, min(MOST, ids.shape[1] - 1), endpoint=True))
        yield model, transcoders, ids[:, :size], int(ids[0, size]), TRACED
