"""Labels and notes in panels: "saved" is true only after the write, and two panels agree."""

from __future__ import annotations

import pytest
import sae_nb_widgets as sw
import torch

from sae_nb.activations import Activations, Context
from sae_nb.atoms import AtomCatalogue
from sae_nb.codes import SparseCodes
from sae_nb.sessions import Annotations

HOSTILE = "<script>alert(1)</script>"
TEXTS = (HOSTILE, "مرحبا بالعالم", "👩‍👩‍👧 é 🏳️‍🌈")


class Signs:
    d_in, n_atoms = 2, 4
    hook_point, model_name = "resid_post.1", "fake"
    dictionary = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])

    def encode(self, x, k=None):
        return SparseCodes.from_dense((x @ self.dictionary.T).relu())


def _rows(n: int = 40) -> torch.Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0))


def _browser(labels=None, **choices):
    return sw.AtomBrowser(Signs(), _rows(), atom=1, labels=labels, **choices)


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert "saved ✓" not in browser.notes.saved_line.value
    browser.close()
    monkeypatch.undo()
    memory = _browser()
    memory.label = "north"
    assert not memory.saved
    assert "Not saved" in memory.notes.saved_line.value


def test_a_button_keeps_labels_and_the_next_session_has_them(tmp_path, monkeypatch) -> None:
    """Written to ./labels when it is pressed, and from then on at once; another SAE gets a file of its own."""
    monkeypatch.chdir(tmp_path)
    first = _browser()
    first.label, first.note = "north", HOSTILE
    assert first.notes.keep.layout.display != "none"
    first.notes.keep.click()
    assert first.saved, first.status
    assert "saved ✓ labels/" in first.notes.saved_line.value
    assert first.notes.keep.layout.display == "none"
    first.atom = 2
    first.label = "west"
    assert first.saved
    first.close()
    again = _browser()
    assert (again.label, again.note, again.names.words(2)) == ("north", HOSTILE, "west")
    other = Signs()
    other.dictionary = Signs.dictionary.flip(0)
    assert sw.AtomBrowser(other, _rows(), atom=1).label == ""
    file = again.keep_labels()
    assert file.parent == tmp_path / "labels"
    (tmp_path / "taken").write_text("")
    loose = _browser(labels={1: "given"})
    loose.label = "mine"
    with pytest.raises((OSError, ValueError)):
        loose.keep_labels(tmp_path / "taken")
    assert not loose.saved


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


def test_an_sae_that_knows_its_folder_keeps_its_labels_there(tmp_path) -> None:
    sae = Signs()
    sae.folder = tmp_path
    browser = sw.AtomBrowser(sae, _rows(), atom=3)
    browser.label = "south"
    browser.close()
    assert Annotations(tmp_path, Signs())[3] == "south"


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


@pytest.mark.slow
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
