"""Promises of the bridge view: one concept with an atom for each modality is a split pair."""

from __future__ import annotations

import numpy as np
import torch

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.figures import to_svg


def _planted() -> tuple[list[SparseCodes], torch.Tensor]:
    """Concept 0 has atom 0 in images and 1 in captions, which point alike; concept 1 has atom 2 in both."""
    on = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) < 0.3
    image, text = torch.zeros(200, 4), torch.zeros(200, 4)
    image[:, 0], text[:, 1] = on[:, 0].float(), on[:, 0].float()
    image[:, 2] = text[:, 2] = on[:, 1].float()
    atoms = torch.eye(4)[[0, 0, 1, 2]]
    return [SparseCodes.from_dense(image), SparseCodes.from_dense(text)], atoms


def test_a_concept_with_two_atoms_is_a_split_pair() -> None:
    codes, atoms = _planted()
    view = sn.vision.bridge_view(codes, atoms)
    kinds = {(a, b): kind for a, b, kind in view.table[["first", "second", "kind"]].to_numpy()}
    assert kinds[0, 1] == "split"
    assert kinds[2, 2] == "shared"
    assert view.n_split == 1
    assert (view.table["score"] > view.table["simpler"]).iloc[:2].all()
    assert "<svg" in to_svg(view.plot())
    lines = {trace.name: trace.y for trace in view.plot().data}
    assert lines["shared"][0] == lines["shared"][1]
    assert "split" in lines


def test_shuffled_pairs_have_no_split_pair() -> None:
    codes, atoms = _planted()
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    view = sn.vision.bridge_view([codes[0], codes[1][order]], atoms)
    row = view.table[(view.table["first"] == 0) & (view.table["second"] == 1)]
    assert np.allclose(row["score"], row["simpler"], atol=0.05)
