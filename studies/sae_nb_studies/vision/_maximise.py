"""Feature visualisation by MACO, compared with the natural image with the highest activation.

Only the phase of an image's spectrum is free, so that no frequency is stronger than in natural images; what
is found still need not look like any of them, and the best natural image may do more: both are measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, Unpack, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import check_sae
from sae_nb.checks import Between, Count, Seed, Share, between, check_atom, check_real, checked
from sae_nb.models import patches_of, run
from sae_nb_studies.vision._maximised import Coordinated, Maximised, Pool
from sae_nb_studies.vision._phases import Spectrum, random_crops
from sae_nb_studies.vision._pixels import Pixels

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

N_NATURAL = 256
"""Scenes that a model trained on scenes is compared with unless images are given."""

N_RANDOM = 32
"""Images of random phase that are compared with. Ours."""

MOST_CROPS = 64
"""Crops in one pass; more are taken in several."""

BRIGHTEST = 0.8
"""Share of pixels whose gradient is below full opacity. As xplique draws it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the optimisation of images; see `maximise`."""

    n_steps: int
    n_crops: int
    crop: tuple[float, float]
    jitter: float
    noise: float
    learning_rate: float
    pool: Pool
    seed: int


class MaximiseKeywords(TypedDict, total=False):
    """The keywords of `maximise`, for its two overloads."""

    images: Any
    n_steps: int
    n_crops: int
    crop: tuple[float, float]
    jitter: float
    noise: float
    learning_rate: float
    pool: Pool
    seed: int


@overload
def maximise(
    model: LiveModel,
    sae: SparseAutoencoder,
    atom: int | Sequence[int] | np.ndarray | Tensor,
    hook_point: str,
    **options: Unpack[MaximiseKeywords],
) -> Maximised: ...
@overload
def maximise(
    model: Sequence[LiveModel],
    sae: SparseAutoencoder,
    atom: int,
    hook_point: str | Sequence[str],
    **options: Unpack[MaximiseKeywords],
) -> Coordinated: ...
@checked(leave=("atom", "crop"))
def maximise(
    model: LiveModel | Sequence[LiveModel],
    sae: SparseAutoencoder,
    atom: Any,
    hook_point: str | Sequence[str],
    *,
    images: Any = None,
    n_steps: Count = 128,
    n_crops: Count = 16,
    crop: tuple[float, float] = (1.0, 0.8),
    jitter: Annotated[float, Between(0, 0.5)] = 0.03,
    noise: Share = 0.08,
    learning_rate: float = 0.1,
    pool: Pool = "max",
    seed: Seed = 0,
) -> Maximised | Coordinated:
    """Make an image that maximises an atom, and measure whether any natural image does more.

    MACO: image = squash(μ + C irfft2(m e^{iφ})), m the mean magnitude of the natural images' spectra. Each
    step takes random crops, adds noise, and moves φ by NAdam along the gradient of the atom's strength before
    it is cut at zero: z* + ⟨∂z/∂x, x − x*⟩ at the place x* where natural images have the atom strongest,
    which for one-step encoders is the pre-activation itself. With a list of models and a dictionary that they
    share, one atom gets an image in every model.

    Parameters
    ----------
    model, sae
        One model and its SAE; or several models of images, in the order of a `UniversalSAE`'s or a
        `Crosscoder`'s widths.
    atom
        Atoms; several at once are optimised side by side (of one model).
    hook_point
        Where the SAE reads; one per model, or one for all.
    images
        Natural images, as the models read them: some hundreds. None: 256 scenes, for models of scenes.
    n_steps, n_crops
        Steps, and crops of each image per step.
    crop
        Side of a crop as a share of the image's at the first and at the last step.
    jitter
        Distance of a crop's centre from that of the image, sd, as a share of its side.
    noise
        Sd of the noise on crops, in the unit of [0, 1].
    learning_rate
        Of NAdam, in radians.
    pool
        Whether the strongest place of an image counts, or the mean over places. Also what is compared.
    seed
        Of first phases, crops and noise.

    Returns
    -------
    Maximised | Coordinated
        Of one model `Maximised`: `.image`, `.alpha`, `.table` with the best natural image and random
        ones, `.plot()`, `.plot_curve()`. Of several `Coordinated`, with a strength for every pair of
        image and model.

    Raises
    ------
    TypeError, ValueError: If a model reads text, images have several sizes or are missing, an atom never
        fires in them, or the SAE is not of this hook point.

    Source
    ------
    MACO, arXiv 2306.06805, and xplique's maco.py: NAdam, 256 steps, rate 1.0, 32 crops of .5 → .05, centre
    sd .15, noise .08, ImageNet's spectrum, phases standardised at each step. Ours, for images that have the
    size that the model reads: fewer steps and crops, crops of 1 → .8, rate .1, phases even over the circle,
    spectrum and colours of the images given, in the space of logits. Universal atoms: arXiv 2502.03714.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    >>> images = sn.data.scenes(8).images
    >>> found = maximise(model, sae, 2, "resid_post.6", images=images, n_steps=2, n_crops=2)
    >>> found.image.shape, found.curve.shape
    (torch.Size([1, 3, 32, 32]), (1, 2))
    """
    check_sae(sae)
    settings = Settings(
        n_steps=n_steps,
        n_crops=n_crops,
        crop=_checked_crop(crop),
        jitter=jitter,
        noise=noise,
        learning_rate=between(learning_rate, 0, 100, name="learning_rate"),
        pool=pool,
        seed=seed,
    )
    several = isinstance(model, Sequence)
    models = list(model) if isinstance(model, Sequence) else [model]
    points = [hook_point] * len(models) if isinstance(hook_point, str) else list(hook_point)
    atoms = _checked_atoms(atom, sae.n_atoms, several)
    readers = _readers(models, sae, points, images, several)
    if not several:
        return _of_one(readers, 0, atoms, settings)
    return _coordinated(readers, atoms, settings)


# -------------------------------------------------------------------------------------------------
# Checks.


def _checked_crop(crop: Any) -> tuple[float, float]:
    if not isinstance(crop, tuple | list) or len(crop) != 2:
        raise ValueError(
            f"`crop` must be two shares, at the first and the last step, got {crop!r}. Use (1.0, 0.8)."
        )
    first, last = (between(check_real(c, name="crop"), 0, 1, name="crop", ends="(]") for c in crop)
    return first, last


def _checked_atoms(atom: Any, n_atoms: int, several: bool) -> tuple[int, ...]:
    listed = isinstance(atom, list | tuple | range | np.ndarray | Tensor) and np.ndim(atom) == 1
    atoms = tuple(check_atom(int(a) if listed and isinstance(a, np.integer | Tensor) else a, n_atoms)
                  for a in (atom if listed else [atom]))  # fmt: skip
    if not atoms:
        raise ValueError("`atom` must name at least one atom, got none.")
    if several and len(atoms) > 1:
        raise ValueError(
            f"`atom` must be one atom for several models, got {len(atoms)}. Call once for each."
        )
    return atoms


def _readers(
    models: Sequence[Any], sae: SparseAutoencoder, points: Sequence[str], images: Any, several: bool
) -> Readers:
    widths = tuple(sae.reads)
    if not models or len(points) != len(models):
        raise ValueError(
            f"`hook_point` must be one name per model, {len(models)}, got {len(points)}. Give a list."
        )
    if len(widths) != len(models):
        use = (
            f"Pass its {len(widths)} models in a list"
            if len(widths) > 1
            else "Pass one model alone"
        )
        raise ValueError(
            f"`model` must be what the dictionary reads, {len(widths)} place(s) for "
            f"{type(sae).__name__}, got {len(models)}. {use}."
        )
    given = [_natural(model) if images is None else images for model in models]
    pixels = [Pixels.of(model, one) for model, one in zip(models, given, strict=True)]
    return Readers(sae=sae, pixels=pixels, points=[str(p) for p in points], several=several)


def _natural(model: LiveModel) -> Any:
    """Scenes, for models that were trained on them."""
    from sae_nb.data import scenes

    trained_on = str((model.card or {}).get("data", ""))
    if not trained_on.startswith("scenes"):
        raise ValueError(
            f"`images` must be natural images for {model.name}, whose training images are not known here, "
            "got None. Pass some hundreds."
        )
    return scenes(N_NATURAL, seed=0, split="test").images


# -------------------------------------------------------------------------------------------------
# What atoms make of images.


@dataclass(frozen=True, kw_only=True, eq=False)
class Readers:
    """Models, where they are read, and the dictionary that reads them."""

    sae: SparseAutoencoder
    pixels: Sequence[Pixels]
    points: Sequence[str]
    several: bool

    def states(
        self, i: int, x: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n places d_in"]:
        """Return a model's states at its patches, with the way back to the images."""
        model = self.pixels[i].model
        point = self.points[i]
        ran = run(model, self.pixels[i].batch(x), read=point, grad=True, answer=False)
        places = patches_of(ran.seen[point], model)
        width = self.sae.reads[i]
        if places.shape[-1] != width:
            raise ValueError(
                f"`sae` must read d_in={places.shape[-1]} numbers at {point} of {model.name}, got "
                f"{width}. Was it trained at another hook point?"
            )
        return places.float()

    @torch.no_grad()
    def all_states(self, i: int, x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n places d"]:
        """Return the same of many images, without the way back."""
        return torch.cat([self.states(i, some).detach() for some in torch.split(x, MOST_CROPS)])

    def codes(self, states: Sequence[Float[Tensor, "n places d_in"]], reads: int) -> Any:
        """Return codes of every place, as one of the models, or all together, give them."""
        flat = [part.flatten(0, 1) for part in states]
        if not self.several:
            return self.sae.encode(flat[0])
        if getattr(self.sae, "reads_alone", False):
            return self.sae.encode(flat[reads], reads=reads)  # type: ignore[call-arg]
        return self.sae.encode(flat)  # type: ignore[arg-type]

    @torch.no_grad()
    def strengths(
        self, states: Sequence[Float[Tensor, "n places d_in"]], reads: int, atoms: Sequence[int]
    ) -> Float[np.ndarray, "atoms n places"]:
        """Return of some atoms at every place."""
        n, places = states[reads if len(states) > 1 else 0].shape[:2]
        table = self.codes(states, reads).detach().to("cpu").to_scipy().tocsc()
        return table[:, list(atoms)].toarray().T.reshape(len(atoms), n, places)


@dataclass(frozen=True, eq=False)
class Reading:
    """An atom's strength as a line in a model's activations: what it would be were it not cut at zero."""

    direction: Float[Tensor, "atoms d_in"]
    offset: Float[Tensor, " atoms"]

    def __call__(
        self, x: Float[Tensor, "atoms crops places d_in"], pool: Pool
    ) -> Float[Tensor, "atoms crops"]:
        """Pooled over places."""
        values = torch.einsum("acpd,ad->acp", x, self.direction) + self.offset[:, None, None]
        return values.amax(dim=2) if pool == "max" else values.mean(dim=2)


def _reading(
    readers: Readers, i: int, states: Sequence[Tensor], strengths: np.ndarray, atoms: Sequence[int]
) -> Reading:
    """The line at the place where natural images have each atom strongest."""
    directions, offsets = [], []
    for atom, strength in zip(atoms, strengths, strict=True):
        image, place = np.unravel_index(int(np.abs(strength).argmax()), strength.shape)
        if strength[image, place] == 0:
            raise ValueError(
                f"`atom` must fire in `images` at least once to be maximised, and {atom} does not. Pass more "
                "images, or an atom that is alive."
            )
        at = [part[image : image + 1, place : place + 1].clone() for part in states]
        own = at[i].requires_grad_()
        with torch.enable_grad():
            value = readers.codes(at, i).to_dense().flatten()[atom]
            (direction,) = torch.autograd.grad(value, own)
        directions.append(direction.flatten())
        offsets.append(value.detach() - (direction * own.detach()).sum())
    return Reading(torch.stack(directions), torch.stack(offsets))


def _pooled(values: Float[np.ndarray, "... places"], pool: Pool) -> Float[np.ndarray, "..."]:
    return values.max(axis=-1) if pool == "max" else values.mean(axis=-1)


# -------------------------------------------------------------------------------------------------
# The images.


def _of_one(readers: Readers, i: int, atoms: tuple[int, ...], settings: Settings) -> Maximised:
    """The record of one model; `i` is its place."""
    pixels = readers.pixels[i]
    states = [readers.all_states(j, p.x) for j, p in enumerate(readers.pixels)]
    strengths = readers.strengths(states, i, atoms)
    reading = _reading(readers, i, states, strengths, atoms)
    generator = torch.Generator().manual_seed(settings.seed)
    spectrum = Spectrum.of(pixels.x)
    image, alpha, curve = _optimised(readers, i, spectrum, reading, settings, generator)
    drawn = spectrum.images(spectrum.phases(N_RANDOM, generator))
    own, others = readers.all_states(i, image), readers.all_states(i, drawn)
    natural = _pooled(strengths, settings.pool)
    best = natural.argmax(axis=1)
    means = states[i].mean(dim=1)
    return Maximised(
        atoms=atoms,
        model_name=pixels.model.name,
        hook_point=readers.points[i],
        image=image,
        alpha=alpha,
        example=pixels.x[best].clamp(0, 1),
        best=best,
        curve=curve,
        activation=_diagonal(_alone(readers, i, own, atoms, settings.pool)),
        natural=natural,
        random=_alone(readers, i, others, atoms, settings.pool),
        distance=_nearest(own, means),
        random_distance=_nearest(others, means),
        natural_distance=_between(means),
        pool=settings.pool,
    )


def _alone(
    readers: Readers, i: int, states: Tensor, atoms: Sequence[int], pool: Pool
) -> Float[np.ndarray, "atoms n"]:
    """Strengths in images that one model has read; what reads all models together gets them elsewhere."""
    if readers.several and not getattr(readers.sae, "reads_alone", False):
        return np.full((len(atoms), len(states)), np.nan)
    given = [states] if not readers.several else [states if j == i else states[:0] for j in
                                                  range(len(readers.pixels))]  # fmt: skip
    return _pooled(readers.strengths(given, i, atoms), pool)


def _diagonal(values: Float[np.ndarray, "atoms atoms"]) -> Float[np.ndarray, " atoms"]:
    """Each atom in its own image."""
    return np.diagonal(values).copy()


def _nearest(
    states: Float[Tensor, "m places d_in"], means: Float[Tensor, "n d_in"]
) -> Float[np.ndarray, " m"]:
    """From the mean state of each image to the nearest natural one."""
    return torch.cdist(states.mean(dim=1), means).amin(dim=1).cpu().numpy()


def _between(means: Float[Tensor, "n d_in"]) -> Float[np.ndarray, " n"]:
    """From each row to the nearest other one."""
    if len(means) < 2:
        return np.full(len(means), np.nan)
    return torch.cdist(means, means).fill_diagonal_(torch.inf).amin(dim=1).cpu().numpy()


def _optimised(
    readers: Readers,
    i: int,
    spectrum: Spectrum,
    reading: Reading,
    settings: Settings,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Float[np.ndarray, "atoms steps"]]:
    """Images, their opacity, and the objective at each step."""
    n = len(reading.offset)
    phase = spectrum.phases(n, generator).requires_grad_()
    optimiser = torch.optim.NAdam([phase], lr=settings.learning_rate)
    sizes = np.linspace(*settings.crop, settings.n_steps)
    pulled = torch.zeros(n, *readers.pixels[i].x.shape[2:]).to(spectrum.magnitude)
    curve = []
    for size in sizes:
        with torch.enable_grad():
            image = spectrum.images(phase)
            pixels = image.detach().requires_grad_()
            crops = random_crops(
                pixels, settings.n_crops, float(size), settings.jitter, settings.noise, generator
            )
            values = torch.cat(
                [
                    _objective(readers, i, reading, some, of, settings)
                    for some, of in _passes(crops, n, settings.n_crops)
                ]
            )
            (slope,) = torch.autograd.grad(values.sum(), pixels)
            phase.grad = torch.autograd.grad(image, phase, -slope)[0]
        optimiser.step()
        pulled += slope.abs().sum(dim=1)
        curve.append(values.detach())
    with torch.no_grad():
        image = spectrum.images(phase.detach())
    return image, _opacity(pulled), torch.stack(curve, dim=1).cpu().numpy()


def _passes(crops: Tensor, n: int, n_crops: int) -> Any:
    """The crops of some atoms at a time, and which atoms those are."""
    size = max(MOST_CROPS // n_crops, 1)
    for first in range(0, n, size):
        of = range(first, min(first + size, n))
        yield crops[first * n_crops : (of[-1] + 1) * n_crops], of


def _objective(
    readers: Readers, i: int, reading: Reading, crops: Tensor, of: range, settings: Settings
) -> Float[Tensor, " atoms"]:
    """The mean over crops of each atom's pooled line."""
    states = readers.states(i, crops)
    states = states.view(len(of), settings.n_crops, *states.shape[1:])
    part = Reading(reading.direction[of.start : of.stop], reading.offset[of.start : of.stop])
    return part(states, settings.pool).mean(dim=1)


def _opacity(pulled: Float[Tensor, "atoms h w"]) -> Float[Tensor, "atoms h w"]:
    """Gradients as shares of a large one."""
    full = pulled.flatten(1).quantile(BRIGHTEST, dim=1)[:, None, None]
    return (pulled / full.clamp_min(1e-12)).clamp(0, 1)


# -------------------------------------------------------------------------------------------------
# One atom in every model that shares it.


def _coordinated(readers: Readers, atoms: tuple[int, ...], settings: Settings) -> Coordinated:
    """Make an image per model, and measure the strength in every model of each."""
    parts = tuple(_of_one(readers, i, atoms, settings) for i in range(len(readers.pixels)))
    alone = getattr(readers.sae, "reads_alone", False)
    columns = range(len(parts)) if alone else range(1)
    rows = np.array(
        [
            [_read_by(readers, part.image, j, atoms, settings.pool) for j in columns]
            for part in parts
        ]
    )
    natural = np.array([parts[j].natural[0].max() for j in columns])
    return Coordinated(atom=atoms[0], parts=parts, strengths=rows, natural=natural)


def _read_by(readers: Readers, image: Tensor, j: int, atoms: Sequence[int], pool: Pool) -> float:
    """Strength in an image, resized to what each model reads."""
    from torch.nn.functional import interpolate

    def fitted(p: Pixels) -> Tensor:
        size = list(p.x.shape[2:])
        return image if list(image.shape[2:]) == size else interpolate(
            image, size, mode="bilinear", antialias=True, align_corners=False
        )  # fmt: skip

    states = [readers.all_states(m, fitted(p)) for m, p in enumerate(readers.pixels)]
    return float(_pooled(readers.strengths(states, j, atoms), pool)[0, 0])
