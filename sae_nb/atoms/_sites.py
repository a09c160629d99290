"""The atoms of a dictionary of several sites, seen at one of them; examples of all sites side by side."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations._sites import as_one
from sae_nb.atoms._catalogue import AtomCatalogue, directions_of, share_explained
from sae_nb.atoms._examples import Choice, build_examples, choose_rows
from sae_nb.atoms._records import Band, Example, SiteExamples
from sae_nb.codes import SparseCodes


class SiteCatalogue(AtomCatalogue):
    """`AtomCatalogue.at`: directions and inputs of one site, and codes read there alone if any."""

    def __init__(self, whole: AtomCatalogue, number: int) -> None:
        self.whole, self.number, self.site = whole, number, whole.sites[number]
        self.alone = bool(getattr(whole.sae, "reads_alone", False))
        # Of a site that was not given, the tokens are known from those that were.
        self._given = number < len(whole.parts)
        self.acts = whole.parts[number if self._given else 0]
        self.sae, self.given, self.labels = whole.sae, self.acts, whole.labels
        self.n_rows, self.n_atoms = whole.n_rows, whole.n_atoms
        self.callback = None
        self.dictionary = directions_of(self.sae)[number].cpu().clone()
        self._device, self._dtype = whole._device, whole._dtype
        self._batch_size, self._codes = whole._batch_size, None
        self._r2_of_source = self._r2_on_the_way = None
        self._at = {}
        self._lock, self._near_lock = threading.RLock(), threading.RLock()

    sites = ()
    side_by_side = ()

    @property
    def encoded(self) -> bool:
        """Whether the codes exist yet."""
        return super().encoded if self.alone else self.whole.encoded

    @property
    def codes(self) -> SparseCodes:
        """Codes of every row: of this site alone, or those of all sites."""
        return super().codes if self.alone else self.whole.codes

    @cached_property
    def _by_atom(
        self,
    ) -> tuple[Int[np.ndarray, " nnz"], Float[np.ndarray, " nnz"], Int[np.ndarray, " m"]]:
        return super()._by_atom if self.alone else self.whole._by_atom

    def encode_rows(self, rows: Int[Tensor, " m"], k: int | None = None) -> SparseCodes:
        """Encode some rows again, on the CPU."""
        if not self.alone:
            return self.whole.encode_rows(rows, k)
        x = self.acts.rows(rows).to(self._device, self._dtype)
        with torch.no_grad():
            return self.sae.encode(x, k=k, reads=self.number).detach().to("cpu")

    @cached_property
    def r2(self) -> float | None:
        """Share of this site's variance that is explained; None where it is only read, or not given."""
        n_written = len(self.sae.writes or self.sae.reads)
        place = self.number - (len(self.sae.sites) - n_written)
        if place < 0 or not self._given:
            return None
        rows = self._spread_rows
        return share_explained(self.acts.rows(rows), self._x_hat(rows, place))

    @torch.no_grad()
    def _x_hat(self, rows: Int[Tensor, " m"], place: int = 0) -> Float[Tensor, "m d_m"]:
        """Return the reconstruction at one of the sites that are written."""
        if self.sae.writes is not None:
            x_hat = self.whole._x_hat(rows)
        else:
            x_hat = as_one(self.sae.decode(self.codes.rows(rows).to(str(self._device))))
        widths = self.sae.writes or self.sae.reads
        return torch.split(x_hat, list(widths), dim=1)[place]

    @cached_property
    def shares(self) -> Float[np.ndarray, " n_atoms"] | None:
        """Part of each atom that lies here, of all sites together; None where that is not measured."""
        found = self.sae.shares() if hasattr(self.sae, "shares") else None
        if found is None or found.shape[1] != len(self.whole.sites):
            return None
        return np.asarray(found[:, self.number].cpu().numpy())


def examples_at_sites(
    catalogue: AtomCatalogue, atom: int, band: Band, *, page: int, n: int, seed: int
) -> tuple[tuple[SiteExamples, ...], int]:
    """Return examples of an atom at every site that has some of its own, and the page they are from."""
    sites = _sites_of(catalogue)
    choices = [choose_rows(site, atom, band, seed=seed) for site in sites]
    last = max((-(-len(choice.rows) // n) - 1 for choice in choices), default=0)
    page = min(page, max(last, 0))
    found = tuple(
        _at_site(site, atom, choice, slice(page * n, (page + 1) * n))
        for site, choice in zip(sites, choices, strict=True)
    )
    return found, page


def _sites_of(catalogue: AtomCatalogue) -> list[SiteCatalogue]:
    return [site for site in catalogue.side_by_side if isinstance(site, SiteCatalogue)]


def _at_site(site: SiteCatalogue, atom: int, choice: Choice, shown: slice) -> SiteExamples:
    examples = build_examples(site, atom, choice.part(shown))
    share = None if site.shares is None else float(site.shares[atom])
    top = float(site.max_strength[atom])
    scaled = share is not None and not site.alone
    if scaled:  # one code: what differs is how much of it is written
        examples = tuple(_scaled(example, share or 0.0) for example in examples)
        shares = (other.shares for other in _sites_of(site.whole))
        top *= max(float(own[atom]) for own in shares if own is not None)
    return SiteExamples(
        site=site.site,
        n_fired=int(site.n_fired[atom]),
        frequency=float(site.frequency[atom]),
        share=share,
        examples=examples,
        scaled=scaled,
        n_examples=len(choice.rows),
        max_strength=top,
        missing=choice.missing,
    )


def _scaled(example: Example, by: float) -> Example:
    """An example whose strengths are all multiplied by a number."""
    tokens, heat = example.token_strengths, example.heat
    return replace(
        example,
        strength=by * example.strength,
        heat=None if heat is None else by * heat,
        prefix=tuple((name, by * z) for name, z in example.prefix),
        token_strengths=None if tokens is None else by * tokens,
    )
