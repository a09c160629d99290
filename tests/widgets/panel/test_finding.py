"""The find box of a panel: what answers a word, with a model and without, and when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from sae_nb_widgets.panel import _finding as finding

from sae_nb.activations import Activations, Context, Ragged
from sae_nb.atoms import AtomCatalogue, FoundAtoms
from sae_nb.models import LiveModel
from tests.widgets.made import FakeTopK

WORDS = (" cat", " sat", " mat")


def found_of(query: str, atoms: list[int]) -> FoundAtoms:
    n = np.ones(len(atoms))
    return FoundAtoms(
        query=query, atoms=np.array(atoms, np.int64), strengths=n, shares=n,
        rows=np.full(len(atoms), -1), n_places=4, live=True,
    )  # fmt: skip


class Reading:
    """Stands for `find_atoms`: the words that a model was given; each is answered once `go` is set."""

    def __init__(self) -> None:
        self.words: list[tuple[str, bool]] = []
        self.go = threading.Event()

    def __call__(
        self, catalogue: AtomCatalogue, word: str, *, model: LiveModel | None = None
    ) -> FoundAtoms:
        self.words.append((word, model is not None))
        if model is not None:
            assert self.go.wait(30)
        return found_of(word, [len(word), 3] if model is not None else [])


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    made = Reading()
    monkeypatch.setattr(finding, "find_atoms", made)
    return made


def text_panel() -> Any:
    ids = torch.arange(3).repeat(4)
    context = Context(
        kind="language", n_samples=1, token_ids=Ragged(ids, torch.tensor([0, 12])),
        vocabulary=dict(enumerate(WORDS)),
    )  # fmt: skip
    acts = Activations.from_tensor(
        torch.randn(12, 8, generator=torch.Generator().manual_seed(0)),
        sample=torch.zeros(12, dtype=torch.long), position=torch.arange(12), context=context,
        hook_point="resid_post.1",
    )  # fmt: skip
    return sw.AtomBrowser(FakeTopK(), acts, atom=0)


@pytest.fixture
def panel() -> Iterator[Any]:
    """A panel of texts without a model."""
    made = text_panel()
    yield made
    made.close()


@pytest.fixture
def live(panel: Any) -> Any:
    """One whose model reads; only `find_atoms` would ask it anything."""
    panel.finder._model = lambda: LiveModel.__new__(LiveModel)
    return panel


def test_without_a_model_nothing_found_says_that_one_would_read_the_word(panel: Any) -> None:
    panel.search = "violin"
    box = panel.finder.widget
    assert (box.rows, panel.found, panel.atom) == ([], (), 0)
    assert "model=" in box.note
    assert "No atom matches “violin”" in panel.status
    assert "model=" in panel.status


def test_a_model_reads_the_word_that_is_typed(live: Any, reading: Reading) -> None:
    """Off the main thread; the panel stays until a row is taken, and steps through what was found then."""
    box = live.finder.widget
    box.query = "violin"
    assert (box.working, box.answered, live.finder.found) == (True, "", None)
    reading.go.set()
    live.wait()
    assert reading.words == [("violin", True)]
    assert (box.working, box.answered, live.atom) == (False, "violin", 0)
    assert [row["atom"] for row in box.rows] == [6, 3]
    assert "as the model reads “violin”" in box.head
    box.choose(1)
    assert (live.atom, live.search, live.found) == (3, "violin", (6, 3))
    assert len(reading.words) == 1


def test_enter_before_the_answer_takes_its_first_atom(live: Any, reading: Reading) -> None:
    box = live.finder.widget
    box.query = "cats"
    box.choose(0)
    assert live.atom == 0
    reading.go.set()
    live.wait()
    assert (live.atom, live.search, live.found) == (4, "cats", (4, 3))
    assert len(reading.words) == 1


def test_a_word_that_was_typed_over_is_not_answered(live: Any, reading: Reading) -> None:
    box = live.finder.widget
    box.query = "cats"
    box.choose(0)
    box.query = ""
    reading.go.set()
    live.wait()
    assert (box.rows, live.finder.found, live.atom) == ([], None, 0)


def test_a_search_that_is_set_moves_once_the_model_has_read(live: Any, reading: Reading) -> None:
    """Not if another atom was chosen meanwhile; what was found can be stepped through all the same."""
    live.search = "cats"
    assert live.found == ()
    reading.go.set()
    live.wait()
    assert (live.atom, live.found) == (4, (4, 3))
    assert "2 matches" in live.status
    reading.go.clear()
    live.search = "mouse"
    live.atom = 9
    reading.go.set()
    live.wait()
    assert (live.atom, live.found) == (9, (5, 3))


def test_a_reading_that_fails_is_said_and_ends(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> FoundAtoms:
        raise ValueError("`query` must be short, got a book. Shorten it.")

    monkeypatch.setattr(finding, "find_atoms", fails)
    live.finder.search("book")
    live.wait()
    box = live.finder.widget
    assert (box.working, box.answered, live.finder.found) == (False, "book", None)
    assert live.problem
    assert "got a book" in live.status
