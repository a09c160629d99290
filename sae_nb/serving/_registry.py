"""The registry: models and SAEs that a client may name, each loaded when it is first asked for.

A client sends names and never paths: the registry is filled when the server is started.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_nb.checks import one_of, shown
from sae_nb.models import LiveModel, bundled_names, load_model
from sae_nb.pretrained import load_examples, load_sae, pretrained_names

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.atoms._names import AtomNames


class Registry:
    """Names of models and SAEs, and what is loaded of them.

    Parameters
    ----------
    models, saes
        More names or folders, besides everything that is bundled. A folder is known by its last part.
    """

    def __init__(self, models: Iterable[str] = (), saes: Iterable[str] = ()) -> None:
        bundled_models, bundled_saes = bundled_names(), pretrained_names()
        self._put(
            {name: name for name in bundled_models} | {_short(m): m for m in models},
            {name: name for name in bundled_saes} | {_short(s): s for s in saes},
        )

    @classmethod
    def of(
        cls,
        models: Mapping[str, LiveModel] | None = None,
        saes: Mapping[str, tuple[SparseAutoencoder, Activations]] | None = None,
    ) -> Registry:
        """Return a registry of what is loaded already, and nothing else: SAEs with their activations."""
        registry = cls.__new__(cls)
        registry._put(dict(models or {}), dict(saes or {}))
        return registry

    def _put(self, models: Mapping[str, Any], saes: Mapping[str, Any]) -> None:
        self._models, self._saes = dict(models), dict(saes)
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
        found = self._models[one_of(name, self.model_names, name="model")]
        return load_model(found) if isinstance(found, str) else found

    def _sae(self, name: str) -> SparseAutoencoder:
        found = self._saes[one_of(name, self.sae_names, name="sae")]
        return load_sae(found) if isinstance(found, str) else found[0]

    def of_sae(self, name: str) -> tuple[SparseAutoencoder, LiveModel, str]:
        """Return an SAE, the model that it reads, and where."""
        sae = self.sae(name)
        if sae.model_name is None or sae.hook_point is None:
            raise ValueError(f"`sae` must name its model and hook point, and {name!r} does not.")
        named = {where: key for key, where in self._models.items() if isinstance(where, str)}
        known = named | {m: m for m in self._models}
        return sae, self.model(known.get(sae.model_name, sae.model_name)), str(sae.hook_point)

    def acts(self, name: str) -> Activations:
        """Return the example activations of an SAE that has some."""
        self.sae(name)
        found = self._saes[name]
        return load_examples(found).acts if isinstance(found, str) else found[1]

    def _names(self, name: str) -> AtomNames:
        from sae_nb.atoms import AtomCatalogue
        from sae_nb.atoms._names import AtomNames

        sae, found = self.sae(name), self._saes[name]
        if isinstance(found, str):
            return AtomNames(load_examples(found).catalogue(sae))
        return AtomNames(AtomCatalogue(sae, found[1]))


def _short(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(
            f"`models` and `saes` must be names or folders as texts, got {shown(name)}. Pass "
            "['tiny-gpt'], say."
        )
    return Path(name).name if Path(name).is_dir() else name
