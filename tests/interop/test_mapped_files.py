"""Other libraries' files opened memory-mapped: the codes are theirs, and what cannot be mapped says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import sae_nb as sn
from tests.interop.made import draw, standard

D, N = 6, 10


def saelens(folder: Path, dtype: torch.dtype = torch.float32, **config: object) -> Path:
    """A folder of SAELens."""
    metadata = {"sae_lens_version": "6.0.0", "hook_name": "blocks.2.hook_resid_pre"}
    base = {"d_in": D, "d_sae": N, "apply_b_dec_to_input": True, "metadata": metadata}
    (folder / "cfg.json").write_text(json.dumps({**base, **config}))
    tensors = {name: t.to(dtype) for name, t in standard(D, N).items()} | {
        "threshold": torch.rand(N)
    }
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder


def sparsify(folder: Path, **more: object) -> Path:
    """A folder of sparsify."""
    (folder / "cfg.json").write_text(json.dumps({"activation": "topk", "k": 2, "d_in": D, **more}))
    t = standard(D, N)
    names = {"encoder.weight": t["W_enc"].T.contiguous(), "encoder.bias": t["b_enc"]}
    save_file(names | {n: t[n] for n in ("W_dec", "b_dec")}, folder / "sae.safetensors")
    return folder


def gemma_scope(
    folder: Path, save: Callable[..., None] = np.savez, *, fortran: bool = False
) -> Path:
    """A folder of Gemma Scope."""
    arrays = {name.lower(): t.numpy() for name, t in standard(D, N).items()} | {
        "threshold": np.full(N, 0.5, np.float32)
    }
    if fortran:
        arrays = {name: np.asfortranarray(array) for name, array in arrays.items()}
    save(folder / "params.npz", **arrays)
    return folder


FOLDERS = {
    "SAELens, ReLU": saelens,
    "SAELens, in bf16": lambda folder: saelens(folder, torch.bfloat16),
    "SAELens, JumpReLU": lambda folder: saelens(folder, architecture="jumprelu"),
    "SAELens, TopK by norms": lambda folder: saelens(
        folder, architecture="topk", k=3, rescale_acts_by_decoder_norm=True
    ),
    "SAELens, matching pursuit": lambda folder: saelens(
        folder, architecture="matching_pursuit", max_iterations=3
    ),
    "sparsify": sparsify,
    "sparsify, groups": lambda folder: sparsify(folder, activation="groupmax"),
    "Gemma Scope": gemma_scope,
    "Gemma Scope, by columns": lambda folder: gemma_scope(folder, fortran=True),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_other_libraries_saes_give_the_same_codes_when_mapped(name: str, tmp_path: Path) -> None:
    """Encoders stored either way round, scaled, in half precision: codes and reconstructions are equal."""
    folder, x = FOLDERS[name](tmp_path), draw(20, D, seed=9)
    here, mapped = sn.load_sae(folder), sn.load_sae(folder, mmap=True)
    assert (here.is_mapped, mapped.is_mapped) == (False, True)
    found, expected = mapped.encode(x).to_dense(), here.encode(x).to_dense()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert torch.allclose(mapped(x), here(x), atol=1e-5)
    assert torch.allclose(mapped.dictionary[[3, 1]], here.dictionary[[3, 1]], atol=1e-6)


def test_a_mapped_sae_of_another_library_saves_as_ours(tmp_path: Path) -> None:
    """What lies transposed and scaled in its file is written as it is used, and read back the same."""
    (tmp_path / "theirs").mkdir()
    folder, x = FOLDERS["SAELens, TopK by norms"](tmp_path / "theirs"), draw(20, D, seed=9)
    mapped = sn.load_sae(folder, mmap=True)
    mapped.save(tmp_path / "ours")
    for again in (sn.load_sae(tmp_path / "ours"), sn.load_sae(tmp_path / "ours", mmap=True)):
        assert torch.allclose(again(x), mapped(x), atol=1e-6)


def test_a_compressed_archive_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """Compressed arrays cannot be mapped: the message names the array and np.savez."""
    folder = gemma_scope(tmp_path, np.savez_compressed)
    with pytest.raises(
        ValueError, match=r"uncompressed.*'w_enc.npy' compressed.*np\.savez.*without mmap"
    ):
        sn.load_sae(folder, mmap=True)
    assert sn.load_sae(folder).n_atoms == N


def test_damaged_numbers_are_refused_when_mapped_too(tmp_path: Path) -> None:
    """A flipped bit in an archive, a NaN in a matrix and a file that was cut short are refused at loading."""
    file = gemma_scope(tmp_path) / "params.npz"
    content = bytearray(file.read_bytes())
    content[300] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"complete file of number arrays.*Nothing in it was run"):
        sn.load_sae(tmp_path, mmap=True)
    file.unlink()
    saelens(tmp_path)
    weights = tmp_path / "sae_weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-7])
    with pytest.raises(ValueError, match="cut short or altered"):
        sn.load_sae(tmp_path, mmap=True)
    save_file(standard(D, N) | {"W_dec": torch.full((N, D), torch.nan)}, weights)
    with pytest.raises(ValueError, match="must be finite"):
        sn.load_sae(tmp_path, mmap=True)
