"""Exercises of notebook 28: when an atom fires, a detector of clips, and what chance detects."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

BANDS, COLUMNS, STEP = 4, 20, 0.05


def moment(z: Tensor, columns: int, step: float) -> float:
    """Return the middle of the column in which an atom is strongest, seconds."""
    return (float(z[1:].argmax() % columns) + 0.5) * step


def _clip(row: int, column: int, *, cls: float = 0.0) -> Tensor:
    z = torch.zeros(1 + BANDS * COLUMNS)
    z[0], z[1 + row * COLUMNS + column] = cls, 2.5
    z[1 + (row + 1) % BANDS * COLUMNS + 3] = 0.5
    return z


def _loud() -> Tensor:
    z = _clip(2, 11)
    z[1 + 3 + COLUMNS * torch.arange(3)] = 1.5
    return z


_CLIPS = {
    "in the highest band at column 7": (_clip(0, 7), COLUMNS, STEP),
    "in the lowest band at column 7": (_clip(3, 7), COLUMNS, STEP),
    "stronger still at cls, which is of no time": (_clip(1, 12, cls=9.0), COLUMNS, STEP),
    "in a clip of ten columns of 0.1 s": (_clip(0, 15)[:41], 10, 0.1),
    "that fires in three bands at column 3": (_loud(), COLUMNS, STEP),
}


def _place(z: Tensor) -> int:
    """Return the number of the strongest patch."""
    return int(z[1:].argmax())


_MOMENT_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("You count cls as the first patch, so that everything comes one column late.", "Take it off first: `z[1:]`.", lambda z, columns, step: (int(z.argmax()) % columns + 0.5) * step),
        ("You look for the strongest of all 81, and cls is of no time.", "Take it off first: `z[1:]`.", lambda z, columns, step: ((int(z.argmax()) - 1) % columns + 0.5) * step),
        ("You read the patch's number as its time: the lowest band would fire long after the clip has ended.", "The column is the remainder: number mod columns.", lambda z, columns, step: (_place(z) + 0.5) * step),  # noqa: ARG005
        ("That is where the column begins.", "Its middle is half a column later.", lambda z, columns, step: _place(z) % columns * step),
        ("That is where the column ends.", "Its middle is half a column earlier.", lambda z, columns, step: (_place(z) % columns + 1) * step),
        ("You add half a second, not half a column.", "Add 0.5 before you multiply by the seconds of a column.", lambda z, columns, step: _place(z) % columns * step + 0.5),
        ("You return the column, not seconds.", "Multiply by the seconds that a column lasts.", lambda z, columns, step: _place(z) % columns + 0.5 + 0 * step),
        ("You divide by the seconds of a column.", "Multiply: a column lasts that long.", lambda z, columns, step: (_place(z) % columns + 0.5) / step),
        ("That is the band, not the time.", "The remainder `%`, not the quotient `//`.", lambda z, columns, step: (_place(z) // columns + 0.5) * step),
        ("You read the patches column by column. They come row by row, a band at a time.", "Patches 0 to 19 are the highest band; number mod columns.", lambda z, columns, step: (_place(z) // (len(z[1:]) // columns) + 0.5) * step),
        ("You add up the bands first. Asked is the strongest single patch.", "`z[1:].argmax()`.", lambda z, columns, step: (int(z[1:].view(-1, columns).sum(dim=0).argmax()) + 0.5) * step),
        ("You take the mean moment, weighted by strength: between two tones it is a moment of neither.", "`z[1:].argmax()`.", lambda z, columns, step: float((z[1:].view(-1, columns).sum(dim=0) / z[1:].sum()) @ (torch.arange(columns) + 0.5)) * step),
        ("You take the first patch that fires at all.", "`z[1:].argmax()`.", lambda z, columns, step: (int((z[1:] > 0).int().argmax()) % columns + 0.5) * step),
        ("20 columns of 0.05 s are written into yours.", "Use `columns` and `step`.", lambda z, columns, step: (_place(z) % COLUMNS + 0.5) * STEP),  # noqa: ARG005
    )
)  # fmt: skip


def _judge_moment(mine: Callable[[Tensor, int, float], float]) -> Mistake | str | None:
    return diagnose(mine, moment, _CLIPS, _MOMENT_SLIPS)


# --- 28.2: a detector of clips --------------------------------------------------------------------


def says(z: Tensor, clip: Tensor, n: int, threshold: float) -> Tensor:
    """Return for each clip whether its strongest row is above the threshold."""
    return torch.zeros(n).scatter_reduce(0, clip, z, "amax") > threshold


def _sums(z: Tensor, clip: Tensor, n: int) -> Tensor:
    return torch.zeros(n).scatter_add(0, clip, z)


def _counts(clip: Tensor, n: int) -> Tensor:
    return _sums(torch.ones(len(clip)), clip, n).clamp(min=1)


def _at(z: Tensor, clip: Tensor, n: int, which: int) -> Tensor:
    """Return the first or the last row of each clip."""
    found = torch.zeros(n)
    for one in set(clip.tolist()):
        found[one] = z[clip == one][which]
    return found


_DETECTOR_SLIPS = tuple(
    Slip(said, hint, way)
    for said, hint, way in (
        (
            "You take the mean of a clip: a short tone is lost among silent patches.",
            "The largest row of each clip.",
            lambda z, clip, n, t: _sums(z, clip, n) / _counts(clip, n) > t,
        ),
        (
            "You add the rows of a clip: many weak patches pass as one strong one.",
            "The largest row of each clip.",
            lambda z, clip, n, t: _sums(z, clip, n) > t,
        ),
        (
            "You ask whether it fires at all. The threshold is not used.",
            "Above the threshold, not above 0.",
            lambda z, clip, n, t: says(z, clip, n, 0 * t),
        ),
        (
            "You take the first row of each clip.",
            "The largest of all its rows.",
            lambda z, clip, n, t: _at(z, clip, n, 0) > t,
        ),
        (
            "You keep the last row of each clip: a later row overwrites an earlier one.",
            "`z_of_clip[clip] = z` overwrites. Take the largest.",
            lambda z, clip, n, t: _at(z, clip, n, -1) > t,
        ),
        (
            "You ask that every row of the clip is above the threshold.",
            "One is enough.",
            lambda z, clip, n, t: _sums((z > t).float(), clip, n) == _counts(clip, n),
        ),
        (
            "At the threshold yours says yes. Above it is asked.",
            "`>`, not `>=`.",
            lambda z, clip, n, t: torch.zeros(n).scatter_reduce(0, clip, z, "amax") >= t,
        ),
        (
            "One strong row anywhere makes yours say yes for every clip.",
            "Only the rows of a clip decide about it.",
            lambda z, clip, n, t: (z.max() > t).repeat(n) + 0 * clip[0],
        ),
        (
            "Yours is true where it should be silent, and the other way round.",
            "Above the threshold is true.",
            lambda z, clip, n, t: ~says(z, clip, n, t),
        ),
        (
            "You return strengths, not truths.",
            "Compare them with the threshold.",
            lambda z, clip, n, t: (
                says(z, clip, n, t) * torch.zeros(n).scatter_reduce(0, clip, z, "amax")
            ),
        ),
    )
)
N_CLIPS = 7


def _judge_detector(mine: Callable[..., Tensor]) -> Mistake | str | None:
    rows = [
        (0, 0.9), (1, 3.0), (0, 0.1), (2, 0.7), (2, 0.7), (2, 0.7), (3, 0.2), (3, 5.0), (3, 0.1),
        (4, 2.0), (4, 2.5), (5, 1.5), (1, 0.2), (1, 0.1), (1, 0.1), (0, 0.2),
    ]  # fmt: skip
    clip, z = torch.tensor([c for c, _ in rows]), torch.tensor([v for _, v in rows])
    turned = torch.arange(len(z) - 1, -1, -1)
    cases = {
        "seven clips, the last without a row": (z, clip, N_CLIPS, 1.5),
        "the same rows in another order": (z[turned], clip[turned], N_CLIPS, 1.5),
        "the same rows and a lower threshold": (z, clip, N_CLIPS, 0.8),
    }
    return diagnose(mine, says, cases, _DETECTOR_SLIPS)


@cache
def pitch_by_chance() -> float:
    """Return the largest F1 for "pitch A" of the best atom of five untrained dictionaries; recorded."""
    import sae_nb as sn

    facts = sn.load_examples("tiny-audio/resid_post.4").facts
    return float(max(facts["repeats"]["factors"]["pitch A"]["random"]))


TASKS = tasks(
    "hearing",
    {
        "28.4": Answer(
            function(number(), takes="strengths, columns and seconds per column"),
            judge=_judge_moment,
        ),
        "28.2": Answer(
            function(tensor(N_CLIPS), takes="z, clip, n and threshold"), judge=_judge_detector
        ),
        "28.3": Answer(number(0, 1), measure=pitch_by_chance),
    },
)
