"""Exercises of notebook 42: heads by where they look, an exchange of several heads, and what such an exchange cannot see."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, one_of, tensor, words
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

LONGEST = 40
"""Words that a claim takes at least."""

# --- 42.1: where heads look -----------------------------------------------------------------------------


def _looks(patterns: Tensor, place: Tensor, source: Tensor) -> Tensor:
    one = [patterns[i, :, :, int(place[i]), int(source[i])] for i in range(len(patterns))]
    return torch.stack(one).mean(dim=0)


def _look_slips() -> tuple[Slip, ...]:
    def made(way: str, patterns: Tensor, place: Tensor, source: Tensor) -> Tensor:
        n = torch.arange(len(patterns))
        seen = patterns[n, :, :, place, source]
        rows = patterns[n, :, :, place]
        ways: dict[str, Callable[[], Tensor]] = {
            "turned": lambda: patterns[n, :, :, source, place].mean(dim=0),
            "sum": lambda: seen.sum(dim=0),
            "largest": lambda: seen.amax(dim=0),
            "first": lambda: seen[0],
            "end": lambda: patterns[n, :, :, -1, source].mean(dim=0),
            "often": lambda: (rows.argmax(dim=-1) == source[:, None, None]).double().mean(dim=0),
            "one place": lambda: patterns[:, :, :, place[0], source[0]].mean(dim=0),
            "anyone": lambda: patterns.mean(dim=3)[n, :, :, source].mean(dim=0),
            "heads": lambda: seen.mean(dim=0).T,
            "middle": lambda: seen.median(dim=0).values,
            "every": lambda: patterns[:, :, :, place][..., source].mean(dim=(0, 3, 4)),
        }
        return ways[way]()

    told = {
        "turned": ("You read how much `source` looks at `place`; later tokens are hidden from it.", "The row is who looks, the column what is looked at."),
        "sum": ("You add up pairs; asked is the mean.", "`.mean(dim=0)`."),
        "largest": ("You take the pair in which each head looks there most.", "The mean over pairs."),
        "first": ("You read the first pair alone.", "The mean over all."),
        "end": ("You look from the last token; `place` says from where.", "The row is `place`."),
        "often": ("You count the pairs in which a head looks there most; asked is how much.", "The mean of the attention itself."),
        "one place": ("You read the same positions in every pair; each pair has its own.", "`place[i]` and `source[i]` in pair i."),
        "anyone": ("You take the mean over all that look; asked is what one position looks at.", "The row `place`."),
        "heads": ("Heads and layers are exchanged.", "Layers first, as in `patterns`."),
        "middle": ("You take the median over pairs.", "The mean."),
        "every": ("You combine every place with every source; pair i has place i and source i.", "`patterns[n, :, :, place, source]` with `n = torch.arange(len(patterns))`."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_looks(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for n, layers, heads, time, seed in ((3, 2, 3, 6, 0), (5, 3, 2, 7, 1)):
        draws = torch.Generator().manual_seed(seed)
        scores = 2 * torch.randn(n, layers, heads, time, time, generator=draws).double()
        hidden = torch.ones(time, time).triu(1).bool()
        place = torch.randint(2, time - 1, (n,), generator=draws)
        source = (torch.rand(n, generator=draws) * place).long()
        cases[f"{n} pairs, {layers} layers of {heads} heads"] = (
            scores.masked_fill(hidden, -torch.inf).softmax(dim=-1),
            place,
            source,
        )
    return diagnose(mine, _looks, cases, _look_slips(), atol=1e-6)


# --- 42.2: exchange several heads -------------------------------------------------------------------------


def _exchanged(clean: Tensor, corrupted: Tensor, heads: list[int], n_heads: int) -> Tensor:
    d = clean.shape[1] // n_heads
    taken = torch.zeros(clean.shape[1], dtype=torch.bool)
    for head in heads:
        taken[head * d : (head + 1) * d] = True
    return torch.where(taken, corrupted, clean)


def _exchange_slips() -> tuple[Slip, ...]:
    def made(way: str, clean: Tensor, corrupted: Tensor, heads: list[int], n_heads: int) -> Tensor:
        shape, n = clean.shape, len(clean)

        def put(into: Tensor, of: Tensor, which: list[int]) -> Tensor:
            x = into.reshape(n, n_heads, -1).clone()
            x[:, which] = of.reshape(n, n_heads, -1)[:, which]
            return x.reshape(shape)

        def mixed() -> Tensor:
            x = clean.reshape(n, -1, n_heads).clone()
            x[..., heads] = corrupted.reshape(n, -1, n_heads)[..., heads]
            return x.reshape(shape)

        def columns() -> Tensor:
            x = clean.clone()
            x[:, heads] = corrupted[:, heads]
            return x

        def last() -> Tensor:
            return torch.cat([clean[:-1], put(clean, corrupted, heads)[-1:]])

        ways: dict[str, Callable[[], Tensor]] = {
            "turned": lambda: put(corrupted, clean, heads),
            "all": lambda: corrupted,
            "one": lambda: put(clean, corrupted, heads[:1]),
            "still": lambda: clean,
            "columns": columns,
            "mixed": mixed,
            "last": last,
            "removed": lambda: put(clean, torch.zeros_like(clean), heads),
            "added": lambda: put(clean, clean + corrupted, heads),
            "change": lambda: put(clean, corrupted - clean, heads),
            "alone": lambda: put(torch.zeros_like(clean), corrupted, heads),
        }
        return ways[way]()

    told = {
        "turned": ("You exchange all heads but those: heads of the clean run stand in the corrupted one.", "Begin with `clean`."),
        "all": ("All heads are exchanged.", "Only those in `heads`."),
        "one": ("Only the first of `heads` is exchanged.", "All of `heads`."),
        "still": ("Nothing is exchanged.", "What `heads` write comes from `corrupted`."),
        "columns": ("You exchange single numbers; a head has d_head of them.", "`reshape(len(clean), n_heads, -1)` gives a row for each head."),
        "mixed": ("Your heads take turns in the row; each has its d_head numbers side by side.", "`reshape(len(clean), n_heads, -1)`."),
        "last": ("Only the last position is exchanged.", "All positions."),
        "removed": ("You take the heads away; asked is an exchange.", "What they write in `corrupted`."),
        "added": ("What they write in the clean run is still there.", "Replace it."),
        "change": ("You put the difference of the two runs there.", "What they write in `corrupted`, as it is."),
        "alone": ("The other heads are gone.", "Begin with `clean`."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, way)) for way, texts in told.items())


def _judge_exchanged(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for time, n_heads, d, heads, seed in ((5, 4, 3, [1, 3], 0), (4, 3, 2, [2, 0], 1)):
        draws = torch.Generator().manual_seed(seed)
        rows = [torch.randn(time, n_heads * d, generator=draws).double() for _ in range(2)]
        cases[f"{n_heads} heads, of which {heads} are exchanged"] = (*rows, heads, n_heads)
    return diagnose(mine, _exchanged, cases, _exchange_slips(), atol=1e-6)


# --- 42.3, 42.4 and 42.5 ------------------------------------------------------------------------------------


def _recorded(name: str) -> float:
    from sae_nb_studies.reproductions import recorded

    return float(recorded("name_heads").of(name).mean)


SAME = "the same in both runs"


def _judge_nothing(answer: str) -> Mistake | None:
    if answer == SAME:
        return None
    return {
        "they do nothing": Mistake("An exchange of equal things shows nothing, whatever they do.", "Where do the two texts begin to differ, and where do these heads write?"),
        "others do their work": Mistake("Then they would have changed something first, and they did not.", "Where do the two texts begin to differ, and where do these heads write?"),
    }[answer]  # fmt: skip


TASKS = tasks(
    "story",
    {
        "42.1": Answer(
            function(
                tensor("layers", "heads"),
                takes="patterns (n, layers, heads, time, time), place (n,) and source (n,)",
            ),
            judge=_judge_looks,
        ),
        "42.2": Answer(
            function(
                tensor("time", "n_heads · d_head"),
                takes="clean and corrupted (time, n_heads · d_head), a list of heads, and n_heads",
            ),
            judge=_judge_exchanged,
        ),
        "42.3": Answer(number(0, 1), measure=partial(_recorded, "movers")),
        "42.4": Answer(
            one_of("they do nothing", "others do their work", SAME), judge=_judge_nothing
        ),
        "42.5": Answer(number(0, 2), measure=partial(_recorded, "enough")),
        "42.6": Answer(words(LONGEST)),
    },
)
