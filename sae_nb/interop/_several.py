"""Crosscoders and cross-layer transcoders of other libraries, giving the codes and values those libraries give.

They are read by `_dictionary_learning.py`, `_circuit_tracer.py` and `_gemma_scope.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.activations._sites import AND, side_by_side
from sae_nb.architectures._base import Encodable
from sae_nb.architectures._several_layers import Layers, SeveralLayers
from sae_nb.architectures._several_sites import SharedCode, check_widths
from sae_nb.architectures.parts._operators import MatrixOperator, SitesOperator
from sae_nb.checks import Count, as_tensor, checked
from sae_nb.codes import SparseCodes
from sae_nb.interop._imported import Encoding, FromFile, Imported, Origin, fill, usual_positions

_RULES = ("relu", "topk", "jumprelu")
"""Selection rules of codes of several sites."""


@checked(leave=("widths",))
class ImportedCrosscoder(SharedCode, Imported):  # type: ignore[misc]  # a list is decoded, not one
    """Another library's crosscoder, read by `sae_nb.interop`; for use, not for training.

    z = select(Σ_m (x_m − μ_m) E_mᵀ / u_m + a),  x̂_m = z D_m + b_m. Codes and reconstructions are that
    library's to rounding; atoms have the norms that they have in its file, so `shares` and `difference`
    compare these, in the units u_m in which it was trained (1 where the file states none).

    Parameters
    ----------
    widths, n_atoms
        Sizes: of the sites, and of the code that they share.
    encoding, origin, parts
        As of an `Imported`.

    Raises
    ------
    TypeError, ValueError: If a size is not a positive whole number, or `encoding` takes a bias off
    first.

    Example
    -------
    >>> origin = {"library": "x", "architecture": "y"}
    >>> facts = {"encoding": {"rule": "relu", "pre_bias": False}, "origin": origin}
    >>> c = ImportedCrosscoder([2, 2], 3, **facts)
    >>> [part.shape for part in c([torch.ones(1, 2), torch.ones(1, 2)])]
    [torch.Size([1, 2]), torch.Size([1, 2])]
    """

    unit_atoms = False

    def __init__(
        self,
        widths: Sequence[int],
        n_atoms: int,
        *,
        encoding: Encoding | dict[str, Any],
        origin: Origin | dict[str, Any],
        parts: tuple[str, ...] = ("encoder", "encoder_bias"),
    ) -> None:
        self.widths = check_widths(widths)
        facts: dict[str, Any] = {"encoding": _linear(encoding), "origin": origin, "parts": parts}
        super().__init__(sum(self.widths), n_atoms, **facts)

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild it."""
        rest = {n: v for n, v in super().settings().items() if n not in ("d_in", "d_out")}
        return {"widths": list(self.widths)} | rest

    def _new_operator(self, width: int, n_atoms: int) -> MatrixOperator:  # noqa: ARG002 - it is their sum
        return SitesOperator(self.widths, n_atoms)

    def _encode(self, x: Float[Tensor, "rows d_in"], k: int | None) -> SparseCodes:
        return self._select(self.operator.counted(x - self.scaling.mean), k)


@checked(leave=("widths",))
class ImportedCrossLayerTranscoder(FromFile, SeveralLayers):
    """Another library's cross-layer transcoder, read by `sae_nb.interop`; for use, not for training.

    z_l = select(x_l E_lᵀ + a_l),  ŷ_l = Σ_{l' ≤ l} z_{l'} D_{l'→l} + b_l + x_l S_l, with the linear maps S
    that some have. Codes and values are that library's to rounding; atoms have the norms of its file.

    Parameters
    ----------
    widths, n_atoms
        Sizes: of the layers, and of the code of each.
    encoding, origin, parts
        As of an `Imported`; for every layer alike.
    skips
        Whether a linear map of each layer is added.

    Raises
    ------
    TypeError, ValueError: If a size is not a positive whole number, or `encoding` takes a bias off
    first.

    Example
    -------
    >>> origin = {"library": "x", "architecture": "y"}
    >>> facts = {"encoding": {"rule": "relu", "pre_bias": False}, "origin": origin}
    >>> c = ImportedCrossLayerTranscoder([2, 2], 3, **facts)
    >>> [codes.shape for codes in c.encode([torch.ones(1, 2), torch.ones(1, 2)])], c.written(0, 1).shape
    ([(1, 3), (1, 3)], torch.Size([3, 2]))
    """

    def __init__(
        self,
        widths: Sequence[int],
        n_atoms: Count,
        *,
        encoding: Encoding | dict[str, Any],
        origin: Origin | dict[str, Any],
        parts: tuple[str, ...] = ("encoder", "encoder_bias"),
        skips: bool = False,
    ) -> None:
        self.widths = check_widths(widths)
        self.per_layer = n_atoms
        self.encoding = _linear(encoding)
        self.origin = origin if isinstance(origin, Origin) else Origin(**origin)
        self.position_policy = usual_positions(self.origin)
        self.parts = tuple(parts)
        facts: dict[str, Any] = {
            "encoding": self.encoding,
            "origin": self.origin,
            "parts": self.parts,
        }
        layers = [_Layer(self.widths[i:], n_atoms, **facts) for i in range(len(self.widths))]
        super().__init__(Layers([layer.operator for layer in layers]), sum(self.widths))
        self.layers = nn.ModuleList(layers)
        squares = [nn.Parameter(torch.zeros(width, width)) for width in self.widths if skips]
        self.skips = nn.ParameterList(squares)

    @property
    def k(self) -> int | None:
        """Entries per row and layer; None where the rule has no such number."""
        return self.encoding.k

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild it."""
        return {
            "widths": list(self.widths),
            "n_atoms": self.per_layer,
            "encoding": asdict(self.encoding),
            "origin": asdict(self.origin),
            "parts": list(self.parts),
            "skips": len(self.skips) > 0,
        }

    def uncoded(
        self, x: Encodable | Sequence[Encodable]
    ) -> tuple[float, Float[Tensor, "*batch d_out"] | float]:
        """Return 1, and what the linear maps add, layer after layer."""
        if not len(self.skips):
            return 1.0, 0.0
        given = side_by_side(self, x)
        read = torch.split(self._rows(given), list(self.widths), dim=1)
        added = [part @ skip for part, skip in zip(read, self.skips, strict=True)]
        return 1.0, torch.cat(added, dim=1).reshape(*as_tensor(given).shape[:-1], self.d_out)

    def write_at(
        self, x: Float[Tensor, "*batch d_l"], before: list[SparseCodes]
    ) -> Float[Tensor, "*batch d_l"]:
        """Return its output for the next layer of a running model; see `CrossLayerTranscoder.write_at`."""
        at = len(before)
        y = super().write_at(x, before)
        return y + x.to(y.dtype) @ self.skips[at] if len(self.skips) else y


def _linear(encoding: Encoding | dict[str, Any]) -> Encoding:
    """Refuse rules that need more than a linear map of what is read."""
    rule = encoding if isinstance(encoding, Encoding) else Encoding(**encoding)
    if rule.rule not in _RULES or rule.pre_bias or rule.norm != "none":
        raise ValueError(
            f"`encoding` must have a rule out of {', '.join(_RULES)}, pre_bias=False and no norm for several "
            f"sites, got rule {rule.rule!r}, pre_bias={rule.pre_bias}, norm {rule.norm!r}. Readers give it."
        )
    return rule


class _Layer(Imported):
    """The atoms that are read at one layer, and written to that and all later ones."""

    operator: SitesOperator

    def __init__(self, widths: Sequence[int], n_atoms: int, **facts: Any) -> None:
        self.widths = tuple(widths)
        super().__init__(widths[0], n_atoms, d_out=sum(widths), **facts)

    def _new_operator(self, width: int, n_atoms: int) -> MatrixOperator:  # noqa: ARG002 - it is their sum
        return SitesOperator(self.widths, n_atoms)

    def codes(self, x: Float[Tensor, "rows d_l"], k: int | None) -> SparseCodes:
        """Return codes of rows that were checked."""
        return self._encode(x, k)


def crosscoder(
    encoders: Float[Tensor, "sites d n_atoms"],
    encoder_bias: Float[Tensor, " n_atoms"],
    decoders: Float[Tensor, "sites n_atoms d"],
    biases: Float[Tensor, "sites d"],
    *,
    encoding: Encoding,
    origin: Origin,
    threshold: Float[Tensor, " n_atoms"] | None = None,
    means: Float[Tensor, "sites d"] | None = None,
    units: Float[Tensor, " sites"] | None = None,
) -> ImportedCrosscoder:
    """Put a crosscoder together from its tensors, in eval mode; encoder and decoder are in its `units`."""
    if encoders.ndim != 3 or 0 in encoders.shape:
        raise ValueError(
            "The encoder in the file must have axes (sites, width, atoms), got shape "
            f"{tuple(encoders.shape)}. The file may be damaged, or of another kind."
        )
    sites, d, n_atoms = encoders.shape
    if tuple(decoders.shape) != (sites, n_atoms, d):
        raise ValueError(
            f"The decoder in the file must have shape {(sites, n_atoms, d)}, as it must write the sites that "
            f"the encoder reads, got {tuple(decoders.shape)}. A crosscoder that writes others is not read."
        )
    given = {
        "operator.weight": decoders.permute(1, 0, 2).reshape(n_atoms, -1),
        "pre_bias": biases.flatten(),
        "encoder": encoders.permute(2, 0, 1).reshape(n_atoms, -1),
        "encoder_bias": encoder_bias,
    }
    given |= {} if threshold is None else {"threshold": threshold}
    given |= {} if means is None else {"scaling.mean": means.flatten()}
    given |= {} if units is None else {"operator.unit": units.repeat_interleave(d)}
    parts = tuple(name for name in given if name in ("encoder", "encoder_bias", "threshold"))
    with torch.device("meta"):
        c = ImportedCrosscoder([d] * sites, n_atoms, encoding=encoding, origin=origin, parts=parts)
    fill(c, given)
    c.model_name = origin.model_name
    return c.eval()


def cross_layer_transcoder(
    layers: Sequence[dict[str, Tensor]],
    *,
    encoding: Encoding,
    origin: Origin,
    places: tuple[str | None, str | None] = (None, None),
) -> ImportedCrossLayerTranscoder:
    """Put a cross-layer transcoder together, in eval mode, from the tensors of each of its layers.

    Each has "encoder" (n_atoms, d), "encoder_bias", "dictionary" (n_atoms, layers from this one on, d) and
    "bias" (d), and may have "threshold" and "skip" (d, d), applied as x S. `places` are the kinds of hook
    points that it reads and writes.
    """
    first = layers[0]
    n_atoms, d = first["encoder"].shape
    parts = tuple(name for name in ("encoder", "encoder_bias", "threshold") if name in first)
    with torch.device("meta"):
        c = ImportedCrossLayerTranscoder(
            [d] * len(layers),
            n_atoms,
            encoding=encoding,
            origin=origin,
            parts=parts,
            skips="skip" in first,
        )
    given = {"pre_bias": torch.cat([layer["bias"] for layer in layers])}
    for i, layer in enumerate(layers):
        expected = (n_atoms, len(layers) - i, d)
        if tuple(layer["dictionary"].shape) != expected or layer.keys() != first.keys():
            raise ValueError(
                f"Layer {i} in the files must have {', '.join(first)}, its atoms of shape {expected}, got "
                f"{', '.join(layer)}, of shape {tuple(layer['dictionary'].shape)}. Are all its files there?"
            )
        given |= {f"layers.{i}.{name}": layer[name] for name in parts}
        given[f"layers.{i}.operator.weight"] = layer["dictionary"].reshape(n_atoms, -1)
        if "skip" in layer:
            given[f"skips.{i}"] = layer["skip"]
    fill(c, given)
    c.hook_point, c.target_hook_point = (
        None if kind is None else AND.join(f"{kind}.{i}" for i in range(len(layers)))
        for kind in places
    )
    c.model_name = origin.model_name
    return c.eval()
