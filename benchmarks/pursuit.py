"""Pursuits against the loops of other libraries: time, support, memory, in one run on one machine.

Run `python benchmarks/pursuit.py`. Times are medians of interleaved repeats, in units of one product
x Dᵀ of the same size timed in the same rounds, by the clock and by CPU time. The peers are
re-implemented from their published code as it runs in fp32: SAELens (one product per step, dense
codes and supports, scatter) and overcomplete (two products per step, dense one-hot selections).
Support is compared row by row with the same pursuit in float64; "sure" leaves out rows where the
float64 scores of the best two atoms agree to 1e-6 of ‖x‖ at some step, which no fp32 program can
order.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sae_nb.pursuit import explain_plan, matching_pursuit, orthogonal_matching_pursuit
from sae_nb.pursuit._gram import forget


def one_product_per_step(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
    """SAELens: a product, a rectified maximum, a scatter into dense codes, supports compared."""
    residual, acts = x.clone(), x.new_zeros(len(x), len(dictionary))
    before = torch.zeros(len(x), len(dictionary), dtype=torch.bool, device=x.device)
    done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for _ in range(k):
        values, atoms = (residual @ dictionary.T).relu().max(dim=1, keepdim=True)
        values = values * (~done).unsqueeze(1).to(values.dtype)
        acts.scatter_add_(1, atoms, values)
        residual = residual - values * dictionary[atoms.squeeze(1)]
        with torch.no_grad():
            support = acts != 0
            done = done | (support == before).all(dim=1) | (residual.norm(dim=-1) < 1e-2)
            before = support
        if bool(done.all()):
            break
    return acts


def two_products_per_step(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
    """overcomplete: a product, a maximum, a dense one-hot, and a product with that."""
    residual, codes = x.clone(), x.new_zeros(len(x), len(dictionary))
    for _ in range(k):
        values, atoms = torch.max(residual @ dictionary.T, dim=1)
        chosen = torch.nn.functional.one_hot(atoms, num_classes=len(dictionary)).float()
        chosen = chosen * values.unsqueeze(1)
        codes = codes + chosen
        residual = residual - chosen @ dictionary
    return codes


def unit(x: Tensor) -> Tensor:
    """Rows at unit norm."""
    return torch.nn.functional.normalize(x, dim=1)


def planted(rows: int, dictionary: Tensor, k: int, seed: int) -> Tensor:
    """Inputs made of k atoms each, with strengths 0.5 … 1.5, plus noise of a tenth of their norm."""
    generator = torch.Generator().manual_seed(seed)
    n_atoms, d_in = dictionary.shape
    atoms = torch.randint(n_atoms, (rows, k), generator=generator)
    strengths = 0.5 + torch.rand(rows, k, generator=generator)
    x = torch.stack([strengths[i] @ dictionary[atoms[i]] for i in range(rows)])
    noise = torch.randn(rows, d_in, generator=generator)
    return x + 0.1 * x.norm(dim=1, keepdim=True) * unit(noise)


@dataclass(frozen=True)
class Seconds:
    """Medians of one piece of work: by the clock, and of this process's CPU time."""

    wall: float
    cpu: float


def medians(work: dict[str, Callable[[], object]], repeats: int) -> dict[str, Seconds]:
    """Median times of each, alternating, after one unmeasured round."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for round_ in range(repeats + 1):
        for name, call in work.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            taken = time.perf_counter() - wall, time.process_time() - cpu
            if round_:
                times[name].append(taken)
    return {
        name: Seconds(*(statistics.median(column) for column in zip(*taken, strict=True)))
        for name, taken in times.items()
    }


COLUMNS = "| way | × `x Dᵀ`, CPU | ÷ ours, CPU | × `x Dᵀ`, clock | ÷ ours, clock |"
"""By CPU time, which other work on the machine disturbs less, and by the clock."""


def head(name: str, columns: str = COLUMNS) -> None:
    """A table's name and its columns."""
    print(f"\n## {name}\n\n{columns}\n{'| --- ' * (columns.count('|') - 1)}|")


def cells(name: str, seconds: dict[str, Seconds], ours: str = "ours") -> str:
    """One row of a table of times."""
    line = f"| {name} |"
    for clock in ("cpu", "wall"):
        own, product, best = (getattr(seconds[n], clock) for n in (name, "x Dᵀ", ours))
        line += f" {own / product:.2f} | {own / best:.2f} |"
    return line


def same_rows(dense: Tensor, oracle: Tensor) -> Tensor:
    """Rows whose support equals the oracle's."""
    return ((dense != 0) == (oracle != 0)).all(dim=1)


def sure_rows(x: Tensor, dictionary: Tensor, k: int) -> Tensor:
    """Rows where float64 puts the best atom ahead of the second by 1e-6 ‖x‖ at every step."""
    residual, exact = x.double(), dictionary.double()
    sure = torch.ones(len(x), dtype=torch.bool)
    for _ in range(k):
        values, atoms = (residual @ exact.T).topk(2, dim=1)
        sure &= values[:, 0] - values[:, 1] > 1e-6 * x.norm(dim=1)
        residual = residual - values[:, :1] * exact[atoms[:, 0]]
    return sure


def encode(arguments: argparse.Namespace) -> None:
    """Encoding with a dictionary that stays."""
    rows, d_in, n_atoms, k = arguments.rows, arguments.d_in, arguments.n_atoms, arguments.k
    generator = torch.Generator().manual_seed(0)
    dictionary = unit(torch.randn(n_atoms, d_in, generator=generator))
    x = planted(rows, dictionary, k, seed=1)
    work: dict[str, Callable[[], object]] = {
        "x Dᵀ": lambda: x @ dictionary.T,
        "ours": lambda: matching_pursuit(x, dictionary, k),
        "ours, refreshed every 16": lambda: matching_pursuit(x, dictionary, k, refresh_every=16),
        "SAELens-style": lambda: one_product_per_step(x, dictionary, k),
        "overcomplete-style": lambda: two_products_per_step(x, dictionary, k),
    }
    seconds = medians(work, arguments.repeats)
    # The dictionary in float64 has norms of 1 only to fp32's precision; that is within the check.
    exact = matching_pursuit(x.double(), dictionary.double(), k, backend="reference").to_dense()
    sure = sure_rows(x, dictionary, k)
    print(f"\nmatching pursuit, B {rows}, d {d_in}, n {n_atoms}, k {k}, dictionary fixed")
    head("encode", f"{COLUMNS} same support | of sure rows | largest coefficient error |")
    for name, call in work.items():
        line = cells(name, seconds)
        if name != "x Dᵀ":
            result = call()
            dense = result if isinstance(result, Tensor) else result.to_dense()  # type: ignore[attr-defined]
            same = same_rows(dense, exact)
            off = float((dense - exact)[same].abs().max() / exact.abs().max())
            line += f" {same.double().mean():.2%} | {same[sure].double().mean():.2%} | {off:.1e} |"
        else:
            line += " | | |"
        print(line)
    print(f"\nplan: {explain_plan(x, dictionary, k)}")


def train_step(arguments: argparse.Namespace) -> None:
    """Forward and backward of ‖x − x̂‖², the Gram matrix made anew at every step."""
    rows, d_in, n_atoms, k = arguments.train_rows, arguments.d_in, arguments.n_atoms, arguments.k
    generator = torch.Generator().manual_seed(0)
    dictionary = unit(torch.randn(n_atoms, d_in, generator=generator)).requires_grad_()
    x = planted(rows, dictionary.detach(), k, seed=2)
    work: dict[str, Callable[[], object]] = {
        "x Dᵀ": lambda: x @ dictionary.detach().T,
        "ours": lambda: our_step(x, dictionary, k, "full"),
        "ours, codes constant": lambda: our_step(x, dictionary, k, "dictionary"),
        "SAELens-style": lambda: peer_step(one_product_per_step, x[:PART], dictionary, k),
        "overcomplete-style": lambda: peer_step(two_products_per_step, x[:PART], dictionary, k),
    }
    seconds = medians(work, arguments.repeats)
    for name in work:
        # Rows are independent, and the peers make no Gram matrix: time is proportional to rows.
        times = rows / PART if name.endswith("style") and rows > PART else 1
        seconds[name] = Seconds(times * seconds[name].wall, times * seconds[name].cpu)
    print(f"\nforward and backward, B {rows}, d {d_in}, n {n_atoms}, k {k}, Gram made every step")
    print(f"(peers measured on {PART} rows and multiplied by {rows / PART:g})")
    head("train")
    for name in work:
        print(cells(name, seconds))


def our_step(x: Tensor, dictionary: Tensor, k: int, gradient: str) -> None:
    """One training step's arithmetic, from a dictionary that an optimiser has just changed."""
    from sae_nb.kernels import squared_error

    dictionary.grad = None
    with torch.no_grad():
        dictionary.mul_(1.0)
    codes = matching_pursuit(x, dictionary, k, gradient=gradient)
    squared_error(codes, dictionary, None, x)[0].backward()


PART = 512
"""Rows of a peer's step at once: its graph keeps k dense matrices of them, gigabytes for 4096."""


def peer_step(
    encode: Callable[[Tensor, Tensor, int], Tensor], x: Tensor, dictionary: Tensor, k: int
) -> None:
    """The peers' arithmetic for the rows given."""
    dictionary.grad = None
    codes = encode(x, dictionary, k)
    (x - codes @ dictionary).square().sum().backward()


def orthogonal(arguments: argparse.Namespace) -> None:
    """Batch-OMP against scikit-learn."""
    from sklearn.linear_model import orthogonal_mp_gram

    rows, d_in, n_atoms, k = arguments.omp_rows, arguments.omp_d_in, 2048, arguments.k
    generator = torch.Generator().manual_seed(0)
    dictionary = unit(torch.randn(n_atoms, d_in, generator=generator))
    x = planted(rows, dictionary, k, seed=3)
    gram, products = (dictionary @ dictionary.T).numpy(), (dictionary @ x.T).numpy()

    def scikit() -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.from_numpy(orthogonal_mp_gram(gram, products, n_nonzero_coefs=k).T)

    work: dict[str, Callable[[], object]] = {
        "x Dᵀ": lambda: x @ dictionary.T,
        "ours, signed": lambda: orthogonal_matching_pursuit(x, dictionary, k, nonnegative=False),
        "ours, non-negative": lambda: orthogonal_matching_pursuit(x, dictionary, k),
        "orthogonal_mp_gram": scikit,
    }
    seconds = medians(work, arguments.repeats)
    ours = orthogonal_matching_pursuit(x, dictionary, k, nonnegative=False).to_dense()
    theirs, exact = (
        scikit(),
        orthogonal_matching_pursuit(
            x.double(), dictionary.double(), k, nonnegative=False, backend="cpu"
        ).to_dense(),
    )
    print(f"\northogonal matching pursuit, B {rows}, d {d_in}, n {n_atoms}, k {k}")
    head("omp", COLUMNS.replace("ours", "ours, signed"))
    for name in work:
        print(cells(name, seconds, ours="ours, signed"))
    print(
        f"support as float64: ours {same_rows(ours, exact).double().mean():.2%}, scikit-learn "
        f"{same_rows(theirs, exact).double().mean():.2%}"
    )


MEASURE = """
import resource, sys, torch
from sae_nb.pursuit import matching_pursuit
rows, d_in, n_atoms, k, cap = map(int, sys.argv[1:])
def peak():
    # The high-water mark of this process alone; ru_maxrss would inherit the parent's.
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
dictionary = torch.nn.functional.normalize(torch.randn(n_atoms, d_in), dim=1)
x = torch.randn(rows, d_in)
small = torch.nn.functional.normalize(dictionary[:300, :16], dim=1)
for some in (10**8, 4 * 10**5, 2 * 10**5):  # every loop compiled, every thread started
    matching_pursuit(x[:100, :16].contiguous(), small, 4, memory_cap=some)
before = peak()
codes = matching_pursuit(x, dictionary, k, memory_cap=cap)
print(peak() - before)
"""


def memory(arguments: argparse.Namespace) -> None:
    """Peak memory against the prediction, each in a fresh process."""
    rows, d_in, n_atoms, k = arguments.rows, arguments.d_in, arguments.n_atoms, arguments.k
    dictionary, x = torch.eye(n_atoms, d_in), torch.zeros(rows, d_in)
    dictionary[d_in:, 0] = 1
    print(f"\npeak memory beyond the inputs, B {rows}, d {d_in}, n {n_atoms}, k {k}")
    head("memory", "| cap | way | predicted | measured | off by |")
    for cap in (2**30, 2**28, 2**27, 2**26, 2**25, 2**24):
        plan = explain_plan(x, dictionary, k, memory_cap=cap)
        command = [sys.executable, "-c", MEASURE, *map(str, (rows, d_in, n_atoms, k, cap))]
        measured = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(
            f"| {cap / 2**20:.0f} | {plan.strategy} | {plan.peak_bytes / 2**20:.1f} | "
            f"{measured / 2**20:.1f} | {plan.peak_bytes / measured - 1:+.1%} |"
        )


GROWTH = {"rows": (128, 256, 512, 1024), "n_atoms": (1024, 2048, 4096, 8192)}
GROWTH |= {"d_in": (128, 256, 512, 1024), "k": (8, 16, 32, 64)}
BASE = {"rows": 256, "n_atoms": 4096, "d_in": 512, "k": 32}


def growth(arguments: argparse.Namespace) -> None:
    """How time grows with each size, the others as in BASE: slopes of log time on log size."""
    base = ", ".join(f"{name} {size}" for name, size in BASE.items())
    print(f"\ngrowth of encoding with a fixed dictionary, CPU time, around {base}")
    head("growth", "| size | from … to | ours | SAELens-style | `x Dᵀ` |")
    for name, sizes in GROWTH.items():
        times = [grown(BASE | {name: size}, arguments.repeats) for size in sizes]
        slopes = {way: slope(sizes, [t[way].cpu for t in times]) for way in times[0]}
        ways = " | ".join(f"{slopes[way]:.2f}" for way in ("ours", "SAELens-style", "x Dᵀ"))
        print(f"| {name} | {sizes[0]} … {sizes[-1]} | {ways} |")


def grown(size: dict[str, int], repeats: int) -> dict[str, Seconds]:
    """Times at one size."""
    generator = torch.Generator().manual_seed(0)
    dictionary = unit(torch.randn(size["n_atoms"], size["d_in"], generator=generator))
    x, k = planted(size["rows"], dictionary, size["k"], seed=5), size["k"]
    while explain_plan(x, dictionary, k).strategy != "gram":
        # Few rows and steps do not pay for a Gram matrix at once; repeated calls do.
        matching_pursuit(x, dictionary, k)
    work: dict[str, Callable[[], object]] = {
        "x Dᵀ": lambda: x @ dictionary.T,
        "ours": lambda: matching_pursuit(x, dictionary, k),
        "SAELens-style": lambda: one_product_per_step(x, dictionary, k),
    }
    return medians(work, repeats)


def slope(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Least-squares slope of log seconds on log size."""
    a, b = (torch.tensor(v, dtype=torch.float64).log() for v in (sizes, seconds))
    a, b = a - a.mean(), b - b.mean()
    return float((a @ b) / (a @ a))


PARTS = {
    "encode": encode,
    "train": train_step,
    "omp": orthogonal,
    "memory": memory,
    "growth": growth,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--train-rows", type=int, default=4096)
    parser.add_argument("--omp-rows", type=int, default=256)
    parser.add_argument("--d-in", type=int, default=768)
    parser.add_argument("--omp-d-in", type=int, default=256)
    parser.add_argument("--n-atoms", type=int, default=8192)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=list(PARTS), nargs="*", default=list(PARTS))
    arguments = parser.parse_args()
    threads = torch.get_num_threads()
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    print(f"{platform.machine()}, torch {torch.__version__}, {threads} threads, load before {load}")
    for name in arguments.only:
        PARTS[name](arguments)
        forget()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory of the whole run: {peak:.1f} GiB")


if __name__ == "__main__":
    main()
