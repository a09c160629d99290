"""Run a benchmark and keep its tables: `python benchmarks/record.py pursuit --only encode`.

What follows the name are the benchmark's own options. Every Markdown table that it prints below a line
`## name` is written to results/<benchmark>.json under that name, with machine, date, commit, load and command;
the pages of the documentation read them there. Tables that a run did not print stay as they were.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TABLE = re.compile(r"^## (.+)\n\n?((?:\|.*\n)+)", re.M)


def main(name: str, options: list[str]) -> None:
    """Run one benchmark, show what it prints, and merge its tables into its file."""
    about = {
        "machine": f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "load": round(os.getloadavg()[0], 1),
        "command": " ".join(["python", f"benchmarks/{name}.py", *options]),
    }
    command = [sys.executable, str(HERE / f"{name}.py"), *options]
    printed = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            printed += line
    if process.returncode:
        sys.exit(process.returncode)
    file = RESULTS / f"{name}.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    kept |= {table: about | found for table, found in tables(printed)}
    file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def tables(printed: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name, columns and rows of every table."""
    for found in TABLE.finditer(printed):
        head, _, *rows = (
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in found[2].strip().splitlines()
        )
        yield found[1], {"columns": head, "rows": rows}


def processor() -> str:
    """What the system calls its processor, with the widest vectors that torch uses on it."""
    file = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", file.read_text()) if file.is_file() else None
    name = named[1] if named else platform.machine()
    return f"{name} with {torch.backends.cpu.get_cpu_capability()}"


def commit() -> str:
    """The commit that ran, with "+" where files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(
            command, cwd=HERE, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or no checkout of it
        return "unknown"


if __name__ == "__main__":
    main(sys.argv[1].removesuffix(".py"), sys.argv[2:])
