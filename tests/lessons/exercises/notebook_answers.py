"""Answers to the exercises of the notebooks: right ones however written, and the common mistakes."""

from __future__ import annotations

import ast
import cmath
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from sae_nb_lessons.exercises._corpora import greedy as greedy_choice
from sae_nb_lessons.exercises._superposition import regular_polygon
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional

from sae_nb.evaluation import explained_variance
from tests.lessons.exercises.asked import Asked


def turned_pentagon(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(1, generator=generator).double()
    turn = torch.stack(
        (torch.cat((angle.cos(), -angle.sin())), torch.cat((angle.sin(), angle.cos())))
    )
    return regular_polygon(5)[torch.randperm(5, generator=generator)] @ turn


def on_a_circle(angles: Tensor) -> Tensor:
    return torch.stack((angles.cos(), angles.sin()), dim=1)


def pursued(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
    """Matching pursuit as the hints tell it."""
    z, r = torch.zeros(len(dictionary), dtype=x.dtype), x
    for _ in range(k):
        c = dictionary @ r
        j = c.argmax()
        amount = c[j].clamp(min=0)
        z[j] += amount
        r = r - amount * dictionary[j]
    return z


def covers(dictionary: Tensor, r: int) -> Tensor:
    cosines = (dictionary @ dictionary.T).abs().fill_diagonal_(0)
    return cosines.topk(r, dim=1).values.sum(dim=1)


def projected(v: Tensor) -> Tensor:
    u = v.sort(descending=True).values
    theta = (u.cumsum(0) - 1) / torch.arange(1, len(v) + 1)
    return (v - theta[(u > theta).sum() - 1]).clamp(min=0)


def matched(first: Tensor, second: Tensor) -> Tensor:
    cosines = first @ second.T
    return cosines[linear_sum_assignment(cosines, maximize=True)].mean()


def left(s: Tensor, cut: int) -> float:
    return float((1 - s[:cut, :cut]).sum() + (1 - s[cut:, cut:]).sum())


def apart(x: Tensor, of: Callable[[Tensor], Tensor] = torch.median) -> Tensor:
    return of(torch.cdist(x, x).fill_diagonal_(torch.inf).min(dim=1).values)


def away(corners: Tensor, x: Tensor, of: Callable[[Tensor], Tensor] = torch.median) -> Tensor:
    return of(torch.cdist(corners, x).min(dim=1).values)


P = 1 / (1 + math.exp(-2))
PUSHED = 0.5 * math.log(0.5 / P) + 0.5 * math.log(0.5 / (1 - P))
"""KL(clean‖steered) of a push of 2, in nats."""
OTHER_WAY = P * math.log(P / 0.5) + (1 - P) * math.log((1 - P) / 0.5)


def moved_share(a: Tensor, b: Tensor, u: float, v: float) -> Tensor:
    norms = torch.stack([(a / u).square().sum(1).sqrt(), (b / v).square().sum(1).sqrt()])
    return norms[1] / norms.sum(dim=0)


def q_by_scipy(p: Tensor) -> Tensor:
    from scipy.stats import false_discovery_control

    return torch.as_tensor(false_discovery_control(np.asarray(p)))


def greedy_by_sets(has: Tensor, n: int) -> list[int]:
    atoms = [set(row.nonzero()[:, 0].tolist()) for row in has]
    chosen: list[int] = []
    for _ in range(n):
        covered = set().union(*(atoms[i] for i in chosen))
        free = [i for i in range(len(has)) if i not in chosen]
        chosen.append(max(reversed(free), key=lambda i: len(atoms[i] - covered)))
    return chosen


def auroc(clean: Tensor, corrupted: Tensor) -> float:
    from sklearn.metrics import roc_auc_score

    truth = [0] * len(clean) + [1] * len(corrupted)
    return float(roc_auc_score(truth, torch.cat((clean, corrupted)).numpy()))


def lens_by_rows(states: Tensor, gain: Tensor, unembedding: Tensor) -> Tensor:
    width = states.shape[-1:]
    return torch.stack([unembedding @ functional.rms_norm(x, width, gain, 1e-6) for x in states])


def width_by_complex_numbers(angles: Tensor, strengths: Tensor) -> float:
    each = zip(angles.tolist(), strengths.tolist(), strict=True)
    return 1 - abs(sum(w * cmath.exp(1j * a) for a, w in each)) / float(strengths.sum())


def balanced_by_loops(said: Tensor, fires: Tensor) -> float:
    pairs = list(zip(said.tolist(), fires.tolist(), strict=True))
    hits = [s for s, f in pairs if f]
    rests = [not s for s, f in pairs if not f]
    return sum(hits) / len(hits) / 2 + sum(rests) / len(rests) / 2


def in_place(kept: Tensor, t: int, state: Tensor) -> None:
    state[:, t] = kept[:, t]


def at_one(kept: Tensor, t: int, state: Tensor) -> Tensor:
    here = torch.arange(state.shape[1]) == t
    return torch.where(here[None, :, None], kept, state)


def up_to(kept: Tensor, t: int, state: Tensor) -> Tensor:
    return torch.cat((kept[:, : t + 1], state[:, t + 1 :]), dim=1)


@torch.no_grad()
def patched(
    module: nn.Module,
    blocks: Sequence[nn.Module],
    clean: Tensor,
    corrupted: Tensor,
    measure: Callable[[Tensor], Tensor],
    *,
    put: Callable[[Tensor, int, Tensor], Tensor | None] = at_one,
    keep_on: bool = False,
) -> Tensor:
    """The loop of 07.1 by `with` and tables; its switches are what goes wrong in such loops."""
    kept: dict[nn.Module, Tensor] = {}
    with ExitStack() as all_runs:
        with ExitStack() as once:
            for block in blocks:
                handle = block.register_forward_hook(
                    lambda b, _, state: kept.__setitem__(b, state.clone())
                )
                (all_runs if keep_on else once).enter_context(handle)
            end = measure(module(clean))
        start, shares = measure(module(corrupted)), torch.zeros(len(blocks), clean.shape[1])
        for row, block in zip(shares, blocks, strict=True):
            for t in range(clean.shape[1]):
                hook = lambda b, _, state, t=t: put(kept[b], t, state)  # noqa: E731
                with block.register_forward_hook(hook):
                    row[t] = (measure(module(corrupted)) - start) / (end - start)
    return shares


ASKED = [
    Asked(
        "01.3",
        right=[
            *map(turned_pentagon, range(4)),
            *(turned_pentagon(seed).float().tolist() for seed in range(4)),
        ],
        near=[
            (torch.eye(5)[:, :2], "has length 0, not 1"),
            (2 * regular_polygon(5), "has length 2, not 1"),
            (on_a_circle(math.pi / 3 * torch.arange(5)), "a hexagon"),
        ],
    ),
    Asked("11.2", right=[3, 3.0], near=[(1.0, "= 17,"), (4.1, "= 32.8,")]),
    Asked(
        "11.3",
        right=[[0.6, 0.8], [0.71, 0.71], torch.ones(2) / 2**0.5],
        near=[
            ([1.0, 1.0], "That is x"),
            ([0.5, 0.5], "add up to 1"),
            ([0.8, 0.2], "add up to 1"),
        ],
    ),
    Asked("11.5", right=[pursued, lambda x, D, k: pursued(x.float(), D.float(), k)]),
    Asked(
        "12.1",
        right=[2**-0.5, 0.71],
        near=[(answer, "add up to 1") for answer in (0.5, 1.0, 0.0, 0.6)],
    ),
    Asked("12.4", right=[lambda D, r: covers(D, r).max(), lambda D, r: float(covers(D, r).max())]),
    Asked(
        "13.1",
        right=[[0.7, 0.3, 0], (0.7, 0.3, 0.0)],
        near=[([0.9, 0.5, 0.0], "sums to 1.4"), ([0.8, 0.4, -0.2], "negative")],
    ),
    Asked("13.2", right=[projected, lambda v: projected(v.float())]),
    Asked("14.1", right=[1, 1.0], near=[(answer, "exact copy") for answer in (0.0, 0.5, 0.95)]),
    Asked("14.2", right=[matched, lambda a, b: float(matched(a, b))]),
    Asked("15.1", right=[[4, 8], (8, 4)], near=[([5, 9], "One off"), ([6, 12], "")]),
    Asked("15.4", right=[lambda s: min(range(1, len(s)), key=lambda cut: left(s, cut))]),
    Asked("16.1", right=[6, 6.0], near=[(5, "number of archetypes"), (12, "Count the ways")]),
    Asked(
        "16.3",
        right=[lambda c, x: away(c, x) / apart(x), lambda c, x: float(away(c, x) / apart(x))],
    ),
    Asked("17.1", right=[3, 3.0], near=[(answer, "10 cancels") for answer in (5, 10, 0.3, 30)]),
    Asked("17.2", right=[lambda x: torch.cosine_similarity(x[1:], x[:-1], dim=1).mean()]),
    Asked(
        "03.4",
        right=[
            explained_variance(torch.tensor([[0.0, 0], [2, 4]]), torch.tensor([[1.0, 1], [1, 3]]))
        ],
        near=[(7 / 11, "one mean"), (0.8, "about zero")],
    ),
    Asked(
        "05.3",
        right=[PUSHED],
        near=[
            (OTHER_WAY, "steered‖clean"),
            (-PUSHED, "never below 0"),
            (2 * PUSHED, "its chance"),
        ],
    ),
    Asked("19.2", right=[(1.7 - 1.25) / (1.7 - 1.2)], near=[(0.1, "lost"), (0.96, "worth")]),
    Asked("20.1", right=[moved_share]),
    Asked("03.5", right=[0.0625], near=[(1 / 128, "one atom")]),
    Asked("21.1", right=[20], near=[(0.05, "of each one"), (0, "wrong with a chance")]),
    Asked("21.2", right=[q_by_scipy]),
    Asked("21.6", right=[0.651], near=[(0.349, "none of them"), (1, "do not add up")]),
    Asked("21.5", right=[greedy_by_sets, greedy_choice]),
    Asked("25.1", right=[0.8], near=[(2 / 3, "square"), (0.2, "other one")]),
    Asked("25.4", right=[auroc]),
    Asked("18.3", right=[width_by_complex_numbers]),
    Asked("23.2", right=[balanced_by_loops]),
    Asked(
        "23.3",
        right=[lambda x, v, gain, c: x + gain * x @ torch.outer(v, v) / v.dot(v) + c * v],
    ),
    Asked(
        "24.2",
        right=[lambda control, n: max(control, 0.5) + 2 / (2 * n**0.5)],  # two standard errors
    ),
    Asked(
        "24.4",
        right=[
            lambda chunk: float(ast.literal_eval(chunk[len('saeNb.give("atoms/17",') : -3])["max"])
        ],
    ),
    Asked(
        "28.4",
        right=[
            lambda z, columns, step: float(z[1:].view(-1, columns).amax(0).argmax() + 0.5) * step
        ],
    ),
    Asked(
        "07.1",
        right=[patched, partial(patched, put=in_place)],
        near=[
            (partial(patched, keep_on=True), "corrupted run's own states"),
            (lambda *given: patched(*given).T, "Rows and columns"),
            (partial(patched, put=up_to), "at all before it"),
        ],
    ),
    Asked(
        "07.4",
        right=[[3, 7], (7, 3)],
        near=[([2, 6], "changed places"), ([3, 11], "block 1 act")],
    ),
    Asked(
        "06.1",
        right=[lens_by_rows],
        near=[
            (lambda x, g, u: (g * x) @ u.T, "not yet divided"),
            (lambda x, g, u: lens_by_rows(x, 1 + g, u), "1 + gain"),
            (lambda x, g, u: lens_by_rows(x, g, u).softmax(1), "probabilities"),
        ],
    ),
    Asked(
        "06.4",
        right=[
            lambda f, m, k: (
                (f >= f.sort().values[-k]).logical_and(m >= m.sort().values[-k]).sum() / k
            ),
            lambda f, m, k: torch.isin(f.topk(k).indices, m.topk(k).indices).float().mean(),
        ],
        near=[
            (
                lambda f, m, k: (f.topk(k).indices == m.topk(k).indices).float().mean(),
                "order counts",
            ),
            (lambda f, m, k: float(f.argmax() == m.argmax()), "first outputs alone"),
            (lambda f, m, k: 0.5, "yours gives the same"),
        ],
    ),
    Asked(
        "30.1",
        right=[
            lambda a, n: torch.stack(
                [torch.stack([h[1 + n + i, 2 + i] for i in range(n)]).mean() for h in a]
            )
        ],
    ),
    Asked(
        "30.3",
        right=["keys", "Keys"],
        near=[("queries", "says which token it is"), ("values", "handed on")],
    ),
]
