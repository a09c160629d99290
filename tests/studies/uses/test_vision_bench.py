"""vision_bench: VISAEBench's seven metrics, equal to its own package's; bad input; random atoms next to them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_nb_studies.uses import VisionBench, vision_bench
from sae_nb_studies.uses._vision_bench import localization, neighbours

sys.path.insert(0, str(Path(__file__).parent))
import visaebench_golden as golden

EQUAL = 1e-5
ON_A_LABEL = {"downstream_preservation", "sparse_probing", "cross_domain", "absorption"}
"""Of accuracies of few images: on another machine an image on the border may fall on the other side."""


@pytest.fixture(scope="module")
def given() -> golden.Made:
    return golden.made()


@pytest.fixture(scope="module")
def found(given: golden.Made) -> VisionBench:
    return vision_bench(
        given.sae,
        given.x,
        given.labels,
        grid=golden.GRID,
        embeddings=given.embeddings,
        elsewhere=given.elsewhere,
        siblings=golden.SIBLINGS,
    )


def test_values_are_those_of_the_package(found: VisionBench) -> None:
    """As they were computed by it, and stored; accuracies to one image of the smallest test set."""
    stored = json.loads(golden.GOLDEN.read_text(encoding="utf-8"))
    ours = found.table.set_index("metric").value
    assert list(ours.index) == list(stored)
    for name, value in stored.items():
        tolerance = 0.03 if name in ON_A_LABEL else EQUAL
        assert ours[name] == pytest.approx(value, abs=tolerance), name


@pytest.mark.skipif(importlib.util.find_spec("visaebench") is None, reason="visaebench is not here")
def test_values_are_those_the_package_computes_now(found: VisionBench) -> None:
    """All seven to 1e-5, where it is installed with what its backbones need."""
    ours = found.table.set_index("metric").value
    for name, value in golden.theirs().items():
        assert ours[name] == pytest.approx(value, abs=EQUAL), name


def test_morans_i_is_that_of_its_formula(given: golden.Made) -> None:
    """Σ w (z − z̄)(z − z̄) over the spread, densely, of an atom and the images in which it counts."""
    weights = torch.from_numpy(neighbours(golden.GRID).toarray())
    assert set(weights.sum(dim=0).tolist()) == {3.0, 5.0, 8.0}
    codes = given.sae.encode(given.x.flatten(0, 1)).detach().to_dense().double()
    z = codes.reshape(*given.x.shape[:2], -1)
    on = (z != 0).sum(dim=1)
    centred = z - z.mean(dim=1, keepdim=True)
    along = (centred * (weights @ centred)).sum(dim=1)
    every = len(weights) / weights.sum() * along / centred.square().sum(dim=1)
    used = (on >= 5) & (on <= int(0.9 * len(weights)))
    counted = used.sum(dim=0) >= 30
    expected = [float(every[used[:, a], a].mean()) for a in counted.nonzero().flatten().tolist()]
    value, details = localization(
        given.sae, given.x, golden.GRID, fewest_images=30, most_images=10**6
    )
    assert value == pytest.approx(np.mean(expected), abs=1e-9)
    assert details["atoms scored"] == len(expected)


def test_what_is_not_given_is_nan_with_its_reason(given: golden.Made) -> None:
    few = given.x[:40]
    table = vision_bench(given.sae, few, control=False).table.set_index("metric")
    assert table.index[table.value.notna()].tolist() == ["localization", "fvu"]
    assert table.reason["absorption"] == "needs labels"
    assert table.reason["cross_domain"] == "needs activations and labels of other data sets"
    assert table.random.isna().all()
