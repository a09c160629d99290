"""A saved SAE measured tile by tile has the report of the whole one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.evaluation import evaluate_saved
from sae_nb.evaluation.report._by_tiles import _Drawn, _Saved
from sae_nb.training import Team

ROWS = ("r2", "fvu", "mse", "cosine", "l0", "l1", "l0_p95", "dead_fraction", "density_median")
SAES: dict[str, tuple[type[sn.SparseAutoencoder], dict[str, Any]]] = {
    "topk": (sn.TopK, {"k": 5}),
    "few": (sn.TopK, {"k": 20}),
    "batch": (sn.BatchTopK, {"k": 3}),
    "relu": (sn.ReLU, {"l0": 4}),
    "jump": (sn.JumpReLU, {"l0": 3}),
    "pursuit": (sn.MatchingPursuit, {"k": 4}),
    "signed": (
        sn.MatchingPursuit,
        {"k": 4, "nonnegative": False, "reselect": False, "relative_tolerance": 0.2},
    ),
    "stop": (sn.MatchingPursuit, {"k": 6, "reselect": "stop"}),
    "refitted": (sn.OrthogonalMatchingPursuit, {"k": 4}),
}


def rows() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(24, 12, generator=generator), dim=1)
    picked = torch.rand(700, 24, generator=generator).topk(3, dim=1).indices
    strengths = 1 + torch.rand(700, 3, generator=generator)
    return torch.zeros(700, 24).scatter(1, picked, strengths) @ atoms


def made(name: str) -> sn.SparseAutoencoder:
    """An SAE of a few steps, so that biases, thresholds and scaling are not those of the start."""
    kind, settings = SAES[name]
    sae = kind(12, 37, generator=torch.Generator().manual_seed(1), **settings)
    sn.train(sae, rows(), steps=5, batch_size=128, progress=False)
    return sae


@pytest.mark.slow
@pytest.mark.parametrize("name", SAES)
def test_tiles_have_the_report_of_the_whole(name: str, tmp_path: Path) -> None:
    """Values and floors to 1e-5 whatever the tiles, those with fewer atoms than a row takes included."""
    sae, x = made(name), rows()
    sae.save(tmp_path / "sae")
    whole = sn.evaluate(sae, x, n_bootstrap=20)
    for tile in (1, 16):
        tiled = evaluate_saved(tmp_path / "sae", x, tile_atoms=tile, batch_size=150, n_bootstrap=20)
        for row in ROWS:
            one, other = whole[row], tiled[row]
            assert other.value == pytest.approx(one.value, rel=1e-5, abs=1e-5)
            assert (one.floor is None) == (other.floor is None)
            if one.floor is not None:
                assert other.floor == pytest.approx(one.floor, rel=1e-5, abs=1e-5)
            assert other.interval == pytest.approx(one.interval, rel=1e-4, abs=1e-4, nan_ok=True)


def test_the_control_is_of_random_atoms_and_does_not_depend_on_tiles(tmp_path: Path) -> None:
    """Near that of `evaluate`, which draws other atoms, and below the SAE."""
    sae = made("topk")
    sae.save(tmp_path / "sae")
    reports = [
        evaluate_saved(tmp_path / "sae", rows(), tile_atoms=tile, n_bootstrap=0) for tile in (5, 64)
    ]
    assert all(0 < report.provenance["seconds"] < 3600 for report in reports)
    one, other = (report.r2 for report in reports)
    whole = sn.evaluate(sae, rows(), n_bootstrap=0).r2
    assert one.control is not None
    assert one.control == pytest.approx(other.control, rel=1e-5)
    assert one.control < one.value
    assert one.control == pytest.approx(whole.control, abs=0.1)


def test_the_gain_of_random_atoms_leaves_nothing_along_what_they_propose() -> None:
    """Least squares: x − x̂ is at right angles to x̂ − mean, over all rows together."""
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) + 3
    drawn = _Drawn(20, 2, x.mean(dim=0), signed=False, seed=1, team=Team())
    proposed = drawn.reconstruct(x)[1] - drawn.mean
    drawn.fit(x)
    assert drawn.gain == pytest.approx(
        float(((x - drawn.mean) * proposed).sum() / proposed.square().sum()), rel=1e-4
    )
    codes, x_hat = drawn.reconstruct(x)
    assert abs(float(((x - x_hat) * (x_hat - drawn.mean)).sum())) < 1e-3 * float(x_hat.norm())
    assert codes.l0.tolist() == [2] * 40


@pytest.mark.parametrize("name", ["topk", "few", "relu", "pursuit", "signed"])
@pytest.mark.parametrize("tile", [5, 16])
def test_codes_over_tiles_are_those_of_all_atoms(name: str, tile: int, tmp_path: Path) -> None:
    kind, settings = SAES[name]
    sae = kind(12, 37, generator=torch.Generator().manual_seed(1), **settings).eval()
    sae.save(tmp_path / "sae")
    x = rows()[:9]
    with torch.no_grad():
        codes, x_hat = _Saved(tmp_path / "sae", tile, Team()).reconstruct(x)
        torch.testing.assert_close(codes.to_dense(), sae.encode(x).to_dense(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(x_hat, sae(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("signed", [False, True])
def test_the_control_keeps_the_strongest_of_all_tiles(
    signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20 random unit atoms, seven at a time, the three of largest correlation, times the gain."""
    monkeypatch.setattr("sae_nb.evaluation.report._by_tiles._DRAWN_ATOMS", 7)
    x, mean = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)), torch.arange(6.0)
    drawn = _Drawn(20, 3, mean, signed=signed, seed=1, team=Team())
    drawn.gain = 0.5
    tiles = [*drawn._tiles()]
    assert [(one.first, len(one.atoms)) for one in tiles] == [(0, 7), (7, 7), (14, 6)]
    atoms = torch.cat([one.atoms for one in tiles])
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(20))
    assert len(atoms.unique(dim=0)) == 20
    scores = (x - mean) @ atoms.T
    best = (scores.abs() if signed else scores).topk(3, dim=1).indices
    z = torch.zeros(5, 20).scatter(1, best, 0.5 * scores.gather(1, best))
    z = z if signed else z.clamp_min(0)
    codes, x_hat = drawn.reconstruct(x)
    torch.testing.assert_close(codes.to_dense(), z)
    torch.testing.assert_close(x_hat, mean + z @ atoms)


MEASURE = """
import sys, torch, sae_nb as sn
from pathlib import Path
from sae_nb.evaluation import evaluate_saved
folder, way = Path(sys.argv[1]), sys.argv[2]
x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
def run(at):
    if way == "tiles":
        return evaluate_saved(at, x, tile_atoms=1024, batch_size=64, n_bootstrap=0)
    return sn.load_sae(at)(x)
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
run(folder.parent / "warm")
before = peak()
run(folder)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="VmHWM is Linux's")
def test_what_is_held_is_a_tile(tmp_path: Path) -> None:
    """A pursuit over 64 MiB of atoms adds less than half of them, and loading them more."""
    for name, n_atoms in (("warm", 2048), ("big", 65_536)):
        sae = sn.MatchingPursuit(256, n_atoms, 2, generator=torch.Generator().manual_seed(0))
        sae.initialise(torch.randn(64, 256, generator=torch.Generator().manual_seed(1)))
        sae.save(tmp_path / name)
    added = {}
    # Which thread's arena keeps its free pages is chance: 10 to 30 MiB without this.
    steady = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    for way in ("tiles", "whole"):
        command = [sys.executable, "-c", MEASURE, str(tmp_path / "big"), way]
        done = subprocess.run(command, env=steady, capture_output=True, text=True, check=True)
        added[way] = float(done.stdout)
    assert added["tiles"] < 32 < added["whole"]


def test_random_atoms_that_propose_nothing_keep_their_gain() -> None:
    """Rows at the mean have no correlation with any atom; at 2 from it with signs, each proposes along itself."""
    drawn = _Drawn(20, 2, torch.ones(6), signed=False, seed=1, team=Team())
    drawn.gain = 1.0
    drawn.fit(torch.ones(3, 6))
    assert drawn.gain == 1
    one = _Drawn(1, 1, torch.ones(6), signed=True, seed=1, team=Team())
    one.fit(torch.randn(9, 6, generator=torch.Generator().manual_seed(0)))
    assert one.gain == pytest.approx(1)
