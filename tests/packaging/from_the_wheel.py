"""Build the sdist and three wheels, check them, install them into a new environment, and try them there.

    python tests/packaging/from_the_wheel.py [--python PYTHON] [--lowest | --pinned] [--keep FOLDER]

Nothing of the checkout is on the path of the new environment, and its home folder is new, so that no cache of
another installation helps: the lines that run are those of the README that the wheel itself carries.
`make wheel-test` runs it; it needs the package index, or a full package cache.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
WHEELS = ("sae_nb", "sae_nb_studies", "sae_nb_course")
LARGEST = 48e6
"""Bytes of the tool's wheel, 25e6 of them SAEs of two real models with their examples."""

SECONDS = {"sae-nb doctor, first": 5.0, "sae-nb doctor, again": 5.0}
"""Most seconds of processors that a step may take before the table says that it is too long; it does not fail."""

TEN_LINES = """
import re, sys
from importlib.metadata import metadata
text = metadata("sae-nb").get_payload() or metadata("sae-nb")["Description"]
(_, ten, *_) = re.findall(r"^```python\\n(.*?)^```", text, re.S | re.M)
import linecache
linecache.cache["<README>"] = len(ten), None, ten.splitlines(True), "<README>"
names = {}
exec(compile(ten, "<README>", "exec"), names)
import sae_nb, sae_nb_widgets
for package in (sae_nb, sae_nb_widgets):
    assert package.__file__.startswith(sys.prefix), package.__file__
report = names["report"]
assert report.r2.value > report.r2.floor, report
print(report)
"""
WITHOUT_STUDIES = """
import sae_nb as sn
for ask in (lambda: sn.vision, lambda: sn.certificate, lambda: sn.circuits.known_circuit):
    try:
        ask()
    except (ImportError, AttributeError) as error:
        assert "sae-nb-studies" in str(error), error
    else:
        raise SystemExit("a study was found without its package")
print(sn.circuits.attribution_graph, sn.diff_models)
"""
WITH_ALL = """
import sys, sae_nb as sn, sae_nb_studies, sae_nb_lessons
for package in (sae_nb_studies, sae_nb_lessons):
    assert package.__file__.startswith(sys.prefix), package.__file__
print(sn.vision, sn.certificate, sn.circuits.known_circuit)
claim = sae_nb_lessons.recorded("dark_matter")
sae_nb_lessons.exercise("01.2")
"""
FREE = "import sae_nb, sys; heavy = {'torch', 'numba', 'nnsight', 'umap', 'transformers'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"


class Steps:
    """What was done, in seconds of the wall and of processors."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.home.mkdir(parents=True)
        asked = [sys.executable, "-m", "pip", "cache", "dir"]
        self.packages = subprocess.run(
            asked, capture_output=True, text=True, check=True
        ).stdout.strip()
        self.rows: list[dict[str, object]] = []

    def run(self, what: str, command: list[str], *, cwd: Path | None = None) -> str:
        """Run a command; stop at the first that fails, with what it said."""
        before, started = os.times(), time.monotonic()
        bare = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "XDG_"))}
        bare |= {"HOME": str(self.home), "PIP_CACHE_DIR": self.packages, "PYTHONUTF8": "1"}
        folder = cwd or self.folder
        done = subprocess.run(
            command, cwd=folder, env=bare, capture_output=True, encoding="utf-8", check=False
        )
        after = os.times()
        cpu = after.children_user + after.children_system
        cpu -= before.children_user + before.children_system
        row = {"step": what, "s": round(time.monotonic() - started, 1), "cpu s": round(cpu, 1)}
        self.rows.append(row)
        over = f" (more than {SECONDS[what]:g})" if cpu > SECONDS.get(what, cpu) else ""
        print(f"{what:<34} {row['s']:>7} s, {row['cpu s']:>6} s of processors{over}", flush=True)
        if done.returncode:
            sys.exit(f"{what} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout


def build(steps: Steps) -> list[Path]:
    """Build the sdist and the three wheels, look at them as the index would, and hold the tool's to its size."""
    out = steps.folder / "dist"
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    steps.run("build sdist and wheel", command, cwd=ROOT)
    for part in ("studies", "notebooks"):
        steps.run(f"build the wheel of {part}", [*command, "-t", "wheel"], cwd=ROOT / part)
    files = sorted(out.iterdir())
    steps.run("twine check", [sys.executable, "-m", "twine", "check", "--strict", *map(str, files)])
    print(*(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB" for file in files), sep="\n")
    wheels = [next(out.glob(f"{name}-*.whl")) for name in WHEELS]
    if wheels[0].stat().st_size > LARGEST:
        sys.exit(f"The wheel must be at most {LARGEST / 1e6:.0f} MB.")
    return wheels


def try_out(steps: Steps, wheels: list[Path], python: str, constraints: str | None) -> None:
    """Install the tool alone and use it, then the studies and the course beside it."""
    tool, *others = map(str, wheels)
    steps.run("make an environment", [python, "-m", "venv", "fresh"])
    scripts = steps.folder / "fresh" / ("Scripts" if os.name == "nt" else "bin")
    inside = str(scripts / "python")
    alone = [inside, "-I", "-X", "utf8"]  # -I also forgets PYTHONUTF8
    held = [] if constraints is None else ["-c", str(ROOT / constraints)]
    steps.run("pip install the wheel", [inside, "-m", "pip", "install", "-q", *held, tool])
    steps.run("pip check", [inside, "-m", "pip", "check"])
    steps.run("import is free of torch", [inside, "-c", FREE])
    doctor = [str(scripts / "sae-nb"), "doctor"]
    steps.run("sae-nb doctor, first", doctor)  # Python compiles the modules it reads
    print(steps.run("sae-nb doctor, again", doctor))
    print(steps.run("the README's ten lines", [*alone, "-c", TEN_LINES]))
    steps.run("the same, again", [*alone, "-c", TEN_LINES])
    steps.run("studies are named where missing", [*alone, "-c", WITHOUT_STUDIES])
    steps.run("pip install the others", [inside, "-m", "pip", "install", "-q", *others])
    steps.run("pip check of all three", [inside, "-m", "pip", "check"])
    steps.run("studies and course", [*alone, "-c", WITH_ALL])
    freeze = [inside, "-m", "pip", "list", "--format=json"]
    versions = {one["name"]: one["version"] for one in json.loads(steps.run("pip list", freeze))}
    print(
        ", ".join(
            f"{name} {versions[name]}" for name in ("torch", "numpy", "transformers", "nnsight")
        )
    )


def main() -> None:
    """Build and try; print each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="makes the new environment")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--lowest", action="store_true", help="the lowest versions allowed")
    group.add_argument("--pinned", action="store_true", help="the versions of constraints.txt")
    parser.add_argument("--keep", type=Path, help="a new folder that stays; else a temporary one")
    asked = parser.parse_args()
    constraints = (
        "constraints-lowest.txt" if asked.lowest else "constraints.txt" if asked.pinned else None
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(asked.keep or scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        steps = Steps(folder)
        try_out(steps, build(steps), asked.python, constraints)
        (folder / "steps.json").write_text(json.dumps(steps.rows, indent=1))


if __name__ == "__main__":
    main()
