"""Making a live model: loaded by its name, from here or elsewhere, or wrapped around a module."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import nn

from sae_nb import data
from sae_nb._hints import words
from sae_nb.activations._modality import AUDIO, LANGUAGE, VISION, Modality
from sae_nb.checks import Between, at_least, check_device, check_path, checked
from sae_nb.files._atomic import existing_folder, read_json
from sae_nb.models import _facts as facts
from sae_nb.models._checkpoint_files import (
    bundled_folder,
    bundled_names,
    cached_names,
    hub_folder,
    hub_small_files,
    read_config,
)
from sae_nb.models._checkpoints import load_folder, read_tokenizer
from sae_nb.models._devices import Bits, Placing, as_dtype, is_spread, no_weights
from sae_nb.models._fetching import FETCHABLE, fetched_folder
from sae_nb.models._hook_points import near_names
from sae_nb.models._kinds import kind_of, kind_of_texts
from sae_nb.models._live_model import LiveModel
from sae_nb.models._lock import of_one_thread
from sae_nb.models._looped_adder import LOOPED_TYPE, LoopedAdder, pair_tokenizer
from sae_nb.models._preprocessing import Preprocess
from sae_nb.models._sound_inputs import SoundPreprocess
from sae_nb.models._sound_transformer import SOUND_MODEL_TYPE, SoundTransformer
from sae_nb.models._token_layout import TokenLayout, pair, vision_layout
from sae_nb.models._vision_transformer import CONFIG_FILE, MODEL_TYPE, VisionTransformer

if TYPE_CHECKING:
    from nnsight import NNsight
    from transformers import PreTrainedTokenizerBase, ProcessorMixin

CARD_FILE = "card.json"

BUNDLED_LIKENESS = 0.8
"""From which a name without an owner is taken for a bundled model's misspelt, as `difflib` counts. Ours:
"tiny-vitt" and "tinygpt" have 0.93, "gpt2" has 0.5."""

Remote = bool | str
"""False: here. True: on nnsight's server. "local": nnsight's dry run, packed and unpacked here. A host's
address ("https://…"): on that server."""


@checked(leave=("name",))
def load_model(
    name: str | os.PathLike[str],
    device: int | str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    *,
    remote: bool | str = False,
    device_map: str | Mapping[str, Any] | None = None,
    bits: Bits | None = None,
    offload_folder: str | os.PathLike[str] | None = None,
) -> LiveModel:
    """Load a live model: bundled, from a folder, or from the Hugging Face hub.

    Weights are read from safetensors only and code in a checkpoint is never run. The network is used
    only for a hub id that is not whole in the cache, and never with ``HF_HUB_OFFLINE=1``.

    Parameters
    ----------
    name
        A bundled model ("tiny-gpt", "tiny-vit", "tiny-vit@step-N"), one that was fetched ("smollm2-135m",
        "gemma-3-270m", "dinov2-small", by `sae-nb get`), a checkpoint folder, or a hub id ("owner/model", or
        "gpt2").
    device
        Where it runs; None: a visible NVIDIA GPU, else the CPU.
    dtype
        "float32", "bfloat16", "float16", "float64" or a torch dtype. None: float32 for bundled models
        and on a CPU, else as stored.
    revision
        Branch, tag or commit of a hub id; "step-N" of a bundled model.
    remote
        True: for a language model that does not fit. Only its configuration and tokenizer are fetched;
        `capture`, `model(…)` and `model.generate(…)` send their texts to the server nnsight is configured
        for, whose answer nnsight unpacks, so ask only one you trust. "local": nnsight's dry run of that, on
        this machine. An address: another server. What runs the module itself raises an error.
    device_map
        For a model that does not fit on one device: "auto", "balanced", "sequential", or a dictionary
        from modules to devices, "cpu" and "disk" among them; needs accelerate.
    bits
        8 or 4: the matrices of its blocks are quantised while they are loaded; needs torchao (8) or
        bitsandbytes (8, 4). Captures and steering are of the quantised model.
    offload_folder
        Folder where accelerate keeps the parts that `device_map` puts on the disk.

    Raises
    ------
    TypeError: If `name` is a model already: `wrap` makes a module a live model. ValueError: If the
    device is not there, the dtype unknown, or the checkpoint unusable. ModuleNotFoundError: If a package that
    `device_map` or `bits` needs is not installed. MemoryError: If the weights do not fit. FileNotFoundError: If
    nothing of that name is found here or can be reached; lists what is cached.

    Example
    -------
    >>> model = load_model("tiny-vit")
    >>> model.patch_grid, model.hook_points()[-2:]
    ((8, 8), ['resid_post.11', 'final_norm'])
    """
    if isinstance(name, nn.Module | LiveModel):
        use = "sn.wrap(module, tokenizer)" if isinstance(name, nn.Module) else "it as it is"
        raise TypeError(
            f"`name` must be a model's name or folder, got a {type(name).__name__}. Use {use}."
        )
    if not isinstance(name, (str, os.PathLike)) or not str(name).strip():
        raise TypeError(f"`name` must be a model's name or folder, got {name!r}.")
    check_path(name, name="name")
    text = os.fspath(name)
    bundled = bundled_names()
    is_bundled = text.partition("@")[0] in {known.partition("@")[0] for known in bundled}
    offload = None if offload_folder is None else check_path(offload_folder, name="offload_folder")
    placing = Placing(device_map=device_map, bits=bits, offload_folder=offload)
    if not placing.plain or offload is not None:
        _check_placed(placing, device, is_bundled or bool(remote), text)
    if check_remote(remote):
        _check_nothing_local(device, dtype, text, is_bundled)
        return load_remote(text, remote, revision)
    place = check_device(device)
    number_format = as_dtype(dtype)
    if is_bundled:
        return load_bundled(text, device=place, dtype=number_format, revision=revision)
    if text in FETCHABLE:
        if revision is not None:
            raise ValueError(
                f"`revision` must be None for {text!r}, which is fetched at a fixed one, got {revision!r}. "
                f"Leave it out, or load {FETCHABLE[text].hub_id!r}."
            )
        if number_format == torch.float16 and FETCHABLE[text].overflows:
            raise ValueError(
                f"`dtype` must be 'bfloat16' or 'float32' for {text!r}, got {number_format}: the norms of its "
                "residual stream exceed 65 504, the largest float16. Leave `dtype` out."
            )
        return load_folder(
            fetched_folder(text), name=text, device=place, dtype=number_format, placing=placing
        )
    folder = Path(text).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ValueError(
                f"`revision` is for hub ids and bundled models, got {revision!r} with the folder "
                f"{text!r}. Leave it out."
            )
        own_name = existing_folder(folder).resolve().name
        if is_own(folder):
            return load_own(folder, name=own_name, device=place, dtype=number_format)
        return load_folder(
            folder, name=own_name, device=place, dtype=number_format, placing=placing
        )
    _check_hub_id(text, isinstance(name, os.PathLike), bundled)
    folder = hub_folder(text, revision)
    return load_folder(folder, name=text, device=place, dtype=number_format, placing=placing)


def _check_placed(
    placing: Placing, device: int | str | torch.device | None, is_small: bool, name: str
) -> None:
    if is_small:
        raise ValueError(
            f"`device_map`, `bits` and `offload_folder` must be None for a bundled model, which is small, and "
            f"for one that runs remotely, got them with {name!r}. Leave them out."
        )
    placing.check(device)


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
    if (there := words("models").get(name.lower())) and name not in cached_names():
        raise FileNotFoundError(
            f"`name` must be a model's name, got {name!r}, whose whole name is another: "
            f"sn.load_model({there[0]!r})."
        )
    meant = near_names(
        name.lower().replace("_", "-"), [*bundled, *FETCHABLE], likeness=BUNDLED_LIKENESS
    )
    if "/" not in name and meant and name not in cached_names():
        raise FileNotFoundError(
            f"`name` must be a model's name, got {name!r}. Did you mean {meant[0]!r}? Bundled are: "
            f"{', '.join(bundled)}. The hub is not asked for a name this close to one of them."
        )


# -------------------------------------------------------------------------------------------------
# The models that ship with the toolkit.


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
    folder = bundled_folder(whole)
    if is_own(folder):
        return load_own(folder, name=whole, device=device, dtype=dtype)
    model = load_folder(folder, name=whole, device=device, dtype=dtype or torch.float32)
    model.card = _card(folder)
    return model


def is_own(folder: Path) -> bool:
    """Return whether a folder holds a model that one of our recipes wrote."""
    return _own_type(folder) in (MODEL_TYPE, SOUND_MODEL_TYPE, LOOPED_TYPE)


def _own_type(folder: Path) -> str | None:
    config = folder / CONFIG_FILE
    return read_json(config).get("model") if config.is_file() else None


def load_own(
    folder: Path, *, name: str, device: torch.device, dtype: torch.dtype | None
) -> LiveModel:
    """Load a model that one of our recipes wrote, in float32 unless asked otherwise."""
    if _own_type(folder) == SOUND_MODEL_TYPE:
        sounds = SoundTransformer.from_folder(folder).to(device, dtype or torch.float32)
        return LiveModel(
            sounds,
            name=name,
            kind=AUDIO.name,
            preprocess=SoundPreprocess.of(sounds),
            layout=vision_layout(sounds, None),
            class_names=data.Sounds.pitch_names,
            card=_card(folder),
            sample_rate=sounds.sample_rate,
        )
    if _own_type(folder) == LOOPED_TYPE:
        adder = LoopedAdder.from_folder(folder)
        return LiveModel(
            adder.to(device=device, dtype=dtype or torch.float32),
            name=name,
            kind=LANGUAGE.name,
            tokenizer=pair_tokenizer(adder.config),
            class_names=[str(digit) for digit in range(adder.config.n_digits)],
            card=_card(folder),
        )
    module = VisionTransformer.from_folder(folder)
    module = module.to(device=device, dtype=dtype or torch.float32)
    size = (module.config.image_size, module.config.image_size)
    return LiveModel(
        module,
        name=name,
        kind=VISION.name,
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
# The module is built on torch's meta device, and the live model's own runs send each batch's trace to the
# server nnsight is configured for. Whatever else runs the module or reads its weights says that there are none.


def check_remote(remote: Remote) -> Remote:
    """Return `remote` if it names a place."""
    address = isinstance(remote, str) and remote.startswith(("http://", "https://"))
    if isinstance(remote, bool) or remote == "local" or address:
        return remote
    raise ValueError(
        f"`remote` must be True, False, 'local' or a server's address, got {remote!r}. True is the "
        "server nnsight is configured for."
    )


def load_remote(name: str, remote: Remote, revision: str | None) -> LiveModel:
    """Build a language model without weights, which runs elsewhere."""
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
    if facts.reads_pictures(module):
        raise ValueError(
            f"A model that runs remotely must read text, but {name!r} reads images. Load it without "
            "`remote`."
        )
    # Whoever runs the module itself is refused, and gets no meta tensors.
    module.register_forward_pre_hook(lambda *_: no_weights(name, "A forward pass"))
    return LiveModel(
        module,
        name=name,
        kind=kind_of_texts(tokenizer),
        causal=facts.is_causal(module),
        tokenizer=tokenizer,
        given_nnsight=wrapper,
        remote=remote,
    )


def _task(config: object) -> str:
    """The pipeline a checkpoint is for: part of the name by which a server knows it."""
    architecture = (getattr(config, "architectures", None) or [""])[0]
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return "text-generation"
    return "fill-mask" if architecture.endswith("ForMaskedLM") else "feature-extraction"


# -------------------------------------------------------------------------------------------------
# Any torch module, or an nnsight object around one, as a live model.


@checked
def wrap(
    module_or_nnsight_model: nn.Module | NNsight,
    tokenizer: PreTrainedTokenizerBase | ProcessorMixin = None,
    preprocess: Callable[..., Any] | None = None,
    prefix_tokens: Annotated[int, at_least(0)] | None = None,
    patch_grid: tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    *,
    name: str | None = None,
    causal: bool | None = None,
    sample_rate: Annotated[float, Between(0, inf, "()")] | None = None,
) -> LiveModel:
    """Make a live model of a module that `load_model` does not load.

    The module itself is used, not a copy, and is left as it is: weights, ``requires_grad`` and
    training mode. While something runs it through the live model it is in evaluation mode.

    The kind of input follows from the arguments: a tokenizer means text; `preprocess`, `prefix_tokens`
    or `patch_grid` mean images; with neither, a Hugging Face configuration decides; anything else takes
    tensors whose first axis counts samples.

    Parameters
    ----------
    module_or_nnsight_model
        A torch module, or an nnsight object around one (kept as ``model.nnsight``).
    preprocess
        Turns images, floats in [0, 1] of shape (n, 3, H, W), into what the module reads; a
        Hugging Face image processor also works, and for a model of sounds its feature extractor.
    prefix_tokens, patch_grid
        Tokens before the first patch (cls, registers), and rows and columns of patches; both override
        what is read from the module.
    name
        Its class name if left out.
    causal
        Whether a language model predicts the next token from those before; None: decided by
        its configuration, or by whether it has a ``generate``.
    sample_rate
        Values per second of the traces that it reads, along their last axis: rows then know their
        `acts.seconds`. None: as the module's attribute `sample_rate` or its configuration has it.

    Raises
    ------
    TypeError: If it is not a module, or the tokenizer is none.
    ValueError: If its weights are not loaded, or the token layout is impossible.

    Example
    -------
    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    >>> wrap(module)(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """
    module, nnsight_object = _unwrapped(module_or_nnsight_model)
    if isinstance(tokenizer, str | Path):
        raise TypeError(
            f"`tokenizer` must be a Hugging Face tokenizer, got {tokenizer!r}. Load one with "
            "transformers.AutoTokenizer.from_pretrained(name)."
        )
    if tokenizer is None and nnsight_object is not None:
        tokenizer = vars(nnsight_object).get("tokenizer")
    sounds, mixed = facts.reads_sound(module), facts.reads_mixture(module)
    if hasattr(tokenizer, "image_processor") and hasattr(tokenizer, "tokenizer"):
        preprocess, tokenizer = preprocess or tokenizer, tokenizer.tokenizer  # a processor has both
    own = sounds or mixed
    layout = _layout(module, None if own else preprocess, prefix_tokens, patch_grid)
    pictures = not own and (preprocess is not None or prefix_tokens or patch_grid is not None)
    if tokenizer is not None and pictures:
        raise ValueError(
            "`wrap` must get a tokenizer or settings of images, got both. Wrap the text and the "
            "vision part of the model separately."
        )
    if isinstance(getattr(module, "audio_model", None), nn.Module) and hasattr(
        module, "text_model"
    ):
        raise ValueError(
            f"`module` must be one tower, got {type(module).__name__} with one of sounds and one of texts. "
            "Wrap module.audio_model or module.text_model."
        )
    kind = kind_of(module, tokenizer, bool(pictures))
    modality = Modality.of(kind)
    rate = facts.sample_rate(module) if sample_rate is None else float(sample_rate)
    prepared: Any = preprocess
    if sounds:
        prepared = _sound_preprocess(module, preprocess, rate)
        rate = prepared.sample_rate
    elif not mixed:
        prepared = _preprocess(preprocess)
    return LiveModel(
        module,
        name=name or type(module).__name__,
        kind=kind,
        causal=modality.is_text and (facts.is_causal(module) if causal is None else causal),
        tokenizer=tokenizer,
        preprocess=prepared,
        layout=layout if modality.is_image or own or facts.reads_video(module) else None,
        class_names=class_names if class_names is not None else facts.class_names(module),
        given_nnsight=nnsight_object,
        sample_rate=rate,
    )


def _unwrapped(given: object) -> tuple[nn.Module, Any]:
    nnsight_object = None
    # nnsight is imported elsewhere or not at all: an object of its class can only exist if it was.
    envoys = sys.modules.get("nnsight.intervention.envoy")
    if envoys is not None and isinstance(given, envoys.Envoy):
        nnsight_object, given = of_one_thread(given), given._module
    if isinstance(given, LiveModel):
        raise TypeError(
            f"`wrap` needs a torch module, got a live model, {given!r}. Use it as it is."
        )
    if not isinstance(given, nn.Module):
        raise TypeError(
            f"`wrap` needs a torch module or an nnsight object, got {type(given).__name__}. "
            f"{_in_place_of(given)}"
        )
    for path, parameter in given.named_parameters():
        if parameter.is_meta and not is_spread(given):
            raise ValueError(
                f"The module's weights must be loaded, but {path} is on the meta device. Load it "
                "first; for nnsight pass dispatch=True."
            )
    return given, nnsight_object


def _in_place_of(given: object) -> str:
    """Suggest what to do with something that is not a module."""
    if isinstance(getattr(given, "model", None), nn.Module):
        return "Pass what it holds: wrap(it.model, it.tokenizer)."
    if callable(getattr(given, "encode", None)) and not isinstance(given, str):
        return "The order is wrap(module, tokenizer)."
    return "Use load_model for names and folders."


def _layout(
    module: nn.Module,
    preprocess: object,
    prefix_tokens: int | None,
    patch_grid: tuple[int, int] | None,
) -> TokenLayout | None:
    grid = pair(patch_grid) if patch_grid is not None else None
    if patch_grid is not None and (grid is None or min(grid) < 1):
        raise ValueError(f"`patch_grid` must be (rows, columns), got {patch_grid!r}.")
    prepared = _preprocess(preprocess)
    size = prepared.output_size if isinstance(prepared, Preprocess) else None
    layout = vision_layout(module, size)
    if layout is None:
        return TokenLayout(prefix_tokens or 0, grid) if grid or prefix_tokens else None
    return replace(
        layout,
        prefix_tokens=layout.prefix_tokens if prefix_tokens is None else prefix_tokens,
        patch_grid=layout.patch_grid if grid is None else grid,
    )


def _sound_preprocess(module: nn.Module, extractor: object, rate: float | None) -> SoundPreprocess:
    if isinstance(extractor, SoundPreprocess):
        return extractor
    if extractor is not None and not hasattr(extractor, "sampling_rate"):
        raise TypeError(
            f"`preprocess` must be a feature extractor for {type(module).__name__}, which reads sounds, got "
            f"{type(extractor).__name__}. Leave it out, or load one with "
            "transformers.AutoFeatureExtractor.from_pretrained(name)."
        )
    made = SoundPreprocess.of(module, extractor)
    return made if rate is None else replace(made, sample_rate=rate)


def _preprocess(preprocess: object) -> Any:
    if preprocess is None or isinstance(preprocess, Preprocess):
        return preprocess
    if hasattr(preprocess, "image_mean") and hasattr(preprocess, "to_dict"):
        return Preprocess.from_config(preprocess.to_dict())
    if not callable(preprocess):
        raise TypeError(
            f"`preprocess` must be a function of images, got {type(preprocess).__name__}."
        )
    return preprocess
