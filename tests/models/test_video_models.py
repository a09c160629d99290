"""Models of videos: rows are tubelets, time × row × column, and equal those of plain transformers."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import sae_nb as sn
from sae_nb.models import LiveModel

NAMES = ("VideoMAE", "Vivit", "Timesformer", "VJEPA2")


@cache
def made(name: str) -> LiveModel:
    """A model of videos of 4 frames, 32 × 32, in patches of 8 × 8; two frames a tubelet but in TimeSformer."""
    import transformers

    torch.manual_seed(0)
    usual: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    more: dict[str, Any] = {
        "VideoMAE": {"patch_size": 8, "num_frames": 4, "tubelet_size": 2},
        "Vivit": {"num_frames": 4, "tubelet_size": [2, 8, 8]},
        "Timesformer": {"patch_size": 8, "num_frames": 4},
        "VJEPA2": {
            "patch_size": 8, "crop_size": 32, "frames_per_clip": 4, "tubelet_size": 2, "mlp_ratio": 2.0,
            "pred_hidden_size": 16, "pred_num_attention_heads": 4, "pred_num_hidden_layers": 2,
        },
    }[name]  # fmt: skip
    if name != "VJEPA2":
        more |= {"image_size": 32, "intermediate_size": 64}
    config = getattr(transformers, f"{name}Config")(**usual, **more)
    return sn.wrap(getattr(transformers, f"{name}Model")(config).eval())


@pytest.fixture(scope="module")
def videos() -> Tensor:
    return torch.rand(7, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_tubelets_of_plain_transformers(
    name: str, batch_size: int, videos: Tensor
) -> None:
    model, points = made(name), ["resid_post.0", "resid_post.1"]
    assert model.kind == "video"
    acts = sn.capture(model, videos, points, batch_size=batch_size, progress=False)
    key = "pixel_values_videos" if name == "VJEPA2" else "pixel_values"
    with torch.no_grad():
        states = model.module(**{key: videos}, output_hidden_states=True).hidden_states
    for i, point in enumerate(points):
        torch.testing.assert_close(acts[point].x, states[i + 1].flatten(0, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "second", "last"),
    [
        ("VideoMAE", "tubelet 0,0,1", "tubelet 1,3,3"),
        ("VJEPA2", "tubelet 0,0,1", "tubelet 1,3,3"),
        ("Vivit", "tubelet 0,0,0", "tubelet 1,3,3"),
        ("Timesformer", "tubelet 0,0,0", "tubelet 3,3,3"),
    ],
)
def test_a_tubelet_is_named_by_time_row_and_column(
    name: str, second: str, last: str, videos: Tensor, tmp_path: Path
) -> None:
    """Also of what is saved and opened again. TimeSformer has all times of a place side by side."""
    acts = sn.capture(made(name), videos[:2], "resid_post.1", progress=False)
    acts.save(tmp_path / "acts")
    for one in (acts, sn.load_activations(tmp_path / "acts")):
        assert (one.tokens[1], one.tokens[-1]) == (second, last)
    if name == "Timesformer":
        assert acts.tokens[2] == "tubelet 1,0,0"


def test_a_moved_patch_moves_its_tubelet() -> None:
    """Only the embedding of the tubelet that holds it differs, under its own name."""
    for name in NAMES:
        model = made(name)
        before = torch.zeros(1, 4, 3, 32, 32)
        after = before.clone()
        after[0, 2, :, 8:16, 24:] = 1.0
        pair = sn.capture(model, torch.cat([before, after]), "embed", progress=False)
        rows = pair.x.view(2, -1, 32)
        changed = (rows[0] != rows[1]).any(dim=1).nonzero().flatten().tolist()
        time = 2 if name == "Timesformer" else 1
        names = [pair.context.token_name(int(pair.position[i])) for i in changed]
        if name != "Timesformer":  # whose embedding is of images, before time is there
            assert names == [f"tubelet {time},1,3"], name


def test_a_video_is_shown_as_a_film_strip(videos: Tensor) -> None:
    """A frame per step in time, one below the other: its cells are the tubelets."""
    context = sn.capture(made("VideoMAE"), videos, "resid_post.1", progress=False).context
    assert context.pictures.shape == (7, 3, 64, 32)
    assert context.patch_grid == (8, 4)
    wanted = (videos[:, 2] * 255).round().to(torch.uint8)
    assert torch.equal(context.pictures[:, :, 32:], wanted)


def test_time_is_in_seconds_where_a_rate_is_known(videos: Tensor, tmp_path: Path) -> None:
    """Given with the videos or once for the model; each step of VideoMAE is two frames."""
    acts = sn.capture(made("VideoMAE"), (videos, 10.0), "resid_post.1", progress=False)
    acts.save(tmp_path / "acts")
    for one in (acts, sn.load_activations(tmp_path / "acts")):
        assert one.seconds[:32].tolist() == pytest.approx([0.0] * 16 + [0.2] * 16)
        assert one.tokens[16 + 7] == "tubelet 1,3 at 0.20 s"
    model = sn.wrap(made("Timesformer").module, sample_rate=5)
    acts = sn.capture(model, videos, "resid_post.1", progress=False)
    assert acts.seconds[1:5].tolist() == pytest.approx([0.0, 0.2, 0.4, 0.6])
    with pytest.raises(ValueError, match="one number of frames per second, got 10, 5"):
        sn.capture(model, [(videos[0], 5.0), (videos[1], 10.0)], "resid_post.1", progress=False)
    with pytest.raises(ValueError, match="must be a positive number, got 0"):
        sn.capture(model, (videos, 0), "resid_post.1", progress=False)


def test_files_that_move_are_videos(videos: Tensor, tmp_path: Path) -> None:
    """A GIF with its rate, a folder of frames, images; a file that does not move is told from one."""
    frames = [to_image(frame) for frame in videos[0]]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50)
    (tmp_path / "b").mkdir()
    for i, frame in enumerate(frames):
        frame.save(tmp_path / "b" / f"{i}.png")
    model = made("VideoMAE")
    read = partial(sn.capture, model, hook_points="embed", progress=False)
    moving = read(tmp_path / "a.gif")
    assert (len(moving), float(moving.seconds[-1])) == (32, pytest.approx(0.1))
    bytes_of = (255 * videos[:1]).round().to(torch.uint8)
    for given in (tmp_path / "b", frames):
        torch.testing.assert_close(read(given).x, read(bytes_of).x)
    with pytest.raises(ValueError, match="must have 4 frames .* got 1"):
        read(tmp_path / "b" / "0.png")
    (tmp_path / "film.mp4").write_bytes(b"no film")
    with pytest.raises(ValueError, match="but 'film.mp4' cannot be read"):
        read(tmp_path / "film.mp4")
    with pytest.raises(FileNotFoundError, match="must be a file or folder"):
        read(tmp_path / "none.gif")


def to_image(frame: Tensor) -> Image.Image:
    return Image.fromarray((255 * frame).round().byte().permute(1, 2, 0).numpy())


def test_a_single_video_is_made_to_fit_and_it_is_stated() -> None:
    """Frames are taken evenly, and time goes on as it was."""
    model = made("VideoMAE")
    fit = model.modality.fit
    wide = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 3, 40, 64)
    frames, notes, rate = fit(model, (wide, 30.0))
    assert frames.shape == (4, 3, 32, 32)
    assert frames[:, 0, 0, 0].tolist() == [0, 3, 6, 9]
    assert notes == (
        "4 of 10 frames taken, evenly",
        "64×40 cropped to 40×40",
        "40×40 scaled to 32×32",
    )
    assert rate == pytest.approx(10.0)
    frames, notes, rate = fit(model, (wide[:2, :, :32, :32], 5.0))
    assert (notes, rate) == (("2 frames read as 4",), 10.0)
    with pytest.raises(ValueError, match="One video must be given at a time"):
        fit(model, torch.zeros(2, 4, 3, 32, 32))


def test_an_edit_reaches_the_tubelets(videos: Tensor) -> None:
    model = made("VideoMAE")
    hook = model.get_module(model.hook_point("resid_post.1").path).register_forward_hook(
        lambda _m, _a, out: out + 2 if isinstance(out, Tensor) else (out[0] + 2, *out[1:])
    )
    with torch.no_grad():
        wanted = model.module(pixel_values=videos).last_hidden_state
    hook.remove()
    with sn.steer(model, "resid_post.1", direction=torch.ones(32), by=2.0):
        torch.testing.assert_close(model(videos), wanted, atol=1e-5, rtol=0)


def test_a_folder_loads_as_what_it_is(tmp_path: Path, videos: Tensor) -> None:
    """Frames are prepared as images are."""
    made("VideoMAE").module.save_pretrained(tmp_path / "model")
    with pytest.warns(UserWarning, match="no preprocessor_config"):
        model = sn.load_model(tmp_path / "model", device="cpu")
    acts = sn.capture(model, videos[:2], "resid_post.0", progress=False)
    values = torch.stack([model.preprocess(video) for video in videos[:2]])
    plain = sn.capture(made("VideoMAE"), {"pixel_values": values}, "resid_post.0", progress=False)
    torch.testing.assert_close(acts.x, plain.x, atol=1e-5, rtol=0)
