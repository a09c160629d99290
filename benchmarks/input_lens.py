"""How long the InputLens takes from a change to the redrawn panel, in the kernel.

Run `python benchmarks/input_lens.py`. Each number is the median and the slowest of several changes of
one kind: from setting the trait to every widget having its new state, serialised as a kernel would
send it, and beside it the CPU time of all threads, which other work on the machine changes less. The
browser's own painting is not in it. Goal: 300 ms on the tiny models.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import comm
import sae_nb_widgets as sw
import torch
from comm.base_comm import BaseComm

import sae_nb as sn

SENT: list[int] = []
WORDS = (
    "Anna lost the key near the river",
    "The fox was glad",
    "Max and Henry sat by the castle and",
)
SEVEN = [(9.0, 8.0), (22.0, 8.0), (14.0, 24.0)]


class CountingComm(BaseComm):
    """A connection to nobody that does what a kernel does before it sends."""

    def publish_msg(self, _type: str, data: Any = None, **given: Any) -> None:
        text = json.dumps(data, default=str)
        SENT.append(len(text) + sum(memoryview(part).nbytes for part in given.get("buffers") or ()))


def timed(lens: sw.InputLens, what: str, changes: Iterable[Callable[[], Any]]) -> str:
    seconds, used, sizes = [], [], []
    for change in changes:
        SENT.clear()
        begin, spent = time.perf_counter(), time.process_time()
        change()
        lens.wait()
        seconds.append(time.perf_counter() - begin)
        used.append(time.process_time() - spent)
        sizes.append(sum(SENT))
    if lens.problem:
        raise RuntimeError(lens.status)
    return (
        f"{lens.model.name:9s} {what:28s} median {1e3 * statistics.median(seconds):5.0f} ms  "
        f"slowest {1e3 * max(seconds):5.0f} ms  CPU {1e3 * statistics.median(used):5.0f} ms  "
        f"sent {statistics.median(sizes) / 1e3:5.1f} kB"
    )


def pictures(lens: sw.InputLens, n: int) -> list[str]:
    scenes = (255 * sn.data.scenes(n + 1, seed=3, split="test").images).byte()
    lens.picture = scenes[n]
    lens.wait()
    strokes = [[(x + 0.1 * i, y) for x, y in SEVEN] for i in range(n)]
    rows = [timed(lens, "another picture", (_set(lens, "picture", p) for p in scenes[:n]))]
    rows.append(timed(lens, "a drawn stroke", (lambda s=s: lens.draw([s]) for s in strokes)))
    rows += [timed(lens, "another atom", (_set(lens, "atom", a) for a in lens.summary.top(n)))]
    rows.append(timed(lens, "splice check, 8 controls", (lens.splice_check for _ in range(n))))
    rows.append(timed(lens, "two pictures", (_set(lens, "compare_picture", p) for p in scenes[:n])))
    return rows


def texts(lens: sw.InputLens, n: int) -> list[str]:
    told = [f"{WORDS[i % 3]} {i}" for i in range(n)]
    long = ["The fox and the dog were glad. " * 40 + str(i) for i in range(n)]
    lens.text = "The"
    lens.wait()
    rows = [timed(lens, "another text", (_set(lens, "text", text) for text in told))]
    rows += [timed(lens, "another atom", (_set(lens, "atom", a) for a in lens.summary.top(n)))]
    rows.append(timed(lens, "splice check, 8 controls", (lens.splice_check for _ in range(n))))
    rows.append(timed(lens, "two texts", (_set(lens, "compare_text", t) for t in reversed(told))))
    lens.comparing = False
    rows.append(timed(lens, "a text of 400 tokens", (_set(lens, "text", text) for text in long)))
    return rows


def _set(lens: sw.InputLens, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(lens, name, value)


def pretrained(name: str, fallback_width: int) -> tuple[Any, str]:
    """Return the pretrained SAE of that name, or an untrained one of its size where there is none."""
    if name in sn.pretrained.pretrained_names():
        return sn.load_sae(name), name
    sae = sn.TopK(d_in=fallback_width, n_atoms=512, k=16).eval()
    return sae, f"{name} (an untrained SAE of 512 atoms)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    comm.create_comm = CountingComm
    load = os.getloadavg()[0]
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs, load {load:.1f}, torch {torch.__version__}"
    )
    for model_name, point, width, kind in (
        ("tiny-vit", "resid_post.6", 64, pictures),
        ("tiny-gpt", "resid_post.3", 128, texts),
    ):
        sae, said = pretrained(f"{model_name}/{point}", width)
        print(said)
        lens = sw.InputLens(sn.load_model(model_name), sae, point)
        lens.wait()
        for row in kind(lens, given.changes):
            print(row, flush=True)
        lens.close()


if __name__ == "__main__":
    main()
