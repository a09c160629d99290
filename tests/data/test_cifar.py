"""Promises of the CIFAR-10 reader: three layouts, one result, and never a pickle."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sae_nb.data import cifar10
from sae_nb.data._cifar10 import CLASSES

N = 7


@pytest.fixture
def photos() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (N, 3, 32, 32), dtype=np.uint8)
    return pixels, np.array([3, 0, 9, 1, 1, 5, 3], dtype=np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "png")
    return file.getvalue()


def _write_binary(folder: Path, pixels: np.ndarray, label: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    records = np.concatenate([label[:, None], pixels.reshape(N, -1)], axis=1)
    (folder / "test_batch.bin").write_bytes(records.tobytes())
    for batch in range(1, 6):
        (folder / f"data_batch_{batch}.bin").write_bytes(records.tobytes())


def _write_archive(folder: Path, pixels: np.ndarray, label: np.ndarray) -> None:
    files = [_png(picture) for picture in pixels]
    np.savez(
        folder / "photos_test.npz",
        blob=np.frombuffer(b"".join(files), dtype=np.uint8),
        offset=np.cumsum([0, *map(len, files)]),
        label=label,
        classes=np.array(CLASSES),
    )


def test_binary_batches_give_pixels_and_labels(tmp_path, photos):
    """Red, green, blue planes row by row; five training files in order; also one level down."""
    pixels, label = photos
    _write_binary(tmp_path / "cifar-10-batches-bin", pixels, label)
    test, train = cifar10(tmp_path, "test"), cifar10(tmp_path)
    assert torch.equal(test.pixels, torch.from_numpy(pixels))
    assert test.label.tolist() == label.tolist()
    assert len(train) == 5 * N
    assert torch.equal(train.pixels[N : 2 * N], test.pixels)
    assert test.class_names == CLASSES
    assert float(test.images.max()) <= 1.0
    assert torch.equal((test[:2].images * 255).round().byte(), test.pixels[:2])


def test_archive_gives_the_same_as_binary(tmp_path, photos):
    _write_archive(tmp_path, *photos)
    found = cifar10(tmp_path, "test")
    assert torch.equal(found.pixels, torch.from_numpy(photos[0]))
    assert found.label.tolist() == photos[1].tolist()


def test_class_folders_give_the_same_pictures(tmp_path, photos):
    for row, (pixels, label) in enumerate(zip(*photos, strict=True)):
        place = tmp_path / "test" / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{row}.png").write_bytes(_png(pixels))
    found = cifar10(tmp_path, "test")
    names = sorted({CLASSES[label] for label in photos[1]})
    assert found.class_names == tuple(names)
    expected = {photos[0][row].tobytes(): CLASSES[label] for row, label in enumerate(photos[1])}
    for pixels, label in zip(found.pixels, found.label, strict=True):
        assert expected[pixels.numpy().tobytes()] == names[label]


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("opened"),))


def test_pickled_batches_are_refused_and_never_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(ValueError, match="pickles and could run code.*binary version"):
        cifar10(tmp_path)
    assert not (tmp_path / "opened").exists()


def test_archive_of_objects_is_refused_and_never_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "train.npz", blob=np.array([_Bomb()], dtype=object))
    with pytest.raises(ValueError, match="train.npz"):
        cifar10(tmp_path)
    assert not (tmp_path / "opened").exists()


def test_a_damaged_archive_is_named(tmp_path, photos):
    _write_archive(tmp_path, *photos)
    path = tmp_path / "photos_test.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="photos_test.npz"):
        cifar10(tmp_path, "test")
    with np.load(io.BytesIO(whole)) as archive:
        arrays = dict(archive)
    np.savez(path, **(arrays | {"label": arrays["label"][:-1]}))
    with pytest.raises(ValueError, match="fit together"):
        cifar10(tmp_path, "test")


@pytest.mark.slow
def test_real_photographs_are_read(assets):
    found = cifar10(assets / "data", "test")
    assert len(found) == 5_000
    assert found.class_names == CLASSES
    counts = torch.bincount(found.label, minlength=10)
    assert int(counts.min()) > 400
    assert 0.4 < float(found[:500].images.mean()) < 0.55
