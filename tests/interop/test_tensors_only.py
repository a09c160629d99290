"""Pickled weights: tensors come out, and anything else is refused before it exists."""

import pickle
from pathlib import Path

import pytest
import torch

from sae_nb.interop._foreign import read_tensors_only


class Trap:
    """Would run a command when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.marker,))


def test_tensors_come_out_as_they_went_in(tmp_path: Path) -> None:
    """Names, shapes, types and numbers survive."""
    state = {"a": torch.arange(3), "b": torch.ones(2, 2, dtype=torch.float16)}
    torch.save(state, tmp_path / "x.pt")
    read = read_tensors_only(tmp_path / "x.pt")
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) for name in state)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path, how: str) -> None:
    """Neither torch's container nor a bare pickle gets to call anything."""
    marker, file = tmp_path / "ran", tmp_path / "x.pt"
    state = {"a": torch.ones(1), "b": Trap(marker)}
    if how == "torch":
        torch.save(state, file)
    else:
        file.write_bytes(pickle.dumps(state))
    with pytest.raises(ValueError, match="Nothing in it was run"):
        read_tensors_only(file)
    assert not marker.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    """Saving the module instead of its state dict is the usual mistake."""
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pt")
    with pytest.raises(ValueError, match="must be a complete file of tensors"):
        read_tensors_only(tmp_path / "x.pt")
