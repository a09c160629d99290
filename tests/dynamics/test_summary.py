"""Records of depth: phases as they are found in one similarity, classes named, paths and atoms by hand."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.architectures import TopK
from sae_nb.dynamics import (
    AtomDepths,
    atom_depths,
    capture_states,
    choose_paths,
    depth_inputs,
    layer_similarity,
    pushed_states,
    segment_phases,
    summarise_depth,
)
from sae_nb.dynamics._inputs import _common_length
from sae_nb.dynamics.paths import _layouts
from sae_nb.dynamics.paths._projection import fit_endpoints


def made_up(n: int = 30, tokens: int = 3, d: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 7, tokens, d, generator=generator).cumsum(dim=1)


def test_phases_are_those_of_the_similarity() -> None:
    """For every reading and k, and the gains are theirs."""
    states = made_up()
    summary = summarise_depth(states)
    found = layer_similarity(states)
    assert summary.most_phases == 3
    for name, matrix in found.readings.items():
        assert np.allclose(summary.similarity[name], matrix)
        for k, phases in summary.phases[name].items():
            assert phases.cuts == segment_phases(matrix, k).cuts
        assert summary.gains(name).tolist() == [p.gain for p in summary.phases[name].values()]


@pytest.mark.parametrize("coordinates", ["pca", "sphere"])
def test_projecting_again_gives_the_drawn_points(coordinates: Literal["pca", "sphere"]) -> None:
    chosen = choose_paths(made_up(), show="pictures", picture=0, token=0)
    paths = chosen.lay_out(coordinates)
    again = paths.project(chosen.states[4])
    assert np.allclose(again, paths.points[4], atol=1e-5)
    ends = fit_endpoints(chosen.fitted, 3, coordinates)
    assert paths.kept == pytest.approx(float(ends.kept[-1]))
    assert float(ends.kept[0]) != pytest.approx(paths.kept, rel=0.1)


def test_new_states_lie_between_their_neighbours_on_a_umap() -> None:
    """A laid-out row lies where it is; the layer is the third axis."""
    chosen = choose_paths(made_up(), show="pictures", picture=0, token=0)
    rows = chosen.directions
    paths = chosen.lay_out("umap", xy=rows[:, :2].numpy())
    assert paths.points[2, :, 2].tolist() == list(range(7))
    assert np.allclose(paths.project(chosen.states[2])[:, :2], paths.points[2, :, :2], atol=0.05)
    with pytest.raises(ValueError, match="`xy` must be given"):
        chosen.lay_out("umap")


def test_atoms_need_an_sae_and_two_of_them() -> None:
    chosen = choose_paths(made_up(), show="pictures", picture=0, token=0)
    sae = TopK(8, 16, 4, generator=torch.Generator().manual_seed(0)).eval()
    dense = sae.encode(chosen.states[5] * 0.5).to_dense().detach()
    for atoms in ([3, 7], [3, 7, 1], [3, 7, 1, 5]):
        paths = chosen.lay_out("atoms", sae=sae, atoms=atoms, scale=0.5)
        used = dense[:, atoms[:3]].numpy()
        assert np.allclose(paths.points[5, :, : len(atoms[:3])], used, atol=1e-5)
    with pytest.raises(ValueError, match="two `atoms`"):
        chosen.lay_out("atoms", sae=sae, atoms=[3])


def test_atoms_are_born_where_their_direction_appears() -> None:
    """Two atoms, one of the first half of depth and one of the second, lengths growing all the time."""
    first, second = torch.eye(4)[0], torch.eye(4)[1]
    layers = [first, first, first, second, second]
    states = torch.stack([(layer + 1) * x for layer, x in enumerate(layers)])
    states = states[None, :, None].repeat(6, 1, 2, 1)
    sae = TopK(4, 4, 1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.eye(4) if parameter.ndim == 2 else torch.zeros_like(parameter))
    depths = atom_depths(sae.eval(), states, home=2)
    assert np.allclose(depths.energy[0], [9, 9, 9, 0, 0], rtol=1e-4)
    assert depths.birth[:3].tolist() == [0, 3, -1]
    assert depths.death[:3].tolist() == [2, 4, -1]
    for unit in (1, 1e-2):
        scale = atom_depths(sae.eval(), unit * states, home=2).scale
        assert scale.tolist() == pytest.approx([3, 1.5, 1, 0.75, 0.6])
    assert set(depths.telling(2)) == {0, 1}
    with pytest.raises(ValueError, match="d_in=4"):
        atom_depths(TopK(5, 8, 1), states, home=2)


@pytest.mark.slow
def test_texts_are_cut_to_the_shortest() -> None:
    model = sn.load_model("tiny-gpt")
    found = depth_inputs(model, [list(range(50, 60)), list(range(80, 86))])
    assert found.samples.tolist() == [list(range(50, 56)), list(range(80, 86))]
    assert [len(row) for row in found.tokens] == [6, 6]
    assert "cut to 6" in found.note
    with pytest.raises(ValueError, match="at least 2 tokens"):
        depth_inputs(model, [[5]])


def test_one_short_text_of_many_does_not_cut_the_others() -> None:
    """It is left out, and said to be; the labels of the others stay theirs."""
    model = sn.load_model("tiny-gpt")
    texts = [list(range(50, 50 + n)) for n in (20, 3, 22, 21, 20)]
    found = depth_inputs(model, texts)
    assert tuple(found.samples.shape) == (4, 20)
    assert found.kept == (0, 2, 3, 4)
    assert found.note == "Texts are cut to 20 tokens. 1 of 5 texts are shorter and left out."


@pytest.mark.parametrize(
    ("lengths", "length"),
    [
        ([5, 30, 30], 5),  # of three none is left out
        ([5, 40, 40, 50], 40),  # 40 · 3 is more than 5 · 4 and 40 · 2
        ([2, 2, 2, 60], 2),  # one of four is less than half
        ([2, 2, 50, 50, 50], 50),
        ([3, 4, 4, 4], 3),  # 3 · 4 tokens each way: all of the texts
        ([65, 90, 70, 99], 64),
    ],
)
def test_texts_are_cut_to_where_most_tokens_are_shown(lengths: list[int], length: int) -> None:
    assert _common_length(lengths) == length
    assert _common_length(lengths[::-1]) == length


def test_two_hundred_and_fifty_six_inputs_are_shown() -> None:
    model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
    x = torch.arange(257.0)[:, None]
    assert (len(depth_inputs(model, x[:256])), depth_inputs(model, x[:256]).note) == (256, "")
    found = depth_inputs(model, x)
    assert found.samples.tolist() == x[:256].tolist()
    assert found.note == "Only the first 256 inputs are shown."


def test_the_padding_id_behind_which_a_text_is_cut_stays_a_token() -> None:
    """All texts have as many states as tokens; none is NaN."""
    model = sn.load_model("tiny-looped")
    ids = torch.tensor([[5, 0, 7], [6, 3, 0]])  # 0 is padding: a token inside of the first row
    with pytest.warns(UserWarning, match="have padding"):
        inputs = depth_inputs(model, ids)
    assert inputs.samples.tolist() == [[5, 0], [6, 3]]
    states = capture_states(model, inputs.whole, backend="hooks")
    assert states.keep is None
    assert torch.isfinite(states).all()
    one = capture_states(model, inputs.one(0), backend="hooks")
    torch.testing.assert_close(
        torch.as_tensor(one[0]), torch.as_tensor(states[0]), atol=1e-4, rtol=0
    )


def test_births_deaths_and_what_tells_of_depth_by_hand() -> None:
    """Alive from a tenth of the peak on; of each quarter of depth the most energetic first, then the next."""
    energy = [[9, 1, 0, 0], [0, 0, 0.5, 5], [0] * 4, [0, 7, 0.69, 0], [8, 0, 0, 0], [6, 0, 0, 0]]
    depths = AtomDepths(energy=np.array(energy, np.float64), scale=np.ones(4), home=1)
    assert depths.birth.tolist() == [0, 2, -1, 1, 0, 0]
    assert depths.death.tolist() == [1, 3, -1, 1, 0, 0]
    assert depths.telling() == (0, 3, 1, 4)
    assert depths.telling(2) == (0, 1)


def test_paths_are_spread_evenly_or_over_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four of ten, one of them always there; of twelve tokens every second is fitted."""
    monkeypatch.setattr(_layouts, "MOST_PATHS", 4)
    monkeypatch.setattr(_layouts, "MOST_FITTED", 5)
    classes = np.arange(10) >= 3
    for known, always, drawn in (
        (None, 3, [0, 3, 6, 9]), (None, 5, [0, 3, 5, 6]),
        (classes, 4, [0, 1, 3, 4]), (classes, 9, [0, 1, 3, 9]),
    ):  # fmt: skip
        assert _layouts._spread(10, known, always).tolist() == drawn
    assert _layouts._spread(4, None, 0).tolist() == [0, 1, 2, 3]
    states = made_up(3, 4, 2)
    one = choose_paths(states, show="tokens", picture=1, token=0)
    assert torch.equal(one.states, states[1].transpose(0, 1))
    assert torch.equal(one.fitted, states.transpose(1, 2).flatten(0, 1)[::2])


def test_a_model_without_blocks_cannot_be_pushed() -> None:
    model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
    with pytest.raises(ValueError, match="between 0 .embeddings. and 0, got 1.* has no blocks"):
        pushed_states(model, torch.ones(1, 2), layer=1, size=0.1)
