"""Identity of the SAE that something belongs to: its kind, its place in a model, and a fingerprint of
its atoms.

The fingerprint holds 16 numbers wⱼᵀ D vⱼ / ‖D‖ with fixed Gaussian w and v, in thousandths. Any other
dictionary, also one whose atoms are only permuted, gives others, while the last bits, in which two
machines (or half precision) differ, move them by at most a few thousandths.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sae_nb.checks import in_own_modes

if TYPE_CHECKING:
    from sae_nb.checks import Inputs


N_PROJECTIONS = 16
UNITS = 1000
TOLERANCE = 3
"""Thousandths by which two fingerprints of one SAE may differ. Ours: half precision moves them by 1."""

_SEED = 20_240_617
_FIELDS = ("architecture", "n_atoms", "d_in", "hook_point", "model_name", "fingerprint")


@dataclass(frozen=True, kw_only=True)
class SaeIdentity:
    """The identity of an SAE, as plain JSON values.

    Example
    -------
    >>> class Axes:
    ...     d_in, n_atoms, dictionary = 2, 2, torch.eye(2)
    >>> class Swapped(Axes):
    ...     dictionary = torch.eye(2).flip(0)
    >>> identity_of(Axes()).is_same(identity_of(Axes()))
    True
    >>> identity_of(Axes()).is_same(identity_of(Swapped()))
    False
    """

    architecture: str
    n_atoms: int
    d_in: int
    hook_point: str | None
    model_name: str | None
    fingerprint: str
    """Projections of its dictionary, four hexadecimal digits each."""

    def __str__(self) -> str:
        place = f" at {self.hook_point}" if self.hook_point else ""
        place += f" of {self.model_name}" if self.model_name else ""
        return (
            f"{self.architecture} with {self.n_atoms} atoms of width {self.d_in}{place} "
            f"(fingerprint {self.fingerprint[:8]}…)"
        )

    def is_same(self, other: SaeIdentity) -> bool:
        """Return whether both are the same SAE, whatever it is called and wherever it lies."""
        if (self.n_atoms, self.d_in) != (other.n_atoms, other.d_in):
            return False
        apart = np.abs(_projections(self.fingerprint) - _projections(other.fingerprint))
        return bool(apart.max(initial=0) <= TOLERANCE)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: object) -> SaeIdentity:
        """Read what `to_json` wrote."""
        try:
            if not isinstance(fields, Mapping):
                raise TypeError("no fields by name")
            values = {name: fields[name] for name in _FIELDS}
            identity = cls(**values)
            if len(_projections(identity.fingerprint)) != N_PROJECTIONS:
                raise ValueError(f"fingerprint {identity.fingerprint!r}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"An SAE's identity must have {', '.join(_FIELDS)} as `to_json` writes them, got "
                f"{dict(fields) if isinstance(fields, Mapping) else fields!r} ({error!r})."
            ) from error
        return identity


@in_own_modes
def identity_of(sae: Any) -> SaeIdentity:
    """Return what identifies `sae` among SAEs: anything with `dictionary`, `n_atoms` and `d_in`, or a
    dictionary alone, (n_atoms, d_in).
    """
    alone = not hasattr(sae, "dictionary")
    dictionary = torch.as_tensor(sae) if alone else sae.dictionary
    n_atoms, d_in = dictionary.shape if alone else (sae.n_atoms, sae.d_in)
    hook_point = getattr(sae, "hook_point", None)
    return SaeIdentity(
        architecture="dictionary" if alone else type(sae).__name__,
        n_atoms=int(n_atoms),
        d_in=int(d_in),
        hook_point=None if hook_point is None else str(hook_point),
        model_name=getattr(sae, "model_name", None),
        fingerprint=_fingerprint(dictionary),
    )


@torch.no_grad()
def _fingerprint(dictionary: torch.Tensor) -> str:
    rows = dictionary.detach().float().cpu()
    # numpy's PCG64 gives the same numbers on every machine; torch does not promise that.
    generator = np.random.default_rng(_SEED)
    across = torch.from_numpy(generator.standard_normal((rows.shape[1], N_PROJECTIONS)))
    along = torch.from_numpy(generator.standard_normal((rows.shape[0], N_PROJECTIONS)))
    seen = (along * (rows @ across.float()).double()).sum(dim=0)
    length = float(torch.linalg.vector_norm(rows)) or 1.0
    units = (seen / length * UNITS).round().clamp(-32768, 32767).to(torch.int16).numpy()
    return bytes(units.astype(">i2")).hex()


def _projections(fingerprint: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(fingerprint), ">i2").astype(np.int64)


# -------------------------------------------------------------------------------------------------
# Short digests of a dictionary, a model, a tokenizer, a set of inputs.


def dictionary_digest(dictionary: Tensor) -> str:
    """Return sixteen hexadecimal digits that a dictionary has, and no other, also none that is only
    rounded.
    """
    return hashlib.sha256(float32_bytes(dictionary)).hexdigest()[:16]


def float32_bytes(matrix: Tensor) -> memoryview:
    """Return the rows of a matrix in float32 as bytes."""
    return np.ascontiguousarray(matrix.detach().cpu().float().numpy()).data


_SAMPLED = 256  # values looked at per tensor: training moves all of them, so a few give it away


def weights_digest(module: nn.Module) -> str:
    """Return a digest of every parameter's and buffer's name, shape, type and 256 of its values."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        flat = tensor.detach().reshape(-1)
        if len(flat):
            picked = torch.linspace(0, len(flat) - 1, min(len(flat), _SAMPLED)).long()
            picked.clamp_(max=len(flat) - 1)  # beyond 2²⁴ float32 rounds the last one up
            digest.update(tensor_bytes(flat[picked.to(flat.device)]))
    return digest.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str | None:
    """Return a digest of a tokenizer's vocabulary and special tokens; None without one."""
    if tokenizer is None:
        return None
    parts = [sorted(tokenizer.get_vocab().items()), sorted(map(str, tokenizer.all_special_tokens))]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def inputs_digest(inputs: Inputs, *, texts: bool) -> str | None:
    """Return a digest of inputs that are in memory (texts, ids, tensors, images), else None.

    Strings are `texts` to a model that reads some; to others they name files, whose contents they do not say.
    """
    digest = hashlib.blake2b(digest_size=16)
    return digest.hexdigest() if _feed(digest, inputs, texts=texts) else None


def _feed(digest: hashlib.blake2b, inputs: Inputs, *, texts: bool) -> bool:
    held = getattr(inputs, "images", None)
    if isinstance(held, (Tensor, np.ndarray)):
        inputs = held
    if isinstance(inputs, (Tensor, np.ndarray)):
        tensor = torch.as_tensor(inputs)
        digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor_bytes(tensor))
        return True
    if isinstance(inputs, (int, float)) or (texts and isinstance(inputs, str)):
        text = f"{type(inputs).__name__}:{inputs}".encode()
        digest.update(len(text).to_bytes(8, "big") + text)
        return True
    if isinstance(inputs, (list, tuple)):
        digest.update(f"[{len(inputs)}]".encode())
        return all(_feed(digest, item, texts=texts) for item in inputs)
    if isinstance(inputs, dict):
        return all(
            _feed(digest, str(key), texts=True) and _feed(digest, value, texts=texts)
            for key, value in inputs.items()
        )
    return False


def tensor_bytes(tensor: Tensor) -> memoryview | bytes:
    """Return the content of a tensor as bytes, of any type."""
    # As bytes: numpy knows no bfloat16.
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if len(flat) else b""


# Digests mean nothing to a reader: they are named, not shown.
_UNREADABLE = {
    "weights": "the model's weights",
    "tokenizer": "the tokenizer",
    "inputs": "the inputs",
    "preprocess": "the preprocessing",
}


def check_same_call(
    folder: Path, stored: object, call: Mapping[str, Any], *, work: str, holds: str = "another"
) -> None:
    """Refuse a call that differs from the one whose work (capture, fit) a store holds.

    Raises
    ------
    ValueError: If a fact differs; each that does is named, with both values.
    """
    before = stored if isinstance(stored, Mapping) else {}
    differences = [
        f"{_UNREADABLE[name]} differ"
        if name in _UNREADABLE
        else f"{name} was {before.get(name)!r} and is now {call.get(name)!r}"
        for name in {**call, **before}  # some facts are there only where they were asked for
        if before.get(name) != call.get(name)
    ]
    if differences:
        raise ValueError(
            f"`store` must be new or hold this very {work}, but {str(folder)!r} holds {holds} that differs: "
            f"{'; '.join(differences)}. Repeat that call, or choose another folder."
        )
