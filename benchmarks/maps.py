"""Maps of very many atoms: how well a layout keeps neighbourhoods, and what its colours and partners cost.

`python benchmarks/maps.py layout [--data FILE.safetensors:TENSOR]`: some rows by UMAP and the rest placed,
beside all by UMAP. Trustworthiness (Venna and Kaski, 2001; `sklearn.manifold.trustworthiness`) of 15
neighbours, of rows drawn by seed against all rows: 1 says that who is near on the map is near by cosine,
random places give a half. Floors are random places and PCA. Figures of one run.

`python benchmarks/maps.py columns`: how near the nearest are, local dimension, a second dictionary. Each
number is of a process of its own: seconds of processor on one thread, and what its highest resident memory
(VmHWM) grew by beyond imports, compiled loops and the dictionaries. `found` is what the map says of itself:
the share of the nearest (of the best partners) that was looked at, of 256 atoms. Clustered: 200 directions
with noise as long as they are; random: nothing to find, the hardest case. The second dictionary is the first
shuffled, with noise of a fifth of a row's length: the share of true pairs that was found.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from sklearn.manifold import trustworthiness
from torch import Tensor

from sae_nb.atoms import ConceptAtlas
from sae_nb.atoms.concept_map import _atlas
from sae_nb.geometry import LayoutSettings, pca_layout, umap_layout
from sae_nb.geometry._matching_many import match_near

N, WIDTH, NEAR, ROWS = 50_000, 64, 15, 1000


def clusters() -> Tensor:
    """Rows in 1500 flat patches of two directions, in 60 groups, with noise."""
    generator = torch.Generator().manual_seed(0)
    top, patch = (torch.randn(n, WIDTH, generator=generator) for n in (60, 1500))
    own = torch.randint(0, 1500, (N,), generator=generator)
    plane = torch.randn(1500, 2, WIDTH, generator=generator)
    on_plane = (torch.randn(N, 2, 1, generator=generator) * plane[own]).sum(dim=1)
    noise = torch.randn(N, WIDTH, generator=generator)
    return top[own % 60] + 0.8 * patch[own] + 0.4 * on_plane + 0.25 * noise


def trust(x: Tensor, xy: np.ndarray, rows: np.ndarray) -> float:
    """Trustworthiness of the places of some rows: its formula, the sum over these in place of all."""
    n = len(x)
    unit, plane = torch.nn.functional.normalize(x, dim=1), torch.from_numpy(xy).double()
    lost = 0
    for part in np.array_split(rows, max(1, len(rows) // 100)):
        own = torch.from_numpy(part)
        cosine = unit[own] @ unit.T
        cosine[torch.arange(len(own)), own] = 2
        rank = torch.empty(len(own), n, dtype=torch.int64)
        order = cosine.argsort(dim=1, descending=True)
        rank.scatter_(1, order, torch.arange(n).expand(len(own), n))
        away = torch.cdist(plane[own], plane, compute_mode="donot_use_mm_for_euclid_dist")
        away[torch.arange(len(own)), own] = -1
        near = away.topk(NEAR + 1, largest=False).indices[:, 1:]
        lost += int((rank.gather(1, near) - NEAR).clamp_min(0).sum())
    return 1 - 2 * lost / (len(rows) * NEAR * (2 * n - 3 * NEAR - 1))


def check() -> None:
    """The formula over all rows is scikit-learn's."""
    generator = torch.Generator().manual_seed(1)
    x, xy = torch.randn(300, 8, generator=generator), torch.randn(300, 2, generator=generator)
    theirs = trustworthiness(x.numpy(), xy.numpy(), n_neighbors=NEAR, metric="cosine")
    ours = trust(x, xy.numpy(), np.arange(300))
    if abs(ours - theirs) > 1e-9:
        raise RuntimeError(f"{ours} is not scikit-learn's {theirs}")


def layout(given: argparse.Namespace) -> None:
    check()
    if given.data == "clusters":
        x = clusters()
    else:
        path, _, name = given.data.rpartition(":")
        with safe_open(Path(path), "pt") as file:
            x = file.get_tensor(name).float()
    rows = np.random.default_rng(0).choice(len(x), ROWS, replace=False)
    places = {
        "random places (floor)": lambda: np.random.default_rng(0).normal(size=(len(x), 2)),
        "PCA (floor)": lambda: pca_layout(x),
        **{
            f"UMAP of {n}, the rest placed": lambda n=n: umap_layout(x, LayoutSettings(sample=n))
            for n in given.samples
        },
        "UMAP of all": lambda: umap_layout(x, LayoutSettings(sample=len(x))),
    }
    print(f"{given.data}: {len(x)} rows of width {x.shape[1]}")
    print("\n## layout\n\n| layout | trustworthiness | CPU s |\n| --- | --- | --- |")
    for name, make in places.items():
        began = time.process_time()
        xy = make()
        seconds = time.process_time() - began
        print(f"| {name} | {trust(x, xy, rows):.4f} | {seconds:.1f} |", flush=True)


def highest() -> float:
    """MiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def measure(kind: str, n: int, d: int, what: str, seed: int) -> dict[str, float]:
    """Make dictionaries, ask the map for one thing, return its numbers."""
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


def columns(given: argparse.Namespace) -> None:
    print("## columns\n\n| atoms | what | found (mean ± sd of the runs) |\n| --- | --- | --- |")
    for n in given.atoms:
        for kind in given.kinds:
            for what in given.what:
                runs = []
                for seed in range(given.runs):
                    one = json.dumps([kind, n, given.width, what, seed])
                    command = [sys.executable, __file__, "columns", "--one", one]
                    runs.append(json.loads(subprocess.check_output(command).splitlines()[-1]))
                words = []
                for name in runs[0]:
                    values = [run[name] for run in runs]
                    sd = statistics.stdev(values) if len(values) > 1 else 0.0
                    words.append(f"{name} {statistics.mean(values):.4g} ± {sd:.2g}")
                print(f"| {n} {kind} | {what} | {', '.join(words)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=["layout", "columns"])
    parser.add_argument("--data", default="clusters", help="of layout")
    parser.add_argument("--samples", type=int, nargs="*", default=[10_000, 20_000])
    parser.add_argument(
        "--atoms", type=int, nargs="+", default=[50_000, 200_000], help="of columns"
    )
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=["clustered", "random"])
    parser.add_argument("--what", nargs="+", default=["distance", "local dimension", "other"])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*json.loads(given.one))))
    else:
        {"layout": layout, "columns": columns}[given.part](given)


if __name__ == "__main__":
    main()
