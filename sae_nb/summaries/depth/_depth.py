"""The data of a view of depth: similarity of layers with phases for every k, and strips over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from sae_nb.checks import Seed, check_data, checked
from sae_nb.dynamics import (
    PhaseEvidence,
    Phases,
    Trajectories,
    layer_similarity,
    phase_evidence,
    segment_phases,
    trajectories,
)
from sae_nb.dynamics.paths._states import check_states, content_tokens
from sae_nb.models._inputs import described, read_again
from sae_nb.models._one_input import outcome_names

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


# -------------------------------------------------------------------------------------------------
# The inputs of a view of depth as people see them, and one at a time as the model reads them.


MOST_INPUTS = 256
LONGEST_TEXT = 64
FEW_TEXTS = 4
"""Texts of which none is left out, however short."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthInputs:
    """Inputs of one size."""

    samples: Tensor
    """Pixel values, token ids of one length, or plain tensors: what the model reads."""

    pictures: UInt8[np.ndarray, "n 3 height width"] | None
    """As displayed."""

    tokens: tuple[tuple[str, ...], ...]
    """Texts, token by token; none for pictures."""

    note: str
    """Note on the omitted part; empty if nothing is omitted."""

    name: str = ""
    """Under which the model is given the samples; empty: as a tensor."""

    kept: tuple[int, ...] | None = None
    """Of the texts given those that are shown; None: the first ones, all of them."""

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def whole(self) -> Tensor | dict[str, Tensor]:
        """All inputs, as the model reads them."""
        return self._read(self.samples)

    def one(self, index: int) -> Tensor | dict[str, Tensor]:
        """Return one input, as the model reads it."""
        return self._read(self.samples[index : index + 1])

    def _read(self, samples: Tensor) -> Tensor | dict[str, Tensor]:
        if not self.name:
            return samples
        if self.name != "input_ids":
            return {self.name: samples}
        # Padding is left out already: the padding token's id, where a text was cut behind it, is a token.
        return {"input_ids": samples, "attention_mask": torch.ones_like(samples)}


def depth_inputs(model: LiveModel, inputs: Inputs) -> DepthInputs:
    """Read inputs of a live model; texts are cut to the length at which most tokens are shown."""
    notes: list[str] = []
    if model.modality.is_text:
        ids, kept = _token_ids(model, inputs, notes)
        tokens = tuple(tuple(outcome_names(model, row.numpy())) for row in ids)
        note = " ".join(notes)
        return DepthInputs(
            samples=ids, pictures=None, tokens=tokens, note=note, kept=kept, name="input_ids"
        )
    parts, shown, n, name = [], [], 0, ""
    for batch in model.batches(inputs):
        read = read_again(model, batch)
        name, part = next(iter(read.items())) if isinstance(read, dict) else ("", read)
        parts.append(part)
        if batch.pictures is not None:
            shown.append(batch.pictures)
        n += batch.n
        if n > MOST_INPUTS:
            notes.append(f"Only the first {MOST_INPUTS} inputs are shown.")
            break
    if not parts:
        raise ValueError(f"`inputs` must hold at least one, got {described(inputs)}.")
    pictures = torch.cat(shown)[:MOST_INPUTS] if shown else None
    return DepthInputs(
        samples=torch.cat(parts)[:MOST_INPUTS],
        pictures=None if pictures is None else pictures.numpy(),
        tokens=(),
        note=" ".join(notes),
        name=name,
    )


def _token_ids(
    model: LiveModel, inputs: Inputs, notes: list[str]
) -> tuple[Tensor, tuple[int, ...]]:
    """Token ids of one length, and whose they are: texts are cut to it, and shorter ones left out."""
    rows: list[Tensor] = []
    for batch in model.batches(inputs):
        if batch.token_ids is None:
            raise TypeError(f"`inputs` must be texts or token ids, got {described(inputs)}.")
        keep = [slice(None)] * batch.n if batch.keep is None else batch.keep
        rows += [ids[real] for ids, real in zip(batch.token_ids, keep, strict=True)]
    if len(rows) > MOST_INPUTS:
        notes.append(f"Only the first {MOST_INPUTS} of {len(rows)} texts are shown.")
        rows = rows[:MOST_INPUTS]
    lengths = [len(row) for row in rows]
    if min(lengths, default=0) < 2:
        raise ValueError(
            f"`inputs` must be texts of at least 2 tokens, got one of {min(lengths, default=0)}. Leave it out."
        )
    length = _common_length(lengths)
    kept = tuple(i for i, n in enumerate(lengths) if n >= length)
    if max(lengths) > length:
        notes.append(f"Texts are cut to {length} tokens.")
    if len(kept) < len(rows):
        notes.append(f"{len(rows) - len(kept)} of {len(rows)} texts are shorter and left out.")
    return torch.stack([rows[i][:length] for i in kept]), kept


def _common_length(lengths: Sequence[int]) -> int:
    """Return the length at which most tokens are shown, of half of the texts at least; of a few, of all.

    >>> _common_length([5, 40, 40, 50]), _common_length([5, 30])
    (40, 5)
    """
    ordered = sorted(min(n, LONGEST_TEXT) for n in lengths)
    least = len(ordered) // 2 if len(ordered) >= FEW_TEXTS else 0
    most = [(n * (len(ordered) - i), -n) for i, n in enumerate(ordered[: least + 1])]
    return -max(most)[1]


# -------------------------------------------------------------------------------------------------
# At which layers atoms are alive: how strongly an SAE of one layer fires on the states of every layer.


MOST_ROWS = 2000
"""States encoded per layer: enough for a mean, and a twentieth of a second each."""
ALIVE = 0.1
"""Share of its peak energy from which an atom counts as alive. Ours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomDepths:
    """Energy of every atom at every layer."""

    energy: Float[np.ndarray, "n_atoms layers"]
    """Mean z² over tokens, embeddings first."""

    scale: Float[np.ndarray, " layers"]
    """Factor for states of each layer that makes them as long as at the SAE's own."""

    home: int
    """Layer the SAE was trained at."""

    @property
    def birth(self) -> Int[np.ndarray, " n_atoms"]:
        """First layer with a tenth of the atom's peak energy; −1 for atoms that never fire."""
        alive = self._alive
        return np.where(alive.any(axis=1), alive.argmax(axis=1), -1)

    @property
    def death(self) -> Int[np.ndarray, " n_atoms"]:
        """Last layer with a tenth of the atom's peak energy; −1 for atoms that never fire."""
        alive = self._alive[:, ::-1]
        return np.where(alive.any(axis=1), alive.shape[1] - 1 - alive.argmax(axis=1), -1)

    @property
    def _alive(self) -> np.ndarray:
        peak = self.energy.max(axis=1, keepdims=True)
        return np.asarray((self.energy >= ALIVE * peak) & (peak > 0))

    def telling(self, count: int = 4) -> tuple[int, ...]:
        """Return atoms that peak in different parts of depth, the most energetic of each part first."""
        peaks, best = self.energy.argmax(axis=1), self.energy.max(axis=1)
        n_layers = self.energy.shape[1]
        parts = [[] for _ in range(count)]  # type: list[list[int]]
        for atom in np.argsort(-best, kind="stable"):
            if best[atom] > 0:
                parts[min(int(peaks[atom] * count / n_layers), count - 1)].append(int(atom))
        ranked = [part[i] for i in range(count) for part in parts if i < len(part)]
        return tuple(ranked[:count])


@checked
def atom_depths(
    sae: SparseAutoencoder,
    states: Float[Tensor, "n layers tokens d"],
    home: int,
    *,
    token_kinds: Sequence[str] | None = None,
    seed: Seed = 0,
) -> AtomDepths:
    """Encode states of every layer with one SAE.

    Norms grow with depth and the SAE knows those of its own layer, so states are scaled to the mean
    length there first.

    Parameters
    ----------
    home
        That layer: l for "resid_post.(l−1)".
    token_kinds
        Kind of every token; patches count where there are any, else tokens.
    seed
        Of the states taken where there are more than 2000.

    Raises
    ------
    ValueError: If the SAE has another width, or there is no such layer.
    """
    plain, kinds = check_states(states, token_kinds)
    if plain.shape[3] != sae.d_in or not 0 <= home < plain.shape[1]:
        raise ValueError(
            f"`sae` must have d_in={plain.shape[3]} and a layer below {plain.shape[1]}, got "
            f"d_in={sae.d_in} at layer {home}. Train it on the residual stream of this model."
        )
    rows = plain[:, :, content_tokens(kinds)].transpose(1, 2).flatten(0, 1)
    if len(rows) > MOST_ROWS:
        generator = torch.Generator().manual_seed(seed)
        rows = rows[torch.randperm(len(rows), generator=generator)[:MOST_ROWS]]
    lengths = rows.float().norm(dim=-1).mean(dim=0)
    scale = lengths[home] / lengths.clamp_min(1e-12)
    energy = np.zeros((sae.n_atoms, plain.shape[1]), np.float32)
    for layer in range(plain.shape[1]):
        with torch.no_grad():
            codes = sae.encode((rows[:, layer].float() * scale[layer]).to(sae.dictionary.device))
        atoms, values = codes.atoms.cpu().numpy(), codes.values.float().cpu().numpy()
        energy[:, layer] = np.bincount(atoms, values**2, sae.n_atoms) / len(rows)
    return AtomDepths(energy=energy, scale=scale.numpy(), home=home)


# -------------------------------------------------------------------------------------------------
# What a view of depth draws: similarity of layers with phases for every k, and strips over layers.


SIMILARITIES = ("raw", "centred", "cka")
SHORTEST_PHASE = 2
EVIDENCE_DRAWS = 100
"""Of each null that phases are compared with: p down to 0.01, in 20 ms for a dozen layers."""
MOST_PHASES = 6
"""Phases up to which cuts are prepared; a dozen layers hold no more that could be told apart. Ours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthSummary:
    """Similarity, phases and measurements of one model on some inputs; layers count from 0."""

    model_name: str
    n_inputs: int
    similarity: Mapping[str, Float[np.ndarray, "blocks blocks"]]
    """"raw", "centred" and "cka" between the outputs of blocks 1 … L."""

    phases: Mapping[str, Mapping[int, Phases]]
    """The best k phases, by similarity and k."""

    trajectories: Trajectories
    """Measurements of every token."""

    classes: Int[np.ndarray, " n"] | None
    """Class number of every input; None without labels."""

    class_names: tuple[str, ...]
    _evidence: dict[tuple[str, int], PhaseEvidence] = field(
        default_factory=dict, init=False, repr=False
    )

    @property
    def n_layers(self) -> int:
        """Blocks L."""
        return self.trajectories.n_layers

    @property
    def most_phases(self) -> int:
        """Largest k that has cuts."""
        return max(self.phases["raw"])

    def evidence(self, similarity: str, k: int) -> PhaseEvidence:
        """Compare the best k phases with shuffled layers and smooth bands; computed on first use."""
        known = self._evidence.get((similarity, k))
        if known is None:
            matrix = torch.from_numpy(self.similarity[similarity])
            shortest = min(SHORTEST_PHASE, self.n_layers)
            known = phase_evidence(matrix, k, shortest, draws=EVIDENCE_DRAWS)
            self._evidence[similarity, k] = known
        return known

    def gains(self, similarity: str) -> Float[np.ndarray, " ks"]:
        """Return share of all dissimilarity that lies between phases, for k = 1, 2, …."""
        return np.array([phases.gain for phases in self.phases[similarity].values()])


@checked
def summarise_depth(
    states: Float[Tensor, "n layers tokens d"],
    labels: Sequence[Any] | Tensor | np.ndarray | None = None,
    *,
    class_names: Sequence[str] | None = None,
    token_kinds: Sequence[str] | None = None,
) -> DepthSummary:
    """Measure states once for everything a view of depth shows.

    Parameters
    ----------
    labels
        Class of every input; None: no classes. One class only is taken as none.

    Raises
    ------
    TypeError, ValueError: If states, kinds and labels do not fit together.

    Example
    -------
    >>> import torch
    >>> states = torch.randn(6, 5, 3, 8, generator=torch.Generator().manual_seed(0))
    >>> summary = summarise_depth(states, token_kinds=["cls", "patch", "patch"])
    >>> summary.n_layers, summary.phases["raw"][1].cuts, summary.similarity["cka"].shape
    (4, (0, 4), (4, 4))
    """
    plain, kinds = check_states(states, token_kinds)
    classes, names = named_classes(labels, len(plain), class_names)
    readings = layer_similarity(plain, token_kinds=kinds).readings
    maps = {name: readings[name].detach().float().cpu() for name in SIMILARITIES}
    several = classes is not None and 1 < len(names) < len(plain)
    # The best contiguous phases for every k that leaves them long enough.
    shortest = min(SHORTEST_PHASE, plain.shape[1] - 1)
    most = max(min((plain.shape[1] - 1) // shortest, MOST_PHASES), 1)
    return DepthSummary(
        model_name=str(getattr(states, "model_name", None) or "this model"),
        n_inputs=len(plain),
        similarity={name: similarity.numpy() for name, similarity in maps.items()},
        phases={
            name: {k: segment_phases(similarity, k, shortest) for k in range(1, most + 1)}
            for name, similarity in maps.items()
        },
        trajectories=trajectories(plain, classes if several else None, token_kinds=kinds),
        classes=classes,
        class_names=names,
    )


def named_classes(
    labels: Sequence[Any] | Tensor | np.ndarray | None,
    n: int,
    class_names: Sequence[str] | None = None,
) -> tuple[Int[np.ndarray, " n"] | None, tuple[str, ...]]:
    """Return class numbers 0, 1, … and their names for labels of any kind."""
    if labels is None:
        return None, ()
    if isinstance(labels, Tensor):
        labels = check_data(labels, name="labels", what="classes").numpy(force=True)
    values = np.asarray(labels)
    if values.shape != (n,):
        raise ValueError(f"`labels` must have one entry per input ({n}), got shape {values.shape}.")
    present, classes = np.unique(values, return_inverse=True)
    known = list(class_names or ())
    numbered = values.dtype.kind in "iu" and present.min() >= 0 and present.max() < len(known)
    names = tuple(known[int(one)] if numbered else str(one) for one in present)
    return classes.reshape(-1).astype(np.int64), names
