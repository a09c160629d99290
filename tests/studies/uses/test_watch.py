"""Promises of watching: the same text, the same strengths as in one pass, nothing kept, edits seen at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb_studies.uses import repetition, watch

PLACE = "resid_post.3"


def test_what_is_watched_is_what_one_pass_gives(gpt: Any, sae: Any) -> None:
    moments = list(watch(gpt, sae, "The list of", PLACE, [25, 454], max_new_tokens=8))
    whole = "".join(moment.token for moment in moments[1:])
    assert whole == gpt.generate("The list of", max_new_tokens=8)
    assert [moment.new for moment in moments] == [False] * 4 + [True] * 8
    assert np.isnan(moments[0].strengths).all()
    acts = sn.capture(gpt, [whole], PLACE, progress=False)
    wanted = sae.encode(acts).to_dense()[:, [25, 454]].detach().numpy()
    assert np.array([moment.strengths for moment in moments[1:]]) == pytest.approx(wanted, abs=1e-3)


def test_an_edit_between_two_tokens_holds_from_there_on(gpt: Any, sae: Any) -> None:
    clean = [m.token for m in watch(gpt, sae, "The list of", PLACE, 25, max_new_tokens=12)]
    stream = watch(gpt, sae, "The list of", PLACE, 25, max_new_tokens=12)
    first = [next(stream).token for _ in range(6)]
    assert not gpt.interventions
    with sn.steer(gpt, PLACE, sae, 25, -60.0):
        steered = [next(stream) for _ in range(4)]
    assert first == clean[:6]
    assert [m.token for m in steered] != clean[6:10]
    assert steered[-1].strengths[0] == 0
    stream.close()  # type: ignore[attr-defined]
    assert not gpt.interventions


def test_the_rise_is_last_minus_first(gpt: Any, sae: Any) -> None:
    """By hand: one n-gram of four tokens at two places, and a token that comes again outside of it."""
    ids = [0, 100, 200, 300, 400, 500, 100, 200, 300, 400, 500, 600, 600]
    found = repetition(gpt, sae, torch.tensor(ids), PLACE, n_gram=5)
    codes = sae.encode(sn.capture(gpt, [torch.tensor(ids)], PLACE, progress=False)).to_dense()
    rise = (codes[9] - codes[4]).detach()  # rows begin at position 1
    floor = (codes[11] - codes[10]).detach()
    table = found.table
    assert (found.n_repeats, found.n_plain) == (1, 1)
    atoms = table["atom"].to_numpy()
    assert table["rise"].to_numpy() == pytest.approx(rise[atoms].numpy(), abs=1e-3)
    assert table["floor"].to_numpy() == pytest.approx(floor[atoms].numpy(), abs=1e-3)
    assert found.atom == atoms[0] == int(rise.argmax())
    assert len(found.plot(3).data) == 2
