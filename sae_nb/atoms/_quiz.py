"""A quiz about atoms: after some examples, in which of n other samples does the atom fire?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Int

from sae_nb.atoms._catalogue import AtomCatalogue
from sae_nb.atoms._examples import TOKENS_AFTER, TOKENS_BEFORE, Choice, build_examples
from sae_nb.atoms._records import Example
from sae_nb.checks import Count, Seed, at_least, check_atom, checked

STRONG = 0.5
"""Share of an atom's maximum that samples of a question reach. Ours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class QuizQuestion:
    """One atom, some of its examples, and other samples in exactly one of which it fires.

    `answer` is the option that fires, `chance` what guessing reaches.
    """

    atom: int
    examples: tuple[Example, ...]
    """Samples in which it fires: what the guess is made from. Like the answer they reach half of its maximum,
    where there are enough such samples: what fires weakly often has another content."""

    options: tuple[Example, ...]
    """Other samples; their strengths are in them, and are the answer."""

    answer: int
    maximum: float
    """The atom's largest strength, to which shades are scaled."""

    chance: float


@checked
def ask_about(
    catalogue: AtomCatalogue,
    atom: int,
    *,
    n_examples: Count = 4,
    n_options: Annotated[int, at_least(2)] = 5,
    seed: Seed = 0,
) -> QuizQuestion:
    """Make a question about an atom; examples and options are of different samples.

    Of every option but one, all that is shown was checked: the atom is silent there.
    """
    atom = check_atom(atom, catalogue.n_atoms)
    context = catalogue.acts.context
    if context.pictures is None and context.token_ids is None:
        raise ValueError(
            "`catalogue` must have images or texts to be looked at, got rows of kind "
            f"{context.kind!r}. Capture them from a model with sn.capture."
        )
    generator = np.random.default_rng([seed, atom])
    rows, strengths = catalogue.strengths(atom)
    # The strongest row of each sample: what a person would look at.
    order = np.lexsort((-np.abs(strengths), catalogue.samples[rows]))
    strongest = order[np.diff(catalogue.samples[rows][order], prepend=-1) != 0]
    if len(strongest) < n_examples + 1:
        raise ValueError(
            f"`atom` must fire in at least {n_examples + 1} samples to be asked about, got atom {atom}, "
            f"which fires in {len(strongest)}. Show more samples, or choose another atom."
        )
    size = np.abs(strengths[strongest])
    if len(strong := strongest[size >= STRONG * size.max()]) > n_examples:
        strongest = strong
    drawn = generator.permutation(strongest)[: n_examples + 1]
    shown = drawn[1:][np.argsort(-np.abs(strengths[drawn[1:]]), kind="stable")]
    others = _silent_rows(catalogue, atom, n_options - 1, generator)
    answer = int(generator.integers(n_options))
    options = np.insert(others, answer, rows[drawn[0]])
    values = np.insert(np.zeros(n_options - 1), answer, strengths[drawn[0]])
    return QuizQuestion(
        atom=atom,
        examples=build_examples(
            catalogue, atom, Choice(rows=rows[shown], strengths=strengths[shown])
        ),
        options=build_examples(catalogue, atom, Choice(rows=options, strengths=values)),
        answer=answer,
        maximum=float(np.abs(strengths).max()),
        chance=1 / n_options,
    )


def askable_atoms(
    catalogue: AtomCatalogue, *, n_examples: int = 4, n_options: int = 5
) -> Int[np.ndarray, " m"]:
    """Return the atoms that fire in enough samples, and are silent in enough."""
    codes = catalogue.codes
    table = codes.to_scipy().tocsc()
    table.eliminate_zeros()
    atom = np.repeat(np.arange(table.shape[1]), np.diff(table.indptr))
    n_samples = int(catalogue.samples.max()) + 1
    pairs = np.unique(atom.astype(np.int64) * n_samples + catalogue.samples[table.indices])
    fires = np.bincount(pairs // n_samples, minlength=catalogue.n_atoms)
    silent = len(np.unique(catalogue.samples)) - fires
    return np.flatnonzero((fires > n_examples) & (silent >= n_options - 1))


def _silent_rows(
    catalogue: AtomCatalogue, atom: int, n: int, generator: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """One row each of n samples, the atom silent in all that is shown around it."""
    rows: list[int] = []
    for sample in generator.permutation(np.unique(catalogue.samples)):
        row = _silent_row(catalogue, atom, int(sample), generator)
        if row is not None:
            rows.append(row)
        if len(rows) == n:
            return np.array(rows)
    raise ValueError(
        f"`atom` must be silent in at least {n} samples to be asked about, got atom {atom}, which is "
        f"silent in {len(rows)}: it fires nearly everywhere. Choose another atom."
    )


def _silent_row(
    catalogue: AtomCatalogue, atom: int, sample: int, generator: np.random.Generator
) -> int | None:
    rows = catalogue.rows_of_sample(sample)
    positions = catalogue.positions[rows]
    z = catalogue.sample_strengths(atom, sample, int(positions.max()) + 1)
    fired = np.nan_to_num(z) != 0
    pictures = catalogue.acts.context.pictures is not None
    for place in generator.permutation(len(rows))[:8]:
        first = 0 if pictures else max(int(positions[place]) - TOKENS_BEFORE, 0)
        last = len(z) if pictures else int(positions[place]) + TOKENS_AFTER + 1
        if not fired[first:last].any():
            return int(rows[place])
    return None
