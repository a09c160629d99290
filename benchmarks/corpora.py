"""What a CorpusPanel of many atoms costs: first paint, a click, a change of limits, the file of all atoms.

    python benchmarks/corpora.py [--atoms 16384] [--documents 2000]

Two planted corpora in CSR: each document has 64 atoms, drawn by a power law, and 200 tokens with names; every
hundredth atom is three times as frequent in the first. Times are those of the kernel, from the call to the last
message to the page, whose bytes are counted; first the CPU time of the main thread, which other work on the
machine lengthens less. Words are counted off the main thread, with a line of their own.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import comm
import numpy as np
import sae_nb_widgets as sw
import torch
from concept_map import SENT, CountingComm
from scipy.sparse import csr_matrix

from sae_nb.activations import Context, Ragged
from sae_nb.corpora import Documents
from sae_nb.files import identity_of

ATOMS_EACH, TOKENS, WORDS, D_IN = 64, 200, 3000, 64


class _Nothing:
    """What stands where an SAE was: its size."""

    d_in, dictionary = 1, torch.ones(1, 1)

    def __init__(self, n_atoms: int) -> None:
        self.n_atoms = n_atoms


def planted(n: int, n_atoms: int, shifted: bool, seed: int) -> Documents:
    """Documents with drawn atoms, values, positions and words."""
    generator = np.random.default_rng(seed)
    weight = 1 / np.arange(1, n_atoms + 1) ** 0.7
    weight[::100] *= 3 if shifted else 1
    drawn = np.sort(generator.choice(n_atoms, (n, ATOMS_EACH), p=weight / weight.sum()), axis=1)
    first = np.diff(drawn, axis=1, prepend=-1) > 0
    indptr = np.concatenate([[0], np.cumsum(first.sum(axis=1))])
    values = generator.exponential(1, int(first.sum())).astype(np.float32)
    ids = (generator.zipf(1.3, n * TOKENS) % WORDS).astype(np.int64)
    context = Context(
        kind="language",
        n_samples=n,
        token_ids=Ragged(torch.from_numpy(ids), torch.arange(0, n * TOKENS + 1, TOKENS)),
        vocabulary={i: f" word{i}" for i in range(WORDS)},
    )
    return Documents(
        matrix=csr_matrix((values, drawn[first].astype(np.int32), indptr), shape=(n, n_atoms)),
        position=generator.integers(0, TOKENS, len(values)).astype(np.int32),
        n_rows=np.full(n, TOKENS),
        means=generator.normal(size=(n, D_IN)).astype(np.float32),
        sample=np.arange(n),
        context=context,
        pool="max",
        hook_point="resid_post.0",
        model_name="planted",
        identity=identity_of(_Nothing(n_atoms)),
        dictionary=torch.eye(1),
        labels={},
    )


def timed(what: str, changes: Iterable[Callable[[], Any]]) -> str:
    """Make changes of one kind and return a line about them."""
    seconds, worked, sizes = [], [], []
    for change in changes:
        SENT.clear()
        begin, busy = time.perf_counter(), time.thread_time()
        change()
        seconds.append(time.perf_counter() - begin)
        worked.append(time.thread_time() - busy)
        sizes.append(sum(SENT))
    took, most = statistics.median(seconds), max(seconds)
    return (
        f"{what:24s} CPU {1e3 * statistics.median(worked):5.0f} ms  wall median {1e3 * took:6.0f} ms  "
        f"slowest {1e3 * most:6.0f} ms  sent {max(sizes) / 1e3:7.1f} kB at most"
    )


def rows(n_atoms: int, n: int, clicks: int) -> Iterable[str]:
    """Time every kind of change in this process."""
    small = corpora(40, 64)
    sw.CorpusPanel(*small).close()  # plotly's script and libraries are loaded once per kernel
    panels = []
    pairs = [corpora(n, n_atoms) for _ in range(3)]
    yield timed("first paint", (lambda p=p: panels.append(sw.CorpusPanel(*p)) for p in pairs))
    for other in panels:
        other.wait(600)
        other.close()
    pair, begin = corpora(n, n_atoms), time.perf_counter()
    panel = sw.CorpusPanel(*pair)
    panel.wait(600)
    yield f"with words, which are counted off the main thread: {time.perf_counter() - begin:.1f} s wall"
    if panel.problem:
        raise RuntimeError(panel.status)
    points = sum(map(len, panel._points))
    yield f"{panel.summary.n_tested} atoms tested, {len(panel._listed)} listed, {points} points drawn"
    chosen = np.random.default_rng(1).choice(n_atoms, clicks, replace=False).tolist()
    yield timed("click to documents", (lambda a=a: panel.set_trait("atom", a) for a in chosen))
    for trait, values in (
        ("by", ["relative", "difference"]),
        ("max_q", [0.2, 0.05]),
        ("min_share", [0.05, 0.0]),
        ("search", ["word7", "word19"]),
    ):
        yield timed(trait, (lambda t=trait, v=v: panel.set_trait(t, v) for v in values))
    text: list[str] = []
    yield timed("csv of every atom", [lambda: text.append(panel.to_csv())])
    yield f"{'':34s} {len(text[0].splitlines()) - 1} atoms, {len(text[0]) / 1e6:.1f} MB"
    panel.close()


def corpora(n: int, n_atoms: int) -> tuple[Documents, Documents]:
    """Two corpora of n documents."""
    return planted(n, n_atoms, True, 0), planted(n, n_atoms, False, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--atoms", type=int, default=16_384)
    parser.add_argument("--documents", type=int, default=2000, help="in each corpus")
    parser.add_argument("--clicks", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {given.atoms} atoms, "
        f"{given.documents} documents in each corpus"
    )
    create = comm.create_comm
    comm.create_comm = CountingComm
    for row in rows(given.atoms, given.documents, given.clicks):
        print(row, flush=True)
    comm.create_comm = create


if __name__ == "__main__":
    main()
