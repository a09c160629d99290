"""Ten wrong answers to each function of 00, 01, 03, 04, 05, 08 and 10, written as students write them.

Right answers share no code with the solutions. The last wrong answer of a list may be one that no hint knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

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


def best_by(r2: Tensor, l0: Tensor, wanted: float, near: Callable[[float, float], bool]) -> int:
    return max(
        range(len(r2)), key=lambda i: float(r2[i]) if near(float(l0[i]), wanted) else -math.inf
    )


# --- probes ---------------------------------------------------------------------------------------


def probe_by_scikit(x: Tensor, y: Tensor, penalty: float) -> list[float]:
    found = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-8, max_iter=1000)
    found.fit(x.numpy(), y.numpy())
    return [*found.coef_[0], found.intercept_[0]]


def probe_by_adam(
    x: Tensor,
    y: Tensor,
    penalty: float,
    *,
    steps: int = 200,
    mistake: str = "",
) -> Tensor:
    """A probe as most students write it, with one of their mistakes."""
    w = torch.zeros(x.shape[1], requires_grad=True)
    b = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.Adam([w] if mistake == "no b" else [w, b], lr=0.2)
    target = 1 - y.float() if mistake == "turned" else y.float()
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.2 * (1 - step / steps)
        scores = x @ w + b
        losses = binary_cross_entropy_with_logits(scores, target, reduction="none")
        loss = losses.sum() if mistake == "sum" else losses.mean()
        if mistake == "squares":
            loss = ((scores - target) ** 2).mean()
        if mistake != "free":
            loss = loss + penalty / (1 if mistake == "twice" else 2) * (w**2).sum()
        if mistake == "whole":
            loss = loss + penalty / 2 * b**2
        if mistake == "sizes":
            loss = loss + penalty / 2 * (w.abs().sum() - (w**2).sum())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = (
        [b.detach()[None], w.detach()] if mistake == "b first" else [w.detach(), b.detach()[None]]
    )
    return torch.cat(found)


def apart_by_numpy(z: Tensor, y: Tensor, k: int) -> list[int]:
    a, on = z.numpy(), y.numpy()
    gaps = np.abs(a[on].mean(axis=0) - a[~on].mean(axis=0))
    return np.argsort(gaps)[-k:].tolist()


def gap(z: Tensor, y: Tensor) -> Tensor:
    return z[y].mean(dim=0) - z[~y].mean(dim=0)


# --- directions that are read, heads, hooks -------------------------------------------------------


def read_by_least_squares(v: Tensor, w: Tensor) -> float:
    weights = np.linalg.lstsq(w.numpy().T, v.numpy(), rcond=1e-6)[0]
    return float(np.square(weights @ w.numpy()).sum() / np.square(v.numpy()).sum())


def along(rows: Tensor, v: Tensor) -> Tensor:
    return (rows @ v).square().sum() / v.square().sum()


def read_in_orthonormal(v: Tensor, w: Tensor) -> Tensor:
    _, s, vh = torch.linalg.svd(w, full_matrices=False)
    return vh[s > 1e-5] @ v


def induction_by_a_loop(attention: Tensor, period: int) -> float:
    places = range(period, len(attention))
    return sum(float(attention[t, t - period + 1]) for t in places) / len(places)


def head(a: Tensor, times: range, back: int) -> float:
    return sum(float(a[t, t - back]) for t in times) / len(times)


def hooked(
    model: nn.Module,
    block: nn.Module,
    ids: Tensor,
    *,
    keep: Callable[[tuple[Tensor, ...], Tensor], Tensor] = lambda args, out: out,
    then: Callable[[Tensor], Tensor] = lambda rows: rows[1:],
    remove: str = "finally",
) -> Tensor:
    """A capture as students write it: what is kept, what is made of it, when the hook comes off."""
    kept: list[Tensor] = []
    handle = block.register_forward_hook(
        lambda _module, args, out: kept.append(keep(args, out[0]).detach())
    )
    if remove == "finally":
        try:
            model(ids)
        finally:
            handle.remove()
    else:
        model(ids)
        if remove == "after":
            handle.remove()
    return then(kept[0][0])


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


def gigabytes(t: int, w: int, a: int, row: float = 4, each: float = 20) -> float:
    return (row * t * w + each * (2 * a * w + a + w)) / 1e9


ASKED = [
    Asked(
        "00.1",
        named=9,
        right=[rebuilt_by_a_loop],
        near=[
            (lambda z, i, D, b: z @ D[i], "the bias, is missing"),
            (lambda z, i, D, b: z @ D[i] - b, "You subtract the bias"),
            (lambda z, i, D, b: D[i].sum(dim=0) + b, "each atom once"),
            (lambda z, i, D, b: z @ D[: len(z)] + b, "first atoms of the dictionary"),
            (lambda z, i, D, b: (z[:, None] * D[i]).mean(dim=0) + b, "mean over the atoms"),
            (lambda z, i, D, b: z @ normalize(D[i], dim=1) + b, "atoms by their length"),
            (lambda z, i, D, b: z.max() * D[i[z.argmax()]] + b, "Only the strongest"),
            (lambda z, i, D, b: (z[:, None] * D[i] + b).sum(dim=0), "once for every atom"),
            (lambda z, i, D, b: z @ D[sorted(i.tolist())] + b, "no longer belong together"),
            (lambda z, i, D, b: z / z.sum() @ D[i] + b, "a weighted mean"),
            (lambda z, i, D, b: z.softmax(dim=0) @ D[i] + b, "yours gives"),
        ],
        malformed=[
            (lambda z, i, D, b: z[:, None] * D[i], "a tensor of shape (d,)"),
            (lambda z, i, D, b: print("sum") or ..., "still returns ..."),
            (lambda z, i, D, b: b.add_(z @ D[i]), "changed its argument 4"),
            (lambda z, i, D, b: b * math.nan, "NaN"),
        ],
    ),
    Asked("01.2", right=[0.4, 2 / 5], near=[(0.5, "more than the 2"), (0.2, "left unused")]),
    Asked(
        "01.5",
        named=9,
        right=[feature_dimensionality, dimensionality_by_loops],
        near=[
            (
                lambda w: w.norm(dim=1) ** 2 / ((w @ w.T) ** 2).sum(dim=1),
                "never divide by a length",
            ),
            (without_itself, "leaves out j = i"),
            (
                lambda w: w.norm(dim=1) / ((normalize(w, dim=1) @ w.T) ** 2).sum(dim=1),
                "not its square",
            ),
            (lambda w: w.square().sum(dim=1) / (normalize(w, dim=1) @ w.T).sum(dim=1), "cancel"),
            (
                lambda w: w.square().sum(dim=1) / (normalize(w, dim=1) @ w.T).abs().sum(dim=1),
                "absolute values",
            ),
            (
                lambda w: 1 / (normalize(w, dim=1) @ normalize(w, dim=1).T).square().sum(dim=1),
                "long neighbour",
            ),
            (
                lambda w: w.square().sum(dim=1) / (w @ normalize(w, dim=1).T).square().sum(dim=1),
                "does not depend on ‖w_j‖",
            ),
            (
                lambda w: w.square().sum(dim=1) / (normalize(w, dim=1) @ w.T).sum(dim=1) ** 2,
                "You square the sum",
            ),
            (
                lambda w: (normalize(w, dim=1) @ w.T).square().sum(dim=1) / w.square().sum(dim=1),
                "upside down",
            ),
            (lambda w: torch.ones(len(w)), "1 for every direction"),
            (lambda w: [w.shape[1] / len(w)] * len(w), "divide the dimensions equally"),
            (lambda w: 1 / (w @ w.T).abs().sum(dim=1), "yours gives"),
        ],
        malformed=[
            (lambda w: w.norm(dim=1)[:1], "returned 1 numbers"),
            (lambda w: (w / 0).norm(dim=1), "NaN or infinity"),
        ],
    ),
    Asked(
        "03.3",
        named=9,
        right=[
            lambda value, low, high, control: control < low <= value,
            lambda v, lo, hi, c: bool(np.all([v > c, (c < lo) | (c > hi)])),
        ],
        near=[
            (lambda v, lo, hi, c: v > c, "ignore the interval"),
            (lambda v, lo, hi, c: c < lo or c > hi, "outside the interval too"),
            (lambda v, lo, hi, c: v > c or not lo <= c <= hi, "`and`, not `or`"),
            (lambda v, lo, hi, c: lo <= c <= hi, "turned round"),
            (lambda v, lo, hi, c: c > hi, "control above the value"),
            (lambda v, lo, hi, c: v - (hi - lo) / 2 > c, "half the width"),
            (lambda v, lo, hi, c: hi > c, "with the upper end"),
            (lambda v, lo, hi, c: v - c > 0.05, "fixed margin"),
            (lambda v, lo, hi, c: v / c > 1.1, "by a ratio"),
            (lambda v, lo, hi, c: v > hi and v > c, "False whatever"),
            (lambda v, lo, hi, c: True, "True whatever"),
            (lambda v, lo, hi, c: lo > 0.5, "yours says"),
        ],
        malformed=[(lambda v, lo, hi, c: 1, "True or False"), (True, "a function")],
    ),
    Asked(
        "03.7",
        named=9,
        right=[best_near, lambda r2, l0, wanted: torch.tensor(best_near(r2, l0, wanted))],
        near=[
            (lambda r, n, w: int(r.argmax()), "whatever its L0"),
            (lambda r, n, w: r[abs(n - w) <= w / 5].argmax(), "not among all"),
            (lambda r, n, w: (r * (abs(n - w) <= w / 5)).argmax(), "an R² of 0"),
            (lambda r, n, w: abs(n - w).argmin(), "L0 is nearest"),
            (partial(best_by, near=lambda n, w: n <= w * 1.2), "however small"),
            (partial(best_by, near=lambda n, w: n >= w * 0.8), "however large"),
            (partial(best_by, near=lambda n, w: n == w), "exactly what was wanted"),
            (partial(best_by, near=lambda n, w: 0.8 * w <= n <= w), "shut out everyone above"),
            (partial(best_by, near=lambda n, w: abs(n - w) / n <= 0.2), "own L0"),
            (partial(best_by, near=lambda n, w: abs(n - w) < 0.2), ".2 atoms"),
            (lambda r, n, w: (r / n).argmax(), "divide R² by L0"),
            (lambda r, n, w: best_near(r, n, w) + 1, "count from 1"),
            (lambda r, n, w: 0, "yours gives"),
        ],
        malformed=[(lambda r, n, w: float(r.max()), "a whole number")],
    ),
    Asked(
        "04.1",
        named=9,
        right=[probe_by_scikit, probe_by_adam],
        near=[
            *(
                (partial(probe_by_adam, mistake=mistake), words)
                for mistake, words in {
                    "free": "without the penalty",
                    "whole": "also holds b",
                    "twice": "twice what is asked",
                    "sum": "the sum of the log losses",
                    "squares": "least squares on 0 and 1",
                    "turned": "the other class",
                    "no b": "intercept b is missing",
                    "sizes": "ℓ1",
                }.items()
            ),
            (partial(probe_by_adam, steps=6), "has not settled"),
            (partial(probe_by_adam, steps=0), "nothing was minimised"),
            (partial(probe_by_adam, mistake="b first"), "yours gives"),
        ],
        malformed=[
            (lambda x, y, penalty: torch.zeros(x.shape[1]), "w and then b"),
            (lambda x, y, penalty: torch.zeros(1, x.shape[1] + 1), "(d + 1,)"),
        ],
    ),
    Asked(
        "04.3",
        named=9,
        right=[apart_by_numpy],
        near=[
            (lambda z, y, k: gap(z, y).topk(k).indices, "only take columns that are larger"),
            (lambda z, y, k: z[y].mean(dim=0).topk(k).indices, "always on comes first"),
            (lambda z, y, k: z.mean(dim=0).topk(k).indices, "without the labels"),
            (lambda z, y, k: gap(z, y).abs().argsort()[:k], "means are nearest"),
            (
                lambda z, y, k: (z[y].sum(dim=0) - z[~y].sum(dim=0)).abs().topk(k).indices,
                "You compare sums",
            ),
            (lambda z, y, k: gap((z > 0).float(), y).topk(k).indices, "how often a column is on"),
            (lambda z, y, k: z.var(dim=0).topk(k).indices, "rank by variance"),
            (lambda z, y, k: z[y].max(dim=0).values.topk(k).indices, "one row decides"),
            (
                lambda z, y, k: (gap(z, y).abs() / z.std(dim=0)).topk(k).indices,
                "column's deviation",
            ),
            (lambda z, y, k: torch.arange(k), "the first k columns"),
            (lambda z, y, k: gap(z, ~y).topk(k).indices, "yours gives"),
        ],
        malformed=[(lambda z, y, k: gap(z, y)[:, None], "(k,)")],
    ),
    Asked(
        "05.5",
        named=9,
        right=[read_by_least_squares, lambda v, w: along(torch.linalg.pinv(w) @ w, v)],
        near=[
            (
                lambda v, w: along(torch.linalg.svd(w, full_matrices=False).Vh, v),
                "SVD or QR returns",
            ),
            (lambda v, w: along(torch.linalg.qr(w.T).Q.T, v), "SVD or QR returns"),
            (lambda v, w: along(torch.linalg.svd(w).Vh, v), "always 1"),
            (lambda v, w: along(normalize(w, dim=1), v), "as if they were orthogonal"),
            (lambda v, w: along(w, v), "use the rows as they are"),
            (lambda v, w: 1 - read_by_least_squares(v, w), "*not* read"),
            (lambda v, w: read_in_orthonormal(v, w).norm() / v.norm(), "ratio of lengths"),
            (lambda v, w: read_in_orthonormal(v, w).square().sum(), "grows with v"),
            (lambda v, w: read_in_orthonormal(v, w).square().sum() / v.norm(), "not by its square"),
            (
                lambda v, w: torch.cosine_similarity(w, v[None], dim=1).square().max(),
                "along one row",
            ),
            (lambda v, w: along(normalize(w[:1], dim=1), v), "first row alone"),
            (lambda v, w: float(v[0] != 0) / 2, "yours gives"),
        ],
        malformed=[(lambda v, w: w @ v, "a number")],
    ),
    Asked(
        "08.3",
        named=9,
        right=[induction_by_a_loop, lambda a, p: a.diagonal(1 - p)[1:].mean()],
        near=[
            (lambda a, p: head(a, range(p, len(a)), p), "the earlier copy itself"),
            (lambda a, p: head(a, range(p, len(a)), p - 2), "one too far"),
            (lambda a, p: head(a, range(p + 1, len(a)), p + 1), "sign of the 1 is turned"),
            (lambda a, p: head(a, range(1, len(a)), 1), "the word before"),
            (lambda a, p: induction_by_a_loop(a.T, p), "exchanged"),
            (lambda a, p: induction_by_a_loop(a, p) * (len(a) - p), "the sum over words"),
            (lambda a, p: a.diagonal(1 - p)[1:].sum() / len(a), "divide by all words"),
            (lambda a, p: head(a, range(p + 1, len(a)), p - 1), "word `period`, is missing"),
            (lambda a, p: head(a, range(p - 1, len(a)), p - 1), "one word too early"),
            (lambda a, p: head(a, range(p, len(a) - 1), p - 1), "last word is missing"),
            (lambda a, p: a[-1, len(a) - p], "last word alone"),
            (
                lambda a, p: (
                    (a.argmax(dim=1)[p:] == torch.arange(1, len(a) - p + 1)).float().mean()
                ),
                "how often that place",
            ),
            (lambda a, p: 1.0, "yours gives"),
        ],
        malformed=[(lambda a, p: a.diagonal(1 - p), "a number")],
    ),
    Asked(
        "10.1",
        named=9,
        right=[captured_by_a_pre_hook_of_the_next, hooked],
        near=[
            (partial(hooked, keep=lambda args, out: args[0]), "the block reads"),
            (partial(hooked, then=lambda rows: rows), "first token is still"),
            (partial(hooked, then=lambda rows: rows[:-1]), "last token is missing"),
            (lambda m, b, ids: hooked(m, m.blocks[-1], ids), "last block, whatever"),
            (partial(hooked, then=lambda rows: rows[1:].mean(0, keepdim=True)), "mean over tokens"),
            (partial(hooked, keep=lambda args, out: out - args[0]), "what the block adds"),
            (partial(hooked, then=lambda rows: normalize(rows[1:], dim=1)), "by their length"),
            (partial(hooked, then=lambda rows: rows[1:].T), "axes are exchanged"),
            (partial(hooked, remove="never"), "still on the block"),
            (partial(hooked, remove="after"), "raised an error, and your hook"),
            (partial(hooked, then=lambda rows: rows[1:].softmax(dim=1)), "yours gives"),
        ],
        malformed=[(partial(hooked, then=lambda rows: rows[None]), "(any, any)")],
    ),
    Asked(
        "10.2",
        named=9,
        right=[lambda t, w, a: 4e-9 * (t * w + 5 * (w * (2 * a + 1) + a))],
        near=[
            (partial(gigabytes, row=0), "The rows are not in it"),
            (partial(gigabytes, each=0), "The SAE is not in it"),
            (partial(gigabytes, each=4), "numbers once"),
            (partial(gigabytes, each=16), "four times"),
            (lambda t, w, a: (4 * t * w + 20 * (a * w + a + w)) / 1e9, "encoder and dictionary"),
            (lambda t, w, a: (4 * t * w + 20 * 2 * a * w) / 1e9, "Offsets and bias"),
            (partial(gigabytes, row=20), "five times as well"),
            (lambda t, w, a: gigabytes(t, w, a) * 1e9 / 1024**3, "2³⁰"),
            (lambda t, w, a: 1e9 * gigabytes(t, w, a), "return bytes"),
            (partial(gigabytes, row=2), "float16"),
            (lambda t, w, a: gigabytes(t, w, a) / 8, "yours gives"),
        ],
        malformed=[(lambda t, w, a: f"{gigabytes(t, w, a)} GB", "a number")],
    ),
    Asked(
        "10.3",
        named=9,
        right=[lambda c, s, z: 1 - (s - c) / (z - c) if abs(z - c) > 1e-12 else np.nan],
        near=[
            (lambda c, s, z: (s - c) / (z - c) if z > c else math.nan, "share that is lost"),
            (lambda c, s, z: (z - s) / z, "by the loss with zeros"),
            (lambda c, s, z: (z - s) / c, "by the clean loss"),
            (lambda c, s, z: c / s, "ratio of two losses"),
            (lambda c, s, z: z - s, "has a unit"),
            (lambda c, s, z: s - c, "rise of the loss"),
            (lambda c, s, z: (s - z) / (z - c) if z > c else math.nan, "sign is turned"),
            (lambda c, s, z: max((z - s) / (z - c), 0) if z > c else math.nan, "cut off at 0"),
            (lambda c, s, z: min((z - s) / (z - c), 1) if z > c else math.nan, "cut off at 1"),
            (lambda c, s, z: (z - s) / (z - c) if z > c else 0.0, "yours returns a number"),
            (lambda c, s, z: math.exp(c - s), "yours gives"),
        ],
        malformed=[(lambda c, s, z: None, "returned nothing")],
    ),
]
