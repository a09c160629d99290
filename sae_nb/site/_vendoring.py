"""Fetch the runtime that sites carry, by version and checksum: `python -m sae_nb.site._vendoring`.

Run by a developer who changes the version; its output is committed, so no network is needed later.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "1.30.0"
SHA256 = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""Of each file of onnxruntime-web as it is published."""

FOLDER = Path(__file__).parent / "static" / "ort"


def content_of(name: str) -> bytes:
    """Return a file of the runtime; the large one is kept packed, 2.2 MB in place of 14.2."""
    packed = FOLDER / f"{name}.xz"
    if packed.is_file():
        return lzma.decompress(packed.read_bytes())
    return (FOLDER / name).read_bytes()


def vendor(archive: bytes) -> None:
    """Take the runtime out of npm's archive; a file whose checksum is another stops everything."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        members = {name: opened.extractfile(f"package/dist/{name}") for name in SHA256}
        contents = {name: file.read() for name, file in members.items() if file is not None}
    for name, expected in SHA256.items():
        found = hashlib.sha256(contents.get(name, b"")).hexdigest()
        if found != expected:
            raise ValueError(
                f"{name} must have the checksum {expected}, got {found}. If the version was changed on "
                "purpose, write the new checksums into SHA256."
            )
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if name.endswith(".wasm"):
            packed = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
            (FOLDER / f"{name}.xz").write_bytes(packed)
        else:
            (FOLDER / name).write_bytes(content)


def main() -> int:
    """Fetch the archive by npm, or read the one that is named."""
    if len(sys.argv) > 1:
        archive = Path(sys.argv[1]).read_bytes()
    else:
        with tempfile.TemporaryDirectory() as folder:
            call = ["npm", "pack", "--silent", f"onnxruntime-web@{VERSION}"]
            subprocess.run(call, cwd=folder, check=True)
            archive = next(Path(folder).glob("*.tgz")).read_bytes()
    vendor(archive)
    return 0


if __name__ == "__main__":
    sys.exit(main())
