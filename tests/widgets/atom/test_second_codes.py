"""What a second solver keeps, wherever atoms are shown: one sentence with its controls, kept examples first."""

import pytest
import sae_nb_widgets as sw
import torch
from sae_nb_widgets.components._atom_card import card_content
from sae_nb_widgets.report_card._verdicts import plain_rows

import sae_nb as sn
from sae_nb.atoms import AtomCatalogue
from sae_nb.evaluation import SecondCode

NAME = "tiny-gpt/resid_post.3"


@pytest.fixture(scope="module")
def acts() -> sn.Activations:
    model = sn.load_model("tiny-gpt")
    return sn.capture(model, sn.data.stories(40, seed=1).texts, "resid_post.3", progress=False)


@pytest.fixture(scope="module")
def asked(acts) -> tuple[sn.SparseAutoencoder, SecondCode]:
    sae = sn.load_sae(NAME)
    return sae, sn.second_code(sae, acts, ("omp",))


@pytest.fixture(scope="module")
def atom(asked) -> int:
    """One of whose firings some are kept and more are not."""
    table = asked[1].table
    return int(table[(table["fires"] > 30) & (table["kept"] > 0.1)]["kept"].idxmin())


def test_kept_examples_come_first_and_the_others_have_a_mark(acts, asked, atom):
    sae, found = asked
    firings = found.firings[found.firings["atom"] == atom]
    kept = set(firings["row"][firings["kept"]])
    panel = sw.AtomBrowser(sae, acts, atom=atom)
    shown = panel.summary.examples
    flags = [one.kept for one in shown]
    assert flags == [one.row in kept for one in shown]
    assert flags == sorted(flags, reverse=True)
    assert {True, False} == set(flags)
    captions = panel.examples.component.captions
    assert [caption.endswith("○") for caption in captions] == [not kept for kept in flags]
    assert "kept ones first · ○: another solver drops it" in panel.examples.component.hint
    panel.band = "50 %"
    assert "kept ones first" not in panel.examples.component.hint
    unasked = AtomCatalogue(sn.load_sae(NAME), acts).summary(atom, "50 %")
    # Of other bands the order is that of the band.
    assert [one.row for one in panel.summary.examples] == [one.row for one in unasked.examples]
    panel.close()


def test_card_margin_and_table_have_the_sentence_with_both_controls(acts, asked, atom):
    sae, found = asked
    said = found.sentence(atom)
    row = found.table.iloc[atom]
    assert (
        f"(chance {round(row['chance'] * row['fires'])}, noise {round(row['noise'] * row['fires'])})"
        in said
    )
    panel = sw.AtomBrowser(sae, acts, atom=atom)
    assert panel.record["second_code"] == said
    assert said in panel.cards.second.value
    assert panel.summary.keeps == said
    assert card_content(panel.names.card(atom))["fires"].endswith(said)
    panel.close()


def test_examples_of_other_rows_have_the_numbers_and_no_marks(acts, asked, atom):
    sae, _ = asked
    browser = sw.AtomBrowser(sae, acts.subset(acts.sample < 30), atom=atom)
    assert "other rows" in browser.record["second_code"]
    assert {one.kept for one in browser.summary.examples} == {None}
    assert "○" not in browser.examples.component.hint
    browser.close()


def test_an_open_browser_shows_a_code_found_since_and_training_ends_it(acts):
    sae = sn.TopK(acts.d_in, 32, 4, generator=torch.Generator().manual_seed(0))
    catalogue = AtomCatalogue(sae, acts)
    first = catalogue.order("frequency")[0]
    assert catalogue.keeps(first) == ""
    found = sn.second_code(sae, acts, ("mp",))
    assert catalogue.keeps(first) == found.sentence(first)
    sn.train(sae, acts, steps=20, progress=False)
    assert AtomCatalogue(sae, acts).keeps(first) == ""


def test_a_report_card_asks_for_the_second_code_where_a_report_has_it(acts, asked):
    sae, found = asked
    report = sn.evaluate(sae, acts, n_bootstrap=50)
    asked_of = "Does another solver have its firings, too?"
    assert asked_of not in sw.ReportCard([report]).static_main()
    card = sw.ReportCard([{**report, **found.measurements}])
    (row,) = (one for one in plain_rows({"": found.measurements}) if one.asked.question == asked_of)
    kept = found.measurements["kept_by_second_code"]
    assert (row.measured.value, row.measured.control) == (kept.value, kept.control)
    assert row.word == "better"
    assert asked_of in card.static_main()
    card.close()
