"""A checkpoint's tensors lie in one file for each worker, and any number of workers reads them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import sae_nb as sn
from sae_nb.training import Checkpoints, Team
from sae_nb.training._checkpoint import read_parts_into
from sae_nb.training._parts import Part, file_name, part_files, streams, write_file

SCRIPT = Path(__file__).with_name("kills_script.py")
WHOLE = torch.arange(21.0).reshape(7, 3)


def written(folder: Path, size: int) -> dict[str, Part]:
    """Files of several workers: rows that each has, and one number that all have, from the second."""
    for rank in range(size):
        mine = Team(rank, size).part(7)
        parts = {"rows": Part(WHOLE[mine], mine.start, 7)}
        parts |= {"flag": Part(torch.tensor(True))} if rank == size - 1 else {}
        write_file(folder / file_name(rank, size), parts)
    return {"rows": Part(torch.zeros(7, 3)), "flag": Part(torch.tensor(False))}


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("rows", [slice(0, 7), slice(1, 5), slice(6, 7)])
def test_any_rows_are_read_from_files_of_any_number(tmp_path: Path, size: int, rows: slice) -> None:
    wanted = written(tmp_path, size)
    if size > 1:
        wanted["rows"] = Part(torch.zeros(rows.stop - rows.start, 3), rows.start, 7)
    read_parts_into(tmp_path, wanted, Team())
    assert torch.equal(wanted["rows"].tensor, WHOLE[rows] if size > 1 else WHOLE)
    assert wanted["flag"].tensor.shape == ()
    assert bool(wanted["flag"].tensor)


@pytest.mark.slow
def test_rows_of_a_missing_file_are_missed(tmp_path: Path) -> None:
    wanted = written(tmp_path, 3)
    (tmp_path / file_name(1, 3)).unlink()
    with pytest.raises(ValueError, match=r"all rows of 'rows'.*resume=False"):
        read_parts_into(tmp_path, wanted, Team())


@pytest.mark.slow
def test_a_full_disk_of_one_worker_is_the_error_of_all() -> None:
    """torch collects what went wrong by rank and raises it everywhere."""
    from torch.distributed.checkpoint.api import CheckpointException

    from sae_nb.training._distributed_parts import _as_they_are

    full = OSError("'run' must lie on a disk with room left, but the disk is full. Make room.")
    with pytest.raises(OSError, match=r"^Worker 1: 'run' must lie on a disk"), _as_they_are():
        raise CheckpointException("save", {2: (ValueError(), None), 1: (full, None)})
    with pytest.raises(KeyboardInterrupt), _as_they_are():
        raise CheckpointException("save", {0: (KeyboardInterrupt(), None)})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_full_disk_of_one_worker_leaves_the_checkpoint_before(lives: Path) -> None:
    """Both of two processes end and say whose disk it is; nothing of the unfinished one stays."""
    assert all("no room" in (lives / f"full-{rank}.txt").read_text() for rank in (0, 1))
    assert (lives / "full-0.txt").read_text().startswith("Worker 1: ")
    latest = Checkpoints(lives / "checkpoint-full").latest()
    assert latest is not None
    assert latest[1]["step"] == 3
    assert not list((lives / "checkpoint-full").glob(".step-*"))


def test_clocks_do_not_decide_which_checkpoint_counts(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run")
    for step, year in ((1, 2090), (2, 1980)):
        with checkpoints.new(step) as unfinished:
            (unfinished / "state.json").write_text(json.dumps({"step": step}))
        seconds = (year - 1970) * 365 * 86400.0
        for path in tmp_path.rglob("*"):
            os.utime(path, (seconds, seconds))
    assert checkpoints.latest() is not None
    assert checkpoints.latest("sizes")[1] == {"step": 2}  # type: ignore[index]


def test_parts_are_streamed_as_one(tmp_path: Path) -> None:
    written(tmp_path, 3)
    parts = {"rows": Part(WHOLE[:2], 0, 7), "flag": Part(torch.tensor(True))}
    found = streams(tmp_path, parts)
    assert found["flag"] is parts["flag"].tensor
    assert found["rows"].shape == (7, 3)
    assert torch.equal(torch.cat(list(found["rows"].portions())), WHOLE)


def test_a_part_knows_its_place() -> None:
    part = Part(torch.zeros(3, 5), 4, 9)
    assert (part.place, part.shape) == ((4, 0), (9, 5))
    assert Part(torch.zeros(())).rows.shape == (1,)


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory, run_modes: Callable[..., None]) -> Path:
    folder = tmp_path_factory.mktemp("lives")
    run_modes(SCRIPT, folder, ("unbroken-4", 2), ("killed-4", 2), ("half-4", 2), ("other-4", 3))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_killed_anywhere_lose_nothing(lives: Path) -> None:
    """In a step, a save, a rename or the reading of a checkpoint: the bytes of a run that nobody killed."""
    assert len((lives / "kills.txt").read_text().splitlines()) == 4
    assert_same_files(lives, "unbroken-4", "killed-4")


def assert_same_files(folder: Path, one: str, other: str) -> None:
    for name in ("sae.safetensors", "config.json"):
        bytes_of = [(folder / f"sae-{mode}" / name).read_bytes() for mode in (one, other)]
        assert bytes_of[0] == bytes_of[1]
    histories = [(folder / f"{mode}.json").read_text() for mode in (one, other)]
    assert histories[0] == histories[1]
    steps = [part_files(folder / f"checkpoint-{mode}" / "step-00000024") for mode in (one, other)]
    assert [path.read_bytes() for path in steps[0]] == [path.read_bytes() for path in steps[1]]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_another_number_of_workers_goes_on_to_rounding(lives: Path) -> None:
    saes = [
        load_file(lives / f"sae-{mode}" / "sae.safetensors") for mode in ("unbroken-4", "other-4")
    ]
    for name, tensor in saes[0].items():
        torch.testing.assert_close(saes[1][name], tensor, rtol=1e-3, atol=1e-4)
    assert json.loads((lives / "other-4.json").read_text())[-1][0] == 24


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_checkpoint_of_workers_holds_no_pickle(lives: Path) -> None:
    files = [path for path in (lives / "checkpoint-unbroken-4").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert len(part_files(lives / "checkpoint-unbroken-4" / "step-00000024")) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_described_sae_is_saved_and_left_without_numbers(lives: Path) -> None:
    sae: Any = sn.load_sae(lives / "sae-unbroken-4")
    assert sae.dictionary.shape == (97, 16)


def test_a_checkpoint_that_cannot_be_written_leaves_no_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written of it goes, also what is hidden."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr("sae_nb.training._checkpoint.write_json", full)
    sae, run = sn.TopK(4, 8, 2), tmp_path / "run"
    with pytest.raises(OSError, match="no room"):
        sn.train(
            sae, torch.randn(64, 4), steps=2, checkpoint=run, checkpoint_every=1, progress=False
        )
    assert not list(run.glob(".step-*"))
