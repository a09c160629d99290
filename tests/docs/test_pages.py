"""Pages say what is so today: their links, names, figures and messages are those of the code."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import pytest
from sae_nb_lessons import recorded

import sae_nb as sn
from sae_nb_studies.reproductions import experiment_names

Tool = Callable[[str], ModuleType]
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_api_holds_every_public_name(docs: Path, tool: Tool) -> None:
    """Those of `sae_nb`, its packages, panels and lessons; read from the modules, they are the real ones."""
    names = tool("public_names")
    others = (getattr(sn, name) for name in dir(sn) if name not in sn.__all__)
    packages = {one.__name__ for one in others if isinstance(one, ModuleType)}
    assert len(packages) > 15
    assert packages | {"sae_nb", "sae_nb_widgets", "sae_nb_lessons"} <= set(names.pages())
    for package, page in names.pages().items():
        assert f"<!-- api: {package} -->" in (docs / "api" / page).read_text(encoding="utf-8")
        module = importlib.import_module(package)
        assert sorted(names.homes(package)) == sorted(module.__all__)
        documented = names.api(package)
        for name, home in names.homes(package).items():
            _, path = names.place_of(home)
            assert f"::: {path}\n" in documented or f"#{path})" in documented
            for dotted in (home, path):
                where, _, last = dotted.rpartition(".")
                # A module answers wrong calls around the function that stands in the file.
                there = inspect.unwrap(getattr(importlib.import_module(where), last))
                assert there is inspect.unwrap(getattr(module, name))


def test_a_quoted_number_is_the_artefacts(tool: Tool) -> None:
    """Mean and spread as the notebooks read them, verdict as the table has it."""
    measured, shown = tool("measured"), recorded("monotone")
    number = shown.of("mp r2 k=2")
    assert measured.number("monotone / mp r2 k=2") == f"{number.mean:.3g} ± {number.sd:.3g}"
    cells = measured.numbers("monotone / mp r2 / k=2, k=gone")
    assert cells == f"{measured.number('monotone / mp r2 k=2')} | —"
    two_sided = measured.claim("hierarchy / hierarchy and correlation")
    assert two_sided.count("| PP, ρ 0.1 |") == 2
    name = "coherent globally, orthogonal locally"
    box = measured.claim(f"monotone / {name}")
    assert box.startswith("!!! ")
    assert shown.verdict(name) in box.lower()
    assert len(re.findall(r"^    \| ", box, re.M)) == 1 + len(shown.table(name))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "claim: monotone / gone",
        "claims: gone",
        "number: monotone / gone",
        "numbers: bench_references / gone / trained",
        "measured: gone",
        "classes: gone",
        "table: pursuit / gone",
        "table: gone / 1",
        "gone: 1",
    ],
)
def test_what_is_gone_stops_the_build(tool: Tool, name: str) -> None:
    """A page cannot quote a figure, table or message that is not there."""
    with pytest.raises(ValueError):
        tool("macros").expand(f"<!-- {name} --><!-- end -->")


def test_classes_of_transformers_are_counted_from_what_was_found(tool: Tool) -> None:
    """Of each kind, how many, how many were built, how many are right."""
    found = json.loads((ROOT / "tests" / "families" / "found.json").read_text("utf-8"))["rows"]
    table = tool("tables").classes("counts")
    for kind in {one["kind"] for one in found}:
        mine = [one for one in found if one["kind"] == kind]
        built = [one for one in mine if one["built"]]
        right = sum(one["right"] for one in built)
        assert f"| {kind} | {len(mine)} | {len(built)} | {right} |" in table


def test_benchmark_tables_are_copied_whole(tool: Tool) -> None:
    """Every row of a table, and when, where and how it was measured."""
    shown = tool("measured").benchmark_table("one_step / every one-step SAE")
    file = ROOT / "benchmarks" / "results" / "one_step.json"
    kept = json.loads(file.read_text(encoding="utf-8"))["every one-step SAE"]
    assert shown.splitlines()[0] == f"| {' | '.join(kept['columns'])} |"
    assert all(f"| {' | '.join(row)} |" in shown for row in kept["rows"])
    assert kept["date"] in shown
    assert kept["machine"] in shown


def test_a_page_that_loads_from_elsewhere_stops_the_build(tool: Tool) -> None:
    """A script, picture or sheet of another machine; links to click are free."""
    guard, page = tool("macros").on_post_page, type("Page", (), {})()
    page.file = type("File", (), {"src_uri": "x.md"})()
    assert guard('<a href="https://arxiv.org">paper</a>', page=page)
    for loads in (
        '<script src="https://elsewhere.example/x.js"></script>',
        '<link rel="stylesheet" href="https://elsewhere.example/x.css">',
        '<img src="//elsewhere.example/x.png">',
    ):
        with pytest.raises(ValueError, match="keep everything on the site"):
            guard(loads, page=page)


@pytest.mark.slow
def test_the_reference_writes_options_out(tool: Tool) -> None:
    """A page lists the parameters that `help` lists, where a data class declares them."""
    griffe = pytest.importorskip("griffe")
    extensions = griffe.Extensions(tool("reference").SpelledOut())
    package = griffe.load(
        "sae_nb", search_paths=[ROOT], extensions=extensions, allow_inspection=False
    )
    for function in (sn.capture, sn.stream, sn.train):
        path = f"{function.__module__}.{function.__name__}".removeprefix("sae_nb.")
        shown = [parameter.name for parameter in package[path].parameters]
        assert shown == list(inspect.signature(function).parameters)


def test_every_paper_names_a_call_that_is_there(tool: Tool) -> None:
    for entry in tool("papers").entries("named"):
        assert {"call", "experiment", "out"} & set(entry), entry
        if "call" in entry:
            attrgetter(entry["call"].removeprefix("sn."))(sn)
        if "experiment" in entry:
            assert entry["experiment"] in experiment_names()
