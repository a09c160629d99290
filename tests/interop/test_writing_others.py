"""What we write for sparsify and dictionary_learning gives the same codes when it is read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sae_nb as sn
from sae_nb.interop import (
    read_dictionary_learning,
    read_sparsify,
    write_dictionary_learning,
    write_saelens,
    write_sparsify,
)
from tests.golden import golden

FOR_DICTIONARY_LEARNING = ("TopK", "BatchTopK", "Matryoshka", "JumpReLU", "ReLU", "Gated")


@pytest.mark.parametrize("name", FOR_DICTIONARY_LEARNING)
def test_dictionary_learning_folders_give_the_golden_codes(name: str, tmp_path: Path) -> None:
    """Codes and reconstructions to 1e-5, on inputs with a bias to get wrong; `load_sae` knows the folder."""
    recorded = golden.read(name)
    sae = sn.load_sae(recorded.folder)
    again = read_dictionary_learning(write_dictionary_learning(sae, tmp_path / "sae"))
    assert recorded.differences(again) == []
    assert type(sn.load_sae(tmp_path / "sae")).__name__ == "Imported"


def test_sparsify_folder_gives_the_golden_codes(tmp_path: Path) -> None:
    """A TopK, the only one it has; the folder's name is its hook point."""
    recorded = golden.read("TopK")
    again = read_sparsify(write_sparsify(sn.load_sae(recorded.folder), tmp_path / "layers.3"))
    assert recorded.differences(again) == []
    assert again.hook_point == "resid_post.3"


def test_what_they_wrote_is_written_back_the_same(assets: Path, tmp_path: Path) -> None:
    """Through our reader, our writer and our reader again: the codes that the library itself recorded."""
    import numpy as np

    folders = assets / "data" / "peer_files"
    for folder, read, write in (
        (folders / "sparsify" / "topk", read_sparsify, write_sparsify),
        *(
            (
                folders / "dictionary_learning" / n,
                read_dictionary_learning,
                write_dictionary_learning,
            )
            for n in (
                "AutoEncoderTopK",
                "GatedAutoEncoder",
                "JumpReluAutoEncoder",
                "AutoEncoderNew",
            )
        ),
    ):
        with np.load(folder / "expected.npz") as expected:
            x, codes = torch.from_numpy(expected["x"]), torch.from_numpy(expected["codes"])
        again = read(write(read(folder), tmp_path / folder.name))
        torch.testing.assert_close(again.encode(x).to_dense(), codes, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["SpaDE", "MatchingPursuit", "Temporal", "AbsTopK"])
def test_codes_they_cannot_compute_are_refused_before_a_file_is_made(
    name: str, tmp_path: Path
) -> None:
    """By name, with what to use instead where there is something."""
    sae = sn.load_sae(golden.read(name).folder)
    for write in (write_dictionary_learning, write_sparsify):
        with pytest.raises(TypeError, match=r"`sae` must"):
            write(sae, tmp_path / "sae")
    assert list(tmp_path.iterdir()) == []


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
