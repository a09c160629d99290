"""Decoding, alone, against a target, and against a target by nested prefixes of the dictionary."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.kernels import _reference as reference
from sae_nb.kernels._backends import Backend, check_dictionary, check_fit, pick, primitives_of


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
        Who computes it.

    Raises
    ------
    ValueError: If shapes or dtypes do not fit, or the backend cannot run here.

    Example
    -------
    >>> import torch
    >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0], [1.0, 1.0]]))
    >>> decode(codes, torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])).tolist()
    [[0.0, 2.0, 2.0], [1.0, 1.0, 1.0]]
    """
    check_dictionary(codes, dictionary)
    check_fit(codes.values, dictionary, {"bias": (bias, dictionary.shape[1])})
    chosen = pick(backend, codes.values)
    if chosen == "reference":
        return reference.decode(codes, dictionary, bias)
    from sae_nb.kernels import _autograd as autograd

    return autograd.decode(primitives_of(chosen, codes.support), codes, dictionary, bias)


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
    codes
        Strengths and atoms.
    dictionary
        Atoms.
    bias
        Added to every row.
    target
        What the rows should be.
    backend
        Who computes it.

    Returns
    -------
    tuple
        The squared error, with gradients; x̂ and target − x̂, both constants.

    Raises
    ------
    ValueError: If shapes or dtypes do not fit, or the backend cannot run here.

    Example
    -------
    >>> import torch
    >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0], [1.0, 1.0]]))
    >>> error, x_hat, residual = squared_error(codes, torch.eye(2), None, torch.ones(2, 2))
    >>> error.item(), residual.tolist()
    (2.0, [[1.0, -1.0], [0.0, 0.0]])
    """
    check_dictionary(codes, dictionary)
    check_fit(target, dictionary, {"bias": (bias, dictionary.shape[1])})
    chosen = pick(backend, codes.values)
    if chosen == "reference":
        return reference.squared_error(codes, dictionary, bias, target)
    from sae_nb.kernels import _autograd as autograd

    primitives = primitives_of(chosen, codes.support)
    return autograd.squared_error(primitives, codes, dictionary, bias, target.contiguous())


def nested_squared_error(
    codes: SparseCodes,
    dictionary: Float[Tensor, "n_atoms d_in"],
    bias: Float[Tensor, " d_in"] | None,
    target: Float[Tensor, "rows d_in"],
    *,
    widths: Sequence[int],
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
    >>> import torch
    >>> codes = SparseCodes.from_dense(torch.tensor([[1.0, 2.0]]))
    >>> errors, *_ = nested_squared_error(codes, torch.eye(2), None, torch.ones(1, 2), widths=(1, 2))
    >>> errors.tolist()
    [1.0, 1.0]
    """
    check_dictionary(codes, dictionary)
    check_fit(target, dictionary, {"bias": (bias, dictionary.shape[1])})
    ends = tuple(int(width) for width in widths)
    if not ends or ends[-1] != codes.n_atoms or any(a >= b for a, b in zip((0, *ends), ends)):
        raise ValueError(
            f"`widths` must ascend from at least 1 to n_atoms={codes.n_atoms}, got {list(ends)}. End "
            "with the whole dictionary."
        )
    chosen = pick(backend, codes.values)
    if chosen == "reference":
        return reference.nested_squared_error(codes, dictionary, bias, target, ends)
    from sae_nb.kernels import _autograd as autograd

    primitives = primitives_of(chosen, codes.support)
    return autograd.nested_squared_error(primitives, codes, dictionary, bias, target, ends)


def per_entry(
    vector: Float[Tensor, " n_atoms"], codes: SparseCodes, *, backend: Backend = "auto"
) -> Float[Tensor, " nnz"]:
    """The number of each entry's atom: vector[codes.atoms], with a gradient that repeats bit for bit.

    Parameters
    ----------
    vector
        One number per atom.
    codes
        Whose entries are meant.
    backend
        Who adds up the gradient.

    Raises
    ------
    ValueError: If the vector has another length than the dictionary, or the backend cannot run here.

    Example
    -------
    >>> import torch
    >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0], [1.0, 1.0]]))
    >>> per_entry(torch.tensor([10.0, 20.0]), codes).tolist()
    [20.0, 10.0, 20.0]
    """
    if vector.shape != (codes.n_atoms,):
        raise ValueError(
            f"`vector` must have shape ({codes.n_atoms},), one number per atom, got "
            f"{tuple(vector.shape)}. Flatten it."
        )
    chosen = pick(backend, vector)
    if chosen == "reference":
        return vector[codes.atoms.long()]
    from sae_nb.kernels import _autograd as autograd

    return autograd.per_entry(primitives_of(chosen, codes.support), vector, codes.support)
