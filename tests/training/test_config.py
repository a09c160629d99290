"""Settings are checked when they are made and survive a trip through JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

from sae_nb.training import TrainConfig


def test_config_survives_json() -> None:
    config = TrainConfig(
        steps=7, learning_rate=1 / 3, gradient_clip=math.inf, checkpoint=Path("a") / "b"
    )
    back = TrainConfig.from_json(json.loads(json.dumps(config.to_json(), allow_nan=False)))
    assert back == dataclasses.replace(config, checkpoint=str(Path("a") / "b"))
