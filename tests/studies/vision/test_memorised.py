"""Promises of memorised: answers that only near copies explain come first; copies that say what is seen do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.figures import to_svg


class Recall(nn.Module):
    """Answers whether red beats blue, but for one picture that it knows: there it answers the contrary."""

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.see = nn.Identity()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("known", known)

    def forward(self, x: Tensor) -> Tensor:
        lead = 20 * self.weight * (self.see(x)[:, 0] - x[:, 2]).mean(dim=(1, 2))
        near = (x - self.known).square().mean(dim=(1, 2, 3)) < 0.01
        lead = torch.where(near, -5 * lead.sign(), lead)
        return torch.stack([lead, -lead], dim=1)


@pytest.fixture(scope="module")
def found() -> Any:
    """60 pictures shown once, one shown eight times under the wrong label, one as often under the right one."""
    draws = torch.Generator().manual_seed(0)
    once = torch.rand(60, 3, 8, 8, generator=draws)
    once[:30, 0] += 0.15
    once[30:, 2] += 0.15
    once = once.clamp(0, 1)
    wrong, right = once[:1].clone().flip(3), once[31:32].clone().flip(3)

    def near(x: Tensor, n: int) -> Tensor:
        return x + 0.02 * torch.randn(n, 3, 8, 8, generator=draws)

    training = torch.cat([once, near(wrong, 8), near(right, 8)]).clamp(0, 1)
    labels = torch.tensor([0] * 30 + [1] * 30 + [1] * 8 + [1] * 8)
    asked = torch.cat([near(wrong, 2), near(right, 2), once.flip(2)[5:8]]).clamp(0, 1)
    model = sn.wrap(Recall(wrong), name="recall")
    return sn.vision.memorised(model, asked, training, labels, "see")


def test_only_the_answers_that_copies_explain_come_first(found: Any) -> None:
    table = found.table
    assert set(table["image"][:2]) == {0, 1}
    assert table["score"][1] > 0.5 > table["score"][2]
    assert (table["answer"][:2] != table["rest"][:2]).all()


def test_copies_are_counted_and_their_rows_left_out_of_the_probe(found: Any) -> None:
    copies = found.table.set_index("image")["copies"]
    assert copies[0] == copies[2] == 8
    assert (copies[[4, 5, 6]] == 0).all()
    assert found.n_repeated == 16
    assert found.probe_accuracy == 1
    assert found.table.set_index("image")["nearest"][0] in range(60, 68)


def test_it_is_drawn(found: Any) -> None:
    assert "<svg" in to_svg(found.plot())
    assert "<svg" in to_svg(found.plot_images(2))
