"""Effects of an AtomBrowser's atoms on the model's answer: measured off the main thread, kept by atom."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sae_nb.atoms import AtomEffects, AtomSummary, measure_atom

if TYPE_CHECKING:
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel
    from sae_nb_widgets.atom._panel import AtomBrowser

QUICK, BEARABLE = 50_000_000, 500_000_000
"""Parameters up to which a model is run on every atom shown, and on the first one, to see what it does."""

REST_SECONDS = 0.3
"""Time for which an atom must stay before the model is run on it: stepping through atoms stays fast."""

FEW, MANY, MOST_CLASSES = 3, 12, 64
"""Examples on which a slower model is run, and one of images; what few classes are, of which 3 are named."""


class Effects:
    """Runs the model of `panel` on an atom's examples; the panel is told when an atom's effects are there."""

    def __init__(self, panel: AtomBrowser, model: LiveModel | None, lens: Lens | None) -> None:
        self._panel, self._model, self._lens = panel, model, lens
        self._n_parameters = _n_parameters(model)
        self.of: dict[int, AtomEffects] = {}
        """Those that are known, by atom."""

        self.under_way = -1
        """The atom that is being measured; -1 for none."""

    @property
    def can_be_measured(self) -> bool:
        """Whether there is a model to run, and examples that it reads."""
        acts = self._panel._whole.acts
        inputs = acts.context.token_ids is not None or acts.context.pictures is not None
        return self._model is not None and inputs and acts.hook_point is not None

    def ask_quickly(self, record: AtomSummary) -> None:
        """Measure the atom shown without being asked, where the model is small, or it is the first one."""
        known = record.atom in self.of or record.atom == self.under_way
        if known or not self.can_be_measured or not record.n_fired:
            return
        first = self.under_way < 0 and not self.of
        if self._n_parameters <= QUICK or (first and self._n_parameters <= BEARABLE):
            self.ask(record.atom, rest=0.0 if first else REST_SECONDS)

    def ask(self, atom: int, rest: float = 0.0) -> None:
        """Measure an atom if it is still shown after `rest` seconds; the newest request wins."""
        panel, model, lens = self._panel, self._model, self._lens
        catalogue, how = panel.catalogue, self._how()
        self.under_way = atom

        def work() -> AtomEffects | None:
            time.sleep(rest)
            if model is None or panel.atom != atom:
                return None
            return measure_atom(catalogue, atom, model, lens=lens, **how)

        def done(found: AtomEffects | None) -> None:
            self.under_way = -1
            if found is not None:
                self.of[atom] = found
            panel.draw_effects()

        panel.run_async(work, done, channel="measure", otherwise=lambda: done(None))

    def _how(self) -> dict[str, Any]:
        """Return how many examples are read, and of what kind."""
        model = self._model
        how: dict[str, Any] = {} if self._n_parameters <= QUICK else {"n_examples": FEW}
        if model is None or model.modality.is_text:
            return how
        few = model.class_names is not None and len(model.class_names) <= MOST_CLASSES
        return how | {"elsewhere": True, "n_examples": MANY} | ({"n": 3} if few else {})


def _n_parameters(model: LiveModel | None) -> int:
    """Return the size of a model; 0 for none."""
    return 0 if model is None else sum(one.numel() for one in model.module.parameters())
