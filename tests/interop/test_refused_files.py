"""Files that cannot be read say why and what to do: no k, a pointer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import sae_nb as sn
from sae_nb.interop import (
    read_dictionary_learning,
    read_openai,
    read_prisma,
    read_saelens,
    read_sparsify,
    read_visaebench,
)
from tests.interop import made
from tests.interop.made import draw, standard

D, N = 4, 8


PLAIN = standard(D, N)
LINEAR = made.linear(PLAIN)


def saelens(folder: Path, **config: Any) -> Path:
    return made.saelens(folder, PLAIN, **{"architecture": "standard", **config})


def test_a_pointer_of_git_lfs_is_called_that(tmp_path: Path) -> None:
    folder = saelens(tmp_path / "s")
    (folder / "sae_weights.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="Git LFS"):
        sn.load_sae(folder)


@pytest.mark.parametrize("k", [None, 0, -1, 2.5, True, "many"])
def test_a_topk_file_without_a_k_is_refused_by_every_reader(tmp_path: Path, k: Any) -> None:
    """By the field's name; not as a damaged file."""
    for library in ("sparsify", "visaebench", "prisma", "dictionary_learning"):
        (tmp_path / library).mkdir()
    one = saelens(tmp_path / "saelens", architecture="topk", k=k)
    two = tmp_path / "sparsify"
    (two / "cfg.json").write_text(json.dumps({"activation": "topk", "k": k}))
    encoder = {name: LINEAR[name] for name in ("encoder.weight", "encoder.bias")}
    save_file(
        {**encoder, "W_dec": PLAIN["W_dec"], "b_dec": PLAIN["b_dec"]}, two / "sae.safetensors"
    )
    three = tmp_path / "visaebench"
    (three / "config.json").write_text(json.dumps({"activation": "topk", "k": k}))
    torch.save(LINEAR, three / "sae.pt")
    four = tmp_path / "prisma"
    stated = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": k}}
    (four / "config.json").write_text(json.dumps(stated))
    torch.save(PLAIN, four / "weights.pt")
    five = tmp_path / "dictionary_learning"
    trainer = {"dict_class": "AutoEncoderTopK", "k": k}
    (five / "config.json").write_text(json.dumps({"trainer": trainer}))
    torch.save({**LINEAR, "b_dec": PLAIN["b_dec"]}, five / "ae.pt")
    six = tmp_path / "openai.pt"
    state = {"pre_bias": PLAIN["b_dec"], "latent_bias": PLAIN["b_enc"], "activation": "TopK"}
    weights = {name: LINEAR[name] for name in ("encoder.weight", "decoder.weight")}
    torch.save({**weights, **state, "activation_state_dict": {"k": k}}, six)
    readers: list[tuple[Any, Path]] = [
        (read_saelens, one), (read_sparsify, two), (read_visaebench, three), (read_prisma, four),
        (read_dictionary_learning, five), (read_openai, six),
    ]  # fmt: skip
    for read, path in readers:
        with pytest.raises(ValueError, match=r"k`.*whole number") as refused:
            read(path)
        assert "download it again" not in str(refused.value)


def test_an_older_dictionary_learning_file_has_its_k_in_the_configuration(tmp_path: Path) -> None:
    """Its state dict had none."""
    trainer = {"dict_class": "AutoEncoderTopK", "k": 3}
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer}))
    torch.save({**LINEAR, "b_dec": PLAIN["b_dec"]}, tmp_path / "ae.pt")
    x = draw(5, D, seed=9)
    u = (x - PLAIN["b_dec"]) @ PLAIN["W_enc"] + PLAIN["b_enc"]
    top = u.topk(3, dim=1)
    z = torch.zeros_like(u).scatter(1, top.indices, top.values.relu())
    sae = read_dictionary_learning(tmp_path)
    assert torch.allclose(sae.encode(x).to_dense(), z, atol=1e-5)


def test_a_large_tensor_that_nobody_reads_stays_on_disk(tmp_path: Path) -> None:
    """Two gigabytes of it, which are never in memory."""
    import resource

    folder = saelens(tmp_path / "s")
    weights = folder / "sae_weights.safetensors"
    content = weights.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    size, end = 2_000_000_000, len(content) - 8 - length
    header["input_matrix"] = {
        "dtype": "F32", "shape": [2, size // 8], "data_offsets": [end, end + size],
    }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with weights.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + content[8 + length :])
        file.truncate(8 + len(text) + end + size)
    assert set(load_file(weights)) == {*PLAIN, "input_matrix"}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sae: Any = sn.load_sae(folder)
    assert "input_matrix" in sae.origin.notes[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_damaged_numbers_are_refused(tmp_path: Path) -> None:
    """A flipped bit in an archive, a file that was cut short, a NaN in a matrix."""
    archive = tmp_path / "gemma" / "params.npz"
    archive.parent.mkdir()
    arrays = {name.lower(): tensor.numpy() for name, tensor in PLAIN.items()}
    arrays["threshold"] = np.full(N, 0.5, np.float32)
    np.savez(archive, **arrays)  # type: ignore[arg-type]  # its own keywords are no names of arrays
    assert sn.load_sae(archive.parent).n_atoms == N
    content = bytearray(archive.read_bytes())
    content[300] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"complete file of number arrays.*Nothing in it was run"):
        sn.load_sae(archive.parent)
    weights = saelens(tmp_path / "s") / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(ValueError, match="cut short or altered"):
        sn.load_sae(weights.parent)
    save_file(PLAIN | {"W_dec": torch.full((N, D), torch.nan)}, weights)
    with pytest.raises(ValueError, match="must be finite"):
        sn.load_sae(weights.parent)
