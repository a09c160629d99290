"""An SAE of a real model on other weights of it: said by how much R² falls, and named where it falls far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.pretrained import _bundled as bundled

NAME, POINT = "smollm2-135m", "resid_post.16"


@pytest.fixture(scope="module")
def lm(smollm2: Path) -> Any:
    model = sn.load_model(smollm2, device="cpu")
    model.name = NAME
    return model


@pytest.fixture
def sae(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An SAE of its middle, as a pretrained one: opened by its name, which states that of the model."""
    stored = sn.load_sae(assets / "data" / "weights" / "smollm2_resid_post_16")
    stored.model_name = NAME
    stored.save(tmp_path / NAME / POINT)
    monkeypatch.setattr(bundled, "BUNDLED", tmp_path)
    return sn.load_sae(f"{NAME}/{POINT}")


@pytest.fixture(scope="module")
def texts(assets: Path) -> list[str]:
    whole = (assets / "data" / "text" / "wikitext2_valid.txt").read_text(encoding="utf-8")
    return [part[:300] for part in whole.split("\n") if len(part) > 300][-3:]


def moved(lm: Any, by: float) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in lm.module.parameters():
            if weight.ndim > 1:
                weight += torch.randn(weight.shape, generator=generator) * weight.std() * by


def test_other_weights_are_named(lm: Any, sae: Any, texts: list[str]) -> None:
    """With noise of two fifths; R² was .81 and is .23 on longer texts."""
    weights = {name: weight.clone() for name, weight in lm.module.state_dict().items()}
    sae(
        sn.capture(lm, texts, POINT, progress=False)
    )  # its own: no warning, which would be an error
    own = sn.check_fit(lm, sae, texts, splice=False)
    assert own.fits
    assert own.doubts == ()
    try:
        moved(lm, 0.4)
        other = sn.check_fit(lm, sae, texts, splice=False)
        assert other.cause == "another revision"
        with pytest.warns(UserWarning, match=rf"^{NAME}/{POINT} may not fit.*R² is .* was 0\.87"):
            sn.load_sae(f"{NAME}/{POINT}")(sn.capture(lm, texts, POINT, progress=False))
    finally:
        lm.module.load_state_dict(weights)
