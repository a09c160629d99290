"""What every architecture promises, over the registry: a new one is tested by being listed."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.activations import Activations, load_activations
from sae_nb.architectures import ARCHITECTURES, DenseOperator, SparseAutoencoder
from sae_nb.architectures._one_step import without_zeros
from sae_nb.codes import SparseCodes
from sae_nb.pretrained import load_sae
from sae_nb.training import TrainConfig, train
from tests.architectures.conftest import (
    D_IN,
    build,
    data_of,
    in_one_go_and_in_two,
    read_by_its_loss,
    rows_of,
    whole,
)


def loss_of(sae: SparseAutoencoder, x: Tensor, silent: int = 0) -> Any:
    silent_tokens = torch.full((sae.n_atoms,), silent, dtype=torch.int64)
    return sae.training_loss(rows_of(sae, x), silent_tokens, 100, 0.5)


def test_codes_add_up_to_the_reconstruction(sae: SparseAutoencoder, x: Tensor) -> None:
    """x̂ = codes @ dictionary + bias, in the model's units, before and after initialisation."""
    for _ in range(2):
        codes = sae.encode(x)
        by_hand = codes.to_dense() @ sae.dictionary + sae.bias
        adds_up = torch.allclose(whole(sae.decode(codes)), by_hand, rtol=1e-4, atol=1e-3)
        assert adds_up == sae.additive
        if sae.unit_atoms:
            assert torch.allclose(sae.dictionary.norm(dim=1), torch.ones(sae.n_atoms), atol=1e-5)
        assert not sae.dictionary.requires_grad
        sae.initialise(rows_of(sae, x), torch.Generator().manual_seed(0))


def test_units_do_not_matter(make: Any, name: str, x: Tensor) -> None:
    """An SAE started on stretched and shifted activations gives stretched and shifted results."""
    plain, moved = make(name), make(name)
    y = 1000 * x - 5
    rows = rows_of(plain, x)
    plain.initialise(rows, torch.Generator().manual_seed(0))
    moved.initialise(1000 * rows - 5, torch.Generator().manual_seed(0))
    assert torch.allclose(1000 * plain(x) - 5, moved(y), rtol=1e-3, atol=0.1)
    in_codes, in_atoms = (1000, 1) if plain.unit_atoms else (1, 1000)
    codes, theirs = plain.encode(x).to_dense(), moved.encode(y).to_dense()
    assert torch.allclose(in_codes * codes, theirs, rtol=1e-3, atol=1e-4 * in_codes)
    assert torch.allclose(in_atoms * plain.dictionary, moved.dictionary, rtol=1e-3, atol=1e-3)
    silent = torch.zeros(plain.n_atoms, dtype=torch.int64)
    losses = [
        one.training_loss(r, silent, 100, 0.5).total
        for one, r in ((plain, rows), (moved, 1000 * rows - 5))
    ]
    assert torch.allclose(*losses, rtol=1e-4)


def test_leading_axes_are_kept(sae: SparseAutoencoder, x: Tensor) -> None:
    codes = sae.encode(x.reshape(3, 4, 5, -1))
    assert codes.shape == (3, 4, 5, sae.n_atoms)
    fewer_axes = x.reshape(12, 5, -1) if sae.reads_sequences else x
    assert torch.equal(codes.values, sae.encode(fewer_axes).values)
    assert sae(x.reshape(3, 4, 5, -1)).shape == (3, 4, 5, sae.d_out)
    assert sae(x[0]).shape == (sae.d_out,)
    assert sae.encode(x[0]).shape == (sae.n_atoms,)


@pytest.mark.parametrize("silent", [0, 100])
def test_gradients_are_finite_and_reach_every_parameter(
    sae: SparseAutoencoder, x: Tensor, silent: int
) -> None:
    """With all atoms alive, and with all of them dead; over some steps, where each moves a part of them."""
    sae.initialise(rows_of(sae, x), torch.Generator().manual_seed(0))
    for _ in range(8):
        loss_of(sae, x, silent).total.backward()
        if all(parameter.grad is not None for parameter in sae.parameters()):
            break
        sae.after_optimiser_step()
    for parameter_name, parameter in sae.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert bool(torch.isfinite(parameter.grad).all()), parameter_name
        assert bool((parameter.grad != 0).any()), parameter_name


def test_the_loss_keeps_its_promises(sae: SparseAutoencoder, x: Tensor) -> None:
    """A scalar with a gradient; constant codes, parts and reconstruction, which agree with encode."""
    sae.initialise(rows_of(sae, x), torch.Generator().manual_seed(0))
    loss = loss_of(sae, x)
    assert loss.total.shape == ()
    assert loss.total.requires_grad
    assert all(part.shape == () and not part.requires_grad for part in loss.parts.values())
    assert not loss.codes.values.requires_grad
    assert not loss.x_hat.requires_grad
    assert torch.allclose(loss.x_hat, read_by_its_loss(sae, x), rtol=1e-4, atol=1e-3)
    assert len(loss.codes) == len(x)


def test_a_step_keeps_atoms_on_the_sphere(sae: SparseAutoencoder, x: Tensor) -> None:
    """The projected gradient is tangent, and norms are 1 after the step."""
    if not isinstance(sae.operator, DenseOperator):
        pytest.skip("atoms are held by other means")
    sae.initialise(rows_of(sae, x), torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(sae.parameters(), lr=0.1)
    loss_of(sae, x).total.backward()
    sae.before_optimiser_step()
    gradient = sae.operator.weight.grad
    weight = sae.operator.weight
    along = (gradient * weight).sum(dim=1)
    assert float(along.abs().max()) <= 1e-6 * float(gradient.norm())
    optimiser.step()
    assert float((weight.norm(dim=1) - 1).abs().max()) > 1e-3
    sae.after_optimiser_step()
    assert torch.allclose(weight.norm(dim=1), torch.ones(sae.n_atoms), atol=1e-5)


@pytest.mark.slow
def test_training_helps(sae: SparseAutoencoder) -> None:
    generator = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(20, sae.d_in, generator=generator), dim=1)
    z = torch.rand(2000, 20, generator=generator)
    x = (z * (torch.rand(2000, 20, generator=generator) < 0.1)) @ atoms
    sae.initialise(rows_of(sae, x), generator)
    recipe = sae.recipe()
    optimiser = torch.optim.Adam(sae.parameters(), lr=recipe.learning_rate, betas=recipe.betas)
    losses = []
    for step in range(100):
        optimiser.zero_grad()
        loss = loss_of(sae, x[step * 20 : step * 20 + 500])
        loss.total.backward()
        sae.before_optimiser_step()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), recipe.gradient_clip)
        optimiser.step()
        sae.after_optimiser_step()
        losses.append(float(loss.parts["reconstruction"]))
    assert sum(losses[-10:]) / 10 < 0.5 * losses[0]


def test_divergence_stops_and_keeps_what_was_good(sae: SparseAutoencoder, x: Tensor) -> None:
    """A loss that overflows names its step, its terms and a way out; every tensor is still finite."""
    config = TrainConfig(steps=40, batch_size=30, learning_rate=1e18, warmup_steps=0)
    with pytest.raises(FloatingPointError, match="learning_rate") as caught:
        train(sae, data_of(sae, x), config, progress=False)
    said = re.search(r"at step (\d+) for (\w+)", str(caught.value))
    assert said[2] == type(sae).__name__
    assert f"keeps the weights of step {int(said[1]) - 1}" in str(caught.value)
    assert not sae.training
    for name, tensor in sae.state_dict().items():
        assert bool(torch.isfinite(tensor).all()), name


def test_files_give_back_the_same_bits(sae: SparseAutoencoder, x: Tensor, tmp_path: Path) -> None:
    """Every tensor, the settings, where it came from and what it computes; eval mode; no draw."""
    sae.initialise(rows_of(sae, x), torch.Generator().manual_seed(0))
    sae.hook_point, sae.model_name = "resid_post.6", "tiny-vit"
    sae.save(tmp_path / "sae")
    state = torch.get_rng_state()
    loaded = load_sae(tmp_path / "sae")
    assert torch.equal(torch.get_rng_state(), state)
    assert type(loaded) is type(sae)
    assert loaded.settings() == sae.settings()
    assert (loaded.hook_point, loaded.model_name) == ("resid_post.6", "tiny-vit")
    assert not loaded.training
    assert bool(loaded.initialised)
    ours, theirs = sae.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert torch.equal(loaded.encode(x).values, sae.eval().encode(x).values)
    assert type(sae).load(tmp_path / "sae").settings() == sae.settings()
    json.dumps(sae.settings())


@pytest.mark.slow
def test_a_resumed_training_gives_the_same_bits(name: str, make: Any, tmp_path: Path) -> None:
    """Twelve steps in one go, or six and six: whatever a step draws, counts or remembers goes on."""
    sae = make(name)
    x = 3 + torch.randn(300, D_IN, generator=torch.Generator().manual_seed(1))
    data = data_of(sae, x)
    if sae.reads_sequences:
        parts = (data,) if sae.writes is None else data
        parts = tuple(part.as_subclass(Tensor).reshape(30, 10, -1) for part in parts)
        data = parts[0] if sae.writes is None else parts
    whole, again = in_one_go_and_in_two(lambda: make(name), data, tmp_path)
    assert not torch.equal(whole.dictionary, sae.dictionary)
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key


def by_site(sae: SparseAutoencoder, parts: list[Any]) -> Any:
    if sae.writes is None:
        return parts
    n = len(sae.reads)
    return (parts[:n], parts[n:]) if sae.by_site else tuple(parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in ARCHITECTURES
        if len(build(name).sites) > 1 and name not in ("GradientSAE", "Lorsa")
    ],
)
def test_sites_train_alike_from_tensors_activations_and_disk(
    name: str, make: Any, x: Tensor, tmp_path: Path
) -> None:
    """The same rows give the same weights to the bit, wherever they lie; places are remembered."""
    first = make(name)
    parts = list(rows_of(first, x).split(list(first.sites), dim=1))
    acts = [Activations.from_tensor(part, hook_point=f"at.{i}") for i, part in enumerate(parts)]
    for i, part in enumerate(acts):
        part.save(tmp_path / str(i))
    stored = [load_activations(tmp_path / str(i)) for i in range(len(parts))]
    found = [(first, parts), (make(name), acts), (make(name), stored)]
    for sae, data in found:
        train(sae, by_site(sae, data), steps=6, batch_size=32, progress=False)
        for key, tensor in first.state_dict().items():
            assert torch.equal(tensor, sae.state_dict()[key]), key
    assert all(part.on_disk for part in stored)
    n = len(first.reads)
    for sae, _ in found[1:]:
        assert sae.hook_point == " + ".join(f"at.{i}" for i in range(n))
        written = " + ".join(f"at.{i}" for i in range(n, len(parts)))
        assert sae.target_hook_point == (written or None)


def test_copies_and_state_dicts_give_the_same_codes(
    sae: SparseAutoencoder, make: Any, name: str, x: Tensor, tmp_path: Path
) -> None:
    """A deep copy with tensors of its own, and another object that reads what torch wrote."""
    sae.initialise(rows_of(sae, x), torch.Generator().manual_seed(0))
    torch.save(sae.state_dict(), tmp_path / "state.pt")
    other = make(name, seed=1)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    expected = sae.eval().encode(x)
    for twin in (copy.deepcopy(sae), other):
        assert type(twin) is type(sae)
        assert twin.settings() == sae.settings()
        assert torch.equal(twin.eval().encode(x).values, expected.values)
        twin.requires_grad_(False)
        for tensor in twin.state_dict().values():
            tensor.zero_()
    assert torch.equal(sae.encode(x).values, expected.values)


def test_other_precisions_are_cast_to_the_saes(sae: SparseAutoencoder, x: Tensor) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        y = x.to(dtype)
        codes = sae.encode(y)
        assert codes.dtype == whole(sae.decode(codes)).dtype == torch.float32
        assert sae(y).dtype == dtype
        assert torch.equal(codes.values, sae.encode(y.float()).values)


def test_the_cpu_gives_what_the_reference_gives(
    sae: SparseAutoencoder, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codes, loss and every gradient, by compiled loops and by dense torch, in double precision."""
    sae.double().initialise(rows_of(sae, x.double()), torch.Generator().manual_seed(0))
    found = {}
    for backend in ("cpu", "reference"):

        def chosen(*_: Any, name: str = backend, **__: Any) -> str:
            return name

        monkeypatch.setattr("sae_nb.pursuit._pursuits.pick_backend", chosen)
        monkeypatch.setattr("sae_nb.kernels._coding.pick", chosen)
        sae.zero_grad(set_to_none=True)
        loss = loss_of(sae, x.double(), silent=100)
        loss.total.backward()
        gradients = [p.grad.clone() for p in sae.parameters() if p.grad is not None]
        found[backend] = (loss.codes.to_dense(), loss.total.detach(), *gradients)
    assert len(found["cpu"]) > 2
    for ours, theirs in zip(found["cpu"], found["reference"], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-9)


def test_rows_may_have_no_code(sae: SparseAutoencoder, x: Tensor) -> None:
    """A row without one comes back as the bias, its neighbours as they were; all rows may be so."""
    sae.initialise(rows_of(sae, x), torch.Generator().manual_seed(0))
    sae.eval()
    full = sae.encode(x)
    empty = without_zeros(full.with_values(full.values * (full.support.rows != 3)))
    assert int(empty.l0[3]) == 0
    x_hat = whole(sae.decode(empty))
    assert torch.allclose(x_hat[3], sae.bias, atol=1e-5)
    others = torch.arange(len(x)) != 3
    assert torch.allclose(x_hat[others], whole(sae.decode(full))[others], atol=1e-5)
    none = SparseCodes(
        full.values[:0], full.atoms[:0], torch.zeros_like(full.offsets), full.n_atoms
    )
    assert torch.allclose(whole(sae.decode(none)), sae.bias.expand(len(x), -1), atol=1e-5)


def test_the_input_gets_a_gradient_when_it_asks(sae: SparseAutoencoder, x: Tensor) -> None:
    """For attribution and for steering inside a trace; zero where a row, or the past, is not touched."""
    sae.eval()
    leaf = x.clone().requires_grad_()
    whole(sae.decode(sae.encode(leaf)))[3].square().sum().backward()
    assert bool((leaf.grad[3] != 0).any())
    untouched = [4, 5] if sae.reads_sequences else [0, 1, 2, 4]
    assert bool((leaf.grad[untouched] == 0).all())
    with torch.no_grad():
        assert not sae.encode(x).values.requires_grad
    with torch.inference_mode():
        assert torch.equal(sae(x), sae(x))


def test_nothing_is_built_on_a_device_that_does_not_exist(sae: SparseAutoencoder) -> None:
    with torch.device("meta"):
        ghost = type(sae)(**sae.settings())
    assert {parameter.device.type for parameter in ghost.parameters()} == {"meta"}
    assert {buffer.device.type for buffer in ghost.buffers()} == {"meta"}
    assert ghost.dictionary.shape == (sae.n_atoms, sae.d_out)


def test_randomness_is_an_argument(name: str, make: Any) -> None:
    torch.manual_seed(5)
    first = make(name, seed=3)
    torch.manual_seed(6)
    state = torch.get_rng_state()
    second = make(name, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.dictionary, second.dictionary)
    assert not torch.equal(first.dictionary, make(name, seed=4).dictionary)


def one_of_each_reader() -> list[str]:
    first: dict[Any, str] = {}
    for name, kind in ARCHITECTURES.items():
        first.setdefault((kind.encode, kind.forward), name)
    return list(first.values())


@pytest.mark.parametrize("name", one_of_each_reader())
def test_bad_activations_are_refused(sae: SparseAutoencoder, x: Tensor) -> None:
    """By encode and by the full forward, with rule, given, do: once for each code that reads them."""
    for bad, error, message in (
        (x[:, :5], ValueError, r"last dimension d_in=12, got shape \(60, 5\)"),
        (x[:0], ValueError, r"must not be empty, got shape \(0, 12\)"),
        (x.int(), TypeError, "floating-point numbers, got torch.int32"),
        (str(x), TypeError, "must hold numbers.*got str"),
        (x.index_fill(0, torch.tensor([7, 9]), torch.nan), ValueError, "first is row 7"),
        (x.index_fill(0, torch.tensor([3]), torch.inf), ValueError, "first is row 3"),
    ):
        for call in (sae.encode, sae):
            with pytest.raises(error, match=message):
                call(bad)
