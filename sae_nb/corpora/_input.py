"""InputSummary: which atoms one input uses, position by position and overall.

lift_j = (share of the input's positions where atom j fires) / (its base frequency);
surprise_j = n·KL(share ‖ base) nats, where the share is the larger: how little chance explains it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int16, UInt8

from sae_nb.activations._modality import AUDIO, MULTIMODAL
from sae_nb.activations._sites import where_written
from sae_nb.checks import Count, Seed, check_atom, checked
from sae_nb.corpora._contrast import (
    NO_BASE_RATE,
    BaseRate,
    Contrast,
    Grouped,
    base_rate,
    contrast_codes,
    labels_of,
)
from sae_nb.evaluation import Attribution, SpliceCheck, attribute
from sae_nb.evaluation.causal._outcomes import Target
from sae_nb.findings import Finding
from sae_nb.models._one_input import (
    as_batch,
    layout_in,
    outcome_names,
    patch_map,
    placed_in,
    places_of,
    played_sound,
    shown_picture,
    token_names,
    with_place,
)
from sae_nb.steering._request import check_hook_point, check_width

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

    from sae_nb.activations._context import Context, PlacedImages
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch


UseOrder = Literal["surprise", "lift", "strength", "total strength", "attribution"]

CONTROL_SHARE = 0.95
"""Share of random directions that stay below an atom's `control`, as `Attribution.totals` takes it."""

LEAST_EFFECT = 1e-5
"""Size up to which a contribution is rounding, as a share of the measure, or of 1 where that is smaller."""

ONE_SIDED = 1.645
"""Standard deviations that 95 % of a normal distribution stay below."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomsUsed:
    """Every atom that fired in an input, ascending, and at how many positions."""

    atom: Int[np.ndarray, " active"]
    n_fired: Int[np.ndarray, " active"]
    strength: Float[np.ndarray, " active"]
    """Largest |z|."""

    total_strength: Float[np.ndarray, " active"]
    """Sum of |z| over positions."""

    base_frequency: Float[np.ndarray, " active"] | None
    """Share of rows in which it fires elsewhere; None where no base rate is known."""

    lift: Float[np.ndarray, " active"] | None
    """Share of positions here, divided by the base frequency."""

    surprise: Float[np.ndarray, " active"] | None
    """n·KL in nats, negative where it fires less than usual."""

    attribution: Float[np.ndarray, " active"]
    """First-order contribution to the answer, all positions together."""

    control: Float[np.ndarray, " active"]
    """Size of contribution that 95 % of random directions of the same strengths stay below."""

    least: float = 0.0
    """Size from which on a contribution matters at all: below it rounding decides."""

    @property
    def beyond(self) -> Bool[np.ndarray, " active"]:
        """Mask of the contributions that are larger than their control, and large enough to matter."""
        return np.abs(self.attribution) > np.maximum(self.control, self.least)

    @property
    def moves_nothing(self) -> bool:
        """Whether no contribution is large enough to matter, whatever random directions do."""
        return bool(np.abs(self.attribution).max(initial=0.0) <= self.least)

    @property
    def by_chance(self) -> float:
        """Mean number of random directions, out of the same number, that would be `beyond`."""
        return (1 - CONTROL_SHARE) * len(self)

    @property
    def more_than_chance(self) -> bool:
        """Whether more atoms are `beyond` than in 95 % of draws of as many random directions.

        The count of a binomial distribution, taken as normal.
        """
        spread = np.sqrt(CONTROL_SHARE * self.by_chance)
        return bool(self.beyond.sum() > self.by_chance + ONE_SIDED * spread)

    @property
    def alone(self) -> Bool[np.ndarray, " active"]:
        """Mask of the contributions above the largest of as many random directions, in 95 % of draws.

        A random direction's contribution is a sum over many coordinates, taken as normal (Bonferroni).
        """
        from scipy.stats import norm

        tail = (1 - CONTROL_SHARE) / 2
        further = norm.isf(tail / max(len(self), 1)) / norm.isf(tail)
        return self.beyond & (np.abs(self.attribution) > further * self.control)

    @property
    def mattering(self) -> Bool[np.ndarray, " active"]:
        """Mask of the atoms that matter: all `beyond`, if those are too many for chance, else those `alone`."""
        return self.beyond if self.more_than_chance else self.alone

    def __len__(self) -> int:
        return len(self.atom)


class InputSummary(Finding):
    """One input seen through an SAE: strengths and contributions, position by position and overall."""

    model_name: str
    hook_point: str
    """Where the SAE reads; for a transcoder, where it writes."""

    kind: str
    """Kind of input of the model, as in `model.kind`."""

    text: str | None
    """The input, where it is a text."""

    picture: UInt8[np.ndarray, "3 height width"] | None
    """The input as the model sees it, where it is an image."""

    tokens: tuple[str, ...]
    """Name of every position."""

    special: Bool[np.ndarray, " positions"]
    """Mask of the special tokens."""

    patch_grid: tuple[int, int] | None
    prefix_tokens: int
    position: Int[np.ndarray, " entries"]
    """Position of every firing; then its atom."""

    atom: Int[np.ndarray, " entries"]
    strength: Float[np.ndarray, " entries"]
    """Its strength z, sign kept."""

    attribution: Float[np.ndarray, " entries"]
    """Its first-order contribution to the answer, z ⟨d, ∂m/∂x⟩."""

    error_attribution: Float[np.ndarray, " positions"]
    """Contribution of the part of each activation that the SAE does not explain; NaN where unread."""

    used: AtomsUsed
    """The atoms that fired, overall."""

    base: BaseRate | None
    """Base rate for `used.lift`."""

    measure: str
    """Quantity that contributions contribute to."""

    value: float
    """The measure, as the model answers."""

    target: int | None
    """Class or token the measure is about; None where it is neither."""

    answers: tuple[tuple[int, str, float], ...]
    """Likeliest answers: number, name, probability; empty where the answer is a vector."""

    k: int
    """Number of atoms shown unless given."""

    notes: tuple[str, ...] = ()
    """Changes made to the input, and missing information."""

    labels: Mapping[int, str] = field(default_factory=dict)
    sound: Int16[np.ndarray, " length"] | None = None
    """The input as it is played, where it is a sound."""

    sample_rate: float | None = None
    """Its values per second."""

    run: Attribution
    """The run behind it: model, SAE, gradients."""

    @property
    def images(self) -> PlacedImages | None:
        """The images of a text, and where their patches are; None where it has none."""
        return placed_in(self.run.batch)

    # --- positions --------------------------------------------------------------------------------

    @property
    def read(self) -> Int[np.ndarray, " rows"]:
        """Positions the SAE reads; an attention sink and beginning-of-text tokens are not."""
        return self.run.position

    @checked
    def strengths(self, atom: int) -> Float[np.ndarray, " positions"]:
        """Return an atom's strength at every position; NaN where the SAE does not read."""
        return self._spread(atom, self.strength)

    def attributions(self, atom: int) -> Float[np.ndarray, " positions"]:
        """Return an atom's contribution at every position; NaN where the SAE does not read."""
        return self._spread(atom, self.attribution)

    def _spread(
        self, atom: int, values: Float[np.ndarray, " entries"]
    ) -> Float[np.ndarray, " positions"]:
        atom = check_atom(atom, self.run.sae.n_atoms)
        out = np.full(len(self.tokens), np.nan, np.float32)
        out[self.read] = 0.0
        mine = self.atom == atom
        out[self.position[mine]] = values[mine]
        return out

    @checked
    def at(self, position: int, k: int | None = None) -> list[tuple[int, float, float]]:
        """Return the strongest atoms at a position: atom, strength, contribution; strongest first."""
        if not -len(self.tokens) <= position < len(self.tokens):
            raise IndexError(
                f"`position` must be between 0 and {len(self.tokens) - 1}, got {position}."
            )
        here = np.flatnonzero(self.position == position % len(self.tokens))
        here = here[np.argsort(-np.abs(self.strength[here]), kind="stable")][: k or self.k]
        columns = (self.atom[here], self.strength[here], self.attribution[here])
        return [(int(a), float(z), float(e)) for a, z, e in zip(*columns, strict=True)]

    def patches(self, values: Float[np.ndarray, " positions"]) -> Float[np.ndarray, "r c"] | None:
        """Return the part of per-position values that are patches, as a map; None without patches."""
        return patch_map(values, self.places)

    @property
    def places(self) -> Context:
        """Names of the positions, and where each lies on the input's face."""
        run = self.run
        layout = layout_in(run.model, run.batch, len(self.tokens), self.hook_point)
        return places_of(run.model, layout)

    # --- overall ----------------------------------------------------------------------------------

    @property
    def natural_order(self) -> UseOrder:
        """The order used unless another is asked for: surprise where a base rate is known."""
        return "total strength" if self.base is None else "surprise"

    @checked
    def order(self, by: UseOrder | None = None) -> Int[np.ndarray, " active"]:
        """Return the atoms that fired, first what matters most in one respect.

        Parameters
        ----------
        by
            "surprise" (how little the base rate explains it), "lift", "strength", "total strength",
            or "attribution" (its size). None is `natural_order`.

        Raises
        ------
        ValueError: If an order needs a base rate, and none is known.
        """
        by = self.natural_order if by is None else by
        column = getattr(self.used, by.replace(" ", "_"))
        if column is None:
            raise ValueError(f'`by="{by}"` needs a base rate, and {NO_BASE_RATE}.')
        size = np.abs(column) if by == "attribution" else column
        return self.used.atom[np.lexsort((-self.used.total_strength, -size))]

    @checked
    def top(self, k: int | None = None, by: UseOrder | None = None) -> list[int]:
        """Return the first `k` atoms of `order`."""
        return [int(atom) for atom in self.order(by)[: k or self.k]]

    def place(self, atom: int) -> int | None:
        """Return where an atom is in `used`; None if it did not fire."""
        places = np.flatnonzero(self.used.atom == check_atom(atom, self.run.sae.n_atoms))
        return int(places[0]) if len(places) else None

    @checked
    def table(self, k: int | None = None, by: UseOrder | None = None) -> pd.DataFrame:
        """Return the first `k` atoms of `order` as a table."""
        import pandas as pd

        atoms = self.top(k, by)
        places = np.searchsorted(self.used.atom, atoms)
        labels = [self.labels.get(atom, "") for atom in atoms]
        columns: dict[str, Any] = {"atom": atoms, "label": labels}
        for name, values in vars(self.used).items():
            if name != "atom" and isinstance(values, np.ndarray):
                columns[name] = values[places]
        return pd.DataFrame(columns).set_index("atom")

    @checked
    def splice_check(self, atom: int, *, n_controls: int = 8, seed: Seed = 0) -> SpliceCheck:
        """Run the live model without an atom, error kept: first order and exact side by side.

        Parameters
        ----------
        atom
            Removed at every position the SAE reads.
        n_controls
            Random directions of the same strengths that are removed in its place, for comparison.
        """
        return self.run.splice(atom, n_controls=n_controls, seed=seed)

    def compare(self, other: InputSummary, *, n_permutations: int = 500, seed: int = 0) -> Contrast:
        """Return what this input uses more than another, with a floor from permuting positions.

        Contributions are compared where both are to one measure; the rest is as for `contrast`.

        Raises
        ------
        ValueError: If the other went through another SAE.
        """
        if other.run.sae is not self.run.sae:
            raise ValueError(
                "`other` must be an input seen through the same SAE. Run top_atoms on it."
            )
        both = (self, other)
        same = self.measure == other.measure
        return contrast_codes(
            *(Grouped(codes=s.run.codes, sample=np.zeros(len(s.read), np.int64)) for s in both),
            n_permutations=n_permutations,
            seed=seed,
            labels=self.labels,
            contributions=(_contributions(self), _contributions(other)) if same else None,
        )

    # --- for people -------------------------------------------------------------------------------

    @checked
    def name_of(self, atom: int) -> str:
        """Return the number of an atom and its label, where it has one."""
        label = self.labels.get(atom, "")
        return f"{atom} {label}" if label else f"{atom}"

    def to_pandas(self) -> pd.DataFrame:
        """`table` of the atoms shown unless others are asked for."""
        return self.table()

    @property
    def headline(self) -> str:
        """The number of atoms that fired, the first of them, and the measure of the answer."""
        shown = ", ".join(self.name_of(atom) for atom in self.top(3))
        return (
            f"{len(self.used)} atoms fired at {len(self.read)} positions of "
            f"{self.hook_point}, first by {self.natural_order}: {shown}; {self.measure} "
            f"{self.value:.3g}"
        )

    @property
    def below(self) -> tuple[str, ...]:
        """Notes on the input and the base rate."""
        return self.notes


def _contributions(summary: InputSummary) -> csr_matrix:
    from scipy.sparse import csr_matrix

    codes = summary.run.codes
    place = (codes.support.rows.numpy(), summary.atom)
    return csr_matrix(
        (summary.attribution.astype(np.float64), place), shape=(codes.n_rows, codes.n_atoms)
    )


# -------------------------------------------------------------------------------------------------
# Which atoms one text or image uses: run the model on it once, forwards and backwards.


ANSWERS_SHOWN = 8


@checked
def top_atoms(
    model: LiveModel,
    sae: SparseAutoencoder,
    input: Inputs,
    hook_point: str | None = None,
    *,
    k: Count = 10,
    frequency: object = None,
    labels: Mapping[int, str] | None = None,
    target: Target = None,
) -> InputSummary:
    """Return which atoms one text or image uses: what fired, and what the answer depended on.

    The model runs once forwards and once backwards. A contribution is gradient × activation,
    z ⟨d, ∂m/∂x⟩, taken at the activation itself (error kept); `splice_check(atom)` gives the exact
    one. An image of another size or mode is converted, a text that is too long is cut, and `notes`
    say so.

    Parameters
    ----------
    input
        One text or its token ids; one image (tensor, array, PIL image, file); one video (frames, 3, H, W), with
        its frames per second (video, 25.0), or a GIF or folder of frames; a text with its image (text, image);
        for other models one tensor with a first axis of 1.
    hook_point
        Hook point of the SAE, of a transcoder where it writes; None takes the SAE's own.
    k
        Atoms shown overall and per position unless asked otherwise.
    frequency
        Base rates: one share per atom, codes, anything with `.frequency`, or activations. None takes
        those of the pretrained SAE, where this is one; else there is no lift, and `notes` say so.
    target
        A class or token id, its name, or a function of the answer to one sample; None takes the model's own top
        answer. A logit is measured above the mean of all logits.

    Raises
    ------
    TypeError, ValueError, HookPointNotFound, FileNotFoundError: If the parts do not fit, or the input is
        empty, several, or not finite.

    Source
    ------
    Attribution: Marks et al., "Sparse Feature Circuits", arXiv 2403.19647. Surprise: the
    log-likelihood ratio of Dunning (1993). Base-rate correction and controls are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> model = sn.load_model("tiny-vit")
    >>> sae = sn.TopK(d_in=64, n_atoms=128, k=4, generator=torch.Generator().manual_seed(0))
    >>> found = top_atoms(model, sae, torch.rand(3, 32, 32), "resid_post.6")
    >>> len(found.tokens), len(found.at(0)), found.base is None
    (69, 4, True)
    >>> check = found.splice_check(found.top(1)[0])
    >>> check.atom == found.top(1)[0]
    True
    """
    point = _checked_point(model, sae, hook_point)
    base = base_rate(sae, frequency)
    batch, notes = one_input(model, input)
    run = attribute(model, batch, point, sae, target=target)
    if base is None:
        notes = (*notes, NO_BASE_RATE)
    text = input[0] if isinstance(input, tuple) else input
    text = text if isinstance(text, str) else None
    return summarise_input(
        run, k=k, base=base, labels=labels_of(sae, labels), notes=notes, text=text
    )


def summarise_input(
    run: Attribution,
    *,
    k: int = 10,
    base: BaseRate | None = None,
    labels: Mapping[int, str] | None = None,
    notes: tuple[str, ...] = (),
    text: str | None = None,
) -> InputSummary:
    """Return the record of a run that is there already."""
    model, batch = run.model, run.batch
    layout = layout_in(model, batch, run.n_positions, run.hook_point)
    batch = batch.at(model.hook_point(run.hook_point))
    tokens = token_names(model, batch, run.n_positions, layout)
    error = np.full(len(tokens), np.nan, np.float32)
    error[run.position] = run.error
    special = np.zeros(len(tokens), dtype=bool)
    if batch.special is not None:
        special[:] = batch.special[0].cpu().numpy()
    return InputSummary(
        model_name=model.name,
        hook_point=run.hook_point,
        kind=model.kind,
        text=text,
        picture=shown_picture(batch),
        tokens=tokens,
        special=special,
        patch_grid=layout.grid,
        prefix_tokens=model.prefix_tokens,
        sound=played_sound(batch),
        sample_rate=batch.sample_rate,
        position=run.position[run.codes.support.rows.numpy()],
        atom=run.codes.atoms.numpy().astype(np.int64),
        strength=run.codes.values.float().numpy(),
        attribution=run.effects,
        error_attribution=error,
        used=_used(run, base),
        base=base,
        measure=run.outcome.words,
        value=run.value,
        target=run.outcome.index,
        answers=_answers(run),
        k=k,
        notes=notes,
        labels=labels or {},
        run=run,
    )


def one_input(model: LiveModel, given: object) -> tuple[Batch, tuple[str, ...]]:
    """Return one input as a batch, and what was done to it in words."""
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):
        return _with_image(model, given[0], given[1])
    if model.modality.fit is not None and model.modality not in (AUDIO, MULTIMODAL):
        sample, notes, *rate = model.modality.fit(model, given)
        known = rate and rate[0] is not None
        return as_batch(model, (sample[None], rate[0]) if known else sample[None]), notes
    if not model.modality.is_text:
        return as_batch(model, given), ()
    if isinstance(given, str) and not given.strip():
        raise ValueError(
            f"A text must have at least one word for {model.name}, got {given!r}. Type something."
        )
    batch = as_batch(model, [given] if isinstance(given, str) else given)
    return batch, tuple(_text_notes(model, given, batch))


def _with_image(model: LiveModel, text: str, image: Inputs) -> tuple[Batch, tuple[str, ...]]:
    """Return a text with an image as a batch; the image comes first where the text has no place for it."""
    if model.modality != MULTIMODAL or model.modality.fit is None:
        raise TypeError(
            f"`input` must be {model.modality.reads} for {model.name}, got a text with an image. Pass the text."
        )
    picture, notes, *_ = model.modality.fit(model, image)
    placed = with_place(model, text)
    if placed != text:
        notes = (*notes, "the image was put before the text")
    return as_batch(model, [(placed, picture)]), notes


def _text_notes(model: LiveModel, given: object, batch: Batch) -> list[str]:
    notes = []
    if batch.truncated:
        notes.append(f"cut at {model.context_length} tokens, all {model.name} can read")
    special = getattr(model.tokenizer, "all_special_tokens", ())
    spelled = [token for token in special if isinstance(given, str) and token in given]
    if spelled:
        notes.append(
            f"{', '.join(spelled)} in the text is read as a special token, not as characters"
        )
    return notes


def _checked_point(model: LiveModel, sae: SparseAutoencoder, hook_point: str | None) -> str:
    if not hasattr(model, "hook_points"):
        raise TypeError(
            f"`model` must be a live model, got {type(model).__name__}. Make one with sn.load_model "
            "or sn.wrap."
        )
    point = check_hook_point(model, where_written(sae, hook_point))
    check_width(model, point, int(getattr(sae, "d_out", sae.d_in)), "the SAE")
    if sae.dictionary.device.type != model.device.type:
        raise ValueError(
            f"`sae` must be on the model's device, {model.device}, got {sae.dictionary.device}. Use "
            "sae.to(model.device)."
        )
    return str(point)


def _used(run: Attribution, base: BaseRate | None) -> AtomsUsed:
    atom, attribution, control = run.totals()
    place = np.searchsorted(atom, run.codes.atoms.numpy())
    size = np.abs(run.codes.values.double().numpy())
    strongest = np.zeros(len(atom))
    np.maximum.at(strongest, place, size)
    n_fired = np.bincount(place, minlength=len(atom))
    lift = surprise = frequency = None
    if base is not None:
        share = n_fired / len(run.position)
        expected = base.at_least[atom]
        lift, frequency = share / expected, base.frequency[atom]
        surprise = len(run.position) * _divergence(share, expected) * np.sign(lift - 1)
    return AtomsUsed(
        atom=atom.astype(np.int64),
        n_fired=n_fired,
        strength=strongest,
        total_strength=np.bincount(place, weights=size, minlength=len(atom)),
        base_frequency=frequency,
        lift=lift,
        surprise=surprise,
        attribution=attribution,
        control=control,
        least=LEAST_EFFECT * max(abs(run.value), 1.0),
    )


def _divergence(
    p: Float[np.ndarray, " active"], q: Float[np.ndarray, " active"]
) -> Float[np.ndarray, " active"]:
    """KL of two coins in nats; 0 ln 0 is 0."""
    q = np.clip(q, 1e-12, 1 - 1e-12)
    rest = 1 - p
    hit = p * np.log(np.maximum(p, 1e-300) / q)
    miss = np.where(rest > 0, rest * np.log(np.maximum(rest, 1e-300) / (1 - q)), 0.0)
    return np.maximum(hit + miss, 0.0)


def _answers(run: Attribution) -> tuple[tuple[int, str, float], ...]:
    if run.kind == "vector":
        return ()
    p = torch.softmax(run.answer, dim=-1)
    best = p.topk(min(ANSWERS_SHOWN, len(p)))
    ids = best.indices.tolist()
    return tuple(zip(ids, outcome_names(run.model, ids), best.values.tolist(), strict=True))
