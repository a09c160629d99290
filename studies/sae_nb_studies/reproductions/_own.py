"""A claim of your own: text, line, floor and control first, then seeds, and the card of the project's own claims."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from sae_nb.checks import checked
from sae_nb.figures import theme
from sae_nb.files import write_bytes
from sae_nb_studies.reproductions._claims import Claim, Line, Shown, Summary, Verdict, summarise

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("claim", "floor", "control")
"""Numbers of one seed."""

STYLE = """
body { font: 17px/1.5 system-ui, sans-serif; max-width: 44em; margin: 2em auto; padding: 0 1em; color-scheme: light dark; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25em .6em; border-bottom: 1px solid; }
"""


@dataclass(frozen=True)
class OwnClaim:
    """A claim whose line is drawn, and which was not yet measured."""

    claim: Claim
    """Text, line, floor and control, as the project's own claims have them."""

    def test(
        self, run: Callable[[int], Mapping[str, float]], seeds: Iterable[int] = range(5)
    ) -> MeasuredClaim:
        """Measure the claim on seeds.

        Parameters
        ----------
        run
            Takes a seed; returns the numbers "claim", "floor" and "control" of it.
        seeds
            Different whole numbers, three or more; five for a verdict that three leave open.

        Raises
        ------
        TypeError: If `run` cannot be called, or `seeds` is a number.
        ValueError: If there are fewer than three seeds, or a run lacks a number, or gives one that is not
            finite.
        """
        if not callable(run):
            raise TypeError(
                f"`run` must be a function of a seed, got a {type(run).__name__}. "
                "Pass it without calling it: `run`, not `run(0)`."
            )
        if not isinstance(seeds, Iterable):
            raise TypeError(f"`seeds` must be several numbers, got {seeds!r}. Take range({seeds}).")
        chosen = list(dict.fromkeys(int(seed) for seed in seeds))
        if len(chosen) < 3:
            raise ValueError(f"`seeds` must be three or more, got {len(chosen)}. Take range(5).")
        return MeasuredClaim(self.claim, {seed: _numbers(run(seed), seed) for seed in chosen})

    def __repr__(self) -> str:
        (line,) = self.claim.lines
        return f"{self.claim.text} Asked: {line.label} {line}. Not measured yet: `.test(run)`."


@dataclass(frozen=True)
class MeasuredClaim:
    """A claim with its numbers over seeds; shows itself as a card, and becomes a page."""

    claim: Claim
    """Text, line, floor and control."""

    by_seed: dict[int, dict[str, float]]
    """Numbers of each seed."""

    @property
    def summaries(self) -> dict[str, Summary]:
        """Mean and standard deviation of each number."""
        return {part: summarise([one[part] for one in self.by_seed.values()]) for part in PARTS}

    @property
    def verdict(self) -> Verdict:
        """The verdict by the rule of the project's own claims: the whole 95 % interval must meet the line."""
        return self.claim.verdict(self.summaries)

    @property
    def cannot_fail(self) -> bool:
        """Whether floor or control meets the line too, so that the claim shows nothing."""
        return bool(self.claim.met_by_floor(self.summaries))

    @property
    def table(self) -> pd.DataFrame:
        """The card's rows: number, floor, control."""
        from sae_nb_studies.reproductions._tables import COLUMNS, ClaimTable

        return ClaimTable(self._rows(), columns=list(COLUMNS))

    def to_html(self, path: str | Path) -> Path:
        """Write the card as one page that needs nothing else.

        Parameters
        ----------
        path
            File that ends in .html.

        Raises
        ------
        ValueError: If it does not.
        """
        target = Path(path)
        if target.suffix != ".html":
            raise ValueError(f"`path` must end in .html, got {str(path)!r}.")
        title = escape(self.claim.text)
        page = (
            f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
            f"<body>{self._repr_html_()}</body></html>"
        )
        write_bytes(target, page.encode())
        return target

    def _said(self) -> str:
        if self.cannot_fail:
            return f"Open: {self.claim.text} Floor or control meets the line as well, so it says nothing yet."
        return f"{self.verdict[0].upper()}{self.verdict[1:]}: {self.claim.text}"

    def _rows(self) -> list[tuple[str, ...]]:
        (line,), found = self.claim.lines, self.summaries
        met = {"met": "yes", "missed": "no", "open": "open"}[line.state(found["claim"])]
        labels = {"claim": line.label}
        labels |= {k: f"{k}: {one.label}" for k in PARTS[1:] if (one := getattr(self.claim, k))}
        return [
            (
                self.claim.name,
                label,
                f"{found[part].mean:.3g} ± {found[part].sd:.2g}",
                str(line) if part == "claim" else "",
                met if part == "claim" else "",
                "open" if self.cannot_fail else self.verdict,
            )
            for part, label in labels.items()
        ]

    def __repr__(self) -> str:
        rows = (
            f"  {label}: {measured} {asked}" for _, label, measured, asked, _, _ in self._rows()
        )
        seeds = f"  {len(self.by_seed)} seeds: {', '.join(map(str, self.by_seed))}"
        return "\n".join((self._said(), *rows, seeds))

    def _repr_html_(self) -> str:
        colour = theme.OKABE_ITO[2 if self.verdict == "holds" and not self.cannot_fail else 1]
        seeds = f"{len(self.by_seed)} seeds: {', '.join(map(str, self.by_seed))} · {escape(self.claim.paper)}"
        return (
            f'<div role="status" style="border-left:4px solid {colour};padding:6px 12px">'
            f"<p><b>{escape(self._said())}</b></p>{self.table._repr_html_()}<p>{seeds}</p></div>"
        )


@checked
def own_claim(
    text: str,
    number: str,
    *,
    floor: str,
    control: str,
    at_least: float | None = None,
    at_most: float | None = None,
    source: str = "our own",
) -> OwnClaim:
    """Write down a claim before it is measured.

    Parameters
    ----------
    text
        The claim, a sentence that can be false.
    number
        The words for what is measured, with its unit.
    floor, control
        The words for the same number of something that learned nothing, and where the cause is absent.
    at_least, at_most
        The line: one of the two.
    source
        The paper that claims it.

    Raises
    ------
    ValueError: If a text is empty, or there is not exactly one line.

    Example
    -------
    >>> mine = own_claim("Seeds are larger than zero.", "seed + 1", at_least=0.5, floor="zero", control="minus the seed")
    >>> mine.test(lambda seed: {"claim": seed + 1.0, "floor": 0.0, "control": -float(seed)}, range(5)).verdict
    'holds'
    """
    for name, words in {"text": text, "number": number, "floor": floor, "control": control}.items():
        if not re.search(r"\w", words):
            raise ValueError(
                f"`{name}` must be words, got {words!r}. A claim without it cannot be judged."
            )
    line = Line(number="claim", label=number, at_least=at_least, at_most=at_most)
    return OwnClaim(
        Claim(
            name="your claim",
            text=text,
            paper=source,
            lines=(line,),
            floor=Shown(number="floor", label=floor),
            control=Shown(number="control", label=control),
        )
    )


def _numbers(found: Mapping[str, float], seed: int) -> dict[str, float]:
    missing = [part for part in PARTS if part not in found]
    if missing:
        raise ValueError(
            f"A run must return {', '.join(PARTS)}, and that of seed {seed} lacks {', '.join(missing)}."
        )
    numbers = {part: float(found[part]) for part in PARTS}
    odd = [part for part, value in numbers.items() if not math.isfinite(value)]
    if odd:
        raise ValueError(
            f"A run must return finite numbers, and in that of seed {seed} {odd[0]} is not."
        )
    return numbers
