"""SAEs whose weights stay in their file: the same codes, and memory that does not grow with the dictionary."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sae_nb as sn
from sae_nb.architectures import ARCHITECTURES, SparseAutoencoder
from sae_nb.codes import SparseCodes
from sae_nb.files import MappedMatrix, _mapped
from sae_nb.files._fingerprints import dictionary_digest, identity_of

D_IN, N_ATOMS = 12, 44


@pytest.fixture(params=[7, 1000], ids="tiles of {}".format)
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Atoms in a tile: one, a part that does not divide them, all, more than there are."""
    monkeypatch.setattr(_mapped, "TILE_BYTES", 4 * D_IN * request.param)
    return int(request.param)


def rows(n: int = 30, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(seed))


def whole_numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, shape, generator=generator).float()


def saved(sae: SparseAutoencoder, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    sae.to(dtype).eval().save(folder / "sae")
    return folder / "sae"


def made(kind: str) -> SparseAutoencoder | None:
    """An SAE or a transcoder of one kind, begun at some rows; None where it needs several places."""
    torch.manual_seed(0)
    for more in ({}, {"k": 4}, {"k": 4, "d_out": 9}):
        try:
            sae = ARCHITECTURES[kind](d_in=D_IN, n_atoms=N_ATOMS, **more)
        except TypeError:
            continue
        x = rows(200, seed=0)
        sae.initialise((x, rows(200, seed=2)[:, :9]) if sae.writes else x)
        return sae.eval()
    return None


def same(found: SparseCodes, expected: SparseCodes) -> None:
    """Assert that codes agree as far as sums of products in float32 do, in another order."""
    torch.testing.assert_close(found.to_dense(), expected.to_dense(), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
def test_mapped_codes_are_those_of_the_sae_in_memory_or_it_is_refused_by_name(
    kind: str, tile: int, tmp_path: Path
) -> None:
    """Every architecture encodes and reconstructs the same, or says that it cannot be mapped."""
    sae = made(kind)
    if sae is None:
        pytest.skip("of several places")
    folder = saved(sae, tmp_path)
    if sae.not_mapped:
        with pytest.raises(ValueError, match=rf"`mmap` must be False for a {kind}: .*without mmap"):
            sn.load_sae(folder, mmap=True)
        return
    here, mapped = sn.load_sae(folder), sn.load_sae(folder, mmap=True)
    assert (mapped.is_mapped, here.is_mapped) == (True, False)
    same(mapped.encode(rows()), here.encode(rows()))
    assert torch.allclose(mapped(rows()), here(rows()), atol=1e-5)


@pytest.mark.parametrize("k", [3, 44])
@pytest.mark.parametrize("kind", ["TopK", "AbsTopK", "BatchTopK"])
def test_of_equal_pre_codes_the_same_are_kept_whatever_the_tile(
    kind: str, k: int, tile: int, tmp_path: Path
) -> None:
    """Ties within a tile and across tiles go to the lower atom (and earlier row), also with k above a tile."""
    sae = ARCHITECTURES[kind](d_in=D_IN, n_atoms=N_ATOMS, k=k)
    with torch.no_grad():
        sae.encoder.weight.copy_(whole_numbers(N_ATOMS, D_IN))
    folder = saved(sae, tmp_path)
    here, mapped = sn.load_sae(folder), sn.load_sae(folder, mmap=True)
    x = whole_numbers(20, D_IN, seed=1)
    assert len(here.encode(x).values.unique()) < here.encode(x).nnz, "no ties to break"
    found, expected = mapped.encode(x, k=k), here.encode(x, k=k)
    assert torch.equal(found.offsets, expected.offsets)
    assert torch.equal(found.atoms, expected.atoms)
    assert torch.equal(found.values, expected.values)


def test_rows_without_a_code_and_single_rows_are_encoded(tile: int, tmp_path: Path) -> None:
    """Codes that are empty, of one row and of leading axes are those of the SAE in memory."""
    sae = sn.JumpReLU(D_IN, N_ATOMS)
    with torch.no_grad():
        sae.log_threshold.fill_(20.0)
    folder = saved(sae, tmp_path)
    here, mapped = sn.load_sae(folder), sn.load_sae(folder, mmap=True)
    assert mapped.encode(rows()).nnz == 0
    assert torch.equal(mapped(rows()), here(rows()))
    assert mapped.encode(rows(6).reshape(2, 3, D_IN)).shape == (2, 3, N_ATOMS)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_precision_stays_in_the_file_and_is_computed_in_float32(
    dtype: torch.dtype, tile: int, tmp_path: Path
) -> None:
    """A file of bf16 gives the codes of its numbers in float32; wider numbers stay as they are."""
    folder = saved(sn.TopK(D_IN, N_ATOMS, k=4), tmp_path, dtype)
    wide = torch.promote_types(dtype, torch.float32)
    here, mapped = sn.load_sae(folder).to(wide), sn.load_sae(folder, mmap=True)
    assert mapped.dtype == mapped.dictionary.dtype == wide
    assert isinstance(mapped.dictionary, MappedMatrix)
    assert mapped.dictionary.held.stored.dtype == dtype
    same(mapped.encode(rows().to(wide)), here.encode(rows().to(wide)))
    assert torch.allclose(mapped(rows()), here(rows()), atol=1e-6)


def test_gradients_reach_the_input_through_the_rows_that_were_chosen(tmp_path: Path) -> None:
    """An SAE on the way of a gradient gives the one that it gives in memory."""
    folder = saved(sn.TopK(D_IN, N_ATOMS, k=4), tmp_path)
    found = []
    for mmap in (False, True):
        x = rows().requires_grad_()
        sn.load_sae(folder, mmap=mmap)(x).square().sum().backward()
        found.append(x.grad)
    assert torch.allclose(*found, atol=1e-5)


def test_saving_a_mapped_sae_writes_the_same_file(tile: int, tmp_path: Path) -> None:
    """What was loaded memory-mapped and saved elsewhere is the same weights, to the bit, tile by tile."""
    for dtype in (torch.float32, torch.bfloat16):
        folder = saved(sn.Gated(D_IN, N_ATOMS), tmp_path / str(dtype), dtype)
        sn.load_sae(folder, mmap=True).save(tmp_path / str(dtype) / "again")
        files = [f / "sae.safetensors" for f in (folder, folder.with_name("again"))]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert sn.load_sae(folder).dtype == sn.load_sae(folder.with_name("again")).dtype


def test_a_pretrained_sae_in_half_precision_has_unit_atoms_when_mapped() -> None:
    """The shelf keeps fp16; its atoms are put back on the sphere as they are without mmap."""
    here, mapped = (sn.load_sae("tiny-vit/resid_post.6", mmap=mmap) for mmap in (False, True))
    assert torch.allclose(mapped.dictionary[:], here.dictionary, atol=1e-7)
    assert identity_of(mapped).is_same(identity_of(here))
    assert dictionary_digest(mapped.dictionary[:]) == dictionary_digest(mapped.dictionary)


# The matrix as a tensor.


def a_pair(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    place = saved(sn.TopK(D_IN, N_ATOMS, k=4), folder)
    return sn.load_sae(place).dictionary, sn.load_sae(place, mmap=True).dictionary


def test_rows_products_and_norms_of_a_mapped_matrix_are_those_of_the_tensor(
    tile: int, tmp_path: Path
) -> None:
    """Whatever panels and steering ask of `sae.dictionary` has the same answer."""
    d, m = a_pair(tmp_path)
    x, v, codes = rows(5), rows(1)[0], SparseCodes.from_dense(whole_numbers(3, N_ATOMS))
    pairs = [
        (d[3], m[3]),
        (d[-1], m[-1]),
        (d[[4, 0, -2]], m[[4, 0, -2]]),
        (d[torch.tensor([[1, 2], [3, 4]])], m[torch.tensor([[1, 2], [3, 4]])]),
        (d[d[:, 0] > 0], m[d[:, 0] > 0]),
        (d[5:9].norm(dim=1), m[5:9].norm(dim=1)),
        (x @ d.T, x @ m.T),
        (codes.to_dense() @ d, codes.to_dense() @ m),
        (codes @ d, codes @ m),
        (d @ v, m @ v),
        (d.T @ d, m.T @ m),
        (d[:, 2:4] @ v[2:4], m[:, 2:4] @ v[2:4]),
        (
            torch.nn.functional.normalize(2 * d, dim=1) @ v,
            torch.nn.functional.normalize(2 * m, dim=1) @ v,
        ),
        (d.float().cpu().detach().clone().norm(), m.float().cpu().detach().clone().norm()),
        (d.mean(dim=0), m.mean(dim=0)),
        ((d * v) @ v, (m * v) @ v),
        (d.sum(), m.sum()),
        (
            torch.cat([part.norm(dim=1) for part in d.split(7)]),
            torch.cat([part.norm(dim=1) for part in m.split(7)]),
        ),
    ]
    for expected, found in pairs:
        assert not isinstance(found, MappedMatrix)
        assert torch.allclose(found, expected, atol=1e-5)


def test_slices_and_copies_of_a_mapped_matrix_stay_in_the_file(tmp_path: Path) -> None:
    """A slice, a transpose, a scaled or copied matrix is no copy in memory."""
    _, m = a_pair(tmp_path)
    for kept in (
        m.detach(),
        m.clone(),
        m.float(),
        m[5:],
        m.T,
        2 * m,
        m / m.norm(dim=1, keepdim=True),
    ):
        assert isinstance(kept, MappedMatrix)
    assert copy.deepcopy(m) is m


def test_what_needs_the_whole_matrix_is_refused_where_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small matrices are read whole where an operation needs that; large ones name the way out."""
    d, m = a_pair(tmp_path)
    assert torch.allclose(m.exp(), d.exp())
    assert (m.numpy() == d.numpy()).all()
    monkeypatch.setattr(_mapped, "WHOLE_BYTES", 100)
    for ask in (m.exp, m.numpy, m.tolist, lambda: m + 1):
        with pytest.raises(ValueError, match=r"44 × 12 whole in memory.*without mmap"):
            ask()


# Refusals.


def test_training_moving_and_converting_a_mapped_sae_are_refused(tmp_path: Path) -> None:
    """What would need the weights in memory says to load without mmap; what changes nothing passes."""
    mapped = sn.load_sae(saved(sn.TopK(D_IN, N_ATOMS, k=4), tmp_path), mmap=True)
    with pytest.raises(ValueError, match=r"in memory to be trained.*TopK.*without mmap"):
        sn.train(mapped, rows(), steps=1)
    for change in (mapped.double, mapped.half, lambda: mapped.to("meta")):
        with pytest.raises(ValueError, match=r"stay in their file must stay.*without mmap"):
            change()
    assert mapped.float() is mapped.to("cpu") is mapped


def test_a_file_that_changes_underneath_is_noticed_before_it_is_read(tmp_path: Path) -> None:
    """A file that is cut short in place is refused; one that is replaced leaves the old one readable."""
    folder = saved(sn.TopK(D_IN, N_ATOMS, k=4), tmp_path)
    mapped = sn.load_sae(folder, mmap=True)
    before = mapped.encode(rows())
    saved(sn.TopK(D_IN, N_ATOMS, k=2), tmp_path)  # by another name, then exchanged
    same(mapped.encode(rows()), before)
    mapped, file = sn.load_sae(folder, mmap=True), folder / "sae.safetensors"
    os.truncate(file, file.stat().st_size // 2)
    for use in (lambda: mapped.encode(rows()), lambda: mapped.dictionary[3]):
        with pytest.raises(ValueError, match=r"was changed or cut short.*Load the SAE again"):
            use()


# Memory.

_PEAKS = """
import re, sys, torch
import sae_nb as sn
from sae_nb.files import _mapped

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

_mapped.TILE_BYTES = 2**20
x = torch.randn(16, 256)
for folder in sys.argv[1:]:
    sae = sn.load_sae(folder, mmap=True)
    sae(x)
    sae.decode(sae.encode(x, k=64))
    sae.dictionary[[1, 5]]
    torch.nn.functional.normalize(sae.dictionary, dim=1) @ x[0]
    print(peak())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads /proc")
def test_peak_memory_does_not_grow_with_the_number_of_atoms(tmp_path: Path) -> None:
    """Sixteen times the atoms, 32 MiB of each matrix, take hardly more memory to encode, decode and search."""
    folders = []
    for n in (2048, 32_768):
        sae = sn.TopK(256, n, k=8)
        folders.append(str(saved(sae, tmp_path / str(n))))
    run = [sys.executable, "-c", _PEAKS, *folders]
    quiet = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    # The first run compiles the loops that no cache holds, which takes 20 MiB in the midst of the second SAE.
    for _ in range(2):
        done = subprocess.run(run, env=quiet, capture_output=True, check=True, text=True)
    small, large = map(float, done.stdout.split())
    assert large - small < 32  # either matrix in memory would take as much


# Panels.


@pytest.fixture
def nothing_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine in which no mapped matrix may be read whole, and a tile is eight rows."""
    monkeypatch.setattr(_mapped, "WHOLE_BYTES", 0)
    monkeypatch.setattr(_mapped, "TILE_BYTES", 4 * 128 * 8)


@pytest.mark.usefixtures("nothing_whole")
def test_the_atom_browsers_numbers_need_no_whole_dictionary() -> None:
    """Cards, neighbours and lengths of a mapped SAE are those of the SAE in memory."""
    name = "tiny-vit/resid_post.6"
    x = sn.load_examples(name).acts.x[:300].float()
    here, mapped = (sn.atoms.AtomCatalogue(sn.load_sae(name, mmap=m), x) for m in (False, True))
    assert (mapped.order("frequency") == here.order("frequency")).all()
    for atom in (3, 17):
        (near, cosines), (expected, sizes) = mapped.nearest(atom), here.nearest(atom)
        assert near.tolist() == expected.tolist()
        assert cosines == pytest.approx(sizes, abs=1e-5)
    assert mapped.r2 == pytest.approx(here.r2, abs=1e-5)
    assert mapped.summary(17).atom == 17


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_whole")
def test_steering_and_the_input_lens_need_no_whole_dictionary() -> None:
    """An edit by a mapped SAE changes the model as the SAE in memory does, and atoms of an input are the same."""
    model, name = sn.load_model("tiny-gpt"), "tiny-gpt/resid_post.3"
    outs, used = [], []
    for sae in (sn.load_sae(name), sn.load_sae(name, mmap=True)):
        with sn.steer(model, "resid_post.3", sae, atom=17, by=4.0):
            outs.append(model("The fox was glad"))
        with sn.ablate(model, "resid_post.3", sae, atom=17):
            outs.append(model("The fox was glad"))
        used.append(sn.top_atoms(model, sae, "The fox was glad", "resid_post.3").used)
    assert torch.allclose(outs[0], outs[2], atol=1e-5)
    assert torch.allclose(outs[1], outs[3], atol=1e-4)
    assert used[0].atom.tolist() == used[1].atom.tolist()
    assert used[0].strength == pytest.approx(used[1].strength, abs=1e-4)


@pytest.mark.usefixtures("nothing_whole")
def test_the_map_of_a_mapped_dictionary_lays_out_a_sketch_and_says_so() -> None:
    """Cosines of the sketch are the atoms' own within what it promises; the record names the projection."""
    name = "tiny-gpt/resid_post.3"
    atlas = sn.summaries.ConceptAtlas(sn.load_sae(name, mmap=True))
    unit = torch.nn.functional.normalize(sn.load_sae(name).dictionary[:100], dim=1)
    sketch = torch.nn.functional.normalize(atlas.dictionary[:100], dim=1)
    off = (sketch @ sketch.T - unit @ unit.T)[~torch.eye(100, dtype=torch.bool)]
    assert off.square().mean().sqrt() < 2 / atlas.dictionary.shape[1] ** 0.5
    record = atlas.summary("atoms", atlas.pca("atoms"), "pca", clusters=False)
    assert "random projection" in record.provenance["cosines"]
    with pytest.raises(ValueError, match=r"`other` must be None.*without mmap"):
        sn.summaries.ConceptAtlas(sn.load_sae(name, mmap=True), other=sn.load_sae(name))
