"""Settings are checked when they are made and survive a trip through JSON."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import math
from pathlib import Path

import pytest

from sae_nb.training import TrainConfig


def test_a_device_that_is_not_there_is_refused() -> None:
    """Before anything is trained; the other settings have rules in their annotations."""
    with pytest.raises(ValueError, match="`device` must be"):
        TrainConfig(device="cuda:99")


def test_a_checkpoint_is_a_folder() -> None:
    """Or none."""
    with pytest.raises(TypeError, match="`checkpoint` must be a folder or None, got True"):
        TrainConfig(checkpoint=True)


def test_config_survives_json() -> None:
    """Every setting comes back from JSON as it was, infinity included."""
    config = TrainConfig(
        steps=7, learning_rate=1 / 3, gradient_clip=math.inf, checkpoint=Path("a") / "b"
    )
    back = TrainConfig.from_json(json.loads(json.dumps(config.to_json(), allow_nan=False)))
    assert back == dataclasses.replace(config, checkpoint=str(Path("a") / "b"))


def test_config_cannot_be_changed_or_given_by_position() -> None:
    """A config that was used stays what it was."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().steps = 3
    with pytest.raises(TypeError):
        TrainConfig(100)


def test_every_setting_says_what_it_is() -> None:
    """Each field is followed by a docstring."""
    body = ast.parse(inspect.getsource(TrainConfig)).body[0].body
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(text, ast.Expr), f"{field.target.id} has no docstring"
            assert len(text.value.value) > 20
