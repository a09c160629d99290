"""Exercises of notebook 41: the floor that a confound sets, accuracy over cells, and what a probe of truth reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, one_of, words
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

LONGEST = 40
"""Words that a claim takes at least."""

Share = Callable[..., float]


# --- 41.1: what a confound alone can say --------------------------------------------------------------


def _floor(y: Tensor, c: Tensor) -> float:
    values, at = c.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    table = torch.zeros(len(values), 2).double()
    table.index_put_((at, y.long()), torch.ones(len(y)).double(), accumulate=True)
    return float(table.amax(dim=1).sum() / len(y))


def _floor_slips() -> tuple[Slip, ...]:
    def made(way: str, y: Tensor, c: Tensor) -> float:
        n, values = len(y), c.unique()  # type: ignore[no-untyped-call]
        true = torch.tensor([float(y[c == v].sum()) for v in values])
        size = torch.tensor([float((c == v).sum()) for v in values])
        best = torch.maximum(true, size - true)
        most = max(float(y.double().mean()), 1 - float(y.double().mean()))
        ways: dict[str, Callable[[], float]] = {
            "majority": lambda: most,
            "equal": lambda: float((y.long() == c).double().mean()),
            "true": lambda: float(y.double().mean()),
            "least": lambda: float((size - best).sum() / n),
            "unweighted": lambda: float((best / size).mean()),
            "count": lambda: float(best.sum()),
            "one": lambda: float((best / size).max()),
            "worst": lambda: float((best / size).min()),
            "pure": lambda: float(size[best == size].sum() / n),
            "above": lambda: float(best.sum() / n) - most,
            "values": lambda: float(best.sum() / len(values)),
            "turned": lambda: float(sum(int((c[y == v][:, None] == values).sum(0).max()) for v in (True, False)) / n),
        }  # fmt: skip
        return ways[way]()

    told = {
        "majority": ("You name the most frequent label everywhere; c is not used.", "For each value of c, the label that is most frequent there."),
        "equal": ("You compare label and writer as numbers. Who guesses knows which label goes with which writer.", "For each value of c, count its labels."),
        "true": ("You say true everywhere.", "For each value of c, true or false, whichever is more frequent."),
        "least": ("That is the share of wrong guesses.", "The larger of both counts."),
        "unweighted": ("You take the mean over values of c; a value with many rows counts for more.", "Add up right rows, and divide by all."),
        "count": ("That is a number of rows; asked is a share.", "Divide by `len(y)`."),
        "one": ("That is the share at the best value of c alone.", "Over all rows."),
        "worst": ("That is the share at the worst value of c alone.", "Over all rows."),
        "pure": ("You only count values with one label; a guess is often right at the others, too.", "The larger of both counts, at every value."),
        "above": ("You subtract what the most frequent label gets. That is a good number, and not the one asked.", "The share of right guesses itself."),
        "values": ("You divide by the number of values.", "Divide by the number of rows."),
        "turned": ("You guess the writer from the label.", "The label from the writer: one count of labels for each value of c."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_floor(mine: Share) -> Mistake | str | None:
    cases = {}
    for n, values, seed in ((40, (2, 5, 7), 0), (30, (0, 1), 1), (36, (3, 4, 6, 9), 2)):
        draws = torch.Generator().manual_seed(seed)
        c = torch.tensor(values)[
            torch.multinomial(torch.arange(1.0, 1 + len(values)), n, True, generator=draws)
        ]
        y = torch.rand(n, generator=draws) < (0.1 + 0.2 * (seed != 1) + 0.5 * (c == values[-1]))
        y[c == values[0]] &= seed != 2
        cases[f"{n} rows of {len(values)} writers"] = (y, c)  # fmt: skip
    return diagnose(mine, _floor, cases, _floor_slips(), atol=1e-6)


# --- 41.3: over cells -----------------------------------------------------------------------------------


def _over_cells(right: Tensor, y: Tensor, c: Tensor) -> float:
    cell = 2 * y.long() + c.long()
    sums = torch.zeros(4).double().index_add_(0, cell, right.double())
    return float((sums / cell.bincount(minlength=4)).mean())


def _cell_slips() -> tuple[Slip, ...]:
    def made(way: str, right: Tensor, y: Tensor, c: Tensor) -> float:
        r = right.double()
        cells = [r[(y == a) & (c == b)] for a in (True, False) for b in (True, False)]
        shares = torch.stack([one.mean() for one in cells])

        def mean_of(*which: Tensor) -> float:
            return float(torch.stack([r[one].mean() for one in which]).mean())

        ways: dict[str, Callable[[], float]] = {
            "all": lambda: float(r.mean()),
            "labels": lambda: mean_of(y, ~y),
            "writers": lambda: mean_of(c, ~c),
            "ties": lambda: mean_of(y == c, y != c),
            "tied": lambda: mean_of(y == c),
            "rare": lambda: mean_of(y != c),
            "sum": lambda: float(shares.sum()),
            "worst": lambda: float(shares.min()),
            "counts": lambda: float(sum(one.sum() for one in cells) / 4),
            "wrong": lambda: 1 - float(shares.mean()),
            "best": lambda: float(shares.max()),
            "middle": lambda: float(shares.median()),
            "two": lambda: float(shares.sum() / 2),
        }
        return ways[way]()

    told = {
        "all": ("That is plain accuracy: cells with many rows decide.", "The share right of each of the four cells, then their mean."),
        "labels": ("You balance labels; within a label the frequent writer still decides.", "Four cells: each label with each writer."),
        "writers": ("You balance writers; within a writer the frequent label still decides.", "Four cells: each label with each writer."),
        "ties": ("You have two groups, where label and writer agree and where they do not; each is two cells.", "Four cells."),
        "tied": ("You keep only rows where label and writer agree: there the writer is right.", "All four cells."),
        "rare": ("You keep only rows where label and writer disagree: there the writer is wrong, and a probe that reads it looks worse than chance.", "All four cells."),
        "sum": ("You add the four shares up.", "Divide by 4."),
        "worst": ("That is the worst cell. It is a good number to show as well, and not the one asked.", "The mean over the four."),
        "counts": ("You add up right rows of the cells, so large ones still decide.", "A share in each cell first."),
        "wrong": ("That is the share of mistakes.", "1 minus it."),
        "best": ("That is the best cell.", "The mean over the four."),
        "middle": ("You take the median over cells.", "The mean."),
        "two": ("There are four cells, and you divide by 2.", "Divide by 4."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_cells(mine: Share) -> Mistake | str | None:
    cases = {}
    for n, seed in ((60, 0), (90, 1)):
        draws = torch.Generator().manual_seed(seed)
        y = torch.rand(n, generator=draws) < 0.6
        c = y ^ (torch.rand(n, generator=draws) < 0.25)
        right = torch.rand(n, generator=draws) < 0.3 + 0.4 * (y == c) + 0.2 * y
        cases[f"{n} rows, {int((y == c).sum())} of them tied"] = (right, y, c)
    return diagnose(mine, _over_cells, cases, _cell_slips(), atol=1e-6)


# --- 41.2, 41.4 and 41.5 ----------------------------------------------------------------------------------


@cache
def on_mixed() -> float:
    """Return the accuracy where both writers write both, of the probe of block 2 that two writers trained."""
    from sae_nb_lessons.studies import lies

    return float(lies.by_block(n_splits=5).loc["block 2", "writers mixed"])


def on_denials() -> float:
    """Return the recorded share right on statements that deny."""
    from sae_nb_studies.reproductions import recorded

    return float(recorded("lying_probes").of("denied").mean)


READ = "what belongs together"


def _judge_read(answer: str) -> Mistake | None:
    if answer == READ:
        return None
    return {
        "truth": Mistake("Truth turns round where a statement denies, and the probe did not.", "What was the share right there: above or below a half?"),
        "the writer": Mistake("The second probe was trained where each writer is right as often as wrong.", "The writer would give a half on plain statements."),
        "single words": Mistake("Each word stands in as many true as false statements.", "What did the floor, counts of words, get there?"),
    }[answer]  # fmt: skip


TASKS = tasks(
    "lies",
    {
        "41.1": Answer(
            function(number(), takes="y, n times True or False, and c, n whole numbers"),
            judge=_judge_floor,
        ),
        "41.2": Answer(number(0, 1), measure=on_mixed),
        "41.3": Answer(
            function(number(), takes="right, y and c, each n times True or False"),
            judge=_judge_cells,
        ),
        "41.4": Answer(number(0, 1), measure=on_denials),
        "41.5": Answer(one_of("truth", "the writer", "single words", READ), judge=_judge_read),
        "41.6": Answer(words(LONGEST)),
    },
)
