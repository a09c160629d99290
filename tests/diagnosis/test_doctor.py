"""The doctor: right on a healthy machine, and each planted fault is named with its cure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest
import torch

import sae_nb as sn
from sae_nb import __main__ as command
from sae_nb.diagnosis import _doctor as machine

Patch = pytest.MonkeyPatch


def _without(patch: Patch, *missing: str) -> None:
    version, find = metadata.version, machine.importlib.util.find_spec

    def no_version(name: str) -> str:
        if name in missing:
            raise metadata.PackageNotFoundError(name)
        return version(name)

    patch.setattr(metadata, "version", no_version)
    patch.setattr(
        machine.importlib.util, "find_spec", lambda name: None if name in missing else find(name)
    )


def test_every_check_of_this_machine_is_answered() -> None:
    """All checks run here; the essential ones pass, and every complaint comes with a cure."""
    checkup = sn.doctor()
    assert checkup.usable, str(checkup)
    assert len({f.name for f in checkup}) == len(checkup) == 16
    assert all(f.fix for f in checkup if f.state != "ok")
    assert {"ok"} == {checkup[name].state for name in ("torch", "kernels", "nnsight", "widgets")}


@pytest.mark.slow
def test_the_command_prints_the_same_and_exits_with_zero() -> None:
    """`python -m sae_nb doctor` works from a shell, with its network taken away."""
    code = (
        "import socket, sys\n"
        "def refuse(*_):\n    raise OSError('no network')\n"
        "socket.socket.connect = refuse\n"
        "from sae_nb.__main__ import main\n"
        "sys.exit(main(['doctor', 'python', 'torch', 'offline']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[2:]] == [
        "python",
        "torch",
        "offline",
    ]


def test_nothing_about_the_person_or_the_host_is_told(tmp_path: Path, monkeypatch: Patch) -> None:
    import getpass
    import platform

    monkeypatch.chdir(tmp_path)
    text = str(sn.doctor("python", "packages", "torch", "gpu", "jupyterlab", "memory", "disk"))
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text
    assert platform.node() not in text
    with suppress(KeyError, OSError):  # a user whom the system does not name
        assert f" {getpass.getuser()} " not in text


def test_a_missing_module_is_named_with_its_cure(monkeypatch: Patch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    checkup = sn.doctor("numba", "python")
    assert checkup["numba"].state == "cannot"
    assert "pip install numba" in checkup["numba"].fix
    assert checkup["python"].state == "ok"
    assert not checkup.usable


def test_a_dependency_that_is_missing_or_too_old_is_named(monkeypatch: Patch) -> None:
    _without(monkeypatch, "umap-learn")
    known = metadata.version
    monkeypatch.setattr(metadata, "version", lambda n: "7.0" if n == "ipywidgets" else known(n))
    finding = sn.doctor("packages")["packages"]
    assert finding.state == "cannot"
    assert "umap-learn is missing" in finding.what
    assert "ipywidgets 7.0 is installed, >=8" in finding.what


@pytest.mark.slow
def test_it_prints_where_pandas_does_not_work() -> None:
    """With an older numpy pandas cannot be imported, and then the report is what helps."""
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from sae_nb.__main__ import main\n"
        "sys.exit(main(['doctor', 'python', 'disk']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == ["state", "check", "result"]


def _installed(site: Path, version: str) -> Path:
    """A copy of the package's code in a folder of its own, as a wheel of that version leaves it."""
    facts = site / f"sae_nb-{version}.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.4\nName: sae-nb\nVersion: {version}\n")
    code = Path(machine.__file__).parents[1]
    (site / "sae_nb").symlink_to(code, target_is_directory=True)
    return site


def test_two_versions_on_the_path_are_told(tmp_path: Path, monkeypatch: Patch) -> None:
    """Two installations, and a folder with another copy that Python found before the installed one."""
    old, new = (_installed(tmp_path / version, version) for version in ("0.1.0", "9.0"))
    monkeypatch.setattr(sys, "path", [str(new), str(old)])
    assert machine._two_versions() == (
        "sae-nb 9.0 and 0.1.0 are both installed; Python finds 9.0 first"
    )
    monkeypatch.setattr(sys, "path", [str(old)])
    assert machine._two_versions() == ""
    (old / "sae_nb").unlink()
    assert "0.1.0 is installed, but Python found another copy" in machine._two_versions()
    monkeypatch.undo()
    monkeypatch.setattr(machine, "_two_versions", lambda: "two")
    finding = sn.doctor("packages")["packages"]
    assert (finding.state, finding.what) == ("warn", "two")
    assert "pip uninstall sae-nb" in finding.fix


@pytest.mark.parametrize(
    ("built", "driver", "named", "state", "words"),
    [
        (None, None, "", "ok", "none"),
        ("13.0", None, None, "warn", "no NVIDIA driver answers"),
        (None, ("H200", "570.1"), None, "cannot", "torch is a CPU build"),
        ("13.0", ("H200", "470.1"), None, "cannot", "driver 470.1, which torch's CUDA 13.0"),
        ("13.0", ("H200", "580.1"), "", "cannot", "but CUDA_VISIBLE_DEVICES='' hides every GPU"),
    ],
)
def test_gpu_driver_and_build_are_compared(
    monkeypatch: Patch,
    built: str | None,
    driver: tuple[str, str] | None,
    named: str | None,
    state: str,
    words: str,
) -> None:
    """A CUDA build without GPU, a GPU without CUDA build, a driver too old and a hidden GPU are told apart."""
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    monkeypatch.setattr(machine, "_driver", lambda: driver)
    finding = sn.doctor("gpu")["gpu"]
    assert finding.state == state
    assert words in finding.what
    assert sn.doctor("gpu").usable


@pytest.mark.parametrize(
    ("gib", "state", "usable"), [(0.4, "cannot", False), (1.2, "warn", True), (8.0, "ok", True)]
)
def test_little_memory_is_said(monkeypatch: Patch, gib: float, state: str, usable: bool) -> None:
    """Below what a bundled model needs it is essential; below comfort it is a warning."""
    monkeypatch.setattr(machine, "_free_memory", lambda: int(gib * machine.GIB))
    checkup = sn.doctor("memory")
    assert (checkup["memory"].state, checkup.usable) == (state, usable)


@pytest.mark.parametrize(
    ("limit", "use"),
    [("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")],
)
def test_a_containers_limit_counts(
    monkeypatch: Patch, tmp_path: Path, limit: str, use: str
) -> None:
    """What is left is the limit less the use, cached file pages not counted; "max" is no limit."""
    (tmp_path / limit).write_text("1000000000\n")
    (tmp_path / use).write_text("700000000\n")
    (tmp_path / "memory.stat").write_text("anon 600000000\ninactive_file 100000000\n")
    monkeypatch.setattr(machine, "CONTAINERS", ((tmp_path, limit, use),))
    assert machine._free_memory() == 400_000_000
    (tmp_path / limit).write_text("max\n")
    assert machine._free_memory() != 400_000_000


@pytest.mark.parametrize("wrong", [1.0, float("nan")])
def test_a_kernel_that_computes_something_else_is_caught(monkeypatch: Patch, wrong: float) -> None:
    monkeypatch.setattr(machine, "_difference", lambda *_: wrong)
    checkup = sn.doctor("kernels")
    assert checkup["kernels"].state == "cannot"
    assert not checkup.usable


@pytest.mark.slow
def test_kernels_are_compiled_only_where_they_are_asked_for(tmp_path: Path) -> None:
    """With nothing on disk all checks together compile none of ours, and name the call that does."""
    code = (
        "import sae_nb as sn\n"
        "from sae_nb.diagnosis import _doctor\n"
        "found = _doctor._examine('kernels', _doctor.CHECKS['kernels'])\n"
        "assert found.state == 'ok', found\n"
        "assert '`sae-nb doctor kernels` does it now' in found.what, found\n"
        "assert _doctor.ASKED_FOR['kernels'] is _doctor.cpu_kernels"
    )
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*.nbc"))


def test_the_difference_is_measured_on_the_kernels_themselves(monkeypatch: Patch) -> None:
    from sae_nb import pursuit

    real = pursuit.matching_pursuit

    def flipped(*args: object, backend: str, **options: object) -> object:
        codes = real(*args, backend=backend, **options)
        if backend == "cpu":
            codes.values.neg_()
        return codes

    assert machine._difference("cpu", "cpu") < machine.AGREEMENT
    monkeypatch.setattr(pursuit, "matching_pursuit", flipped)
    assert machine._difference("cpu", "cpu") > 0.1


def test_cuda_kernels_without_their_toolkit_name_the_extra(monkeypatch: Patch) -> None:
    def fails(*_: object) -> float:
        raise ValueError("The CUDA pursuit kernels need numba-cuda.")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(machine, "_difference", fails)
    finding = sn.doctor("cuda kernels")["cuda kernels"]
    assert finding.state == "cannot"
    assert "sae-nb[cuda13]" in finding.fix


def test_missing_widgets_and_extensions_are_told_apart(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_extension_folders", lambda: [tmp_path])
    finding = sn.doctor("jupyterlab")["jupyterlab"]
    assert finding.state == "cannot"
    assert "anywidget" in finding.what
    _without(monkeypatch, "anywidget", "jupyterlab")
    assert "anywidget missing" in sn.doctor("widgets")["widgets"].what
    assert sn.doctor("jupyterlab")["jupyterlab"].state == "warn"
    assert sn.doctor("widgets", "jupyterlab").usable


def test_a_check_that_breaks_does_not_take_the_others_along(monkeypatch: Patch) -> None:
    def breaks(_: object) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(machine.shutil, "disk_usage", breaks)
    checkup = sn.doctor("disk", "python")
    assert checkup["disk"].what == "RuntimeError: the disk is on fire"
    assert checkup["python"].state == "ok"
    assert checkup.usable


def test_exit_status_says_whether_it_is_usable(
    monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails: Callable[..., int] = lambda: 0  # noqa: E731
    monkeypatch.setattr(machine, "_free_memory", fails)
    assert command.main(["doctor", "memory"]) == 1
    assert "not usable" in capsys.readouterr().out
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)
    assert command.main(["doctor", "chromium", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["usable"]
    assert report["findings"][0]["name"] == "chromium"


def _with_device(patch: Patch, answer: Callable[[torch.Tensor], torch.Tensor]) -> None:
    real = machine._answer
    patch.setattr(machine, "_accelerators", lambda: ["mps"])
    patch.setattr(
        machine, "_answer", lambda device: real("cpu") if device == "cpu" else answer(real("cpu"))
    )


@pytest.mark.slow
def test_an_accelerator_that_answers_as_the_cpu_is_to_be_used(monkeypatch: Patch) -> None:
    _with_device(monkeypatch, lambda logits: logits * (1 + 1e-6))
    found = sn.doctor("accelerator")["accelerator"]
    assert (found.state, found.fix) == ("ok", "")
    assert found.what.startswith("mps answers as the CPU does")
    assert found.what.endswith("use it")


def _fails(_: torch.Tensor) -> torch.Tensor:
    raise NotImplementedError("aten::x is not implemented for MPS\nmore")


@pytest.mark.parametrize(
    "answer",
    [lambda logits: logits.roll(1, 1), lambda logits: logits * torch.nan, _fails],
    ids=["other places", "nan", "not implemented"],
)
def test_an_accelerator_that_answers_otherwise_is_not(
    monkeypatch: Patch, answer: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Wrong numbers, numbers that are none, and passes that do not run: each is named, with what to do."""
    _with_device(monkeypatch, answer)
    found = sn.doctor("accelerator")["accelerator"]
    assert found.state == "cannot"
    assert found.fix.startswith("Do not use mps: sn.load_model(…, device='cpu')")
    assert "more" not in found.what
