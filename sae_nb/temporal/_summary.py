"""One sequence in time: what its past predicts of every token, what the token adds, how both move."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize, pad

from sae_nb.capturing import capture
from sae_nb.checks import check_count, check_matrix, one_of, same_length
from sae_nb.codes import SparseCodes
from sae_nb.geometry import pca_layout
from sae_nb.models._text_inputs import language_samples, token_sequences
from sae_nb.temporal._decomposition import decompose

if TYPE_CHECKING:
    from sae_nb.models import LiveModel


Part = Literal["predicted", "novel", "raw"]
"""Predicted by the past, novel, or the activations themselves."""

Kind = Literal["text", "layers", "signal"]
"""Meaning of time: tokens of a text, layers of a vision model, moments of a signal."""

N_SHUFFLES = 8
"""Random orders of the control. Ours: their mean moves by about 0.01 from seed to seed."""

MOST_SIMILARITY = 128
"""Side of a similarity matrix; longer sequences are averaged over neighbours. Ours: 64 kB each."""


MOST_DISTANCE = 32
"""Times between two that are compared at most. Ours: few texts have many pairs further apart."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Raster:
    """Strengths of the strongest atoms over time, in the order in which they first fire."""

    MOST: ClassVar[int] = 48
    """Rows; more could not be told apart. The strongest are kept. Ours."""

    atoms: Int[np.ndarray, " m"]
    strengths: Float[np.ndarray, "m time"]
    """NaN where an atom does not fire."""

    left_out: int
    """Weaker atoms that fire and are not shown."""

    def strongest(self, most: int) -> Raster:
        """Return the same for fewer atoms: those of most energy, in the order in which they first fire."""
        energy = np.nansum(self.strengths**2, axis=1)
        kept = np.sort(np.argsort(-energy, kind="stable")[:most])
        return Raster(
            atoms=self.atoms[kept],
            strengths=self.strengths[kept],
            left_out=self.left_out + len(self.atoms) - len(kept),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class TemporalSummary:
    """A sequence taken apart in time, as a panel draws it."""

    names: tuple[str, ...]
    """Name of each time: a token, a layer, a moment."""

    special: Bool[np.ndarray, " time"]
    """Tokens that are not text."""

    kind: Kind
    first_position: int
    """Position in its sample of the first time; those before were not read."""

    strict: bool
    """Whether the present was kept from its own prediction."""

    energy: Float[np.ndarray, "time 2"]
    """‖predicted‖² and ‖novel‖²."""

    shares: Float[np.ndarray, "time 2"]
    """The same as shares of ‖x − b‖²: what the SAE misses is in neither."""

    shuffled: Float[np.ndarray, " time"]
    """Predicted share of each token when the order is permuted, mean over permutations: the control."""

    plain: Mapping[str, Float[np.ndarray, " time"]]
    """Predicted shares of guesses that learn nothing (`Decomposition.plain_shares`): rivals."""

    rasters: Mapping[str, Raster]
    """Of the predicted and the novel codes."""

    similarity: Mapping[str, Float[np.ndarray, "side side"]]
    """Cosine of centred predicted codes, novel codes and raw activations between times."""

    stride: int
    """Times that one row of a similarity matrix averages."""

    xy: Mapping[str, Float[np.ndarray, "time 2"]]
    """Coordinates of the predicted and the novel codes: principal ones, until `with_layout`."""

    by_distance: Mapping[str, Float[np.ndarray, " lags"]]
    """Mean cosine of two times of the same parts: first of neighbours, then of those two apart, and so on."""

    order_lost: Mapping[str, float]
    """Mean cosine of any two times: what every distance has in random order, the control."""

    attention: Float[np.ndarray, "time time"]
    """Attention of each time to each before it, mean over heads; the rest is on the empty slot."""

    boundaries: tuple[int, ...] = ()
    """Times at which something new begins, where that is known."""

    unread: int = 0
    """Tokens at the end that were left out, because they do not fit into the model's context."""

    fvu: float = math.nan
    """‖x − x̂‖² over ‖x − mean‖² of this sequence."""

    novel_codes: SparseCodes = field(repr=False)
    """One row per time."""

    codes: Mapping[str, Float[Tensor, "time n_atoms"]] = field(repr=False)
    """Predicted and novel codes, dense: what a layout is made from."""

    @property
    def n_times(self) -> int:
        """Length of the sequence."""
        return len(self.names)

    @property
    def predicted_share(self) -> float:
        """Mean predicted share; the first time has no past and is left out."""
        return float(self.shares[1:, 0].mean())

    @property
    def rivals(self) -> dict[str, float]:
        """Mean predicted share of the shuffled order and of the plain guesses, for the same times."""
        found = {"shuffled order": self.shuffled, **self.plain}
        return {name: float(shares[1:].mean()) for name, shares in found.items()}

    @property
    def lag1(self) -> dict[str, float]:
        """Mean cosine of neighbours in time, of the predicted codes, the novel ones and the activations."""
        return {part: float(cosines[0]) for part, cosines in self.by_distance.items()}

    @property
    def documents(self) -> Int[np.ndarray, " time"]:
        """Index of the stretch between boundaries that each time belongs to."""
        borders = np.array(sorted(self.boundaries), dtype=int)
        documents: Int[np.ndarray, " time"] = np.searchsorted(
            borders, np.arange(self.n_times), side="right"
        )
        return documents

    def with_layout(self, xy: Mapping[str, Float[np.ndarray, "time 2"]]) -> TemporalSummary:
        """Return the same with other coordinates of its codes."""
        return replace(self, xy=dict(xy))

    @property
    def most_predicted(self) -> int:
        """The time predicted furthest above its best rival; of a text a token that begins a word.

        Never the first, which has no past.
        """
        rivals = np.nan_to_num(np.stack([self.shuffled, *self.plain.values()]))
        above = np.nan_to_num(self.shares[:, 0] - rivals.max(axis=0))
        begins = np.array([name[:1].isspace() for name in self.names])
        begins[0] = False
        if self.kind == "text" and begins.any():
            # The end of a word follows from its beginning: that tells little of the past.
            above = np.where(begins, above, -np.inf)
        return 1 + int(above[1:].argmax()) if len(above) > 1 else 0

    def atoms_added(self, time: int, most: int = 8) -> list[tuple[int, float]]:
        """Return the atoms a time adds, strongest first, with their strengths."""
        first, last = (int(self.novel_codes.offsets[time + i]) for i in (0, 1))
        atoms = self.novel_codes.atoms[first:last].tolist()
        values = self.novel_codes.values[first:last].tolist()
        strongest = sorted(zip(atoms, values, strict=True), key=lambda pair: -abs(pair[1]))
        return [(atom, value) for atom, value in strongest[:most] if value]

    def read_from(self, time: int, most: int = 6) -> list[tuple[int, float]]:
        """Return the earlier times that its prediction was read from, with their shares of attention."""
        row = self.attention[time, :time]
        order = np.argsort(-row, kind="stable")[:most]
        return [(int(i), float(row[i])) for i in order if row[i] > 0]


@torch.no_grad()
def summarise_sequence(
    sae: Any,
    x: Float[Tensor, "time d_in"],
    *,
    names: Sequence[str] | None = None,
    special: Sequence[bool] | None = None,
    boundaries: Sequence[int] = (),
    kind: Kind = "signal",
    first_position: int = 0,
    n_shuffles: int = N_SHUFFLES,
    seed: int = 0,
) -> TemporalSummary:
    """Take one sequence apart in time, with a random order as its control.

    Parameters
    ----------
    sae
        A `Temporal` SAE.
    names, special
        Of each time; which of them are no text.
    boundaries
        First times of something new.
    n_shuffles, seed
        Random orders of the control.

    Example
    -------
    >>> import sae_nb as sn
    >>> sae = sn.Temporal(d_in=4, n_atoms=8, k=2).eval()
    >>> found = summarise_sequence(sae, torch.randn(6, 4), n_shuffles=1)
    >>> found.n_times, found.shares.shape, found.kind
    (6, (6, 2), 'signal')
    """
    x = check_matrix(x, d_in=sae.d_in).detach().to(sae.device, sae.dtype)
    time = len(x)
    names = tuple(map(str, range(time) if names is None else names))
    marks = np.zeros(time, bool) if special is None else np.asarray(special, bool)
    _check_times(time, names, marks, boundaries)
    one_of(kind, get_args(Kind), name="kind")
    parts = decompose(sae, x[None], attention=True)
    vectors = {
        "predicted": parts.predicted_codes[0].float(),
        "novel": parts.novel_codes.to_dense().float(),
        "raw": x.float(),
    }
    # Cosines between times after the mean over time is taken off; a zero row is unlike all.
    units = {part: normalize(v - v.mean(dim=0), dim=1) for part, v in vectors.items()}
    similar = {part: _numpy(unit @ unit.T) for part, unit in units.items()}
    # Mean over heads; slot j is the token at j − 1, so the empty slot falls off the left.
    # Without attention layers nothing was read.
    read = parts.attention
    heads = x.new_zeros(time, time) if read is None else read[0].mean(dim=0)
    error = (x - parts.x_hat[0]).square().sum()
    spread = (x - x.mean(dim=0)).square().sum()
    stride = math.ceil(time / MOST_SIMILARITY)
    return TemporalSummary(
        names=names,
        special=marks,
        kind=kind,
        first_position=first_position,
        strict=parts.strict,
        energy=_numpy(parts.energy[0]),
        shares=_numpy(parts.energy_shares[0]),
        plain={name: _numpy(one[0]) for name, one in parts.plain_shares.items()},
        shuffled=_shuffled_shares(sae, x, check_count(n_shuffles, name="n_shuffles"), seed),
        rasters={part: _raster(vectors[part]) for part in ("predicted", "novel")},
        similarity={part: _thinned(cosines, stride) for part, cosines in similar.items()},
        stride=stride,
        xy={part: pca_layout(vectors[part]) for part in ("predicted", "novel")},
        by_distance={part: _by_distance(cosines) for part, cosines in similar.items()},
        order_lost={
            part: float(cosines[~np.eye(time, dtype=bool)].mean()) if time > 1 else math.nan
            for part, cosines in similar.items()
        },
        attention=_numpy(pad(heads[:, 1:], (0, 1))),
        boundaries=tuple(int(b) for b in boundaries),
        fvu=float(error / spread) if spread > 0 else math.nan,
        novel_codes=parts.novel_codes,
        codes={part: vectors[part].cpu() for part in ("predicted", "novel")},
    )


def read_in_time(
    model: LiveModel,
    sae: Any,
    given: str | Iterable[Any],
    hook_point: str | None = None,
    **options: Any,
) -> TemporalSummary:
    """Run a language model on one text and take what it computed apart in time, token by token.

    `options`: As for `summarise_sequence`.
    """
    point = hook_point or sae.hook_point
    if point is None:
        raise ValueError(
            f"`hook_point` must be given, because the SAE does not say where it was trained. "
            f"{model.name} has {len(model.hook_points())}: see model.hook_points()."
        )
    if not model.modality.is_text:
        raise TypeError(
            f"`given` must be a text {model.name} can read as tokens, got {type(given).__name__}."
        )
    samples = language_samples(model, [given] if isinstance(given, str) else given)
    texts = [columns[0] for _, columns in token_sequences(model, samples.items, "auto")]
    if len(texts) != 1:
        raise ValueError(f"`given` must be one text, got {len(texts)}. Pass one of them.")
    read = {"input_ids": texts[0][None], "attention_mask": torch.ones_like(texts[0])[None]}
    acts = capture(
        model, read, str(point), drop_massive=False, progress=False
    )  # every token in time
    specials = set(getattr(model.tokenizer, "all_special_ids", ()))
    tokens: Any = acts.tokens
    record = summarise_sequence(
        sae,
        acts.x,
        names=list(tokens[: len(acts)]),
        special=[int(i) in specials for i in tokens.ids],
        kind="text",
        first_position=int(acts.position[0]),
        **options,
    )
    last = int(acts.position[-1]) + 1
    return replace(record, unread=max(len(texts[0]) - last, 0))


def _check_times(
    time: int,
    names: Sequence[str],
    special: Bool[np.ndarray, " time"],
    boundaries: Sequence[int],
) -> None:
    """Refuse names and marks that are not one per time, and boundaries beyond the last."""
    same_length(names, time, name="names", per="time")
    same_length(special, time, name="special", per="time")
    for boundary in boundaries:
        if not isinstance(boundary, Integral) or not 0 < boundary < time:
            raise ValueError(
                f"`boundaries` must be whole numbers between 1 and {time - 1}, got {boundary}. A "
                "boundary is the first time of something new."
            )


def _thinned(
    cosines: Float[np.ndarray, "time time"], stride: int
) -> Float[np.ndarray, "side side"]:
    """Means over squares of `stride` × `stride` entries; the last squares may be smaller."""
    if stride == 1:
        return cosines
    starts = np.arange(0, len(cosines), stride)
    sums = np.add.reduceat(np.add.reduceat(cosines, starts, axis=0), starts, axis=1)
    sizes = np.diff([*starts, len(cosines)]).astype(np.float32)
    thinned: Float[np.ndarray, "side side"] = sums / np.outer(sizes, sizes)
    return thinned.astype(np.float32)


def _by_distance(cosines: Float[np.ndarray, "time time"]) -> Float[np.ndarray, " lags"]:
    # Further apart than half the sequence few pairs are left.
    lags = range(1, min(max(len(cosines) // 2, 1), len(cosines) - 1, MOST_DISTANCE) + 1)
    return np.array([cosines.diagonal(lag).mean() for lag in lags] or [math.nan])


def _raster(codes: Float[Tensor, "time n_atoms"]) -> Raster:
    energy = codes.square().sum(dim=0)
    firing = energy.nonzero().flatten()
    strongest = firing[energy[firing].argsort(descending=True, stable=True)[: Raster.MOST]]
    chosen = codes[:, strongest]
    first = (chosen != 0).int().argmax(dim=0)
    order = first.argsort(stable=True)
    strengths = _numpy(chosen[:, order].T)
    return Raster(
        atoms=strongest[order].cpu().numpy(),
        strengths=np.where(strengths == 0, np.nan, strengths).astype(np.float32),
        left_out=len(firing) - len(strongest),
    )


def _shuffled_shares(
    sae: Any, x: Float[Tensor, "time d_in"], n_shuffles: int, seed: int
) -> Float[np.ndarray, " time"]:
    """Predicted share of each token among the same tokens in random orders."""
    generator = torch.Generator().manual_seed(seed)
    orders = torch.stack([torch.randperm(len(x), generator=generator) for _ in range(n_shuffles)])
    parts = decompose(sae, x[orders.to(x.device)], predicted_codes=False)
    shares = parts.energy_shares[..., 0].cpu()
    back = torch.empty_like(shares).scatter_(1, orders, shares)
    return _numpy(back.mean(dim=0))


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().float().cpu().numpy()
