"""Training from files on disk, and by two processes.

`python benchmarks/stores.py disk`: one process makes planted rows (true atoms known) and saves them in fp16
shards; a second, fresh one opens the folder and trains one pass over them, noting its own anonymous memory at
every record, so that mapped file pages, which the system may drop, do not count. Beside the clock stands the
time of the encoder products alone. Goal: two minutes on two cores, memory flat.

`python benchmarks/stores.py workers`: a TopK trains on the same global batches once alone and once with two
workers that torchrun starts, each computing with one thread: seconds a step from the middle of the run on, and
the share spent adding gradients up. Goal: time alone at least 1.5 times the time together (an efficiency of
.75). Needs two cores that do nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
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
    """Start the stages of what was asked for, each a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["disk", "make", "train", "workers", "work"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--d-in", type=int, default=384)
    parser.add_argument("--atoms", type=int, default=4096)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--folder", type=Path, help="set for the processes that this one starts")
    wanted = parser.parse_args()
    wanted.batch = wanted.batch or (2048 if wanted.what in ("disk", "train") else 8192)
    if wanted.what == "make":
        make(wanted.folder, wanted.rows, wanted.d_in, wanted.atoms)
    elif wanted.what == "train":
        train(wanted.folder, wanted.atoms, wanted.batch)
    elif wanted.what == "work":
        work(wanted)
    elif wanted.what == "workers":
        both(sys.argv[2:])
    else:
        with tempfile.TemporaryDirectory() as folder:
            for stage in ("make", "train"):
                given = [stage, *sys.argv[2:], "--folder", f"{folder}/rows"]
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
    print("\n## training from disk\n\n| what | figure |\n| --- | --- |")
    print(
        f"| rows trained on | {len(seen)} × {acts.d_in} ({HELD_OUT} held out), {n_atoms} atoms, k {K} |"
    )
    print(
        f"| clock | {seconds:.1f} s; {len(seen) / seconds:.0f} rows a second; {cpu:.0f} CPU seconds |"
    )
    print(f"| encoder products alone | {products(sae, batch, config.steps):.1f} s |")
    print(
        f"| own memory | {max(memory[:fifth]):.0f} MiB in the first fifth, {max(memory):.0f} at most |"
    )
    print(f"| R², rows never seen | {r2:.3f} (last batch {result.history[-1].r2:.3f}) |")
    print(f"| dead atoms | {result.history[-1].dead_fraction:.1%} |")


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


def both(given: list[str]) -> None:
    """One worker, then two."""
    print(
        "## two workers\n\n| workers | seconds a step | share spent adding gradients up |\n| --- | --- | --- |"
    )
    alone, together = (measured(size, given) for size in (1, 2))
    for found in (alone, together):
        share = found["adding"] / found["step"]
        print(f"| {found['size']} | {found['step']:.3f} | {share:.1%} |")
    print(f"\nparallel efficiency: {alone['step'] / (2 * together['step']):.2f}")


def measured(size: int, arguments: list[str]) -> dict[str, float]:
    """Figures of a run with so many workers."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *(launcher if size > 1 else []), __file__, "work", *arguments]
        one_thread = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        subprocess.run([*command, "--folder", folder], env=one_thread, check=True)
        figures: dict[str, float] = json.loads((Path(folder) / "figures.json").read_text())
    return figures


def work(wanted: argparse.Namespace) -> None:
    """Train, with a clock around every sum over the workers."""
    torch.set_num_threads(1)
    x = torch.randn(4 * wanted.batch, wanted.d_in, generator=torch.Generator().manual_seed(0))
    times: list[float] = []
    adding: list[float] = []
    clocked(adding)
    with sn.training.workers() as team:
        sae = sn.TopK(wanted.d_in, wanted.atoms, K, generator=torch.Generator().manual_seed(0))
        config = sn.TrainConfig(steps=wanted.steps, batch_size=wanted.batch, log_every=1)
        sn.train(
            sae, x, config, callbacks=lambda _: times.append(time.perf_counter()), progress=False
        )
        if team.is_first:
            half = wanted.steps // 2
            steps = [b - a for a, b in zip(times[half:-1], times[half + 1 :], strict=True)]
            figures = {
                "size": team.size,
                "step": statistics.median(steps),
                "adding": statistics.median(adding[half:]),
            }
            (wanted.folder / "figures.json").write_text(json.dumps(figures))


def clocked(seconds: list[float]) -> None:
    """Let each sum of gradients note how long it took, waiting for the other worker included."""
    whole = sn.training.Team.sum_gradients

    def sum_gradients(team: sn.training.Team, parameters: list[torch.nn.Parameter]) -> None:
        start = time.perf_counter()
        whole(team, parameters)
        seconds.append(time.perf_counter() - start)

    sn.training.Team.sum_gradients = sum_gradients


if __name__ == "__main__":
    main()
