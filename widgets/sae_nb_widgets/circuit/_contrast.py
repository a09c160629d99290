"""The fields of a CircuitPanel for another text: the circuit behind the difference between two answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

import ipywidgets as ipw

from sae_nb.circuits import AttributionGraph, attribution_graph
from sae_nb_widgets.panel._declaring import line, show, small_button
from sae_nb_widgets.panel._panel import Panel

NO_TEXT = "Explain the difference: type another text of as many tokens first."
NOT_HERE = (
    "Explain the difference: only neurons of a live language model have one. Make the graph with "
    '"neurons" and keep its model.'
)
WIDTH = "min(340px, 100%)"
SHORT = "160px"


class ContrastFields:
    """A text to compare with `live`, two answers, and a button; what it finds, `shown` in a panel, is put
    under `panel`.
    """

    def __init__(
        self,
        panel: Panel,
        live: AttributionGraph | None,
        shown: Callable[[AttributionGraph], Panel],
    ) -> None:
        self._panel, self._live, self._shown = panel, live, shown
        self.text = self._field(
            "instead of", "another text of as many tokens", WIDTH, "Text to compare with"
        )
        self.answer = self._field("answer", "the model's own", SHORT, "Answer to the text shown")
        self.rather_than = self._field(
            "rather than", "that to the other text", SHORT, "Answer to the other text"
        )
        ask = small_button(
            "explain the difference",
            "Neurons by which the two texts are answered differently",
            self._ask,
        )
        self.row = line(self.text, self.answer, self.rather_than, ask)
        self.below = ipw.VBox()
        show(self.row, can_contrast(live))

    def _field(self, description: str, placeholder: str, width: str, tip: str) -> ipw.Text:
        field = ipw.Text(
            description=description,
            placeholder=placeholder,
            tooltip=tip,
            layout=ipw.Layout(width=width),
        )
        field.style.description_width = "initial"
        field.continuous_update = False
        return field

    def _ask(self) -> None:
        self.explain(self.text.value, self.answer.value, self.rather_than.value)

    @property
    def panel(self) -> Panel | None:
        """The panel below; None before a difference was asked for."""
        return next(iter(self.below.children), None)

    def explain(self, text: str, answer: str, rather_than: str) -> None:
        """Trace the difference off the main thread, and put its panel under the one that asked."""
        live = self._live
        if not can_contrast(live) or not text.strip():
            self._panel.say(NO_TEXT if can_contrast(live) else NOT_HERE)
            return

        def done(graph: AttributionGraph) -> None:
            self.close()
            self.below.children = (self._shown(graph),)

        self._panel.run_async(
            lambda: contrasted(live, text, answer, rather_than), done,
            doing="explaining the difference", channel="difference",
        )  # fmt: skip

    def close(self) -> None:
        """Free the panel below."""
        below, self.below.children = self.below.children, ()
        for old in below:
            old.close()


def can_contrast(live: AttributionGraph | None) -> TypeGuard[AttributionGraph]:
    """Return whether another text can be asked about: a graph of neurons alone, of a text, with its model."""
    if live is None or not live.of_neurons or live.passes is None or live.grid is not None:
        return False
    return live.passes.model.tokenizer is not None and not any(
        layer.sae is not None for layer in live.passes.layers
    )


def contrasted(
    live: AttributionGraph, text: str, answer: str, rather_than: str
) -> AttributionGraph:
    """Return the graph of the same text as a difference from another one.

    Raises
    ------
    ValueError: If only one answer is given, or the texts do not fit each other.
    """
    if bool(answer) != bool(rather_than):
        raise ValueError(
            "`answer` and `rather_than` must be given together, got one of them. Fill both, or leave both "
            "empty for the model's answers to the two texts."
        )
    passes = live.passes
    if passes is None or passes.batch.token_ids is None:
        raise ValueError("`graph` must be of a text and know its model, and this one does not.")
    ids = passes.batch.token_ids[0].tolist()
    given = str(passes.model.tokenizer.decode(ids, skip_special_tokens=True))
    asked = (answer, rather_than) if answer else None
    return attribution_graph(passes.model, "neurons", given, contrast=text, target=asked)
