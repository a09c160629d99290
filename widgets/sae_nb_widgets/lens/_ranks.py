"""The strip of a LensPanel: the answer's place after each block, and where it stands in other texts."""

from __future__ import annotations

import math
from itertools import compress

import numpy as np

from sae_nb.figures import visible_token
from sae_nb.figures.theme import escape, format_count, format_percent
from sae_nb.lenses import AnswerRanks, LensReading

FEW_FITTED = 6
"""Blocks of a lens up to which what it reads is written below the strip."""

ROOM = 5
"""Blocks over which a word below the strip reaches at most."""

MOST_WORDS = 3


def claim(found: AnswerRanks) -> tuple[str, str]:
    """Return title and answer of a strip: the first form whose condition holds."""
    word, last = f"“{visible_token(found.answer, bare=True)}”", len(found.rank) - 1
    ahead, leads, n = found.ahead_from, found.leads_from, found.n_others
    if ahead < 0:
        same = int((found.others[:, -1] == 1).sum())
        return (
            f"Other texts go on with {word}, too",
            f"After the last block it is on top in {same} of {n} other texts as well.",
        )
    if leads == last:
        title = f"{word} leads only after the last block"
    elif ahead < leads:
        title = f"{word} pulls ahead of other texts at block {ahead} and leads at {leads}"
    elif ahead == leads:
        title = f"{word} leads from block {leads} on"
    else:
        title = f"{word} leads from block {leads}, ahead of other texts from {ahead}"
    best = found.others.min(axis=0)
    if ahead == 0:
        return (
            title,
            f"After block 0 it is in place {_place(found, 0)}, in {n} other texts {best[0]:,} at best.",
        )
    return title, (
        f"After block {ahead - 1} it is in place {_place(found, ahead - 1)} of {found.n_outputs:,}, in {n} "
        f"other texts {best[ahead - 1]:,} at best; one block later in place {_place(found, ahead)}, there "
        f"{best[ahead]:,}."
    )


def _place(found: AnswerRanks, block: int) -> str:
    return f"{int(found.rank[block]):,}"


def is_word(token: str) -> bool:
    """Return whether a token begins a word of letters: pieces of words, signs and blanks do not."""
    return token[:1].isspace() and token.strip().isalpha()


def ranks_html(found: AnswerRanks, own: LensReading, place: int) -> str:
    """Return the strip, what would be said, and what a fitted lens reads, as escaped HTML."""
    n = len(found.rank)
    most = max(int(found.rank.max()), int(found.others.max()), 10)
    decades = math.log10(most)
    word = visible_token(found.answer, bare=True)

    def height(rank: float) -> float:
        return 100 * (1 - math.log10(rank) / decades)

    ticks = "".join(
        f'<s style="bottom:{height(10**d):.1f}%"><u>{"1st" if d == 0 else f"{10**d:,}th"}</u></s>'
        for d in range(math.floor(decades + 1e-9) + 1)
    )
    columns = ""
    for block, rank in enumerate(found.rank.tolist()):
        best, worst = int(found.others[:, block].min()), int(found.others[:, block].max())
        kind = "leads" if block >= found.leads_from else "ahead" if found.ahead[block] else "among"
        tip = f"after block {block}: place {rank:,}; in {found.n_others} other texts {best:,} to {worst:,}"
        low, high = height(worst), height(best)
        columns += (
            f'<div title="{tip}"><i class="sae-nb-rankband" '
            f'style="bottom:{low:.1f}%;height:{high - low:.1f}%"></i>'
            f'<i class="sae-nb-rank sae-nb-{kind}" style="bottom:{height(rank):.1f}%"></i></div>'
        )
    share = format_percent(found.probability, digits=2)
    said = (
        f'<span class="sae-nb-leads" style="grid-column:{found.leads_from + 1}/{n + 1}">{escape(word)}'
        f"<small>{share}</small></span>"
    )
    if found.leads_from:
        before = escape(_before(found))
        said = f'<span title="{before}" style="grid-column:1/{found.leads_from + 1}">{before}</span>{said}'
    bold, near = {found.leads_from, found.ahead_from}, n // 15
    beside = {block + by for block in bold for by in range(-near, near + 1)}
    numbers = (str(block) if block % 5 == 0 and block not in beside else "" for block in range(n))
    blocks = "".join(
        f"<b>{block}</b>" if block in bold else f"<span>{number}</span>"
        for block, number in enumerate(numbers)
    )
    rows = [
        (f"“{word}” after each block", f"its place among {found.n_outputs:,} outputs",
         f'<div class="sae-nb-rankplot">{ticks}{columns}</div>'),
        ("what it would say", "read as if it were the end", f'<div class="sae-nb-ranksays">{said}</div>'),
        *_fitted_rows(own, place, n),
        ("", "block", f'<div class="sae-nb-rankblocks">{blocks}</div>'),
    ]  # fmt: skip
    body = "".join(
        f'<div class="sae-nb-ranklabel">{escape(name)}<small>{escape(more)}</small></div>{drawn}'
        for name, more, drawn in rows
    )
    kinds = (np.arange(n) >= found.leads_from, found.ahead, ~found.ahead)
    keys = (
        ("rank sae-nb-leads", f"“{word}” leads"),
        ("rank sae-nb-ahead", f"ahead of all {found.n_others} other texts"),
        ("rank sae-nb-among", "not ahead"),
    )
    shown = [
        *compress(keys, (one.any() for one in kinds)),
        ("rankband", f"“{word}” in {found.n_others} other texts"),
    ]
    legend = "".join(
        f'<span><i class="sae-nb-{kind}"></i>{escape(words)}</span>' for kind, words in shown
    )
    return f'<div class="sae-nb-ranks" style="--n:{n}">{body}</div><div class="sae-nb-rankkey">{legend}</div>'


def _before(found: AnswerRanks) -> str:
    """Return what is on top before the answer leads: the commonest whole words, if there are some."""
    tops = found.top[: found.leads_from]
    words = [one.strip() for one in tops if is_word(one)]
    common = sorted(dict.fromkeys(words), key=lambda one: -words.count(one))[:MOST_WORDS]
    if not common:
        return "no word yet: signs, blanks and pieces"
    others = " and signs or pieces" if len(words) < len(tops) else ""
    more = ", …" if len(set(words)) > MOST_WORDS else ""
    return f"{', '.join(f'“{one}”' for one in common)}{more}{others}"


def _fitted_rows(own: LensReading, place: int, n: int) -> list[tuple[str, str, str]]:
    """Return the row of what a lens that was fitted at few blocks reads there."""
    if own.kind == "logit" or len(own.layers) > FEW_FITTED:
        return []
    cells = ""
    ends = [0, *((a + b + 1) // 2 for a, b in zip(own.layers, own.layers[1:], strict=False)), n]
    for i, layer in enumerate(own.layers):
        first = max(ends[i], layer - ROOM // 2)
        last = min(ends[i + 1], layer + ROOM // 2 + 1)
        top = int(own.top[i, place, 0])
        kind = " sae-nb-leads" if top == int(own.answer[place]) else ""
        name = visible_token(own.names[top], bare=True) or "–"
        cells += (
            f'<span class="sae-nb-fitted{kind}" style="grid-column:{first + 1}/{last + 1}">{escape(name)}'
            f"<small>{format_percent(float(own.top_probability[i, place, 0]), digits=2)}</small></span>"
        )
    where = ", ".join(format_count(layer) for layer in own.layers)
    return [
        ("with a fitted lens", f"of blocks {where}", f'<div class="sae-nb-ranksays">{cells}</div>')
    ]
