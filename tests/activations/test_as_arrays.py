"""Activations go where matrices and tables go: indexed, iterated, tabulated, handed to other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, random_split

from sae_nb.activations import Activations, Context, Ragged, load_activations


@pytest.fixture(params=["memory", "disk"])
def acts(request: pytest.FixtureRequest, tmp_path: Path) -> Activations:
    index = torch.arange(12)
    context = Context(
        kind="language",
        n_samples=3,
        token_ids=Ragged(index, torch.tensor([0, 4, 8, 12])),
        vocabulary={i: f"word{i}" for i in range(12)},
    )
    x = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    made = Activations.from_tensor(
        x, sample=index // 4, position=index % 4, context=context, hook_point="resid_post.1"
    )
    if request.param == "memory":
        return made
    made.save(tmp_path / "acts")
    stored = load_activations(tmp_path / "acts")
    assert isinstance(stored, Activations)
    return stored


@pytest.mark.parametrize(
    "index",
    [
        3,
        -1,
        np.int64(2),
        torch.tensor(5),
        slice(2, 9, 3),
        slice(None, None, -1),
        slice(9, 2),
        [5, 1, 5],
        range(4),
        np.array([0, 7]),
        torch.arange(12) % 5 == 0,
        np.arange(12) > 8,
        [True, False] * 6,
        ([3, 2], ...),
    ],
    ids=repr,
)
def test_an_index_gives_activations_of_those_rows(acts: Activations, index: Any) -> None:
    """With their vectors, samples, positions and tokens; one row is activations of one."""
    plain = index[0] if isinstance(index, tuple) else index
    rows = np.atleast_1d(np.arange(12)[plain.numpy() if hasattr(plain, "numpy") else plain])
    chosen = acts[index]
    assert isinstance(chosen, Activations)
    assert chosen.hook_point == "resid_post.1"
    assert torch.equal(chosen.x, acts.x[rows.copy()])
    assert list(chosen.tokens or ()) == [f"word{row}" for row in rows]
    assert chosen.sample.tolist() == (rows // 4).tolist()
    assert chosen.position.tolist() == (rows % 4).tolist()


def test_the_table_says_where_rows_come_from(acts: Activations) -> None:
    table = acts.to_pandas()
    assert list(table.columns) == ["sample", "position", "token"]
    assert table.iloc[6].tolist() == [1, 2, "word6"]
    assert np.array_equal(acts.to_pandas(values=True)[[0, 1, 2, 3]], acts.x)
    assert "token" not in Activations.from_tensor(torch.eye(2)).to_pandas()
    assert torch.equal(acts[table["token"] == "word6"].x, acts.x[6:7])


def test_arrays_and_tensors_are_the_rows(acts: Activations) -> None:
    """np.asarray, torch.as_tensor and from_dlpack give `x`; asarray and from_dlpack share it."""
    for convert in (np.asarray, torch.as_tensor, torch.tensor, torch.from_dlpack, np.from_dlpack):
        assert np.array_equal(convert(acts), acts.x)
    assert np.shares_memory(np.asarray(acts), acts.x.numpy())
    assert not np.shares_memory(np.array(acts, copy=True), acts.x.numpy())
    assert torch.from_dlpack(acts).data_ptr() == acts.x.data_ptr()
    assert np.asarray(acts, dtype="float64").dtype == np.float64
    assert np.asarray(acts.to(torch.bfloat16)).dtype == np.float32
    assert np.allclose(np.mean(acts, axis=0), acts.x.mean(0))


def test_other_libraries_take_activations(acts: Activations) -> None:
    """scikit-learn fits and splits them, torch's loader makes batches of vectors."""
    assert np.allclose(PCA(2).fit(acts).mean_, acts.x.mean(0), atol=1e-6)
    assert KMeans(2, n_init=1, random_state=0).fit_predict(acts).shape == (12,)
    first, second = train_test_split(acts, train_size=8, random_state=0)
    assert sorted([*first.tokens, *second.tokens]) == sorted(acts.tokens or ())
    batches = list(DataLoader(acts, batch_size=5))  # type: ignore[arg-type]
    assert torch.equal(torch.cat(batches), acts.x)
    parts = random_split(acts, [8, 4])  # type: ignore[arg-type]
    assert next(iter(DataLoader(parts[1], batch_size=4))).shape == (4, 4)


@pytest.mark.parametrize("acts", ["disk"], indirect=True)
def test_rows_on_disk_that_do_not_fit_are_refused(
    acts: Activations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before they are read, whoever asks for all of them; some rows are still read."""
    monkeypatch.setattr("sae_nb.checks._values.available_memory", lambda: 100)
    converts = (lambda a: a.x, np.asarray, torch.as_tensor, torch.from_dlpack, PCA(1).fit)
    for convert in converts:
        with pytest.raises(MemoryError, match=r"All 12 rows .* `\.batches"):
            convert(acts)
    with pytest.raises(MemoryError, match="All 12 rows"):
        acts.to_pandas(values=True)
    assert np.asarray(acts[3:5]).shape == (2, 4)
    assert next(acts.batches(5, buffer_rows=10)).shape == (5, 4)
