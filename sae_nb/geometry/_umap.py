"""UMAP of a dictionary: seeded, cached, by cosine, and in a process of its own in interactive use.

    python -m sae_nb.geometry IN.safetensors OUT.safetensors --seed 0

umap-learn compiles for 9 s in every process it is first used in, and multiprocessing would run a
plain script a second time: so a panel starts this module instead and shows PCA meanwhile. The process stays
a while after a layout, with umap-learn loaded, for the next one; `close()` ends one that is at work.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.background import Task, checkpoint
from sae_nb.checks import check_matrix, checked
from sae_nb.files._tensors import read_tensors, write_tensors
from sae_nb.geometry._layout import (
    FEWEST_ROWS,
    LayoutSettings,
    cache_file,
    cached_layout,
    keep_layout,
    nearest_by_cosine,
    pca_layout,
    place_rest,
    sample_rows,
)
from sae_nb.kernels._threads import check_not_forked

IDLE_SECONDS = 300.0
"""Time that a process waits for another layout before it ends. Ours."""

DONE = "done"
"""Stage of a process that has written its layout."""

Progress = Callable[[str, float], None]
"""Called with a stage in words and the share of it that is done."""


@checked
def umap_layout(
    x: Float[Tensor, "n d"],
    settings: LayoutSettings | None = None,
    *,
    cache: bool = True,
    report: Progress | None = None,
) -> Float[np.ndarray, "n 2"]:
    """Return UMAP coordinates of rows by cosine distance, computed in this process.

    Neighbours are exact; the start is PCA, so that the preview unfolds. Of more than 50 000 rows UMAP
    lays out a sample of 20 000 (`settings.sample`), and each of the others is placed next to the
    nearest of those; memory grows by two coordinates a row.

    `cache`: whether a layout made before is read, and a new one kept; `report` is called as it goes on.

    Raises
    ------
    RuntimeError: In a process forked from one in which compiled loops had run.

    Source
    ------
    McInnes, Healy, Melville, "UMAP", arXiv 1802.03426; umap-learn.

    Example
    -------
    >>> umap_layout(torch.eye(4)).shape
    (4, 2)
    """
    x = check_matrix(x).detach().cpu().float()
    settings = settings or LayoutSettings()
    file = cache_file(x, settings) if cache else None
    xy = None if file is None else cached_layout(file, len(x))
    if xy is None:
        say = report or (lambda _stage, _share: None)
        sample = sample_rows(len(x), settings.sample, settings.seed)
        xy = _fitted(x if sample is None else x[torch.from_numpy(sample)], settings, say)
        if sample is not None:
            xy = place_rest(x, sample, xy, seed=settings.seed, say=say)
        if file is not None:
            keep_layout(file, xy)
    return xy


def _fitted(
    x: Float[Tensor, "n d"], settings: LayoutSettings, say: Progress
) -> Float[np.ndarray, "n 2"]:
    start = pca_layout(x)
    if len(x) < FEWEST_ROWS:
        return start
    n_neighbours = min(settings.n_neighbours, len(x) - 1)
    say("finding neighbours", 0.0)
    rows, distances = nearest_by_cosine(x, n_neighbours - 1)
    # umap-learn counts a row as its own first neighbour.
    rows = np.column_stack((np.arange(len(x)), rows))
    distances = np.column_stack((np.zeros(len(x), np.float32), distances))
    say("loading umap-learn", 0.0)
    check_not_forked()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the seed that makes it single-threaded
        from umap import UMAP

        fitting = UMAP(
            n_neighbors=n_neighbours,
            min_dist=settings.min_dist,
            n_epochs=settings.n_epochs,
            metric="cosine",
            random_state=settings.seed,
            # The layout's own scale is about 10; a start of that size is not torn apart at once.
            init=10 * start / max(float(np.abs(start).max()), 1e-12),
            precomputed_knn=(rows, distances),
            tqdm_kwds={
                "disable": False,
                "file": _Bar(say),
                "bar_format": "{n} {total}",
                "mininterval": 0.1,
            },
        )
        xy = fitting.fit_transform(x.numpy())
    return np.ascontiguousarray(xy, np.float32)


class _Bar:
    """Looks like a file to tqdm, and turns what it writes into reports."""

    def __init__(self, say: Progress) -> None:
        self._say = say

    def write(self, text: str) -> None:
        words = text.split()
        if len(words) == 2 and all(word.isdigit() for word in words):
            self._say("laying out", int(words[0]) / max(int(words[1]), 1))

    def flush(self) -> None:
        """Do nothing: no output is held back."""


@checked
class UmapProcess:
    """A UMAP layout that another process is making.

    Example
    -------
    >>> process = start_umap(torch.eye(4))
    >>> process.wait().shape, process.close()
    ((4, 2), None)
    """

    def __init__(self, x: Float[Tensor, "n d"], settings: LayoutSettings, file: Path) -> None:
        self.settings, self._file, self._n = settings, file, len(x)
        self.stage: tuple[str, float] = ("starting", 0.0)
        """Its present stage, and the share of it that is done."""
        self._error, self._made = "", False
        self._folder = tempfile.TemporaryDirectory(prefix="sae_nb_umap_")
        self._xy = cached_layout(file, len(x))
        self._child: subprocess.Popen[str] | None = None
        if self._xy is None:
            self._start(x)

    def _start(self, x: Float[Tensor, "n d"]) -> None:
        given = Path(self._folder.name) / "x.safetensors"
        write_tensors(given, {"x": x})
        checkpoint()  # a process that ends starts no other
        self._child = child = _process()
        request = {"x": str(given), "xy": str(self._out), "settings": asdict(self.settings)}
        with contextlib.suppress(BrokenPipeError):  # it has ended, and the reader finds out why
            print(json.dumps(request), file=child.stdin, flush=True)
        self._reader = Task("UMAP", partial(self._read, child), stop=child.terminate)

    @property
    def _out(self) -> Path:
        return Path(self._folder.name) / "xy.safetensors"

    def _read(self, child: subprocess.Popen[str]) -> None:
        for line in iter(child.stdout.readline, "") if child.stdout else ():
            try:
                progress = json.loads(line)
                stage, share = str(progress["stage"]), float(progress["share"])
            except (ValueError, TypeError, KeyError):
                self._error = line.strip() or self._error
                continue
            if stage == DONE:
                self._made = True
                return
            self.stage = (stage, share)
        child.wait()

    @property
    def done(self) -> bool:
        """Whether `wait` answers at once."""
        return self._xy is not None or self._child is None or not self._reader.alive

    def wait(self, timeout: float | None = None) -> Float[np.ndarray, "n 2"]:
        """Return the layout, when it is there; Ctrl-C ends the process, and nothing is kept.

        Raises
        ------
        TimeoutError: If it is not there by then; the process continues. RuntimeError: If it was closed,
        or failed.
        """
        if self._xy is not None:
            return self._xy
        if self._child is None:
            raise RuntimeError(
                "This UMAP process was closed before its layout was there. Start another."
            )
        try:
            there = self._reader.wait(timeout)
        except KeyboardInterrupt:
            self.close()
            raise
        if not there:
            raise TimeoutError(
                f"The UMAP layout of {self._n} rows is not there after {timeout} seconds (stage: "
                f"{self.stage[0]}). Wait longer, or close() it."
            )
        if not self._made:
            raise RuntimeError(
                f"The UMAP process ended with status {self._child.wait()}: {self._error}. PCA "
                "(sae_nb.geometry.pca_layout) needs no such process."
            )
        self._xy = read_tensors(self._out)["xy"].numpy()
        keep_layout(self._file, self._xy)
        return self._xy

    def close(self) -> None:
        """End the process if it is at work, and remove its files; a layout that is there stays."""
        child, self._child = self._child, None
        if child is not None and self._made:  # it waits for the next layout; one is enough
            if _waiting.setdefault(os.getpid(), child) is not child:
                _end(child)
        elif child is not None:
            _end(child)
            self._reader.wait(5)
        self._folder.cleanup()


_waiting: dict[int, subprocess.Popen[str]] = {}
"""The process that has made a layout and waits for the next one, by who started it: a fork has none."""


def _process() -> subprocess.Popen[str]:
    """Return the process that waits, or a new one."""
    child = _waiting.pop(os.getpid(), None)
    if child is not None and child.poll() is None:
        return child
    return subprocess.Popen(
        [sys.executable, "-m", "sae_nb.geometry", "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A Ctrl-C, or a notebook's stop, is for this process; the other ends when this one does.
        process_group=0,
    )


@atexit.register
def _end_waiting() -> None:
    child = _waiting.pop(os.getpid(), None)
    if child is not None:
        _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    """End a process and close its pipes."""
    child.terminate()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@checked
def start_umap(x: Float[Tensor, "n d"], settings: LayoutSettings | None = None) -> UmapProcess:
    """Start a UMAP layout in a process of its own; one made before is there at once."""
    x = check_matrix(x).detach().cpu().float()
    settings = settings or LayoutSettings()
    return UmapProcess(x, settings, cache_file(x, settings))


def _listen(requests: queue.SimpleQueue[str]) -> None:
    """Take requests from standard input; end this process when its other end is gone, even killed."""
    for line in sys.stdin:
        requests.put(line)
    os._exit(1)


def _serve() -> NoReturn:
    """Lay out what is asked for, one request after another, until none comes for a while."""
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    # No Task: nothing ends this wait, and it computes nothing.
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        try:
            request: dict[str, Any] = json.loads(requests.get(timeout=IDLE_SECONDS))
        except queue.Empty:
            os._exit(0)  # the thread still reads, which an orderly end would wait for
        _lay_out(Path(request["x"]), Path(request["xy"]), LayoutSettings(**request["settings"]))
        _print_progress(DONE, 1.0)


def _lay_out(source: Path, target: Path, settings: LayoutSettings) -> None:
    xy = umap_layout(read_tensors(source)["x"], settings, cache=False, report=_print_progress)
    write_tensors(target, {"xy": torch.from_numpy(xy)})


def _print_progress(stage: str, share: float) -> None:
    sys.stdout.write(json.dumps({"stage": stage, "share": round(share, 3)}) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Lay out the tensor "x" of one file into "xy" of another; progress as lines of JSON."""
    defaults = LayoutSettings()
    parser = argparse.ArgumentParser(prog="sae_nb.geometry", description="UMAP by cosine.")
    parser.add_argument("x", type=Path, nargs="?", help="safetensors file with a matrix x")
    parser.add_argument("xy", type=Path, nargs="?", help="file to write")
    parser.add_argument("--n-neighbours", type=int, default=defaults.n_neighbours)
    parser.add_argument("--min-dist", type=float, default=defaults.min_dist)
    parser.add_argument("--n-epochs", type=int)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--sample", type=int, help="rows laid out; the others are placed")
    parser.add_argument(
        "--serve", action="store_true", help="read requests from standard input, and stay for more"
    )
    settings = vars(parser.parse_args(arguments))
    source, target = settings.pop("x"), settings.pop("xy")
    if settings.pop("serve"):
        _serve()
    if source is None or target is None:
        parser.error("x and xy must be given without --serve")
    _lay_out(source, target, LayoutSettings(**settings))
    return 0
