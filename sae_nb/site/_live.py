"""The live part: model, encoder and a slider's edit as one ONNX graph, which the page runs without a kernel.

From an input and one number per atom the graph gives the answer, logits, and the codes at the hook point
before the edit x + Σ_j s_j d_j / ‖d_j‖: "add" of `sn.steer`.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from importlib.resources import files
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.site._vendoring import SHA256, content_of

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

LARGEST = 11_000_000
"""Bytes of the graph: with the runtime of 14.3 MB the live part stays below 25 MB. Ours."""

LONGEST = 256
"""Tokens that the page gives to a language model."""


class NotLiveError(ValueError):
    """The reason why a site has no live part."""


class _Live(nn.Module):
    """(input, strengths) → (logits, codes), of one input."""

    dictionary: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, model: LiveModel, sae: Any, hook_point: str) -> None:
        super().__init__()
        self.body, self.sae = model.module, sae
        point = model.counted(model.hook_point(hook_point))
        self._part, self._times = [model.get_module(point.path)], point.times  # not a second child
        self._language = model.modality.is_text
        atoms = sae.dictionary.detach().float()
        self.register_buffer("dictionary", atoms / atoms.norm(dim=1, keepdim=True).clamp_min(1e-12))
        if not self._language:
            scale, shift = _rescaling(model)
            self.register_buffer("scale", scale)
            self.register_buffer("shift", shift)

    def forward(self, given: Tensor, strengths: Float[Tensor, " n_atoms"]) -> tuple[Tensor, Tensor]:
        """Run the model with the edit; codes are of what was there before it."""
        seen: list[Tensor] = []
        ran = count()

        def edit(_: nn.Module, __: Any, output: Any) -> Any:
            time = next(ran)
            if self._times is not None and time not in self._times:
                return output
            x = output if isinstance(output, Tensor) else output[0]
            seen.append(x)
            edited = x + strengths @ self.dictionary
            return edited if isinstance(output, Tensor) else (edited, *output[1:])

        handle = self._part[0].register_forward_hook(edit)
        try:
            logits = self._logits(given)
        finally:
            handle.remove()
        return logits, self.sae.dense_codes(seen[0][0])

    def _logits(self, given: Tensor) -> Tensor:
        if self._language:
            found: Tensor = self.body(input_ids=given, use_cache=False).logits[0, -1]
            return found
        answer: Tensor = self.body(given * self.scale + self.shift)[0]
        return answer


def _rescaling(model: LiveModel) -> tuple[Tensor, Tensor]:
    """Return scale and shift by channel: bytes · scale + shift, of bytes 0 to 255, is the model's input."""
    steps = model.preprocess
    mean, std = (torch.tensor(part).reshape(1, 3, 1, 1) for part in (steps.mean, steps.std))
    return steps.rescale / std, -mean / std


def live_graph(model: LiveModel, sae: Any, hook_point: str | None) -> tuple[bytes, dict[str, Any]]:
    """Return the graph, and what the page needs to know of it; `NotLiveError` gives the reason if there
    is none.
    """
    facts = _facts(model)
    if hook_point is None or model.hook_point(hook_point).side != "output":
        raise NotLiveError("the SAE does not read the output of a part of the model")
    point, structure = model.hook_point(hook_point), model.structure
    if point.step is None and structure is not None and structure.runs.get(point.path, 1) > 1:
        raise NotLiveError(
            f"the SAE reads all {structure.runs[point.path]} applications of {point.path}, and a page shows one"
        )
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise NotLiveError("onnx and onnxscript are missing: pip install 'sae-nb[site]'")
    _check_encoder(sae)
    weights = sum(p.numel() for p in [*model.module.parameters(), *sae.parameters()])
    if 4 * weights > LARGEST:
        raise NotLiveError(
            f"model and SAE have {4 * weights / 1e6:.0f} MB of weights, and a page takes at most "
            f"{LARGEST / 1e6:.0f} MB"
        )
    graph = _exported(_Live(model, sae, hook_point).eval(), facts)
    return graph, facts | {"n_atoms": int(sae.n_atoms)}


def _check_encoder(sae: Any) -> None:
    """Refuse an SAE whose codes plain operations do not give, as the refits of a pursuit do not."""
    reason = f"the codes of this {type(sae).__name__} are not written as plain operations"
    if not hasattr(sae, "dense_codes"):
        raise NotLiveError(reason)
    x = torch.randn(16, sae.d_in, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            dense, codes = sae.dense_codes(x), sae.encode(x).to_dense()
    except NotImplementedError as error:
        raise NotLiveError(reason) from error
    if dense.shape != codes.shape or not torch.allclose(dense, codes, rtol=1e-4, atol=1e-5):
        raise NotLiveError(reason)


def _facts(model: LiveModel) -> dict[str, Any]:
    if model.modality.is_text:
        return {"kind": "language", "longest": LONGEST, "tokenizer": _tokenizer(model)}
    size = getattr(model.preprocess, "required", None)  # a function of the user's own has none
    if size is None or not model.class_names:
        raise NotLiveError("the model must be an image classifier with a fixed input size")
    return {
        "kind": model.kind,
        "size": list(size),
        "classes": list(model.class_names),
    }


def _tokenizer(model: LiveModel) -> dict[str, Any]:
    """Return vocabulary and merges of a byte-level BPE, the one kind that the page knows."""
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    parts = {} if backend is None else json.loads(backend.to_str())
    byte_level = parts.get("pre_tokenizer") or {}
    known = (
        parts.get("model", {}).get("type") == "BPE"
        and byte_level.get("type") == "ByteLevel"
        and byte_level.get("use_regex", True)
        and not byte_level.get("add_prefix_space", False)
        and parts.get("normalizer") is None
        and not parts["model"].get("ignore_merges", False)
    )
    if not known:
        raise NotLiveError("its tokenizer is not a byte-level BPE")
    merges = [
        pair if isinstance(pair, list) else pair.split(" ") for pair in parts["model"]["merges"]
    ]
    return {
        "vocabulary": parts["model"]["vocab"],
        "merges": merges,
        "added": {token["content"]: token["id"] for token in parts["added_tokens"]},
        "before": model.tokenizer("").input_ids,
    }


def _exported(live: _Live, facts: dict[str, Any]) -> bytes:
    """Return the ONNX graph of `live`."""
    strengths = torch.zeros(live.dictionary.shape[0])
    if "tokenizer" in facts:
        given: Tensor = torch.zeros(1, 8, dtype=torch.int64)
        free: Any = {
            "given": {1: torch.export.Dim("length", min=2, max=LONGEST)},
            "strengths": None,
        }
    else:
        given, free = torch.zeros(1, 3, *facts["size"]), None
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                live, (given, strengths), dynamo=True, dynamic_shapes=free, verbose=False
            )
            # Not `.save`: nnsight gives every object a method of that name.
            graph: bytes = program.model_proto.SerializeToString()  # type: ignore[union-attr]
    except (torch.onnx.OnnxExporterError, torch.onnx.errors.UnsupportedOperatorError) as error:
        raise NotLiveError(_what_is_missing(error)) from error
    finally:
        noisy.setLevel(level)
    return graph


def _what_is_missing(error: BaseException) -> str:
    """Name the operator that ONNX does not have, or what of the model torch cannot follow."""
    while error.__cause__ is not None:
        error = error.__cause__
    operator = re.search(r"OpOverload\(op='([\w.]+)'", str(error))
    if operator is not None:
        return f"the model or its SAE computes {operator[1]}, an operator that ONNX does not have"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    return f"what the model computes cannot be written as ONNX: {said.rstrip('.')}"


def write_live(made: Path, graph: bytes) -> int:
    """Write graph, script and runtime into a site that is being made; return their bytes."""
    static = files("sae_nb.site").joinpath("static")
    (made / "live").mkdir()
    (made / "live" / "model.onnx").write_bytes(graph)
    (made / "live" / "live.mjs").write_bytes(static.joinpath("live.mjs").read_bytes())
    for name in SHA256:
        (made / "live" / name).write_bytes(content_of(name))
    (made / "live" / "LICENSE.txt").write_bytes(static.joinpath("ort", "LICENSE.txt").read_bytes())
    return sum(path.stat().st_size for path in (made / "live").iterdir())
