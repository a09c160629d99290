"""`load_model`: a bundled model, a checkpoint folder, a Hugging Face id, or one that runs elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from sae_nb.checks import check_device
from sae_nb.files import read_json
from sae_nb.models import _facts as facts
from sae_nb.models._checkpoints import (
    hub_folder,
    hub_small_files,
    load_folder,
    read_config,
    read_tokenizer,
)
from sae_nb.models._hook_points import near_names
from sae_nb.models._inputs import vision_layout
from sae_nb.models._live_model import LiveModel
from sae_nb.models._preprocessing import Preprocess
from sae_nb.models._vision_transformer import CONFIG_FILE, MODEL_TYPE, VisionTransformer
from sae_nb.models._wrapping import reads_pictures

WEIGHTS = Path(__file__).parent / "weights"
CARD_FILE = "card.json"

Remote = bool | str
"""False: here. True: on nnsight's server. "local": nnsight's dry run, packed and unpacked here. A host's
address ("https://…"): on that server."""

_DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def load_model(
    name: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    *,
    remote: bool | str = False,
) -> LiveModel:
    """Load a live model: bundled, from a folder, or from the Hugging Face hub.

    Weights are read from safetensors only and code in a checkpoint is never run. The network is used
    only for a hub id that is not whole in the cache, and never with ``HF_HUB_OFFLINE=1``.

    Parameters
    ----------
    name
        A bundled model ("tiny-gpt", "tiny-vit", "tiny-vit@step-N" for a checkpoint along its
        training), a checkpoint folder, or a hub id ("owner/model").
    device
        Where it runs; None: a visible NVIDIA GPU, else the CPU.
    dtype
        Number format: "float32", "bfloat16", "float16", "float64" or a torch dtype. None: float32
        for bundled models and on a CPU, else as stored.
    revision
        Branch, tag or commit of a hub id; "step-N" of a bundled model.
    remote
        True: for a language model that does not fit. Only its configuration and tokenizer are fetched, and
        every `capture` sends its texts to the server nnsight is configured for, and waits; the
        server's answer is unpacked by nnsight, so ask only one you trust. "local": nnsight's dry run of
        that, on this machine. An address: another server. Everything else (steering, generation, panels
        that run the model) needs the weights and says so. Nothing is contacted before a capture, but
        the hub for an id that is not cached.

    Raises
    ------
    ValueError: If the device is not there, the dtype unknown, or the checkpoint unusable.
    FileNotFoundError: If nothing of that name is found here or can be reached.

    Example
    -------
    >>> model = load_model("tiny-vit")
    >>> model.patch_grid, model.hook_points()[-2:]
    ((8, 8), ['resid_post.11', 'final_norm'])
    """
    if not isinstance(name, (str, os.PathLike)) or not str(name).strip():
        raise TypeError(f"`name` must be a model's name or folder, got {name!r}.")
    text = os.fspath(name)
    bundled = bundled_names()
    is_bundled = text.partition("@")[0] in {known.partition("@")[0] for known in bundled}
    if check_remote(remote):
        _check_nothing_local(device, dtype, text, is_bundled)
        return load_remote(text, remote, revision)
    place = check_device(device)
    number_format = _dtype(dtype)
    if is_bundled:
        return load_bundled(text, device=place, dtype=number_format, revision=revision)
    folder = Path(text).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ValueError(
                f"`revision` is for hub ids and bundled models, got {revision!r} with the folder "
                f"{text!r}. Leave it out."
            )
        load = load_own if is_own(folder) else load_folder
        return load(folder, name=folder.resolve().name, device=place, dtype=number_format)
    _check_hub_id(text, isinstance(name, os.PathLike), bundled)
    folder = hub_folder(text, revision)
    return load_folder(folder, name=text, device=place, dtype=number_format)


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if isinstance(dtype, str) and dtype.removeprefix("torch.") in _DTYPES:
        return _DTYPES[dtype.removeprefix("torch.")]
    if dtype is None or (isinstance(dtype, torch.dtype) and dtype in _DTYPES.values()):
        return dtype
    raise ValueError(f"`dtype` must be one of {', '.join(_DTYPES)} or None, got {dtype!r}.")


def _check_nothing_local(device: object, dtype: object, name: str, is_bundled: bool) -> None:
    if is_bundled:
        raise ValueError(
            f"`name` must be a hub id for a model that runs remotely, got {name!r}, which is bundled "
            "and small. Leave `remote` out."
        )
    if device is not None or dtype is not None:
        raise ValueError(
            f"`device` and `dtype` must be None for a model that runs remotely, got {device!r} and "
            f"{dtype!r}: the server decides. Leave them out."
        )


def _check_hub_id(name: str, is_path: bool, bundled: list[str]) -> None:
    """Refuse what cannot be a hub id before anything is asked of the network."""
    looks_like_path = is_path or name.startswith((".", "/", "~", "\\")) or name.count("/") > 1
    if looks_like_path:
        raise FileNotFoundError(
            f"`name` must be a folder that exists, a hub id or a bundled model, got {name!r}, which "
            "is not there."
        )
    near = near_names(name.lower().replace("_", "-"), bundled) if "/" not in name else []
    if near:
        raise FileNotFoundError(
            f"`name` must be a model's name, got {name!r}. Did you mean {near[0]!r}? Bundled are: "
            f"{', '.join(bundled)}. A hub id of that name must be written owner/{name}."
        )


# -------------------------------------------------------------------------------------------------
# The models that ship with the toolkit.


def bundled_names() -> list[str]:
    """Return the names of the models that ship with the toolkit, checkpoints as "name@step-N"."""
    if not WEIGHTS.is_dir():
        return []
    return sorted(folder.parent.name for folder in WEIGHTS.glob("*/config.json"))


def load_bundled(
    name: str, *, device: torch.device, dtype: torch.dtype | None, revision: str | None
) -> LiveModel:
    """Load a bundled model from its folder of weights, in float32 unless asked otherwise."""
    whole = name if revision is None else f"{name}@{revision}"
    known = bundled_names()
    if whole not in known:
        base = name.partition("@")[0]
        steps = [n.partition("@")[2] for n in known if n.startswith(f"{base}@")]
        raise ValueError(
            f"Checkpoint {whole!r} must be one of {base}'s: {', '.join(steps) or 'it has none'}, "
            "or the bare name for the last one."
        )
    folder = WEIGHTS / whole
    if is_own(folder):
        return load_own(folder, name=whole, device=device, dtype=dtype)
    model = load_folder(folder, name=whole, device=device, dtype=dtype or torch.float32)
    model.card = _card(folder)
    return model


def is_own(folder: Path) -> bool:
    """Whether a folder holds a model that one of our recipes wrote."""
    config = folder / CONFIG_FILE
    return config.is_file() and read_json(config).get("model") == MODEL_TYPE


def load_own(
    folder: Path, *, name: str, device: torch.device, dtype: torch.dtype | None
) -> LiveModel:
    """Load a vision transformer that one of our recipes wrote, in float32 unless asked otherwise."""
    module = VisionTransformer.from_folder(folder)
    module = module.to(device=device, dtype=dtype or torch.float32)
    size = (module.config.image_size, module.config.image_size)
    return LiveModel(
        module,
        name=name,
        kind="vision",
        preprocess=Preprocess(required=size),
        layout=vision_layout(module, size),
        class_names=[str(digit) for digit in range(module.config.n_digits)],
        card=_card(folder),
    )


def _card(folder: Path) -> dict[str, Any] | None:
    return dict(read_json(folder / CARD_FILE)) if (folder / CARD_FILE).is_file() else None


# -------------------------------------------------------------------------------------------------
# Remote models: no weights here, only configuration and tokenizer; nnsight's server runs the passes.
#
# The module is built on torch's meta device, and `capture` sends each batch's trace to the server nnsight
# is configured for. Whatever else runs the module or reads its weights says that there are none.


def check_remote(remote: Remote) -> Remote:
    """Return `remote` if it says where."""
    address = isinstance(remote, str) and remote.startswith(("http://", "https://"))
    if isinstance(remote, bool) or remote == "local" or address:
        return remote
    raise ValueError(
        f"`remote` must be True, False, 'local' or a server's address, got {remote!r}. True is the "
        "server nnsight is configured for."
    )


def load_remote(name: str, remote: Remote, revision: str | None) -> LiveModel:
    """Build a language model without weights, whose captures run elsewhere."""
    from nnsight import TransformersModel

    is_folder = Path(name).expanduser().is_dir()
    if is_folder and remote != "local":
        raise ValueError(
            f"`name` must be a hub id for a model that runs remotely, got the folder {name!r}, which "
            "the server does not have. Leave `remote` out, or use remote='local' for a dry run."
        )
    folder = Path(name).expanduser() if is_folder else hub_small_files(name, revision)
    config, tokenizer = read_config(folder, name), read_tokenizer(folder, name)
    if tokenizer is None:
        raise ValueError(
            f"A model that runs remotely must read text, but {name!r} has no tokenizer. Load it "
            "without `remote`."
        )
    wrapper = TransformersModel(
        name, revision=revision, task=_task(config), tokenizer=tokenizer, config=config
    )
    module: nn.Module = wrapper._module
    if reads_pictures(module):
        raise ValueError(
            f"A model that runs remotely must read text, but {name!r} reads images. Load it without "
            "`remote`."
        )
    # Whoever runs the module (steering, generation, a panel) is refused, and gets no meta tensors.
    module.register_forward_pre_hook(lambda *_: no_weights(name, "A forward pass"))
    return LiveModel(
        module,
        name=name,
        kind="language",
        causal=facts.is_causal(module),
        tokenizer=tokenizer,
        nnsight_object=wrapper,
        remote=remote,
    )


def no_weights(name: str, what: str) -> NoReturn:
    """Refuse what needs weights of a model that has none here."""
    raise RuntimeError(
        f"{what} must have the model's weights on this machine, but {name!r} runs remotely and has "
        "none here. Use `sn.capture`, which runs remotely, or load the model without `remote`."
    )


def _task(config: Any) -> str:
    """The pipeline a checkpoint is for: part of the name by which a server knows it."""
    architecture = (getattr(config, "architectures", None) or [""])[0]
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return "text-generation"
    return "fill-mask" if architecture.endswith("ForMaskedLM") else "feature-extraction"
