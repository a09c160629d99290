"""Golden files: every architecture still reads its own and gives the codes it gave."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sae_nb as sn
from sae_nb.architectures import ARCHITECTURES
from tests.golden import golden
from tests.golden.making import NAMES, drawn, write_golden

LARGEST = 16_000  # bytes of all files of one architecture


def test_every_architecture_has_golden_files() -> None:
    """A new one makes its own with `python -m tests.golden.making`."""
    assert golden.names() == NAMES
    assert set(ARCHITECTURES) < set(NAMES)


@pytest.mark.parametrize("name", golden.names())
def test_saved_long_ago_it_reads_and_encodes_as_then(name: str) -> None:
    """Codes and reconstructions, from our own folder and from SAELens'."""
    found = golden.read(name)
    assert not found.differences(sn.load_sae(found.folder))
    if found.saelens is not None:
        assert not found.differences(sn.load_sae(found.saelens))


@pytest.mark.parametrize("name", golden.names())
def test_files_are_small_and_codes_are_codes(name: str) -> None:
    """Few kB; some entries, not all, and a reconstruction that is not zero."""
    found = golden.read(name)
    files = [f for f in found.folder.parent.rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= LARGEST
    assert 0 < found.codes.nnz < found.x[..., 0].numel() * found.codes.n_atoms
    assert float(found.x_hat.abs().max()) > 0.1
    assert bool((found.x.flatten(0, -2)[-1] == 0).all())


@pytest.mark.parametrize("name", golden.names())
def test_every_parameter_matters(name: str) -> None:
    """Whatever a reader mixes up, shows: each parameter, its sign turned, gives another result."""
    found = golden.read(name)
    for key, _ in sn.load_sae(found.folder).named_parameters():
        if key.endswith(("k_ctx.bias", "key_bias")):
            continue  # added to every key, it cancels in the softmax
        if key.startswith("encoders.1."):
            continue  # of the second of two models, where the first is read
        sae = sn.load_sae(found.folder)
        with torch.no_grad():
            sae.get_parameter(key).neg_()
        assert found.differences(sae), key


def test_golden_files_can_be_made_again(tmp_path: Path) -> None:
    """What the command writes is read by what it drew."""
    write_golden("JumpReLU", tmp_path / "JumpReLU")
    again = sn.load_sae(tmp_path / "JumpReLU" / "sae")
    first = drawn("JumpReLU", torch.Generator().manual_seed(0))
    for one, other in zip(again.state_dict().values(), first.state_dict().values(), strict=True):
        assert torch.equal(one, other)
