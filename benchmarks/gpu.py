"""The kernels on an NVIDIA GPU: pursuits and TopK steps, beside what they take at best and peers' loops.

Run `make bench-gpu`, or `python benchmarks/gpu.py --sizes rest`. Every time is the median of repeats between
two CUDA events after one unmeasured run. "bound" is what a GPU has to move and to multiply, at the copy's and
the products' rates measured in the same run; "reached" is bound ÷ time; what is measured below a bound refutes
the count. Before a time counts, codes are held against the CPU's. Peers (SAELens', overcomplete's loop; dense
autograd, also under torch.compile) run on as many rows as fit and are scaled. `--sizes agree` holds short
trainings, a capture and a steered pass on the device against the CPU's. `--bounds` prints the bounds of an
H100, without a device.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pursuit import one_product_per_step, our_step, peer_step, two_products_per_step, unit
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import BatchTopK, MatchingPursuit, SparseAutoencoder, TopK
from sae_nb.kernels import paths_taken
from sae_nb.kernels._backends import precision
from sae_nb.pursuit import explain_plan, matching_pursuit, orthogonal_matching_pursuit
from sae_nb.pursuit._cuda import shared_bytes
from sae_nb.pursuit._gram import forget

Work = Callable[[], object]
PEER_ROWS = 4096
"""Rows of a peer at once: its dense codes and supports of 65 536 atoms are 3 GB."""


@dataclass(frozen=True)
class Rates:
    """What a device reaches: bytes a second of a copy (read and written), operations a second of products."""

    copy: float = 3.0e12
    fp32: float = 5.0e13
    bf16: float = 8.0e14


H100 = Rates()
"""Copy and bf16 as seen on such cards; fp32, without tensor cores, three quarters of the data sheet's 67."""

SHARED_BYTES = (227 * 2**10) // 2 - 8 * 2**10
"""What `shared_bytes` gives correlations there."""


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


def mp_loop(s: Size, rates: Rates, shared: int = SHARED_BYTES) -> float:
    """Seconds of all steps: correlations once, then a Gram row, an atom, and what shared memory cannot hold."""
    spilled = max(0, s.n_atoms - shared // 4)
    step = s.n_atoms + 2 * spilled + s.d_in
    return 4 * s.rows * (s.n_atoms + (s.k - 1) * step) / rates.copy


def mp_encode(s: Size, rates: Rates) -> float:
    """Seconds of matching pursuit with a Gram matrix that is there: product, its write, all steps."""
    return product(s, rates.fp32) + 4 * s.rows * s.n_atoms / rates.copy + mp_loop(s, rates)


def gram(s: Size, rates: Rates) -> float:
    """Seconds of G = D Dᵀ by halves: its products, and writing it twice and reading half."""
    return s.n_atoms**2 * s.d_in / rates.fp32 + 4 * 1.5 * s.n_atoms**2 / rates.copy


def mp_train(s: Size, rates: Rates) -> float:
    """Seconds of forward and backward: Gram matrix, codes, the adjoint's terms out and in, and sparse sums."""
    entries = 4 * s.rows * s.k * s.d_in
    adjoint = 4 * entries / rates.copy  # two passes over atoms, terms written and read
    sums = 3 * entries / rates.copy  # x̂, dots, the dictionary's own gradient
    return gram(s, rates) + mp_encode(s, rates) + adjoint + sums


def omp_encode(s: Size, rates: Rates) -> float:
    """Seconds of orthogonal matching pursuit: step t reads the Gram rows of t atoms."""
    rows = 4 * s.rows * s.n_atoms * (s.k * (s.k - 1) / 2 + s.k) / rates.copy
    return product(s, rates.fp32) + 4 * s.rows * s.n_atoms / rates.copy + rows


def topk_train(s: Size, rates: Rates, *, bf16: bool = True) -> float:
    """Seconds of TopK's step: a product, pre-codes out, converted and searched; four sparse sums."""
    per_code = (2 + 2 + 4 + 4) if bf16 else (4 + 4)
    searched = per_code * s.rows * s.n_atoms / rates.copy
    sums = 4 * 4 * s.rows * s.k * s.d_in / rates.copy
    return product(s, rates.bf16 if bf16 else rates.fp32) + searched + sums


KERNELS: dict[str, Callable[[Size, Rates], float]] = {
    "x Dᵀ fp32": lambda s, r: product(s, r.fp32),
    "x Dᵀ bf16": lambda s, r: product(s, r.bf16),
    "MP steps alone": mp_loop,
    "MP encode": mp_encode,
    "MP forward + backward": mp_train,
    "OMP encode": omp_encode,
    "TopK step fp32": lambda s, r: topk_train(s, r, bf16=False),
    "TopK step bf16": topk_train,
}
"""Seconds at best, by the name that the benchmark measures."""

MAIN = [Size(65536, 768, 16384, 32), Size(4096, 768, 16384, 32)]
WIDE = [Size(65536, 2304, 65536, 32), Size(4096, 2304, 65536, 64)]
REST = [
    Size(rows, d_in, n_atoms, k)
    for rows in (65536, 4096)
    for d_in in (768, 2304)
    for n_atoms in (16384, 65536)
    for k in (32, 64)
]
REST = [size for size in REST if size not in MAIN + WIDE]


class Bench:
    """One device, its rates, and the findings as lines."""

    def __init__(self, device: str, repeats: int) -> None:
        self.device, self.repeats = torch.device(device), repeats
        self.rates = self._rates()

    def milliseconds(self, work: Work) -> float:
        """Median after one unmeasured run, between two events."""
        work()
        return statistics.median(self._once(work) for _ in range(self.repeats))

    def _once(self, work: Work) -> float:
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        return began.elapsed_time(ended)

    def _rates(self) -> Rates:
        source = torch.empty(2**28, device=self.device)
        target = torch.empty_like(source)
        copied = self.milliseconds(lambda: target.copy_(source))
        side = 8192
        speeds = {}
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            a = torch.randn(side, side, device=self.device, dtype=dtype)
            speeds[name] = 2 * side**3 / (1e-3 * self.milliseconds(lambda a=a: a @ a))  # type: ignore[misc]
        rates = Rates(copy=2 * source.nbytes / (1e-3 * copied), **speeds)
        self.say("rates", copy=f"{rates.copy / 1e12:.2f} TB/s", fp32=f"{rates.fp32 / 1e12:.1f} TFLOP/s",
                 bf16=f"{rates.bf16 / 1e12:.1f} TFLOP/s")  # fmt: skip
        return rates

    def say(self, what: str, **found: Any) -> None:
        """Print one finding."""
        print("RESULT " + json.dumps({"what": what, **found}), flush=True)

    def time(self, name: str, size: Size, work: Work, scale: float = 1.0) -> float | None:
        """Time one way at one size beside its bound; what does not fit says what would."""
        try:
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
        if name in KERNELS:
            bound = 1e3 * KERNELS[name](size, self.rates)
            found |= {"bound_ms": f"{bound:.3g}", "reached": f"{bound / taken:.0%}"}
        found["peak_gib"] = f"{torch.cuda.max_memory_allocated() / 2**30:.2f}"
        self.say(f"{name}, {size}", **found)
        return taken


def too_large(size: Size) -> str:
    """A sentence on what a pursuit at this size keeps, and on the rows that would fit in what is free."""
    fixed = 4 * (size.n_atoms**2 + size.n_atoms * size.d_in)
    each = 4 * (size.n_atoms + 4 * size.k * size.d_in)
    free = torch.cuda.mem_get_info()[0]
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


def gate(bench: Bench, x: Tensor, dictionary: Tensor, k: int, size: Size) -> bool:
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


def pursuits(bench: Bench, size: Size, peers: bool) -> None:
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
    bench.say(f"plan, {size}", said=str(explain_plan(x[:512], dictionary, k)).splitlines()[0],
              shared_kib=shared_bytes(bench.device) / 1024)  # fmt: skip
    forget()


def one_step(bench: Bench, size: Size, peers: bool) -> None:
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


def dense(bench: Bench, size: Size, sae: TopK, x: Tensor) -> None:
    """The same loss with dense codes and autograd, plain and compiled, on rows that fit; ours compiled."""
    part = x[: min(PEER_ROWS, size.rows)]
    scale = size.rows / len(part)

    def loss(rows: Tensor) -> Tensor:
        pre_codes = (rows - sae.bias) @ sae.encoder.weight.T
        values, atoms = pre_codes.topk(sae.k, dim=1)
        z = torch.zeros_like(pre_codes).scatter(1, atoms, values.relu())
        return (rows - (z @ sae.operator.weight + sae.bias)).square().sum()

    bench.time("dense autograd TopK", size, lambda: loss(part).backward(), scale)
    compiled = torch.compile(loss)
    bench.time("dense autograd TopK, torch.compile", size, lambda: compiled(part).backward(), scale)
    silent = torch.zeros(size.n_atoms, dtype=torch.int64, device=bench.device)
    ours = torch.compile(lambda rows: sae.training_loss(rows, silent, 10**9, 0.0).total)
    bench.time("TopK step under torch.compile", size, lambda: ours(x).backward())


def traffic(bench: Bench, size: Size, work: Work) -> None:
    """What one step copies between host and device, and how often it waits."""
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


def agree(bench: Bench) -> None:
    """Short trainings, a capture and a steered pass on the device, against the CPU's."""
    generator = torch.Generator().manual_seed(0)
    atoms = unit(torch.randn(512, 64, generator=generator))
    x = atoms[torch.randint(512, (8192, 8), generator=generator)].sum(dim=1)
    for architecture in (TopK, BatchTopK, MatchingPursuit):
        found = {}
        for where in ("cpu", "cuda"):
            sae = architecture(64, 512, 8, generator=torch.Generator().manual_seed(1))
            config = sn.TrainConfig(steps=200, batch_size=512, precision="float32")
            sn.train(sae.to(where), x.to(where), config, progress=False)
            with torch.no_grad():
                error = (x - sae.to("cpu")(x)).square().sum()
            found[where] = float(1 - error / (x - x.mean(dim=0)).square().sum())
        bench.say(f"training {architecture.__name__}", r2=found)
        if abs(found["cpu"] - found["cuda"]) > 0.02:
            raise SystemExit(f"{architecture.__name__} learns otherwise on the device: {found}.")
    answers = []
    for where in ("cpu", "cuda"):
        model = sn.load_model("tiny-gpt", device=where)
        texts = ["Once upon a time there was a small dog.", "The sun was warm and the"] * 8
        acts = sn.capture(model, texts, "resid_post.2", progress=False)
        direction = sn.random_direction(acts.d_in, 0)
        with sn.steer(model, "resid_post.2", direction=direction, by=4.0), torch.no_grad():
            answers.append((acts.x.cpu(), model(texts[0]).logits.cpu()))
    for name, here, there in zip(("capture", "steering"), *answers, strict=True):
        off = float((here - there).abs().max() / here.abs().max())
        bench.say(name, off=f"{off:.1e}")
        if off > 1e-3:
            raise SystemExit(f"{name} differs on the device by {off:.1e}.")


def bounds() -> None:
    """Print the table."""
    sizes = [*MAIN, *WIDE]
    print("| ms on an H100 at best | " + " | ".join(map(str, sizes)) + " |")
    print("| --- |" + " --- |" * (len(sizes) + 1))
    for name, seconds in KERNELS.items():
        cells = [f"{1e3 * seconds(size, H100):.3g}" for size in sizes]
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    """Measure one list of sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", choices=["main", "wide", "rest", "agree"], default="main")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bounds", action="store_true", help="print the bounds of an H100")
    options = parser.parse_args()
    if options.bounds:
        bounds()
        return
    if not torch.cuda.is_available():
        print("No NVIDIA GPU is visible: nothing measured. `--bounds` prints what is counted.")
        return
    bench = Bench("cuda", options.repeats)
    if options.sizes == "agree":
        agree(bench)
        return
    for size in {"main": MAIN, "wide": WIDE, "rest": REST}[options.sizes]:
        one_step(bench, size, peers=options.sizes != "rest")
        pursuits(bench, size, peers=options.sizes != "rest")


if __name__ == "__main__":
    main()
