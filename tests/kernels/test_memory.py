"""Where a device's memory runs out, the error says how many rows would fit."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import pytest
import torch

import sae_nb as sn
from sae_nb.kernels import (
    _cpu as cpu,
    _dense as dense,
    _memory as memory,
    batch_topk_encode,
    threshold_encode,
    topk_encode,
)


def _out_of_memory(*_: Any, **__: Any) -> NoReturn:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda n: monkeypatch.setattr(memory, "available_memory", lambda *_: n)


def _encoders() -> dict[str, Any]:
    weight = torch.randn(200, 16)
    return {
        "topk": lambda x: topk_encode(x, weight, k=4),
        "batch_topk": lambda x: batch_topk_encode(x, weight, k=4),
        "above": lambda x: threshold_encode(x, weight, thresholds=torch.zeros(200)),
    }


@pytest.mark.parametrize(("name", "fit"), [("topk", 111), ("batch_topk", 111), ("above", 3)])
def test_an_encoder_says_how_many_rows_would_fit(
    name: str, fit: int, free: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 inputs of 4 bytes and 4 entries of 20, or 200 where any may pass; in four fifths of what is free."""
    monkeypatch.setattr(cpu.Cpu, name, _out_of_memory)
    free(20_000)
    with pytest.raises(MemoryError, match="of 5000 rows must fit in the memory of cpu") as caught:
        _encoders()[name](torch.randn(5000, 16))
    assert f"{fit} rows at a time would" in str(caught.value)
    assert f"about {(64 + 20 * (200 if name == 'above' else 4)) / 1e3:.1f} kB" in str(caught.value)
    assert isinstance(caught.value.__cause__, torch.cuda.OutOfMemoryError)


def test_where_no_row_fits_it_says_so(free: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu.Cpu, "topk", _out_of_memory)
    free(50)
    with pytest.raises(MemoryError, match="Not one would: free what other tensors and p") as caught:
        _encoders()["topk"](torch.randn(5, 16))
    with (
        pytest.raises(MemoryError) as alone,
        memory.explain_out_of_memory("It", torch.ones(9, 1), 8, ""),
    ):
        _out_of_memory()
    assert not any("any number" in str(one.value) for one in (caught, alone))


def test_what_any_number_of_rows_needs_is_taken_off_first(free: Any) -> None:
    """(.8 · 10 GiB − 3 GiB) / 1 GiB are 5 rows, of 12 that were given; never more than half of them."""
    gib = 2**30
    for free_gib, fit in (
        (10, "5 rows"),
        (12, "6 rows"),
        (100, "6 rows"),
        (4, "Not one"),
        (None, "Not one"),
    ):
        free(free_gib and free_gib * gib)
        with pytest.raises(MemoryError) as caught:
            with memory.explain_out_of_memory(
                "It", torch.ones(12, 1), gib, "{rows} rows", besides=3 * gib
            ):
                _out_of_memory()
        assert fit in str(caught.value)
        assert "3.00 GiB for any number" in str(caught.value)
        assert f"{free_gib or 0:.2f} GiB are free" in str(caught.value)


@pytest.mark.parametrize("gib", [0.1, 4, 10, 80])
def test_tiles_on_a_gpu_are_a_sixteenth_of_what_is_free(
    gib: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card of 4 GB or a slice of one has smaller tiles; every row is in one of them."""
    monkeypatch.setattr(dense, "available_memory", lambda _: int(gib * 2**30))
    tiles = list(dense._row_tiles(70_000, 65_536, torch.device("cuda")))
    assert [row for tile in tiles for row in range(tile.start, tile.stop)] == list(range(70_000))
    rows = max(tile.stop - tile.start for tile in tiles)
    assert 4 * 65_536 * rows <= gib * 2**30 / 4
    assert rows <= dense.GPU_TILE_ENTRIES // 65_536


@pytest.mark.parametrize("architecture", [sn.TopK, sn.BatchTopK, sn.JumpReLU, sn.MatchingPursuit])
def test_a_training_step_names_the_batch_that_would_fit(
    architecture: Any, free: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every architecture, wherever in the step it happens; the SAE keeps its weights."""
    sae = architecture(16, 64) if architecture is sn.JumpReLU else architecture(16, 64, 4)
    x = torch.randn(300, 16)
    sae.initialise(x, None)
    before = {name: value.clone() for name, value in sae.named_parameters()}
    monkeypatch.setattr(torch.autograd, "backward", _out_of_memory)
    free(60_000)
    with pytest.raises(MemoryError, match=r"A training step of \w+ of 200 rows must fit") as caught:
        sn.train(sae, x, sn.TrainConfig(steps=2, batch_size=200), progress=False)
    rows = int(re.search(r"batch_size=(\d+)\) would", str(caught.value))[1])  # type: ignore[index]
    assert 0 < rows < 200
    assert all(torch.equal(value, before[name]) for name, value in sae.named_parameters())
