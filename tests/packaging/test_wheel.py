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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel without touching the checkout."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_version_is_the_installed_one() -> None:
    """The version is written once, in pyproject.toml."""
    assert sae_nb.__version__ == metadata.version("sae-nb")


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


def test_wheel_imports_in_a_bare_environment(wheel: Path, tmp_path: Path) -> None:
    """Without any dependency installed, the import itself works and is fast."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import sae_nb, time; print(sae_nb.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(str(tmp_path))
