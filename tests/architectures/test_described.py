"""Of an SAE that is made in part, the numbers are those of one that is made whole."""

from __future__ import annotations

import pytest
import torch

from sae_nb.architectures.parts import _operators


def test_numbers_drawn_in_pieces_are_those_of_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch makes the last sixteen of a draw anew where a rest is left: in pieces it must be one rest."""
    for at_once in (1, 700, 5000):
        monkeypatch.setattr(_operators, "DRAWN_AT_ONCE", at_once)
        for n, width in ((1, 1), (3, 5), (33, 7), (997, 64), (1000, 31), (17, 1), (31, 2)):
            whole = torch.randn(n, width, generator=torch.Generator().manual_seed(1))
            for kept in (slice(0, n), slice(n // 3, n), slice(0, n // 2 + 1)):
                with _operators.keeping_rows(kept):
                    rows = _operators.normal_rows(n, width, torch.Generator().manual_seed(1))
                assert torch.equal(rows, whole[kept])
