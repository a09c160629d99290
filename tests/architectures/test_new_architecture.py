"""A new SAE is one class and one line in the registry: a ReLU SAE in twenty lines, for example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb import architectures
from sae_nb.architectures import (
    DenseOperator,
    SparseAutoencoder,
    TopKProx,
    TrainingDefaults,
    TrainingLoss,
    ista_step,
)
from sae_nb.architectures.parts._operators import LearnedAdjoint
from sae_nb.codes import SparseCodes
from sae_nb.pretrained import load_sae


class Rectified(SparseAutoencoder):
    """z = [u]₊, with an L1 penalty."""

    def __init__(self, d_in: int, n_atoms: int) -> None:
        super().__init__(DenseOperator(d_in, n_atoms))
        self.encoder = LearnedAdjoint(self.operator)

    def settings(self) -> dict[str, Any]:
        return {"d_in": self.d_in, "n_atoms": self.n_atoms}

    def recipe(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=1e-2)

    def training_loss(self, x: Tensor, *_: Any) -> TrainingLoss:
        codes = self._encode(x, None)
        error, x_hat, _ = self.operator.squared_error(codes, self.bias, x)
        total = error / len(x) + 0.1 * codes.values.sum() / len(x)
        return TrainingLoss(total=total, parts={}, codes=codes.detach(), x_hat=x_hat)

    def _encode(self, x: Tensor, k: int | None) -> SparseCodes:
        prox = TopKProx(self.n_atoms)
        return ista_step(x, self.encoder, prox, centre=self.bias, scale=self.scaling.scale)


@pytest.mark.slow
def test_a_class_and_a_line_make_an_sae(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(architectures.ARCHITECTURES, "Rectified", Rectified)
    sae, x = Rectified(8, 30), torch.rand(200, 8) * 5
    sae.initialise(x, None)
    optimiser = torch.optim.Adam(sae.parameters(), lr=sae.recipe().learning_rate)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = sae.training_loss(x)
        loss.total.backward()
        sae.before_optimiser_step()
        optimiser.step()
        sae.after_optimiser_step()
        losses.append(loss.total.item())
    assert losses[-1] < 0.5 * losses[0]
    pre_codes = sae.encoder(x - sae.bias, sae.scaling.scale)
    assert torch.allclose(sae.encode(x).to_dense(), pre_codes.relu(), atol=1e-5)
    sae.save(tmp_path / "sae")
    assert torch.equal(load_sae(tmp_path / "sae")(x), sae(x))


def test_what_cannot_be_rebuilt_is_not_saved(tmp_path: Path) -> None:
    """Neither a dataclass nor a method `settings`: refused, and nothing is written."""

    class Forgetful(Rectified):
        settings = SparseAutoencoder.settings

    with pytest.raises(TypeError, match="Forgetful does not. Write it as a dataclass, or give it"):
        Forgetful(3, 5).save(tmp_path / "sae")
    assert not list(tmp_path.iterdir())
