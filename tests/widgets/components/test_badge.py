"""The badge of a label: one for every place, the same words in each, and hostile words stay words."""

from __future__ import annotations

import pytest
from sae_nb_widgets.components._atom_card import card_content, cards_html

import sae_nb as sn
from sae_nb.atoms import AtomNames, LabelEvidence, Labels
from sae_nb.labelling import AtomLabel, AtomLabels
from sae_nb.sessions import names_of
from tests.widgets.made import Page

GOOD = LabelEvidence(by="rule", detection=0.9, control=0.52, n=40, returns=2, n_sisters=3)


def named(text: str, evidence: LabelEvidence | None) -> AtomNames:
    """Names in which atom 9 of the bundled language model has this label."""
    entries = {9: AtomLabel(atom=9, text=text, evidence=evidence)}
    book = Labels(AtomLabels(entries=entries))
    return AtomNames(names_of(sn.load_sae("tiny-gpt/resid_post.3")).catalogue, book)


def test_no_label_ends_the_script_of_a_page() -> None:
    """Cards of a page without a kernel lie in one script; nothing in a label closes it."""
    names = named("</script><script>alert(1)</script>", LabelEvidence(why="</script><img src=x>"))
    page = cards_html('<span data-atom="9">', names)
    assert page.count("</script>") == 1
    assert [tag for tag, _ in Page(page).tags] == ["script"]


@pytest.mark.parametrize(
    ("evidence", "sign"),
    [
        (GOOD, "✓"),
        (LabelEvidence(by="rule", detection=0.55, control=0.52, n=40), "✗"),
        (LabelEvidence(by="words", detection=0.5, control=0.5, n=40), "?"),
        (LabelEvidence(why="It fires too rarely."), "?"),
    ],
)
def test_a_badge_says_whether_the_label_beats_anothers(evidence: LabelEvidence, sign: str) -> None:
    """By a sign, not by colour alone; the sentences behind it are its tooltip."""
    label = AtomLabels(entries={9: AtomLabel(atom=9, text="It", evidence=evidence)})
    names = AtomNames(labels=Labels(label))
    shown = names.badge(9)
    assert shown is not None
    assert shown.text.startswith(sign)
    assert card_content(names.card(9))["badge"]["title"] == shown.title
    assert shown.title


def test_a_label_that_fails_gives_way_to_a_name_that_holds() -> None:
    """Name and badge are then those that were made from what the atom fires on."""
    names = named("ships", LabelEvidence(by="rule", detection=0.55, control=0.52, n=40))
    assert "ships" not in names.words(9)
    assert names.source(9) == "caption"
    badge = names.badge(9)
    assert badge is not None
    assert badge.text.startswith("✓")


@pytest.mark.slow
def test_without_evidence_there_is_no_badge() -> None:
    names = named("It", GOOD)
    assert names.badge(10) is None
    names.labels.write(9, "something else")
    assert names.badge(9) is None
    assert card_content(names.card(9))["badge"] is None
