"""A release stops on what must not be uploaded; each stop on files made for it."""

from __future__ import annotations

import io
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.packaging.public_api import ROOT
from tests.packaging.release import of_other_versions, without_changelog, without_licence

CHANGELOG = (
    "# Changelog\n\nWords.\n\n## 0.4.0 (2026-12-24)\n\n- New.\n\n## 0.3.0 (2026-11-29)\n\n- Old.\n"
)


def made(folder: Path, name: str, version: str = "0.4.0", needs: str = "", **files: str) -> Path:
    """Write a wheel that says who it is, with some files."""
    file = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    said = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"
    said += f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(f"{name.replace('-', '_')}-{version}.dist-info/METADATA", said)
        for path, text in files.items():
            wheel.writestr(path, text)
    return file


def test_a_tag_with_its_section_passes() -> None:
    assert without_changelog("v0.4.0", CHANGELOG) == []


@pytest.mark.parametrize(
    ("tag", "changelog", "said"),
    [
        ("v0.5.0", CHANGELOG, "must begin with `## 0.5.0"),
        ("v0.3.0", CHANGELOG, "got `## 0.4.0"),
        ("v0.4.0", CHANGELOG.replace("0.4.0 (2026-12-24)", "Unreleased"), "got `## Unreleased`"),
        ("v0.4.0", CHANGELOG.replace(" (2026-12-24)", ""), "YEAR-MONTH-DAY"),
        ("v0.4.0", CHANGELOG.replace("- New.\n", ""), "is empty"),
        ("0.4", CHANGELOG, "`v` and three numbers"),
    ],
)
def test_a_tag_without_its_section_stops(tag: str, changelog: str, said: str) -> None:
    (found,) = without_changelog(tag, changelog)
    assert said in found


def test_files_of_one_version_pass_and_others_stop(tmp_path: Path) -> None:
    """A wheel, a need and a source of another version; a wheel that is missing."""
    tool = made(tmp_path, "sae-nb")
    studies = made(tmp_path, "sae-nb-studies", needs="sae-nb==0.4.0")
    course = made(tmp_path, "sae-nb-course", needs="numpy==2.3.0")
    assert of_other_versions("v0.4.0", [tool, studies, course]) == []
    (missing,) = of_other_versions("v0.4.0", [tool, studies])
    assert missing.startswith("sae-nb-course must be among")
    old = made(tmp_path, "sae-nb-course", "0.3.0", needs="sae-nb==0.3.0")
    one, other = of_other_versions("v0.4.0", [tool, studies, old])
    assert "must be of version 0.4.0, got 0.3.0" in one
    assert "must need sae-nb==0.4.0, got 0.3.0" in other
    assert len(of_other_versions("v0.4.1", [tool, studies, course])) == 4


def test_the_source_is_asked_too(tmp_path: Path) -> None:
    """Its PKG-INFO, as an index reads it."""
    source, said = tmp_path / "sae_nb-0.3.0.tar.gz", b"Name: sae-nb\nVersion: 0.3.0\n"
    with tarfile.open(source, "w:gz") as sdist:
        about = tarfile.TarInfo("sae_nb-0.3.0/PKG-INFO")
        about.size = len(said)
        sdist.addfile(about, io.BytesIO(said))
    assert any("got 0.3.0" in one for one in of_other_versions("v0.4.0", [source]))


@pytest.mark.parametrize(
    ("cards", "passes"),
    [
        ({"w/a/card.md": "- **Licence**: that of this project."}, True),
        ({"w/a/LICENSE.txt": "MIT License"}, True),
        ({"w/README.md": "- **Licence** of `a`: that of this project."}, True),
        ({}, False),
        ({"w/a/card.md": "Trained on digits."}, False),
        ({"w/README.md": "- **Licence** of `b`: that of this project."}, False),
        ({"w/b/card.md": "- **Licence**: that of this project."}, False),
    ],
)
def test_weights_need_a_licence(tmp_path: Path, cards: dict[str, str], passes: bool) -> None:
    """In their own folder, or by name in the one above."""
    wheel = made(tmp_path, "sae-nb", **{"w/a/model.safetensors": "…"}, **cards)
    assert (without_licence(wheel) == []) is passes


def test_the_conda_recipe_needs_what_the_wheel_needs() -> None:
    """The same version, Python and bounds; conda calls torch pytorch."""
    recipe = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert recipe["context"]["version"] == project["version"]
    assert f">={recipe['context']['python_min']}" == project["requires-python"]
    python, *needs = recipe["requirements"]["run"]
    assert python.startswith("python >=")
    wanted = [re.sub(r"(?=[<>])", " ", one, count=1) for one in project["dependencies"]]
    assert sorted(needs) == sorted(re.sub(r"^torch ", "pytorch ", one) for one in wanted)
