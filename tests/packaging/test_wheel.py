"""The wheel holds both packages with their data, and imports in a bare environment."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import sae_nb

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "tools"))

from rooms import PACKAGES, House  # noqa: E402


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel without touching the checkout."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it lies in an installation."""
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
        "sae_nb_lessons/exercises/depth.toml",
        "sae_nb_lessons/reproductions/experiments/hierarchy.toml",
    ):
        assert text in names
    assert not [name for name in names if name.startswith(("tests", "notebooks", "widgets"))]


LEFT_OUT = ("sae_nb.models.recipes", "sae_nb.pretrained.making")
TRAINS_CIRCUITS = {"graph_decomposition", "graph_shape"}
EVERY_DOOR = """
import importlib, pkgutil, sae_nb, sae_nb_lessons, sae_nb_widgets
doors = 0
for package in (sae_nb, sae_nb_widgets, sae_nb_lessons):
    assert package.__file__.startswith(sys.path[0]), package.__file__
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.ispkg and not any(part.startswith("_") for part in module.name.split(".")):
            door = importlib.import_module(module.name)
            doors += len([getattr(door, name) for name in getattr(door, "__all__", ())])
from sae_nb_lessons.reproductions import experiment
try:
    experiment("graph_shape")
except FileNotFoundError as error:
    print(doors, error)
"""


@pytest.mark.slow
def test_recipes_stay_in_the_checkout_and_nothing_needs_them(unpacked: Path) -> None:
    """What made the models is no part of the wheel; every public name is, and only two experiments ask for it."""
    folders = [name.replace(".", "/") for name in LEFT_OUT]
    assert all((ROOT / folder / "__init__.py").is_file() for folder in folders)
    assert not [folder for folder in folders if (unpacked / folder).exists()]
    house = House(unpacked, {name: name for name in PACKAGES})
    asking = {
        one.importer.rpartition(".")[2] for one in house.imports if one.target.startswith(LEFT_OUT)
    }
    assert asking == TRAINS_CIRCUITS
    done = run_in(unpacked, EVERY_DOOR, "-I")
    assert done.returncode == 0, done.stderr
    count, _, error = done.stdout.partition(" ")
    assert int(count) > 700
    assert "graph_shape trains a bundled model again, by sae_nb.models.recipes" in error
    assert "Run it in a checkout." in error


@pytest.mark.slow
def test_wheel_imports_in_a_bare_environment(unpacked: Path) -> None:
    """Without any dependency installed, the import itself works and is fast."""
    done = run_in(unpacked, "import sae_nb, time; print(sae_nb.__file__)", "-I", "-S")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(str(unpacked))
