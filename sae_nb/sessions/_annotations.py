"""Annotations: your labels, notes and stars on atoms, in one JSON file next to their SAE.

Every change is on disk before it is acknowledged. The file names the SAE it belongs to and carries its
own checksum, so labels never end up on the atoms of another SAE and damage is noticed.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sae_nb.atoms import LabelEvidence
from sae_nb.atoms._labels import Labels, Words
from sae_nb.checks import check_path
from sae_nb.files import SaeIdentity
from sae_nb.files._atomic import check_seal, read_json, sealed, write_json
from sae_nb.files._exchange import is_partial, place
from sae_nb.files._fingerprints import identity_of
from sae_nb.files._locks import holding_folder

FILE = "annotations.json"
KIND = "atom annotations"
VERSION = 1

Kept = tuple[Words, set[int]]

_writing = threading.RLock()
_open_files: dict[Path, weakref.WeakSet[Annotations]] = {}


class Annotations(Labels):
    """Labels, notes and stars of one SAE's atoms; a mapping from atom to label.

    All annotations that are open on one file in this process show each other's changes; changes by
    another process are read before each change of ours, so no labels are lost.

    `path`: A JSON file, or a folder (see `annotations_file`); None keeps everything in memory.
    `given`: Labels from elsewhere (measured ones, for example): shown where no label was written, never
    written to the file.
    """

    FOLDER = Path("labels")
    """Folder in which labels are kept that would be lost otherwise, where a person asks for it."""

    def __init__(
        self,
        path: str | Path | None = None,
        sae: object = None,
        *,
        given: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__()
        self.path = None
        self.given: Labels = given if isinstance(given, Labels) else Labels(given)
        self._identity: SaeIdentity | None = None
        if path is None:
            return
        if sae is None:
            raise ValueError(
                "`sae` must be given with a path, so that labels stay with their SAE; got None."
            )
        self._identity = sae if isinstance(sae, SaeIdentity) else identity_of(sae)
        self.path = annotations_file(path, self._identity)
        self._stamp: tuple[int, int] | None = None
        with _writing:
            self._entries, self._stars = self._fresh()
            _open_files.setdefault(self.path, weakref.WeakSet()).add(self)

    @staticmethod
    def of(labels: object, sae: object, given: Mapping[int, str] | None = None) -> Labels:
        """Return labels of an SAE that can be written, from whatever a person passed.

        `labels`: A folder, a JSON file, a mapping from atom to text, labels as they are; None: the SAE's
        folder, or what was kept in `FOLDER`. `given`: as for `Annotations`.
        """
        if isinstance(labels, Labels):
            return labels
        if labels is None and isinstance(given, Annotations):
            return given
        given = given.given if isinstance(given, Annotations) else given
        if labels is None:
            folder = getattr(sae, "folder", None)
            if folder is None and Annotations.FOLDER.is_dir():
                file = annotations_file(Annotations.FOLDER, identity := identity_of(sae))
                folder = file if file.is_file() and not _is_of_another(file, identity) else None
            return Annotations(folder, sae, given=given)
        if isinstance(labels, (str, Path)):
            return Annotations(check_path(labels, name="labels"), sae, given=given)
        if isinstance(labels, Mapping):
            book, n_atoms = Annotations(given=labels), getattr(sae, "n_atoms", None)
            for atom in book.given:
                if atom < 0 or (n_atoms is not None and atom >= n_atoms):
                    known = "" if n_atoms is None else f" of this SAE, which has {n_atoms}"
                    raise ValueError(
                        f"`labels` must name atoms{known}, counted from 0, got {atom}. Are they another SAE's?"
                    )
            return book
        raise TypeError(
            "`labels` must be a folder, a JSON file, a mapping from atom to text, or None, got "
            f"{type(labels).__name__}."
        )

    # --- reading ----------------------------------------------------------------------------------

    def __getitem__(self, atom: int) -> str:
        return self._entries[atom][0] if atom in self._entries else self.given[atom]

    def __iter__(self) -> Iterator[int]:
        own = [atom for atom, (label, note) in self._entries.items() if label or note]
        return iter([*own, *(atom for atom in self.given if atom not in self._entries)])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __hash__(self) -> int:  # a Mapping compares by content, but is kept in weak sets
        return id(self)

    def label(self, atom: int) -> str:
        """Return the label of an atom; empty where it has none."""
        return self._entries[atom][0] if atom in self._entries else self.given.label(atom)

    def note(self, atom: int) -> str:
        """Return the note on an atom; empty where it has none."""
        return self._entries[atom][1] if atom in self._entries else self.given.note(atom)

    def evidence(self, atom: int) -> LabelEvidence | None:
        """Return the measured evidence of an atom's label; None without one, or if the label was rewritten."""
        return self.given.evidence(atom) if self.label(atom) == self.given.label(atom) else None

    def is_made(self, atom: int) -> bool:
        """Return whether an atom's label was measured or made here: False for one that a file had."""
        return self.given.is_made(atom)

    @property
    def written(self) -> Words:
        """Words written here, by atom: (label, note), given labels left out."""
        return dict(self._entries)

    def is_saved(self, atom: int) -> bool:
        """Return whether a label or note of the atom was written and is on disk."""
        return self.path is not None and atom in self._entries

    # --- writing ----------------------------------------------------------------------------------

    def keep_in(self, path: str | Path, sae: object) -> None:
        """Keep in a file from now on what was in memory only, with the words that the file has already.

        Where both have words on an atom, those in memory stay. Of labels that have a file nothing changes.
        """
        if self.path is not None:
            return
        identity = sae if isinstance(sae, SaeIdentity) else identity_of(sae)
        file = annotations_file(path, identity)
        if Path(path).suffix != ".json" and _is_of_another(file, identity):
            file = _own_file(path, identity)
        kept = Annotations(file, identity, given=self.given)
        kept.write_all(self._entries, self._stars)
        with _writing:
            self.path, self._identity, self._stamp = kept.path, kept._identity, kept._stamp
            self._entries, self._stars = dict(kept._entries), set(kept._stars)
            _open_files.setdefault(kept.path, weakref.WeakSet()).add(self)  # type: ignore[arg-type]  # it has one
        self._call_back()

    def _change(self, edit: Callable[[Words, set[int]], None]) -> None:
        """Edit what is on disk; where the file cannot be written nothing changes, here or there."""
        with _writing:
            with _alone(self.path):
                entries, stars = self._fresh()
                edit(entries, stars)
                if self.path is not None and self._identity is not None:
                    _write(self.path, self._identity, entries, stars)
            for other in self._sharing():
                other._entries, other._stars = dict(entries), set(stars)
        for other in self._sharing():
            other._call_back()

    def look(self) -> None:
        """Read the file again if another process has written it meanwhile."""
        if self.path is None or _stamp(self.path) == self._stamp:
            return
        with _writing:
            self._entries, self._stars = self._fresh()

    def _fresh(self) -> Kept:
        if self.path is None or self._identity is None:
            return dict(self._entries), set(self._stars)
        stamp = _stamp(self.path)  # before reading: a later write is then noticed
        kept = _read(self.path, self._identity)
        self._stamp = stamp  # only now: what could not be read is an error on every look
        return kept

    def _sharing(self) -> list[Annotations]:
        return [self] if self.path is None else list(_open_files.get(self.path, {self}))


def annotations_file(path: str | Path, identity: SaeIdentity) -> Path:
    """Return the file of an SAE's words, in one spelling: a JSON file itself; of a folder the SAE's own file,
    if it has one, else `annotations.json`.
    """
    path = place(path)
    if path.suffix == ".json":
        return path.resolve()
    own = _own_file(path, identity)
    return (own if own.is_file() else path / FILE).resolve()


def _own_file(folder: str | Path, identity: SaeIdentity) -> Path:
    """A file beside that of another SAE, named by model, place and a digest."""
    parts = (identity.model_name, identity.hook_point, identity.fingerprint[:8])
    name = "-".join(re.sub(r"[^\w.]+", "-", part).strip("-.") for part in parts if part)
    return Path(folder) / f"{name}.json"


def _is_of_another(path: Path, identity: SaeIdentity) -> bool:
    """Whether a file names another SAE; one that cannot be read says so when it is."""
    try:
        owner = SaeIdentity.from_json(read_json(path)["sae"])
    except (OSError, KeyError, TypeError, ValueError):
        return False
    return not owner.is_same(identity)


# --- the file -------------------------------------------------------------------------------------


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return a value that changes whenever the file is replaced; None if there is none."""
    try:
        facts = path.stat()
    except OSError:  # where there is a file that cannot be looked at, reading it says why
        return None
    return facts.st_mtime_ns, facts.st_ino


def _write(path: Path, identity: SaeIdentity, entries: Words, stars: set[int]) -> None:
    atoms: dict[str, dict[str, object]] = {}
    for atom in sorted({*entries, *stars}):  # without label and note where only a star was given
        said = dict(zip(("label", "note"), entries.get(atom, ())))
        atoms[str(atom)] = {**said, "starred": True} if atom in stars else {**said}
    content = {"kind": KIND, "version": VERSION, "sae": identity.to_json(), "atoms": atoms}
    write_json(path, sealed(content))


def _read(path: Path, identity: SaeIdentity) -> Kept:
    if not path.exists():
        return {}, set()
    content = read_json(path)
    ours = isinstance(content, dict) and content.get("kind") == KIND
    if not ours or content.get("version") != VERSION:
        raise ValueError(
            f"{str(path)!r} must be a file of {KIND}, version {VERSION}, and is something else. Move "
            "it away, or pass another path."
        )
    content = check_seal(path, content)
    owner = SaeIdentity.from_json(content.get("sae"))
    if not owner.is_same(identity):
        raise ValueError(
            f"{str(path)!r} must hold annotations of this SAE, {identity}, and holds those of "
            f"another one: {owner}. Pass a folder of its own."
        )
    return _parsed(path, content.get("atoms"), identity.n_atoms)


def _parsed(path: Path, atoms: Any, n_atoms: int) -> Kept:
    try:
        said = {int(atom): one for atom, one in atoms.items()}
        stars = {atom for atom, one in said.items() if one.get("starred") is True}
        worded = {atom: one for atom, one in said.items() if set(one) != {"starred"}}
        entries = {atom: (str(one["label"]), str(one["note"])) for atom, one in worded.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} must name a label and a note for each atom, and does not ({error!r}). Put "
            "back a copy, or move it away to start again."
        ) from error
    beyond = [atom for atom in said if not 0 <= atom < n_atoms]
    if beyond:
        raise ValueError(f"{str(path)!r} must name atoms below {n_atoms}, got {beyond[0]}.")
    return entries, stars


@contextmanager
def _alone(path: Path | None) -> Iterator[None]:
    """Keep other processes from writing between our reading and our writing."""
    if path is None or is_partial(path.parent):  # a folder in the making is held already
        yield
        return
    # The folder is locked: the file itself is replaced by each write, and a lock file would litter.
    with holding_folder(path.parent):
        yield
