"""Training SAEs in the kernel: one call that waits, one that continues in a thread.

`train` runs to the end; `start_training` returns at once with a `TrainingRun` to pause, tune, look
at and stop. Both take one SAE or several, which then see the same batches. In a script that `torchrun`
starts, `with workers():` around the call makes its processes share each batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.activations import ActivationSource as ActivationSource
    from sae_nb.training._config import TrainConfig as TrainConfig
    from sae_nb.training._loop import train as train
    from sae_nb.training._process_group import Team as Team, workers as workers
    from sae_nb.training._records import (
        Change as Change,
        History as History,
        TrainRecord as TrainRecord,
        TrainResult as TrainResult,
    )
    from sae_nb.training._runs import TrainingRun as TrainingRun, start_training as start_training
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.training._checkpoint import (
        KIND as KIND,
        POINTER as POINTER,
        check_folder as check_folder,
        hold_checkpoints as hold_checkpoints,
        load_checkpoint as load_checkpoint,
        without_place as without_place,
    )
    from sae_nb.training._control import (
        BackgroundRun as BackgroundRun,
        Control as Control,
        deferred_interrupts as deferred_interrupts,
    )
    from sae_nb.training._learner import (
        BestState as BestState,
        DeadAtoms as DeadAtoms,
        Learner as Learner,
    )
    from sae_nb.training._loop import Training as Training
    from sae_nb.training._process_group import current_team as current_team
    from sae_nb.training._records import (
        Callbacks as Callbacks,
        Stopped as Stopped,
        as_list as as_list,
        load_history as load_history,
        tell as tell,
    )
    from sae_nb.training._sharded_pursuit import pursue as pursue
    from sae_nb.training._sources import fingerprint as fingerprint
