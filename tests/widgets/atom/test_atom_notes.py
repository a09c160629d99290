"""Labels and notes in panels: "saved" is true only after the write, and two panels agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from sae_nb_widgets.atom._examples import TextExamples, place_in_words

import sae_nb as sn
from sae_nb.activations import Activations, Context, Ragged
from sae_nb.atoms import AtomCatalogue
from sae_nb.codes import SparseCodes
from sae_nb.sessions import Annotations

HOSTILE = "<script>alert(1)</script>"
WORD_JOINER = "\u2060"  # in place of a token in which no character begins
TEXTS = (HOSTILE, "مرحبا بالعالم", "👩‍👩‍👧 é 🏳️‍🌈")


class Signs:
    """Four atoms, the signs of two numbers."""

    d_in, n_atoms = 2, 4
    hook_point, model_name = "resid_post.1", "fake"
    dictionary = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])

    def encode(self, x, k=None):
        """Keep what is positive."""
        return SparseCodes.from_dense((x @ self.dictionary.T).relu())


def _rows(n: int = 40) -> torch.Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0))


def _browser(labels=None, **choices):
    return sw.AtomBrowser(Signs(), _rows(), atom=1, labels=labels, **choices)


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_typed_comes_back_in_another_panel(tmp_path, text: str) -> None:
    """Script, right to left, emoji; label and note; escaped where HTML is made of them."""
    first = _browser(tmp_path)
    assert not first.saved
    first.label, first.note = text, text[::-1]
    assert first.saved
    assert "saved ✓" in first.notes.saved_line.value
    first.close()
    again = _browser(tmp_path)
    assert (again.label, again.note, again.saved) == (text, text[::-1], True)
    page = again.to_html(tmp_path / "page.html", share_script=True).read_text()
    assert HOSTILE not in page


def test_saved_is_false_until_the_file_is_written(tmp_path, monkeypatch) -> None:
    """While writing, after a failed write, in memory, and for labels nobody typed."""
    browser = _browser(tmp_path)
    during = []
    write = Annotations.write

    def watched(self, *words):
        during.append(browser.saved)
        write(self, *words)

    monkeypatch.setattr(Annotations, "write", watched)
    browser.label = "north"
    assert (during, browser.saved) == ([False], True)

    def broken(self, *words):
        raise OSError("the disk is full")

    monkeypatch.setattr(Annotations, "write", broken)
    browser.label = "south"
    assert not browser.saved
    assert browser.problem
    assert browser.status.startswith("saving the label")
    assert "the disk is full" in browser.status
    assert "saved ✓" not in browser.notes.saved_line.value
    browser.close()
    monkeypatch.undo()
    memory = _browser()
    memory.label = "north"
    assert not memory.saved
    assert "Pass labels=&quot;folder&quot;" in memory.notes.saved_line.value


def test_measured_labels_are_shown_and_not_called_saved() -> None:
    """They come with the SAE; typing over one is typing."""
    catalogue = AtomCatalogue(Signs(), _rows(), labels={1: "measured"})
    browser = _browser(catalogue=catalogue)
    assert (browser.label, browser.saved) == ("measured", False)
    assert "label found automatically" in browser.notes.saved_line.value
    browser.label = ""
    browser.atom = 2
    browser.atom = 1
    assert browser.label == ""


def test_measured_labels_show_also_where_a_panel_without_them_was_opened_before() -> None:
    """The names of an SAE are shared, and nobody's labels are lost by the order of opening."""
    sae = Signs()
    first = sw.AtomBrowser(sae, _rows(), atom=1)
    first.label = "typed"
    measured = AtomCatalogue(sae, _rows(), labels={1: "measured", 2: "west"})
    second = sw.AtomBrowser(sae, catalogue=measured, atom=2)
    assert (second.label, second.names.words(1)) == ("west", "typed")
    first.atom = 2
    assert first.label == "west"


def test_two_panels_on_one_file_show_the_same_words(tmp_path) -> None:
    """Typed in one, there in the other at once, fields and neighbours alike; both write."""
    first, second = _browser(tmp_path), _browser(tmp_path)
    first.label = "north"
    assert (second.label, second.saved) == ("north", True)
    second.note = "mostly"
    assert (first.note, first.label) == ("mostly", "north")
    second.atom = 0
    first.atom = 2
    first.label = "west"
    assert "west" in second.cards.near.labels
    assert second.label == ""
    book = Annotations(tmp_path, Signs())
    assert dict(book) == {1: "north", 2: "west"}
    first.close()
    second.label = "east"
    assert second.saved


def test_an_sae_that_knows_its_folder_keeps_its_labels_there(tmp_path) -> None:
    """Nothing needs to be passed."""
    sae = Signs()
    sae.folder = tmp_path
    browser = sw.AtomBrowser(sae, _rows(), atom=3)
    browser.label = "south"
    browser.close()
    assert Annotations(tmp_path, Signs())[3] == "south"


@pytest.mark.parametrize("damage", ["truncated", "altered", "another SAE's"])
def test_a_damaged_file_is_refused_by_name(tmp_path, damage: str) -> None:
    """Before the panel is built, and the file stays as it is."""
    book = Annotations(tmp_path, Signs())
    book.write(1, "north")
    path = Path(book.path)
    sae = Signs()
    if damage == "truncated":
        path.write_text(path.read_text()[:40])
    elif damage == "altered":
        path.write_text(path.read_text().replace("north", "south"))
    else:
        sae.dictionary = Signs.dictionary.flip(0)
    content = path.read_text()
    with pytest.raises(ValueError, match=r"annotations\.json"):
        sw.AtomBrowser(sae, _rows(), labels=tmp_path)
    assert path.read_text() == content


# --- the rest of what a session keeps -------------------------------------------------------------


def test_state_comes_back_through_json() -> None:
    """Filters and selection."""
    import json

    browser = _browser()
    browser.sort, browser.alive_only, browser.band = "index", False, "random"
    browser.search = "2"
    browser.atom = 3
    state = json.loads(json.dumps(browser.state()))
    other = _browser()
    other.restore(state)
    assert other.state() == browser.state()
    assert (other.atom, other.search, other.band) == (3, "2", "random")


# --- pictures and characters ----------------------------------------------------------------------


def _picture_browser():
    grid, n = (2, 3), 6
    context = Context(
        kind="vision", n_samples=n, patch_grid=grid, prefix_tokens=1,
        pictures=torch.randint(0, 255, (n, 3, 8, 12), dtype=torch.uint8),
    )  # fmt: skip
    acts = Activations.from_tensor(
        _rows(n * 7), sample=torch.arange(n).repeat_interleave(7),
        position=torch.arange(7).repeat(n), context=context,
    )  # fmt: skip
    return sw.AtomBrowser(Signs(), acts, atom=0)


def test_crops_follow_the_atom_and_lead_to_their_row() -> None:
    """One sprite; a click chooses the row and says where it is; nothing to see is hidden."""
    browser = _picture_browser()
    browser.details = True
    grid, crops = browser.crops.grid, browser.summary.crops
    assert len(grid.captions) == len(crops.rows) > 1
    assert browser.crops.widget.children == (grid,)
    grid.selected = (1, -1)
    assert browser.row == int(crops.rows[1])
    assert crops.places[1] in browser.status
    before = grid.sprite
    browser.atom = 2
    assert grid.sprite != before
    vectors = _browser()
    vectors.details = True
    assert vectors.crops.widget.children == ()


def test_a_click_on_a_frequency_leads_to_such_an_atom() -> None:
    """The nearest one as a ratio."""
    browser = _browser()
    often = browser.catalogue.frequency
    browser.details = True
    bars, record = browser.cards.more.frequencies.widget, browser.summary
    bars.clicked = int(np.searchsorted(record.frequencies.edges, often[3])) - 1
    assert often[browser.atom] == often[3]


def test_a_character_of_many_tokens_is_one_on_screen() -> None:
    """Shaded by its strongest token, bold where it begins, named with all its tokens."""
    words = {0: "a", 1: "<0xF0><0x9F>", 2: "<0x98>", 3: "<0x80>"}
    ids = torch.tensor([0, 1, 2, 3, 0])
    context = Context(
        kind="language", n_samples=1, vocabulary=words,
        token_ids=Ragged(ids, torch.tensor([0, 5])),
    )  # fmt: skip
    x = torch.tensor([[0.1, 0], [0.2, 0], [5.0, 0], [0.3, 0], [0.1, 0]])
    acts = Activations.from_tensor(
        x, sample=torch.zeros(5, dtype=torch.int64), position=torch.arange(5), context=context
    )
    browser = sw.AtomBrowser(Signs(), acts, atom=0)
    strip = browser.examples.component
    assert isinstance(browser.examples, TextExamples)
    assert strip.tokens == [["a", "😀", WORD_JOINER, WORD_JOINER, "a"]]
    assert strip.peaks == [1]
    assert strip.token_strength(0, 1) == 5.0
    example = browser.summary.examples[0]
    assert example.token_strengths.tolist() == pytest.approx([0.1, 0.2, 5.0, 0.3, 0.1])
    words_said = place_in_words(example, 1, context)
    assert "tokens 1–3 “😀”: largest strength 5.00" in words_said
    assert place_in_words(example, 2, context) == words_said
    assert "token 4 “a”: strength" in place_in_words(example, 4, context)


def test_a_browser_follows_labels_after_it_has_encoded_again() -> None:
    """What trained on is looked at anew, and a label from elsewhere still shows at once."""
    sae = sn.load_sae("tiny-vit/resid_post.6")
    acts = sn.load_examples("tiny-vit/resid_post.6").acts
    browser = sw.AtomBrowser(sae, acts, atom=3)
    browser.wait()
    browser.refresh()
    browser.wait()
    browser.names.labels.write(3, "written elsewhere")
    assert browser.headline == "written elsewhere"
