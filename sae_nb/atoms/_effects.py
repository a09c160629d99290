"""An atom's effect on the answer, with the way it was found and its score: direct path, lens, or measured.

The direct path W_U (γ ⊙ C d), γ the gain of the final norm and C its centring, leaves out what later blocks
make of the atom; on deep models it is mostly wrong (rank correlation with the measured effect: see the page on
lenses). A lens takes the later blocks into account, and a measurement runs the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations.tokens import describe_ids
from sae_nb.atoms._examples import choose_rows
from sae_nb.atoms._records import Effects
from sae_nb.checks import Count, Seed, check_atom, checked
from sae_nb.lenses import measured_effects
from sae_nb.lenses._head import direct_head
from sae_nb.models._devices import no_weights

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.atoms._catalogue import AtomCatalogue
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel

SPELLINGS = 4
"""Tokens read per word that is kept: as it is, capitalised, and both after a space."""

DIRECT = "direct path only"
N_RANDOM = 5
"""Random directions of the same length, each a pass over the held-out examples. Ours."""

DIRECT_SCORE = "later blocks are left out; measure the atom, or pass a lens"


@dataclass(frozen=True, kw_only=True)
class AtomEffects:
    """Outputs that an atom raises and lowers most, and how that was found."""

    up: Effects = ()
    down: Effects = ()
    """Tokens or classes with their effects, largest first; of measured ones each word in one spelling."""

    by: str = ""
    """The way: direct path only, the kind of lens, or measured."""

    score: str = ""
    """Agreement with the running model, or the reason that it is not known."""

    confirmed: tuple[bool, ...] = ()
    """Per raised output: is it among as many raised most on other examples? Empty if there were none."""

    by_chance: int | None = None
    """Number of them that a random direction of its length raises that much there, the most of several; None
    if not measured."""

    chance: tuple[int, ...] = ()
    """The same of each of those random directions."""

    random_most: float | None = None
    """Largest effect of any of them there; None if not measured."""

    @property
    def is_direct(self) -> bool:
        """Whether they are of the direct path alone, which leaves later blocks out."""
        return self.by == DIRECT

    @property
    def words(self) -> str:
        """Way and score in one line."""
        return f"{self.by}: {self.score}" if self.score else self.by


@checked(leave=("model", "lens", "direction"))
def effects_of(
    model: LiveModel | None,
    direction: Float[Tensor, " d_in"],
    *,
    lens: Lens | None = None,
    hook_point: str | None = None,
    n: int = 8,
) -> AtomEffects:
    """Return what a direction raises and lowers: by the lens if it reads there, else directly.

    Nothing is run; without a model, and where no path leads to the answer, nothing is found.

    Parameters
    ----------
    hook_point
        Where the direction is written.
    n
        Tokens or classes at each end.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> found = effects_of(gpt, sae.dictionary[9].detach(), hook_point="resid_post.3", n=3)
    >>> len(found.up), found.is_direct
    (3, True)
    """
    try:
        layer = None if lens is None else lens.layer_of(hook_point)
    except ValueError:  # a place that no lens reads
        layer = None
    if lens is not None and layer is not None and layer in lens.blocks:
        effect = lens.effects(direction, layer)[0]
        up, down = _ends(effect, min(n, max(1, len(effect) // 2)), lens.names)
        return AtomEffects(
            up=up, down=down, by=f"{lens.kind} lens", score=lens.score_in_words(layer)
        )
    if model is None or (hook_point or "").startswith(
        "encoder."
    ):  # no direct path leads from there
        return AtomEffects()
    up, down = logit_effects(model, direction, n)
    return AtomEffects(up=up, down=down, by=DIRECT, score=DIRECT_SCORE) if up else AtomEffects()


def written_at(catalogue: AtomCatalogue) -> str | None:
    """Return the hook point at which a catalogue's atoms are written; None where it is not known."""
    sae = catalogue.sae
    target = getattr(sae, "target_hook_point", None)
    place = target or catalogue.acts.hook_point or getattr(sae, "hook_point", None)
    return None if place is None else str(place)


def _ends(
    effect: Float[Tensor, " outputs"], n: int, named: Callable[[list[int]], Mapping[int, str]]
) -> tuple[Effects, Effects]:
    """The largest effects and the smallest, by name."""
    ends = [(way * effect).topk(n) for way in (1, -1)]
    pairs = [[*zip(end.indices.tolist(), end.values.tolist(), strict=True)] for end in ends]
    names = named([i for end in pairs for i, _ in end])
    up, down = (tuple((names[i], way * x) for i, x in end) for way, end in zip((1, -1), pairs))
    return up, down


@checked
def measure_atom(
    catalogue: AtomCatalogue,
    atom: int,
    model: LiveModel,
    *,
    lens: Lens | None = None,
    n_examples: Count = 6,
    n: Count = 8,
    elsewhere: bool = False,
    seed: Seed = 0,
) -> AtomEffects:
    """Measure what an atom raises and lowers: add it to the running model on its strongest examples.

    It is added at its largest strength, at every place but a text's first token; one forward pass per
    example, and one without it. The score counts how many of the outputs that the lens (without one: the
    direct path) calls raised are among the measured ones. Where the atom fires on more samples, as many again
    are held out: an output is confirmed if it is among those raised most there, too, and `chance` counts
    how many of them each of five random directions of the atom's length raises that much there.

    Parameters
    ----------
    lens
        Whose outputs are confirmed or not; None: the direct path's.
    n_examples
        Texts or images, of as many samples.
    n
        Outputs on each side.
    elsewhere
        Add it to samples in which it does not fire, drawn at random: an image of a 4 is called a 4 already.
    seed
        Of the random directions, and of these samples.

    Raises
    ------
    ValueError: If the atom never fires, or its activations do not keep the texts or images they are of.

    Example
    -------
    >>> import sae_nb as sn
    >>> vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    >>> catalogue = sn.load_examples("tiny-vit/resid_post.6").catalogue(sae)
    >>> measure_atom(catalogue, int(catalogue.order("frequency")[0]), vit, n_examples=2).by
    'measured on 2 examples'
    """
    atom, acts = check_atom(atom, catalogue.n_atoms), catalogue.acts
    samples = _without(catalogue, atom, seed) if elsewhere else _strongest(catalogue, atom)
    inputs = _inputs_of(acts, samples[:n_examples])
    place = written_at(catalogue)
    if not len(inputs) or place is None:
        raise ValueError(
            f"`atom` must fire on texts or images that the activations keep to be measured, and atom {atom} "
            "has none here. Pass activations that sn.capture made, and an atom that fires."
        )
    direction = catalogue.dictionary[atom].float()
    strength = float(catalogue.max_strength[atom])

    changes = partial(
        measured_effects, model, strengths=strength, skip_first=1, context_length=None
    )
    change = changes(inputs, place, direction[None])[0]
    change = change - change.mean()
    k = min(n, max(1, len(change) // 2))
    named = partial(_names_of, model, lens, n=len(change))
    up, down = _words_first(change, k, named), _words_first(-change, k, named)
    raised = {_word(name) for name in up.values()}
    guessed = effects_of(model, direction, lens=lens, hook_point=place, n=k)
    how = "the direct path" if guessed.is_direct else f"the {guessed.by}"
    hits = len({_word(name) for name, _ in guessed.up} & raised)
    confirmed: tuple[bool, ...] = ()
    chance: tuple[int, ...] = ()
    random_most = None
    held_out = _inputs_of(acts, samples[n_examples : 2 * n_examples])
    if len(held_out):
        drawn = [_random_like(direction, seed + i) for i in range(N_RANDOM)]
        there = changes(held_out, place, torch.stack([direction, *drawn]))
        there = there - there.mean(dim=1, keepdim=True)
        ours, *random = ({*map(_word, _words_first(one, k, named).values())} for one in there)
        confirmed = tuple(_word(name) in ours for name in up.values())
        chance = tuple(len(one & raised) for one in random)
        random_most = float(there[1:].max())
    return AtomEffects(
        up=tuple((name, float(change[i])) for i, name in up.items()),
        down=tuple((name, float(change[i])) for i, name in down.items()),
        by=f"measured on {len(inputs)} {'other ' * elsewhere}examples",
        score=f"{hits} of {len(guessed.up)} raised by {how} are among these" * bool(guessed.up),
        confirmed=confirmed,
        by_chance=max(chance, default=None),
        chance=chance,
        random_most=random_most,
    )


def _words_first(
    effect: Float[Tensor, " outputs"], k: int, named: Callable[[list[int]], Mapping[int, str]]
) -> dict[int, str]:
    """Return the outputs of the k words raised most, by id, strongest word first.

    Tokens that differ in case or in white space around them are one word, in the strongest spelling that begins
    with a space: a token without one may be the end of another word.
    """
    ids = effect.topk(min(SPELLINGS * k, len(effect))).indices.tolist()
    names, spellings = named(ids), dict[str, list[int]]()
    for i in ids:
        word = _word(names[i])
        if word in spellings or len(spellings) < k:
            spellings.setdefault(word, []).append(i)
    best = [next((i for i in one if names[i][:1] == " "), one[0]) for one in spellings.values()]
    return {i: names[i] for i in best}


def _word(token: str) -> str:
    """Return what the spellings of a token share; a token of white space is itself."""
    return token.strip().casefold() or token


def _strongest(catalogue: AtomCatalogue, atom: int) -> list[int]:
    """Return the samples in which an atom fires, strongest first."""
    rows = choose_rows(catalogue, atom, "top").rows
    return list(dict.fromkeys(int(catalogue.samples[row]) for row in rows))


def _without(catalogue: AtomCatalogue, atom: int, seed: int) -> list[int]:
    """Return the samples in which an atom fires nowhere in random order, then those of its weakest firings."""
    fires = _strongest(catalogue, atom)
    others = np.setdiff1d(np.unique(catalogue.samples), fires)
    drawn = np.random.default_rng([seed, atom]).permutation(others)
    return [*drawn.tolist(), *fires[::-1]] if fires else []


def _random_like(direction: Float[Tensor, " d_in"], seed: int) -> Float[Tensor, " d_in"]:
    """Draw a direction of the same length, evenly from the sphere."""
    drawn = torch.randn(direction.shape, generator=torch.Generator().manual_seed(seed))
    return (drawn * direction.norm().cpu() / drawn.norm()).to(direction)


def _inputs_of(acts: Activations, samples: Sequence[int]) -> list[list[int]] | Tensor:
    """Return texts of at least two tokens, or images, of samples; nothing where activations keep neither."""
    context = acts.context
    if context.token_ids is not None:
        texts = [context.token_ids.sample(i).tolist() for i in samples]
        return [text for text in texts if len(text) > 1]
    return context.pictures[list(samples)] if context.pictures is not None and samples else []


def _names_of(model: LiveModel, lens: Lens | None, ids: Sequence[int], n: int) -> Mapping[int, str]:
    """The names of outputs: by the lens, or as the model calls its tokens or classes."""
    if lens is not None:
        return lens.names(ids)
    if model.modality.is_text and model.tokenizer is not None:
        return describe_ids(model.tokenizer, ids)
    classes = model.class_names
    named = classes is not None and len(classes) == n
    return {i: classes[i] if named and classes is not None else str(i) for i in ids}


# -------------------------------------------------------------------------------------------------
# The direct path from an atom to the unembedding.


def logit_effects(
    model: LiveModel, direction: Float[Tensor, " d_in"], n: int = 8
) -> tuple[Effects, Effects]:
    """Return the next tokens a direction raises and lowers most along the direct path, with their effects.

    The effect of later blocks is left out, and so is the norm's division by the size of the
    residual stream, so effects compare tokens, not atoms. Show it with its score (`effects_of`).
    None where the model's answer is not a norm, or a masked model's head, and an unembedding.

    Source: The logit lens restricted to one direction (nostalgebraist 2020), as SAE dashboards show
    it.
    """
    find = getattr(model.module, "get_output_embeddings", None)
    unembedding = find() if callable(find) else None
    if not model.modality.is_text or model.tokenizer is None or unembedding is None:
        return (), ()
    if unembedding.weight.is_meta:
        no_weights(model.name, "Which tokens an atom raises or lowers")
    head = direct_head(model)
    if head is None or head.d != len(direction):
        return (), ()
    with torch.no_grad():
        effect = head.effects(direction[None].to(head.device))[0].cpu()
    return _ends(effect, min(n, len(effect)), head.names)
