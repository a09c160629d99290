"""Answers to each function of 00, 01, 03, 04, 05, 08 and 10: right ones share no code with the solutions."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from sae_nb.evaluation import feature_dimensionality
from tests.lessons.exercises.asked import Asked


def rebuilt_by_a_loop(values: Tensor, atoms: Tensor, D: Tensor, b: Tensor) -> list[float]:
    total = b.clone()
    for value, atom in zip(values.tolist(), atoms.tolist(), strict=True):
        total += value * D[atom]
    return total.tolist()


def dimensionality_by_loops(directions: Tensor) -> list[float]:
    found = []
    for row in directions:
        unit = row / row.norm()
        found.append(float(row @ row / sum((unit @ other) ** 2 for other in directions)))
    return found


def without_itself(w: Tensor) -> Tensor:
    unit = w / w.norm(dim=1, keepdim=True)
    rows = range(len(w))
    return torch.stack(
        [w[i] @ w[i] / sum((unit[i] @ w[j]) ** 2 for j in rows if j != i) for i in rows]
    )


def best_near(r2: Tensor, l0: Tensor, wanted: float) -> int:
    near = [i for i in range(len(r2)) if abs(float(l0[i]) - wanted) <= wanted / 5]
    return max(near, key=lambda i: float(r2[i]))


# --- probes ---------------------------------------------------------------------------------------


def probe_by_scikit(x: Tensor, y: Tensor, penalty: float) -> list[float]:
    found = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-8, max_iter=1000)
    found.fit(x.numpy(), y.numpy())
    return [*found.coef_[0], found.intercept_[0]]


def apart_by_numpy(z: Tensor, y: Tensor, k: int) -> list[int]:
    a, on = z.numpy(), y.numpy()
    gaps = np.abs(a[on].mean(axis=0) - a[~on].mean(axis=0))
    return np.argsort(gaps)[-k:].tolist()


# --- directions that are read, heads, hooks -------------------------------------------------------


def read_by_least_squares(v: Tensor, w: Tensor) -> float:
    weights = np.linalg.lstsq(w.numpy().T, v.numpy(), rcond=1e-6)[0]
    return float(np.square(weights @ w.numpy()).sum() / np.square(v.numpy()).sum())


def along(rows: Tensor, v: Tensor) -> Tensor:
    return (rows @ v).square().sum() / v.square().sum()


def induction_by_a_loop(attention: Tensor, period: int) -> float:
    places = range(period, len(attention))
    return sum(float(attention[t, t - period + 1]) for t in places) / len(places)


def head(a: Tensor, times: range, back: int) -> float:
    return sum(float(a[t, t - back]) for t in times) / len(times)


def captured_by_a_pre_hook_of_the_next(model: nn.Module, block: nn.Module, ids: Tensor) -> Tensor:
    """The block's forward replaced for a while: no hook at all."""
    kept: list[Tensor] = []
    own = block.forward

    def forward(x: Tensor) -> tuple[Tensor, None]:
        out = own(x)
        kept.append(out[0].detach())
        return out

    block.forward = forward
    try:
        model(ids)
    finally:
        del block.forward
    return kept[0][0, 1:]


ASKED = [
    Asked("00.1", right=[rebuilt_by_a_loop]),
    Asked("01.2", right=[0.4, 2 / 5], near=[(0.5, "more than the 2"), (0.2, "left unused")]),
    Asked(
        "01.5",
        right=[feature_dimensionality, dimensionality_by_loops],
        near=[
            (
                lambda w: w.norm(dim=1) ** 2 / ((w @ w.T) ** 2).sum(dim=1),
                "never divide by a length",
            ),
            (without_itself, "leaves out j = i"),
            (lambda w: torch.ones(len(w)), "1 for every direction"),
        ],
    ),
    Asked(
        "03.3",
        right=[
            lambda value, low, high, control: control < low <= value,
            lambda v, lo, hi, c: bool(np.all([v > c, (c < lo) | (c > hi)])),
        ],
        near=[
            (lambda v, lo, hi, c: v > c, "ignore the interval"),
            (lambda v, lo, hi, c: True, "True whatever"),
            (lambda v, lo, hi, c: lo > 0.5, "yours says"),
        ],
    ),
    Asked(
        "03.7",
        right=[best_near, lambda r2, l0, wanted: torch.tensor(best_near(r2, l0, wanted))],
        near=[
            (lambda r, n, w: int(r.argmax()), "whatever its L0"),
            (lambda r, n, w: abs(n - w).argmin(), "L0 is nearest"),
            (lambda r, n, w: 0, "yours gives"),
        ],
    ),
    Asked("04.1", right=[probe_by_scikit]),
    Asked("04.3", right=[apart_by_numpy]),
    Asked(
        "05.5",
        right=[read_by_least_squares, lambda v, w: along(torch.linalg.pinv(w) @ w, v)],
        near=[
            (
                lambda v, w: along(torch.linalg.svd(w, full_matrices=False).Vh, v),
                "SVD or QR returns",
            ),
            (lambda v, w: along(w, v), "use the rows as they are"),
            (lambda v, w: float(v[0] != 0) / 2, "yours gives"),
        ],
    ),
    Asked(
        "08.3",
        right=[induction_by_a_loop, lambda a, p: a.diagonal(1 - p)[1:].mean()],
        near=[
            (lambda a, p: head(a, range(p, len(a)), p), "the earlier copy itself"),
            (lambda a, p: a[-1, len(a) - p], "last word alone"),
            (lambda a, p: 1.0, "yours gives"),
        ],
    ),
    Asked("10.1", right=[captured_by_a_pre_hook_of_the_next]),
    Asked("10.2", right=[lambda t, w, a: 4e-9 * (t * w + 5 * (w * (2 * a + 1) + a))]),
    Asked("10.3", right=[lambda c, s, z: 1 - (s - c) / (z - c) if abs(z - c) > 1e-12 else np.nan]),
]
