"""The rest of a model as a function of concepts: what it answers when some are turned down at a hook point.

Everything else there (error, bias, other atoms, class and register tokens) stays as the input had it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import check_one_place
from sae_nb.checks import check_count, checked
from sae_nb.models import patches_of, run

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import Batch, LiveModel

MOST_VARIANTS = 128
"""Variants of one input in one pass: what follows the hook point stays in the processor's caches."""


class Split:
    """A model cut at a hook point: what each input has there, and the rest of the model as a function of it.

    The rest runs alone: before the hook point the model sees the one input, behind it all its variants.
    """

    def __init__(self, model: LiveModel, images: Any, hook_point: str) -> None:
        if model.modality.is_text:
            raise ValueError(
                f"`model` must read images, {model.name} reads text. For texts see sn.evaluation.attribute."
            )
        self.model, self.point = model, model.hook_point(hook_point)
        self.point.check_writable()
        self.batches: list[Batch] = list(model.batches(images, batch_size=1))
        clean = [run(model, batch, read=hook_point, answer=False) for batch in self.batches]
        if len({one.seen[hook_point].shape for one in clean}) > 1:
            raise ValueError("`images` must have one size for concepts. Resize them to one.")
        self.states = [one.states[hook_point] for one in clean]
        self.places: Float[Tensor, "n places d_in"] = torch.cat(
            [patches_of(one.seen[hook_point], model) for one in clean]
        )
        """Activations at the patches (or pixels of a convolution's map), class and register tokens left out."""

        self.grid = clean[0].layout(hook_point).grid_of(model)
        """Rows and columns of places; None where they are not known."""

    def answer(self, i: int, x: Float[Tensor, "m places d_in"]) -> Float[Tensor, "m outcomes"]:
        """Return the model's answer to input i with other activations at its places."""
        whole = self.states[i].expand(len(x), -1, -1)
        whole = torch.cat((whole[:, : whole.shape[1] - x.shape[1]], x.to(whole)), dim=1)
        return run(self.model, self.batches[i], put={str(self.point): whole}).answer.tensor


class ConceptHead:
    """From codes of concepts to a logit of each image: what follows a hook point, the rest held.

    Called with codes (n, m, places, n_concepts), m variants of each of the n images, it gives the logits
    (n, m) of `outcomes`. `sobol` and `concept_curves` call it.
    """

    def __init__(
        self,
        split: Split,
        codes: Float[Tensor, "n places n_concepts"],
        directions: Float[Tensor, "n_concepts d_in"],
        *,
        atoms: tuple[int, ...],
        outcome: int | None,
    ) -> None:
        self.codes, self.directions, self.atoms = codes, directions, atoms
        self.hook_point = str(split.point)
        self._split = split
        self._held = split.places - codes @ directions
        clean = torch.cat([split.answer(i, x[None]) for i, x in enumerate(split.places)])
        if clean.ndim != 2:
            raise ValueError(
                f"`model` must answer with one row of logits per image, got shape {tuple(clean.shape)}. "
                "Wrap a classifier."
            )
        if outcome is not None:
            check_count(outcome, name="outcome", at_least=0, at_most=clean.shape[1] - 1)
        own = clean.argmax(dim=1)
        self.outcomes = own if outcome is None else torch.full_like(own, outcome)
        """Logit that is read, per image."""

        self.clean = clean.gather(1, self.outcomes[:, None])[:, 0]
        """That logit with every concept as it is."""

        off = torch.cat([split.answer(i, x[None] * 0) for i, x in enumerate(split.places)])
        if torch.equal(off, clean):
            raise ValueError(
                f"`hook_point` must be one whose patches the rest of {split.model.name} reads, and behind "
                f"{split.point} nothing does. Split earlier, at {_earlier(split)}."
            )

    @torch.no_grad()
    def __call__(self, codes: Float[Tensor, "n m places n_concepts"]) -> Float[Tensor, "n m"]:
        """Logits for m variants of the codes of every image."""
        if codes.shape[:1] + codes.shape[2:] != self.codes.shape:
            raise ValueError(
                f"`codes` must have shape ({len(self.codes)}, m, {self.codes.shape[1]}, "
                f"{self.codes.shape[2]}), got {tuple(codes.shape)}. Use codes[:, None] for one variant."
            )
        return torch.stack([self._of(i, variants) for i, variants in enumerate(codes)])

    @torch.no_grad()
    def masked(self, masks: Float[Tensor, "runs n_concepts"]) -> Float[Tensor, "n runs"]:
        """Return logits of every image with its codes multiplied by each mask, one mask at all places.

        A concept's mask does not matter to an image that lacks it: masks that differ there alone are
        run once.
        """
        found = []
        for i, codes in enumerate(self.codes):
            there = (codes != 0).any(dim=0)
            distinct, place = torch.unique(masks.to(codes) * there, dim=0, return_inverse=True)
            parts = [
                self._of(i, codes * some[:, None]) for some in torch.split(distinct, MOST_VARIANTS)
            ]
            found.append(torch.cat(parts)[place])
        return torch.stack(found)

    def _of(self, i: int, variants: Float[Tensor, "m places n_concepts"]) -> Float[Tensor, " m"]:
        logits = [
            self._split.answer(i, self._held[i] + some @ self.directions)[:, self.outcomes[i]]
            for some in torch.split(variants, MOST_VARIANTS)
        ]
        return torch.cat(logits)

    def __repr__(self) -> str:
        n, places, r = self.codes.shape
        return f"ConceptHead({r} concepts at {self.hook_point}, {n} images of {places} places)"


def _earlier(split: Split) -> str:
    layer = split.point.layer
    return f"resid_post.{layer - 1}" if layer else "an earlier layer"


@checked
@torch.no_grad()
def concept_head(
    model: LiveModel,
    sae: SparseAutoencoder,
    images: Any,
    hook_point: str,
    *,
    n_concepts: int = 25,
    outcome: int | None = None,
) -> ConceptHead:
    """Return the rest of a model as a function of the atoms that an SAE finds strongest in some images.

    Parameters
    ----------
    images
        As the model reads them; all together choose the atoms.
    hook_point
        Where the SAE reads; patches are changed there, class and register tokens are not.
    n_concepts
        Atoms, by their summed strength over all patches; fewer where fewer fire.
    outcome
        Logit; None: of each image the one that the model finds likeliest.

    Returns
    -------
    ConceptHead
        `.codes` (n, places, n_concepts) and `.atoms`; call it with codes, or give both to `sobol`.

    Raises
    ------
    TypeError, ValueError: If the model reads text, the SAE is not a sum of atoms at one place or of another
        width, no atom fires, or nothing behind the hook point reads the patches.

    Source
    ------
    Ours, after CRAFT, arXiv 2211.10154: the strongest latents in the place of concepts, the error held.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    >>> head = concept_head(model, sae, sn.data.scenes(1).images, "resid_post.6", n_concepts=3)
    >>> head.codes.shape, bool((head(head.codes[:, None])[:, 0] - head.clean).abs().max() < 1e-4)
    (torch.Size([1, 64, 3]), True)
    """
    check_one_place(sae)
    if not sae.additive:
        raise ValueError(
            f"`sae` must write the sum of its atoms, and {type(sae).__name__} writes products too. Use "
            "another architecture."
        )
    check_count(n_concepts, name="n_concepts", at_most=sae.n_atoms)
    split = Split(model, images, hook_point)
    places = split.places
    if places.shape[-1] != sae.d_in:
        raise ValueError(
            f"`sae` must read d_in={places.shape[-1]} numbers at {hook_point}, got {sae.d_in}. Was it "
            "trained at another hook point?"
        )
    codes = sae.encode(places.flatten(0, 1)).to_scipy().tocsc()
    norms = sae.dictionary.norm(dim=1).cpu().numpy()
    strength = torch.from_numpy(abs(codes).sum(axis=0).A1 * norms)
    atoms = [
        i
        for i in strength.argsort(descending=True, stable=True)[:n_concepts].tolist()
        if strength[i] > 0
    ]
    if not atoms:
        raise ValueError(
            "`sae` must have an atom that fires on `images`, got none. Pass more images."
        )
    some = torch.from_numpy(codes[:, atoms].toarray()).to(places).view(*places.shape[:2], -1)
    directions = sae.dictionary[atoms].to(places)
    return ConceptHead(split, some, directions, atoms=tuple(atoms), outcome=outcome)
