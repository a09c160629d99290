"""Pursuits against the loops of other libraries: time, support, memory, in one run on one machine.

Run `python benchmarks/pursuit.py`. Times are medians of interleaved repeats, in units of one product
x Dᵀ of the same size timed in the same rounds. The peers are re-implemented from their published
code as it runs in fp32: SAELens (one product per step, dense codes and supports, scatter) and
overcomplete (two products per step, dense one-hot selections). Support is compared row by row with
the same pursuit in float64; "sure" leaves out rows where the float64 scores of the best two atoms
agree to 1e-6 of ‖x‖ at some step, which no fp32 program can order.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from sae_nb.pursuit import explain_plan, matching_pursuit, orthogonal_matching_pursuit
from sae_nb.pursuit.gram import forget


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


def medians(work: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, alternating, after one unmeasured round."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for round_ in range(repeats + 1):
        for name, call in work.items():
            began = time.perf_counter()
            call()
            if round_:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}


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
    print(f"{'':28}{'ms':>9}{'× x Dᵀ':>9}{'peer/ours':>11}{'support':>10}{'sure':>9}{'coef.':>10}")
    for name, call in work.items():
        line = f"{name:28}{1e3 * seconds[name]:9.0f}{seconds[name] / seconds['x Dᵀ']:9.2f}"
        if name != "x Dᵀ":
            result = call()
            dense = result if isinstance(result, Tensor) else result.to_dense()  # type: ignore[attr-defined]
            same = same_rows(dense, exact)
            off = float((dense - exact)[same].abs().max() / exact.abs().max())
            line += f"{seconds[name] / seconds['ours']:11.1f}{same.double().mean():10.2%}"
            line += f"{same[sure].double().mean():9.2%}{off:10.1e}"
        print(line)
    print(f"plan: {explain_plan(x, dictionary, k)}")


def train_step(arguments: argparse.Namespace) -> None:
    """Forward and backward of ‖x − x̂‖², the Gram matrix made anew at every step."""
    rows, d_in, n_atoms, k = arguments.train_rows, arguments.d_in, arguments.n_atoms, arguments.k
    generator = torch.Generator().manual_seed(0)
    dictionary = unit(torch.randn(n_atoms, d_in, generator=generator)).requires_grad_()
    x = planted(rows, dictionary.detach(), k, seed=2)

    def ours() -> None:
        from sae_nb.kernels import squared_error

        with torch.no_grad():
            dictionary.mul_(1.0)  # a new version: what an optimiser does
        codes = matching_pursuit(x, dictionary, k)
        squared_error(codes, dictionary, None, x)[0].backward()

    def peer(encode: Callable[[Tensor, Tensor, int], Tensor]) -> Callable[[], None]:
        def step() -> None:
            codes = encode(x, dictionary, k)
            (x - codes @ dictionary).square().sum().backward()

        return step

    work = {
        "x Dᵀ": lambda: x @ dictionary.detach().T,
        "ours": ours,
        "SAELens-style": peer(one_product_per_step),
    }
    seconds = medians(work, arguments.repeats)
    print(f"\nforward and backward, B {rows}, d {d_in}, n {n_atoms}, k {k}, Gram made every step")
    print(f"{'':28}{'ms':>9}{'× x Dᵀ':>9}{'peer/ours':>11}")
    for name in work:
        ratio = seconds[name] / seconds["ours"]
        units = seconds[name] / seconds["x Dᵀ"]
        print(f"{name:28}{1e3 * seconds[name]:9.0f}{units:9.2f}{ratio:11.1f}")


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
    print(f"{'':28}{'ms':>9}{'× x Dᵀ':>9}{'peer/ours':>11}")
    for name in work:
        ratio = seconds[name] / seconds["ours, signed"]
        units = seconds[name] / seconds["x Dᵀ"]
        print(f"{name:28}{1e3 * seconds[name]:9.1f}{units:9.1f}{ratio:11.1f}")
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
small = dictionary[:1000, :64] / dictionary[:1000, :64].norm(dim=1, keepdim=True)
for some in (10**8, 10**6, 3 * 10**5):  # every loop compiled, every thread started
    matching_pursuit(x[:100, :64].contiguous(), small, 4, memory_cap=some)
x[:256] @ dictionary[:512].T
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
    print(f"{'cap':>12}{'strategy':>12}{'predicted':>12}{'measured':>12}")
    for cap in (2**30, 2**27, 2**25):
        plan = explain_plan(x, dictionary, k, memory_cap=cap)
        command = [sys.executable, "-c", MEASURE, *map(str, (rows, d_in, n_atoms, k, cap))]
        measured = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        sizes = f"{plan.peak_bytes / 2**20:8.1f} MiB{measured / 2**20:8.1f} MiB"
        print(f"{cap / 2**20:8.0f} MiB{plan.strategy:>12}{sizes}")


PARTS = {"encode": encode, "train": train_step, "omp": orthogonal, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--train-rows", type=int, default=512)
    parser.add_argument("--omp-rows", type=int, default=256)
    parser.add_argument("--d-in", type=int, default=768)
    parser.add_argument("--omp-d-in", type=int, default=256)
    parser.add_argument("--n-atoms", type=int, default=8192)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=list(PARTS), nargs="*", default=list(PARTS))
    arguments = parser.parse_args()
    threads = torch.get_num_threads()
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {threads} threads"
    )
    for name in arguments.only:
        PARTS[name](arguments)
        forget()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory of the whole run: {peak:.1f} GiB")


if __name__ == "__main__":
    main()
