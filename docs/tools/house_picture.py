"""The rooms on their floors, drawn from the imports as they are when the page is built."""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

from rooms import PACKAGES, Graph, House, floors, room_graph

DOCS = Path(__file__).parents[1]
WIDTH, BOX, ROW, HEIGHT = 900, 28, 78, 8.2
"""Of the sheet, a box, a floor, and how wide a letter is; in pixels of a picture 900 wide."""
# The panels and the lessons are one box each: their rooms do not import one another's.
AS_ONE = {"sae_nb_widgets": "widgets", "sae_nb_lessons": "lessons"}
PAGES = {"sae_nb_widgets": "api/widgets.md"}
# Neither is a room: the one is the way in from the command line, the other the doors' hinge.
LEFT_OUT = {"sae_nb.__main__", "sae_nb._lazy"}


def house(what: str) -> str:
    """The picture ("rooms"), or the rooms with the first sentence of their doors ("list").

    Raises
    ------
    ValueError
        If it is asked for anything else.
    """
    there = House()
    if what == "rooms":
        return _picture(there, _graph(there))
    if what == "list":
        return _list(there)
    raise ValueError(f"`house` draws 'rooms' or writes the 'list', got {what!r}.")


def _graph(there: House) -> Graph:
    merged: Graph = {}
    for room, below in room_graph(there, *PACKAGES).items():
        if room not in LEFT_OUT:
            name = _box(room)
            merged.setdefault(name, set()).update(_box(one) for one in below - LEFT_OUT)
    return {name: below - {name} for name, below in merged.items()}


def _box(room: str) -> str:
    package = room.split(".")[0]
    return package if package in AS_ONE else room


def _picture(there: House, graph: Graph) -> str:
    floor = floors(graph)
    height = ROW * max(floor.values())
    at = _places(graph, floor, height)
    lines = "".join(_line(at[name], at[below]) for name, below in _steps(graph))
    boxes = "".join(_drawn(there, name, at[name]) for name in graph)
    return (
        f'<figure class="house"><svg viewBox="0 0 {WIDTH} {height}" width="100%" role="img" '
        f'aria-label="The rooms on their floors"><g fill="none" stroke="currentColor" '
        f'stroke-opacity="0.3">{lines}</g>{boxes}</svg></figure>'
    )


def _places(
    graph: Graph, floor: dict[str, int], height: float
) -> dict[str, tuple[float, float, float]]:
    """Middle and width of every box; on a floor each stands above what it imports, as far as it fits."""
    at: dict[str, tuple[float, float, float]] = {}
    for level in range(1, max(floor.values()) + 1):
        names = sorted(name for name in graph if floor[name] == level)
        names.sort(key=lambda name: _mean([at[one][0] for one in graph[name] if one in at]))
        wide = [20 + HEIGHT * len(_short(name)) for name in names]
        gap = (WIDTH - sum(wide)) / (len(names) + 1)
        left = gap
        for name, width in zip(names, wide):
            at[name] = (left + width / 2, height - ROW * (level - 0.5), width)
            left += width + gap
    return at


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else WIDTH / 2


def _steps(graph: Graph) -> list[tuple[str, str]]:
    """The imports that no longer way implies: the rest would make the picture black."""
    below = {name: _reached(graph, name) for name in graph}
    return [
        (name, one)
        for name in sorted(graph)
        for one in sorted(graph[name])
        if not any(one in below[other] for other in graph[name] if other != one)
    ]


def _reached(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += graph[name]
    return found


def _line(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    (x0, y0, _), (x1, y1, _) = start, end
    y0, y1 = y0 + BOX / 2, y1 - BOX / 2
    bend = (y1 - y0) / 2
    return (
        f'<path d="M{x0:.0f},{y0:.0f} C{x0:.0f},{y0 + bend:.0f} '
        f'{x1:.0f},{y1 - bend:.0f} {x1:.0f},{y1:.0f}"/>'
    )


def _drawn(there: House, name: str, at: tuple[float, float, float]) -> str:
    x, y, width = at
    page = _page(name)
    fill = "var(--md-default-bg-color, #fff)"
    box = (
        f"<title>{escape(_sentence(there, name))}</title>"
        f'<rect x="{x - width / 2:.0f}" y="{y - BOX / 2:.0f}" width="{width:.0f}" height="{BOX}" '
        f'rx="4" fill="{fill}" stroke="currentColor"/><text x="{x:.0f}" y="{y + 5:.0f}" '
        f'text-anchor="middle" font-size="14" fill="currentColor">{escape(_short(name))}</text>'
    )
    return f'<a href="{page.removesuffix(".md")}.html">{box}</a>' if page else f"<g>{box}</g>"


def _list(there: House) -> str:
    """One row for each room, the highest floor first."""
    graph = _graph(there)
    floor = floors(graph)
    lines = ["| room | what it is |", "| --- | --- |"]
    for name in sorted(graph, key=lambda one: (-floor[one], one)):
        page = _page(name)
        shown = f"[`{_short(name)}`]({page})" if page else f"`{_short(name)}`"
        lines.append(f"| {shown} | {_sentence(there, name)} |")
    return "\n".join(lines)


def _short(name: str) -> str:
    return AS_ONE.get(name) or name.removeprefix("sae_nb.")


def _page(name: str) -> str:
    page = PAGES.get(name) or f"api/{_short(name)}.md"
    return page if (DOCS / page).is_file() else ""


def _sentence(there: House, name: str) -> str:
    """The first sentence of a door, or of a module that stands alone."""
    told = ast.get_docstring(there.trees[name]) or ""
    return " ".join(told.split("\n\n")[0].split())
