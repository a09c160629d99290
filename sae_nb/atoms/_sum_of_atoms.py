"""One activation as a sum of atoms: the sentence that explains an SAE, with the numbers of one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._sites import acts_for, reconstruction, uncoded, written_codes
from sae_nb.checks import Count, check_atom, checked
from sae_nb.figures._sum_strips import sum_of_strips
from sae_nb.figures.theme import format_number, format_percent
from sae_nb.findings import Finding, column


class SumOfAtoms(Finding):
    """x = bias + linear + Σ_j z_j·d_j + error, for one row; the strongest atoms one by one.

    Made by `sum_of_atoms`; `plot()` draws it.
    """

    where: str
    """Where the row comes from, in words."""

    x: Float[np.ndarray, " d_in"]
    bias: Float[np.ndarray, " d_in"]
    atoms: Int[np.ndarray, " n"] = field(metadata=column("atom", index=True))
    strengths: Float[np.ndarray, " n"] = field(metadata=column("strength"))
    """The n largest |z_j|, largest first, and their atoms."""

    parts: Float[np.ndarray, "n d_in"]
    """z_j·d_j of each."""

    rest: Float[np.ndarray, " d_in"]
    n_rest: int
    """The sum over all weaker atoms, and how many they are."""

    labels: tuple[str, ...] = field(metadata=column("label"))
    """Label of each atom, empty without one."""

    linear: Float[np.ndarray, " d_in"] | None = None
    """Output of a linear map of the row (SkipTranscoder), or a mean that was taken off; None without."""

    image: UInt8[np.ndarray, "height width 3"] | None = None
    box: tuple[float, float, float, float] | None = None
    """The image it was read from, and the patch in it (left, top, right, bottom; pixels)."""

    @property
    def x_hat(self) -> Float[np.ndarray, " d_in"]:
        """The SAE's reconstruction of the row: the bias, what a linear map adds, and all its atoms."""
        whole: Float[np.ndarray, " d_in"] = self._given + self.parts.sum(axis=0) + self.rest
        return whole

    @property
    def _given(self) -> Float[np.ndarray, " d_in"]:
        """The reconstruction but for the atoms."""
        return self.bias if self.linear is None else self.bias + self.linear

    @property
    def left(self) -> float:
        """Share that no atom explains of what is left to them: ‖x − x̂‖² / ‖x − bias − linear‖²."""
        centred = float(np.square(self.x - self._given).sum())
        return float(np.square(self.x - self.x_hat).sum()) / centred if centred > 0 else 0.0

    @property
    def headline(self) -> str:
        """The equation, with the atoms by name."""
        names = [
            f"{format_number(float(z))} × {_name(int(atom), label)}"
            for atom, z, label in zip(self.atoms, self.strengths, self.labels, strict=True)
        ]
        more = f" + {self.n_rest} weaker" if self.n_rest else ""
        return (
            f"{self.where} = bias{' + linear map' * (self.linear is not None)} + {' + '.join(names)}{more}; "
            f"{format_percent(self.left)} is left"
        )

    def plot(self) -> Any:
        """Draw the row, its terms, their sum and what is left as strips of one scale."""
        strips = {"the activation": self.x, "= bias, the same for all": self.bias}
        if self.linear is not None:
            strips["+ a linear map of the row"] = self.linear
        for atom, z, label, part in zip(
            self.atoms, self.strengths, self.labels, self.parts, strict=True
        ):
            strips[f"+ {format_number(float(z))} × {_name(int(atom), label)}"] = part
        if self.n_rest:
            strips[f"+ {self.n_rest} weaker atoms"] = self.rest
        strips[f"+ what is left: {format_percent(self.left)}"] = self.x - self.x_hat
        return sum_of_strips(strips, image=self.image, box=self.box, caption=self.where)


def _name(atom: int, label: str) -> str:
    return f"atom {atom} ({label})" if label else f"atom {atom}"


@checked
def sum_of_atoms(
    sae: Any,
    acts: Activations | Float[Tensor, "n d_in"] | Sequence[Any],
    row: int = 0,
    *,
    n: Count = 5,
    labels: Mapping[int, Any] | None = None,
) -> SumOfAtoms:
    """Write one activation as an SAE's sum of atoms.

    Parameters
    ----------
    row
        Index of the activation; negative ones count from the end.
    n
        Atoms shown one by one, the strongest first; the others are added up.
    labels
        Labels of atoms, such as `load_examples(name).labels`.

    Raises
    ------
    ValueError, IndexError: If there is no such row, or the SAE reads sequences, whose reconstruction is not
        a sum of atoms alone.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> sae = sn.TopK(d_in=8, n_atoms=16, k=3, generator=torch.Generator().manual_seed(0))
    >>> sum_ = sn.atoms.sum_of_atoms(sae, torch.eye(8), row=2, n=2)
    >>> len(sum_.atoms), sum_.n_rest, bool(abs(sum_.x - sum_.x_hat).sum() > 0)
    (2, 1, True)
    """
    acts = acts_for(sae, acts, target=getattr(sae, "writes", None) is not None)
    row = check_atom(row + len(acts) if row < 0 else row, len(acts), name="row")
    if getattr(sae, "reads_sequences", False):
        raise ValueError(
            f"`sae` must rebuild a row from its own code, got {type(sae).__name__}, which predicts a "
            "part from the rows before. Use sn.temporal.decompose."
        )
    x = acts.target.rows([row])
    read = acts.rows([row]).to(sae.dictionary)
    codes = sae.encode(read).detach()
    x_hat = reconstruction(sae, codes, read).detach()[0]
    d = sae.dictionary[codes.atoms.long()]
    parts = written_codes(sae, codes, read).values[:, None].to(d).detach() * d
    linear = uncoded(sae, read)[1]
    added = linear.detach()[0].expand_as(x_hat) if isinstance(linear, Tensor) else x_hat * 0
    order = codes.values.abs().argsort(descending=True, stable=True)
    top = order[:n]
    atoms = codes.atoms[top].tolist()
    image, box = _image_of(acts, row)
    return SumOfAtoms(
        where=acts.where(row),
        x=x[0].float().cpu().numpy(),
        bias=(x_hat - added - parts.sum(dim=0)).float().cpu().numpy(),
        linear=added.float().cpu().numpy() if isinstance(linear, Tensor) else None,
        atoms=np.asarray(atoms, dtype=np.int64),
        strengths=codes.values[top].float().cpu().numpy(),
        parts=parts[top].float().cpu().numpy(),
        rest=parts[order[n:]].sum(dim=0).float().cpu().numpy(),
        n_rest=max(codes.nnz - n, 0),
        labels=tuple(str((labels or {}).get(atom, "")) for atom in atoms),
        image=image,
        box=box,
    )


def _image_of(
    acts: Activations, row: int
) -> tuple[UInt8[np.ndarray, "height width 3"] | None, tuple[float, float, float, float] | None]:
    """The image of a row and its patch in pixel edges; no box around a token without a place."""
    context = acts.context
    if context.pictures is None:
        return None, None
    image = context.pictures[int(acts.sample[row])].permute(1, 2, 0).cpu().numpy()
    cell = int(acts.position[row]) - (context.prefix_tokens or 0)
    if context.face_grid is None or cell < 0:
        return image, None
    cell = context.cell_of(cell)
    rows, columns = context.face_grid
    height, width = image.shape[0] / rows, image.shape[1] / columns
    top, left = cell // columns * height, cell % columns * width
    return image, (left - 0.5, top - 0.5, left + width - 0.5, top + height - 0.5)
