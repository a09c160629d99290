"""UnfoldedGroups: convolutions whose filters are orbits of learned actions, trained by their authors' loss."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.checks import Between, Count, Seed, Weight, above, at_least, check_data, checked
from sae_nb.findings import Finding
from sae_nb_studies.lab._group_network import orbit_sheet

Images = Float[Tensor, "n channels height width"]
Filters = Literal["orbits", "held actions", "free"]

CLIP = 2.0
"""Largest norm of a gradient."""

SLOWER = (1 / 2, 3 / 4, 7 / 8)
"""Shares of training after which the step size is halved."""


@checked
@dataclass(frozen=True, eq=False)
class UnfoldedGroups:
    """A linear group network that learns from images alone: sparse codes in a few unrolled steps.

    Each of `n_layers` layers is a step of FISTA, u ← relu(u + η (Wᵀ(y − W u)) − η λ), with filters W that are
    orbits b, Ab, … A^{G−1}b of base filters b under actions A, matrices of k² × k² that act on the filter. A
    layer has its own b, A and λ; free filters put the image together from the last codes. Minimised is the
    squared error and μ Σ ‖A A′ − I‖, A′ free: it asks that actions can be undone. No group, pair or label is
    given.

    Parameters
    ----------
    n_orbits
        Base filters, each with its action.
    order
        Filters G of an orbit.
    side
        Pixels k of a filter's side.
    n_layers
        Steps.
    step
        η.
    undoing
        μ ≥ 0.
    size
        ‖A‖ to which actions are returned after every step, theirs 1: then Ab is about k times shorter than b.
        k is that of a turn.
    filters
        "orbits"; "held actions", A as drawn, a floor; "free", as many filters without actions, a control.

    Source
    ------
    Theodosis, Helwani & Ba, "Learning linear groups in neural networks", arXiv 2305.18552, after
    manosth/learning-groups (model.py: LearnGroupAction_recon_inv, train_recon.py): layers, losses, μ, norms,
    clipping and schedule. Theirs has η .01; ours is set higher, since the norms are 1.

    Example
    -------
    >>> images = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> model = UnfoldedGroups(2, 4, 3).fit(images, steps=3)
    >>> tuple(model.orbits().shape), tuple(model.actions().shape)
    ((2, 4, 9), (2, 9, 9))
    """

    n_orbits: Count
    order: Annotated[int, at_least(2)]
    side: Annotated[int, at_least(2)]
    _: KW_ONLY
    n_layers: Count = 4
    step: Annotated[float, Between(0, 1, "(]")] = 0.1
    undoing: Weight = 0.01
    filters: Filters = "orbits"
    size: Annotated[float, above(0)] = 1.0

    @checked
    def fit(
        self,
        images: Float[Tensor, "n 1 height width"],
        *,
        steps: Count = 1000,
        batch_size: Count = 128,
        learning_rate: Annotated[float, Between(0, 1, "()")] = 1e-2,
        seed: Seed = 0,
    ) -> UnfoldedModel:
        """Learn from images to put them together again.

        Parameters
        ----------
        images
            Of one channel; about zero mean.
        steps
            Of Adam.
        batch_size
            Images of each, redrawn.
        learning_rate
            At first.
        seed
            Draws filters, actions and batches.

        Raises
        ------
        ValueError: If images are smaller than a filter.
        """
        known = check_data(images, name="images").detach().float()
        if self.side > min(known.shape[2:]):
            raise ValueError(
                f"`side` must fit into images of {known.shape[2]} × {known.shape[3]}, got {self.side}."
            )
        generator = torch.Generator().manual_seed(seed)
        network = _Unfolded(self, generator).to(known.device)
        optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
        slower = torch.optim.lr_scheduler.MultiStepLR(
            optimiser, [int(share * steps) for share in SLOWER], gamma=0.5
        )
        losses = torch.zeros(steps)
        for step in range(steps):
            batch = known[torch.randint(len(known), (batch_size,), generator=generator)]
            error = F.mse_loss(network(batch), batch)
            loss = error + self.undoing * network.undone()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimiser.step()
            slower.step()
            network.normalise()
            losses[step] = error.detach()
        return UnfoldedModel(settings=self, network=network.requires_grad_(False), losses=losses)


class UnfoldedModel(Finding):
    """A trained linear group network; made by `UnfoldedGroups.fit`."""

    settings: UnfoldedGroups
    network: nn.Module
    losses: Float[Tensor, " steps"]
    """Mean squared error of every step."""

    def orbits(self, layer: int = -1) -> Float[Tensor, "n_orbits order side2"]:
        """Return the filters of a layer by orbit, each of unit norm.

        Raises
        ------
        IndexError: If there is no such layer.
        """
        network: Any = self.network
        return F.normalize(network.powers(self._layer(layer))[:, :-1], dim=-1)

    def closing(self, layer: int = -1) -> Float[Tensor, " n_orbits"]:
        """Return the cosine of b and A^G b of each orbit: 1 where so many moves lead back."""
        network: Any = self.network
        powers = network.powers(self._layer(layer))
        return F.cosine_similarity(powers[:, 0], powers[:, -1], dim=-1)

    def actions(self, layer: int = -1) -> Float[Tensor, "n_orbits side2 side2"]:
        """Return the actions of a layer.

        Raises
        ------
        IndexError: If there is no such layer. ValueError: If filters are free.
        """
        if self.settings.filters == "free":
            raise ValueError('`filters` must be "orbits" for actions, got "free".')
        network: Any = self.network
        return network.action[self._layer(layer)].detach().clone()

    @torch.no_grad()
    @checked
    def explained(self, images: Float[Tensor, "n 1 height width"]) -> float:
        """Return the share of the images' variance that comes back."""
        left = (self.network(images) - images).square().mean()
        return float(1 - left / images.var(correction=0))

    def figure(self, layer: int = -1) -> Any:
        """Draw the filters of a layer: a row per orbit, a column per power of its action."""
        return orbit_sheet(self.orbits(layer))

    def _layer(self, layer: int) -> int:
        n = self.settings.n_layers
        if not -n <= layer < n:
            raise IndexError(f"`layer` must be between {-n} and {n - 1}, got {layer}.")
        return layer % n

    @property
    def headline(self) -> str:
        """Orbits, layers and the last error."""
        s = self.settings
        last = float(self.losses[-max(len(self.losses) // 20, 1) :].mean())
        return (
            f"{s.n_orbits} × {s.order} filters of {s.side} × {s.side}, {s.n_layers} layers, {s.filters}: "
            f"squared error {last:.3g} after {len(self.losses)} steps"
        )


class _Unfolded(nn.Module):
    """Layers of FISTA with filters of their own, and free filters that put the image together."""

    def __init__(self, settings: UnfoldedGroups, generator: torch.Generator) -> None:
        super().__init__()
        self.settings = settings
        layers, k, n, pixels = (
            settings.n_layers,
            settings.n_orbits,
            settings.n_orbits * settings.order,
            settings.side**2,
        )

        def drawn(*shape: int, norm: tuple[int, ...]) -> nn.Parameter:
            made = torch.randn(*shape, generator=generator)
            return nn.Parameter(made / made.norm(dim=norm, keepdim=True))

        free = settings.filters == "free"
        self.base = drawn(layers, n if free else k, pixels, norm=(-1,))
        self.action = drawn(layers, k, pixels, pixels, norm=(-2, -1))
        self.action.data.mul_(settings.size)
        self.undo = drawn(layers, k, pixels, pixels, norm=(-2, -1))
        self.action.requires_grad_(settings.filters == "orbits")
        self.decoder = drawn(n, pixels, norm=(-1,))
        self.threshold = nn.Parameter(torch.ones(layers, n))

    def powers(self, layer: int) -> Float[Tensor, "n_orbits order+1 side2"]:
        """Return b, Ab, … A^G b; of free filters, as they come, the first once more."""
        base, order = self.base[layer], self.settings.order
        if self.settings.filters == "free":
            grouped = base.reshape(-1, order, base.shape[-1])
            return torch.cat([grouped, grouped[:, :1]], dim=1)
        moved = [base]
        for _ in range(order):
            moved.append(torch.einsum("kij,kj->ki", self.action[layer], moved[-1]))
        return torch.stack(moved, dim=1)

    def undone(self) -> Float[Tensor, ""]:
        """Return Σ ‖A A′ − I‖ over layers and orbits."""
        if self.settings.filters != "orbits":
            return self.base.new_zeros(())
        eye = torch.eye(self.action.shape[-1]).to(self.action)
        return torch.linalg.matrix_norm(self.action @ self.undo - eye).sum()

    @torch.no_grad()
    def normalise(self) -> None:
        """Return base filters, actions and the filters of the decoder to their norms."""
        for part, dims, size in (
            (self.base, (-1,), 1.0),
            (self.action, (-2, -1), self.settings.size),
            (self.decoder, (-1,), 1.0),
        ):
            part.mul_(size / part.norm(dim=dims, keepdim=True).clamp_min(1e-12))

    def forward(self, images: Images) -> Images:
        s, side = self.settings, self.settings.side
        height, width = images.shape[2] + side - 1, images.shape[3] + side - 1
        old = images.new_zeros(len(images), len(self.decoder), height, width)
        ahead, time = old, 1.0
        for layer in range(s.n_layers):
            filters = self.powers(layer)[:, :-1].reshape(-1, 1, side, side)
            left = images - F.conv_transpose2d(ahead, filters, padding=side - 1)
            moved = ahead + s.step * F.conv2d(left, filters, padding=side - 1)
            new = F.relu(moved - s.step * self.threshold[layer][:, None, None])
            later = (1 + (1 + 4 * time**2) ** 0.5) / 2
            ahead, old, time = new + (time - 1) / later * (new - old), new, later
        made: Tensor = F.conv_transpose2d(
            old, self.decoder.reshape(-1, 1, side, side), padding=side - 1
        )
        return made
