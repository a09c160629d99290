"""AtomBrowser on sounds: every example is a spectrogram with heat that plays, named by time and band."""

from __future__ import annotations

import pytest
import sae_nb_widgets as sw
import torch

from sae_nb.activations import Activations, Context, Ragged
from tests.widgets.made import FakeTopK, descendants

RATE = 8_000


def sound_acts(length: int = RATE, columns: int = 5) -> Activations:
    """Four clips with a patch in two bands for each fifth of a second, after cls."""
    n, places = 4, 1 + 2 * columns
    sounds = [torch.full((length,), 100 * (i + 1), dtype=torch.int16) for i in range(n)]
    context = Context(
        kind="audio",
        n_samples=n,
        pictures=torch.zeros(n, 3, 16, 10 * columns, dtype=torch.uint8),
        sounds=Ragged(torch.cat(sounds), torch.arange(n + 1) * length),
        patch_grid=(2, columns),
        prefix_tokens=1,
        seconds_per_step=length / RATE / columns,
        policy={"sample_rate": RATE},
    )
    x = torch.randn(n * places, 8, generator=torch.Generator().manual_seed(1))
    sample = torch.arange(n).repeat_interleave(places)
    return Activations.from_tensor(
        x, sample=sample, position=torch.arange(places).repeat(n), context=context
    )


@pytest.fixture(scope="module")
def browser() -> sw.AtomBrowser:
    return sw.AtomBrowser(FakeTopK(), sound_acts())


def grid_of(browser: sw.AtomBrowser) -> sw.PictureGrid:

    grids = [w for w in descendants(browser) if isinstance(w, sw.PictureGrid) and w.sound_lengths]
    assert len(grids) == 1
    return grids[0]


def test_examples_play_what_they_are_of(browser):
    """A second each, all equally loud, and patches are named by band and time."""
    grid = grid_of(browser)
    n = len(grid.captions)
    assert grid.sound_lengths == [RATE] * n
    assert grid.sound_rate == RATE
    assert len(grid.sounds) == RATE * n
    assert set(grid.sounds) == {255}
    assert grid.spans == [[0.0, 1.0]] * n
    assert grid.patch_names[6] == "band 1, 0.20 s"
    assert all(caption == "cls" or caption.startswith("band ") for caption in grid.captions)
