"""Labels: names of atoms, in memory; `sae_nb.sessions` keeps them on disk."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from sae_nb.atoms._evidence import LabelEvidence
from sae_nb.checks import check_integer, check_text, shown

Words = dict[int, tuple[str, str]]
"""Label and note by atom."""


def _atom(key: Any) -> int:
    """Return the atom that a key of labels means; the keys of JSON are texts."""
    try:
        return int(key) if isinstance(key, str) else check_integer(key, name="labels")
    except (TypeError, ValueError):
        raise TypeError(
            f"`labels` must have the numbers of atoms as keys, got {shown(key)}. Use {{3: 'digits'}}."
        ) from None


def _name(label: Any, atom: int) -> str | None:
    """Return a label as it is written; None for a gap, as tables and JSON have them."""
    if label is None or type(label).__name__ == "NAType" or label != label:
        return None
    text = label if isinstance(label, str) else str(label)
    return check_text(text, name=f"labels[{atom}]")


class Labels(Mapping[int, str]):
    """Label, note and star of each annotated atom; a mapping from atom to label."""

    given: Mapping[int, str] = MappingProxyType({})
    """Labels shown where none was written; a cleared one stays cleared."""

    def __init__(self, labels: Mapping[int, str] | None = None) -> None:
        source = labels if isinstance(labels, Labels) else None
        note = source.note if source else lambda _: ""
        said = {_atom(key): label for key, label in (labels or {}).items()}
        names = {atom: _name(label, atom) for atom, label in said.items()}
        self._entries: Words = {i: (x, note(i)) for i, x in names.items() if x is not None}
        # Of any mapping that knows some: what was read from a file is no `Labels`.
        measured = getattr(labels, "evidence", lambda _: None)
        found = {i: measured(i) for i in self._entries}
        self._evidence = {i: (self._entries[i][0], one) for i, one in found.items() if one}
        is_made = getattr(labels, "is_made", lambda _: True)
        self._read = {i: self._entries[i][0] for i in self._entries if not is_made(i)}
        self._stars: set[int] = set(source.starred) if source else set()
        self._callbacks: list[Callable[[], Callable[[], None] | None]] = []

    def __getitem__(self, atom: int) -> str:
        return self._entries[atom][0]

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def label(self, atom: int) -> str:
        """Return the label of an atom; empty where it has none."""
        return self._entries.get(atom, ("", ""))[0]

    def note(self, atom: int) -> str:
        """Return the note on an atom; empty where it has none."""
        return self._entries.get(atom, ("", ""))[1]

    def evidence(self, atom: int) -> LabelEvidence | None:
        """Return what was measured of an atom's label; None where nothing, or the label was changed."""
        text, found = self._evidence.get(atom, ("", None))
        return found if text == self.label(atom) else None

    def take_evidence(self, labels: Mapping[int, str]) -> None:
        """Take what is known of labels that are the same here."""
        measured = getattr(labels, "evidence", lambda _: None)
        for atom, text in labels.items():
            if text == self.label(atom) and (found := measured(atom)) is not None:
                self._evidence[atom] = (text, found)

    def take_scores(
        self, atom: int, *, f1: float, fits: float, fits_floor: float = math.nan
    ) -> None:
        """Take F1 of a label, and the shares of the strong firings, and of all, that it is true of."""
        known = self.evidence(atom) or LabelEvidence()
        found = replace(known, f1=f1, fits=fits, fits_floor=fits_floor)
        self._evidence[atom] = (self.label(atom), found)

    def is_made(self, atom: int) -> bool:
        """Return whether an atom's label was measured or made here: False for one that a file had."""
        return self._read.get(atom) != self.label(atom) or not self.label(atom)

    @property
    def starred(self) -> tuple[int, ...]:
        """The atoms on the work list, ascending."""
        return tuple(sorted(self._stars))

    def is_starred(self, atom: int) -> bool:
        """Return whether an atom is on the work list."""
        return atom in self._stars

    def write(self, atom: int, label: str, note: str = "") -> None:
        """Set label and note of an atom; both empty forgets them."""
        label, note = check_text(label, name="label"), check_text(note, name="note")
        self.write_all({int(atom): (label, note)})

    def write_all(self, words: Mapping[int, tuple[str, str]], stars: Iterable[int] = ()) -> None:
        """Set many labels and notes at once, and add stars; see `write`."""

        def edit(entries: Words, starred: set[int]) -> None:
            for atom, (label, note) in words.items():
                if label or note or atom in self.given:
                    entries[atom] = (label, note)
                else:
                    entries.pop(atom, None)
            starred.update(stars)

        self._change(edit)

    def star(self, atom: int, starred: bool = True) -> None:
        """Put an atom on the work list, or take it off; its label and note stay."""
        self._change(lambda _, stars: (stars.add if starred else stars.discard)(int(atom)))

    def _change(self, edit: Callable[[Words, set[int]], None]) -> None:
        edit(self._entries, self._stars)
        self._call_back()

    def is_written(self, atom: int) -> bool:
        """Return whether a label or note was written here."""
        return atom in self._entries

    def listen(self, callback: Callable[[], None]) -> None:
        """Call a method after every change, for as long as the object it belongs to is alive."""
        self._callbacks.append(weakref.WeakMethod(callback))

    def _call_back(self) -> None:
        alive = [(reference, reference()) for reference in self._callbacks]
        self._callbacks = [reference for reference, callback in alive if callback is not None]
        for _, callback in alive:
            if callback is not None:
                callback()
