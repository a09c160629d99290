"""Matching pursuit's steps in Triton: a contender for a GPU, beside the Numba kernel.

One program holds the correlations of an input in registers for all its steps, where Numba's holds them in
shared memory: nothing is written back, and maxima and sums go through warp shuffles, which Numba's simulator
lacks. It moves into the package if a device finds it faster. `TRITON_INTERPRET=1 python
benchmarks/pursuit_triton.py` checks it without a GPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def matching_steps(
    c, r, gram, dictionary, floors, atoms, amounts, steps, n_atoms, d_in,
    K: tl.constexpr, SIGNED: tl.constexpr, N: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Take all steps of one input; one that has stopped goes on with amounts of zero."""
    i = tl.program_id(0).to(tl.int64)
    columns, wide = tl.arange(0, N), tl.arange(0, D)
    inside, has = columns < n_atoms, wide < d_in
    now = tl.load(c + i * n_atoms + columns, mask=inside, other=0.0)
    left = tl.load(r + i * d_in + wide, mask=has, other=0.0)
    floor = tl.load(floors + i)
    running = (floor == floor).to(tl.int32)
    taken = tl.zeros((), tl.int32)
    for t in range(K):
        score = tl.abs(now) if SIGNED else now
        top, j = tl.max(tl.where(inside, score, -1.0), axis=0, return_indices=True)
        atom = tl.load(dictionary + j.to(tl.int64) * d_in + wide, mask=has, other=0.0)
        a = tl.sum(left * atom, axis=0)
        running *= (top > floor).to(tl.int32)
        if not SIGNED:
            running *= (a > 0).to(tl.int32)
        a = tl.where(running > 0, a, 0.0)
        row = tl.load(gram + j.to(tl.int64) * n_atoms + columns, mask=inside, other=0.0)
        left -= a * atom
        now -= a * row
        tl.store(atoms + i * K + t, j)
        tl.store(amounts + i * K + t, a)
        taken += running
    tl.store(steps + i, taken)
    tl.store(r + i * d_in + wide, left, mask=has)


def matching(
    x: Tensor, dictionary: Tensor, gram: Tensor, k: int, *, signed: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Atoms, amounts and the number of steps of every input."""
    c, r = x @ dictionary.T, x.clone()
    floors = 8 * torch.finfo(x.dtype).eps * x.norm(dim=1)
    atoms = torch.zeros(len(x), k, dtype=torch.int32, device=x.device)
    amounts = torch.zeros(len(x), k, dtype=x.dtype, device=x.device)
    steps = torch.zeros(len(x), dtype=torch.int32, device=x.device)
    n_atoms, d_in = dictionary.shape
    width = triton.next_power_of_2(n_atoms)
    matching_steps[(len(x),)](
        c, r, gram, dictionary, floors, atoms, amounts, steps, n_atoms, d_in,
        K=k, SIGNED=signed, N=width, D=triton.next_power_of_2(d_in),
        num_warps=max(4, min(32, width // 1024)),
    )  # fmt: skip
    return atoms, amounts, steps


def agrees(x: Tensor, dictionary: Tensor, k: int, *, signed: bool, backend: str) -> float:
    """Largest difference of codes from the pursuit of the package, in units of the largest number."""
    from sae_nb.pursuit import matching_pursuit

    atoms, amounts, _ = matching(x, dictionary, dictionary @ dictionary.T, k, signed=signed)
    ours = x.new_zeros(len(x), len(dictionary)).scatter_add_(1, atoms.long(), amounts)
    expected = matching_pursuit(
        x, dictionary, k, nonnegative=not signed, backend=backend
    ).to_dense()
    return float((ours - expected).abs().max() / expected.abs().max())


def main() -> None:
    """Compare at a toy's size: widths that are no power of two, and a row of zeros."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.randn(45, 12, generator=generator)
    dictionary = (dictionary / dictionary.norm(dim=1, keepdim=True)).to(device)
    x = torch.randn(6, 12, generator=generator).to(device)
    x[2] = 0
    for signed in (False, True):
        off = agrees(x, dictionary, 5, signed=signed, backend="reference")
        print(f"signed {signed}: differs from the definition by {off:.1e}")
        if not off <= 1e-4:
            raise SystemExit("The Triton kernel disagrees with the definition.")


if __name__ == "__main__":
    main()
