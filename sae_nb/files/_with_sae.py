"""WithSae: a finding that stays with an SAE until Python ends, and in its folder where it is written.

What was found of other atoms, as before more training, is not shown of this SAE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from sae_nb.files._atomic import check_seal, json_object, sealed, write_json
from sae_nb.files._fingerprints import SaeIdentity, identity_of

T = TypeVar("T")
VERSION = 1


@dataclass(frozen=True)
class WithSae(Generic[T]):
    """One kind of such findings."""

    kind: str
    file: str
    attribute: str
    """Of the SAE: when the file that it was read from was written, its identity, the finding."""

    to_json: Callable[[T], dict[str, Any]]
    from_json: Callable[[dict[str, Any], Path], T]

    def keep(self, sae: object, found: T, folder: str | Path | None = None) -> None:
        """Let an SAE know a finding, and write it to a folder where one is named."""
        identity = identity_of(sae)
        if hasattr(sae, "__dict__") and not isinstance(sae, type):
            object.__setattr__(sae, self.attribute, (None, identity, found))
        if folder is not None:
            head = {"kind": self.kind, "version": VERSION, "sae": identity.to_json()}
            write_json(Path(folder) / self.file, sealed(head | self.to_json(found)))

    def held(self, sae: object) -> object:
        """Return what the SAE holds, another object after each change, without looking whether it fits."""
        return getattr(sae, "__dict__", {}).get(self.attribute)

    def of(self, sae: object) -> T | None:
        """Return the finding, of this process or of the file in the SAE's folder; None without."""
        known: Any = self.held(sae)
        stamp = None if known is None else known[0]
        if known is None or stamp is not None:
            home = getattr(sae, "folder", None)
            path = None if home is None else Path(home) / self.file
            now = path.stat().st_mtime_ns if path is not None and path.is_file() else None
            if path is None or now is None:
                return None
            if stamp != now:
                known = (now, *self._read(path))
                object.__setattr__(sae, self.attribute, known)
        return known[2] if known[1].is_same(identity_of(sae)) else None

    def _read(self, path: Path) -> tuple[SaeIdentity, T]:
        content = json_object(path)
        if content.get("kind") != self.kind or content.get("version") != VERSION:
            raise ValueError(
                f"{str(path)!r} must be a file of {self.kind}, version {VERSION}, and is something else. Move "
                "it away."
            )
        content = check_seal(path, content)
        return SaeIdentity.from_json(content.get("sae")), self.from_json(content, path)
