"""Attribution with a guarantee: bounds on what any change of a patch can do to a small classifier's answer."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sae_nb.checks import Between, Count, Seed, check_count, check_data, check_integers, checked
from sae_nb.findings import Finding

if TYPE_CHECKING:
    import pandas as pd

Bounds = Literal["interval", "crown-ibp", "crown"]

LINEAR = (nn.Conv2d, nn.Linear, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.BatchNorm2d, nn.Flatten)
"""Layers whose output is a matrix times their input, plus a bias, in eval mode."""

DROPPED = (nn.Dropout, nn.Dropout2d)
"""Layers that do nothing in eval mode."""

ROWS = 4096
"""Rows of a linear bound that are pulled back through a layer at once."""

ASCENT = 40
"""Steps of an attack, each a quarter of the radius in the direction of the gradient's sign."""

Box = tuple[Tensor, Tensor]
"""Least and greatest value of every number, (n, …) each."""


class VerifiedAttribution(Finding):
    """Bounds on what changes of each patch can do to answers; made by `verified_attribution`."""

    images: Float[Tensor, "n channels height width"]
    outcomes: Int[Tensor, " n"]
    """The answer to each image that is defended."""
    overlap: Float[Tensor, " n"]
    """Bound on max over other outcomes of their logit − the answer's, where every pixel may change: below 0,
    nothing within the radius changes the answer."""
    maps: Float[Tensor, "n rows columns"]
    """The bound on the overlap that goes away when a patch alone is held: its importance."""
    alone: Float[Tensor, "n rows columns"]
    """Bound on the overlap where a patch alone may change: below 0, it cannot change the answer."""
    radius: float
    """Largest change of a pixel."""
    bounds: Bounds
    seconds: float
    """Of one image."""

    @property
    def safe(self) -> Bool[Tensor, "n rows columns"]:
        """Patches proven unable to change the answer by themselves."""
        return self.alone < 0

    @property
    def table(self) -> pd.DataFrame:
        """One row per image: answer, bound on the overlap, share of patches proven safe, first patch."""
        import pandas as pd

        columns = self.maps.shape[2]
        best = self.maps.flatten(1).argmax(dim=1).tolist()
        data = {
            "answer": self.outcomes.tolist(),
            "overlap": self.overlap.tolist(),
            "safe": self.safe.flatten(1).double().mean(dim=1).tolist(),
            "first patch": [divmod(at, columns) for at in best],
        }
        return pd.DataFrame(data).rename_axis("image")

    @checked
    def plot(self, image: int = 0) -> Any:
        """Draw an image, the importance of its patches, and the bound for each alone (below 0: proven safe).

        Raises
        ------
        ValueError: If there is no such image.
        """
        from sae_nb.figures import image_and_maps

        i = check_count(image, name="image", at_least=0, at_most=len(self.maps) - 1)
        drawn = {"importance": self.maps[i].numpy(), "bound, alone": self.alone[i].numpy()}
        return image_and_maps((f"image {i}: {int(self.outcomes[i])}", self.images[i]), drawn)

    @property
    def headline(self) -> str:
        """Images, bounds, share of patches proven safe and time."""
        n, rows, columns = self.maps.shape
        return (
            f"{n} images, {rows} × {columns} patches, radius {self.radius:g}, {self.bounds}: "
            f"{float(self.safe.double().mean()):.0%} of patches proven safe; {self.seconds:.2f} s an image"
        )


@checked(leave=("network",))
@torch.no_grad()
def verified_attribution(
    network: nn.Sequential,
    images: Float[Tensor, "n channels height width"],
    *,
    radius: Annotated[float, Between(0, float("inf"), "()")] = 0.1,
    grid: tuple[int, int] = (4, 4),
    outcome: int | Sequence[int] | None = None,
    limits: tuple[float, float] | None = (0.0, 1.0),
    bounds: Bounds = "crown",
) -> VerifiedAttribution:
    """Map which patches a small classifier's answer can depend on, with a proof in the place of samples.

    The overlap of a set of images is the most by which another logit can exceed the answer's. It is bounded
    from above over all images within `radius` of x: below 0, the answer is proven to stay. The importance of a
    patch is the overlap with every pixel free − that with the patch held; `alone` frees the patch by itself.
    Sampled attributions look at some changes of a patch; a bound covers all of them, and may be loose.

    Parameters
    ----------
    network
        Convolutions, linear layers, average pooling, batch norm (as in eval mode), Flatten and ReLU, in a row.
    images
        As the network reads them.
    radius
        Largest change of a pixel.
    grid
        Rows and columns of patches, which divide the image.
    outcome
        Answer to defend, for all or for each image; None: the likeliest.
    limits
        Least and greatest value of a pixel, which changes respect; None: any.
    bounds
        "interval": ends of every number, layer by layer, fast and loose; "crown": each bound a linear function
        of the pixels, pulled back through the network, tightest; "crown-ibp": so for the last layer alone, with
        intervals inside.

    Raises
    ------
    TypeError, ValueError: If a layer is of another kind, the grid does not divide the image, an image lies
    outside of `limits`, or the network does not give a row of two or more logits.

    Source
    ------
    Fel et al., "Don't Lie to Me! Robust and Efficient Explainability with Verified Perturbation Analysis"
    (EVA), arXiv 2202.07728, of which we had the abstract and summaries: adversarial overlap, and importance by
    holding a part. Intervals: arXiv 1810.12715. CROWN, with its adaptive lower slope: arXiv 1811.00866;
    CROWN-IBP: arXiv 1906.06316. `alone` is ours.

    Example
    -------
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> x = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> found = verified_attribution(network, x, radius=0.05, grid=(2, 2))
    >>> tuple(found.maps.shape), bool((found.alone <= found.overlap[:, None, None] + 1e-5).all())
    ((2, 2, 2), True)
    """
    start = time.perf_counter()
    x = check_data(images, name="images").detach().float()
    layers = _checked_layers(network)
    masks = _patch_masks(grid, tuple(x.shape[2:])).to(x)
    if limits is not None and bool(((x < limits[0]) | (x > limits[1])).any()):
        raise ValueError(
            f"`limits` must hold all pixels, {float(x.min()):g} to {float(x.max()):g}, got {limits}. Use None "
            "for pixels without limits."
        )
    logits = network(x)
    outcomes = _checked_outcomes(logits, outcome)
    every = torch.cat([torch.ones_like(masks[:1]), 1 - masks, masks])
    found = []
    for one, answer in zip(x, outcomes.tolist(), strict=True):
        around = radius * every
        low, high = one - around, one + around
        if limits is not None:
            low, high = low.clamp(min=limits[0]), high.clamp(max=limits[1])
        found.append(_overlap(layers, (low, high), answer, bounds))
    n_patches, of = len(masks), torch.stack(found)
    shape = (len(x), *grid)
    return VerifiedAttribution(
        images=x.cpu(),
        outcomes=outcomes.cpu(),
        overlap=of[:, 0].cpu(),
        maps=(of[:, :1] - of[:, 1 : 1 + n_patches]).reshape(shape).cpu(),
        alone=of[:, 1 + n_patches :].reshape(shape).cpu(),
        radius=radius,
        bounds=bounds,
        seconds=(time.perf_counter() - start) / len(x),
    )


@checked(leave=("network",))
def attacked(
    network: nn.Sequential,
    images: Float[Tensor, "n channels height width"],
    *,
    radius: Annotated[float, Between(0, float("inf"), "()")] = 0.1,
    grid: tuple[int, int] = (4, 4),
    outcome: int | Sequence[int] | None = None,
    limits: tuple[float, float] | None = (0.0, 1.0),
    n_starts: Count = 4,
    n_samples: Annotated[int, Between(0, 10**6)] = 0,
    seed: Seed = 0,
) -> Float[Tensor, "n rows columns"]:
    """Search for the change of each patch that brings another answer nearest: the bound from below.

    Projected gradient ascent of the overlap from `n_starts` random changes; with `n_samples`, random changes
    alone, as attributions by sampling look at. Together with `alone` of `verified_attribution` it encloses the
    true overlap of a patch.

    Parameters
    ----------
    network, images, radius, grid, outcome, limits
        As for `verified_attribution`.
    n_starts
        Attacks on each patch.
    n_samples
        Random changes of each patch in the place of attacks; 0: attack.
    seed
        Draws the starts and the samples.

    Returns
    -------
    Tensor
        The largest overlap found, above 0 where the answer changed.

    Raises
    ------
    TypeError, ValueError: As for `verified_attribution`.

    Source
    ------
    Projected gradient descent by signs: Madry et al., arXiv 1706.06083.

    Example
    -------
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> x = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> proven = verified_attribution(network, x, radius=0.05, grid=(2, 2))
    >>> bool((attacked(network, x, radius=0.05, grid=(2, 2)) <= proven.alone + 1e-5).all())
    True
    """
    x = check_data(images, name="images").detach().float()
    _checked_layers(network)
    masks = _patch_masks(grid, tuple(x.shape[2:])).to(x)
    with torch.no_grad():
        outcomes = _checked_outcomes(network(x), outcome)
    generator = torch.Generator().manual_seed(seed)
    repeats, steps = (n_samples, 0) if n_samples else (n_starts, ASCENT)
    best = []
    for one, answer in zip(x, outcomes.tolist(), strict=True):
        free = masks.repeat(repeats, 1, 1, 1)
        drawn = 2 * torch.rand(len(free), *one.shape, generator=generator).to(x) - 1
        now = _limited(one + radius * drawn * free, limits)
        most = _margins(network, now, answer)
        for _ in range(steps):
            slope = _slope(network, now, answer)
            now = now + 0.25 * radius * slope.sign() * free
            now = _limited(torch.minimum(torch.maximum(now, one - radius), one + radius), limits)
            most = torch.maximum(most, _margins(network, now, answer))
        best.append(most.view(repeats, -1).amax(dim=0))
    return torch.stack(best).view(len(x), *grid).cpu()


# -------------------------------------------------------------------------------------------------
# Bounds. A box goes forward layer by layer; a linear bound of outputs is pulled back to the pixels.


def _overlap(
    layers: list[nn.Module], box: Box, answer: int, bounds: Bounds
) -> Float[Tensor, " sets"]:
    """Upper bound of max over other outcomes of their logit − the answer's, over each box."""
    inside = _boxes(layers, box, tight=bounds == "crown")
    n_logits = inside[-1][0].shape[1]
    others = [i for i in range(n_logits) if i != answer]
    ask = torch.zeros(n_logits - 1, n_logits).to(box[0])
    ask[torch.arange(n_logits - 1), others] = 1
    ask[:, answer] = -1
    if bounds == "interval":
        low, high = inside[-1]
        return (high @ ask.clamp(min=0).T + low @ ask.clamp(max=0).T).amax(dim=1)
    return _pulled(layers, inside, ask)[1].amax(dim=1)


def _boxes(layers: list[nn.Module], box: Box, *, tight: bool) -> list[Box]:
    """The box before every layer, and after the last; `tight`: those before a ReLU also by linear bounds."""
    boxes = [box]
    for place, layer in enumerate(layers):
        if tight and isinstance(layer, nn.ReLU) and _bends(boxes) and place:
            boxes[-1] = _tightened(layers[:place], boxes)
        boxes.append(_forward(layer, boxes[-1]))
    return boxes


def _bends(boxes: list[Box]) -> bool:
    """Whether more than one layer came before: the box after one linear layer is exact."""
    return len(boxes) > 2


def _tightened(layers: list[nn.Module], boxes: list[Box]) -> Box:
    """The last box, where linear bounds are narrower."""
    low, high = boxes[-1]
    ask = torch.eye(low[0].numel()).to(low).view(-1, *low.shape[1:])
    below, above = (side.view_as(low) for side in _pulled(layers, boxes, ask))
    return torch.maximum(low, below), torch.minimum(high, above)


def _forward(layer: nn.Module, box: Box) -> Box:
    """The box after a layer."""
    low, high = box
    if isinstance(layer, nn.ReLU):
        return low.clamp(min=0), high.clamp(min=0)
    centre, reach = (low + high) / 2, (high - low) / 2
    middle, wide = layer(centre), _absolute(layer)(reach)
    return middle - wide, middle + wide


def _absolute(layer: nn.Module) -> nn.Module:
    """A linear layer with the sizes of its weights and without bias: how far its output can move."""
    changed = copy.deepcopy(layer)
    if isinstance(changed, nn.BatchNorm2d) and changed.running_mean is not None:
        changed.running_mean.zero_()
    for name, value in changed.named_parameters():
        value.data = value.data.abs() if name == "weight" else torch.zeros_like(value.data)
    return changed


def _pulled(
    layers: list[nn.Module], boxes: list[Box], ask: Float[Tensor, "rows ..."]
) -> tuple[Float[Tensor, "sets rows"], Float[Tensor, "sets rows"]]:
    """Lower and upper bounds of `ask` · output over each box, by linear functions of the input (CROWN)."""
    n_rows = max(ROWS // len(boxes[0][0]), 1)
    parts = [_pulled_rows(layers, boxes, part) for part in torch.split(ask, n_rows)]
    low, high = zip(*parts, strict=True)
    return torch.cat(low, dim=1), torch.cat(high, dim=1)


def _pulled_rows(layers: list[nn.Module], boxes: list[Box], ask: Tensor) -> tuple[Tensor, Tensor]:
    """Some rows of `_pulled`; minus the upper bound of minus a row is its lower bound."""
    n_sets = len(boxes[0][0])
    both = torch.cat([ask, -ask])
    slopes = both.expand(n_sets, *both.shape)
    constant = torch.zeros(n_sets, len(both)).to(both)
    for layer, box in zip(reversed(layers), reversed(boxes[: len(layers)]), strict=True):
        if isinstance(layer, nn.ReLU):
            slopes, more = _through_relu(slopes, box)
        else:
            slopes, more = _through_linear(layer, slopes, box[0].shape[1:])
        constant = constant + more
    low, high = (side.flatten(1)[:, :, None] for side in boxes[0])
    flat = slopes.flatten(2)
    above = (flat.clamp(min=0) @ high + flat.clamp(max=0) @ low)[..., 0] + constant
    return -above[:, len(ask) :], above[:, : len(ask)]


def _through_relu(slopes: Tensor, box: Box) -> tuple[Tensor, Tensor]:
    """Replace ReLU by the line above it where a slope is positive, and by one below where it is negative."""
    low, high = (side[:, None] for side in box)
    bent = (low < 0) & (high > 0)
    above = torch.where(bent, high / (high - low).clamp(min=1e-12), (low >= 0).to(low))
    below = torch.where(bent, (high > -low).to(low), (low >= 0).to(low))
    lifted = torch.where(bent, -above * low, torch.zeros_like(low))
    up, down = slopes.clamp(min=0), slopes.clamp(max=0)
    return up * above + down * below, (up * lifted).flatten(2).sum(dim=2)


def _through_linear(
    layer: nn.Module, slopes: Tensor, shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Multiply by the layer's matrix from the right; the second is what its bias adds."""
    nothing = torch.zeros(1, *shape).to(slopes)
    offset = layer(nothing)
    rows = slopes.flatten(0, 1)
    pull = torch.func.vjp(layer, nothing.expand(len(rows), *shape))[1]
    (pulled,) = pull(rows.contiguous())
    added = (slopes * offset).flatten(2).sum(dim=2)
    return pulled.view(*slopes.shape[:2], *shape), added


# -------------------------------------------------------------------------------------------------
# Attacks.


def _margins(network: nn.Module, x: Tensor, answer: int) -> Float[Tensor, " n"]:
    """The largest other logit − the answer's."""
    with torch.no_grad():
        return _margin(network(x), answer)


def _margin(logits: Float[Tensor, "n outcomes"], answer: int) -> Float[Tensor, " n"]:
    own = torch.zeros_like(logits, dtype=torch.bool)
    own[:, answer] = True
    return logits.masked_fill(own, -torch.inf).amax(dim=1) - logits[:, answer]


def _slope(network: nn.Module, x: Tensor, answer: int) -> Tensor:
    with torch.enable_grad():
        pixels = x.detach().clone().requires_grad_()
        return torch.autograd.grad(_margin(network(pixels), answer).sum(), pixels)[0]


def _limited(x: Tensor, limits: tuple[float, float] | None) -> Tensor:
    return x if limits is None else x.clamp(*limits)


# -------------------------------------------------------------------------------------------------
# What is given.


def _checked_layers(network: object) -> list[nn.Module]:
    """The layers of a network in a row, nested ones too."""
    if not isinstance(network, nn.Sequential):
        raise TypeError(
            f"`network` must be an nn.Sequential, got {type(network).__name__}. Bounds are for convolutions, "
            "linear layers and ReLU in a row; for other models see `attribution`."
        )
    layers: list[nn.Module] = []
    for layer in network:
        layers += _checked_layers(layer) if isinstance(layer, nn.Sequential) else [layer]
    if any(layer.training and isinstance(layer, (nn.BatchNorm2d, *DROPPED)) for layer in layers):
        raise ValueError("`network` must be in eval mode, got training mode. Call network.eval().")
    layers = [layer for layer in layers if not isinstance(layer, (nn.Identity, *DROPPED))]
    for layer in layers:
        if not isinstance(layer, (*LINEAR, nn.ReLU)):
            names = ", ".join(kind.__name__ for kind in LINEAR)
            raise ValueError(
                f"`network` must be made of {names} and ReLU, got {type(layer).__name__}. Other layers have no "
                "bound here; for any model see `attribution`."
            )
    return layers


def _patch_masks(grid: tuple[int, int], size: tuple[int, ...]) -> Float[Tensor, "patches 1 h w"]:
    """One where a patch is, patch by patch."""
    rows, columns = (check_count(part, name="grid") for part in grid)
    if size[0] % rows or size[1] % columns:
        raise ValueError(
            f"`grid` must divide images of {size[0]} × {size[1]} pixels, got {rows} × {columns}."
        )
    cells = torch.eye(rows * columns).view(-1, 1, rows, columns)
    tall = cells.repeat_interleave(size[0] // rows, dim=2)
    return tall.repeat_interleave(size[1] // columns, dim=3)


def _checked_outcomes(logits: Tensor, outcome: int | Sequence[int] | None) -> Int[Tensor, " n"]:
    """The answer to defend, of each image."""
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            f"`network` must give a row of two logits or more for each image, got {tuple(logits.shape)}."
        )
    if outcome is None:
        return logits.argmax(dim=1)
    given = (
        [outcome] * len(logits)
        if isinstance(outcome, int)
        else check_integers(outcome, name="outcome")
    )
    if len(given) != len(logits):
        raise ValueError(
            f"`outcome` must be one, or one an image, {len(logits)}, got {len(given)}."
        )
    last = logits.shape[1] - 1
    for one in given:
        check_count(one, name="outcome", at_least=0, at_most=last)
    return torch.tensor(given).to(logits.device)
