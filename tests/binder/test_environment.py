"""What Binder builds and starts: as repo2docker reads it, with settings that hold at launch."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import script

ROOT = Path(__file__).parents[2]
BINDER = ROOT / "binder"
SCRIPTS = ("postBuild", "start", "settings.sh")


@pytest.fixture(scope="module")
def pins() -> ModuleType:
    """The script that chooses constraints."""
    return script(BINDER / "pins.py")


def _environment_of(command: str, **extra: str) -> dict[str, str]:
    """Environment a command sees that `start` has launched."""
    clean = {k: v for k, v in os.environ.items() if "THREADS" not in k and "JUPYTER" not in k}
    show = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    done = subprocess.run(
        ["bash", command, *show], env={**clean, **extra}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_start_sets_caps_and_hands_over() -> None:
    """Threads are capped, the hub is off, Jupyter finds the extension; the command is run as given."""
    seen = _environment_of(str(BINDER / "start"))
    caps = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    assert {seen[name] for name in caps} == {"2"}
    assert seen["HF_HUB_OFFLINE"] == "1"
    assert seen["JUPYTER_PATH"] == seen["JUPYTER_CONFIG_PATH"] == str(BINDER / "jupyter")
    done = subprocess.run(["bash", str(BINDER / "start"), "bash", "-c", "exit 7"], check=False)
    assert done.returncode == 7


@pytest.mark.slow
def test_kernels_compiled_at_build_time_fit_any_machine() -> None:
    """Numba's cache key holds no CPU model and no CPU features under these settings."""
    code = (
        "from numba.core.registry import cpu_target as t;"
        "print([str(p) for p in t.target_context.codegen().magic_tuple()][1:])"
    )
    command = ["bash", str(BINDER / "start"), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['generic', '']"


def test_pins_leave_installed_packages_alone_and_hold_torch(pins: ModuleType) -> None:
    """Names are compared as the index does; comments are no constraints."""
    lines = "# a==1\nnumpy==2.4.6\nJupyter_Core==5.9.1\ntorch==2.13.0\nvoila==0.5.13\n"
    kept = pins.pins(lines, {"numpy": "2.3.0", "torch": "2.10.0", "jupyter-core": "5.8"})
    assert kept == ["voila==0.5.13", "torch==2.10.0"]


@pytest.mark.slow
def test_repo2docker_reads_it(tmp_path: Path) -> None:
    """Its own Dockerfile installs environment.yml, runs postBuild and starts with start."""
    if importlib.util.find_spec("repo2docker") is None:
        pytest.skip("needs jupyter-repo2docker, which `make test` installs")
    for name in ("environment.yml", *SCRIPTS, "pins.py"):
        copied = tmp_path / "binder" / name
        copied.parent.mkdir(exist_ok=True)
        copied.write_bytes((BINDER / name).read_bytes())
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert "python=3.11" in text
    assert re.search(r'env update .*--file "binder/environment.yml"', text)
    assert "RUN ./binder/postBuild" in text
    assert 'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in text
    (tmp_path / "binder" / "environment.yml").write_text("- not: [a mapping")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
