"""The sums of tiny-modular on a curve: what is read at sums that were left out, and a picture of path and chord."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import sae_nb as sn
from sae_nb.figures import Chart, Points
from sae_nb_studies.reproductions.experiments import curve_modular

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.geometry import Curve

NAME = "tiny-modular"
WAYS = (
    "means",
    "curve",
    "one frequency",
    "chord",
    "chord, as far as the curve",
    "shuffled",
)


@cache
def left_out(seed: int) -> dict[str, float]:
    """Return how many of 26 left-out sums are read right, by where their state is put."""
    return curve_modular.run(seed, model=NAME)


def read_right(n_draws: int = 3) -> DataFrame:
    """Return a row for each way to place a left-out sum and a column for each draw of the sums that are left out."""
    import pandas as pd

    draws = {f"draw {seed}": left_out(seed) for seed in range(n_draws)}
    return pd.DataFrame(draws).loc[list(WAYS)]


def walked(c: Curve, texts: Sequence[str], steps: Sequence[int]) -> DataFrame:
    """Return what the model answers when the state at "=" is moved along the curve, by text and steps."""
    import pandas as pd

    model, rows = sn.load_model(NAME), {}
    for by in steps:
        with sn.steer(model, curve_modular.POINT, curve=c, by=float(by), positions="last"):
            written = model.generate(list(texts), max_new_tokens=1, echo=False)
        rows[f"{by:+d}"] = [str(one).strip() for one in written]
    return pd.DataFrame(rows, index=list(texts))


def path_chart(c: Curve, means: Float[Tensor, "p d"], s: int, frequency: int) -> Chart:
    """Draw the path from sum s − 1 to s + 1 and its chord, in the plane in which the curve turns `frequency` times.

    `means` has the state of every sum.
    """
    at = c.order.index(frequency)
    pair = c.weights[[1 + at, 1 + at + len(c.order)]].double()
    plane = torch.linalg.qr(pair.T).Q

    def placed(states: Tensor) -> np.ndarray:
        found: np.ndarray = ((states - c.mean).double() @ plane).numpy().T
        return found

    ends = placed(means[[s - 1, s + 1]])
    lines = {
        "the sums": placed(means),
        "path along the curve": placed(c.at(np.linspace(s - 1, s + 1, 60).tolist())),
        "chord": np.linspace(ends[:, 0], ends[:, 1], 3).T,
        f"sum {s}, left out": placed(means[[s]]),
        "middle of the chord": ends.mean(axis=1, keepdims=True),
    }
    joined = ("path along the curve", "chord")
    return Chart(
        series=tuple(
            Points(name=name, x=x, y=y, line=name in joined, control="chord" in name)
            for name, (x, y) in lines.items()
        ),
        x=f"frequency {frequency}, first axis",
        y="second axis",
        marks=True,
        xaxis={"scaleanchor": "y"},
    )
