"""A circuit as a story: the word, what fires at it and after it, the next word; and the answer without them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from sae_nb.figures import visible_token
from sae_nb.figures.theme import escape, format_percent
from sae_nb_widgets.circuit._names import NodeNames
from sae_nb_widgets.circuit._summary import Circuit, CircuitStory
from sae_nb_widgets.components._base import atom_mark

MOST_PILLS = 2
"""Nodes of a station that are written; the others are counted."""


def pills(names: NodeNames, nodes: Sequence[int]) -> list[int]:
    """Return the nodes of a station that are written: the strongest, each with a word of its own."""
    found: list[int] = []
    said: set[str] = set()
    for node in nodes:
        text, quiet = names.pill(node)
        words = set(text.split(" · "))
        if not quiet and not words <= said:
            found.append(node)
            said |= words
    return found[:MOST_PILLS] or list(nodes[:1])


def blocks_words(circuit: Circuit, nodes: Sequence[int]) -> str:
    """Name the blocks of nodes: "block 25", "blocks 26–29"."""
    places = {circuit.graph.nodes.place.iat[node].rpartition(".")[2] for node in nodes}
    blocks = sorted(int(place) for place in places if place.isdigit())
    if not blocks:
        return ""
    one = blocks[0] == blocks[-1]
    return f"block {blocks[0]}" if one else f"blocks {blocks[0]}–{blocks[-1]}"


def story_html(circuit: Circuit, story: CircuitStory, names: NodeNames, without: bool) -> str:
    """Return the story as escaped HTML; `without`: with its nodes taken out."""
    if not story.stations:
        return ""
    word = names.token(story.stations[0][0]).strip("“”")
    parts = [_station("the word", f'<b class="sae-nb-storyword">{escape(word)}</b>')]
    for i, (position, nodes) in enumerate(story.stations):
        where = ", ".join(filter(None, (names.at(position), blocks_words(circuit, nodes))))
        kept = i > 0 and story.n < story.n_all
        parts.append(_station(where, _pills_html(names, nodes, kept)))
    last = "the next word" if circuit.graph.grid is None else "the answer"
    parts.append(_station(last, _answer_html(story, without)))
    arrow = '<i class="sae-nb-storyarrow" aria-hidden="true"></i>'
    what = "neurons" if circuit.graph.of_neurons else "atoms"
    return (
        f'<div class="sae-nb-story{" sae-nb-storycut" * without}">{arrow.join(parts)}</div>'
        f"{bars_html(story, what, names, without, exchanged=bool(other_text(circuit)))}"
        f'<div class="sae-nb-legendline">{escape(legend_words(circuit, story))}</div>'
    )


def other_text(circuit: Circuit) -> str:
    """Return the text whose values nodes take where they are changed, in quotes; empty: they are taken out."""
    tokens = circuit.graph.contrast_tokens or ()
    text = "".join(tokens).replace("<|endoftext|>", "").strip()
    return f"“{visible_token(text)}”" if text else ""


def legend_words(circuit: Circuit, story: CircuitStory) -> str:
    """Return what an outline is, and what the rows are, in one quiet line."""
    graph = circuit.graph
    outline = (
        "a neuron, by the words that it raises" if graph.of_neurons else "an atom, by its name"
    )
    parts = [f"outline: {outline}"]
    if story.answers:
        other = other_text(circuit)
        parts.append(f"exchanged: as they are in {other}" if other else "without: taken out")
        parts.append(
            "random: changes of the same sizes at the same places, least to most, median in white"
        )
    return " · ".join(parts)


def _station(title: str, content: str) -> str:
    return (
        f'<div class="sae-nb-station"><div class="sae-nb-stationname">{escape(title)}</div>'
        f"<div>{content}</div></div>"
    )


def _pills_html(names: NodeNames, nodes: Sequence[int], kept: bool) -> str:
    shown = pills(names, nodes)
    more = len(nodes) - len(shown)
    kind = "sae-nb-storypill sae-nb-storykept" if kept else "sae-nb-storypill"
    drawn = "".join(
        f'<span class="{kind}">{atom_mark(node, names.pill(node)[0])}</span>' for node in shown
    )
    return drawn + (f'<span class="sae-nb-storymore">+ {more} more</span>' if more else "")


def _answer_html(story: CircuitStory, without: bool) -> str:
    if not story.answers:
        return '<b class="sae-nb-storyanswer">…</b>'
    share = format_percent(story.says_shares[without], digits=2)
    word = escape(plain_word(story.says[without]))
    return f'<b class="sae-nb-storyanswer">{word}<small>{share}</small></b>'


def plain_word(name: str) -> str:
    """Write an outcome without the space before it."""
    return visible_token(name.strip() or name)


def bars_html(
    story: CircuitStory, what: str, names: NodeNames, without: bool, exchanged: bool
) -> str:
    """Return the probabilities as it is and changed, next to the band of random changes, as escaped HTML."""
    if not story.answers:
        return ""
    position, nodes = story.stations[0]
    part, whole = f"the {len(nodes)} {names.at(position)}", f"these {story.n_all}"
    these, other = (part, whole) if story.n < story.n_all else (whole, part)

    def edited(which: str) -> str:
        return f"{which} exchanged" if exchanged else f"without {which}"

    rows = [
        (f"with all {what}", story.before, not without, "var(--sae-nb-bar-colour)"),
        (edited(these), story.without, without, "var(--sae-nb-blue)"),
    ]
    if len(story.stations) > 1:
        rows.append((edited(other), story.without_other, False, "var(--sae-nb-blue)"))
    drawn = [story.before, story.without, story.without_other, story.random.ravel()]
    top = full_bar(float(np.concatenate(drawn).max()))
    heads = "".join(
        f"<span>P(<b>{escape(plain_word(name))}</b>)</span><span></span>" for name in story.answers
    )
    scale = f"full bar: {format_percent(top)}"
    lines = [f'<div class="sae-nb-storyhead"><span>{scale}</span>{heads}</div>']
    for name, values, now, colour in rows:
        cells = "".join(_bar_html(float(value) / top, float(value), colour) for value in values)
        lines.append(
            f'<div class="{"sae-nb-storynow" * now}"><span>{escape(name)}</span>{cells}</div>'
        )
    if len(story.random):
        cells = "".join(_band_html(values, top) for values in story.random.T)
        lines.append(f"<div><span>{len(story.random)} random changes as large</span>{cells}</div>")
    return (
        f'<div class="sae-nb-storybars" style="--answers: {len(story.answers)}">'
        f"{''.join(lines)}</div>"
    )


def full_bar(largest: float) -> float:
    """Return the probability that a full bar is: 1, a tenth, a hundredth …

    >>> full_bar(0.39), full_bar(0.04), full_bar(0.0)
    (1.0, 0.1, 1.0)
    """
    return min(10.0 ** math.ceil(math.log10(largest)), 1.0) if largest > 0 else 1.0


def _bar_html(share: float, value: float, colour: str) -> str:
    return (
        f'<i class="sae-nb-storytrack"><i style="width:{100 * share:.1f}%;background:{colour}"></i></i>'
        f'<span class="sae-nb-number">{format_percent(value, digits=2)}</span>'
    )


def _band_html(values: Float[np.ndarray, " n_random"], top: float) -> str:
    """Draw random changes from the least to the most, with the median in white."""
    ends = [float(v) for v in (values.min(), np.median(values), values.max())]
    low, middle, high = (100 * v / top for v in ends)
    least, usual, most = (format_percent(v, digits=2) for v in ends)
    return (
        f'<i class="sae-nb-storytrack" title="from {least} to {most}, median in white">'
        f'<i class="sae-nb-chance" style="left:{low:.1f}%;width:max({high - low:.1f}%, 4px)"></i>'
        f'<i class="sae-nb-middle" style="left:{middle:.1f}%"></i></i>'
        f'<span class="sae-nb-number">{usual}</span>'
    )
