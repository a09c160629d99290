"""Every SAE that another library wrote gives the codes that library computes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sae_nb.interop._detection import reader_of

FILES = {
    "saelens": (
        "abstopk batchtopk_trained gated jumprelu matching_pursuit matryoshka_trained standard "
        "temporal topk topk_trained"
    ),
    "dictionary_learning": (
        "AutoEncoder AutoEncoderNew AutoEncoderTopK BatchTopKSAE GatedAutoEncoder "
        "JumpReluAutoEncoder MatryoshkaBatchTopKSAE"
    ),
    "sparsify": "groupmax skip topk",
    "overcomplete": "batchtopk jump mp omp ra_jump ra_topk relu topk",
}
NAMES = [f"{library}/{name}" for library, names in FILES.items() for name in names.split()]


@pytest.mark.parametrize("name", NAMES)
def test_codes_and_reconstructions_are_the_librarys_own(peer_files: Path, name: str) -> None:
    """Codes, reconstruction and dictionary agree to 1e-5."""
    folder = peer_files / name
    reader = reader_of(folder)
    assert reader is not None
    sae = reader(folder)
    expected = {
        key: torch.from_numpy(value) for key, value in np.load(folder / "expected.npz").items()
    }
    x = expected["x"]
    codes = sae.encode(x)
    dense = codes.to_dense().reshape(expected["codes"].shape)
    assert torch.allclose(dense, expected["codes"], rtol=1e-5, atol=1e-5)
    assert torch.equal(dense != 0, expected["codes"] != 0)
    assert torch.allclose(sae(x), expected["x_hat"], rtol=1e-5, atol=1e-5)
    if "dictionary" in expected:
        assert torch.allclose(sae.dictionary, expected["dictionary"], rtol=1e-5, atol=1e-6)


def test_every_file_of_the_peers_is_in_the_list(peer_files: Path) -> None:
    """No SAE lies there untested."""
    found = {p.parent.relative_to(peer_files).as_posix() for p in peer_files.rglob("expected.npz")}
    assert found == set(NAMES)
