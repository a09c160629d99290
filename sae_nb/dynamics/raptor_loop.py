"""The loop that trains a Raptor: two stages, resumable step for step, and what it leaves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics.raptor import Raptor, check_cuts
from sae_nb.dynamics.raptor_checkpoint import load_raptor_checkpoint, save_raptor_checkpoint
from sae_nb.dynamics.raptor_config import RaptorConfig, one_cycle
from sae_nb.dynamics.raptor_loss import Errors, RaptorLoss
from sae_nb.dynamics.raptor_scores import RaptorFit, check_depth, raptor_fit
from sae_nb.dynamics.states import TOKEN_KINDS, TokenKind, capture_states, check_states
from sae_nb.progress import progress_bar
from sae_nb.training.checkpoint import check_folder, hold_checkpoints
from sae_nb.training.control import Control
from sae_nb.training.listeners import Listeners, as_list, tell
from sae_nb.training.records import Change, History, Stopped, TrainRecord

if TYPE_CHECKING:
    from sae_nb.models.live_model import LiveModel


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RaptorResult:
    """A trained Raptor, how well it follows its teacher, and how it got there."""

    raptor: Raptor
    """Trained in place, in eval mode."""

    fit: RaptorFit
    """On the test pictures."""

    history: History
    """Every record, those before a resume included; `l0` and `dead_fraction` mean nothing here."""

    config: RaptorConfig
    """The settings."""

    steps: int
    """Steps done."""

    seconds: float
    """Time trained, pauses left out."""

    skipped: tuple[str, ...] = ()
    """Kinds of token the teacher does not have, whose weight went to the others."""

    stopped: Stopped | None = None
    """Why it ended before its last step; None when it did not."""

    changes: tuple[Change, ...] = ()
    """Numbers changed while it ran."""

    @property
    def cuts(self) -> tuple[int, ...]:
        """Phases."""
        return self.raptor.cuts

    @property
    def r2(self) -> Float[Tensor, " layers"]:
        """R² of layers 1 … L on test pictures."""
        return self.fit.r2

    @property
    def relative_error(self) -> Float[Tensor, " layers"]:
        """‖A_l − Â_l‖ / ‖A_l‖ of layers 1 … L on test pictures."""
        return self.fit.relative_error

    def __repr__(self) -> str:
        ended = f", stopped={self.stopped!r}" * (self.stopped is not None)
        return f"RaptorResult(cuts={self.cuts}, {self.fit}, steps={self.steps}{ended})"


class RaptorTraining:
    """One training under way: what `train_raptor` and `start_raptor` both run.

    Parameters
    ----------
    raptor
        Trained in place.
    states
        Of the teacher, on the CPU, in any floating-point precision.
    kinds
        Of the tokens.
    config, listeners, resume
        As for `train_raptor`.
    """

    def __init__(
        self,
        raptor: Raptor,
        states: Tensor,
        kinds: Sequence[TokenKind],
        config: RaptorConfig,
        *,
        listeners: Listeners = None,
        resume: bool = True,
    ) -> None:
        check_depth(raptor, states)
        self.raptor, self.config, self.kinds = raptor, config, tuple(kinds)
        self.control, self.listeners = Control(), as_list(listeners)
        self.folder = None if config.checkpoint is None else check_folder(config.checkpoint)
        self.states = states
        self.train_rows, self.test_rows = _split(len(states), config)
        self.loss = RaptorLoss(raptor, config, kinds, _variance(states[self.train_rows]))
        self.parameters = list(raptor.parameters())
        self.peak = config.learning_rate
        self.optimiser = self._new_optimiser()
        self.step, self.seconds = 0, 0.0
        self.stopped: Stopped | None = None
        self.history, self.changes = History(), list[Change]()
        self._lock = None if self.folder is None else hold_checkpoints(self.folder)
        if self.folder is not None and resume:
            load_raptor_checkpoint(self.folder, self)

    @classmethod
    def prepare(
        cls,
        source: LiveModel | Tensor,
        cuts: Sequence[int],
        config: RaptorConfig | None = None,
        *,
        inputs: Any = None,
        model: LiveModel | None = None,
        raptor: Raptor | None = None,
        token_kinds: Sequence[str] | None = None,
        listeners: Listeners = None,
        resume: bool = True,
    ) -> RaptorTraining:
        """Check what the user passed, capture states if need be, and make the Raptor."""
        settings = config or RaptorConfig()
        if not isinstance(source, Tensor):
            model = source
            made = raptor or Raptor.from_model(model, cuts, seed=settings.seed)
            if inputs is None:
                raise ValueError(
                    "`inputs` must be given with a model. Pass pictures, or the model's states."
                )
            source = capture_states(model, inputs)
        else:
            made = raptor or _raptor_for(source, cuts, model, settings)
        x, kinds = check_states(source, token_kinds, min_layers=1)
        check_cuts(cuts, n_layers=x.shape[1] - 1)
        if made.cuts != tuple(cuts):
            raise ValueError(
                f"`cuts` must be those of the Raptor, {made.cuts}, got {tuple(cuts)}. Leave `raptor`"
                " out for a new one."
            )
        return cls(made, x, kinds, settings, listeners=listeners, resume=resume)

    def run(self, *, progress: bool = False) -> None:
        """Train to the end, or until told to stop; leaves the Raptor in eval mode."""
        self._started = time.perf_counter() - self.seconds
        self._mark = (self.step, self.seconds)
        total = self.config.steps
        try:
            with (
                torch.inference_mode(False),
                torch.enable_grad(),
                progress_bar(total, "raptor", "step", enabled=progress) as bar,
            ):
                bar.update(self.step)
                self.stopped = self._steps(bar) if self.step < total else None
                if self.stopped is not None:
                    self._save()
        finally:
            self.seconds = self._elapsed()
            self.raptor.eval()
            if self._lock is not None:
                self._lock.release()

    def _steps(self, bar: Any) -> Stopped | None:
        self.raptor.train()
        while self.step < self.config.steps:
            with self.control.turn() as go_on:
                if not go_on:
                    return self.control.stop_reason
                record = self._one_step()
            bar.update()
            if record is not None:
                bar.set_postfix({"loss": record.loss, "R²": record.r2}, refresh=False)
                tell(self.listeners, record)
            if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps:
                self._save()
        return None

    def _one_step(self) -> TrainRecord | None:
        stage, at, length = self.config.stage(self.step)
        if stage == 2 and at == 0:
            self.optimiser = self._new_optimiser()  # the authors start stage 2 afresh
        rate = self.peak * one_cycle(at, length)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch = self._batch()
        self.optimiser.zero_grad(set_to_none=True)
        parts: dict[str, float] = {}
        seen: list[Errors] = []
        for name, loss, errors in self.loss.terms(batch, self.step):
            # Term by term: the blocks of stage 1 share nothing, and one graph at a time is small.
            loss.backward()  # type: ignore[no-untyped-call]
            parts[name] = parts.get(name, 0.0) + float(loss.detach())
            seen.append(errors)
        norm = self._clip(stage)
        self._check(sum(parts.values()), norm)
        self.optimiser.step()
        self.step += 1
        if self.step in (1, self.config.steps) or self.step % self.config.log_every == 0:
            return self._record(parts, seen, norm, rate)
        return None

    def _clip(self, stage: int) -> float:
        limit = self.config.gradient_clip
        groups: list[Any] = list(self.raptor.blocks) if stage == 1 else [self.raptor]
        norms = [
            torch.nn.utils.clip_grad_norm_([p for p in g.parameters() if p.grad is not None], limit)
            for g in groups
        ]
        return float(torch.stack([norm.detach() for norm in norms]).square().sum().sqrt())

    def _check(self, loss: float, norm: float) -> None:
        if not (loss < float("inf") and norm < float("inf")):
            raise FloatingPointError(
                f"The Raptor's loss must stay finite, but at step {self.step + 1} it is {loss} with"
                f" a gradient of norm {norm}. Take a lower `learning_rate` than {self.peak:g}."
            )

    def _batch(self) -> Tensor:
        """Pictures of this step, the same for the same seed and step."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        order = torch.randperm(len(self.train_rows), generator=generator)
        rows = self.train_rows[order[: self.config.batch_size]]
        return self.states[rows].to(self.parameters[0].device, self.parameters[0].dtype)

    def _record(
        self, parts: dict[str, float], seen: Sequence[Errors], norm: float, rate: float
    ) -> TrainRecord:
        steps_before, seconds_before = self._mark
        seconds, rows = self._elapsed(), min(self.config.batch_size, len(self.train_rows))
        per_step = rows * self.states.shape[2]
        record = TrainRecord(
            step=self.step,
            steps=self.config.steps,
            tokens=self.step * per_step,
            loss=sum(parts.values()),
            parts=parts,
            r2=self.loss.r2(seen),
            l0=float("nan"),
            dead_fraction=float("nan"),
            gradient_norm=norm,
            learning_rate=rate,
            tokens_per_second=(self.step - steps_before)
            * per_step
            / max(seconds - seconds_before, 1e-9),
            seconds=seconds,
        )
        self._mark = (self.step, seconds)
        self.history.append(record)
        return record

    def set(self, **numbers: float) -> None:
        """Change the peak learning rate from the next step on.

        Raises
        ------
        ValueError
            If another number is named, or the rate is not positive.
        """
        if set(numbers) != {"learning_rate"} or not 0 < numbers["learning_rate"] < float("inf"):
            raise ValueError(
                f"Only a positive `learning_rate` can be changed while a Raptor trains, got {numbers}."
            )
        with self.control.lock:
            self.peak = float(numbers["learning_rate"])
            self.changes.append(Change(step=self.step, name="learning_rate", value=self.peak))

    def result(self) -> RaptorResult:
        """Measure the Raptor as it is now and return all there is to know."""
        rows = self.test_rows if len(self.test_rows) else self.train_rows
        wanted = [kind for kind in TOKEN_KINDS if kind != "token"]
        known = "token" not in self.kinds
        return RaptorResult(
            raptor=self.raptor,
            fit=raptor_fit(self.raptor, self.states[rows], token_kinds=self.kinds),
            history=self.history,
            config=self.config,
            steps=self.step,
            seconds=self.seconds,
            skipped=tuple(k for k in wanted if k not in self.kinds) if known else (),
            stopped=self.stopped,
            changes=tuple(self.changes),
        )

    def _new_optimiser(self) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            self.parameters, lr=self.peak, weight_decay=self.config.weight_decay
        )

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started - self.control.paused_seconds

    def _save(self) -> None:
        if self.folder is not None:
            self.seconds = self._elapsed()
            save_raptor_checkpoint(Path(self.folder), self)


def _raptor_for(
    states: Tensor, cuts: Sequence[int], model: LiveModel | None, config: RaptorConfig
) -> Raptor:
    from sae_nb.dynamics.raptor_block import BlockSizes

    if model is not None:
        return Raptor.from_model(model, cuts, seed=config.seed)
    x, _ = check_states(states, None, min_layers=1, finite=False)
    d = x.shape[3]
    heads = d // 16 if d % 16 == 0 else 1
    sizes = BlockSizes(d_model=d, n_heads=heads, hidden=4 * d)
    return Raptor(sizes, check_cuts(cuts, n_layers=x.shape[1] - 1), seed=config.seed)


def _split(n: int, config: RaptorConfig) -> tuple[Tensor, Tensor]:
    order = torch.randperm(n, generator=torch.Generator().manual_seed(config.seed))
    held = min(round(config.test_fraction * n), n - 1)
    return order[held:].sort().values, order[:held].sort().values


def _variance(states: Tensor) -> Tensor:
    """Variance of each layer about its mean state, mean over channels."""
    layers = [layer.float().flatten(0, 1) for layer in states.unbind(1)]
    return torch.stack([layer.var(dim=0, unbiased=False).mean() for layer in layers])
