"""AtomLabel and AtomLabels: names of atoms, their source, and their evidence."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from sae_nb.atoms import LabelEvidence
from sae_nb.checks import checked
from sae_nb.figures.theme import format_count
from sae_nb.findings import Finding

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 2000
"""Characters of a label that are kept."""

_NO_ROOM = frozenset(map(chr, [0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]))
"""Signs that turn the direction of what follows: outside the label, too."""

Terms = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AtomLabel:
    """The label of one atom, its source, and how far it may be trusted."""

    atom: int
    text: str
    """Empty if the atom has no label; `why` gives the reason."""

    source: str = ""
    """Source: "rule", "judge", a file's own word for its method, or the kind of file."""

    author: str = ""
    """The model that wrote it, where one did and it is known."""

    also: tuple[str, ...] = ()
    """Other labels that the file has for it."""

    rule: Terms = ()
    """The statements of a rule: kind and values of each."""

    evidence: LabelEvidence | None = None
    why: str = ""
    """Evidence for it; reason why there is no label."""


@checked
class AtomLabels(Finding, Mapping[int, str]):
    """Labels of an SAE's atoms with their evidence: a mapping from atom to text, for panels as it is.

    Made by `sn.labels` and `sn.label`; atoms without a label are in `unlabelled`.

    Example
    -------
    >>> found = AtomLabels(entries={3: AtomLabel(atom=3, text="digit 7", source="csv")})
    >>> found[3], dict(found), found.n_judged
    ('digit 7', {3: 'digit 7'}, 0)
    """

    entries: Mapping[int, AtomLabel]
    """By atom, those without a label included."""

    n_atoms: int | None = None
    """Of the SAE, where that is known."""

    model: str = ""
    place: str = ""
    """The model and the source that the file names, as "gpt2-small" and "8-res-jb"."""

    path: str = ""
    """Where they were read, or lie; empty: in memory alone."""

    floor: float = math.nan
    """Share of random directions that would be found again in a training from another seed."""

    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Of a judge: "calls", "failed" (it raised), "nonsense" (no label or no answer to be read)."""

    def __getitem__(self, atom: int) -> str:
        entry = self.entries.get(atom)
        if entry is None or not entry.text:
            raise KeyError(atom)
        return entry.text

    def __iter__(self) -> Iterator[int]:
        return (atom for atom, entry in self.entries.items() if entry.text)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def evidence(self, atom: int) -> LabelEvidence | None:
        """Return what was measured of an atom's label; None where nothing was."""
        entry = self.entries.get(atom)
        return None if entry is None else entry.evidence

    def is_made(self, atom: int) -> bool:
        """Return whether `sn.label` wrote an atom's label, rather than a file that was read."""
        return self.entries[atom].source in ("rule", "judge")

    @property
    def unlabelled(self) -> dict[int, str]:
        """Atoms that were examined and have no label, with the reason."""
        return {atom: entry.why for atom, entry in self.entries.items() if not entry.text}

    @property
    def n_judged(self) -> int:
        """Labels that have a detection score."""
        return len(self._scores("detection"))

    def _scores(self, name: str) -> list[float]:
        every = (getattr(entry.evidence, name, None) for entry in self.entries.values())
        return [float(value) for value in every if value is not None and math.isfinite(value)]

    @property
    def table(self) -> pd.DataFrame:
        """One row per atom: text, source, detection, control, who guessed, windows, returns, of how many."""
        import pandas as pd

        rows = []
        for atom, entry in sorted(self.entries.items()):
            found = entry.evidence or LabelEvidence()
            rows.append(
                {
                    "atom": atom, "label": entry.text, "source": entry.source, "author": entry.author,
                    "detection": found.detection, "control": found.control, "by": found.by,
                    "windows": found.n, "returns": found.returns, "sisters": found.n_sisters,
                    "why": entry.why or found.why,
                }
            )  # fmt: skip
        return pd.DataFrame(rows).set_index("atom") if rows else pd.DataFrame()

    @property
    def headline(self) -> str:
        """Number of labelled atoms, source of the labels, and summary of their evidence."""
        of = f" of {format_count(self.n_atoms)}" if self.n_atoms else ""
        parts = [f"{format_count(len(self))}{of} atoms labelled"]
        if self.place or self.model:
            parts.append(f"{self.model}/{self.place}")
        mean = {name: self._scores(name) for name in ("detection", "control")}
        if mean["detection"]:
            parts.append(
                f"detection {np.mean(mean['detection']):.3f} over {len(mean['detection'])}, another's "
                f"{np.mean(mean['control']) if mean['control'] else math.nan:.3f}, chance 0.5"
            )
        if returned := [
            e.evidence for e in self.entries.values() if e.evidence and e.evidence.n_sisters
        ]:
            share = np.mean([(e.returns or 0) / e.n_sisters for e in returned])
            parts.append(f"{share:.0%} return (random directions {self.floor:.0%})")
        parts += [f"{n} {what}" for what, n in self.counts.items() if n]
        return "; ".join(parts)


def clean(text: object) -> str:
    """Return a label as one line of text: no control signs, no signs that turn what follows round."""
    line = " ".join(str(text).split())
    kept = (c for c in line if c not in _NO_ROOM and unicodedata.category(c) not in ("Cc", "Cs"))
    return re.sub(r"\s+", " ", "".join(kept)).strip()[:LONGEST]


# -------------------------------------------------------------------------------------------------
# As JSON, and back.


def to_json(entry: AtomLabel) -> dict[str, Any]:
    """Return an entry as plain JSON values; what is empty is left out."""
    plain: dict[str, Any] = {"text": entry.text, "source": entry.source}
    plain |= {
        name: value for name in ("author", "also", "rule", "why") if (value := getattr(entry, name))
    }
    if entry.evidence is not None:
        numbers = asdict(entry.evidence)
        plain["evidence"] = {k: v for k, v in numbers.items() if v is not None and v == v}
    return plain


def from_json(atom: int, plain: Mapping[str, Any]) -> AtomLabel:
    """Return an entry from what `to_json` wrote; KeyError, TypeError or ValueError for anything else."""
    evidence = plain.get("evidence")
    entry = AtomLabel(
        atom=atom,
        text=str(plain["text"]),
        source=str(plain["source"]),
        author=str(plain.get("author", "")),
        also=tuple(map(str, plain.get("also", ()))),
        rule=tuple((str(kind), tuple(map(str, values))) for kind, values in plain.get("rule", ())),
        why=str(plain.get("why", "")),
    )
    return entry if evidence is None else replace(entry, evidence=LabelEvidence(**evidence))
