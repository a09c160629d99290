"""Mutants: does a test fail when one operator or number of the code is another?

`python tests/mutants.py --seed 1` draws a sample of the mutants that mutants.toml asks for, runs the quick
tests of the mutant's own folder against each, and prints those that no test noticed. `--at FILE:LINE` tries
all mutants of a line instead, also while a test is being written.

The checkout is never touched: each process changes a copy of its own. Other libraries are imported once, and
each mutant's tests run in a fork. Files of tests that never run the mutant's line are left out, by a first run
under coverage; where that cannot tell (compiled loops, what runs on import) the whole folder runs.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).parents[1]
RULES = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())
EQUIVALENT = [
    (file, *change.partition(" → ")[::2])
    for listed in RULES["equivalent"].values()
    for file, _, change in (one.partition(": ") for one in listed)
]
# A mutant may ask for any size, and this machine has others' work on it.
MEMORY = 24 * 2**30
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "build", "dist", ".*_cache", ".hypothesis")


@dataclass(frozen=True)
class Mutant:
    """One changed operator or number."""

    file: str
    line: int
    before: str
    after: str
    source: str

    @property
    def changes_a_result(self) -> bool:
        return not any(
            fnmatch(self.file, f"sae_nb/{file}")
            and part in self.before
            and (not becomes or self.before.replace(part, becomes) == self.after)
            for file, part, becomes in EQUIVALENT
        )

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.before} → {self.after}"


@dataclass(frozen=True)
class Place:
    """Where a file can be changed, and the ways: an operator of cosmic-ray and which of its places this is."""

    file: Path
    line: int
    ways: tuple[tuple[Any, int], ...]

    @property
    def name(self) -> str:
        return self.file.relative_to(ROOT).as_posix()

    def mutant(self, way: tuple[Any, int]) -> Mutant | None:
        """None where the number is the same (1e30 + 1)."""
        source = self.file.read_text()
        changed = mutate_code(source, *way)
        before, after = (
            " ".join(text.splitlines()[self.line - 1].split()) for text in (source, changed)
        )
        if ast.dump(ast.parse(source)) == ast.dump(ast.parse(changed)):
            return None
        return Mutant(self.name, self.line, before, after, changed)


def places(file: Path) -> list[Place]:
    """Where mutants of a file begin."""
    source = file.read_text()
    tree, found = get_ast(source), defaultdict(list)
    for name in RULES["operators"]:
        operator = get_operator(f"core/{name}")()
        starts = (
            (node, start)
            for node in ast_nodes(tree)
            for start, _ in operator.mutation_positions(node)
        )
        for occurrence, (node, start) in enumerate(starts):
            # `def f(a, *, b)` and `{**a}` are no products
            if node.parent is None or node.parent.type not in ("parameters", "dictorsetmaker"):
                found[start].append((operator, occurrence))
    left = _no_numbers(ast.parse(source))
    return [
        Place(file, start[0], tuple(ways))
        for start, ways in sorted(found.items())
        if not any(begin <= start < end for begin, end in left)
    ]


def _no_numbers(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations and what an error says begin and end."""
    nodes = [
        part
        for node in ast.walk(tree)
        for part in (
            getattr(node, "annotation", None),
            getattr(node, "returns", None),
            node if isinstance(node, ast.Raise) else None,
        )
        if isinstance(part, ast.AST)
    ]
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes]


def files(package: str) -> list[Path]:
    """The modules of a package that mutants are made of."""
    found = sorted((ROOT / "sae_nb" / package).rglob("*.py"))
    return [file for file in found if file.relative_to(ROOT).as_posix() not in RULES["left_out"]]


def sample(packages: list[str], n: int, seed: int) -> list[Mutant]:
    """Draw places, and at each place one mutant."""
    generator = random.Random(seed)
    drawn = [place for package in packages for file in files(package) for place in places(file)]
    generator.shuffle(drawn)
    made = (place.mutant(generator.choice(place.ways)) for place in drawn)
    return list(islice((mutant for mutant in made if mutant and mutant.changes_a_result), n))


class Watched:
    """Which tests of a folder run which line, how long each file takes, and what is imported."""

    def __init__(self, package: str, kept: Path) -> None:
        import coverage

        self.package, self.kept, self.seconds = package, kept, defaultdict(float)
        self.coverage = coverage.Coverage(data_file=None, source=[f"sae_nb/{package}"])
        self.coverage.start()

    def pytest_collection_finish(self) -> None:
        """What runs on import is no single test's."""
        for file in Path("sae_nb", self.package).rglob("*.py"):
            with suppress(ImportError):
                importlib.import_module(
                    ".".join(file.with_suffix("").parts).removesuffix(".__init__")
                )

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid.split("::")[0]] += report.duration

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        data = self.coverage.get_data()
        lines = {
            Path(file).relative_to(Path.cwd()).as_posix(): data.contexts_by_lineno(file)
            for file in data.measured_files()
        }
        here = str(Path.cwd())
        others = [
            name
            for name, module in sys.modules.items()
            if (file := getattr(module, "__file__", None)) and not file.startswith(here)
        ]
        self.kept.write_text(
            json.dumps({"lines": lines, "seconds": self.seconds, "modules": others})
        )


class InOrder:
    """The tests likeliest to fail first, and no time spent on a smaller counterexample."""

    def __init__(self, mutant: Mutant, covering: set[str], seconds: dict[str, float]) -> None:
        self.stem = Path(mutant.file).stem.strip("_")
        self.covering, self.seconds = covering, seconds

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        import hypothesis

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile(
            "mutants", parent=hypothesis.settings.default, phases=phases
        )
        hypothesis.settings.load_profile("mutants")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        def rank(item: pytest.Item) -> tuple[Any, ...]:
            file = item.nodeid.split("::")[0]
            named = Path(file).stem == f"test_{self.stem}"
            return not named, self.seconds.get(file, 0.0), file, item.nodeid not in self.covering

        items.sort(key=rank)


def quick(tests: list[str], plugin: object) -> int:
    """Run quick tests in this process."""
    flags = ["-q", "-x", "-p", "no:cacheprovider", "--disable-warnings", "--tb=line"]
    return int(pytest.main([*flags, "-m", "not slow and not browser", *tests], plugins=[plugin]))


def forked(work: Callable[[], int], log: Path, limit: float) -> int | None:
    """Do `work` in a process of its own and return how it ended; None past the limit, in seconds."""
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        with log.open("wb") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        code = 1
        try:
            code = work()
        finally:
            os._exit(code)
    end = time.monotonic() + limit
    ended = None
    while ended is None and time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            ended = status
        else:
            time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if ended is None:
        os.waitpid(child, 0)
    return None if ended is None else os.waitstatus_to_exitcode(ended)


def enter(copy: Path) -> None:
    """Import from a copy of the project, here and in processes that tests start."""
    os.chdir(copy)
    here = [str(copy), *(str(copy / part) for part in ("widgets", "studies", "notebooks"))]
    sys.path[:0] = here
    os.environ["PYTHONPATH"] = os.pathsep.join(here)
    sys.dont_write_bytecode = True


def folder(package: str) -> str:
    return "tests/" + RULES["folders"].get(package, package)


def tests_of(mutant: Mutant, source: str, known: dict[str, Any]) -> tuple[set[str], list[str]]:
    """The tests that run a mutant's line, and what to run: their files, or the whole folder."""
    lines = {mutant.line}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno
            if node.lineno <= mutant.line <= last:
                lines = set(range(node.lineno, last + 1))
    seen = known["lines"].get(mutant.file, {})
    covering = {test for line in lines | {mutant.line} for test in seen.get(str(line), ())}
    if not covering or "" in covering:
        return covering, [folder(Path(mutant.file).parts[1])]
    return covering, sorted({test.split("::")[0] for test in covering})


def try_mutant(mutant: Mutant, known: dict[str, Any], limit: float) -> tuple[Mutant, str, float]:
    """Say how the tests answer a mutant in this process's copy: survived, or what noticed it."""
    begun = time.monotonic()
    file, log = Path(mutant.file), Path("mutant.log")
    original = file.read_text()
    covering, tests = tests_of(mutant, original, known)
    with tempfile.TemporaryDirectory() as loops:

        def work() -> int:
            loops_too = mutant.file.startswith(("sae_nb/kernels", "sae_nb/pursuit"))
            if "@compiled" in original or (loops_too and not covering):
                # what Numba keeps of a loop does not know of those that it calls
                import numba

                numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"] = loops
            return quick(tests, InOrder(mutant, covering, known["seconds"]))

        try:
            file.write_text(mutant.source)
            code = forked(work, log, limit)
        finally:
            file.write_text(original)
    if code is None:
        answer = "time limit"
    elif code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        answer = "survived"
    else:
        said = log.read_text(errors="replace").splitlines()
        failed = [line for line in said if line.startswith(("FAILED", "ERROR"))]
        answer = failed[0] if failed else f"ended with {code}"
    return mutant, answer, time.monotonic() - begun


def run(
    package: str, drawn: list[Mutant], copies: list[Path]
) -> Iterator[tuple[Mutant, str, float]]:
    """Try mutants of a package, as many at once as there are copies."""
    first, kept = copies[0], copies[0] / "watched.json"

    def watch() -> int:
        enter(first)
        return quick([folder(package)], Watched(package, kept))

    begun = time.monotonic()
    log = first / "watched.log"
    if forked(watch, log, 3600) != 0:
        sys.exit(f"The tests of {package} fail without a mutant:\n{log.read_text()}")
    limit = 60 + 5 * (time.monotonic() - begun)
    known = json.loads(kept.read_text())
    for name in known["modules"]:
        with suppress(Exception):
            importlib.import_module(name)
    context = multiprocessing.get_context("fork")
    places = context.SimpleQueue()
    for copy in copies:
        places.put(copy)
    with ProcessPoolExecutor(len(copies), context, initializer=lambda: enter(places.get())) as pool:
        waiting = [pool.submit(try_mutant, mutant, known, limit) for mutant in drawn]
        for done in as_completed(waiting):
            yield done.result()


def main() -> None:
    """Draw, try, and print what survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--package", choices=RULES["packages"], action="append")
    parser.add_argument("--at", nargs="+", metavar="FILE:LINE", help="all mutants of lines instead")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with its own copy")
    asked = parser.parse_args()
    for threads in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(threads, "1")
    if asked.at:
        found = [place for at in asked.at for place in places(ROOT / at.partition(":")[0])]
        here = [place for place in found if f"{place.name}:{place.line}" in asked.at]
        tried = dict.fromkeys(place.mutant(way) for place in here for way in place.ways)
        drawn = [mutant for mutant in tried if mutant and mutant.changes_a_result]
    else:
        drawn = sample(asked.package or RULES["packages"], asked.n, asked.seed)
    by_package = defaultdict(list)
    for mutant in drawn:
        by_package[Path(mutant.file).parts[1]].append(mutant)
    with tempfile.TemporaryDirectory() as where:
        copies = [Path(where, str(number)).resolve() for number in range(asked.jobs)]
        for copy in copies:
            shutil.copytree(ROOT, copy, ignore=NOT_COPIED, symlinks=True)
        totals = []
        for package in sorted(by_package, key=RULES["packages"].index):
            lived, seconds = 0, 0.0
            for mutant, answer, took in run(package, by_package[package], copies):
                lived += answer == "survived"
                seconds += took
                if asked.at or answer == "survived":
                    print(f"{answer:.120}: {mutant}", flush=True)
            totals.append((package, len(by_package[package]), lived, seconds))
        for package, tried, lived, seconds in totals:
            print(f"{package}: {lived} of {tried} survived, {seconds / tried:.1f} s each")
        tried, lived = (sum(total[place] for total in totals) for place in (1, 2))
        print(f"{tried - lived} of {tried} killed.")


if __name__ == "__main__":
    main()
