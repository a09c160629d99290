"""ExampleStore: what a pretrained SAE does on a few hundred samples, without running the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._context import Context, Ragged, ragged_sounds
from sae_nb.activations._modality import AUDIO
from sae_nb.activations._named_positions import RECONSTRUCTED
from sae_nb.activations._rows import MadeRows
from sae_nb.activations._sites import acts_for
from sae_nb.architectures._saving import KIND
from sae_nb.atoms._catalogue import known_catalogue
from sae_nb.atoms._labels import Labels
from sae_nb.checks import checked
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import offsets_of
from sae_nb.evaluation import FactorMatch
from sae_nb.files import SaeIdentity
from sae_nb.files._atomic import read_json, read_manifest
from sae_nb.files._fingerprints import identity_of
from sae_nb.files._tensors import read_tensors
from sae_nb.labelling import AtomLabels, labels as read_labels
from sae_nb.pretrained._bundled import (
    MEASUREMENTS,
    bundled_folder,
    bundled_name,
    near_names,
    own_sae,
)

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.atoms import AtomCatalogue
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel

SAMPLES_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class SteeredAtom:
    """An atom whose effect on the live model matches its label, as measured on fresh inputs."""

    label: str
    """The factor it detects."""

    atom: int
    by: float
    """Amount that was added, in the model's units."""

    by_p99: float
    """The same in multiples of its 99th percentile: `steer(…, by=by_p99, unit="p99")`."""

    effect: float
    interval: tuple[float, float]
    """Share of inputs whose answer became the labelled one, minus the share without; 95 % interval."""

    random: float
    """Largest effect, up or down, of random directions of the same norm."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ExampleStore:
    """Samples, codes and readings that come with a pretrained SAE.

    The activations themselves are not kept: `acts.x` is the SAE's own reconstruction, x̂ = zD + b,
    which leaves out what the SAE misses (`r2` is the explained fraction). Capture again where that
    matters. Of a transcoder nothing is kept: its live model is run on the samples again, and `acts` are
    its input.

    Example
    -------
    >>> examples = load_examples("tiny-vit/resid_post.6")
    >>> examples.labels[examples.match("digit 0").atom]
    'digit 0'
    """

    FACTS, ARRAYS, LABELS = MEASUREMENTS, "examples.safetensors", "labels.json"
    """Its files, next to its SAE's: measurements; samples, codes and what there is one of per atom; evidence of
    the labels, in the form of `sn.label`."""

    name: str
    acts: Activations
    codes: SparseCodes
    """Rows of the examples, with the images or texts behind them; and their codes, to 8 bits."""

    xy: Float[np.ndarray, "n_atoms 2"]
    """UMAP coordinates of the atoms (cosine)."""

    labels: Labels
    """Labels of atoms, by the factor they detect best, with the evidence (`labels.evidence(17)`)."""

    matches: list[FactorMatch]
    missed: list[str]
    """Known factors that an atom detects, best first, judged on fresh samples; those that none does."""

    steered: list[SteeredAtom]
    """Atoms that steer the model towards their label, the strongest first."""

    frequency: Float[np.ndarray, " n_atoms"]
    p99: Float[np.ndarray, " n_atoms"]
    """Firing rate, and 99th percentile of non-zero strengths, on a large sample."""

    r2: float
    """Share of variance the SAE explains on held-out samples."""

    facts: dict[str, Any]
    """All other measurements: the content of the card, as plain numbers."""

    def __repr__(self) -> str:
        context = self.acts.context
        kept = "drawn anew" if self.is_drawn else "x is the SAE's own reconstruction"
        return (
            f"ExampleStore({self.name!r}: {len(self.acts)} rows of {context.n_samples} "
            f"{context.sample_word}s, {self.codes.n_atoms} atoms, {len(self.labels)} labelled; "
            f"{len(self.matches)} factors found, {len(self.missed)} missed; {kept}, R² {self.r2:.3f})"
        )

    @property
    def is_drawn(self) -> bool:
        """Whether the live model was run on the samples again, so that `acts` are activations."""
        return self.acts.target is not self.acts

    @checked
    def match(self, factor: str) -> FactorMatch:
        """Return the atom that detects a factor.

        Raises
        ------
        KeyError: If no atom in `matches` detects it.
        """
        atoms = {match.factor: match for match in self.matches}
        if factor not in atoms:
            raise KeyError(
                f"`factor` must be one that an atom of {self.name!r} detects, {list(atoms)}, got "
                f"{factor!r}."
            )
        return atoms[factor]

    @checked
    def catalogue(self, sae: SparseAutoencoder) -> AtomCatalogue:
        """Return the atoms as panels read them, on the stored codes: nothing is encoded.

        Raises
        ------
        ValueError: If the SAE is another one than that of this name.

        Example
        -------
        >>> from sae_nb.pretrained import load_sae
        >>> examples = load_examples("tiny-vit/resid_post.6")
        >>> catalogue = examples.catalogue(load_sae("tiny-vit/resid_post.6"))
        >>> catalogue.encoded
        True
        """
        from sae_nb.atoms import AtomCatalogue

        if sae.n_atoms != self.codes.n_atoms:
            raise ValueError(
                f"`sae` must be {self.name!r} with {self.codes.n_atoms} atoms, got one with "
                f"{sae.n_atoms}. Use sn.load_sae({self.name!r})."
            )
        r2 = None if self.is_drawn else self.r2
        return AtomCatalogue(sae, self.acts, codes=self.codes, labels=self.labels, r2_of_source=r2)


@known_catalogue.answer
def _known_catalogue(sae: object) -> AtomCatalogue:
    return needed_examples(sae).catalogue(sae)  # type: ignore[arg-type]


@checked
def load_examples(name: str) -> ExampleStore:
    """Open the examples of a pretrained SAE; `sn.pretrained_names()` lists them.

    No model is needed, but for a transcoder ("tiny-gpt/mlp.2"), whose bundled model runs on a few hundred
    samples: a second or two.

    Raises
    ------
    FileNotFoundError: If there is no such SAE, or a file of it is missing.
    ValueError: If a file was cut short or altered, or the SAE is one of sequences, which has no examples.

    Example
    -------
    >>> examples = load_examples("tiny-vit/resid_post.6")
    >>> examples.codes.n_atoms == len(examples.xy) == len(examples.p99)
    True
    """
    folder = bundled_folder(name) if isinstance(name, str) else None
    if folder is None:
        raise FileNotFoundError(
            f"`name` must be one of the pretrained SAEs, {near_names(str(name))}, got {name!r}."
        )
    if not _has_examples(folder):
        raise ValueError(
            f"`name` must be that of an SAE with examples, got {name!r}, which reads whole texts and brings "
            "none. Give it yours: sw.TemporalPanel(model, sae, text), or sn.capture and decompose."
        )
    return open_examples(folder, name)


def _has_examples(folder: Path) -> bool:
    return (folder / MEASUREMENTS).is_file()


def examples_of(sae: Any) -> ExampleStore | None:
    """Return the examples of the pretrained SAE that this one is, in any precision; None if it is none.

    It is known by its place and its fingerprint, since an SAE retrained there has other atoms.

    Example
    -------
    >>> from sae_nb.pretrained import load_sae
    >>> examples_of(load_sae("tiny-vit/resid_post.6")).name
    'tiny-vit/resid_post.6'
    """
    name = bundled_name(sae)
    folder = bundled_folder(name)
    if folder is None or not _has_examples(folder):
        return None
    identity, store = _of_bundled(folder, name)
    return store() if identity.is_same(identity_of(sae)) else None


def bundled_labels(sae: Any) -> AtomLabels | None:
    """Return the names of the pretrained SAE that this one is, where it has no examples that bring them."""
    name = bundled_name(sae)
    folder = bundled_folder(name)
    if folder is None or _has_examples(folder) or not (folder / ExampleStore.LABELS).is_file():
        return None
    identity, _ = _of_bundled(folder, name)
    return read_labels(folder / ExampleStore.LABELS) if identity.is_same(identity_of(sae)) else None


@lru_cache(maxsize=8)
def _of_bundled(folder: Path, name: str) -> tuple[SaeIdentity, Callable[[], ExampleStore]]:
    """The identity of a pretrained SAE, and its examples, which are read when asked for."""
    return identity_of(own_sae(folder)), cache(partial(open_examples, folder, name))


def needed_examples(sae: object) -> ExampleStore:
    """Return the examples of a pretrained SAE, where there are no activations.

    Raises
    ------
    TypeError: If it is none; names the call that makes activations.
    """
    examples = examples_of(sae)
    if examples is None:
        model, place = getattr(sae, "model_name", None), getattr(sae, "hook_point", None)
        load = f"sn.load_model({model!r})" if model else "model"
        where = repr(str(place)) if place else "hook_point"
        raise TypeError(
            "`acts` must be given for an SAE that is not pretrained, got None. Make them with "
            f"acts = sn.capture({load}, inputs, {where})."
        )
    return examples


def open_examples(folder: Path, name: str) -> ExampleStore:
    """Open an example store that lies in a folder together with its SAE."""
    read_manifest(folder, KIND)
    sae = own_sae(folder)
    sae.folder = folder
    arrays, facts = read_tensors(folder / ExampleStore.ARRAYS), read_json(folder / MEASUREMENTS)
    if "level" in arrays:
        acts, codes = _stored(sae, arrays, facts, _as_it_is(folder))
    else:
        acts, codes = _drawn(sae, facts)
    labels = Labels()
    for match in facts["read"]:
        scores = "F1 {f1:.2f} (precision {precision:.2f}, recall {recall:.2f})"
        labels.write(match["atom"], match["factor"], scores.format(**match))
    if (folder / ExampleStore.LABELS).is_file():
        kept = read_labels(folder, sae)
        for atom, text in kept.items():
            if atom not in labels:  # a name that was written by a reader, of no known factor
                labels.write(atom, text)
        labels.take_evidence(kept)
    for match in facts["read"]:
        # Always yes has precision p and recall 1, so an F1 of 2p / (1 + p): the floor tells p.
        by_chance = match["floor"] / (2 - match["floor"])
        labels.take_scores(
            match["atom"], f1=match["f1"], fits=match["precision"], fits_floor=by_chance
        )
    steered = [
        SteeredAtom(
            label=one["label"],
            atom=one["atom"],
            by=one["by"],
            by_p99=one["by_p99"],
            effect=one["shift"] if "shift" in one else one["turned"],
            interval=tuple(one["interval"]),
            random=max(one["random"], key=abs),
        )
        for one in facts["steering"] or []
    ]
    return ExampleStore(
        name=name,
        acts=acts,
        codes=codes,
        xy=arrays["xy"].numpy(),
        labels=labels,
        matches=[FactorMatch(**match) for match in facts["matches"]],
        missed=list(facts["missed"]),
        steered=sorted(steered, key=lambda atom: -atom.effect),
        frequency=arrays["frequency"].numpy(),
        p99=arrays["p99"].numpy(),
        r2=float(facts["r2"]),
        facts=facts,
    )


_held: WeakValueDictionary[str, Activations] = WeakValueDictionary()
_held_codes: WeakValueDictionary[str, SparseCodes] = WeakValueDictionary()
"""Examples in use, and their codes: panels open the same ones one after the other, and share them."""


def _as_it_is(folder: Path) -> str:
    """The folder with its files' times: another text once any of them is written again."""
    times = sorted((file.name, file.stat().st_mtime_ns) for file in folder.iterdir())
    return f"{folder.resolve()} {times}"


def _stored(
    sae: SparseAutoencoder, arrays: dict[str, Tensor], facts: dict[str, Any], key: str
) -> tuple[Activations, SparseCodes]:
    """Return the rows that were kept: codes, and what they add up to."""
    held, codes = _held.get(key), _held_codes.get(key)
    if held is not None and codes is not None:
        return held, codes
    codes = unpack_codes(arrays)
    if facts["context"]["kind"] == AUDIO.name:
        arrays = {**arrays, **_rendered(facts["plan"])}
    context = read_context(arrays, facts["context"])
    policy = {**context.policy, RECONSTRUCTED: bundled_name(sae)}
    acts = Activations(
        _reconstructed(codes, sae),
        sample=arrays["sample"].long(),
        position=arrays["position"].long(),
        hook_point=sae.hook_point,
        model_name=sae.model_name,
        context=replace(context, policy=policy),
    )
    _held[key], _held_codes[key] = acts, codes
    return acts, codes


def _rendered(plan: dict[str, Any]) -> dict[str, Tensor]:
    """Render the sounds of the examples again, and their faces: they would be larger than all the rest."""
    from sae_nb.data import sounds
    from sae_nb.models._sound_inputs import played
    from sae_nb.models._sound_transformer import SoundTransformerConfig
    from sae_nb.models._spectrograms import spectrogram_faces
    from sae_nb.pretrained.inputs import SHOW, seed_of

    waves = sounds(plan["sizes"]["samples"][SHOW], seed_of(SHOW, plan["seed"])).waveforms
    return {
        "pictures": spectrogram_faces(waves, SoundTransformerConfig().spectrogram),
        "sounds": torch.cat([played(wave) for wave in waves]),
        "sound_lengths": torch.tensor([len(wave) for wave in waves]),
    }


@torch.no_grad()
def _drawn(sae: SparseAutoencoder, facts: dict[str, Any]) -> tuple[Activations, SparseCodes]:
    """Run the live model on the samples that the recipe names, and encode them."""
    from sae_nb.models import load_model
    from sae_nb.pretrained.inputs import SHOW, Sizes, inputs_of

    model, plan = load_model(str(sae.model_name), device="cpu"), facts["plan"]
    acts = capture_for(sae, model, inputs_of(model, SHOW, Sizes(**plan["sizes"]), plan["seed"]))
    return acts, sae.encode(acts.x)


def capture_for(sae: SparseAutoencoder, model: LiveModel, inputs: Inputs) -> Activations:
    """Return what an SAE reads of a model's activations, and for a transcoder what it is to write."""
    from sae_nb.capturing import capture

    if sae.writes is None:
        return capture(
            model, inputs, str(sae.hook_point), batch_size=SAMPLES_AT_ONCE, progress=False
        )
    places = [str(sae.hook_point), str(sae.target_hook_point)]
    acts = capture(model, inputs, places, batch_size=SAMPLES_AT_ONCE, progress=False)
    return acts_for(sae, tuple(acts[place] for place in places), target=True)


@torch.no_grad()
def _reconstructed(codes: SparseCodes, sae: SparseAutoencoder) -> MadeRows:
    """Return rows x̂ = zD + b, computed where they are read: panels show codes, and rows may be 70 MB.

    By one plain torch call, which compiles nothing.
    """
    dictionary, bias = sae.dictionary, sae.bias.detach()
    return MadeRows(len(codes), lambda index: codes[index] @ dictionary + bias, dictionary[:0])


# -------------------------------------------------------------------------------------------------
# The store on disk: codes in three bytes an entry, samples, and one number per atom.
#
# A strength is kept as q in 1 … 255 with z = s_j (q / 255)², s_j the atom's largest strength: the
# rounding error is at most s_j / 255 · √(z / s_j), so weak firings keep their digits.


LEVELS = 255


def unpack_codes(arrays: dict[str, Tensor]) -> SparseCodes:
    """Return the codes that a recipe packed, to its precision."""
    atoms = arrays["atom"].to(torch.int32)
    share = arrays["level"].float() / LEVELS
    values = arrays["largest"][atoms.long()] * share.square()
    offsets = offsets_of(arrays["l0"].long())
    return SparseCodes(values, atoms, offsets, len(arrays["largest"]))


def read_context(arrays: dict[str, Tensor], stated: dict[str, Any]) -> Context:
    """Return the samples of an example store."""
    ragged = None
    if "ids" in arrays:
        ragged = Ragged(arrays["ids"].long(), arrays["id_offsets"].long())
    return Context.read(
        stated,
        n_samples=stated["n_samples"],
        pictures=arrays.get("pictures"),
        sounds=ragged_sounds(arrays),
        token_ids=ragged,
        vocabulary={int(i): text for i, text in stated["vocabulary"].items()},
    )
