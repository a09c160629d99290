"""Panels of SmolLM2 with an SAE of nobody's catalogue: they open on something that happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw

import sae_nb as sn

PROMPTS = ("Last summer in Rome he", "My favourite thing to do on Sunday is")
WAIT = 300.0


@pytest.mark.timeout(900)
def test_a_text_goes_on_otherwise_with_the_opening_atom(
    open_real: Callable[[str], Any], assets: Path
) -> None:
    """At one model unit steered, unsteered and random texts were equal word for word; atoms fire at 10 to 40."""
    model = open_real("smollm2")
    sae = sn.load_sae(assets / "data" / "weights" / "smollm2_resid_post_16")
    for prompt in PROMPTS:
        lens = sw.GenerationLens(model, sae, prompt=prompt)
        lens.wait(WAIT)
        fired = lens.generation.branches[0].text.strengths(lens.atom)
        assert np.nanmax(fired) > 0, "it opens on an atom that fires in the prompt"
        assert 5 < lens.strength < 100
        lens.go_on(15)
        steered, unsteered = (lens.generation.new_text(1, row) for row in range(2))
        assert steered != unsteered
        lens.close()


@pytest.mark.timeout(900)
def test_a_steering_panel_opens_on_an_atom_of_the_prompt(
    open_real: Callable[[str], Any], assets: Path
) -> None:
    """Not on atom 0 at half the length of the stream, which breaks the text."""
    model = open_real("smollm2")
    sae = sn.load_sae(assets / "data" / "weights" / "smollm2_resid_post_16")
    panel = sw.SteeringPanel(model, sae, inputs=[PROMPTS[0]])
    panel.wait(WAIT)
    assert panel.scale.firing.get(panel.atom, 0.0) > 0
    assert 5 < panel.strength < 100
    assert f"atom {panel.atom}" in panel.reasons
    panel.close()
