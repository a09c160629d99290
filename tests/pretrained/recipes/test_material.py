"""What a recipe measures of a bundled SAE holds on other samples, and lies beside it whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import Factor
from sae_nb.pretrained import _bundled as shelf
from sae_nb.pretrained.inputs import Sizes
from sae_nb_studies.recipes.saes._evidence import add_evidence
from sae_nb_studies.recipes.saes._material import material
from sae_nb_studies.recipes.saes._recipe import Plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NAMES = [name for name in sn.pretrained_names() if name.startswith("tiny-") and "/mlp." not in name]


@pytest.mark.parametrize("name", NAMES)
def test_f1_holds_on_samples_nobody_has_seen(name: str) -> None:
    """Each found factor's F1, from scratch on other samples, within 0.18 and on average within 0.04."""
    sae, examples = sn.load_sae(name), sn.load_examples(name)
    model = sn.load_model(sae.model_name)
    sizes = Sizes(samples=(0, 0, 600, 0), prose=(0, 0, 60, 0))
    fresh = material(model, 2, sizes, seed=77)
    acts = sn.capture(model, fresh.inputs, sae.hook_point, batch_size=64, progress=False)
    codes = sae.encode(acts.x).detach()
    factors = {factor.name: factor for factor in fresh.factors(acts)}
    again = [
        _f1(codes, acts.sample.numpy(), factors[m.factor], m.atom, m.threshold) - m.f1
        for m in examples.matches
    ]
    assert max(map(abs, again)) < 0.18
    assert abs(float(np.mean(again))) < 0.04


def _f1(
    codes: SparseCodes, sample: np.ndarray, factor: Factor, atom: int, threshold: float
) -> float:
    rows, strengths = (part.numpy() for part in codes.strengths(atom))
    says = rows[strengths > threshold]
    says = set((says if factor.per == "row" else sample[says]).tolist())
    truth = set(np.flatnonzero(factor.truth).tolist())
    return 2 * len(says & truth) / (len(says) + len(truth))


def test_evidence_is_put_beside_an_sae_and_its_folder_stays_whole(tmp_path: Path) -> None:
    """On few samples, with sisters of two steps: nothing returns, every label is judged, the seal holds."""
    name, folder = "tiny-vit/resid_post.6", tmp_path / "sae"
    shutil.copytree(shelf.BUNDLED / name, folder)
    plan = Plan(n_atoms=32, k=4, steps=2, sizes=Sizes(samples=(4, 4, 60, 4)))
    found = add_evidence(name, plan, folder)
    assert set(found.entries) == set(sn.load_examples(name).labels)
    assert all(found.evidence(atom).returns == 0 for atom in found)
    assert dict(sn.labels(folder, sn.load_sae(folder))) == dict(found)
