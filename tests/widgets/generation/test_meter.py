"""The strip of a monitor under the text of a GenerationLens: as the model writes, in branches, on pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sae_nb_widgets.generation import GenerationLens

import sae_nb as sn

pytestmark = pytest.mark.slow
PLACE = "resid_post.3"


@pytest.fixture(scope="module")
def meter(gpt: Any) -> sn.monitoring.Monitor:
    axis = torch.zeros(gpt.width(gpt.hook_point("resid_post.2")))
    axis[3] = 1.0
    channels = {"axis": ("resid_post.2", axis), "atom": (sn.load_sae(f"tiny-gpt/{PLACE}"), 25)}
    return sn.monitor(gpt, channels, sn.data.stories(20).texts)


def shades(strip: Any, n: int) -> np.ndarray:
    return np.frombuffer(strip.token_strengths, np.float32).reshape(n, -1)


def test_the_strip_fills_as_the_model_writes(gpt: Any, meter: Any, tmp_path: Path) -> None:
    """What the strip shows at each token is what the monitor reads of the whole text; a token is chosen by it."""
    sae = sn.load_sae(f"tiny-gpt/{PLACE}")
    lens = GenerationLens(gpt, sae, prompt="The list of", meter=meter)
    lens.wait()
    (strip,) = lens.views.meter.widgets
    n = len(strip.tokens[0])
    lens.step(5)
    assert len(strip.tokens[0]) == n + 5
    ids = torch.tensor([lens.generation.branches[0].text.ids])
    read = meter.read(ids)
    for i, name in enumerate(meter.names):
        low, middle, high = meter.usual[i]
        x = read.of()[name]
        wanted = np.where(x > middle, (x - middle) / (high - middle), (x - middle) / (middle - low))
        assert np.allclose(shades(strip, 2)[i, 1:], wanted, atol=1e-2)
        assert strip.captions[i].startswith(f"{name}: ")
    assert np.isnan(shades(strip, 2)[:, 0]).all()
    strip.selected = (1, 2)
    assert lens.token == 2

    # A branch that is steered reads what it became from there on, and keeps what was before.
    before = np.array(lens.generation.branches[0].text.metered)
    lens.token, lens.atom, lens.strength = 4, 25, 3.0
    lens.go_on(2)
    rows = lens.generation.branches[1].rows
    steered, untouched = (np.array(row.metered) for row in rows[:2])
    assert np.array_equal(steered[1:4], before[1:4])
    assert steered[4, 1] > untouched[4, 1] + 0.5
    assert steered[4, 0] == pytest.approx(untouched[4, 0], abs=1e-3)  # of a block before
    page = lens.to_html(tmp_path / "page.html").read_text("utf-8")
    assert page.count("axis: ") and "× the usual range" in page  # noqa: PT018
    lens.close()


def test_without_a_monitor_nothing_is_there_and_one_of_another_model_is_refused(
    gpt: Any, meter: Any
) -> None:
    sae = sn.load_sae(f"tiny-gpt/{PLACE}")
    lens = GenerationLens(gpt, sae, prompt="The list of")
    assert lens.views.meter.widgets == []
    lens.close()
    with pytest.raises(ValueError, match="`meter` must be a monitor of tiny-gpt, got one of int"):
        GenerationLens(gpt, sae, meter=3)
