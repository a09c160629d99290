"""Encoding and decoding: the calls that check their tensors and pick who computes.

Encoding chooses entries of u = (x − centre) weightᵀ + bias, by row, by batch or by threshold. Pre-codes
exist in tiles only. Gradients flow through the chosen values, to every tensor that requires one; the
choice is constant. Decoding adds up atoms, alone, against a target, and against a target by nested
prefixes of the dictionary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import (
    between,
    check_data,
    check_flag,
    check_integers,
    check_k,
    check_real,
    checked,
    one_of,
)
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import Support
from sae_nb.kernels import _autograd as autograd, _reference as reference
from sae_nb.kernels._autograd import primitives_of
from sae_nb.kernels._backends import (
    Backend,
    Entries,
    PreCodes,
    Primitives,
    card_encoding,
    card_topk_among,
    check_codes,
    check_dictionary,
    check_fit,
    check_tensors,
    kept_pre_codes,
    pick,
)
from sae_nb.kernels._memory import explain_out_of_memory

FEW = 2**15
"""Up to so many pre-codes, or products of a decoding, checks and threads cost more than they are for."""


def topk_encode(
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None = None,
    *,
    k: int,
    centre: Float[Tensor, " d_in"] | None = None,
    signed: bool = False,
    backend: Backend = "auto",
) -> SparseCodes:
    """Keep, in each row, the k largest positive pre-codes, or the k of largest magnitude.

    z = [TopK_k(u)]₊; with `signed`, z keeps the k entries of largest |u| with their sign.

    Parameters
    ----------
    x
        Inputs.
    weight
        Encoder rows, one per atom.
    bias
        Added to the pre-codes.
    k
        Most entries per row.
    centre
        Subtracted from every input first.
    signed
        Whether magnitudes compete and signs are kept.
    backend
        Backend that computes it.

    Returns
    -------
    SparseCodes
        At most k entries per row, fewer where fewer pre-codes are positive (or not zero). Of equal
        ones the lower atom is chosen (on a GPU: either).

    Raises
    ------
    ValueError: If shapes or dtypes do not fit, k is out of range, or the backend cannot run here; so in
        every call of this package.

    Source
    ------
    Gao et al., "Scaling and evaluating sparse autoencoders", arXiv 2406.04093; signed: "AbsTopK",
    arXiv 2510.00404.

    Example
    -------
    >>> x = torch.tensor([[3.0, 1.0, -2.0], [-1.0, -1.0, 0.5]])
    >>> topk_encode(x, torch.eye(3), k=2).to_dense().tolist()
    [[3.0, 1.0, 0.0], [0.0, 0.0, 0.5]]
    >>> topk_encode(x, torch.eye(3), k=2, signed=True).to_dense().tolist()
    [[3.0, 0.0, -2.0], [-1.0, -1.0, 0.0]]
    """
    pre_codes = _checked(x, weight, bias, centre)
    if not len(x):
        raise ValueError("`x` must have at least one row, got none.")
    k, signed = check_k(k, len(weight)), check_flag(signed, name="signed")
    if pick(backend, x) == "reference":
        return reference.topk(pre_codes.dense(), k, signed=signed)
    kept = pre_codes.detach()
    name = f"{'abs-topk' if signed else 'topk'} k {k}"
    return _encoded(backend, pre_codes, lambda p: p.topk(kept, k, signed=signed), name, k)


def topk_of_few(
    x: Tensor, weight: Tensor, bias: Tensor | None, centre: Tensor | None, *, k: int, signed: bool
) -> SparseCodes | None:
    """Return what `topk_encode` does of few pre-codes, of tensors that were checked before.

    None where it is not for this: many pre-codes, another device, tensors that do not fit, which it refuses.
    """
    if pick("auto", x) != "cpu" or x.is_neg():
        return None
    n_atoms, dtype = weight.shape[0], x.dtype
    if not (0 < x.shape[0] * n_atoms <= FEW and 0 < k <= n_atoms):
        return None
    for part in (weight, bias, centre):
        if part is not None and not (part.dtype == dtype and part.is_cpu):
            return None
    from sae_nb.kernels._cpu import Cpu, largest_of_few

    found = largest_of_few(x, weight, bias, centre, k, signed)
    if found is None:
        return None
    if torch.is_grad_enabled():
        return autograd.chosen(Cpu(), PreCodes(x, weight, bias, centre), Entries(*found))
    values, atoms, offsets = found
    return SparseCodes._made(values, Support(atoms, offsets, n_atoms))


def topk_among(
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None,
    *,
    k: int,
    among: Bool[Tensor, " n_atoms"],
    centre: Float[Tensor, " d_in"] | None = None,
) -> SparseCodes:
    """Keep, in each row, the k largest positive pre-codes of some atoms; on a card with Triton."""
    pre_codes = PreCodes(x.contiguous(), weight, bias, centre)
    kept = pre_codes.detach()
    with torch.no_grad():
        primitives, entries = card_topk_among(kept, k, among)
    return autograd.chosen(primitives, pre_codes, entries)


def batch_topk_encode(
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None = None,
    *,
    k: float,
    centre: Float[Tensor, " d_in"] | None = None,
    backend: Backend = "auto",
) -> SparseCodes:
    """Keep the rows · k largest positive pre-codes of the whole batch: k per row on average.

    Parameters
    ----------
    x, weight, bias, centre, backend
        As in `topk_encode`.
    k
        Entries per row on average, above 0; need not be whole.

    Returns
    -------
    SparseCodes
        Exactly rows · k entries (rounded), fewer where fewer pre-codes are positive. Of equal ones those in
        earlier rows, then at lower atoms, are chosen.

    Source
    ------
    Bussmann et al., "BatchTopK sparse autoencoders", arXiv 2412.06410.

    Example
    -------
    >>> x = torch.tensor([[3.0, 2.0, 1.0], [-1.0, -1.0, 0.5]])
    >>> batch_topk_encode(x, torch.eye(3), k=1).to_dense().tolist()
    [[3.0, 2.0, 0.0], [0.0, 0.0, 0.0]]
    """
    pre_codes = _checked(x, weight, bias, centre)
    n_kept = max(1, round(check_average_k(k, len(weight)) * len(x)))
    if pick(backend, x) == "reference":
        return reference.batch_topk(pre_codes.dense(), n_kept)
    kept = pre_codes.detach()
    name, per_row = f"batch-topk k {k}", -(-n_kept // len(x))
    return _encoded(backend, pre_codes, lambda p: p.batch_topk(kept, n_kept), name, per_row)


def threshold_encode(
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None = None,
    *,
    thresholds: Float[Tensor, " n_atoms"] | float,
    centre: Float[Tensor, " d_in"] | None = None,
    backend: Backend = "auto",
) -> SparseCodes:
    """Keep the pre-codes above the threshold of their atom: z_j = u_j where u_j > θ_j.

    Parameters
    ----------
    x, weight, bias, centre, backend
        As in `topk_encode`.
    thresholds
        θ, one number or one per atom; constants. Where one is negative, negative entries pass.

    Source
    ------
    Rajamanoharan et al., "Jumping ahead: improving reconstruction fidelity with JumpReLU sparse
    autoencoders", arXiv 2407.14435.

    Example
    -------
    >>> x = torch.tensor([[3.0, 1.0, -2.0], [-1.0, -1.0, 0.5]])
    >>> threshold_encode(x, torch.eye(3), thresholds=torch.tensor([2.0, 1.0, 0.0])).to_dense().tolist()
    [[3.0, 0.0, 0.0], [0.0, 0.0, 0.5]]
    """
    check_tensors(x=x, weight=weight)
    if not isinstance(thresholds, Tensor):
        thresholds = check_real(thresholds, name="thresholds")
    if isinstance(thresholds, Tensor):
        check_data(thresholds, name="thresholds")
    if not len(weight):
        raise ValueError("`weight` must have at least one atom, got none.")
    if isinstance(thresholds, Tensor):
        limits = thresholds.detach().to(x)
    else:
        limits = x.new_full((), thresholds)  # written there, not sent
    limits = limits.expand(len(weight)) if limits.ndim == 0 else limits
    pre_codes = _checked(x, weight, bias, centre, thresholds=limits)
    if pick(backend, x) == "reference":
        return reference.above(pre_codes.dense(), limits)
    kept = pre_codes.detach()
    # Not known before: as many as there are atoms, at worst.
    return _encoded(backend, pre_codes, lambda p: p.above(kept, limits), "threshold", len(weight))


def entries_encode(
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " n_atoms"] | None = None,
    *,
    entries: SparseCodes,
    centre: Float[Tensor, " d_in"] | None = None,
    backend: Backend = "auto",
) -> SparseCodes:
    """Give entries that were chosen by another rule the gradient of the pre-codes that they are.

    For a prox of one's own: it chooses entries without a gradient, from dense pre-codes of some rows at a
    time, and what they are is differentiated here, at these entries alone.

    Parameters
    ----------
    x, weight, bias, centre, backend
        As in `topk_encode`.
    entries
        What was chosen, with its strengths: pre-codes, or each a pre-code and a constant.

    Returns
    -------
    SparseCodes
        The same entries and strengths. On the `reference` backend to any order differentiable, elsewhere once.

    Example
    -------
    >>> weight = torch.eye(2)
    >>> third = SparseCodes.from_dense(torch.tensor([[0.0, 3.0]]))
    >>> codes = entries_encode(torch.tensor([[1.0, 3.0]]), weight, entries=third)
    >>> codes.to_dense().tolist()
    [[0.0, 3.0]]
    """
    pre_codes = _checked(x, weight, bias, centre)
    check_codes(entries)
    if entries.shape != (len(x), len(weight)):
        raise ValueError(
            f"`entries` must be codes of these rows and atoms, {(len(x), len(weight))}, got "
            f"{tuple(entries.shape)}. Choose them among the pre-codes of x."
        )
    values, chosen = entries.values.detach(), pick(backend, x)
    if chosen == "reference":
        u = pre_codes.dense()[entries.support.rows, entries.atoms.long()]
        return entries.with_values(values + (u - u.detach()))
    parts = Entries(values, entries.atoms, entries.offsets)
    primitives = primitives_of(chosen, entries.support, values)
    return autograd.chosen(primitives, pre_codes, parts)


def check_average_k(k: float, n_atoms: int, name: str = "k") -> float:
    """Refuse a number of entries per row that no batch can have."""
    do = "It counts entries per row on average."
    check_real(k, name=name)
    return between(k, 0, n_atoms, name=name, ends="(]", high_name="n_atoms", do=do)


def _checked(
    x: Tensor, weight: Tensor, bias: Tensor | None, centre: Tensor | None, **by_atom: Tensor
) -> PreCodes:
    check_tensors(x=x, weight=weight, bias=bias, centre=centre, **by_atom)
    vectors = {name: (vector, len(weight)) for name, vector in {"bias": bias, **by_atom}.items()}
    check_fit(x, weight, vectors | {"centre": (centre, x.shape[-1])})
    return PreCodes(x.contiguous(), weight, bias, centre)


def _encoded(
    backend: Backend,
    pre_codes: PreCodes,
    choose: Callable[[Primitives], Entries],
    name: str,
    per_row: int,
) -> SparseCodes:
    """Codes of a selection that keeps `per_row` entries of a row or fewer, on average."""
    x = pre_codes.x
    row_bytes = x.shape[1] * x.element_size() + per_row * (x.element_size() + 16)
    instead = "{rows} rows at a time would: encode them in parts, x[:{rows}] first."
    with explain_out_of_memory(
        f"Codes ({name}) of {pre_codes.n_atoms} atoms", x, row_bytes, instead
    ):
        return _chosen(backend, pre_codes, choose, name)


def _chosen(
    backend: Backend, pre_codes: PreCodes, choose: Callable[[Primitives], Entries], name: str
) -> SparseCodes:
    if pick(backend, pre_codes.x) == "cpu":
        from sae_nb.kernels._cpu import Cpu

        primitives: Primitives = Cpu()
    else:
        primitives = card_encoding(pre_codes, name)
    with torch.no_grad():
        entries = choose(primitives)
        if entries.support is not None and kept_pre_codes() is None:
            entries = entries.alone()
    return autograd.chosen(primitives, pre_codes, entries)


def decode(
    codes: SparseCodes,
    dictionary: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " d_in"] | None = None,
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "rows d_in"]:
    """Add up each row's atoms: x̂ = zD + b.

    Parameters
    ----------
    codes
        Strengths and atoms.
    dictionary
        Atoms.
    bias
        Added to every row.
    backend
        Backend that computes it.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0], [1.0, 1.0]]))
    >>> decode(codes, torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])).tolist()
    [[0.0, 2.0, 2.0], [1.0, 1.0, 1.0]]
    """
    check_tensors(bias=bias)
    check_dictionary(codes, dictionary)
    check_fit(codes.values, dictionary, {"bias": (bias, dictionary.shape[1])})
    chosen = pick(backend, codes.values)
    if chosen == "cpu" and backend == "auto" and codes.nnz * dictionary.shape[1] <= FEW:
        x_hat, *_ = torch.embedding_bag(
            dictionary,
            codes.atoms,
            codes.offsets,
            mode=0,  # a sum
            per_sample_weights=codes.values,
            include_last_offset=True,
        )
        return x_hat if bias is None else x_hat + bias
    if chosen == "reference":
        return reference.decode(codes, dictionary, bias)
    primitives = primitives_of(chosen, codes.support, codes.values)
    return autograd.Decoded.apply(codes.values, dictionary, bias, codes.support, primitives)  # type: ignore[no-untyped-call]


def squared_error(
    codes: SparseCodes,
    dictionary: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " d_in"] | None,
    target: Float[Tensor, "rows d_in"],
    *,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, ""], Float[Tensor, "rows d_in"], Float[Tensor, "rows d_in"]]:
    """Decode and compare with a target: Σ‖target − x̂‖² with x̂ = zD + b.

    The residual is both the loss and, up to a factor, its own gradient, so one pass serves both.

    Parameters
    ----------
    codes, dictionary, bias, backend
        As in `decode`.
    target
        Rows that the codes should reconstruct.

    Returns
    -------
    tuple
        The squared error, with gradients; x̂ and target − x̂, both constants.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0], [1.0, 1.0]]))
    >>> error, x_hat, residual = squared_error(codes, torch.eye(2), None, torch.ones(2, 2))
    >>> error.item(), residual.tolist()
    (2.0, [[1.0, -1.0], [0.0, 0.0]])
    """
    check_tensors(bias=bias, target=target)
    check_dictionary(codes, dictionary)
    check_fit(target, dictionary, {"bias": (bias, dictionary.shape[1])})
    _check_rows(codes, target)
    chosen = pick(backend, codes.values)
    if chosen == "reference":
        return reference.squared_error(codes, dictionary, bias, target)
    how = (codes.support, primitives_of(chosen, codes.support, codes.values))
    return autograd.SquaredError.apply(codes.values, dictionary, bias, target.contiguous(), *how)  # type: ignore[no-untyped-call]


def tails_squared_error(
    codes: Sequence[SparseCodes],
    dictionaries: Sequence[Float[Tensor, "n_atoms d_m"]],
    bias: Float[Tensor, " d_out"] | None,
    target: Float[Tensor, "rows d_out"],
    *,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, ""], Float[Tensor, "rows d_out"], Float[Tensor, "rows d_out"]]:
    """Decode several codes into one target and compare: Σ‖target − ŷ‖², ŷ = b + Σ_m [0 | z_m D_m].

    Dictionary m writes the last columns of the target, as many as it is wide. Memory holds one residual,
    whatever the number of codes.

    Parameters
    ----------
    codes, dictionaries
        One code of the same rows for each dictionary.
    bias, target, backend
        As in `squared_error`.

    Returns
    -------
    tuple
        The squared error, with gradients; ŷ and target − ŷ, both constants.

    Raises
    ------
    ValueError: If there is not one code per dictionary, shapes or dtypes do not fit, or the backend cannot
        run here.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[2.0]]))
    >>> wide, narrow = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0]])
    >>> error, y_hat, _ = tails_squared_error([codes, codes], [wide, narrow], None, torch.zeros(1, 2))
    >>> error.item(), y_hat.tolist()
    (20.0, [[2.0, 4.0]])
    """
    check_tensors(bias=bias, target=target)
    codes, dictionaries = list(codes), list(dictionaries)
    if not codes or len(codes) != len(dictionaries):
        raise ValueError(
            f"`codes` must be one for each of `dictionaries`, {len(dictionaries)}, got {len(codes)}."
        )
    for one, dictionary in zip(codes, dictionaries, strict=True):
        check_dictionary(one, dictionary)
        _check_rows(one, target)
        if dictionary.shape[1] > target.shape[1]:
            raise ValueError(
                f"`dictionaries` must be at most as wide as `target`, {target.shape[1]}, got one of "
                f"width {dictionary.shape[1]}."
            )
        check_fit(target[:, -dictionary.shape[1] :], dictionary, {})
    check_fit(target, target, {"bias": (bias, target.shape[1])})
    chosen = pick(backend, codes[0].values)
    if chosen == "reference":
        return reference.tails_squared_error(codes, dictionaries, bias, target)
    supports = tuple(one.support for one in codes)
    values = [one.values for one in codes]
    how = (supports, tuple(primitives_of(chosen, one.support, one.values) for one in codes))
    return autograd.TailsSquaredError.apply(bias, target, *how, *values, *dictionaries)  # type: ignore[no-untyped-call]


def _check_rows(codes: SparseCodes, target: Tensor) -> None:
    if len(target) != codes.n_rows:
        raise ValueError(
            f"`target` must have one row per row of `codes`, {codes.n_rows}, got shape "
            f"{tuple(target.shape)}."
        )


def nested_squared_error(
    codes: SparseCodes,
    dictionary: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " d_in"] | None,
    target: Float[Tensor, "rows d_in"],
    *,
    widths: Sequence[int] | Int[Tensor, " groups"],
    backend: Backend = "auto",
) -> tuple[Float[Tensor, " groups"], Float[Tensor, "rows d_in"], Float[Tensor, "rows d_in"]]:
    """Decode with the first m_g atoms alone, for every g: Σ‖target − x̂_g‖², x̂_g = z_{:m_g} D_{:m_g} + b.

    Prefixes are built up group by group from the sparse codes; nothing is decoded twice.

    Parameters
    ----------
    codes, dictionary, bias, target, backend
        As in `squared_error`; the bias is added to every prefix.
    widths
        m_1 < … < m_G = n_atoms.

    Returns
    -------
    tuple
        The squared error of each prefix, with gradients; x̂ of all atoms and target − x̂, constants.

    Raises
    ------
    ValueError: If shapes or dtypes do not fit, widths do not ascend to n_atoms, or the backend cannot run
        here.

    Source
    ------
    Bussmann et al., "Learning multi-level features with Matryoshka sparse autoencoders", arXiv
    2503.17547.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[1.0, 2.0]]))
    >>> errors, *_ = nested_squared_error(codes, torch.eye(2), None, torch.ones(1, 2), widths=(1, 2))
    >>> errors.tolist()
    [1.0, 1.0]
    """
    check_tensors(bias=bias, target=target)
    check_dictionary(codes, dictionary)
    check_fit(target, dictionary, {"bias": (bias, dictionary.shape[1])})
    _check_rows(codes, target)
    if isinstance(widths, Tensor) and kept_pre_codes() is not None:
        drawn = (codes.support, widths, primitives_of("cuda", codes.support, codes.values))
        return autograd.NestedSquaredError.apply(codes.values, dictionary, bias, target, *drawn)  # type: ignore[no-untyped-call]
    ends = check_integers(widths, name="widths")
    if not ends or ends[-1] != codes.n_atoms or any(a >= b for a, b in zip((0, *ends), ends)):
        raise ValueError(
            f"`widths` must ascend from at least 1 to n_atoms={codes.n_atoms}, got {list(ends)}. End "
            "with the whole dictionary."
        )
    chosen = pick(backend, codes.values)
    if chosen == "reference":
        return reference.nested_squared_error(codes, dictionary, bias, target, ends)
    how = (codes.support, ends, primitives_of(chosen, codes.support, codes.values))
    return autograd.NestedSquaredError.apply(codes.values, dictionary, bias, target, *how)  # type: ignore[no-untyped-call]


def per_entry(
    vector: Float[Tensor, " n_atoms"], codes: SparseCodes, *, backend: Backend = "auto"
) -> Float[Tensor, " nnz"]:
    """Return the number of each entry's atom: vector[codes.atoms], with a gradient that repeats bit for
    bit.

    Parameters
    ----------
    vector
        One number per atom.
    codes
        Whose entries are meant.
    backend
        Backend that adds up the gradient.

    Raises
    ------
    ValueError: If the vector has another length than the dictionary, or the backend cannot run here.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0], [1.0, 1.0]]))
    >>> per_entry(torch.tensor([10.0, 20.0]), codes).tolist()
    [20.0, 10.0, 20.0]
    """
    check_tensors(vector=vector)
    check_codes(codes)
    if vector.shape != (codes.n_atoms,):
        raise ValueError(
            f"`vector` must have shape ({codes.n_atoms},), one number per atom, got "
            f"{tuple(vector.shape)}. Flatten it."
        )
    chosen = pick(backend, vector)
    if chosen == "reference":
        return vector[codes.atoms.long()]
    primitives = primitives_of(chosen, codes.support, codes.values)
    return autograd.PerEntry.apply(vector, codes.support, primitives)  # type: ignore[no-untyped-call]


@checked
def warm_up(dtype: torch.dtype = torch.float32) -> None:
    """Compile (or load from disk) every CPU loop now, on a toy, instead of at the first batch."""
    one_of(dtype, (torch.float32, torch.float64), name="dtype")
    x = torch.ones(2, 2, dtype=dtype)
    weight = torch.eye(2, dtype=dtype, requires_grad=True)
    codes = topk_encode(x, weight, k=1, backend="cpu")
    threshold_encode(x, weight, thresholds=0.0, backend="cpu")
    error, *_ = squared_error(codes, weight, None, x, backend="cpu")
    torch.autograd.backward(error + decode(codes, weight, backend="cpu").sum())
