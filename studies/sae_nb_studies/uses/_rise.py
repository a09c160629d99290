r"""Steps of a text and what they do: atoms where sentences end, assigned to behaviours, and turned up there.

A text is cut after each delimiter. The activation at a delimiter has read everything before it and decides
what comes next: it is the vector of the step that follows. A behaviour is a rule about a step's text; an atom
belongs to the behaviour whose steps have its largest mean strength. Turned up: h ← h + c·δ with
δ = Σ_j (mean_b z_j − mean_rest z_j) d_j over the chosen atoms, at delimiters alone. Source: RISE, arXiv
2512.23988, where a ReLU SAE is trained on vectors at "\n\n" and a judge names the steps; rules, reading the
step that follows, δ's length and all controls are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from sae_nb.activations.tokens import describe_ids
from sae_nb.capturing import text_rows
from sae_nb.checks import Count, Seed, checked, one_of
from sae_nb.findings import Finding
from sae_nb.generation import check_writer, prompt_ids, text_of
from sae_nb.statistics import wilson_interval
from sae_nb.steering import steer
from sae_nb_studies.uses._writing import other_atoms

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_matrix

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel, RunState

DELIMITER = r"[.!?]\s*$|\n\n"
"""Tokens that end a step, as a search in their text: ends of sentences, and empty lines."""

OTHER = "other"
_MOST_SILHOUETTE = 2000  # steps: its cost grows with their square

Rule = str | Callable[[str], bool]


class Rise(Finding):
    """Steps, their behaviours, and the atoms of each behaviour; made by `rise`."""

    steps: DataFrame
    """A step per row: text (its number), position (of the delimiter before it), behaviour, step (its text)."""

    atoms: DataFrame
    """An atom per row: atom, behaviour (where its mean is largest), mean, rest (over all other steps), effect
    (their difference in standard deviations); within a behaviour the largest effect first."""

    behaviours: tuple[str, ...]
    silhouette: float
    """Of the steps' activations by behaviour, in −1 … 1; NaN where there is one behaviour."""

    shuffled: float
    """The same with behaviours in random order: what means nothing."""

    means: Mapping[str, tuple[Float[Tensor, " d_in"], Float[Tensor, " d_in"]]]
    """Of each behaviour, the mean activation at its steps and at all others: what a simpler method reads."""

    hook_point: str
    delimiter: str
    rules: Mapping[str, Rule] = field(default_factory=dict)

    @checked
    def atoms_of(self, behaviour: str, n: Count = 5) -> list[int]:
        """Return the `n` atoms of a behaviour with the largest effect."""
        one_of(behaviour, self.behaviours, name="behaviour")
        mine = self.atoms[self.atoms["behaviour"] == behaviour]
        return [int(atom) for atom in mine["atom"].head(n)]

    @checked
    def plot(self, n: Count = 6) -> Any:
        """Draw the largest effects of every behaviour."""
        from sae_nb.figures import category_style, framed, line

        traces = []
        for i, behaviour in enumerate(self.behaviours):
            head = self.atoms[self.atoms["behaviour"] == behaviour].head(n)
            names = [f"atom {atom}" for atom in head["atom"]]
            colour, symbol = category_style(i)
            trace = line(behaviour, names, head["effect"], colour=colour, symbol=symbol, width=0)
            traces.append(trace.update(mode="markers"))
        return framed(traces, y="effect, standard deviations", height=300)

    @property
    def headline(self) -> str:
        """Steps of each behaviour; how far apart they lie."""
        counts = self.steps["behaviour"].value_counts()
        return (
            f"{len(self.steps)} steps: {', '.join(f'{n} {name}' for name, n in counts.items())}; "
            f"silhouette {self.silhouette:.3f}, shuffled {self.shuffled:.3f}"
        )


class RiseEffect(Finding):
    """Share of steps with a behaviour after atoms were turned up at delimiters; made by `rise_effect`."""

    table: DataFrame
    """Additions, a row each ("nothing", "atoms", "random atoms" once per draw, "mean activation"), and
    of the steps then written: steps (how many), share (that follow the rule), low, high (95 %, Wilson).
    """

    texts: Mapping[str, tuple[str, ...]]
    """Written texts, of the first draw each."""

    behaviour: str
    atoms: tuple[int, ...]
    by: float

    def share(self, added: str) -> float:
        """Return the mean share under something that was added."""
        one_of(added, tuple(self.table["added"].unique()), name="added")
        return float(self.table["share"][self.table["added"] == added].mean())

    @property
    def headline(self) -> str:
        """The share with the atoms, without, and along random ones."""
        nothing, atoms, random = map(self.share, ("nothing", "atoms", "random atoms"))
        return (
            f"{self.behaviour!r} in {atoms:.3f} of the steps at {self.by:+g}, {nothing:.3f} "
            f"without, {random:.3f} along random atoms"
        )


@checked(leave=("texts",))
def rise(
    model: LiveModel,
    sae: SparseAutoencoder,
    texts: Any,
    hook_point: str,
    rules: Mapping[str, str | Callable[[str], bool]],
    *,
    delimiter: str = DELIMITER,
    seed: Seed = 0,
    batch_size: int | None = None,
) -> Rise:
    """Cut texts into steps, name what each does by rules, and assign atoms to what they announce.

    Parameters
    ----------
    rules
        Behaviours in the order in which they are tried: a regular expression searched in the step's text in
        any case, or a function of it. A step that no rule takes is "other".
    delimiter
        A regular expression searched in each token's text; where it is found a step ends.
    seed
        Of the order in which behaviours are shuffled, and of the steps that the silhouette is taken of where
        there are more than 2000.

    Raises
    ------
    TypeError: If the model writes no text or has no tokenizer.
    ValueError: If there are no rules or no steps, a rule names none of them, or an expression is not one.
    HookPointNotFound: If there is no such hook point.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> texts = sn.data.stories(8, seed=0).texts
    >>> found = rise(model, sae, texts, "resid_post.3", {"sad": "lost|sad|ill|storm"})
    >>> found.behaviours, len(found.atoms_of("sad", 2))
    (('sad', 'other'), 2)
    """
    check_writer(model, sae, hook_point)
    tests, ends = _tests(rules), _expression(delimiter, "delimiter")
    _check_tokenizer(model)
    parts = [*_steps_of(model, texts, hook_point, ends, batch_size)]
    if not parts:
        raise ValueError(
            f"`texts` must hold a step after a delimiter, and none matches {delimiter!r}. Pass longer "
            "texts or another delimiter."
        )
    said = np.array([_behaviour(tests, part.step) for part in parts])
    missing = [name for name in rules if name not in set(said)]
    if missing:
        raise ValueError(
            f"Each rule must name a step, and {missing[0]!r} names none of {len(parts)}. Change it, or pass "
            "more texts."
        )
    return _assigned(
        sae,
        parts,
        said,
        hook_point,
        delimiter,
        dict(rules),
        seed,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Step:
    text: int
    position: int
    step: str
    x: Float[Tensor, " d_in"]


def _steps_of(
    model: LiveModel,
    texts: Any,
    hook_point: str,
    ends: re.Pattern[str],
    batch_size: int | None,
) -> Iterator[_Step]:
    """Every step that follows a delimiter, with the activation there."""
    for text in text_rows(model, texts, hook_point, batch_size=batch_size):
        place = {int(p): x for p, x in zip(text.position, text.x)}
        for end, step in steps_after(model, text.token_ids, ends):
            if end in place:
                yield _Step(text=text.sample, position=end, step=step, x=place[end])


def steps_after(
    model: LiveModel, ids: Int[Tensor, " n"], ends: re.Pattern[str]
) -> list[tuple[int, str]]:
    """Return positions of delimiters, and the step that follows each; the step after the last may be
    unfinished.
    """
    names = describe_ids(model.tokenizer, set(ids.tolist()))
    at = [i for i, one in enumerate(ids.tolist()) if ends.search(names[one])]
    until = [*(i + 1 for i in at[1:]), len(ids)]
    steps = [(i, text_of(model, ids[i + 1 : end]).strip()) for i, end in zip(at, until)]
    return [(i, step) for i, step in steps if step]


def _check_tokenizer(model: LiveModel) -> None:
    if model.tokenizer is None:
        raise TypeError(
            f"Steps are found in the text of tokens, and {model.name} has no tokenizer. Wrap it with "
            "tokenizer=."
        )


def _expression(given: str, name: str) -> re.Pattern[str]:
    try:
        return re.compile(given, re.IGNORECASE)
    except re.error as error:
        raise ValueError(
            f"`{name}` must be a regular expression, got {given!r} ({error}). Escape what is meant as it is."
        ) from error


def _tests(rules: Mapping[str, Rule]) -> dict[str, Callable[[str], Any]]:
    if not rules or OTHER in rules:
        raise ValueError(
            f'`rules` must name at least one behaviour, none of them "{OTHER}", got {list(rules)}.'
        )
    return {
        name: rule if callable(rule) else _expression(rule, f"rules[{name!r}]").search
        for name, rule in rules.items()
    }


def _behaviour(tests: Mapping[str, Callable[[str], Any]], step: str) -> str:
    return next((name for name, test in tests.items() if test(step)), OTHER)


def _assigned(
    sae: SparseAutoencoder,
    parts: Sequence[_Step],
    said: np.ndarray,
    hook_point: str,
    delimiter: str,
    rules: Mapping[str, Rule],
    seed: int,
) -> Rise:
    import pandas as pd

    x = torch.stack([part.x for part in parts]).to(sae.dictionary)
    with torch.no_grad():
        codes = sae.encode(x).to_scipy().tocsr()
    names = [name for name in (*rules, OTHER) if (said == name).any()]
    silhouette, shuffled = _silhouettes(x, said, seed)
    return Rise(
        steps=pd.DataFrame(
            {
                "text": [part.text for part in parts],
                "position": [part.position for part in parts],
                "behaviour": said,
                "step": [part.step for part in parts],
            }
        ),
        atoms=_atoms(codes, said, names),
        behaviours=tuple(names),
        silhouette=silhouette,
        shuffled=shuffled,
        means={name: _means(x, said == name) for name in names},
        hook_point=hook_point,
        delimiter=delimiter,
        rules=rules,
    )


def _means(x: Float[Tensor, "n d_in"], on: np.ndarray) -> tuple[Tensor, Tensor]:
    mask = torch.from_numpy(on).to(x.device)
    rest = x[~mask] if bool((~mask).any()) else x
    return x[mask].mean(dim=0), rest.mean(dim=0)


def _atoms(codes: csr_matrix, said: np.ndarray, names: Sequence[str]) -> DataFrame:
    """Where each atom that fires is strongest, and by how much."""
    import pandas as pd

    n = len(said)
    sums = np.stack([np.asarray(codes[said == name].sum(axis=0)).ravel() for name in names])
    counts = np.array([(said == name).sum() for name in names])
    total, squares = sums.sum(axis=0), np.asarray(codes.multiply(codes).sum(axis=0)).ravel()
    means = sums / counts[:, None]
    best = means.argmax(axis=0)
    mean, left = means.max(axis=0), n - counts[best]
    rest = (total - sums[best, np.arange(len(best))]) / np.maximum(left, 1)
    spread = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 1e-12))
    fires = np.flatnonzero(squares > 0)
    table = pd.DataFrame(
        {
            "atom": fires,
            "behaviour": [names[i] for i in best[fires]],
            "mean": mean[fires],
            "rest": rest[fires],
            "effect": ((mean - rest) / spread)[fires],
        }
    )
    return table.sort_values(["behaviour", "effect"], ascending=[True, False], ignore_index=True)


def _silhouettes(x: Tensor, said: np.ndarray, seed: int) -> tuple[float, float]:
    from sklearn.metrics import silhouette_score

    generator = np.random.default_rng(seed)
    some = generator.permutation(len(said))[:_MOST_SILHOUETTE]
    labels, rows = said[some], x[torch.from_numpy(some)].cpu().numpy()
    if not 2 <= len(set(labels)) < len(labels):
        return np.nan, np.nan
    mixed = generator.permutation(labels)
    return tuple(float(silhouette_score(rows, one)) for one in (labels, mixed))  # type: ignore[return-value]


# -------------------------------------------------------------------------------------------------
# Turned up at delimiters while the model writes.


@checked(leave=("prompts", "found"))
def rise_effect(
    model: LiveModel,
    sae: SparseAutoencoder,
    found: Rise,
    prompts: Any,
    behaviour: str,
    *,
    n: int = 5,
    by: float = 1.0,
    max_new_tokens: int = 40,
    temperature: float = 1.0,
    seed: Seed = 0,
    n_controls: Count = 3,
) -> RiseEffect:
    """Turn a behaviour's atoms up (or down) at delimiters and count how often it then is there.

    The addition has the length of δ, the chosen atoms' mean difference, `by` times; so have both
    controls, the same differences written along random atoms, and the difference of mean activations.

    Parameters
    ----------
    found
        Result of `rise`, on other texts than the prompts.
    prompts
        Texts to continue, at least one; they should end in a delimiter.
    behaviour
        One of the rules'.
    n
        Atoms that are turned up, those of the largest effect.
    by
        Multiples of δ; below 0 the behaviour is turned down.
    max_new_tokens, temperature
        As in `model.generate`.
    seed
        Of the sampling, the same for every row, and of the random atoms, `n_controls` draws.

    Raises
    ------
    ValueError: If there is no such behaviour, it has no atoms, or prompts and new tokens do not fit in the
        context.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> texts = sn.data.stories(8, seed=0).texts
    >>> found = rise(model, sae, texts, "resid_post.3", {"sad": "lost|sad|ill|storm"})
    >>> effect = rise_effect(model, sae, found, ["Anna lived near the river."], "sad", n=1, n_controls=1)
    >>> effect.table["added"].tolist()
    ['nothing', 'atoms', 'random atoms', 'mean activation']
    """
    if not isinstance(found, Rise):
        raise TypeError(f"`found` must be what sn.uses.rise returned, got {type(found).__name__}.")
    check_writer(model, sae, found.hook_point)
    _check_tokenizer(model)
    one_of(behaviour, [name for name in found.behaviours if name != OTHER], name="behaviour")
    atoms = found.atoms_of(behaviour, n)
    if not atoms:
        raise ValueError(
            f"{behaviour!r} must have an atom, and none is strongest there. Ask for another."
        )
    listed = [prompts] if isinstance(prompts, str) else list(prompts)
    if not listed:
        raise ValueError("`prompts` must hold at least one text, got none.")
    ids = [prompt_ids(model, prompt) for prompt in listed]
    write = partial(
        model.generate, ids, max_new_tokens, temperature, seed, return_ids=True, echo=False
    )
    scene = _Intervention(model, found, behaviour, ids, write)
    return _effects(scene, sae, atoms, by, n_controls, seed)


@dataclass(frozen=True, kw_only=True)
class _Way:
    """An addition, and the text written with it."""

    row: dict[str, Any]
    texts: tuple[str, ...]


class _Intervention:
    """Adds a vector at delimiters while the model continues prompts, and counts what follows."""

    def __init__(
        self,
        model: LiveModel,
        found: Rise,
        behaviour: str,
        ids: Sequence[Int[Tensor, " n"]],
        write: Callable[[], Any],
    ) -> None:
        self.model, self.found, self.behaviour = model, found, behaviour
        self.ids, self.write = ids, write
        self.ends = _expression(found.delimiter, "delimiter")
        self.tests = _tests(found.rules)
        n = model.vocabulary_size or len(model.tokenizer)
        names = describe_ids(model.tokenizer, range(min(n, len(model.tokenizer))))
        self.delimiters = torch.tensor([i for i, name in names.items() if self.ends.search(name)])

    def at_delimiters(self, state: RunState) -> Tensor:
        """Return a mask of the columns of a run that are delimiters."""
        token_ids = cast(Tensor, state.token_ids)
        return torch.isin(token_ids, self.delimiters.to(token_ids.device))

    def way(self, added: str, direction: Tensor | None) -> _Way:
        """Return the model's text with a direction added."""
        edit: AbstractContextManager[Any] = nullcontext()
        if direction is not None and bool(direction.norm() > 0):
            edit = steer(
                self.model, self.found.hook_point, direction=direction, positions=self.at_delimiters,
                backend="hooks",
            )  # fmt: skip
        with self.model.lock, edit:
            new = self.write()
        steps = [
            step for before, after in zip(self.ids, new) for step in self._written(before, after)
        ]
        n_on = sum(_behaviour(self.tests, step) == self.behaviour for step in steps)
        low, high = wilson_interval(np.array([n_on]), max(len(steps), 1))
        row = {"added": added, "steps": len(steps), "share": n_on / max(len(steps), 1)}
        row |= {"low": float(low[0]), "high": float(high[0])}
        return _Way(row=row, texts=tuple(text_of(self.model, after) for after in new))

    def _written(self, before: Tensor, after: Tensor) -> list[str]:
        """Steps after the prompt's end or a delimiter that was written, but the last where it is cut."""
        whole = torch.cat((before, after))
        steps = [
            (at, step)
            for at, step in steps_after(self.model, whole, self.ends)
            if at >= len(before) - 1
        ]
        finished = bool(steps) and self.ends.search(steps[-1][1] + " ") is not None
        return [step for _, step in (steps if finished else steps[:-1])]


def _effects(
    scene: _Intervention,
    sae: SparseAutoencoder,
    atoms: list[int],
    by: float,
    n_controls: int,
    seed: int,
) -> RiseEffect:
    import pandas as pd

    table = scene.found.atoms.set_index("atom")
    amounts = torch.tensor((table["mean"] - table["rest"])[atoms].to_numpy()).to(sae.dictionary)
    delta = amounts @ sae.dictionary[atoms].detach()
    size = delta.norm()
    directions: list[tuple[str, Tensor | None]] = [("nothing", None), ("atoms", by * delta)]
    for drawn in other_atoms(sae.n_atoms, atoms, n_controls, seed, table.index.to_numpy()):
        rows = sae.dictionary[drawn].detach()
        directions.append(("random atoms", by * size * normalize(amounts @ rows, dim=0)))
    on, rest = scene.found.means[scene.behaviour]
    directions.append(("mean activation", by * size * normalize(on - rest, dim=0)))
    ways = [(added, scene.way(added, direction)) for added, direction in directions]
    texts: dict[str, tuple[str, ...]] = {}
    for added, way in ways:
        texts.setdefault(added, way.texts)
    return RiseEffect(
        table=pd.DataFrame([way.row for _, way in ways]),
        texts=texts,
        behaviour=scene.behaviour,
        atoms=tuple(atoms),
        by=by,
    )
