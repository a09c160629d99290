"""Verdicts of a certificate on an SAE's atoms: what its cards, maps and sites show of them.

They stay with the SAE until Python ends, and in `verdicts.json` where the SAE has a folder. Verdicts on other
atoms, as after more training, are not verdicts on this SAE.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sae_nb.atoms._evidence import VERDICTS, Verdict
from sae_nb.files import SaeIdentity
from sae_nb.files._atomic import check_seal, json_object, sealed, write_json
from sae_nb.files._fingerprints import identity_of

FILE = "verdicts.json"
KIND = "verdicts on atoms"
VERSION = 1
_FOUND = "_verdicts_found"

Kept = tuple[SaeIdentity, dict[int, Verdict]]


def keep_verdicts(
    sae: object, verdicts: Sequence[Verdict], folder: str | Path | None = None
) -> dict[int, Verdict]:
    """Let an SAE know a verdict per atom, and write them to a folder where one is named."""
    identity = identity_of(sae)
    kept = dict(enumerate(verdicts))
    if hasattr(sae, "__dict__") and not isinstance(sae, type):
        object.__setattr__(sae, _FOUND, (None, (identity, kept)))
    if folder is not None:
        content = {
            "kind": KIND, "version": VERSION, "sae": identity.to_json(), "verdicts": list(verdicts),
        }  # fmt: skip
        write_json(Path(folder) / FILE, sealed(content))
    return kept


def verdicts_of(sae: object) -> dict[int, Verdict]:
    """Return the verdicts on an SAE's atoms, of this process or of the file in its folder; empty without."""
    stamp, kept = getattr(sae, "__dict__", {}).get(_FOUND, (None, None))
    home = getattr(sae, "folder", None)
    path = None if home is None else Path(home) / FILE
    if kept is None or stamp is not None:
        now = path.stat().st_mtime_ns if path is not None and path.is_file() else None
        if path is None or now is None:
            return {}
        if stamp != now:
            kept = _read(path)
            object.__setattr__(sae, _FOUND, (now, kept))
    identity, verdicts = kept
    return verdicts if identity.is_same(identity_of(sae)) else {}


def _read(path: Path) -> Kept:
    content = json_object(path)
    if content.get("kind") != KIND or content.get("version") != VERSION:
        raise ValueError(
            f"{str(path)!r} must be a file of {KIND}, version {VERSION}, and is something else. Move it away."
        )
    content = check_seal(path, content)
    verdicts = content.get("verdicts")
    if not isinstance(verdicts, list) or not set(verdicts) <= set(VERDICTS):
        raise ValueError(
            f"{str(path)!r} must hold one of {list(VERDICTS)} per atom, and does not. Certify the SAE again."
        )
    return SaeIdentity.from_json(content.get("sae")), dict(enumerate(verdicts))
