"""Training SAEs in the kernel: one call that waits, one that continues in a thread.

`train` runs to the end; `start_training` returns at once with a `TrainingRun` to pause, tune, look
at and stop. Both take one SAE or several, which then see the same batches. In a script that `torchrun`
starts, `with workers():` around the call makes its processes share each batch, or the atoms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.activations import ActivationSource as ActivationSource
    from sae_nb.training._checkpoint import Checkpoints as Checkpoints
    from sae_nb.training._config import TrainConfig as TrainConfig
    from sae_nb.training._control import BackgroundRun as BackgroundRun, Control as Control
    from sae_nb.training._history import (
        AtomMotion as AtomMotion,
        MotionTracker as MotionTracker,
        TrainingHistory as TrainingHistory,
        TrainingSummary as TrainingSummary,
    )
    from sae_nb.training._loop import train as train
    from sae_nb.training._process_group import Team as Team, workers as workers
    from sae_nb.training._records import (
        Callbacks as Callbacks,
        Change as Change,
        History as History,
        Listeners as Listeners,
        TrainRecord as TrainRecord,
        TrainResult as TrainResult,
    )
    from sae_nb.training._rows_of_workers import rows_of_workers as rows_of_workers
    from sae_nb.training._runs import TrainingRun as TrainingRun, start_training as start_training
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
