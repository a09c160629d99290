"""Every notebook opens on Binder and on Colab, and the Colab cell does there what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import script

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = [path for path in sorted(FOLDER.glob("*.ipynb")) if not path.name.startswith(".")]

FAKE_COLAB = """
import json, subprocess, sys, types
calls = []
def run(command, **options):
    calls.append([command, options])
torch = types.ModuleType("torch")
torch.__version__ = "2.11.0+cu128"
google, colab, output = (types.ModuleType(name) for name in ("google", "google.colab", "output"))
output.enable_custom_widget_manager = lambda: calls.append("widgets on")
google.colab, colab.output = colab, output
subprocess.run = run
if {there}:
    sys.modules.update({{"google": google, "google.colab": colab, "torch": torch}})
    sys.modules["google.colab.output"] = output
exec(open("cell.py").read())
print(json.dumps([calls, "torch" in sys.modules]))
"""


@pytest.fixture(scope="module")
def badges() -> ModuleType:
    """The script that writes links and cell."""
    return script(FOLDER / "badges.py")


def _slug() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["urls"]["Repository"]).removeprefix("https://github.com/")


def _run_cell(cell: str, folder: Path, *, there: bool) -> tuple[list[object], bool]:
    (folder / "cell.py").write_text(cell)
    command = [sys.executable, "-c", FAKE_COLAB.format(there=there)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    calls, torch_loaded = json.loads(done.stdout)
    return calls, torch_loaded


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_links_to_itself(path: Path, badges: ModuleType) -> None:
    """Both links name this notebook in the repository pyproject names, and no picture is asked for."""
    import nbformat  # late: it takes two seconds, in every process that collects tests

    cells = nbformat.read(path, as_version=4).cells
    addresses = re.findall(r"\]\((https://[^)]*)\)", cells[0].source)
    there = [a for a in addresses if "mybinder" in a or "colab" in a]
    assert len(there) == 2
    for address in there:
        assert _slug() in address
        assert address.endswith(f"notebooks/{path.name}")
    assert f"https://sae-nb.github.io/sae_nb/lessons/{path.stem}.html" in addresses
    assert "![" not in cells[0].source
    assert cells[1].source == badges.colab_cell()
    assert cells[1].metadata["jupyter"]["source_hidden"]


@pytest.mark.slow
def test_badging_again_changes_nothing(badges: ModuleType) -> None:
    """The links and the cell are replaced, not added a second time."""
    for path in badges.notebooks():
        text = path.read_text()
        assert badges.badged(text, path) == text


def test_an_unbadged_notebook_gets_both(badges: ModuleType) -> None:
    """Under the title, the prose below and the cells after left as they are."""
    bare = "# ---\n# x: 1\n# ---\n\n# %% [markdown]\n# # Title\n#\n# Prose.\n\n# %%\n1 + 1\n"
    path = badges.FOLDER / "09_new.py"
    made = badges.badged(bare, path)
    assert badges.badged(made, path) == made
    assert made.index("09_new.ipynb") < made.index("Prose.") < made.index("google.colab")
    assert made.endswith("\n\n# %%\n1 + 1\n")
    with pytest.raises(ValueError, match="# # Title"):
        badges.badged("# ---\n\n# %%\n1\n", path)


def test_on_colab_torch_stays_and_widgets_are_on(badges: ModuleType, tmp_path: Path) -> None:
    """pip is held to the torch that is there; the widget manager is enabled after that."""
    calls, _ = _run_cell(badges.colab_cell(), tmp_path, there=True)
    (command, options), switched = calls
    assert switched == "widgets on"
    assert options == {"check": True}
    assert command[1:4] == ["-m", "pip", "install"]
    assert (tmp_path / command[5]).read_text() == "torch==2.11.0+cu128"
    assert command[6].endswith(f"git+https://github.com/{_slug()}")
    assert "torch" not in command[6]


def test_elsewhere_the_cell_does_nothing(badges: ModuleType, tmp_path: Path) -> None:
    """No installation, no import, no file."""
    calls, torch_loaded = _run_cell(badges.colab_cell(), tmp_path, there=False)
    assert (calls, torch_loaded) == ([], False)
    assert [path.name for path in tmp_path.iterdir()] == ["cell.py"]
