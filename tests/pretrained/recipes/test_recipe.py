"""The recipe makes a folder that opens like those on the shelf, and says what it did."""

from __future__ import annotations

from pathlib import Path

import pytest

import sae_nb as sn
from sae_nb.geometry import pca_layout
from sae_nb.pretrained._examples import open_examples
from sae_nb.pretrained.inputs import JUDGE, MATCH, SHOW, TRAIN, Sizes
from sae_nb_studies.recipes.saes import _recipe as recipe
from sae_nb_studies.recipes.saes._material import material

pytestmark = pytest.mark.slow

SMALL = {
    "tiny-vit/resid_post.2": recipe.Plan(
        n_atoms=48, k=4, steps=20, sizes=Sizes(samples=(40, 20, 20, 6))
    ),
    "tiny-gpt/resid_post.1": recipe.Plan(
        n_atoms=48, k=4, steps=20, sizes=Sizes(samples=(30, 12, 12, 4), prose=(4, 4, 4, 2))
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_small_run_makes_a_whole_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "umap_layout", lambda x, _: pca_layout(x))
    monkeypatch.setattr(recipe, "measure_steering", lambda *_: [])
    monkeypatch.setitem(recipe.PLANS, name.partition("/")[0], SMALL[name])
    outs = [tmp_path / "first", tmp_path / "again"]
    for out in outs:
        assert recipe.main([name, "--out", str(out), "--seed", "3"]) == 0
    files = [(out / "sae.safetensors").read_bytes() for out in outs]
    assert files[0] == files[1]
    sae, examples = sn.load_sae(outs[0]), open_examples(outs[0], name)
    assert (sae.n_atoms, sae.k) == (48, 4)
    assert examples.facts["plan"]["seed"] == 3
    assert len(examples.matches) + len(examples.missed) > 30
    card = (outs[0] / "README.md").read_text(encoding="utf-8")
    assert f"recipes.saes {name} --out DIR --seed 3" in card
    assert str(tmp_path) not in card


def test_purposes_share_no_material() -> None:
    model = sn.load_model("tiny-gpt")
    sizes = Sizes(samples=(20, 20, 20, 20), prose=(50, 20, 20, 20))
    texts = [set(material(model, p, sizes, 0).inputs) for p in (TRAIN, MATCH, JUDGE, SHOW)]
    assert all(len(some) >= 40 for some in texts)
    for i in range(4):
        for j in range(i):
            assert not texts[i] & texts[j], (i, j)
    eyes = sn.load_model("tiny-vit")
    hands = [set(material(eyes, p, sizes, 0).inputs.handwriting.tolist()) for p in (TRAIN, JUDGE)]
    assert not hands[0] & hands[1]
