"""Every mode and unit of steering keeps what its record says; a mode is that and its row in the docs."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.steering._recipe import SteeringRecipe, edit_of
from sae_nb.steering._summary import control_of
from sae_nb.steering.modes import MODES, UNITS, USUAL, SteeringMode, StrengthUnit, strength_quantile

D = 6
X = torch.randn(5, D, generator=torch.Generator().manual_seed(1))

CAPPED = SteeringMode(
    change=lambda z, by: torch.minimum(z, torch.as_tensor(by).to(z)) - z,
    verb="cap at",
    menu="cap the latent at",
)
"""What a newcomer writes: z' = min(z, by)."""


MEDIAN = StrengthUnit(
    name="median",
    measure=partial(strength_quantile, share=0.5),
    stored="usual_strength",
    words="× usual strength",
    many="{}× usual strength",
    meaning="the median of the atom's activations",
    explained="usual strength: {size}, the median of its firings",
    widest=8.0,
    safe=3.0,
)
"""What a newcomer writes for a unit: multiples of what half of an atom's firings stay below."""


class ReLUSae:
    """z = relu(x Dᵀ), x̂ = z D; rows of length 2, as other libraries' SAEs may have them."""

    d_in, n_atoms = D, 9

    def __init__(self) -> None:
        rows = torch.randn(self.n_atoms, D, generator=torch.Generator().manual_seed(0))
        self.dictionary = 2 * torch.nn.functional.normalize(rows, dim=1)
        for unit in (*UNITS.values(), MEDIAN):
            if unit.measured:
                setattr(self, unit.stored, np.full(self.n_atoms, 0.5))

    def dense(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.dictionary.T)

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        return SparseCodes.from_dense(self.dense(x))

    def __call__(self, x: Tensor) -> Tensor:
        return self.dense(x) @ self.dictionary


SAE = ReLUSae()


@pytest.fixture
def plain() -> sn.models.live_model.LiveModel:
    return sn.wrap(nn.Sequential(nn.Identity(), nn.Identity()), class_names=list("abcdef"))


@pytest.fixture(params=[*MODES, "cap"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the modes there are, and one that is not there until its record is."""
    if request.param not in MODES:
        monkeypatch.setitem(MODES, request.param, CAPPED)
    return request.param


@pytest.mark.parametrize("keep_error", [True, False])
def test_atoms_move_as_the_record_says(plain, mode: str, keep_error: bool) -> None:
    """x' = x (or x̂) + Σ_j (z'_j − z_j)·d_j, redone densely."""
    how, atoms, by = MODES[mode], [2, 7], (1.5, 0.25)
    rows = SAE.dictionary[atoms]
    if how.unit_atoms:
        rows = torch.nn.functional.normalize(rows, dim=1)
    moved = how.change(SAE.dense(X)[:, atoms], torch.tensor(by))
    expected = (X if keep_error else SAE(X)) + moved.expand(len(X), 2) @ rows
    with sn.steer(plain, "0", SAE, atoms, by, mode=mode, keep_error=keep_error) as recipe:
        torch.testing.assert_close(plain(X), expected)
    assert recipe.mode == mode


def test_a_direction_moves_as_the_record_says(plain, mode: str) -> None:
    """x' = x + (c' − c)·d with c = ⟨x, d⟩ / ⟨d, d⟩."""
    d = torch.arange(1.0, D + 1)
    c = X @ d / d.square().sum()
    moved = MODES[mode].change(c, 0.75)
    moved = torch.as_tensor(moved).expand(len(X))
    with sn.steer(plain, "0", direction=d, by=0.75, mode=mode):
        torch.testing.assert_close(plain(X), X + moved[:, None] * d)


def test_what_does_not_read_latents_is_the_same_for_all(mode: str) -> None:
    """`reads_latents=False` is a promise: then the SAE is never asked."""
    change = MODES[mode].change
    z = torch.tensor([0.0, 3.0])
    alike = bool((torch.as_tensor(change(z, 0.5)).expand(2).diff() == 0).all())
    assert alike is not MODES[mode].reads_latents


@pytest.mark.parametrize("mode", [name for name, how in MODES.items() if how.neutral is not None])
def test_the_neutral_strength_changes_nothing(plain, mode: str) -> None:
    with sn.steer(plain, "0", SAE, 3, MODES[mode].neutral, mode=mode):
        torch.testing.assert_close(plain(X), X)


@pytest.fixture(params=[*(name for name, unit in UNITS.items() if unit.measured), "median"])
def unit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each unit that is measured atom by atom, and one that is not there until its record is."""
    if request.param not in UNITS:
        monkeypatch.setitem(UNITS, request.param, MEDIAN)
    return request.param


def test_measured_units_count_where_the_record_takes_them(plain, mode: str, unit: str) -> None:
    """A strength of two units is twice .5, of unit atoms twice as long; a factor has no unit."""
    if not MODES[mode].takes_units:
        with pytest.raises(ValueError, match=f'`unit="{unit}"` has no meaning with mode="{mode}"'):
            sn.steer(plain, "0", SAE, 3, 2.0, mode=mode, unit=unit)
        with pytest.raises(ValueError, match="needs a positive p99 and mode"):
            SteeringRecipe(hook_point="0", atom=3, strength=2.0, unit=unit, p99=0.5, mode=mode)
        return
    with sn.steer(plain, "0", SAE, 3, 2.0, mode=mode, unit=unit) as recipe:
        assert recipe.amount == pytest.approx((2.0 if MODES[mode].unit_atoms else 1.0,))
    kept = SteeringRecipe(
        hook_point="0", atom=3, strength=2.0, unit=unit, p99=recipe.amount[0] / 2, mode=mode
    )
    assert SteeringRecipe.from_json(kept.to_json()) == kept
    assert kept.amount == pytest.approx(recipe.amount[0])


def test_a_unit_is_measured_on_what_is_given(plain, unit: str) -> None:
    """Activations, else what the SAE holds; without either the error says which attribute it lacks."""
    with sn.steer(plain, "0", SAE, 3, 2.0, mode="set", unit=unit, acts=X) as recipe:
        found = UNITS[unit].measure(SAE, X)
        assert recipe.amount == pytest.approx((2 * float(found[3]),))
    effects = sn.steering.dose_response(
        plain, "0", SAE, X, 3, [2.0], unit=unit, measure=lambda y: y[:, 0], n_controls=0
    )
    assert effects.strengths == pytest.approx([2.0])
    bare = ReLUSae()
    delattr(bare, UNITS[unit].stored)
    with pytest.raises(ValueError, match=UNITS[unit].stored):
        sn.steer(plain, "0", bare, 3, 2.0, unit=unit)


def test_a_recipe_comes_back_and_its_control_has_its_norm(plain, mode: str) -> None:
    """Records, JSON, the edit and its random direction know the mode by its record."""
    recipe = SteeringRecipe(hook_point="0", atom=3, strength=0.75, mode=mode)
    assert SteeringRecipe.from_json(recipe.to_json()) == recipe
    with edit_of(plain, SAE, recipe):
        ours = (plain(X) - X).norm(dim=1)
    with control_of(plain, SAE, recipe):
        torch.testing.assert_close((plain(X) - X).norm(dim=1), ours)


def test_the_panel_offers_it(plain, mode: str) -> None:
    how = MODES[mode]
    panel = sw.SteeringPanel(plain, "0", SAE, X[:1], atom=3, strength=2.0)
    try:
        panel.mode = mode
        assert panel.summary.recipe.mode == mode
        assert (how.menu, mode) in panel.controls.mode.options
        assert panel.controls.mode.value == mode
        assert (panel.controls.strength.low < 0) is how.signed
        assert panel.unit == (USUAL if how.takes_units else "coefficient")
        assert f"atom 3 {how.verb} 2" in panel.reasons
        assert how.unit_words in panel.controls.unit.value
    finally:
        panel.close()
