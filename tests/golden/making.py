"""Make the golden files of architectures that have none yet: `python -m tests.golden.making`.

With `--all`, those of every architecture; only when a format changes on purpose.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sae_nb.architectures import ARCHITECTURES, SparseAutoencoder
from sae_nb.classical import SemiNMF
from sae_nb.interop import write_saelens
from tests.golden.golden import EXPECTED, FILES, SAE, SAELENS

D_IN, N_ATOMS, K, ROWS, SEED = 8, 16, 3, 6, 0
D_OUT = 6
OWN: dict[str, dict[str, Any]] = {
    "Crosscoder": {"widths": [3, 5]},
    "GroupSparse": {"d_image": 3, "d_text": 5},
    "CrossLayerTranscoder": {"widths": [3, 5]},
    "JumpReLU": {"l0": float(K)},
    "Lorsa": {"d_out": D_OUT, "n_heads": 2, "d_head": 4},
    "Transcoder": {"d_out": D_OUT},
    "SkipTranscoder": {"d_out": D_OUT},
    "UniversalSAE": {"widths": [3, 5]},
}
FITTED = {"SemiNMF": lambda: SemiNMF(D_IN, 6, kept=0.5)}
"""What is fitted rather than trained. Fewer atoms than dimensions: then only one code is the best."""

NAMES = sorted([*ARCHITECTURES, *FITTED])
NOT_IN_SAELENS = {
    "CrossLayerTranscoder",
    "Crosscoder",
    "GroupSparse",
    "Lorsa",
    "OrthogonalMatchingPursuit",
    "PolySAE",
    "SemiNMF",
    "SkipTranscoder",
    "SpaDE",
    "Temporal",
    "TopAFA",
    "Transcoder",
    "TreeSAE",
    "UniversalSAE",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files of architectures that have none."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.making", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FILES)
    parser.add_argument("--all", action="store_true", help="write those that are there again")
    asked = parser.parse_args(arguments)
    for name in NAMES:
        if asked.all or not (asked.folder / name).exists():
            write_golden(name, asked.folder / name)
    return 0


def write_golden(name: str, folder: Path, **settings: Any) -> None:
    """Draw an SAE, save it, and record what it gives."""
    generator = torch.Generator().manual_seed(SEED)
    sae = drawn(name, generator, **settings)
    sae.save(folder / SAE)
    if name not in NOT_IN_SAELENS:
        write_saelens(sae, folder / SAELENS)
    x = activations(generator, name)
    with torch.no_grad():
        codes, x_hat = sae.encode(x), sae(x)
    tensors = {
        "x": x,
        "x_hat": x_hat,
        "values": codes.values,
        "atoms": codes.atoms,
        "offsets": codes.offsets,
        "n_atoms": torch.tensor(codes.n_atoms),
    }
    save_file({key: tensor.detach() for key, tensor in tensors.items()}, folder / EXPECTED)


@torch.no_grad()
def drawn(name: str, generator: torch.Generator, **settings: Any) -> SparseAutoencoder:
    """An SAE none of whose parameters is where it starts, so that each of them matters."""
    sae = started(name, generator, **settings)
    for parameter in sae.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.add_(0.05 * parameter.abs().mean().clamp_min(0.1) * noise)
    sae.after_optimiser_step()
    sae.hook_point, sae.model_name = "resid_post.1", "golden"
    return sae.eval()


def started(name: str, generator: torch.Generator, **settings: Any) -> SparseAutoencoder:
    """An SAE whose sizes and scales are those of the activations."""
    if name in FITTED:
        return FITTED[name]().fit(activations(generator, name, rows=512), n_steps=20)
    kind = ARCHITECTURES[name]
    taken = inspect.signature(kind.__init__).parameters
    sizes = {n: size for n, size in {"d_in": D_IN, "k": K}.items() if n in taken}
    sae = kind(n_atoms=N_ATOMS, generator=generator, **sizes | OWN.get(name, {}) | settings)
    x = activations(generator, name, rows=512).reshape(-1, D_IN)
    sae.initialise(x if sae.writes is None else torch.cat([x, target_of(sae, x)], 1), generator)
    return sae


def target_of(sae: SparseAutoencoder, x: torch.Tensor) -> torch.Tensor:
    """What is to be written, of the width that it has."""
    return x[:, : sum(sae.writes or ())].relu()


def activations(generator: torch.Generator, name: str, *, rows: int = ROWS) -> torch.Tensor:
    """Rows off the origin, the last of them zero; a batch of sequences for SAEs that read time."""
    x = 1 + 2 * torch.randn(rows, D_IN, generator=generator)
    x[-1] = 0
    return x.reshape(2, rows // 2, D_IN) if name in ("Lorsa", "Temporal") else x


if __name__ == "__main__":
    raise SystemExit(main())
