"""Training other people's SAEs further: one of our architectures that starts where the imported one is.

The trainable SAE has unit atoms, scaled biases and the loss of its architecture, so that recipes fit;
codes and reconstructions are those of the file. With n_j = ‖d_j‖ of an atom of the file, rules that
compare each pre-code with a threshold of its own get it folded into the encoder, u_j n_j, θ_j n_j;
rules in which atoms compete keep their pre-codes, up to one common factor, and atoms keep their lengths
separate from unit directions. Lengths of atoms stay as they came.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures import ARCHITECTURES, DenseOperator, SparseAutoencoder, ThresholdProx
from sae_nb.architectures._recipe import InputScaling
from sae_nb.interop._imported import Encoding, Imported, Norm, normalised

Rows = Float[Tensor, "rows d"]

_BY_RULE = {
    "relu": "ReLU",
    "topk": "TopK",
    "abstopk": "AbsTopK",
    "jumprelu": "JumpReLU",
    "gated": "Gated",
    "matching": "MatchingPursuit",
}
"""The architecture that computes the codes of each rule; another library's other rules have none."""
_BY_THRESHOLD = ("ReLU", "JumpReLU", "Gated")
"""Architectures whose choice of an atom depends on no other atom."""

SAME_NORM = 1e-5
"""Allowed distance of a norm from 1 for a pursuit to count an atom as of unit norm: rounding in float32."""


class LongAtoms(DenseOperator):
    """Directions of unit norm that are learned, and a length of each that stays."""

    lengths: Tensor

    def atoms(self) -> Float[Tensor, "n_atoms d_in"]:
        """Return the effective dictionary, with its gradient."""
        return self.weight * self.lengths[:, None]


class GoesOn:
    """Mixed in before an architecture that starts as an SAE from a file; its classes are made by `_kind`.

    Norms of activations are applied before anything else, so losses and R² are of normalised activations.
    """

    norm: Norm
    pre_bias_first: bool
    k_of_data: bool
    fold: Tensor
    aim: Tensor

    def start(self: Any, sae: Imported) -> None:
        """Take the tensors of a file."""
        norms = sae.dictionary.norm(dim=1)
        present = norms > 0
        base = getattr(self, "base", type(self).__name__)
        if base in _BY_THRESHOLD:
            fold = torch.where(present, norms, 1.0)
        else:
            one = norms[present].median() if bool(present.any()) else norms.new_ones(())
            fold = one.expand_as(norms).clone()
        if base == "MatchingPursuit":
            fold = torch.ones_like(norms)
        self.k_of_data = sae.encoding.batch_k == 0
        self.norm, self.pre_bias_first = sae.encoding.norm, sae.encoding.pre_bias
        self.register_buffer("fold", fold)
        self.register_buffer("aim", torch.zeros_like(fold[0]))
        lengths = norms / fold
        if base != "MatchingPursuit" and bool(((lengths - 1).abs() > SAME_NORM / 10).any()):
            self.operator = LongAtoms(self.d_out, self.n_atoms).to(norms)
            self.operator.register_buffer("lengths", lengths)
            self.unit_atoms = False
        self.operator.weight.copy_(sae.dictionary / torch.where(present, norms, 1.0)[:, None])
        self.scaling.mean.copy_(sae.bias)
        if "encoder" in sae.parts:
            self.encoder.weight.copy_(sae.encoder * fold[:, None])
            self._start_rule(sae)
        self._learns_as(sae)

    def _start_rule(self: Any, sae: Imported) -> None:
        parts = sae.parts
        if "gate_bias" in parts:
            self.encoder.bias.copy_(sae.gate_bias * self.fold)
            self.log_gain.copy_(sae.magnitude.log())
            self.magnitude_bias.copy_(sae.encoder_bias * self.fold)
        elif "encoder_bias" in parts:
            self.encoder.bias.copy_(sae.encoder_bias * self.fold)
        if hasattr(self, "log_threshold"):
            tiny = torch.finfo(self.dtype).tiny
            self.log_threshold.copy_((sae.threshold * self.fold).clamp_min(tiny).log())
        elif "threshold" in parts and hasattr(self, "threshold"):
            self.threshold.copy_((sae.threshold * self.fold).max())
        if "skip" in parts:
            self.straight.copy_(sae.skip.T)

    def _learns_as(self: Any, sae: Imported) -> None:
        """Freeze what is frozen there, or has no place in the file."""
        self.operator.weight.requires_grad_(sae.operator.weight.requires_grad)
        self.pre_bias.requires_grad_(sae.pre_bias.requires_grad)
        if "encoder" in sae.parts:
            self.encoder.weight.requires_grad_(sae.encoder.requires_grad)
            has = "encoder_bias" in sae.parts and sae.encoder_bias.requires_grad
            self.encoder.bias.requires_grad_(has)

    @torch.no_grad()
    def give_back(self: Any, sae: Imported) -> None:
        """Write what was learned into the tensors of the imported SAE."""
        fold, scale = self.fold, self.scaling.scale
        new = {"operator.weight": self.operator.atoms() * fold[:, None]}
        new["pre_bias"] = (self.bias - sae.scaling.mean) * sae.scaling.scale
        if "encoder" in sae.parts:
            new["encoder"] = self.encoder.weight * self._reach() / fold[:, None]
            offset = "gate_bias" if "gate_bias" in sae.parts else "encoder_bias"
            new[offset] = self.encoder.bias / scale / fold
        if "gate_bias" in sae.parts:
            new["magnitude"] = self.log_gain.exp()
            new["encoder_bias"] = self.magnitude_bias / scale / fold
        if hasattr(self, "log_threshold"):
            new["threshold"] = self.thresholds / fold
        elif "threshold" in sae.parts:
            new["threshold"] = self.threshold / fold
        if "skip" in sae.parts:
            new["skip"] = self.skip.T
        own = dict(sae.named_parameters())
        for name, value in new.items():
            if name in own:
                own[name].copy_(value)
        k = getattr(self, "k", None)
        if k is not None and sae.encoding.k is not None and k != sae.encoding.k:
            sae.encoding = replace(sae.encoding, k=k)

    # What differs from an architecture that starts at random

    @torch.no_grad()
    def initialise(
        self: Any, x: object, generator: torch.Generator | None = None, **_: Any
    ) -> None:
        """Read off the first activations in which units to learn, and how many atoms they use now."""
        rows = self._first_rows(x, generator)
        read, target = self.split(rows)
        self._in_units(_unit(target), _unit(read))
        self._aim_at_now(read)
        self.initialised.fill_(True)

    def _aim_at_now(self: Any, x: Rows) -> None:
        """Aim training at the present number of atoms per input, if the file gives no number."""
        if hasattr(self, "log_threshold"):
            self.l0 = max(self._encode(x, None).nnz, 1) / len(x)
        elif hasattr(self, "price"):
            self.aim.fill_(max(self._candidates(x).nnz, 1) / len(x))
        elif self.k_of_data:
            self.k = max(self._with(ThresholdProx(self.threshold), x).nnz, 1) / len(x)

    def _in_units(self: Any, scale: Tensor, reading: Tensor) -> None:
        gain = scale / self.scaling.scale
        self.scaling.scale.copy_(scale)
        self.pre_bias.mul_(gain)
        for parameter in (getattr(self, "magnitude_bias", None), self._offset()):
            if parameter is not None:
                parameter.mul_(gain)
        if hasattr(self, "log_threshold"):
            self.log_threshold.add_(gain.log())
        if self.writes is not None:
            before = self.reading.scale / (self.scaling.scale / gain)
            self.reading.scale.copy_(reading)
            self.encoder.weight.mul_(before / self._reach())
            if hasattr(self, "straight"):
                self.straight.mul_(before / self._reach())

    def _offset(self: Any) -> Tensor | None:
        return self.encoder.bias if hasattr(self, "encoder") else None

    def _reach(self: Any) -> Tensor | float:
        """Return the factor of a transcoder's input before its encoder."""
        return 1.0 if self.writes is None else self.reading.scale / self.scaling.scale

    def split(self: Any, rows: Rows) -> tuple[Rows, Rows]:
        """Return the input and the target, normalised as the file specifies."""
        if self.norm == "none":
            return super().split(rows)  # type: ignore[misc]
        rows = normalised(rows, self.norm)
        return rows, rows

    def _seen(self: Any, x: Rows) -> tuple[Rows, Tensor | None]:
        if self.writes is None and not self.pre_bias_first:
            return x, None
        return super()._seen(x)  # type: ignore[misc]

    def _terms(self: Any, *args: Any) -> Any:
        """The price of a code adapts so that as many are used as at the start."""
        price = getattr(self, "price", None)
        if price is not None and price.l0 is None:
            price.l0 = float(self.aim)
        return super()._terms(*args)  # type: ignore[misc]


def _unit(rows: Rows) -> Float[Tensor, ""]:
    """√d over the root mean square length of rows around their mean."""
    measured = InputScaling(rows.shape[1]).to(rows)
    measured.fit_(rows)
    return measured.scale


@cache
def _kind(name: str) -> type[Any]:
    """Return the class of an architecture that trains further; it keeps its name, by which checkpoints
    know it.
    """
    kind = ARCHITECTURES[name]
    return type(name, (GoesOn, kind), {"__doc__": kind.__doc__, "__module__": __name__})


@torch.no_grad()
def trainee(sae: Imported) -> SparseAutoencoder:
    """Return one of our architectures with the codes and reconstructions of an imported SAE."""
    name, settings = _plan(sae)
    drawn = torch.Generator().manual_seed(0)  # the global one is left alone
    size = {"d_in": sae.d_in, "n_atoms": sae.n_atoms, "generator": drawn}
    twin = _kind(name)(**size, **settings).to(device=sae.device, dtype=sae.dtype)
    twin.start(sae)
    twin.hook_point, twin.model_name = sae.hook_point, sae.model_name
    twin.target_hook_point = sae.target_hook_point
    twin.position_policy = sae.position_policy
    return twin.eval()


def _plan(sae: Imported) -> tuple[str, dict[str, Any]]:
    """The architecture that computes an imported SAE's codes, and its settings; or a refusal."""
    if sae.by_site:
        raise TypeError(sae.no_training)
    encoding = sae.encoding
    name, settings = _of_rule(sae, encoding)
    if sae.writes is None and "skip" not in sae.parts:
        return name, settings
    if sae.writes is None or encoding.norm != "none":
        raise TypeError(
            _refusal(
                "write another place than it reads where it has a linear map next to its "
                "atoms, and read it without a norm",
                f"norm={encoding.norm!r}",
            )
        )
    if name == "MatchingPursuit":
        raise TypeError(_refusal("have an encoder to be a transcoder", "a pursuit"))
    kind = "SkipTranscoder" if "skip" in sae.parts else "Transcoder"
    return kind, settings | {"d_out": sae.d_out, "base": name}


def _of_rule(sae: Imported, encoding: Encoding) -> tuple[str, dict[str, Any]]:
    rule = encoding.rule
    if encoding.batch_k is not None:
        k = {"k": encoding.batch_k or float(sae.n_atoms)}  # 0: read off the first activations
        groups = encoding.groups
        return ("BatchTopK", k) if groups is None else ("Matryoshka", k | {"groups": groups})
    if rule not in _BY_RULE:
        raise TypeError(_refusal(f"select by one of {', '.join(_BY_RULE)}", repr(rule)))
    if rule == "matching":
        return _pursuit(sae, encoding)
    return _BY_RULE[rule], {} if encoding.k is None else {"k": encoding.k}


def _pursuit(sae: Imported, encoding: Encoding) -> tuple[str, dict[str, Any]]:
    norms = sae.dictionary.norm(dim=1)
    if encoding.norm != "none" or bool(((norms - 1).abs() > SAME_NORM).any()):
        raise TypeError(
            _refusal(
                "have atoms of unit norm, and activations without a norm, where it is a matching pursuit",
                f"norms from {norms.min():.4g} to {norms.max():.4g}, norm={encoding.norm!r}",
            )
        )
    return "MatchingPursuit", {
        "k": min(sae.d_in if encoding.k is None else encoding.k, sae.n_atoms),
        "tolerance": encoding.tolerance or None,
        "reselect": "stop" if encoding.stops_on_same_support else True,
        "bias": sae.pre_bias.requires_grad,
    }


def _refusal(must: str, given: str) -> str:
    return (
        f"An SAE from another library must {must} to be trained here, got {given}. Use it as it is, or train "
        "one of sae_nb's architectures, such as sn.TopK(d_in=…, n_atoms=…, k=…)."
    )
