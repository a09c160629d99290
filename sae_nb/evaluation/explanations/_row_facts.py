"""What is known of every row without looking at its activation: token, neighbours, place, labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int

from sae_nb.activations import Activations


@dataclass(frozen=True, kw_only=True, eq=False)
class RowFacts:
    """Facts of rows, as columns; rules speak of nothing else."""

    kind: str
    """"language", "vision" or "other"."""

    token: Int[np.ndarray, " n"]
    """Id of each row's token; place in the picture; 0 for plain vectors."""

    before: Int[np.ndarray, " n"]
    """Id of the token before; −1 where there is none."""

    names: Mapping[int, str]
    """Text of every id."""

    position: Int[np.ndarray, " n"]
    sample: Int[np.ndarray, " n"]
    repeated: Bool[np.ndarray, " n"]
    """Whether the token stands earlier in its sample too."""

    labels: Mapping[str, Bool[np.ndarray, " n"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.token)

    @classmethod
    def of(cls, acts: Activations, labels: Mapping[str, Any] | None = None) -> RowFacts:
        """Read the facts of activations."""
        sample, position = acts.sample.numpy(), acts.position.numpy()
        tokens, context = acts.tokens, acts.context
        token = np.zeros(len(acts), np.int64) if tokens is None else tokens.ids.numpy()
        before = np.full(len(acts), -1)
        names: dict[int, str] = {}
        repeated = np.zeros(len(acts), dtype=bool)
        if context.kind == "language" and context.token_ids is not None:
            ids, offsets = (part.numpy() for part in context.token_ids)
            place = offsets[sample] + position
            before = np.where(position > 0, ids[np.maximum(place - 1, 0)], -1)
            repeated = _repeated(ids, offsets)[place]
            every = np.union1d(token, before[before >= 0])
            names = {int(i): context.token_name(1, int(i)) for i in every}
        elif tokens is not None:
            names = {int(p): context.token_name(int(p)) for p in np.unique(token)}
        return cls(
            kind=context.kind,
            token=token,
            before=before,
            names=names,
            position=position,
            sample=sample,
            repeated=repeated,
            labels=_labels(labels or {}, acts),
        )

    def at(self, rows: Int[np.ndarray, " m"]) -> RowFacts:
        """Return the facts of some rows."""
        columns = ("token", "before", "position", "sample", "repeated")
        return RowFacts(
            kind=self.kind,
            names=self.names,
            labels={name: values[rows] for name, values in self.labels.items()},
            **{name: getattr(self, name)[rows] for name in columns},
        )


def _repeated(
    ids: Int[np.ndarray, " total"], offsets: Int[np.ndarray, " samples_plus_1"]
) -> Bool[np.ndarray, " total"]:
    """Whether each token's id occurs earlier in its sample."""
    sample = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((np.arange(len(ids)), ids, sample))
    same = (np.diff(ids[order], prepend=-1) == 0) & (np.diff(sample[order], prepend=-1) == 0)
    found = np.zeros(len(ids), dtype=bool)
    found[order] = same
    return found


def _labels(labels: Mapping[str, Any], acts: Activations) -> dict[str, Bool[np.ndarray, " n"]]:
    found = {}
    for name, given in labels.items():
        values = torch.as_tensor(given).cpu().numpy()
        if values.dtype != bool:
            raise TypeError(
                f"`labels` must be booleans by name, got {values.dtype} for {name!r}. Compare with a "
                "value: digits == 3."
            )
        if values.shape == (len(acts),):
            found[name] = values
        elif values.shape == (acts.context.n_samples,):
            found[name] = values[acts.sample.numpy()]
        else:
            raise ValueError(
                f"`labels` must have one entry per sample, {acts.context.n_samples}, or per row, "
                f"{len(acts)}, got shape {values.shape} for {name!r}."
            )
    return found
