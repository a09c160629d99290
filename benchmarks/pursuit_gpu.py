"""The kernels on an NVIDIA GPU: pursuits and TopK steps, against peers' loops, cuBLAS and the copy.

Run `make bench-gpu`, or `python benchmarks/pursuit_gpu.py --sizes rest`. Every time is the median of repeats
between two CUDA events after one unmeasured run. "bound" is what `gpu_costs.py` counts, at the copy's and the
products' rates measured in the same run; "reached" is bound ÷ time. Before a time counts, codes are held
against the CPU's. Peers (SAELens', overcomplete's loop; dense autograd, also under torch.compile) run on as
many rows as fit and are scaled. `--device cpu` runs everything at a toy's size in Numba's simulator: a dry
run, whose times mean nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_costs as costs
import torch
from pursuit import one_product_per_step, our_step, peer_step, two_products_per_step, unit
from torch import Tensor

from sae_nb.architectures import BatchTopK, SparseAutoencoder, TopK
from sae_nb.kernels import paths_taken, precision
from sae_nb.pursuit import (
    explain_plan,
    forget,
    matching_pursuit,
    orthogonal_matching_pursuit,
    shared_bytes,
)

Work = Callable[[], object]
PEER_ROWS = 4096
"""Rows of a peer at once: its dense codes and supports of 65 536 atoms are 3 GB."""


class Bench:
    """One device, its rates, and the findings as lines."""

    def __init__(self, device: str, repeats: int) -> None:
        self.device, self.repeats = torch.device(device), repeats
        self.rates = self._rates()

    def milliseconds(self, work: Work) -> float:
        """Median after one unmeasured run; by events on a GPU, by the clock elsewhere."""
        work()
        return statistics.median(self._once(work) for _ in range(self.repeats))

    def _once(self, work: Work) -> float:
        if self.device.type != "cuda":
            began_at = time.perf_counter()
            work()
            return 1e3 * (time.perf_counter() - began_at)
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        return began.elapsed_time(ended)

    def _rates(self) -> costs.Rates:
        big = self.device.type == "cuda"
        source = torch.empty(2**28 if big else 2**22, device=self.device)
        target = torch.empty_like(source)
        copied = self.milliseconds(lambda: target.copy_(source))
        side = 8192 if big else 256
        speeds = {}
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            a = torch.randn(side, side, device=self.device, dtype=dtype)
            speeds[name] = 2 * side**3 / (1e-3 * self.milliseconds(lambda a=a: a @ a))  # type: ignore[misc]
        rates = costs.Rates(copy=2 * source.nbytes / (1e-3 * copied), **speeds)
        self.say("rates", copy=f"{rates.copy / 1e12:.2f} TB/s", fp32=f"{rates.fp32 / 1e12:.1f} TFLOP/s",
                 bf16=f"{rates.bf16 / 1e12:.1f} TFLOP/s")  # fmt: skip
        return rates

    def say(self, what: str, **found: Any) -> None:
        """Print one finding."""
        print("RESULT " + json.dumps({"what": what, **found}), flush=True)

    def time(self, name: str, size: costs.Size, work: Work, scale: float = 1.0) -> float | None:
        """Time one way at one size beside its bound; what does not fit says what would."""
        big = self.device.type == "cuda"
        try:
            if big:
                torch.cuda.reset_peak_memory_stats()
            taken = scale * self.milliseconds(work)
        except (torch.cuda.OutOfMemoryError, MemoryError) as error:
            torch.cuda.empty_cache()
            self.say(f"{name}, {size}", skipped=f"no room: {too_large(size)} {str(error)[:160]}")
            return None
        except Exception as error:  # noqa: BLE001 - one way that fails must not end the others
            self.say(f"{name}, {size}", failed=f"{type(error).__name__}: {str(error)[:200]}")
            return None
        found: dict[str, Any] = {"ms": f"{taken:.3g}"}
        if big and name in costs.KERNELS:
            bound = 1e3 * costs.KERNELS[name](size, self.rates)
            found |= {"bound_ms": f"{bound:.3g}", "reached": f"{bound / taken:.0%}"}
        if big:
            found["peak_gib"] = f"{torch.cuda.max_memory_allocated() / 2**30:.2f}"
        self.say(f"{name}, {size}", **found)
        return taken


def too_large(size: costs.Size) -> str:
    """A sentence on what a pursuit at this size keeps, and on the rows that would fit in what is free."""
    fixed = 4 * (size.n_atoms**2 + size.n_atoms * size.d_in)
    each = 4 * (size.n_atoms + 4 * size.k * size.d_in)
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
    rows = max(0, (free - fixed) // each)
    return (
        f"G and D take {fixed / 2**30:.1f} GiB, a row {each / 2**20:.2f} MiB; {free / 2**30:.1f} GiB are free: "
        f"about {rows} rows would fit with the Gram matrix."
    )


def planted(rows: int, dictionary: Tensor, k: int) -> Tensor:
    """Inputs of k atoms each plus noise of a tenth of their norm, made on the device in parts."""
    parts = []
    for first in range(0, rows, 8192):
        n = min(8192, rows - first)
        atoms = torch.randint(len(dictionary), (n, k), device=dictionary.device)
        strengths = 0.5 + torch.rand(n, k, device=dictionary.device)
        x = torch.nn.functional.embedding_bag(
            atoms, dictionary, per_sample_weights=strengths, mode="sum"
        )
        parts.append(x + 0.1 * x.norm(dim=1, keepdim=True) * unit(torch.randn_like(x)))
    return torch.cat(parts)


def gate(bench: Bench, x: Tensor, dictionary: Tensor, k: int, size: costs.Size) -> bool:
    """Hold a few rows against float64 on the CPU: the same atoms up to ties, values to 1e-4."""
    few = x[:256]
    exact = matching_pursuit(few.cpu().double(), dictionary.detach().cpu().double(), k).to_dense()
    ours = matching_pursuit(few, dictionary.detach(), k, backend="cuda").to_dense().cpu()
    same = ((ours != 0) == (exact != 0)).all(dim=1)
    off = float((ours[same] - exact[same]).abs().max() / exact.abs().max())
    good = float(same.double().mean()) >= 0.99 and off <= 1e-4
    bench.say(
        f"codes, {size}",
        same_support=f"{float(same.double().mean()):.2%}",
        values=f"{off:.1e}",
        good=good,
    )
    return good


def pursuits(bench: Bench, size: costs.Size, peers: bool) -> None:
    """Matching pursuit, orthogonal matching pursuit and the peers' loops."""
    torch.manual_seed(0)
    dictionary = unit(torch.randn(size.n_atoms, size.d_in, device=bench.device))
    x, k = planted(size.rows, dictionary, size.k), size.k
    few, bf16 = x[: min(PEER_ROWS, size.rows)], torch.bfloat16
    bench.time("x Dᵀ fp32", size, lambda: few @ dictionary.T, size.rows / len(few))
    low, low_atoms = few.to(bf16), dictionary.to(bf16)
    bench.time("x Dᵀ bf16", size, lambda: low @ low_atoms.T, size.rows / len(few))
    if not gate(bench, x, dictionary, k, size):
        return
    ours = bench.time("MP encode", size, lambda: matching_pursuit(x, dictionary, k, backend="cuda"))
    if size.n_atoms <= 16384:
        some = x[: max(1, size.rows // 16)]
        bench.time(
            "OMP encode", size,
            lambda: orthogonal_matching_pursuit(some, dictionary, k, backend="cuda"),
            size.rows / len(some),
        )  # fmt: skip
    for name, loop in (
        ("SAELens-style encode", one_product_per_step),
        ("overcomplete-style encode", two_products_per_step),
    ):
        taken = peers and bench.time(
            name, size, lambda loop=loop: loop(few, dictionary, k), size.rows / len(few)
        )  # type: ignore[misc]
        if ours and taken:
            bench.say(f"{name} ÷ MP encode, {size}", times=f"{taken / ours:.1f}")
    learned = dictionary.requires_grad_()
    bench.time("MP forward + backward", size, lambda: our_step(x, learned, k, "full"))
    if peers:
        part = x[: min(1024, size.rows)]
        bench.time(
            "SAELens-style forward + backward", size,
            lambda: peer_step(one_product_per_step, part, learned, k), size.rows / len(part),
        )  # fmt: skip
    if bench.device.type == "cuda":
        bench.say(f"plan, {size}", said=str(explain_plan(x[:512], dictionary, k)).splitlines()[0],
                  shared_kib=shared_bytes(bench.device) / 1024)  # fmt: skip
    forget()


def one_step(bench: Bench, size: costs.Size, peers: bool) -> None:
    """TopK's and BatchTopK's loss and gradients, in fp32 and in what a measurement chooses."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size.rows, size.d_in, device=bench.device)
    silent = torch.zeros(size.n_atoms, dtype=torch.int64, device=bench.device)
    for kind in (TopK, BatchTopK):
        sae = kind(size.d_in, size.n_atoms, size.k, generator=generator).to(bench.device)
        sae.initialise(x[:4096], generator)
        for how in ("float32", "auto"):
            suffix = "fp32" if how == "float32" else "bf16"
            with precision(how):  # type: ignore[arg-type]
                bench.time(
                    f"{kind.__name__} step {suffix}", size, lambda sae=sae: step(sae, x, silent)
                )  # type: ignore[misc]
        if kind is TopK:
            traffic(bench, size, lambda sae=sae: step(sae, x, silent))  # type: ignore[misc]
            if peers:
                dense(bench, size, sae, x)
    for path in paths_taken().values():
        print(path)


def step(sae: SparseAutoencoder, x: Tensor, silent: Tensor) -> None:
    """Forward and backward of the training loss."""
    sae.zero_grad()
    sae.training_loss(x, silent, 10**9, 0.0).total.backward()


def dense(bench: Bench, size: costs.Size, sae: TopK, x: Tensor) -> None:
    """The same loss with dense codes and autograd, plain and compiled, on rows that fit; ours compiled."""
    part = x[: min(PEER_ROWS, size.rows)]
    scale = size.rows / len(part)

    def loss(rows: Tensor) -> Tensor:
        pre_codes = (rows - sae.bias) @ sae.encoder.weight.T
        values, atoms = pre_codes.topk(sae.k, dim=1)
        z = torch.zeros_like(pre_codes).scatter(1, atoms, values.relu())
        return (rows - (z @ sae.operator.weight + sae.bias)).square().sum()

    bench.time("dense autograd TopK", size, lambda: loss(part).backward(), scale)
    if bench.device.type == "cuda":
        compiled = torch.compile(loss)
        bench.time(
            "dense autograd TopK, torch.compile", size, lambda: compiled(part).backward(), scale
        )
        silent = torch.zeros(size.n_atoms, dtype=torch.int64, device=bench.device)
        ours = torch.compile(lambda rows: sae.training_loss(rows, silent, 10**9, 0.0).total)
        bench.time("TopK step under torch.compile", size, lambda: ours(x).backward())


def traffic(bench: Bench, size: costs.Size, work: Work) -> None:
    """What one step copies between host and device, and how often it waits."""
    if bench.device.type != "cuda":
        return
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        work()
        torch.cuda.synchronize()
    events = seen.key_averages()
    copies = {e.key: e.count for e in events if "HtoD" in e.key or "DtoH" in e.key}
    waits = sum(e.count for e in events if "Synchronize" in e.key)
    launches = sum(e.count for e in events if "LaunchKernel" in e.key)
    bench.say(
        f"host and device in a TopK step, {size}", copies=copies, waits=waits, launches=launches
    )


def triton_contender(bench: Bench) -> None:
    """The Triton kernel against Numba's; in Triton's interpreter without a device."""
    import pursuit_triton as contender

    if bench.device.type != "cuda":
        contender.main()
        return
    contender.main()
    for size in costs.MAIN:
        compare_triton(bench, size)


def compare_triton(bench: Bench, size: costs.Size) -> None:
    """Both kernels at one size."""
    import pursuit_triton as contender

    dictionary = unit(torch.randn(size.n_atoms, size.d_in, device=bench.device))
    x, k = planted(size.rows, dictionary, size.k), size.k
    gram = dictionary @ dictionary.T
    bench.time("MP encode", size, lambda: matching_pursuit(x, dictionary, k, backend="cuda"))
    bench.time("MP encode in Triton", size, lambda: contender.matching(x, dictionary, gram, k))
    forget()


def main() -> None:
    """Measure one list of sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument(
        "--sizes", choices=["main", "wide", "rest", "dry", "triton"], default="main"
    )
    parser.add_argument("--repeats", type=int, default=None)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "No NVIDIA GPU is visible: nothing measured. `--device cpu --sizes dry` tries the program."
        )
        return
    # Triton's interpreter has to be asked for before Triton is imported.
    if options.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
        if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "0":
            sys.path.insert(0, str(Path(__file__).parent / "device"))
            importlib.import_module("simulator")
    bench = Bench(options.device, options.repeats or (5 if options.device == "cuda" else 1))
    if options.sizes == "triton":
        triton_contender(bench)
        return
    lists = {"main": costs.MAIN, "wide": costs.WIDE, "rest": costs.REST, "dry": costs.DRY}
    if options.device == "cpu":
        lists |= {"main": costs.DRY, "wide": costs.DRY, "rest": costs.DRY}
    for size in lists[options.sizes]:
        one_step(bench, size, peers=options.sizes != "rest")
        pursuits(bench, size, peers=options.sizes != "rest")


if __name__ == "__main__":
    main()
