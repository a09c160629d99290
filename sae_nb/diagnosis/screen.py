"""What panels need: widget packages, JupyterLab's extensions for them, a Chromium for the tests."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

from sae_nb.diagnosis.findings import Finding
from sae_nb.diagnosis.machine import REINSTALL

WIDGET_PACKAGES = ("ipywidgets", "anywidget", "plotly")
EXTENSIONS = ("@jupyter-widgets/jupyterlab-manager", "anywidget")
"""What JupyterLab, Notebook 7 and Voila load in the browser; pip brings them."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def widgets() -> Finding:
    """Look at the packages panels are made of, without importing them."""
    missing = [name for name in WIDGET_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        what = f"{', '.join(missing)} missing: panels cannot be drawn, everything else works"
        return Finding(name="widgets", state="cannot", what=what, fix=REINSTALL)
    what = ", ".join(f"{name} {metadata.version(name)}" for name in WIDGET_PACKAGES)
    return Finding(name="widgets", state="ok", what=what)


def lab() -> Finding:
    """Look for JupyterLab and the extensions that draw widgets in the browser."""
    if importlib.util.find_spec("jupyterlab") is None:
        what = "JupyterLab is not in this environment; a kernel used from another one is fine"
        fix = "Install it with `python -m pip install jupyterlab`, or install ipywidgets and anywidget there."
        return Finding(name="jupyterlab", state="warn", what=what, fix=fix)
    found = {name: _extension(name) for name in EXTENSIONS}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        what = f"JupyterLab has no extension {', '.join(missing)}: panels show as text"
        fix = "Run `python -m pip install --force-reinstall --no-deps ipywidgets jupyterlab_widgets anywidget`."
        return Finding(name="jupyterlab", state="cannot", what=what, fix=fix)
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    return Finding(
        name="jupyterlab", state="ok", what=f"{metadata.version('jupyterlab')} with {versions}"
    )


def _extension(name: str) -> str | None:
    """Version of a browser extension, or None where it is not installed."""
    for folder in _extension_folders():
        facts = folder / name / "package.json"
        if facts.is_file():
            return str(json.loads(facts.read_text(encoding="utf-8")).get("version", "?"))
    return None


def _extension_folders() -> list[Path]:
    try:
        from jupyter_core.paths import jupyter_path
    except ImportError:
        return [Path(sys.prefix) / "share" / "jupyter" / "labextensions"]
    return [Path(folder) for folder in jupyter_path("labextensions")]


def chromium() -> Finding:
    """Look for a browser that tests can drive; nobody else needs one."""
    if find_chromium() is not None:
        return Finding(name="chromium", state="ok", what="here, for the browser tests")
    what = "none; only the browser tests need it, and they skip"
    fix = "Install chromium, or name one in SAE_NB_CHROMIUM, to run them."
    return Finding(name="chromium", state="warn", what=what, fix=fix)


def find_chromium() -> str | None:
    """Return the command of a Chromium that can be driven, or None."""
    names = (os.environ.get("SAE_NB_CHROMIUM"), *BROWSERS)
    return next((found for name in names if name and (found := shutil.which(name))), None)
