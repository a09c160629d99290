"""Whatever holds rows of numbers is encoded like the tensor of the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import sae_nb as sn

ROWS = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))


def _read_only(x: Tensor) -> np.ndarray:
    array = x.numpy().copy()
    array.flags.writeable = False
    return array


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "activations": sn.Activations.from_tensor,
    "array": Tensor.numpy,
    "numpy's own precision": lambda x: x.double().numpy(),
    "read-only array": _read_only,
    "array by columns": lambda x: np.asfortranarray(x.numpy()),
    "another byte order": lambda x: x.numpy().astype(">f4"),
    "table": lambda x: pd.DataFrame(x.numpy()),
    "nested lists": Tensor.tolist,
}


@pytest.fixture
def sae() -> sn.TopK:
    return sn.TopK(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0)).eval()


@pytest.fixture
def temporal() -> sn.Temporal:
    return sn.Temporal(4, 8, 2, generator=torch.Generator().manual_seed(0)).eval()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", FORMS)
def test_rows_are_read_in_any_form(form: str, sae: sn.TopK) -> None:
    x = FORMS[form](ROWS)
    torch.testing.assert_close(sae.encode(x).to_dense(), sae.encode(ROWS).to_dense())
    torch.testing.assert_close(sae(x).float(), sae(ROWS))


@pytest.mark.parametrize("form", [form for form in FORMS if form != "nested lists"])
def test_rows_are_trained_on_and_judged_in_any_form(form: str, sae: sn.TopK) -> None:
    x = FORMS[form](ROWS)
    assert sn.train(sae, x, steps=2, progress=False).steps == 2
    on_form, on_tensor = (sn.evaluate(sae, data, n_bootstrap=0) for data in (x, ROWS))
    assert on_form["r2"].value == pytest.approx(on_tensor["r2"].value, abs=1e-6)
    codes = sn.matching_pursuit(x, sae.dictionary, 2)
    torch.testing.assert_close(
        codes.to_dense(), sn.matching_pursuit(ROWS, sae.dictionary, 2).to_dense()
    )


def test_an_array_goes_along_with_the_tensor_it_meets() -> None:
    """numpy's float64 is no wish for precision; two tensors of different precision are refused."""
    atoms = torch.nn.functional.normalize(ROWS[:8], dim=1)
    assert sn.matching_pursuit(ROWS.double().numpy(), atoms, 2).dtype == torch.float32
    assert sn.matching_pursuit(ROWS, atoms.double().numpy(), 2).dtype == torch.float32
    assert sn.matching_pursuit(ROWS.double().numpy(), atoms.numpy(), 2).dtype == torch.float32
    with pytest.raises(ValueError, match="one dtype and device"):
        sn.matching_pursuit(ROWS.double(), atoms, 2)


def test_rows_on_disk_are_encoded_piece_by_piece(
    sae: sn.TopK, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sae_nb.architectures._base.ROWS_AT_ONCE", 10)
    sn.Activations.from_tensor(ROWS).save(tmp_path / "acts")
    acts = sn.load_activations(tmp_path / "acts")
    torch.testing.assert_close(sae.encode(acts).to_dense(), sae.encode(ROWS).to_dense())
    torch.testing.assert_close(sae(acts), sae(ROWS))
    assert acts._x is None  # what `.x` keeps


def test_samples_are_the_sequences_of_a_temporal_sae(temporal: sn.Temporal) -> None:
    x = ROWS[:12].reshape(2, 6, 4)
    place = torch.arange(12)
    acts = sn.Activations.from_tensor(x.flatten(0, 1), sample=place // 6, position=place % 6)
    torch.testing.assert_close(
        temporal.encode(acts).to_dense(), temporal.encode(x).to_dense().flatten(0, 1)
    )
    torch.testing.assert_close(temporal(acts), temporal(x).flatten(0, 1))
    torch.testing.assert_close(
        temporal.encode(x.numpy(), k=1).to_dense(), temporal.encode(x, k=1).to_dense()
    )
    with pytest.raises(ValueError, match="must carry positions"):
        temporal.encode(sn.Activations.from_tensor(ROWS))
