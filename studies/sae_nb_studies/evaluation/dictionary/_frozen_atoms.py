"""Frozen-decoder control: only the encoder is trained, over a fixed random dictionary.

An encoder reaches its score without any learned atom. It takes a training, so it is made on request,
and `frozen_decoder_cost` estimates its time first.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sae_nb.checks import Count, Seed, check_k, check_matrix, checked, is_array
from sae_nb.evaluation import chance_generator

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.training import TrainConfig


_TRIED = 10  # steps that the cost is measured on


@checked
def frozen_decoder(
    data: Activations | Tensor,
    n_atoms: Count,
    k: int,
    config: TrainConfig | None = None,
    *,
    seed: Seed = 0,
    progress: bool = True,
) -> SparseAutoencoder:
    """Train a TopK whose atoms are random and stay so, to compare an SAE with; in eval mode.

    Data, size, L0 and configuration (None is `TrainConfig()`) are those of the SAE it is compared with;
    `seed` draws the atoms.

    Source
    ------
    The frozen-decoder baseline of "Towards principled evaluations of sparse autoencoders",
    arXiv 2405.08366.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> control = frozen_decoder(x, 16, 2, sn.TrainConfig(steps=5), progress=False)
    >>> other = frozen_decoder(x, 16, 2, sn.TrainConfig(steps=9), progress=False)
    >>> torch.allclose(control.dictionary, other.dictionary, atol=1e-6)
    True
    """
    from sae_nb.training import TrainConfig, train

    sae = _frozen(data, n_atoms, k, seed)
    train(sae, data, config or TrainConfig(), progress=progress)
    return sae


@checked
def frozen_decoder_cost(
    data: Activations | Tensor, n_atoms: Count, k: int, config: TrainConfig | None = None
) -> float:
    """Return seconds that `frozen_decoder` with the same arguments will take, from a few steps of it.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> frozen_decoder_cost(torch.randn(200, 8), 16, 2, sn.TrainConfig(steps=100)) > 0
    True
    """
    from sae_nb.training import TrainConfig, train

    whole = config or TrainConfig()
    tried = min(_TRIED, whole.steps)
    sae = _frozen(data, n_atoms, k, 0)
    short = replace(whole, steps=tried, checkpoint=None)
    train(sae, data, replace(short, steps=1), progress=False)  # loops compile, data are looked at
    start = time.perf_counter()
    train(sae, data, short, progress=False)
    return (time.perf_counter() - start) * whole.steps / tried


def _frozen(data: Any, n_atoms: int, k: int, seed: int) -> SparseAutoencoder:
    from sae_nb.architectures import TopK

    check_k(k, n_atoms)
    d_in = check_matrix(data, name="data").shape[-1] if is_array(data) else data.d_in
    sae = TopK(d_in, n_atoms, k, generator=chance_generator(seed))
    for name, parameter in sae.named_parameters():
        if name.startswith("operator."):
            parameter.requires_grad_(False)
    return sae
