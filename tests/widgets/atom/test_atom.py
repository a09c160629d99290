"""AtomBrowser: every control is a trait or a method, every click answers, nothing hostile runs."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from sae_nb_widgets.atom import _panel as atom_module
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Activations, Context, Ragged
from sae_nb.atoms import AtomCatalogue
from sae_nb.codes import SparseCodes
from tests.widgets.made import HOSTILE, FakeTopK, descendants, picture_acts

N_ATOMS, D_IN = 32, 8
RIGHT_TO_LEFT_MARK = "\u200f"


def vectors(n: int) -> Tensor:
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(1))


def text_acts() -> Activations:
    words = {0: "<|begin|>", 1: " cat", 2: HOSTILE, 3: "مرحبا", 4: "👩‍👩‍👧"}
    lengths = (60, 5, 30)
    generator = torch.Generator().manual_seed(3)
    ids = torch.cat([torch.randint(0, 5, (n,), generator=generator) for n in lengths])
    context = Context(
        kind="language",
        n_samples=3,
        token_ids=Ragged(ids, torch.tensor([0, *lengths]).cumsum(0)),
        vocabulary=words,
    )
    sample = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])
    position = torch.cat([torch.arange(n) for n in lengths])
    return Activations.from_tensor(
        vectors(len(ids)), sample=sample, position=position, context=context
    )


ACTS = {"pictures": picture_acts, "texts": text_acts, "vectors": lambda: vectors(60)}


@pytest.fixture(params=list(ACTS))
def browser(request):
    made = sw.AtomBrowser(FakeTopK(), ACTS[request.param]())
    return made


@pytest.fixture
def pictures():
    made = sw.AtomBrowser(FakeTopK(), picture_acts())
    return made


@pytest.fixture
def texts():
    made = sw.AtomBrowser(FakeTopK(), text_acts())
    return made


def test_without_names_the_first_atom_is_the_most_frequent_unless_one_is_given() -> None:
    """The order decides; an explicit atom wins; one that is not there is refused at once."""
    sae, acts = FakeTopK(), vectors(200)
    frequency = AtomCatalogue(sae, acts).frequency
    browser = sw.AtomBrowser(sae, acts)
    assert browser.atom == int(np.argmax(frequency))
    assert sw.AtomBrowser(sae, acts, atom=0).summary.atom == 0
    with pytest.raises(IndexError, match="between 0 and 31"):
        sw.AtomBrowser(sae, acts, atom=32)


def test_it_opens_on_an_atom_whose_name_says_much() -> None:
    """Measured, with firings enough to look at, and not one that fires nearly everywhere."""
    browser = sw.AtomBrowser(sn.load_sae("tiny-vit/resid_post.6"))
    found = browser.labels.evidence(browser.atom)
    assert (browser.sure, found.dots) == (4, 4)
    share = f"{100 * found.fits:.0f}\u2009%"
    name = browser.labels[browser.atom]
    assert browser.headline == f"{name}: true of {share} of its strong firings"
    assert browser.where == ("tiny-vit", "after block 6", f"atom {browser.atom}")
    assert browser.catalogue.n_fired[browser.atom] >= 30
    assert browser.catalogue.frequency[browser.atom] <= 0.1


@pytest.mark.slow
def test_patches_shown_are_the_strengths_of_the_codes(pictures) -> None:
    """From the trait the browser reads, back to the codes."""
    pictures.atom = 4
    record = pictures.summary
    grid = pictures.examples.component
    dense = pictures.catalogue.codes.to_dense()[:, 4]
    acts = pictures.catalogue.acts
    for index, example in enumerate(record.examples):
        here = (acts.sample == example.sample) & (acts.position >= 2)
        expected = dense[here].numpy().reshape(4, 4)
        np.testing.assert_allclose(grid.heat_maps[index], expected, rtol=1e-6)
    assert grid.maximum == pytest.approx(record.max_strength)


@pytest.mark.slow
def test_tokens_shown_are_the_texts_of_the_samples(texts) -> None:
    seen = set()
    for atom in range(N_ATOMS):
        texts.atom = atom
        strip = texts.examples.component
        for row, example in zip(strip.tokens, texts.summary.examples, strict=True):
            assert [text.lstrip(RIGHT_TO_LEFT_MARK) for text in row] == list(example.tokens)
            seen |= set(example.tokens)
    assert {HOSTILE, "مرحبا", "👩‍👩‍👧", "<|begin|>"} <= seen


@pytest.mark.slow
def test_stepping_follows_the_order_and_comes_round(browser) -> None:
    """next and previous, the buttons and the keys are the same thing."""
    for sort in ("frequency", "rarest", "index"):
        browser.sort = sort
        order = browser.catalogue.order(sort, alive_only=True).tolist()
        browser.atom = order[0]
        browser.press("ArrowRight")
        assert browser.atom == order[1]
        browser.press("ArrowLeft")
        browser.previous()
        assert browser.atom == order[-1]
        browser.next()
        assert browser.atom == order[0]


def test_dead_atoms_are_stepped_over_until_asked_for(browser) -> None:
    """alive_only decides; a dead atom can still be chosen by number."""
    dead = N_ATOMS - 1
    browser.sort = "index"
    browser.atom = dead - 1
    browser.next()
    assert browser.atom == 0
    browser.alive_only = False
    browser.previous()
    assert browser.atom == dead


def test_search_steps_through_what_it_found_and_escape_ends_it(texts) -> None:
    """Found atoms become the order; Esc gives the old one back."""
    texts.search = "cat"
    found = texts.found
    assert found
    assert texts.atom == found[0]
    texts.next()
    assert texts.atom == found[1 % len(found)]
    texts.press("Escape")
    assert (texts.search, texts.finder.widget.query, texts.found) == ("", "", ())


def test_rows_under_the_find_box_answer_to_the_word_in_it(texts) -> None:
    """Each fires where the word ends, strongest first, dense atoms last; the panel stays until one is taken."""
    before, box = texts.atom, texts.finder.widget
    box.query = "cat"
    rows, catalogue = box.rows, texts.catalogue
    assert len(rows) > 1
    assert (box.answered, texts.atom, texts.search) == ("cat", before, "")
    first = next(row for row in rows if row["hit"])
    assert first["word"].strip("“”").lower() == "cat"
    tokens = [*catalogue.acts.tokens, ""]
    whole = (one == " cat" and next[:1] != "م" for one, next in pairwise(tokens))
    there = np.flatnonzero(list(whole))
    z = catalogue.codes.to_dense()[there].abs().mean(dim=0)
    often = catalogue.frequency
    order = [(often[row["atom"]] > 0.1, -float(z[row["atom"]])) for row in rows]
    assert order == sorted(order)
    box.choose(1)
    assert (texts.atom, texts.search) == (rows[1]["atom"], "cat")
    assert texts.found[: len(rows)] == tuple(row["atom"] for row in rows)
    box.query = "no such word"
    assert (box.rows, box.answered) == ([], "no such word")
    assert "no such word" in box.head
    # The texts of these activations are of no hook point: no model could read a word for them.
    assert "another word" in box.note


@pytest.mark.slow
def test_pages_walk_through_all_examples(pictures) -> None:
    """Twelve at a time, none twice, none left out; another atom begins at the first."""
    pictures.atom = int(np.argmax(pictures.catalogue.frequency))
    rows = []
    for _ in range(10):
        record = pictures.summary
        rows += [example.row for example in record.examples]
        before = pictures.page
        pictures.next_page()
        if pictures.page == before:
            break
    assert len(rows) == len(set(rows)) == pictures.summary.n_examples > 12
    pictures.next()
    assert pictures.page == 0


def test_clicking_the_histogram_chooses_the_band(pictures) -> None:
    """A mark chooses itself, a bar the nearest mark; the one chosen is drawn so."""
    bars = pictures.cards.strengths.widget
    assert bars.marks[0]["words"].startswith("median ")
    bars.marked = 0
    assert pictures.band == "50 %"
    assert bars.marks[0]["chosen"]
    bars.clicked = len(bars.counts) - 1
    assert pictures.band == "top"
    assert not bars.marks[0]["chosen"]


def test_long_encodings_run_elsewhere_and_then_the_panel_fills(monkeypatch) -> None:
    monkeypatch.setattr(atom_module, "ENCODE_AT_ONCE", 0)
    sae = FakeTopK()
    sae.gate = threading.Event()
    browser = sw.AtomBrowser(sae, picture_acts())
    assert browser.busy
    assert browser._record is None
    assert "encoding" in browser.examples.component.empty_text
    browser.atom = 9
    sae.gate.set()
    assert browser.summary.atom == browser.atom == 9
    assert not browser.busy
    assert not browser.problem


@pytest.fixture(scope="module")
def sevens():
    """The bundled vision SAE on its stored examples, at an atom with a measured label."""
    sae = sn.load_sae("tiny-vit/resid_post.6")
    atom = sn.load_examples("tiny-vit/resid_post.6").match("digit 7").atom
    made = sw.AtomBrowser(sae, atom=atom)
    yield made
    made.close()


def test_cls_and_registers_have_a_place_under_each_image(pictures) -> None:
    pictures.atom = 4
    grid = pictures.examples.component
    assert grid.prefix_names == ["cls", "register 1"]
    dense, acts = pictures.catalogue.codes.to_dense()[:, 4], pictures.catalogue.acts
    for row, example in zip(grid.prefix, pictures.summary.examples, strict=True):
        here = (acts.sample == example.sample) & (acts.position < 2)
        assert row == pytest.approx(dense[here].tolist())


@pytest.mark.slow
def test_lens_map_and_browser_tell_one_frequency_of_an_atom(sevens) -> None:
    """The share of the same rows: two numbers for one atom would make a reader trust neither."""
    sae, often = sevens.catalogue.sae, sevens.catalogue.frequency
    lens = sw.InputLens(sn.load_model("tiny-vit"), sae)
    lens.wait()
    np.testing.assert_allclose(lens._base.frequency, often)
    shown = sw.ConceptMap(sae, examples=sn.load_examples("tiny-vit/resid_post.6"))
    shown.wait()
    on_map = shown.record.columns["frequency"].values
    np.testing.assert_allclose(np.nan_to_num(on_map), often)
    assert shown.names.fires(shown.atom) in shown.cards.facts.value


@pytest.mark.slow
def test_the_share_of_each_attention_head_stands_on_the_card() -> None:
    """Of an SAE where heads lie side by side; without its model the card says what is missing."""
    gpt = sn.load_model("tiny-gpt")
    texts = ["The dog ran home. The dog slept."] * 3
    acts = sn.capture(gpt, texts, "head_out.2", progress=False)
    sae = sn.TopK(d_in=acts.d_in, n_atoms=12, k=2)
    sae.initialise(acts.x)
    browser = sw.AtomBrowser(sae, acts, gpt)
    shares = sn.evaluation.head_shares(sae, gpt.n_heads)[browser.atom]
    assert browser.cards.heads.values == pytest.approx(shares.tolist())
    assert browser.cards.heads.layout.display is None
    assert "alike: 25" in browser.cards.heads.description
    assert browser.record["attention_heads"] == pytest.approx(shares)
    without = sw.AtomBrowser(sae, acts)
    assert "Pass model=" in without.cards.heads.empty_text
    assert without.cards.heads.layout.display is None
    elsewhere = sw.AtomBrowser(sae, acts.x, gpt)
    assert elsewhere.cards.heads.layout.display == "none"


@pytest.fixture(scope="module")
def opened():
    sae = sn.load_sae("tiny-vit/resid_post.6")
    made = sw.AtomBrowser(sae, None, sn.load_model("tiny-vit"), atom=474)
    yield made
    made.close()


@pytest.fixture
def fours(opened):
    """At the atom for fours, whatever another test went to."""
    opened.atom = 474
    opened.wait(60)
    return opened


def test_what_it_makes_the_model_say_is_measured_and_confirmed(fours) -> None:
    """On images without it, next to a random direction; only what beats that is in the sentence."""
    chips, found = fours.cards.says.chips, fours.effects.of[474]
    assert chips.labels[0] == "4"
    assert chips.states == ["confirmed" if kept else "unconfirmed" for kept in found.confirmed]
    assert found.up[0][1] > 3 * found.random_most
    assert "<b>4</b>" in fours._frame.answer.value
    assert len(found.chance) == 5
    assert chips.control.startswith("5 random directions: ")
    assert f"{max(found.chance)} of 3" in chips.control
    assert fours.record["found_by"] == "measured on 12 other examples"


def test_a_name_that_was_judged_has_its_share_in_the_margin_beside_chance(fours) -> None:
    """The share in the title is drawn; without evidence, or of another atom's name, nothing is."""
    bars = fours.cards.true_of
    fours.atom = 217
    assert "95" in fours.headline
    assert bars.layout.display is None
    assert bars.description == "“digit 7” is true"
    assert bars.values == pytest.approx([0.947, 0.079], abs=0.001)
    fours.atom = next(atom for atom in range(fours.n_atoms) if not fours.names.source(atom))
    assert bars.layout.display == "none"


def test_turning_it_up_opens_the_steering_panel_below(fours) -> None:
    """For this atom, once; pressed again it follows; a dashboard that listens is left to act itself."""
    fours.controls.turn_up.click()
    below, shut = fours._frame.drawer.children
    assert isinstance(below, sw.SteeringPanel)
    assert (below.atom, fours.steered) == (474, (474,))
    assert below._frame.keys.called  # a page scrolls it into view
    fours.atom = 132
    fours.steer()
    assert fours._frame.drawer.children[0] is below
    assert below.atom == 132
    shut.click()
    assert fours._frame.drawer.children == ()
    fours.steers_below = False
    fours.steer()
    assert fours._frame.drawer.children == ()
    alone = sw.AtomBrowser(sn.load_sae("tiny-vit/resid_post.6"))
    assert alone.controls.turn_up not in descendants(alone)


def test_a_larger_model_is_run_when_it_is_asked_for(monkeypatch) -> None:
    """The first atom is measured by itself on few examples, the next ones by the button."""
    from sae_nb_widgets.atom import _effects

    monkeypatch.setattr(_effects, "QUICK", 10)
    vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    browser = sw.AtomBrowser(sae, None, vit, atom=474)
    browser.wait(60)
    assert set(browser.effects.of) == {474}
    browser.atom = 132
    browser.wait(60)
    assert set(browser.effects.of) == {474}
    assert browser.cards.says.button.layout.display is None
    browser.cards.says.button.click()
    browser.wait(60)
    assert browser.cards.says.chips.labels[0] == "7"
    assert browser.cards.says.button.layout.display == "none"
    browser.close()


def test_a_search_counts_every_atom_it_finds() -> None:
    """What is listed is a part of what is found, and says of how many."""
    acts = text_acts()
    codes = SparseCodes.from_dense(
        (acts.tokens.ids == 1).float()[:, None] * torch.rand(1, 300).add(0.1)
    )
    wide = FakeTopK(300)
    browser = sw.AtomBrowser(wide, acts, catalogue=AtomCatalogue(wide, acts, codes=codes))
    browser.search = "cat"
    assert len(browser.found) == len(browser.catalogue.search("cat")) == 300
    assert "300 matches" in browser.status
    assert "5 of 300 atoms" in browser.finder.widget.note
    browser.close()
