"""The card of a pretrained SAE, from the facts its recipe recorded."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from typing import Any

from sae_nb.models import FETCHABLE
from sae_nb_studies.recipes.saes._material import transcoder_places

CARD = "README.md"

_ROWS = {
    "r2": "R²",
    "r2_per_dimension": "R², each dimension counting alike",
    "l0": "atoms per row (L0)",
    "dead_fraction": "share of atoms dead on these rows",
    "ce_recovered": "cross-entropy recovered",
    "accuracy": "accuracy with it",
    "accuracy_clean": "accuracy without",
    "kl": "KL to the model's answer, nats",
}
"""Metrics of a report that a card shows, and their names; the folder's `examples.json` holds all."""


def card_text(facts: dict[str, Any]) -> str:
    """Return a card in Markdown."""
    plan, training = facts["plan"], facts["training"]
    model, _, hook_point = facts["name"].partition("/")
    places = transcoder_places(hook_point)
    kind, what = "TopK SAE", f"on the activations of {model} at {hook_point}"
    if places is not None:
        kind, what = "transcoder", f"that reads {places[0]} of {model} and writes {places[1]}"
    about = (
        f"A {kind} of {plan['n_atoms']} atoms, {plan['k']} per row, {what}. Numbers are of the fp16 weights "
        "as loaded; `examples.json` has more."
    )
    parts = [
        f"# {facts['name']}",
        filled(about),
        "\n".join(_made(facts, plan, training)),
        "## How well it reconstructs",
        filled(f"On {facts['judged_on']}, never trained or matched on; 95 % intervals."),
        report_table(facts["report"]),
        "## Factors that an atom detects",
        _matches(facts),
        *_repeats(facts.get("repeats")),
        *_steering(facts["steering"]),
    ]
    return "\n\n".join(parts) + "\n"


def text_card(facts: dict[str, Any]) -> str:
    """Return the card of an SAE of a real language model, in Markdown."""
    plan, training = facts["plan"], facts["training"]
    model, _, hook_point = facts["name"].partition("/")
    about = (
        f"A {plan.get('architecture', 'TopK')} SAE of {plan['n_atoms']} atoms, {plan['k']} per row, on the "
        f"activations of {model} at {hook_point}. Weights have eight bits and a scale per row; numbers are "
        "of them as loaded."
    )
    made = [
        f"**Model**: the weights that `sae-nb get {model}` fetches, expanded from four bits; not tried on the "
        "hub's (`sn.check_fit(model, sae)` measures the fit).",
        f"**Data**: {training['rows']} rows of {training['data']}. One document of sixteen is held out; "
        "first tokens and rows above ten times the median norm are left out.",
        f"**Training**: {_steps(plan)}, {training['rows_seen']} rows in all, seed {plan['seed']}; "
        f"{training['seconds']:.0f} s on CPU threads: {training['threads']}; torch {facts['torch']}, "
        f"{facts['date']}. {training['silent_fraction']:.1%} of the atoms are dead on {training['rate_rows']} "
        "training rows.",
        f"**Examples**: {facts['shown']}, chosen so that as many atoms as possible have {facts['enough']}: "
        "rates among them are not rates in text.",
        f"**Licence**: of the weights, this project's; of the passages, their sources'.{_terms(model)}",
    ]
    parts = [
        f"# {facts['name']}",
        filled(about),
        "\n".join([*(filled(text, "- ") for text in made), f"- **Command**: `{facts['command']}`"]),
        "## How well it reconstructs",
        filled(f"On {facts['judged_on']}; 95 % intervals."),
        report_table(facts["report"]),
        "## Names",
        filled(facts.get("names", "None of its atoms has a name yet.")),
        *([filled(facts["more_names"])] if "more_names" in facts else []),
        *_returns(facts.get("stability")),
        *_named_steering(facts.get("named_steering", []), facts.get("foretold_steering", [])),
    ]
    return "\n\n".join(parts) + "\n"


def _terms(model: str) -> str:
    """Return the notice that a model's terms of use ask for; none where it is free."""
    known = FETCHABLE.get(model)
    if known is None or known.terms is None:
        return ""
    return (
        f" The model is provided under and subject to the {known.licence} found at {known.terms}, "
        "which may count an SAE of its activations as made from it."
    )


def _steps(plan: dict[str, Any]) -> str:
    more = plan.get("more")
    if more is None:
        return f"{plan['steps']} steps"
    return (
        f"{plan['steps']} steps on the first {more['documents_before']} documents, {more['steps']} on the next "
        f"at a learning rate of {more['learning_rate']:g}"
    )


def _returns(stability: dict[str, Any] | None) -> list[str]:
    """Return the part on trainings from other seeds, if there were any."""
    if stability is None:
        return []
    text = (
        f"{stability['n']} trainings, this one and others with other seeds: matched atoms have a mean cosine "
        f"of {stability['value']:.2f}, of random dictionaries {stability['floor']:.2f}, pairs drawn at random "
        f"{stability['control']:.2f}."
    )
    return ["## From other seeds", filled(text)]


def _named_steering(
    chosen: Sequence[dict[str, Any]], foretold: Sequence[dict[str, Any]]
) -> list[str]:
    """Return the part on named atoms that were turned up, if any were."""
    steered = [*chosen, *foretold]
    if not steered:
        return []
    text = (
        f"Each atom is added at every position of {steered[0]['n']} neutral beginnings, at 1.5 times its 99th "
        "percentile (four texts of 20 tokens, temperature 0.7). Words of its name per text, and beginnings "
        "with more of them than under a random direction of the same norm."
    )
    if foretold:
        text += (
            f" The first {len(chosen)} were chosen by name, the other {len(foretold)} because most of the "
            "lens's ten tokens are words of the name."
        )
    rows = [
        [s["name"], str(s["atom"]), f"{s['by']:.0f}"]
        + [f"{s[way]:.2f}" for way in ("untouched", "random", "turned")]
        + [f"{s['beats']} of {s['n']}"]
        for s in steered
    ]
    header = ["name", "atom", "strength", "clean", "random", "steered", "beats random"]
    return ["## What its atoms do", filled(text), table_of(header, rows)]


def _made(facts: dict[str, Any], plan: dict[str, Any], training: dict[str, Any]) -> list[str]:
    drawn = transcoder_places(facts["name"].partition("/")[2]) is not None
    examples = "Examples, drawn when opened" if drawn else "Examples"
    texts = [
        f"**Data**: {training['rows']} rows of {training['data']}. {examples}: {facts['shown']}.",
        f"**Training**: {plan['steps']} steps, {training['rows_seen']} rows, seed {plan['seed']}; "
        f"{training['seconds']:.0f} s on CPU threads: {training['threads']}; torch "
        f"{facts['torch']}, {facts['date']}. {training['silent_fraction']:.1%} of the atoms are dead on the "
        "training rows.",
        "**Licence**: that of this project.",
    ]
    return [*(filled(text, "- ") for text in texts), f"- **Command**: `{facts['command']}`"]


def shown_command(words: Sequence[str], hidden: Sequence[str]) -> str:
    """Return the command that a card names, without the paths of this machine."""
    shown = ["DIR" if before in hidden else word for before, word in zip(["", *words], words)]
    return shlex.join(["python", "-m", "sae_nb_studies.recipes.saes", *shown])


def report_table(report: dict[str, dict[str, float]]) -> str:
    """Return the metrics that a card shows as a table."""
    rows = []
    for name, words in _ROWS.items():
        if name not in report:
            continue
        m = report[name]
        interval = f"{m['low']:.4g} … {m['high']:.4g}" if "low" in m and "high" in m else ""
        others = (_number(m.get(key)) for key in ("floor", "control"))
        rows.append([words, _number(m.get("value")), interval, *others])
    return table_of(["", "value", "95 %", "floor", "random atoms"], rows)


def _matches(facts: dict[str, Any]) -> str:
    text = (
        "Best atom per factor and its F1 on held-out samples; found: at least half-way from always saying yes "
        "to 1."
    )
    found = [f"{m['factor']} ({m['atom']}, {m['f1']:.2f})" for m in facts["matches"]]
    best = {m["factor"]: m["f1"] for m in facts["nearly"]}
    missed = sorted(facts["missed"], key=lambda name: -best[name])
    nearest = [f"{name} ({best[name]:.2f})" for name in missed[:6]]
    if len(missed) > 6:
        nearest.append(
            f"and {len(missed) - 6} more in `sn.load_examples({facts['name']!r}).missed`"
        )
    lines = [
        f"**Found** (atom, F1): {', '.join(found) or 'none'}.",
        f"**Missed** (best F1): {', '.join(nearest) or 'none'}.",
    ]
    return "\n\n".join(map(filled, [text, *lines]))


def _repeats(repeats: dict[str, Any] | None) -> list[str]:
    """Return the part on trainings from other seeds, if there were any."""
    if repeats is None:
        return []
    n = len(repeats["seeds"])
    count = {name: sum(of["found"]) for name, of in repeats["factors"].items()}
    text = (
        f"Of the same training from {n} seeds, each matched and judged as above, all find "
        f"{sum(found == n for found in count.values())} of the {len(count)} factors. Others (seeds that do, "
        f"mean F1, best F1 of {n} dictionaries of random atoms): "
    )
    rows = [
        f"{name} ({count[name]}, {sum(of['f1']) / n:.2f}, {max(of['random']):.2f})"
        for name, of in repeats["factors"].items()
        if count[name] < n
    ]
    return ["## From other seeds", filled(f"{text}{', '.join(rows) or 'none'}.")]


def _steering(steering: Sequence[dict[str, Any]]) -> list[str]:
    if not steering:
        return []
    words, table = (_sentiments if "sign" in steering[0] else _classes)(steering)
    return ["## What its atoms do", filled(words), table]


def _classes(steering: Sequence[dict[str, Any]]) -> tuple[str, str]:
    what, label, others = "pictures", "digit", "handwriting"
    if steering[0]["label"].startswith("pitch"):
        what, label, others = "sounds", "pitch class", "sounds"
    samples = "pictures of other digits" if label == "digit" else f"{what} of other {label}es"
    words = (
        f"Share of some {steering[0]['n']} held-out {samples} that become the atom's {label} when it is added "
        f"at every position, and the most that any of {len(steering[0]['random'])} random directions of the "
        f"same length turns. Atom and strength were chosen on other {others}."
    )
    rows = [
        [*_dose(s), f"{s['turned']:+.1%}", _percents(s["interval"]), f"{max(s['random']):+.1%}"]
        for s in steering
    ]
    header = ["label", "atom", "strength (× p99)", "turned", "95 %", "random, most"]
    return words, table_of(header, rows)


def _sentiments(steering: Sequence[dict[str, Any]]) -> tuple[str, str]:
    first = steering[0]
    words = (
        "Neutral beginnings, continued to the story's end with the atom added at every position, sampled "
        f"at temperature {first['temperature']:g}; the grammar reads the sentiment. Shift: its share, minus "
        f"that without steering ({first['n']} continuations, {len(first['by_seed'])} seeds, 95 % by "
        "prompts). Cost: nats per token that the continuations are worse to the unsteered model (written), "
        "and held-out stories to the steered one (read). Random: the largest shift of "
        f"{len(first['random'])} random directions of the same norm. Shift at 1: at temperature 1. Atom and "
        "strength were chosen on other prompts."
    )
    rows = [
        [
            *_dose(s),
            f"{s['clean']:.1%} → {s['steered']:.1%}",
            f"{s['shift']:+.1%}",
            _percents(s["interval"]),
            f"{s['cost_written']:+.2f}",
            f"{s['cost_read']:+.2f}",
            f"{s['grammatical']:.0%}",
            f"{max(s['random'], key=abs):+.1%}",
            f"{s['hotter']:+.1%}",
        ]
        for s in steering
    ]
    header = ["label", "atom", "strength (× p99)", "share", "shift", "95 %", "cost written"]
    return words, table_of(
        [*header, "cost read", "grammatical", "random, most", "shift at 1"], rows
    )


def _dose(s: dict[str, Any]) -> list[str]:
    return [s["label"], str(s["atom"]), f"{s['by']:.1f} ({s['by_p99']:g})"]


def _percents(interval: Sequence[float]) -> str:
    low, high = interval
    return f"{low:+.1%} … {high:+.1%}"


def table_of(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def filled(text: str, mark: str = "") -> str:
    """Return a paragraph in lines of 100 characters."""
    return textwrap.fill(
        text,
        100,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )
