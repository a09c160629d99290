"""Weight files are counted without reading them, and a load that cannot fit is refused before it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sae_nb.models import _memory, load_model
from sae_nb.models._checkpoint_files import count_parameters
from sae_nb.models._memory import check_room


def test_parameters_are_counted_from_the_headers(tmp_path: Path) -> None:
    """Over all shards, whatever their formats."""
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, tmp_path / "model.safetensors")
    assert count_parameters(tmp_path) == (17, 17 * 4)
    half = {"c": torch.zeros(2, dtype=torch.float16)}
    save_file(half, tmp_path / "2.safetensors", metadata={"format": "pt"})
    shards = {
        "weight_map": {"a": "model.safetensors", "b": "model.safetensors", "c": "2.safetensors"}
    }
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(shards))
    assert count_parameters(tmp_path) == (19, 17 * 4 + 2 * 2)
    (tmp_path / "model.safetensors.index.json").unlink()
    save_file({"_orig_mod.a": torch.zeros(3)}, tmp_path / "model.safetensors")
    assert count_parameters(tmp_path) == (3, 12)
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ValueError, match=r"index\.json' of .* must be whole"):
        count_parameters(tmp_path)


@pytest.mark.parametrize(
    ("dtype", "needed", "advice"),
    [
        (torch.float32, "3.7 GiB", "bfloat16"),
        (None, "1.9 GiB", "bfloat16"),
        (torch.bfloat16, "1.9 GiB", "smaller model"),
    ],
)
def test_what_cannot_fit_is_refused_with_what_would(
    monkeypatch, tmp_path, dtype, needed, advice
) -> None:
    """A thousand million parameters on a machine with a gibibyte free."""
    monkeypatch.setattr(_memory, "count_parameters", lambda _folder: (10**9, 2 * 10**9))
    monkeypatch.setattr("sae_nb.checks._values.available_memory", lambda: 2**30)
    with pytest.raises(MemoryError, match=rf"1000 M parameters.*{needed}.*1\.0 GiB.*{advice}"):
        check_room(tmp_path, "big", dtype, torch.device("cpu"))


def test_loading_asks_for_room_first(build, monkeypatch, tmp_path) -> None:
    """Before anything is read into memory."""
    build("llama").save_pretrained(tmp_path / "m")
    monkeypatch.setattr("sae_nb.checks._values.available_memory", lambda: 1000)
    with pytest.raises(MemoryError, match="'m' with"):
        load_model(tmp_path / "m", device="cpu")


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]"]
)
def test_what_is_no_safetensors_file_is_named(tmp_path, content) -> None:
    """Empty, huge header, no tensors, another JSON."""
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"'model\.safetensors' of .* must be whole"):
        count_parameters(tmp_path)
