"""UMAP of a dictionary: seeded, cached, by cosine, and in a process of its own in interactive use.

    python -m sae_nb.geometry IN.safetensors OUT.safetensors --seed 0

umap-learn compiles for 9 s in every process it is first used in, and multiprocessing would run a
plain script a second time: so a panel starts this module instead, shows PCA meanwhile, and ends the
process by `close()`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.background import Task, checkpoint
from sae_nb.checks import check_matrix, checked
from sae_nb.files import read_tensors, write_tensors
from sae_nb.geometry._layout import (
    LayoutSettings,
    cache_file,
    cached_layout,
    keep_layout,
    nearest_by_cosine,
    pca_layout,
)
from sae_nb.geometry._placing import place_rest, sample_rows
from sae_nb.kernels import check_not_forked

FEWEST_ROWS = 8
"""Below this there is nothing to unfold, and PCA is the layout."""

Said = Callable[[str, float], None]
"""Called with a stage in words and the share of it that is done."""


@checked
def umap_layout(
    x: Float[Tensor, "n d"],
    settings: LayoutSettings | None = None,
    *,
    cache: bool = True,
    report: Said | None = None,
) -> Float[np.ndarray, "n 2"]:
    """Return UMAP coordinates of rows by cosine distance, computed in this process.

    Neighbours are exact; the start is PCA, so that the preview unfolds. Of more than 50 000 rows UMAP
    lays out a sample of 20 000 (`settings.sample`), and each of the others is placed next to the
    nearest of those; memory grows by two coordinates a row.

    `cache`: whether a layout made before is read, and a new one kept; `report` hears how far it is.

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
        xy = _laid_out(x, settings, report)
        if file is not None:
            keep_layout(file, xy)
    return xy


def _laid_out(
    x: Float[Tensor, "n d"], settings: LayoutSettings, report: Said | None
) -> Float[np.ndarray, "n 2"]:
    say = report or (lambda _stage, _share: None)
    sample = sample_rows(len(x), settings.sample, settings.seed)
    if sample is None:
        return _fitted(x, settings, say)
    xy = _fitted(x[torch.from_numpy(sample)], settings, say)
    return place_rest(x, sample, xy, seed=settings.seed, say=say)


def _fitted(
    x: Float[Tensor, "n d"], settings: LayoutSettings, say: Said
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

    def __init__(self, say: Said) -> None:
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
        self._complaint = ""
        self._folder = tempfile.TemporaryDirectory(prefix="sae_nb_umap_")
        self._xy = cached_layout(file, len(x))
        self._child: subprocess.Popen[str] | None = None
        if self._xy is None:
            self._start(x)

    def _start(self, x: Float[Tensor, "n d"]) -> None:
        given, made = Path(self._folder.name) / "x.safetensors", self._out
        write_tensors(given, {"x": x})
        options = [
            f"--{n.replace('_', '-')}={v}"
            for n, v in asdict(self.settings).items()
            if v is not None
        ]
        checkpoint()  # a process that ends starts no other
        self._child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "sae_nb.geometry",
                str(given),
                str(made),
                "--until-eof",
                *options,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A Ctrl-C, or a notebook's stop, is for this process; the other ends when this one does.
            process_group=0,
        )
        read = partial(self._read, self._child)
        self._reader = Task("UMAP", read, stop=self._child.terminate)

    @property
    def _out(self) -> Path:
        return Path(self._folder.name) / "xy.safetensors"

    def _read(self, child: subprocess.Popen[str]) -> None:
        for line in child.stdout or ():
            try:
                progress = json.loads(line)
                self.stage = (str(progress["stage"]), float(progress["share"]))
            except (ValueError, TypeError, KeyError):
                self._complaint = line.strip() or self._complaint
        child.wait()

    @property
    def done(self) -> bool:
        """Whether `wait` answers at once."""
        return self._xy is not None or self._child is None or self._child.poll() is not None

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
            code = self._child.wait(timeout)
        except KeyboardInterrupt:
            self.close()
            raise
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"The UMAP layout of {self._n} rows is not there after {timeout} seconds (stage: "
                f"{self.stage[0]}). Wait longer, or close() it."
            ) from None
        self._reader.wait()
        if code != 0:
            raise RuntimeError(
                f"The UMAP process ended with status {code}: {self._complaint}. PCA "
                "(sae_nb.geometry.pca_layout) needs no such process."
            )
        self._xy = read_tensors(self._out)["xy"].numpy()
        keep_layout(self._file, self._xy)
        return self._xy

    def close(self) -> None:
        """End the process if it still runs, and remove its files; a layout that is there stays."""
        child, self._child = self._child, None
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if child is not None:
            self._reader.wait(5)
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
        self._folder.cleanup()


@checked
def start_umap(x: Float[Tensor, "n d"], settings: LayoutSettings | None = None) -> UmapProcess:
    """Start a UMAP layout in a process of its own; one made before is there at once."""
    x = check_matrix(x).detach().cpu().float()
    settings = settings or LayoutSettings()
    return UmapProcess(x, settings, cache_file(x, settings))


def _end_with_parent() -> None:
    """End this process when the other end of its standard input is gone, even killed."""
    while os.read(0, 1):
        continue
    os._exit(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Lay out the tensor "x" of one file into "xy" of another; progress as lines of JSON."""
    defaults = LayoutSettings()
    parser = argparse.ArgumentParser(prog="sae_nb.geometry", description="UMAP by cosine.")
    parser.add_argument("x", type=Path, help="safetensors file with a matrix x")
    parser.add_argument("xy", type=Path, help="file to write")
    parser.add_argument("--n-neighbours", type=int, default=defaults.n_neighbours)
    parser.add_argument("--min-dist", type=float, default=defaults.min_dist)
    parser.add_argument("--n-epochs", type=int)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--sample", type=int, help="rows laid out; the others are placed")
    parser.add_argument(
        "--until-eof", action="store_true", help="end when standard input does: with who started it"
    )

    def tell(stage: str, share: float) -> None:
        sys.stdout.write(json.dumps({"stage": stage, "share": round(share, 3)}) + "\n")
        sys.stdout.flush()

    settings = vars(parser.parse_args(arguments))
    source, target = settings.pop("x"), settings.pop("xy")
    if settings.pop("until_eof"):
        # No Task: nothing ends this wait, and it computes nothing.
        threading.Thread(target=_end_with_parent, daemon=True).start()
    x = read_tensors(source)["x"]
    xy = umap_layout(x, LayoutSettings(**settings), cache=False, report=tell)
    write_tensors(target, {"xy": torch.from_numpy(xy)})
    return 0
