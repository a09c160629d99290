"""What `capture` takes, a panel of that modality takes: a row a panel, a column a form of one input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sae_nb_widgets as sw
import torch
from PIL import Image
from torch import Tensor

import sae_nb as sn

POINT = "resid_post.3"
BYTES = (sn.data.scenes(1).images[0] * 255).byte()
IMAGE = BYTES / 255
FORMS: dict[str, Callable[[sn.LiveModel], Any]] = {
    "tensor": lambda model: IMAGE,
    "batch": lambda model: IMAGE[None],
    "list": lambda model: [IMAGE],
    "bytes": lambda model: BYTES,
    "array": lambda model: IMAGE.permute(1, 2, 0).numpy(),
    "picture": lambda model: Image.fromarray(BYTES.permute(1, 2, 0).numpy()),
    "data set": lambda model: replace(sn.data.scenes(1), images=IMAGE[None]),
    "mapping": lambda model: {"pixel_values": next(iter(model.batches(IMAGE))).kwargs["pixel_values"]},
}  # fmt: skip
READ: dict[str, Callable[[sn.LiveModel, sn.TopK, Any], Any]] = {
    "SteeringPanel": lambda model, sae, x: sw.SteeringPanel(model, POINT, sae, inputs=x),
    "DepthTrajectory": lambda model, sae, x: sw.DepthTrajectory(model, x),
    "HeadsPanel": lambda model, sae, x: sw.HeadsPanel(model, x),
}


@pytest.fixture(scope="module")
def model() -> sn.LiveModel:
    return sn.load_model("tiny-vit")


def _rows(model: sn.LiveModel, x: Any) -> Tensor:
    return sn.capture(model, x, POINT, progress=False).x


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("panel", READ)
def test_a_panel_takes_what_capture_takes(panel: str, form: str, model: sn.LiveModel) -> None:
    sae = sn.TopK(64, 32, 4, generator=torch.Generator().manual_seed(0))
    x = FORMS[form](model)
    torch.testing.assert_close(_rows(model, x), _rows(model, IMAGE), atol=1e-4, rtol=1e-4)
    shown = READ[panel](model, sae, x)
    shown.close()
