"""The verdict on a number of a report: whether it is apart from its floor and from its control."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from sae_nb.evaluation.report._measurement import (
    Definition,
    Measurement,
    define,
    definition_families,
)
from sae_nb.evaluation.report._report import HEADLINES

Verdict = Literal["clear", "not clear", "description", "undefined"]

MARGIN = 0.05
"""A value nearer than this to floor or control, as a share of the larger one, is not apart from it, however
narrow its interval: another random dictionary would differ by as much. Ours."""

FEW = 6
"""Rows that are shown first: as many as are read at a glance. Ours."""

UNRIVALLED = ("dead_fraction", "rare_fraction")
"""Definitions of which a random dictionary is no control: its atoms point anywhere and nearly all fire, so
that an SAE with atoms for rare things could only lose to it."""

_OF_EVALUATE = (
    "Reconstruction", "Sparsity and use", "The model's answer (splicing)", "The dictionary itself",
    "Atoms used together", "The geometry of rows",
)  # fmt: skip
"""Families of definitions that `evaluate` measures; what is of another was added by hand."""


def judge(measurement: Measurement) -> tuple[Verdict, str]:
    """Return whether a number is apart from its floor and its control, and why.

    It is where it is better than both, neither lies in its interval, and the gap is more than a
    twentieth of the larger of the two numbers.

    Example
    -------
    >>> r2 = Measurement(
    ...     value=0.9, floor=0.0, control=0.5, interval=(0.8, 0.95),
    ...     definition="r2_pooled", n=9, unit="samples",
    ... )
    >>> judge(r2)
    ('clear', 'Better than its control (0.5) and its floor (0), with the whole interval.')
    """
    measurement = comparable(measurement)
    definition = define(measurement.definition)
    if math.isnan(measurement.value):
        return "undefined", "Not defined here: too little varies, or nothing fires."
    rivals = _rivals(measurement, definition)
    if not rivals:
        return "description", "There is nothing to beat: no merit by itself, and no fault."
    for name, rival in rivals.items():
        against = objection(measurement, rival, definition.better)
        if against:
            return "not clear", f"Its {name} ({_short(rival)}) {against}."
    if definition.floor.startswith("none: a description"):  # it can be blamed, and not praised
        return "description", "Better than its control, which is no merit by itself."
    beaten = " and ".join(f"its {name} ({_short(rival)})" for name, rival in rivals.items())
    return "clear", f"Better than {beaten}, with the whole interval."


def _rivals(m: Measurement, definition: Definition) -> dict[str, float]:
    """Return what the value must beat; a floor that nothing can go below is a limit and no rival."""
    if definition.better == "none":
        return {}
    limit = definition.better == "lower" and definition.floor.startswith(("0", "Welch", "m times"))
    known = {"control": m.control, "floor": None if limit else m.floor}
    return {k: float(v) for k, v in known.items() if v is not None and not math.isnan(v)}


def objection(m: Measurement, rival: float, better: str) -> str:
    """Return the reason why a rival would do as well as a number; empty if it would not.

    `better` says which values are: "higher", "lower" or "one".

    Example
    -------
    >>> kept = Measurement(
    ...     value=0.9, floor=0.0, control=0.5, interval=(0.8, 0.95),
    ...     definition="r2_pooled", n=9, unit="samples",
    ... )
    >>> objection(kept, 0.85, "higher"), objection(kept, 0.5, "higher")
    ('lies within its interval', '')
    """
    low, high = m.interval
    if not math.isnan(low) and low <= rival <= high:
        return "lies within its interval"
    size = max(abs(m.value), abs(rival), 1e-300)
    if abs(m.value - rival) <= MARGIN * size:
        return f"is within {MARGIN:.0%} of it"
    if _goodness(m.value, better) <= _goodness(rival, better):
        return "is better"
    return ""


def _goodness(value: float, better: str) -> float:
    if better == "one":
        return -abs(value - 1)
    return -value if better == "lower" else value


def key_rows(rows: Mapping[str, Measurement]) -> list[str]:
    """Return the six rows to look at first: measures of one's own, then those of the short report."""
    families = definition_families()
    usual = {name for title in _OF_EVALUATE for name in families[title]}
    own = [metric for metric, m in rows.items() if m.definition not in usual]
    return list(dict.fromkeys([*own, *(m for m in HEADLINES if m in rows), *rows]))[:FEW]


def comparable(m: Measurement) -> Measurement:
    """Return a number as it is judged: without its control where a random dictionary is none."""
    return replace(m, control=None) if m.definition in UNRIVALLED else m


def _short(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:.3g}"  # what is 0 but for rounding
