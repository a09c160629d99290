"""What one-step SAEs share: dead atoms return, by losses that cost nothing while all live, or by resampling."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sae_nb.architectures import ARCHITECTURES
from sae_nb.architectures._one_step import OneStep
from sae_nb.architectures._revival import LAST_RESAMPLING, Dead, push_up_loss
from sae_nb.data import planted_dictionary
from sae_nb.training import TrainConfig, TrainRecord, train

COUNTS: dict[str, dict[str, Any]] = {
    "TopK": {"k": 3},
    "BatchTopK": {"k": 3},
    "Matryoshka": {"k": 3},
    "AbsTopK": {"k": 3},
    "JumpReLU": {"l0": 3},
    "ReLU": {},
    "Gated": {},
    "TopAFA": {},
}


def make(name: str, n_atoms: int = 40, d_in: int = 16, **settings: Any) -> OneStep:
    generator = torch.Generator().manual_seed(0)
    arguments = COUNTS[name] | settings
    return ARCHITECTURES[name](d_in, n_atoms, generator=generator, **arguments)  # type: ignore[return-value, call-arg]


class Shapes(TorchDispatchMode):
    """Record the size of every floating-point tensor that torch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                self.made.append((str(func), tuple(tensor.shape)))
        return out


SEVERAL: dict[str, Any] = {
    "Crosscoder": [12, 8],
    "UniversalSAE": [12, 8],
    "CrossLayerTranscoder": [10, 10],
}


ONEDNN = pytest.param(
    True,
    marks=pytest.mark.skipif(
        not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="no oneDNN"
    ),
)


@pytest.mark.parametrize("onednn", [False, ONEDNN])
@pytest.mark.parametrize("name", [*COUNTS, *SEVERAL])
def test_a_training_step_builds_no_dense_code_and_no_gradient_product(
    name: str, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only (rows, n_atoms) matrix is the tile of pre-codes; the only product makes it."""
    monkeypatch.setattr("sae_nb.kernels._products.ONEDNN", onednn)
    monkeypatch.setattr("sae_nb.kernels._products.WIDTH", 0)
    rows, d_in, n_atoms = 96, 20, 1111
    sae: Any
    if name in SEVERAL:
        sae = ARCHITECTURES[name](SEVERAL[name], n_atoms, 4)  # type: ignore[call-arg]
    else:
        sae = make(name, n_atoms=n_atoms, d_in=d_in)
    x = torch.randn(rows, sum(sae.sites), generator=torch.Generator().manual_seed(0))
    sae.initialise(x, torch.Generator().manual_seed(0))
    silent = torch.zeros(sae.n_atoms, dtype=torch.long)
    sae.training_loss(x, silent, 1, 0.5).total.backward()
    with Shapes() as shapes:
        sae.training_loss(x, silent, 10**6, 0.5).total.backward()
    # The product, and names for the memory it is written to.
    product = "mkldnn._linear_pointwise.default" if onednn else "aten.mm.out"
    tile = {product, "aten._to_dense.default", "aten.view.default", "aten.detach.default"}
    large = {func for func, shape in shapes.made if sorted(shape) == [rows, n_atoms]}
    assert product in large
    assert large <= tile
    # Nor one of any other shape: only views of that memory are as large.
    flat = {func for func, shape in shapes.made if shape and prod(shape) >= rows * n_atoms}
    assert flat <= tile | {"aten.slice.Tensor", "aten.view.dtype"}, flat - tile
    products = [shape for func, shape in shapes.made if func.startswith((product, "aten.mm"))]
    if (
        name in COUNTS
    ):  # the second is a matrix times a vector: the gradient of the bias through the encoder
        assert sorted(products) in ([(1, d_in), (rows, n_atoms)], [(rows, n_atoms)])


@pytest.mark.slow
@pytest.mark.parametrize("revival", ["auxk", "push-up", "resample"])
def test_each_way_brings_dead_atoms_back(revival: str) -> None:
    x = planted_dictionary(64, 32, 2048, 3, noise=0.02, seed=0).x
    config = TrainConfig(steps=150, batch_size=512, dead_after_tokens=2048)
    dead = {}
    for weight in (0.0, 1 / 32):
        chosen = revival if weight else "auxk"
        sae = make("TopK", n_atoms=64, d_in=32, revival=chosen, aux_weight=weight)
        with torch.no_grad():
            sae.encoder.bias[:32] -= 2.0
        history = train(sae, x, config, progress=False).history
        dead[weight] = max(record.dead_fraction for record in list(history)[-3:])
    assert dead[0.0] >= 0.2
    assert dead[1 / 32] <= dead[0.0] / 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["AbsTopK", "Gated"])
def test_the_own_revival_reaches_signs_and_gates(name: str) -> None:
    x = planted_dictionary(64, 32, 2048, 3, noise=0.02, seed=0).x
    config = TrainConfig(steps=200, batch_size=512, dead_after_tokens=2048)
    sae = make(name, n_atoms=64, d_in=32)
    sae.initialise(x, None)
    with torch.no_grad():
        sae.encoder.weight[:32] *= 0.02
    silent = 64 - len(sae.encode(x).atoms.unique())
    assert silent >= 28
    history = train(sae, x, config, progress=False).history
    assert list(history)[-1].dead_fraction <= 0.1


def test_no_atom_is_born_in_the_last_part_of_a_run(rows: Tensor) -> None:
    sae = make("TopK", revival="resample")
    sae.initialise(rows, None)
    silent = torch.zeros(40, dtype=torch.long)
    silent[5] = 100
    for fraction, born in ((LAST_RESAMPLING - 0.01, [5]), (LAST_RESAMPLING, None), (1.0, None)):
        sae.training_loss(rows, silent, 100, fraction)
        sae.after_optimiser_step()
        assert (sae.resampled if born is None else sae.resampled.tolist()) == born


def test_the_push_needs_no_pre_codes(rows: Tensor) -> None:
    """It is minus the mean pre-code of dead atoms in scaled units, and only they are pushed."""
    sae = make("ReLU")
    sae.initialise(rows, None)
    dead = torch.tensor([3, 8])
    scale = sae.scaling.scale
    loss = push_up_loss(rows, sae.encoder, dead=Dead(dead), centre=sae.bias, scale=scale)
    pre_codes = sae.encoder(rows - sae.bias, scale) * scale
    assert torch.allclose(loss, -pre_codes[:, dead].mean(), atol=1e-5)
    loss.backward()
    assert sae.encoder.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist() == [3, 8]
    assert sae.encoder.bias.grad.nonzero().flatten().tolist() == [3, 8]
    assert sae.pre_bias.grad is None


def test_a_push_is_gone_by_the_middle_of_the_run(rows: Tensor) -> None:
    sae = make("TopK", revival="push-up", aux_weight=0.5)
    sae.initialise(rows, None)
    silent = torch.full((40,), 99)
    for fraction, share in ((0.0, 1.0), (0.25, 0.5), (0.5, 0.0), (1.0, 0.0)):
        loss = sae.training_loss(rows, silent, 99, fraction)
        added = (loss.total - loss.parts["reconstruction"]).item()
        assert added == pytest.approx(0.5 * share * loss.parts["auxiliary"].item(), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BatchTopK", "ReLU", "JumpReLU"])
def test_a_checkpoint_outlives_a_divergence(name: str, tmp_path: Path) -> None:
    """The last one holds the weights before it, buffers included, and the same call goes on there."""
    x = planted_dictionary(40, 16, 512, 3, seed=0).x
    config = TrainConfig(
        steps=20, batch_size=128, checkpoint=tmp_path / "run", checkpoint_every=5, log_every=1
    )
    settings = {"l0": 3.0} if name == "ReLU" else {}
    sae = make(name, **settings)

    def sabotage(record: TrainRecord) -> None:
        if record.step == 12:
            sae.encoder.weight.data.mul_(1e25)

    with pytest.raises(FloatingPointError, match=f"at step 13 for {name}"):
        train(sae, x, config, callbacks=sabotage, progress=False)
    again = make(name, **settings)
    steps = [record.step for record in train(again, x, config, progress=False).history]
    assert steps == list(range(1, 21))
    whole = make(name, **settings)
    plain = TrainConfig(steps=20, batch_size=128, log_every=1)
    train(whole, x, plain, progress=False)
    for ours, theirs in zip(again.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


# After 300 steps of their own recipe: least R² on held-out rows, and largest share of atoms that no row of
# the training data uses. Mean less, or plus, two standard deviations of seeds 0, 1, 2 (of the first three: 0 to 5),
# rounded outwards.
LEARNS = {
    "TopK": ({"k": 16}, 0.92, 0.05),
    "BatchTopK": ({"k": 16}, 0.92, 0.04),
    "JumpReLU": ({"l0": 16.0}, 0.92, 0.18),
}


@pytest.fixture(scope="module")
def activations() -> tuple[Tensor, Tensor]:
    """Of tiny-vit on 250 scenes, whole scenes apart: to train on and to test with."""
    import sae_nb as sn

    model = sn.load_model("tiny-vit")
    acts = sn.capture(model, sn.data.scenes(250, seed=0), "resid_post.6", progress=False)
    first, second = acts.split(0.8, seed=0)
    return first.x, second.x


@pytest.mark.slow
@pytest.mark.parametrize("name", list(LEARNS))
def test_its_own_recipe_learns_in_a_few_hundred_steps(
    name: str, activations: tuple[Tensor, Tensor]
) -> None:
    settings, asked, dead = LEARNS[name]
    sae = make(name, n_atoms=512, d_in=64, **settings)
    train(sae, activations[0], TrainConfig(steps=300), progress=False)
    codes = sae.encode(activations[1]).detach()
    x, x_hat = activations[1], sae.decode(codes).detach()
    explained = 1 - float((x - x_hat).square().sum() / (x - x.mean(dim=0)).square().sum())
    assert explained >= asked
    used = sae.encode(activations[0]).detach()
    assert 1 - len(used.atoms[used.values != 0].unique()) / 512 <= dead
    assert 12 <= codes.nnz / len(x) <= 20


def test_a_dictionary_that_cannot_fit_is_refused_with_what_it_needs() -> None:
    with pytest.raises(MemoryError, match=r"needs 5722\.0 GiB"):
        ARCHITECTURES["TopK"](d_in=768, n_atoms=10**9, k=8)
