"""Verdicts of a certificate are shown wherever atoms are, and stay with the SAE that they are about."""

import json

import pytest
import torch

import sae_nb as sn
from sae_nb.atoms import AtomNames, LabelEvidence, Labels
from sae_nb.labelling import AtomLabel, AtomLabels
from sae_nb.sessions._names import names_of
from sae_nb.sessions._verdicts import keep_verdicts


@pytest.fixture
def sae():
    return sn.TopK(4, 3, 1, generator=torch.Generator().manual_seed(0))


def test_a_card_shows_the_verdict_with_and_without_a_label():
    evidence = LabelEvidence(by="rule", detection=0.9, control=0.52, n=40)
    labels = AtomLabels(entries={1: AtomLabel(atom=1, text="red", evidence=evidence)})
    names = AtomNames(labels=Labels(labels))
    measured, names.verdicts = names.badge(1), {0: "chance", 1: "real"}
    assert names.card(0).badge.text == "✗ chance"
    assert names.card(1).badge.text == f"{measured.text} · real"
    assert names.badge(1).standing == measured.standing
    assert names.badge(2) is None
    assert names.worth(1) == measured


def test_panels_that_are_open_show_a_new_verdict_and_more_training_ends_it(sae):
    names = names_of(sae)
    heard = []

    class Panel:
        def draw(self):
            heard.append(names.badge(0))

    panel = Panel()
    names.observe(panel.draw)
    keep_verdicts(sae, ["real", "unclear", "chance"])
    assert names_of(sae) is names
    assert heard[-1].text == "✓ real"
    sn.train(sae, torch.randn(64, 4), steps=20, progress=False)
    assert names_of(sae).verdicts == {}


def test_verdicts_lie_next_to_the_sae_and_damage_is_noticed(sae, tmp_path):
    sae.save(tmp_path)
    keep_verdicts(sae, ["real", "unclear", "chance"], tmp_path)
    assert names_of(sn.load_sae(tmp_path)).verdicts == {0: "real", 1: "unclear", 2: "chance"}
    file = tmp_path / "verdicts.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "verdicts": ["real"] * 3}))
    with pytest.raises(ValueError, match="verdicts"):
        names_of(sn.load_sae(tmp_path))
    file.write_text("{}")
    with pytest.raises(ValueError, match="verdicts on atoms"):
        names_of(sn.load_sae(tmp_path))


def test_verdicts_of_another_sae_are_not_shown(sae, tmp_path):
    other = sn.TopK(4, 3, 1, generator=torch.Generator().manual_seed(1))
    sae.save(tmp_path)
    keep_verdicts(other, ["real", "real", "real"], tmp_path)
    assert names_of(sn.load_sae(tmp_path)).verdicts == {}
