"""The data of a benchmark: inputs with known labels, bundled (stories, scenes) or a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.architectures import SparseAutoencoder
from sae_nb.capturing import capture
from sae_nb.checks import as_tensor
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import codes_of
from sae_nb.models import LiveModel
from sae_nb_studies.evaluation.concepts._targeted import Pooled

Bundled = Literal["stories", "scenes"]

_TEXTS, _IMAGES = 12, 32
"""Inputs to forget of the bundled tasks: paragraphs, of a hundred answers each, and images, of one."""

_TEXTURED = (0, 1, 3)  # horizontal, vertical, checks
_STRIPED = (0, 1, 2, 6)  # horizontal, vertical, diagonal, waves


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BenchTasks:
    """Inputs and what is known of them: what `bench` makes its rows from.

    A row that needs missing inputs is NaN, with the reason.

    Parameters
    ----------
    inputs
        Texts or images, as `capture` takes them; those that the SAE was not trained on.
    labels
        By name, a class number or truth value of each input. Two labels of two classes make SCR, one of
        three or more makes TPP, two that a linear probe reads make RAVEL; all are probed.
    places
        By name, truth values of each patch of each image, (n, patches): for absorption.
    forget, keep
        Inputs whose answers are to be forgotten, and to stay: for unlearning.
    head
        Head of the model that answers then; None: its main output.

    Raises
    ------
    ValueError: If there are fewer than 48 inputs, labels are of another length, or a label has one class.

    Example
    -------
    >>> import torch
    >>> labels = {"left": torch.arange(60) % 2, "three": torch.arange(60) % 3}
    >>> BenchTasks(inputs=torch.randn(60, 4), labels=labels)
    BenchTasks(60 inputs; labels left, three)
    """

    inputs: Any
    labels: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, Any] = field(default_factory=dict)
    forget: Any = None
    keep: Any = None
    head: str | None = None

    def __post_init__(self) -> None:
        if not hasattr(self.inputs, "__len__") or isinstance(self.inputs, str | bytes | Mapping):
            raise TypeError(
                f"`inputs` must be texts or images, got {type(self.inputs).__name__}. Pass a list."
            )
        n = len(self.inputs)
        if n < FEWEST_INPUTS:
            raise ValueError(
                f"`inputs` must be at least {FEWEST_INPUTS}, got {n}. Pass a few hundred."
            )
        for argument in ("labels", "places"):
            given = getattr(self, argument)
            if not isinstance(given, Mapping):
                raise TypeError(
                    f"`{argument}` must map names to values, got {type(given).__name__}. Pass "
                    '{"kind": [0, 1, …]}.'
                )
            for name, values in given.items():
                _check_values(argument, str(name), values, n)
        if (self.forget is None) != (self.keep is None):
            raise ValueError(
                "`forget` and `keep` must be given together, got one of them. Unlearning is judged by both."
            )
        for argument in ("forget", "keep"):
            part = getattr(self, argument)
            if part is not None and (not hasattr(part, "__len__") or not len(part)):
                raise ValueError(f"`{argument}` must hold inputs, got none. Pass some, or neither.")

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        places = f"; places {', '.join(self.places)}" if self.places else ""
        forget = f"; {len(self.forget)} to forget" if self.forget is not None else ""
        return f"BenchTasks({len(self)} inputs; labels {', '.join(self.labels)}{places}{forget})"

    @property
    def classes(self) -> dict[str, Int[np.ndarray, " n"]]:
        """Every label as whole numbers."""
        return {str(name): _numbers(values) for name, values in self.labels.items()}


FEWEST_INPUTS = 48


def _numbers(values: Any) -> Int[np.ndarray, " n"]:
    return as_tensor(values).cpu().numpy().astype(np.int64)


def _check_values(argument: str, name: str, values: Any, n: int) -> None:
    known = as_tensor(values, name=f"{argument}[{name!r}]")
    if known.is_floating_point() or known.is_complex():
        raise TypeError(
            f"`{argument}[{name!r}]` must be booleans or whole numbers, got {known.dtype}. Use a threshold."
        )
    axes = 1 if argument == "labels" else 2
    if known.ndim != axes or len(known) != n:
        want = f"({n},)" if axes == 1 else f"({n}, patches)"
        raise ValueError(
            f"`{argument}[{name!r}]` must be of shape {want}, one of each input, got {tuple(known.shape)}."
        )
    if len(torch.unique(known)) < 2:
        raise ValueError(
            f"`{argument}[{name!r}]` must have at least two classes, got one alone. Nothing can be predicted."
        )


# -------------------------------------------------------------------------------------------------
# Bundled: their answers are known because we made them.


def bundled_tasks(name: Bundled, n: int, seed: int) -> BenchTasks:
    """Return stories (who, where, which animal and thing, how it went) or scenes (every factor of the
    rendering).
    """
    return _story_tasks(n, seed) if name == "stories" else _scene_tasks(n, seed)


def _story_tasks(n: int, seed: int) -> BenchTasks:
    from sae_nb.data import prose, stories
    from sae_nb.data.grammar import PEOPLE

    told = stories(n + _TEXTS, seed=90_000 + seed)
    shown = told.subset(slice(n))
    feminine = torch.tensor([pronoun == "she" for _, pronoun in PEOPLE])
    labels = {
        "sentiment": shown.sentiment,
        "plural": shown.plural,
        "she": feminine[shown.person],
        "person": shown.person,
        "place": shown.place,
    }
    about_python = prose("test").texts
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(about_python))[:_TEXTS]
    return BenchTasks(
        inputs=list(shown.texts),
        labels=labels,
        forget=[about_python[i] for i in sorted(chosen)],
        keep=list(told.texts[n:]),
    )


def _scene_tasks(n: int, seed: int) -> BenchTasks:
    from sae_nb.data import scenes

    drawn = scenes(n, seed=90_000 + seed, split="test")
    labels = {
        "stripes": torch.isin(drawn.texture, torch.tensor(_STRIPED)),
        "digit above 4": drawn.digit > 4,
        "texture": drawn.texture,
        "digit": drawn.digit,
        "position": drawn.position,
    }
    everywhere = torch.ones(64, dtype=torch.bool)
    textured = {
        drawn.texture_names[i]: (drawn.texture == i)[:, None] & everywhere for i in _TEXTURED
    }
    more = scenes(16 * _IMAGES, seed=190_000 + seed, split="test")
    seven = more.digit == 7
    return BenchTasks(
        inputs=drawn.images,
        labels=labels,
        places={"ink": drawn.patch_mask} | textured,
        forget=more.images[seven][:_IMAGES],
        keep=more.images[~seven][:_IMAGES],
        head="digit",
    )


# -------------------------------------------------------------------------------------------------
# What the rows read: activations, codes and pooled samples, each made once and when first asked for.


@dataclass(eq=False)
class Material:
    """An SAE, a model and tasks."""

    sae: SparseAutoencoder
    model: LiveModel
    hook_point: str
    tasks: BenchTasks
    seed: int
    progress: Any = False

    def captured(self, inputs: Any) -> Activations:
        """Return rows of some inputs at the hook point."""
        return capture(self.model, inputs, self.hook_point, progress=self.progress)

    @cached_property
    def acts(self) -> Activations:
        return self.captured(self.tasks.inputs)

    @cached_property
    def unlearned(self) -> tuple[tuple[Any, Activations], tuple[Any, Activations]]:
        """The parts to forget and to keep, with their rows."""
        forget, keep = self.tasks.forget, self.tasks.keep
        return (forget, self.captured(forget)), (keep, self.captured(keep))

    def with_sae(self, sae: SparseAutoencoder) -> Material:
        """Return the same with another SAE; parts that no SAE made are shared, not captured again."""
        other = replace(self, sae=sae)
        other.__dict__.update(acts=self.acts)
        if self.tasks.forget is not None:
            other.__dict__.update(unlearned=self.unlearned)
        return other

    @cached_property
    def codes(self) -> SparseCodes:
        return codes_of(self.sae, self.acts)

    @cached_property
    def pooled(self) -> Pooled:
        return Pooled.of(self.sae, self.acts, self.codes)

    def first(self, n: int) -> tuple[Activations, SparseCodes, Int[np.ndarray, " m"]]:
        """Return rows and codes of the first n samples, and which rows they are."""
        rows = np.flatnonzero(self.acts.sample.numpy() < n)
        return self.acts.subset(rows.tolist()), self.codes.rows(torch.from_numpy(rows)), rows

    @cached_property
    def row_facts(self) -> dict[str, Bool[np.ndarray, " rows"]]:
        """Known facts about rows: of texts the first letters of tokens, of images the places."""
        if self.acts.context.modality.is_text:
            return self._letters()
        patch = (self.acts.position - self.acts.context.prefix_tokens).numpy()
        sample, facts = self.acts.sample.numpy(), {}
        for name, values in self.tasks.places.items():
            of_patch = _numbers(values).astype(bool)
            if patch.max() >= of_patch.shape[1]:
                raise ValueError(
                    f"`places[{name!r}]` must have a value of each of {int(patch.max()) + 1} patches, got "
                    f"{of_patch.shape[1]}."
                )
            facts[str(name)] = of_patch[sample, np.maximum(patch, 0)] & (patch >= 0)
        return facts

    def _letters(self, most: int = 6) -> dict[str, Bool[np.ndarray, " rows"]]:
        if self.acts.tokens is None:
            return {}
        ids = self.acts.tokens.ids.numpy()
        names = {int(i): self.acts.context.token_name(1, int(i)) for i in np.unique(ids)}
        starts = {i: name.lstrip(" ␣Ġ·▁").lower()[:1] for i, name in names.items()}
        first = np.array([starts[int(i)] for i in ids])
        letters, counts = np.unique(first[np.char.isalpha(first)], return_counts=True)
        often = letters[np.argsort(-counts, kind="stable")][:most]
        return {f"begins with {letter}": first == letter for letter in often}

    @cached_property
    def sample_facts(self) -> dict[str, Bool[np.ndarray, " n"]]:
        """Every class of every label, in words for rules."""
        return {
            f"{name} {value}": classes == value
            for name, classes in self.tasks.classes.items()
            for value in np.unique(classes)
        }


def centred_energy(x: Float[Tensor, "n d_in"]) -> Float[Tensor, " d_in"]:
    """Return eigenvalues of the covariance, largest first: the variance of principal components."""
    centred = x.double() - x.double().mean(dim=0)
    return torch.linalg.eigvalsh(centred.T @ centred).flip(0).clamp_min(0)
