"""Sweeps: every combination once, on the same batches, resumed where it stopped."""

import signal
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.sweeps import sweep

SHORT = sn.TrainConfig(steps=15, batch_size=64)


@pytest.fixture(scope="module")
def x() -> Tensor:
    return sn.data.planted_dictionary(20, 12, n=600, k=3, seed=0).x


@pytest.mark.slow
def test_every_combination_is_there_once_and_measured(x: Tensor) -> None:
    """Sizes × settings × seeds, each with floor and control."""
    found = sweep(
        x, n_atoms=[16, 24], settings={"k": [2, 3]}, seeds=(0, 1), config=SHORT, progress=False
    )
    table = found.table
    assert len(table) == len(found.saes) == 8
    assert len(table[["n_atoms", "k", "seed"]].drop_duplicates()) == 8
    assert (table["r2_floor"].abs() < 1e-9).all()
    assert (table["r2"] > table["r2_control"]).all()
    assert [sae.n_atoms for sae in found.saes] == list(table["n_atoms"])
    assert len(found.summary) == 4
    assert found.summary["stability"].between(0, 1).all()


@pytest.mark.slow
def test_an_sae_of_a_sweep_is_the_one_trained_alone(x: Tensor) -> None:
    train_on = sn.Activations.from_tensor(x).split(0.8, seed=0)[0]
    together = sweep(
        x, n_atoms=16, settings={"k": [2, 3]}, seeds=(4,), config=SHORT, progress=False
    )
    alone = sn.TopK(12, 16, 3, generator=torch.Generator().manual_seed(4))
    sn.train(alone, train_on, SHORT, progress=False)
    assert torch.equal(together.saes[1].dictionary, alone.dictionary)


@pytest.mark.slow
def test_classical_rows_stand_beside_trained_ones(x: Tensor) -> None:
    """Fitted on the same rows, measured on the same held-out ones."""
    found = sweep(
        x,
        ["TopK", "PCA", "KMeans"],
        n_atoms=10,
        settings={"k": [3]},
        seeds=(0, 1),
        config=SHORT,
        progress=False,
    )
    assert list(found.summary["architecture"]) == ["TopK", "PCA", "KMeans"]
    pca = found.summary.iloc[1]
    assert pca["stability"] == pytest.approx(1)
    assert pca["l0"] == 3


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_where_it_was(
    x: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept is not trained again, and the result is that of an unbroken sweep."""
    how = {"n_atoms": 16, "settings": {"k": [2, 3]}, "seeds": (0, 1), "config": SHORT}
    whole = sweep(x, **how, progress=False)
    trained: list[int] = []
    real = sn.training.train

    def counting(saes: list[sn.SparseAutoencoder], *rest: object, **named: object) -> object:
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(len(saes))
        return real(saes, *rest, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(sn.training, "train", counting)
    with pytest.raises(KeyboardInterrupt):
        sweep(x, **how, at_once=1, folder=tmp_path / "s", progress=False)
    monkeypatch.setattr(sn.training, "train", real)
    again = sweep(x, **how, at_once=1, folder=tmp_path / "s", progress=False)
    assert trained == [1, 1]
    for first, second in zip(whole.saes, again.saes, strict=True):
        assert torch.equal(first.dictionary, second.dictionary)
    assert list(whole.table["r2"]) == pytest.approx(list(again.table["r2"]))


@pytest.mark.slow
@pytest.mark.usefixtures("python_handles_ctrl_c")
def test_ctrl_c_inside_a_training_keeps_no_part_as_done(
    x: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep ends; the same call goes on from the step it was at, to the numbers of an unbroken one."""
    how = {"n_atoms": 16, "settings": {"k": [2, 3]}, "seeds": (0, 1), "config": SHORT}
    how |= {"at_once": 2, "progress": False}
    whole = sweep(x, **how)
    steps: list[int] = []
    project = sn.TopK.before_optimiser_step
    press_at = 2 * SHORT.steps + 10  # two SAEs a pass: after five steps of the second pass

    def counting(self: sn.TopK) -> None:
        project(self)
        if threading.current_thread() is not threading.main_thread():
            return  # a training that another test left to run behind
        steps.append(1)
        if len(steps) == press_at:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sn.TopK, "before_optimiser_step", counting)
    with pytest.raises(KeyboardInterrupt, match=r"2 of 4 SAEs are trained and measured.*goes on"):
        sweep(x, **how, folder=tmp_path / "s")
    part = sn.interrupted()
    assert repr(part).startswith("Sweep(2 of 4 SAEs")
    steps.clear()
    again = sweep(x, **how, folder=tmp_path / "s")
    assert len(steps) == 2 * (SHORT.steps - 5)
    assert not (tmp_path / "s" / "under-way").exists()
    assert again.asked is None
    for first, second in zip(whole.saes, again.saes, strict=True):
        assert torch.equal(first.dictionary, second.dictionary)


@pytest.mark.slow
def test_a_folder_of_another_sweep_is_refused(x: Tensor, tmp_path: Path) -> None:
    """Other data, other held-out rows or another config are not mixed."""
    same = {"n_atoms": 16, "settings": {"k": [2]}, "seeds": (0,), "config": SHORT}
    same |= {"folder": tmp_path / "s", "progress": False}
    sweep(x, **same)
    for other in (
        {"data": x + 1},
        {"data": x, "test": x[:50]},
        {"data": x, "config": sn.TrainConfig(steps=16, batch_size=64)},
    ):
        with pytest.raises(ValueError, match="holds another"):
            sweep(**same | other)


def test_a_finished_sweep_is_read_again(x: Tensor, tmp_path: Path) -> None:
    """All of it is there: nothing is trained, and what an interrupted removal left is tidied."""
    how = {"n_atoms": 16, "settings": {"k": [2]}, "seeds": (0, 1), "config": SHORT}
    first = sweep(x, **how, folder=tmp_path / "s", progress=False)
    (tmp_path / "s" / ".under-way.0123abcd.partial").mkdir()
    again = sweep(x, **how, folder=tmp_path / "s", progress=False)
    assert list(again.table["r2"]) == list(first.table["r2"])
    assert not list((tmp_path / "s").glob(".*.partial"))
