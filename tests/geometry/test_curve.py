"""Curves through ordered concepts: planted ones are found, and a live model reads what they foretell."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.geometry import Curve, curve
from sae_nb.geometry._curve import _left_out

D = 24


def _ring(u: np.ndarray, *frequencies: int, period: float, noise: float = 0.0) -> Tensor:
    """A closed curve of some frequencies in a random plane each."""
    rng = np.random.default_rng(0)
    planes = np.linalg.qr(rng.standard_normal((D, 2 * len(frequencies))))[0]
    angle = 2 * np.pi * u[:, None] * np.array(frequencies) / period
    parts = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    x = parts @ planes.T + noise * rng.standard_normal((len(u), D)) + 3.0
    return torch.from_numpy(x).float()


def test_a_planted_ring_is_found_with_its_frequencies() -> None:
    u = np.repeat(np.arange(24.0), 5)
    c = curve(_ring(u, 2, 7, period=24, noise=0.05), u, closed=True)
    assert sorted(c.order) == [2, 7]
    assert c.period == 24
    assert c.r2 > 0.95 > c.r2_shuffled + 0.3
    assert c.r2_chord < c.r2
    around = 2 * math.pi * math.hypot(2, 7)  # two unit circles, 2 and 7 times around
    assert c.length == pytest.approx(around, rel=0.03)


def test_by_its_widest_frequency_a_curve_of_several_is_one_circle() -> None:
    """Also where another frequency leans into its plane: that is what the two largest axes mix."""
    u = np.arange(12.0)
    angle = 2 * np.pi * u[:, None] * np.array([5, 2]) / 12
    wide, narrow = np.eye(6)[:2], 0.5 * np.eye(6)[2:4] + 0.4 * np.eye(6)[:2]
    parts = [np.stack([np.cos(a), np.sin(a)], axis=1) for a in angle.T]
    x = torch.from_numpy(1 + 2 * parts[0] @ wide + parts[1] @ narrow)
    c = curve(x, u, closed=True)
    np.testing.assert_allclose(c.ring(c.states), parts[0], atol=1e-5)
    assert np.ptp(np.linalg.norm(c.shadow(c.states), axis=1)) > 0.5
    with pytest.raises(ValueError, match="open"):
        curve(x, u).ring(x)


def test_the_gap_over_the_end_of_the_period_counts() -> None:
    """Every second residue modulo 53, 0 beside 52: frequencies up to 26 are told apart, by one gap alone."""
    u = np.arange(53.0)
    x = _ring(u, 15, 21, 10, period=53)
    c = curve(x[::2], u[::2], closed=True, period=53)
    assert sorted(c.order) == [10, 15, 21]
    torch.testing.assert_close(c.at(u[1::2]), x[1::2], atol=1e-4, rtol=0)


def test_frequencies_are_told_apart_up_to_half_the_number_of_values() -> None:
    """Of nine values in their period up to 4; an open curve is compared with one closed a step beyond its end."""
    u = np.arange(9.0) + 7
    x = _ring(u, 4, period=9)
    assert curve(x, u, closed=True).order == (4,)
    open_one = curve(x, u, n_shuffled=1)
    assert open_one.r2_other == pytest.approx(curve(x, u, closed=True, period=9).r2)
    assert open_one.r2_other == pytest.approx(1, abs=1e-6)


def test_an_open_curve_is_foretold_between_its_ends() -> None:
    u = np.linspace(0, 3, 20)
    x = torch.from_numpy(np.stack([np.sin(u), np.cos(2 * u), u**2], axis=1)).float()
    c = curve(x, u)
    assert not c.closed
    assert c.r2 > 0.98
    torch.testing.assert_close(
        c.at(1.5), torch.tensor([math.sin(1.5), math.cos(3.0), 2.25]), atol=0.05, rtol=0
    )


def test_left_out_errors_are_those_of_fits_without_the_value() -> None:
    """e / (1 − h) against as many real fits."""
    u = np.arange(12.0)
    x = _ring(u, 1, 3, period=12, noise=0.2)
    c = curve(x, u, closed=True, order=[1, 3])
    for i in (0, 5, 11):
        rest = np.arange(12) != i
        without = curve(x[rest], u[rest], closed=True, order=[1, 3], period=12.0)
        assert float((without.at(u[i]) - x[i]).norm()) == pytest.approx(c.error[i], rel=1e-3)


def test_nearest_gives_the_coordinate_back_and_the_distance_off_the_curve() -> None:
    u = np.arange(16.0)
    c = curve(_ring(u, 1, 2, period=16), u, closed=True)
    asked = torch.tensor([0.0, 3.3, 9.75, 15.9])
    off = torch.from_numpy(np.random.default_rng(1).standard_normal((4, D))).float()
    basis = torch.linalg.qr(c.weights.T)[0]
    off = off - off @ basis @ basis.T
    found, far = c.nearest(c.at(asked) + off)
    apart = (found - asked + 8) % 16 - 8  # 15.999 is next to 0
    assert float(apart.abs().max()) < 1e-3
    torch.testing.assert_close(far.float(), off.norm(dim=1), atol=1e-3, rtol=1e-3)
    for start, to, end in ((1, 5, 5), (15, 1, 17), (1, 15, -1)):  # the shorter way round
        way = c.path(start, to)
        assert (float(way[0]), float(way[-1])) == (start, end)


@pytest.mark.parametrize(
    ("closed", "wanted"),
    [(False, [np.nan, 3, 5 / 3, 2 / 3, np.nan]), (True, [7 / 3, 3, 5 / 3, 2 / 3, 1 / 2])],
    ids=["open", "closed"],
)
def test_the_chord_is_the_line_between_neighbours(closed: bool, wanted: list[float]) -> None:
    """Heights 0, 3, 0, 1, 1 at 0, 1, 3, 4, 6, worked out by hand; closed, 8 is 0 again.

    At 3, two thirds of the way from 1 to 4, the line is at 3 − 2 · ⅔ = 5/3.
    """
    u, height = np.array([0.0, 1, 3, 4, 6]), torch.tensor([0.0, 3, 0, 1, 1])
    x = torch.stack([height, torch.zeros(5)], dim=1)
    c = curve(x, u, closed=closed, order=1, period=8.0 if closed else None)
    np.testing.assert_allclose(c.chord, wanted, atol=1e-6)
    known = np.isfinite(c.chord)
    spread = ((height.numpy() - 1)[known] ** 2).sum()
    assert c.r2_chord == pytest.approx(1 - np.square(np.array(wanted)[known]).sum() / spread)


def test_nearest_on_an_open_curve_keeps_the_shape_of_what_is_asked() -> None:
    """On a parabola from 0 to 3; beyond an end the end is nearest."""
    u = np.linspace(0, 3, 16)
    c = curve(torch.from_numpy(np.stack([u, u**2], axis=1)).float(), u, order=2)
    asked = torch.tensor([[0.3, 1.7, 2.9], [0.0, 3.0, 1.0]])
    found, far = c.nearest(c.at(asked))
    assert found.shape == far.shape == (2, 3)
    torch.testing.assert_close(found.float(), asked, atol=1e-3, rtol=0)
    assert float(far.max()) < 1e-3
    ends, _ = c.nearest(torch.tensor([[-1.0, -5.0], [4.0, 12.0]]))
    torch.testing.assert_close(ends.float(), torch.tensor([0.0, 3.0]), atol=1e-3, rtol=0)


def test_terms_that_the_values_do_not_determine_foretell_nothing() -> None:
    y = np.arange(5.0)[:, None]
    assert np.isinf(_left_out(np.ones((5, 2)), y)).all()
    # a mean of the other four: 4 − (0 + 1 + 2 + 3) / 4
    left = _left_out(np.ones((5, 1)), y)[:, 0]
    np.testing.assert_allclose(left, [-2.5, -1.25, 0, 1.25, 2.5], atol=1e-12)


def test_a_wrong_kind_and_a_concept_without_order_are_said() -> None:
    u = np.arange(14.0)
    open_ = torch.stack([torch.from_numpy(u), torch.from_numpy((u / 7) ** 2)], dim=1).float()
    assert "a curve that is open fits better" in curve(open_, u, closed=True, order=2).headline
    ring = _ring(u, 1, period=14)
    assert "a curve that is closed fits better" in curve(ring, u, order=2).headline
    noise = torch.randn(14, D, generator=torch.Generator().manual_seed(0))
    assert curve(noise, u, closed=True).headline.startswith(
        "no better than through shuffled values"
    )


def test_steering_along_a_curve_keeps_what_is_off_it(tmp_path: Path) -> None:
    u = np.arange(16.0)
    plain = sn.wrap(nn.Sequential(nn.Identity(), nn.Identity()))
    c = curve(_ring(u, 1, 2, period=16), u, closed=True)
    c.save(tmp_path / "c")
    c = Curve.load(tmp_path / "c")
    basis = torch.linalg.qr(c.weights.T)[0]
    off = torch.randn(3, D, generator=torch.Generator().manual_seed(2))
    off = off - off @ basis @ basis.T
    x = c.at([1.0, 4.0, 15.0]) + off
    with sn.steer(plain, "0", curve=c, by=3.0):
        torch.testing.assert_close(plain(x), c.at([4.0, 7.0, 2.0]) + off, atol=2e-3, rtol=0)
    with sn.steer(plain, "0", curve=c, to=9.0):
        torch.testing.assert_close(plain(x), c.at([9.0, 9.0, 9.0]) + off, atol=2e-3, rtol=0)


def test_a_picture_has_the_way_along_the_curve_and_the_chord() -> None:
    """On a circle the way keeps its distance from the middle, the chord cuts through; the shorter way is taken."""
    u = np.arange(12.0)
    c = curve(_ring(u, 1, period=12), u, closed=True)
    figure = c.plot(1.0, 10.0, names=[f"month {i}" for i in range(12)])
    drawn = {trace.name: np.stack([trace.x, trace.y], axis=1) for trace in figure.data}
    radius = np.linalg.norm(drawn["curve"], axis=1)
    np.testing.assert_allclose(radius, 1.0, atol=1e-4)
    along, chord = drawn["along the curve"], drawn["chord"]
    np.testing.assert_allclose(np.linalg.norm(along, axis=1), 1.0, atol=1e-4)
    np.testing.assert_allclose(chord, along[[0, -1]])
    walked = np.linalg.norm(np.diff(along, axis=0), axis=1).sum()
    assert walked == pytest.approx(2 * np.pi * 3 / 12, rel=1e-2)  # 1, 0, 11, 10
    assert figure.data[1].text[3] == "month 3"
    assert "50" in figure.layout.xaxis.title.text
    states = np.linalg.norm(drawn["states"][:, None] - drawn["curve"][None], axis=2).min(axis=1)
    assert states.max() < 0.02
    (dial,) = c.plot(1.0).layout.sliders
    step = dial.steps[10].args[0]
    np.testing.assert_allclose(np.stack([step["x"][0], step["y"][0]], axis=1), along)
    assert [one.label for one in dial.steps] == [str(i) for i in range(12)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_model_reads_left_out_residues_on_the_curve_and_not_on_the_chord(seed: int) -> None:
    """tiny-modular, resid_post.0 at "=": fitted on 27 of 53 sums."""
    model = sn.load_model("tiny-modular")
    pairs = [(a, s) for a in range(0, 53, 3) for s in range(53)]
    texts = [f"{a} + {(s - a) % 53} =" for a, s in pairs]
    acts = sn.capture(
        model,
        texts,
        "resid_post.0",
        positions="last",
        drop_first=False,
        drop_massive=False,
        progress=False,
    )
    sums = np.array([s for _, s in pairs])
    order = np.random.default_rng(seed).permutation(53)
    known, left = np.sort(order[:27]), np.sort(order[27:])
    kept = np.isin(sums, known)
    c = curve(
        acts.subset(torch.from_numpy(np.flatnonzero(kept))), sums[kept], closed=True, period=53
    )

    def read(x: Tensor) -> int:
        with sn.splice(model, "resid_post.0", lambda h: x.expand_as(h), positions="last"):
            return int(model("1 + 1 =")[0, -1].argmax())

    zero = read(torch.as_tensor(acts.x[sums == 0]).mean(dim=0))
    on_curve = sum(read(c.at(float(s))) - zero == s for s in left)
    means = {s: acts.x[torch.from_numpy(sums == s)].mean(dim=0) for s in known}
    chords = 0
    for s in left:
        below, above = known[known < s], known[known > s]
        a = below[-1] if len(below) else known[-1]
        b = above[0] if len(above) else known[0]
        chords += read((means[a] + means[b]) / 2) - zero == s
    assert on_curve >= 25
    assert chords <= 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"coordinate": np.ones(12)}, "at least 4 different values"),
        ({"coordinate": np.arange(12) % 2}, "at least 4 different values"),
        ({"coordinate": np.arange(11)}, "a value for each"),
        ({"coordinate": np.r_[np.nan, np.arange(11)]}, "finite"),
        ({"acts": torch.ones(12, D)}, "must differ"),
        ({"acts": torch.full((12, D), float("nan"))}, "NaN"),
        ({"period": 12.0}, "closed=True"),
        ({"closed": True, "period": 5.0}, "larger than the extent"),
        ({"closed": True, "order": 6}, "1 to 5 frequencies"),
        ({"order": 0}, "pieces"),
        ({"order": 9}, "1 to 8 pieces"),
        ({"order": (2, 3)}, "1 to 8 pieces"),
    ],
)
def test_bad_input_is_refused(change: dict, words: str) -> None:
    given = {"acts": _ring(np.arange(12.0), 1, period=12), "coordinate": np.arange(12)} | change
    with pytest.raises(ValueError, match=words):
        curve(**given)
