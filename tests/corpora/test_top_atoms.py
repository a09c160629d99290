"""top_atoms: what fired, against its base rate, and what mattered; bad input is refused or said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.corpora import top_atoms


def untrained(d_in: int, n_atoms: int = 96, k: int = 6) -> Any:
    return sn.TopK(
        d_in=d_in, n_atoms=n_atoms, k=k, generator=torch.Generator().manual_seed(0)
    ).eval()


VIT_SAE, GPT_SAE = untrained(64), untrained(128)
PICTURE = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))


class Axes:
    d_in = n_atoms = 2
    dictionary = torch.eye(2)

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        return SparseCodes.from_dense(x.relu())

    def decode(self, codes: SparseCodes) -> Tensor:
        return codes.to_dense()


def test_numbers_by_hand() -> None:
    """Two positions, two atoms: strengths, lifts and contributions can be read off."""

    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(dim=1)

    model = sn.wrap(nn.Sequential(nn.Identity(), Mean()), class_names=["a", "b"])
    x = torch.tensor([[[3.0, 0.0], [1.0, 2.0], [0.0, -1.0], [4.0, 0.0]]])
    found = top_atoms(model, Axes(), x, "0", frequency=[0.25, 0.5], target="a")
    used = found.used
    assert used.atom.tolist() == [0, 1]
    assert used.n_fired.tolist() == [3, 1]
    assert used.strength.tolist() == [4.0, 2.0]
    assert used.total_strength.tolist() == [8.0, 2.0]
    assert used.lift.tolist() == [0.75 / 0.25, 0.25 / 0.5]
    # m = ℓ_a − mean(ℓ) = (x̄_a − x̄_b) / 2 and x̄ is over four positions: ∂m/∂x = ±1/8.
    np.testing.assert_allclose(used.attribution, [8 / 8, -2 / 8], atol=1e-6)
    kl = 0.75 * np.log(3) + 0.25 * np.log(0.25 / 0.75)
    assert used.surprise[0] == pytest.approx(4 * kl)
    assert used.surprise[1] < 0
    assert found.strengths(0).tolist() == [3.0, 1.0, 0.0, 4.0]
    np.testing.assert_allclose(found.attributions(1), [0, -2 / 8, 0, 0], atol=1e-6)
    assert found.at(1) == [(1, 2.0, pytest.approx(-0.25)), (0, 1.0, pytest.approx(0.125))]
    assert found.order("attribution").tolist() == [0, 1]


@pytest.mark.slow
def test_record_is_of_the_model_as_it_is(vit: Any) -> None:
    """Strengths are those of a capture; the answer is the model's."""
    found = top_atoms(vit, VIT_SAE, PICTURE, "resid_post.6")
    acts = sn.capture(vit, (255 * PICTURE[None]).round().byte(), "resid_post.6", progress=False)
    codes = VIT_SAE.encode(acts.x)
    dense = codes.to_dense().detach().numpy()
    atom = int(found.used.atom[0])
    np.testing.assert_allclose(found.strengths(atom), dense[:, atom], atol=1e-5)
    assert found.target == int(vit((255 * PICTURE[None]).round().byte()).argmax())
    assert len(found.tokens) == 69
    assert found.patches(found.strengths(atom)).shape == (8, 8)


def test_splice_check_is_the_ablation(vit: Any) -> None:
    """The exact number is what `ablate` does to the logit."""
    found = top_atoms(vit, VIT_SAE, PICTURE, "resid_post.9")
    atom = found.top(1, "attribution")[0]
    check = found.splice_check(atom, n_controls=1)
    shown = torch.from_numpy(found.picture)[None]
    with sn.ablate(vit, "resid_post.9", VIT_SAE, atom):
        logits = vit(shown)[0]
    gone = float(logits[found.target] - logits.mean())
    assert check.exact == pytest.approx(found.value - gone, abs=1e-4)
    assert check.first_order == pytest.approx(
        float(found.used.attribution[found.place(atom)]), abs=1e-5
    )


def test_orders_sort_what_they_say(vit: Any) -> None:
    share = np.random.default_rng(0).uniform(0.01, 0.3, 96)
    found = top_atoms(vit, VIT_SAE, PICTURE, "resid_post.6", frequency=share)
    assert found.natural_order == "surprise"
    for by in ("surprise", "lift", "strength", "total strength"):
        places = np.searchsorted(found.used.atom, found.order(by))
        column = getattr(found.used, by.replace(" ", "_"))[places]
        assert (np.diff(column) <= 1e-12).all()
    with pytest.raises(ValueError, match="one of"):
        found.order("loudest")


@pytest.mark.slow
def test_base_rates_from_activations_codes_and_numbers_agree(vit: Any) -> None:
    pictures = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    acts = sn.capture(vit, pictures, "resid_post.6", progress=False)
    codes = VIT_SAE.encode(acts.x).detach()
    ways = (acts, codes, codes.frequency)
    lifts = [
        top_atoms(vit, VIT_SAE, PICTURE, "resid_post.6", frequency=way).used.lift for way in ways
    ]
    np.testing.assert_allclose(lifts[0], lifts[1])
    seen = codes.frequency.numpy()[top_atoms(vit, VIT_SAE, PICTURE, "resid_post.6").used.atom] > 0
    np.testing.assert_allclose(lifts[0][seen], lifts[2][seen], rtol=1e-6)


def test_atom_never_seen_before_has_a_finite_lift(vit: Any) -> None:
    """It may be as frequent as 1 / (n + 1)."""
    none = SparseCodes.from_dense(torch.zeros(999, 96))
    found = top_atoms(vit, VIT_SAE, PICTURE, "resid_post.6", frequency=none)
    share = found.used.n_fired / 69
    np.testing.assert_allclose(found.used.lift, share * 1000)


@pytest.mark.slow
def test_pretrained_sae_brings_its_base_rates_and_labels(vit: Any) -> None:
    """Nothing has to be passed; an SAE with other atoms at the same place gets none of it."""
    sae = sn.load_sae("tiny-vit/resid_post.6")
    found = top_atoms(vit, sae, PICTURE)
    assert found.hook_point == "resid_post.6"
    assert found.base is not None
    assert len(found.labels) > 0
    other = untrained(64, sae.n_atoms)
    other.model_name, other.hook_point = sae.model_name, sae.hook_point
    assert top_atoms(vit, other, PICTURE).base is None


@pytest.mark.slow
def test_an_input_does_not_differ_from_itself(vit: Any) -> None:
    """No atom passes its floor; contributions are compared where they are to one measure."""
    found = top_atoms(vit, VIT_SAE, PICTURE, "resid_post.6")
    same = found.compare(found)
    assert not same.strength.above_floor.any()
    assert same.permuted == "positions"
    assert same.attribution is not None
    assert np.abs(same.attribution.value).max() == 0
    other = top_atoms(vit, VIT_SAE, PICTURE, "resid_post.6", target=(found.target + 1) % 10)
    assert found.compare(other).attribution is None


@pytest.mark.slow
def test_pictures_of_other_sizes_and_modes_are_converted_and_said(vit: Any, tmp_path: Path) -> None:
    """PIL, file, array: the record is the same as of the converted picture."""
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8))
    grey.save(tmp_path / "grey.png")
    found = top_atoms(vit, VIT_SAE, tmp_path / "grey.png", "resid_post.6")
    assert [n for n in found.notes if "base rate" not in n] == [
        "grey levels to RGB",
        "64×48 cropped to 48×48",
        "48×48 scaled to 32×32",
    ]
    again = top_atoms(vit, VIT_SAE, found.picture, "resid_post.6")
    assert [n for n in again.notes if "base rate" not in n] == []
    np.testing.assert_array_equal(found.strength, again.strength)


@pytest.mark.slow
def test_long_text_is_cut_and_said(gpt: Any) -> None:
    found = top_atoms(gpt, GPT_SAE, "a fox and " * 400, "resid_post.2")
    assert len(found.tokens) == 512
    assert any("cut at 512 tokens" in note for note in found.notes)


def test_special_tokens_in_a_text_are_said_and_not_read(gpt: Any) -> None:
    found = top_atoms(gpt, GPT_SAE, "a<|endoftext|>b", "resid_post.2")
    assert any("special token" in note for note in found.notes)
    assert found.special.sum() == 2
    assert set(np.flatnonzero(found.special)).isdisjoint(found.read)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_gradients_are_taken_wherever_it_is_called(vit: Any, mode: Any) -> None:
    with mode():
        found = top_atoms(vit, VIT_SAE, PICTURE, "resid_post.6")
    plain = top_atoms(vit, VIT_SAE, PICTURE, "resid_post.6")
    np.testing.assert_allclose(found.attribution, plain.attribution, atol=1e-6)


@pytest.mark.slow
def test_edits_in_force_are_part_of_the_run(vit: Any) -> None:
    """Inside a steering block the record is of the steered model."""
    atom = int(top_atoms(vit, VIT_SAE, PICTURE, "resid_post.6").used.atom[0])
    with sn.ablate(vit, "resid_post.6", VIT_SAE, atom):
        found = top_atoms(vit, VIT_SAE, PICTURE, "resid_post.6")
    before = top_atoms(vit, VIT_SAE, PICTURE, "resid_post.6")
    assert found.strengths(atom).max() < before.strengths(atom).max()
