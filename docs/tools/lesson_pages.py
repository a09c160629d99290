"""Every lesson as pages without a kernel: executed, solved, and printable for teachers.

Outputs come from `build/executed`, where `make notebooks` or `make lessons` put them; a lesson that is not
there is shown without outputs and says so. With SAE_NB_DOCS_EXECUTED=1 the build stops instead.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from lessons import BINDER, COLAB, NOTEBOOKS, SOURCE

sys.path.append(str(NOTEBOOKS))
import execute

SCRIPT = "../../gallery/plotly.min.js"
"""From a panel's page; the gallery has the one copy."""
IMAGES = ("image/png", "image/jpeg")
TITLE = re.compile(r"^# (.+)$", re.M)
BADGES = re.compile(r"^\[<kbd>.*$", re.M)
BLOCK_MATHS = re.compile(r"^\$\$(.+?)\$\$$", re.S | re.M)
INLINE_MATHS = re.compile(r"(?<![\\`$])\$(?!`)([^$]+?)\$(?!\d)")
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.S)
TO_NOTEBOOK = re.compile(r"\]\((\w+)\.ipynb(#[^)]*)?\)")
TO_DOCS = re.compile(r"\]\(\.\./docs/([^)]+)\)")
TO_SOURCE = re.compile(r"\]\((?!https?:|\.\.|#)([\w/]+\.\w+)\)")
PLACE = '<div class="lesson-output" id="output-{}"></div>'
MOVED_SIDEWAYS = """<style>
/* Many parts, or two with a vertical axis each, keep their width on a phone and are moved sideways. */
:is(.sae-nb-live, body.parts) { overflow-x: auto; }
:is(.sae-nb-live, body.parts) > div { min-width: 560px; }
</style>"""
TOLD_TO_BE_SEEN = """<script>
const bottom = () => Math.ceil(document.body.getBoundingClientRect().bottom) + 16;
new ResizeObserver(() => parent.postMessage({ saeNbHeight: bottom() }, "*")).observe(document.body);
</script>"""
NOT_EXECUTED = (
    '!!! warning "Not executed in this build"\n\n    The cells are here and their outputs are not: '
    "`make lessons` makes them. On Binder and Colab the lesson runs as it is."
)
OLDER = (
    '!!! note "Outputs of an earlier state"\n\n    They were made before the last change of this lesson or of '
    "the package; `make lessons` makes them again."
)
WITHOUT_SEARCH = "---\nsearch:\n  exclude: true\n---\n\n"
"""The search finds a lesson by the page that lists them all, and stays small."""

shown: dict[str, list[str]] = {}
"""What takes the place of each output, by page."""
panels: dict[str, str] = {}
"""Pages of panels and figures, by name."""


@dataclass
class Lesson:
    """A notebook, and what is known of it."""

    path: Path

    @property
    def stem(self) -> str:
        """Name of its file."""
        return self.path.stem

    @cached_property
    def found(self) -> tuple[Any, bool | None]:
        """Its cells, and whether their outputs are of the present sources; None if there are no outputs."""
        kept = execute.kept(self.path)
        return (execute.prepared(self.path), None) if kept is None else kept

    @cached_property
    def cells(self) -> list[Any]:
        """All cells, exercises first left blank and then answered."""
        return [cell for cell in self.found[0].cells if "colab" not in _tags(cell)]

    @cached_property
    def opening(self) -> str:
        """Its first cell, without title and badges."""
        return str(BADGES.sub("", TITLE.sub("", _opening(self), count=1))).strip()

    @cached_property
    def title(self) -> str:
        """Its title."""
        return next(TITLE.finditer(_opening(self)))[1]

    @cached_property
    def exercises(self) -> list[str]:
        """Numbers of its exercises, in the order of the notebook."""
        keys = (key for key, _, _ in execute.solve.exercise_cells(self.found[0]))
        return list(dict.fromkeys(number for number, _ in keys))

    @property
    def open_elsewhere(self) -> str:
        """Links that run it."""
        name = f"{self.stem}.ipynb"
        return (
            f"[<kbd>open on Binder</kbd>]({BINDER}{name}) [<kbd>open in Colab</kbd>]({COLAB}{name})"
        )

    def as_left(self) -> Iterator[Any]:
        """Yield the cells as a student finds them, a prediction followed by what was measured."""
        left: dict[str, list[Any]] = {}
        for cell in self.cells:
            asked = cell.metadata.get("asked")
            number = _number(cell) if asked else ""
            if asked == "left":
                left.setdefault(number, []).append(cell)
            elif asked == "answered":
                yield left[number].pop(0)
                if ").reveal(" in cell.source:
                    yield cell
            else:
                yield cell

    def as_solved(self) -> Iterator[Any]:
        """Yield the cells with answers."""
        return (cell for cell in self.cells if cell.metadata.get("asked") != "left")


@cache
def lessons() -> list[Lesson]:
    """Return every lesson in the order of the course, the demo first."""
    *others, demo = execute.lessons()
    return [Lesson(path) for path in (demo, *others)]


@cache
def texts() -> dict[str, dict[str, Any]]:
    """Return the texts of every exercise, by its number."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((NOTEBOOKS / "sae_nb_lessons" / "exercises").glob("*.toml")):
        found |= tomllib.loads(path.read_text(encoding="utf-8"))
    return found


@cache
def rows() -> dict[str, tuple[str, str, str, str]]:
    """Return question, minutes, seconds and abilities of each lesson, as the course's tables have them."""
    pages = (NOTEBOOKS / name for name in ("README.md", "electives.md"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    row = re.compile(r"^\| \[.+\]\((\w+)\.ipynb\) \| (.+) \| .+ \| (.+) \| (.+) \| (.+) \|$", re.M)
    return {name: (a, b, c, d) for name, a, b, c, d in row.findall(text)}


# --- pages --------------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """Return every page as Markdown by its path, the list of lessons left out.

    Raises
    ------
    ValueError
        If outputs were asked for and a lesson has none, or older ones.
    """
    if os.environ.get("SAE_NB_DOCS_EXECUTED") == "1":
        lacking = [one.stem for one in lessons() if not one.found[1]]
        if lacking:
            raise ValueError(
                f"The documentation needs executed lessons, and these are not: {', '.join(lacking)}. "
                "Run `make notebooks` or `make lessons` first."
            )
    made: dict[str, str] = {}
    for before, lesson, after in zip(
        [None, *lessons()], lessons(), [*lessons()[1:], None], strict=False
    ):
        around = _around(before, after)
        for name, cells in (("", lesson.as_left()), ("_solved", lesson.as_solved())):
            if name and not lesson.exercises:
                continue
            path = f"lessons/{lesson.stem}{name}.md"
            made[path] = _page(lesson, path, list(cells), solved=bool(name), around=around)
        made[f"teachers/{lesson.stem}.md"] = printable(lesson)
    return made


def _around(before: Lesson | None, after: Lesson | None) -> str:
    parts = [f"← [{before.title}]({before.stem}.md)"] if before else []
    parts += ["[All lessons](../lessons.md)"]
    parts += [f"[{after.title}]({after.stem}.md) →"] if after else []
    return " · ".join(parts)


def _page(lesson: Lesson, path: str, cells: list[Any], *, solved: bool, around: str) -> str:
    shown[path] = []
    links = [lesson.open_elsewhere]
    if solved:
        links += [f"[without answers]({lesson.stem}.md)"]
    elif lesson.exercises:
        links += [f"[with answers]({lesson.stem}_solved.md)"]
    links += [f"[printable page](../teachers/{lesson.stem}.md)", "[all lessons](../lessons.md)"]
    parts = [f"# {lesson.title}{': solved' * solved}", " · ".join(links), _note(lesson, solved)]
    parts += [_markdown(lesson.opening)]
    opened = False
    for cell in cells:
        if not opened:  # the title, which is there already
            opened = True
        elif cell.cell_type == "markdown":
            parts.append(_markdown(cell.source))
        elif cell.cell_type == "code" and cell.source.strip():
            parts += _code(cell, path, solved=solved)
    return WITHOUT_SEARCH + "\n\n".join(part for part in (*parts, "---", around) if part) + "\n"


def _note(lesson: Lesson, solved: bool) -> str:
    fresh = lesson.found[1]
    if fresh is None:
        return NOT_EXECUTED
    said = "" if fresh else f"{OLDER}\n\n"
    if solved or not lesson.exercises:
        return said
    return (
        f'{said}!!! tip "Read without a kernel"\n\n    Executed from top to bottom: figures and panels can be '
        "hovered, zoomed and unfolded; what needs the model needs a kernel. Blanks are blank; outputs after an "
        f"exercise are those of [the answers]({lesson.stem}_solved.md)."
    )


def _code(cell: Any, path: str, *, solved: bool) -> list[str]:
    """Return a cell of code and the places of what it showed."""
    revealed = not solved and cell.metadata.get("asked") == "answered"
    whole = solved or "exercise_report(" not in cell.source
    outputs = [html for out in cell.get("outputs", []) if whole and (html := _output(out))]
    places = []
    for html in outputs:
        places.append(PLACE.format(len(shown[path])))
        shown[path].append(html)
    if revealed:
        inside = "\n".join(places)
        return [
            f'<details class="revealed"><summary>Predicted? What was measured</summary>\n{inside}\n</details>'
        ]
    fence = "`" * (4 if "```" in cell.source else 3)
    parts = [f"{fence}python\n{cell.source.rstrip()}\n{fence}", *places]
    later = ").reveal(" in cell.source or ").score(" in cell.source
    if not solved and cell.metadata.get("asked") == "left" and not later:
        parts.append(_hints(_number(cell)))
    return parts


def _hints(number: str) -> str:
    """Return the hints of an exercise, folded: one at a time, as the notebook shows them."""
    told = texts()[number].get("hints", ())
    html = ""
    for i, hint in reversed(list(enumerate(told, 1))):
        words = f"Hint {i} of {len(told)}"
        html = f"<details><summary>{words}</summary><p>{_inline(hint)}</p>{html}</details>"
    return f'<div class="hints">{html}</div>' if html else ""


def _output(out: Any) -> str:
    """Return what a cell showed as HTML; nothing for messages of progress."""
    if out.output_type == "stream":
        return f"<pre>{escape(out.text.rstrip())}</pre>" if out.name == "stdout" else ""
    data = out.get("data", {})
    if execute.PAGE in data:
        return _frame(data[execute.PAGE].replace('src="plotly.min.js"', f'src="{SCRIPT}"'))
    if execute.PLOTLY in data:
        return _frame(_figure_page(data[execute.PLOTLY]))
    for kind in IMAGES:
        if kind in data:
            return f'<img alt="" src="data:{kind};base64,{"".join(data[kind].split())}">'
    if "image/svg+xml" in data:
        return str(data["image/svg+xml"])
    if "text/html" in data:
        return str(data["text/html"])
    bare = execute.VIEW in data or "text/plain" not in data
    return "" if bare else f"<pre>{escape(data['text/plain'])}</pre>"


def _frame(page: str) -> str:
    """Return a frame around a page of its own, which is written once however often it is shown."""
    name = f"{hashlib.sha256(page.encode()).hexdigest()[:12]}.html"
    # The style comes first: a figure takes its width when it is drawn.
    page = page.replace("</head>", f"{MOVED_SIDEWAYS}</head>", 1)
    panels[f"lessons/panels/{name}"] = page.replace("</body>", f"{TOLD_TO_BE_SEEN}</body>")
    title = re.search(r"<title>(.*?)</title>", page)
    words = title[1] if title else "Figure"
    return f'<iframe loading="lazy" src="panels/{name}" title="{words}"></iframe>'


def _with_arrays(value: Any) -> Any:
    """Return a figure of a notebook with its arrays: plotly writes them as base64 with a type and a shape."""
    if isinstance(value, dict) and "bdata" in value:
        array = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"])
        shape = [int(n) for n in str(value.get("shape", array.size)).split(",")]
        return array.reshape(shape)
    if isinstance(value, dict):
        return {name: _with_arrays(one) for name, one in value.items()}
    return [_with_arrays(one) for one in value] if isinstance(value, list) else value


def _figure_page(figure: Any) -> str:
    import plotly.graph_objects as go

    from sae_nb.figures import template, theme, to_svg
    from sae_nb.figures.theme import still_config

    drawn = go.Figure(_with_arrays(figure), skip_invalid=True)
    drawn.update_layout(template=template(), autosize=True)
    title = escape(re.sub(r"<[^>]+>", "", drawn.layout.title.text or "") or "Figure")
    live = drawn.to_html(full_html=False, include_plotlyjs=False, config=still_config())
    n_parts = len([*drawn.select_xaxes()])
    n_titled = sum(bool(axis.title.text) for axis in drawn.select_yaxes())
    kind = "parts" if n_parts > 2 or n_titled > 1 else "figure"
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{theme.PAGE_COLOURS} body {{ margin: 0; }}</style>"
        f'<script src="{SCRIPT}"></script></head><body class="{kind}">{live}'
        f"<noscript>{to_svg(drawn)}</noscript></body></html>"
    )


# --- the printable page -------------------------------------------------------------------------------

QUESTIONS = 3
"""On a printable page."""
LONGEST_ANSWER = 18
"""Lines of code that a printable page has room for, with two more questions."""
GOALS = re.compile(r"Afterwards you can (.+?)(?:\.(?:\s|$)|$)", re.S)
NEEDS = re.compile(
    r"((?:You need|Nothing is needed|[^.]*comes? first|[^.]*asks for nothing)[^.;]*)"
)
KINDS = ("warm-up", "core", "stretch")


def printable(lesson: Lesson) -> str:
    """Return the page a teacher prints: goal, three questions, their answers."""
    opening = " ".join(lesson.opening.split())
    goal = GOALS.search(opening)
    asked, minutes, seconds, able = rows().get(lesson.stem, ("", "", "", ""))
    parts = [
        f"# {lesson.title}",
        f'<p class="only-on-screen">One page for teachers: print it, or read '
        f'<a href="../lessons/{lesson.stem}.html">the lesson, executed</a>.</p>',
        f"**The question.** {asked[:1].upper()}{asked[1:]}",
        f"**Goal.** Afterwards a student can {goal[1].strip() if goal else able}.",
        f"**Takes** {minutes} with the exercises; the cells compute for {seconds} of CPU. "
        f"{_needs(opening)}",
    ]
    chosen = _three(lesson)
    asked_of = [(_asked(number), _answer(lesson, number)) for number in chosen]
    asked_of += [(one["ask"], one["answer"]) for one in _questions().get(lesson.stem, ())]
    asked_of = asked_of[:QUESTIONS]
    if asked_of:
        parts += ["## Three questions" if len(asked_of) == QUESTIONS else "## Questions"]
        parts += [f"{i}. {question}" for i, (question, _) in enumerate(asked_of, 1)]
        parts += ['<div class="answers" markdown>', "## Answers"]
        parts += [f"{i}. {answer}" for i, (_, answer) in enumerate(asked_of, 1)]
        parts += ["</div>"]
    others = [number for number in lesson.exercises if number not in chosen]
    if others:
        told = ", ".join(f"{number} {texts()[number]['title']}" for number in others)
        parts += [
            f"Also in the lesson: {told}. [Every answer](../lessons/{lesson.stem}_solved.md)."
        ]
    page = WITHOUT_SEARCH + "\n\n".join(parts) + "\n"
    return TO_NOTEBOOK.sub(r"](../lessons/\1.md)", page)


def _needs(opening: str) -> str:
    found = NEEDS.search(opening)
    return f"Prerequisite: {found[1].strip().removeprefix('You need ')}." if found else ""


@cache
def _questions() -> dict[str, list[dict[str, str]]]:
    """Return questions with answers of lessons that have no exercises, by their names."""
    told = tomllib.loads((NOTEBOOKS / "paths.toml").read_text(encoding="utf-8"))
    return dict(told["questions"])


def _three(lesson: Lesson) -> list[str]:
    """Return up to three exercises in the lesson's order: one of each kind, short answers first."""
    numbers = sorted(lesson.exercises, key=lambda one: _is_long(lesson, one))
    chosen: list[str] = []
    for kind in KINDS:
        chosen += [one for one in numbers if texts()[one]["difficulty"] == kind][:1]
    chosen.sort(key=lambda one: _is_long(lesson, one))
    short = [one for one in numbers if one not in chosen and not _is_long(lesson, one)]
    if chosen and _is_long(lesson, chosen[-1]) and short:
        chosen[-1:] = short[:1]
    chosen += [one for one in numbers if one not in chosen]
    return [one for one in lesson.exercises if one in chosen[:QUESTIONS]]


def _is_long(lesson: Lesson, number: str) -> bool:
    """Whether an answer would take most of a page."""
    cells = execute.solve.exercise_cells(lesson.found[0])
    given = [cell for (one, _), cell, _ in cells if one == number and _is_answer(cell)]
    return max((len(cell.source.splitlines()) for cell in given), default=0) > LONGEST_ANSWER


def _is_answer(cell: Any) -> bool:
    return bool(cell.metadata.get("asked") != "left")


def _asked(number: str) -> str:
    """Return an exercise as a numbered point."""
    text = texts()[number]
    question = _indented(text["question"])
    return (
        f"**{text['title']}** ({number}, {text['difficulty']}, {text['minutes']} min). {question}"
    )


def _answer(lesson: Lesson, number: str) -> str:
    """Return the answer: code, what was measured, or the points of a rubric; and why it matters."""
    text = texts()[number]
    parts = []
    for (one, method), cell, call in execute.solve.exercise_cells(lesson.found[0]):
        if one != number or not _is_answer(cell):
            continue
        if method == "reveal":
            said = next((m for out in cell.get("outputs", []) if (m := _measured(out))), "")
            parts.append(said or "Measured when it is revealed.")
        elif method == "check":
            code = cell.source[: call.start()].replace("\n\n\n", "\n\n").strip()
            parts.append(f"```python\n{code}\n```")
    if text.get("rubric"):
        parts.append("\n".join(f"- {point}" for point in text["rubric"]))
    parts.append(" ".join(text["why"].split()))
    return f"**{text['title']}**\n\n" + _block("\n\n".join(parts))


def _measured(out: Any) -> str:
    found = re.search(r"measured is (\S+?)[:;,]? ", str(out.get("data", {}).get("text/plain", "")))
    return f"Measured: {found[1]}." if found else ""


def _indented(text: str) -> str:
    return " ".join(text.split())


def _block(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


# --- Markdown -----------------------------------------------------------------------------------------


def _opening(lesson: Lesson) -> str:
    cells = json.loads(lesson.path.read_text(encoding="utf-8"))["cells"]
    return "".join(cells[0]["source"])


def _tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))


def _number(cell: Any) -> str:
    found = execute.solve.CALL.search(cell.source)
    return str(found["id"]) if found else ""


def _inline(text: str) -> str:
    """Return a sentence as HTML, `code` marked."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(" ".join(text.split()), quote=False))


def _markdown(source: str) -> str:
    """Return a notebook's Markdown as pages have it: equations to be typeset, links to pages."""
    parts = CODE.split(source)
    for i in range(0, len(parts), 2):
        text = BLOCK_MATHS.sub(lambda maths: f"\n```math\n{maths[1].strip()}\n```\n", parts[i])
        fenced = CODE.split(text)
        for j in range(0, len(fenced), 2):
            fenced[j] = INLINE_MATHS.sub(
                lambda maths: f"$`{' '.join(maths[1].split())}`$", fenced[j]
            )
        parts[i] = "".join(fenced)
    text = TO_NOTEBOOK.sub(r"](\1.md)", "".join(parts))
    text = TO_DOCS.sub(r"](../\1)", text)
    return TO_SOURCE.sub(
        lambda link: link[0] if link[1].endswith(".md") else f"]({SOURCE}{link[1]})", text
    )


def lesson_table(_: str) -> str:
    """Return a row for each lesson: its executed page, its question, what else there is of it."""
    lines = [
        "| lesson | the question | minutes | after it you can | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in lessons():
        asked, minutes, _seconds, able = rows().get(one.stem, ("", "", "", ""))
        number = one.stem.split("_")
        name = " ".join(number[:2]) if number[0] == "lab" else number[0]
        solved = f"[solved](lessons/{one.stem}_solved.md) · " if one.exercises else ""
        file = one.path.name
        more = f"{solved}[print](teachers/{one.stem}.md) · [Binder]({BINDER}{file}) · [Colab]({COLAB}{file})"
        lines.append(
            f"| [{name} · {one.title}](lessons/{one.stem}.md) | {asked} | {minutes} | {able} | {more} |"
        )
    return "\n".join(lines)


# --- what mkdocs asks for -----------------------------------------------------------------------------


def add_pages(files: Any, config: Any) -> None:
    """Add the lessons' pages, and those of their panels, to the files of a build."""
    from mkdocs.structure.files import File, InclusionLevel

    shown.clear()
    panels.clear()
    lessons.cache_clear()
    for path, text in {**pages(), **panels}.items():
        made = File.generated(config, path, content=text)
        made.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(made)


def with_outputs(html: str, path: str) -> str:
    """Return a page with what its cells showed in the places kept for it."""
    for i, output in enumerate(shown.get(path, ())):
        place = PLACE.format(i)
        html = html.replace(place, f"{place.removesuffix('</div>')}{output}</div>")
    return html
