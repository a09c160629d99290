"""Imported: another library's SAE, giving the codes and reconstructions that library gives.

u = (norm(x) − p·b)Eᵀ + a, z = select(u), x̂ = denorm(zD + b) + xWᵀ, where p is whether the bias is
subtracted first and W is the skip connection some have. A transcoder's D, b and W are where it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sae_nb._above import above
from sae_nb.activations import Activations
from sae_nb.activations._positions import DEFAULT, PositionPolicy
from sae_nb.architectures import DenseOperator, SparseAutoencoder, TrainingDefaults
from sae_nb.architectures._base import Encodable, Untrained
from sae_nb.architectures._one_step import without_zeros
from sae_nb.architectures._saving import misfit
from sae_nb.architectures.parts._operators import MatrixOperator
from sae_nb.architectures.parts._proxes import Rows, row_tiles
from sae_nb.checks import as_tensor, checked, one_of, warn_caller
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import index_dtype, offsets_of
from sae_nb.kernels import per_entry, threshold_encode, topk_encode

# -------------------------------------------------------------------------------------------------
# Pursuits exactly as two other libraries step them, so that their files give their codes.
#
# Ours (`sae_nb.pursuit`) are faster and go further, but differ in ways that show in the digits: these
# take atoms of any length as they are, stop by other rules, and solve the least-squares step by ten
# projected gradient steps only.


REFIT_STEPS = 10
"""Projected gradient steps per selection [overcomplete, sae/omp_sae.py: max_iter]."""


def matching(
    x: Float[Tensor, "rows d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    steps: int,
    *,
    tolerance: float = 0.0,
    stops_on_same_support: bool = False,
    nonnegative: bool = True,
) -> SparseCodes:
    """Return matching pursuit with atoms of any length: z_j += ⟨r, d_j⟩, r −= ⟨r, d_j⟩ d_j.

    Source: Stopping rules: SAELens 6.54, saes/matching_pursuit_sae.py. Without them and with
    `nonnegative=False`: overcomplete 0.3, sae/mp_sae.py.
    """
    n_atoms = len(dictionary)
    parts = [
        _matching_tile(x[rows], dictionary, steps, tolerance, stops_on_same_support, nonnegative)
        for rows in row_tiles(len(x), n_atoms)
    ]
    return SparseCodes.concatenate(parts)


def _matching_tile(
    x: Tensor, dictionary: Tensor, steps: int, tolerance: float, stops: bool, nonnegative: bool
) -> SparseCodes:
    residual = x
    chosen = torch.full((len(x), steps), -1, device=x.device)
    amounts = x.new_zeros(len(x), steps)
    done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for step in range(steps):
        atoms = (residual @ dictionary.T).argmax(dim=1)
        rows = dictionary[atoms]
        amount = torch.linalg.vecdot(residual, rows)
        if nonnegative:
            amount = amount.clamp_min(0)
        amount = torch.where(done, 0, amount)
        grows = (amount != 0) & (chosen != atoms[:, None]).all(dim=1)
        chosen[:, step] = torch.where(amount != 0, atoms, -1)
        amounts[:, step] = amount
        residual = residual - amount[:, None] * rows
        if stops:
            done = done | ~grows
        if tolerance > 0:
            done = done | (residual.norm(dim=1) < tolerance)
        if bool(done.all()):
            break
    return gathered(chosen, amounts, len(dictionary))


def orthogonal(
    x: Float[Tensor, "rows d_in"], dictionary: Float[Tensor, "n_atoms d_in"], steps: int
) -> SparseCodes:
    """Run orthogonal matching pursuit whose non-negative least squares takes `REFIT_STEPS` steps.

    Source: overcomplete 0.3, sae/omp_sae.py and optimization/utils.py (`batched_matrix_nnls`). Its
    early stop (gradient of a whole batch below 1e-5) is left out: rows would depend on each other.
    """
    parts = [
        _orthogonal_tile(x[rows], dictionary, steps) for rows in row_tiles(len(x), len(dictionary))
    ]
    return SparseCodes.concatenate(parts)


def _orthogonal_tile(x: Tensor, dictionary: Tensor, steps: int) -> SparseCodes:
    residual = x
    chosen = torch.empty(len(x), 0, dtype=torch.long, device=x.device)
    z = x.new_zeros(len(x), 0)
    for _ in range(steps):
        correlations = (residual @ dictionary.T).scatter(1, chosen, -torch.inf)
        chosen = torch.cat([chosen, correlations.argmax(dim=1, keepdim=True)], dim=1)
        atoms = dictionary[chosen]
        z = _refit(atoms, x, torch.cat([z, z.new_zeros(len(z), 1)], dim=1))
        residual = x - torch.einsum("rk,rkd->rd", z, atoms)
    return gathered(chosen, z, len(dictionary))


def _refit(
    atoms: Float[Tensor, "rows k d_in"], x: Float[Tensor, "rows d_in"], z: Float[Tensor, "rows k"]
) -> Float[Tensor, "rows k"]:
    gram = atoms @ atoms.mT
    target = torch.einsum("rkd,rd->rk", atoms, x)
    rate = 1 / (gram.square().sum(dim=(1, 2)).sqrt() + 1e-8)
    for _ in range(REFIT_STEPS):
        gradient = torch.einsum("rkj,rj->rk", gram, z) - target
        z = (z - rate[:, None] * gradient).clamp_min(0)
    return z


def gathered(
    atoms: Int[Tensor, "rows k"], amounts: Float[Tensor, "rows k"], n_atoms: int
) -> SparseCodes:
    """Return codes from the selections of each row; an atom chosen twice counts with the sum."""
    order = atoms.argsort(dim=1, stable=True)
    atoms, amounts = atoms.gather(1, order), amounts.gather(1, order)
    first = torch.ones_like(atoms, dtype=torch.bool)
    first[:, 1:] = atoms[:, 1:] != atoms[:, :-1]
    place = first.cumsum(dim=1) - 1
    total = torch.zeros_like(amounts).scatter_add(1, place, amounts)
    keep = first & (atoms >= 0)
    keep &= total.gather(1, place) != 0
    rows, columns = keep.nonzero(as_tuple=True)
    counts = keep.sum(dim=1)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(dim=0)])
    values = total[rows, place[rows, columns]]
    return SparseCodes(values, atoms[rows, columns].to(index_dtype(n_atoms)), offsets, n_atoms)


# -------------------------------------------------------------------------------------------------
# Imported: another library's SAE, giving the codes and reconstructions that library gives.


Rule = Literal["relu", "topk", "abstopk", "jumprelu", "gated", "groupmax", "matching", "orthogonal"]
Norm = Literal["none", "layer_norm", "constant_norm", "centre"]


@checked
@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where an imported SAE comes from, as its file states it."""

    library: str
    architecture: str
    """The library that wrote it, and what that library calls the architecture."""

    model_name: str | None = None
    hook_name: str | None = None
    """The model it was trained on and the place in it, in that library's words."""

    hook_name_out: str | None = None
    """For a transcoder, the place it reconstructs; None: the place it reads."""

    context_length: int | None = None
    prepend_bos: bool | None = None
    """Tokens per sequence while training; whether sequences began with the begin-of-text token."""

    head: int | None = None
    """For an SAE of one attention head, its number; None: it reads its hook point whole."""

    centred: bool = False
    """Whether it is of a place whose mean TransformerLens takes off where the norms are layer norms, and its
    file states that it did."""

    stated: dict[str, float] = field(default_factory=dict)
    """Figures the file states, such as "l0"."""

    release: str | None = None
    neuronpedia: str | None = None
    """For one of `sn.published`: its name there, and its source on Neuronpedia, "model/source"."""

    notes: list[str] = field(default_factory=list)
    """The reader's changes to the file's numbers, and requirements of its use; a sentence each."""

    unread: list[str] = field(default_factory=list)
    """Fields of its configuration that the reader did not read, "name=value"; most are of its training."""


CENTRING = {
    True: "The model it was trained on had its writing weights centred, so it reads activations less the mean "
    "of their entries: that is taken off first, and an SAE adds it again.",
    False: "Its file states centred writing weights, which TransformerLens makes for layer norms alone. Those "
    "of its model take off no mean: activations are read as they are.",
    None: "Its file states centred writing weights, and whether the norms of its model take means off is not "
    "known by the model's name: plain tensors are read less the mean of their entries, captured activations as "
    "their model says.",
}
"""Notes on an SAE whose file states centred weights, by whether its model's norms take the mean off; None: not
known.
"""

_LEAVES_OUT: dict[str, bool] = {
    "SAELens": False,  # seqpos_slice and exclude_special_tokens are off
    "dictionary_learning": False,  # remove_bos is
    "sparsify": False,
    "openai/sparse_autoencoder": False,
    "Gemma Scope": True,  # arXiv 2408.05147: not on the activations of BOS
    "Gemma Scope 2": True,
    "circuit-tracer": True,  # its graphs begin after the first position
    "Llama Scope": True,  # arXiv 2410.20526: not on those of special tokens
}
"""By library whether its trainings leave the first token out, unless told otherwise."""


def usual_positions(origin: Origin) -> PositionPolicy | None:
    """Return the positions on which a library trains by default; None where that is not known."""
    if origin.library not in _LEAVES_OUT:
        return None
    first = _LEAVES_OUT[origin.library]
    return PositionPolicy(drop_first=first, source=f"{origin.library} by {DEFAULT}")


def noted_factor(factor: float) -> str:
    """Return the note of an SAE whose file expects scaled activations."""
    return f"Activations are multiplied by {factor:.4g} first, as in its training: that is in its weights."


@checked
@dataclass(frozen=True, kw_only=True)
class Encoding:
    """The rule by which another library turns activations into codes."""

    rule: Rule
    """The selection of pre-codes, or the pursuit."""

    k: int | None = None
    """Entries, groups or steps per row, for rules that have it."""

    pre_bias: bool = True
    """Whether the bias is subtracted before encoding."""

    norm: Norm = "none"
    """Normalisation of each activation before encoding, undone after decoding; "centre" subtracts the
    mean of its entries.
    """

    tolerance: float = 0.0
    """‖r‖ at which a pursuit stops; 0: never."""

    stops_on_same_support: bool = False
    """Whether a pursuit stops once a step has added no atom."""

    nonnegative: bool = True
    """Whether a pursuit counts a negative correlation as zero."""

    keeps_equal: bool = False
    """Whether an entry equal to its threshold stays."""

    batch_k: float | None = None
    """Of a threshold that is one number for all atoms because batches were cut to k codes per row: that k,
    for which the rows of a batch compete in training; 0 where the file does not state it. None: it was not
    learned so."""

    groups: tuple[int, ...] | None = None
    """Sizes of nested dictionaries that must each reconstruct in training; None: only the whole must."""


class FromFile(Untrained):
    """Common parts of every SAE from another library: an origin, a look at the first activations, and the
    answer to a request to train it.
    """

    origin: Origin
    on_first_use: Callable[[Any, Activations], None] | None = staticmethod(misfit)
    no_training = (
        "An SAE read from another library must read and write one site without time to be trained here, and "
        "this one does not. Use it as it is, or train one of sae_nb's architectures, such as sn.Crosscoder "
        "or sn.Temporal."
    )

    def trained_as(self) -> SparseAutoencoder:
        """Refuse: it is used as it is."""
        raise TypeError(self.no_training)


@checked
class Imported(FromFile, SparseAutoencoder):
    """Another library's SAE, read by `sae_nb.interop`, to use or to continue training.

    Codes, reconstructions and `dictionary` are that library's to rounding. So, unlike our own
    architectures, atoms need not have unit norm: a code counts in lengths of its atom. Made by the
    readers, not by hand.

    `sn.train(sae, acts)` continues from it, with the loss and the recipe of our architecture of the
    same rule, and the writer of its library then saves it in the form in which it came.

    Parameters
    ----------
    d_in, n_atoms
        Sizes.
    encoding, origin
        The rule, an `Encoding`, and where the SAE comes from, an `Origin`; or their fields.
    d_out
        For a transcoder, the width of what it writes; None: an SAE, which writes what it reads.
    parts
        Names of the optional tensors it has: "encoder", "encoder_bias", "threshold", "gate_bias",
        "magnitude", "skip".

    Example
    -------
    >>> sae = Imported(2, 3, encoding={"rule": "relu"}, origin={"library": "x", "architecture": "y"})
    >>> sae.origin.library, sae.encoding.rule, sae(torch.ones(1, 2)).shape
    ('x', 'relu', torch.Size([1, 2]))
    """

    unit_atoms = False
    _told = False
    later_settings = {"d_out": None}

    operator: DenseOperator
    encoder: Tensor
    encoder_bias: Tensor
    threshold: Tensor
    gate_bias: Tensor
    magnitude: Tensor
    skip: Tensor

    def __init__(
        self,
        d_in: int,
        n_atoms: int,
        *,
        encoding: Encoding | dict[str, Any],
        origin: Origin | dict[str, Any],
        parts: tuple[str, ...] = ("encoder", "encoder_bias"),
        d_out: int | None = None,
    ) -> None:
        width = d_in if d_out is None else d_out
        super().__init__(self._new_operator(width, n_atoms), d_in)
        self.writes = None if d_out is None else (d_out,)
        if not isinstance(encoding, Encoding):  # what a file of ours holds, where tuples are lists
            groups = encoding.get("groups")
            groups = None if groups is None else tuple(groups)
            encoding = Encoding(**{**encoding, "groups": groups})
        self.encoding = encoding
        self.origin = origin if isinstance(origin, Origin) else Origin(**origin)
        self.position_policy = usual_positions(self.origin)
        self.parts = tuple(parts)
        shapes = part_shapes(d_in, n_atoms, width)
        for name in self.parts:
            one_of(name, shapes, name="parts")
            self.register_parameter(name, nn.Parameter(torch.zeros(shapes[name])))

    def _new_operator(self, width: int, n_atoms: int) -> MatrixOperator:
        return DenseOperator(width, n_atoms)

    @property
    def at_sites(self) -> list[Float[Tensor, "n_atoms d_m"]]:
        """Encoder directions and output directions of a transcoder's atoms; of an SAE, the atoms."""
        seeks = [self.encoder.detach()] if "encoder" in self.parts else []
        return [self.dictionary] if self.writes is None else [*seeks, self.dictionary]

    @property
    def k(self) -> int | None:
        """Entries, groups or steps per row; None where the rule has no such number."""
        return self.encoding.k

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild it."""
        return {
            "d_in": self.d_in,
            "n_atoms": self.n_atoms,
            "encoding": asdict(self.encoding),
            "origin": asdict(self.origin),
            "parts": list(self.parts),
            "d_out": None if self.writes is None else self.d_out,
        }

    @property
    def looks(self) -> bool:
        """Whether it looks at captured activations before it reads them."""
        return self.reads_centred or super().looks

    @property
    def reads_centred(self) -> bool:
        """Whether it is of a stream that layer norms' centred weights have written."""
        return self.origin.centred or self.encoding.norm == "centre"

    def look_at(self, acts: Activations) -> None:
        """See captured activations: the norms of their model say whether means are taken off."""
        takes_off = acts.context.policy.get("takes_off_mean")
        if self.reads_centred and isinstance(takes_off, bool):
            norms: tuple[Norm, Norm] = ("none", "centre")
            if self.encoding.norm == norms[not takes_off]:
                self.encoding = replace(self.encoding, norm=norms[takes_off])
            told = [note for note in self.origin.notes if note not in CENTRING.values()]
            self.origin = replace(self.origin, notes=[*told, CENTRING[takes_off]])
        super().look_at(acts)

    def _rows(self, x: Encodable, width: int | None = None) -> Rows:
        rows = super()._rows(x, width)
        if CENTRING[None] in self.origin.notes and not self._told:
            self._told = True
            warn_caller(
                f"The means of the rows of `x` are taken off. {CENTRING[None]} Pass what "
                "sn.capture gives."
            )
        return rows

    def _where(self, x: object = None) -> str:
        head = self.origin.head
        if head is None or self.hook_point is None:
            return super()._where(x)
        first, end = head * self.d_in, (head + 1) * self.d_in
        return (
            f"It reads head {head} of {str(self.hook_point)!r} alone: take columns {first} to {end} of what is "
            f"captured there, acts.x[:, {first}:{end}]."
        )

    def trained_as(self) -> SparseAutoencoder:
        """Return the SAE that a training works on: one of our architectures with the same codes."""
        twin: SparseAutoencoder = above("sae_nb.interop._finetuning", "trainee")(self)
        return twin

    def take_from(self, trained: SparseAutoencoder) -> None:
        """Take over what a training of `trained_as()` has learned."""
        trained.give_back(self)  # type: ignore[operator]

    def recipe(self) -> TrainingDefaults:
        """Return defaults for further training: those of our architecture of the same rule."""
        return self.trained_as().recipe()

    def decode(self, codes: SparseCodes) -> Float[Tensor, "*batch d_out"]:
        """Add up the atoms of each row, and the bias.

        Where activations are normalised (`encoding.norm`), this is in normalised units, and `sae(x)`
        gives the model's.
        """
        return super().decode(codes)

    def uncoded(self, x: Encodable) -> tuple[Tensor | float, Tensor | float]:
        """Return the length that a norm took, and the mean that it took with what a linear map adds."""
        if self.encoding.norm == "none" and "skip" not in self.parts:
            return 1.0, 0.0
        rows, lead = self._rows(x), as_tensor(x).shape[:-1]
        rest, gain = norm_of(rows, self.encoding.norm)
        if self.encoding.norm == "centre":
            rows = rows - rest
            rest = rest if self.writes is None else 0.0  # it is of what it reads
        if "skip" in self.parts:
            rest = rest + rows @ self.skip.T
        return tuple(p.reshape(*lead, -1) if isinstance(p, Tensor) else p for p in (gain, rest))  # type: ignore[return-value]

    def _encode(self, x: Float[Tensor, "rows d_in"], k: int | None) -> SparseCodes:
        x = normalised(x, self.encoding.norm)
        if self.encoding.pre_bias:
            x = x - self.bias
        if self.encoding.rule in ("matching", "orthogonal"):
            return self._pursue(x, k)
        return self._select(x, k)

    def _pursue(self, x: Tensor, k: int | None) -> SparseCodes:
        steps = self.d_in if k is None else k
        if self.encoding.rule == "orthogonal":
            return orthogonal(x, self.dictionary, steps)
        return matching(
            x,
            self.dictionary,
            steps,
            tolerance=self.encoding.tolerance,
            stops_on_same_support=self.encoding.stops_on_same_support,
            nonnegative=self.encoding.nonnegative,
        )

    def _select(self, x: Float[Tensor, "rows d_in"], k: int | None) -> SparseCodes:
        rule, weight = self.encoding.rule, self.encoder
        if rule == "gated":
            return self._gated(x)
        bias = self.encoder_bias if "encoder_bias" in self.parts else None
        if rule == "jumprelu":
            return threshold_encode(x, weight, bias, thresholds=self._limits())
        if rule == "relu":
            return threshold_encode(x, weight, bias, thresholds=0.0)
        if rule == "groupmax":
            return group_maxima(x, weight, bias, n_groups=int(k or 1))
        return topk_encode(x, weight, bias, k=int(k or 1), signed=rule == "abstopk")

    def _gated(self, x: Float[Tensor, "rows d_in"]) -> SparseCodes:
        chosen = threshold_encode(x, self.encoder, thresholds=-self.gate_bias)
        magnitude, bias = (per_entry(p, chosen) for p in (self.magnitude, self.encoder_bias))
        return without_zeros(chosen.with_values(torch.relu(chosen.values * magnitude + bias)))

    def _limits(self) -> Float[Tensor, " n_atoms"]:
        limits = self.threshold.detach()
        if self.encoding.keeps_equal:
            # The kernels keep what is above a limit: above the next float below θ is θ and more.
            limits = limits.nextafter(torch.full_like(limits, -torch.inf))
        return limits.clamp_min(0.0)  # these libraries apply a ReLU as well


def norm_of(x: Float[Tensor, "rows d_in"], norm: Norm) -> tuple[Tensor | float, Tensor | float]:
    """Centre and length of each row, which a reconstruction gets back."""
    if norm == "layer_norm":
        # SAELens divides by std + 1e-5 on the way in and multiplies by std on the way out.
        return x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True)
    if norm == "constant_norm":
        return 0.0, x.norm(dim=1, keepdim=True) / x.shape[1] ** 0.5
    if norm == "centre":
        return x.mean(dim=1, keepdim=True), 1.0
    return 0.0, 1.0


def normalised(x: Float[Tensor, "rows d_in"], norm: Norm) -> Float[Tensor, "rows d_in"]:
    """Return rows normalised as the SAE expects them."""
    centre, scale = norm_of(x, norm)
    return (x - centre) / (scale + (1e-5 if norm == "layer_norm" else 0.0))


def group_maxima(
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None,
    *,
    n_groups: int,
) -> SparseCodes:
    """Return the largest positive pre-code of each of k groups of neighbouring atoms."""
    n_atoms = len(weight)
    if not 1 <= n_groups <= n_atoms or n_atoms % n_groups:
        raise ValueError(
            f"`k` must divide n_atoms={n_atoms} for groups of neighbouring atoms, got {n_groups}."
        )
    firsts = range(0, n_atoms, n_atoms // n_groups)
    biases = [None] * n_groups if bias is None else bias.chunk(n_groups)
    parts = [topk_encode(x, w, b, k=1) for w, b in zip(weight.chunk(n_groups), biases, strict=True)]
    rows = torch.cat([part.support.rows for part in parts])
    order = rows.argsort(stable=True)  # groups stay in order, and so do the atoms of a row
    atoms = torch.cat([part.atoms + first for part, first in zip(parts, firsts, strict=True)])
    values = torch.cat([part.values for part in parts])
    offsets = offsets_of(torch.bincount(rows, minlength=len(x)))
    return SparseCodes(values[order], atoms[order].to(index_dtype(n_atoms)), offsets, n_atoms)


def part_shapes(d_in: int, n_atoms: int, d_out: int) -> dict[str, tuple[int, ...]]:
    """Return shapes of the optional tensors."""
    return {
        "encoder": (n_atoms, d_in),
        "encoder_bias": (n_atoms,),
        "threshold": (n_atoms,),
        "gate_bias": (n_atoms,),
        "magnitude": (n_atoms,),
        "skip": (d_out, d_in),
    }


def assemble(
    dictionary: Float[Tensor, "n_atoms d_out"],
    bias: Float[Tensor, " d_out"] | None,
    *,
    encoding: Encoding,
    origin: Origin,
    hook_point: str | None,
    target_hook_point: str | None = None,
    transcodes: bool = False,
    **parts: Tensor | None,
) -> Imported:
    """Put an imported SAE, or a transcoder, together from its tensors, in eval mode."""
    if dictionary.ndim != 2 or 0 in dictionary.shape:
        raise ValueError(
            "The dictionary in the file must be a matrix with a row per atom, got shape "
            f"{tuple(dictionary.shape)}. The file may be damaged, or of another kind."
        )
    n_atoms, d_out = dictionary.shape
    given = {name: tensor for name, tensor in parts.items() if tensor is not None}
    d_in = given["encoder"].shape[-1] if transcodes else d_out
    if transcodes and encoding.pre_bias:
        raise ValueError(
            "A transcoder's bias must not be taken off what it reads, because it is of what it writes, and "
            "this file states that it is. Save it with apply_b_dec_to_input=False."
        )
    facts: dict[str, Any] = {
        "encoding": encoding,
        "origin": origin,
        "d_out": d_out if transcodes else None,
    }
    with torch.device("meta"):
        sae = Imported(d_in, n_atoms, parts=tuple(given), **facts)
    given |= {"operator.weight": dictionary} | ({} if bias is None else {"pre_bias": bias})
    fill(sae, given)
    if bias is None:
        sae.pre_bias.requires_grad_(False)  # its file has no place for one
    sae.hook_point, sae.model_name = hook_point, origin.model_name
    sae.target_hook_point = target_hook_point
    return sae.eval()


_IN_FILES = {"operator.weight": "dictionary", "pre_bias": "bias"}
"""Names of our tensors in messages."""


def fill(sae: SparseAutoencoder, given: Mapping[str, Tensor]) -> None:
    """Give an SAE that was made without memory its tensors, those of a file in the shapes that it has."""
    state = {}
    for name, empty in sae.state_dict().items():
        if name in given:
            state[name] = _checked(_IN_FILES.get(name, name), given[name], tuple(empty.shape))
        else:
            # Units, scales and flags are 1; sums and biases that a file has not are 0.
            ones = name.endswith((".scale", ".unit", "initialised"))
            state[name] = torch.full(empty.shape, ones, dtype=empty.dtype)
    sae.load_state_dict(state, assign=True)


def _checked(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    if value.numel() == 1 and len(shape) == 1:
        value = value.reshape(1).expand(shape)
    if tuple(value.shape) != shape:
        raise ValueError(
            f"`{name}` in the file must have shape {shape} to fit its dictionary, got "
            f"{tuple(value.shape)}. The file may be damaged, or of another kind."
        )
    value = value.to(torch.float32)
    if not torch.isfinite(value).all():
        raise ValueError(
            f"`{name}` in the file must be finite, got NaN or infinity. Download it again."
        )
    return value.contiguous().clone()
