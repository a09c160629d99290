"""The badge of a label: one for every place, the same words in each, and hostile words stay words."""

from __future__ import annotations

import random
import re

import pytest
import sae_nb_widgets as sw
from sae_nb_widgets.components import badge_html, card_content, cards_html

import sae_nb as sn
from sae_nb.atoms import AtomNames, LabelEvidence, Labels, badge
from sae_nb.labelling import AtomLabel, AtomLabels
from sae_nb.sessions import Annotations, names_of
from tests.widgets.made import Page

PIECES = (
    '"', "'", "<", ">", "&", "&lt;", "</span>", "</script>", "<script>alert(1)</script>", "<!--", "-->",
    "<img src=x onerror=alert(1)>", "javascript:", "\\u003c", "]]>", "${x}", "{{y}}", "\u202e", "\x00",
    "\u2028", "é", "👩‍👩‍👧", "مرحبا", "%s", "<b>", " ", "\n", "word", "`",
)  # fmt: skip
GOOD = LabelEvidence(by="rule", detection=0.9, control=0.52, n=40, returns=2, n_sisters=3)


def named(text: str, evidence: LabelEvidence | None) -> AtomNames:
    """Names in which atom 9 of the bundled language model has this label."""
    entries = {9: AtomLabel(atom=9, text=text, evidence=evidence)}
    book = Labels(AtomLabels(entries=entries))
    return AtomNames(names_of(sn.load_sae("tiny-gpt/resid_post.3")).catalogue, book)


def test_hostile_words_are_words_in_badge_and_card() -> None:
    """Three hundred labels and reasons drawn from pieces of markup: no element but ours."""
    draw = random.Random(0)
    for _ in range(300):
        text, why = ("".join(draw.choices(PIECES, k=draw.randint(1, 9))) for _ in range(2))
        label = AtomLabels(
            entries={9: AtomLabel(atom=9, text=text, evidence=LabelEvidence(why=why))}
        )
        ((tag, attributes),) = Page(badge_html(AtomNames(labels=Labels(label)), 9)).tags
        assert tag == "span"
        assert set(attributes) == {"class", "data-standing", "title"}


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
    shown = badge(evidence)
    assert shown.text.startswith(sign)
    assert shown.text in badge_html(names, 9)
    assert card_content(names.card(9))["badge"]["title"] == shown.title
    assert shown.title


def test_a_label_that_fails_gives_way_to_a_name_that_holds() -> None:
    """Name and badge are then those that were made from what the atom fires on."""
    names = named("ships", LabelEvidence(by="rule", detection=0.55, control=0.52, n=40))
    assert "ships" not in names.words(9)
    assert names.source(9) == "caption"
    assert badge_html(names, 9).count("✓") == 1


def test_a_card_says_whether_a_label_was_made_here_or_read() -> None:
    """A rule was found automatically; a label of a file was not; somebody's own says nothing."""
    entries = {
        9: AtomLabel(atom=9, text="a rule", source="rule"),
        10: AtomLabel(atom=10, text="theirs", source="oai_token-act-pair"),
    }
    names = AtomNames(labels=Annotations(given=AtomLabels(entries=entries)))
    assert card_content(names.card(9))["source"] == "Label found automatically."
    assert card_content(names.card(10))["source"] == "Label read from elsewhere."
    names.labels.write(10, "mine")
    assert card_content(names.card(10))["source"] == ""


def test_without_evidence_there_is_no_badge() -> None:
    """Nor where somebody wrote another label over it."""
    names = named("It", GOOD)
    assert badge_html(names, 10) == ""
    names.labels.write(9, "something else")
    assert badge_html(names, 9) == ""
    assert card_content(names.card(9))["badge"] is None


def test_the_page_of_a_browser_has_the_badge_as_text(tmp_path) -> None:
    """Beside the label and in the table of numbers: who runs no script reads it, too."""
    sae = sn.load_sae("tiny-gpt/resid_post.3")
    labels = AtomLabels(entries={9: AtomLabel(atom=9, text="the word It", evidence=GOOD)})
    panel = sw.AtomBrowser(
        sae, sn.load_examples("tiny-gpt/resid_post.3").acts, labels=labels, atom=9
    )
    panel.wait(120)
    panel.to_html(tmp_path / "page.html")
    page = re.sub(r"<script.*?</script>", "", (tmp_path / "page.html").read_text(), flags=re.DOTALL)
    assert page.count(badge(GOOD).text) >= 1
