"""The first captured activations that a published SAE reads are looked at, once."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.interop import Imported
from sae_nb.pretrained import _bundled as bundled
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


def test_activations_three_times_too_large_are_told_with_both_figures() -> None:
    """An atom whose threshold is out of reach fires on what is three times as large, and writes what is not there."""
    origin = {"library": "SAELens", "architecture": "standard", "release": "a-release"}
    sae: Any = Imported(16, 33, encoding={"rule": "relu"}, origin=origin).eval()
    sae.hook_point, sae.model_name, sae.on_first_use = "resid_post.3", "gpt2", warn_of_misfit
    eye = torch.eye(16)
    with torch.no_grad():
        sae.operator.weight.copy_(torch.cat([eye, -eye, 3 * eye[1:2]]))
        sae.encoder.copy_(torch.cat([eye, -eye, eye[:1]]))
        sae.encoder_bias[32] = -2
    x = torch.randn(256, 16, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)

    def r2(by: float) -> float:
        wrong = 9 * (by * x[:, 0] - 2).clamp_min(0).square().sum()
        return 1 - float(wrong / (by * (x - x.mean(dim=0))).square().sum())

    assert r2(1) == 1
    assert r2(3) < 0.95 < 0.97 < r2(1.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sae.encode(acts(x, "resid_post.3", "gpt2"))
    sae.on_first_use = warn_of_misfit
    with pytest.warns(
        UserWarning, match=rf"R² is {r2(3):.2f} on 256 of them and {r2(1.5):.2f} on 0.5 times"
    ):
        sae.encode(acts(3 * x, "resid_post.3", "gpt2"))


@pytest.fixture
def shelved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    sae = sn.TopK(16, 32, 1, generator=torch.Generator().manual_seed(0))
    sae.hook_point, sae.model_name, sae.measured = "resid_post.3", "smollm2-135m", {"r2": 0.84}
    sae.save(tmp_path / "shelf" / "smollm2-135m" / "resid_post.3")
    monkeypatch.setattr(bundled, "BUNDLED", tmp_path / "shelf")
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
    shelved.save(tmp_path / "own")
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sn.load_sae(tmp_path / "own").encode(acts(x, "resid_post.3", "smollm2-135m"))


# -------------------------------------------------------------------------------------------------
# Any SAE that is read from another library's file: R² and L0 against what it states.


GPT = "tiny-gpt"
PLACE = "blocks.2.hook_resid_post"


@pytest.fixture(scope="module")
def gpt() -> Any:
    return sn.load_model(GPT)


@pytest.fixture(scope="module")
def rows(gpt: Any) -> sn.Activations:
    return sn.capture(gpt, TEXTS * 4, PLACE, progress=False)


TEXTS = [
    "Once there was a small dog who lived in a big house near the sea.",
    "The cat sat on the mat and looked at the moon for a very long time.",
    "She said that he would come back when the rain had stopped at last.",
    "In the morning they went to the market and bought bread and apples.",
]


def in_a_file(folder: Path, x: torch.Tensor, k: int | None, scale: float = 1.0) -> Path:
    """An SAE of SAELens, an atom each way along the principal axes of x; its encoder is of x / scale."""
    import json

    from safetensors.torch import save_file

    mean = x.mean(dim=0)
    axes = torch.linalg.svd(x - mean, full_matrices=False).Vh
    atoms = torch.cat([axes, -axes])
    folder.mkdir()
    metadata = {"sae_lens_version": "6.0.0", "hook_name": PLACE}
    config = {"d_in": x.shape[1], "d_sae": len(atoms), "metadata": metadata}
    config |= {"architecture": "jumprelu"} if k is None else {"architecture": "topk", "k": k}
    (folder / "cfg.json").write_text(json.dumps(config))
    tensors = {
        "W_enc": scale * atoms.T, "b_enc": torch.zeros(len(atoms)), "W_dec": atoms, "b_dec": mean,
    }  # fmt: skip
    tensors |= {"threshold": torch.full((len(atoms),), 1e-3)} if k is None else {}
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "sae_weights.safetensors")
    return folder


def use(how: str, gpt: Any, sae: Any, acts: sn.Activations) -> None:
    if how == "encode":
        sae.encode(acts)
    elif how == "forward":
        sae(acts)
    elif how == "evaluate":
        sn.evaluate(sae, acts, n_bootstrap=0)
    elif how == "catalogue":
        sn.atoms.AtomCatalogue(sae, acts)
    elif how == "splice":
        with sn.splice(gpt, PLACE, sae):
            gpt(TEXTS)
    else:
        with sn.steer(gpt, PLACE, sae, 0, by=1.0):
            gpt(TEXTS)


WAYS = ("encode", "forward", "evaluate", "catalogue", "splice", "steer")


def warned(gpt: Any, sae: Any, acts: sn.Activations, how: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        use(how, gpt, sae, acts)
        use(how, gpt, sae, acts)
    return [str(one.message) for one in caught if "may not fit" in str(one.message)]


@pytest.mark.parametrize(("how", "k"), [*((how, 12) for how in WAYS), ("encode", None)])
def test_a_foreign_sae_that_fits_is_used_in_silence(
    tmp_path: Path, gpt: Any, rows: sn.Activations, k: int | None, how: str
) -> None:
    sae = sn.load_sae(in_a_file(tmp_path / "s", rows.x, k))
    assert warned(gpt, sae, rows, how) == []


@pytest.mark.parametrize(("how", "k"), [*((how, 12) for how in WAYS), ("encode", None)])
def test_a_foreign_sae_that_does_not_fit_is_told_once(
    tmp_path: Path, gpt: Any, rows: sn.Activations, k: int | None, how: str
) -> None:
    """Of another scale: its R² as plain torch has it, and what may be the cause; however it is met first."""
    sae = sn.load_sae(in_a_file(tmp_path / "s", rows.x, k, scale=20.0))
    told = warned(gpt, sae, rows, how)
    assert len(told) == 1
    for cause in ("scale", "hook point", "centred", "weights", "check_fit"):
        assert cause in told[0]
    if how == "encode":
        x = rows.x[torch.linspace(0, len(rows) - 1, min(len(rows), 256)).long()]
        with torch.no_grad():
            missed = (x - sae(x)).square().sum() / (x - x.mean(dim=0)).square().sum()
        assert f"R² is {float(1 - missed):.2f}" in told[0]


def test_an_sae_with_far_fewer_atoms_than_stated_is_told(
    tmp_path: Path, gpt: Any, rows: sn.Activations
) -> None:
    from safetensors.torch import load_file, save_file

    folder = in_a_file(tmp_path / "s", rows.x, 12)
    tensors = load_file(folder / "sae_weights.safetensors")
    tensors["b_enc"] -= 1e6
    save_file(tensors, folder / "sae_weights.safetensors")
    told = warned(gpt, sn.load_sae(folder), rows, "encode")
    assert len(told) == 1
    assert "0.0 atoms" in told[0]
    assert "states 12" in told[0]


def test_a_few_rows_wait_for_more(tmp_path: Path, gpt: Any, rows: sn.Activations) -> None:
    sae = sn.load_sae(in_a_file(tmp_path / "s", rows.x, 12, scale=20.0))
    assert warned(gpt, sae, rows[:2], "encode") == []
    assert len(warned(gpt, sae, rows[:40], "encode")) == 1


def test_check_fit_itself_is_no_first_use(tmp_path: Path, gpt: Any, rows: sn.Activations) -> None:
    sae = sn.load_sae(in_a_file(tmp_path / "s", rows.x, 12, scale=20.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = sn.check_fit(gpt, sae, TEXTS * 4, splice=False)
    assert not found.fits
