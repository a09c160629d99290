"""Foretold: how steady each atom's effect is expected to be, and the words that say so on every card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sae_nb.files._with_sae import WithSae

UNKNOWN = "cannot be foretold here"
STEADY, DEPENDS, SPREADS = "steady", "depends on the text", "spreads"
BETWEEN = "in between"


@dataclass(frozen=True, kw_only=True, eq=False)
class Foretold:
    """What is expected of pushing each atom of an SAE, and what came of those that were pushed."""

    stability: Float[np.ndarray, " n_atoms"]
    spread: Float[np.ndarray, " n_atoms"]
    """Foretold, of an atom that was pushed by the others alone; NaN where not known."""

    errors: tuple[float, float]
    """Of both: root of the mean squared error on atoms that were held out; NaN where nothing is foretold."""

    came_stability: Float[np.ndarray, " n_atoms"]
    came_spread: Float[np.ndarray, " n_atoms"]
    """What came of the push; NaN of an atom that was not pushed."""

    thirds: tuple[float, float, float]
    """Of atoms pushed: a third had a stability below the first, a third one above the second, and a third a
    spread above the last."""

    ranks: tuple[float, float]
    """Held-out rank correlations of what was foretold with what came."""

    n_pushed: int
    n_inputs: int
    input_word: str
    """What an input is called: text, image."""

    @staticmethod
    def of(sae: object) -> Foretold | None:
        """Return what was foretold of an SAE, in this process or in the file in its folder; None without."""
        return _KEPT.of(sae)

    def keep(self, sae: object, folder: str | Path | None = None) -> None:
        """Let an SAE know what was foretold, and write it to a folder where one is named."""
        _KEPT.keep(sae, self, folder)

    def words(self, atom: int) -> str:
        """Return what is foretold in up to four words: "steady", "depends on the text", "spreads".

        "in between" where it is in no outer third; empty of an atom that is not known.
        """
        stability, spread = float(self.stability[atom]), float(self.spread[atom])
        if not np.isfinite(self.errors).any():
            return UNKNOWN
        if np.isnan([stability, spread]).all():
            return ""
        low, high, wide = self.thirds
        said = [
            name
            for name, true in (
                (STEADY, stability >= high),
                (DEPENDS.replace("text", self.input_word), stability <= low),
                (SPREADS, spread >= wide),
            )
            if true
        ]
        return ", ".join(said) or BETWEEN

    def sentence(self, atom: int) -> str:
        """Return the words with their numbers, and what came of a push; empty where neither is known."""
        words = self.words(atom)
        if not words:
            return ""
        if words == UNKNOWN:
            return f"Its push {UNKNOWN}: tried on {self.n_pushed} atoms.{self._came(atom)}"
        numbers = []
        if np.isfinite(self.errors[0]):
            alike = f"{self.stability[atom]:.2f} ± {self.errors[0]:.2f}"
            numbers.append(f"at its p99 two {self.input_word}s change alike by {alike}")
        if np.isfinite(self.errors[1]):
            numbers.append(
                f"at equal KL over {self.spread[atom]:.0f} ± {self.errors[1]:.0f} outcomes"
            )
        return f"Foretold: {words} ({', '.join(numbers)}).{self._came(atom)}"

    def _came(self, atom: int) -> str:
        if np.isnan(self.came_stability[atom]):
            return ""
        over = self.came_spread[atom]
        spread = "" if np.isnan(over) else f", over {over:.0f} outcomes"
        return f" Pushed in {self.n_inputs} {self.input_word}s: {self.came_stability[atom]:.2f}{spread}."


# -------------------------------------------------------------------------------------------------
# What was foretold of an SAE stays with it.

_PER_ATOM = ("stability", "spread", "came_stability", "came_spread")
_FEW = {"errors": 2, "thirds": 3, "ranks": 2}
_COUNTS = ("n_pushed", "n_inputs")


def _to_json(found: Foretold) -> dict[str, Any]:
    numbers = {name: _plain(getattr(found, name)) for name in (*_PER_ATOM, *_FEW)}
    counts = {name: getattr(found, name) for name in _COUNTS}
    return {**numbers, **counts, "input_word": found.input_word}


def _plain(values: Any) -> list[float | None]:
    return [None if value != value else float(value) for value in values]


def _from_json(content: dict[str, Any], path: Path) -> Foretold:
    try:
        numbers = {
            name: np.array([np.nan if one is None else one for one in content[name]], float)
            for name in (*_PER_ATOM, *_FEW)
        }
        if len({len(numbers[name]) for name in _PER_ATOM}) != 1:
            raise ValueError("columns of other lengths")
        if any(len(numbers[name]) != n for name, n in _FEW.items()):
            raise ValueError("a number is missing")
        fields: dict[str, Any] = dict(numbers)
        fields |= {name: tuple(numbers[name].tolist()) for name in _FEW}
        fields |= {name: int(content[name]) for name in _COUNTS}
        return Foretold(**fields, input_word=str(content["input_word"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} must hold numbers per atom, and does not ({error}). Call sn.forecast again."
        ) from error


_KEPT: WithSae[Foretold] = WithSae(
    kind="a forecast",
    file="forecast.json",
    attribute="_foretold",
    to_json=_to_json,
    from_json=_from_json,
)
held_forecast = _KEPT.held
