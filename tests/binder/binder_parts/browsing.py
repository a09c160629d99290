"""A visitor's browser, and the gallery opened in it from disk."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from binder_parts.tables import Opened

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 240


def browser_tests() -> ModuleType:
    """The browser tests' own knowledge of Chromium and JupyterLab."""
    spec = importlib.util.spec_from_file_location("lab", ROOT / "tests" / "browser" / "lab.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def browser(problems: list[str]) -> Iterator[Any]:
    """A new Chromium with an empty profile; yields a page that reports errors and requests outside."""
    from playwright.sync_api import sync_playwright

    lab = browser_tests()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=lab.chromium(), args=lab.CHROMIUM_FLAGS
        )
        page = chromium.new_page(viewport={"width": 1280, "height": 1600})
        page.set_default_timeout(SECONDS * 1000)
        page.on("pageerror", lambda error: problems.append(f"page: {error}"))

        def asked(request: Any) -> None:
            local = ("http://127.0.0.1", "ws://127.0.0.1", "file:", "data:", "blob:")
            if not request.url.startswith(local):
                problems.append(f"outside: {request.url[:100]}")

        page.on("request", asked)
        yield page
        chromium.close()


def gallery(folder: Path, times: int) -> dict[str, Opened]:
    """Every page of the gallery, as often as there are visitors, in a new browser each time."""
    pages = {page.name: Opened() for page in sorted(folder.glob("*.html"))}
    for _ in range(times):
        problems: list[str] = []
        with browser(problems) as page:
            for name, opened in pages.items():
                begun = time.monotonic()
                page.goto((folder / name).as_uri(), wait_until="load")
                if name != "index.html":
                    page.locator(".sae-nb-panel, .js-plotly-plot, canvas, svg").first.wait_for()
                opened.seconds.append(time.monotonic() - begun)
                opened.problems += problems
                problems.clear()
    return pages
