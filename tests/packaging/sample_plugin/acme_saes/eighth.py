"""TopK whose k is an eighth of the atoms."""

import sae_nb as sn


class EighthTopK(sn.TopK):
    """z = TopK_k(u) with k = n_atoms / 8."""

    def __init__(self, d_in: int, n_atoms: int) -> None:
        super().__init__(d_in, n_atoms, k=max(1, n_atoms // 8))

    def settings(self) -> dict[str, int]:
        return {"d_in": self.d_in, "n_atoms": self.n_atoms}
