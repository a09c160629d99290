"""The wheels hold their packages with their data, and import in a bare environment."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import zipfile
from email import message_from_string
from importlib import metadata
from pathlib import Path

import pytest

import sae_nb
from sae_nb.exports import check_version
from tests.packaging.release import without_licence

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build the tool's, the studies' and the course's wheel without touching the checkout."""
    out = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    for part in (".", "studies", "notebooks"):
        subprocess.run(command, cwd=ROOT / part, check=True, capture_output=True)
    return [
        next(out.glob(f"{name}-*.whl")) for name in ("sae_nb", "sae_nb_studies", "sae_nb_course")
    ]


@pytest.fixture(scope="module")
def wheel(wheels: list[Path]) -> Path:
    """The tool's."""
    return wheels[0]


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tool as it lies in an installation."""
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def run_in(folder: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a folder first on its path."""
    begin = f"import sys; sys.path.insert(0, {str(folder)!r})\n"
    command = [sys.executable, *options, "-c", begin + code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_version_is_the_installed_one() -> None:
    """The version is written once, in pyproject.toml."""
    assert sae_nb.__version__ == metadata.version("sae-nb")


@pytest.mark.slow
def test_wheel_holds_packages_types_and_weights(wheel: Path) -> None:
    """Both packages, their type markers and the bundled models travel."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"sae_nb/__init__.py", "sae_nb/py.typed"} <= names
    assert {"sae_nb_widgets/__init__.py", "sae_nb_widgets/py.typed"} <= names
    for model in ("tiny-vit", "tiny-vit-tied", "tiny-gpt", "two-towers@image", "tiny-brackets"):
        assert f"sae_nb/models/weights/{model}/model.safetensors" in names
    for sae in (
        "tiny-vit/resid_post.6",
        "tiny-gpt/resid_post.3",
        "tiny-gpt/mlp.0",
        "tiny-vit/mlp.11",
    ):
        for file in ("sae.safetensors", "examples.safetensors", "README.md"):
            assert f"sae_nb/pretrained/saes/{sae}/{file}" in names
    for text in (
        "sae_nb/words.toml",
        "sae_nb/evaluation/report/definitions.toml",
        "sae_nb/evaluation/report/published.toml",
    ):
        assert text in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "sae_nb",
        "sae_nb_widgets",
    }


@pytest.mark.slow
def test_the_other_wheels_hold_theirs(wheels: list[Path]) -> None:
    """Studies with experiments, recorded numbers and recipes; exercises; no file in two wheels."""
    names = [set(zipfile.ZipFile(one).namelist()) for one in wheels]
    inside = ("experiments/hierarchy.toml", "numbers/hierarchy.json")
    assert {f"sae_nb_studies/reproductions/{one}" for one in inside} <= names[1]
    assert {"sae_nb_studies/recipes/tiny_vit.py", "sae_nb_studies/py.typed"} <= names[1]
    inside = ("exercises/depth.toml", "exercises/answers.py", "py.typed")
    assert {f"sae_nb_lessons/{one}" for one in inside} <= names[2]
    assert not any(one & other for one, other in itertools.combinations(names, 2))


@pytest.mark.slow
def test_everything_bundled_has_a_licence(wheels: list[Path]) -> None:
    """Weights, lenses, the runtime of sites: each with a card, or named in the one above."""
    assert [said for wheel in wheels for said in without_licence(wheel)] == []


MISSING = """
import sae_nb as sn
for ask in ("sn.vision", "sn.certificate", "sn.circuits.known_circuit", "sn.evaluation.merge", "__import__('sae_nb.lab')"):
    try:
        print(eval(ask))
    except (ImportError, AttributeError) as error:
        print(f"{ask}: {error}")
assert all(hasattr(sn, name) for name in dir(sn))
print(sn.circuits.attribution_graph.__name__, sn.diff_models.__name__)
"""


@pytest.mark.slow
def test_without_the_studies_the_error_names_their_package(unpacked: Path) -> None:
    """The tool alone: its own names work, a study's say what to install."""
    done = run_in(unpacked, "sys.modules['sae_nb_studies'] = None\n" + MISSING, "-I")
    assert done.returncode == 0, done.stderr
    *missing, there = done.stdout.splitlines()
    assert there == "attribution_graph diff_models"
    assert ["#subdirectory=studies" in line for line in missing] == 5 * [True], missing


def test_versions_that_differ_are_said_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies of one version over a tool of another are refused, with both numbers."""
    versions = {"sae-nb": "0.3.0", "sae-nb-studies": "0.2.0"}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    with pytest.raises(ImportError, match=r"0\.3\.0, got 0\.2\.0"):
        check_version("sae-nb-studies")


@pytest.mark.slow
def test_wheel_imports_in_a_bare_environment(unpacked: Path) -> None:
    """Without any dependency installed, the import itself works and is fast."""
    done = run_in(unpacked, "import sae_nb, time; print(sae_nb.__file__)", "-I", "-S")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(str(unpacked))


def test_the_package_index_shows_a_readme_whose_links_lead_somewhere(wheel: Path) -> None:
    """Every link and picture is an address, and those into the repository name files that are there."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        told = message_from_string(archive.read(name).decode())
    text = told.get_payload()
    assert told["Description-Content-Type"] == "text/markdown"
    links = re.findall(r"""\]\(([^)\s]+)|(?:src|srcset|href)="([^"]+)""", text)
    addresses = {one or other for one, other in links if not one.startswith("#")}
    assert all(address.startswith("https://") for address in addresses)
    tag = f"/v{sae_nb.__version__}/"
    ours = {address.partition(tag)[2].partition("#")[0] for address in addresses if tag in address}
    assert {"docs/install.md", "docs/pictures/hero-narrow.webp", "CHANGELOG.md"} <= ours
    assert all((ROOT / path).exists() for path in ours)
    assert f"raw.githubusercontent.com/sae-nb/sae_nb{tag}docs/pictures/hero.webp" in text
