"""The strip of a monitor under a text: each token by how far it lies from what is usual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.activations.tokens import is_special
from sae_nb.figures.theme import format_number
from sae_nb_widgets.components import TokenStrip
from sae_nb_widgets.panel._declaring import show

if TYPE_CHECKING:
    from sae_nb.models import LiveModel
    from sae_nb.monitoring import Monitor

SHOWN_TOKENS = 40
BRIGHTEST = 3.0
"""Times the usual range at which a colour is full."""

HINT = "A monitor: orange above what is usual in neutral texts, blue below. Click: that token."


def checked_meter(model: LiveModel, meter: Any) -> Monitor | None:
    """Return a monitor of this model, or None."""
    if meter is None:
        return None
    if not hasattr(meter, "channels") or meter.model_name != model.name:
        got = getattr(meter, "model_name", type(meter).__name__)
        raise ValueError(
            f"`meter` must be a monitor of {model.name}, got one of {got}. Make it by sn.monitor(model, …)."
        )
    found: Monitor = meter
    return found


def usual_words(meter: Monitor) -> str:
    """Return the usual range of every name, in its own units."""
    ends = [[format_number(float(end)) for end in one] for one in meter.usual[:, [0, 2]]]
    return "; ".join(f"{n}: {a} to {b}" for n, (a, b) in zip(meter.names, ends, strict=True))


class MeterStrip:
    """A row of tokens per name of a monitor; nothing without one. `choose`: takes the token of a click."""

    def __init__(self, meter: Monitor | None, choose: Callable[[int], None]) -> None:
        self._meter, self._choose = meter, choose
        self._first, self._filling = 0, False
        self.widgets: list[TokenStrip] = []
        if self._meter is None:
            return
        strip = TokenStrip(description="monitor", empty_text="", hint=HINT, signed=True)
        strip.observe(self._clicked, "selected")
        show(strip, False)
        self.widgets.append(strip)

    def draw(self, tokens: Sequence[str], read: Sequence[Float[np.ndarray, " channels"]]) -> None:
        """Draw the last tokens with what was read at each; none hides it."""
        for strip in self.widgets:
            show(strip, bool(read))
            if read and self._meter is not None:
                self._fill(strip, self._meter, list(tokens[: len(read)]), np.stack(read))

    def _fill(
        self,
        strip: TokenStrip,
        meter: Monitor,
        tokens: list[str],
        values: Float[np.ndarray, "tokens channels"],
    ) -> None:
        first = self._first = max(len(tokens) - SHOWN_TOKENS, 0)
        row, n = tokens[first:], len(meter.names)
        if meter.model.has_sinks:
            values[:1] = np.nan
        strip.unit = f"× the usual range ({usual_words(meter)})"
        self._filling = True
        strip.show(
            [row] * n,
            [meter.from_usual(values[first:, i], i) for i in range(n)],
            captions=[
                f"{name}: {format_number(float(value))}"
                for name, value in zip(meter.names, values[-1], strict=True)
            ],
            peaks=[-1] * n,
            clipped=[(first > 0, False)] * n,
            first_positions=[first] * n,
            special=[[is_special(token) for token in row]] * n,
            maximum=BRIGHTEST,
        )
        self._filling = False

    def _clicked(self, change: t.Bunch) -> None:
        row, column = change["new"]
        if row >= 0 and not self._filling:
            self._choose(self._first + column)
