"""Tensors that are not held: written as they come, and read in part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sae_nb.files._streams import (
    Stream,
    file_order,
    in_portions,
    portion_rows,
    read_parts,
    write_streams,
)
from sae_nb.files._tensors import read_tensors, write_tensors

KINDS = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip


def tensors() -> dict[str, Tensor]:
    """Of every dtype and of odd shapes: a scalar, none at all, not contiguous."""
    generator = torch.Generator().manual_seed(0)
    drawn = {str(kind): (8 * torch.rand(5, 3, generator=generator)).to(kind) for kind in KINDS}
    odd = {"scalar": torch.tensor(2.5), "none": torch.zeros(0, 4), "é": torch.randn(4, 6).T}
    return drawn | odd


def test_a_stream_is_written_as_the_tensor_would_be(tmp_path: Path) -> None:
    """Byte for byte, and asked for in the order that `file_order` says."""
    whole, asked = tensors(), []

    def stream(name: str, tensor: Tensor) -> Stream:
        def portions() -> Iterator[Tensor]:
            asked.append(name)
            yield from tensor.split(2) if tensor.ndim else (tensor,)

        return Stream(tuple(tensor.shape), tensor.dtype, portions)

    write_tensors(tmp_path / "whole.safetensors", whole)
    write_streams(tmp_path / "tensors.safetensors", whole)
    write_streams(
        tmp_path / "streams.safetensors", {name: stream(name, t) for name, t in whole.items()}
    )
    expected = (tmp_path / "whole.safetensors").read_bytes()
    assert (tmp_path / "tensors.safetensors").read_bytes() == expected
    assert (tmp_path / "streams.safetensors").read_bytes() == expected
    assert asked == file_order(whole)


def test_a_part_of_a_file_is_read(tmp_path: Path) -> None:
    """The rows that are asked for, and tensors of which none are chosen as they are."""
    held = {"atoms": torch.randn(9, 4), "bias": torch.randn(4)}
    write_tensors(tmp_path / "a.safetensors", held)
    found = read_parts(
        tmp_path / "a.safetensors", lambda name: slice(2, 5) if name == "atoms" else None
    )
    assert torch.equal(found["atoms"], held["atoms"][2:5])
    assert torch.equal(found["bias"], held["bias"])


@pytest.mark.parametrize("width", [1, 3, 10_000_000])
def test_portions_are_small_and_make_up_the_whole(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sae_nb.files._streams.PORTION_BYTES", 48)
    tensor = torch.zeros(1).expand(7, width)
    portions = list(in_portions(tensor))
    assert sum(map(len, portions)) == 7
    assert portion_rows(tensor) == max(1, 12 // width)
    assert max(map(len, portions)) == min(7, portion_rows(tensor))


def test_a_stream_that_breaks_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    def portions() -> Iterator[Tensor]:
        yield torch.zeros(2, 3)
        raise OSError("the other worker is gone")

    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": torch.ones(2, 3)})
    with pytest.raises(OSError, match="gone"):
        write_streams(path, {"a": Stream((4, 3), torch.float32, portions)})
    assert torch.equal(read_tensors(path)["a"], torch.ones(2, 3))
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
