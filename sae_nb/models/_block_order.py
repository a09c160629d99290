"""Order in which a network's blocks run: once each, or several times where they are shared.

A configuration whose number of layers is the number of blocks settles it. Otherwise a few tokens or one
image are run once, and the blocks note their turns; where no such input is known, the first inputs of a
capture do the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sae_nb.activations._modality import VIDEO
from sae_nb.checks import own_modes
from sae_nb.models._facts import (
    Arguments,
    config_of,
    model_type,
    picture_arguments,
    text_arguments,
    video_frames,
    video_size,
)
from sae_nb.models._families import (
    Structure,
    block_lists,
    in_order,
    lone_block,
    may_loop,
    other_towers,
)

if TYPE_CHECKING:
    from sae_nb.models._interface import Runs

_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "n_blocks", "depth")
_WATCHED = 4
"""Passes that go to their end at first. Ours."""

_LOOPS = re.compile(
    "loop|recur|cycle|ut_steps|universal|iterat|repeat|ponder|halt|hidden_groups|inner_group",
    re.IGNORECASE,
)
"""Settings of networks that run blocks several times: Ouro's `total_ut_steps`, HRM's `H_cycles`."""


@dataclass(frozen=True, kw_only=True)
class Turns:
    """Blocks in the order in which they ran in one pass."""

    blocks: tuple[str, ...]
    """Paths, one per application."""

    runs: Mapping[str, int]
    """Number of times that each module ran."""


def settled(model: Runs, found: Structure) -> tuple[Structure, bool]:
    """Return a structure with its applications in order, and whether that is more than an assumption."""
    if model.remote:
        return found, True
    towers = other_towers(model.module, found)
    turns = tried(model, found) if towers else None
    if turns is not None and not any(turns.runs.get(path) for path in found.paths):
        ran = (one for one in towers if all(turns.runs.get(path) for path in one.paths))
        found = next(ran, found)
        turns = tried(model, found)
    if _once_each(model.module, found):
        return found, True
    turns = turns or tried(model, found)
    if turns is None or not turns.blocks:
        return found, False
    return in_order(model.module, found, turns.blocks, turns.runs), True


def again_and_again(model: Runs) -> tuple[Structure | None, bool]:
    """Return the structure of a network that runs one block several times, and whether that is known."""
    if model.remote or not may_loop(model.module):
        return None, True
    turns = tried(model, None)
    return (None, False) if turns is None else (lone_block(model.module, turns.runs), True)


def tried(model: Runs, found: Structure | None) -> Turns | None:
    """Return the turns of a pass over inputs of our own; None where the module runs on none of them."""
    if found is not None and found.runs:
        return Turns(blocks=found.paths, runs=found.runs)
    calls = (turns_of(model, found, args, kwargs) for args, kwargs in arguments_to_try(model))
    return next((turns for turns in calls if turns is not None), None)


def _once_each(module: nn.Module, found: Structure) -> bool:
    """Return whether the configuration has as many layers as there are blocks, and no loops."""
    config = config_of(module)
    depth = next((n for name in _DEPTHS if isinstance(n := getattr(config, name, None), int)), None)
    if depth != found.n_blocks:
        return False
    settings = vars(config) if hasattr(config, "__dict__") else {}
    return not any(
        _LOOPS.search(name) and isinstance(value, int) and value > 1
        for name, value in settings.items()
    )


def fixed(module: nn.Module) -> bool:
    """Return whether the order is the same for all inputs: that of a model of transformers or of ours."""
    return bool(model_type(module)) or type(module).__module__.startswith("sae_nb.")


def turns_of(
    model: Runs, found: Structure | None, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Turns | None:
    """Run the module once, and return the turns of its blocks; None if it does not run on these inputs."""
    with (
        model.lock,
        own_modes(),
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
    ):
        with noting(model, found) as turns, model.editing.own_run((), traced=True):
            try:
                model.module(*args, **kwargs)
            except Exception:  # noqa: BLE001  (guessed inputs may not be what it reads)
                return None
    return turns()


@contextmanager
def noting(model: Runs, found: Structure | None) -> Iterator[Callable[[], Turns]]:
    """Note the turns of the blocks, and how often each module runs, in the passes inside."""
    lists = [] if found is None else block_lists(model.module, found)
    candidates = {path for paths in lists for path in paths}
    order: list[str] = []
    runs: Counter[str] = Counter()

    def note(path: str) -> Callable[..., None]:
        def before(ran: nn.Module, _args: object) -> None:
            if ran is parts[path]:  # and not a copy of it, which takes the hook along
                runs[path] += 1
                if path in candidates:
                    order.append(path)

        return before

    parts = {path: part for path, part in model.module.named_modules() if path}
    handles = [part.register_forward_pre_hook(note(path)) for path, part in parts.items()]
    try:
        yield lambda: Turns(blocks=tuple(order), runs=runs)
    finally:
        for handle in handles:
            handle.remove()


def watches(model: Runs) -> bool:
    """Return whether the next pass goes to its end, to see how often parts run; counts the passes.

    Networks that may loop more often for some inputs are watched, always or ever more rarely.
    """
    if model.remote or fixed(model.module):
        return False
    n = model.n_passes
    model.n_passes += 1
    return (
        n < _WATCHED or not n & (n - 1) or (model.structure is not None and model.structure.looped)
    )


def verify(model: Runs, found: Structure, turns: Turns) -> None:
    """Refuse a pass in which blocks ran in another order than the one that hook points count by."""
    known, ran = Counter(found.paths), Counter(turns.blocks)
    if found.looped or max(ran.values(), default=1) > 1:
        path = next((path for path in known if known[path] != ran[path]), None)
        if path is not None and not model.order_is_known:
            model.note_turns(turns)
            raise ValueError(
                f"`{path}` of {model.name} was taken to run once per pass and ran {ran[path]} times, which is "
                "known now: `model.layers` lists its applications. Call again."
            )
        if path is not None:
            raise ValueError(
                f"`{path}` of {model.name} must run the same number of times for every sample, but ran "
                f"{ran[path]} times for these and {known[path]} times before. Capture samples that run equally "
                f'often together, or read "{path}@last", the last application of each.'
            )


# -------------------------------------------------------------------------------------------------
# Inputs to try.


def trial_pass(model: Runs) -> bool:
    """Run the module once over made-up inputs, for hooks that look, and return whether it ran on any of them.

    The caller holds the model's lock.
    """
    with torch.no_grad():
        for args, kwargs in arguments_to_try(model):
            with suppress(Exception):  # they may not be what it reads
                model.module(*args, **kwargs)
                return True
    return False


def arguments_to_try(model: Runs) -> Iterator[Arguments]:
    """Yield arguments that the module may read, the likeliest first."""
    device, dtype = model.device, model.dtype
    if model.modality.is_text:
        size = model.vocabulary_size or 4
        ids = torch.arange(3, device=device)[None] % size
        keep = torch.ones_like(ids, dtype=torch.bool)
        yield text_arguments(model.module, ids, keep, causal=model.causal)
        return
    if model.modality.is_image:
        for side, channels in _pictures(model):
            shape = (1, channels, *side)
            values = torch.zeros(shape, device=device, dtype=dtype)
            yield picture_arguments(model.module, values)
        return
    frames, name = video_frames(model.module), getattr(model.module, "main_input_name", "")
    if model.kind == VIDEO.name and frames is not None:
        for side, channels in _pictures(model):
            video = torch.zeros(1, frames, channels, *side, device=device, dtype=dtype)
            yield (), {name: video}
        return
    for value in _values(model.module, dtype):
        yield (value.to(device),), {}


def _pictures(model: Runs) -> Iterator[tuple[tuple[int, int], int]]:
    config = getattr(model.module, "config", None)
    size, channels = getattr(config, "image_size", None), getattr(config, "num_channels", 3)
    sides = [
        getattr(model.preprocess, "output_size", None),
        size,
        video_size(model.module),
        32,
        224,
    ]
    for side in sides:
        if isinstance(side, int):
            side = (side, side)
        if isinstance(side, list | tuple) and len(side) == 2:
            yield (int(side[0]), int(side[1])), channels if isinstance(channels, int) else 3


def _values(module: nn.Module, dtype: torch.dtype) -> Iterator[Tensor]:
    """Yield tensors of a form that the first part with weights reads."""
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            yield torch.zeros(1, 3, dtype=torch.long)
        elif isinstance(part, nn.Linear):
            yield torch.zeros(1, 3, part.in_features, dtype=dtype)
            yield torch.zeros(1, part.in_features, dtype=dtype)
        elif isinstance(part, nn.MultiheadAttention):
            yield torch.zeros(1, 3, part.embed_dim, dtype=dtype)
        elif isinstance(part, nn.Conv1d):
            yield torch.zeros(1, part.in_channels, 64, dtype=dtype)
        elif isinstance(part, nn.Conv2d):
            yield torch.zeros(1, part.in_channels, 32, 32, dtype=dtype)
        elif isinstance(part, nn.LayerNorm):
            yield torch.zeros(1, 3, *part.normalized_shape, dtype=dtype)
        else:
            continue
        return
