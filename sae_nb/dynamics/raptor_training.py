"""`train_raptor`: fit k shared blocks to the states of a deep network, here and now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics.raptor_loop import RaptorResult, RaptorTraining
from sae_nb.training.control import deferred_interrupts
from sae_nb.training.listeners import Listeners

if TYPE_CHECKING:
    from sae_nb.dynamics.raptor import Raptor
    from sae_nb.dynamics.raptor_config import RaptorConfig
    from sae_nb.models.live_model import LiveModel


def train_raptor(
    source: LiveModel | Float[Tensor, "n layers tokens d"],
    cuts: Sequence[int],
    config: RaptorConfig | None = None,
    *,
    inputs: Any = None,
    model: LiveModel | None = None,
    raptor: Raptor | None = None,
    token_kinds: Sequence[str] | None = None,
    listeners: Listeners = None,
    progress: bool = True,
    resume: bool = True,
) -> RaptorResult:
    """Fit k shared blocks to the states of a deep network.

    Parameters
    ----------
    source
        The teacher (then with `inputs`), or its states.
    cuts
        Phases 0 = c_0 < … < c_k = L; `range(L + 1)` unties every block.
    config
        Settings; None is `RaptorConfig()`.
    inputs
        Pictures, where `source` is a model.
    model
        The teacher, where `source` are its states: its blocks' sizes are taken. Without it heads of
        width 16 and an MLP of 4d are assumed.
    raptor
        Goes on training this one.
    token_kinds
        As for `States`.
    listeners
        Called with every record, a `TrainRecord`; a `TrainingMonitor` is one.
    progress
        Whether a bar is shown.
    resume
        Whether a checkpoint in `config.checkpoint` is continued, bit-exactly on a CPU.

    Returns
    -------
    RaptorResult
        With `.raptor`, `.r2`, `.relative_error`, `.history`. Ctrl-C ends the training after the step
        under way and leaves a usable result.

    Raises
    ------
    TypeError, ValueError
        If states, cuts or a checkpoint do not fit.
    FloatingPointError
        If the loss diverges.

    Source
    ------
    "Block-Recurrent Dynamics in Vision Transformers", arXiv 2512.19941; KempnerInstitute/raptor.

    Example
    -------
    >>> import torch
    >>> from sae_nb.dynamics.raptor_config import RaptorConfig
    >>> states = torch.randn(8, 4, 5, 16, generator=torch.Generator().manual_seed(0))
    >>> settings = RaptorConfig(steps_1=2, steps_2=2)
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
        listeners=listeners,
        resume=resume,
    )
    with deferred_interrupts(training.control):
        training.run(progress=progress)
    return training.result()
