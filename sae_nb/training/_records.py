"""The records of a training while it runs and its result, and the callbacks that get each record."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from sae_nb._hints import KnowsOtherWords
from sae_nb.progress import Callback

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.training._config import TrainConfig


Stopped = Literal["interrupted", "stopped", "data ended", "plateau"]


@dataclass(frozen=True, kw_only=True)
class TrainRecord:
    """One SAE at one step; every number belongs to the batch of that step."""

    step: int
    """Optimiser steps done."""

    steps: int
    """Steps asked for."""

    tokens: int
    """Rows trained on so far."""

    loss: float
    """Loss that the optimiser lowered."""

    parts: dict[str, float] = field(default_factory=dict)
    """Terms of the loss by name, as the architecture reports them."""

    r2: float
    """1 − Σ‖x − x̂‖² / Σ‖x − mean(x)‖² over the batch; NaN when all its rows are equal."""

    l0: float
    """Atoms per row, mean over the batch."""

    dead_fraction: float
    """Share of atoms that have not fired for `dead_after_tokens` rows."""

    gradient_norm: float
    """Global norm of the gradient before clipping."""

    learning_rate: float
    """Adam step size of that step."""

    tokens_per_second: float
    """Rows per second since the previous record, pauses left out."""

    seconds: float
    """Time trained so far, pauses left out; a resumed run continues counting."""

    sae: int = 0
    """Index of the SAE in the list that trains on the same batches."""

    def to_json(self) -> dict[str, Any]:
        """Return fields as plain JSON values; a number that is not finite becomes None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> TrainRecord:
        """Record back from `to_json`."""
        values: dict[str, Any] = {n: math.nan if v is None else v for n, v in fields.items()}
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Change:
    """A number that was changed while the training ran."""

    step: int
    """Optimiser steps done before the change."""

    name: str
    """Name of the changed number: "learning_rate", "steps", or a live number of the SAE."""

    value: float
    """New value."""


class History(list[TrainRecord], KnowsOtherWords):
    """Records of one SAE in order; `.table` is a pandas table of them, `history["loss"]` one of its columns."""

    if not TYPE_CHECKING:

        def __getitem__(self, index: object) -> object:
            return self.table[index] if isinstance(index, str) else super().__getitem__(index)

    @classmethod
    def from_json(cls, records: Iterable[dict[str, Any]]) -> History:
        """Return a history from what `to_json` made of its records."""
        return cls(TrainRecord.from_json(record) for record in records)

    @property
    def table(self) -> pd.DataFrame:
        """One row per record, indexed by step, each loss term in a column `parts.<name>`."""
        import pandas as pd

        rows = []
        for record in self:
            row = asdict(record)
            parts = row.pop("parts")
            rows.append(row | {f"parts.{name}": value for name, value in parts.items()})
        if not rows:  # a training that ended before its first record: a table without rows
            names = [one.name for one in fields(TrainRecord) if one.name != "parts"]
            return pd.DataFrame(columns=names, dtype=float).set_index("step")
        return pd.DataFrame(rows).set_index("step")

    def measured(self, step: int) -> dict[str, float] | None:
        """Return R², L0 and share of dead atoms at the last record up to a step."""
        for record in reversed(self):
            if record.step <= step:
                return {name: getattr(record, name) for name in ("r2", "l0", "dead_fraction")}
        return None

    def to_pandas(self) -> pd.DataFrame:
        """`table`, as a method."""
        return self.table

    def __repr__(self) -> str:
        if not self:
            return "History(no records)"
        first, last = self[0], self[-1]
        return (
            f"History({len(self)} records, steps {first.step} to {last.step}: loss {first.loss:.4g} to "
            f"{last.loss:.4g}, r2 {first.r2:.3f} to {last.r2:.3f}; .table is pandas)"
        )

    def _repr_html_(self) -> str:
        html: str = self.table.to_html(max_rows=10, float_format="{:.4g}".format)
        return html


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TrainResult(KnowsOtherWords):
    """The result of `train`: the trained SAE and the history of its training.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> result = sn.train(sn.TopK(d_in=8, n_atoms=16, k=2), x, steps=20, progress=False)
    >>> len(result.to_pandas()), len(result.plot().data)
    (3, 6)
    """

    sae: SparseAutoencoder
    """The SAE that was passed, trained in place, in eval mode."""

    history: History
    """Every record, those before a resume included."""

    config: TrainConfig
    """The settings of this call."""

    steps: int
    """Optimiser steps done."""

    kept_step: int
    """Step whose weights the SAE has: `steps`, unless an interrupted run had diverged."""

    tokens: int
    """Rows trained on."""

    seconds: float
    """Time trained, pauses left out, time before a resume included."""

    n_massive: int = 0
    """Rows left out because their norm was more than ten times the median of their batch; none where such
    rows are more than a tenth of it.
    """

    stopped: Stopped | None = None
    """Reason it ended before its last step; None if it did not."""

    changes: tuple[Change, ...] = ()
    """Numbers changed while it ran."""

    @property
    def tokens_per_second(self) -> float:
        """Rows per second over the whole training."""
        return self.tokens / self.seconds if self.seconds > 0 else math.nan

    def to_pandas(self) -> pd.DataFrame:
        """Return the history as a table: one row per record, indexed by step."""
        return self.history.table

    def plot(self) -> Any:
        """Draw the history as a plotly figure: loss, R², L0, dead atoms, speed and learning rate."""
        from sae_nb.figures._training import training_curves

        return training_curves(self.history.table)

    def __repr__(self) -> str:
        newest = self.history[-1:]  # none, where it ended before its first record
        last = "".join(f", r2={record.r2:.3f}, l0={record.l0:.1f}" for record in newest)
        ended = f", n_massive={self.n_massive}" * (self.n_massive > 0)
        ended += f", stopped={self.stopped!r}" * (self.stopped is not None)
        return (
            f"TrainResult({type(self.sae).__name__}, steps={self.steps} of {self.config.steps}"
            f"{last}, tokens_per_second={self.tokens_per_second:.0f}{ended})"
        )


# -------------------------------------------------------------------------------------------------
# Who gets a record: a progress bar, and whatever the user passed.

Callbacks = Callback | Iterable[Callback] | None
"""One function that gets every record, several, or none."""


class Listeners(list[Callback]):
    """Who gets the records of a training: one callback, several or none, as a list.

    Raises
    ------
    TypeError: If one of them cannot be called.

    Example
    -------
    >>> records = []
    >>> listeners = Listeners(records.append)
    >>> listeners.tell("a record")
    >>> records, len(listeners)
    (['a record'], 1)
    """

    def __init__(self, callbacks: Callbacks = None) -> None:
        is_list = isinstance(callbacks, Iterable) and not callable(callbacks)
        several: Any = callbacks if is_list else () if callbacks is None else (callbacks,)
        super().__init__(several)
        for callback in self:
            if not callable(callback):
                raise TypeError(
                    f"A callback must be callable with a record, got {type(callback).__name__}. Pass a "
                    "function, e.g. `callbacks=records.append`."
                )

    def tell(self, record: TrainRecord) -> None:
        """Pass a record to every callback, and drop those that raise: the training outlives a panel."""
        for callback in tuple(self):
            try:
                callback(record)
            except Exception as error:  # noqa: BLE001 - it is the user's code, and it is reported
                self.remove(callback)
                warnings.warn(
                    f"A callback must not raise, but {callback!r} raised {error!r} at step "
                    f"{record.step}. It is no longer called; the training goes on.",
                    stacklevel=2,
                )


def show(newest: Sequence[TrainRecord], bar: Any, advance: int) -> None:
    """Move a bar by `advance` steps and show the newest record of every SAE behind it."""
    labels = {"loss": "loss", "r2": "R²", "l0": "L0", "dead_fraction": "dead"}
    numbers: dict[str, float | str] = {}
    for name, label in labels.items():
        values = [getattr(record, name) for record in newest]
        alone = len(values) == 1
        numbers[label] = values[0] if alone else " ".join(f"{value:.3g}" for value in values)
    bar.set_postfix(numbers, refresh=False)
    bar.update(advance)
