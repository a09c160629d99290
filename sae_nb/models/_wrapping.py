"""`wrap`: make any torch module, or an nnsight object around one, a live model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from sae_nb.checks import check_count
from sae_nb.models import _facts as facts
from sae_nb.models._inputs import TokenLayout, pair, vision_layout
from sae_nb.models._live_model import Kind, LiveModel
from sae_nb.models._preprocessing import Preprocess


def wrap(
    module_or_nnsight_model: Any,
    tokenizer: Any = None,
    preprocess: Callable[..., Any] | None = None,
    prefix_tokens: int | None = None,
    patch_grid: tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    *,
    name: str | None = None,
    causal: bool | None = None,
) -> LiveModel:
    """Make a live model of a module that `load_model` does not load.

    The module itself is used, not a copy, and is left as it is: weights, ``requires_grad`` and
    training mode. While something runs it through the live model it is in evaluation mode.

    What is read is decided by what is given: a tokenizer means text; `preprocess`, `prefix_tokens`
    or `patch_grid` mean pictures; with neither, a Hugging Face configuration tells; anything else
    takes tensors whose first axis counts samples.

    Parameters
    ----------
    module_or_nnsight_model
        A torch module, or an nnsight object around one (kept as ``model.nnsight``).
    preprocess
        Turns pictures, floats in [0, 1] of shape (n, 3, H, W), into what the module reads; a
        Hugging Face image processor also works.
    prefix_tokens
        Tokens before the first patch (cls, registers); overrides what the module tells.
    patch_grid
        Rows and columns of patches; overrides what the module tells.
    name
        Its class name if left out.
    causal
        Whether a language model predicts the next token from those before; None: its configuration
        tells, or that it has a ``generate``.

    Raises
    ------
    TypeError: If it is not a module.
    ValueError: If its weights are not loaded, or the token layout is impossible.

    Example
    -------
    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    >>> wrap(module)(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """
    module, nnsight_object = _unwrapped(module_or_nnsight_model)
    if tokenizer is None and nnsight_object is not None:
        tokenizer = vars(nnsight_object).get("tokenizer")
    layout = _layout(module, preprocess, prefix_tokens, patch_grid)
    pictures = preprocess is not None or prefix_tokens or patch_grid is not None
    if tokenizer is not None and pictures:
        raise ValueError(
            "`wrap` must get a tokenizer or settings of images, got both. Wrap the text and the "
            "vision part of the model separately."
        )
    kind = _kind(module, tokenizer, bool(pictures))
    return LiveModel(
        module,
        name=name or type(module).__name__,
        kind=kind,
        causal=kind == "language" and (facts.is_causal(module) if causal is None else causal),
        tokenizer=tokenizer,
        preprocess=_preprocess(preprocess),
        layout=layout if kind == "vision" else None,
        class_names=class_names if class_names is not None else facts.class_names(module),
        nnsight_object=nnsight_object,
    )


def _unwrapped(given: Any) -> tuple[nn.Module, Any]:
    nnsight_object = None
    # nnsight is imported elsewhere or not at all: an object of its class can only exist if it was.
    envoys = sys.modules.get("nnsight.intervention.envoy")
    if envoys is not None and isinstance(given, envoys.Envoy):
        nnsight_object, given = given, given._module
    if isinstance(given, LiveModel):
        raise TypeError(
            f"`wrap` needs a torch module, got a live model, {given!r}. Use it as it is."
        )
    if not isinstance(given, nn.Module):
        raise TypeError(
            f"`wrap` needs a torch module or an nnsight object, got {type(given).__name__}. "
            "Use load_model for names and folders."
        )
    for path, parameter in given.named_parameters():
        if parameter.is_meta:
            raise ValueError(
                f"The module's weights must be loaded, but {path} is on the meta device. Load it "
                "first; for nnsight pass dispatch=True."
            )
    return given, nnsight_object


def _kind(module: nn.Module, tokenizer: Any, pictures: bool) -> Kind:
    if tokenizer is not None:
        return "language"
    if pictures or reads_pictures(module):
        return "vision"
    if facts.model_type(module) and facts.vocabulary_size(module) is not None:
        return "language"
    return "other"


def reads_pictures(module: nn.Module) -> bool:
    """Whether the module is ours for pictures, or a Hugging Face vision model."""
    config = getattr(module, "config", None)
    if hasattr(config, "text_config") and hasattr(config, "vision_config"):
        raise ValueError(
            f"`wrap` needs a model of one kind, got {type(module).__name__} with a text and a vision "
            "part. Wrap one, e.g. wrap(module.vision_model)."
        )
    if hasattr(config, "n_prefix_tokens") and hasattr(config, "patch_grid"):
        return True
    return bool(facts.model_type(module)) and hasattr(config, "image_size")


def _layout(
    module: nn.Module,
    preprocess: Any,
    prefix_tokens: int | None,
    patch_grid: tuple[int, int] | None,
) -> TokenLayout | None:
    grid = pair(patch_grid) if patch_grid is not None else None
    if patch_grid is not None and (grid is None or min(grid) < 1):
        raise ValueError(f"`patch_grid` must be (rows, columns), got {patch_grid!r}.")
    if prefix_tokens is not None:
        check_count(prefix_tokens, name="prefix_tokens", at_least=0)
    prepared = _preprocess(preprocess)
    size = prepared.output_size if isinstance(prepared, Preprocess) else None
    layout = vision_layout(module, size)
    if layout is None:
        return TokenLayout(prefix_tokens or 0, grid) if grid or prefix_tokens else None
    return TokenLayout(
        layout.prefix_tokens if prefix_tokens is None else prefix_tokens,
        layout.patch_grid if grid is None else grid,
    )


def _preprocess(preprocess: Any) -> Any:
    if preprocess is None or isinstance(preprocess, Preprocess):
        return preprocess
    if hasattr(preprocess, "image_mean") and hasattr(preprocess, "to_dict"):
        return Preprocess.from_config(preprocess.to_dict())
    if not callable(preprocess):
        raise TypeError(
            f"`preprocess` must be a function of images, got {type(preprocess).__name__}."
        )
    return preprocess
