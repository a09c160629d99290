"""GroupSparse: paired embeddings of two modalities share atoms; a pair's two codes are drawn to one support."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures import Crosscoder, TrainingLoss
from sae_nb.architectures.parts import Centre, Encodable, LossTerms, Rows, class_over
from sae_nb.checks import Count, Share, Weight, as_tensor, check_count, check_k, checked
from sae_nb.codes import SparseCodes
from sae_nb.kernels import squared_error

PENALTY = 0.02
"""λ. Ours, not tuned."""

MASK = 0.25
"""Share of the pairs of a batch in which one modality is written from the other's code. Ours, not tuned."""


@checked
class GroupSparse(Crosscoder):
    """Atoms shared by two modalities, each of which is read by itself.

    With u_m the unit of modality m (image, text) and E_m, D_m the parts of encoder and dictionary there,

    z_m = [TopK_k((x_m − b_m) E_mᵀ / u_m + a)]₊,  x̂_m = z_m D_m + b_m,

    trained on the unexplained share of variance, averaged over modalities, plus
    λ Σ_j √(z_1j² + z_2j²), summed over the union of the two supports, and AuxK. The square root makes two
    atoms of one modality each dearer than one atom of both. In a share of the pairs (`mask`), one modality,
    drawn by a coin, is written from the code of the other, so that a code must say what both show.

    `encode(x, reads=0)` reads the first modality, `reads=1` the second; without it a pair is read, and its
    code is the mean of the two. A dictionary without these terms tends to split: atoms that fire for one
    modality alone (`sn.studies.evaluation.modality_scores`).

    Parameters
    ----------
    d_image, d_text
        Widths of the two embeddings.
    n_atoms
        Atoms, shared by both.
    k
        Most atoms per embedding; a pair has up to twice that.
    penalty
        λ, in units of the typical length of an embedding. 0 leaves the group term out.
    mask
        Share of the pairs with one modality masked, in [0, 1].
    generator, settings
        Of `TopK`.

    Source
    ------
    Cross-modal random masking and group sparsity: arXiv 2601.20028, of which we know the abstract. The
    equations above are ours, inferred from it: that a masked code is replaced by the other's, the ℓ2,1
    form, both weights, TopK below it, and separate parts of an atom per modality.

    Example
    -------
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> y = x @ torch.ones(4, 6)
    >>> g = GroupSparse(4, 6, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> g.initialise([x, y])
    >>> codes = g.encode(x, reads=0)
    >>> codes.shape, [part.shape for part in g.decode(codes)]
    ((300, 8), [torch.Size([300, 4]), torch.Size([300, 6])])
    >>> bool((g.encode([x, y]).l0 <= 4).all())
    True
    """

    live_numbers = ("k", "aux_weight", "penalty", "mask")
    reads_alone = True
    masking_seed: Tensor

    def __new__(cls, *_: Any, **__: Any) -> GroupSparse:
        """An object that is of both classes, this and TopK."""
        if "_host" not in vars(cls):
            cls = class_over(cls, "TopK")
        return super().__new__(cls)  # type: ignore[return-value]

    def __init__(
        self,
        d_image: Count,
        d_text: Count,
        n_atoms: Count,
        k: int,
        *,
        penalty: Weight = PENALTY,
        mask: Share = MASK,
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> None:
        widths = [d_image, d_text]
        check_k(k, n_atoms)
        self.penalty = penalty
        self.mask = float(mask)
        super().__init__(widths, n_atoms, k, base="TopK", generator=generator, **settings)
        self.register_buffer("masking_seed", torch.zeros((), dtype=torch.int64))

    __new__.__wrapped__ = __init__  # type: ignore[attr-defined]  # help() shows these arguments

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild a dictionary of this kind and size."""
        rest = super().settings()
        d_image, d_text = rest.pop("widths")
        del rest["base"]
        own = {"penalty": self.penalty, "mask": self.mask}
        return {"d_image": d_image, "d_text": d_text} | rest | own

    def encode(
        self,
        x: Encodable | Sequence[Encodable],
        k: float | None = None,
        *,
        reads: int | None = None,
    ) -> SparseCodes:
        """Find the code of one modality's embeddings, or of pairs.

        Parameters
        ----------
        x
            With `reads`, embeddings of that modality, (…, d_m). Without it pairs, [image, text]; or both
            side by side, (…, d_image + d_text).
        k
            Most atoms per embedding; None is its own.
        reads
            0: the first modality, 1: the second. None: pairs, of whose two codes it is the mean.

        Raises
        ------
        ValueError: If a modality is missing, or the two are not of the same pairs.
        """
        if reads is None:
            return super().encode(x, k)
        site = check_count(reads, name="reads", at_least=0, at_most=1)
        most = self._checked_k(k)  # type: ignore[arg-type]
        rows = self._rows(x, self.widths[site])  # type: ignore[arg-type]
        return self._read_alone(rows, site, most).reshape(*as_tensor(x).shape[:-1])

    def training_loss(
        self, x: Rows, silent_tokens: Int[Tensor, " n_atoms"], dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return unexplained share of variance of both modalities, the group term, and AuxK once atoms
        are dead.
        """
        codes = self._both_codes(x, None)
        pair, strengths = paired(*codes)
        own, crossed = self._errors(x, codes, step_fraction)
        parts: LossTerms = {
            "reconstruction": (1.0, self._share(own, len(x))),
            "crossed": (1.0, self._share(crossed, len(x))),
            "group": (self.penalty, self._group(strengths, len(x))),
        }
        with torch.no_grad():
            x_hat = self.operator.synthesise(pair.detach(), self.bias)
        residual = x - x_hat
        self._revive(parts, x, residual, silent_tokens, dead_after, step_fraction)
        return TrainingLoss.of(parts, pair, x_hat)

    # One modality, and two

    def _read_alone(self, rows: Rows, site: int, k: int | None) -> SparseCodes:
        """The code of one modality's rows."""
        part = self._part(site)
        seen = (rows - self.scaling.mean[part]) / self.operator.unit[part]
        weight = self.encoder.weight[:, part].contiguous()
        offset = self.encoder.bias / self.scaling.scale
        return self._prox(k).of_affine(seen, weight, offset, self.pre_bias[part])

    def _part(self, site: int) -> slice:
        """Columns of a modality where both lie side by side."""
        first = self.widths[0]
        return slice(0, first) if site == 0 else slice(first, None)

    def _both_codes(self, x: Rows, k: int | None) -> list[SparseCodes]:
        return [self._read_alone(x[:, self._part(site)], site, k) for site in (0, 1)]

    def _encode(self, x: Rows, k: int | None) -> SparseCodes:
        return paired(*self._both_codes(x, k))[0]

    def _seen(self, x: Rows) -> tuple[Rows, Centre]:
        """The mean of what the two encoders read, for atoms that are dead in both."""
        seen, centre = super()._seen(x)
        return seen / 2, None if centre is None else centre / 2

    # Terms of the loss

    def _errors(
        self, x: Rows, codes: list[SparseCodes], step_fraction: float
    ) -> tuple[Tensor, Tensor]:
        """Σ‖x_m − x̂_m‖² in units of the modalities: of those written from their own code, and of the others."""
        masked = self._masked(len(x), step_fraction)
        counted = self.operator.counted(x - self.scaling.mean)
        own, crossed = x.new_zeros(()), x.new_zeros(())
        for site in (0, 1):
            part = self._part(site)
            target, centre = counted[:, part], self.pre_bias[part]
            atoms = self.operator.weight[:, part].contiguous()
            away = (masked == site).nonzero().flatten()
            here = (masked != site).nonzero().flatten()
            own = own + squared_error(codes[site].rows(here), atoms, centre, target[here])[0]
            if len(away):
                error, *_ = squared_error(codes[1 - site].rows(away), atoms, centre, target[away])
                crossed = crossed + error
        return own, crossed

    def _masked(self, n: int, step_fraction: float) -> Tensor:
        """Return which modality of each pair is masked, −1 for none; a function of the step, so that a
        resumed run repeats it.
        """
        seed = int(self.masking_seed) + round(step_fraction * 2**32)
        drawn = torch.rand(n, generator=torch.Generator().manual_seed(seed))
        which = torch.where(drawn < self.mask / 2, 0, 1)
        return torch.where(drawn < self.mask, which, -1).to(self.device)

    def _group(self, strengths: Float[Tensor, "2 union"], n: int) -> Tensor:
        """Σ_j √(z_1j² + z_2j²) per pair, in units of the typical length of what is reconstructed."""
        return torch.linalg.vector_norm(strengths, dim=0).sum() / (n * math.sqrt(self.d_in))

    def _scale(self, rows: Rows, generator: torch.Generator | None) -> None:
        super()._scale(rows, generator)
        self.masking_seed.random_(2**31, generator=generator)


def paired(first: SparseCodes, second: SparseCodes) -> tuple[SparseCodes, Float[Tensor, "2 union"]]:
    """Return the mean of two codes of the same rows, and the strengths of both over the union of their
    supports.
    """
    n_atoms, rows = first.n_atoms, first.n_rows
    places = [code.support.rows.long() * n_atoms + code.atoms.long() for code in (first, second)]
    union, where = torch.unique(torch.cat(places), return_inverse=True)
    side = torch.repeat_interleave(
        torch.arange(2, device=union.device),
        torch.tensor([first.nnz, second.nnz], device=union.device),
    )
    values = torch.cat([first.values, second.values])
    strengths = values.new_zeros(2, len(union)).index_put((side, where), values)
    row = torch.div(union, n_atoms, rounding_mode="floor")
    mean = strengths.mean(dim=0)
    return SparseCodes.from_entries(mean, row, union % n_atoms, (rows, n_atoms)), strengths
