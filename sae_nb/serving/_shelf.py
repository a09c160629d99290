"""The shelf: models and SAEs that a client may name, each loaded when it is first asked for.

A client sends names and never paths: the shelf is filled when the server is started.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_nb.checks import one_of, shown
from sae_nb.models import LiveModel, bundled_names, load_model
from sae_nb.pretrained import load_examples, load_sae, pretrained_names

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.atoms import AtomNames


class Shelf:
    """Names of models and SAEs, and what is loaded of them.

    Parameters
    ----------
    models, saes
        More names or folders, besides everything that is bundled. A folder is known by its last part.
    """

    def __init__(self, models: Iterable[str] = (), saes: Iterable[str] = ()) -> None:
        self._models = {name: name for name in bundled_names()} | {_short(m): m for m in models}
        self._saes = {name: name for name in pretrained_names()} | {_short(s): s for s in saes}
        self.model = cache(self._model)
        self.sae = cache(self._sae)
        self.names = cache(self._names)

    @property
    def model_names(self) -> list[str]:
        """Names of models."""
        return sorted(self._models)

    @property
    def sae_names(self) -> list[str]:
        """Names of SAEs."""
        return sorted(self._saes)

    def _model(self, name: str) -> LiveModel:
        return load_model(self._models[one_of(name, self.model_names, name="model")])

    def _sae(self, name: str) -> Any:
        return load_sae(self._saes[one_of(name, self.sae_names, name="sae")])

    def of_sae(self, name: str) -> tuple[Any, LiveModel, str]:
        """Return an SAE, the model that it reads, and where."""
        sae = self.sae(name)
        if sae.model_name is None or sae.hook_point is None:
            raise ValueError(f"`sae` must name its model and hook point, and {name!r} does not.")
        known = {value: key for key, value in self._models.items()} | {m: m for m in self._models}
        return sae, self.model(known.get(sae.model_name, sae.model_name)), str(sae.hook_point)

    def acts(self, name: str) -> Activations:
        """Return the example activations of an SAE that has some."""
        self._sae(name)
        return load_examples(self._saes[name]).acts

    def _names(self, name: str) -> AtomNames:
        from sae_nb.atoms import AtomNames

        sae = self.sae(name)
        return AtomNames(load_examples(self._saes[name]).catalogue(sae))


def _short(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(
            f"`models` and `saes` must be names or folders as texts, got {shown(name)}. Pass "
            "['tiny-gpt'], say."
        )
    return Path(name).name if Path(name).is_dir() else name
