"""The first captured activations that a published SAE reads are looked at, once."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.interop import Imported
from sae_nb.pretrained import _loading as loading
from sae_nb.pretrained._loading import warn_of_misfit


def published(hook_point: str | None, model_name: str | None) -> Any:
    """An SAE as `load_sae` gives one by its published name, with weights that explain nothing."""
    origin = {"library": "SAELens", "architecture": "standard", "release": "a-release"}
    sae = Imported(16, 32, encoding={"rule": "relu"}, origin=origin).eval()
    sae.hook_point, sae.model_name, sae.on_first_use = hook_point, model_name, warn_of_misfit
    return sae


def acts(x: torch.Tensor, hook_point: str, model_name: str) -> sn.Activations:
    made = sn.Activations.from_tensor(x)
    return sn.Activations(
        made.x,
        sample=made.sample,
        position=made.position,
        hook_point=hook_point,
        model_name=model_name,
    )


def test_the_first_activations_are_looked_at_once() -> None:
    """A warning names the model, the place and R², and what to do; tensors and later calls are not looked at."""
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    sae, here = published("resid_post.3", "gpt2"), acts(x, "resid_post.4", "owner/other")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sae.encode(x)
    with pytest.warns(
        UserWarning, match=r"a-release may not fit.*'gpt2'.*'resid_post\.3'.*R² is .*check_fit"
    ):
        sae.encode(here)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sae.encode(here)


def test_activations_of_its_own_pass_in_silence() -> None:
    """The right model under another owner, the right place, and rows that it explains."""
    sae = published("resid_post.3", "gpt2")
    with torch.no_grad():
        eye = torch.eye(16)
        sae.operator.weight.copy_(torch.cat([eye, -eye]))
        sae.encoder.copy_(sae.operator.weight)
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sae.encode(acts(x, "resid_post.3", "openai/gpt2"))


@pytest.fixture
def shelved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An SAE on the shelf, of a model that is fetched, which explains nothing."""
    sae = sn.TopK(16, 32, 1, generator=torch.Generator().manual_seed(0))
    sae.hook_point, sae.model_name, sae.measured = "resid_post.3", "smollm2-135m", {"r2": 0.84}
    sae.save(tmp_path / "shelf" / "smollm2-135m" / "resid_post.3")
    monkeypatch.setattr(loading, "SHELF", tmp_path / "shelf")
    return sn.load_sae("smollm2-135m/resid_post.3")


def test_other_weights_under_a_bundled_sae_are_warned_of(shelved: Any) -> None:
    """By R² next to what was measured, under any name of the model; once."""
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    here = acts(x, "resid_post.3", "HuggingFaceTB/SmolLM2-135M-Instruct")
    said = (
        r"^smollm2-135m/resid_post\.3 may not fit these activations: R² is .*, and was 0\.84 where"
    )
    with pytest.warns(UserWarning, match=said):
        shelved(here)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shelved(here)


def test_an_sae_of_ones_own_folder_is_not_looked_at(shelved: Any, tmp_path: Path) -> None:
    """Whatever its model is called."""
    shelved.save(tmp_path / "own")
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sn.load_sae(tmp_path / "own").encode(acts(x, "resid_post.3", "smollm2-135m"))
