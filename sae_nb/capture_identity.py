"""Whether a store on disk is this very capture: what decides its rows, compared by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sae_nb.activation_store import KIND
from sae_nb.files import read_manifest
from sae_nb.fingerprints import inputs_digest, tensor_bytes, tokenizer_digest, weights_digest
from sae_nb.harvesting import Harvest

if TYPE_CHECKING:
    from sae_nb.models.inputs import Batch, Batches


def call_facts(
    harvest: Harvest,
    inputs: Any,
    shard_rows: int | None,
    several: bool,
) -> dict[str, Any]:
    """Return everything that decides the rows; two calls with equal facts give equal bits.

    Raises
    ------
    ValueError
        If edits are active: they are functions, and cannot be told apart in a file.
    """
    model = harvest.model
    if model.interventions:
        edits = ", ".join(str(edit.hook_point) for edit in model.interventions)
        raise ValueError(
            f"`store` must be captured without edits, but there are some at {edits}: a store could "
            "not tell them from others when it is resumed. Capture in memory and use acts.save(folder)."
        )
    return {
        "model": model.name,
        # The weights of a remote model are the server's: a name is all there is to know them by.
        "weights": "remote" if model.remote else weights_digest(model.module),
        "model_dtype": str(model.dtype),
        "device": model.device.type,
        "tokenizer": tokenizer_digest(model.tokenizer),
        "preprocess": _described(model.preprocess),
        "hook_points": {name: str(point) for name, point in harvest.points.items()},
        "inputs": inputs_digest(inputs, model.kind),
        **harvest.settings.stated(),
        "shard_rows": shard_rows,
        "several": several,
    }


def _described(preprocess: Any) -> str:
    # The repr of a function holds its address, which is another in every process.
    return str(getattr(preprocess, "__qualname__", None) or repr(preprocess))


# Digests mean nothing to a reader: they are named, not shown.
_UNREADABLE = {
    "weights": "the model's weights",
    "tokenizer": "the tokenizer",
    "inputs": "the inputs",
    "preprocess": "the preprocessing",
}


def check_same(
    folder: Path, stored: Mapping[str, Any], call: Mapping[str, Any], state: str
) -> None:
    """Refuse a call that differs from the one a store holds.

    Parameters
    ----------
    folder, state
        What the message is about: the folder, and "finished" or "half-done".
    stored, call
        The facts of both calls.

    Raises
    ------
    ValueError
        Naming everything that differs.
    """
    differences = []
    for name in call:
        if stored.get(name) == call[name]:
            continue
        if name in _UNREADABLE:
            differences.append(f"{_UNREADABLE[name]} differ")
        else:
            differences.append(f"{name} was {stored.get(name)!r} and is now {call[name]!r}")
    if differences:
        raise ValueError(
            f"`store` must be new or hold this very capture, but {str(folder)!r} holds a {state} one "
            f"that differs: {'; '.join(differences)}. Repeat that call, or choose another folder."
        )


def other_inputs(folder: Path, batch: Batch | None) -> ValueError:
    """Return the error for inputs that are not those of a store; None: they ended too early."""
    upto = "they end earlier" if batch is None else f"up to sample {int(batch.sample.max())}"
    return ValueError(
        f"`store` must be new or hold this very capture, but {str(folder)!r} was captured from other "
        f"inputs ({upto}). Pass the same inputs in the same order, or choose another folder."
    )


def check_finished(folder: Path, call: Mapping[str, Any], batches: Batches) -> None:
    """Refuse a call that is not the one a finished store holds; the model is not run.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is damaged, or something differs.
    """
    manifest = read_manifest(folder, KIND)
    if manifest.get("call") is None:
        raise ValueError(
            f"`store` must be new or hold this very capture, but {str(folder)!r} holds activations "
            "that were saved, not captured there. Choose another folder."
        )
    check_same(folder, manifest["call"], call, "finished")
    if call["inputs"] is None:
        _check_batches(folder, call, manifest, batches)


def _check_batches(
    folder: Path, call: Mapping[str, Any], manifest: Mapping[str, Any], batches: Batches
) -> None:
    # Inputs that cannot be hashed as they stand are compared batch by batch.
    for n_batches, expected in manifest["batches"]:
        digest, batch = BatchDigest(), None
        for _ in range(n_batches):
            batch = next(batches, None)
            if batch is None:
                raise other_inputs(folder, None)
            digest.add(batch)
        if digest.take() != expected:
            raise other_inputs(folder, batch)
    if call["max_rows"] is None and next(batches, None) is not None:
        raise ValueError(
            f"`store` must be new or hold this very capture, but these inputs go on after the end of "
            f"those in {str(folder)!r}. Choose another folder."
        )


class BatchDigest:
    """A digest over consecutive batches: what the model was given, and where it came from."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, batch: Batch) -> None:
        """Take in one batch."""
        values: Iterable[Any] = (
            *batch.args,
            *(batch.kwargs[name] for name in sorted(batch.kwargs)),
            batch.sample,
            batch.position,
        )
        for value in values:
            if isinstance(value, Tensor):
                self._digest.update(f"{tuple(value.shape)}{value.dtype}".encode())
                self._digest.update(tensor_bytes(value))
            else:
                self._digest.update(repr(value).encode())

    def take(self) -> str:
        """Return the digest so far and start again."""
        value = self._digest.hexdigest()
        self._digest = hashlib.blake2b(digest_size=16)
        return value
