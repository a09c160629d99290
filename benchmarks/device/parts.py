"""The parts of a run on a device that are no benchmark: facts, agreement with the CPU, training, a live model.

`python benchmarks/device/parts.py NAME --device cuda`; each line `RESULT {…}` is one finding. A part fails
where something disagrees, at the tolerances of `agree`: the same atoms up to ties, values to 1e-4, gradients
to 1e-3.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

VALUES, GRADIENTS = 1e-4, 1e-3
_bad: list[str] = []


def result(what: str, *, good: bool = True, **found: Any) -> None:
    """Print one finding; one that is not good fails the part."""
    if not good:
        _bad.append(what)
        found["good"] = False
    print("RESULT " + json.dumps({"what": what, **found}, default=str), flush=True)


def off(a: Tensor, b: Tensor) -> float:
    """Largest difference in units of the largest number."""
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))


def facts(device: str) -> None:
    """The card, its driver, and what is installed."""
    versions = {}
    for name in ("torch", "triton", "numba", "numba-cuda", "numpy", "nnsight", "transformers"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    result("software", python=platform.python_version(), cuda=torch.version.cuda, **versions)
    fields = "name,driver_version,memory.total,memory.used,clocks.sm,clocks.max.sm,clocks.mem,mig.mode.current"
    try:
        seen = subprocess.run(
            ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20,
        )  # fmt: skip
        result("nvidia-smi", said=(seen.stdout or seen.stderr).strip())
    except (OSError, subprocess.TimeoutExpired) as error:
        result("nvidia-smi", said=f"not there: {error}")
    try:
        from numba import cuda

        result("numba.cuda", usable=bool(cuda.is_available()), file=cuda.__file__)
    except (ImportError, AttributeError) as error:
        result("numba.cuda", good=False, said=f"cannot be imported: {error}")
    if device == "cuda":
        for index in range(torch.cuda.device_count()):
            p = torch.cuda.get_device_properties(index)
            result(
                f"cuda:{index}", name=p.name, capability=f"{p.major}.{p.minor}",
                multiprocessors=p.multi_processor_count, gib=round(p.total_memory / 2**30, 1),
                l2_mib=p.L2_cache_size / 2**20, shared_kib=p.shared_memory_per_block_optin / 1024,
            )  # fmt: skip


def problem(device: str) -> tuple[Tensor, Tensor, int, str]:
    """Inputs, atoms, k and the backend under test; of a simulator's size without a device."""
    rows, d_in, n_atoms, k = (2048, 256, 4096, 16) if device == "cuda" else (4, 8, 24, 3)
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(n_atoms, d_in, generator=generator)
    atoms /= atoms.norm(dim=1, keepdim=True)
    return torch.randn(rows, d_in, generator=generator), atoms, k, "cuda"


def agree(device: str) -> None:
    """Codes and gradients of the device against the CPU's, the deterministic flag, a stream of one's own."""
    from sae_nb.kernels import squared_error, topk_encode
    from sae_nb.pursuit import matching_pursuit, orthogonal_matching_pursuit

    x, atoms, k, backend = problem(device)

    def pursued(pursuit: Any, where: str, backend: str, rows: Tensor) -> tuple[Tensor, Tensor]:
        weight = atoms.to(where).requires_grad_()
        codes = pursuit(rows.to(where), weight, k, backend=backend)
        return codes.to_dense(), torch.autograd.grad(codes.values.square().sum(), weight)[0]

    def encoded(where: str, rows: Tensor) -> tuple[Tensor, Tensor]:
        weight, inputs = atoms.to(where).requires_grad_(), rows.to(where)
        codes = topk_encode(inputs, weight, k=k)
        error, *_ = squared_error(codes, weight, None, inputs)
        return codes.to_dense(), torch.autograd.grad(error, weight)[0]

    for name, pursuit in (("mp", matching_pursuit), ("omp", orthogonal_matching_pursuit)):
        there, here = (
            partial(pursued, pursuit, device, backend),
            partial(pursued, pursuit, "cpu", "cpu"),
        )
        compared(name, there, here, x)
    if device != "cuda":
        result("topk", said="not tried: no device")
        return
    torch.use_deterministic_algorithms(True)
    twice = [encoded("cuda", x) for _ in range(2)]
    torch.use_deterministic_algorithms(False)
    same = all(torch.equal(a, b) for a, b in zip(*twice, strict=True))
    result("topk again, deterministic flag", good=same, equal=same)
    compared("topk", partial(encoded, "cuda"), partial(encoded, "cpu"), x)
    with torch.cuda.stream(torch.cuda.Stream()):
        other = matching_pursuit(x.cuda(), atoms.cuda(), k, backend="cuda").to_dense()
        torch.cuda.current_stream().synchronize()
    plain = matching_pursuit(x.cuda(), atoms.cuda(), k, backend="cuda").to_dense()
    result(
        "mp on a stream of its own", good=torch.equal(other, plain), equal=torch.equal(other, plain)
    )
    if torch.cuda.device_count() > 1:
        second = matching_pursuit(x.to("cuda:1"), atoms.to("cuda:1"), k, backend="cuda").to_dense()
        result("mp on cuda:1", good=off(second, plain) <= VALUES, off=off(second, plain))
    else:
        result("mp on cuda:1", said="not tried: one device")


Coded = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Rows → their codes, and the gradient of the atoms."""


def compared(name: str, there: Coded, here: Coded, x: Tensor) -> None:
    """Say how far codes and gradients of one encoder lie apart; rows with a tie choose freely."""
    ours, expected = (coded(x)[0].detach().cpu() for coded in (there, here))
    same = ((ours != 0) == (expected != 0)).all(dim=1)
    values = off(ours[same], expected[same])
    # The gradient of all rows would be that of other atoms in the rows with a tie.
    slopes = off(there(x[same])[1], here(x[same])[1])
    good = float(same.double().mean()) >= 0.999 and values <= VALUES and slopes <= GRADIENTS
    result(
        name, good=good, same_support=f"{float(same.double().mean()):.4f}",
        values=f"{values:.1e}", gradient=f"{slopes:.1e}",
    )  # fmt: skip


def training(device: str) -> None:
    """The same short trainings on the device and on the CPU: R² of both, and milliseconds a step."""
    import sae_nb as sn
    from sae_nb.architectures import BatchTopK, MatchingPursuit, TopK

    d_in, n_atoms, rows, steps = (64, 512, 8192, 200) if device == "cuda" else (16, 64, 512, 20)
    generator = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(n_atoms, d_in, generator=generator), dim=1)
    chosen = torch.randint(n_atoms, (rows, 8), generator=generator)
    x = atoms[chosen].sum(dim=1)
    for architecture in (TopK, BatchTopK, MatchingPursuit):
        found = {}
        for where in ("cpu", device) if device != "cpu" else ("cpu",):
            sae = architecture(d_in, n_atoms, 8, generator=torch.Generator().manual_seed(1))
            config = sn.TrainConfig(steps=steps, batch_size=512, precision="float32")
            began = time.perf_counter()
            sn.train(sae.to(where), x.to(where), config, progress=False)
            seconds = time.perf_counter() - began
            with torch.no_grad():
                x_hat = sae.to("cpu")(x)
            r2 = float(1 - (x - x_hat).square().sum() / (x - x.mean(dim=0)).square().sum())
            found[where] = (r2, 1e3 * seconds / steps)
        (a, _), (b, _) = found["cpu"], found[device]
        said = {w: f"R² {r2:.3f}, {ms:.1f} ms a step" for w, (r2, ms) in found.items()}
        result(f"training {architecture.__name__}", good=abs(a - b) <= 0.02, **said)


def live_model(device: str) -> None:
    """Capture and steering of the bundled model on the device against the CPU, and capture's ratio to hooks."""
    import sae_nb as sn

    texts = ["Once upon a time there was a small dog.", "The sun was warm and the"] * 8
    answers = []
    for where in ("cpu", device):
        model = sn.load_model("tiny-gpt", device=where)
        acts = sn.capture(model, texts, "resid_post.2", progress=False)
        direction = sn.random_direction(acts.d_in, 0)
        with sn.steer(model, "resid_post.2", direction=direction, by=4.0), torch.no_grad():
            steered = model(texts[0]).logits
        answers.append((acts.x, steered))
    for name, a, b in zip(("capture", "steering"), answers[1], answers[0], strict=True):
        result(name, good=off(a, b) <= 1e-3, off=f"{off(a, b):.1e}")


def doctor(_device: str) -> None:
    """What `sae-nb doctor` says of the device."""
    from sae_nb import doctor as examine

    for finding in examine("torch", "gpu", "kernels", "cuda kernels", "accelerator", "nnsight"):
        result(finding.name, good=finding.state != "cannot", state=finding.state, said=finding.what)


def bad_input(device: str) -> None:
    """What is refused, and that the device is usable afterwards."""
    from sae_nb.pursuit import matching_pursuit

    x, atoms, k, backend = problem(device)
    x, atoms = x.to(device), atoms.to(device)
    broken = x.clone()
    broken[1, 0] = torch.nan
    refused("NaN rows", ValueError, lambda: matching_pursuit(broken, atoms, k, backend=backend))
    refused(
        "no room", MemoryError,
        lambda: matching_pursuit(x, atoms, k, backend=backend, memory_cap=100),
    )  # fmt: skip
    hidden = "import torch, sae_nb as sn; print(sn.doctor('gpu')['gpu'].what)"
    import os

    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    seen = subprocess.run(
        [sys.executable, "-c", hidden], env=environment, capture_output=True, text=True, timeout=50
    )
    result(
        'CUDA_VISIBLE_DEVICES=""',
        good=seen.returncode == 0,
        said=seen.stdout.strip() or seen.stderr[-300:],
    )
    both = [subprocess.Popen([sys.executable, __file__, "one", "--device", device]) for _ in "ab"]
    codes = [process.wait() for process in both]
    result("two processes on one device", good=codes == [0, 0], exit_codes=codes)
    after = matching_pursuit(x, atoms, k, backend=backend)
    result("usable afterwards", entries=after.nnz)


def refused(what: str, kind: type[Exception], call: Callable[[], object]) -> None:
    """A call that has to be refused, with its sentence."""
    try:
        call()
    except kind as error:
        result(what, said=str(error)[:200])
    else:
        result(what, good=False, said="was not refused")


def one(device: str) -> None:
    """One pursuit, for two processes at once."""
    from sae_nb.pursuit import matching_pursuit

    x, atoms, k, backend = problem(device)
    for _ in range(20 if device == "cuda" else 1):
        matching_pursuit(x.to(device), atoms.to(device), k, backend=backend)


PARTS = {f.__name__: f for f in (facts, agree, training, live_model, doctor, bad_input, one)}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    if options.device == "cpu":
        importlib.import_module("simulator")
    PARTS[options.part](options.device)
    if _bad:
        sys.exit(f"not as it should be: {', '.join(_bad)}")


if __name__ == "__main__":
    main()
