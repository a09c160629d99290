"""The file of labels next to an SAE: sealed, of one SAE, replaced as a whole by every write."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sae_nb.checks import check_path, checked
from sae_nb.files import SaeIdentity
from sae_nb.files._atomic import check_seal, json_object, sealed, write_json
from sae_nb.files._fingerprints import identity_of
from sae_nb.labelling._records import AtomLabels, from_json, to_json

FILE = "labels.json"
KIND = "atom labels"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The content of a file of labels."""

    labels: AtomLabels
    sae: Mapping[str, Any]
    """The identity of the SAE."""

    made: Mapping[str, Any] = field(default_factory=dict)
    """Settings they were made and judged with: another run with the same ones continues from here."""


def write_kept(path: Path, kept: Kept) -> None:
    """Write a file of labels."""
    labels = kept.labels
    content = {
        "kind": KIND,
        "version": VERSION,
        "sae": dict(kept.sae),
        "made": dict(kept.made),
        "n_atoms": labels.n_atoms,
        "model": labels.model,
        "place": labels.place,
        "floor": labels.floor if math.isfinite(labels.floor) else None,
        "counts": dict(labels.counts),
        "atoms": {str(atom): to_json(entry) for atom, entry in labels.entries.items()},
    }
    write_json(path, sealed(content))


@checked
def replace_labels(file: str | Path, labels: AtomLabels) -> None:
    """Put other labels into a file that `label` wrote: of which SAE they are and how they were made stays.

    Raises
    ------
    FileNotFoundError, ValueError: If there is no such file, or it is not one of labels.

    Example
    -------
    >>> from tempfile import mkdtemp
    >>> import sae_nb as sn
    >>> sae, store = sn.load_sae("tiny-gpt/resid_post.3"), sn.load_examples("tiny-gpt/resid_post.3")
    >>> file = Path(mkdtemp()) / "labels.json"
    >>> made = sn.label(sae, store.acts, codes=store.codes, atoms=[9, 10], file=file, progress=False)
    >>> one = {9: made.entries[9]}
    >>> replace_labels(file, AtomLabels(entries=one, n_atoms=sae.n_atoms))
    >>> dict(sn.labels(file)) == {9: made[9]}
    True
    """
    path = check_path(file, name="file")
    write_kept(path, replace(read_kept(path), labels=labels))


def read_kept(path: Path) -> Kept:
    """Read a file of labels that `write_kept` wrote."""
    content = json_object(path)
    if content.get("kind") != KIND or content.get("version") != VERSION:
        raise ValueError(
            f"{str(path)!r} must be a file of {KIND}, version {VERSION}, and is something else. Move it away, "
            "or pass another path."
        )
    content = check_seal(path, content)
    try:
        entries = {int(a): from_json(int(a), entry) for a, entry in content["atoms"].items()}
        floor = content["floor"]
        labels = AtomLabels(
            entries=dict(sorted(entries.items())),
            n_atoms=content["n_atoms"],
            model=str(content["model"]),
            place=str(content["place"]),
            path=str(path),
            floor=math.nan if floor is None else float(floor),
            counts={str(name): int(n) for name, n in content["counts"].items()},
        )
        return Kept(labels=labels, sae=dict(content["sae"]), made=dict(content["made"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} must hold labels by atom, and does not ({error!r}). Put back a copy, or move it "
            "away to start again."
        ) from error


# -------------------------------------------------------------------------------------------------
# What an SAE knows of its labels: what was just found, else the file beside it.

_FOUND = "_labels_found"


def carry(sae: Any, kept: Kept) -> None:
    """Let an SAE know its labels until Python ends; those without a folder have no other place."""
    if hasattr(sae, "__dict__") and not isinstance(sae, type):
        object.__setattr__(sae, _FOUND, (None, kept))


def found_labels(sae: Any) -> AtomLabels | None:
    """Return the labels of an SAE, of this process or of the file next to it; None if there are none.

    Labels of other atoms, as after more training, are not labels of this SAE.
    """
    stamp, kept = getattr(sae, "__dict__", {}).get(_FOUND, (None, None))
    folder = getattr(sae, "folder", None)
    path = None if folder is None else Path(folder) / FILE
    if path is not None and path.is_file():
        now = path.stat().st_mtime_ns, path.stat().st_ino
        if stamp != now:
            kept = read_kept(path)
            object.__setattr__(sae, _FOUND, (now, kept))
    if kept is None or not SaeIdentity.from_json(dict(kept.sae)).is_same(identity_of(sae)):
        return None
    return kept.labels
