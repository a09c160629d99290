"""Observables: directions against finite differences and the unembedding, ranks against the running model."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

import sae_nb as sn
from sae_nb.models import Frozen
from sae_nb_studies.circuits import Observable, observable

pytestmark = pytest.mark.slow

TEXT = "One day Mia saw a big red dog and"


@cache
def gpt() -> Any:
    return sn.load_model("tiny-gpt")


@cache
def she(paths: Any = "direct") -> Observable:
    return observable(gpt(), " she", " he", paths=paths, inputs=TEXT)


def changed(paths: str, place: str, by: torch.Tensor) -> float:
    """The difference with a vector added to a place everywhere, what `paths` leaves out kept as it was."""
    model = gpt()
    batch = next(iter(model.batches([TEXT])))
    layers = range(model.n_layers)
    kept = [f"mlp_out.{i}" for i in layers if paths != "all"]
    kept += [f"attn_out.{i}" for i in layers if paths == "direct"]
    kept = [name for name in kept if name != place]
    clean: dict[str, torch.Tensor] = {}

    def note(name: str, x: torch.Tensor) -> torch.Tensor:
        clean[name] = x.detach().clone()
        return x

    def run(edits: dict[str, Any], frozen: Frozen) -> float:
        with ExitStack() as under:
            for name, edit in edits.items():
                under.enter_context(sn.splice(model, name, edit))
            under.enter_context(torch.no_grad())
            under.enter_context(frozen)
            logits = model.main_output(model.forward(batch))[0, -1].double()
        first, second = (
            model.tokenizer(word, add_special_tokens=False)["input_ids"][0]
            for word in (" she", " he")
        )
        return float(logits[first] - logits[second])

    constants = Frozen(model)
    run({name: partial(note, name) for name in kept}, constants)
    edits: dict[str, Any] = {name: lambda _, n=name: clean[n] for name in kept}
    return run(edits | {place: lambda x: x + by}, Frozen(model, constants.constants))


@pytest.mark.parametrize("paths", ["direct", "heads", "all"])
@pytest.mark.parametrize("place", ["resid_pre.0", "mlp_out.1"])
def test_a_direction_is_what_a_small_change_does(paths: Any, place: str) -> None:
    u = normalize(
        torch.randn(gpt().width(place), generator=torch.Generator().manual_seed(1)), dim=0
    )
    foreseen = float(she(paths).at(place) @ u)
    step = 0.02
    measured = (changed(paths, place, step * u) - changed(paths, place, -step * u)) / (2 * step)
    assert foreseen == pytest.approx(measured, rel=0.02, abs=2e-4)


def test_along_the_stream_it_is_two_rows_of_the_unembedding() -> None:
    model = gpt()
    rows = [
        model.module.lm_head.weight[model.tokenizer(word, add_special_tokens=False)["input_ids"][0]]
        for word in (" she", " he")
    ]
    expected = (rows[0] - rows[1]) * model.module.model.norm.weight
    expected = expected.detach()
    for place in ("resid_pre.0", "mlp_out.2", "resid_post.3"):
        for of in (she(), observable(model, " she", " he")):
            assert cosine_similarity(of.at(place), expected, dim=0) > 0.99999


def test_the_ranked_atoms_move_the_answer_as_foreseen() -> None:
    """After the last block only the change of a norm's scale is left out; the largest cosines come first."""
    sae = sn.load_sae("tiny-gpt/resid_post.3")
    of = observable(gpt(), " she", " he", inputs=TEXT)
    ranked = of.rank(sae, n=6)
    assert ranked.cosine.abs().is_monotonic_decreasing
    whole = of.rank(sae)
    assert len(whole) == sae.n_atoms
    assert set(whole.atom) == set(range(sae.n_atoms))
    table = of.measure(sae, TEXT, ranked.atom.tolist(), by=0.5)
    assert table.foreseen.to_numpy() == pytest.approx(table.measured.to_numpy(), rel=0.15)
    assert table.foreseen.to_numpy() == pytest.approx(0.5 * ranked.effect.to_numpy(), rel=1e-4)


def test_a_planted_atom_comes_first_and_only_it_is_beyond_luck() -> None:
    """Among random atoms; 2 000 of them hold none beyond what luck brings in 19 of 20 draws."""
    model = gpt()
    sae = sn.TopK(model.width("resid_post.1"), 2000, 4, generator=torch.Generator().manual_seed(0))
    sae.hook_point = "resid_post.1"
    y = she().at("resid_post.1")
    with torch.no_grad():
        sae.dictionary[77] = -normalize(y, dim=0)
    ranked = she().rank(sae)
    assert int(ranked.atom[0]) == 77
    assert float(ranked.cosine[0]) == pytest.approx(-1, abs=1e-5)
    assert int(ranked.beyond_luck.sum()) == 1


def test_classes_of_an_image_model_are_ranked_without_an_image() -> None:
    """A grey one stands in; class 3 against 8, and the other way round with the other sign."""
    vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    one, other = observable(vit, 3, 8, paths="heads"), observable(vit, "8", "3", paths="heads")
    assert one.rank(sae, n=5).cosine.tolist() == pytest.approx(
        (-other.rank(sae, n=5).cosine).tolist(), abs=1e-6
    )
    alone = observable(vit, 3)
    assert alone.name == "“3”"
    assert str(alone).endswith("along the stream alone")
    foreseen = alone.measure(sae, sn.data.scenes(4, seed=0), [5], by=0.5)
    assert foreseen.columns.tolist() == ["atom", "foreseen", "measured"]


def test_coupling_is_what_one_difference_does_to_another() -> None:
    """One unit of the first, by the smallest change that does it."""
    model, place = gpt(), "resid_post.3"
    other = observable(model, " her", " his", inputs=TEXT)
    y = she().at(place)
    step = y / y.square().sum()
    assert float(y @ step) == pytest.approx(1, rel=1e-5)
    assert she().coupling(other, place) == pytest.approx(float(other.at(place) @ step), rel=1e-5)
    assert she().coupling(she(), place) == pytest.approx(1, rel=1e-6)
