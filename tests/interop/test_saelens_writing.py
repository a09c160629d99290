"""What we write for SAELens gives the same codes when it is read again."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import ARCHITECTURES
from sae_nb.interop import read_saelens, write_saelens

pytestmark = pytest.mark.slow

D, N = 8, 24
TWO_SITES: dict[str, dict[str, object]] = {
    name: {"d_out": 5, "k": 3} for name in ("Transcoder", "SkipTranscoder")
} | {
    name: {"widths": [3, 5], "k": 3}
    for name in ("Crosscoder", "CrossLayerTranscoder", "UniversalSAE")
}
TWO_SITES["Lorsa"] = {"d_out": 5, "k": 3, "n_heads": 2, "d_head": 4}
TWO_SITES["GroupSparse"] = {"d_image": 3, "d_text": 5, "k": 3}
CANNOT = {"SpaDE", "OrthogonalMatchingPursuit", "PolySAE", "TopAFA", "TreeSAE", *TWO_SITES}
SIZES: dict[str, dict[str, object]] = {
    name: {"k": 3}
    for name in (
        "TopK",
        "BatchTopK",
        "FeatureChoice",
        "MutualChoice",
        "AbsTopK",
        "Matryoshka",
        "MaskedSAE",
        "OrtSAE",
        "TreeSAE",
        "TSAE",
        "MatchingPursuit",
        "Archetypal",
        "OrthogonalMatchingPursuit",
        "PolySAE",
        "GradientSAE",
        "VariationalSAE",
    )
} | TWO_SITES


@pytest.fixture(scope="module")
def x() -> Tensor:
    """Rows away from the origin, of no particular scale."""
    return 3 * torch.randn(200, D, generator=torch.Generator().manual_seed(0)) + 5


def trained(name: str, x: Tensor) -> sn.SparseAutoencoder:
    """A few steps, so that every part has moved."""
    sae = ARCHITECTURES[name](D, N, **SIZES.get(name, {}))  # type: ignore[arg-type]
    data = sn.Activations.from_tensor(x, gradient=x.flip(0)) if sae.reads_gradient else x
    sn.train(sae, data, sn.TrainConfig(steps=20, batch_size=50), progress=False)
    sae.model_name, sae.hook_point = "tiny-gpt", "resid_post.2"
    return sae


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - CANNOT - {"Temporal"}))
def test_codes_survive_the_way_through_saelens_files(name: str, x: Tensor, tmp_path: Path) -> None:
    """Codes, reconstruction and place, for every architecture SAELens can express."""
    sae = trained(name, x)
    again = read_saelens(write_saelens(sae, tmp_path / "s", context_size=64))
    codes, expected = again.encode(x).to_dense(), sae.encode(x).to_dense()
    assert torch.allclose(codes, expected, rtol=1e-4, atol=1e-4)
    assert torch.allclose(again(x), sae(x), rtol=1e-4, atol=1e-4)
    own, read = sae.to_saelens(), again.to_saelens()
    assert own.keys() == read.keys()
    assert all(torch.allclose(own[tensor], read[tensor], atol=1e-5) for tensor in own)
    assert again.hook_point == "resid_post.2"
    assert again.origin.context_length == 64  # type: ignore[attr-defined]
    config = json.loads((tmp_path / "s" / "cfg.json").read_text())
    assert config["metadata"]["hook_name"] == "blocks.2.hook_resid_post"
    assert config["metadata"]["sae_lens_version"] == "6.54.12"


@pytest.mark.parametrize("name", sorted(CANNOT))
def test_what_saelens_cannot_compute_is_refused_and_leaves_nothing(
    name: str, tmp_path: Path
) -> None:
    """By name, before a file is made."""
    own = SIZES.get(name, {})
    sizes = own if {"widths", "d_image"} & own.keys() else {"d_in": D} | own
    with pytest.raises(TypeError, match=f"got (a )?{name}"):
        write_saelens(
            ARCHITECTURES[name](n_atoms=N, **sizes),  # type: ignore[arg-type]
            tmp_path / "s",
        )
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("name", ["Transcoder", "SkipTranscoder"])
@pytest.mark.parametrize("base", ["ReLU", "JumpReLU", "BatchTopK"])
def test_transcoders_survive_the_way_through_saelens_files(
    name: str, base: str, x: Tensor, tmp_path: Path
) -> None:
    """Codes, what is written and both places, with a target of another width and unit."""
    y = 40 * torch.randn(D, 5, generator=torch.Generator().manual_seed(1)) + x.mean()
    pair = (x, x @ y)
    t = ARCHITECTURES[name](
        d_in=D, d_out=5, n_atoms=N, base=base, **({"k": 3} if base == "BatchTopK" else {})
    )  # type: ignore[call-arg]
    sn.train(t, pair, sn.TrainConfig(steps=20, batch_size=50), progress=False)
    t.hook_point, t.target_hook_point = "resid_mid.2", "mlp_out.2"
    again = read_saelens(write_saelens(t, tmp_path / "s"))
    torch.testing.assert_close(
        again.encode(x).to_dense(), t.encode(x).to_dense(), rtol=1e-3, atol=1e-2
    )
    torch.testing.assert_close(again(x), t(x), rtol=1e-3, atol=1e-1)
    assert (again.hook_point, again.target_hook_point) == ("resid_mid.2", "mlp_out.2")
    config = json.loads((tmp_path / "s" / "cfg.json").read_text())
    assert config["architecture"].endswith(
        "skip_transcoder" if name == "SkipTranscoder" else "transcoder"
    )
    assert (config["d_out"], config["apply_b_dec_to_input"]) == (5, False)


def temporal(x: Tensor, **settings: object) -> sn.Temporal:
    """Trained for a few steps on sequences."""
    generator = torch.Generator().manual_seed(0)
    sae = sn.Temporal(D, N, 3, generator=generator, **settings)  # type: ignore[arg-type]
    config = sn.TrainConfig(steps=20, batch_size=50)
    sn.train(sae, x.reshape(20, 10, D), config, progress=False)
    sae.hook_point = "resid_post.2"
    return sae


@pytest.mark.parametrize("settings", [{}, {"tied": True, "n_layers": 2, "bottleneck_factor": 3}])
def test_a_temporal_survives_the_way_through_saelens_files(
    settings: dict[str, object], x: Tensor, tmp_path: Path
) -> None:
    """Predicted codes, novel codes and reconstruction of sequences; again, and written once more."""
    sae = temporal(x, encoder_bias=False, **settings)
    assert not bool(sae.encoder.bias.any())
    again = read_saelens(write_saelens(sae, tmp_path / "s"))
    test = x.reshape(20, 10, D)[:4]
    with torch.no_grad():
        found, expected = again.predict(test), sae.predict(test)  # type: ignore[attr-defined]
        torch.testing.assert_close(found.predicted, expected.predicted, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found.residual, expected.residual, rtol=1e-3, atol=1e-3)
        codes = again.encode(test).to_dense(), sae.encode(test).to_dense()
        torch.testing.assert_close(*codes, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(again(test), sae(test), rtol=1e-3, atol=1e-3)
    assert again.hook_point == "resid_post.2"
    assert float(expected.predicted.norm()) > 0.05 * float(test.norm())
    second = read_saelens(write_saelens(again, tmp_path / "again"))
    torch.testing.assert_close(second(test), again(test), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("settings", [{"strict": True}, {"novel": "BatchTopK"}, {}])
def test_a_temporal_that_saelens_cannot_compute_is_refused(
    settings: dict[str, object], x: Tensor, tmp_path: Path
) -> None:
    """The strict form, a threshold, or thresholds of each atom: each by name."""
    plain = {} if not settings else {"encoder_bias": False}
    with pytest.raises(TypeError, match="got Temporal.*encoder_bias=False"):
        write_saelens(temporal(x, **plain, **settings), tmp_path / "s")
    assert not (tmp_path / "s").exists()
