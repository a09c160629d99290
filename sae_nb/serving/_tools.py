"""The tools. Each answer has the numbers, their control, and one sentence on what they do not show.

A tool is a method of `Tools`; its docstring is what the client reads.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from pandas import DataFrame

    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.serving._registry import Registry

Answer = dict[str, Any]
MOST_LISTED = 20
SITES = ("resid", "attn", "mlp", "heads")
"""States that `patch` can exchange."""


REFUSALS = (ValueError, TypeError, OSError, MemoryError, LookupError)
"""Errors of a call that the client reads."""


def tool_names() -> tuple[str, ...]:
    """Return the names of all tools."""
    return tuple(name for name in vars(Tools) if not name.startswith("_"))


class Tools:
    """Every tool of the server, on one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def list_models(self) -> Answer:
        """List the models and SAEs that the other tools take by name."""
        return _answer(
            {"models": self._registry.model_names, "saes": self._registry.sae_names},
            control=None,
            missing="A name says nothing about quality: ask for a card or a certificate.",
        )

    def capture(self, model: str, inputs: list[Any], hook_point: str) -> Answer:
        """Run a model on texts (image models: numbers of test pictures) and describe its activations."""
        import torch

        from sae_nb.capturing import capture

        live = self._registry.model(model)
        acts = capture(
            live, self._inputs(live, inputs), text_of(hook_point, name="hook_point"), progress=False
        )
        x = acts.x.double()
        centred = x - x.mean(dim=0)
        values = torch.linalg.svdvals(centred).square()
        draws = (torch.Generator().manual_seed(i) for i in range(acts.d_in))
        orders = [torch.randperm(len(x), generator=draw) for draw in draws]
        shuffled = torch.stack([c[order] for c, order in zip(centred.T, orders, strict=True)], 1)
        chance = torch.linalg.svdvals(shuffled).square()
        return _answer(
            {
                "rows": len(acts),
                "width": acts.d_in,
                "mean_norm": float(x.norm(dim=1).mean()),
                "first_component": float(values[0] / values.sum().clamp_min(1e-300)),
            },
            control={
                "first_component, columns shuffled": float(
                    chance[0] / chance.sum().clamp_min(1e-300)
                )
            },
            missing="Variance along a direction does not say that the model uses it.",
        )

    def search_atoms(self, sae: str, words: str, n: int = 10) -> Answer:
        """Find atoms of an SAE whose automatic name has some words."""
        names, wanted = self._registry.names(sae), text_of(words, name="words").casefold()
        most = number_of(n, 1, MOST_LISTED, name="n")
        n_atoms = self._registry.sae(sae).n_atoms
        texts = [(atom, names.caption(atom)) for atom in range(n_atoms)]
        found = [(atom, text) for atom, text in texts if wanted in text.casefold()]
        return _answer(
            {"found": len(found), "atoms": [{"atom": a, "name": t} for a, t in found[:most]]},
            control={"share of all atoms that the words match": len(found) / n_atoms},
            missing="A name is made from what an atom fires on; it does not say what the atom does.",
        )

    def card(self, sae: str, atom: int) -> Answer:
        """Describe one atom: its name with its score, how often it fires, its strongest examples."""
        names, number = self._registry.names(sae), self._atom(sae, atom)
        card, made = names.card(number), names.made(number)
        evidence = None if made is None else made.evidence
        examples = [
            {"place": one.place, "strength": one.strength, "tokens": "".join(one.tokens)}
            | ({} if one.kept is None else {"kept_by_another_solver": one.kept})
            for one in card.examples[:5]
        ]
        return _answer(
            {"atom": number, "name": card.name, "fires": card.fires, "second_code": card.keeps or None,
             "foretold": card.foretold or None,
             "examples": examples,
             "f1": None if evidence is None else evidence.f1},
            control={"f1 of another atom's name": None if evidence is None else evidence.f1_control},
            missing="Strong examples are chosen; weaker firings may be about something else.",
        )  # fmt: skip

    def steer(self, sae: str, atom: int, inputs: list[Any]) -> Answer:
        """Add an atom to the model, next to random directions that change its answers as much."""
        from sae_nb._above import above

        own, live, place = self._registry.of_sae(sae)
        number = self._atom(sae, atom)
        found = above("sae_nb_studies.evaluation.certifying._doing", "doing")(
            own,
            live,
            place,
            [number],
            inputs=self._inputs(live, inputs, least=2),
            lens=None,
            seed=0,
            progress=False,
        )
        effect = found.effect[number]
        return _answer(
            {
                "outcome": found.outcome[number],
                "change_of_log_probability": effect,
                "above_every_random_direction": found.steers[number],
            },
            control={"random directions at equal KL": found.random.tolist()},
            missing="An effect on these inputs need not hold on others, and says nothing about fluency.",
        )

    def lens(self, model: str, inputs: list[Any]) -> Answer:
        """Read what each layer of a model would answer, by the logit lens, at the last place of every input."""
        import numpy as np

        from sae_nb.lenses import fit_lens

        live = self._registry.model(model)
        given = self._inputs(live, inputs, least=2)
        reading = fit_lens(live, given, kind="logit", progress=False).read(given, k=1)
        last = np.flatnonzero(np.append(reading.sample[1:] != reading.sample[:-1], True))
        agrees = reading.top[:, last, 0] == reading.answer[last][None]
        other = reading.top[:, last, 0] == np.roll(reading.answer[last], 1)[None]
        layers = [
            {
                "layer": int(layer),
                "top": [reading.names[int(i)] for i in reading.top[row, last, 0]],
                "agrees_with_answer": float(agrees[row].mean()),
            }
            for row, layer in enumerate(reading.layers)
        ]
        return _answer(
            {"layers": layers, "answers": [reading.names[int(i)] for i in reading.answer[last]]},
            control={"agreement with another input's answer": other.mean(axis=1).tolist()},
            missing="What a lens reads out of a layer need not be what later layers use.",
        )

    def patch(
        self,
        model: str,
        clean: str,
        corrupted: str,
        answer: str = "",
        other: str = "",
        sites: str = "resid",
    ) -> Answer:
        """Exchange states of two texts of equally many tokens: which places carry the answers' difference?
        `sites`: resid, attn or mlp (each layer and position), or heads.
        """
        from sae_nb.checks import one_of
        from sae_nb.circuits import patch

        where = one_of(sites, SITES, name="sites")
        live = self._registry.model(model)
        first, second = text_of(clean, name="clean"), text_of(corrupted, name="corrupted")
        asked = bool(answer or other)
        target = (text_of(answer, name="answer"), text_of(other, name="other")) if asked else None
        found: Any = patch(live, first, second, target, where, progress=False)
        table = found.table.head(10)
        return _answer(
            {
                "clean": found.clean,
                "corrupted": found.corrupted,
                "places": _rows(table.drop(columns="control")),
            },
            control={
                "the same places, with states of an unrelated input": table["control"].tolist()
            },
            missing="A place that restores the answer carries what two texts differ in, not a concept.",
        )

    def circuit(self, model: str, text: str, k: int = 20) -> Answer:
        """Find the neurons that speak most for a model's answer, and run the model with these alone."""
        from sae_nb.circuits import attribution_graph

        live, most = self._registry.model(model), number_of(k, 1, 200, name="k")
        graph: Any = attribution_graph(live, "neurons", text_of(text), max_nodes=most)
        curve = graph.faithfulness([most], n_random=3).table
        neurons = graph.nodes.assign(influence=graph.influence).query("kind == 'atom'")
        strongest = neurons.sort_values("influence", ascending=False, kind="stable").head(
            MOST_LISTED
        )
        return _answer(
            {
                "nodes": strongest["name"].astype(str).tolist(),
                "faithfulness": _rows(curve.drop(columns="random", errors="ignore")),
            },
            control={
                "random neurons, as many": curve["random"].tolist() if "random" in curve else None
            },
            missing="A circuit of one text need not serve another, and attention is held as it was.",
        )

    def certificate(self, sae: str, seconds: int = 60) -> Answer:
        """Find which atoms of an SAE another training finds again. Trains six small SAEs: takes its seconds."""
        from sae_nb.atoms import KeptFirings
        from sae_nb.exports import studies

        budget = number_of(seconds, 1, 300, name="seconds")
        own, acts = self._registry.sae(sae), self._registry.acts(sae)
        found = studies().evaluation.certificate(own, acts, budget=f"{budget} s", progress=False)
        return _answer(
            {
                "shares": found.shares,
                "real": found.real()[:MOST_LISTED].tolist(),
                "steps": found.facts["steps"],
                "second_code": KeptFirings.of_report(found.measurements) or None,
            },
            control=_rows(found.controls),
            missing="A real atom need not be a concept, nor one the model uses.",
        )

    def diff(self, model_a: str, model_b: str, inputs: list[Any]) -> Answer:
        """Compare two checkpoints of one architecture: what changed, where, and which direction carries it."""
        from sae_nb.diffing import diff_models

        a, b = self._registry.model(model_a), self._registry.model(model_b)
        found = diff_models(a, b, self._inputs(a, inputs), n_components=1, steps=40, progress=False)
        if found.same:
            return _answer({"kl": found.kl, "same": True}, control=None, missing=found.notes[0])
        return _answer(
            {
                "kl": found.kl,
                "findings": _rows(found.table.drop(columns="control").head(6)),
                "outcomes": _rows(found.outcomes),
                "places": _rows(found.places.head(5)),
            },
            control={"random directions": found.table["control"].head(6).tolist()},
            missing=found.notes[0],
        )

    def _inputs(
        self, live: LiveModel, inputs: Inputs, *, least: int = 1
    ) -> list[str] | torch.Tensor:
        given = inputs_of(inputs, text=live.modality.is_text)
        if len(given) < least:
            raise ValueError(f"`inputs` must be at least {least}, got {len(given)}.")
        return given

    def _atom(self, sae: str, atom: object) -> int:
        return number_of(atom, 0, self._registry.sae(sae).n_atoms - 1, name="atom")


def _answer(answer: Answer, *, control: object, missing: str) -> Answer:
    return {"answer": _plain(answer), "control": _plain(control), "does_not_show": missing}


def _rows(table: DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _plain(value: object) -> object:
    """Numbers, texts, lists and dictionaries, as JSON has them; what is not finite is null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str | bool | None) else str(value)


# -------------------------------------------------------------------------------------------------
# Bounds of a client's arguments: few short texts of printable characters, and small numbers.

MAX_INPUTS = 16
"""Most inputs of one call."""

MAX_CHARACTERS = 4000
"""Most characters of one text."""

MAX_SCENES = 1024
"""Number of scenes that a client may name."""


def text_of(value: object, *, name: str = "text") -> str:
    """Return a text of printable characters; line breaks and tabs are fine."""
    if not isinstance(value, str):
        raise ValueError(f"`{name}` must be a text, got {type(value).__name__}.")
    if not value.strip():
        raise ValueError(f"`{name}` must have characters, got an empty text.")
    if len(value) > MAX_CHARACTERS:
        raise ValueError(
            f"`{name}` must have at most {MAX_CHARACTERS} characters, got {len(value)}. Send a part of it."
        )
    strange = next(
        (c for c in value if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\r\t"), None
    )
    if strange is not None:
        raise ValueError(
            f"`{name}` must have no control characters, got U+{ord(strange):04X}. Send plain text."
        )
    return value


def inputs_of(inputs: Inputs, *, text: bool, name: str = "inputs") -> list[str] | torch.Tensor:
    """Return texts for a language model, or pictures by their numbers for any other."""
    if not isinstance(inputs, Sequence) or isinstance(inputs, str) or not inputs:
        raise ValueError(
            f"`{name}` must be a list of {'texts' if text else 'numbers'}, got {inputs!r:.40}."
        )
    if len(inputs) > MAX_INPUTS:
        raise ValueError(f"`{name}` must be at most {MAX_INPUTS}, got {len(inputs)}. Send fewer.")
    if text:
        return [text_of(one, name=f"{name}[{i}]") for i, one in enumerate(inputs)]
    import torch

    from sae_nb.data import scenes

    numbers = [
        number_of(one, 0, MAX_SCENES - 1, name=f"{name}[{i}]") for i, one in enumerate(inputs)
    ]
    drawn = scenes(max(numbers) + 1, seed=0, split="test").images
    return drawn[torch.tensor(numbers)]


def number_of(value: object, low: int, high: int, *, name: str) -> int:
    """Return a whole number between two others."""
    number = int(value) if isinstance(value, str) and value.isdigit() else value
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError(f"`{name}` must be a whole number, got {value!r:.40}.")
    if not low <= number <= high:
        raise ValueError(f"`{name}` must be from {low} to {high}, got {number}.")
    return number
