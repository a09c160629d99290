"""The subject of a dashboard: model, SAE, codes, labels and inputs, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sae_nb.activations.tokens import is_special, join_tokens
from sae_nb.atoms import AtomCatalogue
from sae_nb.pretrained import needed_examples
from sae_nb.progress import progress_bar
from sae_nb.sessions import Annotations
from sae_nb_widgets.heads._queries import readable

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.atoms import Labels
    from sae_nb.checks import Inputs
    from sae_nb.codes import SparseCodes
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel
    from sae_nb.pretrained import ExampleStore


# Multiply-adds that take a laptop about a fifth of a second: no bar for less.
ENCODE_AT_ONCE = 3_000_000_000


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The subject of a dashboard, checked and encoded."""

    model: LiveModel
    """The live model."""

    sae: SparseAutoencoder
    """The SAE."""

    catalogue: AtomCatalogue
    """Its codes on the activations."""

    labels: Labels
    """Labels and notes that all panels share."""

    inputs: Inputs
    """Inputs of the model; None takes the samples behind the activations."""

    examples: ExampleStore | None
    """Examples of a pretrained SAE, with coordinates of its atoms."""

    hook_point: str
    """Hook point at which the SAE reads the model."""

    lens: Lens | None = None
    """A lens of the model, for what atoms raise."""


def subject_of(
    model: LiveModel,
    sae: SparseAutoencoder,
    acts: Activations | None,
    *,
    inputs: Inputs | None = None,
    codes: SparseCodes | None = None,
    labels: object = None,
    examples: ExampleStore | None = None,
    lens: Lens | None = None,
) -> Subject:
    """Check what was passed and encode the activations, once for every panel."""
    if acts is None and examples is None:
        examples = needed_examples(sae)
    if examples is not None:
        catalogue = examples.catalogue(sae)
    else:
        catalogue = AtomCatalogue(sae, acts, codes=codes)  # type: ignore[arg-type]
    hook_point = _hook_point(sae, catalogue)
    _encode(catalogue)
    return Subject(
        model=model,
        sae=sae,
        catalogue=catalogue,
        labels=Annotations.of(labels, sae, catalogue.labels),
        inputs=inputs,
        examples=examples,
        hook_point=hook_point,
        lens=lens,
    )


def _encode(catalogue: AtomCatalogue) -> None:
    """Encode once, with a bar where that takes long; every panel then reads the same codes."""
    n, cost = len(catalogue.acts), len(catalogue.acts) * catalogue.acts.d_in * catalogue.n_atoms
    if catalogue.encoded:
        return
    with progress_bar(n, "encode", "row", enabled=cost > ENCODE_AT_ONCE) as bar:
        done = 0

        def count(so_far: int, _: int) -> None:
            nonlocal done
            bar.update(so_far - done)
            done = so_far

        catalogue.callback = count
        _ = catalogue.codes
    catalogue.callback = None


def _hook_point(sae: SparseAutoencoder, catalogue: AtomCatalogue) -> str:
    place = getattr(sae, "hook_point", None) or catalogue.acts.hook_point
    if not place:
        raise ValueError(
            "`sae` or `acts` must know their hook point to steer there, got None in both. Set "
            "sae.hook_point."
        )
    return str(place)


def first_inputs(inputs: Inputs, n: int) -> Any:
    """Return the first inputs of a batch, a list or a bundled data set."""
    samples = getattr(inputs, "images", inputs)
    return samples[:n] if hasattr(samples, "__getitem__") else samples


def text_of(about: Subject) -> str:
    """Return the first text that was given or captured."""
    if isinstance(about.inputs, str):
        return about.inputs
    if isinstance(about.inputs, (list, tuple)) and about.inputs:
        return str(about.inputs[0])
    context = about.catalogue.acts.context
    if context.token_ids is None:
        raise ValueError(
            "`inputs` must hold a text to follow in time, got None. Pass dashboard(…, inputs=[text])."
        )
    names = context.token_names(0)
    return join_tokens([name for name in names if not is_special(name)], names)


LONGEST = 160
"""Letters of a text whose attention is shown: two lines that can be read."""


def beginning(text: str) -> str:
    """Return the first words of a text."""
    return text if len(text) <= LONGEST else text[:LONGEST].rpartition(" ")[0] or text[:LONGEST]


def can_show_heads(model: LiveModel) -> bool:
    """Return whether a model has heads, one row of them a block."""
    try:
        readable(model)
    except ValueError:
        return False
    return True
