"""Sessions: a record of what you viewed, wrote and did with an SAE, in a folder that can be moved.

A session is a folder of JSON with a manifest: the state of each panel, recipes of steering, labels
and notes, and which SAE they belong to. It names no path, machine or user. The SAE itself is not
copied: it is found by its fingerprint in the folder around the session, or among the pretrained ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_nb._hooks import Hook
from sae_nb.checks import checked, shown
from sae_nb.files import SaeIdentity
from sae_nb.files._atomic import (
    MANIFEST,
    new_folder,
    read_json,
    read_manifest,
    write_json,
    write_manifest,
)
from sae_nb.files._exchange import place
from sae_nb.files._fingerprints import identity_of
from sae_nb.sessions._annotations import FILE, Annotations

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


KIND = "session"
VERSION = 1
INSIDE = "session"
"""Name of a session inside the folder of its SAE."""

STATE, RECIPES = "session.json", "recipes.json"

session_panels: Hook[..., Any] = Hook("session_panels")
"""Asked for the live panels of a session, with what `Session.dashboard` was given."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """A saved session, read and checked: its folder, its SAE and model, the atom and view shown."""

    path: Path
    sae: SaeIdentity
    model_name: str | None
    atom: int | None
    tab: str
    panels: Mapping[str, Mapping[str, Any]]
    """State of each panel, by the panel's name: filters, selection, choices."""

    recipes: tuple[Mapping[str, Any], ...]
    """Recipes of steering; the first is what the panel showed."""

    labels: Annotations
    """Your labels, notes and stars; from now on they are kept in the session."""

    def check_sae(self, sae: object) -> None:
        """Refuse any SAE but the session's own."""
        if not hasattr(sae, "dictionary"):
            raise TypeError(
                f"`sae` must be a sparse autoencoder, got {shown(sae)}. Use sn.load_sae."
            )
        identity = identity_of(sae)
        if not self.sae.is_same(identity):
            raise ValueError(
                f"The session {self.path.name!r} belongs to another SAE: it was saved with "
                f"{self.sae}, and `sae` is {identity}. Load the SAE it was saved with."
            )

    def load_sae(self) -> SparseAutoencoder:
        """Load the session's SAE from the folder around it, or from the pretrained ones."""
        from sae_nb.pretrained import load_sae

        for candidate in self._candidates():
            sae = load_sae(candidate)
            if self.sae.is_same(identity_of(sae)):
                return sae
        raise FileNotFoundError(
            f"No SAE near the session {self.path.name!r} is {self.sae}. Put its folder next to the "
            "session, or pass the SAE."
        )

    def _candidates(self) -> list[Path | str]:
        """Return folders that may hold the SAE, according to their `config.json`; then pretrained names."""
        from sae_nb.pretrained._bundled import bundled_folder

        around = self.path.resolve().parent
        folders = [around, *sorted(path for path in around.iterdir() if path.is_dir())]
        candidates: list[Path | str] = [path for path in folders if _may_hold(path, self.sae)]
        name = f"{self.sae.model_name}/{self.sae.hook_point}"
        return [*candidates, name] if bundled_folder(name) is not None else candidates

    def dashboard(
        self,
        model: LiveModel,
        sae: SparseAutoencoder | None = None,
        acts: Activations | None = None,
        **choices: Any,
    ) -> Any:
        """Open live panels as they were left; the same as `sae_nb_widgets.open_dashboard`.

        Without `sae` it is found by `load_sae`; without `acts` the examples of a pretrained SAE are shown.
        """
        return session_panels(self, model, sae, acts, **choices)

    def __repr__(self) -> str:
        views = ", ".join(self.panels)
        return (
            f"Session({self.path.name!r}: {self.sae}; {len(self.labels)} labelled atoms, "
            f"{len(self.recipes)} recipes; {views})"
        )


def save_session(
    path: str | Path,
    sae: object,
    *,
    panels: Mapping[str, Mapping[str, Any]],
    labels: Mapping[int, str] | None = None,
    recipes: Sequence[Mapping[str, Any]] = (),
    model_name: str | None = None,
    atom: int | None = None,
    tab: str = "",
) -> Path:
    """Write a session, whole or not at all."""
    folder = _session_folder(place(path))
    if folder.is_file():
        raise FileExistsError(f"`path` must be a folder, got the file {str(folder)!r}.")
    kind = _kind_of(folder) if folder.is_dir() else KIND
    if kind != KIND and any(folder.iterdir()):
        raise FileExistsError(
            f"{str(folder)!r} must be new or hold a session, got "
            f"{'other files' if kind is None else repr(kind)}. Choose another name."
        )
    identity = identity_of(sae)
    content = {
        "sae": identity.to_json(),
        "model_name": model_name,
        "atom": atom,
        "tab": tab,
        "panels": {name: dict(state) for name, state in panels.items()},
    }
    _check_portable(content)
    _check_portable(list(recipes))
    with new_folder(folder, replace=folder.exists()) as partial:
        write_json(partial / STATE, content)
        write_json(partial / RECIPES, [dict(recipe) for recipe in recipes])
        # Labels go on changing after the session is saved, and carry a checksum of their own.
        write_manifest(partial, KIND, VERSION)
        Annotations(partial, identity).write_all(_written(labels), getattr(labels, "starred", ()))
    return folder


@checked
def open_session(path: str | Path, sae: Any = None) -> Session:
    """Read a session and check every file of it; `session.dashboard(model, sae, acts)` shows it.

    The folder is what `dashboard.save` wrote, or an SAE's that holds a session. An `sae` other than
    the session's is refused here already.

    Raises
    ------
    FileNotFoundError: If there is no such folder, or a file of it is missing. ValueError: If a file was
    cut short or altered, or the folder is not a session of this SAE.

    Example
    -------
    >>> import tempfile
    >>> import sae_nb as sn
    >>> sae = sn.TopK(d_in=4, n_atoms=8, k=2)
    >>> folder = save_session(
    ...     tempfile.mkdtemp() + "/monday", sae, panels={"map": {"color_by": "frequency"}}, atom=3
    ... )
    >>> session = open_session(folder, sae)
    >>> session.atom, session.panels["map"]["color_by"]
    (3, 'frequency')
    """
    folder = _session_folder(Path(path))
    read_manifest(folder, KIND, version=VERSION)
    content = read_json(folder / STATE)
    if not (folder / FILE).is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} is incomplete: {FILE!r} is missing. Put it back, or save again."
        )
    identity = SaeIdentity.from_json(content["sae"])
    session = Session(
        path=folder,
        sae=identity,
        model_name=content["model_name"],
        atom=content["atom"],
        tab=content["tab"],
        panels={name: dict(state) for name, state in content["panels"].items()},
        recipes=tuple(read_json(folder / RECIPES)),
        labels=Annotations(folder, identity),
    )
    if sae is not None:
        session.check_sae(sae)
    return session


def _kind_of(folder: Path) -> str | None:
    manifest = folder / MANIFEST
    content = read_json(manifest) if manifest.is_file() else None
    return content.get("kind") if isinstance(content, dict) else None


def _session_folder(path: Path) -> Path:
    """Return `path`, or the session inside it where `path` is the folder of an SAE."""
    return path / INSIDE if path.is_dir() and _kind_of(path) == "sae" else path


def _may_hold(folder: Path, identity: SaeIdentity) -> bool:
    if _kind_of(folder) != "sae":
        return False
    settings = read_json(folder / "config.json").get("settings", {})
    sizes = (settings.get("n_atoms"), settings.get("d_in"))
    return sizes == (identity.n_atoms, identity.d_in)


def _written(labels: Mapping[int, str] | None) -> dict[int, tuple[str, str]]:
    """Labels and notes as typed; measured ones, which come with the SAE, are left out."""
    if isinstance(labels, Annotations):
        return labels.written
    if labels is None:
        return {}
    note = getattr(labels, "note", lambda _: "")
    return {int(atom): (labels[atom], note(atom)) for atom in labels}


def _check_portable(value: object, where: str = "panels") -> None:
    if isinstance(value, Mapping):
        for name, part in value.items():
            _check_portable(part, f"{where}.{name}")
    elif isinstance(value, (list, tuple)):
        for part in value:
            _check_portable(part, where)
    elif isinstance(value, Path) or (isinstance(value, str) and _is_path_here(value)):
        raise ValueError(
            f"`{where}` must say nothing about this machine, got the path {str(value)!r}. Keep a "
            "name in its place."
        )


def _is_path_here(text: str) -> bool:
    """Return whether a text is an absolute path that exists: a slash alone may begin any prompt."""
    path = Path(text) if len(text) < 1000 and "\n" not in text and "\0" not in text else Path()
    return path.is_absolute() and len(path.parts) > 2 and path.exists()
