"""Settings are checked when they are made and survive a trip through JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from sae_nb.training import TrainConfig


def test_config_survives_json() -> None:
    config = TrainConfig(
        steps=7, learning_rate=1 / 3, gradient_clip=math.inf, checkpoint=Path("a") / "b"
    )
    back = TrainConfig.from_json(json.loads(json.dumps(config.to_json(), allow_nan=False)))
    assert back == dataclasses.replace(config, checkpoint=str(Path("a") / "b"))


def test_what_is_not_said_has_its_default() -> None:
    """A checkpoint without a setting is of the default: another one would refuse to go on."""
    chosen = {name: value for name, value in TrainConfig().to_json().items() if value is not None}
    assert chosen == {
        "steps": 2000,
        "batch_size": 1024,
        "seed": 0,
        "log_every": 10,
        "checkpoint_every": 200,
        "precision": "auto",
        "shard_atoms": False,
    }
    for wrong in (
        {"steps": 0},
        {"decay_fraction": 1.1},
        {"gradient_clip": 0},
        {"warmup_steps": -1},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TrainConfig(**wrong)
