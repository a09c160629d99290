"""Temporal on a language model from a folder: the numbers of experiment E5 (ii), and garden paths.

Run `python benchmarks/temporal_models.py FOLDER --hook-point resid_post.15 --garden garden_path_*.tsv`. Every
seed trains TopK, Temporal and its strict form on the same windows of bundled prose and prints one row per
number; then mean ± standard deviation over seeds. Activations are read once and kept in `--cache`;
windows with a massive activation are left out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

import sae_nb as sn
from sae_nb.files import read_tensors, write_tensors
from sae_nb_studies.reproductions import Material, makers, material_of, measured, trained
from sae_nb_studies.temporal import garden_path_surprise, read_garden_paths

SINK = 8.0
"""A norm of this many medians is a sink's."""
SHOWN = (
    "temporal FVU over TopK",
    "strict FVU over TopK",
    "topk FVU",
    "topk lag-1",
    "temporal lag-1",
    "temporal novel lag-1",
    "temporal lag-1 lead",
    "temporal path share",
    "temporal order lost lag-1 lead",
    "temporal order lost path share",
    "strict lag-1 lead",
    "strict path share",
    "topk event gap",
    "temporal predicted event gap",
    "temporal novel event gap",
    "strict event gap lead",
    "strict predicted matched event gap",
)


def material(model: sn.LiveModel, hook_point: str, windows: int, cache: Path | None) -> Material:
    """Activations of the windows, read before where there is a cache."""
    if cache is not None and cache.is_file():
        return Material(**read_tensors(cache))
    found = material_of(model, hook_point, windows)
    if cache is not None:
        write_tensors(cache, {name: x.contiguous() for name, x in asdict(found).items()})
    return found


def without_sinks(given: Material) -> Material:
    """Only windows without massive activations: one such token holds most of the variance there is.

    A language model's sinks need not be first tokens: SmolLM2 has them at the first few positions of a
    piece that begins in the middle of a text, with norms seventy times the median.
    """
    parts = {"train": given.train, "test": given.test, "spliced": given.spliced}
    kept = {}
    for name, x in parts.items():
        norms = x.norm(dim=-1)
        kept[name] = (norms < SINK * norms.median()).all(dim=1)
        print(f"{name}: {int(kept[name].sum())} of {len(x)} windows have no sink", flush=True)
    chosen = {name: x[kept[name]] for name, x in parts.items()}
    return Material(**chosen, events=given.events[kept["spliced"]])


def of_seed(
    given: Material, seed: int, steps: int
) -> tuple[dict[str, float], dict[str, sn.SparseAutoencoder]]:
    """Every SAE of one seed, trained and measured."""
    saes = makers(given.train.shape[2], seed)
    del saes["batch_topk"]
    numbers: dict[str, float] = {}
    for name, sae in saes.items():
        trained(sae, given.train, steps, seed)
        numbers |= {f"{name} {what}": value for what, value in measured(sae, given, seed).items()}
    for name in ("temporal", "strict"):
        numbers[f"{name} FVU over TopK"] = numbers[f"{name} FVU"] / numbers["topk FVU"]
    return numbers, saes


def surprised(
    model: sn.LiveModel, hook_point: str, sae: sn.Temporal, paths: Sequence[Path], most: int
) -> dict[str, float]:
    """Garden path less control at the disambiguating word: nats and novel energy, with its error."""
    numbers = {}
    for path in paths:
        sentences = read_garden_paths(path)[:most]
        found = garden_path_surprise(model, sae, sentences, hook_point)
        for what in ("nats", "novel_energy", "novel_share"):
            mean, error = found.effect(what)
            numbers |= {f"{path.stem} {what}": mean, f"{path.stem} {what}, error": error}
    return numbers


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="of a model, or a bundled name such as tiny-gpt")
    parser.add_argument("--hook-point", required=True)
    parser.add_argument("--windows", type=int, default=100, help="texts of 97 tokens to train on")
    parser.add_argument("--steps", type=int, default=100, help="of 960 tokens")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--garden", type=Path, nargs="*", default=[])
    parser.add_argument("--most", type=int, default=100, help="pairs of sentences per table")
    parser.add_argument("--cache", type=Path, help="file for the activations")
    given = parser.parse_args()
    model, began = sn.load_model(given.folder), time.process_time()
    windows = without_sinks(material(model, given.hook_point, given.windows, given.cache))
    print(f"{windows.train.shape} read in {time.process_time() - began:.0f} CPU s", flush=True)
    rows: list[dict[str, float]] = []
    for seed in given.seeds:
        began = time.process_time()
        numbers, saes = of_seed(windows, seed, given.steps)
        sae = saes["temporal"]
        numbers |= surprised(model, given.hook_point, sae, given.garden, given.most)
        rows.append({"CPU s": time.process_time() - began} | numbers)
        for name, value in rows[-1].items():
            print(f"seed {seed} · {name} · {value:.4g}", flush=True)
    print("\n| number | mean ± sd over seeds |\n| --- | --- |")
    shown = [*SHOWN, *(name for name in rows[0] if name.startswith("garden"))]
    for name in shown:
        values = torch.tensor([row[name] for row in rows])
        spread = float(values.std()) if len(values) > 1 else 0.0
        print(f"| {name} | {float(values.mean()):.3f} ± {spread:.3f} |")


if __name__ == "__main__":
    main()
