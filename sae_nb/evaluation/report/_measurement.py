"""One number with its definition, floor, control and interval; and the random dictionary behind controls.

Several quantities have the same name in different libraries and are not interchangeable, so a value is
meaningless without the id of its definition. The texts are in `definitions.toml`.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, SupportsFloat, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb._hints import KnowsOtherWords
from sae_nb.checks import Count, Seed, check_k, checked, one_of, unchecked
from sae_nb.codes import SparseCodes
from sae_nb.findings import Finding
from sae_nb.kernels import topk_encode
from sae_nb.statistics import UNKNOWN, Bootstrap, Interval

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One measured quantity, in words and as a formula."""

    id: str
    """Stable name that reports and files carry."""

    formula: str
    """Formula; e = x − x̂, z the code, μ the mean row of the whole set."""

    better: Literal["higher", "lower", "one", "none"]
    """The good direction; "one" means close to 1, "none" that it depends."""

    floor: str
    resampled: Literal["samples", "atoms"]
    """The floor of the value; the unit that the bootstrap draws."""

    best: float | None = None
    """Value that nothing can be better than, where there is one."""

    differs: str = ""
    """Libraries that compute something else under this name; empty if they agree or have none."""


@cache
def definition_families() -> dict[str, dict[str, Definition]]:
    """Return every definition by id, under the title of its family."""
    text = resources.files(str(__package__)).joinpath("definitions.toml").read_text("utf-8")
    families = {}
    for family in tomllib.loads(text).values():
        shared = {key: value for key, value in family.items() if not isinstance(value, dict)}
        title = shared.pop("title")
        families[title] = {
            name: Definition(id=name, **shared | entry)
            for name, entry in family.items()
            if isinstance(entry, dict)
        }
    return families


@cache
def known_definitions() -> dict[str, Definition]:
    """Return every definition there is, by id."""
    return {name: one for family in definition_families().values() for name, one in family.items()}


def define(definition: str) -> Definition:
    """Return what a definition id, as carried by `Measurement.definition`, represents.

    Example
    -------
    >>> define("fvu_pooled").better
    'lower'
    """
    known = known_definitions()
    if not isinstance(definition, str) or definition not in known:
        one_of(definition, sorted(known), name="definition")
    return known[definition]


# -------------------------------------------------------------------------------------------------
# One number with everything needed to judge it, and the bootstrap behind its interval.


class Measurement(Finding, KnowsOtherWords, float):
    """A value with what doing nothing and what chance would reach; None where there is no such thing.

    It is a number: it compares, sorts, rounds, adds, formats and is written to JSON as its value; two that
    have the same value are equal. Results of arithmetic are plain floats, since a floor and an interval belong
    to what was measured alone.

    Wherever a measuring function takes them, `n_bootstrap` is the number of resamples that the interval
    is drawn from (0 leaves it out), of samples or atoms as in `define(definition).resampled`, and
    `seed` is of every draw: resamples, splits, shuffles, noise, and random controls.
    """

    value: float
    """The measured value."""

    floor: float | None
    """Score of the trivial answer, which is described by `define(definition).floor`."""

    control: float | None
    """Score of a random dictionary with the same number of atoms and the same L0."""

    interval: Interval
    """Bootstrap 95 % interval of the value; NaN where fewer than two things could be resampled."""

    definition: str
    """Id of the formula, see `define`."""

    n: int
    unit: str
    """Unit that the value is a mean over: "rows", "tokens", "samples", "outputs", "atoms", "pairs" or
    "classes".
    """

    seconds: float = float("nan")
    """Seconds it took, control and floor included; NaN if several metrics share one pass."""

    def __new__(cls, value: float = float("nan"), **_: Any) -> Self:
        return float.__new__(cls, value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    @property
    def headline(self) -> str:
        """The value with its interval, floor and control, of how many."""
        value, low, high, floor, control = number_texts(self)
        interval = f" [{low}, {high}]" * (not math.isnan(self.interval[0]))
        rivals = {"floor": floor, "control": control}
        parts = [value + interval, *(f"{name} {x}" for name, x in rivals.items() if x)]
        return f"{self.definition} {', '.join(parts)}; {self.n} {self.unit}"

    @classmethod
    def measured(
        cls,
        definition: str,
        value: SupportsFloat,
        interval: Interval = UNKNOWN,
        *,
        n: int,
        floor: SupportsFloat | None = None,
        control: SupportsFloat | None = None,
        unit: str = "rows",
        seconds: float = float("nan"),
        **own: Any,
    ) -> Self:
        """Return a value under an id that is defined, its numbers as plain floats; `own`: other fields."""
        return cls(
            value=float(value),
            floor=None if floor is None else float(floor),
            control=None if control is None else float(control),
            interval=interval,
            definition=define(definition).id,
            n=n,
            unit=unit,
            seconds=seconds,
            **own,
        )

    @classmethod
    def of(cls, measured: Measurement, **own: Any) -> Self:
        """Return a measured value together with the other fields of a kind of measurement."""
        return cls(**vars(measured) | own)


# A number this small against the largest of its measurement is zero: the rounding of a few float32 sums.
ROUNDING = 4 * float(np.finfo(np.float32).eps)


def number_texts(measurement: Measurement) -> list[str]:
    """Return value, both ends of the interval, floor and control as reports print them."""
    value, (low, high) = measurement.value, measurement.interval
    numbers = (value, low, high, measurement.floor, measurement.control)
    largest = max((abs(x) for x in numbers if x is not None and math.isfinite(x)), default=0.0)
    return [number_text(x, ROUNDING * largest) for x in numbers]


def number_text(value: float | None, zero: float = 0.0) -> str:
    """Return a number as reports print it, in four digits; 0 below `zero`, nothing for None."""
    if value is None:
        return ""
    if math.isnan(value):
        return "undefined"
    return "0" if abs(value) < max(zero, 1e-12) else f"{value:.4g}"  # 1e-12: float64's rounding


Key = TypeVar("Key")


class Measurements(Mapping[Key, Measurement], Generic[Key]):
    """Base of a finding that is a mapping from name, or from atom, to `Measurement`, and holds other facts too.

    `class AblationEffects(Finding, Measurements[int])`: its field `rows` holds what the mapping gives.
    """

    rows: Mapping[Key, Measurement]
    """The measurements by name."""

    def __getitem__(self, name: Key) -> Measurement:
        return self.rows[name]

    def __iter__(self) -> Iterator[Key]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, name: object) -> bool:
        return name in self.rows  # an absent name costs no search for the nearest one


measured = Measurement.measured


@dataclass(frozen=True)
class Resampling(Bootstrap):
    """The bootstrap behind an interval, from `n_bootstrap` and `seed`; builds measurements that have one.

    Example
    -------
    >>> found = Resampling(100, 0).mean("ablation_effect", np.array([1.0, 2.0, 3.0]), floor=0.0)
    >>> found.value, found.n, found.interval[0] < 2 < found.interval[1]
    (2.0, 3, True)
    """

    def mean(self, definition: str, values: Float[np.ndarray, " n"], **known: Any) -> Measurement:
        """Measure the mean of independent values, NaN where there are none; `known`: of `measured`."""
        value = values.mean() if len(values) else float("nan")
        usual: dict[str, Any] = {"unit": "samples", "n": len(values)}
        return measured(definition, value, self.spread(values), **usual | known)

    def ratio(
        self,
        definition: str,
        above: Float[np.ndarray, " n"],
        below: Float[np.ndarray, " n"],
        **known: Any,
    ) -> Measurement:
        """Measure Σ above / Σ below, resampling the places they share; `known`: of `measured`."""
        interval = self.interval(np.stack([above, below], axis=1), lambda s: s[:, 0] / s[:, 1])
        usual: dict[str, Any] = {"unit": "samples", "n": len(below)}
        return measured(definition, above.sum() / below.sum(), interval, **usual | known)


# -------------------------------------------------------------------------------------------------
# What chance reaches: a dictionary of random unit atoms with the same n_atoms and the same L0.


def chance_generator(seed: int) -> torch.Generator:
    """Return the generator that random dictionaries are drawn from.

    Another stream than that of a seed itself, from which an untrained SAE may have drawn its atoms: it
    would be its own control.
    """
    return torch.Generator().manual_seed(0x5AE0_0000 + seed)


@checked
class RandomDictionary:
    """Random unit atoms, used as well as a fixed dictionary can be with one correlation.

    The k atoms with the largest correlation ⟨x − μ, r_j⟩ are kept, and one gain for the whole set,
    fitted by least squares, makes up for atoms that overlap. If a trained SAE does not win a metric
    against this, the metric is not evidence of training.

    Parameters
    ----------
    n_atoms, k
        The number the SAE has; atoms per row: the SAE's mean L0, rounded.
    mean
        μ, the mean row.
    signed
        Whether an atom may be subtracted, as for an SAE with signed codes.
    """

    def __init__(
        self,
        d_in: Count,
        n_atoms: Count,
        k: int,
        *,
        mean: Float[Tensor, " d_in"],
        seed: Seed = 0,
        signed: bool = False,
    ) -> None:
        self.d_in = d_in
        self.n_atoms = n_atoms
        self.k = check_k(k, n_atoms)
        self.mean = mean
        self.signed = signed
        self.gain = 1.0
        rows = torch.randn(n_atoms, d_in, generator=chance_generator(seed))
        self.dictionary = (rows / rows.norm(dim=1, keepdim=True)).to(mean)

    @classmethod
    def like(
        cls, sae: SparseAutoencoder, l0: float, *, mean: Tensor, seed: int, signed: bool
    ) -> RandomDictionary:
        """Return one with an SAE's number of atoms and its L0; what is given was checked before."""
        random, k = cls.__new__(cls), min(max(round(l0), 1), sae.n_atoms)
        make = unchecked(cls.__init__)
        make(random, len(mean), sae.n_atoms, k, mean=mean, seed=seed, signed=signed)
        return random

    @checked
    @torch.no_grad()
    def fit(self, x: Float[Tensor, "n d_in"]) -> RandomDictionary:
        """Set the gain α that minimises Σ‖x − μ − α(x̂ − μ)‖², and return the dictionary."""
        if x.shape[1] != self.d_in:
            raise ValueError(f"`x` must have width d_in={self.d_in}, got shape {tuple(x.shape)}.")
        self.gain = 1.0
        self.fit_codes(x, encode(self, x))
        return self

    @torch.no_grad()
    def fit_codes(self, x: Float[Tensor, "n d_in"], codes: SparseCodes) -> SparseCodes:
        """Set the gain by rows and what `encode` made of them with gain 1; return their codes with it."""
        centred, proposed = (
            (x.to(self.mean) - self.mean).double(),
            (codes @ self.dictionary).double(),
        )
        power = float(proposed.square().sum())
        self.gain = float((centred * proposed).sum()) / power if power > 0 else 1.0
        return codes.with_values(codes.values * self.gain)

    @checked
    def encode(self, x: Float[Tensor, "*batch d_in"]) -> SparseCodes:
        """Return the k strongest correlations of each row, times the gain."""
        rows = x.detach().reshape(-1, self.d_in).to(self.mean)
        codes = topk_encode(rows, self.dictionary, k=self.k, centre=self.mean, signed=self.signed)
        return SparseCodes(
            codes.values * self.gain, codes.atoms, codes.offsets, self.n_atoms, tuple(x.shape[:-1])
        )

    @checked
    def decode(self, codes: SparseCodes) -> Float[Tensor, "*batch d_in"]:
        """Return the mean plus the weighted sum of the kept atoms."""
        return codes @ self.dictionary + self.mean

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        return decode(self, encode(self, x)).to(x.dtype)


# The same for rows and codes that were checked before.
encode, decode = unchecked(RandomDictionary.encode), unchecked(RandomDictionary.decode)
