"""For builders of edits: the positions of an activation that an edit touches, and the values it puts there.

`MaskedEdit(Positions(where), change)` is what `steer`, `ablate` and `splice` put in force. With atom d_j, code
z and x̂ = decode(z): a mode (in `modes`) defines z', and the edit gives x + Σ_j
(z'_j − z_j)·d_j, which keeps the error x − x̂, or decode(z'), which drops it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations._context import ROLES
from sae_nb.activations._named_positions import (
    NAMED_POSITIONS,
    ROLE_POSITIONS,
    check_named_position,
    named_mask,
)
from sae_nb.activations._positions import PositionPolicy
from sae_nb.activations._sites import uncoded
from sae_nb.checks import LARGEST, check_count, one_of, warn_caller
from sae_nb.steering.modes import MODES, Mode

if TYPE_CHECKING:
    from sae_nb.activations._named_positions import NamedPositions
    from sae_nb.architectures import SparseAutoencoder, Temporal
    from sae_nb.geometry import Curve
    from sae_nb.models import HookPoint, RunState
    from sae_nb.steering._one_site import OneSite, Taps


Steps = Literal["all", "prompt", "new"]
Where = int | Sequence[int] | Tensor | str | PositionPolicy | Callable[["RunState"], Tensor] | None
Change = Callable[..., Tensor]
"""Activations (batch, time, d_in) → what they would be if every position were touched. With a `Tap`, it
gets the activations there besides."""

STEPS: tuple[Steps, ...] = get_args(Steps)


class Tap:
    """The activation at another hook point earlier in the same run: the input of a dictionary of two sites.

    It is put in force as an edit that changes nothing.
    """

    everywhere = True

    def __init__(self, hook_point: HookPoint) -> None:
        self.hook_point = hook_point
        self.parts = (self,)
        self._seen: dict[int, Tensor] = {}

    def __call__(self, x: Float[Tensor, "batch time d_in"], state: RunState) -> Tensor:
        """Keep what passes, by the column where it begins."""
        self._seen[state.offset] = x
        return x

    def take(self, state: RunState) -> Float[Tensor, "batch time d_in"]:
        """Return the activation of this run, once."""
        if state.offset not in self._seen:
            raise ValueError(
                f'"{self.hook_point}" must be reached before the hook point that is edited, and was not. '
                "A dictionary writes at or after the place where it reads."
            )
        return self._seen.pop(state.offset)


class MaskedEdit:
    """Change the chosen positions and leave every other one bit for bit as it was.

    A change that reads sequences is shown all columns from the first on, also in generation, where each
    run brings only the newest: the edit keeps those before it until the next text begins.
    """

    def __init__(
        self,
        positions: Positions,
        change: Change,
        tap: Tap | Taps | None = None,
        of_amounts: Callable[..., Change] | None = None,
        *,
        at: HookPoint | None = None,
        look: Callable[[Tensor], None] | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.positions = positions
        self.gate = gate
        """Of the activations themselves: where they let the edit act."""

        self.look = look
        """Is shown the rows that an SAE reads of a run, before it does."""

        self.change = change
        self.tap = tap
        self.of_amounts = of_amounts
        """The same change by other amounts, as `by=` gives them; None where it has none."""

        self.at = at
        """Where it is made, by which norms are massive there; None where no position depends on its norm."""

        self.n_runs = 0
        self.n_touched = 0
        self.n_massive = 0
        self.n_chosen = 0
        """Positions at which the gate was asked."""

        self._before: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def everywhere(self) -> bool:
        """Whether it is the same at every position, so that positions need not be known."""
        return self.positions.everywhere and not getattr(self.change, "reads_sequences", False)

    def plain(self) -> tuple[Tensor, float, float] | None:
        """Return the change in plain numbers, see `Along`; None where it cannot be given in them."""
        alone = isinstance(self.change, Along) and self.gate is None
        return cast(Along, self.change).plain() if alone else None

    def mask(self, state: RunState) -> Bool[Tensor, "batch time"]:
        """Return where it applies to the columns of a text."""
        columns = cast(Tensor, state.keep)
        return self.positions.mask(columns[..., None].float(), state)

    def __call__(self, x: Float[Tensor, "batch time d_in"], state: RunState) -> Tensor:
        """Return the edited activations of one forward pass."""
        if not x.numel():
            raise ValueError(
                f"`inputs` must give activations (batch, …, d_in), got {tuple(x.shape)}. Look at "
                "their shape."
            )
        read = () if self.tap is None else (self.tap.take(state),)
        mask = self.touched(x, state, read)
        if self.gate is not None:
            self.n_chosen += int(mask.sum())
            mask = mask & self.gate(x)
        touched = int(mask.sum())
        self.n_runs += 1
        self.n_touched += touched
        reads_sequences = getattr(self.change, "reads_sequences", False)
        seen = (
            self._from_the_first(read[0] if read else x, mask, state) if reads_sequences else None
        )
        if touched == 0:
            return x
        if self.look is not None:
            self.look((x if not read else read[0])[mask])
        changed = self.change(x, *read) if seen is None else _of_sequences(self.change, *seen)
        changed = changed.to(x)[:, -x.shape[1] :]
        return changed if touched == mask.numel() else torch.where(mask[..., None], changed, x)

    def touched(
        self, x: Float[Tensor, "batch time d_in"], state: RunState, read: tuple[Tensor, ...] = ()
    ) -> Bool[Tensor, "batch time"]:
        """Return the positions that it touches: not rows that an SAE is not for, by their norm where it reads
        and where it writes.
        """
        mask = self.positions.mask(x, state)
        policy = self.positions.chosen
        if not isinstance(policy, PositionPolicy):
            return mask
        massive = policy.massive(x, mask, self.at)
        if self.tap is not None and len(self.tap.parts) == 1:
            massive = massive | policy.massive(read[0], mask, self.tap.parts[0].hook_point)
        self.n_massive += int(massive.sum())
        return mask & ~massive

    def _from_the_first(
        self, tokens: Tensor, mask: Tensor, state: RunState
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Columns 0 … now as they came in, which of them are touched, and which are real."""
        now = (tokens.detach(), mask, _own_positions(tokens, state)[2])
        if state.offset:
            before = self._before
            if before is None or before[0].shape[:2] != (len(tokens), state.offset):
                raise ValueError(
                    "An SAE that reads sequences must see a text from its first token, got columns"
                    f" {state.offset} … of it alone. Let the edit be active from the prompt on, one text"
                    " at a time."
                )
            old_and_new = zip(before, now, strict=True)
            tokens, mask, real = (torch.cat(parts, dim=1) for parts in old_and_new)
            now = (tokens, mask, real)
        self._before = now
        return now


def _of_sequences(change: Change, tokens: Tensor, touched: Tensor, real: Tensor) -> Tensor:
    """Apply a change that reads sequences to tokens; padding is in the past of no token.

    A reconstruction reads the touched tokens alone, so a first token that the SAE was never
    trained on stays out; atoms are changed in the codes of the whole text.
    """
    if isinstance(change, AtomsOfSequences):
        return change.of_kept(tokens, real)
    return cast("Temporal", change).reconstruct(tokens, touched, real)


class Positions:
    """The positions of a sample that an edit touches.

    A position is the index in the sample's own token sequence, as in `acts.position`: padding is
    not counted and never touched, and a generated token continues its prompt's count. So the same
    choice means the same tokens in a padded batch, alone, with and without a KV cache.
    """

    def __init__(
        self, chosen: Where = None, *, steps: Steps = "all", prefix_tokens: int = 0
    ) -> None:
        self.chosen = _check_chosen(chosen, prefix_tokens)
        self.given = chosen is not None
        """Whether the caller chose; an SAE's own policy holds where not."""

        self.steps = one_of(steps, STEPS, name="steps")
        self.prefix_tokens = prefix_tokens
        self._warned = False

    @property
    def everywhere(self) -> bool:
        """Whether every position is chosen."""
        return self.chosen is None and self.steps == "all"

    def instead(self, policy: PositionPolicy) -> Positions:
        """Return the positions of an SAE's policy, at the same steps."""
        return Positions(policy, steps=self.steps, prefix_tokens=self.prefix_tokens)

    @property
    def of_role(self) -> bool:
        """Whether it depends on who wrote a token, which token ids alone do not say."""
        return isinstance(self.chosen, str) and self.chosen in ROLE_POSITIONS

    def stated(self) -> str | list[Any] | None:
        """Return the choice as plain numbers and strings; a function by its name, a policy in words."""
        chosen = self.chosen
        if isinstance(chosen, PositionPolicy):
            return chosen.left_out() + " left out"
        if isinstance(chosen, Tensor):
            return chosen.tolist()
        if isinstance(chosen, tuple):
            return list(chosen)
        return getattr(chosen, "__name__", "function") if callable(chosen) else chosen

    def _check_roles(self, policy: PositionPolicy, state: RunState) -> None:
        """Say once that an SAE of one role's tokens is put on texts that have no roles."""
        if policy.positions in ROLE_POSITIONS and state.role is None and not self._warned:
            self._warned = True
            warn_caller(
                f"This SAE was trained on the {policy.positions}'s tokens of conversations, and nothing says "
                "who wrote these, so it is put at all of them. Pass conversations, or positions=."
            )

    def mask(
        self, x: Float[Tensor, "batch time d_in"], state: RunState
    ) -> Bool[Tensor, "batch time"]:
        """Return where the edit applies in one forward pass."""
        position, prompt_length, real = _own_positions(x, state)
        if isinstance(self.chosen, PositionPolicy):
            self._check_roles(self.chosen, state)
            # A vector of a whole sample is of no position.
            pooled = state.position is None and x.shape[1] == 1
            policy = self.chosen
            chosen = real if pooled else _of_policy(policy, position, prompt_length, real, state)
        else:
            chosen = _chosen_mask(self.chosen, position, prompt_length, state, self.prefix_tokens)
        if self.steps == "prompt":
            chosen = chosen & (position < prompt_length)
        elif self.steps == "new":
            chosen = chosen & (position >= prompt_length)
        return chosen & real


def _of_policy(
    policy: PositionPolicy,
    position: Int[Tensor, "batch time"],
    prompt_length: Int[Tensor, "batch 1"],
    real: Bool[Tensor, "batch time"],
    state: RunState,
) -> Bool[Tensor, "batch time"]:
    """The positions that an SAE is for. Of last tokens, each new one was the last in its turn: a pass over
    the whole answer is that of its tokens one by one.
    """
    if policy.positions != "last":
        return policy.mask(position, real, state)
    _check_whole(state)
    new = position >= prompt_length
    every = replace(policy, positions="all").mask(position, real, state)
    return policy.mask(position, real & ~new, state) | (every & new)


def _chosen_mask(
    chosen: tuple[int, ...] | Tensor | str | Callable[[RunState], Tensor] | None,
    position: Int[Tensor, "batch time"],
    prompt_length: Int[Tensor, "batch 1"],
    state: RunState,
    prefix_tokens: int,
) -> Bool[Tensor, "batch time"]:
    if chosen is None:
        return torch.ones_like(position, dtype=torch.bool)
    if callable(chosen) and not isinstance(chosen, Tensor):
        return chosen(state).to(position.device).expand_as(position)
    if isinstance(chosen, Tensor):
        return _look_up(chosen, position, prompt_length, state)
    if chosen == "last" or (isinstance(chosen, tuple) and min(chosen) < 0):
        _check_whole(state)
    if isinstance(chosen, tuple):
        wanted = torch.tensor(chosen, device=position.device)
        wanted = torch.where(wanted < 0, wanted + prompt_length, wanted)
        return (position[:, :, None] == wanted[:, None, :]).any(dim=-1)
    if chosen in ROLE_POSITIONS:
        return _written_by(chosen, position, state)
    if chosen == "last":
        return position >= prompt_length - 1
    return named_mask(cast("NamedPositions", chosen), position, prefix_tokens)


def _check_whole(state: RunState) -> None:
    """Refuse to count from the end of texts that are cut into packed windows."""
    if state.prompt_length is None and state.keep is not None:
        raise ValueError(
            "`positions` must not count from the end of a text in packed windows, which may end inside of one. "
            "Use pack=False, or positions from 0 on."
        )


def _written_by(
    role: str, position: Int[Tensor, "batch time"], state: RunState
) -> Bool[Tensor, "batch time"]:
    """The tokens that a role wrote; those of a model's answer are the assistant's."""
    if state.role is None:
        raise ValueError(
            f'`positions="{role}"` needs conversations run by the live model itself, got inputs whose roles '
            'are not known. Pass lists of messages, {"role": …, "content": …}, to model(…), '
            "model.generate(…) or sn.capture."
        )
    return state.role.to(position.device) == ROLES.index(role)


def _own_positions(
    x: Float[Tensor, "batch time d_in"], state: RunState
) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch 1"], Bool[Tensor, "batch time"]]:
    """Return each column's position in its own sample, the prompts' lengths, and what is real."""
    batch, time = x.shape[:2]
    if state.position is None:
        position = torch.arange(state.offset, state.offset + time, device=x.device)
        position = position.expand(batch, time)
    else:
        position = state.position.to(x.device)
    if position.shape != (batch, time):
        raise ValueError(
            f"An edited activation must have the columns of its inputs, {tuple(position.shape)}, got "
            f"{(batch, time)}. Choose a hook point that keeps one vector per token."
        )
    real = position >= 0
    if state.keep is not None:
        real = real & state.keep.to(x.device)
    if state.prompt_length is None:  # all that there is; in packed windows a text may begin before
        return position, position.amax(dim=1, keepdim=True).clamp_min(time - 1) + 1, real
    return position, state.prompt_length.to(x.device).reshape(-1, 1), real


def _look_up(
    mask: Bool[Tensor, "*samples time"],
    position: Int[Tensor, "batch time"],
    prompt_length: Int[Tensor, "batch 1"],
    state: RunState,
) -> Bool[Tensor, "batch time"]:
    """Read a user's mask at each sample's own positions; generated tokens are not in it."""
    mask = mask.to(position.device)
    longest = int(prompt_length.max())
    if mask.shape[-1] < longest:
        raise ValueError(
            f"`positions` as a mask must cover every token of the input, {longest}, got shape "
            f"{tuple(mask.shape)}. Make it at least that wide."
        )
    inside = position.clamp(0, mask.shape[-1] - 1)
    in_prompt = (position >= 0) & (position < prompt_length.clamp_max(mask.shape[-1]))
    if mask.ndim == 1:
        return mask[inside] & in_prompt
    if state.sample is None:
        rows = torch.arange(len(position), device=position.device)[:, None].expand_as(position)
    else:
        rows = state.sample.to(position.device)
    if int(rows.max()) >= len(mask):
        raise ValueError(
            f"`positions` as a mask must have a row per sample, at least {int(rows.max()) + 1}, got "
            f"shape {tuple(mask.shape)}. Pass shape (time,) to use one row for all."
        )
    return mask[rows.clamp_min(0), inside] & in_prompt


Chosen = tuple[int, ...] | Tensor | str | PositionPolicy | Callable[["RunState"], Tensor] | None


def _check_chosen(chosen: Where, prefix_tokens: int) -> Chosen:
    is_function = callable(chosen) and not isinstance(chosen, Tensor | type)
    if chosen is None or is_function:
        return chosen  # type: ignore[return-value]
    if isinstance(chosen, PositionPolicy):
        return None if chosen.everywhere else chosen
    if isinstance(chosen, str):
        if chosen not in NAMED_POSITIONS:
            raise ValueError(
                f"`positions` must be None, integers, a boolean mask or one of {list(NAMED_POSITIONS)}"
                f", got {chosen!r}."
            )
        check_named_position(chosen, prefix_tokens)
        return None if chosen == "all" else chosen
    if isinstance(chosen, Tensor):
        if chosen.dtype == torch.bool:
            if chosen.ndim not in (1, 2):
                raise ValueError(
                    "`positions` as a mask must have shape (time,) or (samples, time), got "
                    f"{tuple(chosen.shape)}."
                )
            return chosen
        chosen = chosen.reshape(-1).tolist()
    numbers = list(chosen) if isinstance(chosen, Iterable) else [chosen]
    if not numbers or any(isinstance(p, bool) or not hasattr(p, "__index__") for p in numbers):
        raise TypeError(
            f"`positions` must be None, integers, a boolean tensor or one of {list(NAMED_POSITIONS)}"
            f", got {chosen!r}. A mask is a torch.bool tensor."
        )
    return tuple(
        check_count(p, name="positions", at_least=-LARGEST, at_most=LARGEST) for p in numbers
    )


Gate = Callable[[Float[Tensor, "batch time d_in"]], Bool[Tensor, "batch time"]]


@dataclass(frozen=True, eq=False)
class Over:
    """Where ⟨x, v⟩ is above a threshold: an edit's gate."""

    vector: Float[Tensor, " d_in"]
    threshold: float

    def __call__(self, x: Float[Tensor, "batch time d_in"]) -> Bool[Tensor, "batch time"]:
        """Return where it is open."""
        return x.to(self.vector) @ self.vector.to(x.device) > self.threshold


@dataclass(frozen=True, eq=False)
class Firing:
    """Where an atom's latent is above a threshold: an edit's gate."""

    sae: SparseAutoencoder
    atom: int
    threshold: float = 0.0

    def __call__(self, x: Float[Tensor, "batch time d_in"]) -> Bool[Tensor, "batch time"]:
        """Return where it is open."""
        like = self.sae.dictionary
        with torch.no_grad():
            z = self.sae.encode(x.to(like)).of_atoms((self.atom,))[..., 0]
        return (z > self.threshold).to(x.device)


@dataclass(frozen=True, eq=False)
class Along:
    """The change that a mode makes along a direction d, by its coefficient ⟨x, d⟩ / ⟨d, d⟩."""

    direction: Float[Tensor, " d_in"]
    mode: Mode = "add"
    by: float = 1.0

    def __call__(self, x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
        """Return the changed activations."""
        how = MODES[self.mode]
        if x.shape[-1] != len(self.direction):
            raise ValueError(
                f"`sae` must be of the width of this hook point, {x.shape[-1]}, got directions of width "
                f"{len(self.direction)}. Train or load one for this hook point."
            )
        if not how.reads_latents:
            return x + (how.change(0.0, self.by) * self.direction).to(x)
        d = self.direction.to(x.device, torch.promote_types(x.dtype, torch.float32))
        c = (x.to(d) @ d) / d.square().sum()
        return x + (how.change(c, self.by)[..., None] * d).to(x)

    def plain(self) -> tuple[Tensor, float, float] | None:
        """Return (d, g, b) of x + (g·⟨x, d⟩ / ⟨d, d⟩ + b)·d: what travels to where this library is not."""
        if not MODES[self.mode].linear:
            return None
        change = MODES[self.mode].change
        still = change(0.0, self.by)
        return self.direction.detach(), change(1.0, self.by) - still, still


@dataclass(frozen=True, eq=False)
class AlongCurve:
    """The change that moves a state along a curve, from the nearest point of it, and keeps what is off it."""

    curve: Curve
    to: float | None
    by: float | None

    def __call__(self, x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
        """Return the changed activations."""
        u, _ = self.curve.nearest(x)
        new = torch.full_like(u, self.to) if self.to is not None else u + cast(float, self.by)
        return x + (self.curve.at(new) - self.curve.at(u)).to(x)


def replacing(edit: Change, *, keep_error: bool) -> Change:
    """Return the intervention that replaces x by edit(x): of x itself, or of the output of a `Tap`."""
    reads_sequences = getattr(edit, "reads_sequences", False)
    if not keep_error and (reads_sequences or getattr(edit, "writes", None) is None):
        return edit  # as it is, for those that read sequences

    def change(x: Tensor, read: Tensor | None = None) -> Tensor:
        made = edit(x if read is None else read).to(x)
        return made + (x - made).detach() if keep_error else made

    return change


def change_atoms(
    sae: SparseAutoencoder | OneSite,
    atoms: tuple[int, ...],
    rows: Float[Tensor, "chosen d_in"],
    *,
    mode: Mode,
    by: tuple[float, ...],
    keep_error: bool,
) -> Change:
    """Return the change that moves some latents of an SAE's code from z to z'."""
    how = MODES[mode]
    if keep_error and not how.reads_latents:
        if len(rows) == 1:  # so that the unit atom and how much of it stay apart in files
            return Along(rows[0], mode, by[0])
        return Along(how.change(0.0, torch.tensor(by).to(rows)) @ rows)
    reading = getattr(sae, "seen", _seen)

    def change(
        x: Float[Tensor, "batch time d_out"], read: Float[Tensor, "batch time d_in"] | None = None
    ) -> Float[Tensor, "batch time d_out"]:
        d = rows.to(x.device)
        amount = torch.tensor(by, device=d.device, dtype=d.dtype)
        tokens = reading(x, read).to(d)
        z: Tensor | float = 0.0
        gain: Tensor | float = 1.0
        if how.reads_latents:
            z, (gain, _) = sae.encode(tokens).of_atoms(atoms).to(d), uncoded(sae, tokens)
        delta = (how.change(z, amount) * gain) @ d
        if keep_error:
            return x + delta.to(x)
        return (sae(tokens).to(d) + delta).to(x)

    reads_sequences = getattr(sae, "reads_sequences", False)  # anything that encodes will do
    if reads_sequences and getattr(sae, "writes", None) is not None:
        raise ValueError(
            f"`mode` must be 'add' with keep_error=True for {type(sae).__name__}, which reads sequences at "
            f"another place than it writes, got {mode!r}. Add the atom."
        )
    return AtomsOfSequences(change) if reads_sequences else change


def _seen(x: Tensor, read: Tensor | None) -> Tensor:
    """Return the input of an SAE: the activation here, or that at the hook point it reads."""
    return x if read is None else read


@dataclass(frozen=True, eq=False)
class AtomsOfSequences:
    """A change of atoms whose codes depend on the tokens before, for sequences without padding."""

    change: Change
    reads_sequences = True

    def __call__(self, x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
        """Change every token; each row is one sequence."""
        return self.change(x)

    def of_kept(
        self, x: Float[Tensor, "batch time d_in"], keep: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time d_in"]:
        """Change the kept tokens of each row as one sequence; the others come back as they were."""
        from sae_nb.temporal._sequences import padded, unpadded

        counts = keep.sum(dim=1)
        lengths = counts[counts > 0].tolist()
        out = x.clone()
        if lengths:
            out[keep] = unpadded(self.change(padded(x[keep], lengths)), lengths).to(x.dtype)
        return out
