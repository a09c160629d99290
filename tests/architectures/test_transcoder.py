"""Dictionaries that read one hook point and write another: what they learn, and what they are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Pairs
from sae_nb.architectures import ARCHITECTURES
from sae_nb.architectures._composition import HOSTS

D_IN, D_OUT, N_ATOMS = 12, 9, 40


def pair(n: int = 600, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Twenty concepts, each read in one direction and written in another; far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    on = torch.rand(n, 20, generator=generator) < 0.1
    z = on * (1 + torch.rand(n, 20, generator=generator))
    shared = torch.Generator().manual_seed(99)
    read, written = (torch.randn(20, width, generator=shared) for width in (D_IN, D_OUT))
    return 5 + z @ read, 3 * z @ written - 7


def build(kind: Any = sn.Transcoder, base: str = "TopK", **settings: Any) -> Any:
    counted = {"JumpReLU": {"l0": 4}, "ReLU": {}, "Gated": {}}.get(base, {"k": 4})
    generator = torch.Generator().manual_seed(0)
    return kind(
        d_in=D_IN,
        d_out=D_OUT,
        n_atoms=N_ATOMS,
        base=base,
        generator=generator,
        **counted,
        **settings,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "base"), [*((sn.Transcoder, base) for base in HOSTS), (sn.SkipTranscoder, "TopK")]
)
def test_every_selection_can_transcode(kind: Any, base: str) -> None:
    """An object is of both classes, keeps unit atoms, and learns what is written from what is read."""
    t = build(kind, base)
    assert isinstance(t, kind)
    assert isinstance(t, ARCHITECTURES[base])
    result = sn.train(t, pair(), steps=60, batch_size=128, progress=False)
    assert result.history[-1].r2 > 0.5
    assert torch.allclose(t.dictionary.norm(dim=1), torch.ones(N_ATOMS), atol=1e-5)


def test_atoms_begin_at_what_the_first_codes_are_about() -> None:
    t, (x, y) = build(), pair()
    t.initialise((x, y), torch.Generator().manual_seed(0))
    codes = t.encode(x).to_dense()
    by_hand = torch.nn.functional.normalize(codes.T @ (y - t.bias), dim=1)
    fires = codes.any(dim=0)
    assert int(fires.sum()) > N_ATOMS / 2
    torch.testing.assert_close(t.dictionary[fires], by_hand[fires], rtol=1e-3, atol=1e-4)


def test_without_atoms_a_skip_transcoder_is_least_squares() -> None:
    t, (x, y) = build(sn.SkipTranscoder), pair()
    t.initialise((x, y))
    straight = t(x) - t.decode(t.encode(x)) + t.bias
    centred = x - x.mean(dim=0)
    best = centred @ torch.linalg.lstsq(centred, y - y.mean(dim=0)).solution + y.mean(dim=0)
    torch.testing.assert_close(straight, best, rtol=1e-2, atol=1e-2)


def test_a_skip_transcoder_adds_its_map_to_what_atoms_write() -> None:
    """`decode` is the atoms' part alone, the full forward has both."""
    t, (x, y) = build(sn.SkipTranscoder), pair()
    sn.train(t, (x, y), steps=20, batch_size=128, progress=False)
    codes = t.encode(x)
    torch.testing.assert_close(
        t(x) - t.decode(codes), (x - t.reading.mean) @ t.skip, rtol=1e-3, atol=1e-3
    )


def test_atoms_of_a_skip_transcoder_learn_what_its_map_leaves() -> None:
    """A training step's reconstruction is that of a call, of a map that is not zero."""
    t, (x, y) = build(sn.SkipTranscoder), pair(8)
    torch.nn.init.normal_(t.straight, generator=torch.Generator().manual_seed(0))
    loss = t.training_loss(
        torch.cat([x, y], dim=1), torch.zeros(N_ATOMS, dtype=torch.int64), 10, 0.5
    )
    torch.testing.assert_close(loss.x_hat, t(x).detach())


def test_both_sites_are_remembered_in_files(tmp_path: Path) -> None:
    t = build()
    t.hook_point, t.target_hook_point = "mlp_in.3", "mlp_out.3"
    t.save(tmp_path / "t")
    again = sn.load_sae(tmp_path / "t")
    assert (again.hook_point, again.target_hook_point) == ("mlp_in.3", "mlp_out.3")


def test_rows_of_pairs_are_chosen_on_both_sides() -> None:
    x, y = (sn.Activations.from_tensor(part) for part in pair(50))
    pairs = Pairs(x, y)
    for some in (pairs[10:20], pairs[x.x[:, 0] > 5], *pairs.split(0.5, seed=0)):
        assert torch.equal(some.target.sample, some.sample)
        assert torch.equal(some.target.x, y.x[some.sample])
    both = sn.concatenate([pairs[:10], pairs[10:]])
    assert torch.equal(both.target.x, y.x)
    batch = next(pairs.batches(8, seed=0))
    row = (x.x[:, None] == batch[None, :, :D_IN]).all(dim=2).int().argmax(dim=0)
    assert torch.equal(batch, torch.cat([x.x[row], y.x[row]], dim=1))


@pytest.mark.slow
def test_what_is_written_is_what_a_report_measures() -> None:
    """R² of y by hand, with the mean of y as floor; the control may look at y itself."""
    t, (x, y) = build(), pair()
    sn.train(t, (x, y), steps=60, batch_size=128, progress=False)
    report = sn.evaluate(t, (x, y), n_bootstrap=0)
    assert report.r2.value == pytest.approx(
        sn.evaluation.explained_variance(y, t(x).detach()), abs=1e-6
    )
    assert report.r2.floor == pytest.approx(0, abs=1e-9)
    assert report.r2.value > report.r2.control
