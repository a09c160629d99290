"""CrossLayerTranscoder: each layer's atoms read its MLP's input and write to that and all later layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from sae_nb.architectures._one_step import TURN_PER_STEP
from sae_nb.architectures._recipe import (
    LossTerms,
    Silence,
    TrainingDefaults,
    TrainingLoss,
    geometric_median,
)
from sae_nb.architectures._several_layers import Layers, SeveralLayers
from sae_nb.architectures._several_sites import check_widths
from sae_nb.architectures._transcoder import Transcoder
from sae_nb.architectures.parts._operators import MatrixOperator, SitesOperator
from sae_nb.architectures.parts._proxes import Rows
from sae_nb.checks import Count, OneOf, Weight, checked
from sae_nb.codes import SparseCodes
from sae_nb.codes._blocks import joined

SELECTIONS = ("TopK", "BatchTopK")
"""SAEs whose selection its layers can take."""


@checked(leave=("widths",))
class CrossLayerTranscoder(SeveralLayers):
    """One transcoder for all MLPs: an atom is read at one layer, and written to that and all later ones.

    With x_l what enters the MLP of layer l and y_l what it adds, each in its own unit,

    z_l = [TopK_k((x_l − μ_l) E_lᵀ + a_l)]₊,  ŷ_l = Σ_{l' ≤ l} z_{l'} D_{l'→l} + b_l,

    trained on the unexplained share of variance, averaged over layers, and AuxK. The effect of a
    concept over several layers is thus one atom; a transcoder for each layer needs one at every layer.

    Lists give lists: `encode([x_1, …])` gives a code for each layer, `decode` of these a reconstruction
    for each. Input side by side, (…, Σ d_l), gives one code over the atoms of all layers, those of the
    first layer first; so does all that works with one code: reports, panels, training. There `n_atoms`,
    `dictionary` and L0 count all layers.

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
    aux_k, aux_weight, generator
        As in `TopK`, for each layer.

    Raises
    ------
    ValueError: If there are fewer than two layers.

    Source
    ------
    Ameisen et al., "Circuit Tracing: Revealing Computational Graphs in Language Models", Transformer
    Circuits, March 2025: JumpReLU, and a penalty λ Σ_j tanh(c · ‖d_j‖ · z_j). Ours selects by TopK, holds
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

    live_numbers = ("k", "aux_weight")

    def __init__(
        self,
        widths: Sequence[int],
        n_atoms: Count,
        k: float,
        *,
        base: Annotated[str, OneOf(SELECTIONS)] = "TopK",
        aux_k: int | None = None,
        aux_weight: Weight = 1 / 32,
        generator: torch.Generator | None = None,
    ) -> None:
        self.widths, self.base = check_widths(widths), base
        if len(self.widths) < 2:
            raise ValueError(
                f"`widths` must name at least two layers, got {list(widths)}. For one use a Transcoder."
            )
        self.per_layer = n_atoms
        settings = {"base": base, "aux_k": aux_k, "generator": generator}
        layers = [_Layer(self.widths[i:], n_atoms, k, **settings) for i in range(len(self.widths))]
        super().__init__(Layers([layer.operator for layer in layers]), sum(self.widths))
        self.layers = nn.ModuleList(layers)
        self.aux_weight = aux_weight
        self.aux_k = aux_k

    # What is asked of it

    @property
    def k(self) -> float:
        """Atoms of each layer per row."""
        return next(self._each()).k  # one for all

    @k.setter
    def k(self, k: float) -> None:
        for layer in self.layers:
            layer.k = k  # type: ignore[assignment]

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild a dictionary of this kind and size."""
        own = {"base": self.base, "aux_k": self.aux_k, "aux_weight": self.aux_weight}
        return {"widths": list(self.widths), "n_atoms": self.per_layer, "k": self.k} | own

    # For the training loop

    def recipe(self) -> TrainingDefaults:
        """Return defaults for training; an encoder turns as fast as a transcoder's."""
        width = sum(self.widths) / len(self.widths)
        return TrainingDefaults(learning_rate=TURN_PER_STEP / math.sqrt(width))

    def training_loss(
        self, x: Rows, silent_tokens: Silence, dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return unexplained share of variance, averaged over layers, and AuxK of each layer's dead atoms."""
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
        parts: LossTerms = {
            "reconstruction": (1.0, error / (len(x) * self.scaling.variance)),
            "auxiliary": (self.aux_weight, torch.stack(revivals).mean()),
        }
        x_hat = self.scaling.mean + y_hat * self.operator.unit
        return TrainingLoss.of(parts, joined([code.detach() for code in codes]), x_hat)

    # For the base

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
        """Return codes of a batch in training."""
        return self._strengths(self._candidates(x))

    def codes(self, x: Rows, k: int | None) -> SparseCodes:
        """Return codes of rows that were checked."""
        return self._encode(x, k)

    def revival_loss(self, x: Rows, left: Rows, is_dead: Tensor) -> Tensor:
        """Return AuxK of dead atoms, by what all layers together leave of the layers that these write."""
        return self._auxiliary(x, left[:, -self.d_out :], is_dead)

    def start(self, x: Rows, left: Rows) -> Rows:
        """Begin at what is left of all targets, and return what then is."""
        tail = left[:, -self.d_out :]
        self._fit_encoder(torch.cat([x, tail], dim=1))
        self.initialised.fill_(True)
        rest = tail - self.operator.synthesise(self.training_codes(x))
        return torch.cat([left[:, : -self.d_out], rest], dim=1)
