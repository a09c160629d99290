"""Atoms as a site: what a panel or a dashboard gives to the writer of pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxtyping import Float

from sae_nb.atoms import AtomNames
from sae_nb.checks import checked
from sae_nb.site import Site, write_site_of

if TYPE_CHECKING:
    import numpy as np

    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel


class SiteSubject(NamedTuple):
    """The content of a site: the names of atoms, the live model, the atoms' places on the map, a lens."""

    names: AtomNames
    model: LiveModel | None = None
    xy: Float[np.ndarray, "n_atoms 2"] | None = None
    lens: Lens | None = None


class AsSite:
    """Has atoms that can be written as a site."""

    if TYPE_CHECKING:

        def say(self, text: str) -> None: ...

    def site_subject(self) -> SiteSubject:
        """Return whose atoms are written."""
        raise NotImplementedError

    @checked(leave=("classes",))
    def to_site(
        self,
        folder: str | Path,
        title: str = "",
        overwrite: bool = False,
        *,
        back: tuple[str, str] | None = None,
        classes: bool | Sequence[int | str] | None = None,
    ) -> Site:
        """Write every atom of the SAE as a folder of pages that any web server gives out.

        Parameters
        ----------
        folder
            Made whole or not at all.
        title
            Heading of the page; model and hook point where it is empty.
        overwrite
            Replace a site of that name.
        back
            Address and words of a link above the heading, such as `("../index.html", "All SAEs")`:
            relative, or beginning with http:// or https://.
        classes
            A page for each class, too: a class per sample, or True for the model's answers (`write_site`).

        Returns
        -------
        Site
            Where it is, and how large.

        Raises
        ------
        ValueError: If it shows no atoms, or has no activations to take examples from, or `back` leads to
            no page.
        FileExistsError: If the folder exists and `overwrite` is not set, or it holds files that are not ours.
        """
        subject = self.site_subject()
        written = write_site_of(
            folder,
            subject.names,
            model=subject.model,
            lens=subject.lens,
            xy=subject.xy,
            classes=classes,
            title=title,
            back=back,
            overwrite=overwrite,
        )
        self.say(f"Written: {written.folder / 'index.html'}.")
        return written
