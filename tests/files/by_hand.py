"""Files of the tool's kinds, written without it: a manifest over a folder, a checksum over facts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def sealed(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts with the SHA-256 of their canonical JSON."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return facts | {"checksum": hashlib.sha256(text.encode()).hexdigest()}


def write_manifest(folder: Path, kind: str, **facts: Any) -> None:
    """What the folder is, and each file's size and checksum."""
    manifest = folder / "manifest.json"
    files = {
        file.name: {
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for file in folder.iterdir()
        if file != manifest
    }
    stated = {"version": 1, **facts, "kind": kind, "files": files}
    manifest.write_text(json.dumps(sealed(stated)))


def read_manifest(folder: Path) -> dict[str, Any]:
    """What it says, once every file is seen to be as it says."""
    stated = json.loads((folder / "manifest.json").read_text("utf-8"))
    for name, facts in stated["files"].items():
        content = (folder / name).read_bytes()
        if (len(content), hashlib.sha256(content).hexdigest()) != (
            facts["bytes"],
            facts["sha256"],
        ):
            raise AssertionError(f"{name} is not what was written")
    return stated
