"""Matching pursuit on an NVIDIA GPU against the peers' loops on the same GPU.

Run `make bench-gpu`. Every time is the median of repeats between two CUDA events. The fraction of
bandwidth is of the update loop alone: the bytes it cannot avoid (one Gram row per input and step, and
the correlations that do not fit in shared memory, read and written) over its time, as a share of what
a copy within this GPU's memory reaches in the same run.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from pursuit import one_product_per_step, same_rows, two_products_per_step, unit
from torch import Tensor

from sae_nb.pursuit import explain_plan, forget, matching_pursuit


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median time on the GPU, after one unmeasured run."""
    times = []
    for round_ in range(repeats + 1):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        if round_:
            times.append(began.elapsed_time(ended))
    return statistics.median(times)


def copy_bandwidth(repeats: int) -> float:
    """Bytes per second of a copy within GPU memory, read and write both counted."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / (1e-3 * milliseconds(lambda: target.copy_(source), repeats))


def planted(rows: int, dictionary: Tensor, k: int) -> Tensor:
    """Inputs of k atoms each plus noise of a tenth of their norm, made on the GPU in parts."""
    parts = []
    for first in range(0, rows, 8192):
        n = min(8192, rows - first)
        atoms = torch.randint(len(dictionary), (n, k), device="cuda")
        strengths = 0.5 + torch.rand(n, k, device="cuda")
        x = torch.nn.functional.embedding_bag(
            atoms, dictionary, per_sample_weights=strengths, mode="sum"
        )
        noise = unit(torch.randn_like(x))
        parts.append(x + 0.1 * x.norm(dim=1, keepdim=True) * noise)
    return torch.cat(parts)


def in_parts(
    encode: Callable[[Tensor, Tensor, int], Tensor], x: Tensor, dictionary: Tensor, k: int
) -> Callable[[], None]:
    """A peer's loop, 8192 rows at a time: its dense codes and supports fit in memory."""

    def work() -> None:
        for part in x.split(8192):
            encode(part, dictionary, k)

    return work


def update_loop(x: Tensor, dictionary: Tensor, k: int, repeats: int) -> tuple[float, float]:
    """Milliseconds of the kernel of all steps, and the bytes it cannot avoid."""
    from sae_nb.pursuit import SHARED_BYTES, Cuda, Tile

    spent: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
    plain = Cuda.matching

    def timed(self: Cuda, tile: Tile, first: int, last: int, *, keep: bool) -> None:
        events = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        events[0].record()
        plain(self, tile, first, last, keep=keep)
        events[1].record()
        spent.append(events)

    totals = []
    Cuda.matching = timed  # type: ignore[method-assign]
    try:
        for _ in range(repeats):
            spent.clear()
            matching_pursuit(x, dictionary, k, backend="cuda")
            torch.cuda.synchronize()
            totals.append(sum(a.elapsed_time(b) for a, b in spent))
    finally:
        Cuda.matching = plain  # type: ignore[method-assign]
    n_atoms = len(dictionary)
    spilled = max(0, n_atoms - SHARED_BYTES // x.element_size())
    return statistics.median(totals), len(x) * (k - 1) * (n_atoms + 2 * spilled) * x.element_size()


def encode(options: argparse.Namespace) -> None:
    """Encoding with a dictionary that stays."""
    torch.manual_seed(0)
    dictionary = unit(torch.randn(options.n_atoms, options.d_in, device="cuda"))
    x, k, repeats = planted(options.rows, dictionary, options.k), options.k, options.repeats
    work: dict[str, Callable[[], object]] = {
        "x Dᵀ": lambda: [part @ dictionary.T for part in x.split(8192)],
        "ours": lambda: matching_pursuit(x, dictionary, k, backend="cuda"),
        "SAELens-style": in_parts(one_product_per_step, x, dictionary, k),
        "overcomplete-style": in_parts(two_products_per_step, x, dictionary, k),
    }
    times = {name: milliseconds(call, repeats) for name, call in work.items()}
    print(f"\nB {options.rows}, d {options.d_in}, n {options.n_atoms}, k {k}, dictionary fixed")
    print(f"{'':24}{'ms':>10}{'× x Dᵀ':>9}{'peer/ours':>11}")
    for name, taken in times.items():
        print(f"{name:24}{taken:10.1f}{taken / times['x Dᵀ']:9.2f}{taken / times['ours']:11.1f}")
    bandwidth = copy_bandwidth(repeats)
    loop, moved = update_loop(x, dictionary, k, repeats)
    reached = moved / (1e-3 * loop)
    print(
        f"update loop: {loop:.1f} ms, {reached / 1e12:.2f} TB/s of the {bandwidth / 1e12:.2f} TB/s a copy "
        f"reaches: {reached / bandwidth:.0%}"
    )
    few = x[:512].cpu()
    exact = matching_pursuit(few.double(), dictionary.cpu().double(), k).to_dense()
    ours = matching_pursuit(x[:512], dictionary, k).to_dense().cpu()
    print(f"support as float64 on 512 rows: {same_rows(ours, exact).double().mean():.2%}")
    print(f"plan: {explain_plan(x, dictionary, k)}")


def train_step(options: argparse.Namespace) -> None:
    """Forward and backward of ‖x − x̂‖², the Gram matrix made anew at every step."""
    from pursuit import our_step, peer_step

    rows = options.train_rows
    dictionary = unit(torch.randn(options.n_atoms, options.d_in, device="cuda")).requires_grad_()
    x, k = planted(rows, dictionary.detach(), options.k), options.k
    work: dict[str, Callable[[], object]] = {
        "x Dᵀ": lambda: x @ dictionary.detach().T,
        "ours": lambda: our_step(x, dictionary, k, "full"),
        "SAELens-style": lambda: [
            peer_step(one_product_per_step, part, dictionary, k) for part in x.split(1024)
        ],
    }
    times = {name: milliseconds(call, options.repeats) for name, call in work.items()}
    print(f"\nforward and backward, B {rows}, d {options.d_in}, n {options.n_atoms}, k {k}")
    print(f"{'':24}{'ms':>10}{'× x Dᵀ':>9}{'peer/ours':>11}")
    for name, taken in times.items():
        print(f"{name:24}{taken:10.1f}{taken / times['x Dᵀ']:9.2f}{taken / times['ours']:11.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = {"rows": 65536, "train-rows": 8192, "d-in": 768, "n-atoms": 16384, "k": 32}
    for name, size in (sizes | {"repeats": 5}).items():
        parser.add_argument(f"--{name}", type=int, default=size)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            "No NVIDIA GPU is visible: nothing measured. Run `make bench-gpu` where there is one."
        )
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for part in (encode, train_step):
        part(options)
        forget()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
