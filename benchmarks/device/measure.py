"""Take every measurement of a machine's GPU in turn, within a time, and keep what was found at every moment.

`run.sh` starts it. Each part is a process of its own with a limit: one that hangs, dies or runs out of memory
costs itself alone. A line `RESULT {…}` of a part is in results.json and table.md before the next one is read;
both are replaced whole, so that a kill leaves the last state. What is missing skips by name.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).parent
TREE = HERE.parents[1]
RESERVE_SECONDS = 5.0
"""Kept back for the last words."""


@dataclass
class Part:
    """One measurement."""

    name: str
    command: list[str]
    most_seconds: float
    least_seconds: float = 10.0
    """Below this it is not begun."""

    needs: tuple[str, ...] = ()
    """Modules without which it skips."""

    state: str = "waiting"
    seconds: float = 0.0
    results: list[dict[str, Any]] = field(default_factory=list)


def parts(device: str) -> list[Part]:
    """Everything, what matters most first."""
    python, on = sys.executable, ("--device", device)
    own = [python, str(HERE / "parts.py")]
    bench = [python, str(TREE / "benchmarks" / "pursuit_gpu.py"), *on]
    tests = ["tests/pursuit/test_cuda.py", "tests/kernels/test_cuda.py"]
    sizes = ["main", "wide"] if device == "cuda" else ["dry"]
    return [
        Part("facts", [*own, "facts", *on], 40),
        Part("agree", [*own, "agree", *on], 120, needs=("numba",)),
        *(
            Part(f"bench {size}", [*bench, "--sizes", size], 170, 30, needs=("numba",))
            for size in sizes
        ),
        Part("tests", [python, "-m", "pytest", "-q", "-rs", *tests], 150, 20, ("pytest", "numba")),
        Part("training", [*own, "training", *on], 60),
        Part("live model", [*own, "live_model", *on], 60, needs=("nnsight", "transformers")),
        Part("doctor", [*own, "doctor", *on], 60),
        Part("triton", [*bench, "--sizes", "triton"], 60, needs=("triton",)),
        Part("bad input", [*own, "bad_input", *on], 60, needs=("numba",)),
        *(
            Part(f"bench {size}", [*bench, "--sizes", size], 170, 30, needs=("numba",))
            for size in (["rest"] if device == "cuda" else [])
        ),
    ]


class Report:
    """What is known so far, on disk."""

    def __init__(self, out: Path, device: str, minutes: float, todo: list[Part]) -> None:
        self.out, self.todo = out, todo
        self.head: dict[str, Any] = {
            "began": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "device": device,
            "minutes": minutes,
            "ended": None,
        }
        out.mkdir(parents=True, exist_ok=True)
        self.log: IO[str] = (out / "log.txt").open("a", buffering=1)
        self.keep()

    def say(self, line: str) -> None:
        """Write a line to the log, the disk and the screen."""
        stamped = f"{time.strftime('%H:%M:%S')} {line.rstrip()}"
        print(stamped, flush=True)
        self.log.write(stamped + "\n")
        os.fsync(self.log.fileno())

    def keep(self) -> None:
        """Replace results.json and table.md by what is known now."""
        whole = {**self.head, "parts": [asdict(part) for part in self.todo]}
        self._replace("results.json", json.dumps(whole, indent=1))
        self._replace("table.md", self._table())

    def _replace(self, name: str, text: str) -> None:
        new = self.out / f".{name}.new"
        with new.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.out / name)

    def _table(self) -> str:
        lines = [f"# {self.head['device']}, {self.head['began']}", "", "| part | what | found |"]
        lines.append("| --- | --- | --- |")
        for part in self.todo:
            lines.append(f"| {part.name} | {part.seconds:.0f} s | {part.state} |")
            for result in part.results:
                found = {key: value for key, value in result.items() if key != "what"}
                shown = ", ".join(f"{key} {value}" for key, value in found.items())
                lines.append(f"| {part.name} | {result.get('what', '')} | {shown} |")
        return "\n".join(lines) + "\n"


def take(part: Part, limit: float, report: Report) -> None:
    """Run one part to its end or its limit, keeping every result as it comes."""
    missing = [name for name in part.needs if importlib.util.find_spec(name) is None]
    if missing:
        part.state = f"skipped: {' and '.join(missing)} cannot be imported here"
        return
    if limit < part.least_seconds:
        part.state = f"skipped: {max(limit, 0):.0f} s were left, it takes {part.least_seconds:.0f}"
        return
    part.state = "running"
    report.keep()
    began = time.monotonic()
    # A session of its own: what the part starts ends with it.
    process = subprocess.Popen(
        part.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True,
    )  # fmt: skip
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    last = ""
    try:
        while True:
            try:
                line = lines.get(timeout=max(0.1, began + limit - time.monotonic()))
            except queue.Empty:
                part.state = f"out of time after {limit:.0f} s: {len(part.results)} results"
                break
            if line is None:
                code = process.wait()
                part.state = "done" if code == 0 else f"failed (exit {code}): {last[:200]}"
                break
            report.say(f"[{part.name}] {line}")
            last = line.strip() or last
            if line.startswith("RESULT "):
                part.results.append(json.loads(line.removeprefix("RESULT ")))
                report.keep()
    finally:
        part.seconds = round(time.monotonic() - began, 1)
        _end(process)


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    for line in process.stdout or ():
        lines.put(line)
    lines.put(None)


def _end(process: subprocess.Popen[str]) -> None:
    """End a part and all that it started; nothing where it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def find_device() -> str:
    """`cuda` where torch can use a GPU, else `cpu`; in a process of its own, because a driver may hang."""
    code = "import torch; torch.zeros(1, device='cuda'); print('usable')"
    try:
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=90
        )
    except subprocess.TimeoutExpired:
        return "cpu"
    return "cuda" if "usable" in found.stdout else "cpu"


def main() -> None:
    """Run the parts in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path, default=TREE.parent / "results")
    parser.add_argument("--only", nargs="*", default=None, help="parts by name")
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes - RESERVE_SECONDS
    device = find_device()
    if device == "cpu":
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
    patience = 1 if device == "cuda" else 3  # simulators take their time
    todo = [part for part in parts(device) if options.only is None or part.name in options.only]
    report = Report(options.out, device, options.minutes, todo)
    report.say(
        f"device {device}: {'measuring' if device == 'cuda' else 'a dry run, in simulators'}"
    )

    def stop(number: int, _frame: object) -> None:
        report.head["ended"] = f"stopped by signal {number}"
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        for part in todo:
            left = ends - time.monotonic()
            take(part, min(patience * part.most_seconds, left), report)
            report.say(f"{part.name}: {part.state} ({part.seconds:.0f} s)")
            report.keep()
        report.head["ended"] = time.strftime("%Y-%m-%dT%H:%M:%S")
    except KeyboardInterrupt:
        report.head["ended"] = "interrupted"
    finally:
        report.keep()
    print((options.out / "table.md").read_text())


if __name__ == "__main__":
    main()
