"""What several workers of one machine show: the memory of a start, seconds and bytes of a step, a checkpoint.

Run `python benchmarks/record.py workers` (`--only start`, `steps` or `large`). Workers are processes of one
thread each on gloo. Memory is the growth of a process's peak over what it held before the SAE was made.
Bytes are counted at torch.distributed's calls: an all-reduce sends 2 (P − 1) / P of its tensor, an all-gather
and a broadcast (P − 1) / P of what each ends up with.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import resource
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

import scale
import torch
import torch.distributed.checkpoint
import torch.distributed.nn  # every worker would import it anew

import sae_nb as sn
from sae_nb.training._learner import Learner

D_IN, K = 768, 32
ATOMS, ROWS = 131_072, 256
"""Of the start."""

STEP_ATOMS, STEP_ROWS, STEPS = 8192, 1024, 12
"""Of the steps that are timed; the first two are left out."""

LARGE = 458_752
"""Atoms of the largest that four workers were given here: 14.1 GB of training state."""

MIB = 2**20


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tables = {"start": start, "steps": steps, "large": large, "tokens": tokens}
    parser.add_argument("--only", choices=tables)
    only = parser.parse_args().only
    for name, table in tables.items():
        if only in (None, name):
            print(table(), flush=True)


def start() -> str:
    """Memory of a start, of each of P workers and of a process alone."""
    lines = [
        f"| TopK, {ATOMS:,} atoms, d_in {D_IN} | made | first rows looked at | of one's | goal |"
    ]
    alone = 0.0
    for p in (1, 2, 4):
        found = together(p, started, ATOMS)
        made, looked = (max(one[what] for one in found) / MIB for what in ("made", "looked"))
        alone = alone or looked
        share, goal = looked / alone, f"{1.3 / p:.3f}" if p > 1 else ""
        name = f"{p} worker{'s' * (p > 1)}, each"
        lines.append(f"| {name} | {made:.0f} MiB | {looked:.0f} MiB | {share:.3f} | {goal} |")
    return headed("memory of a start", lines)


def steps() -> str:
    """CPU seconds, bytes and loss of a step, by the way that work is shared; others may use the machine."""
    lines = [
        "| workers | shared | CPU s a step of each | efficiency | MB sent a step by each | loss at the end |"
    ]
    for way in ("rows", "atoms"):
        alone = 0.0
        for p in (1, 2, 4):
            found = together(p, stepped, way == "atoms")
            seconds = max(one["seconds"] for one in found)
            alone = alone or seconds
            sent = max(one["sent"] for one in found) / 1e6
            lines.append(
                f"| {p} | {way} | {seconds:.3f} | {alone / seconds / p:.2f} | {sent:.2f} | "
                f"{found[0]['loss']:.6f} |"
            )
    return headed("steps of workers", lines)


def large() -> str:
    """The largest dictionary that four workers of this machine were given."""
    found = together(4, trained_large, LARGE)
    lines = [
        f"| TopK, {LARGE:,} atoms, d_in {D_IN}, batch {ROWS}, 4 workers | each, at most | all four | s |"
    ]
    for phase in found[0]["peaks"]:
        peaks = [one["peaks"][phase] for one in found]
        most, every = max(peak for peak, _ in peaks), sum(peak for peak, _ in peaks)
        seconds = max(took for _, took in peaks)
        lines.append(
            f"| {phase} | {most / 2**30:.2f} GiB | {every / 2**30:.2f} GiB | {seconds:.0f} |"
        )
    return headed("the largest that was run", lines)


def tokens() -> str:
    """What 10⁸ tokens of the width of Gemma 2 2B take, from what `scale.py` measured, and counted."""
    n, d_in, batch, k, p = 1e8, 2304, 4096, 64, 4
    known = scale.fitted(json.loads(scale.KEPT.read_text()))
    sizes = (16_384, 65_536)
    rows: dict[str, list[str]] = {}
    for n_atoms in sizes:
        weights = 2 * n_atoms * d_in + n_atoms + d_in
        operations = 2 * n * d_in * n_atoms
        hours = known["units"] * operations / known["product_gflops"] / 1e9 / 3600
        ring = 8 * (p - 1) / p
        for name, shown in {
            "steps": f"{n / batch:,.0f}",
            "**predicted**: core-hours": f"{hours:.0f}",
            "operations of the encoder product": f"{operations:.1e}",
            "training state": f"{20 * weights / 1e9:.2f} GB",
            f"of each of {p} workers that share atoms": f"{20 * weights / 1e9 / p:.2f} GB",
            f"sent a step by each of {p}, rows shared": f"{ring * weights / 1e6:.0f} MB",
            f"sent a step by each of {p}, atoms shared": (
                f"{batch * (ring * d_in + 4 * (p - 1) * k) / 1e6:.0f} MB"
            ),
            "a checkpoint": f"{12 * weights / 1e9:.2f} GB",
            "rows on disk, fp32; half precision": f"{4 * n * d_in / 1e9:.0f} GB; {2 * n * d_in / 1e9:.0f} GB",
        }.items():
            rows.setdefault(name, []).append(shown)
    lines = [
        f"| TopK, 10⁸ tokens, batch {batch} | " + " | ".join(f"{n:,} atoms" for n in sizes) + " |"
    ]
    lines += [f"| {name} | {' | '.join(shown)} |" for name, shown in rows.items()]
    return headed("10⁸ tokens of width 2304", lines)


def headed(name: str, lines: list[str]) -> str:
    """A table below its name."""
    return "\n".join(
        [f"## {name}", "", lines[0], "| --- " * (lines[0].count("|") - 1) + "|", *lines[1:], ""]
    )


def together(p: int, work: Callable[..., Any], *arguments: object) -> list[Any]:
    """What each of p workers found, forked from here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork, running = multiprocessing.get_context("fork"), []
    for rank in range(p):
        mine, its = fork.Pipe()
        process = fork.Process(target=worker, args=(rank, p, port, its, work, arguments))
        process.start()
        running.append((process, mine))
    found = [pipe.recv() for _, pipe in running]
    for process, _ in running:
        process.join()
    return found


def worker(
    rank: int, p: int, port: int, out: Any, work: Callable[..., Any], arguments: Any
) -> None:
    """Join the others, work, and say what was found."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(p)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with sn.training.workers() as team:
        sn.train(sn.TopK(8, 64, 4), torch.randn(64, 8), steps=2, batch_size=32, progress=False)
        out.send(work(team, *arguments))
        team.wait()


def rows(n: int) -> torch.Tensor:
    """Rows with directions to find."""
    draws = torch.Generator().manual_seed(0)
    few = torch.randn(256, D_IN, generator=draws)
    return torch.randn(n, 256, generator=draws).relu() @ few


def described(n_atoms: int) -> Any:
    """A TopK that takes no memory yet."""
    with torch.device("meta"):
        return sn.TopK(D_IN, n_atoms, K, generator=torch.Generator().manual_seed(0))


def peak() -> int:
    """Most resident memory this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Begun(Exception):  # noqa: N818 - no error
    """Ends a training after its start."""


def started(_: Any, n_atoms: int) -> dict[str, int]:
    """Growth of the peak once the SAE is made, and once it has looked at its first rows."""
    x, begin, found = rows(8192), Learner.begin, {}
    floor = peak()

    def watched(learner: Learner, *arguments: Any) -> None:
        found["made"] = peak() - floor
        begin(learner, *arguments)
        found["looked"] = peak() - floor
        raise Begun

    Learner.begin = watched
    try:
        sn.train(described(n_atoms), x, steps=9, batch_size=ROWS, shard_atoms=True, progress=False)
    except Begun:
        pass
    finally:
        Learner.begin = begin
    return found


def stepped(team: Any, shard_atoms: bool) -> dict[str, float]:
    """Seconds and bytes of a step, and the loss at the end."""
    x, sent, times = rows(4 * STEP_ROWS), [0.0], []
    counted(sent, team.size)
    step = Learner.step

    def timed(learner: Learner, *arguments: Any, **named: Any) -> Any:
        times.append((time.process_time(), sent[0]))
        return step(learner, *arguments, **named)

    Learner.step = timed
    sae = described(STEP_ATOMS)
    result = sn.train(
        sae,
        x,
        steps=STEPS,
        batch_size=STEP_ROWS,
        shard_atoms=shard_atoms,
        log_every=1,
        progress=False,
    )
    pairs = list(itertools.pairwise(times[2:]))
    return {
        "seconds": statistics.median(b[0] - a[0] for a, b in pairs),
        "sent": statistics.median(b[1] - a[1] for a, b in pairs),
        "loss": result.history[-1].loss,
    }


def counted(sent: list[float], p: int) -> None:
    """Count what this worker sends."""
    dist = torch.distributed
    shares = {"all_reduce": 2.0, "broadcast": 1.0}

    def of(name: str, original: Any) -> Any:
        def call(tensor: Any, *arguments: Any, **named: Any) -> Any:
            if name == "all_gather":
                sent[0] += sum(one.nbytes for one in tensor) * (p - 1) / p
            else:
                sent[0] += tensor.nbytes * shares[name] * (p - 1) / p
            return original(tensor, *arguments, **named)

        return call

    for name in ("all_reduce", "broadcast", "all_gather"):
        setattr(dist, name, of(name, getattr(dist, name)))


def trained_large(_: Any, n_atoms: int) -> dict[str, Any]:
    """Peaks and seconds of every phase."""
    folder = Path(os.environ["WORKERS_FOLDER"])
    x, begin, save, began = (
        rows(8192),
        Learner.begin,
        sn.training._loop.Training._save,
        time.perf_counter(),
    )
    peaks: dict[str, tuple[int, float]] = {}

    def mark(phase: str) -> None:
        nonlocal began
        peaks[phase] = (peak(), time.perf_counter() - began)
        began = time.perf_counter()

    def watched(learner: Learner, *arguments: Any) -> None:
        mark("made, of the meta device")
        begin(learner, *arguments)
        mark("first rows looked at")

    def saved(training: Any) -> None:
        mark("three steps")
        save(training)
        mark("checkpoint written")

    Learner.begin, sn.training._loop.Training._save = watched, saved
    settings: dict[str, Any] = {
        "steps": 3, "batch_size": ROWS, "shard_atoms": True, "progress": False,
        "checkpoint": folder / "run", "save_to": folder / "sae",
    }  # fmt: skip
    sn.train(described(n_atoms), x, **settings)
    mark("the SAE saved")
    return {"peaks": peaks}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=os.environ.get("WORKERS_FOLDER")) as temporary:
        os.environ["WORKERS_FOLDER"] = temporary
        main()
    sys.exit(0)
