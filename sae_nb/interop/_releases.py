"""The list of published SAEs that are known by name: where each is stored, and what its names imply.

The list is `published.json.xz`: facts of SAELens' list of published SAEs (`pretrained_saes.yaml`, MIT),
made by `python -m sae_nb.interop path/to/pretrained_saes.yaml`. Facts that the list does not hold
explicitly (hook points, widths) are read off its names here, by the rules in `_published.py`.
"""

from __future__ import annotations

import json
import lzma
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from sae_nb.activations._sites import AND
from sae_nb.checks._hook_point_names import TRANSFORMER_LENS, lens_name, standard_name
from sae_nb.files._atomic import write_bytes
from sae_nb.interop._foreign import known_hook_point

CROSSCODER = "gemma_3_crosscoder"
"""The format of the crosscoders of Gemma Scope 2, in the style of the list's names."""

LIST = Path(__file__).parent / "published.json.xz"

_FIELDS = ("id", "path", "l0", "neuronpedia", "norm_scaling_factor", "variance_explained")
"""The fields kept of an SAE, in this order; a path that equals the id is left out."""

MODELS = {
    "gpt2-small": "gpt2",
    "gemma-2b": "google/gemma-2b",
    "gemma-2b-it": "google/gemma-2b-it",
    "gemma-2-2b": "google/gemma-2-2b",
    "gemma-2-9b": "google/gemma-2-9b",
    "gemma-2-9b-it": "google/gemma-2-9b-it",
    "gemma-2-27b": "google/gemma-2-27b",
    "mistral-7b": "mistralai/Mistral-7B-v0.1",
    "pythia-70m-deduped": "EleutherAI/pythia-70m-deduped",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B",
    "qwen3-1.7b": "Qwen/Qwen3-1.7B",
    "qwen3-4b": "Qwen/Qwen3-4B",
    "qwen3-8b": "Qwen/Qwen3-8B",
    "qwen3-14b": "Qwen/Qwen3-14B",
}
"""Names in the list that are TransformerLens', and what `load_model` takes."""
CORRECTED = {"gemma-scope-9b-it-res": "gemma-2-9b-it"}
"""Releases whose model the list has wrong: its repository and its canonical release are of this one."""


# -------------------------------------------------------------------------------------------------
# The list.


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One published SAE: its entry in the list, and what its names imply."""

    release: str
    id: str
    their_model: str
    repository: str
    path: str
    """The model as the list calls it; where the SAE lies on the hub."""

    format: str
    """The list's name of the loader, "sae_lens" where it names none."""

    overrides: Mapping[str, Any]
    """Corrections to the configuration of every SAE of the release."""

    stated_l0: float | None = None
    neuronpedia: str | None = None
    factor: float | None = None
    """Factor that activations are multiplied by first, where the format asks for one."""

    explained: float | None = None

    stated_width: int | None = None

    @property
    def name(self) -> str:
        """Name for `load_sae`."""
        return f"{self.release}/{self.id}"

    @property
    def model(self) -> str:
        """Name for `load_model`."""
        return MODELS.get(self.their_model, self.their_model)

    @property
    def hook_names(self) -> tuple[str | None, str | None]:
        """Where it reads, and for a transcoder where it writes, by TransformerLens' or SAELens' names."""
        return _hook_names(self)

    @property
    def hook_point(self) -> str | None:
        """Hook point that it reads; None for a place that has no name here."""
        return _ours(self.hook_names[0])

    @property
    def writes(self) -> str | None:
        """Hook point that a transcoder writes; None for an SAE."""
        return _ours(self.hook_names[1])

    @property
    def width(self) -> int | None:
        """Number of atoms, if the list or a name gives it."""
        return self.stated_width or _width(self)

    @property
    def l0(self) -> float | None:
        """Mean atoms per token, if the list or the path gives it."""
        named = re.search(r"average_l0_(\d+)", self.path)
        return float(named[1]) if self.stated_l0 is None and named else self.stated_l0


@cache
def releases() -> dict[str, dict[str, Entry]]:
    """Return every published SAE by its release and id, in the order of the list that ships."""
    return read_list(LIST)


def read_list(path: Path) -> dict[str, dict[str, Entry]]:
    """Return every published SAE of a list that `write_list` wrote."""
    written = json.loads(lzma.decompress(path.read_bytes()))
    return {
        name: {entry.id: entry for entry in _entries(name, release)}
        for name, release in written["releases"].items()
    }


_CROSSED = {
    "270m": (5, 9, 12, 15),
    "1b": (7, 13, 17, 22),
    "4b": (9, 17, 22, 29),
    "12b": (12, 24, 31, 41),
    "27b": (16, 31, 40, 53),
}
"""Blocks whose streams the crosscoders of Gemma Scope 2 read, by the size of Gemma 3."""


def crosscoder_releases() -> dict[str, dict[str, Entry]]:
    """Return the crosscoders of Gemma Scope 2, which SAELens' list has not.

    Source: McDougall et al., "Gemma Scope 2 Technical Paper", table 1 (layers, widths, L0); named as the
    folders of `google/gemma-scope-2-…` are.
    """
    found: dict[str, dict[str, Entry]] = {}
    for size, layers in _CROSSED.items():
        for tuned in ("pt", "it"):
            release = f"gemma-scope-2-{size}-{tuned}-crosscoders"
            for width, (target, l0) in product(
                ("65k", "262k", "524k", "1m"), {"medium": 50.0, "big": 150.0}.items()
            ):
                id_ = f"layer_{'_'.join(map(str, layers))}_width_{width}_l0_{target}"
                base = (size, tuned) == ("270m", "pt")
                found.setdefault(release, {})[id_] = Entry(
                    release=release,
                    id=id_,
                    their_model="google/gemma-3-270m" if base else f"google/gemma-3-{size}-{tuned}",
                    repository=f"google/gemma-scope-2-{size}-{tuned}",
                    path=f"crosscoder/{id_}",
                    format=CROSSCODER,
                    overrides={},
                    stated_l0=l0,
                )
    return found


def _entries(name: str, release: Mapping[str, Any]) -> Iterable[Entry]:
    shared = {
        "release": name,
        "their_model": CORRECTED.get(name, release["model"]),
        "repository": release["repo_id"],
        "format": release["conversion_func"] or "sae_lens",
        "overrides": release.get("config_overrides") or {},
    }
    for id_, path, l0, neuronpedia, factor, explained in release["saes"]:
        yield Entry(
            **shared,
            id=id_,
            path=id_ if path is None else path,
            stated_l0=l0,
            neuronpedia=neuronpedia,
            factor=factor,
            explained=explained,
        )


def write_list(published: Mapping[str, Any], source: str, to: Path = LIST) -> int:
    """Write the compact list from the contents of `pretrained_saes.yaml`; returns its size in bytes."""
    compact = {
        name: {
            **{key: release.get(key) for key in ("model", "repo_id", "conversion_func")},
            **({"config_overrides": o} if (o := release.get("config_overrides")) else {}),
            # A path that is the id is left out; one publisher numbers its files.
            "saes": [
                [
                    sae["id"],
                    None if str(sae["path"]) == sae["id"] else str(sae["path"]),
                    *(sae.get(name) for name in _FIELDS[2:]),
                ]
                for sae in release["saes"]
            ],
        }
        for name, release in published.items()
    }
    text = json.dumps({"source": source, "releases": compact}, separators=(",", ":"))
    content = lzma.compress(text.encode("utf-8"), preset=9 | lzma.PRESET_EXTREME)
    write_bytes(to, content)
    return len(content)


# -------------------------------------------------------------------------------------------------
# What is read off names.

_LAYER = re.compile(r"layer_?(\d+)")
_LLAMA = re.compile(r"l(\d+)([ram])")
_SITES = {
    "r": "hook_resid_post", "a": "hook_attn_out", "m": "hook_mlp_out", "z": "attn.hook_z",
    "res": "hook_resid_post", "resid": "hook_resid_post", "mlp": "hook_mlp_out",
    "att": "attn.hook_z", "attn": "attn.hook_z",
}  # fmt: skip
"""Letters and words by which publishers call a site. Gemma Scope's of attention are of the heads' outputs."""
_READS = {
    "gemma_2_transcoder": "ln2.hook_normalized",
    "mwhanna_transcoder": "mlp.hook_in",
    "gemma_3": "hook_mlp_in",
}
"""The input of transcoders of a format: the norm without its gain, or the input of the MLP."""
_MLP_INPUT = re.compile(r"blocks\.(\d+)\.(?:hook_mlp_in|mlp\.hook_in)")
_NO_NAME = re.compile(r"blocks\.\d+\.ln2\.hook_normalized")


def _hook_names(entry: Entry) -> tuple[str | None, str | None]:
    if entry.format == CROSSCODER:
        layers = entry.id.removeprefix("layer_").partition("_width")[0].split("_")
        return AND.join(f"blocks.{layer}.hook_resid_post" for layer in layers), None
    if lens := TRANSFORMER_LENS.match(entry.id):
        return lens_name(standard_name(lens[0])), None
    if "embedding" in entry.path:
        return "hook_embed", None
    layer = _LAYER.search(entry.id) or _LAYER.search(entry.path)
    llama = _LLAMA.match(entry.id)
    if entry.format.startswith("llama_scope") and llama is not None:
        return f"blocks.{llama[1]}.{_SITES[llama[2]]}", None
    if layer is None or entry.format == "mntss_clt_layer_transcoder":
        return None, None
    block = f"blocks.{layer[1]}"
    if entry.format in _READS and "transcoder" in f"{entry.repository}/{entry.path}":
        return f"{block}.{_READS[entry.format]}", f"{block}.hook_mlp_out"
    if entry.format in ("gemma_2", "gemma_3"):
        word = entry.path.partition("_")[0] if entry.format == "gemma_3" else entry.repository[-3:]
        return f"{block}.{_SITES[word]}", None
    return f"{block}.hook_resid_post", None


def _ours(name: str | None) -> str | None:
    if name is None or _NO_NAME.fullmatch(name):
        return None
    # SAELens' hook_mlp_in is what the MLP reads; TransformerLens' is the stream in front of its norm.
    if AND in name:
        return AND.join(str(_ours(part)) for part in name.split(AND))
    mlp = _MLP_INPUT.fullmatch(name)
    return known_hook_point(name) if mlp is None else f"mlp_in.{mlp[1]}"


_EXACT = (
    re.compile(r"hook_[a-z_]+_(\d{3,7})(?=$|:)"),
    re.compile(r"_ds(\d{4,7})_"),
)
_ROUNDED = re.compile(r"(?:width[_-]|-W|v5_|w-)(\d+)([kKmM])")
_OF_NEURONPEDIA = re.compile(r"-(\d+)(k)\b")
_POWER = re.compile(r"2pow(\d+)")


def _width(entry: Entry) -> int | None:
    names = f"{entry.repository}/{entry.path}"
    for pattern in _EXACT:
        if exact := pattern.search(names):
            return int(exact[1])
    if power := _POWER.search(names):
        return 2 ** int(power[1])
    rounded = _ROUNDED.search(names) or _OF_NEURONPEDIA.search(entry.neuronpedia or "")
    return None if rounded is None else _whole(int(rounded[1]), rounded[2].lower())


def _whole(number: int, unit: str) -> int:
    """The number of atoms that "16k" or "1m" is short for: a power of two, or thousands of 1024."""
    about = number * (1000 if unit == "k" else 1_000_000)
    power = 2 ** round(math.log2(about))
    return power if abs(power - about) < 0.05 * about else about * 1024 // 1000
