"""The dashboard: panels linked both ways, kept and brought back, freed when closed."""

from __future__ import annotations

import gc
import json

import ipywidgets as ipw
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.dashboards import _dashboard as dashboards
from torch import nn

import sae_nb as sn
from tests.widgets.made import descendants

pytestmark = pytest.mark.slow

HOSTILE = "<script>alert(1)</script>"
NAME = "tiny-vit/resid_post.6"


@pytest.fixture(autouse=True)
def _no_map(monkeypatch):
    """No UMAP here: the map has tests of its own, and is part of the `real` dashboard below."""
    monkeypatch.setitem(dashboards.OTHER_PANELS, "map", lambda: None)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Identity(), nn.Linear(4, 2))
    return sn.wrap(module, class_names=["cat", "dog"])


def _sae(seed: int = 0) -> sn.TopK:
    sae = sn.TopK(d_in=4, n_atoms=12, k=2, generator=torch.Generator().manual_seed(seed))
    sae.hook_point, sae.model_name = "0", "toy"
    return sae.eval()


def _rows() -> torch.Tensor:
    return torch.randn(60, 4, generator=torch.Generator().manual_seed(1))


def _dashboard(model, **choices):
    return sw.dashboard(model, _sae(), _rows(), inputs=torch.ones(3, 4), **choices)


@pytest.fixture
def board(model):
    made = _dashboard(model)
    made.wait()
    return made


def test_every_panel_shows_the_same_atom(board) -> None:
    for mover in (board, board.browser, board.steering):
        for atom in (5, 2):
            mover.atom = atom
            shown = {panel.atom for panel in board.panels.values() if panel.has_trait("atom")}
            assert shown == {board.atom} == {atom}
    board.wait()
    assert board.browser.summary.atom == board.steering.summary.recipe.atom == 2
    with pytest.raises(t.TraitError, match="between 0 and 11"):
        board.atom = 12
    assert board.browser.atom == 2


def test_what_a_panel_refused_stands_in_the_bar_until_that_panel_goes_on(board) -> None:
    board.browser.refuse("atom", "a number from 0 to 7", "99", "3")
    assert board.problem
    assert "“99” is not one" in board.status
    board.steering.say("Steered.")
    assert board.problem
    assert "“99” is not one" in board.status
    board.browser.say("Here.")
    assert (board.problem, board.status) == (False, "")


def test_codes_and_labels_are_shared(board) -> None:
    """Encoded once; a label typed in one panel is the others' label."""
    assert board.browser.catalogue is board.subject.catalogue
    board.browser.label = HOSTILE
    assert board.subject.labels[board.atom] == HOSTILE
    assert board.subject.catalogue.labels is board.subject.labels


def test_an_atom_opened_in_any_panel_goes_to_the_browser(board) -> None:
    """From the work list's tab, from steering's card: no second browser opens."""
    board.tab = "work"
    for panel in (board.work, board.steering):
        board.tab = "work"
        panel.open_atom(8)
        assert (board.atom, board.browser.atom, board.tab) == (8, 8, "concepts")
        browsers = [w for w in descendants(board) if isinstance(w, sw.AtomBrowser)]
        assert browsers == [board.browser]
        board.atom = 3


def test_stars_are_saved_with_the_session(model, board, tmp_path) -> None:
    board.browser.star(6)
    path = board.save(tmp_path / "monday")
    again = sw.open_dashboard(path, model, _sae(), _rows(), inputs=torch.ones(3, 4))
    assert again.subject.labels.starred == (6,)


class Later(sw.Panel):
    question = "Later?"
    kept_traits = ("layer",)
    layer = t.Int(0)
    atom = t.Int(0)
    made = 0

    def __init__(self, model, inputs, *, sae=None) -> None:
        type(self).made += 1
        super().__init__()
        self.inputs = inputs


@pytest.fixture
def later(monkeypatch):
    monkeypatch.setitem(dashboards.OTHER_PANELS, "depth", lambda: Later)
    monkeypatch.setattr(Later, "made", 0)
    return Later


def test_a_tab_is_built_when_it_is_first_opened(model, later, monkeypatch) -> None:
    """Not before, and only once; then it follows the atom."""
    monkeypatch.setattr(model, "kind", "vision")
    board = _dashboard(model)
    assert list(board._views) == ["concepts", "steering", "depth", "work"]
    assert (later.made, board.depth) == (0, None)
    board._choice.value = "depth"
    assert (later.made, board.tab) == (1, "depth")
    assert board._views["depth"].layout.display is None
    assert board._views["concepts"].layout.display == "none"
    board.tab = "concepts"
    board.tab = "depth"
    assert later.made == 1
    board.atom = 4
    assert board.depth.atom == 4


def test_the_strength_stands_in_the_bar_where_it_acts(board) -> None:
    """Beside the model's answer, and nowhere else; whoever asks to steer is led there."""
    board.tab = "concepts"
    assert all(widget.layout.display == "none" for widget in board._strength)
    board._asked_for(t.Bunch(name="steered", new=(3,)))
    assert (board.tab, board.atom) == ("steering", 3)
    assert all(widget.layout.display is None for widget in board._strength)
    assert board._views["concepts"].layout.display == "none"
    board._asked_for(t.Bunch(name="opened", new=5))
    assert (board.tab, board.atom) == ("concepts", 5)


def test_the_state_of_a_closed_tab_is_not_lost(model, later, monkeypatch, tmp_path) -> None:
    """Restored, saved again without being opened, and there when it is opened at last."""
    monkeypatch.setattr(model, "kind", "vision")
    board = _dashboard(model)
    board.tab = "depth"
    board.depth.layer = 9
    board.tab = "concepts"
    board.save(tmp_path / "one")
    board.close()
    second = sw.open_dashboard(tmp_path / "one", model, _sae(), _rows(), inputs=torch.ones(3, 4))
    second.save(tmp_path / "two")
    second.close()
    third = sw.open_dashboard(tmp_path / "two", model, _sae(), _rows(), inputs=torch.ones(3, 4))
    assert third.depth is None
    third.tab = "depth"
    assert third.depth.layer == 9


def test_a_session_comes_back_as_it_was(model, board, tmp_path) -> None:
    """Selection, filters, labels, notes, strength and where it is applied."""
    board.browser.sort, board.browser.band, board.browser.alive_only = "index", "random", False
    board.atom = 6
    board.browser.label, board.browser.note = HOSTILE, "مرحبا 👩‍👩‍👧"
    board.steering.strength = 1.5
    board.steering.mode = "set"
    board.wait()
    path = board.save(tmp_path / "monday")
    assert "Session saved ✓" in board.status
    again = sn.open_session(path).dashboard(model, _sae(), _rows(), inputs=torch.ones(3, 4))
    again.wait()
    assert not again.problem, again.status
    assert (again.atom, again.browser.atom, again.steering.atom) == (6, 6, 6)
    browser = again.browser
    assert (browser.sort, browser.band, browser.alive_only) == ("index", "random", False)
    assert (browser.label, browser.note, browser.saved) == (HOSTILE, "مرحبا 👩‍👩‍👧", True)
    assert (again.steering.strength, again.steering.mode) == (1.5, "set")
    assert again.steering.recipe() == board.steering.recipe()


def test_what_does_not_fit_any_more_is_said_and_the_rest_comes_back(model, board, tmp_path) -> None:
    """A sample that is not among the inputs now: one sentence, the atom is still restored."""
    board.atom = 5
    board.steering.sample = 2
    board.wait()
    path = board.save(tmp_path / "s")
    again = sw.open_dashboard(path, model, _sae(), _rows(), inputs=torch.ones(1, 4))
    assert again.problem
    assert again.browser.atom == 5


def test_one_page_holds_all_panels_and_plotly_once(board, tmp_path) -> None:
    """Every question, every figure, hostile labels escaped; little beside the script."""
    board.browser.label = HOSTILE
    path = board.to_html(tmp_path / "dashboard.html")
    text = path.read_text()
    assert text.count("plotly.js v") == 1
    for panel in board.panels.values():
        assert panel.question in text
    assert text.count('class="plotly-graph-div"') == 1  # examples of an atom are no figure
    assert HOSTILE not in text
    from plotly.offline import get_plotlyjs

    assert len(text.encode()) - len(get_plotlyjs().encode()) < 1_500_000
    shared = board.to_html(tmp_path / "small.html", share_script=True)
    assert shared.stat().st_size < 1_500_000
    assert (tmp_path / "plotly.min.js").is_file()
    with pytest.raises(ValueError, match="got the folder"):
        board.to_html(tmp_path)


def test_twenty_dashboards_leave_nothing_behind(model) -> None:
    """Widgets, links and observers go; what the first one imports stays."""
    _dashboard(model).close()
    gc.collect()
    widgets = len(ipw.widgets.widget._instances)
    objects = []
    for i in range(20):
        made = _dashboard(model)
        made.close()
        made.close()
        del made
        # Counting walks over everything there is, so not every time.
        if i % 5 == 4:
            gc.collect()
            objects.append(len(gc.get_objects()))
    assert len(ipw.widgets.widget._instances) == widgets
    assert objects[-1] - objects[0] < 0.01 * objects[0]


@pytest.fixture(scope="module")
def real():
    patch = pytest.MonkeyPatch()
    patch.setitem(dashboards.OTHER_PANELS, "map", dashboards._concept_map)
    made = sw.dashboard(sn.load_model("tiny-vit"), sn.load_sae(NAME))
    patch.undo()
    made.wait()
    yield made
    made.close()


def test_the_map_is_linked_both_ways_and_its_buttons_lead_here(real) -> None:
    """A click on the map, "open" and "steer" move every panel; coordinates need no UMAP."""
    assert real.map is not None
    for mover, name, value in (
        (real, "atom", 5),
        (real.map, "atom", 6),
        (real.browser, "atom", 7),
        (real.map, "opened", 8),
        (real.map, "steered", (9, 10)),
    ):
        setattr(mover, name, value)
        atom = value[0] if isinstance(value, tuple) else value
        assert {p.atom for p in (real, real.map, real.browser, real.steering)} == {atom}
    real.wait()
    assert real.map.chips
    assert real.map.record.layout == "saved"


def test_what_the_dashboard_sends_first_is_small(real) -> None:
    """All panels of tiny-vit together, plotly's script counted apart: 6 MB at most."""
    size = 0
    for widget in descendants(real):
        state = widget.get_state()
        state.pop("source", None)
        size += sum(len(value) for value in state.values() if isinstance(value, bytes))
        size += len(json.dumps(state, default=str))
    assert size < 6_000_000


@pytest.mark.slow
def test_heads_are_a_tab_where_the_model_has_some() -> None:
    board = sw.dashboard(sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6"))
    board.tab = "heads"
    board.heads.wait(60)
    assert board.heads.headline.startswith("Head ")
    board.heads.choose(7, 0)
    board.heads.wait(60)
    assert board.heads.why.cells
    board.close()
