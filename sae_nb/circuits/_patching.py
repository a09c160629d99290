"""The atoms that turn one answer into another: an atom's code of one input put into the run of another.

With x the activations of the corrupted input and z, z' the codes of the clean and the corrupted one, atom j is
patched by x + Σ_t (z_tj − z'_tj) d_j at every position t. Attribution patching is the first-order estimate of
what that does, for all atoms by one backward pass: Σ_t (z_tj − z'_tj) ⟨d_j, ∂m/∂x_t⟩.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations._sites import written_codes
from sae_nb.capturing._batch_rows import batch_rows
from sae_nb.checks import Count, Seed, at_least, checked, is_array
from sae_nb.circuits._asked import (
    Measure,
    blocks,
    check_span,
    measured_copies,
    read_target,
    top_answers,
    written_at,
)
from sae_nb.circuits._graph_sites import check_equal_tokens, one_by_one, position_texts
from sae_nb.findings import Finding
from sae_nb.models._running import run
from sae_nb.steering._request import policy_for

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.circuits._asked import Question, Questions
    from sae_nb.models import HookPoint, LiveModel
    from sae_nb.models._answers import AnswerKind
    from sae_nb.models._inputs import Batch


class Patching(Finding):
    """The part of clean − corrupted answers that atoms bring back; made by `patch_atoms`."""

    hook_point: str
    name: str
    """Name of the measure of the answers."""

    n_pairs: int
    clean: float
    corrupted: float
    """Of it, the means over pairs: logits, or the function's units."""

    estimated: Float[np.ndarray, " n_atoms"]
    """Share that an atom brings back, to first order; 0 where its code does not differ."""

    measured: Float[np.ndarray, " n_atoms"]
    """The same in the running model; NaN for atoms that were not run."""

    chosen: Int[np.ndarray, " n"]
    """The atoms with the largest estimates, first the largest."""

    random: Int[np.ndarray, " n_random"]
    """Others among those whose codes differ."""

    all_atoms: float
    """Share that all atoms bring back together; what the SAE misses stays corrupted."""

    everything: float
    """Share that the clean activations bring back: 1 at a place that all of the answer passes."""

    @property
    def table(self) -> DataFrame:
        """The atoms that were run: `atom`, `estimated`, `measured`, `chosen` (else drawn at random)."""
        import pandas as pd

        atoms = np.concatenate([self.chosen, self.random])
        return pd.DataFrame(
            {
                "atom": atoms,
                "estimated": self.estimated[atoms],
                "measured": self.measured[atoms],
                "chosen": np.arange(len(atoms)) < len(self.chosen),
            }
        )

    @property
    def agreement(self) -> float:
        """Correlation of estimates with measurements over the atoms that were run."""
        table = self.table
        if len(table) < 2:
            return float("nan")
        return float(np.corrcoef(table.estimated, table.measured)[0, 1])

    @property
    def wrong_signs(self) -> float:
        """Share of the chosen atoms that do the opposite of what was estimated."""
        estimated, measured = (of[self.chosen] for of in (self.estimated, self.measured))
        return float(np.mean(np.sign(estimated) != np.sign(measured)))

    @property
    def headline(self) -> str:
        """The answer that all atoms bring back, the first ones, and random ones."""
        return (
            f"{self.name} at {self.hook_point}: {self.corrupted:.2f} → {self.clean:.2f}; all atoms "
            f"bring {self.all_atoms:.2f} of it back, the first {len(self.chosen)} one by one "
            f"{self.measured[self.chosen].sum():.2f}, random ones {self.measured[self.random].sum():.2f}"
        )


Direction = Literal["denoise", "noise"]
States = Mapping[str, Float[Tensor, "1 places d"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """A run that is changed, and the states that are put into it."""

    base: Batch
    other: Batch
    x: States
    source: States
    slopes: States
    """∂m/∂x of the run that is changed."""

    measure: Measure
    start: float
    end: float
    """Of the answers, the number that is followed: in the run that is changed, and in the other."""

    tokens: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Atoms:
    """What of a clean and a corrupted input differs in atoms, position by position."""

    pair: Pair
    moved: Float[Tensor, "time d_in"]
    """Clean − corrupted activations."""

    position: Int[Tensor, " entries"]
    atom: Int[Tensor, " entries"]
    difference: Float[Tensor, " entries"]
    """z − z' of every atom that fires in either; an atom that fires in both has two entries."""

    slope: Float[Tensor, " entries"]
    """⟨d, ∂m/∂x⟩ in the corrupted run."""


class _Runs:
    """The live model at one place, with an SAE's atoms to put there."""

    def __init__(self, model: LiveModel, sae: SparseAutoencoder, place: HookPoint) -> None:
        self.model, self.sae, self.place = model, sae, place
        self.atoms = sae.dictionary.detach().float()
        self.policy = policy_for(model, sae)

    def atoms_of(self, pair: Pair) -> _Atoms:
        """Return what the codes of a pair differ in; an atom that fires in both has two entries."""
        name, found = str(self.place), []
        x, y = pair.source[name], pair.x[name]
        for batch, activations, sign in ((pair.other, x, 1.0), (pair.base, y, -1.0)):
            kept = batch_rows(activations.cpu(), batch, self.policy, name)
            rows = kept.without_massive(self.policy, self.place).position.to(x.device)
            with torch.no_grad():
                read = activations.reshape(-1, x.shape[-1])[rows].float()
                codes = written_codes(self.sae, self.sae.encode(read), read)
            values = sign * codes.values.float()
            found.append((rows[codes.support.rows], codes.atoms.long(), values))
        position, atom, difference = (torch.cat(parts) for parts in zip(*found, strict=True))
        along = pair.slopes[name].reshape(-1, x.shape[-1]).float()
        return _Atoms(
            pair=pair,
            moved=(x - y).float().reshape(along.shape),
            position=position,
            atom=atom,
            difference=difference,
            slope=(along[position] * self.atoms[atom]).sum(dim=1),
        )

    def brought_back(
        self, pair: Pair, moved: Sequence[Float[Tensor, "time d_in"]]
    ) -> Float[np.ndarray, " n"]:
        """Return what adding a vector at every position changes of the corrupted answer, for each of some."""
        several = torch.stack(list(moved))

        def add(x: Tensor) -> Tensor:
            return x + several.reshape(x.shape).to(x)

        puts = [(self.place, add)]
        found = measured_copies(self.model, pair.base, len(several), puts, pair.measure)
        return found.double().numpy() - pair.start

    def of_atom(self, pair: _Atoms, atom: int | None = None) -> Float[Tensor, "time d_in"]:
        """Return what an atom, or all of them, would add to the corrupted run; nothing is dense in atoms."""
        keep = slice(None) if atom is None else pair.atom == atom
        parts = pair.difference[keep, None] * self.atoms[pair.atom[keep]]
        return torch.zeros_like(pair.moved).index_add_(0, pair.position[keep], parts)


@checked(leave=("clean", "corrupted", "target"))
def patch_atoms(
    model: LiveModel,
    sae: SparseAutoencoder,
    clean: Inputs,
    corrupted: Inputs,
    *,
    target: Questions = None,
    n: Count = 10,
    n_random: Annotated[int, at_least(0)] = 10,
    seed: Seed = 0,
) -> Patching:
    """Find the atoms that make the clean answer out of the corrupted one, by putting their codes there.

    All atoms are estimated by one backward pass a pair (attribution patching); the `n` largest estimates, and
    others at random, are then measured in the running model (activation patching), one at a time.

    Parameters
    ----------
    sae
        Of one place of the model, `sae.hook_point`.
    clean, corrupted
        One input each or lists of equal length; the two of a pair have equally many positions.
    target
        As in `patch`.
    n, n_random
        Atoms to measure; fewer where fewer differ.

    Raises
    ------
    ValueError, TypeError: If the pairs do not align, are answered alike, or the SAE does not fit.

    Source
    ------
    Activation patching: Meng et al., arXiv 2202.05262; attribution patching: Syed et al., arXiv 2310.10348;
    of atoms: Marks et al., arXiv 2403.19647, without the integrated gradients that they add.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> found = patch_atoms(gpt, sae, "One day she was", "One day he was", target=" her", n=3)
    >>> found.table.columns.tolist()
    ['atom', 'estimated', 'measured', 'chosen']
    """
    rng = np.random.default_rng(seed)
    runs = _Runs(model, sae, written_at(sae, model))
    names, pairs = both_runs(model, [runs.place], clean, corrupted, target)
    differing = [runs.atoms_of(pair) for pair in pairs]
    span = float(np.mean([pair.end - pair.start for pair in pairs]))
    check_span(span, pairs[0].end)

    def shares(of: Callable[[_Atoms], Sequence[Tensor]]) -> Float[np.ndarray, " n"]:
        moved = [runs.brought_back(one.pair, of(one)) for one in differing]
        return np.asarray(np.mean(moved, axis=0) / span)

    def each_of(pair: _Atoms, atoms: Sequence[int]) -> list[Tensor]:
        return [runs.of_atom(pair, atom) for atom in atoms]

    estimated = _estimated(differing, sae.n_atoms) / span
    order = np.argsort(-np.abs(estimated), kind="stable")
    chosen, rest = order[:n], order[n:]
    chosen, rest = (atoms[estimated[atoms] != 0] for atoms in (chosen, rest))
    random = rng.choice(rest, min(n_random, len(rest)), replace=False)
    measured = np.full(sae.n_atoms, np.nan)
    run = np.concatenate([chosen, random])
    for block in blocks(len(run)):
        atoms = run[block]
        measured[atoms] = shares(partial(each_of, atoms=atoms.tolist()))
    all_atoms, everything = shares(lambda pair: [runs.of_atom(pair), pair.moved])
    return Patching(
        hook_point=str(runs.place),
        name=names.pop() if len(names) == 1 else "the clean answer − the corrupted one",
        n_pairs=len(pairs),
        clean=float(np.mean([pair.end for pair in pairs])),
        corrupted=float(np.mean([pair.start for pair in pairs])),
        estimated=estimated,
        measured=measured,
        chosen=chosen,
        random=random,
        all_atoms=float(all_atoms),
        everything=float(everything),
    )


def _paired(
    model: LiveModel, clean: Inputs, corrupted: Inputs, target: Questions
) -> list[tuple[Batch, Batch, Question]]:
    """Return each clean input, its corrupted one, and what is asked of the two."""
    batches = [one_by_one(model, inputs) for inputs in (clean, corrupted)]
    n = len(batches[0])
    if n != len(batches[1]):
        raise ValueError(
            f"`clean` and `corrupted` must hold equally many inputs, got {n} and {len(batches[1])}."
        )
    return list(zip(*batches, of_each(target, n), strict=True))


def of_each(target: Any, n: int, name: str = "target") -> list[Any]:
    """Return what is asked of each of n inputs, or pairs: of all the same, or of each its own.

    A tuple of two outcomes is their difference, of two lists that of each pair.
    """
    target = target.tolist() if is_array(target) else target
    if isinstance(target, tuple):
        target = tuple(one.tolist() if is_array(one) else one for one in target)
        kinds = {type(one) for one in target}
        if kinds == {list} and len(target) == 2:
            return list(zip(*(of_each(one, n, name) for one in target), strict=True))
        if kinds == {tuple} or len(target) != 2:
            target = list(target)
    if not isinstance(target, list):
        return [target] * n
    if len(target) != n:
        raise ValueError(
            f"`{name}` as a list must have one entry for each {'pair' if name == 'target' else 'input'}, got "
            f"{len(target)} for {n}. A pair of outcomes is a tuple."
        )
    return [tuple(one) if isinstance(one, list) else one for one in target]  # rows of an array


def _estimated(pairs: Sequence[_Atoms], n_atoms: int) -> Float[np.ndarray, " n_atoms"]:
    """Return the first-order estimate of what each atom brings back, a mean over the pairs."""
    found = np.zeros(n_atoms)
    for pair in pairs:
        each = (pair.difference * pair.slope).double().cpu().numpy()
        np.add.at(found, pair.atom.cpu().numpy(), each / len(pairs))
    return found


def _own_target(
    model: LiveModel, target: Question, clean: Tensor, corrupted: Tensor, kind: AnswerKind
) -> Question:
    """Return the requested target, or the two top answers."""
    if target is not None:
        return target
    if kind == "vector":
        raise ValueError(
            "`target` must be given where the model answers with neither tokens nor classes. Pass a "
            "function of the answer."
        )
    return top_answers(model, clean, corrupted, "`clean` and `corrupted`")


def both_runs(
    model: LiveModel,
    places: Sequence[HookPoint],
    clean: Inputs,
    corrupted: Inputs,
    target: Questions,
    direction: Direction = "denoise",
) -> tuple[set[str], list[Pair]]:
    """Run each pair of inputs, the one that is changed with its graph."""
    names, pairs = set(), []
    for one, other, asked_of in _paired(model, clean, corrupted, target):
        base, source = (other, one) if direction == "denoise" else (one, other)
        with torch.no_grad():
            away = run(model, source, read=places, answer="end")
        with torch.enable_grad():
            here = run(model, base, read=places, grad=places, answer="end")
            answers = (away, here) if direction == "denoise" else (here, away)
            answer, second = (ran.answer.one() for ran in answers)
            kind = answers[0].answer.kind
            _check_shapes(model, one, other, here.states, away.states)
            own = _own_target(model, asked_of, answer, second, kind)
            name, measure = read_target(model, answer, kind, own)
            value = measure(here.answer.one())
            slopes = here.gradients(value)
        names.add(name)
        x = {str(p): here.states[str(p)].detach() for p in places}
        pairs.append(
            Pair(
                base=base,
                other=source,
                x=x,
                source={str(p): away.states[str(p)] for p in places},
                slopes={str(p): slopes.get(str(p), torch.zeros_like(x[str(p)])) for p in places},
                measure=measure,
                start=float(value.detach()),
                end=float(measure(away.answer.one())),
                tokens=_columns(model, one, other, x[str(places[0])].shape[1]),
            )
        )
    return names, pairs


def _columns(model: LiveModel, clean: Batch, corrupted: Batch, n: int) -> tuple[str, ...]:
    one, other = (position_texts(model, batch, n) for batch in (clean, corrupted))
    return tuple(a if a == b else f"{a} → {b}" for a, b in zip(one, other, strict=True))


def _check_shapes(
    model: LiveModel, clean: Batch, corrupted: Batch, here: States, away: States
) -> None:
    name = next((name for name in here if here[name].shape != away[name].shape), None)
    if name is None:
        return
    check_equal_tokens(model, clean, corrupted, "`clean` and `corrupted`")
    raise ValueError(
        "`clean` and `corrupted` must have equally many positions, got states of shapes "
        f"{tuple(away[name].shape)} and {tuple(here[name].shape)}. Pass inputs of one shape."
    )
