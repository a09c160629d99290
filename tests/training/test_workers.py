"""Workers that share a batch take the steps that one process takes on all of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.training import _loop as loop
from sae_nb.training._meeting import explaining_losses, meet
from sae_nb.training._sources import TrainingData

SCRIPT = Path(__file__).with_name("workers_script.py")
pytestmark = pytest.mark.timeout(900)  # the first test waits for all runs, on a crowded machine
MEAN_OF_PARTS = [0, 2]
"""SAEs of the script whose loss over a batch is the mean over its parts, resampling and AuxK apart."""


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, run_modes: Callable[..., None]
) -> dict[str, Any]:
    """One process; two; two of which one is killed at step 30 and started again by torchrun."""
    folder = tmp_path_factory.mktemp("workers")
    modes = {"alone": 1, "two": 2, "killed": 2}
    run_modes(SCRIPT, folder, *modes.items())
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in modes} | {
        "died": (folder / "died").exists(),
        "folder": folder,
    }


@pytest.mark.slow
def test_two_workers_have_the_curve_of_one_process(runs: dict[str, Any]) -> None:
    """Same global batches, same losses and R², up to the order of sums; an odd batch is cut 65 : 65."""
    (one, alone), (two, together) = runs["alone"], runs["two"]
    assert (one, two) == (1, 2)
    for i in MEAN_OF_PARTS:
        for what in ("loss", "r2"):
            torch.testing.assert_close(
                torch.tensor(together[i][what]), torch.tensor(alone[i][what]), rtol=1e-3, atol=1e-4
            )


@pytest.mark.slow
def test_batch_wide_choices_end_near_those_of_one_process(runs: dict[str, Any]) -> None:
    """BatchTopK chooses within a part, and resampled atoms are the first worker's: other steps, the same end."""
    for i in {0, 1, 2, 3} - set(MEAN_OF_PARTS):
        assert abs(runs["two"][1][i]["r2"][-1] - runs["alone"][1][i]["r2"][-1]) < 0.05
        assert runs["two"][1][i]["r2"][-1] > runs["two"][1][i]["r2"][0] + 0.1


@pytest.mark.slow
def test_workers_hold_the_same_dictionary(runs: dict[str, Any]) -> None:
    """To the bit, though each began with its own random weights, atoms were resampled and one restarted."""
    for name in ("two", "killed"):
        assert [sae["apart"] for sae in runs[name][1]] == [0.0] * 4


@pytest.mark.slow
def test_killed_worker_costs_nothing(runs: dict[str, Any]) -> None:
    """torchrun starts the workers again; they go on from step 20 and end where the others ended."""
    assert runs["died"]
    assert runs["killed"] == runs["two"]


@pytest.mark.slow
def test_workers_bring_what_each_has_captured(runs: dict[str, Any]) -> None:
    """Of five rows two from the first one's store and three from the second's, the same in both."""
    stores = [sn.load_activations(runs["folder"] / f"brought-two-{rank}/acts") for rank in (0, 1)]
    assert len(stores[0]) * 4 == len(stores[1]) * 3
    own = [one.batches(n, seed=1) for one, n in zip(stores, (2, 3), strict=True)]
    wanted = [torch.cat([next(one) for one in own]).tolist() for _ in range(3)]
    assert [_brought(runs, f"two-{rank}")["batches"] for rank in (0, 1)] == [wanted] * 2


@pytest.mark.slow
def test_one_worker_captures_and_both_train(runs: dict[str, Any]) -> None:
    """Alike to the bit, and as one process with that live model, up to the order of sums."""
    alone, first, second = (_brought(runs, name) for name in ("alone-0", "two-0", "two-1"))
    for what in ("loss", "dictionary"):
        assert first[what] == second[what]
        found, wanted = (torch.tensor(one[what]) for one in (first, alone))
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def _brought(runs: dict[str, Any], name: str) -> dict[str, Any]:
    return dict(json.loads((runs["folder"] / f"brought-{name}/found.json").read_text()))


def test_parts_cover_a_batch_once() -> None:
    for n, size in ((8, 2), (7, 3), (5, 5)):
        taken = [i for rank in range(size) for i in range(n)[sn.training.Team(rank, size).part(n)]]
        assert taken == list(range(n))


@pytest.mark.slow
def test_parts_of_a_capture_open_as_one(tmp_path: Path) -> None:
    """Each worker captures its inputs into a folder of its own: rows, samples and pictures of one pass."""
    model, pictures = sn.load_model("tiny-vit"), torch.rand(7, 3, 32, 32)
    for rank in range(3):
        team = sn.training.Team(rank, 3)
        mine, store = pictures[team.part(7)], tmp_path / team.part_name
        sn.capture(model, mine, "resid_post.2", store=store, progress=False)
    whole = sn.capture(model, pictures, "resid_post.2", progress=False)
    joined = sn.load_activations(tmp_path)
    torch.testing.assert_close(joined.x[:], whole.x, rtol=1e-4, atol=1e-4)
    assert torch.equal(joined.sample, whole.sample)
    assert torch.equal(joined.context.pictures, whole.context.pictures)


def test_a_generation_does_not_meet_the_one_before_it() -> None:
    """The store still holds a dead generation's names: every worker leaves with one new name all the same."""
    store, met = torch.distributed.HashStore(), []
    for _ in range(3):
        with ThreadPoolExecutor(3) as pool:
            names = list(pool.map(lambda rank: meet(store, rank, 3), (2, 1, 0)))
        assert len(set(names)) == 1
        met.append(names[0])
    assert len(set(met)) == 3


def _meetings(*workers: tuple[int, str], size: int) -> list[str]:
    """What each of some workers, of a rank and a version, is told at the start."""
    store = torch.distributed.HashStore()

    def told(worker: tuple[int, str]) -> str:
        try:
            return meet(store, worker[0], size, 0.5, worker[1])
        except (RuntimeError, ValueError) as error:
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(len(workers)) as pool:
        return list(pool.map(told, workers))


def test_a_worker_that_does_not_come_is_named() -> None:
    first, second = _meetings((0, "1"), (1, "1"), size=4)
    assert "RuntimeError: All 4 workers must start within 0.5 seconds" in first
    assert "rank 0 waited in vain for rank 2, rank 3" in first
    assert "1" in second


def test_two_workers_of_one_rank_are_refused() -> None:
    told = _meetings((0, "1"), (1, "1"), (1, "1"), size=3)
    assert any("two have rank 1 of 3" in one for one in told)
    assert all("must" in one for one in told)


def test_workers_of_two_versions_are_refused_by_all() -> None:
    told = _meetings((0, "0.4.0"), (1, "0.4.0"), (2, "0.5.0"), size=3)
    assert all("ValueError" in one and "['0.4.0', '0.4.0', '0.5.0']" in one for one in told)


def test_a_lost_worker_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the others get from gloo; other errors stay what they are."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    lost = "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234"
    with pytest.raises(RuntimeError, match=r"must live.*rank 2.*checkpoint.*Connection closed"):
        with explaining_losses():
            raise RuntimeError(lost)
    with pytest.raises(RuntimeError, match=r"^mat1 and mat2"), explaining_losses():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_patience_is_positive() -> None:
    with pytest.raises(ValueError, match="patience"), sn.training.workers(patience=0):
        pass


def test_process_without_torchrun_is_alone() -> None:
    with sn.training.workers() as team:
        assert (team.size, team.is_first, team.all(mine=False), team.gather(3)) == (
            1,
            True,
            False,
            [3],
        )


class _OneOfTwo(sn.training.Team):
    """Go on for two steps; then the other worker is interrupted."""

    answers = (True, True, False, False)

    def all(self, *, mine: bool) -> bool:
        answer, *rest = self.answers
        object.__setattr__(self, "answers", rest)
        return mine and answer


def test_ctrl_c_in_one_worker_goes_on_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was not interrupted itself does not go on with a part as if it were the whole."""
    monkeypatch.setattr(loop, "current_team", _OneOfTwo)
    sae = sn.TopK(8, 16, 2)
    with pytest.raises(KeyboardInterrupt, match="after step 2 of 9"):
        sn.train(sae, torch.randn(64, 8), steps=9, progress=False)
    assert sae.measured is not None
    assert sae.measured["of_steps"] == 9


def test_sequences_are_refused_for_several_workers() -> None:
    """A sequence cut by rows would lose its past."""
    from sae_nb.temporal import Sequences

    source = Sequences(torch.randn(3, 4, 2), context=4)
    with pytest.raises(ValueError, match="one process, got 2 workers"):
        TrainingData(source, [sn.Temporal(2, 4, k=1)]).check_team(sn.training.Team(0, 2), 8)
