"""Tasks of the agents' bench: small networks with a planted or known answer, drawn by a seed.

The true atoms of an SAE trained on planted sparse data (cosine above 0.9); the known circuits of bundled
models, with heads and neurons in an order that the seed draws, so that a number cannot be remembered; and the
change that tiny-gpt was taught, or none, after many steps or few.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from sae_nb.checks import one_of
from sae_nb.exports import studies
from sae_nb.serving._registry import Registry
from sae_nb.serving._tools import number_of

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

TaskName = Literal["atoms", "head", "neurons", "change", "faint change"]

TASK_NAMES: tuple[TaskName, ...] = get_args(TaskName)
"""The tasks."""

N_ATOMS, N_TRUE, K, D_IN, N_ROWS = 20, 12, 2, 12, 1500
"""Of the planted SAE: atoms, true atoms, atoms a row, width and rows. Ours: its certificate takes seconds."""

FOUND = 0.9
"""Cosine with a true atom from which an atom is one."""

TRAINING = {"atoms": 150, "change": 20, "faint change": 5}
"""Optimiser steps of what is planted."""

N_TEXTS, N_NEURONS = 12, 10
NOTHING = "nothing"
MODULUS = 53
"""`tiny-modular` adds numbers below it."""

_STREAM = 1_000_000
"""Added to a seed of the bench, so that its draws are those of no other test."""

# -------------------------------------------------------------------------------------------------
# Forms of an answer: each checks an answer, scores it, and has the score of a guess.

MOST_GIVEN = 1000
"""Most entries of an answer."""


@dataclass(frozen=True)
class Choice:
    """One of some names; 1 if it is the right one."""

    options: tuple[str, ...]

    @property
    def form(self) -> str:
        """Description of the form for an agent."""
        return f"one of these texts: {', '.join(self.options)}"

    def score(self, answer: object, truth: object) -> float:
        """Return 1 if an answer is right, else 0."""
        return float(one_of(answer, self.options, name="answer") == truth)

    def chance(self, truth: object) -> float:  # noqa: ARG002 - the same whatever is right
        """Return the mean score of a guess."""
        return 1 / len(self.options)


@dataclass(frozen=True)
class Subset:
    """Some of the numbers below `n`; balanced accuracy, (hits / right ones + rejections / wrong ones) / 2."""

    n: int

    @property
    def form(self) -> str:
        """Description of the form for an agent."""
        return f"a list of numbers from 0 to {self.n - 1}, without repetition"

    def score(self, answer: object, truth: Set[int]) -> float:
        """Return the balanced accuracy of an answer."""
        given = _numbers(answer, self.n)
        wrong = set(range(self.n)) - truth
        return (len(given & truth) / len(truth) + len(wrong - given) / len(wrong)) / 2

    def chance(self, truth: object) -> float:  # noqa: ARG002
        """Return the mean score of a guess, however many it names."""
        return 0.5


@dataclass(frozen=True)
class Picks:
    """`k` of the numbers below `n`; the share of them that is right."""

    k: int
    n: int

    @property
    def form(self) -> str:
        """Description of the form for an agent."""
        return f"a list of {self.k} different numbers from 0 to {self.n - 1}"

    def score(self, answer: object, truth: Set[int]) -> float:
        """Return the share of an answer that is right."""
        given = _numbers(answer, self.n)
        if len(given) != self.k:
            raise ValueError(
                f"`answer` must have {self.k} numbers, got {len(given)}. Add or leave out some."
            )
        return len(given & truth) / self.k

    def chance(self, truth: Set[int]) -> float:
        """Return the mean score of a guess."""
        return len(truth) / self.n


def _numbers(answer: object, n: int) -> set[int]:
    if not isinstance(answer, Sequence) or isinstance(answer, str) or len(answer) > MOST_GIVEN:
        raise ValueError(
            f"`answer` must be a list of numbers, got {answer!r:.40}. Send [3, 17], say."
        )
    given = [number_of(one, 0, n - 1, name=f"answer[{i}]") for i, one in enumerate(answer)]
    if len(set(given)) < len(given):
        raise ValueError(f"`answer` must have no number twice, got {answer!r:.40}. Leave one out.")
    return set(given)


# -------------------------------------------------------------------------------------------------
# The tasks.


@dataclass(frozen=True, eq=False)
class AgentTask:
    """A question about what is on a registry, and its right answer."""

    name: TaskName
    seed: int
    asks: str
    """The question, without the material."""

    material: Mapping[str, Any]
    """Names on the registry, and inputs to begin with."""

    answer: Choice | Subset | Picks
    truth: Any
    registry: Registry

    @property
    def question(self) -> str:
        """The whole text that an agent reads."""
        given = json.dumps(self.material, ensure_ascii=False)
        return f"{self.asks}\n\nGiven: {given}\n\nAnswer with {self.answer.form}."

    @property
    def chance(self) -> float:
        """Mean score of a guess."""
        return self.answer.chance(self.truth)

    def score(self, answer: object) -> float:
        """Return the score of an answer, in [0, 1].

        Raises
        ------
        ValueError: If it does not have the form that was asked for.
        """
        return self.answer.score(answer, self.truth)


def task(name: TaskName, seed: int) -> AgentTask:
    """Draw one task; takes up to ten seconds, most of them for training.

    Example
    -------
    >>> drawn = task("head", 0)
    >>> drawn.chance, drawn.score(drawn.truth)
    (0.25, 1.0)
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        return _MAKERS[name](name, seed)


def _atoms(name: TaskName, seed: int) -> AgentTask:
    from sae_nb.activations import Activations
    from sae_nb.architectures import TopK
    from sae_nb.data import planted_dictionary
    from sae_nb.geometry._cosines import largest_cosines
    from sae_nb.training import train

    data = planted_dictionary(N_TRUE, D_IN, N_ROWS, K, seed=_STREAM + seed)
    sae = TopK(D_IN, N_ATOMS, K, generator=torch.Generator().manual_seed(_STREAM + seed))
    train(sae, data.x, steps=TRAINING["atoms"], batch_size=256, seed=seed, progress=False)
    true = largest_cosines(sae.dictionary, data.dictionary) > FOUND
    rows = torch.arange(N_ROWS)
    acts = Activations(data.x, sample=rows, position=torch.zeros_like(rows))
    return AgentTask(
        name=name,
        seed=seed,
        asks=f"The rows that this SAE was trained on are sums of {K} of {N_TRUE} unknown directions. It has "
        f"{N_ATOMS} atoms. Which of its atoms are such directions?",
        material={"sae": "planted"},
        answer=Subset(N_ATOMS),
        truth=frozenset(np.flatnonzero(true.numpy()).tolist()),
        registry=Registry.of(saes={"planted": (sae, acts)}),
    )


def _head(name: TaskName, seed: int) -> AgentTask:
    from sae_nb.data import prompt_pairs

    live, components = _shuffled("tiny-induction", seed)
    pairs = prompt_pairs("induction", 4, seed=_STREAM + seed, model=live)
    known = components[(components["layer"] == 0) & components["in_circuit"]]
    return AgentTask(
        name=name,
        seed=seed,
        asks="This model repeats: after “a b … a” comes “b”. One attention head of block 0 looks at the token "
        "before, and the answer depends on it. Which one?",
        material={"model": "letters", "pairs": list(zip(pairs.clean, pairs.corrupted))},
        answer=Choice(tuple(map(str, range(live.n_heads or 0)))),
        truth=str(int(known["index"].iloc[0])),
        registry=Registry.of(models={"letters": live}),
    )


def _neurons(name: TaskName, seed: int) -> AgentTask:
    live, components = _shuffled("tiny-modular", seed)
    neurons = components[components["kind"] == "neuron"]
    generator = np.random.default_rng(_STREAM + seed)
    texts = [f"{a} + {b} =" for a, b in generator.integers(MODULUS, size=(N_TEXTS, 2)).tolist()]
    return AgentTask(
        name=name,
        seed=seed,
        asks=f"This model adds modulo {MODULUS}. Some neurons of its only block are waves of a few frequencies "
        "in the two numbers, and the sum is read from these; the others are not. Name ten neurons that are.",
        material={"model": "sums", "texts": texts},
        answer=Picks(N_NEURONS, len(neurons)),
        truth=frozenset(neurons["index"][neurons["in_circuit"]].tolist()),
        registry=Registry.of(models={"sums": live}),
    )


def _change(name: TaskName, seed: int) -> AgentTask:
    from sae_nb.data import stories

    generator = np.random.default_rng([_STREAM + seed, TASK_NAMES.index(name)])
    models = studies().models
    behaviours = models.TEXT_BEHAVIOURS
    names: list[Any] = [*behaviours, NOTHING]
    taught = str(generator.choice(names))
    made = models.plant_behaviour(
        "plain stories" if taught == NOTHING else taught,
        steps=TRAINING[name],
        seed=_STREAM + seed,
    )
    choices = {
        one: {"meaning": what.meaning, "words": list(what.planted)}
        for one, what in behaviours.items()
    }
    return AgentTask(
        name=name,
        seed=seed,
        asks="The model “after” is “before”, trained further on stories. Which change was it taught, if any? "
        "Other stories of the same kind are given.",
        material={
            "before": "before",
            "after": "after",
            "texts": list(stories(N_TEXTS, seed=_STREAM + seed).texts),
            "choices": choices | {NOTHING: {"meaning": "stories as they are", "words": []}},
        },
        answer=Choice(tuple(map(str, names))),
        truth=taught,
        registry=Registry.of(models={"before": made.before, "after": made.after}),
    )


_MAKERS: dict[str, Callable[[TaskName, int], AgentTask]] = {
    "atoms": _atoms,
    "head": _head,
    "neurons": _neurons,
    "change": _change,
    "faint change": _change,
}


def _shuffled(name: str, seed: int) -> tuple[LiveModel, Any]:
    """Return a bundled model with its heads and neurons in another order, and its known circuit."""
    from sae_nb.models import load_model

    live, generator = load_model(name, "cpu"), torch.Generator().manual_seed(_STREAM + seed)
    n_heads = live.n_heads or 1
    with torch.no_grad():
        for block in live.module.get_submodule("transformer.h").children():
            attention, mlp = block.get_submodule("attn"), block.get_submodule("mlp")
            width = attention.get_parameter("c_proj.weight").shape[0]
            heads = torch.arange(width).view(n_heads, -1)
            within = heads[torch.randperm(n_heads, generator=generator)].flatten()
            triple = torch.cat([within + part * width for part in range(3)])
            _reorder(attention, triple, within)
            hidden = mlp.get_parameter("c_fc.bias").shape[0]
            order = torch.randperm(hidden, generator=generator)
            _reorder(mlp, order, order, first="c_fc")
    return live, studies().circuits.known_circuit(live).components


def _reorder(
    module: torch.nn.Module, columns: torch.Tensor, rows: torch.Tensor, *, first: str = "c_attn"
) -> None:
    """Reorder what one map writes, and what the next one reads, in place."""
    for name in ("weight", "bias"):
        written = module.get_parameter(f"{first}.{name}")
        written.copy_(written[..., columns].clone())
    read = module.get_parameter("c_proj.weight")
    read.copy_(read[rows].clone())
