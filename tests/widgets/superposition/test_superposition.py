"""SuperpositionToy: one slider, everything else follows; no browser needed."""

from __future__ import annotations

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.superposition._figure import superposition_figure

from sae_nb.models import Bottleneck
from sae_nb.summaries import summarise_superposition


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
    """Three toys, not in order."""
    return [toy(sparsity) for sparsity in (0.9, 0.0, 0.97)]


@pytest.fixture
def panel(toys: list[Bottleneck]) -> sw.SuperpositionToy:
    """A panel without SAEs, closed afterwards."""
    made = sw.SuperpositionToy(toys, find_atoms=False)
    return made


def drawn(panel: sw.SuperpositionToy, name: str) -> object:
    """A trace of the panel's figure."""
    return next(trace for trace in panel.current_figure().data if trace.name == name)


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


@pytest.mark.parametrize("wrong", [1.0, -0.1, 7.0])
def test_what_is_no_chance_is_refused(panel: sw.SuperpositionToy, wrong: float) -> None:
    """And the panel stays where it was."""
    with pytest.raises(t.TraitError, match="`sparsity` must be at least 0 and below 1"):
        panel.sparsity = wrong
    assert panel.sparsity == 0.9  # where it opens: all five are stored there


def test_arrow_keys_step_and_stop_at_the_ends(panel: sw.SuperpositionToy) -> None:
    """Left at the left end is no error."""
    panel.sparsity = 0.0
    panel.press("ArrowLeft")
    assert panel.sparsity == 0.0
    for _ in range(4):
        panel.press("ArrowRight")
    assert panel.sparsity == 0.97


def test_the_cursor_stands_at_the_chosen_sparsity(panel: sw.SuperpositionToy) -> None:
    """The curves show every sparsity, the band the one that is chosen."""
    panel.sparsity = 0.9
    assert list(drawn(panel, "cursor").x) == [1, 1]
    assert not drawn(panel, "feature 0").showlegend  # the arrows have its colour and number
    assert drawn(panel, "gram").showscale is not False
    room = np.asarray(drawn(panel, "feature 0").y, dtype=float)
    assert room == pytest.approx([0.4] * 3, abs=1e-5)


def test_atoms_are_found_where_the_slider_stops(toys: list[Bottleneck]) -> None:
    """One SAE per sparsity, remembered; the bars and rings are drawn, the status says what it did."""
    panel = sw.SuperpositionToy([toys[2]])
    panel.wait()
    found = panel.record.found
    assert found is not None
    assert found.atom_f1.mean() > found.neuron_f1.mean() + 0.1
    assert np.asarray(drawn(panel, "best atom").y, float) == pytest.approx(found.atom_f1, abs=1e-6)
    rings = np.stack((drawn(panel, "atoms").x, drawn(panel, "atoms").y), axis=1)[1::3]
    assert np.linalg.norm(rings.astype(float), axis=1) == pytest.approx([1.5] * 5, abs=1e-4)
    assert "The best atom finds a feature better than the best neuron" in panel.answer
    assert "cosine of a feature with its atom" in panel.numbers
    assert not panel.problem
    panel._moved()
    assert panel.record.found is found


def test_the_map_of_leaks_shows_its_cells_and_no_more(toys: list[Bottleneck]) -> None:
    """Square in a narrow panel, too: axes end where the features do, and give way in length alone."""
    panel = sw.SuperpositionToy([toys[0]], find_atoms=False)
    layout, n = panel.current_figure().layout, len(panel.record.directions)
    assert list(layout.xaxis2.range) == [-0.5, n - 0.5]
    assert list(layout.yaxis2.range) == [n - 0.5, -0.5]
    assert (layout.xaxis2.constrain, layout.yaxis2.constrain) == ("domain", "domain")
    panel.close()


def test_the_empty_chart_says_what_it_waits_for(toys: list[Bottleneck]) -> None:
    """What is trained, and how long that takes; it goes when the bars are there."""
    panel = sw.SuperpositionToy([toys[2]])
    panel.forget_async("atoms")  # its answer would come whenever it likes
    assert panel.current_figure().layout.annotations[-1].text == "training SAEs …<br>about 6 s"
    panel._ask_for_atoms(0)
    panel.wait()
    assert panel.current_figure().layout.annotations[-1].text == ""


def test_toys_are_trained_when_none_are_given() -> None:
    """Off the main thread; meanwhile the panel is there and says what it does."""
    panel = sw.SuperpositionToy(sparsities=(0.5, 0.97), find_atoms=False)
    assert panel.record is None
    assert "Training 2 toys of 5 features in 2 neurons (about 4.0" in panel._answer_text.value
    assert panel.answer == ""
    assert "text/html" in panel._repr_mimebundle_()
    assert not panel.problem
    panel.wait()
    assert [toy.sparsity for toy in panel.toys] == [0.5, 0.97]
    panel.sparsity = 0.97
    assert panel.record.stored == (0, 1, 2, 3, 4)


def test_many_neurons_are_shown_as_lengths() -> None:
    """There is no plane to draw; everything else is the same."""
    panel = sw.SuperpositionToy([toy(0.9, 20, 6)], find_atoms=False)
    lengths = np.asarray(drawn(panel, "lengths").y, dtype=float)
    expected = panel.toys[0].directions.detach().norm(dim=1).numpy()
    assert np.allclose(lengths, expected, atol=1e-6)
    assert panel.chips["neurons"] == "6"


def test_toys_that_do_not_belong_together_are_refused(toys: list[Bottleneck]) -> None:
    """Rule, given, do."""
    with pytest.raises(ValueError, match=r"of one size, got sizes \[\(5, 2\), \(6, 2\)\]"):
        sw.SuperpositionToy([*toys, toy(0.5, 6)])
    with pytest.raises(ValueError, match="1 untrained"):
        sw.SuperpositionToy([Bottleneck(5, 2)])
    with pytest.raises(ValueError, match="at least one"):
        sw.SuperpositionToy([])


def test_small_plots_keep_apart() -> None:
    """Columns and rows of the figure do not overlap, whatever the sizes."""
    for n_features, n_hidden in ((5, 2), (20, 6)):
        record = summarise_superposition(toy(0.9, n_features, n_hidden))
        layout = superposition_figure([record], 0).layout
        assert layout.xaxis.domain[1] < layout.xaxis2.domain[0]
        assert layout.yaxis3.domain[1] < layout.yaxis.domain[0] - 0.1
