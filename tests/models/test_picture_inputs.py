"""Pictures in every form read the same; what is no picture is refused before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import sae_nb as sn
from sae_nb.models import LiveModel, Preprocess, wrap
from sae_nb.models._image_inputs import fit_picture
from tests.first_hour.test_guards import picture as png

BYTES = (torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 255).to(torch.uint8)
FLOATS = BYTES.float() / 255
ARRAYS = BYTES.permute(0, 2, 3, 1).contiguous().numpy()
PIL = [Image.fromarray(array) for array in ARRAYS]
PREPROCESS = Preprocess.from_config({"size": 32, "image_mean": [0.4, 0.5, 0.6]})


class Record:
    images = FLOATS


class Dataset(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return FLOATS[index], index


FORMS = {
    "floats": lambda: FLOATS,
    "bytes": lambda: BYTES,
    "arrays, channels last": lambda: ARRAYS,
    "arrays, channels first": lambda: BYTES.numpy(),
    "list of arrays": lambda: list(ARRAYS),
    "PIL": lambda: PIL,
    "list of tensors": lambda: list(FLOATS),
    "iterator": lambda: iter(PIL),
    "record": Record,
    "dict": lambda: {"images": FLOATS, "labels": [0, 1, 2]},
    "dataset with labels": Dataset,
    "DataLoader with labels": lambda: DataLoader(Dataset(), batch_size=2),
    "DataLoader of tuples": lambda: DataLoader(TensorDataset(FLOATS), batch_size=2),
    "mixed types": lambda: [FLOATS[0], PIL[1], ARRAYS[2]],
}


@pytest.fixture(scope="module")
def vit(build) -> LiveModel:
    return wrap(build("vit"), preprocess=PREPROCESS)


def pixels(model: LiveModel, inputs: object, batch_size: int = 2) -> Tensor:
    batches = list(model.batches(inputs, batch_size=batch_size))
    assert all(batch.n <= batch_size for batch in batches)
    assert [batch.first_sample for batch in batches] == list(range(0, 2 * len(batches), 2))
    return torch.cat([batch.kwargs["pixel_values"] for batch in batches])


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_picture_reads_the_same(vit, form) -> None:
    """(picture − mean) / std, whatever it came as; shown as the original bytes."""
    mean = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    torch.testing.assert_close(pixels(vit, FORMS[form]()), (FLOATS - mean) / 0.5)
    shown = torch.cat([batch.pictures for batch in vit.batches(FORMS[form]())])
    assert torch.equal(shown, BYTES)


def test_files_and_folders_are_read_in_order(vit, tmp_path: Path) -> None:
    """A folder is its pictures sorted by path, at any depth; other files are left alone."""
    (tmp_path / "b").mkdir()
    PIL[0].save(tmp_path / "a.png")
    PIL[1].save(tmp_path / "b" / "x.png")
    PIL[2].save(tmp_path / "c.PNG")
    (tmp_path / "notes.txt").write_text("not a picture")
    mean = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    expected = (FLOATS - mean) / 0.5
    for inputs in (
        tmp_path,
        str(tmp_path),
        [tmp_path / "a.png", tmp_path / "b", tmp_path / "c.PNG"],
    ):
        torch.testing.assert_close(pixels(vit, inputs), expected)
    assert vit.batches(tmp_path).n_samples == 3
    assert vit.batches([PIL[0], iter(PIL)]).n_samples is None


@pytest.mark.slow
def test_a_picture_folder_record_is_opened_one_batch_at_a_time(vit, tmp_path: Path) -> None:
    """`sn.data.pictures` is not decoded as a whole."""
    from sae_nb.data import pictures

    for index, picture in enumerate(PIL):
        picture.save(tmp_path / f"{index}.png")
    folder = pictures(tmp_path)
    batches = vit.batches(folder, batch_size=1)
    assert batches.n_samples == 3
    next(batches)
    (tmp_path / "2.png").unlink()
    next(batches)
    with pytest.raises((OSError, ValueError), match=r"2\.png"):
        next(batches)


def test_pictures_of_other_sizes_are_resized_as_the_preprocessor_says(vit) -> None:
    """A list may mix sizes; each is brought to the model's."""
    wide = Image.fromarray(np.tile(ARRAYS[0], (1, 2, 1)))
    (batch,) = vit.batches([PIL[0], wide])
    assert batch.pictures.shape == (2, 3, 32, 32)
    expected = np.array(wide.resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(batch.pictures[1].permute(1, 2, 0).numpy(), expected)


def test_grey_and_transparent_pil_pictures_become_colour(vit) -> None:
    """As Hugging Face's do_convert_rgb."""
    grey = Image.new("L", (32, 32), 100)
    clear = Image.new("RGBA", (32, 32), (10, 20, 30, 255))
    (batch,) = vit.batches([grey, clear])
    assert batch.pictures[0].unique().tolist() == [100]
    assert batch.pictures[1, :, 0, 0].tolist() == [10, 20, 30]


def test_pixel_values_are_used_as_they_are(vit) -> None:
    """Already normalised inputs skip the preprocessing, and are still shown."""
    values = vit.preprocess(BYTES)
    (batch,) = vit.batches({"pixel_values": values, "labels": torch.zeros(3)})
    assert torch.equal(batch.kwargs["pixel_values"], values)
    assert torch.equal(batch.pictures, BYTES)
    assert torch.equal(vit({"pixel_values": values}), vit(BYTES))


def test_tokens_are_told_for_every_column(vit) -> None:
    """cls, then patches row by row: 1 + 4 × 4 positions per picture."""
    first, second = list(vit.batches(BYTES, batch_size=2))
    assert first.sample.shape == (2, 17)
    assert second.sample.unique().tolist() == [2]
    assert first.position[1].tolist() == list(range(17))
    assert first.keep is None


class Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.patch(x).flatten(2).transpose(1, 2)


def test_a_preprocess_of_the_users_own_is_a_function_of_floats() -> None:
    """It gets (n, 3, H, W) in [0, 1]; what is shown are the pictures it was given."""
    seen: list[Tensor] = []

    def halved(pictures: Tensor) -> Tensor:
        seen.append(pictures)
        return pictures[:, :, ::2, ::2] * 2 - 1

    model = wrap(Patches(), preprocess=halved, patch_grid=(2, 2))
    (batch,) = model.batches(BYTES)
    torch.testing.assert_close(batch.args[0], FLOATS[:, :, ::2, ::2] * 2 - 1)
    assert torch.equal(batch.pictures, BYTES)
    torch.testing.assert_close(seen[0], FLOATS)
    assert batch.sample.shape == (3, 4)
    assert model(BYTES).shape == (3, 4, 4)


def test_without_a_preprocess_pictures_go_in_as_they_are() -> None:
    """Floats unchanged, bytes divided by 255."""
    model = wrap(Patches(), patch_grid=(4, 4))
    torch.testing.assert_close(model(BYTES), model.module(FLOATS))
    assert torch.equal(model(FLOATS), model.module(FLOATS))


@pytest.mark.parametrize("kind", ["text before", "text after", "pixels"])
@pytest.mark.parametrize("way", ["file", "folder", "bytes"])
def test_a_picture_that_unpacks_to_gigabytes_is_named(kind: str, way: str, tmp_path: Path) -> None:
    """By its file, with why; nothing of it is unpacked."""
    side, text = (50_000, 0) if kind == "pixels" else (32, 2 << 20)
    file = png(tmp_path / "a.png", side, text=text, last=kind == "text after")
    vit = sn.load_model("tiny-vit")
    named = "a.png" if way != "bytes" else "the file"
    with pytest.raises(ValueError, match="too large|exceeds limit") as said:
        if way == "file":
            sn.capture(vit, [file], "resid_post.6", progress=False)
        elif way == "folder":
            sn.capture(vit, sn.data.pictures(tmp_path), "resid_post.6", progress=False)
        else:
            fit_picture(vit, file.read_bytes())
    assert type(said.value) is ValueError
    assert named in str(said.value)
