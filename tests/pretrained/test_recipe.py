"""The recipe makes a folder that opens like those on the shelf, and says what it did."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

import sae_nb as sn
from sae_nb.geometry import pca_layout
from sae_nb.pretrained import ClassTurn, SentimentShift
from sae_nb.pretrained._evaluation_data import JUDGE, MATCH, SHOW, TRAIN, Sizes, material
from sae_nb.pretrained._examples import open_examples
from sae_nb_studies.recipes.saes import _recipe as recipe
from sae_nb_studies.recipes.saes._card import card_text

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
    """Trained, matched, judged, packed, carded; the same seed makes the same SAE."""
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
    assert f"making {name} --out DIR --seed 3" in card
    assert str(tmp_path) not in card


def test_another_model_is_refused() -> None:
    """And a name without a hook point."""
    with pytest.raises(
        ValueError, match=r"begin with one of tiny-vit, tiny-gpt, tiny-audio, got 'gpt2/x'"
    ):
        recipe.plan_for("gpt2/x")
    with pytest.raises(ValueError, match="model/hook point"):
        recipe.make("tiny-vit", SMALL["tiny-vit/resid_post.2"], Path("nowhere"))


def test_purposes_share_no_material() -> None:
    """Neither stories, paragraphs nor pictures."""
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


def test_cards_tell_what_was_steered() -> None:
    """Effect, interval, cost and the worst random direction stand in the table."""
    match = {"factor": "digit 1", "per": "sample", "atom": 5, "f1": 0.9, "precision": 0.9}
    facts = {
        "name": "tiny-vit/resid_post.6",
        "command": "c",
        "date": "d",
        "torch": "t",
        "shown": "s",
        "judged_on": "j",
        "plan": asdict(SMALL["tiny-vit/resid_post.2"]),
        "training": {"data": "x", "rows": 1, "rows_seen": 2, "seconds": 1.0, "threads": 1}
        | {"silent_fraction": 0.125},
        "report": {"r2": {"value": 0.5, "low": 0.4, "high": 0.6, "floor": 0.0, "control": 0.1}},
        "matches": [match | {"recall": 0.9, "floor": 0.2}],
        "missed": ["digit 2"],
        "nearly": [match | {"factor": "digit 2", "f1": 0.33}],
    }
    dose = {"label": "digit 1", "atom": 5, "by": 30.0, "by_p99": 2.0, "random": [0.01, -0.04]}
    turn = ClassTurn(turned=0.75, interval=(0.7, 0.8), n=90)
    card = card_text({**facts, "steering": [dose | asdict(turn)]})
    assert "| digit 1 | 5 | 30.0 (2) | +75.0% | +70.0% … +80.0% | +1.0% |" in card
    assert "digit 2 (0.33)" in card
    shift = SentimentShift(
        clean=0.4,
        steered=0.9,
        shift=0.5,
        interval=(0.45, 0.55),
        by_seed=(0.5, 0.5, 0.5),
        opposite=0.0,
        grammatical=0.9,
        cost_written=0.1,
        cost_read=0.2,
        temperature=0.7,
        n=600,
    )
    told = card_text({**facts, "steering": [dose | {"sign": -1, "hotter": 0.4} | asdict(shift)]})
    assert "at temperature 0.7;" in " ".join(told.split())
    assert (
        "40.0% → 90.0% | +50.0% | +45.0% … +55.0% | +0.10 | +0.20 | 90% | -4.0% | +40.0% |" in told
    )
