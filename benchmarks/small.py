"""What everyday calls cost beside plain torch: `python benchmarks/small.py`, one thread and two.

Ours and the shortest honest code in plain torch take turns in one process, round after round, so that whatever
else the machine does hits both alike; a number is the median over rounds of the same round's ratio, between its
quartiles, and the ratio of the least times, to which other work has added least. With one thread the thread's
own seconds count, with two those of the clock; what takes long is measured five times at least. Other libraries
encode in the environments that `make peers` makes, in turns with ours too. A further row is a function that
returns its `Row`s, named in `MEASURED`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from record import processor
from torch import Tensor
from torch.nn.functional import normalize

import sae_nb as sn
from sae_nb.temporal import SequenceRows
from sae_nb.training import TrainConfig
from sae_nb.training._learner import Learner

Work = Callable[[], object]
ROOT = Path(__file__).parents[1]
MISSING = "not installed"
LONG = 60
"""Seconds that a row may take, where it can be measured five times in them."""


class Row(NamedTuple):
    """Two ways to do one thing."""

    name: str
    ours: Work
    plain: Work | Peer | str
    """What ours is compared with; a word where it is with nothing: of a goal in seconds, not installed."""

    goal: float
    """Most that ours may take, as a multiple of plain, or in seconds where there is none."""


def clock() -> float:
    """Seconds of this thread, or of the clock where there are several."""
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Peer:
    """An encoder of another library, in a process of its own that repeats it on demand."""

    def __init__(self, python: Path, make: str) -> None:
        script = _ENCODES.replace("MAKE", make)
        command = [str(python), "-c", script, str(torch.get_num_threads())]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def seconds(self, repeats: int) -> float:
        """Have it encode so many times, and return what it took there."""
        print(repeats, file=self._process.stdin, flush=True)
        for line in self._process.stdout or ():
            if line.startswith("took "):
                return float(line.split()[1])
        raise RuntimeError("The other library's process ended. Its error is above.")


_ENCODES = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
torch.set_grad_enabled(False)
MAKE
x = torch.randn(512, 64, generator=torch.Generator().manual_seed(0))
clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
for line in sys.stdin:
    started = clock()
    for _ in range(int(line)):
        encode(x)
    print("took", clock() - started, flush=True)
"""

PEERS = {
    "saelens": """
from sae_lens import TopKSAE, TopKSAEConfig
encode = TopKSAE(TopKSAEConfig(d_in=64, d_sae=512, k=16, device="cpu", dtype="float32")).encode
""",
    "sparsify": """
from sparsify import SparseCoder, SparseCoderConfig
encode = SparseCoder(64, SparseCoderConfig(num_latents=512, k=16)).encode
""",
    "dictionary_learning": """
from dictionary_learning.trainers.top_k import AutoEncoderTopK
encode = AutoEncoderTopK(64, 512, 16).encode
""",
    "overcomplete": """
from overcomplete.sae import TopKSAE
encode = TopKSAE(64, nb_concepts=512, top_k=16).eval().encode
""",
}
"""By the name of a peer, what makes a TopK encoder of 64 → 512, k 16."""


def seeded(*shape: int) -> Tensor:
    """Return standard normal numbers, the same every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def four_rows() -> Iterator[Row]:
    """Encoding of so few rows that everything around the product is seen."""
    sae, x, k = topk(64, 512, 16).eval(), seeded(4, 64), 16
    weight, bias = sae.encoder.weight.detach().T.contiguous(), torch.zeros(512)

    def plain() -> Tensor:
        values, atoms = torch.relu(x @ weight + bias).topk(k, dim=1)
        return torch.zeros(4, 512).scatter_(1, atoms, values)

    def ours() -> object:
        with torch.no_grad():
            return sae.encode(x)

    yield Row("four rows through `encode`, 64 → 512, k 16", ours, plain, 1.7)


def notebook_step() -> Iterator[Row]:
    """A training step of the size that a notebook has."""
    x, goal = seeded(512, 64), 0.5 if torch.get_num_threads() == 1 else 0.7
    name = "step, 512 rows, 64 → 512, k 16 ÷ plain step"
    yield Row(name, step_of(topk(64, 512, 16), x), plain_step(x, 512, 16), goal)


def wide_step() -> Iterator[Row]:
    """A training step in products of its batch with the dictionary."""
    for rows, goal in ((512, 1.3), (2048, 1.1)):
        x, weight = seeded(rows, 768), seeded(8192, 768)
        name = f"step, {rows} rows, 768 → 8192, k 32 ÷ x Eᵀ"
        yield Row(name, step_of(topk(768, 8192, 32), x), partial(torch.mm, x, weight.T), goal)


def temporal_step() -> Iterator[Row]:
    """A training step of a temporal SAE, in the products that its attention cannot do without."""
    lengths, d_in, n_atoms, k = [96] * 10, 576, 1024, 16
    sae = sn.Temporal(d_in, n_atoms, k, generator=torch.Generator().manual_seed(0))
    x, v, weight = seeded(960, d_in), seeded(960, n_atoms), seeded(n_atoms, n_atoms)

    def twelve_products() -> None:
        for _ in range(12):  # queries, keys, values, output: forwards and two gradients each
            v @ weight

    name = "step of `Temporal`, 10 × 96 rows, 576 → 1024, k 16 ÷ 12 products v W"
    yield Row(name, step_of(sae, SequenceRows.of(x, lengths)), twelve_products, 1.5)


def peers() -> Iterator[Row]:
    """Encoding by other libraries, of the size that a notebook has."""
    sae, x = topk(64, 512, 16).eval(), seeded(512, 64)

    def ours() -> object:
        with torch.no_grad():
            return sae.encode(x)

    for name, make in PEERS.items():
        python = ROOT / "build" / "peers" / name / "bin" / "python"
        other = Peer(python, make) if python.is_file() else MISSING
        yield Row(f"`encode`, 512 rows, 64 → 512, k 16 ÷ {name}", ours, other, 1.0)


def whole_calls() -> Iterator[Row]:
    """Calls of seconds: a report, and which firings two solvers keep."""
    sae, rows = topk(576, 4096, 32), seeded(3500, 576)
    sae.initialise(rows, torch.Generator().manual_seed(0))
    yield Row("`evaluate`, 3500 rows, 576 → 4096, k 32", partial(sn.evaluate, sae, rows), "–", 1.8)
    few = partial(sn.evaluation.second_code, sae, rows[:1676])
    yield Row("`second_code` by omp and mp, 1676 rows of these", few, "–", 4.0)


MEASURED = (four_rows, notebook_step, wide_step, temporal_step, peers, whole_calls)


def topk(d_in: int, n_atoms: int, k: int) -> sn.TopK:
    return sn.TopK(d_in, n_atoms, k=k, generator=torch.Generator().manual_seed(0))


def step_of(sae: sn.SparseAutoencoder, x: Tensor) -> Work:
    """Return a step of `sn.train`: loss, gradient, projection, clipping, Adam, unit atoms, dead atoms."""
    learner = Learner(sae, TrainConfig(steps=10**6), rows=len(x))
    learner.begin(x, 0)
    numbers = iter(range(10**6))
    return lambda: learner.step(x, next(numbers), rows=len(x), share=1)


def plain_step(x: Tensor, n_atoms: int, k: int) -> Work:
    """Return a TopK's step in ten lines: torch's autograd, its fused Adam, atoms of unit norm."""
    dictionary = normalize(seeded(n_atoms, x.shape[1]), dim=1)
    start = (dictionary, dictionary, torch.zeros(n_atoms), torch.zeros(x.shape[1]))
    atoms, encoder, bias, centre = (torch.nn.Parameter(part.clone()) for part in start)
    optimiser = torch.optim.Adam([atoms, encoder, bias, centre], lr=1e-3, fused=True)

    def step() -> None:
        u = torch.addmm(bias, x - centre, encoder.T)
        values, chosen = u.topk(k, dim=1)
        z = torch.zeros_like(u).scatter(1, chosen, values.relu())
        loss = (z @ atoms + centre - x).square().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        with torch.no_grad():
            atoms.div_(atoms.norm(dim=1, keepdim=True))

    return step


def seconds(work: Work | Peer, repeats: int) -> float:
    """Return what some repeats take."""
    if isinstance(work, Peer):
        return work.seconds(repeats)
    started = clock()
    for _ in range(repeats):
        work()
    return clock() - started


def measured(row: Row, rounds: int) -> str:
    """Return a row's cells."""
    if row.plain == MISSING:
        return f"| {row.name} | – | {MISSING} | – | – | – | {row.goal} |"
    sides = [row.ours] if isinstance(row.plain, str) else [row.ours, row.plain]
    for side in sides:
        seconds(side, 1)
    once = [min(seconds(side, 1) for _ in range(3)) for side in sides]
    repeats = [max(1, int(0.005 / max(one, 1e-9))) for one in once]
    rounds = max(min(5, rounds), min(rounds, int(LONG / max(sum(once), 1e-9))))
    taken: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        for i in range(len(sides))[:: 1 if number % 2 else -1]:
            taken[i].append(seconds(sides[i], repeats[i]) / repeats[i] * 1e3)
    ours, plain = taken[0], taken[-1]
    if isinstance(row.plain, str):
        low, middle, high = statistics.quantiles(ours, n=4)
        times = f"– | {low:.0f} to {high:.0f} ms | – | {row.goal} s"
        return f"| {row.name} | {middle:.3f} | {row.plain} | {times} |"
    low, middle, high = statistics.quantiles((a / b for a, b in zip(ours, plain, strict=True)), n=4)
    times = f"{middle:.2f} | {low:.2f} to {high:.2f} | {min(ours) / min(plain):.2f} | {row.goal}"
    return (
        f"| {row.name} | {statistics.median(ours):.3f} | {statistics.median(plain):.3f} | {times} |"
    )


def main() -> None:
    """Print a table for each number of threads, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--only", nargs="+", default=[one.__name__ for one in MEASURED])
    asked = parser.parse_args()
    if len(asked.threads) > 1:
        print(f"{processor()}, torch {torch.__version__}")
        for n in asked.threads:
            how = ["--threads", str(n), "--rounds", str(asked.rounds), "--only", *asked.only]
            subprocess.run([sys.executable, __file__, *how], check=True)
        return
    torch.set_num_threads(asked.threads[0])
    print(f"\n## {asked.threads[0]} thread{'s' * (asked.threads[0] > 1)}\n")
    print("| work | ours, ms | plain, ms | ours ÷ plain | quartiles | least ÷ least | goal |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for rows in MEASURED:
        if rows.__name__ in asked.only:
            for row in rows():
                print(measured(row, asked.rounds), flush=True)


if __name__ == "__main__":
    main()
