"""Exercises of notebook 09: a line that can fail, a run with floor and control, and a claim with its card."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from sae_nb_lessons.exercises._answers import Form, WrongForm, describe, function, number, words
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._limits import TRAINING
from sae_nb_lessons.exercises._mistakes import Mistake
from sae_nb_studies.reproductions import MeasuredClaim
from sae_nb_lessons.studies import on_features, toy_run

PARTS = ("claim", "floor", "control")
PILOT = {"claim": 0.999, "floor": 0.67, "control": 0.72, "raw": 0.83}
"""What `toy_run(5)` gives, and 64 rows of that toy."""

EXACT = 1e-4
"""Largest difference of two claims by the same SAE; its encoder's rows and the best feature differ by more."""

SAME = 0.002
"""Largest difference of two controls that were drawn alike; other draws differ by .02."""

Run = Callable[[int], Mapping[str, float]]


def _of_a_run(answer: Any) -> dict[str, float]:
    if not isinstance(answer, Mapping):
        raise TypeError(answer)
    missing = [part for part in PARTS if part not in answer]
    if missing:
        raise WrongForm(f"expected {_RUN.says}, and {' and '.join(missing)} is not in yours")
    found = {part: number().read(answer[part]) for part in PARTS}
    return {part: float(value) for part, value in found.items()}


_RUN = Form(says='a dictionary with a number for "claim", "floor" and "control"', convert=_of_a_run)


# --- 09.1: the line -------------------------------------------------------------------------------


def _judge_line(line: float) -> Mistake | None:
    if line <= PILOT["floor"]:
        return Mistake(
            f"Random directions reach {PILOT['floor']} and meet your line of {line:g}: an SAE that learned "
            "nothing would prove your claim.",
            "Above the floor, and above the control.",
        )
    if line <= PILOT["control"]:
        return Mistake(
            f"The control reaches {PILOT['control']} and meets your line of {line:g}: data without features would "
            "prove your claim.",
            "Above what an SAE finds where there is nothing to find.",
        )
    if line <= PILOT["raw"]:
        return Mistake(
            f"64 rows of the data, as they are, reach {PILOT['raw']} and meet your line of {line:g}: nothing was trained.",
            "Above the highest of the three floors.",
        )
    if line >= 1:
        return Mistake(
            f"No cosine is above 1, so a line of {line:g} is lost before it is measured.",
            "Below 1, with room for a seed that is less lucky.",
        )
    if line > 0.995:
        return Mistake(
            f"A line of {line:g} leaves no room: one pilot does not say by how much seeds differ.",
            "Leave a few hundredths.",
        )
    if line < PILOT["raw"] + 0.03:
        return Mistake(
            f"{line:g} is within the spread of raw rows over seeds.",
            "Well above them: .87 or more.",
        )
    return None


# --- 09.3: a run ----------------------------------------------------------------------------------


def _judge_run(run: Run) -> Mistake | None:
    first = run(0)
    for part in PARTS:
        if not -1 - 1e-6 <= first[part] <= 1 + 1e-6:
            return Mistake(
                f"A mean cosine lies between −1 and 1, and your {part} is {first[part]:.3g}.",
                "`on_features(seed, dictionary).mean()`.",
            )
    torch.rand(1)  # one who draws from torch's own state gets other numbers next time
    again, other = run(0), run(1)
    if any(not math.isclose(first[p], again[p], abs_tol=1e-4) for p in PARTS):
        changing = next(p for p in PARTS if not math.isclose(first[p], again[p], abs_tol=1e-4))
        return Mistake(
            f"Two runs of seed 0 give different numbers for {changing}.",
            "Draw everything from a generator that is seeded with `seed`.",
        )
    fixed = [p for p in PARTS if first[p] == other[p]]
    if fixed:
        return Mistake(
            f"{' and '.join(fixed)} is the same for seeds 0 and 1: the seed does nothing there.",
            "Data, first dictionary and random directions all depend on `seed`.",
        )
    third = run(2)
    return (
        _judge_numbers(first, toy_run(0))
        or _other_seed(1, other)
        or _other_seed(2, third)
        or _one_draw(first["floor"], other["floor"], third["floor"])
    )


def _judge_numbers(first: Mapping[str, float], right: Mapping[str, float]) -> Mistake | None:
    if first["floor"] >= first["claim"]:
        return Mistake(
            f"Your floor ({first['floor']:.3f}) is not below your claim's number ({first['claim']:.3f}).",
            "Are they exchanged? The floor is random directions.",
        )
    if first["claim"] < 0.9:
        return Mistake(
            f"The claim's number is {first['claim']:.3f}; an SAE trained on these rows reaches {right['claim']:.3f}.",
            "`own_sae(rows, 64, 3, 300, seed).D` on `hidden_rows(seed)`.",
        )
    if abs(first["claim"] - right["claim"]) > EXACT:
        return Mistake(
            f"The claim's number is {first['claim']:.4f}, and the mean over all features with the dictionary "
            f"{right['claim']:.4f}.",
            "`on_features(seed, own_sae(rows, 64, 3, 300, seed).D).mean()`: D, not E; the mean, not the best.",
        )
    if abs(first["floor"] - right["floor"]) > 0.08:
        return Mistake(
            f"Your floor is {first['floor']:.3f}, and that of 64 random directions {right['floor']:.3f}.",
            "As many directions as there are atoms, 64, drawn at random and not trained.",
        )
    if first["control"] > 0.9:
        return Mistake(
            f"Your control is {first['control']:.3f}: the features are still in its data.",
            "`scrambled(rows, seed)` keeps the numbers and takes the features away.",
        )
    if abs(first["control"] - right["control"]) > SAME:
        return Mistake(
            f"Your control is {first['control']:.3f}, and that of the same SAE on scrambled rows "
            f"{right['control']:.3f}.",
            "`own_sae(scrambled(rows, seed), …)` with all the settings of the claim's; random directions are the floor.",
        )
    return None


def _other_seed(seed: int, mine: Mapping[str, float]) -> Mistake | None:
    """Return the mistake of a run that is right for seed 0 alone."""
    right = toy_run(seed)
    if (
        abs(mine["claim"] - right["claim"]) <= EXACT
        and abs(mine["control"] - right["control"]) <= SAME
    ):
        return None
    return Mistake(
        f"Seed 0 is right, and seed {seed} is not: claim {mine['claim']:.4f} and control {mine['control']:.3f} in yours, "
        f"{right['claim']:.4f} and {right['control']:.3f} on toy {seed}.",
        "A 0 is left somewhere: `hidden_rows(seed)`, `own_sae(…, seed)`, `scrambled(rows, seed)`, `on_features(seed, …)`.",
    )


def _one_draw(*floors: float) -> Mistake | None:
    """Return the mistake of a floor that holds the same directions against every toy."""
    for drawn_from in range(100):
        draws = torch.Generator().manual_seed(drawn_from)
        directions = torch.randn(64, 10, generator=draws)
        if all(
            abs(on_features(toy, directions).mean() - floor) < EXACT
            for toy, floor in enumerate(floors)
        ):
            return Mistake(
                f"Your floors of seeds 0, 1 and 2 are those of the same 64 directions, drawn from seed {drawn_from}.",
                "`torch.Generator().manual_seed(seed)`",
            )
    return None


# --- 09.4: a card ---------------------------------------------------------------------------------


def _measured(answer: Any) -> MeasuredClaim:
    if not isinstance(answer, MeasuredClaim):
        raise WrongForm(f"expected what `claim.test(run)` returns, got {describe(answer)}")
    return answer


def _judge_card(card: MeasuredClaim) -> Mistake | None:
    if len(card.by_seed) < 5:
        return Mistake(
            f"{len(card.by_seed)} seeds leave a mean open that lies near its line.",
            "`range(5)` or more.",
        )
    if card.cannot_fail:
        return Mistake(
            "Your floor or control meets the line as well, so the claim says nothing.",
            "Draw the line above both (09.1).",
        )
    numbers = [tuple(one.values()) for one in card.by_seed.values()]
    if len(set(numbers)) < len(numbers):
        return Mistake("Two seeds gave the very same numbers.", "Does `run` use its seed (09.3)?")
    near = {"claim": EXACT, "floor": 0.08, "control": SAME}
    for seed, mine in [*card.by_seed.items()][:3]:  # those that 09.3 has measured
        right = toy_run(int(seed))
        for part in PARTS:
            if abs(mine[part] - right[part]) > near[part]:
                return Mistake(
                    f"For seed {seed} your card has a {part} of {mine[part]:.4f}, and the run of 09.3 measures "
                    f"{right[part]:.4f}.",
                    "`.test(run, range(5))`, with the `run` that 09.3 took.",
                )
    return None


TASKS = tasks(
    "own_claim",
    {
        "09.1": Answer(number(), judge=_judge_line),
        "09.3": Answer(function(_RUN, takes="a seed", seconds=TRAINING), judge=_judge_run),
        "09.4": Answer(Form(says="a measured claim", convert=_measured), judge=_judge_card),
        "09.5": Answer(words(25)),
    },
)
