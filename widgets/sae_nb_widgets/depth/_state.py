"""The state of a DepthTrajectory: its traits, what was measured and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets as t
from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics import (
    AtomDepths,
    DepthPaths,
    DepthSummary,
    ReadByBlock,
    SelfCorrection,
    States,
)
from sae_nb_widgets.depth._detail import DepthInputView
from sae_nb_widgets.depth._runs import DepthRuns
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import LARGEST_SEED, Number, Whole, Wholes
from sae_nb_widgets.panel._playing import PlayingPanel

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

LARGEST_PUSH = 2.0


class DepthState(HasAtoms, PlayingPanel):
    """What a DepthTrajectory shows; its parts read it and change it."""

    model: LiveModel
    sae: SparseAutoencoder | None
    labels: Any
    n_layers: int
    n_inputs: int
    n_atoms: int
    n_tokens: int
    runs: DepthRuns
    view: DepthInputView

    # Nothing draws before these are known (`ready`).
    summary: DepthSummary = None  # type: ignore[assignment]
    states: States = None  # type: ignore[assignment]
    depths: AtomDepths = None  # type: ignore[assignment]
    paths: DepthPaths = None  # type: ignore[assignment]
    read: ReadByBlock | None = None
    pushed: SelfCorrection | None = None
    rolled: Float[Tensor, "layers tokens d"] | None = None

    layer = Whole(
        0,
        0,
        lambda panel: panel.n_layers,
        help="The layer that every part shows: 0 embeddings, l after block l.",
    )
    picture = Whole(0, 0, lambda panel: panel.n_inputs - 1, help="Which input is looked at.")
    token = Whole(0, 0, lambda panel: panel.n_tokens - 1, help="Which of its tokens.")
    k = Whole(3, 1, lambda panel: panel.most_phases, help="How many phases are shown.")
    similarity = t.Enum(
        DepthSummary.SIMILARITIES, default_value="raw", help="How blocks are compared."
    )
    coordinates = t.Enum(DepthPaths.COORDINATES, default_value="pca", help="Axes of the paths.")
    dimensions = t.Enum((2, 3), default_value=2, help="Axes drawn.")
    show = t.Enum(
        ("pictures", "tokens"),
        default_value="pictures",
        help="This token of many inputs, or all of one.",
    )
    trails = t.Enum(
        ("few", "all"), default_value="few", help="Whose way through the layers is drawn."
    )
    color_by = t.Enum(
        ("class", "token type", "phase"), default_value="class", help="What colours of paths mean."
    )
    perturb_layer = Whole(0, 0, lambda panel: panel.n_layers, help="Layer whose states are pushed.")
    perturb_size = Number(
        0.0, 0, LARGEST_PUSH, help="Length of the push, in lengths of the state; 0 for none."
    )
    perturb_seed = Whole(0, 0, LARGEST_SEED, help="Which random direction.")
    atoms = Wholes(help="Atoms whose energy is followed over depth.")
    speed = Number(3.0, 0.1, 50, help="Layers per second while it plays.")

    @property
    def most_phases(self) -> int:
        """Largest k: phases of at least two blocks, six at most."""
        if self.summary is not None:
            return self.summary.most_phases
        return max(min(self.n_layers // 2, 6), 1)

    @property
    def has_classes(self) -> bool:
        """Whether inputs have labels."""
        return self.labels is not None

    def class_of(self, picture: int) -> str:
        """Return the name of an input's class; empty without labels."""
        summary = self.summary
        if summary is None or summary.classes is None:
            return ""
        return summary.class_names[summary.classes[picture]]

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
    def _coordinates_can_be(self, proposal: t.Bunch) -> object:
        if proposal["value"] == "atoms" and not self.n_atoms:
            raise t.TraitError("`coordinates` of atoms need an SAE. Pass sae= to the panel.")
        return proposal["value"]

    @t.validate("color_by")
    def _colours_can_be(self, proposal: t.Bunch) -> object:
        if proposal["value"] == "class" and not self.has_classes:
            raise t.TraitError("`color_by` class needs labels. Pass labels= to the panel.")
        return proposal["value"]

    @property
    def ready(self) -> bool:
        """Whether the model has run."""
        return self.summary is not None

    @property
    def cuts(self) -> tuple[int, ...]:
        """Layers at which phases begin and end; where none can be claimed, depth as a whole."""
        summary = self.summary
        if summary is None or not summary.evidence(self.similarity, self.k).supported:
            return (0, self.n_layers)
        return summary.phases[self.similarity][self.k].cuts

    def step_picture(self, by: int) -> None:
        """Go to another input; after the last comes the first.

        Parameters
        ----------
        by
            Number of steps.
        """
        self.picture = (self.picture + by) % self.n_inputs
