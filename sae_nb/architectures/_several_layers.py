"""The common parts of dictionaries of several layers: atoms read at one layer, written to that and all
later ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.activations._sites import as_one, side_by_side
from sae_nb.architectures._base import Encodable, SparseAutoencoder
from sae_nb.architectures._several_sites import as_given
from sae_nb.architectures.parts._operators import MatrixOperator, SitesOperator
from sae_nb.architectures.parts._proxes import Centre, Matrix, Rows
from sae_nb.checks import check_count
from sae_nb.codes import SparseCodes
from sae_nb.codes._blocks import blocks, joined
from sae_nb.kernels import decode
from sae_nb.kernels._coding import tails_squared_error


class SeveralLayers(SparseAutoencoder):
    """A code for each layer, and one reconstruction of all: ŷ_l = Σ_{l' ≤ l} z_{l'} D_{l'→l} + b_l.

    `layers` are dictionaries that read one layer and write the tail of layers that begins with it.
    """

    by_site = True
    unit_atoms = False

    operator: Layers
    layers: nn.ModuleList
    widths: tuple[int, ...]
    per_layer: int

    @property
    def reads(self) -> tuple[int, ...]:
        """Widths of the MLPs' inputs."""
        return self.widths

    @property
    def writes(self) -> tuple[int, ...]:  # type: ignore[override]
        """Widths of the MLPs' outputs."""
        return self.widths

    @property
    def bias(self) -> Float[Tensor, " d_out"]:
        """The reconstruction of all-zero codes, layer after layer, in the model's units."""
        return self.scaling.mean + self.pre_bias * self.operator.unit

    @property
    def biases(self) -> list[Float[Tensor, " d_l"]]:
        """The reconstruction of all-zero codes at each layer."""
        return list(torch.split(self.bias, list(self.widths)))

    @property
    def at_sites(self) -> list[Float[Tensor, "all_atoms d_l"]]:
        """The directions that the atoms read at each MLP's input, then those they add to each output;
        detached.

        Rows are zero where an atom does not read or write.
        """
        layers, n = list(self._each()), self.per_layer
        last = len(layers) - 1
        read = [
            F.pad(layer.at_sites[0], (0, 0, i * n, (last - i) * n))
            for i, layer in enumerate(layers)
        ]
        written = [
            torch.cat([self.written(i, at) for i in range(at + 1)]) for at in range(last + 1)
        ]
        return read + [F.pad(part, (0, 0, 0, self.n_atoms - len(part))) for part in written]

    def encode(self, x: Encodable | Sequence[Encodable], k: float | None = None) -> Any:
        """Find the codes of every layer: a list for a list, one code of all atoms for what is side by side.

        Parameters
        ----------
        x
            The input of each MLP, one thing per layer, each (…, d_l): activations, tensors or arrays of
            the same tokens in the same order; or all layers side by side, (…, Σ d_l).
        k
            Selections per row and layer; None is its own.

        Returns
        -------
        list of SparseCodes, or SparseCodes
            Each (…, n_atoms of a layer); or one, (…, n_atoms of all layers).

        Raises
        ------
        ValueError: If a layer is missing, or of other tokens.
        """
        codes = super().encode(side_by_side(self, x), k)  # type: ignore[arg-type]
        return self.by_layer(codes) if isinstance(x, tuple | list) else codes

    def decode(  # type: ignore[override]
        self, codes: Sequence[SparseCodes] | SparseCodes
    ) -> list[Float[Tensor, "*batch d_l"]]:
        """Add up what the atoms of all layers write, at every layer; one reconstruction per layer, in order.

        Parameters
        ----------
        codes
            One for each layer, or one over the atoms of all layers.

        Raises
        ------
        ValueError: If they are of another number of layers.
        """
        if isinstance(codes, tuple | list):
            codes = joined(self._checked_codes(codes))
        elif isinstance(codes, SparseCodes) and codes.n_atoms != self.n_atoms:
            raise ValueError(
                f"`codes` must be a list, one for each of {len(self.layers)} layers, or one code over all "
                f"their atoms, n_atoms={self.n_atoms}, got codes of {codes.n_atoms} atoms. Decode with "
                "what encoded."
            )
        return list(torch.split(super().decode(codes), list(self.widths), dim=-1))  # type: ignore[arg-type]

    def forward(self, x: Encodable | Sequence[Encodable]) -> Any:
        """Reconstruct what every MLP adds, in the dtype of x: a list for a list, else side by side."""
        gain, rest = self.uncoded(x)  # type: ignore[arg-type]
        y_hat = as_one(self.decode(self.encode(x))) * gain + rest
        return as_given(list(torch.split(y_hat, list(self.widths), dim=-1)), x)

    def by_layer(self, codes: SparseCodes) -> list[SparseCodes]:
        """Return one code of all atoms as a code for each layer."""
        return blocks(codes, [self.per_layer] * len(self.layers))

    def write_at(
        self, x: Float[Tensor, "*batch d_l"], before: list[SparseCodes]
    ) -> Float[Tensor, "*batch d_l"]:
        """Return its output for the next layer of a running model, where later ones are not known yet.

        `x`: The input of the MLP of that layer. `before`: Codes of the layers before, which decide which
        layer it is; this one's is added.
        """
        at = len(before)
        if at >= len(self.layers):
            raise ValueError(
                f"`before` must hold the codes of fewer than {len(self.layers)} layers, got {at}. Begin "
                "with an empty list."
            )
        layers = list(self._each())[: at + 1]
        before.append(own := layers[at].encode(x))
        begin = sum(self.widths[:at])
        y = self.bias[begin : begin + self.widths[at]].expand(own.n_rows, -1)
        for i, (codes, layer) in enumerate(zip(before, layers, strict=True)):
            y = y + decode(codes, layer.operator.part(at - i))
        return y.reshape(*own.leading_shape, self.widths[at])

    def written(self, layer: int, at: int) -> Float[Tensor, "n_atoms d_at"]:
        """Return what the atoms of one layer write at another, detached, in the units of the latter:
        D_{l→l'}.

        Raises
        ------
        ValueError: If there is no such layer, or it runs before the atoms are read.
        """
        check_count(layer, name="layer", at_least=0, at_most=len(self.widths) - 1)
        check_count(at, name="at", at_least=layer, at_most=len(self.widths) - 1)
        return list(self._each())[layer].operator.part(at - layer).detach()

    def shares(self) -> Float[Tensor, "all_atoms layers"]:
        """‖d_jl‖² / Σ_l ‖d_jl‖² of every atom, in units of the layers: where it writes. Rows sum to 1."""
        parts = [
            F.pad(layer.operator.site_norms().detach().square(), (i, 0))
            for i, layer in enumerate(self._each())
        ]
        energy = torch.cat(parts)
        return energy / energy.sum(dim=1, keepdim=True)

    # For the layers

    def _each(self) -> Iterator[Any]:
        return iter(self.layers)

    def _encode(self, x: Rows, k: float | None) -> SparseCodes:
        parts = torch.split(x, list(self.widths), dim=1)
        return joined([layer.codes(p, k) for layer, p in zip(self._each(), parts, strict=True)])

    def _checked_k(self, k: float | None) -> int | None:
        return next(self._each())._checked_k(k)

    def _checked_codes(self, codes: Sequence[SparseCodes]) -> Sequence[SparseCodes]:
        """Refuse codes that are not one for each layer."""
        if len(codes) != len(self.layers):
            raise ValueError(
                f"`codes` must be one for each of {len(self.layers)} layers, got {len(codes)}. Use those "
                "that `encode` gives."
            )
        for one in codes:
            if not isinstance(one, SparseCodes):
                raise TypeError(
                    f"`codes` must be SparseCodes for each layer, got {type(one).__name__}. Use "
                    "SparseCodes.from_dense(z)."
                )
            if one.n_atoms != self.per_layer:
                raise ValueError(
                    f"`codes` must be of this dictionary, with n_atoms={self.per_layer} per layer, got "
                    f"codes of {one.n_atoms} atoms. Decode with what encoded."
                )
        return codes

    def _where(self, x: object = None) -> str:
        return (
            f"Pass a list, what enters the MLP of each of {len(self.layers)} layers, of widths "
            f"{list(self.widths)}. {super()._where(x)}"
        )


class Layers(MatrixOperator):
    """The dictionaries of all layers as one, which is zero where a layer does not write.

    It holds no tensor of its own: those are the layers'.
    """

    def __init__(self, layers: Sequence[SitesOperator]) -> None:
        self.layers = list(layers)

    @property
    def n_atoms(self) -> int:
        """Atoms of all layers."""
        return sum(layer.n_atoms for layer in self.layers)

    @property
    def d_in(self) -> int:
        """Widths of all layers together."""
        return self.layers[0].d_in

    @property
    def unit(self) -> Float[Tensor, " d_in"]:
        """The unit of every column; the first layer writes to all."""
        return self.layers[0].unit

    def atoms(self) -> Matrix:
        """Return the dictionary of all layers, dense; for looking at, not for decoding."""
        return torch.cat([F.pad(one.atoms(), (self.d_in - one.d_in, 0)) for one in self.layers])

    def counted(self, rows: Rows) -> Rows:
        """Return differences of rows, each layer in its own unit."""
        return rows / self.unit

    def synthesise(self, codes: SparseCodes, bias: Centre = None) -> Rows:
        """Return a z + b, layer by layer."""
        rows = codes.values.new_zeros(codes.n_rows, self.d_in)
        parts = blocks(codes, [layer.n_atoms for layer in self.layers])
        for part, layer in zip(parts, self.layers, strict=True):
            before = self.d_in - layer.d_in
            tail = rows[:, before:] + decode(part, layer.weight)
            rows = torch.cat([rows[:, :before], tail], dim=1)
        rows = rows * self.unit
        return rows if bias is None else rows + bias

    def tails_error(
        self, codes: Sequence[SparseCodes], bias: Tensor, target: Rows
    ) -> tuple[Float[Tensor, ""], Rows, Rows]:
        """Σ‖target − (A z + b)‖² of a code for each layer, all in the layers' units."""
        return tails_squared_error(codes, [layer.weight for layer in self.layers], bias, target)

    def project_gradient_(self) -> None:
        """Project the gradient on each layer's sphere."""
        for layer in self.layers:
            layer.project_gradient_()

    def project_(self) -> None:
        """Give every atom unit norm over all that it writes, in units of the layers."""
        for layer in self.layers:
            layer.project_()

    @torch.no_grad()
    def fit_(self, centred: Rows) -> None:
        """Read the units off rows around their mean."""
        self.layers[0].fit_(centred)
        for layer in self.layers[1:]:
            layer.unit.copy_(self.unit[-layer.d_in :])
