"""What a map of very many atoms asks for: how near the nearest are, local dimension, a second dictionary.

    python benchmarks/map_columns.py --atoms 50000 200000 --width 64 --runs 3

Each number is of a process of its own: seconds of processor on one thread, and what its highest resident
memory (VmHWM) grew by beyond imports, compiled loops and the dictionaries. `found` is what the map says of
itself: the share of the nearest (of the best partners) that was looked at, of 256 atoms. Clustered: 200
directions with noise as long as they are; random: nothing to find, the hardest case. The second dictionary
is the first shuffled, with noise of a fifth of a row's length: the share of true pairs that was found.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path


def highest() -> float:
    """MiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def measure(kind: str, n: int, d: int, what: str, seed: int) -> dict[str, float]:
    """Make dictionaries, ask the map for one thing, return its numbers."""
    import torch

    from sae_nb.evaluation import match_near
    from sae_nb.summaries import ConceptAtlas
    from sae_nb.summaries.concept_map import _atlas

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)

    def drawn(n: int) -> torch.Tensor:
        rows = torch.randn(n, d, generator=generator)
        if kind == "clustered":
            centres = torch.randn(200, d, generator=generator)
            rows += centres[torch.randint(0, 200, (n,), generator=generator)]
        return rows

    if what == "other":  # its loop is compiled
        match_near(drawn(200), drawn(200), seed=0)
    x = drawn(n)
    order = torch.randperm(n, generator=generator)
    other = None
    if what == "other":
        other = x[order] + 0.2 * x.norm(dim=1).mean() / d**0.5 * torch.randn(
            n, d, generator=generator
        )
    atlas = ConceptAtlas(x, other=other, seed=seed)
    before, began = highest(), time.process_time()
    made: dict[str, float] = {}
    if what == "other":
        match = atlas.match
        assert match is not None
        made["found"] = match.found
        made["true pairs"] = float((order[match.others].numpy() == match.atoms).sum() / n)
        made["mean cosine"] = float(match.cosines.mean())
        made["floor"] = match.floor
    elif n <= _atlas.MOST_AT_ONCE:
        atlas.dimension("atoms")
        made["found"] = 1.0
    else:
        atlas.measured("atoms", what)
        made["found"] = atlas._near("atoms").found
    return {"CPU s": time.process_time() - began, "MiB more": highest() - before, **made}


def main() -> None:
    """Print a line for each question."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=["clustered", "random"])
    parser.add_argument("--what", nargs="+", default=["distance", "local dimension", "other"])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*json.loads(given.one))))
        return
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {given.runs} runs: mean ± sd")
    for n in given.atoms:
        for kind in given.kinds:
            for what in given.what:
                runs = []
                for seed in range(given.runs):
                    one = json.dumps([kind, n, given.width, what, seed])
                    command = [sys.executable, __file__, "--one", one]
                    runs.append(json.loads(subprocess.check_output(command).splitlines()[-1]))
                words = []
                for name in runs[0]:
                    values = [run[name] for run in runs]
                    sd = statistics.stdev(values) if len(values) > 1 else 0.0
                    words.append(f"{name} {statistics.mean(values):.4g} ± {sd:.2g}")
                print(f"{n} × {given.width} {kind}, {what}: {', '.join(words)}", flush=True)


if __name__ == "__main__":
    main()
