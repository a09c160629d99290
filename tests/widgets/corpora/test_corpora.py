"""CorpusPanel: what is compared, chosen, listed, searched, written and refused; two corpora with known answers."""

from __future__ import annotations

import csv
import io
from types import SimpleNamespace

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from sae_nb_widgets.corpora import CorpusPanel

import sae_nb as sn
from sae_nb.corpora import Documents, documents

ALL, MORE_A, MORE_B, RARE_A, ONCE = range(5)
"""Atoms: in every document, in more of A, in more of B, in few of A alone, in one document."""
FIRST, SECOND = 1, 2
"""The traces of a volcano, after that of what is unsure."""
HOSTILE = "=<b>x</b>"


class _Axes:
    d_in = n_atoms = 6
    dictionary = torch.eye(6)

    def encode(self, x: torch.Tensor) -> sn.SparseCodes:
        return sn.SparseCodes.from_dense(x)


def planted(share_of: dict[int, float], n: int = 40, **more: object) -> Documents:
    """Documents of one position; atom j fires in the first so many, ever more strongly."""
    x = torch.zeros(n, 6)
    for atom, share in share_of.items():
        k = round(share * n)
        x[:k, atom] = torch.arange(1.0, k + 1)
    model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
    return documents(model, _Axes(), x, "0", progress=False, **more)


@pytest.fixture(scope="module")
def corpora() -> tuple[Documents, Documents]:
    first = {ALL: 1.0, MORE_A: 0.9, MORE_B: 0.1, RARE_A: 0.25, ONCE: 1 / 40}
    labels = {MORE_A: "tail", MORE_B: HOSTILE}
    return planted(first, labels=labels), planted({ALL: 1.0, MORE_A: 0.2, MORE_B: 0.85})


@pytest.fixture
def panel(corpora: tuple[Documents, Documents]) -> CorpusPanel:
    made = CorpusPanel(*corpora, ("old", "new"))
    made.wait()
    return made


def test_atoms_are_compared_as_diff_compares_them(
    panel: CorpusPanel, corpora: tuple[Documents, Documents]
) -> None:
    """Shares, intervals and q of what was tested; the answer names the largest difference."""
    wanted = sn.uses.diff(*corpora).table.set_index("atom")
    found = panel.summary.table.loc[wanted.index]
    for column in ("a", "b", "difference", "relative", "low", "high", "q"):
        assert found[column].to_numpy() == pytest.approx(wanted[column].to_numpy())
    assert panel.summary.tested.tolist() == [True, True, True, True, False, False]
    assert panel.atom == MORE_B


def test_a_name_is_kept_only_where_its_atom_fires_as_strongly(
    corpora: tuple[Documents, Documents],
) -> None:
    """36 here; of 120 where it was named that is 30 %, of 121 less, and the number stands for the name."""
    for strongest, called in ((120.0, "tail"), (121.0, f"atom {MORE_A}")):
        panel = CorpusPanel(*corpora, ("old", "new"), strongest=np.full(6, strongest))
        panel.wait()
        (row,) = (row for row in panel._rows[0] if row.atom == MORE_A)
        assert row.called == called
        panel.close()
    with pytest.raises(ValueError, match="6 atoms"):
        CorpusPanel(*corpora, strongest=np.ones(5))


def test_points_are_coloured_by_side_and_a_click_chooses(panel: CorpusPanel) -> None:
    """Sure ones at the right or the left, the rest grey; a click sets the trait, the ring follows."""
    assert [part.tolist() for part in panel._points] == [[ALL], [MORE_A, RARE_A], [MORE_B]]
    panel._click(FIRST, None, SimpleNamespace(point_inds=[1]), None)
    assert panel.atom == RARE_A
    (ring,) = [trace for trace in panel.plot.data if trace.name == "chosen"]
    assert ring.x == pytest.approx([0.25])
    panel.atom = ONCE  # too rare to be tested: it has no place in the figure, but documents
    assert len(ring.x) == 0
    assert not panel.problem


def test_documents_of_both_sides_are_the_strongest(panel: CorpusPanel) -> None:
    """In falling strength, on one scale; a side without any says so."""
    panel.n_examples = 3
    panel.atom = MORE_A
    shown = [view.component for view in panel.views]
    assert [one.strength for one in panel.docs[0].examples(MORE_A, 3)] == [36.0, 35.0, 34.0]
    assert [one.columns[0]["maximum"] for one in shown] == [36.0, 36.0]
    panel.atom = RARE_A


@pytest.mark.slow
def test_limits_choose_what_is_listed(panel: CorpusPanel) -> None:
    """Largest difference first; a q, a share, and relative differences, of which rare atoms have most."""
    assert panel.table.atoms == [MORE_B, MORE_A, RARE_A]
    panel.by = "relative"
    assert panel.table.atoms == [RARE_A, MORE_B, MORE_A]
    panel.min_share = 0.5
    assert panel.table.atoms == [MORE_B, MORE_A]
    panel.max_q = 1e-10
    assert panel.table.atoms == [MORE_B]
    panel.max_q = 0.0
    assert panel.table.atoms == []


@pytest.mark.slow
def test_the_find_box_lists_atoms_and_waits_to_be_taken(panel: CorpusPanel) -> None:
    """Rows are what the search finds, the largest difference first; the panel changes once one is taken."""
    before, box = panel.atom, panel.finder.widget
    panel.finder.search("tai")
    assert [row["atom"] for row in box.rows] == [MORE_A]
    assert "90.0 % of old" in box.rows[0]["tip"].replace("\u2009", " ")
    assert panel.atom == before
    panel.finder.take()
    assert (panel.atom, panel.search, panel.found) == (MORE_A, "tai", (MORE_A,))
    panel.finder.search("😀")
    assert (box.rows, box.head) == ([], "no atom peaks at “😀”")


def test_search_finds_numbers_and_labels(panel: CorpusPanel) -> None:
    """The first match is shown; what is not there leaves the atom and says so; Escape ends it."""
    panel.search = "TAI"
    assert (panel.found, panel.atom) == ((MORE_A,), MORE_A)
    panel.search = "3"
    assert panel.atom == RARE_A
    panel.search = "giraffe"
    assert (panel.found, panel.atom) == ((), RARE_A)
    panel.press("Escape")
    assert panel.search == ""


@pytest.mark.slow
def test_the_file_has_every_atom(panel: CorpusPanel, tmp_path: object) -> None:
    """Tested or not; numbers read back exactly enough; a label is no formula."""
    panel.export_folder = str(tmp_path)
    panel._write_csv()
    assert "6 atoms" in panel.status
    rows = list(csv.DictReader(io.StringIO(panel.to_csv())))
    assert [int(row["atom"]) for row in rows] == list(range(6))
    assert [float(row["share of old"]) for row in rows] == [1.0, 0.9, 0.1, 0.25, 0.025, 0.0]
    assert float(rows[MORE_A]["q"]) == pytest.approx(panel.summary.table.at[MORE_A, "q"], rel=1e-5)
    assert rows[ONCE]["q"] == ""
    assert rows[MORE_B]["label"] == f"'{HOSTILE}"


@pytest.fixture(scope="module")
def texts() -> tuple[Documents, Documents]:
    """Short stories about a storm and about a song, three of each, twice."""
    storm = ["The storm ruined the gate.", "A storm came and he wept.", "The storm burned down."]
    song = ["She sang a song.", "A cheerful song was sung.", "The song made her glad."]
    model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    docs = documents(model, sae, [*storm * 2, *song * 2], "resid_post.3", progress=False)
    return docs.subset(slice(6)), docs.subset(slice(6, 12))


@pytest.mark.slow
def test_words_are_set_beside_the_atoms(texts: tuple[Documents, Documents]) -> None:
    """As diff counts them; the token of the peak alone is shaded, and pointing elsewhere says why."""
    panel = sw.CorpusPanel(*texts, ("storm", "song"), min_count=3)
    panel.wait()
    assert not panel.problem, panel.status
    wanted = sn.uses.diff(*texts, min_count=3)
    found = panel.summary.table.loc[wanted.table["atom"]]
    assert found["word"].tolist() == wanted.table["word"].tolist()
    assert len(panel.summary.simpler) == len(wanted.simpler)
    panel.search = "storm"
    assert panel.summary.table.loc[list(panel.found), "word"].eq("storm").all()
    assert panel.table.headers[-2:] == ["word at peak", "word differs"]
    strip = panel.views[0].component
    known = np.isfinite(np.frombuffer(strip.token_strengths, np.float32))
    assert known.sum() == len(strip.tokens)


@pytest.mark.slow
def test_a_label_is_not_shown_for_an_atom_that_peaks_at_a_name(
    texts: tuple[Documents, Documents], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A capital inside a sentence is a name, at its beginning it is none."""
    panel = sw.CorpusPanel(*texts, ("storm", "song"), min_count=3)
    panel.wait()
    monkeypatch.setattr(type(panel.names.labels), "label", lambda self, atom: "cinema")
    for line, said in (
        (("that evening", "Oscar", "sat"), ""),
        (("he wept.", "Films", "ran"), "cinema"),
        (("the", "film", "ran"), "cinema"),
    ):
        monkeypatch.setattr(panel, "line_of", lambda atom, line=line: line)
        assert panel._sure_label(0) == said
    panel.close()
