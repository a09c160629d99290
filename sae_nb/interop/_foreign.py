"""Shared parts of readers and writers of other libraries' files: names, errors, pickles, and originals.

The only reader of pickled weights in the project is here: torch's `weights_only` unpickler builds
tensors and containers and nothing else; whatever else a file asks for is refused by name before it
exists.
"""

from __future__ import annotations

import functools
import pickle
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import torch
from torch import Tensor

from sae_nb.activations._positions import PositionPolicy
from sae_nb.architectures import SparseAutoencoder
from sae_nb.checks._hook_point_names import after_block, standard_name
from sae_nb.files._atomic import (
    check_archive,
    existing,
    free_folder,
    new_folder,
    replacing,
    write_json,
)
from sae_nb.files._tensors import write_arrays, write_tensors

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=SparseAutoencoder)

# -------------------------------------------------------------------------------------------------
# Other libraries' names of hook points in ours. The residual stream before block L is the one after
# block L − 1, so one name is enough for each place; before block 0 it is the embedding and, in some models,
# positions added to it.


_BLOCKS = re.compile(r"(?:model\.|transformer\.|gpt_neox\.)?(?:layers|h|blocks)\.(\d+)")


def known_hook_point(name: str | None) -> str | None:
    """Return the standard name of a place another library names, or the name as it is."""
    if name is None:
        return None
    standard = after_block(standard_name(name))
    if block := _BLOCKS.fullmatch(standard):
        return f"resid_post.{block[1]}"
    if standard in ("embed_tokens", "model.embed_tokens", "transformer.wte"):
        return "embed"
    return standard


_MLP = re.compile(r"(?:.+\.)?(?:layers|h|blocks|layer)\.(\d+)\.(?:mlp|feed_forward|ffn)")


def sites_of(module: str) -> tuple[str, str]:
    """Return the places where a transcoder of a module reads and writes: its input, its output."""
    if mlp := _MLP.fullmatch(module):
        return f"mlp_in.{mlp[1]}", f"mlp_out.{mlp[1]}"
    return f"{module}.input", f"{module}.output"


# -------------------------------------------------------------------------------------------------
# Strangers: a reader of another library's files meets whatever is in them with a named error.


UNLIKE = (KeyError, AttributeError, TypeError, IndexError, RuntimeError, ArithmeticError)
"""Errors that come of a value of another kind, shape or size than the library writes."""


def _refuse(path: object, error: Exception) -> NoReturn:
    # Of a frame of its own: an error of a wrapper itself is taken for one of a wrong call.
    raise ValueError(
        f"{str(path)!r} must hold an SAE as its library writes it, and does not "
        f"({type(error).__name__}: {error}). It may have been altered, or written by a version "
        "we do not know; download it again."
    ) from error


def named_errors(read: Callable[P, R]) -> Callable[P, R]:
    """Wrap a reader: any unexpected error becomes a ValueError, and each names the file."""

    @functools.wraps(read)
    def named(*args: P.args, **kwargs: P.kwargs) -> R:
        path = args[0] if args else next(iter(kwargs.values()), None)
        try:
            return read(*args, **kwargs)
        except UNLIKE as error:
            _refuse(path, error)
        except ValueError as error:
            if Path(str(path)).name not in str(error):
                error.args = (f"{error} It is in {str(path)!r}.",)
            raise

    return named


def check_holds(tensors: Collection[str], needed: Sequence[str], path: str | Path, do: str) -> None:
    """Refuse a file in which a tensor is missing."""
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise ValueError(
            f"{str(path)!r} must hold {', '.join(needed)}, and {missing[0]!r} is missing. {do}"
        )


def stated_k(value: Tensor | float | str | None, path: str | Path, name: str = "k") -> int:
    """Return the number of codes of each input that are kept, as a file states it."""
    number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    if (
        not isinstance(number, int | float)
        or isinstance(number, bool)
        or not 1 <= number == int(number)
    ):
        raise ValueError(
            f"{str(path)!r} must state `{name}`, how many codes of each input are kept, as a whole number of "
            f"at least 1, got {number!r}. Add it: it is among the settings of the SAE's training."
        )
    return int(number)


# -------------------------------------------------------------------------------------------------
# What a file holds, and what of it a reader asked for. What nobody asked for may be what its own library
# computes with, so it is refused or noted, for every reader in the same words.


_COMPILED = "_orig_mod."
"""The part of a name that torch.compile adds."""


class Stated(Mapping[str, Any]):
    """The content of a file by name, with a record of the names that were asked for; also inside mappings."""

    def __init__(self, held: Mapping[str, Any]) -> None:
        self.held: dict[str, Any] = {
            name: Stated(value) if isinstance(value, Mapping) else value
            for name, value in held.items()
        }
        self._asked: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        value = self.held[name]
        self._asked.add(name)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self.held

    def __iter__(self) -> Iterator[str]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)

    def __repr__(self) -> str:
        return repr(self.held)

    def unread(self) -> dict[str, Any]:
        """Return what was not asked for, names inside names joined by dots."""
        left: dict[str, Any] = {}
        for name, value in self.held.items():
            if isinstance(value, Stated):
                left |= {f"{name}.{inner}": other for inner, other in value.unread().items()}
            elif name not in self._asked:
                left[name] = value
        return left


def stated_tensors(tensors: Mapping[str, Tensor]) -> Stated:
    """Return a file's tensors, under the names that they have where nothing is compiled."""
    return Stated({name.replace(_COMPILED, ""): tensor for name, tensor in tensors.items()})


_MEANT = frozenset((
    "threshold", "log_threshold", "topk_threshold", "thresholds", "scaling_factor",
    "finetuning_scaling_factor", "b_gate", "b_mag", "r_mag", "gate_bias", "mag_bias", "w_skip",
    "affine_skip_connection", "b_dec_out", "log_theta",
))  # fmt: skip
"""Tensors, in small letters, that libraries compute codes or reconstructions with."""

_SIZES = {"d_in": 0, "activation_dim": 0, "d_sae": 1, "dict_size": 1, "num_latents": 1, "d_out": 2}
"""Fields that state the width of what is read, the number of atoms, and the width of what is written."""

_OF_POSITIONS: dict[str, dict[str, Any]] = {
    "remove_bos": {"drop_first": True},
    "exclude_bos_token": {"drop_first": True},
    "max_activation_norm_multiple": {"drop_massive": True},
    "cls_token_only": {"positions": "cls"},
    "use_patches_only": {"positions": "patches"},
}
"""Fields that state which positions a training left out, in the terms of a `PositionPolicy`."""


def accounted(
    sae: S,
    tensors: Stated | Sequence[Stated],
    config: Stated | None = None,
    *,
    carried: Collection[str] = (),
) -> S:
    """Refuse tensors that a file holds, change numbers and were not read, and keep what else was not read in
    `origin`; returns the SAE.

    `carried` are tensors that files of the library hold and do not compute codes or reconstructions with.
    """
    made: Any = sae
    files = [tensors] if isinstance(tensors, Stated) else tensors
    unread = [name for one in files for name in one.unread()]
    left = [name for name in unread if not {name, name.rpartition(".")[2]} & {*carried}]
    encoding = getattr(made, "encoding", None)
    by_size = encoding is not None and encoding.k is not None  # a threshold is no part of that
    meant = [name for name in left if name.lower().rpartition(".")[2] in _MEANT]
    meant = [name for name in meant if not (by_size and "threshold" in name)]
    if meant:
        raise ValueError(
            f"The file must hold the tensors of {made.origin.architecture!r}, as it calls itself, and "
            f"holds {', '.join(map(repr, meant))} besides, which would change its numbers. Let its "
            f"configuration name the architecture that it is of, or remove what {made.origin.library} does not "
            "use."
        )
    config = Stated({}) if config is None else config
    _check_sizes(made, config)
    if left_out := _positions_of(config):
        made.position_policy = PositionPolicy(**left_out, source=made.origin.library)
    fields = {name: value for name, value in config.unread().items() if states(value)}
    notes = list(made.origin.notes)
    if left:
        notes.append(
            f"Its file also holds {', '.join(map(repr, left))}: not read, though it may be computed with."
        )
    unread = [f"{name}={value!r:.60}" for name, value in fields.items()]
    made.origin = replace(made.origin, notes=notes, unread=unread)
    return sae


def states(value: object) -> bool:
    """Return whether a field says anything."""
    return value is not None and value not in ("", "none") and value not in ([], {})


def _positions_of(config: Stated) -> dict[str, Any]:
    """Return what a configuration states of the positions of its training."""
    positions: dict[str, Any] = {}
    for name, value in config.held.items():
        if isinstance(value, Stated):
            positions |= _positions_of(value)
        elif (
            name in _OF_POSITIONS and config[name] and str(value).lower() != "false"
        ):  # as YAML has it
            positions |= _OF_POSITIONS[name]
    return positions


def _check_sizes(sae: Any, config: Stated) -> None:
    """Refuse a configuration that is of other weights."""
    if sae.by_site or len(sae.sites) > 2:
        return
    sizes = (sae.d_in, sae.n_atoms, sae.d_out)
    for name, value in config.held.items():
        if isinstance(value, Stated):
            _check_sizes(sae, value)
        elif (
            name in _SIZES
            and isinstance(config[name], int)
            and value not in (0, sizes[_SIZES[name]])
        ):
            raise ValueError(
                f"`{name}` in the configuration must be that of the weights next to it, "
                f"{sizes[_SIZES[name]]}, got {value}. One of the two files is of another SAE."
            )


# -------------------------------------------------------------------------------------------------
# Pickled weights: tensors and plain facts, or a refusal.


Fact = str | int | float | bool | None
_FACTS = (str, int, float, bool, type(None))


def read_tensors_only(path: str | Path) -> dict[str, Tensor]:
    """Read a `.pt` file that holds a state dict, and nothing but."""
    tensors, facts = read_tensors_and_facts(path)
    if facts:
        first = next(iter(facts))
        raise ValueError(
            f"{str(path)!r} must hold tensors only, got a {type(facts[first]).__name__} named "
            f"{first!r}. Save the state dict alone, or convert it to safetensors."
        )
    return tensors


def read_tensors_and_facts(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Fact]]:
    """Read a `.pt` file of tensors and plain values, nested names joined by dots."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Fact] = {}
    for name, value in _leaves(_unpickled(Path(path)), (), Path(path)):
        if isinstance(value, Tensor):
            tensors[name] = value.detach()
        else:
            facts[name] = value
    return tensors, facts


def read_keyed(path: str | Path) -> dict[str, Any]:
    """Read a `.pt` file of tensors and plain values by name, whose mappings may be keyed by numbers."""
    content = _unpickled(Path(path))
    if not isinstance(content, Mapping) or not _is_plain(content):
        raise ValueError(
            f"{str(path)!r} must hold tensors and plain values by name, and holds something else. Save a "
            "dict of them."
        )
    return dict(content)


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(name, str | int) for name in value) and all(
            map(_is_plain, value.values())
        )
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, (Tensor, *_FACTS))


def _unpickled(path: Path) -> Any:
    check_archive(existing(path))
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{str(path)!r} must be a complete file of tensors, and is not ({first}). Nothing in it "
            "was run. Download it again, or convert it to safetensors where it was made."
        ) from error


def _leaves(value: object, at: tuple[str, ...], path: Path) -> list[tuple[str, Any]]:
    if isinstance(value, Tensor) or (at and isinstance(value, _FACTS)):
        return [(".".join(at), value)]
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(
            f"{str(path)!r} must hold tensors by name, got {type(value).__name__}"
            f"{' at ' + '.'.join(at) if at else ''}. Save a state dict."
        )
    return [leaf for name, inner in value.items() for leaf in _leaves(inner, (*at, name), path)]


_LINE = re.compile(r"^(?P<indent>\s*)(?P<name>[\w.-]+)\s*:\s*(?P<value>[^#]*)")


def flat_yaml(path: Path) -> dict[str, str]:
    """Read two levels of plain `name: value` lines, which is all these files use."""
    facts: dict[str, str] = {}
    section = ""
    for line in existing(path).read_text("utf-8").splitlines():
        if match := _LINE.match(line):
            value = match["value"].strip().strip("'\"")
            if not match["indent"]:
                section = match["name"]
            if value:
                facts[f"{section}.{match['name']}" if match["indent"] else section] = value
    return facts


# -------------------------------------------------------------------------------------------------
# Originals. Reading changes numbers: norms are divided out, logarithms taken, maps merged. None of it
# can be undone to the last bit, and some of it not at all (which data points an archetypal dictionary
# mixes). So an SAE read from a file remembers the file's own tensors, as long as nobody changes the SAE.


ATTRIBUTE = "_original"


@dataclass(frozen=True, kw_only=True, eq=False)
class Original:
    """The contents of one library's files."""

    library: str
    tensors: dict[str, Tensor]
    """By that library's names, in its shapes and dtypes; views of the SAE's own where they are the same."""

    config: dict[str, Any]
    place: tuple[str | None, ...] | None = (None, None, None)
    """The place in its JSON file, or the plain values next to its tensors; hook points and model at the
    time, which must not change where a file names them. None: it does not.
    """

    restate: Restate | None = None
    """Tensors and configuration of the SAE as it is now, in any dtype, where the reader's conversion backwards
    is not what the writer makes of any SAE.
    """

    read: Callable[[Path], SparseAutoencoder] | None = None
    """The reader, with the arguments that it was given."""


Contents = tuple[Mapping[str, Tensor], Mapping[str, Any]]
Restate = Callable[[Any, Original], Contents]
Translate = Callable[[SparseAutoencoder], tuple[dict[str, Tensor], dict[str, Any]]]


def remember(
    sae: S,
    library: str,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    *,
    restate: Restate | None = None,
    read: Callable[[Path], SparseAutoencoder] | None = None,
    names_its_place: bool = True,
) -> S:
    """Let an SAE remember the file it was read from; returns the SAE."""
    own = [tensor.detach() for tensor in (*sae.parameters(), *sae.buffers())]
    original = Original(
        library=library,
        tensors={name: _shared(tensor, own) for name, tensor in tensors.items()},
        config=dict(config),
        place=_place(sae) if names_its_place else None,
        restate=restate,
        read=read,
    )
    setattr(sae, ATTRIBUTE, original)
    return sae


def restated(
    sae: SparseAutoencoder, original: Original, translate: Translate
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the file of an SAE that has learned since: its own names, shapes, dtypes and configuration."""
    with torch.no_grad():
        if original.restate is not None:
            tensors, config = original.restate(sae, original)
        else:
            tensors, config = translate(sae)
            config = {"k": config["k"]} if "k" in config else {}
    as_there = dict(original.tensors)
    for name, there in original.tensors.items():
        if name in tensors:
            value = tensors[name].detach()
            if there.numel() == 1 and value.numel() > 1:  # equal numbers
                value = value.flatten()[0]
            as_there[name] = value.reshape(there.shape).to(there.dtype)
    return as_there, original.config | dict(config)


def _place(sae: SparseAutoencoder) -> tuple[str | None, ...]:
    return (sae.hook_point, sae.target_hook_point, sae.model_name)


Store = Callable[[Mapping[str, Tensor], Mapping[str, Any]], None]


def came_from(sae: SparseAutoencoder) -> str | None:
    """Return the library whose file an SAE was read from, if it remembers one."""
    original = getattr(sae, ATTRIBUTE, None)
    return original.library if isinstance(original, Original) else None


def write_folder(
    sae: SparseAutoencoder,
    folder: str | Path,
    library: str,
    files: tuple[str | None, str],
    *,
    translate: Translate,
    read: Callable[[Path], SparseAutoencoder],
    metadata: Mapping[str, Any] | None = None,
    transcoders: bool = False,
) -> Path:
    """Write a new folder of another library: what was read, if the SAE is still that, else a translation.

    `files` are its configuration, if it has one, and its weights, `translate` gives tensors and
    configuration by that library's names, `read` is its reader, `metadata` more to state under that name,
    and `transcoders` whether it has them.
    """
    _check_one_site(sae, library, transcoders=transcoders)
    folder = Path(folder)
    with new_folder(folder) as partial:

        def store(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
            for file in partial.iterdir():
                file.unlink()
            if metadata:
                stated = dict(config.get("metadata") or {}) | dict(metadata)
                config = {**config, "metadata": stated}
            facts, weights = files
            _STORES[Path(weights).suffix](partial / weights, dict(tensors))
            if facts is not None:
                write_json(partial / facts, config)

        _store_as_read(sae, library, store, partial, translate, read)
    return folder


def write_file(
    sae: SparseAutoencoder,
    path: str | Path,
    library: str,
    *,
    translate: Translate,
    read: Callable[[Path], SparseAutoencoder],
    transcoders: bool = False,
) -> Path:
    """Write a new file of another library, as `write_folder` does a folder; a `.pt` holds its facts, too."""
    _check_one_site(sae, library, transcoders=transcoders)
    path = free_folder(path)
    with replacing(path) as partial:

        def store(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
            if path.suffix == ".pt":
                _pickle(partial, tensors, facts)
            else:
                write_tensors(partial, dict(tensors))

        _store_as_read(sae, library, store, partial, translate, read)
    return path


def _check_one_site(sae: SparseAutoencoder, library: str, *, transcoders: bool = False) -> None:
    if sae.by_site or len(sae.sites) > (2 if transcoders else 1):
        raise TypeError(
            f"`sae` must read and write one site to be written for {library}, got {type(sae).__name__}, "
            f"which has {len(sae.sites)}. Save it with sae.save(…)."
        )


def _pickle(
    path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any] | None = None
) -> None:
    """A file for `torch.load(path, weights_only=True)`."""
    # Copies with memory of their own, or `torch.save` would store all that they view.
    own = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
    torch.save({**own, **(facts or {})}, path)


_STORES: dict[str, Callable[[Path, dict[str, Tensor]], None]] = {
    ".pt": _pickle,
    ".npz": write_arrays,
    ".safetensors": write_tensors,
}


def _store_as_read(
    sae: SparseAutoencoder,
    library: str,
    store: Store,
    place: Path,
    translate: Translate,
    read: Callable[[Path], SparseAutoencoder],
) -> None:
    """Store the file's own contents, or those as they are now, if that reads as the SAE; else translate."""
    original = getattr(sae, ATTRIBUTE, None)
    if (
        isinstance(original, Original)
        and original.library == library
        and original.place in (None, _place(sae))
    ):
        again = original.read or read
        store(original.tensors, original.config)
        if _agree(again(place), sae, _equal_bits):
            return
        store(*restated(sae, original, translate))
        if _near(again(place), sae):
            return
    store(*translate(sae))


def _shared(tensor: Tensor, own: list[Tensor]) -> Tensor:
    """The SAE's own memory where it holds the same bits, as they are or transposed."""
    views = (view for mine in own for view in ((mine, mine.T) if mine.ndim == 2 else (mine,)))
    return next((view for view in views if _equal_bits(view, tensor)), tensor)


def _near(a: SparseAutoencoder, b: SparseAutoencoder) -> bool:
    """Return whether a file's content is this SAE up to the rounding of the file's dtype."""
    dtypes = {tensor.dtype for tensor in getattr(a, ATTRIBUTE).tensors.values()}
    coarsest = max((torch.finfo(d).eps for d in dtypes if d.is_floating_point), default=0.0)

    def close(one: Tensor, other: Tensor) -> bool:
        if one.shape != other.shape or not one.is_floating_point():
            return torch.equal(one, other)
        most = NEAR_ROUNDINGS * coarsest * float(other.abs().max())
        return bool(((one - other.to(one)).abs() <= most).all())

    return _agree(a, b, close)


NEAR_ROUNDINGS = 32
"""Roundings that a number may be off by on its way to a file and back: norms, factors and logarithms."""


def _agree(
    a: SparseAutoencoder, b: SparseAutoencoder, are: Callable[[Tensor, Tensor], bool]
) -> bool:
    # Where it is from is compared as `place`: a folder that is being written has another name.
    facts, others = (
        {name: value for name, value in sae.settings().items() if name != "origin"}
        for sae in (a, b)
    )
    first, second = a.state_dict(), b.state_dict()
    return (
        type(a) is type(b)
        and facts == others
        and first.keys() == second.keys()
        and all(are(tensor, second[name]) for name, tensor in first.items())
    )


def _equal_bits(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    raw = (t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(*raw)
