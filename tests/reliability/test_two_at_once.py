"""Two processes on one thing: refused with a sentence, or the last one whole; never a mixture."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from file_kinds import rows, sae

import sae_nb as sn
from sae_nb.sessions import save_session

VERSIONS = 15


def config(folder: Path, **more: Any) -> sn.TrainConfig:
    """A few steps, a checkpoint after each."""
    settings: dict[str, Any] = {"steps": 6, "batch_size": 8, "checkpoint_every": 1} | more
    return sn.TrainConfig(checkpoint=folder, **settings)


@pytest.mark.slow
def test_a_second_training_on_one_folder_is_refused(tmp_path: Path) -> None:
    """While the first is at work, and with its result untouched; afterwards the folder is free."""
    refused = []

    def second(_record: Any) -> None:
        with pytest.raises(ValueError, match=r"one training at a time.*another `?folder"):
            sn.train(sae(1), rows(), config(tmp_path / "run", seed=1), progress=False)
        refused.append(True)

    first = sn.train(sae(), rows(), config(tmp_path / "run"), progress=False, callbacks=second)
    assert refused
    alone = sn.train(sae(), rows(), config(tmp_path / "alone"), progress=False)
    assert torch.equal(first.sae.dictionary, alone.sae.dictionary)
    again = sn.train(sae(5), rows(), config(tmp_path / "run"), progress=False)
    assert torch.equal(again.sae.dictionary, alone.sae.dictionary)


@pytest.mark.slow
def test_a_run_that_is_stopped_or_fails_frees_its_folder(tmp_path: Path) -> None:
    """However it ends."""
    run = sn.start_training(sae(), rows(), config(tmp_path / "run", steps=10**6))
    with pytest.raises(ValueError, match=r"at work in .*run\.stop"):
        sn.start_training(sae(1), rows(), config(tmp_path / "run", steps=10**6))
    run.stop()
    run.wait(60)
    failing = rows()
    failing[3] = float("nan")
    for _ in range(2):  # the folder is not what it fails on
        with pytest.raises(ValueError, match=r"NaN|finite|another run|same run"):
            sn.train(sae(), failing, config(tmp_path / "run", steps=10**6), progress=False)
    fresh = sn.train(sae(), rows(), config(tmp_path / "run"), progress=False, resume=False)
    assert fresh.steps == 6


@pytest.mark.slow
def test_a_second_sweep_on_one_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As trainings are."""
    settings: dict[str, Any] = {"n_atoms": 8, "settings": {"k": [2]}, "seeds": [0]}
    settings |= {"config": sn.TrainConfig(steps=2, batch_size=8), "progress": False}
    settings["folder"] = tmp_path / "sweep"
    original, refused = sn.training.train, []

    def meanwhile(*arguments: Any, **more: Any) -> Any:
        with pytest.raises(ValueError, match="one sweep at a time"):
            sn.sweep(rows(), **settings)
        refused.append(True)
        return original(*arguments, **more)

    monkeypatch.setattr(sn.training, "train", meanwhile)
    sn.sweep(rows(), **settings)
    assert refused
    assert len(sn.sweep(rows(), **settings).saes) == 1


def _save_again_and_again(folder: Path, own: int, times: int) -> None:
    draw = random.Random(own)
    for _ in range(times):
        version = draw.randrange(VERSIONS)
        one = sae(version)
        one.save(folder / "sae")
        save_session(folder / "session", one, panels={"map": {"version": version}})


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.skipif(sys.platform != "linux", reason="folders are exchanged in one step on Linux")
def test_two_that_save_the_same_leave_one_of_them_whole(tmp_path: Path) -> None:
    """Two processes save an SAE and a session under the same names while a third reads: every reading is
    one version, whole, and nothing temporary is left."""
    sae().save(tmp_path / "sae")
    save_session(tmp_path / "session", sae(), panels={"map": {"version": 0}})
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=_save_again_and_again, args=(tmp_path, own, 25)) for own in (1, 2)
    ]
    for one in writers:
        one.start()
    versions = [sae(version).dictionary for version in range(VERSIONS)]
    seen, between = 0, 0
    while any(one.is_alive() for one in writers):
        found = _reading(tmp_path)
        if found is None:
            between += 1  # a folder changed under the reader, which said so
            continue
        assert sum(torch.equal(found, one) for one in versions) == 1
        seen += 1
    for one in writers:
        one.join()
    assert [one.exitcode for one in writers] == [0, 0]
    assert seen > 0
    session = sn.open_session(tmp_path / "session")
    session.check_sae(sae(session.panels["map"]["version"]))
    assert sum(torch.equal(_reading(tmp_path), one) for one in versions) == 1
    left = {one.name for one in tmp_path.iterdir()} - {"sae", "session"}
    assert left == set()


def _label_again_and_again(folder: Path, times: int) -> None:
    from sae_nb.sessions import Annotations

    for atom in range(times):
        Annotations(folder, sae()).write(atom % 8, f"label {atom}", note=str(atom))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_label_written_while_the_sae_is_saved_is_kept(tmp_path: Path) -> None:
    """One kernel saves the SAE over and over, another labels its atoms: the last label of each is there."""
    from sae_nb.sessions import Annotations

    folder = tmp_path / "sae"
    one = sae()
    one.save(folder)
    context = multiprocessing.get_context("fork")
    labelling = context.Process(target=_label_again_and_again, args=(folder, 80))
    labelling.start()
    saves = 0
    while labelling.is_alive():
        one.save(folder)
        saves += 1
    labelling.join()
    assert labelling.exitcode == 0
    assert saves > 3
    one.save(folder)
    kept = Annotations(folder, one)
    assert dict(kept) == {atom % 8: f"label {atom}" for atom in range(72, 80)}


def _reading(folder: Path) -> Any:
    """The dictionary found; None where files were exchanged between reading one and the next."""
    try:
        return sn.load_sae(folder / "sae").dictionary
    except (ValueError, FileNotFoundError):
        return None


# --- clocks ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_clocks_that_go_back_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`time.time` jumps back and forth by years, files claim to be from tomorrow or from 1980: the newest
    checkpoint is gone on with, to the bit, and the times recorded never fall."""
    draw = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: draw.uniform(0, 4e9))
    alone = sn.train(sae(), rows(), config(tmp_path / "alone", steps=12), progress=False)
    folder = tmp_path / "run"

    def strike(record: Any) -> None:
        if record.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="goes on from step"):
        sn.train(
            sae(),
            rows(),
            config(folder, steps=12, log_every=1),
            progress=False,
            callbacks=strike,
        )
    for path in folder.rglob("*"):
        stamp = draw.choice([320_000_000, 4_000_000_000])
        os.utime(path, (stamp, stamp))
    # An older checkpoint, put there with a date in the future, is not taken for the newest.
    (newest,) = folder.glob("step-*")
    older = folder / "step-00000002"
    older.mkdir()
    for file in newest.iterdir():
        (older / file.name).write_bytes(file.read_bytes())
    os.utime(older, (4_100_000_000, 4_100_000_000))
    seconds: list[float] = []
    resumed = sn.train(
        sae(9),
        rows(),
        config(folder, steps=12, log_every=1),
        progress=False,
        callbacks=lambda record: seconds.append(record.seconds),
    )
    assert torch.equal(resumed.sae.dictionary, alone.sae.dictionary)
    assert [record.step for record in resumed.history] == list(range(1, 13))
    times = [record.seconds for record in resumed.history]
    assert times == sorted(times)
    assert seconds == sorted(seconds)


@pytest.mark.slow
def test_a_store_from_the_future_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is complete is decided by what is in the folder, not by dates."""
    from test_disk_faults import model

    def call(folder: Path, callback: Any = False) -> Any:
        pictures = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        settings: dict[str, Any] = {"batch_size": 2, "shard_rows": 100, "progress": callback}
        return sn.capture(model(), pictures, "resid_post.1", store=folder, **settings)

    draw = random.Random(1)
    monkeypatch.setattr(time, "time", lambda: draw.uniform(0, 4e9))

    def strike(record: Any) -> None:
        if record.samples >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(tmp_path / "s", strike)
    for path in (tmp_path / "s").iterdir():
        os.utime(path, (4_000_000_000, 4_000_000_000))
    assert torch.equal(call(tmp_path / "s").x, call(tmp_path / "alone").x)


def test_labels_written_by_another_clock_are_seen(tmp_path: Path) -> None:
    """A file that claims to be older than what was read is read all the same."""
    from sae_nb.sessions import Annotations

    mine = Annotations(tmp_path, sae())
    mine.write(1, "one")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    Annotations(theirs, sae()).write(1, "two")
    os.utime(theirs / "annotations.json", (0, 0))
    (theirs / "annotations.json").replace(tmp_path / "annotations.json")
    mine.look()
    assert mine.label(1) == "two"
