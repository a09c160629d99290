"""Plain modules read tensors: the first axis counts samples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sae_nb.models import LiveModel, wrap

X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(4, 3)
        self.right = nn.Linear(2, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.left(a) + self.right(b)


@pytest.fixture
def model() -> LiveModel:
    return wrap(nn.Sequential(nn.Linear(4, 3), nn.ReLU()))


@pytest.mark.parametrize(
    "inputs",
    [
        lambda: X,
        lambda: X.numpy(),
        lambda: X.double(),
        lambda: iter([X[:3], X[3:]]),
        lambda: [X[:3], X[3:]],
        lambda: DataLoader(TensorDataset(X, torch.arange(7)), batch_size=3),
    ],
)
def test_every_form_of_tensor_reads_the_same(model, inputs) -> None:
    """Answers of all rows, in order; float64 becomes the model's own format."""
    torch.testing.assert_close(model(inputs(), batch_size=2), model.module(X).detach())


def test_batches_are_sliced_and_counted(model) -> None:
    """sample counts on."""
    batches = model.batches(X, batch_size=3)
    assert batches.n_samples == 7
    parts = list(batches)
    assert [part.n for part in parts] == [3, 3, 1]
    assert parts[1].sample.tolist() == [[3], [4], [5]]


def test_a_dict_gives_keyword_arguments() -> None:
    """For modules with several inputs."""
    model = wrap(TwoInputs())
    b = torch.randn(7, 2)
    torch.testing.assert_close(model({"a": X, "b": b}, batch_size=3), model.module(X, b).detach())
