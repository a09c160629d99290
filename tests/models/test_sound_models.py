"""Models of sounds: rows are frames or patches of a spectrogram, and equal those of plain transformers."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.models import LiveModel
from sae_nb.models._sound_inputs import fit_sound

LENGTHS = (400, 400, 333, 500, 61, 400, 222)  # values of seven clips


def speech_model(name: str, norm: str) -> LiveModel:
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
        conv_dim=(16, 16, 16), conv_kernel=(10, 3, 2), conv_stride=(5, 2, 2), vocab_size=20,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, mask_time_prob=0.0,
        feat_extract_norm=norm, do_stable_layer_norm=norm == "layer",
    )  # fmt: skip
    return sn.wrap(getattr(transformers, f"{name}Model")(config).eval())


def clips(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, generator=generator) for n in LENGTHS]


@pytest.fixture(scope="module")
def heard() -> LiveModel:
    return speech_model("WavLM", "layer")


@pytest.fixture(scope="module")
def patches() -> LiveModel:
    """A model of 3 × 7 patches of a spectrogram."""
    import transformers

    torch.manual_seed(0)
    config = transformers.ASTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
        max_length=64, num_mel_bins=32, patch_size=16, frequency_stride=8, time_stride=8,
    )  # fmt: skip
    return sn.wrap(transformers.ASTModel(config).eval())


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize(
    ("name", "norm"),
    [("Wav2Vec2", "group"), ("Hubert", "group"), ("Wav2Vec2", "layer"), ("WavLM", "layer")],
)
def test_rows_are_the_frames_of_each_clip_alone(name: str, norm: str, batch_size: int) -> None:
    """Whatever lengths share a batch: never a row of padding, and no frame that padding has changed."""
    model = speech_model(name, norm)
    assert model.kind == "audio"
    points = ["resid_post.0", "resid_post.1"]
    acts = sn.capture(model, clips(), points, batch_size=batch_size, progress=False)
    for i, clip in enumerate(clips()):
        with torch.no_grad():
            states = model.module(clip[None], output_hidden_states=True).hidden_states
        for layer, point in enumerate(points):
            rows = acts[point].x[acts[point].sample == i]
            torch.testing.assert_close(rows, states[layer + 1][0], atol=1e-5, rtol=0)


def test_a_row_knows_its_time(heard: LiveModel) -> None:
    """By the strides of all convolutions: 20 values of 16 000 per second here."""
    acts = sn.capture(heard, clips(), "resid_post.2", progress=False)
    torch.testing.assert_close(acts.seconds, acts.position * 20 / 16_000)
    assert acts.tokens[1].startswith("frame 0.001")
    assert acts.where(1).startswith("clip 0, frame 0.001")
    early = sn.capture(heard, clips()[0], "feature_extractor.conv_layers.0.conv", progress=False)
    torch.testing.assert_close(early.seconds, early.position * 5 / 16_000)
    assert early.shape == (79, 16)


def test_faces_share_one_scale_of_time(heard: LiveModel) -> None:
    """A spectrogram per clip, as wide as the longest has frames; a short one is dark where it has ended."""
    acts = sn.capture(heard, clips(), "resid_post.2", progress=False)
    faces, grid = acts.context.pictures, acts.context.patch_grid
    assert grid == (1, 24)
    assert faces.shape[0] == 7
    assert faces.shape[3] % 24 == 0
    ended = faces[4][:, :, faces.shape[3] // 3 :]  # 61 of 500 values
    assert int(ended.max()) == 0 < int(faces[4].max())


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_goes_by_its_mask(heard: LiveModel, side: str) -> None:
    """On whichever side an extractor has put it."""
    longest = max(LENGTHS)
    values, mask = torch.full((7, longest), 9.0), torch.zeros(7, longest, dtype=torch.long)
    for i, clip in enumerate(clips()):
        part = slice(0, len(clip)) if side == "right" else slice(longest - len(clip), longest)
        values[i, part], mask[i, part] = clip, 1
    given = {"input_values": values, "attention_mask": mask}
    acts = sn.capture(heard, given, "resid_post.1", progress=False)
    plain = sn.capture(heard, clips(), "resid_post.1", progress=False)
    assert torch.equal(acts.x, plain.x)
    assert torch.equal(acts.position, plain.position)


def test_an_edit_reaches_the_frames(heard: LiveModel) -> None:
    clip, direction = clips()[0], torch.ones(32)
    hook = heard.module.encoder.layers[1].register_forward_hook(
        lambda _m, _a, out: (out[0] + 3, *out[1:]) if isinstance(out, tuple) else out + 3
    )
    with torch.no_grad():
        wanted = heard.module(clip[None]).last_hidden_state
    hook.remove()
    with sn.steer(heard, "resid_post.1", direction=direction, by=3.0):
        steered = heard(clip)
    torch.testing.assert_close(steered, wanted, atol=1e-5, rtol=0)


def test_rows_of_a_spectrogram_are_its_patches(patches: LiveModel) -> None:
    """Bands × time after the class tokens; patches that begin after the end of a clip are left out."""
    sounds = [torch.randn(n) for n in (10_240, 3_000)]
    acts = sn.capture(patches, sounds, "resid_post.2", progress=False)
    made = patches.preprocess.extractor(
        [one.numpy() for one in sounds], sampling_rate=16_000, return_tensors="pt"
    ).input_values
    with torch.no_grad():
        states = patches.module(made, output_hidden_states=True).hidden_states[3]
    assert torch.equal(acts.x, states[acts.sample, acts.position])
    assert [int((acts.sample == i).sum()) for i in range(2)] == [2 + 3 * 7, 2 + 3 * 3]
    assert acts.tokens[2:5] == ["band 0, 0.00 s", "band 0, 0.08 s", "band 0, 0.16 s"]
    assert acts.context.patch_grid == (3, 7)
    assert acts.context.pictures.shape == (2, 3, 32, 64)
    again = sn.capture(patches, made, "resid_post.2", progress=False)  # as an extractor made it
    assert torch.equal(again.x, states.flatten(0, 1))


def test_files_and_datasets_are_read(heard: LiveModel, tmp_path: Path) -> None:
    """Whole numbers of 16 bits, with the rate that they bring."""
    values = (10_000 * torch.randn(400).clamp(-3, 3)).to(torch.int16)
    with wave.open(str(tmp_path / "clip.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(values.numpy().astype("<i2").tobytes())
    wanted = sn.capture(heard, values.float() / 2**15, "resid_post.0", progress=False).x
    row = {"audio": {"array": np.asarray(values / 2**15), "sampling_rate": 16_000}}
    data = (tmp_path / "clip.wav").read_bytes()
    pair = (values.float() / 2**15, 16_000)
    for given in (tmp_path / "clip.wav", data, [memoryview(data)], row, [row], iter([row]), pair):
        found = sn.capture(heard, given, "resid_post.0", progress=False).x
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_one_sound_in_every_form_is_made_to_fit(heard: LiveModel, tmp_path: Path) -> None:
    """Two channels become their mean, whatever holds them; what is refused of many is said of one."""
    values = (10_000 * torch.randn(400, 2).clamp(-3, 3)).to(torch.int16)
    with wave.open(str(tmp_path / "clip.wav"), "wb") as file:
        file.setparams((2, 2, 16_000, 0, "NONE", ""))
        file.writeframes(values.numpy().astype("<i2").tobytes())
    wanted, row = (
        values.double().mean(1).float() / 2**15,
        {"array": values, "sampling_rate": 16_000},
    )
    for given in (tmp_path / "clip.wav", values, values.T, row, [row], (values.numpy(), 16_000)):
        sound, notes = fit_sound(heard, given)
        torch.testing.assert_close(sound, wanted)
        assert notes == ("the mean of its 2 channels",)
    for given in ([values, values], sn.data.sounds(2), values.T.repeat(5, 1)):
        with pytest.raises(ValueError, match="One sound must be given at a time"):
            fit_sound(heard, given)
    with pytest.raises(ValueError, match="at least one value"):
        fit_sound(heard, {"input_values": torch.zeros(1, 0)})


def test_whole_numbers_in_floats_are_told(heard: LiveModel) -> None:
    """What a file's 16 bits are after `.float()`: heard as 32 768 times as loud."""
    values = (10_000 * torch.randn(400).clamp(-3, 3)).round()
    with pytest.warns(UserWarning, match="whole numbers up to .* by 32768"):
        sn.capture(heard, values, "resid_post.0", progress=False)


def test_a_folder_loads_as_what_it_is(heard: LiveModel, tmp_path: Path) -> None:
    """With the preparation that its extractor states."""
    import transformers

    heard.module.save_pretrained(tmp_path / "model")
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, sampling_rate=8_000)
    extractor.save_pretrained(tmp_path / "model")
    model = sn.load_model(tmp_path / "model", device="cpu")
    assert (model.kind, model.sample_rate) == ("audio", 8_000)
    clip = 5 + 2 * clips()[0]
    acts = sn.capture(model, clip, "resid_post.0", progress=False)
    made = extractor(clip.numpy(), sampling_rate=8_000, return_tensors="pt").input_values
    with torch.no_grad():
        wanted = heard.module(made, output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(acts.x, wanted[0], atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def towers() -> Any:
    """CLAP, whose audio tower folds 128 frames × 32 bands into 64 × 64."""
    import transformers

    torch.manual_seed(0)
    config = transformers.ClapConfig(
        text_config={
            "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 64, "max_position_embeddings": 30, "projection_dim": 16,
        },
        audio_config={
            "window_size": 4, "num_mel_bins": 32, "spec_size": 64, "patch_size": 4,
            "patch_stride": [4, 4], "hidden_size": 64, "depths": [2, 2], "projection_dim": 16,
            "num_attention_heads": [2, 2], "patch_embeds_hidden_size": 32, "num_classes": 4,
        },
        projection_dim=16,
    )  # fmt: skip
    return transformers.ClapModel(config).eval()


@pytest.mark.parametrize("batch_size", [1, 7])
def test_both_towers_of_clap(towers: Any, batch_size: int) -> None:
    """Each is read by itself, as plain transformers has it; the whole is refused with both named."""
    with pytest.raises(ValueError, match="Wrap module.audio_model or module.text_model"):
        sn.wrap(towers)
    text = sn.wrap(towers.text_model)
    ids = [[0, 5, 6, 2], [0, 7, 2]]
    acts = sn.capture(text, ids, "resid_post.0", batch_size=batch_size, progress=False)
    for i, one in enumerate(ids):
        with torch.no_grad():
            states = towers.text_model(torch.tensor([one]), output_hidden_states=True).hidden_states
        torch.testing.assert_close(acts.x[acts.sample == i], states[1][0], atol=1e-5, rtol=0)
    audio = sn.wrap(towers.audio_model)
    assert (audio.kind, audio.sample_rate) == ("audio", 48_000)
    sounds = [torch.randn(n) for n in (30_000, 20_000)]
    made = audio.preprocess.extractor(
        [one.numpy() for one in sounds], sampling_rate=48_000, max_length=127 * 480,
        truncation="rand_trunc", padding="repeatpad", return_tensors="pt",
    )  # fmt: skip
    kept: list[Tensor] = []
    hook = towers.audio_model.audio_encoder.layers[0].register_forward_hook(
        lambda _m, _a, out: kept.append(out[0])
    )
    with torch.no_grad():
        towers.audio_model(**made)
    hook.remove()
    for given in (sounds, made, made["input_features"]):
        acts = sn.capture(audio, given, "resid_post.0", batch_size=batch_size, progress=False)
        torch.testing.assert_close(acts.x, kept[0].flatten(0, 1), atol=1e-5, rtol=0)
    assert (
        len(sn.capture(audio, sounds, "resid_post.0", progress=False).context.sounds.sample(1))
        == 20_000
    )
