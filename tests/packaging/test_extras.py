"""Extras: what an error tells people to install is there, and every extra is named where it is needed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from sae_nb.models import _placing as placing

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
NAMED = re.compile(r"sae-nb\[([\w{}\[\], ]+?)\]['\"\s`]")
# What builds, tests and documents the checkout: no call of a user needs it.
OF_THE_CHECKOUT = {"binder", "dev", "docs"}


def _named(*patterns: str) -> dict[str, set[str]]:
    """Extras by the files that tell people to install them."""
    found: dict[str, set[str]] = {}
    for path in (path for pattern in patterns for path in ROOT.glob(pattern)):
        for names in NAMED.findall(path.read_text(encoding="utf-8")):
            for name in names.split(","):
                found.setdefault(name.strip(), set()).add(path.relative_to(ROOT).as_posix())
    return found


def test_every_extra_that_is_named_exists() -> None:
    """In sources, pages and READMEs; those that are filled in at run time are held to below."""
    named = _named("sae_nb/**/*.py", "widgets/**/*.py", "notebooks/**/*.py", "*.md", "docs/**/*.md")
    by_value = {name for name in named if "{" in name}
    assert set(named) - by_value <= set(EXTRAS), named
    assert by_value == {"EXTRAS[package]", "cuda{major}"}
    assert set(placing.EXTRAS.values()) | {"cuda12", "cuda13"} <= set(EXTRAS)


def test_every_extra_is_on_the_page_of_installing_or_of_the_checkout() -> None:
    """With what needs it."""
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(\w+)` \|", page, re.M))
    assert told == set(EXTRAS) - OF_THE_CHECKOUT


@pytest.mark.parametrize("package", placing.EXTRAS)
def test_an_extra_brings_the_package_that_the_error_asks_for(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a package is missing, the command in the error installs it."""
    monkeypatch.setattr(placing, "_has", lambda _: False)
    with pytest.raises(ModuleNotFoundError, match=r"sae-nb\[") as caught:
        placing._need(package, "`bits=8`", "Leave it out")
    (extra,) = re.findall(r'pip install "sae-nb\[(\w+)\]"', str(caught.value))
    assert any(requirement.startswith(package) for requirement in EXTRAS[extra])


def test_the_lowest_versions_are_those_of_the_bounds() -> None:
    """One line per dependency, with the version that its `>=` names."""
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    lowest = [line.split("==") for line in lines if not line.startswith("#")]
    bounds = [re.split(r">=|,", requirement)[:2] for requirement in PROJECT["dependencies"]]
    assert [name for name, _ in lowest] == [name for name, _ in bounds]
    for (name, version), (_, bound) in zip(lowest, bounds, strict=True):
        assert version == bound or version.removesuffix(".0").startswith(bound), name
