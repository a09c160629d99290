"""SuperpositionToy: one slider, everything else follows; no browser needed."""

from __future__ import annotations

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch

from sae_nb.models import Bottleneck


def toy(sparsity: float, n_features: int = 5, n_hidden: int = 2) -> Bottleneck:
    """Directions evenly around a circle (or at random, off the plane), as if trained."""
    generator = torch.Generator().manual_seed(1)
    made = Bottleneck(n_features, n_hidden, generator=generator)
    angle = 2 * torch.pi * torch.arange(n_features) / n_features + sparsity
    with torch.no_grad():
        if n_hidden == 2:
            made.directions.copy_(torch.stack((angle.cos(), angle.sin()), dim=1))
        else:
            made.directions.mul_(2)
    made.sparsity, made.loss = sparsity, 0.1
    return made


@pytest.fixture
def toys() -> list[Bottleneck]:
    return [toy(sparsity) for sparsity in (0.9, 0.0, 0.97)]


@pytest.fixture
def panel(toys: list[Bottleneck]) -> sw.SuperpositionToy:
    made = sw.SuperpositionToy(toys, find_atoms=False)
    return made


def drawn(panel: sw.SuperpositionToy, name: str) -> object:
    return next(trace for trace in panel.current_figure().data if trace.name == name)


@pytest.mark.slow
def test_the_slider_moves_the_arrows(panel: sw.SuperpositionToy, toys: list[Bottleneck]) -> None:
    """Every arrow ends where the toy of that sparsity has its feature."""
    for chosen in (toys[1], toys[0], toys[2]):
        panel.sparsity = chosen.sparsity
        for feature, end in enumerate(chosen.directions.tolist()):
            arrow = drawn(panel, f"arrow {feature}")
            assert (arrow.x[1], arrow.y[1]) == pytest.approx(end)
        gram = np.asarray(drawn(panel, "gram").z, dtype=float)
        expected = (chosen.directions @ chosen.directions.T).detach().numpy()
        assert np.allclose(gram, expected, atol=1e-6)


def test_any_chance_goes_to_the_nearest_trained_one(panel: sw.SuperpositionToy) -> None:
    """So a link to another panel, or a rough number, works."""
    panel.sparsity = 0.93
    assert panel.sparsity == 0.9
    assert panel.slider.value == 0.9
    assert panel.record.sparsity == 0.9
    assert panel.chips["sparsity"] == "0.9"


@pytest.mark.slow
def test_the_cursor_stands_at_the_chosen_sparsity(panel: sw.SuperpositionToy) -> None:
    """The curves show every sparsity, the band the one that is chosen."""
    panel.sparsity = 0.9
    assert list(drawn(panel, "cursor").x) == [1, 1]
    assert not drawn(panel, "feature 0").showlegend  # the arrows have its colour and number
    assert drawn(panel, "gram").showscale is not False
    room = np.asarray(drawn(panel, "feature 0").y, dtype=float)
    assert room == pytest.approx([0.4] * 3, abs=1e-5)


@pytest.mark.slow
def test_atoms_are_found_where_the_slider_stops(toys: list[Bottleneck]) -> None:
    """One SAE per sparsity, remembered; the bars and rings are drawn, the status says what it did."""
    panel = sw.SuperpositionToy([toys[2]])
    panel.wait()
    assert panel.record.found is None  # nobody looks at the bars yet
    panel.details = True
    panel.wait()
    found = panel.record.found
    assert found is not None
    assert found.atom_f1.mean() > found.neuron_f1.mean() + 0.1
    assert np.asarray(drawn(panel, "best atom").y, float) == pytest.approx(found.atom_f1, abs=1e-6)
    rings = np.stack((drawn(panel, "atoms").x, drawn(panel, "atoms").y), axis=1)[1::3]
    assert np.linalg.norm(rings.astype(float), axis=1) == pytest.approx([1.5] * 5, abs=1e-4)
    assert not panel.problem
    panel._moved()
    assert panel.record.found is found


def test_it_opens_on_two_toys_alone(panel: sw.SuperpositionToy) -> None:
    """Arrows and the shape of their tips fill the figure; a button shows the rest, and takes it away."""
    panel.sparsity = 0.9

    def on_screen() -> set[str]:
        return {trace.name for trace in panel.current_figure().data if trace.visible is not False}

    first = {"shape", "no room", *(f"arrow {feature}" for feature in range(5))}
    pair = {f"{name}{end}" for name in (*first, "often") for end in ("", " beside")}
    assert on_screen() == pair
    assert tuple(panel.plot.layout.xaxis.domain) == (0, 0.46)
    assert panel.plot.layout.yaxis3.visible is False
    shape = drawn(panel, "shape")
    assert (shape.x[0], shape.y[0]) == (shape.x[5], shape.y[5])
    assert np.hypot(shape.x, shape.y) == pytest.approx(np.ones(6), abs=1e-5)
    assert "sae-nb-still" in panel.static_main()
    panel.fold.value = True
    assert panel.details
    assert first < on_screen()
    assert {"gram", "atoms", "best atom", "feature 4"} < on_screen()
    assert panel.plot.layout.yaxis3.visible is True
    assert tuple(panel.plot.layout.xaxis.domain) == (0, 0.44)
    assert "sae-nb-still" not in panel.static_main()
    panel.details = False
    assert on_screen() == pair


@pytest.mark.slow
def test_toys_are_trained_when_none_are_given() -> None:
    """Off the main thread; meanwhile the panel is there and says what it does."""
    panel = sw.SuperpositionToy(sparsities=(0.5, 0.97), find_atoms=False)
    assert panel.record is None
    assert panel.answer == ""
    assert "text/html" in panel._repr_mimebundle_()
    assert not panel.problem
    panel.wait()
    assert [toy.sparsity for toy in panel.toys] == [0.5, 0.97]
    panel.sparsity = 0.97
    assert panel.record.stored == (0, 1, 2, 3, 4)


def test_beside_the_shown_toy_stands_the_densest(
    panel: sw.SuperpositionToy, toys: list[Bottleneck]
) -> None:
    """Beside the densest, the one that the panel opens on; each with its moments and what it keeps."""
    panel.sparsity = 0.97
    for shown, beside in ((toys[2], toys[1]), (toys[1], toys[0])):
        panel.sparsity = shown.sparsity
        for made, end in ((shown, ""), (beside, " beside")):
            arrow = drawn(panel, f"arrow 2{end}")
            assert (arrow.x[1], arrow.y[1]) == pytest.approx(made.directions[2].tolist())
            there = np.asarray(drawn(panel, f"often{end}").z, dtype=float) > 1
            assert there.sum() == round((1 - made.sparsity) * there.size)
            assert np.ptp(there.sum(axis=1)) <= 1
            assert there.all() == (made.sparsity == 0)
    notes = {note.name: note.text for note in panel.plot.layout.annotations if note.name}
    assert notes["kept"] == "<b>5 of 5</b> kept"
    assert notes["often"] == "always there"


def test_a_feature_that_is_not_kept_is_in_the_ring() -> None:
    crowded = [toy(0.0), toy(0.9)]
    with torch.no_grad():
        crowded[0].directions[3:] *= 0.1
    panel = sw.SuperpositionToy(crowded, find_atoms=False)
    assert panel.headline == "5 features fit into 2 neurons because they are rare"
    assert list(drawn(panel, "no room").x) == []
    assert list(drawn(panel, "no room beside").text) == ["3, 4: no room"]
    assert drawn(panel, "arrow 3 beside").line.color == drawn(panel, "arrow 4 beside").line.color
    panel.close()


def test_one_toy_alone_has_the_whole_figure() -> None:
    panel = sw.SuperpositionToy([toy(0.5)], find_atoms=False)
    assert panel.headline == "5 of 5 features fit into 2 neurons"
    assert tuple(panel.plot.layout.xaxis.domain) == (0, 1)
    assert not drawn(panel, "arrow 0 beside").visible
    panel.close()
