"""Labels: what people call atoms, kept in memory and, where a file is named, on disk beside the SAE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from sae_nb.files import read_json, write_json

FILE = "labels.json"
KIND = "atom labels"


class Labels(Mapping[int, str]):
    """Label and note of each atom somebody has read; a mapping from atom to label.

    Parameters
    ----------
    path
        JSON file, or a folder (an SAE's, say) that gets a `labels.json`; read now if it exists and
        written whole at every change. None keeps labels in memory.

    Raises
    ------
    ValueError
        If the file is not one of labels.

    Example
    -------
    >>> labels = Labels()
    >>> labels.write(17, "digit seven", note="also some ones")
    >>> labels[17], labels.note(17), list(labels)
    ('digit seven', 'also some ones', [17])
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else _file_of(Path(path))
        self._entries: dict[int, tuple[str, str]] = {}
        if self.path is not None and self.path.is_file():
            self._entries = _parsed(self.path)

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
        """Set label and note of an atom, and save; both empty forgets the atom."""
        if label or note:
            self._entries[int(atom)] = (str(label), str(note))
        else:
            self._entries.pop(int(atom), None)
        if self.path is not None:
            atoms = {str(a): {"label": x, "note": y} for a, (x, y) in self._entries.items()}
            write_json(self.path, {"kind": KIND, "version": 1, "atoms": atoms})


def _file_of(path: Path) -> Path:
    return path if path.suffix == ".json" else path / FILE


def _parsed(path: Path) -> dict[int, tuple[str, str]]:
    content = read_json(path)
    entries: dict[int, tuple[str, str]] = {}
    try:
        if content["kind"] != KIND or content["version"] != 1:
            raise ValueError(f"kind {content['kind']!r}, version {content['version']!r}")
        for atom, entry in content["atoms"].items():
            entries[int(atom)] = (str(entry["label"]), str(entry["note"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} must be atom labels of version 1 as Labels writes them, but it is not "
            f"({error}). Move it away, or pass another path."
        ) from error
    return entries
