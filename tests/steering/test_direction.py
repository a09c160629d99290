"""Directions between two groups of inputs, with their controls; caps, floors and gates along them."""

from __future__ import annotations

import json
import warnings
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.geometry import curve
from sae_nb.sessions import names_of
from sae_nb.steering import Direction
from sae_nb.steering._direction import METHODS, _chance, _held_out
from sae_nb.steering._nearest import NearestAtoms, nearest_atoms
from sae_nb.steering.edits import Firing, Over

D = 32
RAW = {"positions": "all", "n_random": 20}


def rows(n: int, seed: int, shift: float = 0.0) -> Tensor:
    """Noise whose first coordinates are loud, and a planted shift along the last one."""
    x = torch.randn(n, D, generator=torch.Generator().manual_seed(seed))
    x[:, :4] *= 3.0
    x[:, -1] += shift
    return x


@pytest.fixture
def plain() -> sn.models.live_model.LiveModel:
    return sn.wrap(nn.Sequential(nn.Identity(), nn.Identity()))


@pytest.mark.parametrize(
    ("method", "n_negative"),
    # "principal" takes pairs
    [(m, n) for m in METHODS for n in (40, 33) if n == 40 or m != "principal"],
)
def test_every_method_finds_a_planted_direction(plain, method: str, n_negative: int) -> None:
    d = sn.direction(plain, "0", rows(40, 0, 6.0), rows(n_negative, 1), method, **RAW)
    assert abs(float(d.vector[-1])) > 0.85
    assert float(d.vector.norm()) == pytest.approx(1.0, abs=1e-5)
    assert d.agrees
    assert d.separation > 0.97 > d.separation_random
    assert d.separation > d.separation_shuffled
    assert d.scale == pytest.approx(6.0, abs=1.2)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_of_noise_nothing_is_believed(plain, method: str) -> None:
    """Held-out rows are not separated beyond shuffled labels, and the first words say it."""
    found = [
        sn.direction(plain, "0", rows(12, 2 * i), rows(12, 2 * i + 1), method, **RAW)
        for i in range(5)
    ]
    assert sum(d.separation > d.separation_shuffled for d in found) <= 1
    assert sum(d.agrees for d in found) <= 1
    doubted = next(d for d in found if not d.agrees)
    assert doubted.headline.startswith("two halves of the inputs agree no better than by chance")


def test_whitening_is_exact_in_the_span_of_the_rows(plain) -> None:
    """The same direction as in all dimensions, where the shrunk covariance is written out."""
    a, b = rows(30, 0, 2.0).double(), rows(30, 1).double()
    d = sn.direction(plain, "0", a.float(), b.float(), "whitened", **RAW)
    from sklearn.covariance import ledoit_wolf

    centred = torch.cat([a - a.mean(0), b - b.mean(0)]).numpy()
    covariance, _ = ledoit_wolf(centred, assume_centered=True)
    expected = np.linalg.solve(covariance, (a.mean(0) - b.mean(0)).numpy())
    cosine = float(d.vector.double().numpy() @ expected) / np.linalg.norm(expected)
    assert cosine == pytest.approx(1.0, abs=1e-4)


def test_pairs_cancel_what_they_share(plain) -> None:
    """A loud content that both of a pair have hides from halves that keep pairs together."""
    content = 20 * torch.randn(16, D, generator=torch.Generator().manual_seed(0))
    shift = torch.zeros(D)
    shift[0] = 4.0
    noise = [torch.randn(16, D, generator=torch.Generator().manual_seed(i)) for i in (1, 2)]
    d = sn.direction(plain, "0", content + shift + noise[0], content + noise[1], **RAW)
    assert d.agrees
    assert d.reliability > 0.5


def test_a_direction_moves_a_live_model_and_survives_a_file(plain, tmp_path: Path) -> None:
    d = sn.direction(plain, "0", rows(20, 0, 6.0), rows(20, 1), **RAW)
    x = rows(7, 3)
    with sn.steer(plain, "0", direction=d, by=d.scale):
        torch.testing.assert_close(plain(x), x + d.scale * d.vector)
    d.save(tmp_path / "d")
    again = Direction.load(tmp_path / "d")
    assert torch.equal(again.vector, d.vector)
    assert again.headline == d.headline
    with sn.steer(plain, "0", direction=d, by=2.0) as steering:
        steering.recipe.to_vectors(tmp_path / "d.safetensors")
    assert (tmp_path / "d.safetensors").is_file()


def test_as_an_sae_its_latent_is_the_projection(plain) -> None:
    d = sn.direction(plain, "0", rows(20, 0, 6.0), rows(20, 1), **RAW)
    x = rows(9, 5)
    sae = d.as_sae()
    torch.testing.assert_close(sae.encode(x).to_dense()[:, 0], d.projections(x))
    torch.testing.assert_close(d.projections(x), x @ d.vector - d.middle)
    with sn.steer(plain, "0", sae, 0, by=2.0):
        torch.testing.assert_close(plain(x), x + 2.0 * d.vector)
    assert sn.dose_response(plain, "0", sae, x, 0, [0.0, 1.0]).effect[0] == 0.0


def test_a_cap_holds_from_above_and_a_floor_from_below(plain) -> None:
    """h − v·max(⟨h, v⟩ − τ, 0): nothing happens below τ, to the bit."""
    v = torch.nn.functional.normalize(torch.ones(D), dim=0)
    x = rows(50, 0)
    c = x @ v
    for mode, moved in (("cap", c.clamp_max(0.5)), ("floor", c.clamp_min(0.5))):
        with sn.steer(plain, "0", direction=v, by=0.5, mode=mode):
            out = plain(x)
        torch.testing.assert_close(out, x + (moved - c)[:, None] * v)
        still = moved == c
        assert 0 < int(still.sum()) < len(x)
        assert torch.equal(out[still], x[still])


@pytest.mark.parametrize("as_sae", [False, True])
@pytest.mark.parametrize(("mode", "side"), [("cap", -1), ("floor", 1)])
def test_a_bound_beyond_the_group_that_it_spares_is_said(
    plain, mode: str, side: int, as_sae: bool
) -> None:
    """Below the second group's mean a cap moves usual texts; above it, it does not warn."""
    d = sn.direction(plain, "0", rows(20, 0, 6.0), rows(20, 1), **RAW)
    origin = d.middle if as_sae else 0.0
    given = {"sae": d} if as_sae else {"direction": d}
    for beyond in (0.6, 0.4):
        by = d.middle + side * beyond * d.scale - origin
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            sn.steer(plain, "0", **given, mode=mode, by=by)
        assert [f"This {mode}, " in str(one.message) for one in said] == [True] * (beyond > 0.5)


def test_a_gate_opens_where_a_direction_or_an_atom_is(plain) -> None:
    d = sn.direction(plain, "0", rows(20, 0, 6.0), rows(20, 1), **RAW)
    x = torch.cat([rows(5, 7, 6.0), rows(5, 8)])
    push = torch.ones(D)
    with sn.steer(plain, "0", direction=push, by=1.0, where=d) as steering:
        out = plain(x)
    opened = d.projections(x) > 0
    assert 0 < int(opened.sum()) < len(x)
    assert torch.equal(out, torch.where(opened[:, None], x + push, x))
    assert "above" in steering.recipe.settings()["where"]
    sae = d.as_sae()
    for where, least in (((0, 2.0), 2.0), (0, 0.0)):
        with sn.steer(plain, "0", sae, 0, by=1.0, where=where):
            out = plain(x)
        torch.testing.assert_close(out, x + (d.projections(x) > least)[:, None] * d.vector)


def test_labels_of_chance_are_exchanged_within_pairs() -> None:
    """Of groups of one size between them; for a principal component within each, in an even number."""
    x, y = np.arange(10.0)[:, None], np.arange(10) < 5
    dealt, chance = _chance(x, y, "mean", np.random.default_rng(0))
    assert np.array_equal(dealt, x)
    assert (chance[:5] != chance[5:]).all()
    dealt, chance = _chance(x, y, "principal", np.random.default_rng(0))
    assert len(dealt) == len(chance) == len(set(dealt[:, 0])) == 8
    assert (chance[:4] != chance[4:]).all()
    assert ((dealt[:4] < 5) == (dealt[4:] < 5)).all()
    assert (dealt < 5).sum() == 4
    _, chance = _chance(x, np.arange(10) < 3, "mean", np.random.default_rng(0))
    assert chance.sum() == 3


def test_a_curve_can_be_followed_to_its_ends_and_no_further(plain) -> None:
    u = np.arange(8.0) + 2
    rest = torch.zeros(8, D - 2)
    x = torch.cat([torch.from_numpy(np.stack([u, u**2], axis=1)).float(), rest], dim=1)
    c = curve(x, u, order=2)
    for end in (2.0, 9.0):
        with sn.steer(plain, "0", curve=c, to=end):
            torch.testing.assert_close(plain(x[3:4]), c.at([end]), atol=2e-3, rtol=0)
    for beyond in (1.9, 9.1):
        with pytest.raises(ValueError, match="2 to 9"):
            sn.steer(plain, "0", curve=c, to=beyond)


def test_the_nearest_atom_is_named_beside_what_chance_finds() -> None:
    """Two of three, of either sign, are nearer than 0.2; one at 0.2 is not."""
    near = NearestAtoms(
        atoms=np.array([4, 1, 7]), names=("dogs", "cats", "rain"),
        cosines=np.array([-0.5, 0.3, 0.2]), by_chance=0.2, n_random=9,
    )  # fmt: skip
    assert near.headline.startswith("2 of 3 nearer than by chance (|cosine| 0.20, 9 random")
    assert near.headline.endswith("nearest dogs, -0.50")
    sae = sn.TopK(6, 5, 2, generator=torch.Generator().manual_seed(0))
    sae.operator.weight.data.mul_(3)
    found = nearest_atoms(torch.eye(6)[2], sae, 3, 40, seed=7)
    unit = torch.nn.functional.normalize(sae.dictionary, dim=1)
    order = unit[:, 2].abs().argsort(descending=True)[:3]
    assert found.atoms.tolist() == order.tolist()
    assert found.cosines == pytest.approx(unit[order, 2].tolist(), abs=1e-6)
    drawn = torch.randn(40, 6, generator=torch.Generator().manual_seed(7))
    best = (torch.nn.functional.normalize(drawn, dim=1) @ unit.T).abs().amax(dim=1)
    assert found.by_chance == pytest.approx(np.quantile(best.numpy(), 0.95), abs=1e-6)
    assert len(nearest_atoms(torch.eye(6)[2], sae, 9, 4, seed=0).names) == 5


def test_a_row_is_scored_by_a_direction_that_was_fitted_without_it() -> None:
    """In distances from the middle of both groups, so that folds of rows far from 0 can be put in one order."""
    generator = np.random.default_rng(0)
    y = np.arange(60) % 2 == 0
    x = 100 + y[:, None] + 0.2 * generator.standard_normal((60, 1))
    assert _held_out(x, y, lambda x, y: x[y].mean(axis=0) - x[~y].mean(axis=0)) == 1
    turned = np.where(y, -1, 1)[:, None] * (x - 100)
    fitted = _held_out(turned, y, lambda x, y: x[y].mean(axis=0) - x[~y].mean(axis=0))
    assert fitted == 1  # whichever way it points


def test_a_gate_is_open_above_its_threshold_and_not_at_it(plain) -> None:
    """⟨x, v⟩ of 6, 4 and 2 with v = (2 0 …), and latents of half that, at thresholds 4 and 2."""
    x = torch.zeros(1, 3, D)
    x[0, :, 0] = torch.tensor([3.0, 2.0, 1.0])
    x[..., 1] = 9
    v = torch.zeros(D)
    v[0] = 2
    assert Over(v, 4.0)(x).tolist() == [[True, False, False]]
    sae = SimpleNamespace(
        dictionary=torch.eye(D), encode=lambda x: SparseCodes.from_dense(x.relu())
    )
    assert Firing(sae, 0, 2.0)(x).tolist() == [[True, False, False]]
    assert Firing(sae, 2)(x).tolist() == [[False, False, False]]


def test_a_gate_that_never_opens_says_so(plain) -> None:
    d = sn.direction(plain, "0", rows(20, 0, 6.0), rows(20, 1), **RAW)
    with (
        pytest.warns(UserWarning, match="gate, direction above 1e\\+03, never opened"),
        sn.steer(plain, "0", direction=torch.ones(D), where=(d, 1000.0)),
    ):
        plain(rows(4, 0))


def test_what_has_a_gate_or_a_cap_does_not_travel_as_a_vector(plain, tmp_path: Path) -> None:
    d = sn.direction(plain, "0", rows(20, 0, 6.0), rows(20, 1), **RAW)
    for how in ({"mode": "cap", "by": 1.0}, {"by": 1.0, "where": d}):
        with sn.steer(plain, "0", direction=d, **how) as steering:
            with pytest.raises(ValueError, match="along one direction"):
                steering.recipe.to_vectors(tmp_path / "d.safetensors")
            module = nn.Sequential(nn.Identity(), nn.Identity())
            expected = plain(rows(6, 0, 6.0))
        with steering.recipe.to_hooks(module):
            torch.testing.assert_close(module(rows(6, 0, 6.0)), expected)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"positive": rows(1, 0)}, ValueError, "at least 2 inputs"),
        ({"positive": rows(3, 0), "method": "probe"}, ValueError, "at least 4 inputs"),
        ({"positive": rows(7, 0), "method": "principal"}, ValueError, "pairs"),
        ({"positive": "one text"}, TypeError, "several inputs"),
        ({"positive": rows(8, 1)}, ValueError, "the same mean"),
        ({"positive": rows(8, 0) * float("nan")}, ValueError, "NaN"),
        ({"method": "median"}, ValueError, "method"),
        ({"hook_point": "9"}, Exception, "9"),
    ],
)
def test_bad_input_is_refused(plain, change: dict, error: type[Exception], words: str) -> None:
    given = {"hook_point": "0", "positive": rows(8, 0), "negative": rows(8, 1)} | change
    with pytest.raises(error, match=words):
        sn.direction(plain, **given, **RAW)


def test_a_direction_of_another_place_is_refused_by_name(plain) -> None:
    d = sn.direction(plain, "0", rows(20, 0, 6.0), rows(20, 1), **RAW)
    other = sn.wrap(nn.Sequential(nn.Identity(), nn.Identity()))
    with pytest.raises(ValueError, match="must be of this place, 1 of"):
        sn.steer(other, "1", direction=d)
    with pytest.raises(TypeError, match="`where`"):
        sn.steer(other, "0", direction=torch.ones(D), where="always")
    with pytest.raises(TypeError, match="needs `sae`"):
        sn.steer(other, "0", direction=torch.ones(D), where=3)


def test_texts_of_a_live_model_give_a_direction() -> None:
    """Stories about a dog against stories about a girl: read at every token."""
    gpt = sn.load_model("tiny-gpt")
    frames = ["The %s was happy.", "A %s ran home.", "One day a %s sat down.", "The %s saw a tree.",
              "My %s is here.", "The little %s slept."]  # fmt: skip
    d = sn.direction(
        gpt,
        "resid_post.2",
        [f % "dog" for f in frames],
        [f % "girl" for f in frames],
        positions="all",
    )
    assert d.agrees
    assert d.separation > d.separation_shuffled - 1e-9


@pytest.fixture(scope="module")
def dogs() -> tuple[sn.models.live_model.LiveModel, Direction]:
    """A named direction of a live model, from stories about a dog against a girl."""
    gpt = sn.load_model("tiny-gpt")
    frames = ["The %s was happy.", "A %s ran home.", "One day a %s sat down.", "My %s is here."]
    both = ([f % word for f in frames] for word in ("dog", "girl"))
    return gpt, sn.direction(gpt, "resid_post.3", *both, positions="all", n_random=20, name="dogs")


def test_it_stands_where_an_sae_does_without_being_made_one(dogs) -> None:
    """Lens, dose–response, top atoms and graph give what they give of its SAE."""
    gpt, d = dogs
    text = ["The dog ran to the girl."]
    lens = sn.fit_lens(gpt, text, kind="logit", progress=False)
    torch.testing.assert_close(lens.effects(d), lens.effects(d.vector, 3))
    found = sn.dose_response(gpt, d.hook_point, d, text, strengths=[-d.scale, 0.0, d.scale])
    same = sn.dose_response(gpt, d.hook_point, d.as_sae(), text, 0, [-d.scale, 0.0, d.scale])
    assert np.array_equal(found.effect, same.effect)
    assert found.kl[1] == 0.0
    assert found.kl[2] > 0
    assert found.headline.startswith("dogs at resid_post.3")
    seen = sn.top_atoms(gpt, d, text[0])
    assert len(seen.atom)
    assert (seen.atom == 0).all()
    graph = sn.circuits.attribution_graph(gpt, [d], text)
    assert "resid_post.3" in set(map(str, graph.places))
    with sn.steer(gpt, d.hook_point, d, by=2.0) as steering:
        out = gpt(text)
        assert steering.recipe.atoms == (0,)
    with sn.steer(gpt, d.hook_point, direction=d, by=2.0):
        torch.testing.assert_close(gpt(text), out)


def test_panels_take_it_by_its_name(dogs) -> None:
    gpt, d = dogs
    for panel in (
        sn.SteeringPanel(gpt, d, inputs=["The dog ran."], strength=1.0),
        sn.InputLens(gpt, d),
        sn.GenerationLens(gpt, d, prompt="The dog"),
    ):
        panel.wait()
        assert panel.sae is d.as_sae()
        assert panel.names.name(0) == "0 · dogs"
        panel.close()


def test_the_curve_of_a_direction_has_no_nearest_atom_beside_it(dogs) -> None:
    gpt, d = dogs
    panel = sn.SteeringPanel(gpt, d, inputs=["The dog ran."], strength=1.0)
    panel.wait()
    panel.dose_response([-1.0, 1.0], n_controls=2)
    panel.wait()
    shown = {trace.name: trace.visible for trace in panel.plot.data}
    assert [shown[name] for name in shown if name and "nearest atom" in name] == [False]
    panel.close()


def test_nearest_atoms_have_names_and_a_level_of_chance(dogs) -> None:
    _, d = dogs
    sae = sn.load_sae("tiny-gpt/resid_post.3")
    near = d.nearest(sae, 5)
    unit = torch.nn.functional.normalize(sae.dictionary.detach(), dim=1)
    assert near.atoms[0] == int((unit @ d.vector).abs().argmax())
    assert 0 < near.by_chance < 1
    assert near.names == tuple(map(names_of(sae).name, near.atoms.tolist()))
    assert any(" · " in name for name in near.names)
    planted = type(d)(**{**vars_of(d), "vector": unit[17].clone()})
    assert planted.nearest(sae, 1).atoms.tolist() == [17]
    with pytest.raises(ValueError, match="must be of this place, resid_post.2"):
        sae = sn.TopK(d_in=128, n_atoms=8, k=2)
        sae.hook_point, sae.model_name = "resid_post.2", "tiny-gpt"
        d.nearest(sae)


def vars_of(d: Direction) -> dict:
    return {one.name: getattr(d, one.name) for one in fields(d)}


def test_what_it_raises_is_the_direct_path_or_the_lens(dogs) -> None:
    gpt, d = dogs
    assert d.raises(gpt, n=3).by == "direct path only"
    lens = sn.fit_lens(gpt, ["The dog ran to the girl."], kind="logit", progress=False)
    found = d.raises(gpt, lens, n=3)
    assert found.up[0][1] == pytest.approx(float(lens.effects(d).max()), rel=1e-5)


def test_another_place_or_model_is_refused_by_name(dogs) -> None:
    gpt, d = dogs
    text = ["The dog ran."]
    other = sn.load_model("tiny-vit")
    for call in (
        lambda: sn.dose_response(gpt, "resid_post.1", d, text, strengths=[1.0]),
        lambda: sn.SteeringPanel(gpt, "resid_post.1", d, text),
        lambda: sn.circuits.attribution_graph(gpt, {"resid_post.1": d}, text),
        lambda: sn.steer(gpt, "resid_post.1", d, by=1.0),
        lambda: d.raises(other),
    ):
        with pytest.raises(ValueError, match="must be of this place"):
            call()


def test_one_file_holds_all_and_others_read_its_vector(dogs, tmp_path: Path) -> None:
    _, d = dogs
    file = tmp_path / "dogs.safetensors"
    d.save(file)
    again = Direction.load(file)
    assert torch.equal(again.vector, d.vector)
    assert again.headline == d.headline
    with safe_open(file, framework="pt") as theirs:
        use = json.loads(theirs.metadata()["steering"])["vectors"][d.hook_point]
        assert use["constant"] == d.scale
        assert torch.equal(theirs.get_tensor(d.hook_point), d.vector)


@pytest.mark.parametrize("broken", ["cut", "plain", "long", "nan", "field", "missing"])
def test_a_broken_file_is_refused(dogs, tmp_path: Path, broken: str) -> None:
    _, d = dogs
    file = tmp_path / "d.safetensors"
    d.save(file)
    with safe_open(file, framework="pt") as read:
        header = read.metadata()
    vector = {"long": 3 * d.vector, "nan": d.vector * float("nan")}.get(broken, d.vector)
    if broken == "cut":
        file.write_bytes(file.read_bytes()[:-8])
    elif broken == "missing":
        file.unlink()
    else:
        about = json.loads(header["direction"])
        if broken == "field":
            del about["scale"]
        kept = {} if broken == "plain" else {"direction": json.dumps(about)}
        save_file({d.hook_point: vector}, file, metadata=kept)
    with pytest.raises((ValueError, FileNotFoundError), match="d.safetensors"):
        Direction.load(file)
