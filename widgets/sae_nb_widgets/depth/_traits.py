"""The state of a DepthTrajectory as traits that refuse what cannot be shown."""

from __future__ import annotations

from typing import Any

import traitlets as t

from sae_nb.summaries import COORDINATES, SIMILARITIES, DepthSummary
from sae_nb_widgets.panel import PlayingPanel

SHOWS = ("pictures", "tokens")
COLOURS = ("class", "token type", "phase")
FASTEST = 50.0
LARGEST_PUSH = 2.0


class DepthTraits(PlayingPanel):
    """Which layer, input and token, seen how; each part can be set, observed and linked."""

    kept_traits = (
        "picture",
        "token",
        "layer",
        "k",
        "similarity",
        "coordinates",
        "dimensions",
        "show",
        "color_by",
        "perturb_layer",
        "perturb_size",
        "perturb_seed",
        "atoms",
        "speed",
    )

    n_layers: int
    n_tokens: int
    n_inputs: int
    n_atoms: int
    summary: DepthSummary | None

    layer = t.Int(0, help="The cursor every part shares: 0 embeddings, l after block l.")
    picture = t.Int(0, help="Which input is looked at.")
    token = t.Int(0, help="Which of its tokens.")
    k = t.Int(3, help="How many phases are shown.")
    similarity = t.Enum(SIMILARITIES, default_value="raw", help="How blocks are compared.")
    coordinates = t.Enum(COORDINATES, default_value="pca", help="Axes of the paths.")
    dimensions = t.Enum((2, 3), default_value=2, help="Axes drawn.")
    show = t.Enum(SHOWS, default_value="pictures", help="This token of many inputs, or all of one.")
    color_by = t.Enum(COLOURS, default_value="class", help="What colours of paths mean.")
    perturb_layer = t.Int(0, help="Layer whose states are pushed.")
    perturb_size = t.Float(0.0, help="Length of the push, in lengths of the state; 0 for none.")
    perturb_seed = t.Int(0, help="Which random direction.")
    atoms = t.List(t.Int(), help="Atoms whose energy is followed over depth.")
    speed = t.Float(3.0, help="Layers per second while it plays.")

    @t.validate("layer", "perturb_layer", "picture", "token", "perturb_seed")
    def _exists(self, proposal: t.Bunch) -> int:
        name, value = proposal["trait"].name, int(proposal["value"])
        highest = {
            "layer": self.n_layers,
            "perturb_layer": self.n_layers,
            "picture": self.n_inputs - 1,
            "token": self.n_tokens - 1,
            "perturb_seed": 2**31 - 1,
        }[name]
        if not 0 <= value <= highest:
            raise t.TraitError(f"`{name}` must be between 0 and {highest}, got {value}.")
        return value

    @t.validate("k")
    def _k_fits(self, proposal: t.Bunch) -> int:
        value = int(proposal["value"])
        if not 1 <= value <= self.most_phases:
            raise t.TraitError(f"`k` must be between 1 and {self.most_phases}, got {value}.")
        return value

    @property
    def most_phases(self) -> int:
        """Largest k: phases of at least two blocks."""
        raise NotImplementedError

    @t.validate("perturb_size", "speed")
    def _in_range(self, proposal: t.Bunch) -> float:
        name, value = proposal["trait"].name, float(proposal["value"])
        low, high = {"perturb_size": (0.0, LARGEST_PUSH), "speed": (0.1, FASTEST)}[name]
        if not low <= value <= high:
            raise t.TraitError(f"`{name}` must be between {low:g} and {high:g}, got {value:g}.")
        return value

    @t.validate("atoms")
    def _atoms_exist(self, proposal: t.Bunch) -> list[int]:
        atoms = list(dict.fromkeys(int(atom) for atom in proposal["value"]))
        wrong = [atom for atom in atoms if not 0 <= atom < self.n_atoms]
        if wrong:
            raise t.TraitError(
                f"`atoms` must be between 0 and {self.n_atoms - 1}, got {wrong[0]}."
                if self.n_atoms
                else "`atoms` needs an SAE. Pass sae= to the panel."
            )
        return atoms

    @t.validate("coordinates")
    def _coordinates_can_be(self, proposal: t.Bunch) -> Any:
        if proposal["value"] == "atoms" and not self.n_atoms:
            raise t.TraitError("`coordinates` of atoms need an SAE. Pass sae= to the panel.")
        return proposal["value"]

    @t.validate("color_by")
    def _colours_can_be(self, proposal: t.Bunch) -> Any:
        if proposal["value"] == "class" and not self.has_classes:
            raise t.TraitError("`color_by` class needs labels. Pass labels= to the panel.")
        return proposal["value"]

    @property
    def has_classes(self) -> bool:
        """Whether inputs have labels."""
        raise NotImplementedError
