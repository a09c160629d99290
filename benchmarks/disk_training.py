"""How long a TopK takes to learn from a million rows on disk, and whether memory stays flat.

Run `python benchmarks/disk_training.py`. One process makes planted rows (true atoms known) and saves
them in fp16 shards; a second, fresh one opens the folder and trains one pass over them, noting its
own anonymous memory at every record, so that mapped file pages, which the system may drop, do not
count. Printed: seconds, rows per second, memory early and late, R² on rows it never saw, and the
time of the encoder products alone, which no dense or sparse way can leave out. Goal: two minutes on
two cores, memory flat.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import sae_nb as sn

K = 32
HELD_OUT = 20_000


def main() -> None:
    """Make the rows, train on them in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--d-in", type=int, default=384)
    parser.add_argument("--atoms", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--stage", choices=["all", "make", "train"], default="all")
    parser.add_argument("--folder", type=Path)
    wanted = parser.parse_args()
    if wanted.stage == "make":
        make(wanted.folder, wanted.rows, wanted.d_in, wanted.atoms)
    elif wanted.stage == "train":
        train(wanted.folder, wanted.atoms, wanted.batch)
    else:
        with tempfile.TemporaryDirectory() as folder:
            for stage in ("make", "train"):
                given = [*sys.argv[1:], "--stage", stage, "--folder", f"{folder}/rows"]
                subprocess.run([sys.executable, __file__, *given], check=True)


def make(folder: Path, rows: int, d_in: int, n_atoms: int) -> None:
    """Save planted rows, the last of them for the test."""
    data = sn.data.planted_dictionary(n_atoms, d_in, rows + HELD_OUT, k=K, noise=0.02)
    sn.Activations.from_tensor(data.x.half()).save(folder)


def train(folder: Path, n_atoms: int, batch: int) -> None:
    """One pass over all rows but the held out ones."""
    acts = sn.load_activations(folder)
    rows = torch.arange(len(acts))
    seen, unseen = acts.subset(rows[:-HELD_OUT]), acts.subset(rows[-HELD_OUT:])
    sae = sn.TopK(acts.d_in, n_atoms, K, generator=torch.Generator().manual_seed(0))
    memory: list[float] = []
    config = sn.TrainConfig(steps=len(seen) // batch, batch_size=batch, log_every=10)
    cpu = time.process_time()
    start = time.perf_counter()
    result = sn.train(
        sae, seen, config, callbacks=lambda _: memory.append(anonymous_mib()), progress=False
    )
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    x = unseen.x.float()
    with torch.no_grad():
        r2 = 1 - float((x - sae(x)).square().sum() / (x - x.mean(0)).square().sum())
    fifth = len(memory) // 5
    print(f"{len(seen)} rows × {acts.d_in}, {n_atoms} atoms, k {K}, batch {batch}")
    print(f"{seconds:.1f} s ({cpu:.1f} CPU-seconds), {len(seen) / seconds:.0f} rows per second")
    print(f"encoder products alone: {products(sae, batch, config.steps):.1f} s")
    print(
        f"memory: {max(memory[:fifth]):.0f} MiB in the first fifth, {max(memory):.0f} MiB at most"
    )
    print(f"R²: last batch {result.history[-1].r2:.3f}, {HELD_OUT} unseen rows {r2:.3f}; ", end="")
    print(f"dead {result.history[-1].dead_fraction:.1%}")


@torch.no_grad()
def products(sae: sn.TopK, batch: int, steps: int) -> float:
    """Seconds of one product x Eᵀ per step, timed on a few."""
    x = torch.randn(batch, sae.d_in)
    out = torch.empty(batch, sae.n_atoms)
    start = time.perf_counter()
    for _ in range(20):
        torch.mm(x, sae.encoder.weight.T, out=out)
    return (time.perf_counter() - start) / 20 * steps


def anonymous_mib() -> float:
    """Memory of this process that no file backs."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    if found is None:
        raise OSError("/proc/self/status must name RssAnon. This benchmark needs Linux.")
    return int(found.group(1)) / 1024


if __name__ == "__main__":
    main()
