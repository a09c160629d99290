"""Exercises of notebook 32: the straight path from a head to the answer, and the path into one input of another."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor, words
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose
from sae_nb_lessons.studies.paths import straight_paths

HEAD = (0, 2)
"""Of tiny-induction: the head that copies the token before."""

N_PAIRS = 4
LONGEST = 40
"""Words that a claim takes at least."""

Read = Callable[[Tensor], Tensor]


# --- 32.1: straight to the answer -----------------------------------------------------------------


def _reader(seed: int, d: int) -> Read:
    """Return a last norm and the direction of a difference of two logits."""
    direction = torch.randn(d, generator=torch.Generator().manual_seed(seed)).double()
    return lambda x: x / (x.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() @ direction


def _one_by_one(
    end: Tensor, clean: Tensor, corrupted: Tensor, read: Read, corrupted_answer: float
) -> Tensor:
    """Exchange the heads in a loop."""
    before, found = float(read(end)), []
    for was, now in zip(clean, corrupted, strict=True):
        moved = float(read(end + (now - was)))
        found.append((before - moved) / (before - corrupted_answer))
    return torch.tensor(found).double()


def _straight_slips() -> tuple[Slip, ...]:
    def made(change: str, end: Tensor, x: Tensor, y: Tensor, read: Read, stop: float) -> Tensor:
        start = read(end)
        span = stop - start
        ways: dict[str, Callable[[], Tensor]] = {
            "added": lambda: (read(end + y) - start) / span,
            "removed": lambda: (read(end - x) - start) / span,
            "backwards": lambda: (read(end + x - y) - start) / span,
            "difference": lambda: read(end - x + y) - start,
            "answer": lambda: read(end - x + y),
            "sign": lambda: (start - read(end - x + y)) / span,
            "one": lambda: (read(end - x + y) - start) / start,
            "end": lambda: (read(end - x + y) - start) / stop,
            "start": lambda: read(end - x + y) / span,
            "rest": lambda: (stop - read(end - x + y)) / span,
            "bare": lambda: (read(y) - start) / span,
            "linear": lambda: read(y - x) / span,
            "all": lambda: (read(end + (y - x).cumsum(dim=0)) - start) / span,
        }
        return ways[change]()

    told = {
        "added": ("You add what the head writes in the corrupted run, and what it wrote in the clean run stays.", "`end - clean + corrupted`."),
        "removed": ("You take the head away; asked is an exchange.", "Add what it writes in the corrupted run."),
        "backwards": ("You exchange the wrong way round: `end` is of the clean run.", "`end - clean + corrupted`."),
        "difference": ("These are differences of logits; divide them by the whole change.", "corrupted_answer − read(end)."),
        "answer": ("These are the answers after the exchange, not how far each is on the way.", "Subtract read(end), divide by the whole change."),
        "sign": ("Your signs are turned: a head that brings the whole change has the share 1.", "(changed − clean) / (corrupted − clean)."),
        "one": ("You divide by the clean answer; the whole change is corrupted_answer − read(end).", "Divide by that."),
        "end": ("You divide by the corrupted answer; the whole change is corrupted_answer − read(end).", "Divide by that."),
        "start": ("Subtract the clean answer, read(end), first.", "A head that changes nothing has the share 0."),
        "rest": ("This is what is left of the change, not what the head brings.", "1 minus it."),
        "bare": ("You read what the head writes alone; the norm must see the whole stream.", "`read(end - clean + corrupted)`."),
        "linear": ("You read the change alone, and the norm then makes it as long as a whole stream.", "`read(end - clean + corrupted)`."),
        "all": ("The heads before it stay exchanged; each is exchanged alone.", "Begin each time from `end`."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, change)) for change, texts in told.items())


def _judge_straight(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, d, seed in ((4, 6, 0), (7, 5, 1)):
        draws = torch.Generator().manual_seed(seed)
        clean, corrupted = (torch.randn(n, d, generator=draws).double() for _ in range(2))
        end, read = clean.sum(dim=0) + 1, _reader(seed, d)
        after = float(read(end + (corrupted - clean).sum(dim=0)))
        cases[f"{n} heads"] = (end, clean, corrupted, read, after)
    return diagnose(mine, _one_by_one, cases, _straight_slips(), atol=1e-6)


# --- 32.2: into one input -------------------------------------------------------------------------


def _attended(q: Tensor, k: Tensor, v: Tensor, *, root: bool = True, past: bool = True) -> Tensor:
    s = q @ k.T / (q.shape[1] ** 0.5 if root else 1)
    seen = torch.ones_like(s).tril().bool() if past else torch.ones_like(s).bool()
    return s.masked_fill(~seen, -torch.inf).softmax(dim=1) @ v


def _heard(x: Tensor, change: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, by: str) -> Tensor:
    inputs = dict.fromkeys(("queries", "keys", "values"), x)
    inputs[by] = x + change
    return _attended(inputs["queries"] @ W_Q, inputs["keys"] @ W_K, inputs["values"] @ W_V)


def _heard_slips() -> tuple[Slip, ...]:
    other = {"queries": "keys", "keys": "queries", "values": "values"}

    def made(
        way: str, x: Tensor, change: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, by: str
    ) -> Tensor:
        W, y = (W_Q, W_K, W_V), x + change
        parts = [
            (y if one == by else x) @ w
            for one, w in zip(("queries", "keys", "values"), W, strict=True)
        ]
        rest = [
            (x if one == by else y) @ w
            for one, w in zip(("queries", "keys", "values"), W, strict=True)
        ]
        ways: dict[str, Callable[[], Tensor]] = {
            "all": lambda: _attended(*(y @ w for w in W)),
            "none": lambda: _attended(*(x @ w for w in W)),
            "alone": lambda: _attended(
                *((change if one == by else x) @ w for one, w in zip(("queries", "keys", "values"), W, strict=True))
            ),
            "swapped": lambda: _heard(x, change, *W, other[by]),
            "rest": lambda: _attended(*rest),
            "minus": lambda: _heard(x, -change, *W, by),
            "always": lambda: _heard(x, change, *W, "queries"),
            "difference": lambda: _attended(*parts) - _attended(*(x @ w for w in W)),
            "root": lambda: _attended(*parts, root=False),
            "open": lambda: _attended(*parts, past=False),
            "held": lambda: _attended(x @ W_Q, x @ W_K, parts[2]),
            "unweighted": lambda: parts[2],
        }  # fmt: skip
        return ways[way]()

    told = {
        "all": ("All three inputs hear the change; only the one named by `by` may.", "Two of the three read x."),
        "none": ("None of the three hears the change.", "The input named by `by` reads `x + change`."),
        "alone": ("The input reads the change alone; the rest of the stream is still there.", "`x + change`."),
        "swapped": ("Queries and keys are exchanged: `by='queries'` must change what the head asks.", "`(x + change) @ W_Q` for the queries."),
        "rest": ("The two others hear the change, and the one named by `by` does not.", "The other way round."),
        "minus": ("The change is subtracted.", "`x + change`."),
        "always": ("`by` is not used: the queries hear the change every time.", "Ask which of the three it names."),
        "held": ("The pattern is that of the clean run; queries and keys must be computed anew.", "A change of queries or keys changes where the head looks."),
        "difference": ("You subtract the clean output; asked is the output itself.", "Return what the head mixes now."),
        "root": ("Scores are not divided by √d_head.", "`q.shape[1] ** 0.5`."),
        "open": ("A position sees those after it.", "Scores of later positions become −inf."),
        "unweighted": ("The values are not mixed: the pattern is missing.", "`pattern @ v`."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_heard(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for seed, by in enumerate(("queries", "keys", "values")):
        draws = torch.Generator().manual_seed(seed)
        x, change = (torch.randn(5 + seed, 6, generator=draws).double() for _ in range(2))
        W = [torch.randn(6, n, generator=draws).double() for n in (3, 3, 3)]
        cases[f"by='{by}'"] = (x, change, *W, by)
    return diagnose(mine, _heard, cases, _heard_slips(), atol=1e-6)


@cache
def straight_share() -> float:
    """Return the share that goes straight from head 0.2 to the answer, on letters."""
    import sae_nb as sn

    model = sn.load_model("tiny-induction")
    table: Any = straight_paths(model, sn.data.prompt_pairs("induction", N_PAIRS, 0, model=model))
    return float(table.set_index(["layer", "head"]).effect[HEAD])


TASKS = tasks(
    "paths",
    {
        "32.1": Answer(
            function(
                tensor("heads"),
                takes="end (d,), clean (heads, d), corrupted (heads, d), read and corrupted_answer",
            ),
            judge=_judge_straight,
        ),
        "32.2": Answer(
            function(
                tensor("time", "d_head"),
                takes="x (time, d), change (time, d), W_Q, W_K, W_V (d, d_head) and by",
            ),
            judge=_judge_heard,
        ),
        "32.3": Answer(number(0, 1), measure=straight_share),
        "32.4": Answer(words(LONGEST)),
    },
)
