"""supervised_dictionary: one direction for each value of attributes that are known, the ceiling for an SAE."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.checks import check_matrix, checked, one_of, shown
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import index_dtype

Labels = Sequence[Any] | np.ndarray | Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class SupervisedDictionary:
    """x̂ = x̄ + Σ_i u_{i = v}: an atom per attribute, chosen by labels and not by an encoder."""

    mean: Float[Tensor, " d_in"]
    dictionary: Float[Tensor, "n_values d_in"]
    """u, in the units of activations: not unit norm. Over the rows it was fitted on, those of an attribute
    average to zero."""

    values: Mapping[str, tuple[Any, ...]]
    """Each attribute's values, in the order of their rows."""

    covariance: Float[Tensor, "d_in d_in"]
    """Of what the attributes leave, shrunk; `read` measures distances by it."""

    @property
    def names(self) -> tuple[str, ...]:
        """Label of each row: "digit = 4"."""
        return tuple(f"{name} = {value}" for name, some in self.values.items() for value in some)

    @checked
    def atom(self, attribute: str, value: object) -> int:
        """Return the row of an attribute's value.

        Raises
        ------
        ValueError: If there is no such attribute, or it has no such value; those there are are listed.
        """
        one_of(attribute, tuple(self.values), name="attribute")
        known = self.values[attribute]
        plain = _plain(value)
        if not isinstance(plain, Hashable) or isinstance(plain, Tensor) or plain not in known:
            raise ValueError(
                f"`value` must be one of {list(known)} for {attribute}, got {shown(value)}."
            )
        return self._first(attribute) + known.index(plain)

    @checked
    def codes(self, attributes: Mapping[str, Labels]) -> SparseCodes:
        """Return the code that labels give: one atom per attribute, of strength 1.

        Raises
        ------
        ValueError: If an attribute is missing or unknown, lengths differ, or a value was not seen.

        Example
        -------
        >>> x = torch.tensor([[0.0, 1], [2, 1], [0, 3], [2, 3]])
        >>> s = supervised_dictionary(x, {"side": ["left", "right"] * 2, "up": [0, 0, 1, 1]})
        >>> s.codes({"side": ["right"], "up": [0]}).atoms.tolist()
        [1, 2]
        """
        if set(attributes) != set(self.values):
            raise ValueError(
                f"`attributes` must name {sorted(self.values)}, got {sorted(attributes)}. Leave none out."
            )
        columns = [_listed(attributes[name]) for name in self.values]
        lengths = [len(labels) for labels in columns]
        if len(set(lengths)) > 1:
            raise ValueError(f"`attributes` must have one length, got {lengths}.")
        atoms = torch.tensor(
            [
                self.atom(name, label)
                for row in zip(*columns, strict=True)
                for name, label in zip(self.values, row, strict=True)
            ]
        ).to(index_dtype(len(self.dictionary)))
        offsets = torch.arange(0, len(atoms) + 1, len(columns), dtype=torch.int64)
        values = torch.ones(len(atoms), dtype=self.dictionary.dtype)
        return SparseCodes(values, atoms, offsets, len(self.dictionary))

    @checked
    def reconstruct(self, attributes: Mapping[str, Labels]) -> Float[Tensor, "n d_in"]:
        """Return the rows that attributes alone give: x̄ + Σ_i u_{i = v}.

        Raises
        ------
        ValueError: If an attribute is missing or unknown, lengths differ, or a value was not seen.
        """
        rows: Tensor = self.mean + self.codes(attributes) @ self.dictionary
        return rows

    @checked
    def read(self, x: Float[Tensor, "n d_in"], attribute: str) -> tuple[Any, ...]:
        """Return the value of an attribute that each row is nearest to, among noise of `covariance`.

        The other attributes are in that noise: a linear discriminant whose means are x̄ + u.
        """
        rows = check_matrix(x, name="x")
        first, known = self.atom(attribute, self.values[attribute][0]), self.values[attribute]
        u = self.dictionary[first : first + len(known)]
        weight = torch.linalg.solve(self._seen_noise(attribute), u.double().T)
        score = (rows.double() - self.mean.double()) @ weight
        score -= 0.5 * (u.double().T * weight).sum(dim=0)
        return tuple(known[i] for i in score.argmax(dim=1).tolist())

    @checked
    def edit(
        self,
        x: Float[Tensor, "n d_in"],
        attribute: str,
        value: object,
        *,
        was: Labels | None = None,
    ) -> Float[Tensor, "n d_in"]:
        """Return rows with one attribute changed: x − u_{i = v} + u_{i = v'}.

        Parameters
        ----------
        value
            v', the same for all rows.
        was
            v, one per row; None reads it off the row.

        Raises
        ------
        ValueError: If a value was not seen, or `was` has another length.
        """
        rows = check_matrix(x, name="x")
        new = self.atom(attribute, value)
        before = self.read(rows, attribute) if was is None else _listed(was, name="was")
        if len(before) != len(rows):
            raise ValueError(f"`was` must have one value per row ({len(rows)}), got {len(before)}.")
        old = [self.atom(attribute, one) for one in before]
        moved: Tensor = rows - self.dictionary[old].to(rows) + self.dictionary[new].to(rows)
        return moved

    def _first(self, attribute: str) -> int:
        """The first row of an attribute."""
        before = list(self.values)[: list(self.values).index(attribute)]
        return sum(len(self.values[name]) for name in before)

    def _seen_noise(self, attribute: str) -> Tensor:
        """Covariance of a row around its value of the attribute: what is left, and the other attributes."""
        noise = self.covariance.double().clone()
        for name, some in self.values.items():
            if name != attribute:
                u = self.dictionary[self._first(name) :][: len(some)].double()
                noise += u.T @ u / len(some)
        return noise

    def __repr__(self) -> str:
        some = ", ".join(f"{name} ({len(known)})" for name, known in self.values.items())
        return f"SupervisedDictionary(d_in={self.mean.numel()}, {some})"


@checked(leave=("attributes",))
def supervised_dictionary(
    acts: Activations | Float[Tensor, "n d_in"],
    attributes: Mapping[str, Labels],
    *,
    method: Literal["least squares", "mean"] = "least squares",
) -> SupervisedDictionary:
    """Fit one direction per value of each attribute: what a dictionary for these attributes can reach.

    An SAE that is to explain, read or change an attribute is compared with it: it knows the labels, so it is
    a ceiling and no rival.

    Parameters
    ----------
    acts
        Activations at one place per input, or tokens.
    attributes
        Name → a label per row; for `Activations` also one per sample, which all its rows then have.
    method
        "mean": u_{i = v} is the mean of the rows with that value, less the mean of all. "least squares":
        all attributes at once, which is right also where they occur together.

    Raises
    ------
    TypeError, ValueError: If labels are as many as neither rows nor samples, or are all the same.

    Source
    ------
    Makelov, Lange and Nanda, "Towards Principled Evaluations of Sparse Autoencoders for Interpretability and
    Control", arXiv 2405.08366, §3. Reading a value off a row (a linear discriminant) is ours.

    Example
    -------
    >>> x = torch.tensor([[0.0, 1], [2, 1], [0, 3], [2, 3]])
    >>> s = supervised_dictionary(x, {"side": ["left", "right"] * 2, "up": [0, 0, 1, 1]})
    >>> s.names
    ('side = left', 'side = right', 'up = 0', 'up = 1')
    >>> s.edit(x[:1], "side", "right")
    tensor([[2., 1.]])
    """
    rows = acts.x if isinstance(acts, Activations) else check_matrix(acts, name="acts")
    if not isinstance(attributes, Mapping):
        raise TypeError(
            f"`attributes` must be a mapping from name to labels, got {type(attributes).__name__}. Pass "
            '{"digit": data.digit}.'
        )
    if not attributes:
        raise ValueError("`attributes` must name at least one attribute, got none.")
    labels = {name: _per_row(name, some, acts, len(rows)) for name, some in attributes.items()}
    values = {name: tuple(sorted(set(some), key=_sorting)) for name, some in labels.items()}
    for name, known in values.items():
        if len(known) < 2:
            raise ValueError(
                f"`attributes` must each have two values or more, got {known[0]!r} alone for {name!r}. "
                "Leave it out."
            )
    x = rows.detach().double().cpu()
    mean = x.mean(dim=0)
    chosen = torch.cat([_one_hot(labels[name], known) for name, known in values.items()], dim=1)
    share = chosen.mean(dim=0)
    if method == "mean":
        u = (chosen / chosen.sum(dim=0)).T @ (x - mean)
    else:
        u = torch.linalg.lstsq(chosen - share, x - mean, driver="gelsd").solution
    first = 0
    for known in values.values():  # least squares leave a constant free within an attribute
        part = slice(first, first + len(known))
        u[part] -= share[part] @ u[part]
        first += len(known)
    left = x - mean - (chosen - share) @ u
    return SupervisedDictionary(
        mean=mean.float(),
        dictionary=u.float(),
        values=values,
        covariance=_shrunk(left, x - mean).float(),
    )


def _per_row(name: str, labels: Labels, acts: object, n: int) -> list[Any]:
    """One label per row, given per row or per sample."""
    given = _listed(labels)
    if len(given) == n:
        return given
    if isinstance(acts, Activations) and len(given) == acts.context.n_samples:
        return [given[i] for i in acts.sample.tolist()]
    samples = f" or per sample ({acts.context.n_samples})" if isinstance(acts, Activations) else ""
    raise ValueError(
        f"`attributes` must have one label per row ({n}){samples}, got {len(given)} for {name!r}."
    )


def _shrunk(left: Tensor, centred: Tensor) -> Tensor:
    """The covariance of what is left, by Ledoit and Wolf; where nothing is left, a little of all."""
    from sklearn.covariance import ledoit_wolf

    noise = torch.as_tensor(ledoit_wolf(left.numpy(), assume_centered=True)[0])
    noise.diagonal().add_(1e-6 * centred.square().mean().clamp_min(1e-12))
    return noise


def _one_hot(labels: list[Any], known: tuple[Any, ...]) -> Tensor:
    place = {value: i for i, value in enumerate(known)}
    return torch.eye(len(known), dtype=torch.float64)[[place[one] for one in labels]]


def _listed(labels: Labels, *, name: str = "attributes") -> list[Any]:
    """Labels as Python's own values."""
    readable = not isinstance(labels, Tensor) or (
        labels.layout == torch.strided and not labels.is_meta
    )
    if not isinstance(labels, Iterable) or not readable or getattr(labels, "ndim", 1) == 0:
        raise TypeError(f"`{name}` must be labels in a list or an array, got {shown(labels)}.")
    return [_plain(one) for one in (labels.tolist() if hasattr(labels, "tolist") else labels)]


def _plain(value: object) -> object:
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def _sorting(value: object) -> tuple[str, Any]:
    """Values of one kind in their own order, kinds one after the other."""
    return type(value).__name__, value
