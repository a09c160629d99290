"""The training loop, the same for every architecture; the parts of a step are numbered, from 1, a batch."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._massive import massive, row_norms
from sae_nb.architectures._described import drawing, is_described, make
from sae_nb.checks import check_finite, checked, warn_caller
from sae_nb.checks._annotations import shows_fields
from sae_nb.interrupts import Interrupted
from sae_nb.kernels._backends import precision
from sae_nb.progress import progress_bar
from sae_nb.temporal._sequences import SequenceRows
from sae_nb.training._checkpoint import (
    Checkpoints,
    check_same_run,
    restore,
    rows_trained_on,
    save_checkpoint,
    write_parts,
)
from sae_nb.training._config import TrainConfig, chosen_config
from sae_nb.training._control import Control, claim, release
from sae_nb.training._learner import Learner
from sae_nb.training._parts import streams
from sae_nb.training._process_group import Team, current_team
from sae_nb.training._records import (
    Callbacks,
    Change,
    Listeners,
    Stopped,
    TrainRecord,
    TrainResult,
    show,
)
from sae_nb.training._shards import Shard
from sae_nb.training._sources import TrainingData

if TYPE_CHECKING:
    import numpy as np

    from sae_nb.activations import ActivationSource
    from sae_nb.architectures import SparseAutoencoder

    Data = ActivationSource | Tensor | np.ndarray | Sequence[Any]


INITIAL_ROWS = 8192
"""Rows that `initialise` sees: enough for a stable geometric median. Ours."""


@overload
def train(
    sae: SparseAutoencoder,
    data: Data,
    config: TrainConfig | None = ...,
    *,
    callbacks: Callbacks = ...,
    progress: bool = ...,
    resume: bool = ...,
    **settings: object,
) -> TrainResult: ...
@overload
def train(
    sae: Sequence[SparseAutoencoder],
    data: Data,
    config: TrainConfig | None = ...,
    *,
    callbacks: Callbacks = ...,
    progress: bool = ...,
    resume: bool = ...,
    **settings: object,
) -> list[TrainResult]: ...
@checked(leave=("sae", "data", "config"))
@shows_fields(TrainConfig)
def train(
    sae: SparseAutoencoder | Sequence[SparseAutoencoder],
    data: Data,
    config: TrainConfig | None = None,
    *,
    callbacks: Callbacks = None,
    progress: bool = True,
    resume: bool = True,
    **settings: object,
) -> TrainResult | list[TrainResult]:
    """Train one SAE, or several on the same batches, in place.

    Ctrl-C (or the notebook's stop button) ends the training after the step under way; pressed
    twice, at once. The SAE then keeps the weights of its last step, or, if the running loss had by
    then left its lowest by more than a tenth, the weights where it was lowest
    (`result.kept_step`). KeyboardInterrupt reaches the caller, as an `Interrupted`, whose `.result`
    is the result so far; `sn.interrupted()` returns it in a later cell.

    Parameters
    ----------
    sae
        An SAE, or a list of them that all see the same batches. Left in eval mode.
    data
        Activations (in memory, on disk, streamed), or rows as a tensor, array or table; fewer rows
        than a batch is fine. For a dictionary of two sites, (x, y): what it reads and what it writes, of the
        same tokens.
    config
        All settings as one object, to keep or to share; None: `settings`.
    callbacks
        Called with every `TrainRecord`. One that raises is dropped with a warning.
    resume
        Whether a checkpoint in `config.checkpoint` is continued: bit-exactly on a CPU with the same
        number of threads, torch's global generator included. A finished one returns at once, unless
        `steps` grew: then training continues from its last step under the longer schedule. False starts
        afresh and replaces it. One that stopped on a plateau is finished too.
    settings
        The fields of `TrainConfig` as keywords, such as `steps=500` (optimiser steps),
        `batch_size=1024` (rows) and `learning_rate=1e-3`; what is left out is the SAE's own recipe.

    Returns
    -------
    TrainResult or list
        With `.sae`, `.history` and `.tokens_per_second`; a list of them for a list of SAEs.

    Raises
    ------
    TypeError, ValueError: If an argument is of a wrong kind, settings are given twice or there is no such
        setting, widths do not match, rows hold NaN or infinity, or a checkpoint is of another run or
        being written by another training.
    RuntimeError: If an SAE is being trained already. OSError: If a checkpoint cannot be written; gives
    the reason, and the one before is unchanged. FloatingPointError: If the loss diverges; the SAE then
    has the weights of the step before.

    Example
    -------
    >>> import sae_nb as sn
    >>> x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> sae = sn.TopK(d_in=8, n_atoms=16, k=2)
    >>> result = train(sae, x, steps=20, progress=False)
    >>> result.history[-1].step, result.history[-1].r2 > result.history[0].r2
    (20, True)
    """
    config = chosen_config(config, settings, data)
    training = Training(sae, data, config, callbacks=callbacks, resume=resume)
    with training.control.deferred_interrupts():
        training.run(progress=progress)
    results = training.results()
    result = results if isinstance(sae, Sequence) else results[0]
    if training.control.stop_reason == "interrupted":
        raise Interrupted(training.ending(), result)
    if training.stopped == "data ended":
        warn_caller(training.ending())
    training.warn_of_divergence()
    return result


class Training:
    """One training under way: what `train` and `start_training` both run.

    Everything the user passed is checked here, before any work.
    """

    def __init__(
        self,
        sae: SparseAutoencoder | Sequence[SparseAutoencoder],
        data: Data,
        config: TrainConfig,
        *,
        callbacks: Callbacks = None,
        resume: bool = True,
        held_out: float | Activations | None = 0.0,
    ) -> None:
        self.given = list(sae) if isinstance(sae, Sequence) else [sae]
        self.saes = self.given  # what is trained in their place, once it is made
        self.data = TrainingData(data, self.given)
        self.config, self.control = config, Control()
        self.team = self.data.check_team(current_team(), config.batch_size)
        # One worker speaks for all.
        self.callbacks = Listeners(callbacks if self.team.is_first else None)
        self.checkpoints = None if config.checkpoint is None else Checkpoints(config.checkpoint)
        self.step, self.tokens, self.seconds, self.n_massive = 0, 0, 0.0, 0
        self.stopped: Stopped | None = None
        self.records: list[TrainRecord] = []
        self.changes: list[Change] = []
        self._saved: int | None = None  # step of the checkpoint on disk
        self.kept: dict[int, int] = {}  # by SAE: the step whose weights were put back
        self._not_saved: list[str] = []  # why, at an interrupt
        self._torn = False  # whether a step was cut short between its first and its last line
        self.saved_to = None if config.save_to is None else self._check_save_to(config.save_to)
        claim(self.given)
        try:
            self._prepare(resume, held_out)
        except BaseException:
            self.let_go()
            raise

    def _hold_out(self, held_out: float | Activations | None, resume: bool) -> Activations | None:
        """Return the rows that are not trained on: those given, or those that the data keep back."""
        if isinstance(held_out, Activations):
            if held_out.d_in != self.data.source.d_in:
                raise ValueError(
                    f"`held_out` must have the width of the data, d_in={self.data.source.d_in}, got "
                    f"d_in={held_out.d_in}. Capture it at the same hook point."
                )
            return held_out
        if held_out is None and resume and self.checkpoints is not None:
            # A training of all rows goes on with all rows.
            begun = rows_trained_on(self.checkpoints.folder)
            held_out = 0.0 if begun is not None and begun == self.data.n_rows else None
        return self.data.hold_out(held_out)

    def _check_save_to(self, folder: str | Path) -> Path:
        """Return the folder of the trained SAE, refused before any work."""
        from sae_nb.architectures._saving import place_to_save

        if len(self.given) > 1:
            raise ValueError(
                f"`save_to` must be None for several SAEs, which would share one folder, got {len(self.given)} "
                "SAEs. Leave it out, and save each: `result.sae.save(folder)`."
            )
        return place_to_save(folder)

    def let_go(self) -> None:
        """Free the SAEs and the checkpoints for another training."""
        release(self.given)
        if self.checkpoints is not None:
            self.checkpoints.release()

    def _prepare(self, resume: bool, held_out: float | Activations | None) -> None:
        if self.checkpoints is not None and self.team.is_first:
            self.checkpoints.hold()
        self.held_out = self._hold_out(held_out, resume)
        if self.config.device is not None:
            for sae in self.given:
                if not is_described(sae):
                    sae.to(self.config.device)
        self.saes = [
            # Anything with a loss is trained itself.
            sae.trained_as() if hasattr(sae, "trained_as") else sae
            for sae in self.given
        ]
        self.identity = self.data.identity(self.saes)
        latest = self._latest() if resume else None
        rows = self.data.rows_of_batch(self.config.batch_size)
        by_atoms = self.config.shard_atoms and not self.team.alone
        if by_atoms and self.saes != self.given:
            raise ValueError(
                "`shard_atoms` must be False for an SAE from another library, whose atoms have lengths of "
                "their own. Leave it out: workers then share the rows."
            )
        team = Team() if by_atoms else self.team
        shards = [Shard(sae, self.team) if by_atoms else None for sae in self.saes]
        for sae, shard in zip(self.saes, shards, strict=True):
            self._begin_with(sae, shard, share=latest is None)
        finite = self.data.is_finite
        self.learners = [
            Learner(sae, self.config, rows=rows, index=i, team=team, shard=shard, finite=finite)
            for i, (sae, shard) in enumerate(zip(self.saes, shards, strict=True))
        ]
        if latest is not None:
            self._resume(*latest)
        for sae in self.given:
            self.data.note_origin(sae)

    def _latest(self) -> tuple[Path, dict[str, Any]] | None:
        """Return the checkpoint to go on from, the same in all workers, and what it says."""
        if self.checkpoints is None:
            return None
        with self.team.first_before_others():
            # Each reads its part alone, so one of them reads all to compare checksums.
            latest = self.checkpoints.latest("full" if self.team.is_first else "sizes")
        steps = self.team.gather(0 if latest is None else latest[1]["step"])
        if len(set(steps)) > 1:
            raise ValueError(
                f"Workers must resume from one checkpoint, but are at steps {steps}. Give them a "
                "`checkpoint` folder that all of them see."
            )
        if latest is not None:
            check_same_run(latest[1], self.identity, self.config, latest[0])
        return latest

    def _begin_with(self, sae: SparseAutoencoder, shard: Shard | None, *, share: bool) -> None:
        """Give every worker the first one's numbers, or those of a described SAE; of a shard its rows."""
        if is_described(sae):
            draws = drawing(sae, self.config.seed)
            self.team.share([state := draws.get_state()])
            make(sae, draws.set_state(state), slice(None) if shard is None else shard.mine)
            if self.config.device is not None:
                sae.to(self.config.device)
        elif share:
            self.team.share([*sae.parameters(), *sae.buffers()])
        if shard is not None:
            shard.cut()

    def _resume(self, path: Path, state: dict[str, Any]) -> None:
        restore(path, state, self.learners, self.team)
        self.identity = state["identity"]
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
        self.n_massive = state.get("n_massive", 0)
        self._saved = self.step
        self.changes = [Change(**change) for change in state["changes"]]
        histories = (learner.history for learner in self.learners)
        self.records = sorted(chain(*histories), key=lambda record: (record.step, record.sae))
        if self.config.steps != state["config"]["steps"]:
            self.changes.append(Change(step=self.step, name="steps", value=self.config.steps))
            for learner in self.learners:
                learner.plateau.forget()

    def set(self, **numbers: float) -> None:
        """Change live numbers of every SAE between two steps: all of them, or none on an error."""
        with self.control.lock:
            for name, value in numbers.items():
                for learner in self.learners:
                    learner.check(name, value)
            for name, value in numbers.items():
                for learner in self.learners:
                    learner.set(name, value)
                self.changes.append(Change(step=self.step, name=name, value=value))

    def run(self, *, progress: bool = False) -> None:
        """Train to the end, or until told to stop; always leaves the SAEs in eval mode."""
        self._started = time.perf_counter() - self.seconds
        progress = progress and self.team.is_first
        self._mark, self._shown = (self.tokens, self.seconds), self.step
        try:
            with (
                torch.enable_grad(),
                precision(self.config.precision),
                progress_bar(self.config.steps, "train", "step", enabled=progress) as bar,
            ):
                bar.update(self._shown)
                if self.step < self.config.steps:
                    self.stopped = self._loop(bar)
                if self.stopped is not None:
                    with self.control.lock:
                        self._cut_short()
                apart = self.saved_to if self.learners[0].is_cut else None
                if apart is None:
                    self._make_whole()
                else:
                    self._save_shards(self.learners[0], apart)
        except FloatingPointError:
            # Met by all workers alike. After any other error the others would wait here in vain.
            self._make_whole()
            raise
        finally:
            self.seconds = self._elapsed()
            for learner in self.learners:
                learner.leave()
                learner.sae.eval()
            for i, sae in enumerate(self.given):
                self.hand_over(i, sae)
                self.data.note_positions(sae)  # a stream knows its limits of norms by now
            self.let_go()
        for learner in self.learners:
            self.given[learner.index].measured = self._measured(learner)
        if self.saved_to is not None and apart is None and self.team.is_first:
            with self._noting_full_disk():
                self.given[0].save(self.saved_to)

    def _measured(self, learner: Learner) -> dict[str, float]:
        """Return the numbers and the steps that an SAE reached; for a part also the steps asked for."""
        step = self.kept.get(learner.index, self.step)
        reached = (learner.history.measured(step) or {}) | {"steps": float(step)}
        whole = self.stopped in (None, "plateau")
        return reached if whole else reached | {"of_steps": float(self.config.steps)}

    @contextmanager
    def _noting_full_disk(self) -> Iterator[None]:
        """Note why saving failed at an interrupt, for the message of Ctrl-C; otherwise raise it."""
        try:
            yield
        except OSError as error:
            if self.stopped != "interrupted":
                raise
            self._not_saved.append(str(error))

    def hand_over(self, index: int, sae: SparseAutoencoder) -> None:
        """Give an SAE that was passed, or a copy of it, what was learned in its place; in eval mode."""
        if self.given[index] is not self.saes[index] and self.step:
            sae.take_from(self.saes[index])
        sae.eval()

    def _loop(self, bar: object) -> Stopped | None:
        try:
            for sae in self.saes:
                sae.train()
            return self._steps(bar)
        except KeyboardInterrupt:
            # A second Ctrl-C, or one raised by the data or a callback.
            self.control.stop("interrupted")
            return "interrupted"

    def _steps(self, bar: object) -> Stopped | None:
        if self._has_plateaued():  # as read from the checkpoint
            return "plateau"
        batches = self._batches()
        if any(learner.log is None for learner in self.learners):
            batches = map(self._without_massive, batches)
        for x in batches:  # 1. a batch
            with self.control.turn() as go_on:
                if not self.team.all(mine=go_on):
                    return self._agreed_reason()
                self._torn, done = True, self.step + 1 == self.config.steps
                due = done or self.step == 0 or (self.step + 1) % self.config.log_every == 0
                for learner in self.learners:
                    batch, share = self._my_part(learner.place(x))
                    with learner.explain_out_of_memory(batch):
                        # 2. to 6.: loss, gradient, clipping, Adam, unit atoms and dead atoms
                        taken = learner.step(batch, self.step, rows=len(x), share=share)
                        if due or (learner.log is not None and learner.log.full):
                            learner.catch_up(self.data.captured_at)
                        if due:
                            learner.record(taken, self._times(len(x)), share)
                self.step, self.tokens, self._torn = self.step + 1, self.tokens + len(x), False
            if due:
                self._publish(bar)
            if done or self.step % self.config.checkpoint_every == 0:
                self._save()
            if done:
                return None
            if self.team.alone and self.control.stop_reason is not None:
                break  # before another batch is waited for
            if self._has_plateaued():
                return "plateau"
        return self.control.stop_reason or "data ended"

    def _agreed_reason(self) -> Stopped:
        """Return why the workers stop together: where one was interrupted, all of them were."""
        if not self.team.all(mine=self.control.stop_reason != "interrupted"):
            self.control.stop_reason = "interrupted"
        return self.control.stop_reason or "stopped"

    def _my_part(self, x: Tensor) -> tuple[Tensor, float]:
        """Rows of a batch that are for this worker, and their share of it."""
        if self.team.alone or self.config.shard_atoms:
            return x, 1.0
        mine = x[self.team.part(len(x))]
        return mine, len(mine) / len(x)

    def _has_plateaued(self) -> bool:
        patience = self.config.stop_on_plateau
        return patience is not None and all(
            learner.plateau.waited >= patience for learner in self.learners
        )

    def _batches(self) -> Iterator[Tensor]:
        config = self.config
        batches = self.data.batches(self.learners[0].parameters[0].device, config, self.step)
        if not self.data.is_finite:
            batches = self._checked(batches)
        if all(bool(sae.initialised) for sae in self.saes):
            return batches
        # Enough batches for `initialise`, which are trained on afterwards: a stream loses nothing.
        first: list[Tensor] = []
        for x in batches:
            first.append(x)
            if self.control.stop_reason is not None:
                return iter(first)
            if len(first) * len(x) >= INITIAL_ROWS or len(x) < config.batch_size:
                break
        if not first:
            raise ValueError(
                f"`data` must give at least one batch, but it ended before its first "
                f"{config.batch_size} rows. Use a smaller `batch_size` or more data."
            )
        rows = torch.cat(first)[:INITIAL_ROWS]
        with self.control.lock:
            rows = self._without_massive(rows)
            for learner in self.learners:
                learner.begin(rows, config.seed)
            self.n_massive = 0  # of rows that are trained on afterwards
        return chain(first, batches)

    def _without_massive(self, x: Tensor) -> Tensor:
        """Leave out rows with a massive norm: the loss of a batch with one would be about it alone."""
        if isinstance(x, SequenceRows):  # every row is needed by those after it
            return x
        massive_rows = massive(row_norms(x))
        n = int(massive_rows.sum())
        self.n_massive += n
        return x[~massive_rows] if n else x

    def _checked(self, batches: Iterator[Tensor]) -> Iterator[Tensor]:
        from sae_nb.capturing._streaming import StreamEndedError

        begun = False
        try:
            for step, x in enumerate(batches, start=self.step + 1):
                begun = begun or all(bool(sae.initialised) for sae in self.saes)
                if begun and self._on_card(x):  # found by the step, and read with its record
                    yield x
                    continue
                where = f"It is in the batch of step {step}. {self.data.captured_at}"
                check_finite(x, name="data", where=where.strip())
                yield x
        except StreamEndedError:
            # What was trained on until then is a result; it is marked "data ended".
            return

    def _on_card(self, x: Tensor) -> bool:
        """Whether rows lie where every step leaves its findings."""
        return all(
            learner.log is not None and learner.log.number.device == x.device
            for learner in self.learners
        )

    def _publish(self, bar: object) -> None:
        newest = [learner.history[-1] for learner in self.learners]
        self._mark = (newest[0].tokens, newest[0].seconds)
        self.records.extend(newest)
        show(newest, bar, self.step - self._shown)
        self._shown = self.step
        for record in newest:
            self.callbacks.tell(record)

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started - self.control.paused_seconds

    def _times(self, rows: int) -> dict[str, float]:
        tokens_before, seconds_before = self._mark
        tokens, seconds = self.tokens + rows, self._elapsed()
        return {
            "step": self.step + 1,
            "tokens": tokens,
            "tokens_per_second": (tokens - tokens_before) / max(seconds - seconds_before, 1e-9),
            "seconds": seconds,
        }

    def _catch_up(self) -> None:
        """Read what steps left on a card."""
        for learner in self.learners:
            learner.catch_up(self.data.captured_at)

    @property
    def _n_massive(self) -> int:
        """Massive rows left out by the loop, or replaced by the steps, which all see the same."""
        return self.n_massive + self.learners[0].n_massive

    def _save(self) -> None:
        if self.checkpoints is None:
            return
        self._catch_up()
        self.seconds = self._elapsed()
        state = {
            "step": self.step,
            "tokens": self.tokens,
            "n_massive": self._n_massive,
            "seconds": self.seconds,
            "config": self.config.to_json(),
            "identity": self.identity,
            # Tensors as they were given: a worker may hold a share of them now.
            "identity_now": self.data.identity(self.saes)
            | {name: fact for name, fact in self.identity.items() if name.endswith(" tensors")},
            "changes": [asdict(change) for change in self.changes],
        }
        save_checkpoint(self.checkpoints, state, self.learners, self.team)
        self._saved = self.step

    def _make_whole(self) -> None:
        """Every worker gets all atoms, when all of them come here."""
        for learner in self.learners:
            if learner.shard is not None and learner.is_cut:
                learner.shard.make_whole()

    def _save_shards(self, learner: Learner, folder: Path) -> None:
        """Save an SAE of which no worker has all atoms; then none has any."""
        from sae_nb.architectures._saving import save_sae

        learner.leave()
        learner.sae.eval()
        parts = learner.sae_parts()
        apart = folder.with_name(f".{folder.name}.parts")
        try:
            write_parts(apart, {n: one for n, one in parts.items() if one.n is not None}, self.team)
            learner.sae.measured = self._measured(learner)
            self.team.first_does(lambda: save_sae(learner.sae, folder, streams(apart, parts)))
        finally:
            if self.team.is_first:
                shutil.rmtree(apart, ignore_errors=True)
        learner.sae.folder = folder
        if learner.shard is not None:
            learner.shard.let_go()

    def _cut_short(self) -> None:
        """Keep what counts of a run that did not reach its last step."""
        self._catch_up()
        diverged = any(learner.best.diverged for learner in self.learners)
        if not self._torn and not diverged and self.step not in (0, self._saved):
            with self._noting_full_disk():
                self._save()
        for learner in self.learners:
            if learner.best.diverged or (self._torn and learner.best.step is not None):
                self.kept[learner.index] = learner.best.restore()

    def results(self) -> list[TrainResult]:
        """Return what the training left, one result per SAE."""
        return [
            TrainResult(
                sae=self.given[learner.index],
                history=learner.history,
                config=self.config,
                steps=self.step,
                kept_step=self.kept.get(learner.index, self.step),
                tokens=self.tokens,
                n_massive=self._n_massive,
                seconds=self.seconds,
                stopped=self.stopped,
                changes=tuple(self.changes),
            )
            for learner in self.learners
        ]

    def warn_of_divergence(self) -> None:
        """Warn if an SAE ended up explaining less than it did at first, and less than the mean does."""
        for learner in self.learners:
            if not learner.history:
                continue
            first, last = learner.history[0], learner.history[-1]
            highest = max(record.learning_rate for record in learner.history)
            if last.r2 < min(0.0, first.r2):
                warn_caller(
                    f"Training ended at R² {last.r2:.3g}, below the {first.r2:.3g} of its first step: the "
                    f"steps were too large. Use a lower `learning_rate` than {highest:.3g}."
                )

    def ending(self) -> str:
        """Explain why the training ended early, the present state of the SAE, and how to continue."""
        why = "ran out of data" if self.stopped == "data ended" else "was interrupted"
        steps = sorted({self.step, *self.kept.values()})
        text = f"Training {why} after step {self.step} of {self.config.steps}; "
        if self.kept:
            text += f"the running loss had risen, so the weights of step {steps[0]} were put back. "
        else:
            text += "the SAE keeps the weights of that step. "
        if self._not_saved:
            text += f"It could not be saved: {' '.join(self._not_saved)} "
        if self.stopped == "interrupted":
            text += "`sn.interrupted()` returns the result so far. "
        if self._saved is not None and self.checkpoints is not None:
            return (
                text
                + f"The same call goes on from step {self._saved} ({str(self.checkpoints.folder)!r})."
            )
        if self.stopped == "data ended":
            return text + "Pass data that can be read again, or ask for fewer steps."
        return text + "Pass `checkpoint=` a folder, and the same call goes on from there next time."
