"""InputLens: every input is a trait, what is shown is the record, bad input is one sentence."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from PIL import Image
from sae_nb_widgets.input_lens._words import answer_words
from torch import nn

import sae_nb as sn
from sae_nb.atoms import AtomNames
from sae_nb.codes import SparseCodes
from tests.widgets.input_lens.small import HOSTILE, PICTURES, SEVEN, VIT_SAE, now, shown


@pytest.mark.slow
def test_bars_are_the_record(vit: Any, lens: sw.InputLens) -> None:
    record = sn.top_atoms(vit, VIT_SAE, PICTURES[0], "resid_post.6", frequency=[0.05] * 96)
    beyond = dict(zip(record.used.atom.tolist(), record.used.beyond.tolist(), strict=True))
    atoms = record.top(5, "attribution")
    assert lens._atoms == atoms
    places = [record.place(atom) for atom in atoms]
    np.testing.assert_allclose(shown(lens), record.used.strength[places], rtol=1e-5)
    mattered = lens._bars.columns[1]
    np.testing.assert_allclose(mattered["values"], record.used.attribution[places], atol=1e-6)
    np.testing.assert_allclose(np.abs(mattered["control"]), record.used.control[places], rtol=1e-4)
    # Filled: longer than its mark by as much as is seen.
    seen = np.abs(mattered["values"]) > 1.05 * np.abs(mattered["control"])
    assert mattered["hollow"] == [not (beyond[a] and s) for a, s in zip(atoms, seen, strict=True)]
    assert any(beyond[a] and not s for a, s in zip(atoms, seen, strict=True))
    assert "×" in lens._bars.columns[0]["notes"][0]
    assert lens._detail_view.answers.labels[0] == record.answers[0][1]
    assert not lens.problem


@pytest.mark.slow
def test_typing_reads_the_text(reading: sw.InputLens) -> None:
    """The field is the trait; tokens are shown as text."""
    reading.controls.text.value = f"the fox {HOSTILE}"
    reading.wait()
    assert reading.text == f"the fox {HOSTILE}"
    assert "".join(reading._view.strip.tokens[0]).endswith(HOSTILE)
    assert "<script>" not in reading._view.strip.static_html()


@pytest.mark.slow
def test_drawing_is_read(vit: Any) -> None:
    """Strokes on the pad make a picture like those the model knows, and it says seven."""
    lens = sw.InputLens(vit, VIT_SAE, "resid_post.6")
    lens.draw(SEVEN)
    assert lens.summary.answers[0][1] == "7"
    assert lens._view.grid.captions[0] == "drawing"
    lens.ink, lens.paper = "red", "diagonal"
    assert lens.summary.answers[0][1] == "7"
    red, green = (lens.picture[c].float()[8, 10:20].mean() for c in (0, 1))
    assert red > green + 50
    lens.draw([[(2, 1), (29, 1), (16, 31)]])
    lens.wait()
    assert "scaled to 22" in lens.status


def test_uploads_of_any_kind_are_converted_and_said(lens: sw.InputLens) -> None:
    """A grey GIF of another shape; then a file that is none."""
    buffer = io.BytesIO()
    Image.new("L", (90, 60), 120).save(buffer, "GIF")
    upload = {
        "name": "a.gif",
        "type": "image/gif",
        "size": 1,
        "content": memoryview(buffer.getvalue()),
    }
    lens.controls.upload.value = (upload | {"last_modified": now()},)
    lens.wait()
    assert "90×60 cropped to 60×60" in lens.status
    assert lens._view.grid.captions[0] == "a.gif"
    before = lens.picture
    lens.controls.upload.value = (
        upload
        | {
            "name": f"{HOSTILE}.png",
            "content": memoryview(b"not a picture"),
            "last_modified": now(),
        },
    )
    lens.wait()
    assert lens.problem
    assert lens.picture is before
    assert HOSTILE not in lens._frame.status_line.value
    assert lens.sources.name("first") == "a.gif"
    lens.picture = PICTURES[1]
    assert lens.sources.name("first") == ""


def test_examples_are_those_behind_the_activations(vit: Any) -> None:
    """By number, again after something else was drawn, and base rates are measured on them."""
    acts = sn.capture(vit, PICTURES, "resid_post.6", progress=False)
    lens = sw.InputLens(vit, VIT_SAE, "resid_post.6", acts=acts)
    lens.wait()
    assert lens.n_examples == 2
    assert torch.equal(lens.picture, PICTURES[0])
    assert lens.summary.base.n_rows == len(acts)
    assert "138 rows" in lens.chips["usual from"]
    lens.controls.forth.click()
    assert torch.equal(lens.picture, PICTURES[1])
    lens.draw(SEVEN)
    lens.choose_example(1)
    assert torch.equal(lens.picture, PICTURES[1])
    assert lens.sources.pad.blank


def test_a_model_whose_output_has_one_length_hangs_on_no_atom() -> None:
    """Its effects are what rounding leaves, of which many are larger than random ones: none matters."""

    class OneLength(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(32, 32), nn.Linear(32, 32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.normalize(self.second(self.first(x)), dim=-1)

    torch.manual_seed(0)
    model = sn.wrap(OneLength())
    sae = sn.TopK(d_in=32, n_atoms=64, k=8, generator=torch.Generator().manual_seed(0))
    found = sn.top_atoms(model, sae, torch.randn(1, 32), "first")
    assert found.answers == ()
    assert 0 < np.abs(found.used.attribution).max() < 1e-4
    assert found.used.moves_nothing
    assert not found.used.beyond.any()
    assert "Nothing here matters" in answer_words(found, None, None, AtomNames())


@pytest.mark.slow
def test_clicking_a_bar_chooses_the_atom_and_links_carry_it(lens: sw.InputLens) -> None:
    """The trait moves, the heat moves, and whoever is linked moves too."""
    follower = sw.InputLens(lens.model, VIT_SAE, "resid_post.6")
    t.link((lens, "atom"), (follower, "atom"))
    lens._bars.selected = 4
    assert lens.atom == lens._atoms[4] == follower.atom
    follower.atom = 5
    assert lens.atom == 5
    heat = lens._view.grid.heat_maps[0]
    np.testing.assert_allclose(heat, lens.summary.patches(lens.summary.strengths(5)), rtol=1e-5)


@pytest.mark.slow
def test_chosen_atom_stays_with_the_next_input(lens: sw.InputLens) -> None:
    """Unless nobody has chosen one; then it is the first that has heat on the image."""
    lens.picture = PICTURES[1]
    lens.wait()
    assert not lens.atom_chosen
    assert lens.atom in lens._atoms
    assert np.abs(lens._view.grid.heat_maps[0]).max() > 0
    lens._bars.selected = 3 if lens.atom != lens._atoms[3] else 4
    assert lens.atom_chosen
    chosen = lens.atom
    lens.picture = PICTURES[0]
    lens.wait()
    assert lens.atom == chosen


@pytest.mark.slow
def test_positions_are_chosen_by_click_and_by_keys(lens: sw.InputLens) -> None:
    """Patches, the tokens before them, ← →, Escape; the list is of that position."""
    lens._view.grid.selected = (0, 10)
    assert lens.token == 15
    atoms = [atom for atom, _, _ in lens.summary.at(15, 5)]
    assert lens._detail_view._atoms == atoms
    assert "patch 1,2" in lens._detail_view.here.description
    lens.press("ArrowRight")
    assert lens.token == 16
    lens._view.prefix.selected = (0, 0)
    assert lens.token == 0
    assert "cls" in lens._detail_view.here.description
    lens.atom = 5  # redrawing does not lose the position
    assert lens.token == 0
    lens.press("Escape")
    assert lens.token == -1


@pytest.mark.slow
def test_contributions_can_be_drawn_over_the_input(lens: sw.InputLens) -> None:
    lens.heat = "mattered"
    assert lens._view.grid.signed
    expected = lens.summary.patches(lens.summary.attributions(lens.atom))
    np.testing.assert_allclose(lens._view.grid.heat_maps[0], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_asking_about_another_answer_attributes_to_it(lens: sw.InputLens) -> None:
    """Click on an answer; by name; back to the model's own."""
    lens._detail_view.answers.selected = 2
    number, name, _ = lens.summary.answers[2]
    assert lens.summary.target == number
    assert f"“{name}”" in lens.summary.measure
    lens.target = "4"
    assert lens.summary.target == 4
    lens.target = ""
    assert lens.summary.target == lens.summary.answers[0][0]


@pytest.mark.slow
def test_splice_check_draws_the_exact_effect(lens: sw.InputLens) -> None:
    """A tick on its bar, both numbers in words, and gone with the next input."""
    lens.splice_check()
    check = lens.check
    record = lens.summary.splice_check(lens.atom)
    assert check == record
    place = lens._atoms.index(lens.atom)
    assert lens._bars.columns[1]["exact"][place] == pytest.approx(check.exact)
    assert "KL" in lens.numbers
    assert "KL" not in lens.answer
    lens.picture = PICTURES[1]
    lens.wait()
    assert lens.check is None


@pytest.mark.slow
def test_second_input_turns_bars_into_differences_with_a_floor(lens: sw.InputLens) -> None:
    """A − B, dashed floors, and what was permuted is said."""
    lens.compare_picture = PICTURES[1]
    found = lens.contrast
    assert lens.comparing
    atoms = lens._atoms
    column = lens._bars.columns[0]
    np.testing.assert_allclose(column["values"], found.strength.value[atoms], rtol=1e-5)
    np.testing.assert_allclose(np.abs(column["control"]), found.strength.floor[atoms], rtol=1e-5)
    assert "lower bound" in lens.status
    assert lens.answer.startswith("A is read as “")
    assert len(lens._view.grid.captions) == 2
    lens.comparing = False
    lens.wait()
    assert lens.contrast is None
    assert lens.compare_picture is None
    assert (shown(lens) >= 0).all()


@pytest.mark.slow
def test_second_text_is_compared_on_the_first_ones_answer(reading: sw.InputLens) -> None:
    """Both contributions are to one measure, so that they can be subtracted."""
    reading.compare_text = "The dog was sad"
    found = reading.contrast
    assert found.attribution is not None
    assert reading._answer.second.target == reading.summary.target


def test_input_in_which_nothing_fires_is_shown(vit: Any) -> None:
    class Silent:
        d_in, n_atoms, dictionary = 64, 4, torch.eye(64)[:4]

        def encode(self, x: torch.Tensor, k: int | None = None) -> Any:
            return SparseCodes.from_dense(torch.zeros(*x.shape[:-1], 4))

        def decode(self, codes: Any) -> torch.Tensor:
            return codes.to_dense() @ self.dictionary

    lens = sw.InputLens(vit, Silent(), "resid_post.6")
    lens.picture = PICTURES[0]
    lens.wait()
    assert not lens.problem
    assert lens._bars.labels == []
    assert "No atom" in lens._bars.static_html()
    lens.compare_picture = PICTURES[1]
    lens.wait()
    assert not lens.problem
