"""Forecasts of pushes: statistics and effects by hand, a planted dependence that is found, and none that is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.atoms import AtomCatalogue, Foretold
from sae_nb.codes import SparseCodes
from sae_nb.statistics import rank_correlation
from sae_nb.steering import _forecast, random_direction
from sae_nb.steering._push_statistics import push_statistics
from sae_nb.steering._pushes import Pushes, spread_of, stability_of

N = 40


class Axes:  # as the protocol of an SAE asks for
    """Atom j is axis j, and fires where that is positive."""

    hook_point, model_name = "0", None

    def __init__(self, n_atoms: int = N, d_in: int = N + 1) -> None:
        self.n_atoms, self.d_in = n_atoms, d_in
        self.dictionary = torch.eye(d_in)[:n_atoms]

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        return SparseCodes.from_dense(x[:, : self.n_atoms].relu())


class Turned(nn.Module):
    """Pushing axis j adds (1 − t_j) U_j + t_j s V_j to the logits, s = ±1 the last number of an input."""

    def __init__(self) -> None:
        super().__init__()
        drawn = torch.randn(2, N, 30, generator=torch.Generator().manual_seed(0))
        drawn = drawn - drawn.mean(dim=2, keepdim=True)
        u, v = drawn / drawn.norm(dim=2, keepdim=True)
        v = v - (u * v).sum(dim=1, keepdim=True) * u
        self.u, self.v = u, v / v.norm(dim=1, keepdim=True)
        self.t = torch.linspace(0, 1, N)

    def forward(self, x: Tensor) -> Tensor:
        z, s = x[:, :N], x[:, N:]
        return (z * (1 - self.t)) @ self.u + s * ((z * self.t) @ self.v)


@pytest.fixture(scope="module")
def model() -> Any:
    made = sn.wrap(nn.Sequential(nn.Identity(), Turned()), class_names=[str(i) for i in range(30)])
    return made


INPUTS = torch.zeros(8, N + 1)
INPUTS[:, N] = torch.tensor([1.0, -1.0] * 4)


def rows(density: Tensor, n: int = 300) -> Tensor:
    drawn = torch.rand(n, len(density), generator=torch.Generator().manual_seed(1))
    size = torch.rand(n, len(density), generator=torch.Generator().manual_seed(2)) + 1
    return torch.cat([size * (drawn < density), torch.zeros(n, 1)], dim=1)


def told(model: Any, density: Tensor, **more: Any) -> Any:
    more = {"n_pushed": N, "progress": False} | more
    return sn.forecast(model, cast(Any, Axes()), acts=rows(density), inputs=INPUTS, **more)


@pytest.fixture(scope="module")
def found(model: Any) -> Any:
    """Rare atoms act alike on all inputs, frequent ones not."""
    return told(model, torch.linspace(0.05, 0.9, N))


def test_statistics_by_hand() -> None:
    """Four rows, three atoms; atom 1 is near atom 0 (cosine .6), and fires in two of its three rows."""
    dense = torch.tensor([[1.0, 2.0, 0], [2.0, 0, 0], [3.0, 2.0, 0], [0, 0, 5.0]])
    dictionary = torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0, 2.0]])
    table = push_statistics(AtomCatalogue(Axes(3, 3), dense), dictionary, np.array([0, 2]))
    first = table.loc[0]
    assert first["neighbours"] == 1
    assert first["nearest"] == pytest.approx(0.6)
    assert first["near"] == pytest.approx(0.3)  # of two others, .6 and 0
    assert first["density"] == 0.75
    assert first["p99"] == pytest.approx(2.98)
    assert first["unevenness"] == pytest.approx(np.sqrt(2 / 3) / 2)
    assert first["partners"] == pytest.approx(
        2 / 3 / 2
    )  # 2 of 3 rows with atom 1, none with the third
    assert table.loc[2, ["neighbours", "unevenness", "partners"]].tolist() == [0, 0, 0]


def test_ten_nearest_and_ten_partners_count() -> None:
    """Atom j of 12 has a cosine of j/13 with atom 0, and fires in j of its 12 rows: the ten largest are 3 … 12."""
    j = torch.arange(13.0)
    dictionary = torch.stack([j / 13, (1 - (j / 13) ** 2).sqrt()], dim=1)
    dictionary[0] = torch.tensor([1.0, 0])
    fires = (torch.arange(12)[:, None] < j).float()
    fires[:, 0] = 1
    row = push_statistics(AtomCatalogue(Axes(13, 13), fires), dictionary, np.array([0])).loc[0]
    assert row["neighbours"] == 10  # 3/13 is above .2
    assert row["near"] == pytest.approx(7.5 / 13)
    assert row["partners"] == pytest.approx(7.5 / 12)


def test_statistics_of_two_atoms() -> None:
    """The other one alone is near and a partner: both fire in the one row, or one of them also in another."""
    dictionary = torch.tensor([[1.0, 0], [0.6, 0.8]])
    for dense, partners in (([[1.0, 1], [0, 0]], 1), ([[1.0, 1], [3.0, 0]], 0.5)):
        catalogue = AtomCatalogue(Axes(2, 2), torch.tensor(dense))
        row = push_statistics(catalogue, dictionary, np.array([0])).loc[0]
        assert row["near"] == pytest.approx(0.6)
        assert row["partners"] == pytest.approx(partners)
        assert row["unevenness"] == pytest.approx(0 if partners == 1 else 0.5)


def test_direct_effect_by_hand() -> None:
    """Effects (0, 0, 0, .04) have mean .01 and deviation .01 √3: z = (−1, −1, −1, 3) / √3."""

    class Head:
        device = "cpu"

        def effects(self, directions: Tensor) -> Tensor:
            return directions @ torch.tensor([[0.0, 0, 0, 0.04]])

    firings = AtomCatalogue(Axes(1, 1), torch.ones(2, 1))
    row = push_statistics(firings, torch.eye(1), np.array([0]), Head()).loc[0]  # type: ignore[arg-type]
    assert row["peak"] == pytest.approx(3 / np.sqrt(3))
    assert row["peakedness"] == pytest.approx((3 + 81) / 9 / 4)


def test_stability_is_the_mean_cosine_of_changes_and_no_constant_counts() -> None:
    """Changes e₀, e₀ and −e₀, centred: one pair alike, two opposed, (1 − 1 − 1) / 3."""
    clean = torch.zeros(3, 4)
    change = torch.tensor([[1.0, 0, 0, 0], [2.0, 0, 0, 0], [-1.0, 0, 0, 0]])
    assert stability_of(clean, change) == pytest.approx(-1 / 3)
    before = torch.tensor([[0.0, 3, 0, 0], [0, 0, 5, 0], [1, 0, 0, 2]])
    assert stability_of(before, before + change + 7) == pytest.approx(-1 / 3)


def test_spread_counts_outcomes_whose_probability_changes() -> None:
    """Half of p moves from one outcome to another: 2. All, from one to two others: (1 + ½ + ½)² / 1.5."""
    halves, moved = torch.tensor([[50.0, 50.0, 0]]), torch.tensor([[50.0, 0, 50.0]])
    assert spread_of(halves, moved) == pytest.approx(2)
    assert spread_of(halves, halves) == 0
    before = torch.tensor([[50.0, 0, 0]])
    assert spread_of(before, torch.tensor([[0.0, 50.0, 50.0]])) == pytest.approx(4 / 1.5)


@pytest.mark.slow
def test_a_push_is_what_steer_does_and_reaches_the_kl(model: Any) -> None:
    """Stability by the usual strength, spread by what reaches the KL: those of the answers under `sn.steer`."""
    push = Pushes(model, INPUTS, "0", 0.2).push(Axes().dictionary[7], 2.0)
    clean = model(INPUTS)

    def steered(by: float) -> tuple[Tensor, float]:
        with sn.steer(model, "0", Axes(), 7, by):  # type: ignore[arg-type]
            answer = model(INPUTS)
        log_p, log_q = (one.double().log_softmax(-1) for one in (clean, answer))
        return answer, float((log_p.exp() * (log_p - log_q)).sum(-1).mean())

    usual, kl = steered(2.0)
    assert push.kl == pytest.approx(kl, abs=1e-6)
    assert push.stability == pytest.approx(stability_of(clean, usual), abs=1e-5)
    equal, kl = steered(push.amount)
    assert kl == pytest.approx(0.2, rel=0.2)
    assert push.spread == pytest.approx(spread_of(clean, equal), abs=1e-4)


def test_a_kl_out_of_reach_has_no_spread_and_any_usual_strength_is_pushed() -> None:
    """Logits end at (1, 0), by whatever length: KL .12 of (½, ½), below the .2 that was asked for."""

    class Turning(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.tanh()

    made = sn.wrap(nn.Sequential(nn.Identity(), Turning()), class_names=["a", "b"])
    pushes = Pushes(made, torch.zeros(2, 2), "0", 0.2)
    push = pushes.push(torch.tensor([1.0, 0]), 5000.0)
    p = np.exp(1) / (np.exp(1) + 1)
    assert push.kl == pytest.approx(-np.log(2) - (np.log(p) + np.log(1 - p)) / 2, abs=1e-6)
    assert push.stability == pytest.approx(1)
    assert np.isnan([push.amount, push.spread]).all()


@pytest.mark.slow
def test_blocks_below_are_left_out_and_nothing_changes() -> None:
    """On tiny-gpt, by the blocks that run again from the push on and by `sn.steer`: the same answers."""
    gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    texts = [[1, 5, 9, 30, 12], [4, 8, 2, 17, 6]]
    pushes = Pushes(gpt, texts, "resid_post.3", 0.1)
    push = pushes.push(sae.dictionary[9].detach(), 1.0)
    clean, answers = gpt(torch.tensor(texts))[:, -1], []
    for by in (1.0, push.amount):
        with sn.steer(gpt, "resid_post.3", sae, 9, by):
            answers.append(gpt(torch.tensor(texts))[:, -1])
    assert push.stability == pytest.approx(stability_of(clean, answers[0]), abs=1e-4)
    assert push.spread == pytest.approx(spread_of(clean, answers[1]), rel=1e-4)


@pytest.mark.slow
def test_random_directions_are_pushed_by_the_median_p99(found: Any, model: Any) -> None:
    """Eight of them, under `sn.steer`; the mean stands beside the atoms'."""
    by, clean = float(found.table["p99"].median()), model(INPUTS)
    pushed = []
    for i in range(8):
        with sn.steer(model, "0", direction=random_direction(N + 1, i), by=by):
            pushed.append(model(INPUTS))
    mean = np.mean([stability_of(clean, one) for one in pushed])
    assert found.fits.loc["stability", "random"] == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize(
    ("turned", "luck", "foretold"), [(1, 0.0, True), (2, 0.0, False), (1, 1.0, False)]
)
def test_numbers_of_a_fit_by_hand(
    turned: int, luck: float, foretold: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came is 0 … 19. Four of five splits tell y and one −y: ranks (4 − 1) / 5, told .6 y. Two: (3 − 2) / 5.

    Shuffles are told nothing, or, by luck, all.
    """
    y = np.arange(20.0)

    def held_out(x: Any, came: Any, seed: int) -> Any:
        if np.array_equal(came, y):
            return -came if seed < 7 + turned else came
        return luck * came

    monkeypatch.setattr(_forecast, "_held_out", held_out)
    statistics = pd.DataFrame({"density": np.arange(22.0), "p99": np.arange(22.0) % 7})
    fit = _forecast._fit(statistics, pd.Series(y), 0.25, seed=7)
    rank = 0.6 if turned == 1 else 0.2
    row = {
        "rank": rank,
        "by density": rank,
        "by p99": rank,
        "shuffled": luck,
        "mean": 9.5,
        "random": 0.25,
    }
    assert {name: fit.row[name] for name in row} == pytest.approx(row)
    assert fit.row["foretold"] == foretold
    assert fit.row["lower"] == pytest.approx(2.5)  # of 0 … 5, a third of twenty
    assert fit.row["upper"] == pytest.approx(16.5)
    if foretold:
        assert fit.row["error"] == pytest.approx(0.4 * np.sqrt(123.5))  # mean of y²
        assert fit.foretold[:20].to_numpy() == pytest.approx(0.6 * y)
        assert fit.foretold[20:].notna().all()
    else:
        assert np.isnan(fit.row["error"])
        assert fit.foretold.isna().all()


@pytest.mark.slow
def test_a_planted_dependence_is_foretold(found: Any) -> None:
    """Frequent atoms depend on the input: told by held-out atoms, as well as by density alone, and not by p99."""
    row = found.fits.loc["stability"]
    assert row["foretold"]
    assert row["rank"] > 0.9
    assert row["by density"] > 0.9
    assert abs(row["by p99"]) < 0.5
    assert row["shuffled"] < 0.6
    table = found.table
    t = torch.linspace(0, 1, N).numpy()
    cosine = ((1 - t) ** 2 - t**2) / ((1 - t) ** 2 + t**2)
    expected = (12 + 16 * cosine) / 28  # of 28 pairs of 8 inputs 12 have one sign and 16 have two
    assert np.allclose(table["came_stability"], expected, atol=0.02)
    assert rank_correlation(table["stability"].to_numpy(), expected) > 0.9
    order = table["stability"].argsort().to_numpy()  # all were pushed: as the others tell it
    third = len(table) // 3
    came = table["came_stability"].to_numpy()
    assert row["lower"] == pytest.approx(came[order[:third]].mean())
    assert row["upper"] == pytest.approx(came[order[-third:]].mean())
    low, high, wide = found.by_atom.thirds
    assert [(came < low).sum(), (came > high).sum()] == [13, 13]  # of 40
    assert (table["came_spread"] > wide).sum() == 13
    assert table["says"].iloc[0].startswith("steady")
    assert table["says"].iloc[-1].startswith("depends on the")


@pytest.mark.slow
def test_what_is_foretold_of_a_pushed_atom_is_by_others(model: Any) -> None:
    """The error is that of held-out atoms: the root of the mean squared difference of both columns."""
    found = told(model, torch.linspace(0.05, 0.9, N), n_pushed=30)
    pushed = found.table.dropna(subset="came_stability")
    assert len(pushed) == 30
    error = np.sqrt(np.mean((pushed["stability"] - pushed["came_stability"]) ** 2))
    assert found.fits.loc["stability", "error"] == pytest.approx(error)
    assert found.table["stability"].notna().sum() == N


@pytest.mark.slow
def test_without_a_dependence_nothing_is_foretold(model: Any) -> None:
    """All atoms fire equally often: "cannot be foretold here", with what came all the same."""
    found = told(model, torch.full((N,), 0.4))
    assert not found.fits.loc["stability", "foretold"]
    assert found.table["stability"].isna().all()
    assert found.table["came_stability"].notna().all()
    assert "stability cannot be foretold here" in repr(found)


def test_a_kl_out_of_reach_is_no_push(model: Any) -> None:
    """No push of these answers reaches a million nats: no spread came, and it is counted."""
    found = told(model, torch.full((N,), 0.4), target_kl=1e6, n_pushed=3)
    assert found.facts["out of reach"] == 3
    assert found.table[["came_spread", "push"]].isna().all(axis=None)
    assert found.table["came_stability"].count() == 3


def test_atoms_that_fire_five_times_are_in_the_table() -> None:
    """Atom j fires in j rows."""
    dense = (torch.arange(N)[:, None] < torch.arange(N + 1)).float()
    found = sn.forecast(None, cast(Any, Axes()), acts=dense)
    assert found.table.index.tolist() == list(range(5, N))


def test_twenty_pushes_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every atom is foretold what came, the rank correlation is 1, and that of shuffles as high."""
    monkeypatch.setattr(_forecast, "_held_out", lambda x, y, seed: y)
    column = np.arange(30.0)
    statistics = pd.DataFrame({"density": column, "p99": column})
    row = _forecast._fit(statistics, pd.Series(column[:20]), 0.5, 0).row
    assert [row["rank"], row["shuffled"], row["mean"]] == pytest.approx([1, 1, 9.5])
    assert [row["lower"], row["upper"]] == [2.5, 16.5]  # of six each
    assert not row["foretold"]
    assert np.isnan(_forecast._fit(statistics, pd.Series(column[:19]), 0.5, 0).row["rank"])


def test_texts_are_drawn_of_their_first_24_tokens() -> None:
    """The longest of those read, as drawn; a text of one token is none."""
    texts = [[1], [2] * 24, [3] * 40, [4] * 9, [5] * 2]
    tokens = SimpleNamespace(sample=lambda i: torch.tensor(texts[i]))
    context = SimpleNamespace(token_ids=tokens, pictures=None)

    def drawn(n: int, samples: list[int]) -> Any:
        acts = SimpleNamespace(context=context)
        catalogue = SimpleNamespace(acts=acts, samples=np.array(samples))
        return _forecast._drawn_inputs(cast(Any, catalogue), n, np.random.default_rng(0))

    every = [0, 0, 1, 2, 3, 4]
    assert sorted(drawn(3, every)) == [[2] * 24, [3] * 24, [4] * 9]
    assert sorted(drawn(9, every)) == [[2] * 24, [3] * 24, [4] * 9, [5] * 2]
    assert drawn(9, [0, 3, 4]) == [[4] * 9, [5] * 2]
    with pytest.raises(ValueError, match="no two texts"):
        drawn(9, [0, 4])


def test_few_atoms_no_model_and_two_equal_atoms(model: Any) -> None:
    """Ten pushed atoms tell nothing; without a model there are statistics alone; equal atoms have a cosine of 1."""
    density = torch.linspace(0.05, 0.9, N)
    few = told(model, density, n_pushed=10)
    assert few.table["came_stability"].notna().sum() == 10
    assert set(few.table["says"]) == {"cannot be foretold here"}
    alone = told(None, density)
    assert "nothing was pushed" in repr(alone)
    assert len(alone.table) == N
    assert alone.table["came_stability"].isna().all()
    sae = Axes()
    sae.dictionary[1] = sae.dictionary[0]
    twins = sn.forecast(None, sae, [0, 1], acts=rows(density))  # type: ignore[arg-type]
    assert twins.table["nearest"].tolist() == pytest.approx([1, 1])


@pytest.mark.slow
def test_it_stays_with_the_sae(found: Any, tmp_path: Any) -> None:
    """Cards say it from then on; a file tells another session the same, and is refused if damaged."""
    sae = Axes()
    found.by_atom.keep(sae, tmp_path)
    other = Axes()
    other.folder = tmp_path  # type: ignore[attr-defined]
    read = Foretold.of(other)
    assert read is not None
    assert [read.sentence(i) for i in range(N)] == [found.sentence(i) for i in range(N)]
    assert read.ranks == found.by_atom.ranks
    catalogue = AtomCatalogue(sae, rows(torch.linspace(0.05, 0.9, N)))
    assert catalogue.foretold(3) == found.sentence(3) != ""
    steadiest = catalogue.order("steadiest")
    assert (np.diff(found.by_atom.stability[steadiest]) <= 0).all()
    file = tmp_path / "forecast.json"
    file.write_text(file.read_text().replace("n_pushed", "pushed"))
    with pytest.raises(ValueError, match="forecast"):
        Foretold.of(other)


def test_bad_input(model: Any) -> None:
    """Rules are named before anything is pushed."""
    with pytest.raises(ValueError, match="fires 5 times or more"):
        told(model, torch.zeros(N))
    with pytest.raises((ValueError, IndexError), match="40"):
        told(model, torch.full((N,), 0.5), atoms=[N])
    with pytest.raises(ValueError, match="two at least"):
        sn.forecast(model, Axes(), acts=rows(torch.full((N,), 0.5)), inputs=INPUTS[:1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no two texts or images"):
        sn.forecast(model, Axes(), acts=rows(torch.full((N,), 0.5)))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="acts"):
        sn.forecast(model, Axes(), inputs=INPUTS)  # type: ignore[arg-type]
