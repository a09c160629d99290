"""The texts of a GenerationLens: its answer, the list of tokens with their atoms, the list of branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sae_nb.figures import quoted_token, visible_token
from sae_nb.figures.theme import escape, format_count, format_number
from sae_nb.generation import Branch, Generation
from sae_nb.steering.modes import UNITS
from sae_nb_widgets.components._base import atom_mark
from sae_nb_widgets.components._branches import TINT_NOTE, pushed_note
from sae_nb_widgets.steering._words import push_words, strength_words, whole_words

if TYPE_CHECKING:
    from sae_nb.atoms import AtomNames
    from sae_nb_widgets.generation._views import Now

NAMED = 2
"""Atoms that the sentence names."""

LONGEST_TEXT = 60
"""Letters of a branch in the list."""

Shown = Sequence[tuple[int, float]]


def token_answer(tokens: Sequence[str], position: int, atoms: Shown, names: AtomNames) -> str:
    """State which atoms come with a token."""
    if position == 0:
        return (
            f"{quoted_token(tokens[0])} begins the text: a first token is read by no atom. Let the model write "
            "(space), or one token at a time (→)."
        )
    named = [names.in_text(atom) for atom, _ in atoms[:NAMED]]
    if not named:
        return f"No atom fires at {quoted_token(tokens[position])} (token {position})."
    fire = "fires" if len(named) == 1 else "fire"
    return f"At {quoted_token(tokens[position])} (token {position}) {' and '.join(named)} {fire}."


KINDS = {Branch.UNSTEERED: "same", Branch.RANDOM: "random"}


def kind_of(row: int, strength: float) -> str:
    """Return what a row of a fork is, as `Branches` calls it."""
    return KINDS.get(min(row, Branch.RANDOM), "up" if strength >= 0 else "down")


def row_names(n: int) -> list[str]:
    """Return what the rows of a fork are called."""
    drawn = [f"random {i}" for i in range(1, n - Branch.RANDOM + 1)]
    return ["steered", "untouched", *(drawn if len(drawn) > 1 else ["random"])]


def firing(now: Now) -> str:
    """State which atoms come with the token shown."""
    found = now.notable(now.place, now.n_named)
    return token_answer(now.tokens, now.place, found, now.names)


def pushed(now: Now, branch: int) -> str:
    """Return what a branch adds as the label of its row: "+ outer space 1.5×"."""
    fork = now.generation.branches[branch].fork
    return "" if fork is None else push_words(now.names, fork.atom, *now.strengths[branch])


def forked_texts(now: Now) -> list[list[str]]:
    """Return the texts of a fork that are shown, from where they leave the text; empty where there is one."""
    if now.ways is not None:
        return now.ways.rows()
    fork, rows = now.shown.fork, range(len(now.shown.rows))
    if fork is None:
        return []
    return [now.generation.tokens(now.branch, row)[fork.position + 1 :] for row in rows]


def earlier_ways(now: Now) -> list[tuple[str, str]]:
    """Return a line for every fork that the text above went through: what was added, and the other texts."""
    lines, number = [], now.branch
    while (fork := now.generation.branches[number].fork) is not None:
        n = len(now.generation.branches[number].rows)
        others = [now.generation.tokens(number, row)[fork.position + 1 :] for row in range(1, n)]
        texts = [
            f"{name} “{''.join(whole_words(text)[0]).strip()} …”"
            for name, text in zip(row_names(n)[1:], others, strict=True)
        ]
        lines.append((pushed(now, number), " · ".join(texts)))
        number = fork.branch
    return lines[::-1]


def ways_note(now: Now, n_ways: int) -> str:
    """Return the quiet line under the text: from where it is pushed, where it goes on in several ways."""
    if n_ways < 2:
        return f"{format_count(now.n_new)} tokens written" if now.n_new else ""
    if now.ways is not None:
        return pushed_note(now.tokens[now.ways.ask.place])
    return TINT_NOTE if now.shown.fork is None else pushed_note(now.tokens[now.shown.fork.position])


def numbers_words(generation: Generation, branch: int, seconds: float, n: int) -> str:
    """Return what experts ask for: how much was read, what is added, how fast."""
    one = generation.branches[branch]
    parts = [f"{format_count(one.n_tokens)} tokens read"]
    if one.fork is not None:
        parts.append(f"added: {format_number(one.fork.by)} model units, seed {one.fork.seed}")
        parts.append(f"random pushes: {one.fork.n_random}")
    if n:
        parts.append(f"{format_number(n / seconds, digits=2)} tokens a second when it wrote last")
    return " · ".join(parts)


def log_html(rows: Sequence[tuple[int, str, Shown]], names: AtomNames, unit: str) -> str:
    """Return the newest tokens, each with its atoms by name and their strengths, as escaped HTML."""
    lines = "".join(
        f'<tr><td class="sae-nb-number">{position}</td><td style="white-space:pre">'
        f"{escape(quoted_token(token))}</td><td>{_atoms_html(atoms, names) if position else '–'}</td></tr>"
        for position, token, atoms in rows
    )
    title = f"newest tokens and their atoms, first what is strong and rare{unit and f' ({unit})'}"
    return (
        f'<div class="sae-nb-card" style="margin-top:8px"><div class="sae-nb-cardtitle">{escape(title)}</div>'
        f'<table style="border-spacing:12px 2px;margin-left:-12px">{lines}</table></div>'
    )


def _atoms_html(atoms: Shown, names: AtomNames) -> str:
    if not atoms:
        return "none fires"
    return ", ".join(
        f"{atom_mark(atom, names.name(atom))}&nbsp;<span style='color:var(--sae-nb-quiet)'>"
        f"{format_number(share, digits=2)}</span>"
        for atom, share in atoms
    )


BRANCH_COLUMNS = ("branch", "goes on", "from", "adds", "strength")


def branch_cells(
    generation: Generation, names: AtomNames, strengths: Sequence[tuple[float, str]]
) -> list[list[str]]:
    """Return a row of the list for every branch: its start, what is added, its continuation."""
    cells = []
    for number, (one, (strength, unit)) in enumerate(zip(generation.branches, strengths)):
        begins = ["the prompt", "nothing", ""]
        if one.fork is not None:
            token = quoted_token(generation.tokens(number)[one.fork.position])
            amount = f"{strength:g}{UNITS[unit].sign}".replace("-", "−")
            where = f"{one.fork.branch}, token {one.fork.position} {token}"
            begins = [where, names.name(one.fork.atom), amount]
        text = visible_token(generation.new_text(number))
        short = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
        short = short if generation.new_text(number) else "–"
        cells.append([str(number), short, *begins])
    return cells


def asked_rows(messages: Sequence[Mapping[str, str]], prompt: str) -> dict[str, str]:
    """Return messages and prompt, for the table of exported pages."""
    before = {f"message {i}, {one['role']}": one["content"] for i, one in enumerate(messages)}
    return before | {"prompt": prompt}


def written_rows(
    generation: Generation, names: AtomNames, strengths: Sequence[tuple[float, str]]
) -> dict[str, str]:
    """Return the texts and what is added in each, for the table of exported pages."""
    table: dict[str, str] = {}
    for number, branch in enumerate(generation.branches):
        fork = branch.fork
        if fork is None:
            table["written"] = generation.new_text(number, 0)
            continue
        edit = strength_words(*strengths[number], "add")
        table[f"branch {number}"] = (
            f"from token {fork.position} of branch {fork.branch}, {names.in_text(fork.atom)} {edit}"
        )
        for row, name in enumerate(row_names(len(branch.rows))):
            table[f"branch {number}, {name}"] = generation.new_text(number, row)
    return table
