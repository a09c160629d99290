"""A model's own generation settings, which change its logits before a token is chosen.

Penalties of repetition, tokens that are forced or suppressed, least lengths: transformers' own processors apply
them, to each text without its padding. How a token is then chosen, and when a text ends, is the caller's.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from sae_nb.checks import warn_caller
from sae_nb.models import _facts as facts

if TYPE_CHECKING:
    from transformers import LogitsProcessorList

    from sae_nb.models._live_model import LiveModel

_OTHER_WAYS = ("num_beams", "guidance_scale", "penalty_alpha", "dola_layers", "stop_strings", "max_time",
               "constraints", "force_words_ids")  # fmt: skip
_OF_DRAWING = ("top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")
"""Settings that are left to `model.module.generate`: other ways of choosing; those for drawn tokens."""

_TOLD: weakref.WeakSet[LiveModel] = weakref.WeakSet()


class GenerationSettings:
    """What a model's `generation_config` does to the logits of texts, row by row."""

    def __init__(self, model: LiveModel, ends: Collection[int], n_new: int | None = None) -> None:
        """`ends` are the tokens that end a text, `n_new` how many are written at most, where that is known."""
        self._part: Any = facts.writer_in(model.module)
        self._ends, self._n_new, self._device = sorted(ends), n_new, model.device
        self._processors: dict[int, LogitsProcessorList] = {}

    def anew(self) -> GenerationSettings:
        """Return the same settings, for other texts."""
        made = copy.copy(self)
        made._processors = {}
        return made

    def of(
        self, row: int, begun: Callable[[], tuple[int, Int[Tensor, " source"] | None]]
    ) -> LogitsProcessorList | None:
        """Return what changes the logits of a row, from (1, tokens) and (1, vocabulary); None for most.

        `begun` gives the length of the row's prompt and the tokens of its source, and is asked once.
        """
        if self._part is None:
            return None
        if row not in self._processors:
            self._processors[row] = self._made(*begun())
        return self._processors[row] or None

    def _made(self, n_prompt: int, source: Tensor | None) -> LogitsProcessorList:
        config = copy.copy(self._part.generation_config)
        config.do_sample, config.num_beams, config.guidance_scale = False, 1, None
        config.min_length = config.min_length or 0
        if self._n_new is None:
            config.forced_eos_token_id = None  # there is no longest text whose end it would be
        else:
            config.max_length = n_prompt + self._n_new
        ends = torch.tensor(self._ends, device=self._device, dtype=torch.int64)
        config._eos_token_tensor = ends if len(ends) else None
        made: LogitsProcessorList = self._part._get_logits_processor(
            generation_config=config,
            input_ids_seq_length=n_prompt,
            encoder_input_ids=None if source is None else source[None],
            prefix_allowed_tokens_fn=None,
            logits_processor=[],
            device=self._device,
            model_kwargs={},
        )
        return made


def warn_of_others(model: LiveModel, temperature: float) -> None:
    """Name once the settings of a model that choose tokens in another way than here."""
    part: Any = facts.writer_in(model.module)
    if part is None or model in _TOLD:
        return
    stated = part.generation_config.to_diff_dict()
    names = (*_OTHER_WAYS, *(_OF_DRAWING if temperature else ()))
    found = [f"{name}={stated[name]}" for name in names if stated.get(name) not in (None, 0, 1)]
    if found:
        _TOLD.add(model)
        how = "drawn from softmax(logits / temperature)" if temperature else "the likeliest one"
        warn_caller(
            f"Each new token is {how} here; {model.name} states {', '.join(found)} in its generation settings, "
            "which `model.module.generate` uses."
        )


def writes_as_read(model: LiveModel) -> bool:
    """Return whether the model's own generation reads a text as it is, without a token to be filled in."""
    part: Any = facts.writer_in(model.module)
    if part is None:
        return True
    ids = torch.tensor([[model.pad_id]], device=model.device)
    try:
        given = part.prepare_inputs_for_generation(
            ids, attention_mask=torch.ones_like(ids), use_cache=False
        )
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError):
        return True  # a family that prepares more than a text, such as images
    read = given.get("input_ids")
    return not isinstance(read, Tensor) or read.shape == ids.shape
