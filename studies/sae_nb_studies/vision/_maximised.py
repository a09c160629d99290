"""Records of images that maximise atoms, with natural images and images of random phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.findings import Finding

if TYPE_CHECKING:
    import pandas as pd

Pool = Literal["max", "mean"]
"""Activation of an image: at its strongest place, or on average over places."""


class Maximised(Finding):
    """Images that maximise atoms, and what natural and random images do to the same atoms."""

    atoms: tuple[int, ...]
    model_name: str
    hook_point: str

    image: Float[Tensor, "atoms channels height width"]
    """In [0, 1]."""

    alpha: Float[Tensor, "atoms height width"]
    """In [0, 1]: accumulated gradient magnitude per pixel, Σ over steps of |∂objective/∂pixel|."""

    example: Float[Tensor, "atoms channels height width"]
    """The natural image in which each atom is strongest."""

    best: Int[np.ndarray, " atoms"]
    """Its number among the natural images."""

    curve: Float[np.ndarray, "atoms steps"]
    """The objective at each step: mean over crops, in units of the atom's strength. Below 0 an atom that is
    cut at zero does not fire."""

    activation: Float[np.ndarray, " atoms"]
    """Strength of each atom in its maximised image, as the SAE gives it."""

    natural: Float[np.ndarray, "atoms n"]
    random: Float[np.ndarray, "atoms draws"]
    """The same in every natural image, and in images of the same spectrum with random phases."""

    distance: Float[np.ndarray, " atoms"]
    """From the maximised image to the nearest natural one, between mean states at the hook point."""

    random_distance: Float[np.ndarray, " draws"]
    """The same from images of random phase."""

    natural_distance: Float[np.ndarray, " n"]
    """From each natural image to the nearest other one."""

    pool: Pool

    @property
    def table(self) -> pd.DataFrame:
        """One row per atom: strength in the maximised, the best natural and random images; how unusual it is.

        `percentile` is the share of natural images that the maximised one beats; `unusual`, that of
        natural images that are nearer to another one than it is to any; `simpler` tells us which has
        the larger strength.
        """
        import pandas as pd

        best = self.natural.max(axis=1)
        columns = {
            "maximised": self.activation,
            "best natural": best,
            "random": self.random.mean(axis=1),
            "percentile": (self.natural < self.activation[:, None]).mean(axis=1),
            "distance": self.distance,
            "unusual": (self.natural_distance < self.distance[:, None]).mean(axis=1),
            "simpler": np.where(best >= self.activation, "natural image", "maximised"),
        }
        return pd.DataFrame(columns, index=pd.Index(self.atoms, name="atom"))

    def plot(self, n: int = 4) -> Any:
        """Draw the first n atoms: the maximised image, where it was pulled at, the best natural image."""
        from sae_nb.figures import image_sheet

        rows = []
        for i, atom in enumerate(self.atoms[:n]):
            best = float(self.natural[i].max())
            rows.append(
                [
                    (f"atom {atom}: {self.activation[i]:.3g}", self.image[i]),
                    ("where it was pulled at", veiled(self.image[i], self.alpha[i])),
                    (f"best natural: {best:.3g}", self.example[i]),
                ]
            )
        return image_sheet(rows)

    def plot_curve(self) -> Any:
        """Draw the objective over steps, a line per atom, with the best natural image's strength dashed."""
        from sae_nb.figures import category_style, framed, line, theme

        steps, traces = np.arange(self.curve.shape[1]), []
        for i, atom in enumerate(self.atoms):
            colour, _ = category_style(i)
            traces.append(line(f"atom {atom}", steps, self.curve[i], colour=colour))
            level = np.full(2, self.natural[i].max())
            ends = steps[[0, -1]]
            name = f"atom {atom}, best natural image"
            dash = theme.CONTROL_DASH
            traces.append(line(name, ends, level, colour=colour, dash=dash, width=1))
        return framed(traces, x="step", y="strength", height=300)

    @property
    def headline(self) -> str:
        """The first atoms, in their images and in natural ones."""
        rows = self.table
        wins = int((rows["simpler"] == "natural image").sum())
        first = ", ".join(
            f"{atom}: {row['maximised']:.3g} (best natural {row['best natural']:.3g})"
            for atom, row in rows.head(3).iterrows()
        )
        return (
            f"{len(self.atoms)} atoms of {self.model_name} at {self.hook_point}; {first}; the best "
            f"natural image does more for {wins}"
        )


class Coordinated(Finding):
    """One atom that several models share, maximised in each; made by `maximise` with a list of models."""

    atom: int
    parts: tuple[Maximised, ...]
    """A record per model."""

    strengths: Float[np.ndarray, "images models"]
    """Of the atom in each model's image (rows) as each model reads it (columns); one column where one code is
    read from all models together."""

    natural: Float[np.ndarray, " models"]
    """In the natural image with the highest activation for each model."""

    @property
    def image(self) -> tuple[Float[Tensor, "channels height width"], ...]:
        """The image of each model, in [0, 1]."""
        return tuple(part.image[0] for part in self.parts)

    @property
    def table(self) -> pd.DataFrame:
        """A row per model's image, the last of natural ones: the atom's strength as each model reads it."""
        import pandas as pd

        names = [part.model_name for part in self.parts]
        columns = names if self.strengths.shape[1] == len(names) else ["all together"]
        rows = np.concatenate([self.strengths, self.natural[None]])
        index = pd.Index([*(f"image of {name}" for name in names), "best natural"], name="image")
        return pd.DataFrame(rows, index=index, columns=columns)

    def plot(self) -> Any:
        """Draw the image of every model, above the natural image with the highest activation."""
        from sae_nb.figures import image_sheet

        own = [
            self.strengths[i, min(i, self.strengths.shape[1] - 1)] for i in range(len(self.parts))
        ]
        tops = [
            (f"{part.model_name}: {strength:.3g}", part.image[0])
            for part, strength in zip(self.parts, own, strict=True)
        ]
        columns = range(len(self.parts))
        below = [
            (f"best natural: {self.natural[min(i, len(self.natural) - 1)]:.3g}", part.example[0])
            for i, part in zip(columns, self.parts, strict=True)
        ]
        return image_sheet([tops, below])

    @property
    def headline(self) -> str:
        """The atom and the models."""
        names = ", ".join(part.model_name for part in self.parts)
        return f"atom {self.atom} in {names}"


def veiled(
    image: Float[Tensor, "channels height width"], alpha: Float[Tensor, "height width"]
) -> Float[Tensor, "channels height width"]:
    """Return an image that fades to grey where the accumulated gradient is small."""
    return alpha * image + (1 - alpha) * 0.5
