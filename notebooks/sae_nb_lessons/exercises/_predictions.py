"""Revealed predictions over the whole course, and how well they were calibrated."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sae_nb.files import read_json, write_json

FOLDER = "SAE_NB_COURSE"
"""Environment variable that names the folder of the record; else it lies in the user's data folder."""

ASKED = 0.8
"""The share of ranges that should hold the measured number."""


@dataclass(frozen=True)
class Prediction:
    """A prediction that was revealed: the first one counts."""

    predicted: float | str
    measured: float | str
    limits: tuple[float, float]
    """Smallest and largest number that the exercise accepts."""

    within: tuple[float, float] | None = None
    """A range that holds the measured number, as the student was sure at 80 %."""

    @property
    def off(self) -> float | None:
        """Distance from the measured number, as a share of the range that was possible; None if unbounded."""
        return self._off(self.predicted)

    @property
    def middle_off(self) -> float | None:
        """The same of a prediction in the middle of that range, which knows nothing."""
        return self._off(sum(self.limits) / 2)

    @property
    def held(self) -> bool | None:
        """Whether the stated range held the measured number; None if none was stated."""
        if self.within is None or isinstance(self.measured, str):
            return None
        return self.within[0] <= self.measured <= self.within[1]

    def _off(self, value: float | str) -> float | None:
        low, high = self.limits
        if isinstance(value, str) or isinstance(self.measured, str) or math.isinf(high - low):
            return None
        return abs(value - self.measured) / (high - low)


@dataclass(frozen=True)
class Calibration:
    """Predictions taken together."""

    n: int
    """Predictions that were revealed."""

    off: float | None
    """Mean distance, as a share of the range that was possible; None without any."""

    middle_off: float | None
    """Floor: the same for one who always names the middle of the range."""

    n_ranges: int
    """Predictions with a range of 80 %."""

    n_held: int
    """Ranges that held the measured number."""

    @classmethod
    def of(cls, predictions: Iterable[Prediction]) -> Calibration:
        """Take predictions together."""
        known = list(predictions)
        offs = [one.off for one in known if one.off is not None]
        middles = [one.middle_off for one in known if one.middle_off is not None]
        held = [one.held for one in known if one.held is not None]
        return cls(len(known), _mean(offs), _mean(middles), len(held), sum(held))

    def __repr__(self) -> str:
        if not self.n:
            return "No prediction was revealed yet."
        said = f"Predictions over the course: {self.n}"
        if self.off is not None:
            said += (
                f"; off by {self.off:.0%} of the possible range in the mean (always its middle: "
                f"{self.middle_off:.0%})"
            )
        if self.n_ranges:
            return f"{said}; {self.n_held} of {self.n_ranges} ranges held the number ({ASKED:.0%} were asked)."
        return f"{said}. `.predict(value, within=(low, high))` also tests how sure you are."


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


class Course:
    """The predictions of this kernel and of those before; without a folder that can be written, of this one."""

    def __init__(self) -> None:
        self._here: dict[str, Prediction] = {}

    def note(self, id: str, prediction: Prediction) -> None:
        """Keep a revealed prediction; if there is one of that exercise, the first stays."""
        known = self.all()
        if id in known:
            return
        self._here[id] = prediction
        kept = {number: _written(one) for number, one in (known | self._here).items()}
        try:
            _file().parent.mkdir(parents=True, exist_ok=True)
            write_json(_file(), kept)
        except OSError:
            pass  # a folder that cannot be written: this kernel remembers

    def all(self) -> dict[str, Prediction]:
        """Return every prediction, by exercise."""
        return _read() | self._here

    def forget(self, id: str | None = None) -> None:
        """Forget what this kernel knows of an exercise, or of all; what was written down stays."""
        if id is None:
            self._here.clear()
        else:
            self._here.pop(id, None)


def _file() -> Path:
    import platformdirs

    given = os.environ.get(FOLDER)
    folder = Path(given).expanduser() if given else platformdirs.user_data_path("sae_nb")
    return folder / "predictions.json"


def _written(one: Prediction) -> dict[str, Any]:
    written = asdict(one)
    finite = all(math.isfinite(limit) for limit in one.limits)
    return written | {"limits": list(one.limits) if finite else None}


def _read() -> dict[str, Prediction]:
    """Return what was written down; nothing if there is no such file or it cannot be read."""
    if not _file().exists():
        return {}
    try:
        found = read_json(_file())
        return {id: _prediction(entry) for id, entry in found.items()}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _prediction(entry: Any) -> Prediction:
    low, high = entry["limits"] or (-math.inf, math.inf)
    within = entry["within"]
    pair = None if within is None else (float(within[0]), float(within[1]))
    return Prediction(entry["predicted"], entry["measured"], (float(low), float(high)), pair)


COURSE = Course()
"""One per kernel."""
