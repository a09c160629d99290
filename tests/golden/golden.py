"""Golden files: of every architecture a tiny SAE with the codes it must give, for tests of your own.

Each is a folder of a few kB that ships with the toolkit: the SAE as `sae.save` writes it, the same as
`sae_nb.interop.write_saelens` writes it where SAELens can compute its codes, and activations with the
codes and reconstructions that were computed when the files were made. Weights are drawn, not trained:
they are for testing readers, kernels and ports, and mean nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from sae_nb.architectures import SparseAutoencoder
from sae_nb.codes import SparseCodes

FILES = Path(__file__).parent / "files"
SAE, SAELENS, EXPECTED = "sae", "saelens", "expected.safetensors"


@dataclass(frozen=True, kw_only=True)
class Golden:
    """One SAE on disk, and what it must give.

    Example
    -------
    >>> from sae_nb.pretrained import load_sae
    >>> golden = read("TopK")
    >>> golden.differences(load_sae(golden.folder))
    []
    """

    name: str
    """Of the architecture."""

    folder: Path
    """The SAE as `load_sae` reads it."""

    saelens: Path | None
    """The same SAE as a SAELens folder; None where SAELens has no such architecture."""

    x: Float[Tensor, "*batch d_in"]
    """Activations; the last row has nothing but zeros."""

    codes: SparseCodes
    """Their codes, of `sae.encode(x)`."""

    x_hat: Float[Tensor, "*batch d_in"]
    """Their reconstructions, of `sae(x)`."""

    def differences(
        self, sae: SparseAutoencoder, *, rtol: float = 1e-4, atol: float = 1e-4
    ) -> list[str]:
        """What another SAE does differently on these activations."""
        with torch.no_grad():
            codes, x_hat = sae.encode(self.x), sae(self.x)
        found = []
        if codes.shape != self.codes.shape:
            return [f"Codes of {self.name} must have shape {self.codes.shape}, got {codes.shape}."]
        pairs = (("codes", codes.to_dense(), self.codes.to_dense()), ("x_hat", x_hat, self.x_hat))
        for what, given, expected in pairs:
            if not torch.allclose(given, expected, rtol=rtol, atol=atol):
                row = (given - expected).flatten(0, -2).abs().amax(dim=1)
                found.append(
                    f"`{what}` of {self.name} must be as recorded, got a difference of "
                    f"{float(row.max()):.2g} in row {int(row.argmax())}."
                )
        return found


def names() -> list[str]:
    """Architectures that have golden files: all of them.

    Example
    -------
    >>> "TopK" in names()
    True
    """
    return sorted(folder.name for folder in FILES.iterdir() if (folder / EXPECTED).is_file())


def read(name: str) -> Golden:
    """Open the golden files of an architecture.

    Example
    -------
    >>> golden = read("AbsTopK")
    >>> golden.x.shape[-1], golden.codes.n_atoms, golden.saelens.name
    (8, 16, 'saelens')
    """
    if name not in names():
        raise ValueError(f"`name` must be one of {', '.join(names())}, got {name!r}.")
    return at(FILES / name)


def at(folder: Path) -> Golden:
    """Open the golden files of a folder."""
    expected = load_file(folder / EXPECTED)
    x = expected["x"]
    parts = (expected["values"], expected["atoms"], expected["offsets"])
    return Golden(
        name=folder.name,
        folder=folder / SAE,
        saelens=folder / SAELENS if (folder / SAELENS).is_dir() else None,
        x=x,
        codes=SparseCodes(*parts, int(expected["n_atoms"]), tuple(x.shape[:-1])),
        x_hat=expected["x_hat"],
    )
