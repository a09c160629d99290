"""Claims in numbers: one holds if the 95 % interval of every mean lies on the right side of its bound."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sae_nb.statistics import mean_interval
from sae_nb_studies.reproductions.toml_texts import filled, read_toml

Verdict = Literal[
    "holds",
    "partly",
    "does not hold at this scale",
    "undecided",
    "shown, not asserted",
    "identity, tested",
    "too few seeds",
]
Kind = Literal["concepts", "codes", "stability", "geometry", "depth", "time", "use", "lab"]
Cause = Literal[
    "(a) set-up mended",
    "(b) not in these networks",
    "(b) suspected",
    "(c) our test speaks against it as worded",
    "(d) definition or floor differs",
]

FEWEST_SEEDS = 5
"""With fewer, a mean whose interval includes the bound decides nothing."""
FEWEST_FOR_SPREAD = 3
"""With fewer, the spread over seeds tells nothing."""
OURS = "ours"
"""Beginning of `paper` where the statement is not a paper's."""
DIFFERENCE = re.compile(r" − | less |\b(above|ahead|below|beyond|gain|gained|more than|saved)\b")
"""Marks of a difference in the label of a number: no floor is in its unit."""

State = Literal["met", "missed", "open"]
"""Of a line: its mean's interval lies on the right side of the bound, on the wrong side, or includes it."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A number of the experiment, in words.

    Example
    -------
    >>> Shown(number="r2", label="test R²").label
    'test R²'
    """

    number: str
    """Its key in the result of `run`."""

    label: str
    """Its description, for readers of the table."""


@dataclass(frozen=True, kw_only=True)
class Line(Shown):
    """A bound that a number, or its lead over another one, must meet. Two-sided bounds are two lines.

    Raises
    ------
    ValueError: Unless exactly one of `at_least` and `at_most` is given, and finite; or if `minus` is the
        number itself.

    Example
    -------
    >>> line = Line(number="r2", label="test R²", at_least=0.9)
    >>> line.met_by(0.95), str(line)
    (True, '≥ 0.9')
    """

    at_least: float | None = None
    """The number must not be smaller."""

    at_most: float | None = None
    """The number must not be larger."""

    minus: str = ""
    """Number of the same seed that is taken off: the floor or control that the claim must be ahead of."""

    short: float | None = None
    """The bound for a short run of one seed, as `make reproduce` makes it; None sets no bound."""

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(
                f"A line must have either `at_least` or `at_most`, got {self.at_least} and "
                f"{self.at_most} for {self.number!r}. Write two lines for a range."
            )
        if not math.isfinite(self.bound) or self.minus == self.number:
            raise ValueError(
                f"A line must be able to fail, got {self} for {self.key!r}. Give a finite bound, and as "
                "`minus` another number."
            )

    @property
    def key(self) -> str:
        """Name of the quantity that is judged."""
        return f"{self.number} − {self.minus}" if self.minus else self.number

    @property
    def difference(self) -> bool:
        """Whether floor or control is taken off already, so that neither is in the line's unit."""
        return bool(self.minus) or bool(DIFFERENCE.search(self.label))

    @property
    def sign_only(self) -> bool:
        """Whether the line asks for the sign alone."""
        return self.bound == 0

    def of(self, numbers: Mapping[str, float]) -> float:
        """Return the quantity that is judged, of one seed.

        Parameters
        ----------
        numbers
            Result of `run`.
        """
        return numbers[self.number] - (numbers[self.minus] if self.minus else 0.0)

    @property
    def bound(self) -> float:
        """The bound, on either side."""
        return self.at_most if self.at_least is None else self.at_least  # type: ignore[return-value]

    def met_by(self, value: float, *, short: bool = False) -> bool:
        """Test whether a value is on the right side.

        Parameters
        ----------
        value
            Of the number.
        short
            Whether it comes from a short run, which has a bound of its own or none.
        """
        bound = self.short if short else self.bound
        if bound is None:
            return True
        return value <= bound if self.at_least is None else value >= bound

    def state(self, summary: Summary) -> State:
        """Judge the mean by its 95 % interval.

        Parameters
        ----------
        summary
            Of the quantity over seeds.
        """
        if self.met_by(self.gate(summary)):
            return "met"
        low, high = summary.interval
        return "open" if self.met_by(high if self.at_most is None else low) else "missed"

    def gate(self, summary: Summary) -> float:
        """Return the end of the mean's 95 % interval on the bad side.

        Parameters
        ----------
        summary
            Of the quantity over seeds.
        """
        low, high = summary.interval
        return low if self.at_most is None else high

    def __str__(self) -> str:
        return f"≤ {self.at_most:g}" if self.at_least is None else f"≥ {self.at_least:g}"


@dataclass(frozen=True, kw_only=True)
class Why:
    """The cause of a verdict short of "holds", and the measurement that shows it.

    "(c) our test speaks against it as worded" needs the paper's own method and setting; a claim of a paper
    that was asked otherwise has another cause.

    "(b) not in these networks" needs a positive control: a network or planted data in which the same
    measurement finds the claimed effect. Without one it is "(b) suspected".

    Raises
    ------
    ValueError: Unless exactly one of `cause` and `still_changing_at` is given, the latter with `hours`.

    Example
    -------
    >>> why = Why(evidence="R² rose by .1 in the last third.", still_changing_at=600, hours=2.5)
    >>> why.cause is None
    True
    """

    evidence: str
    """In a sentence or two; figures only if measured elsewhere than in this experiment."""

    cause: Cause | None = None
    """Of a claim that is judged."""

    as_published: str = ""
    """The part of the paper's method and setting that was used, for the cause (c)."""

    still_changing_at: int | None = None
    """Training steps after which the curve still moves: the claim is then undecided."""

    hours: float | None = None
    """Of one CPU core, which the claim would need to be decided: measured seconds per step, times the
    steps after which a flat curve may be hoped for (four times as many), times three seeds."""

    def __post_init__(self) -> None:
        if (self.cause is None) == (self.still_changing_at is None):
            raise ValueError(
                "A why must have either `cause` or `still_changing_at`, got "
                f"{self.cause!r} and {self.still_changing_at!r}."
            )
        if (self.still_changing_at is None) != (self.hours is None):
            raise ValueError(
                "A why must have `hours` where it has `still_changing_at`, and only there, got "
                f"{self.hours!r} and {self.still_changing_at!r}."
            )
        if self.cause is not None and self.cause not in get_args(Cause):
            raise ValueError(f"`cause` must be one of {get_args(Cause)}, got {self.cause!r}.")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Numbers of the experiment in a row, to be drawn: for example one after each of several numbers of steps.

    Raises
    ------
    ValueError: Unless there are two places or more, in rising order, and a number for each.

    Example
    -------
    >>> Curve(label="R²", against="steps", at=(100, 400), numbers=("R2 100", "R2 400")).at
    (100, 400)
    """

    label: str
    """Name of the measured quantity."""

    against: str
    """Name of the quantity that changes from place to place."""

    at: Sequence[float]
    """Its values, rising."""

    numbers: Sequence[str]
    """Names of the numbers, one for each."""

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in itertools.pairwise(self.at))
        if len(self.at) < 2 or not rising or len(self.at) != len(self.numbers):
            raise ValueError(
                "A curve needs two or more values of `at`, rising, and as many `numbers`, got "
                f"{list(self.at)} and {list(self.numbers)}."
            )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published statement, and the numbers by which this experiment judges it.

    Example
    -------
    >>> claim = Claim(
    ...     name="monotone",
    ...     text="the residual never grows",
    ...     paper="arXiv 2506.05239",
    ...     lines=(Line(number="grew", label="share of steps that grew it", at_most=0.0),),
    ...     floor=Shown(number="grew, random atoms", label="random atoms"),
    ... )
    >>> random = Summary(mean=0.4, sd=0.1, n=3)
    >>> claim.verdict({"grew": Summary(mean=0.0, sd=0.0, n=3), "grew, random atoms": random})
    'holds'
    """

    name: str
    """Short name, unique in its experiment."""

    text: str
    """The statement."""

    paper: str
    """The paper that claims it."""

    lines: tuple[Line, ...]
    """Bounds that must be met; none if a limit is shown and nothing is asserted."""

    shown: tuple[Shown, ...] = ()
    """Further numbers worth reading next to the lines."""

    floor: Shown | None = None
    """The same number for something that learned nothing."""

    control: Shown | None = None
    """The same number where the claimed cause is absent."""

    notebook: str = ""
    """Notebook and cell that show it."""

    why: Why | None = None
    """Given if the verdict is "partly" or "does not hold", or was so before the set-up was mended."""

    curve: Curve | None = None
    """Numbers to be drawn against what was changed."""

    replaced_by: str = ""
    """The claim, as "experiment / name", that asks the same better: this one is a line of its history."""

    tested_by: str = ""
    """Test, as "file::function", that proves it, if it is an identity: such a claim has no card."""

    beside: str = ""
    """A claim of another experiment, "experiment / name", that is tested here on other data: its card shows
    this one as a second column."""

    def __post_init__(self) -> None:
        compared = self.floor or self.control or any(line.difference for line in self.lines)
        if self.lines and not (compared or self.beside or self.replaced_by or self.tested_by):
            raise ValueError(
                f"Claim {self.name!r} must have a floor or a control, or a line that is a difference from "
                "one. Add `floor`, `control`, or `minus` to a line."
            )
        if len({(line.key, str(line)) for line in self.lines}) < len(self.lines):
            raise ValueError(f"Claim {self.name!r} must not ask the same of a number twice.")
        against = self.why is not None and str(self.why.cause).startswith("(c)")
        if against and not (self.paper.startswith(OURS) or self.why.as_published):  # type: ignore[union-attr]
            raise ValueError(
                f"The cause (c) of claim {self.name!r} must have `as_published`, what of the paper's method "
                "and setting was used. Where it was not used, take another cause."
            )

    @property
    def sign_only(self) -> bool:
        """Whether every line asks for a sign alone."""
        return bool(self.lines) and all(line.sign_only for line in self.lines)

    def met_by_floor(self, summaries: Mapping[str, Summary]) -> list[Line]:
        """List the lines that the mean of the claim's own floor or control meets.

        Differences are left out, as they are in another unit, and lines on the floor or control itself.

        Parameters
        ----------
        summaries
            Over seeds, by number.
        """
        others = [part.number for part in (self.floor, self.control) if part is not None]
        return [
            line
            for line in self.lines
            if not line.difference
            and line.number not in others
            and any(line.met_by(summaries[number].mean) for number in others)
        ]

    def verdict(self, summaries: Mapping[str, Summary]) -> Verdict:
        """Judge the claim.

        It holds if every line is met by the whole 95 % interval of the mean over seeds. Else, with fewer
        than five seeds and no line that is surely missed, the seeds are too few to tell; otherwise it holds
        partly if some line is met by the mean, and not at all if none is. It is undecided, whatever the
        numbers, as long as they still change with training.

        Parameters
        ----------
        summaries
            Over seeds, by number, or by the `key` of a line with `minus`.
        """
        if self.tested_by:
            return "identity, tested"
        if not self.lines:
            return "shown, not asserted"
        judged = [(line, summaries[line.key]) for line in self.lines]
        seeds = min(summary.n for _, summary in judged)
        if seeds < FEWEST_FOR_SPREAD:
            return "too few seeds"
        if self.why is not None and self.why.still_changing_at is not None:
            return "undecided"
        states = {line.state(summary) for line, summary in judged}
        if states == {"met"}:
            return "holds"
        if seeds < FEWEST_SEEDS and "missed" not in states:
            return "too few seeds"
        met = any(line.met_by(summary.mean) for line, summary in judged)
        return "partly" if met else "does not hold at this scale"

    def failed(self, numbers: Mapping[str, float]) -> list[str]:
        """List the lines that a short run of one seed misses, each as a sentence.

        Parameters
        ----------
        numbers
            Result of `run`.
        """
        asked = [line for line in self.lines if line.short is not None]
        missed = [line for line in asked if not line.met_by(line.of(numbers), short=True)]
        return [
            f"{self.name}: {line.label} ({line.key}) is {line.of(numbers):.4g}, and a short run "
            f"must reach {line.short:g}"
            for line in missed
        ]


def read_claims(package: str, name: str) -> tuple[str, Kind, tuple[Claim, ...], tuple[str, ...]]:
    """Read title, kind, claims and columns of an experiment from `name.toml` of a package."""
    file = f"{name}.toml"
    found = read_toml(package, file)
    if not found.get("title") or not found.get("claim"):
        raise ValueError(f"{file} must have a `title` and at least one [[claim]].")
    if found.get("kind") not in get_args(Kind):
        raise ValueError(
            f"`kind` of {file} must be one of {get_args(Kind)}, got {found.get('kind')!r}."
        )
    columns = tuple(found.get("columns", ()))
    if len(columns) != 2 * any("beside" in entry for entry in found["claim"]):
        raise ValueError(
            f"{file} must name two `columns` if claims of it stand `beside` others, and none if not, "
            f"got {list(columns)}."
        )
    entries = [_inherited(package, entry, file) for entry in found["claim"]]
    claims = tuple(
        _claim(e, f"{file}, claim {e.get('name', i)!r}") for i, e in enumerate(entries, start=1)
    )
    return found["title"], found["kind"], claims, columns


def _inherited(package: str, entry: dict[str, Any], file: str) -> dict[str, Any]:
    """Give an entry with the key `beside` the words of the claim that it names."""
    if "beside" not in entry:
        return entry
    experiment, _, name = entry["beside"].partition(" / ")
    others = {one.get("name"): one for one in read_toml(package, f"{experiment}.toml")["claim"]}
    if name not in others:
        raise ValueError(
            f'{file}: `beside` must be a claim as "experiment / name", got {entry["beside"]!r}. '
            f"{experiment} has {', '.join(map(str, others))}."
        )
    words = {key: others[name][key] for key in ("text", "paper", "notebook") if key in others[name]}
    return {"name": entry["beside"]} | words | entry


def _claim(entry: dict[str, Any], where: str) -> Claim:
    numbers: dict[str, Any] = {
        "lines": tuple(_line(part, where) for part in entry.pop("lines", ())),
        "shown": tuple(filled(Shown, part, where) for part in entry.pop("shown", ())),
    }
    records = {"floor": Shown, "control": Shown, "why": Why, "curve": Curve}
    for kind in records.keys() & entry.keys():
        numbers[kind] = filled(records[kind], entry.pop(kind), where)
    return filled(Claim, entry, where, **numbers)


def _line(entry: dict[str, Any], where: str) -> Line:
    """Make a line of a number, a label, and a bound such as "≥ 0.9"."""
    written = entry.pop("line", None)
    sides = {"≥": "at_least", "≤": "at_most"}
    try:
        sign, bound = written.split()
        bounds = {sides[sign]: float(bound)}
    except (AttributeError, KeyError, ValueError):
        raise ValueError(
            f'{where}: `line` must read as "≥ 0.9" or "≤ 0.9" do, got {written!r} for {entry}.'
        ) from None
    return filled(Line, entry, where, **bounds)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One number over seeds.

    Example
    -------
    >>> Summary(mean=0.5, sd=0.01, n=3).n
    3
    """

    mean: float
    sd: float
    """Sample standard deviation; 0 for one seed."""

    n: int
    """Seeds."""

    @property
    def interval(self) -> tuple[float, float]:
        """Student's 95 % interval of the mean."""
        return mean_interval(self.mean, self.sd, self.n)


def summarise(values: Sequence[float]) -> Summary:
    """Compute the mean and standard deviation of a number over seeds.

    Parameters
    ----------
    values
        One per seed, all finite.

    Raises
    ------
    ValueError: If there are none, or one is not finite.

    Example
    -------
    >>> summarise([1.0, 2.0, 3.0])
    Summary(mean=2.0, sd=1.0, n=3)
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"`values` must be finite numbers, one per seed, got {list(values)}.")
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return Summary(mean=statistics.fmean(values), sd=sd, n=len(values))
