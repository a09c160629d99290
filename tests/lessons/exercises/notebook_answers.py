"""Answers to the exercises of the notebooks: right ones however written, and the common mistakes."""

from __future__ import annotations

import ast
import cmath
import math
import re
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


def pursued(
    x: Tensor, dictionary: Tensor, k: int, *, negative: bool = False, forget: bool = False
) -> Tensor:
    """Matching pursuit as the hints tell it; with negative amounts, or without an atom's first one."""
    z, r = torch.zeros(len(dictionary), dtype=x.dtype), x
    for _ in range(k):
        c = dictionary @ r
        j = c.argmax()
        amount = c[j] if negative else c[j].clamp(min=0)
        z[j] = amount if forget else z[j] + amount
        r = r - amount * dictionary[j]
    return z


def _looks(pattern: Tensor, n: int, further: int, start: int = 1) -> Tensor:
    """Mean attention from the second copies on what stands some places behind the first ones."""
    q = torch.arange(n + start, 2 * n + start)
    return pattern[:, q, q - n + further].mean(dim=1)


def covers(dictionary: Tensor, r: int, *, signed: bool = False, itself: bool = False) -> Tensor:
    cosines = dictionary @ dictionary.T
    cosines = cosines if signed else cosines.abs()
    cosines = cosines if itself else cosines.fill_diagonal_(0)
    return cosines.topk(r, dim=1).values.sum(dim=1)


def projected(v: Tensor) -> Tensor:
    u = v.sort(descending=True).values
    theta = (u.cumsum(0) - 1) / torch.arange(1, len(v) + 1)
    return (v - theta[(u > theta).sum() - 1]).clamp(min=0)


def scaled(v: Tensor) -> Tensor:
    kept = v.clamp(min=0) + 1e-12
    return kept / kept.sum()


def matched(first: Tensor, second: Tensor) -> Tensor:
    cosines = first @ second.T
    return cosines[linear_sum_assignment(cosines, maximize=True)].mean()


def left(s: Tensor, cut: int) -> float:
    return float((1 - s[:cut, :cut]).sum() + (1 - s[cut:, cut:]).sum())


def apart(x: Tensor, of: Callable[[Tensor], Tensor] = torch.median) -> Tensor:
    return of(torch.cdist(x, x).fill_diagonal_(torch.inf).min(dim=1).values)


def away(corners: Tensor, x: Tensor, of: Callable[[Tensor], Tensor] = torch.median) -> Tensor:
    return of(torch.cdist(corners, x).min(dim=1).values)


def its_own_neighbour(corners: Tensor, x: Tensor) -> Tensor:
    return away(corners, x) / torch.cdist(x, x).min(dim=1).values.median()


def centred_cosine(x: Tensor) -> Tensor:
    moved = x - x.mean(dim=0)
    return torch.nan_to_num(torch.cosine_similarity(moved[1:], moved[:-1], dim=1)).mean()


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


def spread_of_numbers(angles: Tensor, strengths: Tensor) -> float:
    share = strengths / strengths.sum()
    mean = (share * angles).sum()
    return float(min((share * (angles - mean) ** 2).sum() / (torch.pi**2 / 3), 1.0))


def balanced_by_loops(said: Tensor, fires: Tensor) -> float:
    pairs = list(zip(said.tolist(), fires.tolist(), strict=True))
    hits = [s for s, f in pairs if f]
    rests = [not s for s, f in pairs if not f]
    return sum(hits) / len(hits) / 2 + sum(rests) / len(rests) / 2


def most_by_searching(chunk: str) -> float:
    found = re.search(r'"max\\?":([\d.e+-]+)', chunk)
    assert found
    return float(found[1])


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
    late: bool = False,
    leave: bool = False,
    places: slice = slice(None),
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
        rows, start, last = [], measure(module(corrupted)), clean.shape[1] - 1
        for block in blocks:
            rows.append(torch.zeros(last + 1))
            for t in range(last + 1)[places]:
                hook = partial(_puts, put, kept, last if late else t)
                handle = block.register_forward_hook(hook)
                rows[-1][t] = (measure(module(corrupted)) - start) / (end - start)
                if not leave:
                    handle.remove()
    return torch.stack(rows)


def _puts(put, kept, t: int, block: nn.Module, _: object, state: Tensor) -> Tensor | None:  # type: ignore[no-untyped-def]
    return put(kept[block], t, state)


def kept_late(module: nn.Module, blocks: Sequence[nn.Module], clean: Tensor, *_: object) -> Tensor:
    """Its hooks keep every state under the last i."""
    kept: dict[int, Tensor] = {}
    handles = [
        block.register_forward_hook(lambda b, x, state: kept.__setitem__(i, state))  # noqa: B023
        for i, block in enumerate(blocks)
    ]
    module(clean)
    for handle in handles:
        handle.remove()
    return torch.stack([kept[i][0, :, 0] for i in range(len(blocks))])


def span(
    module: nn.Module,
    blocks: object,
    clean: Tensor,
    corrupted: Tensor,
    measure: Callable[[Tensor], Tensor],
) -> float:
    return float(measure(module(clean)) - measure(module(corrupted)))


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
            (on_a_circle(torch.linspace(0, 2 * math.pi, 5)), "counts the start twice"),
            (on_a_circle(math.pi / 5 * torch.arange(5)), "half a circle"),
            (on_a_circle(math.pi / 3 * torch.arange(5)), "a hexagon"),
            (on_a_circle(72 * torch.arange(5)), "can stand further apart"),
        ],
        malformed=[
            (regular_polygon(4), "xpected a tensor of shape (5, 2), got a tensor of shape (4, 2)")
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
            ([2.0, 2.0], "has length 2.83"),
            ([0.6, 0.9], "has length 1.08"),
            ([0.0, 0.0], "vector of zeros"),
            ([1.0, 0.0], "one of the two true atoms"),
            ([0.0, 1.0], "one of the two true atoms"),
            ([1.015, 0.0], "one of the two true atoms"),
            ([0.71, -0.71], "at a right angle"),
            ([-0.71, -0.71], "points away from x"),
            ([-0.6, 0.8], "correlates with x by 0.2"),
        ],
        malformed=[([0.6, 0.8, 0.0], "shape (2,)"), (1.4, "shape (2,)")],
        named=9,
    ),
    Asked(
        "11.5",
        right=[pursued, lambda x, D, k: pursued(x.float(), D.float(), k)],
        near=[
            (lambda x, D, k: pursued(x, D, k, forget=True), "you overwrite its coefficient"),
            (lambda x, D, k: pursued(x, D, k, negative=True), "takes a negative amount"),
        ],
        malformed=[(lambda x, D, k: x[:1], "one coefficient per atom")],
    ),
    Asked(
        "12.1",
        right=[2**-0.5, 0.71],
        near=[(answer, "add up to 1") for answer in (0.5, 1.0, 0.0, 0.6)],
    ),
    Asked(
        "12.4",
        right=[lambda D, r: covers(D, r).max(), lambda D, r: float(covers(D, r).max())],
        near=[
            (lambda D, r: covers(D, r, itself=True).max(), "counts itself"),
            (
                lambda D, r: covers(D, r, signed=True).max(),
                "keep the sign",
            ),  # an opposite atom covers, too
        ],
    ),
    Asked(
        "13.1",
        right=[[0.7, 0.3, 0], (0.7, 0.3, 0.0)],
        near=[([0.9, 0.5, 0.0], "sums to 1.4"), ([0.8, 0.4, -0.2], "negative")],
        malformed=[([0.7, 0.3], "shape (3,)")],
    ),
    Asked(
        "13.2",
        right=[projected, lambda v: projected(v.float())],
        near=[
            (scaled, "divide by the sum"),
            (lambda v: v.softmax(dim=0), "a softmax"),  # sums to 1 as well
        ],
        malformed=[(lambda v: projected(v)[:1], "")],
    ),
    Asked("14.1", right=[1, 1.0], near=[(answer, "exact copy") for answer in (0.0, 0.5, 0.95)]),
    Asked(
        "14.2",
        right=[matched, lambda a, b: float(matched(a, b))],
        near=[
            (lambda a, b: (a * b).sum(dim=1).mean(), "Places mean nothing"),  # atoms of one number
            (lambda a, b: (a @ b.T).max(dim=1).values.mean(), "may take the same one"),
        ],
    ),
    Asked("15.1", right=[[4, 8], (8, 4)], near=[([5, 9], "One off"), ([6, 12], "")]),
    Asked(
        "15.4",
        right=[lambda s: min(range(1, len(s)), key=lambda cut: left(s, cut))],
        near=[
            (lambda s: len(s) // 2, "in the middle"),
            (lambda s: int(s.diagonal(1).argmin()) + 1, "neighbours"),
            (lambda s: 5 if len(s) >= 8 else 4, "yours gives"),  # what the planted cases would want
        ],
    ),
    Asked("16.1", right=[6, 6.0], near=[(5, "number of archetypes"), (12, "Count the ways")]),
    Asked(
        "16.3",
        right=[lambda c, x: away(c, x) / apart(x), lambda c, x: float(away(c, x) / apart(x))],
        near=[
            (its_own_neighbour, "is itself in yours"),
            (away, "has the unit"),
        ],
    ),
    Asked("17.1", right=[3, 3.0], near=[(answer, "10 cancels") for answer in (5, 10, 0.3, 30)]),
    Asked(
        "17.2",
        right=[lambda x: torch.cosine_similarity(x[1:], x[:-1], dim=1).mean()],
        near=[
            (lambda x: (x[1:] * x[:-1]).sum(dim=1).mean(), "dot products"),
            (centred_cosine, "centred first"),
        ],
    ),
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
            (PUSHED / math.log(2), "bits"),
            (-PUSHED, "never below 0"),
            (2 * PUSHED, "its chance"),
            (PUSHED / 2, "a mean of the two"),
            (PUSHED / math.log(10), "base 10"),
        ],
    ),
    Asked("19.2", right=[(1.7 - 1.25) / (1.7 - 1.2)], near=[(0.1, "lost"), (0.96, "worth")]),
    Asked(
        "20.1",
        right=[moved_share],
        near=[
            (
                lambda a, b, u, v: b.norm(dim=1) / (a.norm(dim=1) + b.norm(dim=1)),
                "ten times as loud",
            )
        ],
    ),
    Asked("03.5", right=[0.0625], near=[(1 / 128, "one atom")]),
    Asked("21.1", right=[20], near=[(0.05, "of each one"), (0, "wrong with a chance")]),
    Asked(
        "21.2",
        right=[q_by_scipy],
        near=[
            (lambda p: (p * len(p)).clamp_max(1), "Bonferroni"),  # Bonferroni's
            (lambda p: p * len(p) / (p.argsort().argsort() + 1), "A larger p"),
        ],
    ),
    Asked("21.6", right=[0.651], near=[(0.349, "none of them"), (1, "do not add up")]),
    Asked(
        "21.5",
        right=[greedy_by_sets, greedy_choice],
        near=[
            (lambda has, n: has.sum(dim=1).argsort(descending=True)[:n], "largest documents"),
            (lambda has, n: [int(has.sum(dim=1).argmax())] * n, "taken twice"),
        ],
    ),
    Asked("25.1", right=[0.8], near=[(2 / 3, "square"), (0.2, "other one")]),
    Asked(
        "25.4",
        right=[auroc],
        near=[
            (lambda a, b: float((b[:, None] > a[None, :]).double().mean()), "same score"),
            (lambda a, b: auroc(b, a), "a clean image scores higher"),
        ],
    ),
    Asked(
        "18.3",
        right=[width_by_complex_numbers],
        near=[
            (spread_of_numbers, "next to each other yours"),
            (
                lambda a, w: float(1 - torch.hypot(a.cos().mean(), a.sin().mean())),
                "do not weigh",
            ),
        ],
    ),
    Asked(
        "23.2",
        right=[balanced_by_loops],
        near=[
            (lambda said, fires: float((said == fires).float().mean()), "one window of ten"),
            (lambda said, fires: float(said[fires].float().mean()), "everywhere"),
        ],
    ),
    Asked(
        "23.3",
        right=[lambda x, v, gain, c: x + gain * x @ torch.outer(v, v) / v.dot(v) + c * v],
        near=[
            (lambda x, v, gain, c: x + gain * torch.outer(x @ v, v) + c * v, "of length 1 alone"),
            (lambda x, v, gain, c: x + c * v, "does nothing"),
        ],
    ),
    Asked(
        "24.2",
        right=[lambda control, n: max(control, 0.5) + 2 / (2 * n**0.5)],  # two standard errors
        near=[
            (lambda control, n: max(control, 0.5) + 1 / (2 * n**0.5), "one standard error"),
            (lambda control, n: control + n**-0.5, "below ½"),
        ],
    ),
    Asked(
        "24.4",
        right=[
            lambda chunk: float(ast.literal_eval(chunk[len('saeNb.give("atoms/17",') : -3])["max"])
        ],
        near=[(most_by_searching, "speaks of")],
    ),
    Asked(
        "28.4",
        right=[
            lambda z, columns, step: float(z[1:].view(-1, columns).amax(0).argmax() + 0.5) * step
        ],
        near=[
            (lambda z, columns, step: (int(z.argmax()) % columns + 0.5) * step, "one column late"),
            (lambda z, columns, step: (int(z[1:].argmax()) + 0.5) * step, "lowest band"),
        ],
    ),
    Asked(
        "07.1",
        right=[patched, partial(patched, put=in_place)],
        near=[
            (partial(patched, keep_on=True), "corrupted run's own states"),
            (partial(patched, put=lambda kept, t, *_: None), "does not return it"),
            (partial(patched, late=True), "last value of a loop's variable"),
            (kept_late, "was never kept"),
            (partial(patched, put=lambda kept, *_: kept), "at all positions at once"),
            (partial(patched, put=up_to), "at all before it"),
            (partial(patched, leave=True), "still has a hook"),
            (partial(patched, places=slice(1, None)), "leave the first position out"),
            (partial(patched, places=slice(-1)), "leave the last position out"),
            (partial(patched, places=slice(1, -1)), "the first and the last position"),
            (lambda m, b, x, y, f: patched(m, b, y, x, f), "That is noising"),
            (lambda *given: span(*given) * patched(*given), "differences, not shares"),
            (lambda *given: 1 - patched(*given), "shares that are left"),
            (lambda *given: patched(*given).T, "Rows and columns"),
            (lambda *given: torch.eye(3, 4), "yours gives the same"),
            (lambda *given: patched(*given).square(), "3 blocks and 4 tokens yours gives"),
        ],
        malformed=[(lambda *given: None, "returned nothing")],
        named=12,
    ),
    Asked(
        "07.4",
        right=[[3, 7], (7, 3)],
        near=[([2, 6], "changed places"), ([3, 11], "block 1 act")],
        malformed=[([3], "2 different whole numbers")],
    ),
    Asked(
        "06.1",
        right=[lens_by_rows],
        near=[
            (lambda x, g, u: (g * x) @ u.T, "not yet divided"),
            (lambda x, g, u: (g * x / x.norm(dim=-1, keepdim=True)) @ u.T, "√width smaller"),
            (lambda x, g, u: functional.layer_norm(x, x.shape[-1:], g) @ u.T, "is LayerNorm"),
            (lambda x, g, u: functional.rms_norm(x, x.shape[-1:]) @ u.T, "gain is missing"),
            (lambda x, g, u: lens_by_rows(g * x, torch.ones(len(g)), u), "in the size as well"),
            (
                lambda x, g, u: (
                    lens_by_rows(x.T, torch.ones(len(x)), torch.eye(len(x))).T * g @ u.T
                ),
                "over rows",
            ),
            (lambda x, g, u: (g * x / (x * x).mean().sqrt()) @ u.T, "by one size"),
            (lambda x, g, u: (g * x / (x * x).mean(1)[:, None]) @ u.T, "root of that mean"),
            (lambda x, g, u: lens_by_rows(x, 1 + g, u), "1 + gain"),
            (lambda x, g, u: lens_by_rows(x, g, u).softmax(1), "probabilities"),
            (lambda x, g, u: lens_by_rows(x, g, u).flip(1), "first states yours gives"),
        ],
        malformed=[(lambda x, g, u: lens_by_rows(x, g, u).T, "tensor of shape (3, 6)")],
        named=10,
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
            (
                lambda f, m, k: float(m.argmax() in f.topk(k).indices),
                "only whether the most raised",
            ),
            (
                lambda f, m, k: torch.isin(f.abs().topk(k)[1], m.abs().topk(k)[1]).float().mean(),
                "leave `abs` out",
            ),
            (
                lambda f, m, k: torch.isin(f.argsort()[:k], m.argsort()[:k]).float().mean(),
                "most lowered",
            ),
            (lambda f, m, k: int(torch.isin(f.topk(k)[1], m.topk(k)[1]).sum()), "divide by k"),
            (
                lambda f, m, k: torch.isin(f.topk(k)[1], m.topk(k)[1]).sum() / len(f),
                "number of outputs",
            ),
            (
                lambda f, m, k: torch.isin(f.topk(k)[0], m.topk(k)[0]).float().mean(),
                "effects themselves",
            ),
            (lambda f, m, k: torch.isin(f.topk(2)[1], m.topk(2)[1]).float().mean(), "you take two"),
            (lambda f, m, k: 0.5, "yours gives the same"),
            (
                lambda f, m, k: float(torch.corrcoef(torch.stack((f, m)))[0, 1]),
                "order exchanged, k = 2, yours",
            ),
        ],
        malformed=[(lambda f, m, k: None, "returned nothing")],
        named=10,
    ),
    Asked(
        "30.1",
        right=[
            lambda a, n: torch.stack(
                [torch.stack([h[1 + n + i, 2 + i] for i in range(n)]).mean() for h in a]
            )
        ],
        near=[
            (lambda a, n: _looks(a, n, 0), "earlier copy itself"),
            (lambda a, n: _looks(a, n, 2), "one place too far"),
            (lambda a, n: _looks(a, n, -1), "two places too far back"),
            (lambda a, n: _looks(a, n, 1, start=0), "start token moves"),
            (lambda a, n: _looks(a.transpose(1, 2), n, 1), "Query and key are exchanged"),
            (lambda a, n: n * _looks(a, n, 1), "sum over positions"),
            (lambda a, n: n * _looks(a, n, 1) / (2 * n + 1), "all positions"),
            (lambda a, n: a.diagonal(-1, 1, 2)[:, -n:].mean(dim=1), "the token before"),
            (lambda a, n: torch.ones(3), "yours gives the same"),
        ],
        malformed=[
            (lambda a, n: None, "returned nothing"),
            (lambda a, n: _looks(a, n, 1).mean(), "(heads,)"),
        ],
    ),
    Asked(
        "30.3",
        right=["keys", "Keys"],
        near=[("queries", "says which token it is"), ("values", "handed on")],
        malformed=[("heads", "one of")],
    ),
]
