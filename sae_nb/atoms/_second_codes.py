"""KeptFirings: what a second solver keeps of an SAE's firings, and the sentence that says so on every card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sae_nb.figures.theme import format_count, format_percent
from sae_nb.files._with_sae import WithSae

FEW = 10
"""Firings from which a share below a half is a reason to read an atom by its strongest ones only. Ours."""

NAMES = {
    "omp": "OMP", "mp": "matching pursuit", "gp": "gradient pursuit", "lasso": "lasso",
    "refit": "the encoder's atoms of double k, refitted",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptFirings:
    """Of every atom: firings in some rows, how many of them another solver has, and what its controls have."""

    solver: str
    n_rows: int
    fires: Int[np.ndarray, " n_atoms"]
    kept: Int[np.ndarray, " n_atoms"]
    chance: Float[np.ndarray, " n_atoms"]
    """Firings that would be kept if the solver's codes were those of other rows."""

    noise: Float[np.ndarray, " n_atoms"]
    """Firings that the encoder itself keeps in noise of a hundredth of ‖x‖; NaN where not measured."""

    rows: Int[np.ndarray, " n_dropped"] | None = None
    atoms: Int[np.ndarray, " n_dropped"] | None = None
    """The firings that are not kept, by atom, then by row; None of a file, which has numbers alone."""

    @staticmethod
    def of(sae: object) -> KeptFirings | None:
        """Return what was found of an SAE, in this process or in the file in its folder; None without."""
        return _KEPT.of(sae)

    def keep(self, sae: object, folder: str | Path | None = None) -> None:
        """Let an SAE know what was found, and write it to a folder where one is named."""
        _KEPT.keep(sae, self, folder)

    @staticmethod
    def of_report(report: Mapping[str, Any]) -> str:
        """Return the sentence of a whole SAE, from the rows of its report; empty where they are not there.

        Shares of an atom's firings, means over atoms.
        """
        kept, noise = (report.get(name) for name in ("kept_by_second_code", "kept_in_noise"))
        if kept is None or kept.control is None:
            return ""
        known = "not measured" if noise is None else format_percent(noise.value)
        what = f"{format_percent(kept.value)} of an atom’s firings"
        return f"{keeps(what, format_percent(kept.control), known)}."

    def sentence(self, atom: int, n_rows: int | None = None) -> str:
        """Return how many of an atom's firings another solver keeps, with both controls; empty if silent.

        `n_rows` of a reader's own examples: where these are others, the sentence names its rows.
        """
        fires = int(self.fires[atom])
        if not fires:
            return ""
        kept, noise = int(self.kept[atom]), float(self.noise[atom])
        where = (
            "" if n_rows in (None, self.n_rows) else f" in {format_count(self.n_rows)} other rows"
        )
        said = keeps(
            f"{format_count(kept)} of {format_count(fires)} firings{where}",
            format_count(round(float(self.chance[atom]))),
            format_count(round(noise)) if np.isfinite(noise) else "not measured",
            self.solver,
        )
        weak = fires >= FEW and kept < fires / 2
        return f"{said}: read its strongest ones only." if weak else f"{said}."

    def dropped(
        self, atom: int, fired: Int[np.ndarray, " m"], n_rows: int
    ) -> Bool[np.ndarray, " m"] | None:
        """Return which of an atom's firings are not kept; None if they are those of other rows."""
        if self.rows is None or self.atoms is None or n_rows != self.n_rows:
            return None
        first, last = np.searchsorted(self.atoms, [atom, atom + 1])
        found = np.isin(fired, self.rows[first:last])
        same = len(fired) == self.fires[atom] and int(found.sum()) == last - first
        return found if same else None


def keeps(what: str, chance: str, noise: str, solver: str = "") -> str:
    """Return the one sentence on a second code, without its full stop: never a number without its controls.

    >>> keeps("1 of 12 firings", "0", "12", "omp")
    'Another solver (OMP) keeps 1 of 12 firings (chance 0, noise 12)'
    """
    name = f" ({NAMES.get(solver, solver)})" if solver else ""
    return f"Another solver{name} keeps {what} (chance {chance}, noise {noise})"


# -------------------------------------------------------------------------------------------------
# What was found of an SAE stays with it.


_NUMBERS = ("fires", "kept", "chance", "noise")


def _to_json(found: KeptFirings) -> dict[str, Any]:
    numbers = {name: getattr(found, name).tolist() for name in _NUMBERS}
    numbers["noise"] = [None if value != value else value for value in numbers["noise"]]
    return {"solver": found.solver, "rows": found.n_rows, **numbers}


def _from_json(content: dict[str, Any], path: Path) -> KeptFirings:
    try:
        numbers = {
            name: np.array([np.nan if one is None else one for one in content[name]])
            for name in _NUMBERS
        }
        if len({len(one) for one in numbers.values()}) != 1:
            raise ValueError("columns of other lengths")
        return KeptFirings(solver=str(content["solver"]), n_rows=int(content["rows"]), **numbers)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} must hold numbers per atom, and does not ({error}). Call sn.second_code again."
        ) from error


_KEPT: WithSae[KeptFirings] = WithSae(
    kind="a second code",
    file="second_code.json",
    attribute="_second_code_found",
    to_json=_to_json,
    from_json=_from_json,
)
held_firings = _KEPT.held
