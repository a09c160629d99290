"""How well a map of very many rows keeps neighbourhoods: some by UMAP and the rest placed, beside all by UMAP.

    python benchmarks/map_layout.py [--data clusters|FILE.safetensors:TENSOR] [--samples 10000 20000]

Trustworthiness (Venna and Kaski, 2001; `sklearn.manifold.trustworthiness`) of 15 neighbours, of rows drawn
by seed against all rows: 1 says that who is near on the map is near by cosine, random places give a half.
Floors are random places and PCA. Figures of one run.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from sklearn.manifold import trustworthiness
from torch import Tensor

from sae_nb.geometry import LayoutSettings, pca_layout, umap_layout

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="clusters")
    parser.add_argument("--samples", type=int, nargs="*", default=[10_000, 20_000])
    given = parser.parse_args()
    check()
    if given.data == "clusters":
        x = clusters()
    else:
        path, _, name = given.data.rpartition(":")
        with safe_open(Path(path), "pt") as file:
            x = file.get_tensor(name).float()
    rows = np.random.default_rng(0).choice(len(x), ROWS, replace=False)
    places = {
        "random places": lambda: np.random.default_rng(0).normal(size=(len(x), 2)),
        "PCA": lambda: pca_layout(x),
        **{
            f"UMAP of {n}, the rest placed": lambda n=n: umap_layout(x, LayoutSettings(sample=n))
            for n in given.samples
        },
        "UMAP of all": lambda: umap_layout(x, LayoutSettings(sample=len(x))),
    }
    print(f"{given.data}: {len(x)} rows of width {x.shape[1]}")
    for name, make in places.items():
        began = time.process_time()
        xy = make()
        seconds = time.process_time() - began
        print(
            f"{name:32s} trustworthiness {trust(x, xy, rows):.4f}  {seconds:6.1f} CPU s", flush=True
        )


if __name__ == "__main__":
    main()
