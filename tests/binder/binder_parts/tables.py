"""What was seen on visits, and how it is printed."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass
class Visit:
    """What one visitor saw, and what was left behind."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Since the page was asked for; "server" since the server was started."""

    resident: float = 0.0
    """MiB, server and kernels together, at its highest."""

    processor: float = 0.0
    """Seconds of processors, server and kernels together."""

    charged: float | None = None
    """MiB, highest of the control group; None without one."""

    refused: int | None = None
    """Times the control group's limit was reached."""

    left: int = 0
    """Processes that were there after the visitor had gone."""

    grown: int = 0
    """Bytes the image had more afterwards than before."""

    folder_grown: int = 0
    """How many of them in the checkout."""

    home: int = 0
    """Bytes in the visitor's own folder, which goes with the visitor."""

    problems: list[str] = field(default_factory=list)
    """What a visitor would call broken, and requests that led outside."""


@dataclass
class Opened:
    """A page of the gallery, opened again and again."""

    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def table(way: str, visits: list[Visit]) -> str:
    """Markdown: a row a figure, over all visitors."""
    rows = [
        f"\n{way}: {len(visits)} visitors\n",
        "| what | first | median | worst |",
        "| --- " * 4 + "|",
    ]

    def row(name: str, values: list[float], digits: int = 1) -> None:
        if values:
            shown = (values[0], statistics.median(values), max(values))
            rows.append(f"| {name} | " + " | ".join(f"{v:.{digits}f}" for v in shown) + " |")

    for name in dict.fromkeys(name for v in visits for name in v.seconds):
        row(f"{name}, s", [v.seconds[name] for v in visits if name in v.seconds])
    row("resident, server and kernel, MiB", [v.resident for v in visits], 0)
    row("seconds of processors, server and kernel", [v.processor for v in visits])
    row("control group's peak, MiB", [v.charged for v in visits if v.charged is not None], 0)
    row("times the limit was reached", [v.refused for v in visits if v.refused is not None], 0)
    row("processes left", [v.left for v in visits], 0)
    row("image grown by, bytes", [v.grown for v in visits], 0)
    row("visitor's own folder, kB", [v.home / 1e3 for v in visits], 0)
    found = [problem for v in visits for problem in v.problems]
    rows.append(f"\n{len(found)} problems" + "".join(f"\n- {p}" for p in dict.fromkeys(found)))
    return "\n".join(rows)


def gallery_table(pages: dict[str, Opened]) -> str:
    """Markdown: all pages, and the slowest."""
    seconds = {name: opened.seconds for name, opened in pages.items()}
    every = [s for times in seconds.values() for s in times]
    slowest = max(seconds, key=lambda name: statistics.median(seconds[name]))
    found = [problem for opened in pages.values() for problem in opened.problems]
    return (
        f"\ngallery: {len(pages)} pages, {len(every)} openings; median {statistics.median(every):.2f} s, "
        f"worst {max(every):.2f} s; slowest page {slowest}, median "
        f"{statistics.median(seconds[slowest]):.2f} s; {len(found)} problems"
        + "".join(f"\n- {p}" for p in dict.fromkeys(found))
    )
