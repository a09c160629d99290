"""What a release must be, before anything is uploaded; on a tag, the workflow `wheel` runs it.

    python -m tests.packaging.release v0.4.0  # the tag, of the files in dist/ (`make release TAG=v0.4.0` builds them)

It stops on a tag without its section in CHANGELOG.md, files of different versions, bundled weights without a
licence, and a public name that went without a line.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

from tests.packaging.public_api import ROOT, since_release

DISTRIBUTIONS = ("sae-nb", "sae-nb-studies", "sae-nb-course")
BINARY = (".safetensors", ".onnx", ".wasm", ".wasm.xz", ".npz")
CARDS = ("card.md", "README.md", "LICENSE.txt")


def without_changelog(tag: str, changelog: str) -> list[str]:
    """Say what the changelog lacks: its newest section is the tag's, has a date and at least one line."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        return [f"The tag must be `v` and three numbers, such as v0.4.0, got {tag}."]
    newest, _, text = changelog.partition("\n## ")[2].partition("\n")
    if not re.fullmatch(rf"{re.escape(tag[1:])} \(\d{{4}}-\d\d-\d\d\)", newest):
        return [
            f"CHANGELOG.md must begin with `## {tag[1:]} (YEAR-MONTH-DAY)`, got `## {newest}`. "
            "Give the section of what is new that heading."
        ]
    if not text.partition("\n## ")[0].strip():
        return [f"CHANGELOG.md must say what is new in {tag[1:]}, and its section is empty."]
    return []


def of_other_versions(tag: str, files: list[Path]) -> list[str]:
    """Name files that are missing, not of the tag's version, or need another version of one another."""
    wanted, found = tag.removeprefix("v"), [_metadata(file) for file in files]
    said = [
        f"{name} must be among the files, and its wheel is not there. Run `make dist`."
        for name in DISTRIBUTIONS
        if name not in {one["Name"] for one in found}
    ]
    for file, one in zip(files, found):
        if one["Version"] != wanted:
            said.append(f"{file.name} must be of version {wanted}, got {one['Version']}.")
        for need in one.get_all("Requires-Dist", []):
            exact = re.match(r"(sae-nb[\w-]*)==([\w.]+)", need)
            if exact and exact[2] != wanted:
                said.append(f"{file.name} must need {exact[1]}=={wanted}, got {exact[2]}.")
    return said


def _metadata(file: Path) -> Message:
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            (name,) = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
            return BytesParser().parsebytes(wheel.read(name))
    with tarfile.open(file) as sdist:
        (member,) = [m for m in sdist.getmembers() if re.fullmatch(r"[^/]+/PKG-INFO", m.name)]
        return BytesParser().parsebytes(sdist.extractfile(member).read())  # type: ignore[union-attr]


def without_licence(wheel: Path) -> list[str]:
    """Name weights whose folder has no card with a licence, nor the folder above one that names theirs."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

        def licences(folder: PurePosixPath) -> list[str]:
            cards = [str(folder / card) for card in CARDS if str(folder / card) in names]
            lines = "\n".join(archive.read(card).decode() for card in cards).splitlines()
            return [line for line in lines if re.search(r"licen[cs]e", line, re.IGNORECASE)]

        folders = {PurePosixPath(name).parent for name in names if name.endswith(BINARY)}
        return [
            f"{folder} in {wheel.name} must have a card that says its licence, and has none."
            for folder in sorted(folders)
            if not licences(folder)
            and not any(f"`{folder.name}`" in line for line in licences(folder.parent))
        ]


def main(tag: str) -> None:
    """Print what stops the release, or that nothing does."""
    files = sorted((ROOT / "dist").glob("sae_nb*"))
    said = without_changelog(tag, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    said += of_other_versions(tag, files)
    said += [one for file in files if file.suffix == ".whl" for one in without_licence(file)]
    said += since_release()
    if said:
        sys.exit("\n".join([f"{tag} is not released:", *said]))
    print(f"{tag} can be released:", *(file.name for file in files))


if __name__ == "__main__":
    main(*sys.argv[1:])
