"""What a GPU has to move and to multiply for each kernel, and so how long it takes at best.

`python benchmarks/gpu_costs.py` prints the table of docs/gpu.md: milliseconds that an H100 needs for the
bytes and products alone, at the sizes that `pursuit_gpu.py` measures. A bound, not a forecast: what is
measured lies above it, and what is measured below it refutes the count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    """What a device reaches: bytes a second of a copy (read and written), operations a second of products."""

    copy: float = 3.0e12
    fp32: float = 5.0e13
    bf16: float = 8.0e14


H100 = Rates()
"""Copy and bf16 as seen on such cards; fp32, without tensor cores, three quarters of the data sheet's 67."""

SHARED_BYTES = (227 * 2**10) // 2 - 8 * 2**10
"""What `sae_nb.pursuit.shared_bytes` gives correlations there."""


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
DRY = [Size(6, 16, 40, 3)]


def main() -> None:
    """Print the table."""
    sizes = [*MAIN, *WIDE]
    print("| ms on an H100 at best | " + " | ".join(map(str, sizes)) + " | measured |")
    print("| --- |" + " --- |" * (len(sizes) + 1))
    for name, seconds in KERNELS.items():
        cells = [f"{1e3 * seconds(size, H100):.3g}" for size in sizes]
        print(f"| {name} | " + " | ".join(cells) + " | not measured: no device |")


if __name__ == "__main__":
    main()
