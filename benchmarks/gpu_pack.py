"""Write build/gpu: all that a machine with a GPU needs to measure this project, and nothing it has already.

Run `make gpu-pack`, copy build/gpu to the machine and run `bash run.sh` there. The machine brings Python 3.12
on x86-64, PyTorch for CUDA and Triton, which comes with it; it needs no network. NEEDED says what it may lack
and why; what those packages need in turn comes along, each with who asked for it. `--no-wheels`: for a machine
that has the package's dependencies.
"""

from __future__ import annotations

import argparse
import email
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PYTHON = "3.12"
PLATFORMS = ("2_28", "2_24", "2_17", "2_5")
LARGEST_MB = 180

NEEDED = {
    "numpy": "arrays; a machine's own is used where it has one",
    "numba": "kernels on the CPU, which those of the card are held against; a machine's own goes first",
    "scipy": "sparse sums and non-negative least squares",
    "jaxtyping": "shapes in signatures; every module imports it",
    "safetensors": "files of SAEs and of bundled models",
    "tqdm": "progress of a capture and a training",
    "pyyaml": "cards of SAEs",
    "pillow": "inputs of live models; read when one is loaded",
    "nnsight": "capture and steering of a live model",
    "transformers": "the bundled language model's classes",
    "pytest": "the tests of the kernels",
    "pytest-timeout": "a test that hangs on a device ends",
}
"""What the machine may lack, and what it is for."""

THERE = frozenset({"torch", "triton"})
"""What the machine brings, with all that these need."""

TREE = (
    "sae_nb",
    "tests/pursuit",
    "tests/kernels",
    "tests/triton_interpreter.py",
    "benchmarks",
    "LICENSE",
)
LEFT_OUT = re.compile(
    r"sae_nb/(pretrained/(?!.*\.py$)|site/|models/recipes/|models/weights/(?!tiny-gpt/))"
    r"|benchmarks/(?!gpu\.py$|pursuit\.py$)"
)
"""Pretrained SAEs, exported sites and other models: nothing here reads them."""


RUN = r"""#!/usr/bin/env bash
# bash run.sh [OPTIONS of benchmarks/gpu.py]: measure everything on this machine's GPU in five minutes, without
# a network. PYTHON names another Python 3.12. Wheels are unpacked beside this file and nothing else is changed.
# Every finding is in results/ as soon as it is there, also where the run is killed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
shopt -s nullglob
wheels=("$here"/wheels/*.whl)
if [ ${#wheels[@]} -gt 0 ] && [ ! -e "$here/site/.complete" ]; then
	"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' ||
		{ echo "The wheels are for Python 3.12. Name one: PYTHON=python3.12 bash run.sh." >&2; exit 2; }
	for wheel in "${wheels[@]}"; do
		name=$(basename "$wheel")
		case $name in numpy-*|numba-*|llvmlite-*)
			if "$python" -c "import ${name%%-*}" 2>/dev/null; then continue; fi ;;
		esac
		"$python" -m zipfile -e "$wheel" "$here/site"
	done
	# numba-cuda 0.30 asks numpy for a name that numpy 2.5 dropped; here it is there again.
	echo 'import numpy; numpy.row_stack = numpy.vstack' > "$here/site/sitecustomize.py"
	touch "$here/site/.complete"
fi
export PYTHONPATH="$here/tree:$here/tree/benchmarks:$here/tree/tests:$here/site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
export TRITON_CACHE_DIR="$here/site/triton"
cd "$here/tree"
exec "$python" benchmarks/gpu.py --out "$here/results" "$@"
"""
"""What the machine runs."""


def plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def fetch(names: list[str], wheels: Path) -> None:
    """Ask pip for wheels of the machine's Python and platform, in the versions that are tested."""
    where = [f"--platform=manylinux_{version}_x86_64" for version in PLATFORMS]
    where += ["--platform=manylinux2014_x86_64", "--platform=manylinux1_x86_64"]
    where += [f"--python-version={PYTHON}", "--only-binary=:all:"]
    pins = ("-c", str(ROOT / "constraints.txt"))
    command = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", *where, *pins]
    subprocess.run([*command, "--dest", str(wheels), *names], check=True)


def needs(wheel: Path) -> Iterator[str]:
    """What a wheel asks for on the machine, without its extras."""
    with zipfile.ZipFile(wheel) as archive:
        (place,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(archive.read(place))
    there = {"extra": "", "python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
    for line in said.get_all("Requires-Dist", []):
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate(there):
            yield plain(wanted.name)


def collect(wheels: Path) -> dict[str, str]:
    """Fetch what is needed, and what that needs in turn; what the machine has is not entered."""
    reasons = {plain(name): why for name, why in NEEDED.items()}
    new = list(reasons)
    while new:
        fetch(new, wheels)
        before = set(reasons)
        for wheel in wheels.glob("*.whl"):
            name = plain(wheel.name.split("-")[0])
            for other in needs(wheel) if name in new else ():
                if other not in THERE:
                    reasons.setdefault(other, f"needed by {name}")
        new = [name for name in reasons if name not in before]
    return reasons


def copy_tree(target: Path) -> None:
    """The tracked files that the run needs, their version and commit, and the settings of pytest."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *TREE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if LEFT_OUT.match(name) is None:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    asked = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    version = f"{metadata.version('sae-nb')}+g{commit.strip()}"
    about = target / f"sae_nb-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: sae-nb\nVersion: {version}\n")
    (target / "pytest.ini").write_text(
        "[pytest]\naddopts = --import-mode=importlib --noconftest -p no:cacheprovider\ntimeout = 200\n"
        "markers =\n    gpu: needs an NVIDIA GPU\n    slow: needs none, and takes long\n"
    )


def table(wheels: Path, reasons: dict[str, str]) -> str:
    """Every wheel with its size and reason."""
    lines = ["| wheel | kB | for |", "| --- | --- | --- |"]
    for wheel in sorted(wheels.glob("*.whl")):
        why = reasons[plain(wheel.name.split("-")[0])]
        lines.append(f"| {wheel.name} | {wheel.stat().st_size / 1e3:.0f} | {why} |")
    return "\n".join(lines)


def main() -> None:
    """Make the folder anew and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu")
    parser.add_argument("--no-wheels", action="store_true", help="the tree alone")
    options = parser.parse_args()
    out: Path = options.out
    shutil.rmtree(out, ignore_errors=True)
    copy_tree(out / "tree")
    reasons = {} if options.no_wheels else collect(out / "wheels")
    (out / "run.sh").write_text(RUN, encoding="utf-8")
    said = table(out / "wheels", reasons)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
    said = f"# What travels\n{len(reasons)} wheels; with the tree {size:.1f} MB.\n\n{said}\n"
    (out / "CONTENTS.md").write_text(said, encoding="utf-8")
    print(said)
    if size > LARGEST_MB:
        sys.exit(f"build/gpu must be at most {LARGEST_MB} MB, got {size:.1f}. See CONTENTS.md.")


if __name__ == "__main__":
    main()
