"""Labels: what people call atoms, in memory; `sae_nb.sessions` keeps them on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class Labels(Mapping[int, str]):
    """Label and note of each atom somebody has read; a mapping from atom to label."""

    def __init__(self, labels: Mapping[int, str] | None = None) -> None:
        given = {} if labels is None else labels
        read = labels.note if isinstance(labels, Labels) else lambda _: ""
        self._entries = {int(atom): (str(text), read(atom)) for atom, text in given.items()}

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

    def write(self, atom: int, label: str, note: str = "") -> None:
        """Set label and note of an atom; both empty forgets the atom."""
        if label or note:
            self._entries[int(atom)] = (str(label), str(note))
        else:
            self._entries.pop(int(atom), None)
