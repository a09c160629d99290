"""InputSteering: a SteeringPanel on whatever an InputLens shows, with the same atom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import traitlets as t
from torch import Tensor

from sae_nb.checks import checked
from sae_nb_widgets.panel._declaring import reacts, show
from sae_nb_widgets.steering._detail import ASKED_ABOVE
from sae_nb_widgets.steering._panel import SteeringPanel

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.atoms import AtomCatalogue
    from sae_nb.codes import SparseCodes
    from sae_nb_widgets.input_lens import InputLens


@checked
class InputSteering(SteeringPanel):
    """What happens to this very input if the atom were stronger?

    The input drawn, chosen or typed in the lens is steered here, and the atom chosen in one becomes the
    atom of the other. Closing either leaves the other as it is.

    Parameters
    ----------
    lens
        Whose model, SAE, hook point and input.
    acts
        Strengths are multiples of each atom's 99th percentile on these; see `SteeringPanel`.
    atom
        First one steered; until the user chooses one, the lens shows the strongest of its input. None
        takes the lens's.
    strength
        First strength; None chooses one that can be seen.

    Raises
    ------
    ValueError: If the lens of a vision model shows no picture yet.
    """

    picture = t.Any(None, help="What a vision model reads: uint8 (3, height, width).")

    def __init__(
        self,
        lens: InputLens,
        acts: Activations | SparseCodes | AtomCatalogue | None = None,
        *,
        atom: int | None = None,
        strength: float | None = None,
    ) -> None:
        if lens.model.modality.is_image and lens.picture is None:
            raise ValueError(
                "`lens` must show a picture to steer, and it shows none. Draw or choose one first, or "
                "set lens.picture."
            )
        self._batch: Tensor | None = lens.picture[None] if lens.model.modality.is_image else None
        self._has_own_atom = atom is not None
        super().__init__(
            lens.model,
            lens.hook_point,
            lens.sae,
            [lens.text] if self._batch is None else self._batch,
            acts,
            atom=lens.atom if atom is None else atom,
            strength=strength,
        )
        self._lens: InputLens | None = lens
        name = "text" if lens.model.modality.is_text else "picture"
        self._link = t.dlink((lens, name), (self, name))
        if name == "text":
            show(self.controls.text, False)  # the lens has the field for it
            for texts in self.cards.main:
                texts.remove_class(ASKED_ABOVE)
        lens.observe(self._follow_lens, "atom")

    def _follow_lens(self, _: t.Bunch) -> None:
        """Take the lens's atom; one that it chose by itself does not displace one that was asked for."""
        lens = self._lens
        if lens is not None and (lens.atom_chosen or not self._has_own_atom):
            self.choose_atom(lens.atom)

    @reacts("atom", doing="steering", early=True)
    def _lead_lens(self) -> None:
        if self._lens is not None and self.sae is self._lens.sae:
            self._lens.atom = self.atom

    @reacts("picture", doing="steering the picture", early=True)
    def _new_picture(self) -> None:
        self._batch = None if self.picture is None else self.picture[None]
        self._read_anew()  # it has the sample's number, and is another one
        # It was measured on another picture.
        self.doses.show(None)
        self._request()

    @property
    def _emptied(self) -> bool:
        return super()._emptied or (self.model.modality.is_image and self._batch is None)

    def given(self) -> object:
        """Return what the lens shows."""
        return super().given() if self._batch is None else self._batch

    def close(self) -> None:
        """Let go of the lens, then close as every panel does."""
        lens, self._lens = self.__dict__.get("_lens"), None
        if lens is not None:
            self._link.unlink()
            lens.unobserve(self._follow_lens, "atom")
        super().close()
