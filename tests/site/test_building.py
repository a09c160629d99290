"""How a site is built: card by card, over nothing but a site, and named before it begins what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.models import Preprocess
from sae_nb.site import write_site

# Cards held until the end would take 20 kB an atom and more; the list of files takes about 1.5 kB.
MEMORY_OF_AN_ATOM = 4096
MEASURE = """
import json, sys, numpy as np, torch
import sae_nb as sn
from sae_nb.atoms import AtomCatalogue, AtomNames
from sae_nb.site import write_site_of

def peak():
    line = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

def growth(n_atoms):
    x = torch.randn(3000, 8, generator=torch.Generator().manual_seed(0))
    sae = sn.TopK(8, n_atoms, k=4, generator=torch.Generator().manual_seed(0))
    sae.initialise(x)
    catalogue = AtomCatalogue(sae, x)
    catalogue.codes, catalogue.order("frequency"), catalogue.mean_strength
    xy = np.random.default_rng(0).normal(size=(n_atoms, 2)).astype(np.float32)
    before = peak()
    write_site_of(f"{sys.argv[1]}/{n_atoms}", AtomNames(catalogue), xy=xy)
    return peak() - before

growth(64)  # what is imported on first use
print(json.dumps(growth(int(sys.argv[2]))))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_cards(warm_python: Any, tmp_path: Path) -> None:
    """Beyond what the SAE and its codes take, 1 024 atoms take less than 4 MB: each card is written and let go."""
    n_atoms = 1024
    done = warm_python.run(MEASURE, tmp_path, n_atoms)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) < n_atoms * MEMORY_OF_AN_ATOM


def test_a_folder_of_another_kind_is_never_replaced(tmp_path: Path) -> None:
    """An SAE that was saved is ours too, and no site: `overwrite` leaves it as it is."""
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    sae = sn.TopK(4, 8, k=2, generator=torch.Generator().manual_seed(0))
    sae.save(tmp_path / "sae")
    with pytest.raises(FileExistsError, match="must be a folder of kind 'site'"):
        write_site(tmp_path / "sae", sae, x, overwrite=True)
    assert torch.equal(sn.load_sae(tmp_path / "sae").dictionary, sae.dictionary)


class Odd(torch.nn.Module):
    """A classifier that asks for eigenvectors, or changes its course with what it reads."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.patches, self.head = torch.nn.Conv2d(3, 8, 4, 4), torch.nn.Linear(8, 3)
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(8, 8)])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.blocks[0](self.patches(images).flatten(2).transpose(1, 2))
        if self.way == "eigenvectors":
            x = x @ torch.linalg.eigh(x.transpose(1, 2) @ x)[1]
        elif self.way == "numpy":
            x = x + torch.from_numpy(x.detach().numpy())
        found: torch.Tensor = self.head(x.mean(dim=1))
        return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("eigenvectors", r"computes aten\._linalg_eigh, an operator that ONNX does not have"),
        ("numpy", r"cannot be written as ONNX: \.numpy\(\) is not supported"),
    ],
)
def test_what_cannot_run_in_a_page_is_named_before_anything_is_written(
    way: str, words: str, tmp_path: Path
) -> None:
    """The operator itself stands in the sentence, in one line without codes of colours."""
    model = sn.wrap(
        Odd(way),
        preprocess=Preprocess(required=(16, 16)),
        patch_grid=(4, 4),
        class_names=["a", "b", "c"],
    )
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    acts = sn.capture(model, images, "blocks.0", progress=False)
    sae = sn.TopK(8, 12, 2, generator=torch.Generator().manual_seed(0))
    sae.initialise(acts.x)
    with pytest.raises(ValueError, match=words) as refused:
        write_site(tmp_path / "site", sae, acts, model=model, live=True)
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
