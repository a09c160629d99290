"""`write_site`: an SAE's atoms as a folder of static files, written whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sae_nb.atoms import AtomCatalogue, ConceptAtlas
from sae_nb.atoms._names import AtomNames
from sae_nb.checks import checked
from sae_nb.figures import theme
from sae_nb.figures.theme import format_count
from sae_nb.files._atomic import free_folder, new_folder, write_manifest
from sae_nb.pretrained import needed_examples
from sae_nb.progress import progress_bar
from sae_nb.sessions import Annotations
from sae_nb.sessions._names import names_of
from sae_nb.site._cards import Cards
from sae_nb.site._chunks import write_chunk
from sae_nb.site._classes import class_atoms, class_list, class_pages, classes_of_atoms
from sae_nb.site._live import NotLiveError, live_graph, write_live
from sae_nb.site._search import NAMES_AT_ONCE, name_pages, token_pages

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.codes import SparseCodes
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel
    from sae_nb.pretrained import ExampleStore

FIRST_ATOMS = 200
"""In the list before anything is searched: those that fire most often."""

FEWEST_ON_A_MAP = 15
"""Neighbours that a UMAP asks for; fewer atoms are laid out by PCA."""

KIND = "site"
PAGE = ("index.html", "site.css", "site.js")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site that was written: where it is, and how large."""

    folder: Path
    n_atoms: int
    n_files: int
    n_bytes: int
    first_paint: int
    """Bytes that a browser reads before it shows the first atom, its chunk included."""

    largest_chunk: int
    """Bytes of the largest chunk of an atom or a class."""

    n_classes: int = 0

    def __repr__(self) -> str:
        classes = f", {format_count(self.n_classes)} classes" if self.n_classes else ""
        return (
            f"Site({str(self.folder)!r}: {format_count(self.n_atoms)} atoms{classes} in "
            f"{format_count(self.n_files)} files, {self.n_bytes / 1e6:.1f} MB; first paint "
            f"{self.first_paint / 1e3:.0f} kB, largest atom {self.largest_chunk / 1e3:.0f} kB)"
        )


@checked(leave=("acts", "labels", "classes"))
def write_site(
    folder: str | Path,
    sae: Any,
    acts: Activations | Float[Tensor, "n d_in"] | None = None,
    *,
    codes: SparseCodes | None = None,
    examples: ExampleStore | None = None,
    model: LiveModel | None = None,
    lens: Lens | None = None,
    labels: Mapping[int, str] | str | Path | None = None,
    classes: bool | Sequence[int | str] | None = None,
    title: str = "",
    back: tuple[str, str] | None = None,
    live: bool | None = None,
    overwrite: bool = False,
) -> Site:
    """Write the atoms of an SAE as a folder that any web server gives out, for readers without Python.

    Every atom has a card, a link (`index.html#atom=17`) and a place on the map; names and tokens are
    searched in the page. Nothing is loaded from anywhere else.

    Parameters
    ----------
    folder
        Made whole or not at all.
    acts
        Activations; None takes `examples`, or those of a pretrained SAE. `codes` are their codes, if known.
    model, lens
        For the tokens that an atom raises, directly and by the lens, and for the live part.
    labels
        Labels by atom, or their folder; None: what panels show of this SAE.
    classes
        A class per sample, by number or word, or True for what a classifier of images answers: a page for
        each class, with the atoms that it rests on, how much, and where they fire in it. Importance is how
        far the class's logit, less the mean of all, falls to first order without the atom, where `model` has
        these classes (beside directions of atoms exchanged); else mean strength on the class less that on
        others (beside classes shuffled).
    title, back
        Heading; address and words of a link above it: `("../index.html", "All SAEs")`.
    live
        Whether the page answers live, by ONNX in the browser; None: if possible, else it gives the reason.
        Needs the extra `site`, an SAE of one step or a short `MatchingPursuit`, and a model like the
        bundled ones, of at most 11 MB.
    overwrite
        Replace a site of that name; never another folder.

    Raises
    ------
    FileExistsError: If the folder exists and `overwrite` is not set, or it holds something else than a site.
    ValueError: If `classes` are not one per sample, fewer than two, or True without a classifier to ask.

    Example
    -------
    >>> import tempfile, torch
    >>> import sae_nb as sn
    >>> x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    >>> sae = sn.TopK(4, 8, k=2, generator=torch.Generator().manual_seed(0))
    >>> with tempfile.TemporaryDirectory() as place:
    ...     site = write_site(f"{place}/site", sae, x)
    ...     site.n_atoms, (site.folder / "index.html").is_file()
    (8, True)
    """
    _check_link(back)
    free_folder(folder, replace=overwrite, kind=KIND)
    if acts is None and examples is None:
        examples = needed_examples(sae)
    catalogue = (
        AtomCatalogue(sae, acts, codes=codes)  # type: ignore[arg-type]
        if examples is None
        else examples.catalogue(sae)
    )
    # What is given for this site alone is not carried to the panels.
    names = (
        names_of(sae, catalogue)
        if labels is None
        else AtomNames(catalogue, Annotations.of(labels, sae, catalogue.labels))
    )
    xy = None if examples is None else examples.xy
    return write_site_of(
        folder,
        names,
        model=model,
        lens=lens,
        xy=xy,
        classes=classes,
        title=title,
        back=back,
        live=live,
        overwrite=overwrite,
    )


def write_site_of(
    folder: str | Path,
    names: AtomNames,
    *,
    model: LiveModel | None = None,
    lens: Lens | None = None,
    xy: Float[np.ndarray, "n_atoms 2"] | None = None,
    classes: bool | Sequence[int | str] | None = None,
    title: str = "",
    back: tuple[str, str] | None = None,
    live: bool | None = None,
    overwrite: bool = False,
) -> Site:
    """Write the site of atoms whose names and examples are known, as a panel knows them.

    `names`: The atoms, with their catalogue. `xy`: their places on the map; None: by `UMAP`. The rest is as for
    `write_site`.

    Raises
    ------
    ValueError: If the names have no catalogue of activations, or `back` leads to no page.
    """
    _check_link(back)
    free_folder(folder, replace=overwrite, kind=KIND)  # before seconds of work
    catalogue = names.catalogue
    if catalogue is None:
        raise ValueError(
            "A site must have examples, got an SAE without activations. Pass `acts`, what sn.capture "
            "returns."
        )
    _ = catalogue.codes  # before anything is written
    graph, about = _live(model, catalogue, live)
    found = None if classes is None or classes is False else class_atoms(catalogue, classes, model)
    with new_folder(folder, replace=overwrite) as made:
        sizes = _write_page(made)
        sizes["start"] = write_chunk(
            made,
            "start",
            _start(catalogue, names, title)
            | {"live": about, "back": back}
            | {"classes": None if found is None else class_list(found)},
        )
        largest, first_atom = 0, int(catalogue.order("frequency")[0])
        of_atoms = None if found is None else classes_of_atoms(found)
        cards = Cards(made, catalogue, names, model, lens, of_atoms)
        with progress_bar(catalogue.n_atoms, "site", "atom", enabled=True) as bar:
            for atom in range(catalogue.n_atoms):
                size = write_chunk(made, f"atoms/{atom}", cards.card(atom))
                largest = max(largest, size)
                if atom == first_atom:
                    sizes["atom"] = size
                bar.update(1)
        for name, page in () if found is None else class_pages(found, catalogue, cards):
            largest = max(largest, write_chunk(made, name, page))
        for name, page in name_pages(names, catalogue):
            write_chunk(made, name, page)
        letters = []
        for name, page in token_pages(catalogue):
            write_chunk(made, name, page)
            letters.append(name.rpartition("/")[2])
        write_chunk(made, "tokens/letters", letters)
        write_chunk(made, "map", _map(catalogue, names, xy))
        if graph is not None:
            write_live(made, graph)
        write_manifest(made, KIND, n_atoms=catalogue.n_atoms)
    written = [path for path in Path(folder).rglob("*") if path.is_file()]
    return Site(
        folder=Path(folder),
        n_atoms=catalogue.n_atoms,
        n_files=len(written),
        n_bytes=sum(path.stat().st_size for path in written),
        first_paint=sum(sizes.values()),
        largest_chunk=largest,
        n_classes=0 if found is None else len(found.names),
    )


def _check_link(back: tuple[str, str] | None) -> None:
    """Refuse an address that a click would run, or that leaves no words to click at."""
    if back is None:
        return
    address, words = back
    # Browsers read an address without the blanks and control signs in it.
    scheme = re.match(r"([a-zA-Z][\w+.-]*):", re.sub(r"[\x00-\x20]", "", address))
    if not address.strip() or not words.strip():
        raise ValueError(
            f"`back` must have an address and words, got {back!r}. Pass, say, ('../index.html', 'All SAEs')."
        )
    if scheme and scheme[1].lower() not in ("http", "https"):
        raise ValueError(
            f"`back` must lead to a page, got the address {address!r}. Pass one that is relative, or begins "
            "with http:// or https://."
        )


def _live(
    model: LiveModel | None, catalogue: AtomCatalogue, wanted: bool | None
) -> tuple[bytes | None, dict[str, Any]]:
    """Return the graph of the live part and what the page must know, or why there is none."""
    if wanted is False:
        return None, {"why": ""}
    try:
        if model is None:
            raise NotLiveError("no live model was given: pass `model`")
        return live_graph(model, catalogue.sae, catalogue.acts.hook_point)
    except NotLiveError as reason:
        if wanted:
            raise ValueError(f"`live` must be possible to be True, but {reason}.") from reason
        return None, {"why": f"Nothing can be tried live here: {reason}."}


def _write_page(made: Path) -> dict[str, int]:
    """Write page, style and script; return their bytes."""
    sizes = {}
    for name in PAGE:
        content = files("sae_nb.site").joinpath("static", name).read_bytes()
        if name == "site.css":
            content = theme.SITE_COLOURS.encode() + content
        if name == "site.js":
            content += files("sae_nb.figures").joinpath("tokens.js").read_bytes()
        (made / name).write_bytes(content)
        sizes[name] = len(content)
    return sizes


def _start(catalogue: AtomCatalogue, names: AtomNames, title: str) -> dict[str, Any]:
    """Return what the page needs at once: its heading, facts, and the atoms that fire most often."""
    acts, sae = catalogue.acts, catalogue.sae
    where = " · ".join(str(part) for part in (acts.model_name, acts.hook_point) if part)
    first = catalogue.order("frequency")[:FIRST_ATOMS].tolist()
    r2 = catalogue.r2
    facts = {
        "SAE": type(sae).__name__,
        "atoms": format_count(catalogue.n_atoms),
        "read from": where,
        "examples": catalogue.rows_in_words,
        "R²": "" if r2 is None else f"{r2:.3f}",
    }
    return {
        "title": title or (f"Atoms of {where}" if where else "Atoms of an SAE"),
        "facts": [[name, value] for name, value in facts.items() if value],
        "n_atoms": catalogue.n_atoms,
        "names_at_once": NAMES_AT_ONCE,
        "first": [[atom, names.words(atom), catalogue.frequency[atom]] for atom in first],
        "opens": next(iter(names.surest()), first[0]),
        "largest": max(float(catalogue.frequency.max(initial=0.0)), 1e-9),
        "signed": bool((catalogue.values < 0).any()),
        "weakest": theme.WEAKEST,
        "strength": theme.STRENGTH,
        "below": theme.SIGNED[0],
        "opacities": [theme.FAINTEST, theme.BOLDEST],
        "scale": theme.CIVIDIS,
    }


def _map(
    catalogue: AtomCatalogue, names: AtomNames, xy: Float[np.ndarray, "n_atoms 2"] | None
) -> dict[str, Any]:
    """Return where each atom lies, from 0 to 4095 on both axes, and how the places were found."""
    atlas = ConceptAtlas(catalogue.sae, catalogue=catalogue, labels=names.labels, xy=xy)
    few = catalogue.n_atoms <= FEWEST_ON_A_MAP and xy is None
    places, how = atlas.coordinates("atoms", "pca" if few else "umap")
    low, high = places.min(axis=0), places.max(axis=0)
    grid = np.round(4095 * (places - low) / np.maximum(high - low, 1e-12)).astype(int)
    return {"x": grid[:, 0], "y": grid[:, 1], "layout": "PCA" if how == "pca" else "UMAP"}
