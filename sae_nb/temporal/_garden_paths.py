"""Garden paths: sentences that turn out otherwise than they began, each with one that says so early."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.temporal._decomposition import decompose

if TYPE_CHECKING:
    from sae_nb.models import LiveModel


# -------------------------------------------------------------------------------------------------
# What can be read off codes by a linear map: held-out R² of an affine least-squares fit.


RIDGE = 1e-4
"""Share of the mean squared code added to the diagonal: codes of dead atoms are zero. Ours."""


def readout_r2(
    codes: Float[Tensor, "n width"],
    target: Float[Tensor, "n m"],
    held_out_codes: Float[Tensor, "p width"],
    held_out_target: Float[Tensor, "p m"],
) -> float:
    """R² on held-out rows of target ≈ codes A + b, fitted by least squares on the others.

    Rows to fit on should be ten times the width of the codes, or more.

    Raises
    ------
    ValueError: If rows do not match.

    Example
    -------
    >>> codes = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> target = codes @ torch.tensor([[1.0], [2.0], [0.0]]) + 1
    >>> readout_r2(codes[:100], target[:100], codes[100:], target[100:]) > 0.999
    True
    """
    if len(codes) != len(target) or len(held_out_codes) != len(held_out_target):
        raise ValueError(
            "`codes` and `target` must have the same number of rows, got "
            f"{len(codes)} and {len(target)}, held out {len(held_out_codes)} and {len(held_out_target)}."
        )
    mean, level = codes.double().mean(dim=0), target.double().mean(dim=0)
    z, y = codes.double() - mean, target.double() - level
    gram = z.T @ z
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weights = torch.linalg.solve(gram + ridge, z.T @ y)
    held_out = held_out_target.double()
    missed = held_out - level - (held_out_codes.double() - mean) @ weights
    spread = held_out - held_out.mean(dim=0)
    return 1 - float(missed.square().sum() / spread.square().sum())


# -------------------------------------------------------------------------------------------------
# The sentences, and what happens at the word that settles how they are to be read.


@dataclass(frozen=True)
class GardenPath:
    """One sentence in two forms, and the word that settles how it is to be read."""

    misleading: str
    """How the garden path begins."""

    plain: str
    """The same, saying how it is meant."""

    shared: str
    """What follows in both, up to the word."""

    word: str
    """The disambiguating word."""

    rest: str
    """What follows it."""

    kind: str
    """What is ambiguous: "NP/S", "NP/Z" or "MV/RR"."""

    @property
    def garden(self) -> str:
        """Misleads until the word comes."""
        return _joined(self.misleading, self.shared, self.word, self.rest)

    @property
    def control(self) -> str:
        """Says early how it is meant."""
        return _joined(self.plain, self.shared, self.word, self.rest)

    def place(self, which: str) -> int:
        """Character at which the word begins."""
        begins = self.misleading if which == "garden" else self.plain
        return len(_joined(begins, self.shared)) + 1


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


_SENTENCES = (
    "While the man hunted|While the man hunted,|the deer|ran|into the woods.|NP/Z",
    "When Felix read|When Felix read,|the story|was|not finished.|NP/Z",
    "The boy told|The boy who was told|the story|was|sad and went to the lake.|MV/RR",
    "The horse raced|The horse that was raced|past the barn|fell|on the road.|MV/RR",
    "Rose knew|Rose knew that|the answer|was|not in the book.|NP/S",
    "The dog heard|The dog heard that|the song|had|ended at night.|NP/S",
)
EXAMPLES = tuple(GardenPath(*sentence.split("|")) for sentence in _SENTENCES)
"""A few of the well-known kinds, ours; benchmarks have hundreds (`read_garden_paths`)."""


def read_garden_paths(path: str | Path) -> tuple[GardenPath, ...]:
    r"""Read sentences of a garden-path benchmark: a table whose columns are parts of sentences.

    Three layouts are known by their columns: "NP/S" (object or clause), "NP/Z" (object or none) and the
    reduced relative, with columns "Ambiguous verb", "Unreduced content" and "Disambiguator".

    Source: Parts as in the materials of Huang et al., "Surprisal does not explain syntactic
    disambiguation difficulty", 2023.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No file {str(path)!r}. Give a table of garden-path sentences.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    names = {name.strip() for name in rows[0]} if rows else set()
    layouts = {"NP/S": _clause, "NP/Z": _no_object, "Unreduced content": _relative}
    build = next((build for name, build in layouts.items() if name in names), None)
    if build is None:
        raise ValueError(
            f"{str(path)!r} must have a column 'NP/S', 'NP/Z' or 'Unreduced content', got {sorted(names)}."
        )
    parts = [{key.strip(): (value or "").strip() for key, value in row.items()} for row in rows]
    return tuple(build(part) for part in parts)


def _clause(part: dict[str, str]) -> GardenPath:
    begins = _joined(part["Subject"], part["Ambiguous Verb"])
    plain = _joined(begins, part["That"])
    return _pair(begins, plain, part["NP/S"], part["Disambiguator"], part["Rest"], "NP/S")


def _no_object(part: dict[str, str]) -> GardenPath:
    begins = _joined(part["Start"], part["Transitive Verb"])
    return _pair(begins, begins + part["Comma"], part["NP/Z"], part["Verb"], part["Rest"], "NP/Z")


def _relative(part: dict[str, str]) -> GardenPath:
    subject, verb = _joined(part["Start"], part["Noun"]), part["Ambiguous verb"]
    begins = _joined(subject, verb)
    plain = _joined(subject, part["Unreduced content"], verb)
    return _pair(begins, plain, part["RC contents"], part["Disambiguator"], part["End"], "MV/RR")


def _pair(
    misleading: str, plain: str, shared: str, disambiguator: str, rest: str, kind: str
) -> GardenPath:
    word, *more = disambiguator.split()
    rest = _joined(*more, rest.rstrip(". ")) + "."
    return GardenPath(misleading, plain, shared, word, rest, kind)


@dataclass(frozen=True, eq=False)
class Surprise:
    """What happens at the disambiguating word, sentence by sentence: garden path, then control."""

    nats: Float[Tensor, "n 2"]
    """−log p of the word given what comes before it, summed over its tokens."""

    novel_energy: Float[Tensor, "n 2"]
    """‖novel‖² at its first token, over the mean of its sentence."""

    novel_share: Float[Tensor, "n 2"]
    """Share of novel in the energy of its first token."""

    def effect(self, what: str) -> tuple[float, float]:
        """Mean of garden path less control over sentences, and the standard error of that mean."""
        values: Tensor = getattr(self, what)
        difference = values[:, 0] - values[:, 1]
        error = difference.std() / len(difference) ** 0.5 if len(difference) > 1 else torch.nan
        return float(difference.mean()), float(error)


@torch.no_grad()
def garden_path_surprise(
    model: LiveModel, sae: Any, sentences: Sequence[GardenPath], hook_point: str | None = None
) -> Surprise:
    """How surprised a model, and the novel part of its activations, are where a garden path ends.

    Source: "Priors in Time", arXiv 2511.01836, section on garden paths, which compares codes of
    phrases; energy at the word is ours.
    """
    point = hook_point or sae.hook_point
    if point is None or not sentences or not model.causal:
        raise ValueError(
            "Garden paths need a language model that predicts next tokens, sentences, and a `hook_point`, "
            f"got {model.name}, {len(sentences)} sentences and {point!r}."
        )
    rows = [
        [_at_word(model, sae, one, which, point) for which in ("garden", "control")]
        for one in sentences
    ]
    table = torch.tensor(rows)
    return Surprise(table[..., 0], table[..., 1], table[..., 2])


def _at_word(
    model: LiveModel, sae: Any, one: GardenPath, which: str, point: str
) -> tuple[float, float, float]:
    from sae_nb.capturing import capture

    text: str = getattr(one, which)
    read = model.tokenizer(text, return_offsets_mapping=True)
    ids, spans = torch.tensor(read["input_ids"]), read["offset_mapping"]
    start = one.place(which)
    stop = start + len(one.word)
    inside = [t for t, (a, b) in enumerate(spans) if a < stop and b > start and b > a]
    logits = model([ids]).float().log_softmax(dim=-1)[0]
    nats = -sum(float(logits[t - 1, ids[t]]) for t in inside)
    acts = capture(model, [ids], point, progress=False)
    parts = decompose(sae, acts, predicted_codes=False)
    at = int((acts.position == inside[0]).nonzero()[0])
    novel = parts.energy[0, :, 1]
    return nats, float(novel[at] / novel.mean()), float(parts.energy_shares[0, at, 1])
