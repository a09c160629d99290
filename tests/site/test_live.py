"""The live part: what it needs is said before anything is written, and its runtime is the one that was pinned."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.site import write_site
from sae_nb.site._vendoring import SHA256, content_of, vendor


@pytest.fixture(scope="module")
def acts() -> Any:
    texts = ["One day Anna and Max went to the farm.", "Tom was sad. He saw a duck."]
    return sn.capture(sn.load_model("tiny-gpt"), texts, "resid_post.3", progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sae",
    [
        sn.TopK(6, 20, k=3),
        sn.AbsTopK(6, 20, k=3),
        sn.ReLU(6, 20),
        sn.JumpReLU(6, 20),
        sn.BatchTopK(6, 20, k=3),
        sn.Matryoshka(6, 20, k=3),
        sn.MatchingPursuit(6, 20, k=4),
        sn.MatchingPursuit(6, 20, k=4, nonnegative=False, reselect=False, relative_tolerance=0.5),
    ],
    ids=lambda sae: type(sae).__name__,
)
def test_dense_codes_are_the_codes(sae: sn.SparseAutoencoder) -> None:
    """What is exported gives what `encode` gives, for every SAE whose codes are plain operations."""
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    sae.initialise(x)
    sae.eval()
    torch.testing.assert_close(sae.dense_codes(x), sae.encode(x).to_dense())
    assert (sae.dense_codes(x) != 0).any()


def test_a_live_part_that_was_asked_for_and_cannot_be_is_refused(acts: Any, tmp_path: Path) -> None:
    """With `live=True` the reason is an error, before anything is written."""
    sae = sn.OrthogonalMatchingPursuit(acts.d_in, 16, k=2)
    with pytest.raises(ValueError, match="`live` must be possible"):
        write_site(tmp_path / "site", sae, acts, model=sn.load_model("tiny-gpt"), live=True)
    large = sn.TopK(acts.d_in, 16_384, k=2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="a page takes at most 11 MB"):
        write_site(tmp_path / "site", large, acts, model=sn.load_model("tiny-gpt"), live=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_runtime_is_the_pinned_one() -> None:
    """Every file that a site carries has the checksum of the published one."""
    for name, expected in SHA256.items():
        assert hashlib.sha256(content_of(name)).hexdigest() == expected


def test_an_altered_runtime_is_refused(tmp_path: Path) -> None:
    """An archive with other contents stops the script before it writes."""
    import io
    import tarfile

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in SHA256:
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = 5
            archive.addfile(entry, io.BytesIO(b"alert"))
    with pytest.raises(ValueError, match="must have the checksum"):
        vendor(packed.getvalue())
    assert hashlib.sha256(content_of("ort.wasm.min.mjs")).hexdigest() == SHA256["ort.wasm.min.mjs"]
