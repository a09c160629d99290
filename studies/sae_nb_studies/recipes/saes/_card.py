"""The card of a pretrained SAE, from the facts its recipe recorded."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from typing import Any

from sae_nb.pretrained import transcoder_places

CARD = "README.md"

_ROWS = {
    "r2": "R²",
    "cosine": "cosine of x and x̂",
    "l0": "atoms per row (L0)",
    "dead_fraction": "share of atoms silent on these rows",
    "dense_fraction": "share of atoms active on more than a tenth of the rows",
    "ce_recovered": "cross-entropy recovered in the model",
    "accuracy_recovered": "accuracy recovered in the model",
    "accuracy": "accuracy on reconstructions",
    "accuracy_clean": "accuracy without",
    "ce": "cross-entropy on reconstructions, nats",
    "ce_clean": "cross-entropy without, nats",
    "kl": "KL to the model's own answer, nats",
}
"""Metrics of a report that a card shows, and their names."""


def card_text(facts: dict[str, Any]) -> str:
    """Return a card in Markdown."""
    plan, training = facts["plan"], facts["training"]
    model, _, hook_point = facts["name"].partition("/")
    places = transcoder_places(hook_point)
    kind, what = "TopK SAE", f"on the activations of {model} at {hook_point}"
    if places is not None:
        kind, what = "transcoder", f"that reads {places[0]} of {model} and writes {places[1]}"
    about = (
        f"A {kind} of {plan['n_atoms']} atoms, {plan['k']} per row, {what}, trained by this project to be "
        "opened in lessons and demos. Weights are fp16 on disk; every number here is measured on them as "
        "loaded."
    )
    parts = [
        f"# {facts['name']}",
        filled(about),
        "\n".join(_made(facts, plan, training)),
        "## How well it reconstructs",
        filled(f"On {facts['judged_on']}, never trained or matched on; 95 % intervals."),
        report_table(facts["report"]),
        "## What its atoms stand for",
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
        f"A TopK SAE of {plan['n_atoms']} atoms, {plan['k']} per row, on the activations of {model} at "
        f"{hook_point}, trained by this project. Weights are kept as eight bits with a scale for every row; "
        "every number here is measured on them as loaded."
    )
    made = [
        f"**Model**: the weights that `sae-nb get {model}` fetches, expanded from four bits. On the hub's "
        "full-precision weights it was not tried here; `sn.check_fit(model, sae)` measures how well it fits.",
        f"**Data**: {training['rows']} rows of {training['data']}. One document of sixteen is held out. The "
        "first token of a passage and rows of massive norm (above ten times the median) are left out.",
        f"**Training**: {_steps(plan)}, {training['rows_seen']} rows in all, seed {plan['seed']}; "
        f"{training['seconds']:.0f} s on CPU threads: {training['threads']}, with other programs running; "
        f"torch {facts['torch']}, {facts['date']}. {training['silent_fraction']:.1%} of the atoms never fire "
        f"on {training['rate_rows']} rows of the training texts.",
        f"**Examples**: {facts['shown']}, chosen so that as many atoms as possible have {facts['enough']} of "
        "them: rates among them are not rates in text. **Coordinates**: UMAP of the atoms by cosine, seeded. "
        "**Strengths** in the store: 8 bits.",
        "**Licence**: weights, that of this project; the passages, those of their sources above.",
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
        *_returns(facts.get("stability")),
        *_named_steering(facts.get("named_steering", []), facts.get("foretold_steering", [])),
    ]
    return "\n\n".join(parts) + "\n"


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
        f"{stability['n']} trainings, this one and others from nothing with other seeds on the second part of "
        f"the texts: matched atoms have a mean cosine of {stability['value']:.2f}, those of random "
        f"dictionaries {stability['floor']:.2f}, pairs drawn at random {stability['control']:.2f}."
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
        f"Atoms chosen before, each added at every position to {steered[0]['n']} beginnings that are about "
        "nothing in particular, at 1.5 times its 99th percentile; four texts of 20 tokens each, temperature "
        "0.7. Words of a text that begin as its name leads one to expect, mean; how many of the beginnings "
        "have more of them than under a random direction of the same norm."
    )
    if foretold:
        text += (
            f" The first {len(chosen)} were chosen by their names alone, the other {len(foretold)} by the "
            "lens: among the ten tokens that it expects, most are words of the name."
        )
    rows = [
        [s["name"], str(s["atom"]), f"{s['by']:.0f}"]
        + [f"{s[way]:.2f}" for way in ("untouched", "random", "turned")]
        + [f"{s['beats']} of {s['n']}"]
        for s in steered
    ]
    header = ["name", "atom", "strength", "untouched", "random", "turned up", "more than random"]
    return ["## What its atoms do", filled(text), _table(header, rows)]


def _made(facts: dict[str, Any], plan: dict[str, Any], training: dict[str, Any]) -> list[str]:
    drawn = transcoder_places(facts["name"].partition("/")[2]) is not None
    examples = "Examples, drawn when they are opened" if drawn else "Examples in the store"
    kept = "" if drawn else " **Strengths** in the store: 8 bits."
    texts = [
        f"**Data**: {training['rows']} rows of {training['data']}. {examples}: {facts['shown']}.",
        f"**Training**: {plan['steps']} steps, {training['rows_seen']} rows, seed {plan['seed']}; "
        f"{training['seconds']:.0f} s on CPU threads: {training['threads']}; torch "
        f"{facts['torch']}, {facts['date']}. {training['silent_fraction']:.1%} of the atoms never "
        "fire on the training rows.",
        f"**Coordinates**: UMAP of the atoms by cosine, seeded.{kept}",
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
    return _table(["", "value", "95 %", "floor", "random atoms"], rows)


def _matches(facts: dict[str, Any]) -> str:
    sample = "sound" if "repeats" in facts else "picture or story"
    text = (
        "Each known factor and the atom that tells it best: the atom says yes above a threshold, both "
        f"chosen on other samples. A {sample} is as strong as its strongest row. Floor: always "
        "saying yes. A factor counts as found where F1 is at least half-way from its floor to 1."
    )
    rows = [
        [m["factor"], m["per"], str(m["atom"]), *(f"{m[n]:.2f}" for n in _SCORES)]
        for m in facts["matches"]
    ]
    header = ["factor", "of a", "atom", "F1", "precision", "recall", "floor"]
    nearly = {m["factor"]: m for m in facts["nearly"]}
    missed = ", ".join(f"{name} ({nearly[name]['f1']:.2f})" for name in facts["missed"])
    last = f"**Missed** (with the best F1 there is): {missed or 'none'}."
    return "\n\n".join([filled(text), _table(header, rows), filled(last)])


def _repeats(repeats: dict[str, Any] | None) -> list[str]:
    """Return the part on trainings from other seeds, if there were any."""
    if repeats is None:
        return []
    n = len(repeats["seeds"])
    text = (
        f"The same training from {n} seeds (the first is this one), each matched and judged as above. Random "
        f"atoms: the best F1 that any of {n} dictionaries of the same size reaches that were not trained."
    )
    rows = [
        [
            name,
            f"{sum(of['found'])} of {n}",
            f"{sum(of['f1']) / n:.2f}",
            f"{min(of['f1']):.2f} … {max(of['f1']):.2f}",
            f"{of['floor']:.2f}",
            f"{max(of['random']):.2f}",
        ]
        for name, of in repeats["factors"].items()
    ]
    header = ["factor", "found", "F1, mean", "F1, least … most", "floor", "random atoms"]
    return ["## From other seeds", filled(text), _table(header, rows)]


_SCORES = ("f1", "precision", "recall", "floor")


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
        f"Share of {steering[0]['n']} or so held-out {samples} that become the atom's "
        f"{label} when it is added at every position (minus the few that were it already), with a 95 % "
        f"interval, and the largest share that any of {len(steering[0]['random'])} random directions "
        f"of the same length turns to that {label}. Atom and strength were chosen on other {others}."
    )
    rows = [
        [*_dose(s), f"{s['turned']:+.1%}", _percents(s["interval"]), f"{max(s['random']):+.1%}"]
        for s in steering
    ]
    header = ["label", "atom", "strength (× p99)", "turned", "95 %", "random, most"]
    return words, _table(header, rows)


def _sentiments(steering: Sequence[dict[str, Any]]) -> tuple[str, str]:
    first = steering[0]
    words = (
        "Stories are begun without sentiment and continued until they end (at most 100 tokens), the "
        f"atom added at every position, sampling at temperature {first['temperature']:g}; each is read "
        "by the grammar. Shift: share of continuations of the labelled sentiment, minus the share "
        f"without steering ({first['n']} continuations, {len(first['by_seed'])} sampling seeds, 95 % by "
        "prompts). Cost written: nats per token that the unsteered model finds these continuations "
        "worse than its own. Cost read: nats per token that held-out stories are read worse under "
        "steering. Grammatical: share of the steered sentences that the grammar can make. Random: the "
        f"largest shift, up or down, of {len(first['random'])} random directions of the same norm. "
        "Shift at 1: at temperature 1. Atom and strength were chosen on other prompts."
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
    return words, _table([*header, "cost read", "grammatical", "random, most", "shift at 1"], rows)


def _dose(s: dict[str, Any]) -> list[str]:
    return [s["label"], str(s["atom"]), f"{s['by']:.1f} ({s['by_p99']:g})"]


def _percents(interval: Sequence[float]) -> str:
    low, high = interval
    return f"{low:+.1%} … {high:+.1%}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
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
