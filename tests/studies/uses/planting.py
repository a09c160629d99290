"""Documents whose codes are written down by hand."""

from __future__ import annotations

from typing import Any

import torch

import sae_nb as sn
from sae_nb.corpora import Documents, documents


class Given:
    """An SAE whose codes are its input, with atoms of one's choice."""

    def __init__(self, dictionary: torch.Tensor) -> None:
        self.dictionary = dictionary
        self.d_in = self.n_atoms = len(dictionary)
        self.bias = torch.zeros(self.d_in)
        self.hook_point = self.model_name = self.writes = None
        self.reads_sequences, self.additive, self.training = False, True, False

    def encode(self, x: torch.Tensor) -> sn.SparseCodes:
        return sn.SparseCodes.from_dense(x)

    def decode(self, codes: sn.SparseCodes) -> torch.Tensor:
        return codes.to_dense()


def documents_of(
    codes: Any, labels: dict[int, str] | None = None, dictionary: torch.Tensor | None = None
) -> Documents:
    x = torch.as_tensor(codes, dtype=torch.float32)
    sae: Any = Given(torch.eye(x.shape[1]) if dictionary is None else dictionary)
    model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
    return documents(model, sae, x, "0", labels=labels, progress=False)
