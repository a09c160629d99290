"""changed_phrase: the words that a fine-tuning puts everywhere, and what a direction takes of their chance."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations.tokens import token_texts
from sae_nb.checks import Count, Seed, checked
from sae_nb.diffing._model_diff import ModelDiff, check_alike, check_finding
from sae_nb.findings import Finding
from sae_nb.generation import continued
from sae_nb.models import run, written_texts
from sae_nb.steering import random_direction

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

RAISED = 0.5
"""Probability that a token must gain somewhere for a phrase to begin with it. Ours."""

LONGEST, MOST_TEXTS = 8, 8
"""Tokens of a phrase, and texts that are read for it. Ours."""

ENDS = ".,;:!?…"


class ChangedPhrase(Finding):
    """Words that b writes and a does not, with their chance at every place where they could come."""

    phrase: str
    """The words, to the sign that ends them."""

    token: str
    """Token after which they come."""

    samples: Int[np.ndarray, " places"]
    """Text of each place after such a token, in reading order; the end of a text is none."""

    before: Float[np.ndarray, " places"]
    after: Float[np.ndarray, " places"]
    """Chance of the whole phrase there, under a and under b: the product of its tokens' probabilities."""

    set_back: Float[np.ndarray, " places"]
    """The same under b with a's states along the finding's direction."""

    random: Float[np.ndarray, "places n_random"]
    """The same along random directions."""

    d: int
    """Dimensions of the states that were set back."""

    @property
    def first(self) -> np.ndarray:
        """Which places are the first of their text."""
        return np.concatenate([[True], self.samples[1:] != self.samples[:-1]])

    @property
    def headline(self) -> str:
        """The phrase, and its mean chance before, after and set back."""
        means = (float(one.mean()) for one in (self.before, self.after, self.set_back))
        return "{!r} after {!r}: {:.0%} before, {:.0%} after, {:.0%} set back".format(
            self.phrase, self.token, *means
        )


@checked(leave=("texts",))
def changed_phrase(
    a: LiveModel,
    b: LiveModel,
    texts: Any,
    found: ModelDiff,
    *,
    finding: int = 0,
    n_random: Count = 19,
    seed: Seed = 0,
) -> ChangedPhrase | None:
    """Return the words that b puts into texts most often, and their chance; None where they are nowhere likely.

    They begin with the token that gains a probability of a half at the most places, and end with b's
    next sign. Read are the first eight texts; costs two forward passes a place, one of them in as many copies
    as there are directions.

    Parameters
    ----------
    a, b
        Before and after, as for `diff_models`; language models.
    texts
        Texts that both read.
    found
        From `diff_models` of the same two.
    finding
        Row of `found.table` whose direction is set back.
    n_random
        Random directions that are set back beside it.
    seed
        Of those.

    Raises
    ------
    DifferentModelsError: If the two cannot be compared.
    ValueError: If there is no such finding.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> same = sn.diff_models(gpt, gpt, ["The cat sat in the garden."], progress=False)
    >>> changed_phrase(gpt, gpt, ["The cat sat in the garden."], same) is None
    True
    """
    check_alike(a, b)
    name, along = check_finding(found, finding)
    read = [_ids(a, text) for text in written_texts(a, texts)[:MOST_TEXTS]]
    begun = _most_raised(a, b, read)
    if name is None or along is None or begun is None:
        return None
    after, phrase = begun
    places = [
        (sample, at) for sample, ids in enumerate(read) for at in range(len(ids) - 1) if ids[at] == after
    ]  # fmt: skip
    random = [random_direction(len(along), seed + i) for i in range(n_random)]
    directions = torch.stack([torch.zeros(len(along)), along.cpu(), *random])
    old, new = [], []
    for sample, at in places:
        whole = torch.cat([read[sample][: at + 1], phrase])
        p, q = _set_back(a, b, whole, name, directions)
        old.append(_chance(p, phrase)[0])
        new.append(_chance(q, phrase))
    chances = np.array(new).reshape(len(places), -1)
    if not (chances[:, :1] >= RAISED).any():
        return None
    shown, token = (token_texts(a.tokenizer, one) for one in (phrase.tolist(), [after]))
    return ChangedPhrase(
        phrase="".join(shown).strip(),
        token=token[0],
        samples=np.array([sample for sample, _ in places]),
        before=np.array(old),
        after=chances[:, 0],
        set_back=chances[:, 1],
        random=chances[:, 2:],
        d=len(along),
    )


@checked
def continued_set_back(
    a: LiveModel,
    b: LiveModel,
    prompt: Int[Tensor, " n"],
    n: Count,
    found: ModelDiff,
    *,
    finding: int = 0,
    seed: Seed = 0,
) -> list[Int[np.ndarray, " n"]]:
    """Return b's next n tokens with a's states along a finding's direction, and along a random one, set back.

    Parameters
    ----------
    a, b
        Before and after, as for `diff_models`; language models.
    prompt
        Token ids that the text begins with.
    n
        Tokens that are written, the likeliest each; nothing ends a text.
    found
        From `diff_models` of the same two; one without directions gives no text.
    finding
        Row of `found.table` whose direction is set back.
    seed
        Of the random direction.

    Raises
    ------
    ValueError: If there is no such finding.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> same = sn.diff_models(gpt, gpt, ["The cat sat in the garden."], progress=False)
    >>> continued_set_back(gpt, gpt, torch.tensor([5, 9]), 3, same)
    []
    """
    name, along = check_finding(found, finding)
    if name is None or along is None:
        return []
    directions = torch.stack([along.cpu(), random_direction(len(along), seed)])
    ids = prompt.cpu().repeat(2, 1)
    for _ in range(n):
        _, scores = _set_back(a, b, ids, name, directions)
        ids = torch.cat([ids, scores[:, -1].argmax(-1, keepdim=True).cpu()], dim=1)
    return [row[len(prompt) :].numpy() for row in ids]


def _ids(model: LiveModel, text: str) -> Int[Tensor, " n"]:
    batch = next(iter(model.batches([text], batch_size=1)))
    ids: Any = batch.token_ids
    return (ids[0] if batch.keep is None else ids[0][batch.keep[0].to(ids.device)]).cpu()


def _scores(model: LiveModel, ids: Tensor) -> Float[Tensor, "n vocabulary"]:
    with torch.no_grad(), model.lock:
        answer: Any = run(model, next(iter(model.batches(ids[None], batch_size=1)))).answer.tensor
    return answer[0].cpu()


def _most_raised(
    a: LiveModel, b: LiveModel, read: list[Tensor]
) -> tuple[int, Int[Tensor, " m"]] | None:
    """Return the token after which the phrase comes most often, and the phrase."""
    raised: Counter[int] = Counter()
    at: dict[int, list[tuple[int, int]]] = {}
    for sample, ids in enumerate(read):
        gain = _scores(b, ids).softmax(-1) - _scores(a, ids).softmax(-1)
        values, tokens = gain.max(-1)
        for place in (values >= RAISED).nonzero()[:, 0].tolist():
            raised[int(tokens[place])] += 1
            at.setdefault(int(tokens[place]), []).append((sample, place))
    if not raised:
        return None
    places = at[raised.most_common(1)[0][0]]
    after = Counter(int(read[sample][place]) for sample, place in places).most_common(1)[0][0]
    sample, place = next(one for one in places if int(read[one[0]][one[1]]) == after)
    with b.lock:
        (new,) = continued(b, read[sample][: place + 1], LONGEST)
    return after, torch.as_tensor(new[: _end(token_texts(b.tokenizer, new.tolist()))])


def _end(tokens: list[str]) -> int:
    """Return how many tokens belong to the phrase: to its sign, else to the end of its last whole word.

    >>> _end([" S", "o", " it", ".", " A"]), _end([" a", " fo"]), _end(["!"])
    (4, 1, 1)
    """
    for i, token in enumerate(tokens):
        if token.strip().endswith(tuple(ENDS)):
            return i + 1
    words = [i for i, token in enumerate(tokens) if i and token[:1].isspace()]
    return words[-1] if words else len(tokens)


def _set_back(
    a: LiveModel, b: LiveModel, ids: Tensor, name: str, directions: Float[Tensor, "k d"]
) -> tuple[Tensor, Tensor]:
    """Return a's scores of a text, or of one a direction, and b's with a's states along each direction."""
    rows = ids if ids.ndim == 2 else ids[None]
    copies = rows.expand(len(directions), -1)
    with torch.no_grad():
        with a.lock:
            first = run(a, next(iter(a.batches(rows, batch_size=len(rows)))), read=[name])
        theirs = first.states[name]

        def put(along: Tensor, x: Tensor) -> Tensor:
            return x - ((x - theirs) * along).sum(-1, keepdim=True) * along

        unit = directions[:, None].to(theirs)
        with b.lock:
            batch = next(iter(b.batches(copies, batch_size=len(copies))))
            second = run(b, batch, put={name: partial(put, unit)})
    answers: Any = first.answer, second.answer
    return answers[0].tensor.cpu(), answers[1].tensor.cpu()


def _chance(scores: Float[Tensor, "k n vocabulary"], phrase: Int[Tensor, " m"]) -> np.ndarray:
    """Return the probability of a phrase with which every text ends."""
    at = scores[:, -len(phrase) - 1 : -1].double().log_softmax(-1)
    return at.gather(-1, phrase.expand(len(scores), -1)[..., None])[..., 0].sum(-1).exp().numpy()
