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


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("steps", 0, r"`steps` must be at least 1, got 0"),
        ("batch_size", 0, r"`batch_size` must be at least 1, got 0"),
        ("log_every", -1, r"`log_every` must be at least 1, got -1"),
        ("seed", -1, r"`seed` must be at least 0, got -1"),
        ("warmup_steps", -1, r"`warmup_steps` must be at least 0, got -1"),
        ("dead_after_tokens", 0, r"`dead_after_tokens` must be at least 1, got 0"),
        ("learning_rate", 0.0, r"`learning_rate` must be above 0 and finite, got 0\.0"),
        ("learning_rate", math.nan, r"`learning_rate` must be a finite number, got nan"),
        ("learning_rate", math.inf, r"`learning_rate` must be above 0 and finite, got inf"),
        ("decay_fraction", 1.5, r"`decay_fraction` must be between 0 and 1, got 1\.5"),
        ("gradient_clip", -1.0, r"`gradient_clip` must be above 0, got -1\.0"),
        ("sparsity", -0.1, r"`sparsity` must be at least 0 and finite, got -0\.1"),
        ("device", "cuda:99", "`device` must be"),
    ],
)
def test_impossible_settings_are_refused(setting: str, value: object, message: str) -> None:
    """Rule and value are in the message, before anything is trained."""
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{setting: value})


@pytest.mark.parametrize("setting", ["steps", "learning_rate", "seed"])
@pytest.mark.parametrize("value", ["100", True, 1.5j])
def test_settings_of_another_type_are_refused(setting: str, value: object) -> None:
    """A string of digits or a truth value is not a number."""
    with pytest.raises(TypeError, match=f"`{setting}` must be"):
        TrainConfig(**{setting: value})


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
