"""Cards of claims: verdict, why, numbers beside what was asked, curve, and how to make them again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

LOOKS = {
    "holds": "success",
    "partly": "warning",
    "does not hold at this scale": "failure",
    "undecided": "question",
    "shown, not asserted": "info",
    "identity, tested": "info",
    "too few seeds": "question",
}
# What a class name can say of a cause.
WHYS = {
    None: "none",
    "(a) set-up mended": "a",
    "(b) not in these networks": "b",
    "(b) suspected": "b-suspected",
    "(c) our test speaks against it as worded": "c",
    "(d) definition or floor differs": "d",
}
ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
WIDTH, HEIGHT, MARGIN = 240, 90, 8
"""Of a curve, in pixels."""
BAR_WIDTH = 280


Found = tuple[dict[str, Any], dict[str, Any]]
"""A claim, and the artefact that holds it."""


def card(
    one: dict[str, Any],
    artefact: dict[str, Any],
    *,
    beside: Sequence[Found] = (),
    history: Sequence[Found] = (),
    folded: bool = False,
) -> str:
    """An admonition in the colour of the verdict; folded, it shows only verdict and claim.

    `beside`: the same claim asked of other data, each a further column with verdict, why and command.
    `history`: claims that this one replaces, each a line.
    """
    parts = [_source(one, artefact, beside), _why(one["why"])]
    parts += [_why(other["why"], f"{where['columns'][1]}: ") for other, where in beside]
    parts += [_table(one, beside), _curve(one["curve"]), _history(history)]
    parts += [
        f"<small>`{each['command']}`: {_seconds(each)} s a seed</small>"
        for each in (artefact, *(where for _, where in beside))
    ]
    body = "\n\n".join(part for part in parts if part)
    body = "\n".join(f"    {line}".rstrip() for line in body.splitlines())
    title = f"{_verdict(one)}: {one['text']}".replace('"', "“")
    looks = [LOOKS[one["verdict"]], *(f"{key}-{word}" for key, word in marks(one, artefact))]
    mark = "???" if folded else "!!!"
    return f'{mark} {" ".join(looks)} "{title}"\n\n{body}'


def headline(entry: dict[str, Any], one: dict[str, Any], artefact: dict[str, Any]) -> str:
    """A claim in plain words, with its verdict and a picture that compares some of its numbers."""
    verdict = f'<span class="verdict {LOOKS[one["verdict"]]}">{escape(_verdict(one))}</span>'
    return (
        f"<article>{verdict}<h3>{escape(entry['words'])}</h3>{_bars(entry, artefact)}"
        f"<p>{ARXIV.sub(_link, escape(one['paper']))} · {one['n_seeds']} seeds · "
        f"<code>{artefact['experiment']}</code></p></article>"
    )


def _link(found: re.Match[str]) -> str:
    return f'<a href="https://arxiv.org/abs/{found[1]}">{found[0]}</a>'


def _bars(entry: dict[str, Any], artefact: dict[str, Any]) -> str:
    """A bar for each number, as long as its mean, a thin line of one deviation to each side."""
    bars = [(bar, artefact["numbers"][bar["number"]]) for bar in entry["bars"]]
    scale = BAR_WIDTH / max(found["mean"] + found["sd"] for _, found in bars)
    drawn = []
    for i, (bar, found) in enumerate(bars):
        y, length, sd = 34 * i, scale * max(found["mean"], 0), scale * found["sd"]
        drawn.append(
            f'<text x="0" y="{y + 12}">{escape(bar["label"])}</text>'
            f'<text x="{BAR_WIDTH}" y="{y + 12}" text-anchor="end">{digits(found["mean"])}</text>'
            f'<rect class="{"grey" if bar.get("grey") else "ours"}" x="0" y="{y + 17}" '
            f'width="{max(length, 1):.1f}" height="9"/>'
            f'<path d="M{max(length - sd, 0):.1f},{y + 21.5}H{length + sd:.1f}"/>'
        )
    words = escape(entry["measure"])
    return (
        f'<figure class="bars"><svg viewBox="0 0 {BAR_WIDTH} {34 * len(bars)}" role="img" '
        f'aria-label="{words}">{"".join(drawn)}</svg><figcaption>{words}</figcaption></figure>'
    )


def marks(one: dict[str, Any], artefact: dict[str, Any]) -> list[tuple[str, str]]:
    """What a reader filters by, as parts of class names."""
    return [("kind", artefact["kind"]), ("why", WHYS[one["why"] and one["why"]["cause"]])]


def digits(value: float) -> str:
    """Three of them, or a whole number."""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _verdict(one: dict[str, Any]) -> str:
    """With a capital, and that only signs were asked for, where it is so."""
    verdict: str = one["verdict"]
    sign = " (sign only)" if one.get("sign_only") and verdict == "holds" else ""
    return verdict[0].upper() + verdict[1:] + sign


def _history(history: Sequence[Found]) -> str:
    """A line for each claim that was replaced: what was asked, what came out, what was said of it."""
    told = []
    for one, where in history:
        why = f" {one['why']['evidence']}" if one["why"] else ""
        told.append(f"- *{one['text']}* ({one['verdict']}, `{where['experiment']}`).{why}")
    return "\n".join(["**Before:**", "", *told]) if told else ""


def _source(one: dict[str, Any], artefact: dict[str, Any], beside: Sequence[Found]) -> str:
    paper = ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", one["paper"])
    parts = [paper]
    for each, where in ((one, artefact), *beside):
        parts.append(f"{each['n_seeds']} seeds, `{where['experiment']}`")
    if one["notebook"]:
        parts.append(f"notebook {one['notebook']}")
    return " · ".join(parts)


def _why(why: dict[str, Any] | None, of: str = "") -> str:
    if why is None:
        return ""
    if why["cause"]:
        used = f" (used of the paper: {why['as_published']})" if why.get("as_published") else ""
        return f"**{of}Why: {why['cause']}{used}.** {why['evidence']}"
    return (
        f"**{of}Undecided: still changing at {why['still_changing_at']} steps.** {why['evidence']} "
        f"To decide it would take about {why['hours']:g} hours of one CPU core."
    )


def _table(one: dict[str, Any], beside: Sequence[Found]) -> str:
    """A row for each label and bound, a column for each data set that the claim was asked of."""
    names = ["measured"]
    if beside:
        first = beside[0][1]["columns"][0]
        names = [f"{first}: {one['verdict']}"]
        names += [f"{where['columns'][1]}: {other['verdict']}" for other, where in beside]
    found = [one, *(other for other, _ in beside)]
    kinds = ("lines", "shown", "floor", "control")
    columns = [{k: v for kind in kinds for k, v in _parts(each, kind)} for each in found]
    rows = dict.fromkeys(k for kind in kinds for each in found for k, _ in _parts(each, kind))
    lines = [
        f"| {_cell(row[0])} | {' | '.join(_measured(column.get(row)) for column in columns)} | {row[1]} |"
        for row in rows
    ]
    head = f"| number | {' | '.join(names)} | asked |"
    return "\n".join([head, "|---" * (len(names) + 2) + "|", *lines])


def _parts(one: dict[str, Any], kind: str) -> list[tuple[tuple[str, str], dict[str, Any]]]:
    """Numbers of a claim, each under the label and the bound that its row has."""
    if kind in ("lines", "shown"):
        return [((part["label"], part.get("line", "")), part) for part in one[kind]]
    return [((f"{kind}: {one[kind]['label']}", ""), one[kind])] if one[kind] else []


def _measured(part: dict[str, Any] | None) -> str:
    if part is None:
        return ""
    met = {"met": " ✓", "missed": " ✗ missed", "open": " ? open"}.get(part.get("state", ""), "")
    return f"{digits(part['mean'])} ± {digits(part['sd'])}{met}"


def _curve(curve: dict[str, Any] | None) -> str:
    """Means joined by a line, a bar of one deviation to each side."""
    if curve is None:
        return ""
    at, mean, sd = curve["at"], curve["mean"], curve["sd"]
    low, high = (min(m - s for m, s in zip(mean, sd)), max(m + s for m, s in zip(mean, sd)))

    def x(place: float) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * (place - at[0]) / (at[-1] - at[0])

    def y(value: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - low) / ((high - low) or 1)

    line = " ".join(f"{x(a):.1f},{y(m):.1f}" for a, m in zip(at, mean))
    bars = "".join(
        f'<path d="M{x(a):.1f},{y(m - s):.1f}V{y(m + s):.1f}"/>' for a, m, s in zip(at, mean, sd)
    )
    told = ", ".join(f"{digits(m)} at {digits(a)}" for a, m in zip(at, mean))
    words = escape(f"{curve['label']} against {curve['against']}: {told}")
    return (
        f'<figure class="curve"><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
        f'aria-label="{words}" fill="none" stroke="currentColor"><polyline points="{line}"/>{bars}'
        f"</svg><figcaption>{words}</figcaption></figure>"
    )


def _seconds(artefact: dict[str, Any]) -> str:
    seconds = [record["seconds"] for record in artefact["seeds"].values()]
    return f"{sum(seconds) / len(seconds):.0f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("_", "\\_").replace("*", "\\*")
