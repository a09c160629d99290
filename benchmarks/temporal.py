"""What a temporal SAE costs: CPU time of training on 128 k tokens, and memory by length of the context.

Run `python benchmarks/temporal.py`. The first table trains `sn.Temporal` (d_in 128, 512 atoms, k 16, texts of
96 tokens) for some steps and scales to one pass over 131 072 tokens; CPU seconds are of all threads, so on an
idle machine with 2 cores wall time is about half. The second reads one long sequence in a process of its own
for each length, and prints by how much its peak memory grew.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

import sae_nb as sn

D_IN, ATOMS, K, TIME = 128, 512, 16, 96
TOKENS = 131_072
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
LENGTHS = (4096, 8192, 16384, 32768)


def sae_of(strict: bool, bottleneck_factor: int) -> sn.Temporal:
    """One of the size that is promised."""
    generator = torch.Generator().manual_seed(0)
    settings = {"bottleneck_factor": bottleneck_factor, "generator": generator}
    return sn.Temporal(D_IN, ATOMS, K, strict, **settings)


def training(steps: int) -> None:
    """CPU seconds of one pass over 128 k tokens, by form."""
    x = torch.randn(TOKENS // TIME // 4, TIME, D_IN, generator=torch.Generator().manual_seed(0))
    print(
        f"\n{TOKENS} tokens, d_in {D_IN}, {ATOMS} atoms, k {K}; {torch.get_num_threads()} threads"
    )
    print("| form | bottleneck | CPU seconds | wall seconds here |\n| --- | --- | --- | --- |")
    for strict in (False, True):
        for factor in (1, 4):
            sae = sae_of(strict, factor)
            sn.train(sae, x, sn.TrainConfig(steps=3), progress=False)  # warm
            cpu, wall = time.process_time(), time.perf_counter()
            result = sn.train(sae, x, sn.TrainConfig(steps=steps), progress=False)
            share = TOKENS / result.tokens
            cpu, wall = (time.process_time() - cpu) * share, (time.perf_counter() - wall) * share
            form = "strict" if strict else "published"
            print(f"| {form} | {factor} | {cpu:.1f} | {wall:.1f} |", flush=True)


def memory() -> None:
    """Peak memory that reading one sequence adds, by its length."""
    print(
        "\n| tokens in one sequence | MiB more at the peak | KiB per token |\n| --- | --- | --- |"
    )
    for length in LENGTHS:
        command = [sys.executable, __file__, "--length", str(length)]
        found = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"| {length} | {found / 1024:.0f} | {found / length:.1f} |", flush=True)


def read_one(length: int) -> None:
    """Read a sequence, and print by how many KiB the process grew at its peak."""
    sae = sae_of(strict=False, bottleneck_factor=4).eval()
    x = torch.randn(1, length, D_IN)
    with torch.no_grad():
        sae(x[:, :600])  # everything is loaded, and one window has been read
        CLEAR.write_text("5")  # the kernel forgets the peak until now
        before = peak_kib()
        sae(x)
    print(peak_kib() - before)


def peak_kib() -> int:
    """Most memory this process has held since the peak was cleared (Linux)."""
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--length", type=int, help="read one sequence and print its memory")
    given = parser.parse_args()
    if given.length:
        read_one(given.length)
    else:
        training(given.steps)
        memory()
