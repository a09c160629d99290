"""What is foretold of a push, wherever atoms are shown: one sentence, and an order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
from sae_nb_widgets.components._atom_card import card_content

import sae_nb as sn
from sae_nb.atoms import Foretold

NAME, PLACE = "tiny-gpt/resid_post.3", "resid_post.3"


@pytest.fixture
def sae() -> Any:
    """An SAE whose atoms are foretold as they are numbered: the last is the steadiest."""
    made = sn.load_sae(NAME)
    n = made.n_atoms
    unknown = np.full(n, np.nan)
    Foretold(
        stability=np.linspace(0, 1, n),
        spread=np.full(n, 3.0),
        errors=(0.1, 1.0),
        came_stability=np.where(np.arange(n) == 9, 0.25, np.nan),
        came_spread=np.where(np.arange(n) == 9, 4.0, unknown),
        thirds=(0.4, 0.6, 9.0),
        ranks=(0.7, 0.5),
        n_pushed=90,
        n_inputs=12,
        input_word="text",
    ).keep(made)
    return made


def test_card_margin_table_and_agents_have_the_sentence(sae: Any) -> None:
    said = sn.load_examples(NAME).catalogue(sae).foretold(9)
    assert said.startswith("Foretold: depends on the text")
    assert "Pushed in 12 texts: 0.25" in said
    panel = sw.AtomBrowser(sae, atom=9)
    assert panel.record is not None
    assert panel.record["foretold"] == said
    assert said in panel.cards.second.value
    assert card_content(panel.names.card(9))["fires"].endswith(said)
    panel.close()


def test_a_browser_steps_from_the_steadiest_on_and_through_what_was_found(sae: Any) -> None:
    panel = sw.AtomBrowser(sae, atom=9)
    alive = np.flatnonzero(panel.catalogue.alive)
    panel.sort = "steadiest"
    panel.atom = int(alive[-1])
    panel.next()
    assert panel.atom == alive[-2]
    panel.search = "dog"
    assert len(panel.found) > 1
    panel.atom = max(panel.found)
    panel.next()
    assert panel.atom == sorted(panel.found)[-2]
    panel.close()


def test_without_a_forecast_the_order_is_that_of_frequency() -> None:
    catalogue = sn.load_examples(NAME).catalogue(sn.load_sae(NAME))
    assert catalogue.foretold(9) == ""
    assert (catalogue.order("steadiest") == catalogue.order("frequency")).all()


def test_a_steering_panel_says_it_beside_what_came(sae: Any, gpt: Any) -> None:
    panel = sw.SteeringPanel(gpt, PLACE, sae, ["The dog ran"], atom=9, strength=1.0)
    panel.wait()
    assert panel.names.foretold(9) in panel.reasons
    panel.close()
    known = Foretold.of(sae)
    assert known is not None
    replace(known, errors=(np.nan, np.nan)).keep(sae)
    panel = sw.SteeringPanel(gpt, PLACE, sae, ["The dog ran"], atom=9, strength=1.0)
    panel.wait()
    assert "Its push cannot be foretold here" in panel.reasons
    panel.close()


@pytest.mark.slow
def test_a_generation_lens_says_it(sae: Any, gpt: Any) -> None:
    lens = sw.GenerationLens(gpt, sae, prompt="The list of")
    lens.wait()
    lens.atom = 9
    lens.step(2)
    assert lens.names.foretold(9) in lens.reasons
    lens.close()
