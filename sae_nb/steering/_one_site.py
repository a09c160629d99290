"""A dictionary of several sites, seen from the one that is steered: its atoms there, and the code there.

With D_m the dictionary at site m, modes move x_m by Σ_j (z'_j − z_j) d_mj, as for an SAE. A UniversalSAE
gives z from x_m alone. A Crosscoder needs all its sites for z: those before m are seen as the model runs,
later ones and other models' are not, and what needs z is then refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations._sites import AND, acts_of_sites
from sae_nb.checks import check_count
from sae_nb.codes import SparseCodes
from sae_nb.models import HookPointNotFound
from sae_nb.steering.edits import Tap

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import HookPoint, LiveModel, RunState


class Taps:
    """Activations at several hook points earlier in the same run, side by side."""

    def __init__(self, parts: Sequence[Tap]) -> None:
        self.parts = tuple(parts)

    def take(self, state: RunState) -> Float[Tensor, "batch time d_others"]:
        """Return the activations of this run, once."""
        return torch.cat([part.take(state) for part in self.parts], dim=-1)


@dataclass(frozen=True, eq=False)
class OneSite:
    """One site of a dictionary of several, with the interface by which an SAE is steered."""

    whole: SparseAutoencoder
    site: int

    @property
    def dictionary(self) -> Float[Tensor, "n_atoms d_m"]:
        """The atoms at this site, in its units."""
        return self.whole.at_sites[self.site]

    @property
    def n_atoms(self) -> int:
        """Atoms, shared by all sites."""
        return self.whole.n_atoms

    @property
    def d_out(self) -> int:
        """Width of the site."""
        return self.whole.reads[self.site]

    @property
    def d_in(self) -> int:
        """Width of what a code is read from: of the site, or of all side by side."""
        return self.d_out if self.reads_alone else self.whole.d_in

    @property
    def reads_alone(self) -> bool:
        """Whether one site gives the code."""
        return self.whole.reads_alone

    @property
    def strength_p99(self) -> object:
        """Of the whole dictionary, where it knows them."""
        return getattr(self.whole, "strength_p99", None)

    def encode(self, x: object) -> SparseCodes:
        """Return the code of the site alone, or of all side by side."""
        encode: Callable[..., SparseCodes] = self.whole.encode
        return encode(x, reads=self.site) if self.reads_alone else encode(x)

    def __call__(self, x: Tensor) -> Float[Tensor, "*batch d_m"]:
        """The reconstruction of the site."""
        return self.whole.decode(self.encode(x))[self.site]

    def seen(
        self, x: Float[Tensor, "batch time d_m"], others: Float[Tensor, "batch time rest"] | None
    ) -> Float[Tensor, "batch time d_in"]:
        """Return the input of the code: the activation here, and those at the other sites."""
        if others is None:
            return x
        rest = [width for i, width in enumerate(self.whole.reads) if i != self.site]
        parts = list(torch.split(others, rest, dim=-1))
        return torch.cat([*parts[: self.site], x, *parts[self.site :]], dim=-1)

    def acts(self, acts: object) -> object:
        """Return activations to take strengths from: of all sites, or codes."""
        if not isinstance(acts, tuple | list):
            return acts
        return acts[self.site] if self.reads_alone else acts_of_sites(self.whole, acts, name="acts")

    def taps(self, model: LiveModel, point: HookPoint) -> Taps | None:
        """Return the other sites, if the code needs them; refused if they are not seen in time."""
        if self.reads_alone:
            return None
        others = [
            self._before(model, point, i) for i in range(len(self.whole.reads)) if i != self.site
        ]
        return Taps([Tap(other) for other in others])

    def _before(self, model: LiveModel, point: HookPoint, i: int) -> HookPoint:
        """Another site, if the same run of the model reaches it before."""
        names, models = known_sites(self.whole)
        why = "it does not know where they are"
        if names:
            why = f'"{names[i]}" is not in {model.name}'
            earlier = _found(model, names[i]) if _same_model(model, models, i) else None
            if earlier is not None:
                order = [str(one) for one in model.hook_points()]
                places = [order.index(p) if p in order else -1 for p in (str(earlier), str(point))]
                if -1 in places or places[0] < places[1]:
                    return earlier
                why = f'"{names[i]}" is not reached before "{point}"'
        raise ValueError(
            f"`mode` must be 'add' with keep_error=True here, because {type(self.whole).__name__} reads a "
            f"code at all its sites, and {why}. Add the atom, edit at the last site of one model, or use a "
            "UniversalSAE, whose code one site gives."
        )


def one_site(
    model: LiveModel, point: HookPoint, sae: SparseAutoencoder, site: int | None
) -> SparseAutoencoder | OneSite:
    """Return a dictionary as it is steered at a hook point: an SAE as it is, another at one of its sites."""
    writes = getattr(sae, "writes", None)
    if writes is not None and len(writes) > 1:
        raise ValueError(
            f"`sae` must write one place here, got {type(sae).__name__}, which writes {len(writes)}. Add what "
            "an atom writes there with direction=, or put all in the place of its layers with sn.splice."
        )
    if writes is not None or not getattr(sae, "by_site", False):
        if site is not None:
            raise ValueError(
                f"`site` is for dictionaries of several sites, got {type(sae).__name__}. Leave it out."
            )
        return sae
    return OneSite(sae, _which(model, point, sae, site))


def known_sites(sae: SparseAutoencoder) -> tuple[list[str], list[str]]:
    """Return the hook point and the model of each site, as far as known; one model is that of all."""
    n = len(sae.reads)
    names = (getattr(sae, "hook_point", None) or "").split(AND)
    models = (getattr(sae, "model_name", None) or "").split(AND)
    return names if len(names) == n else [], models if len(models) == n else []


def _which(model: LiveModel, point: HookPoint, sae: SparseAutoencoder, site: int | None) -> int:
    n, kind = len(sae.reads), type(sae).__name__
    if site is not None:
        return check_count(site, name="site", at_least=0, at_most=n - 1)
    names, models = known_sites(sae)
    if not names:
        raise ValueError(
            f'`site` must say which of the {n} sites of {kind} "{point}" is, because the dictionary does '
            "not know its hook points. Pass site=0, say; training on captured activations sets them."
        )
    here = [
        i for i, name in enumerate(names)
        if (one := _found(model, name)) is not None
        and one.place == point.place
        and _same_model(model, models, i)
    ]  # fmt: skip
    if len(here) == 1:
        return here[0]
    sites = [f"{name} of {one}" for name, one in zip(names, models)] or names
    if here:
        raise ValueError(
            f'`site` must say which site of {kind} "{point}" of {model.name} is, because {len(here)} of '
            f"{', '.join(sites)} could be. Pass site={here[0]}, say."
        )
    raise ValueError(
        f'`hook_point` must be a site of {kind}, which has {", ".join(sites)}, got "{point}" of '
        f"{model.name}. Use one of these, or say which it is with site=."
    )


def _found(model: LiveModel, name: str) -> HookPoint | None:
    try:
        return model.hook_point(name)
    except HookPointNotFound:
        return None


def _same_model(model: LiveModel, models: list[str], i: int) -> bool:
    return not models or models[i] == model.name
