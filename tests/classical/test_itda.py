"""ITDA: what it stores, that every atom is that row, and that it is used like an SAE."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from sae_nb_widgets import AtomBrowser
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.classical import ITDA, _itda as itda_file

N, D, K = 900, 12, 4


def drawn(n: int = N, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.nn.functional.normalize(torch.randn(30, D, generator=generator), dim=1)
    z = torch.randn(n, 30, generator=generator) * (torch.rand(n, 30, generator=generator) < 0.1)
    return z @ atoms + 0.01 * torch.randn(n, D, generator=generator)


def left_of(itda: ITDA, x: Tensor) -> Tensor:
    with torch.no_grad():
        return (x - itda(x)).square().sum(dim=1) / x.square().sum(dim=1)


@pytest.fixture(scope="module")
def fitted() -> ITDA:
    return ITDA(D, K).fit(drawn(), progress=False)


@pytest.mark.slow
def test_every_atom_is_the_row_that_it_says(fitted: ITDA) -> None:
    x = drawn()
    rows = [row.sample for row in fitted.stored]
    assert fitted.dictionary.shape == (fitted.n_atoms, D) == (len(rows), D)
    assert torch.allclose(fitted.dictionary, torch.nn.functional.normalize(x[rows], dim=1))
    assert rows == sorted(set(rows))
    assert rows[0] == 0


def test_no_atom_reconstructs_another_within_the_threshold(fitted: ITDA) -> None:
    """Whoever could be left out has been: 1 − cos² > threshold for every pair."""
    cosines = (fitted.dictionary @ fitted.dictionary.T).fill_diagonal_(0)
    assert float(cosines.abs().max()) < math.sqrt(1 - fitted.threshold)


def test_rows_that_were_visited_are_within_the_threshold(fitted: ITDA) -> None:
    x = drawn()
    assert float((left_of(fitted, x) > fitted.threshold).double().mean()) < 0.05
    few = ITDA(D, K, max_atoms=D).fit(x, progress=False)
    assert few.n_atoms == D
    assert float((left_of(few, x) > few.threshold).double().mean()) > 0.5


@pytest.mark.slow
def test_a_lower_threshold_stores_more_and_leaves_less() -> None:
    x, test = drawn(), drawn(300, seed=1)
    itdas = [ITDA(D, K, threshold=t).fit(x, progress=False) for t in (0.8, 0.3, 0.1)]
    sizes = [itda.n_atoms for itda in itdas]
    left = [float(left_of(itda, test).mean()) for itda in itdas]
    assert sizes == sorted(sizes)
    assert left == sorted(left, reverse=True)
    assert sizes[0] < sizes[-1] / 4


@pytest.mark.slow
def test_neither_lengths_nor_signs_nor_copies_of_rows_matter() -> None:
    """Scaled, mirrored and repeated rows give the same atoms, but for their own signs."""
    x = drawn(200)
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randn(200, 1, generator=generator) * 100
    plain = ITDA(D, K).fit(x, progress=False)
    other = ITDA(D, K).fit(torch.cat([x * lengths, x]), progress=False)
    assert [row.sample for row in other.stored] == [row.sample for row in plain.stored]
    signs = lengths[[row.sample for row in plain.stored]].sign()
    assert torch.allclose(other.dictionary, signs * plain.dictionary, atol=1e-6)
    one_sided = ITDA(D, K, nonnegative=True).fit(torch.cat([x, -x]), progress=False)
    assert one_sided.n_atoms > plain.n_atoms
    assert bool((one_sided.encode(x).values >= 0).all())


def test_one_atom_by_hand() -> None:
    """k = 1: a row is stored exactly where its cosine with all atoms is too small; zeros never."""
    angles = torch.tensor([0.0, 10.0, 80.0, 45.0, 100.0]) * math.pi / 180
    x = torch.stack([angles.cos(), angles.sin()], dim=1)
    x = torch.cat([torch.zeros(1, 2), x])
    itda = ITDA(2, 1, threshold=0.25).fit(x, progress=False)  # 30 degrees
    assert [row.sample for row in itda.stored] == [1, 3, 4]


@pytest.mark.slow
def test_blocks_and_disks_change_nothing_that_is_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts = sn.Activations.from_tensor(drawn())
    whole = ITDA(D, K).fit(acts, progress=False)
    acts.save(tmp_path / "acts")
    stored = sn.load_activations(tmp_path / "acts")
    assert torch.equal(ITDA(D, K).fit(stored, progress=False).dictionary, whole.dictionary)
    monkeypatch.setattr(itda_file, "BLOCK", 100)
    parts = ITDA(D, K).fit(acts, progress=False)
    assert float((left_of(parts, acts.x) > parts.threshold).double().mean()) < 0.05
    assert abs(parts.n_atoms - whole.n_atoms) < 0.2 * whole.n_atoms


@pytest.mark.slow
def test_what_it_stored_is_said_and_saved(tmp_path: Path) -> None:
    """Image and patch, text and token, in words; after loading too, with the same codes."""
    model, pictures = sn.load_model("tiny-vit"), sn.data.scenes(6, seed=0)
    acts = sn.capture(model, pictures, "resid_post.6", progress=False)
    itda = ITDA(acts.d_in, 8).fit(acts, progress=False)
    for atom in (0, itda.n_atoms - 1):
        row = itda.stored[atom]
        here = (acts.sample == row.sample) & (acts.position == row.position)
        (vector,) = acts.x[here]
        assert torch.allclose(vector / vector.norm(), itda.dictionary[atom], atol=1e-6)
        assert row.words.startswith(f"image {row.sample}, ")
    assert (itda.hook_point, itda.model_name) == ("resid_post.6", "tiny-vit")
    itda.save(tmp_path / "itda")
    loaded = sn.load_sae(tmp_path / "itda")
    assert isinstance(loaded, ITDA)
    assert loaded.stored == itda.stored
    assert torch.equal(loaded.encode(acts).values, itda.encode(acts).values)
    assert ITDA.load(tmp_path / "itda").settings() == itda.settings()


@pytest.mark.slow
def test_it_is_steered_evaluated_and_looked_at() -> None:
    model = sn.load_model("tiny-gpt")
    texts = ["The cat sat in the garden.", "Tom was sad and walked home.", "The end."]
    acts = sn.capture(model, texts, "resid_post.2", progress=False)
    itda = ITDA(acts.d_in, 8, threshold=0.2).fit(acts, progress=False)
    tokens = model.tokens("The cat sat")
    with sn.steer(model, "resid_post.2", itda, atom=1, by=5.0):
        moved = model("The cat sat")
    assert len(tokens)
    assert float((moved - model("The cat sat")).abs().max()) > 0.01
    report = sn.evaluate(itda, acts, n_bootstrap=0)
    assert report["r2"].value > 0.7
    panel = AtomBrowser(itda, acts)
    panel.atom = 2
    assert "⟦" in itda.stored[2].words
    assert panel.names.row(2) == itda.stored[2].words
    assert panel.names.name(2).startswith(f"2 · {itda.stored[2].words[:10]}")
    assert panel.headline.startswith(itda.stored[2].words[:10])
    assert panel.names.card(2).source == "row"
    panel.close()


@pytest.mark.slow
def test_jaccard_counts_shared_rows() -> None:
    """1 with itself, the share of common rows with another, 0 where none is."""
    x = drawn()
    one = ITDA(D, K).fit(x, progress=False)
    other = ITDA(D, K, threshold=0.3).fit(x, progress=False)
    assert one.jaccard(one) == 1
    ours, theirs = ({row.sample for row in itda.stored} for itda in (one, other))
    assert one.jaccard(other) == other.jaccard(one) == len(ours & theirs) / len(ours | theirs)
    apart = ITDA(D, K, stored=[(0, 5, "")])
    assert one.jaccard(apart) == 0


def test_an_interrupted_fit_leaves_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(200)
    at = {"sample": rows, "position": 0 * rows, "model_name": "a"}
    itda = ITDA(4, 2, threshold=0.2).fit(Activations(x, hook_point="resid_post.1", **at))
    before, stored = itda.dictionary.clone(), itda.stored
    other = Activations(x.flip(0), hook_point="resid_post.2", **at)
    seen: list[int] = []

    def interrupted(self: Activations, row: int) -> str:
        seen.append(row)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr(Activations, "where", interrupted)
    with pytest.raises(KeyboardInterrupt):
        itda.fit(other, progress=False)
    assert torch.equal(itda.dictionary, before)
    assert (itda.hook_point, itda.stored) == ("resid_post.1", stored)
