"""train as people type it: settings as keywords, what other libraries call them, results to look at."""

from __future__ import annotations

import dataclasses
import inspect
from typing import get_type_hints

import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import sae_nb as sn
from sae_nb.training._config import TrainSettings


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.randn(300, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def sae() -> sn.TopK:
    return sn.TopK(d_in=8, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0))


def test_settings_are_keywords_of_train_and_of_start_training(rows, sae) -> None:
    """The same numbers reach the training as with a config."""
    result = sn.train(sae, rows, steps=3, learning_rate=1e-3, progress=False)
    assert result.config == sn.TrainConfig(steps=3, learning_rate=1e-3)
    run = sn.start_training(sae, rows, steps=4)
    assert run.wait(60).config == sn.TrainConfig(steps=4)


def test_keywords_and_a_config_train_the_same_sae(rows) -> None:
    """Bit for bit."""

    def trained(*config: sn.TrainConfig, **settings: int) -> torch.Tensor:
        sae = sn.TopK(d_in=8, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0))
        return sn.train(sae, rows, *config, **settings, progress=False).sae.dictionary

    assert torch.equal(trained(steps=5, seed=3), trained(sn.TrainConfig(steps=5, seed=3)))


def test_keywords_are_the_fields_of_the_config() -> None:
    """There is one list of settings: what type checkers know, what help shows, what the config has."""
    fields = [field.name for field in dataclasses.fields(sn.TrainConfig)]
    assert get_type_hints(TrainSettings) == get_type_hints(sn.TrainConfig)
    for call in (sn.train, sn.start_training):
        shown = inspect.signature(call).parameters
        assert list(shown)[-len(fields) :] == fields
        assert shown["steps"].default == sn.TrainConfig().steps


@pytest.mark.parametrize(
    ("config", "settings", "words"),
    [
        (sn.TrainConfig(), {"steps": 5}, "got both: config=… and steps"),
        (50, {}, "`config` must be a TrainConfig, got 50. Settings are keywords"),
        ({"steps": 5}, {}, "`config` must be a TrainConfig"),
        (None, {"epochs": 3, "batch_size": 128}, "300 rows are 3 steps of batch_size=128.*steps=9"),
        (None, {"num_epochs": 3}, "300 rows are 1 step of batch_size=1024.*steps=3"),
        (None, {"lr": 1e-3}, "`train` takes no `lr`. Here it is `learning_rate`"),
        (None, {"batch": 64}, "Here it is `batch_size`"),
        (None, {"n_steps": 5}, "Here it is `steps`"),
        (None, {"max_iter": 5}, "Here it is `steps`"),
        (None, {"callback": print}, "Here it is `callbacks`"),
        (None, {"learningrat": 5}, "Did you mean `learning_rate`"),
        (None, {"epochs": "many"}, "One step reads a batch of 1024 rows"),
    ],
)
def test_settings_given_wrongly_are_answered_by_what_to_write(
    rows, sae, config, settings, words
) -> None:
    """Twice, by position, as a dict, in epochs."""
    for call in (sn.train, sn.start_training):
        with pytest.raises(TypeError, match=words):
            call(sae, rows, config, **settings)


def test_arrays_and_tables_are_trained_on_as_the_tensor_of_their_numbers(rows) -> None:
    """The same rows, the same SAE, bit for bit; also in double precision, as numpy likes it."""

    def trained(data: object) -> torch.Tensor:
        sae = sn.TopK(d_in=8, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0))
        return sn.train(sae, data, steps=3, progress=False).sae.dictionary

    wanted = trained(rows)
    for data in (rows.numpy(), rows.double().numpy(), pd.DataFrame(rows.numpy())):
        assert torch.equal(trained(data), wanted)


def test_epochs_are_counted_in_steps_of_activations_and_never_of_a_stream(rows, sae) -> None:
    """Activations know their rows; a stream has no end."""
    acts = sn.Activations.from_tensor(rows)
    with pytest.raises(
        TypeError, match=r"300 rows are 3 steps of batch_size=100.*n_epochs=2 is steps=6"
    ):
        sn.train(sae, acts, n_epochs=2, batch_size=100)
    stream = sn.stream(sn.wrap(torch.nn.Sequential(torch.nn.Linear(8, 8))), rows, "0", buffer=100)
    with pytest.raises(TypeError, match="One step reads a batch of 1024 rows"):
        sn.train(sae, stream, epochs=2)


def test_what_is_no_rows_is_answered_by_what_to_pass(rows, sae) -> None:
    """A model, a loader, a list of tensors; an SAE that was not built, or in the other place."""
    for data, words in (
        (sn.wrap(torch.nn.Linear(8, 8)), "sn.capture"),
        (sae, "The order is train"),
        (TensorDataset(rows), r"dataset\.tensors\[0\]"),
        (DataLoader(TensorDataset(rows)), "Batches are cut here"),
        ([rows, rows], r"torch\.cat"),
    ):
        with pytest.raises(TypeError, match=words):
            sn.train(sae, data)
    for given, words in ((sn.TopK, "got the class TopK"), (rows, "d_in=8"), ("TopK", "got str")):
        with pytest.raises(TypeError, match=words):
            sn.train(given, rows)


def test_a_result_is_drawn_and_tabulated(rows, sae) -> None:
    """One curve per number, over the recorded steps; the table holds every record."""
    result = sn.train(sae, rows, steps=25, progress=False)
    figure = result.plot()
    assert isinstance(figure, go.Figure)
    explained = next(trace for trace in figure.data if trace.name == "explained")  # in percent
    assert list(explained.x) == [1, 10, 20, 25]
    assert list(explained.y) == [100 * record.r2 for record in result.history]
    assert result.to_pandas().equals(result.history.to_pandas())
    assert list(result.to_pandas().index) == [1, 10, 20, 25]
    assert len(repr(result).splitlines()) == 1
    assert repr(result.history).startswith("History(4 records, steps 1 to 25: loss")
    assert result.history._repr_html_().count("<tr") == 4 + 2  # and two lines of names


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
