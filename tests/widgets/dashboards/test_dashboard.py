"""The dashboard: panels linked both ways, kept and brought back, freed when closed."""

from __future__ import annotations

import gc
import json
from dataclasses import replace

import ipywidgets as ipw
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.dashboards import _dashboard as dashboards
from sae_nb_widgets.panel import descendants
from torch import nn

import sae_nb as sn
from sae_nb.sessions import Annotations

HOSTILE = "<script>alert(1)</script>"
NAME = "tiny-vit/resid_post.6"


@pytest.fixture(autouse=True)
def _no_map(monkeypatch):
    """No UMAP here: the map has tests of its own, and is part of the `real` dashboard below."""
    monkeypatch.setitem(dashboards.OTHER_PANELS, "map", lambda: None)


@pytest.fixture(scope="module")
def model():
    """A live model with two classes, over four numbers."""
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
    """A dashboard of plain vectors."""
    made = _dashboard(model)
    made.wait()
    return made


# --- linked ---------------------------------------------------------------------------------------


def test_every_panel_shows_the_same_atom(board) -> None:
    """Whoever changes it, the others and the dashboard follow."""
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


def test_codes_and_labels_are_shared(board) -> None:
    """Encoded once; a label typed in one panel is the others' label."""
    assert board.browser.catalogue is board.subject.catalogue
    board.browser.label = HOSTILE
    assert board.subject.labels[board.atom] == HOSTILE
    assert board.subject.catalogue.labels is board.subject.labels


def test_first_atom_may_be_chosen(model) -> None:
    """Else it is the most frequent one."""
    made = _dashboard(model, atom=7)
    assert made.atom == made.browser.atom == made.steering.atom == 7


def test_a_label_typed_anywhere_shows_everywhere_at_once(board) -> None:
    """In the bar, the browser's title, the work list; hostile words stay words."""
    board.tab = "work"
    board.work.label = HOSTILE
    assert board.browser.label == HOSTILE
    assert HOSTILE in board.browser.headline
    assert "<script>" not in board._name.value
    assert "&lt;script&gt;" in board._name.value
    assert HOSTILE in [row[2] for row in board.work.table.cells]


def test_a_control_of_the_bar_is_the_panels_own(board) -> None:
    """One field for the atom, one for the label, one search, one strength: the same widget twice shown."""
    bar = [w for w in descendants(board) if "sae-nb-in-bar" in getattr(w, "_dom_classes", ())]
    fields = {w.description for w in bar if getattr(w, "description", "")}
    assert {"atom", "label", "search", "strength"} <= fields
    for panel in board.panels.values():
        own = [w for w in descendants(panel) if getattr(w, "description", "") == "atom"]
        assert all("sae-nb-in-bar" in w._dom_classes for w in own)


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


def test_two_atoms_are_compared_on_the_work_list(board) -> None:
    """By method, as by the map's event."""
    board.compare(4, 7)
    shown = board.work.comparison
    assert (board.tab, shown.atom, shown.other) == ("work", 4, 7)
    with pytest.raises(t.TraitError, match="between 0 and 11"):
        board.compare(4, 99)


@pytest.mark.parametrize("given", ["/proc/nope/x", "", "  ", "\0", "x" * 10_000, "taken"])
def test_a_folder_that_cannot_be_written_is_named_in_a_sentence(
    board, tmp_path, monkeypatch, given
) -> None:
    """What it cannot do, why, and what became of the earlier save: nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("42")
    board._folder.value = given
    board._press_save()
    assert board.problem
    assert board.status.startswith(f"Cannot save to {given[:60]}")
    assert board.status.endswith("Your earlier save is unchanged.")
    assert "`" not in board.status
    assert len(board.status) < 200


def test_stars_are_saved_with_the_session(model, board, tmp_path) -> None:
    """And are there when it is opened again."""
    board.browser.star(6)
    path = board.save(tmp_path / "monday")
    again = sw.open_dashboard(path, model, _sae(), _rows(), inputs=torch.ones(3, 4))
    assert again.subject.labels.starred == (6,)


# --- tabs -----------------------------------------------------------------------------------------


class Later(sw.Panel):
    """A panel that counts how often it is made."""

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
    """A depth panel that exists, for a model that sees."""
    monkeypatch.setitem(dashboards.OTHER_PANELS, "depth", lambda: Later)
    monkeypatch.setattr(Later, "made", 0)
    return Later


def test_what_an_atom_is_stands_once_and_no_control_twice(board, tmp_path) -> None:
    """Behind "about" at the top of all panels; the browser's row is in the bar, its menu in its header."""
    shown = [w.value for w in descendants(board) if isinstance(w, ipw.HTML)]
    assert sum('class="sae-nb-atomline"' in value for value in shown) == 1 + len(board.panels)
    assert "sae-nb-atomline" in board.children[1].value
    hidden = (
        ".sae-nb-dashboard :is(.sae-nb-joined, main ~ main) .sae-nb-atomline { display: none; }"
    )
    assert hidden in board._style.value
    row = board.browser.controls
    twice = [child for part in (row.search, *row.subject.children) for child in descendants(part)]
    assert any("sae-nb-in-bar" in one._dom_classes for one in twice)
    assert all("sae-nb-in-bar" in one._dom_classes for one in (row.search, row.subject.children[1]))


def test_the_bar_says_how_often_the_atom_fires(board) -> None:
    """It stays in view where the panels' own sentences are scrolled away."""
    board.atom = 5
    often = board.browser.names.fires(5).partition(" of ")[0]
    assert f"fires on {often}" in board._name.value


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


def test_a_tab_that_cannot_be_built_says_why(model, later, monkeypatch) -> None:
    """One sentence; the other views stay."""
    monkeypatch.setattr(model, "kind", "vision")
    board = _dashboard(model)
    board.subject = replace(board.subject, inputs=None)
    board.tab = "depth"
    assert board.problem
    assert "`inputs` must be given" in board.status
    board.tab = "concepts"
    assert board.browser.summary.atom == board.atom


def test_views_without_a_panel_are_left_out(model, monkeypatch) -> None:
    """No class, no tab; a name that is none is refused."""
    monkeypatch.setitem(dashboards.OTHER_PANELS, "depth", lambda: None)
    monkeypatch.setattr(model, "kind", "vision")
    board = _dashboard(model)
    assert (list(board._views), board.map) == (["concepts", "steering", "work"], None)
    with pytest.raises(t.TraitError, match="must be one of"):
        board.tab = "depth"


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


# --- sessions -------------------------------------------------------------------------------------


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


def test_labels_typed_after_opening_are_in_the_session(model, board, tmp_path) -> None:
    """They are on disk at once, without saving again."""
    path = board.save(tmp_path / "s")
    again = sw.open_dashboard(path, model, _sae(), _rows(), inputs=torch.ones(3, 4))
    again.atom = 3
    again.browser.label = "three"
    assert again.browser.saved
    assert sn.open_session(path).labels[3] == "three"


def test_labels_may_go_on_beside_the_sae(model, board, tmp_path) -> None:
    """The session's are added to those that are there, which win."""
    board.atom = 3
    board.browser.label = "session"
    board.atom = 4
    board.browser.label = "session"
    path = board.save(tmp_path / "s")
    Annotations(tmp_path / "notes", _sae()).write(3, "beside")
    again = sw.open_dashboard(
        path, model, _sae(), _rows(), labels=tmp_path / "notes", inputs=torch.ones(3, 4)
    )
    assert dict(again.subject.labels) == {3: "beside", 4: "session"}
    assert dict(Annotations(tmp_path / "notes", _sae())) == {3: "beside", 4: "session"}


def test_a_session_of_another_sae_is_refused_by_name(model, board, tmp_path) -> None:
    """Before anything is built."""
    path = board.save(tmp_path / "monday")
    with pytest.raises(ValueError, match="'monday' belongs to another SAE"):
        sw.open_dashboard(path, model, _sae(1), _rows())


def test_what_does_not_fit_any_more_is_said_and_the_rest_comes_back(model, board, tmp_path) -> None:
    """A sample that is not among the inputs now: one sentence, the atom is still restored."""
    board.atom = 5
    board.steering.sample = 2
    board.wait()
    path = board.save(tmp_path / "s")
    again = sw.open_dashboard(path, model, _sae(), _rows(), inputs=torch.ones(1, 4))
    assert again.problem
    assert "`sample` must be between" in again.status
    assert again.browser.atom == 5


def test_another_model_is_said(model, board, tmp_path) -> None:
    """Labels stay true; steering may differ."""
    path = board.save(tmp_path / "s")
    content = json.loads((path / "session.json").read_text())
    assert content["model_name"] == model.name
    other = sn.wrap(nn.Sequential(nn.Identity(), nn.Linear(4, 2)), class_names=["cat", "dog"])
    other.name = "another model"
    again = sw.open_dashboard(path, other, _sae(), _rows(), inputs=torch.ones(3, 4))
    assert f"was saved with the model {model.name}" in again.status


# --- one page -------------------------------------------------------------------------------------


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


def test_viewers_without_widgets_see_pictures_and_tables(board) -> None:
    """One table per panel, and a drawing of what is a figure."""
    html = board._repr_mimebundle_()["text/html"]
    assert html.count('<table class="sae-nb-record">') == 2
    assert html.count("data:image/png") == 1
    for panel in board.panels.values():
        assert panel.question in html


def test_the_bar_grows_with_the_lecture_scale(board) -> None:
    """As the panels do."""
    try:
        sw.theme("lecture")
        assert "--sae-nb-font: 16px" in board._style.value
    finally:
        sw.theme("normal")
    assert "--sae-nb-font: 13px" in board._style.value


# --- ending ---------------------------------------------------------------------------------------


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


# --- the real thing -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    """The bundled picture model with its pretrained SAE, and nothing else."""
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


def test_one_atom_is_told_of_once_and_a_selection_by_the_map(real) -> None:
    """The map's own account of a single atom is left out; what a search finds is its selection."""
    real.map.selected = ()
    assert "sae-nb-lone" in real.map._dom_classes
    real.browser.search = "digit 7"
    assert len(real.browser.found) > 1
    assert set(real.map.selected) == set(real.browser.found)
    assert "sae-nb-lone" not in real.map._dom_classes
    real.browser.search = ""
    assert "sae-nb-lone" in real.map._dom_classes


def test_a_pretrained_sae_needs_nothing_else(real) -> None:
    """Examples, measured labels, the model behind it."""
    assert not real.problem, real.status
    assert real.subject.examples is not None
    seven = real.subject.examples.match("digit 7").atom
    real.atom = seven
    real.wait()
    assert real.browser.label == "digit 7"
    assert not real.browser.saved
    assert real.steering.summary.recipe.atom == seven
    assert real.browser.summary.crops is not None


def test_an_sae_that_is_not_pretrained_needs_activations(model) -> None:
    """Rule, given, do."""
    with pytest.raises(TypeError, match="`acts` must be given"):
        sw.dashboard(model, _sae())
    nameless = _sae()
    nameless.hook_point = None
    with pytest.raises(ValueError, match="must know their hook point"):
        sw.dashboard(model, nameless, _rows())


def test_what_the_dashboard_sends_first_is_small(real) -> None:
    """All panels of tiny-vit together, plotly's script counted apart: 6 MB at most."""
    size = 0
    for widget in descendants(real):
        state = widget.get_state()
        state.pop("source", None)
        size += sum(len(value) for value in state.values() if isinstance(value, bytes))
        size += len(json.dumps(state, default=str))
    assert size < 6_000_000
