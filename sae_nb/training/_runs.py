"""Training in a thread: look at it, tune it, pause it and stop it while the notebook stays free."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Annotated

from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.checks import Between, check_count, checked
from sae_nb.checks._annotations import shows_fields
from sae_nb.training._config import TrainConfig, chosen_config
from sae_nb.training._control import BackgroundRun
from sae_nb.training._loop import Training
from sae_nb.training._records import Callbacks, TrainResult

if TYPE_CHECKING:
    from jaxtyping import Float

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.training._loop import Data
    from sae_nb.training._records import History, TrainRecord


@checked(leave=("sae", "data", "config"))
@shows_fields(TrainConfig)
def start_training(
    sae: SparseAutoencoder | Sequence[SparseAutoencoder],
    data: Data,
    config: TrainConfig | None = None,
    *,
    callbacks: Callbacks = None,
    progress: bool = False,
    resume: bool = True,
    held_out: Annotated[float, Between(0, 1, "[)")] | Activations | None = None,
    **settings: object,
) -> TrainingRun:
    """Train in a thread and return at once; a script that ends stops it after the step under way.

    Arguments are those of `train`; whatever is wrong with them is raised here, before the thread starts.
    `callbacks` are called in the thread.

    Parameters
    ----------
    held_out
        Share of the samples that are not trained on, or activations that are not: `run.held_out`, whose R²
        leads in a `TrainingMonitor`. None: a tenth, where the data are rows of one hook point, 320 or more of
        at least ten samples, and a checkpoint that is continued was not of all rows. 0: none, and the same
        bits as `train`.

    Raises
    ------
    ValueError: If a share is given and the data cannot be cut in two.
    RuntimeError: If an SAE is being trained already.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> run = start_training(sn.TopK(d_in=8, n_atoms=16, k=2), x, steps=20)
    >>> run.wait(60).steps, run.state
    (20, 'done')
    """
    config = chosen_config(config, settings, data)
    training = Training(sae, data, config, callbacks=callbacks, resume=resume, held_out=held_out)
    return TrainingRun(training, several=isinstance(sae, Sequence), progress=progress)


class TrainingRun(BackgroundRun[Training, TrainResult | list[TrainResult]]):
    """A training in a thread, made by `start_training`; every method may be called from any thread.

    `set(learning_rate=v)` replaces the peak of the schedule: from the next step on the learning
    rate is v times the share that warm-up or decay leave of it, so between the two it is v itself.
    Other live numbers (a sparsity weight, k) are those the SAE names. Every change is kept in
    `.changes`, shows in the records, and is part of the checkpoints. `index` names one of several SAEs.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> run = start_training(sn.TopK(d_in=8, n_atoms=16, k=2), x, steps=10**6)
    >>> run.pause()
    >>> run.set(learning_rate=0.002)
    >>> run.state, run.live()["learning_rate"], run.snapshot().training
    ('paused', 0.002, False)
    >>> run.stop()
    >>> run.wait(60).stopped
    'stopped'
    """

    def __init__(self, training: Training, *, several: bool, progress: bool) -> None:
        self._several = several
        try:
            super().__init__(training, name="training", progress=progress)
        except BaseException:
            training.let_go()
            raise

    def _result(self) -> TrainResult | list[TrainResult]:
        results = self._training.results()
        return results if self._several else results[0]

    @property
    def sae(self) -> SparseAutoencoder | list[SparseAutoencoder]:
        """The SAE or SAEs that were passed. While it trains its weights change under you: see `snapshot`.

        One of another library changes when the training ends.
        """
        return list(self._training.given) if self._several else self._training.given[0]

    @property
    def config(self) -> TrainConfig:
        """The settings."""
        return self._training.config

    @property
    def n_rows(self) -> int | None:
        """Rows of the data, of which each is drawn again and again; None of data that are read as they come."""
        return self._training.data.n_rows

    @property
    def held_out(self) -> Activations | None:
        """Activations that are not trained on; None where there are none."""
        return self._training.held_out

    @property
    def records(self) -> list[TrainRecord]:
        """Every record so far: a live list that only grows, SAE after SAE within a step."""
        return self._training.records

    @property
    def histories(self) -> list[History]:
        """Records by SAE: one live list each."""
        return [learner.history for learner in self._training.learners]

    @checked
    def live(self, index: int = 0) -> dict[str, float]:
        """Return numbers that `set` can change, as they are now: the peak learning rate and the SAE's own."""
        index = self._checked(index)
        return self._training.learners[index].live()

    @checked
    def snapshot(self, index: int = 0) -> SparseAutoencoder:
        """Copy of an SAE with the weights between two steps, in eval mode: safe to encode with.

        Raises
        ------
        RuntimeError: If workers share the atoms, so that none has all of them.
        """
        index = self._checked(index)
        if self.config.shard_atoms and not self._training.team.alone:
            raise RuntimeError(
                "A snapshot must have all atoms, but with `shard_atoms` each worker has only its own. "
                "Wait for the end, or read a checkpoint."
            )
        with self.lock:
            copy = deepcopy(self._training.given[index])
            self._training.hand_over(index, copy)
        return copy

    def _checked(self, index: int) -> int:
        n = len(self._training.saes)
        return check_count(index, name="index", at_least=-n, at_most=n - 1)

    def frequency(self, index: int = 0) -> Float[Tensor, " n_atoms"]:
        """Return share of recent rows on which each atom fired, counted while training."""
        with self.lock:
            return self._training.learners[index].dead.frequency

    def __repr__(self) -> str:
        names = ", ".join(type(sae).__name__ for sae in self._training.given)
        return f"TrainingRun({names}, {self.state}, step {self.step} of {self.config.steps})"
