"""published: SAEs that are known by name, one row each; and how each of their formats is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from sae_nb.architectures import SparseAutoencoder
from sae_nb.checks import checked
from sae_nb.interop import (
    _circuit_tracer as circuit_tracer,
    _dictionary_learning as dictionary_learning,
    _gemma_scope as gemma_scope,
    _saelens as saelens,
    _scopes as scopes,
    _temporal as temporal,
    _vision as vision,
)
from sae_nb.interop._detection import local_copy
from sae_nb.interop._imported import FromFile
from sae_nb.interop._releases import CROSSCODER, Entry, crosscoder_releases, releases
from sae_nb.interop._vision_releases import MAIRA, vision_releases
from sae_nb.models._fetching import known_as

if TYPE_CHECKING:
    import pandas

N_NEAR = 3

# -------------------------------------------------------------------------------------------------
# Formats: which files an SAE has, and what reads them. What is said of a release being readable, in the
# table and on pages, is said here.


Read = Callable[[Path, Entry], SparseAutoencoder]
"""From the local path and the row of the list."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """The file format of the SAEs of some releases."""

    library: str
    files: tuple[str, ...] = ()
    """Files that one SAE needs, below its path; "" is the path itself."""

    optional: tuple[str, ...] = ()
    """Files of the repository that are read where they are there."""

    read: Read | None = None
    """None: not read."""

    why: str = ""
    """The obstacle if it is not read, and what to do instead."""


def _by_path(read: Callable[[Path], SparseAutoencoder]) -> Read:
    return lambda path, _: read(path)


def _saelens(path: Path, entry: Entry) -> SparseAutoencoder:
    place = entry.hook_names[0]
    known = {} if place is None else {"hook_name": place}
    return saelens.read_published(path, {**entry.overrides, **known}, entry.factor)


def _llama_scope_r1(path: Path, entry: Entry) -> SparseAutoencoder:
    if entry.factor is None:
        raise ValueError(
            f"{entry.name!r} must have a factor for its activations in the list, and has none. Make the list "
            "again: python -m sae_nb.interop pretrained_saes.yaml."
        )
    return scopes.read_llama_scope_r1(path, entry.factor)


FORMATS: dict[str, Format] = {
    "sae_lens": Format(
        library=saelens.LIBRARY, files=(saelens.CONFIG, saelens.WEIGHTS), read=_saelens
    ),
    "gemma_2": Format(
        library=gemma_scope.LIBRARY,
        files=(gemma_scope.ARRAYS,),
        read=_by_path(gemma_scope.read_gemma_scope),
    ),
    "gemma_3": Format(
        library="Gemma Scope 2",
        files=(gemma_scope.TENSORS,),
        optional=(gemma_scope.CONFIG,),
        read=_by_path(gemma_scope.read_gemma_scope),
    ),
    CROSSCODER: Format(
        library="Gemma Scope 2",
        files=tuple(gemma_scope.LAYERS.format(site) for site in range(4)),
        optional=(gemma_scope.CONFIG,),
        read=_by_path(gemma_scope.read_gemma_scope),
    ),
    "dictionary_learning_1": Format(
        library=dictionary_learning.LIBRARY,
        files=(dictionary_learning.CONFIG, dictionary_learning.WEIGHTS),
        read=_by_path(dictionary_learning.read_dictionary_learning),
    ),
    "mwhanna_transcoder": Format(
        library=circuit_tracer.LIBRARY,
        files=("",),
        optional=(circuit_tracer.CONFIG,),
        read=_by_path(circuit_tracer.read_circuit_tracer),
    ),
    "mntss_clt_layer_transcoder": Format(
        library=circuit_tracer.LIBRARY,
        why="it is one layer of a cross-layer transcoder, whose atoms also write at later layers; load all "
        'of it with sn.load_sae("hf:{repository}")',
    ),
    "temporal": Format(
        library=temporal.LIBRARY,
        files=(temporal.CONFIG, temporal.WEIGHTS),
        read=_by_path(temporal.read_temporal),
    ),
    "llama_scope": Format(
        library="Llama Scope",
        files=(scopes.SCOPE_CONFIG, scopes.SCOPE_WEIGHTS),
        read=_by_path(scopes.read_llama_scope),
    ),
    "llama_scope_r1_distill": Format(
        library="Llama Scope R1",
        files=(scopes.R1_CONFIG, scopes.R1_WEIGHTS),
        read=_llama_scope_r1,
    ),
    "qwen_scope": Format(
        library="Qwen Scope",
        files=("",),
        read=lambda path, entry: scopes.read_qwen_scope(path, entry.repository),
    ),
    "goodfire": Format(
        library="Goodfire",
        files=("",),
        read=_by_path(partial(scopes.read_relu_states, states=scopes.GOODFIRE)),
    ),
    "deepseek_r1": Format(
        library="qresearch",
        files=("",),
        read=_by_path(partial(scopes.read_relu_states, states=scopes.DEEPSEEK)),
    ),
    "visaebench": Format(
        library=vision.VISAEBENCH,
        files=(vision.CONFIG, vision.VISAEBENCH_WEIGHTS),
        read=_by_path(vision.read_visaebench),
    ),
    "sae_for_vlm": Format(library=vision.VLM, files=("",), read=_by_path(vision.read_sae_for_vlm)),
    "prisma": Format(
        library=vision.PRISMA,
        files=(vision.CONFIG, vision.PRISMA_WEIGHTS),
        read=_by_path(vision.read_prisma),
    ),
    "prisma_transcoder": Format(
        library=vision.PRISMA,
        why="it is a transcoder, whose norm also scales its skip connection; its SAEs are read: "
        'sn.published("prisma-clip")',
    ),
    MAIRA: Format(
        library=dictionary_learning.LIBRARY,
        why="the names of its folders are not known here; look at its files on the hub, and name the folder "
        'that holds config.json and ae.pt: sn.load_sae("hf:{repository}/folder")',
    ),
    "connor_rob_hook_z": Format(
        library="attention-output SAEs",
        files=("",),
        read=_by_path(partial(scopes.read_relu_states, states=scopes.HEADS)),
    ),
}
FORMATS["gemma_2_transcoder"] = FORMATS["gemma_2"]
"""By the list's name of their loader."""


# -------------------------------------------------------------------------------------------------
# published: the table.


@cache
def all_releases() -> dict[str, dict[str, Entry]]:
    """Return every published SAE by its release and id: of language models, then of vision models."""
    return releases() | crosscoder_releases() | vision_releases()


@checked
def published(part: str = "") -> pandas.DataFrame:
    """List published SAEs by name: a row each, of all releases or of some.

    Nothing is fetched. The table is a list of facts that ships with the toolkit; a number that is in no
    name is missing, and the SAE's file has it.

    Parameters
    ----------
    part
        A part of a release's or a model's name, such as "gemma-2" or "res-jb", in letters of any case;
        "": all of them.

    Returns
    -------
    pandas.DataFrame
        `name` (what `load_sae` takes: "release/sae"), `release`, `sae`, `model` (what `load_model` takes),
        `hook_point` and for transcoders `writes` (None: a place that has no name here), `hook_name` (the
        same in TransformerLens' or SAELens' words), `width` (atoms), `l0` (mean atoms per token), `format`,
        `readable` (whether `load_sae` reads it), `cached` (whether its files are on this machine),
        `neuronpedia` ("model/source"), `repository` and `path` (where it lies on the hub).

    Raises
    ------
    ValueError: If no release and no model has the part in its name.

    Source
    ------
    SAELens 6.54.12, pretrained_saes.yaml (facts; MIT); crosscoders of Gemma Scope 2: its technical paper,
    table 1; of vision models: visaebench 0.1.0,
    mateuszpach/sae-for-vlm, Prisma-Multimodal/ViT-Prisma, microsoft/maira-2-sae.

    Example
    -------
    >>> table = published("gpt2-small-res-jb")
    >>> table.name[8], table.hook_point[8], float(table.l0[8]), bool(table.readable[8])
    ('gpt2-small-res-jb/blocks.8.hook_resid_pre', 'resid_post.7', 60.0, True)
    """
    import pandas as pd

    sought = part.lower()
    chosen = [
        entry
        for saes in all_releases().values()
        for entry in saes.values()
        if sought in f"{entry.release}\n{entry.model}\n{entry.their_model}".lower()
    ]
    if not chosen:
        raise ValueError(
            f"`part` must be a part of a release's or a model's name, got {part!r}, which is in none. Near "
            f"releases: {_near(part, all_releases())}. sn.published() lists all."
        )
    here = {entry.name for entry in cached_entries()}
    table = pd.DataFrame([_columns(entry, here) for entry in chosen])
    return table.astype({"width": "Int64", "l0": "Float64"})


def _columns(entry: Entry, here: set[str]) -> dict[str, Any]:
    form = FORMATS[entry.format]
    return {
        "name": entry.name,
        "release": entry.release,
        "sae": entry.id,
        "model": entry.model,
        "hook_point": entry.hook_point,
        "writes": entry.writes,
        "hook_name": entry.hook_names[0],
        "width": entry.width,
        "l0": entry.l0,
        "format": form.library,
        "readable": form.read is not None,
        "cached": entry.name in here,
        "neuronpedia": entry.neuronpedia,
        "repository": entry.repository,
        "path": entry.path,
    }


def _near(name: str, names: Iterable[str]) -> str:
    """The nearest names, in words."""
    near = get_close_matches(name, list(names), n=N_NEAR, cutoff=0.0)
    return ", ".join(repr(other) for other in near)


def published_at(model: str | None, hook_point: str | None) -> list[Entry]:
    """Return SAEs of one place of a model that are read here: those in the cache first, then the smallest;
    of one size those first whose L0 is nearest to the middle of all.
    """
    found = [
        entry
        for saes in all_releases().values()
        for entry in saes.values()
        if model and hook_point and known_as(entry.model) == known_as(model)
        if entry.hook_point == hook_point and entry.writes is None
        if FORMATS[entry.format].read is not None
    ]
    middle = median([entry.l0 for entry in found if entry.l0 is not None] or [0.0])
    here = {entry.name for entry in cached_entries()} if found else set()
    most = float("inf")
    return sorted(
        found,
        key=lambda entry: (
            entry.name not in here,
            entry.width or most,
            most if entry.l0 is None else abs(entry.l0 - middle),
        ),
    )


# -------------------------------------------------------------------------------------------------
# From a name to an SAE.


def is_published(name: str) -> bool:
    """Return whether a name begins with that of a published release."""
    return name.partition("/")[0] in all_releases()


def near_releases(name: str) -> str:
    """Return published releases that a misspelt name may mean, in words; "" where none is like it."""
    near = get_close_matches(name.partition("/")[0], list(all_releases()), n=N_NEAR, cutoff=0.8)
    return ", ".join(repr(other) for other in near)


def published_sae(name: str) -> SparseAutoencoder:
    """Read a published SAE by its name, from the hub's cache, or from the hub where that has it not."""
    entry = _entry(name)
    form = FORMATS[entry.format]
    if form.read is None:
        raise ValueError(
            f"{name!r} must be in a format that is read here, and is not: "
            f"{form.why.format(repository=entry.repository)}."
        )
    needed = _files(entry, form)
    inside = local_copy(
        name,
        entry.repository,
        None,
        needed,
        is_whole=lambda folder: all((folder / file).is_file() for file in needed),
        first=_optional(entry, form),
        holds=cached_in_words,
    )
    missing = [file for file in needed if not (inside / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{entry.repository!r} must hold {missing[0]!r} for {name!r}, and does not. It may have been "
            "moved since the list was made: look at its files on the hub, and load hf:owner/repository/path."
        )
    return _settled(form.read(inside / entry.path, entry), entry)


def _entry(name: str) -> Entry:
    release, _, id_ = name.partition("/")
    saes = all_releases()[release]
    if id_ in saes:
        return saes[id_]
    asked = f"none that is called {id_!r}" if id_ else "and the name does not say which"
    near = _near(id_, saes) if id_ else ", ".join(repr(other) for other in list(saes)[:N_NEAR])
    raise ValueError(
        f"{release!r} has {len(saes)} SAEs, {asked}. Near ones: {near}. Name one as in "
        f"{f'{release}/{next(iter(saes))}'!r}; sn.published({release!r}) lists them."
    )


def _files(entry: Entry, form: Format) -> list[str]:
    return ["/".join(filter(None, (entry.path, file))) for file in form.files]


def _optional(entry: Entry, form: Format) -> list[str]:
    # A file alone has them next to it, a folder inside.
    folder = entry.path if "" not in form.files else str(Path(entry.path).parent)
    return [str(Path(folder) / file) for file in form.optional]


def _settled(sae: SparseAutoencoder, entry: Entry) -> SparseAutoencoder:
    """Say on an SAE which published one it is, and what its use needs."""
    if not isinstance(sae, FromFile):
        return sae
    sae.hook_point = entry.hook_point or sae.hook_point
    sae.target_hook_point = entry.writes or sae.target_hook_point
    sae.model_name = entry.model
    figures = {"l0": entry.l0, "explained variance": entry.explained}
    stated = {name: float(value) for name, value in figures.items() if value is not None}
    sae.origin = replace(
        sae.origin,
        release=entry.name,
        neuronpedia=entry.neuronpedia,
        model_name=sae.origin.model_name or entry.their_model,
        hook_name=sae.origin.hook_name or entry.hook_names[0],
        hook_name_out=sae.origin.hook_name_out or entry.hook_names[1],
        stated={**stated, **sae.origin.stated},
        notes=list(_notes(sae, entry)),
    )
    return sae


_NORM_NOTES = {
    "layer_norm": "It reads activations of mean 0 and standard deviation 1: each is normalised first, and "
    "that is undone.",
    "constant_norm": "It reads activations of norm √d_in: each is scaled first, and that is undone.",
}


def _notes(sae: FromFile, entry: Entry) -> Iterator[str]:
    yield from sae.origin.notes
    norm = getattr(getattr(sae, "encoding", None), "norm", "none")
    if norm in _NORM_NOTES:
        yield _NORM_NOTES[norm]
    if sae.origin.prepend_bos:
        yield "It was trained on texts that begin with the begin-of-text token: capture with add_bos=True."
    if entry.hook_names[0] is not None and entry.hook_point is None:
        yield (
            f"It reads {entry.hook_names[0]}, what its MLP's norm gives before the gain: that place has no "
            "name here, so capture it yourself."
        )
    if entry.hook_point == "embed":
        yield "It reads embeddings as the model adds them up, scaled by √d_in."


# -------------------------------------------------------------------------------------------------
# What the hub's cache holds.


def cached_entries() -> list[Entry]:
    """Return published SAEs whose files are all in the hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = {path.name for path in Path(HF_HUB_CACHE).glob("models--*")}
    repositories = {"/".join(folder.split("--")[1:]) for folder in folders}
    return [
        entry
        for saes in all_releases().values()
        for entry in saes.values()
        if entry.repository in repositories and _is_cached(entry)
    ]


def _is_cached(entry: Entry) -> bool:
    from huggingface_hub import try_to_load_from_cache

    form = FORMATS[entry.format]
    found = (try_to_load_from_cache(entry.repository, file) for file in _files(entry, form))
    return form.read is not None and all(isinstance(path, str) for path in found)


def cached_in_words(name: str) -> str:
    """Return the content of the cache, the nearest names first, as a sentence."""
    names = [entry.name for entry in cached_entries()]
    if not names:
        return "The cache holds no published SAE."
    more = f" and {len(names) - N_NEAR} more" * (len(names) > N_NEAR)
    return f"Of published SAEs the cache holds {_near(name, names)}{more}."
