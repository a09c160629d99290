"""What `capture` takes, a panel of that modality takes: a row a panel, a column a form of one input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sae_nb_widgets as sw
import torch
from PIL import Image
from torch import Tensor
from transformers import BatchEncoding, ViTConfig, ViTForImageClassification

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
    "LensPanel": lambda model, sae, x: sw.LensPanel(model, sn.fit_lens(model, x, kind="logit"), x),
    "ChangesPanel": lambda model, sae, x: sw.ChangesPanel(model, model, x),
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
    shown.wait(60)
    assert not shown.problem
    shown.close()


@pytest.fixture(scope="module")
def plain_vit() -> ViTForImageClassification:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = ViTConfig(**sizes, intermediate_size=16, image_size=16, patch_size=8, num_labels=3)
    return ViTForImageClassification(config).eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "panel", ["DepthTrajectory", "HeadsPanel", "LensPanel", "SteeringPanel", "CircuitPanel"]
)
def test_pixel_values_of_a_model_without_its_processor_are_read_as_they_are(
    panel: str, plain_vit: ViTForImageClassification
) -> None:
    # Normalised pixels lie outside of [0, 1], and without a processor nobody knows the picture behind them.
    model, sae = sn.wrap(plain_vit), sn.TopK(16, 8, 2)
    pixels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    read = READ | {
        "SteeringPanel": lambda model, sae, x: sw.SteeringPanel(
            model, "resid_post.0", sae, inputs=x
        ),
        "CircuitPanel": lambda model, sae, x: sw.CircuitPanel(
            sn.circuits.attribution_graph(
                model,
                "neurons",
                {"pixel_values": pixels[:1]},
                target=lambda y: y[1],
                progress=False,
            ),
            model,
            "neurons",
        ),
    }
    shown = read[panel](model, sae, {"pixel_values": pixels})
    shown.wait(60)
    assert not shown.problem
    if panel == "DepthTrajectory":
        with torch.no_grad():
            wanted = plain_vit(pixel_values=pixels, output_hidden_states=True).hidden_states
        torch.testing.assert_close(torch.as_tensor(shown.states), torch.stack(wanted, dim=1))
    shown.close()


# --- texts ----------------------------------------------------------------------------------------

TEXT = "The little dog ran"
TEXTS: dict[str, Callable[[list[int]], Any]] = {
    "str": lambda ids: TEXT,
    "list": lambda ids: [TEXT],
    "ids": lambda ids: ids,
    "tensor": lambda ids: torch.tensor([ids]),
    "array": lambda ids: np.array(ids),
    "mapping": lambda ids: {"input_ids": torch.tensor([[*ids, 0]]), "attention_mask": torch.tensor([[1] * len(ids) + [0]])},
    "encoding": lambda ids: BatchEncoding({"input_ids": [ids]}),
    "row": lambda ids: {"text": TEXT},
    "column": lambda ids: pd.Series([TEXT]),
}  # fmt: skip
WRITE: dict[str, Callable[[sn.LiveModel, Any], Any]] = {
    "LensPanel": lambda model, x: sw.LensPanel(model, sn.fit_lens(model, TEXT, kind="logit"), x),
    "HeadsPanel": lambda model, x: sw.HeadsPanel(model, x),
    "ChangesPanel": lambda model, x: sw.ChangesPanel(model, model, x),
    "PatchingPanel": lambda model, x: sw.PatchingPanel(model, x, "A little dog ran", (" to", " a")),
    "DepthTrajectory": lambda model, x: sw.DepthTrajectory(model, x),
    "SteeringPanel": lambda model, x: sw.SteeringPanel(model, "resid_post.1", sn.TopK(128, 8, 2), inputs=x),
    "GenerationLens": lambda model, x: sw.GenerationLens(model, sn.TopK(128, 8, 2), "resid_post.1", x),
    "TemporalPanel": lambda model, x: sw.TemporalPanel(model, sn.Temporal(128, 8, 2), x, hook_point="resid_post.1"),
}  # fmt: skip


@pytest.mark.parametrize("form", TEXTS)
def test_a_box_begins_with_the_text_that_reads_to_the_tokens_given(
    form: str, gpt: sn.LiveModel
) -> None:
    ids = next(iter(gpt.batches(TEXT))).first_tensor
    panel = sw.HeadsPanel(gpt, TEXTS[form](ids[0].tolist()))
    assert panel.text == TEXT
    panel.close()


def test_token_ids_that_no_text_gives_are_refused(gpt: sn.LiveModel) -> None:
    # Each letter by itself is a token, which the tokenizer would join.
    letters = [gpt.tokenizer.encode(letter)[-1] for letter in "little"]
    with pytest.raises(ValueError, match="no text gives"):
        sw.HeadsPanel(gpt, letters)


@pytest.mark.slow
@pytest.mark.parametrize("panel", WRITE)
@pytest.mark.parametrize("form", ["ids", "array", "mapping", "encoding"])
def test_a_panel_of_texts_takes_their_tokens(panel: str, form: str, gpt: sn.LiveModel) -> None:
    ids = next(iter(gpt.batches(TEXT))).first_tensor
    shown = WRITE[panel](gpt, TEXTS[form](ids[0].tolist()))
    shown.wait(60)
    assert not shown.problem
    shown.close()
