"""Mutants: does a test fail when one operator or number of the code is another?

`python tests/mutants.py --seed 1` draws a sample of the mutants that mutants.toml asks for, runs the quick
tests of the mutant's own folder against each, and prints those that no test noticed. `--at FILE:LINE` tries
all mutants of a line instead, also while a test is being written.

No file is touched. The tests of a folder are collected once; each mutant is tried in a fork, in which the
function that it changes has other code. What runs on import (constants, what a call leaves out) is imported
anew. Tests that name the function come first, and the first that fails ends the trial. Those that failed must
pass without a mutant.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import inspect
import json
import math
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property, partial
from importlib.machinery import SourceFileLoader
from itertools import islice
from pathlib import Path
from types import CodeType, FunctionType
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
# A mutant may ask for any size and never end: bytes, seconds of the processor for one test, seconds for all.
MEMORY, TEST_SECONDS, SECONDS = 24 * 2**30, 180, 1800
NOTICED = "noticed by "
FLAGS = ["-q", "-s", "-x", "-p", "no:cacheprovider", "--disable-warnings", "--tb=line", "-m"]
FLAGS += ["not slow and not browser"]


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

    @property
    def package(self) -> str:
        return Path(self.file).parts[1]

    @property
    def folder(self) -> str:
        """Where the tests of its package are."""
        return "tests/" + RULES["folders"].get(self.package, self.package)

    @cached_property
    def codes(self) -> tuple[CodeType, CodeType] | None:
        """Code of the function that it changes, before and after; None where it changes what runs on import."""
        path = ROOT / self.file
        old, new = (
            compile(text, str(path), "exec", dont_inherit=True)
            for text in (path.read_text(), self.source)
        )
        while (pair := _first_other(old, new)) is not None:
            old, new = pair
            if old.co_flags & inspect.CO_OPTIMIZED:
                return pair
        return None

    @cached_property
    def names(self) -> set[str]:
        """What stands around its line or is assigned there, and what in its file uses that."""
        tree = ast.parse((ROOT / self.file).read_text())
        here = [
            n
            for n in ast.walk(tree)
            if getattr(n, "lineno", self.line + 1) <= self.line <= n.end_lineno
        ]
        found = {n.name for n in here if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        found = found or {n.id for n in here if isinstance(n, ast.Name)}
        users = {
            n.name: ast.unparse(n)
            for n in tree.body
            if isinstance(n, ast.FunctionDef | ast.ClassDef)
        }
        for _ in range(3):
            found |= {name for name, text in users.items() if mentions(text, found)}
        return {name for name in found if not name.startswith("__")}


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


def mentions(text: str, names: set[str]) -> int:
    """How many of some names a text has, also without what marks them as private."""
    words = set(re.findall(r"\w+", text))
    return sum(name in words or name.lstrip("_") in words for name in names)


def _first_other(old: CodeType, new: CodeType) -> tuple[CodeType, CodeType] | None:
    """The first code within two that differs; None where they themselves do."""
    inner = [[c for c in code.co_consts if isinstance(c, CodeType)] for code in (old, new)]
    own = [
        (code.co_code, [repr(c) for c in code.co_consts if not isinstance(c, CodeType)], len(parts))
        for code, parts in zip((old, new), inner, strict=True)
    ]
    if own[0] != own[1]:
        return None
    return next((pair for pair in zip(*inner, strict=True) if pair[0] != pair[1]), None)


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


class Trial:
    """A plugin of pytest: the tests likeliest to fail come first, and the first that fails ends the process."""

    def __init__(self, mutant: Mutant | None = None) -> None:
        self.mutant = mutant

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        """Spend no time on a smaller counterexample."""
        import hypothesis

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile(
            "mutants", parent=hypothesis.settings.default, phases=phases
        )
        hypothesis.settings.load_profile("mutants")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.mutant is not None:
            items[:] = in_order(self.mutant, items)

    def pytest_runtest_logstart(self) -> None:
        used = int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used + TEST_SECONDS, resource.RLIM_INFINITY))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os.write(1, f"\n{NOTICED}{report.nodeid}\n".encode())
            os._exit(1)


class Trials:
    """A plugin of pytest: tries mutants of functions on tests that are collected once, each in a fork."""

    def __init__(self, mutants: list[Mutant], noticed: set[str], kept: Path) -> None:
        self.mutants, self.noticed, self.kept = mutants, noticed, kept

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        gc.unfreeze()  # what conftest.py froze is not listed
        found = [self._tried(mutant, session.items) for mutant in self.mutants]
        noticed = self.noticed | {answer for answer, _ in found}
        some = [item for item in session.items if NOTICED + item.nodeid in noticed]
        plain, _ = answered(lambda: run_items(some), self.kept.with_suffix(".log"))
        self.kept.write_text(json.dumps([plain, found]))
        return True

    def _tried(self, mutant: Mutant, items: list[pytest.Item]) -> tuple[str, float]:
        importlib.import_module(
            ".".join(Path(mutant.file).with_suffix("").parts).removesuffix(".__init__")
        )
        assert mutant.codes is not None
        old, new = mutant.codes
        changed = [f for f in gc.get_objects() if type(f) is FunctionType and f.__code__ == old]

        def work() -> int:
            for function in changed:
                function.__code__ = new
            return run_items(in_order(mutant, items))

        return answered(with_loops_of_its_own(mutant, work), self.kept.with_suffix(".log"))


def in_order(mutant: Mutant, items: list[pytest.Item]) -> list[pytest.Item]:
    """Tests that mention most of what the mutant changes, then the file of the module's name, then those files."""
    score = {file: mentions(file.read_text(), mutant.names) for file in {i.path for i in items}}
    own = f"test_{Path(mutant.file).stem.strip('_')}"

    def rank(item: pytest.Item) -> tuple[Any, ...]:
        said = mentions(inspect.getsource(getattr(item, "function", rank)), mutant.names)
        return -said, item.path.stem != own, -score[item.path], str(item.path)

    return sorted(items, key=rank)


def run_items(items: list[pytest.Item]) -> int:
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    return 0


def with_loops_of_its_own(mutant: Mutant, work: Callable[[], int]) -> Callable[[], int]:
    """What Numba keeps of a loop does not know of those that it calls."""
    compiled = mutant.package in ("kernels", "pursuit") or "@compiled" in mutant.source
    if not compiled:
        return work

    def alone() -> int:
        import numba

        with tempfile.TemporaryDirectory() as loops:
            numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"] = loops
            return work()

    return alone


def imported_anew(mutant: Mutant) -> int:
    """Run the tests of a folder with a mutant of what runs on import."""
    path, read = str(ROOT / mutant.file), SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, name: str) -> CodeType | None:
        if self.path == path:
            return compile(mutant.source, path, "exec", dont_inherit=True)
        return read(self, name)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
    return int(pytest.main([*FLAGS, mutant.folder], plugins=[Trial(mutant)]))


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


def answered(work: Callable[[], int], log: Path) -> tuple[str, float]:
    """Say how tests answer a mutant: survived, or what noticed it; and in how many seconds."""
    begun = time.monotonic()
    code = forked(work, log, SECONDS)
    said = log.read_text(errors="replace").splitlines()
    answer = next((line for line in reversed(said) if line.startswith(NOTICED)), "")
    if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        answer = "survived"
    elif code in (None, -signal.SIGXCPU):
        answer = "time limit"
    return answer or f"ended with {code}", time.monotonic() - begun


def run(drawn: list[Mutant]) -> list[tuple[Mutant, str, float]]:
    """Try mutants of one package."""
    with tempfile.TemporaryDirectory() as where:
        log, kept = Path(where, "log"), Path(where, "kept.json")
        anew = {
            mutant: answered(with_loops_of_its_own(mutant, partial(imported_anew, mutant)), log)
            for mutant in drawn
            if mutant.codes is None
        }
        rest = [mutant for mutant in drawn if mutant not in anew]
        trials = Trials(rest, {answer for answer, _ in anew.values()}, kept)
        plugins = [Trial(), trials]
        forked(lambda: int(pytest.main([*FLAGS, drawn[0].folder], plugins=plugins)), log, math.inf)
        if not kept.exists():
            sys.exit(f"Tests cannot be collected:\n{log.read_text(errors='replace')}")
        plain, found = json.loads(kept.read_text())
    if plain != "survived":
        sys.exit(f"Without a mutant: {plain}.")
    answers = anew | dict(zip(rest, map(tuple, found), strict=True))
    return [(mutant, *answers[mutant]) for mutant in drawn]


def main() -> None:
    """Draw, try, and print what survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--package", choices=RULES["packages"], action="append")
    parser.add_argument("--at", nargs="+", metavar="FILE:LINE", help="all mutants of lines instead")
    parser.add_argument("--jobs", type=int, default=1, help="packages that are tried at a time")
    asked = parser.parse_args()
    for threads in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(threads, "1")
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), *(str(ROOT / part) for part in ("widgets", "studies", "notebooks"))]
    if asked.at:
        found = [place for at in asked.at for place in places(ROOT / at.partition(":")[0])]
        here = [place for place in found if f"{place.name}:{place.line}" in asked.at]
        tried = dict.fromkeys(place.mutant(way) for place in here for way in place.ways)
        drawn = [mutant for mutant in tried if mutant and mutant.changes_a_result]
    else:
        drawn = sample(asked.package or RULES["packages"], asked.n, asked.seed)
    by_package = defaultdict(list)
    for mutant in drawn:
        by_package[mutant.package].append(mutant)
    totals = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        for found in pool.map(run, by_package.values()):
            for mutant, answer, _ in found:
                if asked.at or answer == "survived":
                    print(f"{answer}: {mutant}", flush=True)
            lived = sum(answer == "survived" for _, answer, _ in found)
            seconds = sum(took for *_, took in found) / len(found)
            totals.append((found[0][0].package, lived, len(found), seconds))
    for package, lived, tried, seconds in totals:
        print(f"{package}: {lived} of {tried} survived, {seconds:.1f} s each")
    tried, lived = (sum(total[place] for total in totals) for place in (2, 1))
    print(f"{tried - lived} of {tried} killed.")


if __name__ == "__main__":
    main()
