"""Does the coupling of two observables foretell how steering along one moves the other? In SmolLM2-135M.

An observable is a difference of two logits, led back to the state after a block: along the stream alone, or
through heads and MLPs whose patterns and slopes are taken at eight sentences. Steering adds its direction at
every position of eight other sentences; a seed draws both.
"""

from __future__ import annotations

import numpy as np
import torch

import sae_nb as sn
from sae_nb.statistics import rank_correlation
from sae_nb.steering import Answers
from sae_nb_studies.circuits import observable
from sae_nb_studies.circuits._observable import Observable, Paths

SHORT = {"pairs": 3, "texts": 2}
PAIRS = (
    (" she", " he"), (" her", " his"), (" was", " is"), (" were", " are"), (" had", " has"),
    (" did", " does"), (" they", " it"), (" good", " bad"),
)  # fmt: skip
PLACE = "resid_post.20"
PATHS: tuple[Paths, ...] = ("direct", "all")
LENGTH = 0.1
"""Of what is added, as a share of the mean length of a state."""


def run(seed: int, *, pairs: int = len(PAIRS), texts: int = 8) -> dict[str, float]:
    """Foresee and measure all ordered pairs of the first observables on as many texts, drawn by the seed."""
    model = sn.load_model("smollm2-135m")
    prose = [" ".join(text.split()[:12]) for text in sn.data.prose("test").texts]
    order = torch.randperm(len(prose), generator=torch.Generator().manual_seed(seed)).tolist()
    reference, shown = ([prose[i] for i in order[a : a + texts]] for a in (0, texts))
    size = float(sn.capture(model, shown, PLACE, progress=False).x.norm(dim=1).median())
    answers = Answers(model, shown, PLACE)
    numbers: dict[str, float] = {}
    for paths in PATHS:
        asked = [observable(model, *pair, paths=paths, inputs=reference) for pair in PAIRS[:pairs]]
        rows = torch.stack([one.at(PLACE) for one in asked]).cpu()
        foreseen = (rows @ rows.T) / rows.square().sum(dim=1, keepdim=True)
        moved = _moved(answers, asked, rows, LENGTH * size)
        random = torch.randn(rows.shape, generator=torch.Generator().manual_seed(seed))
        by_chance = _moved(answers, asked, random, LENGTH * size)
        own = moved.diagonal()[:, None]
        numbers |= {
            f"{paths}: rank": rank_correlation(_apart(foreseen), _apart(moved / own)),
            f"{paths}: rank, random directions": rank_correlation(
                _apart(foreseen), _apart(by_chance)
            ),
            f"{paths}: rank, pairs shuffled": _shuffled(foreseen, moved / own, seed),
            f"{paths}: own difference rises": float(
                (own > by_chance.diagonal()[:, None].abs()).double().mean()
            ),
        }
    return numbers


def _moved(
    answers: Answers, asked: list[Observable], rows: torch.Tensor, by: float
) -> torch.Tensor:
    """Return the mean change of every observable, by column, when each direction is added."""
    clean = answers.clean
    unit = torch.nn.functional.normalize(rows, dim=1)
    changes = []
    for row in unit:
        steered = answers.add(row, by)
        changes.append(
            [
                float(
                    np.mean(
                        [
                            float(one.of(a.float()) - one.of(b.float()))
                            for a, b in zip(steered, clean)
                        ]
                    )
                )
                for one in asked
            ]
        )
    return torch.tensor(changes)


def _apart(values: torch.Tensor) -> np.ndarray:
    """Return the values of ordered pairs of two different observables."""
    return values[~torch.eye(len(values), dtype=torch.bool)].double().numpy()


def _shuffled(foreseen: torch.Tensor, measured: torch.Tensor, seed: int) -> float:
    """Return the rank correlation that 19 of 20 shuffles of the pairs stay below."""
    draws, values = np.random.default_rng(seed), _apart(measured)
    found = [rank_correlation(_apart(foreseen), draws.permutation(values)) for _ in range(200)]
    return float(np.quantile(found, 0.95))
