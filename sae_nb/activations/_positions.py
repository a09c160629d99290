"""The positions of a text that an SAE is for: those that the activations it was trained on were of.

Capture leaves attention sinks out (first tokens, rows of massive norm) and whatever else it is told to; an SAE
reconstructs such rows as nothing like what they are, which breaks a model that runs on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations._context import ROLES
from sae_nb.activations._hook_point_check import place_of
from sae_nb.activations._massive import AT_MOST, FEWEST, MASSIVE, above, row_norms
from sae_nb.activations._modality import Modality
from sae_nb.activations._named_positions import (
    NAMED_POSITIONS,
    ROLE_POSITIONS,
    NamedPositions,
    check_named_position,
    named_mask,
)
from sae_nb.checks import one_of, shown

TRAINING, DEFAULT = "training", "default"
"""Sources of a policy: the activations that the SAE was trained on; the default of `capture`."""


class _Columns(Protocol):
    """The columns of one pass of a model, as `models.RunState` describes them."""

    @property
    def offset(self) -> int: ...
    @property
    def sample(self) -> Int[Tensor, "batch time"] | None: ...
    @property
    def token_ids(self) -> Int[Tensor, "batch time"] | None: ...
    @property
    def role(self) -> Int[Tensor, "batch time"] | None: ...


class _Model(Protocol):
    """A live model, as far as positions depend on it."""

    @property
    def name(self) -> str: ...
    @property
    def modality(self) -> Modality: ...
    @property
    def has_sinks(self) -> bool: ...
    @property
    def beginning_of_text(self) -> int | None: ...
    @property
    def special_ids(self) -> frozenset[int]: ...
    @property
    def prefix_tokens(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class PositionPolicy:
    """The positions of inputs that become rows, and so those that an SAE is for; by `capture`'s names.

    Position 0 of a decoder language model is an attention sink: its norm is up to a hundred times
    that of the others, one atom would explain it, and R² would look excellent while meaning nothing.

    Example
    -------
    >>> policy = PositionPolicy(drop_first=True, norm_limits={"resid_post.3": 80.0}, source="training")
    >>> policy
    PositionPolicy(first tokens left out; stated by training)
    >>> PositionPolicy.read(policy.stated()) == policy
    True
    """

    drop_first: bool = False
    """The first token of every text and window, and BOS, are left out."""

    drop_massive: bool = False
    """Rows of massive norm are."""

    keep_special: bool = True
    """Whether special tokens other than BOS are not."""

    positions: NamedPositions = "all"
    """Tokens that are kept; of conversations those of an author."""

    drop_ids: tuple[int, ...] = ()
    """Tokens that are left out at any position."""

    norm_limits: Mapping[str, float] = field(default_factory=dict)
    """By hook point the norm above which a row is massive; elsewhere ten times the median of its text."""

    source: str = DEFAULT
    """"training", "default", or the library whose file or whose training it is of."""

    begin_id: int | None = None
    special_ids: frozenset[int] = frozenset()
    prefix_tokens: int = 0
    """BOS, the special tokens and the tokens before the first patch of the model that runs; not stated."""

    @classmethod
    def for_model(
        cls,
        model: _Model,
        *,
        drop_first: bool | Literal["auto"] = "auto",
        drop_massive: bool | Literal["auto"] = "auto",
        keep_special: bool = True,
        positions: NamedPositions = "all",
        drop_ids: tuple[int, ...] = (),
    ) -> PositionPolicy:
        """Resolve "auto": first tokens are dropped where the model is a decoder of language, and massive
        rows with them.
        """
        one_of(drop_first, (True, False, "auto"), name="drop_first")
        one_of(drop_massive, (True, False, "auto"), name="drop_massive")
        one_of(keep_special, (True, False), name="keep_special")
        check_named_position(positions, model.prefix_tokens)
        if positions in ROLE_POSITIONS and not model.modality.is_text:
            raise ValueError(
                f"`positions` must be no role for {model.name!r}, which reads {model.modality.reads}, got "
                f'{positions!r}. Use "all", "last", "not_first" or, where there are such, "cls" and "patches".'
            )
        first = model.has_sinks if drop_first == "auto" else bool(drop_first)
        auto = model.has_sinks and first
        return cls(
            drop_first=first,
            drop_massive=auto if drop_massive == "auto" else bool(drop_massive),
            keep_special=keep_special,
            positions=positions,
            drop_ids=drop_ids,
        ).within(model)

    def within(self, model: _Model) -> PositionPolicy:
        """Return the same policy with the ids of a model."""
        return replace(
            self,
            begin_id=model.beginning_of_text,
            special_ids=model.special_ids,
            prefix_tokens=model.prefix_tokens,
        )

    @classmethod
    def of(cls, source: Any) -> PositionPolicy | None:
        """Return the policy by which activations, or a stream of them, were chosen.

        None where they carry no policy. Of parts that were captured differently, what any of them kept is kept.
        """
        rows = getattr(source, "acts", source)  # of sequences
        sides = getattr(rows, "sides", (rows,))
        contexts = [getattr(side, "context", None) for side in sides]
        policies: list[Mapping[str, Any]] = [
            side.policy if hasattr(side, "policy") else getattr(context, "policy", {})
            for side, context in zip(sides, contexts)
        ]
        policy = policies[0]
        if "drop_first" not in policy:
            return None
        names = [name for side in sides for name in str(side.hook_point).split(" + ")]
        limits = {n: v for one in policies for n, v in one.get("norm_limits", {}).items()}
        parts, ids = policy.get("positions", "all"), policy.get("drop_ids", ())
        return cls(
            drop_first=_all_of(policy["drop_first"]),
            drop_massive=_all_of(policy.get("drop_massive", "n_dropped_massive" in policy)),
            keep_special=_any_of(policy.get("keep_special", True)),
            positions="all" if isinstance(parts, list) else parts,
            drop_ids=tuple(ids) if all(isinstance(one, int) for one in ids) else (),
            norm_limits={name: limits[name] for name in names if name in limits},
            source=TRAINING,
        )

    def stated(self) -> dict[str, Any]:
        """Return the policy as plain values, for the SAE's card."""
        plain = {name: getattr(self, name) for name in _STATED}
        return plain | {"drop_ids": list(self.drop_ids), "norm_limits": dict(self.norm_limits)}

    @classmethod
    def read(cls, stated: object) -> PositionPolicy:
        """Return the policy that `stated` wrote.

        Raises
        ------
        ValueError: If it has entries or values that are not known.
        """
        if not isinstance(stated, Mapping) or not set(stated) <= set(_STATED):
            raise _not_read("entries", f"among {', '.join(_STATED)}", stated)
        for name, value in stated.items():
            rule, fits = _STATED[name]
            if not fits(value):
                raise _not_read(f"`{name}`", rule, value)
        return cls(**{**stated, "drop_ids": tuple(stated.get("drop_ids", ()))})

    @property
    def everywhere(self) -> bool:
        """Whether no position is left out."""
        first = self.drop_first or self.drop_massive or bool(self.drop_ids)
        return not first and self.keep_special and self.positions == "all"

    def left_out(self) -> str:
        """Return what is left out, in words; empty where nothing is."""
        words = ["first tokens"] * self.drop_first
        words += ["massive norms"] * self.drop_massive
        words += ["special tokens"] * (not self.keep_special)
        words += ["unwanted tokens"] * bool(self.drop_ids)
        if self.positions in ROLE_POSITIONS:
            words.append(f"all but the {self.positions}'s tokens")
        elif self.positions == "not_first":
            words += ["first tokens"] * (not self.drop_first)
        elif self.positions != "all":
            words.append(f"all but {self.positions}")
        return ", ".join(words)

    def __repr__(self) -> str:
        what = self.left_out()
        return f"PositionPolicy({f'{what} left out' if what else 'all positions'}; stated by {self.source})"

    def mask(
        self,
        position: Int[Tensor, "batch time"],
        real: Bool[Tensor, "batch time"],
        columns: _Columns,
    ) -> Bool[Tensor, "batch time"]:
        """Return which columns of a running batch are kept, but for their norms."""
        dropped = self.dropped(position, real, columns)
        return real & ~torch.stack([*dropped.values()]).any(dim=0)

    def dropped(
        self,
        position: Int[Tensor, "batch time"],
        real: Bool[Tensor, "batch time"],
        columns: _Columns,
    ) -> dict[str, Bool[Tensor, "batch time"]]:
        """Return which columns are left out, by the first reason that there is.

        Parameters
        ----------
        position, real
            Index of each column in its own text, and whether there is a token.
        """
        none = torch.zeros_like(real)
        first = special = unwanted = none
        ids = None if columns.token_ids is None else columns.token_ids.to(real.device)
        if self.drop_first:
            first = first_tokens(position, real, ids, self.begin_id, columns.offset)
        if not self.keep_special and ids is not None:
            special = real & ~first & _among(ids, self.special_ids)
        kept = real & ~first & ~special
        others = self.others(position, kept, columns.sample, columns.role)
        if self.drop_ids and ids is not None:
            unwanted = kept & ~others & _among(ids, self.drop_ids)
        return {"first": first, "special": special, "others": others, "ids": unwanted}

    def others(
        self,
        position: Int[Tensor, "batch time"],
        kept: Bool[Tensor, "batch time"],
        sample: Int[Tensor, "batch time"] | None,
        role: Int[Tensor, "batch time"] | None,
    ) -> Bool[Tensor, "batch time"]:
        """Return which of the columns that are kept so far are not among `positions`."""
        if self.positions == "all" or (self.positions in ROLE_POSITIONS and role is None):
            return torch.zeros_like(kept)
        if self.positions == "last":
            return kept & ~_last_ones(kept, sample)
        if role is not None and self.positions in ROLE_POSITIONS:
            role = role.to(kept.device)
            plain = (role < 0).all(dim=1, keepdim=True)  # a text among conversations has no roles
            return kept & ~plain & (role != ROLES.index(self.positions))
        return kept & ~named_mask(self.positions, position, self.prefix_tokens)

    def massive(
        self, x: Float[Tensor, "batch time d"], kept: Bool[Tensor, "batch time"], hook_point: object
    ) -> Bool[Tensor, "batch time"]:
        """Return which kept rows have a massive norm: above the hook point's limit, where it has one."""
        if not self.drop_massive:
            return torch.zeros_like(kept)
        norms = row_norms(x)
        place = place_of(hook_point) or str(hook_point)
        limits = [v for name, v in self.norm_limits.items() if (place_of(name) or name) == place]
        return kept & (above(norms, max(limits)) if limits else _massive_of_text(norms, kept))


def first_tokens(
    position: Int[Tensor, "batch time"],
    real: Bool[Tensor, "batch time"],
    token_ids: Int[Tensor, "batch time"] | None,
    begin_id: int | None,
    offset: int = 0,
) -> Bool[Tensor, "batch time"]:
    """Return where attention begins: at the first token of every text and row, and at every BOS.

    A decoder makes a sink of it: its norm is up to a hundred times that of the others.
    """
    first = position == 0
    if offset == 0:  # the leftmost real column too: a packed row may begin in the middle of a text
        first = first | (real.cumsum(dim=1) == 1)
    if begin_id is not None and token_ids is not None:
        first = first | (token_ids == begin_id)
    return real & first


def _among(ids: Int[Tensor, "batch time"], wanted: Iterable[int]) -> Bool[Tensor, "batch time"]:
    return torch.isin(ids, torch.tensor(sorted(wanted), dtype=ids.dtype, device=ids.device))


def _last_ones(
    kept: Bool[Tensor, "batch time"], sample: Int[Tensor, "batch time"] | None
) -> Bool[Tensor, "batch time"]:
    """Return the last kept column of every text; those of a text follow each other."""
    rows = torch.arange(len(kept), device=kept.device)[:, None].expand_as(kept)
    texts = (rows if sample is None else sample.to(kept.device))[kept]
    last = torch.zeros_like(kept)
    last[kept] = torch.cat([texts[1:] != texts[:-1], texts.new_ones(min(1, len(texts))).bool()])
    return last


def _massive_of_text(
    norms: Float[Tensor, "batch time"], kept: Bool[Tensor, "batch time"]
) -> Bool[Tensor, "batch time"]:
    """Return which norms are massive among those of their own text, as `norm_limit` decides it."""
    if not norms.numel():
        return kept
    usual = torch.where(kept & torch.isfinite(norms), norms, torch.nan)
    limit = MASSIVE * usual.nanmedian(dim=1, keepdim=True).values
    massive = kept & torch.isfinite(norms) & (norms > limit) & (limit > 0)
    n = kept.sum(dim=1, keepdim=True)
    few = massive.sum(dim=1, keepdim=True) <= torch.ceil(AT_MOST * n)
    return massive & few & (n >= FEWEST)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _are_limits(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(v, int | float) and 0 < v < math.inf for v in value.values()
    )


_STATED: dict[str, tuple[str, Any]] = {
    "drop_first": ("true or false", _is_flag),
    "drop_massive": ("true or false", _is_flag),
    "keep_special": ("true or false", _is_flag),
    "positions": (f"one of {', '.join(NAMED_POSITIONS)}", NAMED_POSITIONS.__contains__),
    "drop_ids": (
        "token ids",
        lambda value: isinstance(value, list | tuple) and all(type(one) is int for one in value),
    ),
    "norm_limits": ("positive norms by hook point", _are_limits),
    "source": ("words", lambda value: isinstance(value, str)),
}
"""Entries of a card, what each must be, and whether a value is that."""


def _not_read(what: str, rule: str, got: object) -> ValueError:
    return ValueError(
        f"{what} of an SAE's position policy must be {rule}, got {shown(got)}. Mend `position_policy` in its "
        "config.json, or take it out: capture's default then holds."
    )


def _all_of(value: object) -> bool:
    """Whether a setting holds in all parts of joined activations."""
    return all(map(_all_of, value)) if isinstance(value, list) else bool(value)


def _any_of(value: object) -> bool:
    return any(map(_any_of, value)) if isinstance(value, list) else value is not False
