"""The work list: stars and notes of every panel and session in one table; two atoms side by side."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.atoms import AtomCatalogue
from sae_nb.sessions import Annotations, save_session

HOSTILE = "<script>alert(1)</script>"


def _sae(seed: int = 0) -> sn.TopK:
    sae = sn.TopK(d_in=6, n_atoms=24, k=3, generator=torch.Generator().manual_seed(seed))
    sae.hook_point, sae.model_name = "resid_post.1", "fake"
    return sae.eval()


def _acts(n: int = 200) -> Activations:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(1))
    return Activations.from_tensor(
        x, sample=torch.arange(n) // 5, position=torch.arange(n) % 5, hook_point="resid_post.1"
    )


@pytest.fixture
def sae() -> sn.TopK:
    return _sae()


@pytest.fixture
def todo(sae):
    made = sw.WorkList(sae, _acts())
    made.wait()
    return made


def _rows(todo) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(todo.to_csv())))


@pytest.mark.slow
def test_an_atom_starred_or_noted_in_any_panel_is_listed_at_once(sae, todo) -> None:
    """By method, by key, by typing; and gone when the star and the words are."""
    browser = sw.AtomBrowser(sae, catalogue=todo.names.catalogue, atom=4)
    assert _rows(todo) == []
    browser.press("s")
    browser.star(7)
    browser.atom = 9
    browser.label, browser.note = HOSTILE, "مرحبا"
    frequency = todo.names.catalogue.frequency
    found = {row["atom"]: row for row in _rows(todo)}
    assert list(found) == ["4", "7", "9"]
    assert (found["4"]["starred"], found["9"]["starred"]) == ("★", "")
    assert (found["9"]["label"], found["9"]["note"]) == (HOSTILE, "مرحبا")
    assert float(found["4"]["fires on"].rstrip("%")) == pytest.approx(100 * frequency[4], rel=5e-3)
    todo.shown = "starred"
    assert [row["atom"] for row in _rows(todo)] == ["4", "7"]
    browser.atom = 4
    browser.press("s")
    assert [row["atom"] for row in _rows(todo)] == ["7"]


def test_sessions_are_listed_beside_and_taken_over(sae, todo, tmp_path) -> None:
    """Each row says where it is from; a session of another SAE is refused before anything is built."""
    book = Annotations()
    book.write(3, "three", note="of monday")
    book.star(5)
    monday = save_session(tmp_path / "monday", sae, panels={}, labels=book)
    listed = sw.WorkList(sae, catalogue=todo.names.catalogue, sessions=[monday])
    assert [(row["atom"], row["session"]) for row in _rows(listed)] == [
        ("3", "monday"),
        ("5", "monday"),
    ]
    for row in (0, 2):  # what was taken over is listed first
        listed.table.selected = row
        listed.adopt()
    assert listed.names.labels.label(3) == "three"
    assert listed.names.labels.starred == (5,)
    assert [row["session"] for row in _rows(listed)] == ["here", "here", "monday", "monday"]
    other = save_session(tmp_path / "other", _sae(1), panels={})
    with pytest.raises(ValueError, match="belongs to another SAE"):
        sw.WorkList(sae, catalogue=todo.names.catalogue, sessions=[other])


@pytest.mark.slow
def test_a_row_chosen_sets_the_atom_and_remembers_the_one_before(todo) -> None:
    for atom in (4, 7, 9):
        todo.star(atom)
    for row in (0, 2):
        todo.table.selected = row
    assert (todo.other, todo.atom) == (4, 9)
    todo.open_atom()
    assert todo.opened == 9


def test_the_table_is_written_as_csv_and_sorted_as_on_screen(todo, tmp_path) -> None:
    for atom in (9, 4):
        todo.star(atom)
    todo.atom = 4
    todo.label = "=1+1"
    todo.sorted_by = (1, True)
    todo.to_csv(tmp_path / "list.csv")
    rows = list(csv.DictReader((tmp_path / "list.csv").open(encoding="utf-8")))
    assert [(row["atom"], row["label"]) for row in rows] == [("9", ""), ("4", "'=1+1")]


@pytest.mark.slow
def test_the_two_chosen_last_are_compared_under_the_list(todo) -> None:
    """Made once, then redrawn; what is opened there is opened by the list."""
    for atom in (4, 7, 9):
        todo.star(atom)
    todo.table.selected = 0
    todo.table.selected = 1
    todo.compare()
    shown = todo.comparison
    assert (shown.atom, shown.other, shown.problem) == (4, 7, False)
    todo.table.selected = 2
    todo.compare()
    assert todo.comparison is shown
    assert (shown.pair.first.atom, shown.pair.second.atom) == (7, 9)
    shown.open_atom(11)
    assert todo.opened == 11


def test_a_dead_atom_can_be_compared() -> None:
    sae = _sae()
    catalogue = AtomCatalogue(sae, torch.randn(4, 6, generator=torch.Generator().manual_seed(2)))
    dead = int(np.flatnonzero(~catalogue.alive)[0])
    alive = int(np.flatnonzero(catalogue.alive)[0])
    both = sw.AtomComparison(sae, catalogue=catalogue, atom=alive, other=dead)
    assert not both.problem
