"""The compiled parts: Numba's layer, the CPU and GPU kernels against their definition, nnsight."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sae_nb.diagnosis.findings import Finding
from sae_nb.diagnosis.machine import REINSTALL

if TYPE_CHECKING:
    from torch import Tensor

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
