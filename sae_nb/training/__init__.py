"""Training SAEs in the kernel: one call that waits, one that goes on in a thread.

`train` runs to the end; `start_training` returns at once with a `TrainingRun` to pause, tune, look
at and stop. Both take one SAE or several, which then see the same batches. In a script that `torchrun`
starts, `with workers():` around the call makes its processes share each batch.
"""

from __future__ import annotations

from sae_nb.activations import ActivationSource
from sae_nb.training.config import TrainConfig
from sae_nb.training.loop import train
from sae_nb.training.records import Change, History, TrainRecord, TrainResult
from sae_nb.training.runs import TrainingRun, start_training
from sae_nb.training.team import Team, workers

__all__ = [
    "ActivationSource",
    "Change",
    "History",
    "Team",
    "TrainConfig",
    "TrainRecord",
    "TrainResult",
    "TrainingRun",
    "start_training",
    "train",
    "workers",
]
