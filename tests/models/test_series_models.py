"""Models of time series: rows are steps of channels, with their seconds, shown as traces with heat."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.models import LiveModel

X = torch.randn(5, 64, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def patched() -> LiveModel:
    """Patches of 8 values every 4 of three sensors at 100 values per second."""
    import transformers

    torch.manual_seed(0)
    config = transformers.PatchTSTConfig(
        num_input_channels=3, context_length=64, patch_length=8, patch_stride=4, d_model=32,
        num_hidden_layers=2, num_attention_heads=4, ffn_dim=64, do_mask_input=False,
    )  # fmt: skip
    return sn.wrap(transformers.PatchTSTModel(config).eval(), sample_rate=100)


def seen(module: nn.Module, run: Any) -> Tensor:
    """What a module gives, by a hook of plain torch."""
    kept = []
    hook = module.register_forward_hook(
        lambda _m, _a, out: kept.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.no_grad():
        run()
    hook.remove()
    return kept[0]


@pytest.mark.parametrize("batch_size", [1, 7])
def test_rows_are_patches_of_channels(patched: LiveModel, batch_size: int) -> None:
    """Also inside of attention, which sees the channels as samples; each with its time."""
    layer = patched.module.encoder.layers[1]
    for point, module in (("resid_post.1", layer), ("attn_out.1", layer.self_attn)):
        acts = sn.capture(patched, X, point, batch_size=batch_size, progress=False)
        wanted = seen(module, lambda: patched.module(X))
        torch.testing.assert_close(acts.x, wanted.reshape(-1, 32), atol=1e-5, rtol=0)
        assert acts.context.patch_grid == (3, 15)
        assert acts.tokens[16] == "channel 1, 0.04 s"
        torch.testing.assert_close(acts.seconds[:15], 0.04 * torch.arange(15))


def test_an_edit_reaches_every_channel(patched: LiveModel) -> None:
    layer = patched.module.encoder.layers[0]
    hook = layer.register_forward_hook(lambda _m, _a, out: (out[0] + 2, *out[1:]))
    with torch.no_grad():
        wanted = patched.module(X).last_hidden_state
    hook.remove()
    with sn.steer(patched, "resid_post.0", direction=torch.ones(32), by=2.0):
        torch.testing.assert_close(patched(X), wanted, atol=1e-5, rtol=0)


def test_both_halves_of_a_forecaster() -> None:
    """Steps of the past with its trace, and of the future, of which there is none."""
    import transformers

    torch.manual_seed(0)
    config = transformers.TimeSeriesTransformerConfig(
        prediction_length=4, context_length=16, lags_sequence=[1, 2], num_time_features=1,
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
    )  # fmt: skip
    model = sn.wrap(transformers.TimeSeriesTransformerModel(config).eval(), sample_rate=10)
    given = {
        "past_values": torch.randn(5, 18), "past_time_features": torch.randn(5, 18, 1),
        "past_observed_mask": torch.ones(5, 18), "future_values": torch.randn(5, 4),
        "future_time_features": torch.randn(5, 4, 1),
    }  # fmt: skip
    with torch.no_grad():
        ran = model.module(**given, output_hidden_states=True)
    wanted = {
        "encoder.layers.1": (ran.encoder_hidden_states[2], (1, 16)),
        "decoder.layers.0": (ran.decoder_hidden_states[1], None),
    }
    for point, (states, grid) in wanted.items():
        acts = sn.capture(model, given, point, batch_size=2, progress=False)
        torch.testing.assert_close(acts.x, states.flatten(0, 1), atol=1e-5, rtol=0)
        torch.testing.assert_close(acts.seconds[:4], 0.1 * torch.arange(4))
        assert acts.context.patch_grid == grid


def test_patches_of_timesfm_are_steps_with_a_trace() -> None:
    """Its last values count; shorter series, which it would fill up by zeros, are refused."""
    import transformers

    torch.manual_seed(0)
    config = transformers.TimesFmConfig(
        patch_length=8, context_length=64, horizon_length=16, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, head_dim=8, intermediate_size=64, freq_size=3,
    )  # fmt: skip
    model = sn.wrap(transformers.TimesFmModelForPrediction(config).eval(), sample_rate=100)
    given = torch.randn(5, 70, generator=torch.Generator().manual_seed(1))
    wanted = seen(model.module.decoder.layers[1], lambda: model.module(list(given)))
    for size in (1, 5):
        acts = sn.capture(model, given, "resid_post.1", batch_size=size, progress=False)
        torch.testing.assert_close(acts.x, wanted.reshape(-1, 32), atol=1e-5, rtol=0)
    assert acts.context.patch_grid == (1, 8)
    assert acts.tokens[9] == "step 0.08 s"
    assert acts.context.pictures is not None
    with pytest.raises(ValueError, match="must have at least 64 values, got 40"):
        sn.capture(model, given[:, :40], "resid_post.1", progress=False)


def test_a_network_of_ones_own_has_traces() -> None:
    """It says that it reads series, and has channels before time as convolutions do."""
    network = nn.Sequential(nn.Conv1d(2, 24, 31, stride=16), nn.ReLU())
    network.modality = "series"  # type: ignore[assignment]
    model = sn.wrap(network, sample_rate=400)
    acts = sn.capture(model, torch.randn(4, 2, 400), "1", progress=False)
    assert (acts.shape, acts.tokens[1]) == ((96, 24), "step 0.04 s")
    assert acts.context.patch_grid == (1, 24)
    with pytest.raises(ValueError, match=r"must have shape \(n, time, channels\)"):
        sn.capture(model, torch.randn(4, 2, 20, 20), "1", progress=False)
    with pytest.raises(ValueError, match="must be finite, got NaN"):
        sn.capture(model, torch.full((1, 2, 400), torch.nan), "1", progress=False)
