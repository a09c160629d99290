"""`train_raptor` and `start_raptor`: fit k shared blocks, here and now or in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.interrupts import Interrupted
from sae_nb.training import BackgroundRun, Callbacks
from sae_nb_studies.dynamics.raptor._loop import RaptorResult, RaptorTraining

if TYPE_CHECKING:
    from sae_nb.models import LiveModel
    from sae_nb.training import History, TrainRecord
    from sae_nb_studies.dynamics.raptor._config import RaptorConfig
    from sae_nb_studies.dynamics.raptor._raptor import Raptor


@checked
def train_raptor(
    source: LiveModel | Float[Tensor, "n layers tokens d"],
    cuts: Sequence[int],
    config: RaptorConfig | None = None,
    *,
    inputs: Any = None,
    model: LiveModel | None = None,
    raptor: Raptor | None = None,
    token_kinds: Sequence[str] | None = None,
    callbacks: Callbacks = None,
    progress: bool = True,
    resume: bool = True,
) -> RaptorResult:
    """Fit k shared blocks to the states of a deep network.

    By default all blocks learn together, in 1 500 steps of 16 images: give it the states of some
    thousand images, in half precision. `RaptorConfig(schedule="published")` is the authors' training.
    Ctrl-C ends the training after the step under way and leaves a usable result.

    Parameters
    ----------
    source
        The teacher (then with `inputs`), or its states. Any vision transformer in `wrap`, with norms
        before its branches or after its sums.
    cuts
        Phases 0 = c_0 < … < c_k = L; `range(L + 1)` unties every block.
    inputs
        Images, where `source` is a model.
    model
        The teacher, where `source` are its states: its blocks' sizes are taken. Without it heads of
        width 16, an MLP of 4d and norms before the branches are assumed.
    raptor
        Continue to train this one.
    callbacks
        Called with every record, a `TrainRecord`; a `TrainingMonitor` is one.
    resume
        Whether a checkpoint in `config.checkpoint` is continued, bit-exactly on a CPU.

    Raises
    ------
    TypeError, ValueError: If states, cuts or a checkpoint do not fit, states are another model's, or
        there are fewer images than a step takes.
    FloatingPointError: If the loss diverges.

    Source
    ------
    "Block-Recurrent Dynamics in Vision Transformers", arXiv 2512.19941; KempnerInstitute/raptor.

    Example
    -------
    >>> import torch
    >>> from sae_nb.dynamics import RaptorConfig
    >>> states = torch.randn(8, 4, 5, 16, generator=torch.Generator().manual_seed(0))
    >>> settings = RaptorConfig(steps=4, batch_size=4)
    >>> result = train_raptor(states, (0, 1, 3), settings, progress=False)
    >>> result.r2.shape, result.history[-1].step
    (torch.Size([3]), 4)
    """
    training = RaptorTraining.prepare(
        source,
        cuts,
        config,
        inputs=inputs,
        model=model,
        raptor=raptor,
        token_kinds=token_kinds,
        callbacks=callbacks,
        resume=resume,
    )
    with training.control.deferred_interrupts():
        training.run(progress=progress)
    result = training.result()
    if training.control.stop_reason == "interrupted":
        raise Interrupted(training.ending(), result)
    return result


@checked
def start_raptor(
    source: LiveModel | Float[Tensor, "n layers tokens d"],
    cuts: Sequence[int],
    config: RaptorConfig | None = None,
    *,
    inputs: Any = None,
    model: LiveModel | None = None,
    raptor: Raptor | None = None,
    token_kinds: Sequence[str] | None = None,
    callbacks: Callbacks = None,
    resume: bool = True,
) -> RaptorRun:
    """Train a Raptor in a thread and return at once.

    Parameters as for `train_raptor`; whatever is wrong with them is raised here, before the thread starts.
    A script that ends stops it after the step under way; `TrainingMonitor(run)` shows the handle.

    Example
    -------
    >>> import torch
    >>> from sae_nb.dynamics import RaptorConfig
    >>> states = torch.randn(8, 4, 5, 16, generator=torch.Generator().manual_seed(0))
    >>> run = start_raptor(states, (0, 1, 3), RaptorConfig(steps=4, batch_size=4))
    >>> run.wait(60).steps, run.state
    (4, 'done')
    """
    training = RaptorTraining.prepare(
        source,
        cuts,
        config,
        inputs=inputs,
        model=model,
        raptor=raptor,
        token_kinds=token_kinds,
        callbacks=callbacks,
        resume=resume,
    )
    return RaptorRun(training)


class RaptorRun(BackgroundRun[RaptorTraining, RaptorResult]):
    """A training in a thread, made by `start_raptor`: the twin of `TrainingRun`.

    `set(learning_rate=v)` changes AdamW's peak; Muon's keeps its ratio to it. Every method may be called
    from any thread.
    """

    def __init__(self, training: RaptorTraining) -> None:
        super().__init__(training, name="raptor")

    def _result(self) -> RaptorResult:
        return self._training.result()

    @property
    def sae(self) -> Raptor:
        """The Raptor: what a monitor asks a run for under this name."""
        return self._training.raptor

    @property
    def raptor(self) -> Raptor:
        """While it trains its weights change under you: see `snapshot`."""
        return self._training.raptor

    @property
    def config(self) -> RaptorConfig:
        """The settings."""
        return self._training.config

    @property
    def records(self) -> list[TrainRecord]:
        """Every record so far: a live list that only grows."""
        return self._training.history

    @property
    def histories(self) -> list[History]:
        """The one history, in a list as monitors expect it."""
        return [self._training.history]

    def live(self) -> dict[str, float]:
        """Return numbers that `set` can change, as they are now."""
        return {"learning_rate": self._training.peak}

    def snapshot(self) -> Raptor:
        """Copy of the Raptor with the weights between two steps, in eval mode."""
        with self.lock:
            copy = deepcopy(self._training.raptor)
        return copy.eval()

    def __repr__(self) -> str:
        return f"RaptorRun({self.state}, step {self.step} of {self.config.steps})"
