"""Two SAEs that nobody trained, pictures, and the bars that an InputLens shows of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import sae_nb_widgets as sw
import torch

import sae_nb as sn

HOSTILE = "<script>window.hurt=1</script>"
SEVEN = [[(9, 8), (22, 8), (14, 24)]]


def untrained(d_in: int, n_atoms: int = 96) -> Any:
    return sn.TopK(
        d_in=d_in, n_atoms=n_atoms, k=6, generator=torch.Generator().manual_seed(0)
    ).eval()


VIT_SAE, GPT_SAE = untrained(64), untrained(128)
PICTURES = torch.randint(
    0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
)


def shown(made: sw.InputLens) -> np.ndarray:
    return np.asarray(made._bars.columns[0]["values"])


def now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(tz=UTC)


def says_nothing(lens: sw.InputLens) -> bool:
    """Whether no answer, bar, heat or card of an earlier input stands on screen."""
    view, detail = lens._view, lens._detail_view
    heat = view.grid.captions if lens.kind == "vision" else view.strip.tokens
    return not any(
        (
            lens.answer,
            lens.numbers,
            lens._bars.labels,
            detail.answers.labels,
            detail.card.value,
            heat,
        )
    )
