"""Cases handed to worker processes; one that is silent for too long, or dies, costs its case and no other."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from worker import Outcome

PATIENCE_SECONDS = 90.0
"""On the clock for one call: what waits for ever uses no processor time."""


def sample(cases: Sequence[str], n: int, seed: int = 0) -> list[str]:
    """Draw `n` of the cases, in their own order: cases of one callable share what it takes."""
    if n >= len(cases):
        return list(cases)
    chosen = set(random.Random(seed).sample(range(len(cases)), n))
    return [case for i, case in enumerate(cases) if i in chosen]


def outcomes(cases: Sequence[str]) -> Iterator[Outcome]:
    """Yield what came of each case."""
    waiting = list(cases)
    while waiting:
        with tempfile.TemporaryDirectory() as folder, _worker(folder) as process:
            while waiting:
                answer = _answer(process, waiting[0])
                case = waiting.pop(0)
                if answer is None:
                    yield Outcome(case, "died" if process.poll() is not None else "late")
                    break
                yield answer


def _answer(process: subprocess.Popen[str], case: str) -> Outcome | None:
    questions, answers = process.stdin, process.stdout
    assert questions is not None
    assert answers is not None
    try:
        print(case, file=questions, flush=True)
    except BrokenPipeError:
        process.wait()
        return None
    line = _line(answers)
    if line is None:
        return None
    if not line:
        process.wait()
        return None
    fields = json.loads(line)
    return Outcome(fields["case"], fields["kind"], fields["error"], fields["where"])


def _line(answers: IO[str]) -> str | None:
    ready, _, _ = select.select([answers], [], [], PATIENCE_SECONDS)
    return answers.readline() if ready else None


@contextlib.contextmanager
def _worker(folder: str) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("worker.py")), folder],
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | quiet,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
