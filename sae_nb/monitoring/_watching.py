"""A monitor's ear while a model runs: projections of what passes, token by token, and nothing changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sae_nb.models._interventions import Intervention, take_out
from sae_nb.monitoring._channels import Bench, by_hook_point

if TYPE_CHECKING:
    from sae_nb.models import LiveModel, RunState
    from sae_nb.monitoring._channels import Channel

Text = Mapping[str, Float[np.ndarray, " tokens"]]


class Gauge:
    """Reads the channels of one hook point as an edit that changes nothing; first tokens read as NaN."""

    everywhere = True

    def __init__(self, bench: Bench, has_sinks: bool) -> None:
        self._bench, self._has_sinks = bench, has_sinks
        self.parts: list[tuple[RunState, Tensor]] = []
        """Of every pass, where its columns are, and what was read (batch, time, columns)."""

    def __call__(
        self, x: Float[Tensor, "batch time d_in"], state: RunState
    ) -> Float[Tensor, "batch time d_in"]:
        """Keep the projections of what passes."""
        self.parts.append((state, self._bench(x.detach())))
        return x

    def texts(self) -> list[Float[np.ndarray, "tokens columns"]]:
        """Return what was read of each text so far, first texts first; padding left out."""
        found: list[list[np.ndarray]] = []
        live: list[list[np.ndarray]] = []
        for state, read in self.parts:
            if not state.offset or len(live) != len(read):
                live = [[] for _ in range(len(read))]
                found += live
            for row, (parts, values) in enumerate(
                zip(live, read.float().cpu().numpy(), strict=True)
            ):
                position = np.arange(state.offset, state.offset + len(values))
                if state.position is not None:
                    position = state.position[row].cpu().numpy()
                keep = position >= 0
                if state.keep is not None:
                    keep = keep & state.keep[row].bool().cpu().numpy()
                values = values[keep].copy()
                values[position[keep] < int(self._has_sinks)] = np.nan
                parts.append(values)
        return [np.concatenate(parts) for parts in found]


class Watch:
    """What a monitor reads inside `with meter.watch() as seen`: of every text, and of the newest."""

    def __init__(self, model: LiveModel, channels: Sequence[Channel]) -> None:
        self._benches = by_hook_point(channels)
        self._names = [one.name for one in channels]
        self._gauges = {p: Gauge(bench, model.has_sinks) for p, bench in self._benches.items()}
        self.edits = [
            Intervention(model.hook_point(point), gauge) for point, gauge in self._gauges.items()
        ]

    @property
    def texts(self) -> list[Text]:
        """Values of every text that the model read or wrote, token by token; NaN at an attention sink."""
        found: list[dict[str, np.ndarray]] = []
        for point, gauge in self._gauges.items():
            texts, names = gauge.texts(), self._benches[point].names
            found = found or [{} for _ in texts]
            for one, read in zip(found, texts, strict=True):
                one |= {name: read[:, i] for i, name in enumerate(names)}
        return [{name: one[name] for name in self._names} for one in found]

    @property
    def values(self) -> Text:
        """Those of the newest text.

        Raises
        ------
        RuntimeError: If the model has not run yet.
        """
        texts = self.texts
        if not texts:
            raise RuntimeError("The model has not run yet. Call model(…) or model.generate(…).")
        return texts[-1]

    @property
    def n_tokens(self) -> int:
        """Tokens read so far, padding counted."""
        gauge = next(iter(self._gauges.values()))
        return sum(read.shape[0] * read.shape[1] for _, read in gauge.parts)

    def newest(self, n: int) -> Float[np.ndarray, "rows n channels"]:
        """Return the last n columns of the newest pass as they were read, of every row."""
        columns: dict[str, Float[np.ndarray, "rows n"]] = {}
        for point, gauge in self._gauges.items():
            read = gauge.parts[-1][1][:, -n:].float().cpu().numpy()
            columns |= {name: read[..., i] for i, name in enumerate(self._benches[point].names)}
        return np.stack([columns[name] for name in self._names], axis=-1)


@contextmanager
def watching(model: LiveModel, watch: Watch) -> Iterator[Watch]:
    """Have a watch in force inside the block, after the edits that are."""
    holder, active = object(), model.interventions
    try:
        with model.lock:
            active.extend(watch.edits)
            model.editing.hold(holder)
        yield watch
    finally:
        with model.lock:
            for edit in watch.edits:
                take_out(active, edit, 0)
            model.editing.release(holder)
