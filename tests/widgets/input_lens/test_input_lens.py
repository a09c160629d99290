"""InputLens: every input is a trait, what is shown is the record, bad input is one sentence."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from PIL import Image
from sae_nb_widgets.input_lens._figure import shown_atoms
from sae_nb_widgets.input_lens._words import answer_words
from torch import nn

import sae_nb as sn
from sae_nb.atoms import AtomNames
from sae_nb.codes import SparseCodes
from sae_nb.summaries import LEAST_EFFECT, AtomsUsed
from tests.widgets.input_lens.small import (
    HOSTILE,
    PICTURES,
    SEVEN,
    VIT_SAE,
    now,
    says_nothing,
    shown,
)
from tests.widgets.made import Held, control_named, soon

# --- inputs ---------------------------------------------------------------------------------------


def test_bars_are_the_record(vit: Any, lens: sw.InputLens) -> None:
    """Strengths, lifts, contributions and controls are those of top_atoms."""
    record = sn.top_atoms(vit, VIT_SAE, PICTURES[0], "resid_post.6", frequency=[0.05] * 96)
    beyond = dict(zip(record.used.atom.tolist(), record.used.beyond.tolist(), strict=True))
    atoms = record.top(5, "attribution")
    assert lens._atoms == atoms
    places = [record.place(atom) for atom in atoms]
    np.testing.assert_allclose(shown(lens), record.used.strength[places], rtol=1e-5)
    mattered = lens._bars.columns[1]
    np.testing.assert_allclose(mattered["values"], record.used.attribution[places], atol=1e-6)
    np.testing.assert_allclose(np.abs(mattered["control"]), record.used.control[places], rtol=1e-4)
    assert mattered["hollow"] == [not beyond[atom] for atom in atoms]
    assert "×" in lens._bars.columns[0]["notes"][0]
    assert lens._detail_view.answers.labels[0] == record.answers[0][1]
    assert not lens.problem


def test_another_input_is_read_anew(lens: sw.InputLens) -> None:
    """The heat over the picture is the atom's strength in the new one."""
    before = lens.summary
    lens.picture = PICTURES[1]
    assert lens.summary is not before
    atom = lens.atom
    heat = lens._view.grid.heat_maps[0]
    np.testing.assert_allclose(heat, lens.summary.patches(lens.summary.strengths(atom)), rtol=1e-5)


def test_typing_reads_the_text(reading: sw.InputLens) -> None:
    """The field is the trait; tokens are shown as text."""
    reading.controls.text.value = f"the fox {HOSTILE}"
    reading.wait()
    assert reading.text == f"the fox {HOSTILE}"
    assert "".join(reading._view.strip.tokens[0]).endswith(HOSTILE)
    assert "<script>" not in reading._view.strip.static_html()


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
    assert "is not a picture I can read. Save it as PNG or JPEG" in lens.status
    assert lens.picture is before
    assert HOSTILE not in lens._status_line.value
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


def test_pretrained_sae_needs_nothing_else(vit: Any) -> None:
    """Examples, base rates and labels come with it."""
    lens = sw.InputLens(vit, sn.load_sae("tiny-vit/resid_post.6"))
    assert lens.summary.base is not None
    assert lens.n_examples > 10
    assert lens.sort == "attribution"
    assert any(not label.isdigit() for label in lens._bars.labels)


# --- what is shown --------------------------------------------------------------------------------


def test_while_the_model_reads_nothing_else_is_claimed(vit: Any) -> None:
    """No answer, no "draw something", no word on what the model is: what loads, and for how long."""
    lens = sw.InputLens(vit, VIT_SAE, "resid_post.6")
    vit.lock.acquire()
    try:
        lens.picture = PICTURES[0]
        assert "The model is reading the image (about 4" in lens._answer_text.value
        assert says_nothing(lens)
        assert lens.status in ("", "reading …")  # which it says of work that takes a while
        shown = [lens._bars.empty_text, lens._view.grid.empty_text]
        assert not any([*shown, lens._detail_view.answers.empty_text])
    finally:
        vit.lock.release()
    lens.wait()
    assert "reading" not in lens._answer_text.value
    assert "The model reads it as" in lens.answer


def test_a_model_without_answers_says_so_and_only_then(vit: Any) -> None:
    """The sentence is said of a model without classes, after it has read, and of no other."""
    lens = sw.InputLens(sn.wrap(vit.module, name="headless"), VIT_SAE, "resid_post.6")
    lens.picture = PICTURES[0]
    lens.wait()
    words = "This model has no answer to show, only hidden states."
    assert lens.answer.startswith(words)
    assert lens._detail_view.answers.empty_text == words
    lens.controls.target.value = "7"
    assert lens.status.startswith("explain the answer: nothing, because")
    assert lens.controls.target.value == ""


def test_the_sentence_names_the_answer_and_what_it_hangs_on(lens: sw.InputLens) -> None:
    """Percent of the likeliest; how many atoms do more than random pushes, in the record's numbers."""
    summary = lens.summary
    _, name, p = summary.answers[0]
    assert lens.answer.startswith(f"The model reads it as “{name}” ({100 * p:.0f}")
    n, active = summary.used.beyond.sum(), len(summary.used)
    luck = f"by luck about {round(0.05 * active)} would"
    assert f"{n} of {active} active atoms matter ({luck}), at 69 positions" in lens.numbers


NONE = property(lambda used: np.zeros(len(used), dtype=bool))
"""No atom matters."""

ONE_ALONE = "Atom 19 speaks for it."
STANDS_OUT = "Atom 19 and atom 17 speak for it; atom 18 speaks against it."
AS_CHANCE = (
    "No single atom stands out: random pushes of the same strengths move the answer as much."
)
NOTHING = "Nothing here matters: no atom that fires moves the answer."


@pytest.mark.parametrize(
    ("size", "reach", "said"),
    [
        (1.0, 0.5, STANDS_OUT),
        (1.0, 0.95, AS_CHANCE),
        (1.0, 1.0, AS_CHANCE),
        # Effects of rounding are beyond chance, too: what random directions reach is as small.
        (1e-6, 0.5, NOTHING),
        (1e-6, 0.0, NOTHING),
    ],
)
def test_sentence_and_bars_agree_on_what_matters(size: float, reach: float, said: str) -> None:
    """Solid bars are those the sentence counts, and it names none where chance gives as many."""
    effect = size * np.linspace(0.05, 1.0, 20) * np.where(np.arange(20) % 2, 1, -1)
    used, sentence = _said_of(effect, size * reach)
    assert sentence.endswith(f". {said}")
    if said == STANDS_OUT:
        assert used.beyond.sum() == 10
        assert not used.beyond[:9].any()
    if said == NOTHING:
        assert not used.beyond.any()


@pytest.mark.parametrize(("reach", "said"), [(0.5, ONE_ALONE), (0.7, AS_CHANCE)])
def test_one_atom_far_beyond_chance_is_named(reach: float, said: str) -> None:
    """One of twenty exceeds its control by luck; none by half as much again."""
    effect = np.full(20, 0.01)
    effect[19] = 1.0
    used, sentence = _said_of(effect, reach)
    assert used.beyond.sum() == 1
    assert not used.more_than_chance
    assert sentence.endswith(f". {said}")


def _said_of(effect: np.ndarray, control: float) -> tuple[AtomsUsed, str]:
    """Atoms with these effects, and the sentence about them."""
    flat = np.ones(len(effect))
    used = AtomsUsed(
        atom=np.arange(len(effect)),
        n_fired=np.ones(len(effect), dtype=int),
        strength=flat,
        total_strength=flat,
        base_frequency=None,
        lift=None,
        surprise=None,
        attribution=effect,
        control=np.full(len(effect), control),
        least=LEAST_EFFECT,
    )
    summary: Any = SimpleNamespace(
        used=used, answers=[(0, "7", 0.9)], target=0, kind="vision", base=None
    )
    return used, answer_words(summary, None, None, AtomNames())


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


def test_what_matters_stands_on_top_where_the_sentence_names_it(
    lens: sw.InputLens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Solid bars before outlined ones; by size alone where none stands out."""
    used = lens.summary.used
    for named in (True, False):
        monkeypatch.setattr(AtomsUsed, "mattering", AtomsUsed.beyond if named else NONE)
        atoms = shown_atoms(lens.summary, None, "attribution", len(used))
        order = [bool(used.beyond[lens.summary.place(atom)]) for atom in atoms]
        assert (order == sorted(order, reverse=True)) is named
        assert sorted(atoms) == used.atom.tolist()


def test_five_rows_at_first_and_more_where_they_are_asked_for(lens: sw.InputLens) -> None:
    """Over the whole input and at one position; both lists grow with one number."""
    lens.atom = lens.summary.top(1, "attribution")[0]
    assert len(lens._bars.labels) == len(lens._detail_view.here.labels) == 5
    lens.n_shown = 9
    assert len(lens._bars.labels) == 9
    position = int(np.nanargmax(np.abs(lens.summary.strengths(lens.atom))))
    assert len(lens._detail_view.here.labels) == len(lens.summary.at(position, 9)) > 5


def test_the_title_of_the_rows_agrees_with_the_sentence(
    lens: sw.InputLens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are ranked also where none stands out, and then their title says so."""
    for named, title in ((True, "matter most"), (False, "none stands out")):
        monkeypatch.setattr(AtomsUsed, "mattering", AtomsUsed.beyond if named else NONE)
        lens.draw_names()
        assert title in lens._bars.description
        assert ("No single atom stands out" in lens.answer) is not named
        lens.sort = "strength"
        assert lens._bars.description == "atoms"
        lens.sort = "attribution"
    assert "none stands out" in lens._bars.static_html()


def test_labels_reach_an_open_lens(lens: sw.InputLens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, card and sentence take a new name at once; hostile ones stay words."""
    monkeypatch.setattr(AtomsUsed, "mattering", AtomsUsed.beyond)  # the sentence names atoms
    lens.sort = "attribution"
    atom = lens._atoms[0]
    lens.names.labels.write(atom, f"tail {HOSTILE}")
    assert lens._bars.labels[0] == f"{atom} · tail {HOSTILE}"
    assert f"“tail {HOSTILE}” (atom {atom})" in lens.answer
    assert lens._bars.atoms == lens._atoms
    assert "<script>" not in lens._answer_text.value
    lens.names.labels.write(atom, "")
    assert "tail" not in lens.answer


def test_choosing_the_atom_that_is_shown_already_is_a_choice(lens: sw.InputLens) -> None:
    """The page says that a chosen row was clicked again, and who follows hears of it."""
    heard: list[int] = []
    lens.observe(lambda change: heard.append(change["new"]), "atom")
    assert not lens.atom_chosen
    lens._bars._handle_custom_msg({"kind": "again"}, [])
    assert lens.atom_chosen
    assert heard == [lens.atom]


def test_differences_fall_from_the_first_row(lens: sw.InputLens) -> None:
    """Two inputs are sorted by what is on screen, in either column."""
    lens.compare_picture = PICTURES[1]
    lens.wait()
    for order, column in (("total strength", 0), ("attribution", 1), ("surprise", 0)):
        lens.sort = order
        sizes = np.abs(np.asarray(lens._bars.columns[column]["values"], float))
        assert (np.diff(sizes[:5]) <= 0).all()
    assert lens.controls.sort.layout.display == "none"
    lens.controls.sort_compared.value = "attribution"
    assert lens.sort == "attribution"


def test_what_a_number_field_shows_is_what_was_read(vit: Any) -> None:
    """After a drawing the input is none of the examples."""
    acts = sn.capture(vit, PICTURES, "resid_post.6", progress=False)
    lens = sw.InputLens(vit, VIT_SAE, "resid_post.6", acts=acts)
    lens.wait()
    field = control_named(lens, "input")
    field.value = "1"
    lens.wait()
    assert torch.equal(lens.picture, PICTURES[1])
    lens.draw(SEVEN)
    assert field.value == ""


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


def test_pointing_at_a_bar_shows_its_atom_and_leaving_returns(lens: sw.InputLens) -> None:
    """A glance, not a choice."""
    kept = lens.atom
    mine = lens._view.grid.heat_maps.copy()
    lens._bars.hovered = 4
    other = lens.summary.patches(lens.summary.strengths(lens._atoms[4]))
    np.testing.assert_allclose(lens._view.grid.heat_maps[0], other, rtol=1e-5)
    assert lens.atom == kept
    lens._bars.hovered = -1
    np.testing.assert_array_equal(lens._view.grid.heat_maps, mine)


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


def test_position_of_a_text_survives_redrawing(reading: sw.InputLens) -> None:
    """And the begin-of-text token says that it is not read."""
    reading._view.strip.selected = (0, 3)
    assert reading.token == 3
    reading._bars.hovered = 1
    reading._bars.hovered = -1
    assert reading.token == 3
    reading.token = 0
    assert reading._detail_view.here.empty_text.startswith("The SAE does not read")


def test_contributions_can_be_drawn_over_the_input(lens: sw.InputLens) -> None:
    """Signed, in the signed colours."""
    lens.heat = "mattered"
    assert lens._view.grid.signed
    expected = lens.summary.patches(lens.summary.attributions(lens.atom))
    np.testing.assert_allclose(lens._view.grid.heat_maps[0], expected, rtol=1e-4, atol=1e-7)


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


def test_next_input_is_asked_about_its_own_answer(lens: sw.InputLens) -> None:
    """Showing the target on screen is not asking about it."""
    assert lens.target == ""
    lens.picture = PICTURES[1]
    lens.wait()
    assert lens.target == ""


def test_refresh_reads_anew_what_is_being_read(
    lens: sw.InputLens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that began before the weights changed is no answer to what is asked afterwards."""
    from sae_nb_widgets.input_lens import _runs

    read, answers = _runs.top_atoms, []
    slow = Held(lambda *given, **more: answers.append(read(*given, **more)) or answers[-1])
    monkeypatch.setattr(_runs, "top_atoms", slow)
    lens.picture = PICTURES[1]
    assert slow.begun.wait(10)
    lens.refresh()
    slow.go.set()
    assert lens.summary is answers[1]


def test_splice_check_draws_the_exact_effect(lens: sw.InputLens) -> None:
    """A tick on its bar, both numbers in words, and gone with the next input."""
    lens.splice_check()
    check = lens.check
    record = lens.summary.splice_check(lens.atom)
    assert check == record
    place = lens._atoms.index(lens.atom)
    assert lens._bars.columns[1]["exact"][place] == pytest.approx(check.exact)
    assert "Measured without this atom: the score of" in lens._detail_view.card.value
    assert "KL" in lens.numbers
    assert "KL" not in lens.answer
    lens.picture = PICTURES[1]
    lens.wait()
    assert lens.check is None


def test_a_splice_check_of_an_input_that_is_gone_draws_nothing(
    lens: sw.InputLens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stand beside the bars of another input."""
    before, kind = lens.summary, type(lens.summary)
    check = Held(kind.splice_check)
    monkeypatch.setattr(kind, "splice_check", lambda self, atom: check(self, atom))
    lens.splice_check()
    lens.picture = PICTURES[1]
    assert soon(lambda: lens._seen.first is not before)
    check.go.set()
    lens.wait()
    assert lens.check is None
    assert not any(value is not None for value in lens._bars.columns[1]["exact"])


def test_open_and_steer_hand_over_the_atom(lens: sw.InputLens) -> None:
    """Buttons appear with their callback; an error in it becomes a sentence."""
    got: list[int] = []
    assert lens._detail_view.open.layout.display == "none"
    lens.on_open(got.append)
    lens._detail_view.open.click()
    assert got == [lens.atom]

    def refuse(_atom: int) -> None:
        raise ValueError("no such panel")

    lens.on_steer(refuse)
    lens._detail_view.steer.click()
    assert lens.problem
    assert "no such panel" in lens.status


# --- two inputs -----------------------------------------------------------------------------------


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


def test_compare_button_puts_another_input_beside(vit: Any) -> None:
    """The next example; drawing then goes into the second slot."""
    acts = sn.capture(vit, PICTURES, "resid_post.6", progress=False)
    lens = sw.InputLens(vit, VIT_SAE, "resid_post.6", acts=acts)
    lens.wait()
    lens.controls.comparing.value = True
    lens.wait()
    assert torch.equal(lens.compare_picture, PICTURES[1])
    lens.draw(SEVEN)
    lens.wait()
    assert torch.equal(lens.picture, PICTURES[0])
    assert lens._view.grid.captions[1] == "B drawing"


@pytest.mark.parametrize("sort", ["strength", "attribution"])
def test_the_sentence_names_atoms_that_the_table_holds(reading: sw.InputLens, sort: str) -> None:
    """Of two inputs, whatever the table is sorted by, and however few rows it has."""
    reading.compare_text = "The dog was sad"
    reading.wait()
    for n in (3, 12):
        reading.sort, reading.n_shown = sort, n
        reading.wait()
        said = reading.answer.partition("most of all ")[2]
        named = {int(atom) for atom in re.findall(r"[Aa]tom (\d+)", said)}
        assert named <= set(reading._atoms)
        differ = reading._seen.contrast.strength.above_floor
        assert bool(named) == bool(differ[reading._atoms].any())


def test_second_text_is_compared_on_the_first_ones_answer(reading: sw.InputLens) -> None:
    """Both contributions are to one measure, so that they can be subtracted."""
    reading.compare_text = "The dog was sad"
    found = reading.contrast
    assert found.attribution is not None
    assert reading._seen.second.target == reading.summary.target


# --- the panel as a panel -------------------------------------------------------------------------


def test_page_without_a_kernel_has_it_all(lens: sw.InputLens, tmp_path: Path) -> None:
    """Small, no script, hostile labels inert; picture, bars and numbers are there."""
    lens.atom = 3
    page = lens.to_html(tmp_path / "page.html").read_text()
    assert len(page) < 200_000
    assert "<script" not in page
    assert "sae-nb-pairrow" in page
    assert "<svg" in page
    assert "the score of" in page
    assert "what random pushes reach" in page
    assert "&lt;script&gt;" in page


def test_input_in_which_nothing_fires_is_shown(vit: Any) -> None:
    """Empty bars that say so, no error."""

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


def test_a_label_typed_in_a_browser_reaches_lens_and_steering_of_a_pretrained_sae(vit: Any) -> None:
    """Also where the browser was given the measured labels and came last, as in the demo."""
    sae, examples = sn.load_sae("tiny-vit/resid_post.6"), sn.load_examples("tiny-vit/resid_post.6")
    lens = sw.InputLens(vit, sae, examples=examples)
    lens.draw(SEVEN)
    lens.wait()
    atom = lens.summary.top(1, "attribution")[0]
    steering = sw.InputSteering(lens, examples.catalogue(sae), atom=atom, strength=2.0)
    steering.wait()
    browser = sw.AtomBrowser(
        sae, examples.acts, labels=examples.labels, catalogue=examples.catalogue(sae)
    )
    browser.wait()
    browser.names.labels.write(atom, "a slanted stroke")
    try:
        assert "“a slanted stroke” (atom" in lens.answer
        assert "“a slanted stroke” (atom" in steering.answer
    finally:
        browser.names.labels.write(atom, "")
