"""What lowers an SAE's error: a dearer code, an earlier SAE that knows something, never rows of other samples."""

from __future__ import annotations

import torch

import sae_nb as sn
from sae_nb_studies.evaluation import reduce_error

N, D = 3000, 8


def places() -> tuple[sn.Activations, sn.Activations]:
    """Rows, and a later place that adds a square of one coordinate which no linear map of it gives back."""
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    later = x.clone()
    later[:, 0] = x[:, 0].abs()
    return sn.Activations.from_tensor(x), sn.Activations.from_tensor(later)


class Half:
    """An SAE that leaves out the second half of the coordinates, or adds what `kept` says."""

    d_in = n_atoms = D
    dictionary = torch.eye(D)

    def __init__(self, made) -> None:
        self.made = made

    def encode(self, x: torch.Tensor) -> sn.SparseCodes:
        return sn.SparseCodes.from_dense(self.made(x))

    def decode(self, codes: sn.SparseCodes) -> torch.Tensor:
        return codes.to_dense()


def test_an_earlier_output_gives_back_what_the_later_place_has_lost() -> None:
    """The later SAE mistakes coordinate 1 by sign(x₀)·x₁, which the earlier one has; other rows have not."""
    earlier, acts = places()
    x = earlier.x
    bent = x[:, 1] * x[:, 0].sign()
    lost = {tuple(row.tolist()): float(b) for row, b in zip(acts.x, bent, strict=True)}

    def misses(rows: torch.Tensor) -> torch.Tensor:
        made = rows.clone()
        made[:, 1] -= torch.tensor([lost[tuple(row.tolist())] for row in rows])
        return made

    def knows(rows: torch.Tensor) -> torch.Tensor:
        made = rows.clone()
        made[:, 2] = rows[:, 1] * rows[:, 0].sign()
        return made

    found = reduce_error(Half(misses), acts, Half(knows), earlier)
    assert found.encoder > 0.1
    assert found.earlier < 0.02 * found.encoder
    assert found.other_rows > 0.95 * found.encoder


def test_pursuit_lowers_the_error_of_a_poor_encoder_and_parts_add_up() -> None:
    earlier, acts = places()
    sae = sn.TopK(D, 32, 3, generator=torch.Generator().manual_seed(0))
    found = reduce_error(sae, acts, sae, earlier)
    assert found.pursuit < found.encoder
    table = found.table.set_index("way")
    assert table.loc["gradient pursuit", "R²"] > table.loc["encoder", "R²"]
    assert str(found).startswith("ErrorReductions(not linear in x:")
