"""Every verdict that changed since docs/verdicts-before.json: before, after, and what changed it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cards import LOOKS
from lessons import ROOT
from measured import claim_of

BEFORE = ROOT / "docs" / "verdicts-before.json"
"""Of each claim, before the rules: verdict, number of seeds, digests of code and lines."""


OPEN = ("too few seeds", "undecided")


def changed(_: str) -> str:
    """A row for each claim whose verdict is another one now: those that are decided, then the others."""
    before = json.loads(BEFORE.read_text(encoding="utf-8"))
    found = [(name, was, *claim_of(name)) for name, was in before.items()]
    found = [row for row in found if row[2]["verdict"] != row[1]["verdict"]]
    decided = [_row(*row) for row in found if row[2]["verdict"] not in OPEN]
    left = [_row(*row) for row in found if row[2]["verdict"] in OPEN]
    head = ["| claim | before | now | because |", "|---|---|---|---|"]
    parts = [
        f"{len(found)} of {len(before)} verdicts changed; {len(left)} of them wait for seeds or training.",
        "\n".join(["## Decided", "", *head, *sorted(decided)]),
        "\n".join(["## Not decided", "", *head, *sorted(left)]),
    ]
    return "\n\n".join(parts)


def _row(name: str, was: dict[str, Any], one: dict[str, Any], artefact: dict[str, Any]) -> str:
    """Claim and experiment, verdict and seeds before and now, and why."""
    now = one["verdict"]
    sign = " (sign only)" if one.get("sign_only") and now == "holds" else ""
    cells = (
        f"{_cell(one['text'])} <small>`{name}`</small>",
        _told(was["verdict"], was["seeds"]),
        _told(now, one["n_seeds"], sign),
        because(was, one, artefact),
    )
    return f"| {' | '.join(cells)} |"


def because(was: dict[str, Any], one: dict[str, Any], artefact: dict[str, Any]) -> str:
    """What changed the verdict: lines, code, seeds, or how an interval is taken."""
    if one.get("tested_by"):
        return "an identity, which a test proves; it has no card"
    reasons = []
    if asked(one) != was["asked"]:
        reasons.append(_new_lines(one))
    if artefact["code"] != was["code"]:
        reasons.append("measured anew")
    if one["n_seeds"] != was["seeds"]:
        reasons.append(f"{one['n_seeds']} seeds in place of {was['seeds']}")
    elif one["verdict"] == "too few seeds":
        reasons.append(f"the interval of the mean of {was['seeds']} seeds includes a line")
    if not reasons:
        reasons.append(
            "judged by the interval of the mean, no longer by the mean less two deviations"
        )
    if one.get("replaced_by"):
        reasons.append(f"history now of `{one['replaced_by']}`")
    cause = (one["why"] or {}).get("cause") if one["verdict"] != "holds" else None
    return _cell("; ".join(reasons) + (f". Why: {cause}" if cause else ""))


def _new_lines(one: dict[str, Any]) -> str:
    if not one["lines"]:
        return "its lines were met by a floor or control: it is shown, not judged"
    if any(line.get("minus") for line in one["lines"]):
        return "its lines are differences from floor or control"
    return "its lines ask something else"


def asked(one: dict[str, Any]) -> str:
    """A digest of a claim's lines: numbers, what is taken off, and bounds."""
    lines = [[line["number"], line.get("minus", ""), line["line"]] for line in one["lines"]]
    return hashlib.sha256(json.dumps(lines, ensure_ascii=False).encode()).hexdigest()[:8]


def _told(verdict: str, seeds: int, sign: str = "") -> str:
    words = verdict.removesuffix(" at this scale") + sign
    return f'<span class="dot {LOOKS[verdict]}"></span>{words} <small>{seeds} seeds</small>'


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
