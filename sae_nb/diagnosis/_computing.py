"""What panels need: widget packages, JupyterLab's extensions for them, a Chromium for the tests."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sae_nb.diagnosis._doctor import Finding
from sae_nb.diagnosis._machine import REINSTALL

if TYPE_CHECKING:
    from torch import Tensor


# -------------------------------------------------------------------------------------------------
# The compiled parts: Numba's layer, the CPU and GPU kernels against their definition, nnsight.


AGREEMENT = 1e-5
"""Largest difference between a kernel's codes and the definition's, on numbers of order one."""


def numba_layer() -> Finding:
    """Look at Numba and at how its parallel loops share the machine."""
    import numba

    from sae_nb import kernels

    kernels.warm_up()
    layer = numba.threading_layer()
    what = f"{numba.__version__}, layer {layer}, {numba.get_num_threads()} threads"
    if layer == "workqueue":
        what += "; kernels take turns, because this layer cannot be entered twice"
        fix = "Install OpenMP's runtime (libgomp1 on Debian, libomp on macOS) for parallel kernels."
        return Finding(name="numba", state="warn", what=what, fix=fix, essential=True)
    return Finding(name="numba", state="ok", what=what, essential=True)


def cpu_kernels() -> Finding:
    """Run a pursuit and a TopK encoding on the CPU kernels and on their definition."""
    started = time.perf_counter()
    difference = _difference("cpu", "cpu")
    seconds = time.perf_counter() - started
    if not difference <= AGREEMENT:  # not a number counts as different
        what = f"codes differ from the definition by {difference:.1e}, allowed is {AGREEMENT:.0e}"
        fix = "Use backend='reference', and report this with the lines above."
        return Finding(name="kernels", state="cannot", what=what, fix=fix, essential=True)
    what = f"agree with the definition to {difference:.0e}, compiled or loaded in {seconds:.1f} s"
    return Finding(name="kernels", state="ok", what=what, essential=True)


def cuda_kernels() -> Finding:
    """Run the same on the GPU's kernels."""
    import torch

    name = "cuda kernels"
    if not torch.cuda.is_available():
        return Finding(name=name, state="ok", what="not needed without a usable GPU")
    try:
        difference = _difference("cuda", "cuda")
    except (ValueError, ImportError) as error:
        major = str(torch.version.cuda).partition(".")[0]
        fix = f'Install them: python -m pip install "sae-nb[cuda{major}]".'
        return Finding(name=name, state="cannot", what=str(error), fix=fix)
    if not difference <= AGREEMENT:  # not a number counts as different
        what = f"codes differ from the definition by {difference:.1e}, allowed is {AGREEMENT:.0e}"
        fix = "Use backend='reference' on the GPU, and report this with the lines above."
        return Finding(name=name, state="cannot", what=what, fix=fix)
    what = f"agree with the definition to {difference:.0e}"
    return Finding(name=name, state="ok", what=what)


def _difference(backend: str, device: str) -> float:
    from sae_nb.kernels import topk_encode
    from sae_nb.pursuit import matching_pursuit

    x, dictionary = (tensor.to(device) for tensor in _case())
    pairs = [
        (
            matching_pursuit(x, dictionary, 4, backend=backend),
            matching_pursuit(x, dictionary, 4, backend="reference"),
        ),
        (
            topk_encode(x, dictionary, k=4, backend=backend),  # type: ignore[arg-type]
            topk_encode(x, dictionary, k=4, backend="reference"),
        ),
    ]
    return max(float((a.to_dense() - b.to_dense()).abs().max()) for a, b in pairs)


def _case() -> tuple[Tensor, Tensor]:
    """Sixteen inputs and 64 unit atoms of width 16, always the same."""
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 16, generator=generator)
    return x, torch.nn.functional.normalize(torch.randn(64, 16, generator=generator), dim=1)


def nnsight() -> Finding:
    """Capture from a toy module through nnsight and through a plain hook, and compare."""
    from importlib import metadata

    import torch

    from sae_nb.capturing import run_hooked
    from sae_nb.models import wrap

    model = wrap(torch.nn.Sequential(torch.nn.Linear(3, 3)))
    batch = next(iter(model.batches(torch.eye(3), batch_size=3)))
    point = [model.hook_point("0")]
    traced, hooked = (
        run_hooked(model, batch, point, backend=backend)[point[0]]
        for backend in ("nnsight", "hooks")
    )
    version = metadata.version("nnsight")
    if not torch.allclose(traced, hooked, atol=1e-6):
        what = f"{version} captures something else than a plain forward hook"
        fix = f"{REINSTALL} It pins a version that is known to agree."
        return Finding(name="nnsight", state="cannot", what=what, fix=fix, essential=True)
    what = f"{version}, agrees with a plain forward hook"
    return Finding(name="nnsight", state="ok", what=what, essential=True)


# -------------------------------------------------------------------------------------------------
# What panels need: widget packages, JupyterLab's extensions for them, a Chromium for the tests.


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
