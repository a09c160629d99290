"""Does a network hold an algorithm's variables, or does the map? Trained and random networks.

Equality of two equalities, (a = b) = (c = d), in networks that are trained here, and the next letter in
tiny-induction. Three kinds of map (the units as they are, rotations, invertible networks) are learned so
that exchanging a variable changes the answer as the algorithm does; the same is done for an untrained
twin. The first network reads each pair separately and rotates the result, so it holds the variables, but
not along its units. The second is a plain MLP that sees all four objects.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

import sae_nb as sn
from sae_nb_studies.circuits import Algorithm, align
from sae_nb_studies.data.tasks import TASKS

SHORT = {
    "steps": {"identity": 1, "linear": 150, "mlp": 20},
    "fewer": 6,
    "training": 800,
    "n_letters": 200,
}
N_OBJECTS, WIDTH = 8, 16
PLACES = {"equality": "turned", "plain": "3", "induction": "resid_post.1"}
SIZES = {"equality": 8, "plain": 32, "induction": 16}
"""Coordinates given to a variable."""

STEPS = {"identity": 1, "linear": 600, "mlp": 1500}


def run(
    seed: int,
    *,
    steps: dict[str, int] = STEPS,
    fewer: int = 1,
    training: int = 1500,
    n_letters: int = 1000,
) -> dict[str, float]:
    """Learn the maps for `steps` and the networks for `training` steps; `n_letters` inputs of tiny-induction.

    `fewer`: the steps of the maps of tiny-induction are divided by this number.
    """
    task = equalities(seed)
    asked: list[Any] = [
        (
            name,
            kind,
            sn.wrap(trained(seed, training, plain=plain)),
            sn.wrap(other),
            task,
            steps[kind],
        )
        for name, plain, kinds in (("equality", False, steps), ("plain", True, ("linear",)))
        for other in (fresh(1000 + seed, plain=plain),)
        for kind in kinds
    ]
    induction, next_letter = sn.load_model("tiny-induction", "cpu"), letters(seed, n_letters)
    asked += [
        ("induction", kind, induction, None, next_letter, -(-n // fewer))
        for kind, n in steps.items()
    ]
    numbers: dict[str, float] = {}
    for name, kind, model, twin, algorithm, n in asked:
        found = align(
            model, algorithm, PLACES[name], map=kind, size=SIZES[name], twin=twin, steps=n, seed=seed
        )  # fmt: skip
        rows = found.accuracy
        numbers |= {
            f"{name}, {kind}": found.interchange,
            f"{name}, {kind}, low": float(rows.low.iloc[0]),
            f"{name}, {kind}, twin": found.twin,
            f"{name}, {kind}, beyond twin": found.interchange - found.twin,
            f"{name}, {kind}, twin fitted": float(rows.fitted.iloc[1]),
            f"{name}, right": float(rows.clean.iloc[0]),
            f"{name}, twin right": float(rows.clean.iloc[1]),
            f"{name}, nothing exchanged": found.unchanged,
        }
    return numbers


# Two equalities.


class Pairs(nn.Module):
    """Reads each pair of objects with one shared MLP, rotates both answers by a fixed matrix, then decides."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.read = nn.Sequential(
            nn.Linear(2 * N_OBJECTS, 64), nn.ReLU(), nn.Linear(64, WIDTH // 2)
        )
        drawn = torch.randn(WIDTH, WIDTH, generator=generator)
        self.turned = nn.Linear(WIDTH, WIDTH, bias=False)
        self.turned.weight = nn.Parameter(torch.linalg.qr(drawn)[0], requires_grad=False)
        self.decide = nn.Sequential(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map one-hot objects, concatenated, to the logits of no and yes."""
        return self.decide(self.turned(self.read(x.reshape(len(x), 2, -1)).flatten(1)))


def fresh(seed: int, *, plain: bool = False) -> nn.Module:
    """Build a network with weights drawn from `seed`; plain: an MLP that sees all four objects at once."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if not plain:
            return Pairs(torch.Generator().manual_seed(seed)).eval()
        sizes = (4 * N_OBJECTS, 64, 64, 64)
        layers: list[nn.Module] = []
        for i in range(3):
            layers += [nn.Linear(sizes[i], sizes[i + 1]), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(64, 2)).eval()


def objects(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw rows a, b, c, d in which each equality holds half of the time."""
    drawn = rng.integers(N_OBJECTS, size=(n, 4))
    for first in (0, 2):
        alike = rng.random(n) < 0.5
        drawn[alike, first + 1] = drawn[alike, first]
        shift = rng.integers(1, N_OBJECTS, size=n)
        other = (drawn[:, first] + shift) % N_OBJECTS
        drawn[~alike, first + 1] = other[~alike]
    return drawn


def shown(rows: np.ndarray) -> torch.Tensor:
    """Encode objects as the network reads them: one-hot, concatenated."""
    return nn.functional.one_hot(torch.from_numpy(rows), N_OBJECTS).flatten(1).float()


def trained(seed: int, steps: int, *, plain: bool = False) -> nn.Module:
    """Train the network on new rows at each step."""
    net, rng = fresh(seed, plain=plain), np.random.default_rng(seed)
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=2e-3, weight_decay=0.01)
    for _ in range(steps):
        rows = objects(256, rng)
        right = (rows[:, 0] == rows[:, 1]) == (rows[:, 2] == rows[:, 3])
        loss = nn.functional.cross_entropy(net(shown(rows)), torch.from_numpy(right.astype(int)))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return net


def equalities(seed: int) -> Algorithm:
    """Build the algorithm of two equalities, on distinct rows of four one-hot objects each."""
    rows = np.unique(objects(1500, np.random.default_rng(500 + seed)), axis=0)

    def read(x: torch.Tensor) -> tuple[bool, bool]:
        a, b, c, d = x.reshape(4, N_OBJECTS).argmax(dim=1).tolist()
        return a == b, c == d

    return Algorithm(
        inputs=shown(rows),
        variables=("first", "second"),
        read=read,
        answer=lambda first, second: int(first == second),
        name="equality",
    )


# The next letter.


def letters(seed: int, n: int) -> Algorithm:
    """Build the algorithm of the next letter, on rows of one length cut after a letter that occurred before.

    The variable is the letter that followed the earlier occurrence.
    """
    task, cut = TASKS["tiny-induction"], 16
    rows = task.draw(40 * n, np.random.default_rng(500 + seed), True)
    asked = rows.targets[:, cut - 1] >= 0
    ids, targets = rows.ids[asked][:n, :cut], rows.targets[asked][:n, cut - 1]
    right = {tuple(row): int(word) for row, word in zip(ids.tolist(), targets, strict=True)}
    return Algorithm(
        inputs=ids,
        variables=("next letter",),
        read=lambda row: right[tuple(row.tolist())],
        answer=int,
        name="induction",
    )
