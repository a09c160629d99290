"""train as people type it: settings as keywords, what other libraries call them, results to look at."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import torch

import sae_nb as sn


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.randn(300, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def sae() -> sn.TopK:
    return sn.TopK(d_in=8, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0))


def test_keywords_and_a_config_train_the_same_sae(rows) -> None:
    def trained(*config: sn.TrainConfig, **settings: int) -> torch.Tensor:
        sae = sn.TopK(d_in=8, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0))
        return sn.train(sae, rows, *config, **settings, progress=False).sae.dictionary

    assert torch.equal(trained(steps=5, seed=3), trained(sn.TrainConfig(steps=5, seed=3)))


def test_arrays_and_tables_are_trained_on_as_the_tensor_of_their_numbers(rows) -> None:
    """The same rows, the same SAE, bit for bit; also in double precision, as numpy likes it."""

    def trained(data: object) -> torch.Tensor:
        sae = sn.TopK(d_in=8, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0))
        return sn.train(sae, data, steps=3, progress=False).sae.dictionary

    wanted = trained(rows)
    for data in (rows.numpy(), rows.double().numpy(), pd.DataFrame(rows.numpy())):
        assert torch.equal(trained(data), wanted)


def test_a_training_that_ended_before_its_first_record_is_drawn_and_printed(rows, sae) -> None:
    """Curves without points, a table without rows that has its columns, and a line that says so."""
    whole = sn.train(sae, rows, steps=2, progress=False)
    result = dataclasses.replace(
        whole, history=type(whole.history)(), steps=0, tokens=0, seconds=0.0
    )
    assert [len(trace.x) for trace in result.plot().data] == [0] * len(whole.plot().data)
    assert list(result.to_pandas().columns) == [
        name for name in whole.to_pandas().columns if not name.startswith("parts.")
    ]
    assert len(result.to_pandas()) == 0
    assert repr(result.history) == "History(no records)"
    assert "steps=0 of 2" in repr(result)
    assert "<table" in result.history._repr_html_()
