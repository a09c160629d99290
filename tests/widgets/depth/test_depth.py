"""DepthTrajectory: one cursor, phases, paths, pushes and roll-outs by traits alone; no browser needed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.depth._figure import named
from sae_nb_widgets.depth._paths import lambert
from sae_nb_widgets.depth._views import STRIPS as DEPTH_STRIPS

import sae_nb as sn
from sae_nb.dynamics import States, capture_states
from sae_nb.figures.theme import format_number

N = 12


@pytest.fixture(scope="module")
def model() -> Any:
    return sn.load_model("tiny-vit")


@pytest.fixture(scope="module")
def scenes() -> Any:
    return sn.data.scenes(N, seed=3)


@pytest.fixture(scope="module")
def states(model: Any, scenes: Any) -> States:
    return capture_states(model, scenes, backend="hooks")


class Doubling:
    """Stands for a Raptor: every block doubles the embeddings, so that directions stay."""

    cuts = (0, 1, 2, 12)

    def roll_out(self, embeddings: torch.Tensor) -> torch.Tensor:
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
    made, began = shared
    made.restore(began)
    made.strip = "progress"
    made.say("")
    made.wait()
    assert not made.problem, made.status
    return made


def drawn(panel: sw.DepthTrajectory, name: str) -> Any:
    return named(panel.current_figure(), name)


def strip(panel: sw.DepthTrajectory, title: str) -> np.ndarray:
    strips = panel.strips
    place = next(i for i, c in enumerate(strips.charts) if c["title"].startswith(title))
    rows = [i for i, line in enumerate(strips.lines) if line["chart"] == place]
    return np.stack([strips.values(row) for row in rows])


@pytest.mark.slow
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


@pytest.mark.slow
def test_k_and_similarity_choose_the_phases(panel: sw.DepthTrajectory) -> None:
    """The chosen point of the gain curve; squares and bands only of phases that are claimed: here of none."""
    panel.strip = "phases"
    for similarity in ("raw", "centred", "cka"):
        panel.similarity = similarity
        for k in (2, 4):
            panel.k = k
            phases = panel.summary.phases[similarity][k]
            claimed = panel.summary.evidence(similarity, k).supported
            assert not claimed
            assert tuple(panel.strips.cuts) == (0, 12)
            assert np.isfinite(drawn(panel, "phases").x).sum() == 5
            assert panel.answer.startswith(f"No {'two' if k == 2 else 'four'} phases are claimed")
            assert list(drawn(panel, "k").x) == [k]
            assert drawn(panel, "k").y[0] == pytest.approx(phases.gain)
            assert (
                f"explain {format_number(100 * phases.gain, '%', digits=2)}"
                in (DEPTH_STRIPS["phases"].answer(panel)[0])
            )
        heat = np.asarray(drawn(panel, "similarity").z)
        assert np.allclose(heat, panel.summary.similarity[similarity])


@pytest.mark.slow
def test_a_push_is_run_and_drawn(panel: sw.DepthTrajectory) -> None:
    """It starts on the path, away by its size, and the strips show it beside what length alone does."""
    panel.perturb_layer, panel.perturb_size = 4, 0.3
    panel.wait()
    assert len(drawn(panel, "pushed").x) == 13 - 4
    lines = strip(panel, "how far the push")
    assert np.isnan(lines[:, :4]).all()
    assert lines[0, 4] == lines[1, 4] == pytest.approx(np.rad2deg(np.arctan(0.3)), rel=0.1)
    assert panel.answer.startswith("A random push of ")
    panel.press("Escape")
    panel.wait()
    assert panel.pushed is None
    assert drawn(panel, "pushed").visible is False
    assert not any(c["title"].startswith("how far the push") for c in panel.strips.charts)
    assert "push" not in panel.answer


def test_a_recurrent_copy_tests_the_phases_that_it_is_cut_by(
    panel: sw.DepthTrajectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel.strip, panel.k = "phases", 3
    panel.wait()
    assert "Raptor is cut after blocks 1, 2, so it tests other phases." in panel.answer
    cuts = panel.summary.phases[panel.similarity][3].cuts
    monkeypatch.setattr(panel.runs.raptor, "cuts", cuts, raising=False)
    panel.token = 5
    panel.wait()
    own = panel.states[panel.picture, :, 5].double()
    angle = math.degrees(math.acos(float(torch.cosine_similarity(own[0], own[-1], dim=0))))
    assert panel.answer.count(f" {angle:.0f}° from ") == 2


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


def test_of_a_classifier_it_opens_on_what_its_own_heads_would_answer(
    panel: sw.DepthTrajectory,
) -> None:
    """The title is that of the shares drawn; the picture's answers are beside it, the paths are not shown."""
    panel.strip = "named"
    assert panel.headline.startswith(("It reads", "After no block"))
    assert panel.current_figure() is None
    assert len(panel.strips.charts) == 1
    read, names = panel.read, [line["name"] for line in panel.strips.lines if not line["dashed"]]
    digit = read.names.index("digit")
    own = panel.strips.values(names.index("its digit"))
    assert own == pytest.approx(100 * read.right[digit], abs=1e-3)
    last = read.answers[digit, -1, panel.picture]
    assert f">{last}<small>" in panel._answers.value
    panel.strip = "progress"
    assert panel.headline == ""
    assert panel.current_figure() is not None


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
    assert f"after block {settled}" in panel.answer


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_texts_travel_too() -> None:
    """A language model: tokens by their words, texts cut to one length and it is said."""
    panel = sw.DepthTrajectory(
        sn.load_model("tiny-gpt"), ["The old dog lost the key near the river.", "It was a sad day"]
    )
    panel.wait()
    assert not panel.problem, panel.status
    assert panel.status.endswith(" tokens.")
    assert panel.answer.startswith("“The” (token 1) settles ")
    assert (panel.show, panel.color_by) == ("tokens", "token type")
    assert set(panel.summary.trajectories.token_kinds) == {"token"}
    panel.perturb_size = 0.2
    panel.wait()
    assert panel.pushed.angles.shape[2] == panel.n_tokens


def test_lamberts_map_keeps_areas() -> None:
    """A cap of height h has area 2πh on the sphere and in the map, around any pole."""
    north = np.array([0.3, -0.5, 0.8])
    north /= np.linalg.norm(north)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    radius = np.linalg.norm(lambert(points, north), axis=1)
    assert np.allclose(radius**2, 2 * (1 - points @ north), atol=1e-6)


def test_of_an_own_image_it_says_from_which_block_on_its_answer_stays(model: Any) -> None:
    """One image without a class: no title, and blocks are those from which its two answers are the last ones."""
    image = sn.data.scenes(1, seed=3, split="test").images
    own = sw.DepthTrajectory(model, image)
    own.wait()
    assert own.strip == "progress"
    own.strip = "named"
    for i, name in enumerate(own.read.names):
        answers = own.read.answers[i, :, 0]
        since = int(np.flatnonzero(np.append(-1, answers) != answers[-1])[-1])
        assert f"its {name} from block {since} on" in own.answer
    assert own.headline == ""
    assert "(filled: the last one)" in own._answers.value
    own.close()
