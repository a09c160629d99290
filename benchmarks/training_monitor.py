"""What watching a training costs: steps with the TrainingMonitor on, beside steps without it.

Run `python benchmarks/training_monitor.py`. Within one run the monitor is attached and detached in
turns of a few seconds. Each watched turn is divided by the mean of the unwatched turns before and
after it: CPU seconds per step (all threads: training, redraws, serialising) and wall seconds. The
medians are printed, and beside them the noise: the median |ratio − 1| of two unwatched turns. There
is no browser, but every message is serialised to JSON and counted, as a kernel would. Goal: < 3 %.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import comm
import sae_nb_widgets as sw
import torch
from comm.base_comm import BaseComm

import sae_nb as sn

SENT: list[int] = []


class CountingComm(BaseComm):
    """A connection to nobody that does what a kernel does before it sends."""

    def publish_msg(self, _type: str, data: Any = None, **given: Any) -> None:
        text = json.dumps(data, default=str)
        SENT.append(len(text) + sum(memoryview(part).nbytes for part in given.get("buffers") or ()))


class Clock:
    """Notes the time at every record, in the training thread: exactly between two steps."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, float, float]] = []

    def __call__(self, record: Any) -> None:
        self.marks.append((record.step, time.process_time(), time.perf_counter()))

    def next_mark(self, after: int) -> tuple[int, float, float]:
        while len(self.marks) <= after:
            time.sleep(0.01)
        return self.marks[after]


@dataclass(frozen=True)
class Turn:
    """Some seconds of training, watched or not: seconds per step, bytes sent per second."""

    cpu: float
    wall: float
    sent: float


def take_turn(clock: Clock, monitor: Any, watched: bool, seconds: float) -> Turn:
    (monitor.attach if watched else monitor.detach)()
    begin = len(clock.marks)
    step, cpu, wall = clock.next_mark(begin)
    SENT.clear()
    end = begin + 1
    while clock.next_mark(end)[2] - wall < seconds:
        end += 1
    last_step, last_cpu, last_wall = clock.next_mark(end)
    steps, spent = last_step - step, last_wall - wall
    return Turn((last_cpu - cpu) / steps, spent / steps, sum(SENT) / spent)


def measure(d_in: int, n_atoms: int, batch_size: int, pairs: int, seconds: float) -> str:
    x = torch.randn(20_000, d_in, generator=torch.Generator().manual_seed(0))
    clock = Clock()
    run = sn.start_training(
        sn.TopK(d_in=d_in, n_atoms=n_atoms, k=32),
        x,
        sn.TrainConfig(steps=1_000_000, batch_size=batch_size),
        callbacks=clock,
    )
    monitor = sw.TrainingMonitor(run)
    take_turn(clock, monitor, True, seconds / 2)
    bare = [take_turn(clock, monitor, False, seconds)]
    cpu, wall, sent = [], [], []
    for _ in range(pairs):
        seen = take_turn(clock, monitor, True, seconds)
        bare.append(take_turn(clock, monitor, False, seconds))
        before, after = bare[-2:]
        cpu.append(2 * seen.cpu / (before.cpu + after.cpu) - 1)
        wall.append(2 * seen.wall / (before.wall + after.wall) - 1)
        sent.append(seen.sent)
    noise = [abs(b.cpu / a.cpu - 1) for a, b in pairwise(bare)]
    run.stop()
    run.wait()
    monitor.close()
    return (
        f"d {d_in:4d}  n_atoms {n_atoms:5d}  batch {batch_size:5d}  step "
        f"{1e3 * statistics.median(turn.wall for turn in bare):6.1f} ms  CPU "
        f"{statistics.median(cpu):+6.1%}  wall {statistics.median(wall):+6.1%}  noise "
        f"{statistics.median(noise):5.1%}  sent {statistics.median(sent) / 1e3:5.1f} kB/s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    comm.create_comm = CountingComm
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    )
    for sizes in ((64, 512, 1024), (768, 4096, 1024)):
        print(measure(*sizes, given.pairs, given.seconds), flush=True)


if __name__ == "__main__":
    main()
