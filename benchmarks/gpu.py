"""What an NVIDIA GPU takes for this toolkit's work, beside the same work in ten lines of plain torch.

Run `make bench-gpu`, or `python benchmarks/gpu.py --only train,pursuits`; `make gpu-pack` writes a folder that
does it on a machine without a network. Parts run one after the other, the most important first, each in a
process of its own with a limit of its own, five minutes together. Every figure is a line of `results.jsonl`,
with card, driver and versions, as soon as it is there; `table.md` beside it is made of those lines.

Times are medians between two CUDA events. The way to beat is plain torch as a person writes it (bf16
autocast, Adam(fused=True), nothing read from the card), and the same under torch.compile. "bound" is what a
card has to move and to multiply at the rates measured in the same run. `--bounds` prints the bounds of an
H100; `--small` runs all parts at toy sizes, on a CPU too.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Asked by NVML whether there is a card, a process can still be forked.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

import torch
from gpu_parts import BOUNDS, LARGE, OURS, PARTS, WIDE, Bench, Rates

import sae_nb as sn

Line = dict[str, Any]
RESULTS = Path(__file__).parents[1] / "build" / "gpu-results"


def machine() -> Line:
    """Card, driver, versions: they go with every figure."""
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    card, driver = f"none ({platform.machine()})", ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout
        card, _, driver = said.splitlines()[0].rpartition(", ")
    found = {"card": card, "driver": driver, "cuda": torch.version.cuda, "sae_nb": sn.__version__}
    for name in ("torch", "triton", "numba", "numba-cuda", "nnsight", "transformers"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    date = datetime.datetime.now(datetime.UTC)
    return found | {"date": date.isoformat(timespec="minutes")}


def run_part(bench: Bench, limit: float) -> None:
    """Run one part until it ends or its time is over; what it wrote stays."""
    print(f"== {bench.part}", flush=True)
    began = time.monotonic()
    # Forked, so that nothing is imported twice: this process never touches the card.
    forked = multiprocessing.get_context("fork")
    process = forked.Process(target=PARTS[bench.part][0], args=(bench,))
    process.start()
    process.join(limit)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    said = "out of time" if code is None else "done" if code == 0 else f"failed (exit {code})"
    taken = round(time.monotonic() - began, 1)
    bench.say("end", good=code == 0, said=said, seconds=taken)


def findings(out: Path) -> list[Line]:
    """All lines so far."""
    text = (out / "results.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def table(lines: list[Line]) -> str:
    """Times by work and size, and how many times ours each way takes; then all other findings."""
    times: dict[tuple[str, str], dict[str, Line]] = {}
    for line in lines:
        if "way" in line:
            times.setdefault((line["what"], line["size"]), {})[line["way"]] = line
    about = lines[0]
    text = [f"# {about['card']}, driver {about['driver']}, torch {about['torch']}, {about['date']}"]
    text += ["", "| work | size | way | ms | ÷ ours | bound |", f"|{' --- |' * 6}"]
    for (what, size), ways in times.items():
        ours = ways.get(OURS, {}).get("ms")
        for way, line in ways.items():
            taken = line.get("ms", line.get("skipped", line.get("failed")))
            ratio = f"{taken / ours:.2f}" if ours and "ms" in line else ""
            bound = line.get("bound_ms", "")
            text.append(f"| {what} | {size} | {way} | {taken} | {ratio} | {bound} |")
    text += ["", "| part | what | found |", "| --- | --- | --- |"]
    told = {"part", "what", "rates", *about} - {"measured"}
    for line in lines:
        if "way" not in line:
            found = {name: value for name, value in line.items() if name not in told}
            text.append(f"| {line['part']} | {line['what']} | {found} |")
    return "\n".join(text) + "\n"


def bounds() -> None:
    """Print what an H100 takes at best: copy and bf16 as seen on such cards."""
    sizes = [*LARGE, *WIDE]
    print("| ms on an H100 at best | " + " | ".join(map(str, sizes)) + " |")
    print("| --- |" + " --- |" * len(sizes))
    for name, seconds in BOUNDS.items():
        cells = [f"{1e3 * seconds(size, Rates()):.3g}" for size in sizes]
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--minutes", type=float, default=5.0, help="of all parts together")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--small", action="store_true", help="toy sizes, on a CPU too")
    parser.add_argument("--bounds", action="store_true", help="print the bounds of an H100")
    options = parser.parse_args()
    if options.bounds:
        bounds()
        return
    if not torch.cuda.is_available() and not options.small:
        sys.exit(
            "A GPU is needed, got a machine where none is visible: `sae-nb doctor` says why. `--small` runs "
            "all parts at toy sizes on the CPU."
        )
    began, out, about = time.monotonic(), options.out, machine()
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.jsonl").write_text("", encoding="utf-8")
    for name in options.only.split(","):
        left = 60 * options.minutes - (time.monotonic() - began)
        bench = Bench(name, out, about, small=options.small)
        if left < 5:
            bench.say("end", said="no time was left")
            continue
        # Toy sizes are for machines that may be busy with other work.
        run_part(bench, min(left, PARTS[name][1] * (20 if options.small else 1)))
        if "measured" in (first := findings(out)[0]):
            about["rates"] = first["measured"]
        (out / "table.md").write_text(table(findings(out)), encoding="utf-8")
    print((out / "table.md").read_text(encoding="utf-8"))
    wrong = [
        f"{line['part']}: {line['what']}"
        for line in findings(out)
        if line.get("good") is False or line.get("failed")
    ]
    if wrong:
        sys.exit(f"Not as it should be: {'; '.join(wrong)}. See {out / 'results.jsonl'}.")


if __name__ == "__main__":
    main()
