"""Pictures are prepared by exactly the arithmetic their folder names; torchvision is not needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from sae_nb.models import Preprocess
from sae_nb.models._preprocessing import family_preprocess, read_preprocess


def photo(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """A smooth picture with edges, so that resampling filters differ on it."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 7, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(rows, columns), mode="bilinear")[0]
    smooth[:, rows // 3 : rows // 2, columns // 4 :] = (
        1 - smooth[:, rows // 3 : rows // 2, columns // 4 :]
    )
    return (smooth * 255).round().to(torch.uint8)


def test_the_arithmetic_is_rescale_then_normalise_by_hand() -> None:
    """One pixel, computed on paper: (128 / 255 − 0.5) / 0.25."""
    preprocess = Preprocess(mean=(0.5, 0.4, 0.3), std=(0.25, 0.5, 1.0))
    picture = torch.tensor([128, 0, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = torch.tensor([(128 / 255 - 0.5) / 0.25, -0.4 / 0.5, 0.7])
    torch.testing.assert_close(preprocess(picture).flatten(), expected)
    torch.testing.assert_close(preprocess(picture.float() / 255).flatten(), expected)


@pytest.mark.parametrize("size", [(50, 70), (70, 50), (64, 64), (33, 97), (20, 21)])
@pytest.mark.parametrize(
    "settings",
    [
        ("ViTImageProcessorPil", {"size": {"height": 32, "width": 40}}),
        ("ViTImageProcessorPil", {"size": {"height": 32, "width": 32}, "resample": 0}),
        ("ViTImageProcessorPil", {"do_resize": False, "do_normalize": False}),
        (
            "CLIPImageProcessorPil",
            {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}},
        ),
        (
            "BitImageProcessorPil",
            {
                "size": {"shortest_edge": 36},
                "crop_size": {"height": 28, "width": 24},
                "image_mean": [0.485, 0.456, 0.406],
                "image_std": [0.229, 0.224, 0.225],
            },
        ),
        (
            "BitImageProcessorPil",
            {"do_resize": False, "crop_size": {"height": 49, "width": 49}},
        ),
    ],
)
def test_pixel_values_equal_hugging_faces_own(settings, size) -> None:
    """Resize, crop (with padding of small pictures), rescale and normalise agree to float rounding."""
    import transformers

    name, options = settings
    module = {"ViT": "vit", "CLI": "clip", "Bit": "bit"}[name[:3]]
    library = f"transformers.models.{module}.image_processing_pil_{module}"
    processor = getattr(__import__(library, fromlist=[name]), name)(**options)
    assert transformers is not None
    picture = photo(*size)
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    theirs = processor(images=image, return_tensors="pt")["pixel_values"]
    ours = Preprocess.from_config(processor.to_dict())(picture[None])
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        ({"feature_extractor_type": "CLIPFeatureExtractor", "size": 30}, "shortest_edge", 30),
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 30}, "height", 30),
        ({"image_processor_type": "CLIPImageProcessor"}, "crop", (224, 224)),
        ({"image_processor_type": "CLIPImageProcessor"}, "resample", 3),
        ({"do_center_crop": True, "crop_size": 20}, "crop", (20, 20)),
        ({"do_resize": False}, "height", None),
        ({"do_rescale": False}, "rescale", 1.0),
        ({"do_normalize": False}, "mean", (0.0, 0.0, 0.0)),
        ({"image_mean": 0.5}, "mean", (0.5, 0.5, 0.5)),
        ({"resample": None}, "resample", 2),
    ],
)
def test_old_and_short_spellings_are_read(config, field, value) -> None:
    """Feature extractors of years ago, integer sizes, missing entries."""
    assert getattr(Preprocess.from_config(config), field) == value


def test_floats_of_the_right_size_are_not_rounded_to_bytes() -> None:
    """A picture optimised by gradient keeps its precision; only resizing goes through bytes."""
    picture = torch.rand(1, 3, 16, 16)
    kept = Preprocess(height=16, width=16)
    torch.testing.assert_close(kept(picture), picture, atol=1e-7, rtol=1e-6)
    resized = Preprocess(height=8, width=8)(picture)
    torch.testing.assert_close(resized * 255, (resized * 255).round(), atol=1e-4, rtol=0)


def test_shown_undoes_normalising() -> None:
    """Bytes that people see are the bytes the model saw."""
    preprocess = Preprocess.from_config({"image_mean": [0.4, 0.5, 0.6], "size": 16})
    picture = photo(16, 16)[None]
    assert torch.equal(preprocess.shown(preprocess(picture)), picture)


def test_the_folder_is_read_and_absence_is_none(tmp_path: Path) -> None:
    """preprocessor_config.json first, the image part of processor_config.json else."""
    assert read_preprocess(tmp_path) is None
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": {"size": 20}}))
    assert read_preprocess(tmp_path).height == 20
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 24}))
    assert read_preprocess(tmp_path).height == 24


@pytest.mark.parametrize(
    ("family", "mean"),
    [("vit", 0.5), ("dinov2", 0.485), ("clip_vision_model", 0.48145466), ("unheard of", 0.5)],
)
def test_families_have_usual_values(family, mean) -> None:
    """For checkpoints without a preprocessor file."""
    preprocess = family_preprocess(family, (48, 40))
    assert preprocess.output_size == (48, 40)
    assert preprocess.mean[0] == pytest.approx(mean)
