"""Norms, found by what they do: a module is tried, whatever its class is called and however it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.models._checkpoint_files import bundled_folder, bundled_names, snapshot
from sae_nb.models._families import Structure, find_structure
from sae_nb.models._fetching import FETCHABLE, fetched_folder, hub_name, known_as

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CONFIG = "config.json"
SHORTEST = 4
"""Letters of the shortest family that is looked for in a name: shorter ones are in other words."""

SAME = 0.02
"""Largest difference of an answer to a norm's, as a share of it, for which it is one: above the rounding of
half precision, and far below what centring makes of the states that are tried, .3."""

LARGE = 64.0
"""Size of the states that show gain and bias: a norm's ε, at most 1e-3, is nothing beside its square."""


@dataclass(frozen=True, eq=False)
class Norm:
    """A norm as it answers: γ ⊙ C x / √(mean (C x)² + ε) + b, where C takes off the mean, or does nothing."""

    gain: Float[Tensor, "... d"]
    bias: Float[Tensor, "... d"]
    centres: bool

    def through(self, directions: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Return γ ⊙ C d: what it makes of directions, without the division by the state's size."""
        if self.centres:
            directions = directions - directions.mean(dim=-1, keepdim=True)
        return directions * self.gain.to(directions)

    def before(self, rows: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Return the transpose of `through` of rows: the direction that each reads before the norm."""
        rows = rows * self.gain.to(rows)
        return rows - rows.mean(dim=-1, keepdim=True) if self.centres else rows

    def _gives(self, x: Float[Tensor, "... d"], found: Float[Tensor, "... d"]) -> bool:
        x = self.through(x) / self._size(x) + self.bias
        return bool((x - found).abs().max() <= SAME * (found - self.bias).abs().max())

    def _size(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... 1"]:
        if self.centres:
            x = x - x.mean(dim=-1, keepdim=True)
        return x.square().mean(dim=-1, keepdim=True).sqrt()


def norm_of(module: nn.Module | None, width: int | None = None) -> Norm | None:
    """Return what a module does to states of a width (None: that of its weights), if it is a norm of each.

    Whatever its class is called, it is tried. None of another module, or one whose weights are elsewhere.

    Example
    -------
    >>> norm = norm_of(nn.LayerNorm(4))
    >>> norm.centres, norm.through(torch.eye(4)[0]).tolist()
    (True, [0.75, -0.25, -0.25, -0.25])
    """
    if module is None or not has_vectors_alone(module):
        return None
    weights = [weight for weight in module.parameters() if weight.ndim]
    if width is None:
        width = weights[0].shape[-1] if weights else getattr(module, "normalized_shape", (8,))[-1]
    # That of an instance may be nnsight's or accelerate's.
    call = partial(type(module).forward, module)
    like = weights[0] if weights else torch.empty(0)
    found = tried(call, like.new_empty(1, 2, width))
    return found and replace(found, gain=found.gain[0, 0], bias=found.bias[0, 0])


def has_vectors_alone(module: nn.Module) -> bool:
    """Return whether all weights of a module are vectors, as a norm's are."""
    return all(weight.numel() == (weight.shape or (1,))[-1] for weight in module.parameters())


@torch.no_grad()
def tried(call: Callable[[Tensor], Tensor], like: Float[Tensor, "1 ... d"]) -> Norm | None:
    """Return what a function does to each vector, if a norm does that; `like` has the form of its input."""
    width = like.shape[-1]
    if width < 2 or not like.dtype.is_floating_point or like.is_meta:
        return None
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(2, *like.shape, generator=generator)
    sizes = 2 ** torch.randn(
        2, *like.shape[:-1], 1, generator=generator
    )  # a norm is of each vector
    signs = _balanced(width).expand(like.shape) * LARGE  # centred or not, they stay
    given = [x.to(like) for x in (signs, -signs, *(sizes * (3 * drawn + 1)))]
    try:
        answers = [call(x) for x in given]
        if any(y.shape != like.shape for y in answers):
            return None
    except (RuntimeError, TypeError, AttributeError, ValueError, LookupError):
        return None  # another kind of module, or its weights are elsewhere
    at_least = torch.promote_types(like.dtype, torch.float32)
    (x, _, *test), (up, down, *found) = ([y.to(at_least) for y in ys] for ys in (given, answers))
    for centres in (True, False):
        norm = Norm((up - down) / 2 * LARGE / x, (up + down) / 2, centres)
        if all(norm._gives(x, y) for x, y in zip(test, found, strict=True)):
            return norm
    return None


def _balanced(width: int) -> Float[Tensor, " d"]:
    """Return numbers other than 0 whose mean is 0, and that of their squares 1."""
    x = torch.ones(width)
    x[1::2] = -1
    if width % 2:
        x[-3:] = torch.tensor([1.0, 1.0, -2.0])
    return x / x.square().mean().sqrt()


def takes_off_mean(module: nn.Module, structure: Structure | None) -> bool | None:
    """Return whether the norm behind the blocks takes off the mean, as a layer norm does.

    None where there is none, or another one before the blocks writes to the stream.
    """
    if structure is None or structure.final_norm is None:
        return None
    holder, _, name = structure.final_norm.rpartition(".")
    others = module.get_submodule(holder).named_children()
    if any(norm_of(part) is not None for one, part in others if one != name):
        return None
    norm = norm_of(module.get_submodule(structure.final_norm))
    return None if norm is None else norm.centres


@lru_cache(maxsize=64)
def named_takes_off_mean(name: str) -> bool | None:
    """Return the same of a model by its name, from its configuration or family; nothing is fetched."""
    import transformers

    folder = _folder(name)
    try:
        config = (
            _of_family(name)
            if folder is None
            else transformers.AutoConfig.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
        )
        if config is None:
            return None
        config.num_hidden_layers = 2  # the norm behind them is the same
        with torch.device("meta"):
            module = transformers.AutoModel.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError, ImportError):
        return None
    structure = find_structure(module)
    if structure is not None and structure.final_norm is not None:
        holder = module.get_submodule(structure.final_norm.rpartition(".")[0])
        for norm in filter(has_vectors_alone, holder.children()):
            for weight in norm.to_empty(device="cpu").parameters():
                weight.detach().fill_(1.0)
    return takes_off_mean(module, structure)


def _folder(name: str) -> Path | None:
    """Return the folder on this machine with the configuration of a model, if there is one."""
    fetched = _fetched(name)
    if name in bundled_names():
        folder: Path | Exception = bundled_folder(name)
    elif fetched is not None:
        try:
            folder = fetched_folder(fetched)
        except FileNotFoundError:
            return None
    else:
        own = Path(name).expanduser()
        there = (own / CONFIG).is_file()
        folder = own if there else snapshot(hub_name(name), None, local_files_only=True)
    return folder if isinstance(folder, Path) and (folder / CONFIG).is_file() else None


def _fetched(name: str) -> str | None:
    return next((one for one in FETCHABLE if known_as(one) == known_as(name)), None)


def _of_family(name: str) -> PretrainedConfig | None:
    """The usual configuration of the family that a model's name contains: "gemma2" for "google/gemma-2-2b"."""
    import transformers

    fetched = _fetched(name)
    families: Mapping[str, type[PretrainedConfig]] = transformers.CONFIG_MAPPING
    if fetched is not None:
        return families[FETCHABLE[fetched].model_type]()
    plain = "".join(filter(str.isalnum, known_as(name)))
    there = [kind for kind in families if len(kind) >= SHORTEST and kind.replace("_", "") in plain]
    return families[max(there, key=len)]() if there else None
