"""DepthTrajectory: one cursor, phases, paths, pushes and roll-outs by traits alone; no browser needed."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.depth._figure import named
from sae_nb_widgets.depth._views import STRIPS as DEPTH_STRIPS

import sae_nb as sn
from sae_nb.dynamics import States, capture_states
from sae_nb.figures import format_number, theme

N = 12


@pytest.fixture(scope="module")
def model() -> Any:
    """The bundled vision model."""
    return sn.load_model("tiny-vit")


@pytest.fixture(scope="module")
def scenes() -> Any:
    """A dozen labelled pictures."""
    return sn.data.scenes(N, seed=3)


@pytest.fixture(scope="module")
def states(model: Any, scenes: Any) -> States:
    """Their states, captured once."""
    return capture_states(model, scenes, backend="hooks")


class Doubling:
    """Stands for a Raptor: every block doubles the embeddings, so that directions stay."""

    def roll_out(self, embeddings: torch.Tensor) -> torch.Tensor:
        """As many layers as tiny-vit has."""
        return torch.stack([embeddings * 2.0**step for step in range(13)], dim=1)


@pytest.fixture(scope="module")
def shared(model: Any, scenes: Any, states: States) -> Iterator[tuple[Any, dict[str, Any]]]:
    """One panel with everything and the state it began with: making one costs a quarter of a second."""
    sae = sn.load_sae("tiny-vit/resid_post.6")
    made = sw.DepthTrajectory(model, scenes, states=states, raptor=Doubling(), sae=sae)
    made.wait()
    assert not made.problem, made.status
    yield made, made.state()
    made.close()


@pytest.fixture
def panel(shared: tuple[Any, dict[str, Any]]) -> sw.DepthTrajectory:
    """The panel as it began."""
    made, began = shared
    made.restore(began)
    made.say("")
    made.wait()
    assert not made.problem, made.status
    return made


def drawn(panel: sw.DepthTrajectory, name: str) -> Any:
    """A trace of the panel's figure."""
    return named(panel.current_figure(), name)


def strip(panel: sw.DepthTrajectory, title: str) -> np.ndarray:
    """Lines of the chart whose title begins so."""
    strips = panel.strips
    place = next(i for i, c in enumerate(strips.charts) if c["title"].startswith(title))
    rows = [i for i, line in enumerate(strips.lines) if line["chart"] == place]
    return np.stack([strips.values(row) for row in rows])


def test_every_part_shares_one_cursor(panel: sw.DepthTrajectory) -> None:
    """Slider, strips, mark on the matrix and ends of the paths follow; the strips lead as well."""
    panel.layer = 5
    assert panel.strips.cursor == panel.controls.layer.value == 5
    assert list(drawn(panel, "layer").x) == [5]
    own = drawn(panel, "this one")
    assert len(own.x) == 6
    assert np.allclose(own.x, panel.paths.points[panel.figure.drawn.own, :6, 0])
    panel.strips.cursor = 9
    assert panel.layer == 9
    panel.layer = 0
    assert len(drawn(panel, "layer").x) == 0


def test_few_ways_are_drawn_at_first(panel: sw.DepthTrajectory) -> None:
    """The one that is followed and three that end far apart; dots are of all, and "all" draws all."""
    drawn = panel.figure.drawn
    assert drawn.trailed[drawn.own]
    assert drawn.trailed.sum() == 4
    ends = drawn.points[drawn.trailed, -1]
    apart = np.linalg.norm(ends[:, None] - ends, axis=2)[np.triu_indices(4, 1)]
    among_all = np.linalg.norm(drawn.points[:, None, -1] - drawn.points[:, -1], axis=2)
    assert apart.min() > np.median(among_all[np.triu_indices(N, 1)]) / 2
    assert "drawn for 4 of them" in panel.figure.legend.value
    panel.trails = "all"
    assert panel.figure.drawn.trailed.all()
    assert "(of" not in panel.figure.legend.value


def test_heads_are_where_paths_are_at_the_layer(panel: sw.DepthTrajectory) -> None:
    """All classes together: every input once."""
    panel.layer = 7
    heads = [t for t in panel.current_figure().data if str(t.meta).startswith("head") and t.visible]
    x = np.sort(np.concatenate([np.asarray(h.x) for h in heads]))
    assert np.allclose(x, np.sort(panel.paths.points[:, 7, 0]))
    assert sorted(h.name for h in heads if len(h.x)) == sorted(
        {str(d) for d in panel.labels.tolist()}
    )


def test_k_and_similarity_choose_the_phases(panel: sw.DepthTrajectory) -> None:
    """Squares, bands of the strips and the chosen point of the gain curve."""
    panel.strip = "phases"
    for similarity in ("raw", "centred", "cka"):
        panel.similarity = similarity
        for k in (2, 4):
            panel.k = k
            phases = panel.summary.phases[similarity][k]
            assert tuple(panel.strips.cuts) == phases.cuts
            assert np.isfinite(drawn(panel, "phases").x).sum() == 5 * k
            assert list(drawn(panel, "k").x) == [k]
            assert drawn(panel, "k").y[0] == pytest.approx(phases.gain)
            assert (
                f"explain {format_number(100 * phases.gain, '%', digits=2)}"
                in (DEPTH_STRIPS["phases"].answer(panel)[0])
            )
        heat = np.asarray(drawn(panel, "similarity").z)
        assert np.allclose(heat, panel.summary.similarity[similarity])


def test_clicking_the_gain_curve_or_the_matrix_chooses(panel: sw.DepthTrajectory) -> None:
    """The second point is k = 2; a cell is the layer of its column."""

    class Points:
        def __init__(self, index: int, x: float) -> None:
            self.point_inds, self.xs = [index], [x]

    panel._on_click(named(panel.figure.plot, "gain"), Points(1, 2.0), None)
    panel._on_click(named(panel.figure.plot, "similarity"), Points(7, 8.0), None)
    assert (panel.k, panel.layer) == (2, 8)


def test_clicking_a_head_chooses_its_input(panel: sw.DepthTrajectory) -> None:
    """Also where another colour hides some of the paths."""

    class Points:
        point_inds = (0,)

    heads = [t for t in panel.figure.plot.data if str(t.meta).startswith("head") and t.visible]
    trace = [head for head in heads if len(head.x)][-1]
    text = trace.hovertext[0]
    panel._on_click(trace, Points(), None)
    assert text.startswith(f"image {panel.picture} ")


def test_a_push_is_run_and_drawn(panel: sw.DepthTrajectory) -> None:
    """It starts on the path, away by its size, and the strips show it beside what length alone does."""
    panel.perturb_layer, panel.perturb_size = 4, 0.3
    panel.wait()
    assert len(drawn(panel, "pushed").x) == 13 - 4
    lines = strip(panel, "how far the push")
    assert np.isnan(lines[:, :4]).all()
    assert lines[0, 4] == lines[1, 4] == pytest.approx(np.rad2deg(np.arctan(0.3)), rel=0.1)
    assert panel.answer.startswith("A random push of ")
    assert "at layer 4 ends as" in panel.answer
    assert "if later blocks did nothing" in panel.answer
    panel.press("Escape")
    panel.wait()
    assert panel.pushed is None
    assert drawn(panel, "pushed").visible is False
    assert not any(c["title"].startswith("how far the push") for c in panel.strips.charts)
    assert "push" not in panel.answer


def test_the_newest_push_wins(panel: sw.DepthTrajectory) -> None:
    """Of a slider dragged over many sizes, the last is what stays."""
    for size in np.linspace(0.05, 0.6, 12):
        panel.perturb_size = float(size)
    panel.wait()
    assert panel.pushed.size == pytest.approx(0.6)
    panel.perturb_size = 0.2
    panel.perturb_size = 0.0
    panel.wait()
    assert panel.pushed is None


def test_a_push_does_not_hold_the_main_thread(panel: sw.DepthTrajectory) -> None:
    """While another thread has the model, setting the size returns at once; the answer comes after."""
    taken, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with panel.model.lock:
            taken.set()
            let_go.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(10)
    panel.perturb_size = 0.25
    assert panel.pushed is None
    let_go.set()
    holder.join()
    panel.wait()
    assert panel.pushed.size == 0.25


def test_raptor_is_rolled_out_over_the_path(panel: sw.DepthTrajectory) -> None:
    """A roll-out that keeps directions stays at the embeddings, and its angle grows from 0."""
    rolled = drawn(panel, "Raptor")
    assert rolled.line.dash == "dash"
    assert np.ptp(rolled.x) == pytest.approx(0.0, abs=1e-5)
    own = panel.states[panel.picture, :, panel.token]
    expected = torch.arccos(torch.cosine_similarity(own, own[:1], dim=-1).clamp(-1, 1))
    panel.strip = "raptor"
    assert np.allclose(np.deg2rad(strip(panel, "angle between Raptor")[0]), expected, atol=2e-3)
    assert panel.answer.startswith("Raptor ends ")


def test_atoms_are_born_and_die(panel: sw.DepthTrajectory) -> None:
    """Their strips peak at 1; as coordinates they are the codes themselves."""
    panel.strip = "atoms"
    charts = panel.strips.charts
    assert [chart["atom"] for chart in charts] == panel.atoms
    for chart in charts:
        assert chart["title"].startswith(panel.names.name(chart["atom"]))
        assert panel.names.in_text(chart["atom"]) in panel.answer
    energy = np.stack([panel.strips.values(row) for row in range(len(charts))])
    assert energy.max(axis=1) == pytest.approx(100.0)
    peaks = energy.argmax(axis=1)
    assert len(set(peaks.tolist())) > 1
    panel.coordinates, panel.atoms = "atoms", panel.atoms[:2]
    panel.wait()
    scale = float(panel.depths.scale[7])
    codes = panel.sae.encode(panel.states[:, 7, 0] * scale).to_dense().detach()
    assert scale == pytest.approx(1.0)
    assert np.allclose(panel.paths.points[:, 7, :2], codes[:, panel.atoms].numpy(), atol=1e-5)
    with pytest.raises(t.TraitError, match="atoms"):
        panel.atoms = [100_000]


def test_colours_mean_class_kind_or_phase(panel: sw.DepthTrajectory) -> None:
    """Stretches of a path belong to the phase of the block that made them."""
    panel.color_by = "phase"
    cuts = panel.summary.phases["raw"][3].cuts
    groups = panel.figure.drawn.groups[0]
    for number, (first, last) in enumerate(itertools.pairwise(cuts)):
        assert set(groups[first + 1 : last + 1]) == {number}
    panel.show, panel.color_by = "tokens", "token type"
    panel.wait()
    assert panel.figure.drawn.names == ("cls", "register", "patch")
    assert set(panel.paths.inputs) == {panel.picture}
    assert "cls" in panel.figure.legend.value


def test_the_first_screen_is_one_strip_and_one_sentence(panel: sw.DepthTrajectory) -> None:
    """It names the token and the class, and says how alike those of other images are: the control."""
    assert len(panel.strips.charts) == 1
    assert not panel.strips.cuts
    assert drawn(panel, "similarity").visible is False
    own, _, control = strip(panel, "similarity to its final state")
    gamma = panel.summary.trajectories.convergence[panel.picture, :, panel.token]
    assert np.allclose(own, 100 * gamma, atol=1e-3)
    assert own[-1] == pytest.approx(100.0)
    states = torch.nn.functional.normalize(panel.states[:, :, panel.token].float(), dim=-1)
    others = [float(states[0, 5] @ states[i, -1]) for i in range(1, N)]
    assert control[5] == pytest.approx(100 * np.mean(others), abs=1e-3)
    settled = int(np.flatnonzero(own < 90)[-1]) + 1
    digit = int(panel.labels[0])
    assert panel.answer.startswith(f"The cls token of this “{digit}” settles ")
    assert f"after block {settled}" in panel.answer
    assert panel.answer.endswith(
        f"(and {format_number(control[settled], '%', digits=2)} like those of other images)."
    )


@pytest.mark.parametrize("name", DEPTH_STRIPS)
def test_every_strip_answers(panel: sw.DepthTrajectory, name: str) -> None:
    """A sentence in words, with curves over the layers, and the figure that belongs to it."""
    panel.strip = name
    panel.wait()
    assert not panel.problem, panel.status
    assert panel.answer.endswith(".")
    assert panel.strips.charts
    shows_paths = any(
        t.visible for t in panel.current_figure().data if str(t.meta).startswith("head")
    )
    assert shows_paths == (name != "phases")
    assert drawn(panel, "similarity").visible == (name in ("phases", "all"))


def test_what_a_strip_needs_is_said(model: Any, scenes: Any, states: States) -> None:
    """Without labels, SAE and Raptor the menu offers less, and the trait says what to pass."""
    panel = sw.DepthTrajectory(model, scenes.images, states=states)
    panel.wait()
    offered = dict(panel.controls.strip.options).values()
    for name, needs in (("classes", "labels="), ("atoms", "sae="), ("raptor", "raptor=")):
        assert name not in offered
        with pytest.raises(t.TraitError, match=needs):
            panel.strip = name


def test_a_colour_means_one_thing_on_a_screen(panel: sw.DepthTrajectory) -> None:
    """Where paths are coloured by class, strips have none of their colours."""
    panel.strip, panel.perturb_size = "all", 0.2
    panel.wait()
    classes = set(panel.figure.drawn.colours)
    assert classes.isdisjoint({line["colour"] for line in panel.strips.lines})
    assert classes.isdisjoint({theme.PREDICTED, theme.NOVEL})
    panel.color_by = "token type"
    kinds = dict(zip(panel.figure.drawn.names, panel.figure.drawn.colours))
    lines = {line["name"]: line["colour"] for line in panel.strips.lines}
    assert {name: lines[name] for name in kinds} == kinds


@pytest.mark.parametrize("coordinates", ["pca", "sphere"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_two_and_three_dimensions(
    panel: sw.DepthTrajectory, coordinates: str, dimensions: int
) -> None:
    """Only the traces of the chosen kind are shown, and a still picture can always be drawn."""
    panel.coordinates, panel.dimensions = coordinates, dimensions
    panel.wait()
    kinds = {
        t.type for t in panel.current_figure().data if str(t.meta).startswith("head") and t.visible
    }
    assert kinds == {"scatter" if dimensions == 2 else "scatter3d"}
    if coordinates == "sphere":
        radius = np.linalg.norm(panel.figure.drawn.points, axis=-1)
        assert radius.max() <= 2.001 if dimensions == 2 else np.allclose(radius, 1, atol=1e-5)
    assert panel.to_png()[:4] == b"\x89PNG"


def test_the_picked_token_is_marked_and_shaded(panel: sw.DepthTrajectory) -> None:
    """A click on a patch makes it the token; its shade is what the last block turned it by."""
    view = panel.view
    view.grid.selected = (0, 10)
    assert panel.token == 15
    assert view.name(15) == "patch 1,2"
    assert [view.name(i) for i in range(5)] == ["cls", *(f"register {i}" for i in (1, 2, 3, 4))]
    panel.layer = 6
    turned = panel.summary.trajectories.speed[panel.picture, 5].rad2deg()
    assert view.grid.patch_strength(0, 10) == pytest.approx(float(turned[15]))
    view.strip.selected = (0, 2)
    assert panel.token == 2
    assert view.grid.selected == (0, -1)


def test_keys_step_and_play(panel: sw.DepthTrajectory) -> None:
    """Arrows move the cursor, brackets the input; playing ends at the last layer."""
    panel.layer = 5
    panel.press("ArrowRight")
    panel.press("]")
    assert (panel.layer, panel.picture) == (6, 1)
    panel.press("[")
    panel.press("[")
    assert panel.picture == N - 1
    panel.press("Home")
    assert panel.layer == 0
    panel.speed, panel.playing = 50.0, True
    panel._player.wait(30)
    assert (panel.layer, panel.playing) == (12, False)


def test_the_state_comes_back(panel: sw.DepthTrajectory) -> None:
    """By way of JSON, into the same panel after other choices."""
    panel.layer, panel.k, panel.similarity, panel.picture, panel.token = 4, 2, "cka", 5, 20
    panel.perturb_size = 0.3
    kept = json.loads(json.dumps(panel.state()))
    panel.layer, panel.k, panel.similarity, panel.picture, panel.token = 9, 3, "raw", 0, 0
    panel.perturb_size = 0.0
    panel.restore(kept)
    panel.wait()
    assert panel.state() == kept
    assert panel.pushed.size == 0.3


def test_umap_comes_after_pca(model: Any, scenes: Any, states: States, monkeypatch: Any) -> None:
    """PCA is shown until the layout is there; new states lie between their nearest neighbours."""
    from sae_nb_widgets.depth import _runs as depth_runs

    looked = threading.Event()

    class Process:
        done = False

        def __init__(self, rows: torch.Tensor) -> None:
            self.rows, self.closed = rows, False

        def wait(self) -> np.ndarray:
            looked.wait(30)
            return self.rows[:, :2].numpy()

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr(depth_runs, "start_umap", Process)
    panel = sw.DepthTrajectory(model, scenes, states=states)
    panel.wait()
    panel.coordinates = "umap"
    assert panel.paths.coordinates == "pca"
    looked.set()
    panel.wait()
    assert panel.paths.coordinates == "umap"
    assert panel.paths.axes[2] == "layer"
    placed = panel.paths.project(panel.states[3, 6, :1])
    assert np.allclose(placed[0], panel.paths.points[3, 6], atol=0.05)
    process = panel.layout_of_paths.process
    panel.close()
    assert process.closed


def test_texts_travel_too() -> None:
    """A language model: tokens by their words, texts cut to one length and it is said."""
    panel = sw.DepthTrajectory(
        sn.load_model("tiny-gpt"), ["The old dog lost the key near the river.", "It was a sad day"]
    )
    panel.wait()
    assert not panel.problem, panel.status
    assert panel.status.startswith("Texts are cut to ")
    assert panel.status.endswith(" tokens.")
    assert panel.answer.startswith("“The” (token 1) settles ")
    assert (panel.show, panel.color_by) == ("tokens", "token type")
    assert set(panel.summary.trajectories.token_kinds) == {"token"}
    panel.perturb_size = 0.2
    panel.wait()
    assert panel.pushed.angles.shape[2] == panel.n_tokens


def test_one_picture_is_enough(model: Any, scenes: Any) -> None:
    """Without classes and without a crowd: its tokens travel."""
    panel = sw.DepthTrajectory(model, scenes.images[:1])
    panel.wait()
    assert not panel.problem, panel.status
    assert panel.show == "tokens"
    assert panel.summary.trajectories.basins is None


@pytest.mark.parametrize("wrong", ["states", "labels", "sae", "raptor", "model"])
def test_parts_of_other_models_are_refused(
    model: Any, scenes: Any, states: States, wrong: str
) -> None:
    """Before any work, by name."""
    parts: dict[str, Any] = {
        "states": {"states": states.take([0, 1])},
        "labels": {"labels": [1, 2]},
        "sae": {"sae": sn.TopK(d_in=10, n_atoms=16, k=2)},
        "raptor": {"raptor": object()},
        "model": {},
    }
    given = sn.wrap(torch.nn.Linear(3, 3)) if wrong == "model" else model
    inputs = torch.zeros(2, 3) if wrong == "model" else scenes
    with pytest.raises((TypeError, ValueError), match=f"`{wrong}` must"):
        sw.DepthTrajectory(given, inputs, **parts[wrong])


def test_closing_frees_everything(model: Any, scenes: Any, states: States) -> None:
    """Also twice, also while it plays."""
    panel = sw.DepthTrajectory(model, scenes, states=states)
    panel.playing = True
    panel.close()
    panel.close()
    panel._player.wait(10)
    assert not panel._player.alive
