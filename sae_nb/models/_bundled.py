"""The live models that ship with the toolkit: which there are, and loading one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sae_nb.files import read_json
from sae_nb.models._checkpoints import load_folder
from sae_nb.models._inputs import vision_layout
from sae_nb.models._live_model import LiveModel
from sae_nb.models._preprocessing import Preprocess
from sae_nb.models._vision_transformer import CONFIG_FILE, MODEL_TYPE, VisionTransformer

WEIGHTS = Path(__file__).parent / "weights"
CARD_FILE = "card.json"


def bundled_names() -> list[str]:
    """Return the names of the models that ship with the toolkit, checkpoints as "name@step-N"."""
    if not WEIGHTS.is_dir():
        return []
    return sorted(folder.parent.name for folder in WEIGHTS.glob("*/config.json"))


def load_bundled(
    name: str, *, device: torch.device, dtype: torch.dtype | None, revision: str | None
) -> LiveModel:
    """Load a bundled model from its folder of weights, in float32 unless asked otherwise."""
    whole = name if revision is None else f"{name}@{revision}"
    known = bundled_names()
    if whole not in known:
        base = name.partition("@")[0]
        steps = [n.partition("@")[2] for n in known if n.startswith(f"{base}@")]
        raise ValueError(
            f"Checkpoint {whole!r} must be one of {base}'s: {', '.join(steps) or 'it has none'}, "
            "or the bare name for the last one."
        )
    folder = WEIGHTS / whole
    if is_own(folder):
        return load_own(folder, name=whole, device=device, dtype=dtype)
    model = load_folder(folder, name=whole, device=device, dtype=dtype or torch.float32)
    model.card = _card(folder)
    return model


def is_own(folder: Path) -> bool:
    """Whether a folder holds a model that one of our recipes wrote."""
    config = folder / CONFIG_FILE
    return config.is_file() and read_json(config).get("model") == MODEL_TYPE


def load_own(
    folder: Path, *, name: str, device: torch.device, dtype: torch.dtype | None
) -> LiveModel:
    """Load a vision transformer that one of our recipes wrote, in float32 unless asked otherwise."""
    module = VisionTransformer.from_folder(folder)
    module = module.to(device=device, dtype=dtype or torch.float32)
    size = (module.config.image_size, module.config.image_size)
    return LiveModel(
        module,
        name=name,
        kind="vision",
        preprocess=Preprocess(required=size),
        layout=vision_layout(module, size),
        class_names=[str(digit) for digit in range(module.config.n_digits)],
        card=_card(folder),
    )


def _card(folder: Path) -> dict[str, Any] | None:
    return dict(read_json(folder / CARD_FILE)) if (folder / CARD_FILE).is_file() else None
