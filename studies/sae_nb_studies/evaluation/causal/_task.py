"""The worth of a dictionary for one task of a live model: is it enough, is it needed, do few edits
control it.

With a the activation at one position of each input, x̂ its reconstruction, x̄ the mean over inputs:
sufficiency puts x̂ in the place of a, necessity x̄ + (a − x̂); an edit puts a + Σ_j (z'_j − z_j) d_j.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import check_one_place, reconstruction, written_codes
from sae_nb.checks import Resamples, Seed, check_count, checked
from sae_nb.classical import SupervisedDictionary
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import Measurement, Measurements, Resampling, outcome_index
from sae_nb.findings import Finding
from sae_nb.steering import Answers, check_hook_point, random_direction
from sae_nb.steering.edits import Where

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


Labels = Mapping[str, Sequence[Any] | np.ndarray | Tensor]
Answer = int | str | Sequence[int | str]
"""A class or token, by id or name; one for all inputs or one each."""

Rows = Float[Tensor, "n d_in"]


class SparseControl(Finding, Measurements[int]):
    """Share of inputs on which editing a few atoms has the effect of another input's whole activation."""

    HEADLINE = "answered alike, by atoms edited: {rows:.3g}; {atoms.len} inputs"

    rows: Mapping[int, Measurement]
    """By the number of atoms that may be edited: share of inputs answered alike."""

    atoms: tuple[tuple[int, ...], ...]
    """Edited for each input, in the order in which they were chosen; fewer edit the first of them."""

    left: Float[np.ndarray, "n budgets"]
    """‖a' − a_t‖ / ‖a − a_t‖ of every input: how far the edited activation still is from the target's."""

    removed: Float[np.ndarray, "n budgets"]
    """Σ_j z_j d_jᵀ(x̂ − b) / ‖x̂ − b‖² over edited atoms: how much of the reconstruction they were."""

    @checked
    def fewest(self, share: float = 0.8) -> int | None:
        """Return the fewest atoms whose editing reaches a share; None where none of those asked for does."""
        return next((k for k in sorted(self.rows) if self.rows[k].value >= share), None)


@checked(leave=("dictionary", "attributes"))
def sufficiency(
    model: LiveModel,
    hook_point: str,
    dictionary: SparseAutoencoder | SupervisedDictionary,
    inputs: Any,
    answers: Answer,
    others: Answer,
    *,
    attributes: Labels | None = None,
    positions: Where = "last",
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> Measurement:
    """Measure how much of a preference of the model is left when it runs on reconstructions.

    Σ L(x̂) / Σ L(a), with L the logit of the right answer less that of the other, and x̂ in the place of a.
    Its floor is the mean activation in that place, its control the reconstructions of other inputs.

    Parameters
    ----------
    inputs
        Texts, images or batches whose answers are classes or next tokens.
    dictionary
        An SAE, or a supervised dictionary with the `attributes` of the inputs.
    answers, others
        The model's answer, and a possible other answer: ids or names, one for all or one each.
    attributes
        Name → a label per input, for a supervised dictionary.
    positions
        One per input: "last", "cls", or a number.
    n_bootstrap, seed
        See `Measurement`.

    Raises
    ------
    TypeError, ValueError, HookPointNotFound: If the parts do not fit, there is not one position per input,
        or the model does not prefer `answers`.

    Source
    ------
    Makelov, Lange and Nanda, "Towards Principled Evaluations of Sparse Autoencoders for Interpretability and
    Control", arXiv 2405.08366, §4. Floor and control are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a", "b"])
    >>> x = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> s = sn.supervised_dictionary(x, {"side": ["a", "b"]})
    >>> sufficiency(
    ...     model, "0", s, x, ["a", "b"], ["b", "a"], attributes={"side": ["a", "b"]}, positions=None
    ... ).value
    1.0
    """
    task = _Task(model, inputs, hook_point, dictionary, attributes, positions)
    right = task.preferred(answers, others)
    clean = right(task.runs.clean)
    mean = task.x.mean(dim=0).expand_as(task.x)
    return Resampling(n_bootstrap, seed).ratio(
        "task_sufficiency",
        right(task.put(task.x_hat)),
        clean,
        floor=right(task.put(mean)).sum() / clean.sum(),
        control=right(task.put(task.x_hat[task.shuffled(seed)])).sum() / clean.sum(),
    )


@checked(leave=("dictionary", "attributes"))
def necessity(
    model: LiveModel,
    hook_point: str,
    dictionary: SparseAutoencoder | SupervisedDictionary,
    inputs: Any,
    answers: Answer,
    others: Answer,
    *,
    attributes: Labels | None = None,
    positions: Where = "last",
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> Measurement:
    """Measure how much of a preference of the model goes when what a dictionary explains is taken away.

    Σ (L(a) − L(x̄ + a − x̂)) / Σ (L(a) − L(x̄)): the drop, as a share of what the mean activation in that
    place costs. Its floor is 0, its control takes away the reconstructions of other inputs.

    Parameters
    ----------
    model, inputs, hook_point, dictionary, answers, others, attributes, positions, n_bootstrap, seed
        As in `sufficiency`.

    Raises
    ------
    TypeError, ValueError, HookPointNotFound: As `sufficiency`; also if the mean activation costs nothing.

    Source
    ------
    arXiv 2405.08366, §4. The control is ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a", "b"])
    >>> x = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> s = sn.supervised_dictionary(x, {"side": ["a", "b"]})
    >>> necessity(
    ...     model, "0", s, x, ["a", "b"], ["b", "a"], attributes={"side": ["a", "b"]}, positions=None
    ... ).value
    1.0
    """
    task = _Task(model, inputs, hook_point, dictionary, attributes, positions)
    right = task.preferred(answers, others)
    clean, mean = right(task.runs.clean), task.x.mean(dim=0)
    below = clean - right(task.put(mean.expand_as(task.x)))
    if below.sum() <= 0:
        raise ValueError(
            f'`hook_point` must matter to the answers, but with the mean activation at "{hook_point}" the '
            f"model prefers them by {-below.mean():.3g} more. Pass another hook point or position."
        )
    others_hat = task.x_hat[task.shuffled(seed)]
    without, control = (
        clean - right(task.put(mean + task.x - taken)) for taken in (task.x_hat, others_hat)
    )
    return Resampling(n_bootstrap, seed).ratio(
        "task_necessity", without, below, floor=0.0, control=control.sum() / below.sum()
    )


@checked(leave=("dictionary", "attributes", "target_attributes"))
def sparse_control(
    model: LiveModel,
    hook_point: str,
    dictionary: SparseAutoencoder | SupervisedDictionary,
    inputs: Any,
    targets: Any,
    *,
    budgets: Sequence[int] = (2, 4, 6),
    attributes: Labels | None = None,
    target_attributes: Labels | None = None,
    positions: Where = "last",
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> SparseControl:
    """Measure how few atoms have to be edited until the model answers as another input's activation makes it.

    For each input, atoms of its code and of its target's are moved to the value that they have in the
    target, a' = a + Σ_j (z_tj − z_j) d_j, one after the other: always the one that brings a' nearest to
    a_t, as long as any does. No label is asked what an atom means. The score is the share of inputs
    whose likeliest answer with a' is that with a_t in the place of a. Its floor is the answer without
    an edit, its control a random direction as long as the edit.

    Parameters
    ----------
    inputs, targets
        Pairs of texts, images or batches, in one order: what the model runs on, and what it should answer.
    dictionary
        An SAE, or a supervised dictionary with `attributes` and `target_attributes`.
    budgets
        Most atoms edited: with two values per attribute, 2 are one swap.
    attributes, target_attributes
        Name → a label per input, and per target, for a supervised dictionary.
    positions
        One per input, as in `sufficiency`; the same place in the targets.
    n_bootstrap, seed
        See `Measurement`.

    Raises
    ------
    TypeError, ValueError, HookPointNotFound: If the parts do not fit, there are not as many targets as
        inputs, or a dictionary's reconstruction is not a sum of its atoms.

    Source
    ------
    arXiv 2405.08366, §4 ("sparse control", interpretation-agnostic). There an atom is removed or added; in
    ours one that is in both codes moves from one value to the other, and counts once. The control is ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a", "b"])
    >>> x, labels = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), {"side": ["a", "b"]}
    >>> s = sn.supervised_dictionary(x, labels)
    >>> found = sparse_control(
    ...     model, "0", s, x, x.flip(0), budgets=[2], attributes=labels,
    ...     target_attributes={"side": ["b", "a"]}, positions=None,
    ... )
    >>> found[2].value, found[2].floor, found.fewest(), found.atoms[0]
    (1.0, 0.0, 2, (0, 1))
    """
    budgets = [check_count(k, name="budgets") for k in budgets]
    if not budgets:
        raise ValueError("`budgets` must name at least one number of atoms, got none.")
    task = _Task(model, inputs, hook_point, dictionary, attributes, positions)
    aim = _Task(model, targets, hook_point, dictionary, target_attributes, positions, "targets")
    if aim.runs.n != task.runs.n:
        raise ValueError(
            f"`targets` must be one for each of {task.runs.n} inputs, got {aim.runs.n}. Pair them up."
        )
    wanted = _likeliest(task.put(aim.x))
    found = [_greedy(task, aim, i, max(budgets)) for i in range(task.runs.n)]
    resampling, rows = Resampling(n_bootstrap, seed), {}
    floor = (_likeliest(task.runs.clean) == wanted).mean()
    for k in budgets:
        moved = torch.stack([one.moves[min(k, len(one.atoms))] for one in found])
        alike = _likeliest(task.put(task.x + moved)) == wanted
        control = _likeliest(task.put(task.x + task.random_like(moved, seed))) == wanted
        rows[k] = resampling.mean(
            "sparse_control", alike.astype(float), floor=floor, control=control.mean()
        )
    return SparseControl(
        rows=rows,
        atoms=tuple(one.atoms for one in found),
        left=np.array([[one.left[min(k, len(one.atoms))] for k in budgets] for one in found]),
        removed=np.array([[sum(one.weights[:k]) for k in budgets] for one in found]),
    )


@checked
def edit_success(
    model: LiveModel,
    hook_point: str,
    dictionary: SupervisedDictionary,
    inputs: Any,
    attribute: str,
    value: Any,
    answers: Answer,
    *,
    was: Sequence[Any] | np.ndarray | Tensor | None = None,
    positions: Where = "last",
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> Measurement:
    """Measure how often a model gives an answer once one attribute of its activation is edited.

    The share of inputs whose likeliest answer is `answers` with `dictionary.edit(a, attribute, value)` in
    the place of a. Its floor is the share that answers so without the edit, its control a random direction
    as long as the edit.

    Parameters
    ----------
    attribute, value, was
        As in `SupervisedDictionary.edit`: what is changed, to what, and from what (None reads it off a).
    answers
        Answer that the edit should cause: ids or names, one for all or one each.
    model, inputs, hook_point, positions, n_bootstrap, seed
        As in `sufficiency`.

    Raises
    ------
    TypeError, ValueError, HookPointNotFound: As `sufficiency`; if the attribute or a value is unknown.

    Source
    ------
    arXiv 2405.08366, §3: a' = a − u_{i = v} + u_{i = v'}. The control is ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a", "b"])
    >>> x = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> s = sn.supervised_dictionary(x, {"side": ["left", "right"]})
    >>> found = edit_success(model, "0", s, x, "side", "right", "b", positions=None)
    >>> found.value, found.floor
    (1.0, 0.5)
    """
    dictionary.atom(attribute, value)
    runs, x = _read(model, inputs, hook_point, dictionary.dictionary.shape[1], positions, "inputs")
    wanted = _ids(model, runs, answers, "answers").numpy()
    edited = dictionary.edit(x, attribute, value, was=was)
    control = x + _random_like(edited - x, seed)
    success, floor, chance = (
        _likeliest(answer) == wanted
        for answer in (_put(runs, edited), runs.clean, _put(runs, control))
    )
    return Resampling(n_bootstrap, seed).mean(
        "edit_success", success.astype(float), floor=floor.mean(), control=chance.mean()
    )


# -------------------------------------------------------------------------------------------------
# One activation per input, and the model run again with others in its place.


class _Task:
    """Inputs of a model, the activation of each at one position, its code and reconstruction."""

    def __init__(
        self,
        model: LiveModel,
        inputs: Any,
        hook_point: str,
        dictionary: Any,
        attributes: Labels | None,
        positions: Where,
        name: str = "inputs",
    ) -> None:
        supervised = isinstance(dictionary, SupervisedDictionary)
        _check_dictionary(dictionary, attributes, supervised)
        self.atoms = dictionary.dictionary.detach().float().cpu()
        self.runs, self.x = _read(model, inputs, hook_point, self.atoms.shape[1], positions, name)
        with torch.no_grad():
            if supervised:
                self.codes = dictionary.codes(attributes)
                if self.codes.n_rows != self.runs.n:
                    raise ValueError(
                        f"`attributes` must have one label for each of {self.runs.n} {name}, got "
                        f"{self.codes.n_rows}."
                    )
                self.bias = dictionary.mean
                self.x_hat = self.bias + self.codes @ self.atoms
            else:
                x = self.x.to(dictionary.dictionary)
                codes = dictionary.encode(x)
                self.x_hat = reconstruction(dictionary, codes, x).float().cpu()
                self.codes = written_codes(dictionary, codes, x).detach().to("cpu")
                self.bias = (self.x_hat - self.codes @ self.atoms).mean(dim=0)

    def put(self, rows: Rows) -> Float[Tensor, "n outcomes"]:
        """Return the answers with other activations in the place of those of the inputs."""
        return _put(self.runs, rows)

    def preferred(self, answers: Answer, others: Answer) -> Any:
        """Return the function that measures by how much answers prefer the right one, if they do
        without an edit.
        """
        model, runs = self.runs.model, self.runs
        right, other = (
            _ids(model, runs, given, name)
            for given, name in ((answers, "answers"), (others, "others"))
        )
        rows = torch.arange(runs.n)

        def preference(outputs: Float[Tensor, "n outcomes"]) -> Float[np.ndarray, " n"]:
            logits = outputs.detach().cpu().double()
            return (logits[rows, right] - logits[rows, other]).numpy()

        if (mean := preference(runs.clean).mean()) <= 0:
            raise ValueError(
                f"`answers` must be what {model.name} prefers to `others`, got a mean difference of "
                f"logits of {mean:.3g}. Pass inputs that it answers."
            )
        return preference

    def shuffled(self, seed: int) -> Int[Tensor, " n"]:
        """Return another input for each, by a turn of a random order: none keeps its own."""
        order = torch.randperm(self.runs.n, generator=torch.Generator().manual_seed(seed))
        other = torch.empty_like(order)
        other[order] = order.roll(1)
        return other

    def random_like(self, moved: Rows, seed: int) -> Rows:
        """Return a random direction for each input, as long as its edit."""
        return _random_like(moved, seed)


class _Putting:
    """Puts one given row per input in the place of what passes, batch after batch."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.at = rows, 0

    def __call__(self, x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
        some = self.rows[self.at : self.at + len(x)].to(x)
        self.at += len(x)
        return some[:, None].expand_as(x)


def _put(runs: Answers, rows: Rows) -> Float[Tensor, "n outcomes"]:
    return runs.under(runs.replacing(_Putting(rows)))


def _read(
    model: LiveModel, inputs: Any, hook_point: str, d_in: int, positions: Where, name: str
) -> tuple[Answers, Rows]:
    """The clean answers, and the activation at the one position of each input."""
    check_hook_point(model, hook_point, width=d_in, what="the dictionary")
    runs = Answers(model, inputs, hook_point, positions=positions, scored=True)
    seen = runs.edited_rows()
    if any(bool((mask.sum(dim=1) != 1).any()) for _, mask in seen):
        raise ValueError(
            f"`positions` must be one per input, got {positions!r}, which is not so for all `{name}`. "
            'Use "last", "cls" or a number.'
        )
    return runs, torch.cat([x for x, _ in seen])


def _check_dictionary(dictionary: Any, attributes: Labels | None, supervised: bool) -> None:
    if supervised:
        if attributes is None:
            raise TypeError(
                "`attributes` must say what a supervised dictionary's code is of, got None. Pass a label "
                f"per input for each of {list(dictionary.values)}."
            )
        return
    check_one_place(dictionary, name="dictionary")
    if attributes is not None:
        raise TypeError(
            f"`attributes` are for a supervised dictionary, got {type(dictionary).__name__}, which reads "
            "its codes off activations. Leave them out."
        )
    if not getattr(dictionary, "additive", True):
        raise ValueError(
            f"`dictionary` must reconstruct by the sum of its atoms, which {type(dictionary).__name__} "
            "does not. Use another SAE, such as sn.TopK."
        )


def _ids(model: LiveModel, runs: Answers, given: Answer, name: str) -> Int[Tensor, " n"]:
    """One class or token per input, from one for all or one each."""
    one = isinstance(given, str) or not isinstance(given, Sequence | Tensor | np.ndarray)
    listed = [given] * runs.n if one else list(given)  # type: ignore[arg-type]
    if len(listed) != runs.n:
        raise ValueError(
            f"`{name}` must be one for all or one for each of {runs.n} inputs, got {len(listed)}."
        )
    n = runs.clean.shape[1]
    return torch.tensor(
        [
            outcome_index(model, one, n, otherwise="one for each input", argument=name)
            for one in listed
        ]
    )


def _likeliest(outputs: Float[Tensor, "n outcomes"]) -> Int[np.ndarray, " n"]:
    return np.asarray(outputs.argmax(dim=-1).cpu())


def _random_like(moved: Rows, seed: int) -> Rows:
    drawn = torch.stack(
        [random_direction(moved.shape[1], seed=seed * len(moved) + i) for i in range(len(moved))]
    )
    return drawn * moved.norm(dim=1, keepdim=True)


# -------------------------------------------------------------------------------------------------
# Which atoms bring an activation nearest to another one.


class _Chosen(NamedTuple):
    """The atoms that were edited for one input, and what each number of them does."""

    atoms: tuple[int, ...]
    moves: list[Float[Tensor, " d_in"]]
    """a' − a after 0, 1, … edits; then ‖a' − a_t‖ / ‖a − a_t‖."""

    left: list[float]
    weights: list[float]
    """Of each edited atom, as a share of the reconstruction that it was."""


def _greedy(task: _Task, aim: _Task, i: int, most: int) -> _Chosen:
    """Move atoms of input i to their values in its target, the most helpful first."""
    atoms, before, after = _of_both(task.codes, aim.codes, i)
    rows = task.atoms[atoms].double()
    steps = (after - before)[:, None] * rows
    gap, sizes = (aim.x[i] - task.x[i]).double(), steps.square().sum(dim=1)
    centred = (task.x_hat[i] - task.bias).double()
    shares = before * (rows @ centred) / centred.square().sum().clamp_min(1e-12)
    far = float(gap.norm().clamp_min(1e-12))
    chosen, moves, left = list[int](), [torch.zeros_like(gap)], [1.0]
    rest, free = gap.clone(), torch.ones(len(atoms), dtype=torch.bool)
    while len(chosen) < min(most, len(atoms)):
        gain = (2 * (steps @ rest) - sizes).masked_fill(~free, -torch.inf)
        best = int(gain.argmax())
        if not float(gain[best]) > 0:
            break
        free[best] = False
        chosen.append(best)
        rest = rest - steps[best]
        moves.append(gap - rest)
        left.append(float(rest.norm()) / far)
    return _Chosen(
        tuple(int(atoms[j]) for j in chosen),
        [move.float() for move in moves],
        left,
        [float(shares[j]) for j in chosen],
    )


def _of_both(
    first: SparseCodes, second: SparseCodes, i: int
) -> tuple[Int[Tensor, " m"], Float[Tensor, " m"], Float[Tensor, " m"]]:
    """The atoms of either code of row i, and their strengths in both."""
    parts = []
    for codes in (first, second):
        entries = slice(int(codes.offsets[i]), int(codes.offsets[i + 1]))
        parts.append((codes.atoms[entries].long(), codes.values[entries].double()))
    atoms = torch.unique(torch.cat([one for one, _ in parts]))
    strengths = [
        torch.zeros(len(atoms), dtype=torch.float64).index_add_(
            0, torch.searchsorted(atoms, one), values
        )
        for one, values in parts
    ]
    return atoms, strengths[0], strengths[1]
