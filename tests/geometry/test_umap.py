"""UMAP: seeded, kept, in a process of its own that ends when told to, and better than PCA."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from sae_nb.geometry import LayoutSettings, _umap as module, pca_layout, start_umap, umap_layout


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAE_NB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def clusters() -> torch.Tensor:
    """Twelve directions in 32 dimensions with twenty rows around each."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(12, 32, generator=generator)
    noise = 0.35 * torch.randn(12, 20, 32, generator=generator)
    return (centres[:, None] + noise).reshape(240, 32)


def _kept_together(xy: np.ndarray) -> float:
    plane = torch.from_numpy(xy)
    distance = torch.cdist(plane, plane).fill_diagonal_(torch.inf)
    near = distance.topk(5, largest=False).indices // 20
    return float((near == torch.arange(240)[:, None] // 20).float().mean())


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_no_layout(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file where a folder should be")
    process = start_umap(torch.eye(4))
    assert process.wait().shape == (4, 2)
    process.close()
    assert umap_layout(torch.eye(4)).shape == (4, 2)
    assert len(caplog.records) == 2
    assert "not kept" in caplog.text


def test_what_umap_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """PCA made ten wide to begin with, and the nearest rows, itself first at distance 0."""
    given: dict = {}

    class Umap:
        def __init__(self, **settings: object) -> None:
            given.update(settings)

        def fit_transform(self, x: np.ndarray) -> np.ndarray:
            return given["init"]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    settings = LayoutSettings(n_neighbours=4, min_dist=0.3, n_epochs=17, seed=5)
    told: list[tuple[str, float]] = []
    umap_layout(x, settings, cache=False, report=lambda *one: told.append(one))
    bar = given["tqdm_kwds"]["file"]
    for line in ("3 12", "0 0", "5 x", "1 2 3", "7"):
        bar.write(line)
    shares = [("laying out", 0.25), ("laying out", 0.0)]
    assert told == [("finding neighbours", 0.0), ("loading umap-learn", 0.0), *shares]
    module._print_progress("laying out", 1 / 3)
    assert capsys.readouterr().out == '{"stage": "laying out", "share": 0.333}\n'
    start = pca_layout(x)
    np.testing.assert_allclose(given["init"], start / np.abs(start).max() * 10, rtol=1e-6)
    rows, distances = given["precomputed_knn"]
    apart = 1 - torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2)
    nearest = apart.fill_diagonal_(-1).topk(4, largest=False)
    np.testing.assert_array_equal(rows, nearest.indices)
    np.testing.assert_allclose(distances, nearest.values.clamp_min(0), atol=1e-6)
    asked = [given[name] for name in ("n_neighbors", "min_dist", "n_epochs", "random_state")]
    assert asked == [4, 0.3, 17, 5]
    umap_layout(torch.ones(9, 5), LayoutSettings(), cache=False)
    assert given["init"].tolist() == [[0, 0]] * 9
    umap_layout(x[:8], LayoutSettings(), cache=False)
    assert given["n_neighbors"] == 7
    given.clear()
    umap_layout(x[:7], LayoutSettings(), cache=False)  # too few to unfold
    assert given == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_process_lays_out_what_belongs_together(clusters: torch.Tensor, cache: Path) -> None:
    """Twelve clusters stay apart, where PCA folds them; progress is told; the next time is free."""
    settings = LayoutSettings(n_epochs=200, seed=3)
    process = start_umap(clusters, settings)
    assert not process.done
    xy = process.wait()
    assert process.stage[0] == "laying out"
    child = process._child
    process.close()
    assert _kept_together(xy) > 0.95 > _kept_together(pca_layout(clusters))
    again = start_umap(clusters, settings)
    assert again.done
    assert np.array_equal(again.wait(), xy)
    again.close()
    assert np.array_equal(umap_layout(clusters, settings), xy)
    assert len(list(cache.rglob("*.safetensors"))) == 1
    # Another layout finds the process there, with umap-learn loaded, and is that of a fresh one.
    other = start_umap(clusters, LayoutSettings(n_epochs=30, seed=1))
    assert other._child is child
    fresh = umap_layout(clusters, LayoutSettings(n_epochs=30, seed=1), cache=False)
    assert np.array_equal(other.wait(), fresh)
    other.close()
    module._end_waiting()
    assert child is not None
    assert child.poll() is not None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_seed_gives_one_layout(clusters: torch.Tensor) -> None:
    first, again = (umap_layout(clusters, LayoutSettings(n_epochs=30), cache=False) for _ in "ab")
    other = umap_layout(clusters, LayoutSettings(n_epochs=30, seed=1), cache=False)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_few_rows_are_laid_out_by_pca(cache: Path) -> None:
    x = torch.randn(5, 3)
    assert np.array_equal(umap_layout(x), pca_layout(x))


def test_closing_ends_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    process = start_umap(torch.randn(40, 8))
    child = process._child
    folder = Path(process._folder.name)
    assert child is not None
    process.close()
    assert child.poll() is not None
    assert not folder.exists()
    with pytest.raises(RuntimeError, match="closed before"):
        process.wait()
    process.close()


@pytest.mark.slow
def test_the_process_ends_with_whoever_started_it() -> None:
    """Killed, a notebook's kernel can ask nobody to end; the process sees that its input is gone."""
    code = (
        "import sys, torch; from sae_nb.geometry import start_umap; p = start_umap(torch.randn(300, 8));"
        "print(p._child.pid, flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    assert psutil.wait_procs([child], timeout=30)[1] == []


def test_a_layout_that_takes_too_long_goes_on() -> None:
    process = start_umap(torch.randn(40, 8))
    with pytest.raises(TimeoutError, match=r"40 rows.*after 0\.01 seconds"):
        process.wait(0.01)
    assert not process.done
    process.close()


def test_a_process_that_fails_says_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen
    code = "import sys; print('no room left'); sys.exit(3)"

    def failing(command: list[str], **options: object) -> object:
        return popen([sys.executable, "-c", code], **options)  # type: ignore[call-overload]

    module._end_waiting()
    monkeypatch.setattr(module.subprocess, "Popen", failing)
    process = start_umap(torch.randn(40, 8))
    with pytest.raises(RuntimeError, match="status 3: no room left"):
        process.wait()
    process.close()


def test_ctrl_c_while_waiting_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    process = start_umap(torch.randn(40, 8))
    child = process._child
    assert child is not None
    monkeypatch.setattr(process._reader, "wait", partial(_interrupted_once, process._reader.wait))
    with pytest.raises(KeyboardInterrupt):
        process.wait()
    assert child.poll() is not None
    assert not process._file.exists()
    with pytest.raises(RuntimeError, match="closed before its layout was there"):
        process.wait()


def _interrupted_once(wait: Callable[..., bool], timeout: float | None = None) -> bool:
    if timeout is None and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt
    return wait(timeout)


def test_progress_is_a_share_of_what_there_is_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said: list[tuple[str, float]] = []
    bar = module._Bar(lambda stage, share: said.append((stage, share)))
    for text in ("3 12", "0 0", "\r", "of 12", "1 2 3"):
        bar.write(text)
    assert said == [("laying out", 0.25), ("laying out", 0.0)]
    module._print_progress("laying out", 1 / 3)
    assert json.loads(capsys.readouterr().out) == {"stage": "laying out", "share": 0.333}


def test_lines_of_a_process_are_progress_until_it_is_done() -> None:
    """What is no progress is kept as what it says; what comes after the end is not read."""
    lines = [
        '{"stage": "starting", "share": 0.5}', "a warning", '{"stage": "x"}',
        json.dumps({"stage": module.DONE, "share": 1.0}), '{"stage": "later", "share": 0.1}',
    ]  # fmt: skip
    process: Any = SimpleNamespace(stage=("", 0.0), _error="", _made=False)
    child: Any = SimpleNamespace(
        stdout=io.StringIO("\n".join(lines) + "\n"), wait=lambda: pytest.fail("it is done")
    )
    module.UmapProcess._read(process, child)
    assert (process.stage, process._error, process._made) == (
        ("starting", 0.5), '{"stage": "x"}', True,
    )  # fmt: skip


def test_a_layout_is_asked_for_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(module, "_lay_out", lambda *given: asked.append(given))
    assert module.main(["a", "b", "--n-neighbours", "5", "--seed", "3", "--sample", "99"]) == 0
    ((source, target, settings),) = asked
    assert (str(source), str(target)) == ("a", "b")
    assert (settings.n_neighbours, settings.seed, settings.sample) == (5, 3, 99)
    with pytest.raises(SystemExit):
        module.main(["a"])
