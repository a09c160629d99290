"""The machine: Python, packages, torch and its GPU, memory, disk, network."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from sae_nb.diagnosis._doctor import Finding

GIB = 2**30
COMFORTABLE_MEMORY = 2.0
"""GiB. The tour peaks at 1.0 (its last line says so), and a browser wants some too."""

LEAST_MEMORY = 0.75
"""GiB. The demo, with two bundled models, peaks at 0.65."""

COMFORTABLE_DISK = 2.0
"""GiB: a million captured rows of width 384 in fp32 take 1.5."""

REINSTALL = "Run `make lab`, or `python -m pip install -e .` in the checkout."
CONTAINERS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Where a container's memory limit and use are written: control groups v2, then v1."""


def python() -> Finding:
    """Look at the interpreter."""
    version = platform.python_version()
    what = f"{version} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    # pip refuses older ones, but a checkout on the path is not asked.
    if sys.version_info[:2] < (3, 11):  # noqa: UP036
        fix = "Install Python 3.11 or newer and make a new environment with it."
        return Finding(name="python", state="cannot", what=what, fix=fix, essential=True)
    return Finding(name="python", state="ok", what=what, essential=True)


def packages() -> Finding:
    """Compare what is installed with what the package declares."""
    try:
        declared = list(_declared())
    except metadata.PackageNotFoundError:
        what = "sae-nb itself is not installed in this environment"
        fix = REINSTALL
        return Finding(name="packages", state="cannot", what=what, fix=fix, essential=True)
    wrong = [text for name, asked in declared if (text := _misfit(name, asked))]
    if wrong:
        what = "; ".join(wrong)
        return Finding(name="packages", state="cannot", what=what, fix=REINSTALL, essential=True)
    what = f"sae-nb {metadata.version('sae-nb')} and its {len(declared)} dependencies"
    return Finding(name="packages", state="ok", what=what, essential=True)


def _declared() -> Iterator[tuple[str, str]]:
    from packaging.requirements import Requirement

    for line in metadata.requires("sae-nb") or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name, str(requirement.specifier)


def _misfit(name: str, asked: str) -> str:
    from packaging.specifiers import SpecifierSet

    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is missing"
    fits = SpecifierSet(asked).contains(version, prereleases=True)
    return "" if fits else f"{name} {version} is installed, {asked} is needed"


def torch_build() -> Finding:
    """Look at torch: its version, its build, its threads."""
    import torch

    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    what = f"{torch.__version__}, {build}, {torch.get_num_threads()} threads"
    return Finding(name="torch", state="ok", what=what, essential=True)


def gpu() -> Finding:
    """Look at the GPU: what the driver says, and whether torch's build fits it."""
    import torch

    driver, built = _driver(), torch.version.cuda
    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        more = f" and {n - 1} more" if (n := torch.cuda.device_count()) > 1 else ""
        version = f", driver {driver[1]}" if driver else ""
        what = f"{facts.name}, {facts.total_memory / GIB:.0f} GiB{more}{version}"
        return Finding(name="gpu", state="ok", what=what)
    if driver and built:
        what = f"{driver[0]} with driver {driver[1]}, which torch's CUDA {built} build cannot use"
        fix = "Update the driver, or install a torch build for an older CUDA."
        return Finding(name="gpu", state="cannot", what=what, fix=fix)
    if driver:
        what = f"{driver[0]} with driver {driver[1]}, but torch is a CPU build"
        fix = "Delete .venv and run `make lab DEVICE=cuda`, with TORCH_INDEX naming CUDA builds."
        return Finding(name="gpu", state="cannot", what=what, fix=fix)
    if built:
        what = f"no NVIDIA driver answers, and torch is a CUDA {built} build; the CPU is used"
        fix = "Nothing, or DEVICE=cpu for a torch of a tenth of the size."
        return Finding(name="gpu", state="warn", what=what, fix=fix)
    return Finding(name="gpu", state="ok", what="none; everything bundled runs on the CPU")


def _driver() -> tuple[str, str] | None:
    """Name of the first GPU and version of its driver, as nvidia-smi says."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        # Installed without a working driver is the same as not there.
        return None
    name, _, version = done.stdout.partition("\n")[0].rpartition(",")
    return (name.strip(), version.strip()) if name else None


def memory() -> Finding:
    """Look at the memory still free, a container's limit included."""
    free = _free_memory()
    if free is None:
        what = "this system does not say how much is free"
        return Finding(name="memory", state="ok", what=what)
    gib = free / GIB
    what = f"{gib:.1f} GiB free"
    if gib < LEAST_MEMORY:
        fix = f"Close other kernels and programs: a bundled model needs {LEAST_MEMORY} GiB."
        return Finding(name="memory", state="cannot", what=what, fix=fix, essential=True)
    if gib < COMFORTABLE_MEMORY:
        fix = "Keep one notebook open at a time, and capture to disk: sn.capture(…, store=folder)."
        return Finding(name="memory", state="warn", what=what, fix=fix, essential=True)
    return Finding(name="memory", state="ok", what=what, essential=True)


def _free_memory() -> int | None:
    from sae_nb.checks import available_memory

    free = [available_memory(), *(_left(*container) for container in CONTAINERS)]
    return min((n for n in free if n is not None), default=None)


def _left(folder: Path, limit: str, use: str) -> int | None:
    """Bytes left under a container's limit, or None where there is no limit."""
    try:
        most = (folder / limit).read_text().strip()
        if not most.isdigit():
            return None
        # Cached file pages are given back before anything is refused.
        lines = (folder / "memory.stat").read_text().splitlines()
        cached = next((int(n) for key, n in map(str.split, lines) if key == "inactive_file"), 0)
        return int(most) - int((folder / use).read_text()) + cached
    except OSError:
        # Another system, or another generation of control groups.
        return None


def disk() -> Finding:
    """Look at the disk notebooks would write to."""
    gib = shutil.disk_usage(Path.cwd()).free / GIB
    what = f"{gib:.1f} GiB free in the working folder"
    if gib < COMFORTABLE_DISK:
        fix = "Make room before capturing to disk; the bundled lessons need 0.1 GiB."
        return Finding(name="disk", state="warn", what=what, fix=fix)
    return Finding(name="disk", state="ok", what=what)


def offline() -> Finding:
    """Look at what works without a network: the bundled models."""
    from sae_nb.models import bundled_names

    names = [name for name in bundled_names() if "@" not in name]
    if not names:
        what = "the bundled models' weights are missing"
        return Finding(name="offline", state="cannot", what=what, fix=REINSTALL, essential=True)
    hub = "; the hub is switched off" if os.environ.get("HF_HUB_OFFLINE") == "1" else ""
    what = f"{', '.join(names)} are here; only a hub name you give is downloaded{hub}"
    return Finding(name="offline", state="ok", what=what, essential=True)
