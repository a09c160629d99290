"""Workers that share the atoms of a dictionary take the steps that one process takes with all of them."""

from __future__ import annotations

import copy
import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from workers_as_threads import Together, in_threads

import sae_nb as sn
from sae_nb.architectures import BatchTopKProx, TopKProx
from sae_nb.codes import SparseCodes
from sae_nb.pursuit import Problem
from sae_nb.training import Team
from sae_nb.training._loop import drawing, make
from sae_nb.training._sharded_pursuit import pursue
from sae_nb.training._shards import Shard, check_can_shard

SCRIPT = Path(__file__).with_name("shards_script.py")
pytestmark = pytest.mark.timeout(900)  # the first test waits for all runs, on a crowded machine
ONE_STEP = ("topk", "push-up", "batch", "relu", "jump")
PURSUITS = ("pursuit", "once", "published", "constants", "refitted", "refitted signed")
NAMES = ONE_STEP + PURSUITS
RESAMPLED = ("pursuit", "once", "constants")


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, run_modes: Callable[..., None]
) -> dict[str, Any]:
    """One process; two, three; two of which one is killed at step 30 and started again by torchrun."""
    folder = tmp_path_factory.mktemp("shards")
    modes = {"alone": 1, "two": 2, "three": 3, "killed": 2}
    run_modes(SCRIPT, folder, *modes.items())
    found: dict[str, Any] = {
        name: json.loads((folder / f"{name}.json").read_text()) for name in modes
    }
    return found | {"died": (folder / "died").exists(), "folder": folder}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["two", "three"])
def test_shards_have_the_curve_of_one_process(runs: dict[str, Any], mode: str) -> None:
    """Loss, clipped gradient's norm, R², L0, dead atoms and AuxK, record by record."""
    alone, together = runs["alone"][1], runs[mode][1]
    assert runs[mode][0] == {"two": 2, "three": 3}[mode]
    for name in NAMES:
        for what in ("loss", "gradient_norm", "r2", "l0", "dead", "auxiliary"):
            torch.testing.assert_close(
                torch.tensor(together[name][what]),
                torch.tensor(alone[name][what]),
                rtol=1e-4,
                atol=1e-6,
                msg=lambda found, at=(name, what): f"{at}: {found}",
            )


@pytest.mark.slow
def test_auxiliary_losses_were_at_work(runs: dict[str, Any]) -> None:
    assert all(max(runs["alone"][1][name]["auxiliary"]) > 0.01 for name in ONE_STEP)


@pytest.mark.slow
def test_atoms_of_pursuits_died_and_were_resampled(runs: dict[str, Any]) -> None:
    """Otherwise the comparison would say nothing about resampling, which must be shared out."""
    assert all(max(runs["alone"][1][name]["dead"]) > 0 for name in RESAMPLED)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["two", "three"])
def test_the_joined_dictionary_is_that_of_one_process(runs: dict[str, Any], mode: str) -> None:
    """Opened by `load_sae` like any other, tensor by tensor, thresholds and prices included."""
    for name in NAMES:
        one, joined = (sn.load_sae(runs["folder"] / run / name) for run in ("alone", mode))
        assert joined.settings() == one.settings()
        for key, tensor in one.state_dict().items():
            torch.testing.assert_close(joined.state_dict()[key], tensor, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_every_worker_ends_with_the_whole_sae(runs: dict[str, Any]) -> None:
    for mode in ("two", "three", "killed"):
        assert {sae["apart"] for sae in runs[mode][1].values()} == {0.0}


@pytest.mark.slow
def test_a_worker_holds_its_share_of_memory(runs: dict[str, Any]) -> None:
    """Parameters, gradients and moments, counted in bytes while it trains: half, and a third."""
    for mode, size in (("two", 2), ("three", 3)):
        for name in NAMES:
            share = runs[mode][1][name]["bytes"] / runs["alone"][1][name]["bytes"]
            assert share == pytest.approx(1 / size, rel=0.03)


@pytest.mark.slow
def test_killed_worker_costs_nothing(runs: dict[str, Any]) -> None:
    """torchrun starts the workers again; they go on from step 20 and end where the others ended."""
    assert runs["died"]
    assert tuple(runs["killed"][1]) == _script().KILLED
    assert all(found == runs["two"][1][name] for name, found in runs["killed"][1].items())


@pytest.mark.slow
def test_a_checkpoint_of_shards_is_whole(runs: dict[str, Any]) -> None:
    """One process opens it: a finished run is given back, moments of all atoms included."""
    script = _script()
    trained = list(script.saes(0).values())
    config = sn.TrainConfig(
        steps=script.STEPS + 1,
        batch_size=130,
        log_every=5,
        dead_after_tokens=400,
        gradient_clip=0.5,
        checkpoint=runs["folder"] / "checkpoint-two",
    )
    results = sn.train(trained, script.rows(), config, progress=False)
    assert [len(result.history) for result in results] == [10] * len(NAMES)
    whole = sn.load_sae(runs["folder"] / "two" / "topk")
    torch.testing.assert_close(trained[0].dictionary, whole.dictionary, rtol=0, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["alone", "two", "three"])
def test_saved_from_shards_is_what_was_saved_whole(runs: dict[str, Any], mode: str) -> None:
    """Byte for byte, though no worker had all atoms after the first step; and what was passed has none."""
    for name in _script().SAVED:
        whole, streamed = (runs["folder"] / at / name for at in (mode, f"saved-{mode}"))
        for file in ("sae.safetensors", "config.json"):
            assert (streamed / file).read_bytes() == (whole / file).read_bytes()
        assert sn.load_sae(streamed).measured == sn.load_sae(whole).measured
        for rank in range(runs[mode][0]):
            left = json.loads((runs["folder"] / f"left-{mode}-{rank}.json").read_text())
            assert left[name] == ("cpu" if mode == "alone" else "meta")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["alone", "two", "three"])
def test_workers_measure_a_saved_sae_as_one_process_does(runs: dict[str, Any], mode: str) -> None:
    for name in _script().SAVED:
        sae = sn.load_sae(runs["folder"] / f"saved-{mode}" / name)
        whole = sn.evaluate(sae, _script().rows(), n_bootstrap=0)
        for rank in range(runs[mode][0]):
            found = json.loads((runs["folder"] / f"measured-{mode}-{rank}.json").read_text())[name]
            assert "r2" in found
            for row, value in found.items():
                assert value == pytest.approx(whole[row].value, rel=1e-5, abs=1e-5, nan_ok=True)


def _script() -> SimpleNamespace:
    threads = torch.get_num_threads()
    names = runpy.run_path(str(SCRIPT))
    torch.set_num_threads(threads)
    return SimpleNamespace(**names)


@pytest.mark.parametrize("kind", ["row", "batch"])
@pytest.mark.parametrize("size", [2, 3])
def test_ties_are_settled_as_in_one_process(kind: str, size: int) -> None:
    """Pre-codes of few different values: the very entries that one process keeps, and no others."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        pre_codes = torch.randint(-2, 3, (7, 11), generator=generator).float()
        k = int(torch.randint(1, 6, (), generator=generator))
        prox = TopKProx if kind == "row" else BatchTopKProx
        whole = prox(k)(pre_codes).to_dense()
        assert torch.equal(_in_threads(pre_codes, k, size, kind), whole)


def _in_threads(pre_codes: Tensor, k: int, size: int, kind: str) -> Tensor:
    def work(team: Together) -> Tensor:
        shard = Shard(sn.TopK(4, pre_codes.shape[1], k), team)
        mine = pre_codes[:, shard.mine]
        if kind == "row":
            own: SparseCodes = TopKProx(min(k, shard.n_atoms))(mine)
            return shard._largest_by_row(own, k).to_dense()
        own = BatchTopKProx(min(k, shard.n_atoms))(mine)
        return shard._largest_of_all(own, k * len(mine))[0].to_dense()

    return torch.cat(in_threads(size, work), dim=1)


@pytest.mark.parametrize("kind", ["TopK", "BatchTopK", "ReLU", "JumpReLU", "MatchingPursuit"])
@pytest.mark.parametrize("size", [2, 3])
def test_a_step_of_shards_has_the_numbers_of_one_process(kind: str, size: int) -> None:
    """Loss, codes, reconstruction, every gradient and its norm, with dead atoms; then all atoms again."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(17, 5, generator=generator) + 0.4
    sizes = {} if kind in ("ReLU", "JumpReLU") else {"k": 3}
    one = getattr(sn, kind)(5, 11, **sizes, generator=generator)
    one.initialise(x, generator)
    with torch.no_grad():  # a bias may be 0 somewhere
        one.scaling.mean[0] = one.pre_bias[0] = 0
    copies = [copy.deepcopy(one) for _ in range(size)]
    silent = torch.tensor([0, 50, 0, 0, 3, 50, 50, 9, 0, 0, 50])
    expected = one.training_loss(x, silent, 10, 0.5)
    torch.autograd.backward(expected.total)
    length = torch.nn.utils.get_total_norm([p.grad for p in one.parameters() if p.grad is not None])
    before = {name: p.detach().clone() for name, p in one.named_parameters()}

    def work(team: Together) -> tuple[Tensor, Any]:
        sae = copies[team.rank]
        shard = Shard(sae, team)
        shard.cut()
        by_atom = {id(p) for p in sae.atom_parameters()}
        loss = shard.training_loss(x, silent[shard.mine], 10, 0.5)
        assert shard.n_atoms == loss.codes.n_atoms == len(shard.part(silent))
        torch.autograd.backward(loss.total)
        shard.sum_gradients()
        close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-6)
        close(loss.total.detach(), expected.total.detach())
        close(loss.x_hat, expected.x_hat)
        assert loss.parts.keys() == expected.parts.keys()
        for name, p in sae.named_parameters():
            grad = dict(one.named_parameters())[name].grad
            if grad is not None:
                close(p.grad, grad[shard.mine] if id(p) in by_atom else grad)
        close(shard.norm(list(sae.parameters())), length)
        codes, anew = loss.codes.detach().to_dense(), sae.to_resample
        shard.make_whole()
        return codes, None if anew is None else (anew[0] + shard.mine.start, anew[1])

    every, anew = zip(*in_threads(size, work), strict=True)
    codes = torch.cat(every, dim=1)
    torch.testing.assert_close(codes, expected.codes.detach().to_dense(), rtol=1e-4, atol=1e-6)
    assert (
        all(one is None for one in anew) == (one.to_resample is None) == (kind != "MatchingPursuit")
    )
    if one.to_resample is not None:
        assert len(one.to_resample[0]) == 4
        for found, wanted in zip(zip(*anew, strict=True), one.to_resample, strict=True):
            torch.testing.assert_close(torch.cat(found), wanted)
    for sae in copies:
        for name, p in sae.named_parameters():
            assert torch.equal(p.detach(), before[name])
        for name, buffer in one.named_buffers():
            torch.testing.assert_close(dict(sae.named_buffers())[name], buffer)


SHARED = ["TopK", "BatchTopK", "ReLU", "JumpReLU", "MatchingPursuit", "OrthogonalMatchingPursuit"]


@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.parametrize("size", [2, 3])
def test_a_start_in_parts_has_the_numbers_of_one_process(kind: str, size: int) -> None:
    """Drawn to the bit, though a worker keeps its rows alone; then scale, gain and thresholds of first rows."""
    x = torch.randn(40, 24, generator=torch.Generator().manual_seed(1)) + 0.4

    def built() -> Any:
        sizes = {} if kind in ("ReLU", "JumpReLU") else {"k": 3}
        return getattr(sn, kind)(24, 37, **sizes, generator=torch.Generator().manual_seed(5))

    one = built()
    drawn = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    one.initialise(x, torch.Generator().manual_seed(7))
    moved = [name for name, tensor in one.state_dict().items() if not tensor.equal(drawn[name])]
    assert "initialised" in moved

    def work(team: Together) -> Any:
        with torch.device("meta"):
            sae = built()
        shard = Shard(sae, team)
        make(sae, drawing(sae, 0), shard.mine)
        shard.cut()
        by_atom = {id(p) for p in sae.atom_parameters()}
        for name, parameter in sae.named_parameters():
            mine = shard.mine if id(parameter) in by_atom else slice(None)
            assert torch.equal(parameter.detach(), drawn[name][mine]), name
        shard.initialise(x, torch.Generator().manual_seed(7))
        assert len(sae.operator.atoms()) == shard.n_atoms < sae.n_atoms
        shard.make_whole()
        return sae

    for sae in in_threads(size, work):
        for name, tensor in one.state_dict().items():
            torch.testing.assert_close(sae.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)


def test_a_described_sae_is_made_by_a_process_alone() -> None:
    """By its own generator, or by the training's seed."""
    x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    trained = []
    for described, seed in ((False, 3), (True, 3), (True, None)):
        draws = None if seed is None else torch.Generator().manual_seed(seed)
        with torch.device("meta" if described else "cpu"):
            sae = sn.TopK(4, 8, 2, generator=draws)
        sn.train(sae, x, steps=5, seed=3, progress=False)
        trained.append(sae.dictionary)
    assert torch.equal(trained[0], trained[1])
    assert torch.equal(trained[0], trained[2])


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_atoms_that_arrive_one_by_one_are_refitted_as_from_a_dictionary(
    nonnegative: bool, dtype: torch.dtype
) -> None:
    """Tile by tile, with rows of zeros, repeated atoms and more steps than there are dimensions."""
    generator = torch.Generator().manual_seed(1)
    atoms = torch.nn.functional.normalize(
        torch.randn(40, 6, generator=generator, dtype=dtype), dim=1
    )
    atoms[30:] = atoms[:10]
    x = torch.randn(50, 6, generator=generator, dtype=dtype)
    x[3] = 0
    whole = sn.pursuit.orthogonal_matching_pursuit(x, atoms, 8, nonnegative=nonnegative)
    problem = Problem(
        x=x,
        dictionary=atoms[:1],
        k=8,
        algorithm="orthogonal_matching_pursuit",
        nonnegative=nonnegative,
        reselect=False,
    )
    tiles = [(first, atoms[first : first + 7]) for first in range(0, 40, 7)]
    walk = pursue(problem, lambda: iter(tiles), slice(0, 40), Team())
    codes = walk.codes(slice(0, 40)).to_dense()
    assert bool((whole.l0 > 2).any())
    torch.testing.assert_close(walk.residual, x - whole.to_dense() @ atoms, rtol=0, atol=2e-6)
    torch.testing.assert_close(codes @ atoms, whole.to_dense() @ atoms, rtol=0, atol=2e-6)
    early = sn.pursuit.orthogonal_matching_pursuit(x, atoms, 3, nonnegative=nonnegative)
    walk = pursue(replace(problem, k=3), lambda: iter(tiles), slice(0, 40), Team())
    found, expected = (one.to_dense() for one in (walk.codes(slice(0, 40)), early))
    for dense in (found, expected):
        # Which of two equal atoms is taken is a matter of rounding.
        dense[:, :10] += dense[:, 30:]
    torch.testing.assert_close(found[:, :30], expected[:, :30], rtol=1e-4, atol=1e-5)


class Counting(Team):
    """One of two workers, the other silent, that counts the numbers it passes on."""

    def __init__(self) -> None:
        super().__init__(0, 2)
        object.__setattr__(self, "passed", [])

    def sum(self, numbers: Tensor) -> Tensor:
        self.passed.append(numbers.numel())
        return numbers.detach().clone()

    def exchange(self, mine: Tensor) -> list[Tensor]:
        self.passed.append(mine.numel())
        return [mine, torch.zeros_like(mine)]

    def gather(self, mine: int) -> list[int]:
        return [mine, mine]


@pytest.mark.parametrize("n_atoms", [64, 256])
def test_what_is_exchanged_does_not_grow_with_the_atoms(n_atoms: int) -> None:
    """rows · d_in of a sum and rows · k candidates (twice with AuxK, whose k is d_in / 2), never codes."""
    rows, d_in, k = 10, 8, 3
    x = torch.randn(rows, d_in, generator=torch.Generator().manual_seed(0))
    sae = sn.TopK(d_in, n_atoms, k)
    sae.initialise(x, None)
    shard = Shard(sae, Counting())
    sae.encoder.weight.data = shard.part(sae.encoder.weight)
    sae.encoder.bias.data = shard.part(sae.encoder.bias)
    sae.operator.weight.data = shard.part(sae.operator.weight)
    alive = torch.zeros(shard.n_atoms, dtype=torch.int64)
    for silent, expected in (
        (alive, rows * d_in + rows * k + 1),
        (alive + 9, 2 * rows * d_in + rows * k + rows * d_in // 2 + 1),
    ):
        shard.team.passed.clear()
        shard.training_loss(x, silent, 5, 0.5)
        assert sum(shard.team.passed) == expected


def test_a_worker_must_have_an_atom() -> None:
    sae = sn.TopK(4, 2, 1)
    assert check_can_shard(sae, Team(0, 2)) is sae
    with pytest.raises(ValueError, match="at least the number of workers, 3, got 2. Start fewer"):
        check_can_shard(sae, Team(0, 3))


@pytest.mark.slow
def test_one_process_has_nothing_to_share() -> None:
    """The same script runs by itself, any architecture included, to the bit as without."""
    x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    saes = [sn.MatchingPursuit(4, 8, 2, generator=torch.Generator().manual_seed(1)) for _ in "ab"]
    for sae, shard in zip(saes, (False, True), strict=True):
        sn.train(sae, x, sn.TrainConfig(steps=5, shard_atoms=shard), progress=False)
    assert torch.equal(saes[0].dictionary, saes[1].dictionary)
