"""Informal against formal English: a direction from pairs that say the same, and what three edits along it move and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sae_nb as sn
from sae_nb_lessons.studies.moods import N_NEUTRAL, Moods, moods
from sae_nb_studies.reproductions.experiments.capping import Measure
from sae_nb_studies.reproductions.experiments.persona import FORMAL, INFORMAL, PAIRS, edits

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.steering import Direction

ROWS = {
    "capping": "cap",
    "adding": "push",
    "random adding": "floor: random push",
    "gating": "gated push",
    "random gating": "floor: random gated push",
}
"""What `edits` calls them → what a reader sees."""


def persona() -> Moods:
    """Return SmolLM2-135M with informal and formal beginnings where it was fetched, else tiny-gpt with glad and sad ones."""
    try:
        model = sn.load_model("smollm2-135m")
    except FileNotFoundError:
        return moods("tiny-gpt")
    half = len(PAIRS) // 2
    texts, others = (
        ([pair[0] for pair in some], [pair[1] for pair in some])
        for some in (PAIRS[:half], PAIRS[half:])
    )
    prose = [text[:160] for text in sn.data.prose("test").texts[:N_NEUTRAL]]
    return Moods(
        model, "resid_post.15", "all", texts, others, prose, (INFORMAL, FORMAL),
        trait="informal", groups=("informal", "formal"),
    )  # fmt: skip


def edited(one: Moods, found: Direction, n: int = 4, n_random: int = 2) -> DataFrame:
    """Hold a cap, a push and a gated push that move the answer equally far against random directions, pushed as far.

    Returns
    -------
    A row for each: `moved`, log-odds of the second group's words against the first's; `cost`, KL on neutral texts, in nats a
    token; `strength`, in distances of the two groups.
    """
    import pandas as pd

    x = sn.capture(one.model, one.neutral, one.hook_point, progress=False).x.float()
    measure = Measure(one.model, one.others[0], one.neutral[:n], *one.words)
    done = edits(measure, found, x, n_random, seed=0)
    table = pd.DataFrame(done).T.rename(index=ROWS).loc[list(ROWS.values())]
    return table[["moved", "cost", "strength"]]


def written(one: Moods, found: Direction, table: DataFrame, n_new: int = 14) -> DataFrame:
    """Let the model write on from a text of the first group: as it is, pushed, and pushed along a random direction."""
    import pandas as pd

    size = float(table.strength["push"]) * found.scale
    unit = sn.random_direction(len(found.vector), 0)
    ways: dict[str, Any] = {"push": found.vector, "floor: random push": unit}
    text = one.others[0][0]
    rows = {"as it is": str(one.model.generate(text, n_new, 0.0))}
    for name, direction in ways.items():
        with sn.steer(one.model, one.hook_point, direction=direction, by=-size):
            rows[name] = str(one.model.generate(text, n_new, 0.0))
    return pd.DataFrame({"text": [" ".join(one.split()) for one in rows.values()]}, index=[*rows])
