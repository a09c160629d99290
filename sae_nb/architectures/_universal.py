"""UniversalSAE: one code that any of several models can give, and that is decoded to all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.activations import Activations
from sae_nb.activations._sites import one_of_sites, side_by_side
from sae_nb.architectures._base import Encodable
from sae_nb.architectures._initialisation import Directions
from sae_nb.architectures._one_step import TURN_PER_STEP, best_gain
from sae_nb.architectures._recipe import Silence, TrainingDefaults, TrainingLoss, geometric_median
from sae_nb.architectures._revival import Dead, auxk_loss
from sae_nb.architectures._several_sites import SeveralSites, as_given, check_widths
from sae_nb.architectures.parts._largest import TopKProx
from sae_nb.architectures.parts._operators import NEAR_ONE, LearnedAdjoint, ModelsOperator
from sae_nb.architectures.parts._proxes import Rows
from sae_nb.checks import Count, Weight, as_tensor, check_count, check_k, checked
from sae_nb.codes import SparseCodes
from sae_nb.kernels import decode, squared_error

Update = Literal["turns", "joint"]
"""Whose parameters a step moves: those of the model that gave the code, or all that the loss reaches."""


@checked(leave=("widths",))
class UniversalSAE(SeveralSites):
    """One sparse code for several models: each can give it, and it is decoded to all.

    With each model's activations around their mean in a unit u_m of their own, and model i read,

    z = [TopK_k((x_i − b_i) E_iᵀ / u_i + a_i)]₊,  x̂_m = z D_m + b_m  for every m,

    trained on the unexplained share of variance, averaged over models, and AuxK. Every step draws one
    model i, codes are read from it, all models are reconstructed, and only what belongs to model i moves:
    an encoder learns what all decoders make of its codes, a decoder only from the codes of its own model.

    Unlike a `Crosscoder`, which reads all sites at once, it needs one model to make a code. R² of model
    j from a code of model i measures how much they share (`evaluation.measure_universality`).

    In units of u_m each d_mj has length 1, so codes have no unit: D_m carries it.

    Parameters
    ----------
    widths
        Of the models' activations, in the order in which they are given.
    n_atoms
        Atoms, shared by all models.
    k
        Most atoms per row, 1 ≤ k ≤ n_atoms. May differ at inference: `encode(x, k=…)`.
    update
        "turns", or "joint": all decoders learn from every code.
    aux_k
        Most dead atoms per input in the auxiliary loss. None: half of all widths.
    aux_weight, generator
        As in `TopK`.

    Source
    ------
    Thasarathan et al., "Universal sparse autoencoders: interpretable cross-model concept alignment", arXiv
    2502.03714 (YorkUCVIL/UniversalSAE, universal_sae/train.py). There encoders have a hidden layer with
    batch normalisation and the error is absolute; ours are linear, the error is squared, and a unit is
    one number per model, not one per coordinate. Theirs computes gradients of the other decoders and
    discards them; ours does not compute them.

    Example
    -------
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> y = x @ torch.ones(4, 6)
    >>> u = UniversalSAE([4, 6], n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> u.initialise([x, y])
    >>> codes = u.encode(y, reads=1)
    >>> codes.shape, [part.shape for part in u.decode(codes)]
    ((300, 8), [torch.Size([300, 4]), torch.Size([300, 6])])
    >>> [d.shape for d in u.dictionaries]
    [torch.Size([8, 4]), torch.Size([8, 6])]
    """

    operator: ModelsOperator
    draws: Tensor

    live_numbers = ("k", "aux_weight")
    reads_alone = True

    def __init__(
        self,
        widths: Sequence[int],
        n_atoms: Count,
        k: int,
        *,
        update: Update = "turns",
        aux_k: int | None = None,
        aux_weight: Weight = 1 / 32,
        generator: torch.Generator | None = None,
    ) -> None:
        widths = check_widths(widths)
        check_k(k, n_atoms)
        aux_k = max(1, min(sum(widths) // 2, n_atoms)) if aux_k is None else aux_k
        check_k(aux_k, n_atoms, name="aux_k")
        super().__init__(ModelsOperator(widths, n_atoms, generator=generator))
        self.widths, self.k, self.update = widths, k, update
        self.aux_k, self.aux_weight = aux_k, aux_weight
        self.encoders: Sequence[LearnedAdjoint] = nn.ModuleList(  # type: ignore[assignment]
            LearnedAdjoint(one) for one in self.operator.of_models
        )
        # A parameter for each model in place of one for all: a step moves one of them.
        del self.pre_bias
        self.pre_biases = nn.ParameterList(nn.Parameter(torch.zeros(width)) for width in widths)
        self.register_buffer("draws", torch.zeros(2, dtype=torch.int64))

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild a dictionary of this kind and size."""
        names = ("n_atoms", "k", "update", "aux_k", "aux_weight")
        return {"widths": list(self.widths)} | {name: getattr(self, name) for name in names}

    @property
    def bias(self) -> Float[Tensor, " d_in"]:
        """The reconstruction of an all-zero code, model after model, in the models' units."""
        return self.scaling.mean + torch.cat(list(self.pre_biases)) * self.operator.unit

    def encode(  # type: ignore[override]
        self, x: Encodable | Sequence[Encodable], reads: int = 0, k: int | None = None
    ) -> SparseCodes:
        """Find the code that one model's activations ask for.

        Parameters
        ----------
        x
            Activations of the model that is read, (…, d_reads): as captured, or a tensor or an array. Or
            those of all models, in a list or side by side, of which that model's are taken.
        reads
            Index of the model in `widths`.
        k
            Selections per row; None is its own.

        Raises
        ------
        ValueError: If there is no such model, or the rows of the models are not the same.
        """
        reads = check_count(reads, name="reads", at_least=0, at_most=len(self.widths) - 1)
        k = self._checked_k(k)
        given: Encodable = side_by_side(self, x)
        if isinstance(given, Activations) and given.d_in == self.d_in:
            given = one_of_sites(given, reads)
        width = self._width(given, reads)
        if isinstance(given, Activations) and given.on_disk:
            parts = (self._encode(rows, k, reads) for rows in self._read(given, width))
            return SparseCodes.concatenate(parts)
        codes = self._encode(self._rows(given, width), k, reads)
        return codes.reshape(*as_tensor(given).shape[:-1])

    def forward(self, x: Encodable | Sequence[Encodable], reads: int = 0) -> Any:
        """Reconstruct every model from the code of one, in its own dtype.

        A list for a list; for one thing, the models side by side.
        """
        return as_given(self.decode(self.encode(x, reads)), x)

    # For the training loop

    @property
    def turn(self) -> int:
        """Whose turn the next step is, by seed and number of steps, so that a resumed training repeats it."""
        seed, number = self.draws.tolist()
        return _mixed(seed, number) % len(self.widths)

    def recipe(self) -> TrainingDefaults:
        """Return defaults for training: the narrowest model's atoms turn by 0.08 radians a step, as in
        `OneStep`.
        """
        return TrainingDefaults(learning_rate=TURN_PER_STEP / math.sqrt(min(self.widths)))

    def learning_rate_shares(self) -> dict[nn.Parameter, float]:
        """Give wider models smaller steps per entry, so that their atoms turn by the same angle."""
        return {
            parameter: math.sqrt(min(self.widths) / width)
            for width, own in zip(self.widths, self._by_model(), strict=True)
            for parameter in own
        }

    def training_loss(
        self, x: Rows, silent_tokens: Silence, dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return share of variance that the code of the drawn model leaves unexplained in all, and AuxK."""
        turn, seen = self.turn, self._seen(x)
        codes = self._code(seen[turn], turn, self.k)
        weights, biases = self._learning(turn)
        errors, x_hat, residuals = zip(
            *(
                squared_error(codes, weight, bias, part)
                for weight, bias, part in zip(weights, biases, seen, strict=True)
            ),
            strict=True,
        )
        share = torch.stack(errors).sum() / (len(x) * self.scaling.variance)
        dead = Dead((silent_tokens >= dead_after).nonzero().flatten())
        term = x.new_zeros(())
        if self.aux_weight and dead.n:
            term = auxk_loss(
                seen[turn],
                torch.cat(residuals, dim=1),
                self.encoders[turn],
                torch.cat([weight.index_select(0, dead.atoms) for weight in weights], dim=1),
                dead=dead,
                aux_k=self.aux_k,
                centre=self.pre_biases[turn],
                scale=self.scaling.scale,
            )
        return TrainingLoss.of(
            {"reconstruction": (1.0, share), "auxiliary": (self.aux_weight, term)},
            codes,
            torch.cat(x_hat, dim=1) * self.operator.unit + self.scaling.mean,
        )

    def after_optimiser_step(self) -> None:
        """Return the dictionaries to their spheres, and draw the next model."""
        super().after_optimiser_step()
        self.draws[1] += 1

    # Models in units of their own

    def _width(self, x: Encodable, reads: int) -> int:
        """Return the width that `x` must have: all models side by side if it is, else that of the model
        that is read.
        """
        shape = (x.d_in,) if isinstance(x, Activations) else as_tensor(x).shape
        return self.d_in if shape and shape[-1] == self.d_in else self.widths[reads]

    def _encode(self, x: Rows, k: int | None, reads: int = 0) -> SparseCodes:
        mean, unit = (self._split(v)[reads] for v in (self.scaling.mean, self.operator.unit))
        own = self._split(x)[reads] if x.shape[1] == self.d_in else x
        return self._code((own - mean) / unit, reads, self.k if k is None else k)

    def _code(self, seen: Rows, reads: int, k: int) -> SparseCodes:
        """The code of one model's activations, seen in its unit."""
        encoder, centre = self.encoders[reads], self.pre_biases[reads]
        return TopKProx(k).of_affine(seen, encoder.weight, encoder.bias, centre)

    def _seen(self, x: Rows) -> tuple[Rows, ...]:
        """Every model around its mean, in its own unit."""
        return self._split(self.operator.counted(x - self.scaling.mean))

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.split(x, list(self.widths), dim=-1)

    def _learning(self, turn: int) -> tuple[list[Tensor], list[Tensor]]:
        """Dictionaries and biases; in turns, those of the other models are constants."""
        pairs = zip(self.operator.weights, self.pre_biases, strict=True)
        held = [
            (w, b) if self.update == "joint" or i == turn else (w.detach(), b.detach())
            for i, (w, b) in enumerate(pairs)
        ]
        return [w for w, _ in held], [b for _, b in held]

    def _by_model(self) -> Iterator[list[nn.Parameter]]:
        """Parameters of each model."""
        for one, bias, encoder in zip(
            self.operator.of_models, self.pre_biases, self.encoders, strict=True
        ):
            yield [one.weight, bias, *encoder.parameters()]

    # The start

    def _scale(self, rows: Rows, generator: torch.Generator | None) -> None:
        """Read means, units and biases off the first rows; draw what draws the models."""
        self.scaling.mean.copy_(rows.mean(dim=0))
        self.operator.fit_(rows - self.scaling.mean)
        for bias, part in zip(self.pre_biases, self._seen(rows), strict=True):
            bias.copy_(geometric_median(part))
        where = None if generator is None else generator.device
        seed = torch.randint(2**62, (), generator=generator, device=where)
        self.draws.copy_(torch.stack([seed, torch.zeros_like(seed)]))

    def _start_at(self, atoms: Directions) -> None:
        """Set the dictionaries to the parts of some atoms of all models; encoders begin there."""
        for weight, encoder, part in zip(
            self.operator.weights, self.encoders, self._split(atoms), strict=True
        ):
            norms = part.norm(dim=1, keepdim=True)
            weight.copy_(torch.where(norms > NEAR_ONE, part / norms, weight))
            encoder.start_from_(weight.detach())

    def _atoms_to_set(self) -> Any:
        return self.operator.weights

    def _fit_encoder(self, rows: Rows) -> None:
        """Scale every encoder so that its codes best explain what they are read from."""
        seen = self._seen(rows)
        for i, encoder in enumerate(self.encoders):
            codes = self._code(seen[i], i, self.k)
            left = seen[i] - self.pre_biases[i]
            encoder.rescale_(best_gain(left, decode(codes, self.operator.weights[i])))


def _mixed(seed: int, number: int) -> int:
    """The number-th draw of a seed: the same on every device, with no state but the number.

    Source: SplitMix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    z = (seed + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)
