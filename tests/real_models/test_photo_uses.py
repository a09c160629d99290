"""Photographs that nobody here planted, seen by a photo ViT: cats against horses."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sae_nb as sn

POINT, N = "resid_post.2", 160


@pytest.mark.timeout(600)
def test_what_cats_and_horses_show(
    photo_vit: Any, cats_and_horses: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    """Atoms differ between classes and not between halves of one; a query of one half finds horses in the other."""
    images, classes = cats_and_horses[0][: 2 * N], cats_and_horses[1][: 2 * N].numpy()
    acts = sn.capture(photo_vit, images, POINT, progress=False)
    sae = sn.TopK(acts.d_in, 256, 16, generator=torch.Generator().manual_seed(0))
    sn.train(sae, acts, steps=100, batch_size=512, progress=False)
    docs = sn.uses.documents(photo_vit, sae.eval(), images, POINT, progress=False)
    cats, horses = (docs.subset(classes == kind) for kind in (0, 1))
    result = sn.uses.diff(horses, cats)
    halves = sn.uses.diff(cats.subset(slice(0, None, 2)), cats.subset(slice(1, None, 2)))
    odd = np.arange(len(docs)) % 2 == 1
    made = sn.uses.diff(docs.subset(odd & (classes == 1)), docs.subset(odd & (classes == 0)))
    atoms = made.table[made.table["difference"] > 0]["atom"].head(5).tolist()
    found = sn.uses.retrieve(docs.subset(~odd), atoms, relevant=classes[~odd] == 1)
    spots = sn.vision.blindspots(horses, cats)
    with capsys.disabled():
        sys.stdout.write(f"\n{result}\n{halves}\n{found.table}\n{spots}\n")
    assert (result.table["q"] < 0.05).sum() >= 5
    assert (halves.table["q"] < 0.05).mean() < 0.02
    judged = found.table.set_index("method")["map"]
    assert judged["atoms"] > (classes[~odd] == 1).mean() + 0.1
