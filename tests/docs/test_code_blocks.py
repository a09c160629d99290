"""What a page shows runs as shown: in one process, offline, page by page."""

from __future__ import annotations

import linecache
import re
import runpy
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from tests.small_dino import save_dino, save_images

BLOCK = re.compile(
    r"(<!-- not run: (?P<why>[^\n]+?) -->\n)?```python\n(?P<code>.*?)^```", re.S | re.M
)
PAGES = Path(__file__).parents[2] / "docs"
QUICK_START = PAGES / "quickstart.md"
DINO = PAGES / "howto" / "dinov2.md"
README = PAGES.parent / "README.md"
SKILL = PAGES / "skills" / "sae-nb" / "SKILL.md"
IDIOMS = PAGES / "coming-from.md"
TOUR = PAGES.parent / "notebooks" / "00_tour.py"
OTHERS = sorted(
    page
    for page in [
        PAGES / "coming-from.md",
        PAGES / "install.md",
        *PAGES.glob("howto/*.md"),
        *PAGES.glob("methods/*.md"),
    ]
    if "```python" in page.read_text(encoding="utf-8")
)


def _run(page: Path, names: dict[str, object]) -> dict[str, object]:
    """Every block of a page in order; those that cannot run here must say why, and be Python."""
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        name = f"<{page.name}, {block.start()}>"
        code = compile(block["code"], name, "exec")
        if not block["why"]:
            # nnsight reads the source of a trace, as it does in a notebook's cell.
            linecache.cache[name] = len(block[0]), None, block["code"].splitlines(True), name
            exec(code, names)
    return names


@pytest.fixture(autouse=True, scope="module")
def offline() -> Iterator[None]:
    """No page that runs needs the network, the quick start included."""

    def refuse(*_: object) -> None:
        raise OSError("a page asked for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Pages may draw from torch's global generator."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def quick_start(offline: None) -> dict[str, object]:
    """The names that the quick start leaves."""
    torch.manual_seed(0)
    return _run(QUICK_START, {})


@pytest.mark.slow
def test_the_quick_start_runs_as_shown(quick_start: dict[str, object]) -> None:
    """From nothing to a steered model and a saved SAE."""
    assert {"model", "acts", "sae", "report", "browser", "steered", "again"} <= set(quick_start)


@pytest.mark.slow
def test_the_readme_runs_as_shown_and_the_tour_begins_with_its_lines() -> None:
    """The main job; the tour's page shows the very same lines."""
    names = _run(README, {})
    assert {"model", "acts", "sae", "report", "browser", "answers"} <= set(names)
    blocks = BLOCK.finditer(README.read_text(encoding="utf-8"))
    main_job = next(block["code"] for block in blocks if not block["why"])
    shown = "".join(f"# {line}".rstrip() + "\n" for line in main_job.splitlines())
    assert shown in TOUR.read_text(encoding="utf-8")


@pytest.mark.parametrize("library", ["TransformerLens", "nnsight", "SAELens", "Hugging Face"])
def test_each_idiom_of_another_library_has_one_here_that_runs(library: str) -> None:
    """Ten rows at least from each of the three; the right-hand sides run in order, after the page's first block."""
    page = IDIOMS.read_text(encoding="utf-8")
    names: dict[str, object] = {}
    exec(next(BLOCK.finditer(page))["code"], names)
    _, _, section = page.partition(f"\n## From {library}")
    rows = re.findall(r"^\| .+ \| `([^`]+)` \|$", section.partition("\n## ")[0], re.M)
    assert len(rows) >= (10 if library != "Hugging Face" else 4)
    for here in rows:
        # One line of a table is a block of several lines in a cell, as nnsight needs it.
        lines = re.sub(r"^(with [^\n]+?): (?=\S)", r"\1:\n    ", here)
        try:
            exec(compile(lines, "<idiom>", "exec"), names)
        except Exception as error:
            raise AssertionError(f"{here}: {error}") from error


@pytest.mark.slow
def test_the_skill_of_agents_runs_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing; its head says the name of its folder, as programs that read skills ask."""
    monkeypatch.chdir(tmp_path)
    assert {"found", "names", "effects", "again"} <= set(_run(SKILL, {}))
    _, head, _ = SKILL.read_text(encoding="utf-8").split("---\n", 2)
    said = yaml.safe_load(head)
    assert said["name"] == SKILL.parent.name
    assert len(said["description"]) <= 1024


def _stage_dino(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put there what the page fetches and trains: random weights of twelve narrow blocks, and their SAE."""
    monkeypatch.setenv("SAE_NB_CACHE", str(folder / "cache"))
    save_dino(folder / "cache" / "models" / "dinov2-small", n_blocks=12)
    save_images(folder / "photos", 12)
    command = "patches dinov2-small --images photos --out dino-sae"
    assert f"python -m sae_nb_studies.recipes.saes {command}\n" in DINO.read_text(encoding="utf-8")
    size = "--n-atoms 12 --k 2 --n-candidates 16 --steps 20"
    monkeypatch.setattr(sys, "argv", ["making", *command.split(), *size.split()])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("sae_nb_studies.recipes.saes", run_name="__main__")


@pytest.mark.slow
@pytest.mark.parametrize("page", OTHERS, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_a_page_runs_as_shown(
    page: Path, quick_start: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given what the quick start leaves, and nothing else."""
    monkeypatch.chdir(tmp_path)  # what a page writes is no part of the checkout
    if page == DINO:
        _stage_dino(tmp_path, monkeypatch)
    from sae_nb import architectures

    registered = dict(architectures.ARCHITECTURES)
    try:
        _run(page, dict(quick_start))
    finally:
        architectures.ARCHITECTURES.clear()
        architectures.ARCHITECTURES.update(registered)


def test_no_block_escapes() -> None:
    """Python blocks stand at the margin, where the test above finds them."""
    for page in PAGES.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert len(BLOCK.findall(text)) == text.count("```python"), page
