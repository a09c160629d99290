"""CrossLayerTranscoder: each layer's atoms read its MLP's input and write to that and all later layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.activations import side_by_side
from sae_nb.architectures._base import (
    Data,
    Parts,
    Recipe,
    Silence,
    SparseAutoencoder,
    TrainingLoss,
    geometric_median,
)
from sae_nb.architectures._one_step import TURN_PER_STEP, check_weight
from sae_nb.architectures._several_sites import as_given, check_widths
from sae_nb.architectures._transcoder import Transcoder
from sae_nb.architectures.parts._operators import MatrixOperator, SitesOperator
from sae_nb.architectures.parts._proxes import Centre, Rows, Weight
from sae_nb.checks import check_count, checked, one_of
from sae_nb.codes import SparseCodes, blocks, joined
from sae_nb.kernels import decode, tails_squared_error

SELECTIONS = ("TopK", "BatchTopK")
"""SAEs whose selection its layers can take."""


@checked(leave=("widths",))
class CrossLayerTranscoder(SparseAutoencoder):
    """One transcoder for all MLPs: an atom is read at one layer, and written to that and all later ones.

    With x_l what enters the MLP of layer l and y_l what it adds, each in its own unit,

    z_l = [TopK_k((x_l − μ_l) E_lᵀ + a_l)]₊,  ŷ_l = Σ_{l' ≤ l} z_{l'} D_{l'→l} + b_l,

    trained on the unexplained share of variance, averaged over layers, and AuxK. What a concept does over
    several layers is thus one atom, where a transcoder for each layer needs one at every layer.

    What comes as a list goes as a list: `encode([x_1, …])` gives a code for each layer, `decode` of these
    a reconstruction for each. What lies side by side, (…, Σ d_l), gives one code over the atoms of all
    layers, those of the first layer first; so does all that works with one code: reports, panels,
    training. There `n_atoms`, `dictionary` and L0 count all layers.

    Parameters
    ----------
    widths
        Of the layers, in the order in which they run; an MLP's input is as wide as its output.
    n_atoms
        Atoms of each layer. `c.n_atoms` are those of all layers, the rows of `c.dictionary`.
    k
        Atoms of each layer per row; on average with `base="BatchTopK"`.
    base
        The SAE whose selection each layer takes: TopK or BatchTopK, with a threshold for each layer.
    aux_k, aux_weight
        As in `TopK`, for each layer.
    generator
        Draws the first encoders; None is torch's global generator.

    Raises
    ------
    TypeError: If a size is not an integer.
    ValueError: If a size is out of range, there are fewer than two layers, or the base is unknown.

    Source
    ------
    Ameisen et al., "Circuit Tracing: Revealing Computational Graphs in Language Models", Transformer
    Circuits, March 2025: JumpReLU, and a price λ Σ_j tanh(c · ‖d_j‖ · z_j). Ours selects by TopK, holds
    the norm of an atom over all layers that it writes at 1 in units of these, and counts every layer
    alike.

    Example
    -------
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> xs, ys = [x, x.roll(1, 1)], [x.relu(), x.abs()]
    >>> c = CrossLayerTranscoder([4, 4], n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> c.initialise((xs, ys))
    >>> codes = c.encode(xs)
    >>> [z.shape for z in codes], [y.shape for y in c.decode(codes)]
    ([(300, 8), (300, 8)], [torch.Size([300, 4]), torch.Size([300, 4])])
    >>> c.written(0, 1).shape, c.shares()[8:, 0].sum().item()  # the second layer writes nothing to the first
    (torch.Size([8, 4]), 0.0)
    """

    by_site = True
    unit_atoms = False
    live_numbers = ("k", "aux_weight")

    def __init__(
        self,
        widths: Sequence[int],
        n_atoms: int,
        k: float,
        *,
        base: str = "TopK",
        aux_k: int | None = None,
        aux_weight: float = 1 / 32,
        generator: torch.Generator | None = None,
    ) -> None:
        self.widths, self.base = check_widths(widths), one_of(base, SELECTIONS, name="base")
        if len(self.widths) < 2:
            raise ValueError(
                f"`widths` must name at least two layers, got {list(widths)}. For one use a Transcoder."
            )
        self.per_layer = check_count(n_atoms, name="n_atoms")
        settings = {"base": base, "aux_k": aux_k, "generator": generator}
        layers = [_Layer(self.widths[i:], n_atoms, k, **settings) for i in range(len(self.widths))]
        super().__init__(_Layers([layer.operator for layer in layers]), sum(self.widths))
        self.layers = nn.ModuleList(layers)
        self.aux_weight = check_weight(aux_weight, "aux_weight")
        self.aux_k = layers[0].aux_k if aux_k is not None else None

    # What is asked of it

    @property
    def k(self) -> float:
        """Atoms of each layer per row."""
        return self.layers[0].k  # type: ignore[return-value]

    @k.setter
    def k(self, k: float) -> None:
        for layer in self.layers:
            layer.k = k  # type: ignore[assignment]

    def settings(self) -> dict[str, Any]:
        """Constructor arguments that rebuild a dictionary of this kind and size."""
        own = {"base": self.base, "aux_k": self.aux_k, "aux_weight": self.aux_weight}
        return {"widths": list(self.widths), "n_atoms": self.per_layer, "k": self.k} | own

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
        """The reconstruction of all-zero codes, layer beside layer, in the model's units."""
        return self.scaling.mean + self.pre_bias * self.operator.unit

    @property
    def biases(self) -> list[Float[Tensor, " d_l"]]:
        """The reconstruction of all-zero codes at each layer."""
        return list(torch.split(self.bias, list(self.widths)))

    def encode(self, x: Data | Sequence[Data], k: float | None = None) -> Any:
        """Find the codes of every layer: a list for a list, one code of all atoms for what is side by side.

        Parameters
        ----------
        x
            What enters each MLP, one thing per layer, each (…, d_l): activations, tensors or arrays of
            the same tokens in the same order; or all layers side by side, (…, Σ d_l).
        k
            Selections per row and layer; None is its own.

        Returns
        -------
        list of SparseCodes, or SparseCodes
            Each (…, n_atoms of a layer); or one, (…, n_atoms of all layers).

        Raises
        ------
        TypeError: If a layer does not hold floating-point numbers.
        ValueError: If a layer is missing, of the wrong width, not finite, or of other tokens.
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
        TypeError: If they are no `SparseCodes`.
        ValueError: If they are of another number of layers or atoms, of other rows, or on another device.
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

    def forward(self, x: Data | Sequence[Data]) -> Any:
        """Reconstruct what every MLP adds, in the dtype of x: a list for a list, else side by side."""
        return as_given(self.decode(self.encode(x)), x)

    def by_layer(self, codes: SparseCodes) -> list[SparseCodes]:
        """One code of all atoms as a code for each layer.

        Raises
        ------
        ValueError: If the code is of another number of atoms.
        """
        return blocks(codes, [self.per_layer] * len(self.layers))

    def write_at(
        self, x: Float[Tensor, "*batch d_l"], before: list[SparseCodes]
    ) -> Float[Tensor, "*batch d_l"]:
        """What it writes at the next layer of a running model, where later ones are not known yet.

        Parameters
        ----------
        x
            What enters the MLP of that layer.
        before
            Codes of the layers before, which decide which layer it is; this one's is added.

        Raises
        ------
        ValueError: If all layers have been written, or `x` is of another width.
        """
        at = len(before)
        if at >= len(self.layers):
            raise ValueError(
                f"`before` must hold the codes of fewer than {len(self.layers)} layers, got {at}. Begin "
                "with an empty list."
            )
        layers = list(self._each())[: at + 1]
        before.append(layers[at].encode(x))
        begin = sum(self.widths[:at])
        y = self.bias[begin : begin + self.widths[at]].expand(before[-1].n_rows, -1)
        for i, (codes, layer) in enumerate(zip(before, layers, strict=True)):
            atoms = torch.split(layer.operator.atoms(), list(self.widths[i:]), dim=1)[at - i]
            y = y + decode(codes, atoms.contiguous())
        return y.reshape(*before[-1].leading_shape, self.widths[at])

    def written(self, layer: int, at: int) -> Float[Tensor, "n_atoms d_at"]:
        """What the atoms of one layer write at another, detached, in the units of the latter: D_{l→l'}.

        Raises
        ------
        ValueError: If there is no such layer, or it runs before the atoms are read.
        """
        check_count(layer, name="layer", at_least=0, at_most=len(self.widths) - 1)
        check_count(at, name="at", at_least=layer, at_most=len(self.widths) - 1)
        atoms = list(self._each())[layer].dictionary
        return torch.split(atoms, list(self.widths[layer:]), dim=1)[at - layer]

    def shares(self) -> Float[Tensor, "all_atoms layers"]:
        """‖d_jl‖² of every atom at every layer, in units of these: where it writes. Rows sum to 1."""
        parts = [
            F.pad(layer.operator.site_norms().detach().square(), (i, 0))
            for i, layer in enumerate(self._each())
        ]
        return torch.cat(parts)

    @property
    def at_sites(self) -> list[Float[Tensor, "all_atoms d_l"]]:
        """What the atoms look for at each MLP's input, then what they add to each output; detached.

        Rows are zero where an atom does not read or write.
        """
        layers, n = list(self._each()), self.per_layer
        last = len(layers) - 1
        read = [
            F.pad(layer.encoder.weight.detach(), (0, 0, i * n, (last - i) * n))
            for i, layer in enumerate(layers)
        ]
        written = [
            torch.cat([self.written(i, at) for i in range(at + 1)]) for at in range(last + 1)
        ]
        return read + [F.pad(part, (0, 0, 0, self.n_atoms - len(part))) for part in written]

    # For the training loop

    def recipe(self) -> Recipe:
        """Defaults for training; an encoder turns as fast as a transcoder's."""
        width = sum(self.widths) / len(self.widths)
        return Recipe(learning_rate=TURN_PER_STEP / math.sqrt(width))

    def training_loss(
        self, x: Rows, silent_tokens: Silence, dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Unexplained share of variance, averaged over layers, and AuxK of each layer's dead atoms."""
        x, target = self.split(x)
        read = list(zip(self._each(), torch.split(x, list(self.widths), dim=1), strict=True))
        codes = [layer.training_codes(rows) for layer, rows in read]
        error, y_hat, residual = self.operator.tails_error(
            codes, self.pre_bias, self._around(target)
        )
        left = residual * self.operator.unit
        dead = (silent_tokens >= dead_after).chunk(len(self.layers))
        revivals = [
            layer.revival_loss(rows, left, is_dead)
            for (layer, rows), is_dead in zip(read, dead, strict=True)
        ]
        parts: Parts = {
            "reconstruction": (1.0, error / (len(x) * self.scaling.variance)),
            "auxiliary": (self.aux_weight, torch.stack(revivals).mean()),
        }
        x_hat = self.scaling.mean + y_hat * self.operator.unit
        return TrainingLoss.of(parts, joined([code.detach() for code in codes]), x_hat)

    # For the base

    operator: _Layers

    def _each(self) -> Iterator[_Layer]:
        return iter(self.layers)  # type: ignore[arg-type]

    def _around(self, target: Rows) -> Rows:
        """Targets around their mean, each layer in its own unit."""
        return self.operator.counted(target - self.scaling.mean)

    def _scale(self, rows: Rows, generator: torch.Generator | None) -> None:
        """Read means, units and biases off the first rows."""
        x, target = self.split(rows)
        self.scaling.mean.copy_(target.mean(dim=0))
        self.operator.fit_(target - self.scaling.mean)
        self.pre_bias.copy_(geometric_median(self._around(target)))
        for layer, part in zip(self._each(), torch.split(x, list(self.widths), dim=1), strict=True):
            layer.reading.fit_(part)

    def _fit_encoder(self, rows: Rows) -> None:
        """Fit layer by layer, from the last: each begins at what those after it leave."""
        x, target = self.split(rows)
        left = target - self.bias
        parts = torch.split(x, list(self.widths), dim=1)
        for layer, part in reversed(list(zip(self._each(), parts, strict=True))):
            left = layer.start(part, left)

    def _encode(self, x: Rows, k: float | None) -> SparseCodes:
        parts = torch.split(x, list(self.widths), dim=1)
        return joined([layer.codes(p, k) for layer, p in zip(self._each(), parts, strict=True)])

    def _checked_k(self, k: float | None) -> int | None:
        return self.layers[0]._checked_k(k)  # type: ignore[operator]

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

    def _where(self) -> str:
        return (
            f"Pass a list, what enters the MLP of each of {len(self.layers)} layers, of widths "
            f"{list(self.widths)}. {super()._where()}"
        )

    def _atoms_to_set(self) -> nn.Parameter:
        raise ValueError(
            f"`method` must be None for {type(self).__name__}, whose atoms begin at what the first codes "
            "are about. Leave it out."
        )


class _Layer(Transcoder):
    """The atoms that are read at one layer; targets come without a bias, each layer in its own unit."""

    operator: SitesOperator

    def __init__(self, widths: Sequence[int], n_atoms: int, k: float, **settings: Any) -> None:
        self.widths = tuple(widths)
        super().__init__(widths[0], sum(widths), n_atoms, k, **settings)
        del self.pre_bias  # the bias is one for all layers
        self.register_buffer("pre_bias", torch.zeros(self.d_out))

    def _new_operator(self) -> MatrixOperator:
        return SitesOperator(self.widths, self.n_atoms, generator=self.generator)

    def training_codes(self, x: Rows) -> SparseCodes:
        """Codes of a batch in training."""
        return self._strengths(self._candidates(x))

    def codes(self, x: Rows, k: Any) -> SparseCodes:
        """Codes of rows that were checked."""
        return self._encode(x, k)

    def revival_loss(self, x: Rows, left: Rows, is_dead: Tensor) -> Tensor:
        """AuxK of dead atoms, by what all layers together leave of the layers that these write."""
        return self._auxiliary(x, left[:, -self.d_out :], is_dead)

    def start(self, x: Rows, left: Rows) -> Rows:
        """Begin at what is left of all targets, and return what then is."""
        tail = left[:, -self.d_out :]
        self._fit_encoder(torch.cat([x, tail], dim=1))
        self.initialised.fill_(True)
        rest = tail - self.operator.synthesise(self.training_codes(x))
        return torch.cat([left[:, : -self.d_out], rest], dim=1)


class _Layers(MatrixOperator):
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

    def atoms(self) -> Weight:
        """The dictionary of all layers, dense; for looking at, not for decoding."""
        return torch.cat([F.pad(one.atoms(), (self.d_in - one.d_in, 0)) for one in self.layers])

    def counted(self, rows: Rows) -> Rows:
        """Differences of rows, each layer in its own unit."""
        return rows / self.unit

    def synthesise(self, codes: SparseCodes, bias: Centre = None) -> Rows:
        """A z + b, layer by layer."""
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
        """On each layer's sphere."""
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
