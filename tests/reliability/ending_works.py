"""What a script may have under way when it ends: panels and calls that work in threads and processes.

    python tests/reliability/ending_works.py WORK PAUSE WAY

begins the work, waits for so many seconds and ends that way. Every work takes the cheapest arguments that still
bring its threads and processes.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import sae_nb_widgets as sw
import torch
from transformers.utils import logging

import sae_nb as sn
from sae_nb.diagnosis import doctor

VISION, LANGUAGE = "tiny-vit/resid_post.6", "tiny-gpt/resid_post.3"
STORY = "Tom and Lucy walked to the castle."


@cache
def model(name: str) -> Any:
    logging.disable_progress_bar()  # what is said while weights load is no fault
    return sn.load_model(name.partition("/")[0])


@cache
def sae(name: str) -> Any:
    return sn.load_sae(name)


@cache
def examples(name: str) -> Any:
    return sn.load_examples(name)


def rows() -> torch.Tensor:
    drawn = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(drawn, dim=1)


def training(steps: int = 100_000) -> Any:
    return sn.start_training(sn.TopK(16, 64, 4), rows(), sn.TrainConfig(steps=steps, batch_size=64))


def unseen_map() -> Any:
    """One whose UMAP no earlier run has kept."""
    return sw.ConceptMap(sn.TopK(16, 64, 4))


def steering(name: str, inputs: Any) -> Any:
    return sw.SteeringPanel(model(name), sae(name).hook_point, sae(name), inputs, atom=1)


def steered_story() -> Any:
    panel = steering(LANGUAGE, [STORY])
    panel.continue_text()
    return panel


def depth() -> Any:
    return sw.DepthTrajectory(model("tiny-vit"), sn.data.scenes(4, seed=0))


def playing(make: Callable[[], Any]) -> Any:
    panel = make()
    panel.speed, panel.playing = 49, True
    return panel


def pursuit() -> Any:
    return sw.PursuitStepper(rows()[:1], rows(), k=12)


def streamed_training() -> Any:
    stream = sn.stream(model("tiny-vit"), sn.data.scenes(64, seed=0), VISION.partition("/")[2])
    return sn.start_training(sn.TopK(stream.d_in, 64, 4), stream, sn.TrainConfig(steps=100_000))


def stored_capture() -> Any:
    folder = tempfile.TemporaryDirectory()
    store = Path(folder.name) / "acts"
    images = sn.data.scenes(32, seed=0)
    sn.capture(model("tiny-vit"), images, "resid_post.6", store=store, progress=False)
    return folder


def raptor() -> Any:
    states = sn.dynamics.capture_states(model("tiny-vit"), sn.data.scenes(8, seed=0))
    config = sn.dynamics.RaptorConfig(steps=5000, batch_size=6)
    return sn.dynamics.start_raptor(states, [0, 6, 12], config)


def umap() -> Any:
    from sae_nb.geometry import start_umap

    return start_umap(torch.randn(60, 8))


def generation() -> Any:
    return sw.GenerationLens(model(LANGUAGE), sae(LANGUAGE), prompt=STORY, pinned=[1])


WORKS: dict[str, Callable[[], Any]] = {
    "TrainingMonitor": lambda: sw.TrainingMonitor(training()),
    "AtomBrowser": lambda: sw.AtomBrowser(sae(VISION), examples(VISION).acts, model(VISION)),
    "InputLens": lambda: sw.InputLens(model(VISION), sae(VISION), "resid_post.6"),
    "ConceptMap, UMAP": unseen_map,
    "GenerationLens, playing": partial(playing, generation),
    "SteeringPanel, story": steered_story,
    "PursuitStepper, playing": partial(playing, pursuit),
    "DepthTrajectory, playing": partial(playing, depth),
    "dashboard": lambda: sw.dashboard(model(VISION), sae(VISION), examples(VISION).acts),
    "start_training": training,
    "start_training, stream": streamed_training,
    "start_raptor": raptor,
    "start_umap": umap,
    "capture": stored_capture,
    "doctor": doctor,
}


def main(work: str, pause: str, way: str) -> None:
    """Begin, wait, end."""
    # What starts tests in the background may have Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kept = WORKS[work]()
    time.sleep(float(pause))
    if way == "raise":
        raise ValueError("the script's own")
    if way == "exit":
        sys.exit(3)
    if way == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    del kept


if __name__ == "__main__":
    main(*sys.argv[1:])
