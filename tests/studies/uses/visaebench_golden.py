"""Make `visaebench_golden.json`: `python -m tests.studies.uses.visaebench_golden FOLDER`.

The numbers are those of VISAEBench's own package, 0.1.0 on the index, unpacked in FOLDER
(`pip install --target FOLDER --no-deps visaebench==0.1.0`), on the images of `made`. Its room of backbones, which
needs timm and torchvision, is replaced by names without a meaning: none of them is used here.
"""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn

GOLDEN = Path(__file__).with_name("visaebench_golden.json")
N, GRID, D, ATOMS, K, CLASSES = 240, (5, 5), 12, 40, 4, 6
SIBLINGS = {"first": [0, 1, 2], "second": [3, 4, 5]}
NOT_NEEDED = ("CustomBackbone", "list_backbones", "load_backbone")


@dataclass(frozen=True)
class Made:
    """Images whose class is in some of their patches, and the SAE."""

    sae: Any
    x: Tensor
    labels: np.ndarray
    embeddings: Tensor
    elsewhere: dict[str, tuple[Tensor, np.ndarray]]


def made() -> Made:
    generator = torch.Generator().manual_seed(0)

    def images(n: int, shift: float) -> tuple[Tensor, np.ndarray]:
        labels = np.arange(n) % CLASSES
        centres = torch.randn(CLASSES, D, generator=generator)
        x = torch.randn(n, GRID[0] * GRID[1], D, generator=generator) + shift
        x[:, :10] += 1.5 * centres[torch.from_numpy(labels), None]
        return x, labels

    sae = sn.TopK(D, ATOMS, K, generator=generator)
    x, labels = images(N, 0.3)
    sae.initialise(x.flatten(0, 1), generator)
    embeddings = torch.randn(N, 7, generator=generator) + torch.eye(7)[torch.from_numpy(labels)] * 2
    elsewhere = {"a": images(60, 1.0), "b": images(90, -0.5)}
    return Made(sae.eval(), x, labels, embeddings, elsewhere)


@dataclass(frozen=True)
class AsTheirs:
    """An SAE of ours by the interface that the package asks for: dense codes."""

    sae: Any

    def encode(self, x: Tensor) -> Tensor:
        return self.sae.encode(x).detach().to_dense()

    def decode(self, z: Tensor) -> Tensor:
        return z @ self.sae.dictionary + self.sae.bias.detach()


def theirs() -> dict[str, float]:
    """Return the package's values on `made`; the package must be importable."""
    from visaebench.metrics import METRIC_REGISTRY

    given, how = made(), {"device": "cpu", "seed": 42}
    sae = AsTheirs(given.sae)

    class Other:
        """A backbone that has the embeddings ready, an image being its number."""

        def extract_activations(self, images: Any, *, layer: int) -> Tensor:
            return given.embeddings[list(images)][:, None]

    elsewhere = {
        name: {"activations": x, "labels": labels} for name, (x, labels) in given.elsewhere.items()
    }
    groups = {name: {"class_indices": of, "hierarchy_depth": 1} for name, of in SIBLINGS.items()}
    more: dict[str, dict[str, Any]] = {
        "downstream_preservation": {"labels": given.labels},
        "sparse_probing": {"labels": given.labels},
        "monosemanticity": {"images": range(N), "evaluator_backbone": Other()},
        "cross_domain": {"ood_datasets": elsewhere},
        "absorption": {"labels": given.labels, "sibling_groups": groups},
    }
    found = {}
    for name, kind in METRIC_REGISTRY.items():
        metric = kind(grid_size=GRID) if name == "localization" else kind()
        rows = given.x.flatten(0, 1) if name == "fvu" else given.x
        found[name] = float(metric.compute(sae, rows, **how, **more.get(name, {})).value)
    return found


def main() -> int:
    sys.path.insert(0, sys.argv[1])
    backbones = types.ModuleType("visaebench.backbones")
    vars(backbones).update(dict.fromkeys(NOT_NEEDED))
    sys.modules[backbones.__name__] = backbones
    GOLDEN.write_text(json.dumps(theirs(), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
