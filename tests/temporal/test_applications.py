"""Sequences are of one application of a module that runs several times."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn


def test_several_applications_are_not_one_sequence() -> None:
    adder = sn.load_model("tiny-looped")
    ids = torch.full((4, 6), 7)
    acts = sn.capture(adder, ids, "blocks.1", progress=False)
    with pytest.raises(ValueError, match="one application of a module, got 6"):
        sn.temporal.Sequences(acts)
    assert len(sn.temporal.Sequences(acts[acts.step == 5])) == 4
