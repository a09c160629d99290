"""Where training batches come from: the checks made before any work, and what tells sources apart."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from sae_nb.activations import Activations, ActivationSource
from sae_nb.checks import check_finite, check_matrix


def as_source(data: object) -> ActivationSource:
    """Source for what the user passed, checked.

    Parameters
    ----------
    data
        Anything with `d_in` and `batches(batch_size, seed=, start=)`, or a tensor of rows.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If rows in memory are missing, of a wrong shape, or hold NaN or infinity.
    """
    if isinstance(data, Tensor):
        return Activations.from_tensor(check_matrix(data, name="data"))
    if not (hasattr(data, "d_in") and callable(getattr(data, "batches", None))):
        raise TypeError(
            "`data` must be activations (from `capture`, `stream` or `load_activations`) or a tensor "
            f"of shape (n, d_in), got {type(data).__name__}."
        )
    if isinstance(data, Activations) and not data.on_disk:
        check_matrix(data.x, name="data", finite=False)
        check_finite(data.x, name="data", where=captured_at(data), row_name=data.where)
    return data  # type: ignore[return-value]


def rows_known(source: ActivationSource) -> int | None:
    """How many rows there are, None for a stream."""
    return len(source) if isinstance(source, Activations) else None


def is_checked(source: ActivationSource) -> bool:
    """Whether `as_source` has seen that every row is finite."""
    return isinstance(source, Activations) and not source.on_disk


def hook_point(source: ActivationSource) -> str | None:
    """Hook point of the rows, None when it is not known."""
    name = getattr(source, "hook_point", None)
    return None if name is None else str(name)


def captured_at(source: ActivationSource) -> str:
    """Half a sentence for messages: where the rows come from; empty when it is not known."""
    name = hook_point(source)
    return f"It was captured at {name!r}." if name is not None else ""


def fingerprint(source: ActivationSource) -> dict[str, Any]:
    """Facts that tell one source from another: what a checkpoint must agree with.

    Stored rows are known by the bytes of 64 of them, evenly spaced; streams by their names alone.
    """
    facts: dict[str, Any] = {
        "d_in": int(source.d_in),
        "hook_point": hook_point(source),
        "model_name": getattr(source, "model_name", None),
    }
    if isinstance(source, Activations):
        n = len(source)
        even = torch.linspace(0, n - 1, min(64, n), dtype=torch.float64).long()
        picked = source.rows(even).cpu().contiguous()
        facts["rows"] = n
        facts["rows_sha256"] = hashlib.sha256(
            picked.view(torch.uint8).numpy().tobytes()
        ).hexdigest()
    return facts
