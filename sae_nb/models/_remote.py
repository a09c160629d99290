"""Remote models: no weights here, only configuration and tokenizer; nnsight's server runs the passes.

`load_model(name, remote=True)` builds the module on torch's meta device, and `capture` sends each batch's
trace to the server nnsight is configured for. Whatever else runs the module or reads its weights says that
there are none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from torch import nn

from sae_nb.models import _facts as facts
from sae_nb.models._checkpoints import read_config, read_tokenizer
from sae_nb.models._hub import hub_small_files
from sae_nb.models._live_model import LiveModel
from sae_nb.models._wrapping import reads_pictures

Remote = bool | str
"""False: here. True: on nnsight's server. "local": nnsight's dry run, packed and unpacked here. A host's
address ("https://…"): on that server."""


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
            f"A model that runs remotely must read text, but {name!r} reads pictures. Load it without "
            "`remote`."
        )
    _refuse_to_run(module, name)
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


def _refuse_to_run(module: nn.Module, name: str) -> None:
    """Whoever runs the module (steering, generation, a panel) is told, and gets no meta tensors."""
    module.register_forward_pre_hook(lambda *_: no_weights(name, "A forward pass"))


def _task(config: Any) -> str:
    """The pipeline a checkpoint is for: part of the name by which a server knows it."""
    architecture = (getattr(config, "architectures", None) or [""])[0]
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return "text-generation"
    return "fill-mask" if architecture.endswith("ForMaskedLM") else "feature-extraction"
