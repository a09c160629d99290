"""Files for other libraries: what they wrote comes back to the bit, what is ours gives the same codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import sae_nb as sn
from sae_nb.interop import (
    read_dictionary_learning,
    read_overcomplete,
    read_saelens,
    read_sparsify,
    write_dictionary_learning,
    write_overcomplete,
    write_saelens,
    write_sparsify,
)
from sae_nb.interop._foreign import read_tensors_only
from tests.golden import golden

Way = tuple[Callable[..., Any], Callable[..., Path], str, str]
WAYS: dict[str, Way] = {
    "saelens": (read_saelens, write_saelens, "sae_weights.safetensors", "cfg.json"),
    "sparsify": (read_sparsify, write_sparsify, "sae.safetensors", "cfg.json"),
    "dictionary_learning": (
        read_dictionary_learning,
        write_dictionary_learning,
        "ae.pt",
        "config.json",
    ),
    "overcomplete": (read_overcomplete, write_overcomplete, "state_dict.pt", "about.json"),
}
GOLDEN: dict[str, tuple[str, ...]] = {
    "sparsify": ("TopK",),
    "dictionary_learning": ("TopK", "BatchTopK", "Matryoshka", "JumpReLU", "ReLU", "Gated"),
    "overcomplete": (
        "TopK", "Archetypal", "BatchTopK", "Matryoshka", "JumpReLU", "ReLU", "MatchingPursuit",
    ),
}  # fmt: skip
"""Ours that a library can compute."""
OTHERS: dict[str, tuple[str, ...]] = {
    "sparsify": ("SpaDE", "MatchingPursuit", "Temporal", "AbsTopK"),
    "dictionary_learning": ("SpaDE", "MatchingPursuit", "Temporal", "AbsTopK"),
    "overcomplete": ("SpaDE", "OrthogonalMatchingPursuit", "Temporal", "Gated"),
}
"""Ours that it cannot."""
THEIR_CLASSES = {
    "TopK": "TopKSAE",
    "Archetypal": "TopKSAE",
    "BatchTopK": "BatchTopKSAE",
    "Matryoshka": "BatchTopKSAE",
    "JumpReLU": "JumpSAE",
    "ReLU": "SAE",
    "MatchingPursuit": "MpSAE",
}
"""Of overcomplete."""


def _pairs(table: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(library, name) for library, names in table.items() for name in names]


def _contents(folder: Path, way: Way) -> tuple[dict[str, Tensor], Any]:
    weights = folder / way[2]
    tensors = (read_tensors_only if weights.suffix == ".pt" else load_file)(weights)
    return tensors, json.loads((folder / way[3]).read_text())


def _differences(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Names whose shape, dtype or bytes differ."""
    assert a.keys() == b.keys()
    same_kind = {n: a[n].shape == b[n].shape and a[n].dtype == b[n].dtype for n in a}
    return [
        n
        for n in a
        if not same_kind[n]
        or a[n].contiguous().numpy().tobytes() != b[n].contiguous().numpy().tobytes()
    ]


@pytest.mark.parametrize("library", WAYS)
def test_every_file_comes_back_to_the_bit(peer_files: Path, library: str, tmp_path: Path) -> None:
    """All tensors by name, shape, dtype and bytes, and the configuration, fact by fact."""
    read, write, *_ = way = WAYS[library]
    folders = sorted(p.parent for p in (peer_files / library).rglob("expected.npz"))
    assert folders
    for folder in folders:
        written = write(read(folder), tmp_path / folder.name)
        theirs, ours = _contents(folder, way), _contents(written, way)
        assert _differences(theirs[0], ours[0]) == [], folder.name
        assert theirs[1] == ours[1], folder.name
        again = write(read(written), tmp_path / f"{folder.name}-again")
        assert _differences(ours[0], _contents(again, way)[0]) == []


@pytest.mark.parametrize("library", WAYS)
def test_a_changed_sae_is_written_as_it_is(peer_files: Path, library: str, tmp_path: Path) -> None:
    """Not as it was read: a changed bias is in the file, or the SAE is refused."""
    read, write, *_ = WAYS[library]
    for folder in sorted(p.parent for p in (peer_files / library).rglob("expected.npz")):
        sae = read(folder)
        with torch.no_grad():
            sae.pre_bias.add_(0.5)
            x = torch.randn(8, 4, sae.d_in, generator=torch.Generator().manual_seed(0))
            expected = sae(x)
        try:
            written = write(sae, tmp_path / folder.name)
        except TypeError:
            continue  # their codes, but not any more something they have a class for
        torch.testing.assert_close(read(written)(x), expected, rtol=1e-4, atol=1e-4)


def test_saelens_keeps_what_is_added_and_what_was_there(peer_files: Path, tmp_path: Path) -> None:
    """Further metadata go beside the file's own."""
    folder = peer_files / "saelens" / "topk_trained"
    written = write_saelens(read_saelens(folder), tmp_path / "sae", context_size=128)
    before, after = (json.loads((f / "cfg.json").read_text()) for f in (folder, written))
    assert after["metadata"] == before["metadata"] | {"context_size": 128}
    assert after["rescale_acts_by_decoder_norm"] is True


def test_arguments_given_to_the_reader_are_in_the_file(peer_files: Path, tmp_path: Path) -> None:
    """A bare state dict, said by hand to be of a class, is written with what was said."""
    folder = peer_files / "overcomplete" / "topk"
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "state_dict.pt").write_bytes((folder / "state_dict.pt").read_bytes())
    written = write_overcomplete(read_overcomplete(bare, kind="TopKSAE", k=5), tmp_path / "sae")
    assert json.loads((written / "about.json").read_text()) == {"class": "TopKSAE", "top_k": 5}


@pytest.mark.parametrize(("library", "name"), _pairs(GOLDEN))
def test_what_we_write_gives_the_golden_codes(library: str, name: str, tmp_path: Path) -> None:
    """Codes and reconstructions on inputs with a bias to get wrong; `load_sae` knows the folder, and sparsify's
    is called as its hook point.
    """
    recorded = golden.read(name)
    written = WAYS[library][1](sn.load_sae(recorded.folder), tmp_path / "layers.3")
    with pytest.raises(FileExistsError):
        WAYS[library][1](sn.load_sae(recorded.folder), written)
    again = sn.load_sae(written)
    assert recorded.differences(again, rtol=1e-5, atol=1e-5) == []
    assert type(again).__name__ == "Imported"
    if library == "sparsify":
        assert again.hook_point == "resid_post.3"
    if library == "overcomplete":
        assert json.loads((written / "about.json").read_text())["class"] == THEIR_CLASSES[name]


@pytest.mark.parametrize(("library", "name"), _pairs(OTHERS))
def test_what_they_cannot_compute_is_refused(library: str, name: str, tmp_path: Path) -> None:
    """By name, and no folder is left."""
    with pytest.raises(TypeError, match=r"`sae` must"):
        WAYS[library][1](sn.load_sae(golden.read(name).folder), tmp_path / "sae")
    assert list(tmp_path.iterdir()) == []


def test_atoms_of_other_norms_stay_as_they_are(peer_files: Path, tmp_path: Path) -> None:
    """An SAE of SAELens with atoms of any length, for overcomplete, which would make them unit."""
    sae = read_saelens(peer_files / "saelens" / "topk")
    written = write_overcomplete(sae, tmp_path / "sae")
    assert json.loads((written / "about.json").read_text())["normalization"] == "identity"
    x = torch.randn(8, sae.d_in, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(read_overcomplete(written)(x), sae(x), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("skips", [False, True])
def test_transcoders_survive_the_way_through_sparsify_folders(skips: bool, tmp_path: Path) -> None:
    """Codes and what is written; it reads its module's input and writes its output; other widths are refused."""
    generator = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(200, 6, generator=generator) + 5
    y = torch.relu(x @ torch.randn(6, 6, generator=generator)) + 40
    kind = sn.SkipTranscoder if skips else sn.Transcoder
    t = kind(6, 6, n_atoms=12, k=3)
    sn.train(t, (x, y), sn.TrainConfig(steps=20, batch_size=50), progress=False)
    again = read_sparsify(write_sparsify(t, tmp_path / "model.layers.3.mlp"))
    codes = again.encode(x).to_dense(), t.encode(x).to_dense()
    torch.testing.assert_close(*codes, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(again(x), t(x), rtol=1e-3, atol=1e-2)
    assert (again.hook_point, again.target_hook_point) == ("mlp_in.3", "mlp_out.3")
    with pytest.raises(TypeError, match="write as wide as it reads"):
        write_sparsify(kind(6, 5, n_atoms=12, k=3), tmp_path / "wide")
    with pytest.raises(TypeError, match="thresholds to be a transcoder of SAELens.*write_sparsify"):
        write_saelens(t, tmp_path / "topk")
    with pytest.raises(TypeError, match="must read and write one site"):
        write_dictionary_learning(t, tmp_path / "dl")
