"""What an NVIDIA GPU takes for this toolkit's work, beside the same work in ten lines of plain torch.

Run `make bench-gpu`, or `python benchmarks/gpu.py --only train,pursuits`; `make gpu-pack` writes a folder that
does it on a machine without a network. Parts run one after the other, the most important first, each in a
process of its own with a limit of its own, five minutes together. Every figure is a line of `results.jsonl`,
with card, driver and versions, as soon as it is there; `table.md` beside it is made of those lines.

Times are medians between two CUDA events. The way to beat is plain torch as a person writes it (bf16
autocast, Adam(fused=True), nothing read from the card), and the same under torch.compile. "bound" is what a
card has to move and to multiply at the rates measured in the same run. `--bounds` prints the bounds of an
H100; `--small` runs all parts at toy sizes, on a CPU too.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Asked by NVML whether there is a card, a process can still be forked.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

import torch
from pursuit import one_product_per_step, our_step, unit
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.kernels import paths_taken
from sae_nb.kernels._backends import precision
from sae_nb.pursuit import (
    explain_plan,
    gradient_pursuit,
    matching_pursuit,
    orthogonal_matching_pursuit as omp,
)
from sae_nb.pursuit._gram import forget

Work = Callable[[], object]
OURS, PLAIN, COMPILED = "sae_nb", "plain torch, bf16", "plain torch, bf16, compiled"
PEER_ROWS = 4096
"""Rows at once of what keeps dense codes: those of 65 536 rows and 16 384 atoms are 4 GB."""


# ------------------------------------------------------------------------------- what a card takes at best


@dataclass(frozen=True)
class Rates:
    """What a card reaches: bytes a second of a copy (read and written), operations a second of products."""

    copy: float = 3.0e12
    fp32: float = 5.0e13
    bf16: float = 8.0e14


@dataclass(frozen=True)
class Size:
    """A batch and a dictionary."""

    rows: int
    d_in: int
    n_atoms: int
    k: int

    def __str__(self) -> str:
        return f"B {self.rows}, d {self.d_in}, n {self.n_atoms}, k {self.k}"


def product(s: Size, rate: float) -> float:
    """Seconds of x Dᵀ."""
    return 2 * s.rows * s.d_in * s.n_atoms / rate


def gathers(s: Size, times: float, item: int = 4) -> float:
    """Bytes of reading an atom for every entry, so many times."""
    return times * item * s.rows * s.k * s.d_in


def mp_encode(s: Size, rates: Rates) -> float:
    """Matching pursuit whose Gram matrix is there.

    x Dᵀ is three products of 16 bits, written and read once; a step reads a Gram row of 16 bits and an atom.
    """
    moved = 8 * s.rows * s.n_atoms + 2 * s.rows * s.k * s.n_atoms + gathers(s, 1)
    return 3 * product(s, rates.bf16) + moved / rates.copy


def mp_train(s: Size, rates: Rates) -> float:
    """Forward and backward: a Gram matrix, codes, two passes over atoms backwards, their terms, sparse sums."""
    gram = 6 * s.n_atoms**2 * s.d_in / rates.bf16 + 2 * s.n_atoms**2 / rates.copy
    return gram + mp_encode(s, rates) + gathers(s, 6) / rates.copy


def omp_encode(s: Size, rates: Rates) -> float:
    """A product of 16 bits a step, with two keys of each 32 atoms; step t reads t atoms for the residual."""
    keys = s.rows * s.k * s.n_atoms / 2
    return s.k * product(s, rates.bf16) + (keys + gathers(s, s.k / 2)) / rates.copy


def topk_step(s: Size, rates: Rates) -> float:
    """Loss, gradients and Adam.

    A product whose pre-codes of 16 bits are written and read once; four passes over atoms or rows of 16 bits;
    four reads and three writes of every parameter.
    """
    moved = 4 * s.rows * s.n_atoms + gathers(s, 4, 2) + 2 * 7 * 4 * s.n_atoms * s.d_in
    return product(s, rates.bf16) + moved / rates.copy


BOUNDS: dict[str, Callable[[Size, Rates], float]] = {
    "TopK step": topk_step,
    "MP encode": mp_encode,
    "MP forward + backward": mp_train,
    "OMP encode": omp_encode,
}
"""Seconds at best."""

LARGE = [Size(4096, 768, 16384, 32), Size(65536, 768, 16384, 32)]
TRAINED = [Size(4096, 576, 4096, 32), Size(512, 64, 512, 8)]
WIDE = [Size(4096, 2304, 65536, 64), Size(65536, 2304, 65536, 32)]
TOY = [Size(32, 16, 48, 4)]


# --------------------------------------------------------------------------------------------- a measurement


class Bench:
    """One part of the run: its device, and its findings as lines of a file."""

    def __init__(self, part: str, out: Path, about: dict[str, Any], *, small: bool) -> None:
        self.part, self.out, self.about, self.small = part, out, about, small
        self.on_card = torch.cuda.is_available()
        self.device = torch.device("cuda" if self.on_card else "cpu")

    def sizes(self, sizes: list[Size]) -> list[Size]:
        """Those of a run, or the toy size."""
        return TOY if self.small else sizes

    def say(self, what: str, **found: Any) -> None:
        """Write one finding, and show it."""
        line = {"part": self.part, "what": what, **found}
        print(json.dumps(line, default=str, ensure_ascii=False), flush=True)
        with (self.out / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line | self.about, default=str, ensure_ascii=False) + "\n")

    def ready(self) -> None:
        """Wait for the card."""
        if self.on_card:
            torch.cuda.synchronize()

    def milliseconds(self, work: Work, budget: float = 0.5) -> float:
        """Median after one unmeasured run: three runs at least, thirty at most, as many as the budget holds."""
        work()
        self.ready()
        began, times = time.perf_counter(), [self._once(work)]
        while not self.small and (
            len(times) < 3 or (len(times) < 30 and time.perf_counter() - began < budget)
        ):
            times.append(self._once(work))
        return statistics.median(times)

    def _once(self, work: Work) -> float:
        if not self.on_card:
            began = time.perf_counter()
            work()
            return 1e3 * (time.perf_counter() - began)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end)

    def time(self, what: str, size: object, way: str, work: Work, times: float = 1.0) -> None:
        """Write what a piece of work takes, so many times."""
        self.measure(what, size, way, lambda: times * self.milliseconds(work))

    def measure(self, what: str, size: object, way: str, take: Callable[[], float]) -> None:
        """Write the milliseconds that `take` finds; what fails does not end the others."""
        if self.on_card:
            torch.cuda.reset_peak_memory_stats()
        try:
            found: dict[str, Any] = {"ms": float(f"{take():.4g}")}
        except (torch.cuda.OutOfMemoryError, MemoryError) as error:
            found = {"skipped": f"no room: {str(error)[:200]}"}
        except Exception as error:  # noqa: BLE001 - whatever a card answers is a finding
            found = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
            traceback.print_exc(limit=4)
        if self.on_card:
            found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
            torch.cuda.empty_cache()
        rates = self.about.get("rates")
        if rates and way == OURS and what in BOUNDS and isinstance(size, Size):
            found["bound_ms"] = float(f"{1e3 * BOUNDS[what](size, Rates(**rates)):.3g}")
        self.say(what, size=str(size), way=way, **found)


def rates(bench: Bench) -> None:
    """Copy and products of this card."""
    side = 64 if bench.small else 8192
    source = torch.empty(side * 4096, device=bench.device)
    target = torch.empty_like(source)
    found = {"copy": 2e3 * source.nbytes / bench.milliseconds(lambda: target.copy_(source))}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(side, side, device=bench.device).to(dtype)
        found[name] = 2e3 * side**3 / bench.milliseconds(lambda a=a: a @ a)  # type: ignore[misc]
    bench.say("rates", measured=found)


def planted(rows: int, dictionary: Tensor, k: int) -> Tensor:
    """Inputs of k atoms each plus noise of a tenth of their norm, made on the device in parts."""
    parts = []
    for first in range(0, rows, 8192):
        n = min(8192, rows - first)
        atoms = torch.randint(len(dictionary), (n, k), device=dictionary.device)
        strengths = 0.5 + torch.rand(n, k, device=dictionary.device)
        x = nn.functional.embedding_bag(atoms, dictionary, per_sample_weights=strengths, mode="sum")
        parts.append(x + 0.1 * x.norm(dim=1, keepdim=True) * unit(torch.randn_like(x)))
    return torch.cat(parts)


def off(ours: Tensor, true: Tensor) -> float:
    """Largest difference, in units of the largest number: a sum may cancel, the errors of its terms do not."""
    ours, true = ours.detach().cpu().double(), true.detach().cpu().double()
    return float((ours - true).abs().max() / true.abs().max())


# ------------------------------------------------------------------------------------------- plain torch


def plain_step(size: Size, data: Tensor, *, compiled: bool = False) -> Work:
    """A training step of TopK in ten lines, by a person who knows what is fast."""
    torch.manual_seed(0)
    device = data.device
    encoder = nn.Linear(size.d_in, size.n_atoms, device=device)
    atoms = nn.Parameter(unit(torch.randn(size.n_atoms, size.d_in, device=device)))
    bias = nn.Parameter(torch.zeros(size.d_in, device=device))
    adam = torch.optim.Adam([*encoder.parameters(), atoms, bias], lr=1e-3, fused=True)

    def loss(x: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            values, places = encoder(x - bias).topk(size.k, dim=1)
            z = torch.zeros(len(x), size.n_atoms, device=device, dtype=values.dtype)
            z = z.scatter(1, places, values.relu())
            return (x - z @ atoms.to(z.dtype) - bias).square().sum()

    loss_of = torch.compile(loss) if compiled else loss

    def step() -> None:
        x = data[torch.randint(len(data), (size.rows,), device=device)]
        adam.zero_grad()
        loss_of(x).backward()
        adam.step()
        with torch.no_grad():
            atoms.div_(atoms.norm(dim=1, keepdim=True))

    return step


def plain_matching(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
    """Matching pursuit in ten lines, atoms chosen in bf16."""
    z, left, low = x.new_zeros(len(x), len(dictionary)), x, dictionary.T.bfloat16()
    for _ in range(k):
        atoms = (left.bfloat16() @ low).argmax(dim=1)
        chosen = dictionary[atoms]
        amounts = (left * chosen).sum(dim=1, keepdim=True).relu()
        z = z.scatter_add(1, atoms[:, None], amounts)
        left = left - amounts * chosen
    return z


def plain_omp(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
    """Orthogonal matching pursuit in ten lines, atoms chosen in bf16."""
    left, low, chosen = x, dictionary.T.bfloat16(), x.new_empty(len(x), 0, x.shape[1])
    z = x.new_empty(len(x), 0, 1)
    for _ in range(k):
        atoms = (left.bfloat16() @ low).argmax(dim=1)
        chosen = torch.cat([chosen, dictionary[atoms][:, None]], dim=1)
        z = torch.linalg.solve_ex(chosen @ chosen.mT, chosen @ x[:, :, None]).result
        left = x - (chosen.mT @ z)[:, :, 0]
    return z[:, :, 0]


# ------------------------------------------------------------------------------- right, before it is fast


def agree(bench: Bench) -> None:
    """Codes, gradients and short trainings against the CPU's; and what must not go wrong."""
    torch.manual_seed(0)
    rows, d, n, k = (24, 16, 48, 4) if bench.small else (512, 100, 3000, 8)
    dictionary = unit(torch.randn(n, d))
    x = planted(rows, dictionary, k)
    for pursuit in (matching_pursuit, omp, gradient_pursuit):
        same_as_fp64(bench, pursuit, x, dictionary, k)
    for kind in (sn.TopK, sn.BatchTopK, sn.JumpReLU):
        learns_alike(bench, kind, x, n, k)
    goes_right(bench, x.to(bench.device), dictionary.to(bench.device), k)


def same_as_fp64(bench: Bench, pursuit: Any, x: Tensor, dictionary: Tensor, k: int) -> None:
    """Rows where two atoms were equally good are left out of the values and of the gradients."""
    found = []
    ways = (("cpu", torch.float64, "reference"), (bench.device, torch.float32, "auto"))
    for where, number, backend in ways:
        leaves = [t.to(where, number, copy=True).requires_grad_() for t in (x, dictionary)]
        found.append((pursuit(*leaves, k, backend=backend).to_dense(), leaves))
    (exact, true), (ours, leaves) = found
    same = ((ours != 0).cpu() == (exact != 0).cpu()).all(dim=1)
    slopes = torch.randn(exact.shape) * same[:, None]
    for z, of in ((exact, true), (ours, leaves)):
        z.backward(slopes.to(z), inputs=of)
    values = off(ours[same.to(ours.device)], exact[same])
    gradient = max(off(a.grad, b.grad) for a, b in zip(leaves, true, strict=True))
    share = float(same.double().mean())
    good = share >= 0.995 and values < 2e-6 and gradient < 2e-5
    bench.say(
        f"{pursuit.__name__} is that of fp64", good=good, same_support=share, values=values, gradient=gradient
    )  # fmt: skip


def learns_alike(bench: Bench, kind: Any, x: Tensor, n: int, k: int) -> None:
    """Gradients of a step in fp32, and R² after a short training as it is, in bf16 on a card."""
    options = {} if kind is sn.JumpReLU else {"k": k}
    config = sn.TrainConfig(steps=5 if bench.small else 200, batch_size=256)
    slopes, learned = [], []
    for where in ("cpu", bench.device):
        generator = torch.Generator().manual_seed(1)
        sae = kind(x.shape[1], n, **options, generator=generator).to(where)
        silent = torch.zeros(n, dtype=torch.int64, device=where)
        with precision("float32"):  # bf16 chooses other atoms where two are almost equal
            sae.training_loss(x.to(where), silent, 10**9, 0.0).total.backward()
        slopes.append([p.grad for p in sae.parameters() if p.grad is not None])
        sn.train(sae, x.repeat(8, 1).to(where), config, progress=False)
        with torch.no_grad():
            error = (x - sae.to("cpu")(x)).square().sum()
        learned.append(float(1 - error / (x - x.mean(dim=0)).square().sum()))
    gradient = max(off(ours, true) for true, ours in zip(*slopes, strict=True))
    good = gradient < 1e-4 and abs(learned[0] - learned[1]) < 0.02
    bench.say(f"{kind.__name__} learns as on the CPU", good=good, gradient=gradient, r2=learned)


def goes_right(bench: Bench, x: Tensor, dictionary: Tensor, k: int) -> None:
    """Bit for bit under the deterministic flag; on a stream of one's own; rows that are not finite; no room."""

    def slopes() -> list[Tensor]:
        sae = sn.TopK(x.shape[1], len(dictionary), k, generator=torch.Generator().manual_seed(1))
        sae.to(x.device)
        silent = torch.zeros(len(dictionary), dtype=torch.int64, device=x.device)
        sae.training_loss(x, silent, 10**9, 0.0).total.backward()
        grads = [p.grad for p in sae.parameters() if p.grad is not None]
        for pursuit in (matching_pursuit, omp, gradient_pursuit):
            atoms = dictionary.clone().requires_grad_()
            grads += torch.autograd.grad(pursuit(x, atoms, k).values.square().sum(), atoms)
        return grads

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    pairs = zip(slopes(), slopes(), strict=True)
    torch.use_deterministic_algorithms(False)
    bench.say("the flag repeats bit for bit", good=all(torch.equal(a, b) for a, b in pairs))
    if bench.on_card:
        here, stream = matching_pursuit(x, dictionary, k), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            there = matching_pursuit(x, dictionary, k)
        torch.cuda.current_stream().wait_stream(stream)
        good = torch.equal(here.to_dense(), there.to_dense())
        bench.say("the same on another stream", good=good)
    broken = x.clone()
    broken[1, 3] = torch.nan
    for what, rows, cap in (("NaN rows", broken, None), ("no room", x, 100)):
        try:
            matching_pursuit(rows, dictionary, k, memory_cap=cap)
            bench.say(what, good=False, said="nothing")
        except (ValueError, MemoryError) as error:
            bench.say(what, good=True, said=str(error))


# ----------------------------------------------------------------------------------------------- training


def milliseconds_a_step(bench: Bench, sae: Any, data: Tensor, size: Size) -> float:
    """Of `sn.train`, but for what comes once: the difference of a long run and a short one."""
    short, long = (1, 3) if bench.small else (20, 50 if size.rows > PEER_ROWS else 220)
    times = []
    for steps in (short, short, long):
        bench.ready()
        began = time.perf_counter()
        sn.train(sae, data, steps=steps, batch_size=size.rows, progress=False)
        bench.ready()
        times.append(time.perf_counter() - began)
    return 1e3 * max(times[2] - times[1], 0.0) / (long - short)


def train(bench: Bench) -> None:
    """A step of `sn.train`, rows on the card and on the host, beside plain torch."""
    for size in bench.sizes([*TRAINED, *LARGE]):
        train_at(bench, size)
    for path in paths_taken().values():
        bench.say("path taken", path=str(path))


def train_at(bench: Bench, size: Size) -> None:
    """TopK at one size; the other families where steps are short."""
    data = torch.randn(max(2 * size.rows, 512), size.d_in)
    here = data.to(bench.device)

    def ours(kind: Any, rows: Tensor) -> float:
        options = {} if kind is sn.JumpReLU else {"k": size.k}
        sae = kind(size.d_in, size.n_atoms, **options).to(bench.device)
        return milliseconds_a_step(bench, sae, rows, size)

    bench.measure("TopK step", size, OURS, lambda: ours(sn.TopK, here))
    bench.time("TopK step", size, PLAIN, plain_step(size, here))
    bench.measure("TopK step", size, f"{OURS}, rows on the host", lambda: ours(sn.TopK, data))
    if size in LARGE:
        return
    bench.measure("BatchTopK step", size, OURS, lambda: ours(sn.BatchTopK, here))
    bench.measure("JumpReLU step", size, OURS, lambda: ours(sn.JumpReLU, here))
    bench.measure("MP step", size, OURS, lambda: ours(sn.MatchingPursuit, here))
    if bench.on_card:
        calls_of_cuda(bench, size, here)


def calls_of_cuda(bench: Bench, size: Size, data: Tensor) -> None:
    """What a step launches, copies and waits for."""
    from torch.profiler import ProfilerActivity, profile

    sae = sn.TopK(size.d_in, size.n_atoms, size.k).to(bench.device)
    counts: list[dict[str, int]] = []
    for steps in (20, 40):
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
            sn.train(sae, data, steps=steps, batch_size=size.rows, progress=False)
            torch.cuda.synchronize()
        calls = [event for event in seen.key_averages() if event.key.startswith("cu")]
        counts.append(
            {
                kind: sum(event.count for event in calls if kind in event.key)
                for kind in ("GraphLaunch", "LaunchKernel", "Synchronize", "Memcpy")
            }
        )
    each = {kind: round((counts[1][kind] - n) / 20, 2) for kind, n in counts[0].items()}
    bench.say("calls of CUDA in a step of sn.train", size=str(size), **each)


def compiled(bench: Bench) -> None:
    """Plain torch under torch.compile; most of this part is spent compiling."""
    for size in bench.sizes([*TRAINED, *LARGE]):
        data = torch.randn(2 * size.rows, size.d_in, device=bench.device)
        step = plain_step(size, data, compiled=not bench.small)
        bench.time("TopK step", size, COMPILED, step)
    size = bench.sizes(LARGE)[0]
    dictionary = unit(torch.randn(size.n_atoms, size.d_in, device=bench.device))
    x = planted(size.rows, dictionary, size.k)
    loop = plain_matching if bench.small else torch.compile(plain_matching)
    bench.time("MP encode", size, COMPILED, lambda: loop(x, dictionary, size.k))


# ----------------------------------------------------------------------------------------------- pursuits


def pursuits(bench: Bench) -> None:
    """Pursuits forward and backward, beside loops over dense codes."""
    for size in bench.sizes(LARGE):
        pursuits_at(bench, size)
        forget()


def pursuits_at(bench: Bench, size: Size) -> None:
    """At one size; what keeps dense codes runs on as many rows as fit, and its time is scaled."""
    torch.manual_seed(0)
    dictionary = unit(torch.randn(size.n_atoms, size.d_in, device=bench.device))
    x, k, learned = planted(size.rows, dictionary, size.k), size.k, dictionary.clone()
    learned.requires_grad_()
    few, some = x[:PEER_ROWS], x[: PEER_ROWS // 4]
    of_few, of_some = len(x) / len(few), len(x) / len(some)

    def slopes(encode: Any, rows: Tensor) -> None:
        learned.grad = None
        z = encode(rows, learned, k)
        (z if isinstance(z, Tensor) else z.values).square().sum().backward()

    def at(what: str, way: str, work: Work, times: float = 1.0) -> None:
        bench.time(what, size, way, work, times)

    at("MP encode", OURS, lambda: matching_pursuit(x, dictionary, k))
    at("MP encode", PLAIN, lambda: plain_matching(few, dictionary, k), of_few)
    at("MP encode", "SAELens' loop", lambda: one_product_per_step(few, dictionary, k), of_few)
    at("OMP encode", OURS, lambda: omp(x, dictionary, k, nonnegative=False))
    at("OMP encode", f"{OURS}, coefficients ≥ 0", lambda: omp(x, dictionary, k))
    at("OMP encode", PLAIN, lambda: plain_omp(few, dictionary, k), of_few)
    at("MP forward + backward", OURS, lambda: our_step(x, learned, k, "full"))
    at("MP forward + backward", PLAIN, lambda: slopes(plain_matching, some), of_some)
    at("OMP forward + backward", OURS, lambda: slopes(omp, x))
    at("OMP forward + backward", PLAIN, lambda: slopes(plain_omp, some), of_some)
    if size.rows <= PEER_ROWS:
        at("gradient pursuit", OURS, lambda: gradient_pursuit(x, dictionary, k))
        at("gradient pursuit", f"{OURS}, forward + backward", lambda: slopes(gradient_pursuit, x))
    plan = str(explain_plan(few, dictionary, k)).splitlines()[0]
    bench.say("plan", size=str(size), said=plan)


def wide(bench: Bench) -> None:
    """A dictionary of 65 536 atoms."""
    for size in bench.sizes(WIDE):
        wide_at(bench, size)
        forget()


def wide_at(bench: Bench, size: Size) -> None:
    """Matching pursuit and TopK at one size."""
    dictionary = unit(torch.randn(size.n_atoms, size.d_in, device=bench.device))
    x, k = planted(size.rows, dictionary, size.k), size.k
    few = x[: PEER_ROWS // 4]
    sae = sn.TopK(size.d_in, size.n_atoms, k).to(bench.device)
    bench.time("MP encode", size, OURS, lambda: matching_pursuit(x, dictionary, k))
    times = len(x) / len(few)
    bench.time("MP encode", size, PLAIN, lambda: plain_matching(few, dictionary, k), times)
    bench.measure("TopK step", size, OURS, lambda: milliseconds_a_step(bench, sae, x, size))
    bench.time("TopK step", size, PLAIN, plain_step(size, x))


# ------------------------------------------------------------------------------------------ a live model


class SeenError(Exception):
    """A hook has what it wants: the rest of the pass is not run."""


def plain_capture(model: Any, batches: list[Tensor], layer: int) -> Tensor:
    """Rows of a block by a hook, brought to the host."""
    rows: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        rows.append(states.detach().flatten(0, -2))
        raise SeenError

    hook = model.model.layers[layer].register_forward_hook(keep)
    for batch in batches:
        with contextlib.suppress(SeenError), torch.no_grad():
            model(batch.to(model.device), use_cache=False, logits_to_keep=1)
    hook.remove()
    return torch.cat(rows).cpu()


LLAMAS = {
    "135 M, fp32": (576, 30, 9, 3, 1536, torch.float32),
    "1 B, bf16": (2048, 16, 32, 8, 8192, torch.bfloat16),
}
"""Width, blocks, heads, heads of keys and width of the feed-forward layer; weights are random."""


def llama(bench: Bench, shape: tuple[Any, ...]) -> Any:
    """A model of that shape, on the device."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    hidden, blocks, heads, of_keys, inner, number = shape
    config = LlamaConfig(
        hidden_size=hidden, num_hidden_layers=blocks, num_attention_heads=heads,
        num_key_value_heads=of_keys, intermediate_size=inner,
        vocab_size=1000 if bench.small else 49152, max_position_embeddings=2048,
    )  # fmt: skip
    with bench.device:
        model = LlamaForCausalLM(config)
    return model.to(number).eval()


def live(bench: Bench) -> None:
    """Capture beside a plain hook; then what a person does with a model and an SAE."""
    tokenizer = sn.load_model("tiny-gpt").tokenizer
    generator, shape = torch.Generator().manual_seed(2), (4, 12) if bench.small else (512, 128)
    ids = torch.randint(5, len(tokenizer), shape, generator=generator)
    models = {"toy": (32, 3, 4, 2, 64, torch.float32)} if bench.small else LLAMAS
    for name, shape_of in models.items():
        module = llama(bench, shape_of)
        model, layer = sn.wrap(module, tokenizer=tokenizer), shape_of[1] // 2
        for at_once in (2,) if bench.small else (8, 64):
            capture_at(bench, name, model, module, ids, layer, at_once)
        if name in (next(iter(LLAMAS)), "toy"):
            with_an_sae(bench, model, module, ids, layer)


def capture_at(
    bench: Bench, name: str, model: Any, module: Any, ids: Tensor, layer: int, at_once: int
) -> None:
    """Both ways of `capture`, and the hook that they are held against."""
    size, texts = f"{ids.numel()} tokens, batch {at_once}", ids.tolist()

    def ours(backend: Any) -> Tensor:
        acts = sn.capture(
            model, texts, f"resid_post.{layer}", batch_size=at_once, backend=backend,
            progress=False, drop_first=False, drop_massive=False,
        )  # fmt: skip
        return acts.x

    batches = list(ids.split(at_once))
    what = f"capture, Llama of {name}"
    bench.time(what, size, "a hook", lambda: plain_capture(module, batches, layer))
    bench.time(what, size, OURS, lambda: ours("nnsight"))
    bench.time(what, size, f"{OURS}, by hooks", lambda: ours("hooks"))
    apart = off(ours("nnsight").float(), plain_capture(module, batches, layer).float())
    bench.say(f"{what}: rows are the hook's", good=apart < 1e-2, off=apart)


def with_an_sae(bench: Bench, model: Any, module: Any, ids: Tensor, layer: int) -> None:
    """Evaluation, a lens, steering, generation, and training from a stream, beside the model alone."""
    point, texts = f"resid_post.{layer}", ids[: 2 if bench.small else 64].tolist()
    acts = sn.capture(model, texts, point, progress=False)
    sae = sn.TopK(acts.d_in, 8 * acts.d_in, 8).to(bench.device)
    few, tokens = ids[:2].to(bench.device), 3 if bench.small else 40

    def alone() -> None:
        with torch.no_grad():
            for batch in ids[: len(texts)].split(8):
                module(batch.to(bench.device))

    def generate() -> object:
        return model.generate("Once upon a time", max_new_tokens=tokens)

    def steered(work: Work) -> Work:
        def run() -> None:
            with sn.steer(model, point, sae, atom=3, by=1.0):
                work()

        return run

    lens = sn.fit_lens(model, texts[:2], "logit", progress=False)
    of_all, written = f"{len(texts) * ids.shape[1]} tokens", f"{tokens} tokens"
    report = lambda: sn.evaluate(sae, acts, model=model, n_bootstrap=10)  # noqa: E731
    plain = lambda: module.generate(few[:1, :8], max_new_tokens=tokens, do_sample=False)  # noqa: E731
    for what, size, way, work in (
        ("evaluate(model=)", of_all, OURS, report),
        ("evaluate(model=)", of_all, "one pass of the model", alone),
        ("logit lens", "2 texts", OURS, lambda: lens.read(texts[:2])),
        ("a steered pass", "2 texts", OURS, steered(lambda: model(few.tolist()))),
        ("a steered pass", "2 texts", "without steering", lambda: model(few.tolist())),
        ("generate", written, OURS, generate),
        ("generate", written, f"{OURS}, steered", steered(generate)),
        ("generate", written, "transformers alone", plain),
    ):
        bench.measure(what, size, way, lambda work=work: bench.milliseconds(work, budget=0.1))  # type: ignore[misc]
    size = Size(16 if bench.small else 4096, acts.d_in, sae.n_atoms, sae.k)
    stream = sn.stream(model, ids.tolist(), point)
    steps = 2 if bench.small else 10

    def from_stream() -> float:
        began = time.perf_counter()
        sn.train(sae, stream, steps=steps, batch_size=size.rows, progress=False)
        bench.ready()
        return 1e3 * (time.perf_counter() - began) / steps

    bench.measure("training from a stream", size, f"{OURS}, a step", from_stream)


# -------------------------------------------------------------------------------------------------- tests


def tests(bench: Bench) -> None:
    """The tests that need a card."""
    names = ("kernels/test_cuda", "kernels/test_triton", "pursuit/test_triton", "pursuit/test_cuda")
    root = Path(__file__).parents[1] / "tests"
    files = [str(root / f"{name}.py") for name in names[: 1 if bench.small else None]]
    chosen = ["-k", "blocks"] if bench.small else ["-m", "gpu or not slow"]
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *files, *chosen], capture_output=True, text=True)
    said = done.stdout.strip().splitlines() or [done.stderr[-300:]]
    failed = [line[:300] for line in said if line.startswith(("FAILED", "ERROR"))]
    bench.say("tests on this machine", good=done.returncode == 0, said=said[-1], failed=failed)


PARTS: dict[str, tuple[Callable[[Bench], None], int]] = {
    "rates": (rates, 20),
    "agree": (agree, 45),
    "train": (train, 45),
    "pursuits": (pursuits, 55),
    "live": (live, 55),
    "compiled": (compiled, 40),
    "tests": (tests, 40),
    "wide": (wide, 60),
}
"""What is measured, the most important first, and the most seconds each may take."""


# ------------------------------------------------------------------------------- running them


Line = dict[str, Any]
RESULTS = Path(__file__).parents[1] / "build" / "gpu-results"


def machine() -> Line:
    """Card, driver, versions: they go with every figure."""
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    card, driver = f"none ({platform.machine()})", ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout
        card, _, driver = said.splitlines()[0].rpartition(", ")
    found = {"card": card, "driver": driver, "cuda": torch.version.cuda, "sae_nb": sn.__version__}
    for name in ("torch", "triton", "numba", "numba-cuda", "nnsight", "transformers"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    date = datetime.datetime.now(datetime.UTC)
    return found | {"date": date.isoformat(timespec="minutes")}


def run_part(bench: Bench, limit: float) -> None:
    """Run one part until it ends or its time is over; what it wrote stays."""
    print(f"== {bench.part}", flush=True)
    began = time.monotonic()
    # Forked, so that nothing is imported twice: this process never touches the card.
    forked = multiprocessing.get_context("fork")
    process = forked.Process(target=PARTS[bench.part][0], args=(bench,))
    process.start()
    process.join(limit)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    said = "out of time" if code is None else "done" if code == 0 else f"failed (exit {code})"
    taken = round(time.monotonic() - began, 1)
    bench.say("end", good=code == 0, said=said, seconds=taken)


def findings(out: Path) -> list[Line]:
    """All lines so far."""
    text = (out / "results.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def table(lines: list[Line]) -> str:
    """Times by work and size, and how many times ours each way takes; then all other findings."""
    times: dict[tuple[str, str], dict[str, Line]] = {}
    for line in lines:
        if "way" in line:
            times.setdefault((line["what"], line["size"]), {})[line["way"]] = line
    about = lines[0]
    text = [f"# {about['card']}, driver {about['driver']}, torch {about['torch']}, {about['date']}"]
    text += ["", "| work | size | way | ms | ÷ ours | bound |", f"|{' --- |' * 6}"]
    for (what, size), ways in times.items():
        ours = ways.get(OURS, {}).get("ms")
        for way, line in ways.items():
            taken = line.get("ms", line.get("skipped", line.get("failed")))
            ratio = f"{taken / ours:.2f}" if ours and "ms" in line else ""
            bound = line.get("bound_ms", "")
            text.append(f"| {what} | {size} | {way} | {taken} | {ratio} | {bound} |")
    text += ["", "| part | what | found |", "| --- | --- | --- |"]
    told = {"part", "what", "rates", *about} - {"measured"}
    for line in lines:
        if "way" not in line:
            found = {name: value for name, value in line.items() if name not in told}
            text.append(f"| {line['part']} | {line['what']} | {found} |")
    return "\n".join(text) + "\n"


def bounds() -> None:
    """Print what an H100 takes at best: copy and bf16 as seen on such cards."""
    sizes = [*LARGE, *WIDE]
    print("| ms on an H100 at best | " + " | ".join(map(str, sizes)) + " |")
    print("| --- |" + " --- |" * len(sizes))
    for name, seconds in BOUNDS.items():
        cells = [f"{1e3 * seconds(size, Rates()):.3g}" for size in sizes]
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--minutes", type=float, default=5.0, help="of all parts together")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--small", action="store_true", help="toy sizes, on a CPU too")
    parser.add_argument("--bounds", action="store_true", help="print the bounds of an H100")
    options = parser.parse_args()
    if options.bounds:
        bounds()
        return
    if not torch.cuda.is_available() and not options.small:
        sys.exit(
            "A GPU is needed, got a machine where none is visible: `sae-nb doctor` says why. `--small` runs "
            "all parts at toy sizes on the CPU."
        )
    began, out, about = time.monotonic(), options.out, machine()
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.jsonl").write_text("", encoding="utf-8")
    for name in options.only.split(","):
        left = 60 * options.minutes - (time.monotonic() - began)
        bench = Bench(name, out, about, small=options.small)
        if left < 5:
            bench.say("end", said="no time was left")
            continue
        # Toy sizes are for machines that may be busy with other work.
        run_part(bench, min(left, PARTS[name][1] * (20 if options.small else 1)))
        if "measured" in (first := findings(out)[0]):
            about["rates"] = first["measured"]
        (out / "table.md").write_text(table(findings(out)), encoding="utf-8")
    print((out / "table.md").read_text(encoding="utf-8"))
    wrong = [
        f"{line['part']}: {line['what']}"
        for line in findings(out)
        if line.get("good") is False or line.get("failed")
    ]
    if wrong:
        sys.exit(f"Not as it should be: {'; '.join(wrong)}. See {out / 'results.jsonl'}.")


if __name__ == "__main__":
    main()
