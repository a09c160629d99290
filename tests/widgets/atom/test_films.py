"""Panels on videos: a frame at a time with its heat, above the strip of all; names by time, row and column."""

from __future__ import annotations

import re

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch

import sae_nb as sn
from sae_nb.activations import Activations, Context
from sae_nb.models import LiveModel
from tests.widgets.made import FakeTopK, descendants


def film_acts(time_last: bool = False, step: float | None = None) -> Activations:
    """Four videos of three steps in time, each of 2 × 2 patches, after cls."""
    n, places = 4, 1 + 3 * 4
    context = Context(
        kind="video",
        n_samples=n,
        pictures=torch.zeros(n, 3, 3 * 8, 8, dtype=torch.uint8),
        patch_grid=(4, 3) if time_last else (6, 2),
        prefix_tokens=1,
        frames=3,
        time_last=time_last,
        seconds_per_step=step,
    )
    x = torch.randn(n * places, 8, generator=torch.Generator().manual_seed(1))
    sample = torch.arange(n).repeat_interleave(places)
    return Activations.from_tensor(
        x, sample=sample, position=torch.arange(places).repeat(n), context=context
    )


def grid_of(panel: sw.AtomBrowser) -> sw.PictureGrid:

    grids = [w for w in descendants(panel) if isinstance(w, sw.PictureGrid) and w.frames > 1]
    assert len(grids) == 1
    return grids[0]


@pytest.mark.parametrize("time_last", [False, True])
def test_heat_lies_on_the_frame_of_its_tubelet(time_last: bool) -> None:
    """Heat, names of patches and of frames, in the order of the strip."""
    acts = film_acts(time_last, step=0.25)
    browser = sw.AtomBrowser(FakeTopK(), acts)
    grid = grid_of(browser)
    assert grid.heat_shape == (6, 2)
    assert list(grid.frame_names) == ["frame 0, 0.00 s", "frame 1, 0.25 s", "frame 2, 0.50 s"]
    assert grid.frame_seconds == 0.25
    assert grid.patch_names[4:8] == [f"tubelet {i},{j} at 0.25 s" for i in (0, 1) for j in (0, 1)]
    strongest = [grid.patch_names[int(np.nanargmax(heat))] for heat in grid.heat_maps]
    on_patches = [pair for pair in zip(grid.captions, strongest, strict=True) if pair[0] != "cls"]
    assert on_patches
    assert all(caption == name for caption, name in on_patches)
    browser.close()


def test_a_page_shows_all_frames_with_their_heat() -> None:
    """Next to each other, at most four in a row; a click is named by its tubelet."""
    browser = sw.AtomBrowser(FakeTopK(), film_acts())
    grid = grid_of(browser)
    grid.selected = (0, 5)
    assert "tubelet 1,0,1" in browser.status
    html = grid.static_html()
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', html).groups())
    assert (width, height) == (3 * 8 + 2, 8)
    first = html[: html.index("</svg>")]
    boxes = re.findall(r'x="([\d.]+)" y="([\d.]+)" width="4" height="4" fill="rgba', first)
    assert len(boxes) == 12
    outlined = re.findall(r'x="([\d.]+)" y="([\d.]+)" width="4" height="4" fill="none"', first)
    assert set(outlined) == {("13", "0")}
    assert [float(x) for x, _ in boxes[::4]] == [0.0, 9.0, 18.0]
    assert grid.drawing(400).height > 0
    browser.close()


def model_of_videos() -> LiveModel:
    import transformers

    torch.manual_seed(0)
    config = transformers.TimesformerConfig(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=16,
        patch_size=8, num_frames=3,
    )  # fmt: skip
    module = transformers.TimesformerForVideoClassification(config).eval()
    return sn.wrap(module, class_names=["up", "down"])


@pytest.mark.slow
def test_an_input_lens_reads_videos() -> None:
    """An example of the activations, then an array with its rate; a click on the strip is its position."""
    model = model_of_videos()
    videos = torch.rand(3, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    acts = sn.capture(model, (videos, 6.0), "resid_post.0", progress=False)
    sae = sn.TopK(d_in=8, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0))
    lens = sw.InputLens(model, sae, "resid_post.0", acts=acts)
    lens.wait(60)
    assert (lens.problem, lens.picture.shape) == (False, (3, 3, 16, 16))
    assert lens.summary.tokens[:3] == ("cls", "tubelet 0,0 at 0.00 s", "tubelet 0,0 at 0.17 s")
    assert len(lens.summary.answers) == 2
    lens.picture = (torch.rand(7, 3, 16, 16), 12.0)
    lens.wait(60)
    assert lens.summary.tokens[2] == "tubelet 0,0 at 0.25 s"
    grid = lens._view.grid
    assert (grid.frames, grid.heat_shape) == (3, (6, 2))
    grid.selected = (0, 4)  # the second frame's first patch
    assert lens.summary.tokens[lens.token] == "tubelet 0,0 at 0.25 s"
    lens.close()
