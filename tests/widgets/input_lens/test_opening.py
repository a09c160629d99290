"""What an InputLens opens on, and what stays while its input changes."""

from __future__ import annotations

from typing import Any

import sae_nb_widgets as sw
from sae_nb_widgets.input_lens import _panel as input_lens_panel
from sae_nb_widgets.input_lens._figure import shown_atoms

import sae_nb as sn


def test_the_atom_stays_while_the_pen_moves(vit: Any) -> None:
    """Each stroke changes the order of the atoms; the one that is shown is shown on, as long as it fires."""
    lens = sw.InputLens(vit, sn.load_sae("tiny-vit/resid_post.6"))
    lens.wait()
    strokes = [
        [(9, 8), (22, 8)], [(22, 8), (18, 16)], [(18, 16), (14, 26)], [(6, 20), (26, 20)], [(8, 27), (25, 27)],
    ]  # fmt: skip
    lens.draw([strokes[0]])
    lens.wait()
    others, stayed = 0, 0
    for stroke in strokes[1:]:
        before = lens.atom
        lens.draw([stroke], clear=False)
        lens.wait()
        if lens.summary.place(before) is not None:
            assert lens.atom == before
            stayed += 1
        others += shown_atoms(lens.summary, None, lens.sort, 1)[0] != lens.atom
    assert stayed >= 2
    assert others  # else it would stay anyway
    lens.close()


def test_it_opens_on_an_input_in_which_atoms_matter(vit: Any, monkeypatch: Any) -> None:
    """The first of a few examples; on the first of all where they matter in none of them."""
    sae = sn.load_sae("tiny-vit/resid_post.6")
    monkeypatch.setattr(input_lens_panel, "TRYING_SECONDS", 60.0)  # a busy machine tries all, too
    plain = sw.InputLens(vit, sae)
    plain.wait()
    assert plain.summary.used.mattering.any()
    tried = []
    worth = input_lens_panel.InputRuns.is_worth_seeing

    def none_before_the_third(runs: Any, given: Any, base: Any) -> bool:
        tried.append(worth(runs, given, base))
        return len(tried) == 3

    monkeypatch.setattr(input_lens_panel.InputRuns, "is_worth_seeing", none_before_the_third)
    lens = sw.InputLens(vit, sae)
    lens.wait()
    assert lens.example == 2
    monkeypatch.setattr(input_lens_panel.InputRuns, "is_worth_seeing", lambda *_: False)
    silent = sw.InputLens(vit, sae)
    silent.wait()
    assert silent.example == 0
    for one in (plain, lens, silent):
        one.close()
