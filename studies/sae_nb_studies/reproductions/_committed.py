"""The committed numbers of an experiment, for notebooks: over seeds, with their spread and verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from sae_nb.files import read_json
from sae_nb_studies.reproductions._claims import Summary, summarise

if TYPE_CHECKING:
    import pandas as pd


HERE = Path(__file__).parent
# A checkout has them where they are written; a wheel carries a copy, made when it is built.
FOLDERS = (HERE.parents[2] / "docs" / "claims", HERE / "numbers")

MOST_ROWS = 6
"""Rows of a table of recorded numbers in a lesson."""


class Recorded:
    """An artefact that gives its numbers by name.

    Parameters
    ----------
    artefact
        As `artefact_of` makes it.

    Example
    -------
    >>> found = recorded("monotone")
    >>> found.of("grew, trained").n, found.verdict("expressive")
    (5, 'holds')
    """

    def __init__(self, artefact: dict[str, Any]) -> None:
        self._artefact = artefact

    @property
    def made(self) -> str:
        """The command that made it, the date, and the number of seeds."""
        records = list(self._artefact["seeds"].values())
        last = max(record["date"] for record in records)
        return f"{self._artefact['command']} ({last}, {len(records)} seeds)"

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of all that was measured."""
        return tuple(self._artefact["numbers"])

    def seeds(self, number: str) -> Float[np.ndarray, " seeds"]:
        """Return a number of every seed.

        Parameters
        ----------
        number
            Its key in the result of `run`.

        Raises
        ------
        ValueError: If there is no number of that name.
        """
        if number not in self._artefact["numbers"]:
            known = ", ".join(self._artefact["numbers"])
            raise ValueError(f"`number` must be one that was recorded, got {number!r}. Of {known}.")
        records = self._artefact["seeds"].values()
        return np.array([record["numbers"][number] for record in records])

    def of(self, number: str) -> Summary:
        """Return the mean and standard deviation of a number over seeds.

        Parameters
        ----------
        number
            Its name.
        """
        return summarise(self.seeds(number).tolist())

    def low(self, number: str) -> float:
        """Return the mean minus two standard deviations: the least to be expected of a further seed.

        Parameters
        ----------
        number
            Its name.
        """
        summary = self.of(number)
        return summary.mean - 2 * summary.sd

    def high(self, number: str) -> float:
        """Return the mean plus two standard deviations: the most to be expected of a further seed.

        Parameters
        ----------
        number
            Its name.
        """
        summary = self.of(number)
        return summary.mean + 2 * summary.sd

    def verdict(self, claim: str) -> str:
        """Return the verdict on a claim.

        Parameters
        ----------
        claim
            Its name.

        Raises
        ------
        ValueError: If there is no claim of that name.
        """
        verdicts = {one["name"]: one["verdict"] for one in self._artefact["claims"]}
        if claim not in verdicts:
            raise ValueError(f"`claim` must be one of {', '.join(verdicts)}, got {claim!r}.")
        return str(verdicts[claim])

    def table(self, *claims: str) -> pd.DataFrame:
        """Return a table of the claims' lines: bound, measurement, and whether the mean's interval meets it.

        Parameters
        ----------
        claims
            Names; none means all.
        """
        from sae_nb_studies.reproductions._tables import COLUMNS, ClaimTable

        for claim in claims:
            self.verdict(claim)
        chosen = [c for c in self._artefact["claims"] if not claims or c["name"] in claims]
        rows = [row for claim in chosen for row in _rows(claim)]
        return ClaimTable(rows, columns=list(COLUMNS))

    def brief(self, numbers: Mapping[str, str]) -> pd.DataFrame:
        """Return a table of a few numbers, for a lesson: mean and standard deviation over seeds.

        Parameters
        ----------
        numbers
            Names of recorded numbers by the words of their row: the number, its floor and its control first.

        Raises
        ------
        ValueError: If there are none, or more than six: a reader compares no more at a glance.
        """
        import pandas as pd

        if not 1 <= len(numbers) <= MOST_ROWS:
            raise ValueError(
                f"`numbers` must be 1 to {MOST_ROWS} rows, got {len(numbers)}. Link to docs/claims.md for more."
            )
        found = {words: self.of(number) for words, number in numbers.items()}
        shown = {
            words: {"mean": f"{one.mean:.3g}", "± sd": f"{one.sd:.2g}", "seeds": one.n}
            for words, one in found.items()
        }
        return pd.DataFrame(shown).T

    def __repr__(self) -> str:
        verdicts = (f"{c['name']}: {c['verdict']}" for c in self._artefact["claims"])
        return "\n".join([self._artefact["title"], self.made, *verdicts])


def _rows(claim: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return its lines, then further numbers that are shown, then floor and control."""
    parts = [(line, "") for line in claim["lines"]] + [(part, "") for part in claim["shown"]]
    parts += [(claim[kind], f"{kind}: ") for kind in ("floor", "control") if claim[kind]]
    return [
        (
            claim["name"],
            f"{kind}{part['label']}",
            f"{part['mean']:.3g} ± {part['sd']:.2g}",
            part.get("line", ""),
            {"met": "yes", "missed": "no", "open": "open"}.get(part.get("state", ""), ""),
            claim["verdict"],
        )
        for part, kind in parts
    ]


def recorded(name: str) -> Recorded:
    """Read the committed numbers of an experiment, from the checkout or from the installed package.

    Parameters
    ----------
    name
        Of the experiment.

    Raises
    ------
    ValueError: If none were committed under this name.

    Example
    -------
    >>> bool(recorded("hierarchy").low("relu PC at 0.1") > 0.3)
    True
    """
    folder = _folder()
    known = sorted(path.stem for path in folder.glob("*.json"))
    if name not in known:
        raise ValueError(f"`name` must be one of {', '.join(known) or 'none'}, got {name!r}.")
    return Recorded(read_json(folder / f"{name}.json"))


def recorded_seeds(name: str) -> list[int]:
    """Return the seeds of an experiment's committed numbers; 0, 1, 2 if there are none."""
    file = _folder() / f"{name}.json"
    return [int(seed) for seed in read_json(file)["seeds"]] if file.is_file() else [0, 1, 2]


def _folder() -> Path:
    return next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[-1])
