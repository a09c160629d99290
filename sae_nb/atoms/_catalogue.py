"""AtomCatalogue: activations encoded once, then asked about any atom, sparse from start to end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb._above import above
from sae_nb._hooks import Hook
from sae_nb.activations import Activations
from sae_nb.activations._sites import acts_for, parts_of, reconstruction, site_names
from sae_nb.atoms._firings import Firings, Histogram, Order, frequency_histogram
from sae_nb.atoms._foretold import Foretold, held_forecast
from sae_nb.atoms._second_codes import KeptFirings, held_firings
from sae_nb.checks import Count, check_atom, checked, one_of
from sae_nb.codes import SparseCodes
from sae_nb.figures.theme import format_count

if TYPE_CHECKING:
    from sae_nb.atoms._records import AtomSummary, Band


# 2048 rows × 16 384 atoms of pre-codes are 128 MiB, the most an encoder may need at once.
PRE_CODE_ENTRIES = 2048 * 16384
DICTIONARY_CHUNK = 16384
NEAR_MISS_ROWS = 32_768
NEAR_MISS_SEED = 0
R2_ROWS = 4096

known_catalogue: Hook[[object], AtomCatalogue] = Hook("known_catalogue")
"""(sae) → atoms of a pretrained SAE on the examples that come with it."""


@checked(leave=("acts",))
class AtomCatalogue(Firings):
    """Every atom of an SAE on one set of activations: how often, how strongly, on what, with whom.

    The activations are encoded once, in chunks, when first needed, unless their codes are given; only
    sparse codes are kept (12 bytes per entry, twice: by row and by atom).

    Parameters
    ----------
    batch_size
        Rows encoded at once; chosen from n_atoms when None.
    callback
        Called with (rows done, rows in all) while encoding.
    labels
        Human readings by atom, searched by `search`; may be changed from outside at any time.
    r2_of_source
        For `acts` that are only the SAE's own reconstruction (a pretrained example store): R² as it
        was measured on the activations themselves. `codes` are then needed, and nothing is ever
        encoded again, because what the SAE missed is gone.

    Raises
    ------
    TypeError: If `sae` cannot encode or `acts` are neither activations nor a matrix.
    ValueError: If widths differ, there are no rows, or `codes` are of other rows.

    Example
    -------
    >>> from sae_nb.codes import SparseCodes
    >>> class Signs:
    ...     d_in, n_atoms, dictionary = 2, 2, torch.eye(2)
    ...     def encode(self, x, k=None):
    ...         return SparseCodes.from_dense(x.relu())
    >>> catalogue = AtomCatalogue(Signs(), torch.tensor([[1.0, -1.0], [2.0, 3.0]]))
    >>> catalogue.frequency.tolist(), catalogue.max_strength.tolist()
    ([1.0, 0.5], [2.0, 3.0])
    >>> catalogue.order("frequency").tolist()
    [0, 1]
    """

    def __init__(
        self,
        sae: Any,
        acts: Activations | Float[Tensor, "n d_in"],
        *,
        codes: SparseCodes | None = None,
        batch_size: Count | None = None,
        callback: Callable[[int, int], None] | None = None,
        labels: Mapping[int, str] | None = None,
        r2_of_source: float | None = None,
    ) -> None:
        self.acts = acts_for(sae, acts)
        self.sae, self.given = sae, acts
        self.n_rows, self.n_atoms = len(self.acts), int(sae.n_atoms)
        self.labels: Mapping[int, str] = labels if labels is not None else {}
        self._at: dict[str, AtomCatalogue] = {}
        if codes is not None and (codes.n_rows, codes.n_atoms) != (len(self.acts), self.n_atoms):
            raise ValueError(
                f"`codes` must be of the {len(self.acts)} rows and {self.n_atoms} atoms given, got "
                f"{codes.n_rows} rows and {codes.n_atoms} atoms. Use sae.encode(acts.x)."
            )
        if r2_of_source is not None and codes is None:
            raise ValueError(
                "`codes` must be given with `r2_of_source`: reconstructions are not encoded again."
            )
        self._r2_of_source = r2_of_source
        self._r2_on_the_way: float | None = None
        self._batch_size = batch_size or int(np.clip(PRE_CODE_ENTRIES // self.n_atoms, 64, 8192))
        self.callback = callback
        # One each: who asks for what fired does not wait while almost-fired rows are encoded.
        self._lock, self._near_lock = threading.RLock(), threading.RLock()
        self._codes = None if codes is None else codes.detach().to("cpu")
        dictionary = sae.dictionary.detach()
        self._device, self._dtype = dictionary.device, dictionary.dtype
        # A copy: an SAE that is trained on meanwhile would no longer match its codes.
        self.dictionary: Float[Tensor, "n_atoms d_in"] = dictionary.cpu().clone()

    # --- several places ---------------------------------------------------------------------------

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Names of the hook points or models of a dictionary of several, in order; none for an SAE."""
        return () if len(directions_of(self.sae)) < 2 else site_names(self.sae, self.parts)

    @cached_property
    def parts(self) -> list[Activations]:
        """Activations at each site; what is written is missing where it was not given."""
        return parts_of(self.sae, self.given)

    @checked
    def at(self, site: str) -> AtomCatalogue:
        """Return the same atoms at one of `sites`: their directions and inputs there.

        Codes are of that site alone where the dictionary can read it alone (a UniversalSAE, a
        GroupSparse); elsewhere they are the same.

        Example
        -------
        >>> import sae_nb as sn
        >>> x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> both = sn.Crosscoder([4, 2], n_atoms=8, k=2)
        >>> both.initialise([x, x[:, :2]])
        >>> catalogue = AtomCatalogue(both, [x, x[:, :2]])
        >>> catalogue.sites, catalogue.at("site 2").dictionary.shape
        (('site 1', 'site 2'), torch.Size([8, 2]))
        """
        one_of(site, self.sites, name="site")
        if site not in self._at:
            made = above("sae_nb.atoms._sites", "SiteCatalogue")
            self._at[site] = made(self, self.sites.index(site))
        return self._at[site]

    @cached_property
    def side_by_side(self) -> tuple[AtomCatalogue, ...]:
        """A catalogue for each site, if sites have examples of their own: other models, other codes."""
        if not self.sites:
            return ()
        models = {part.model_name for part in self.parts}
        own = getattr(self.sae, "reads_alone", False) or len(models) > 1
        return tuple(self.at(site) for site in self.sites) if own else ()

    # --- encoding ---------------------------------------------------------------------------------

    @property
    def encoded(self) -> bool:
        """Whether the codes exist yet."""
        return self._codes is not None

    @property
    def codes(self) -> SparseCodes:
        """Codes of every row; computed at first use, by one thread while others wait."""
        with self._lock:
            if self._codes is None:
                whole = self._encoded_sequences if self.reads_sequences else self._encoded_chunks
                self._codes = SparseCodes.concatenate(whole())
            return self._codes

    @property
    def reads_sequences(self) -> bool:
        """Whether the SAE needs whole samples in order, as a temporal one does."""
        return bool(getattr(self.sae, "reads_sequences", False))

    @property
    def reads_words(self) -> bool:
        """Whether a word that a running model reads gives activations like these: of text, at one place."""
        acts = self.acts
        return acts.context.modality.is_text and bool(acts.hook_point) and not self.sites

    @checked
    def encode_rows(self, rows: Int[Tensor, " m"], k: int | None = None) -> SparseCodes:
        """Encode some rows again, on the CPU."""
        x = self.acts.rows(rows).to(self._device, self._dtype)
        with torch.no_grad():
            codes = self.sae.encode(x) if k is None else self.sae.encode(x, k=k)
        return codes.detach().to("cpu")

    def _encoded_chunks(self) -> Iterator[SparseCodes]:
        n = len(self.acts)
        for start in range(0, n, self._batch_size):
            stop = min(start + self._batch_size, n)
            yield self.encode_rows(torch.arange(start, stop))
            if self.callback is not None:
                self.callback(stop, n)

    def _encoded_sequences(self) -> Iterator[SparseCodes]:
        from sae_nb.temporal._decomposition import sequence_groups

        done, missed = 0, 0.0
        total, square = torch.zeros(self.acts.target.d_in, dtype=torch.float64), 0.0
        with torch.no_grad():
            for rows, x, codes, x_hat in sequence_groups(self.sae, self.acts, self._batch_size):
                yield codes.detach().to("cpu")
                if x is not None:
                    x, x_hat = x.double().cpu(), x_hat.double().cpu()
                    missed += float((x - x_hat).square().sum())
                    total, square = total + x.sum(dim=0), square + float(x.square().sum())
                done += len(rows)
                if self.callback is not None:
                    self.callback(done, len(self.acts))
        # What the past suggests is no code, so R² can only be found on the way.
        spread = square - float(total.square().sum()) / max(done, 1)
        self._r2_on_the_way = 1 - missed / spread if spread > 0 else None

    @cached_property
    def r2(self) -> float | None:
        """Share of the variance explained on at most 4096 rows spread evenly; None without decode.

        Of a dictionary that writes another place, of what is there: None where that is not given.

        R² = 1 − Σ‖x − x̂‖² / Σ‖x − μ‖², summed over rows before dividing, μ their mean.
        """
        if self._r2_of_source is not None:
            return self._r2_of_source
        if self.reads_sequences:
            _ = self.codes
            if self._r2_on_the_way is None:  # the codes came from elsewhere
                for _ in self._encoded_sequences():
                    continue
            return self._r2_on_the_way
        target = self.acts.target
        elsewhere = getattr(self.sae, "writes", None) is not None
        if not hasattr(self.sae, "decode") or (elsewhere and target is self.acts):
            return None
        rows = self._spread_rows
        return share_explained(target.rows(rows), self._x_hat(rows))

    @property
    def _spread_rows(self) -> Int[Tensor, " m"]:
        return torch.arange(0, len(self.acts), max(1, len(self.acts) // R2_ROWS))[:R2_ROWS]

    @torch.no_grad()
    def _x_hat(self, rows: Int[Tensor, " m"]) -> Float[Tensor, "m d_out"]:
        codes = self.codes.rows(rows).to(str(self._device))
        return reconstruction(self.sae, codes, self.acts.rows(rows).to(self._device, self._dtype))

    # --- what the codes say -----------------------------------------------------------------------

    @cached_property
    def frequencies(self) -> Histogram:
        """Frequencies of the atoms, as a histogram on a logarithmic axis."""
        return frequency_histogram(self)

    def _rows_of_dictionary(self) -> Iterator[Float[Tensor, "m d_in"]]:
        """Atoms in float32, some at a time."""
        for start in range(0, self.n_atoms, DICTIONARY_CHUNK):
            yield self.dictionary[start : start + DICTIONARY_CHUNK].float()

    @cached_property
    def _lengths(self) -> Float[Tensor, " n_atoms"]:
        return torch.cat([rows.norm(dim=1) for rows in self._rows_of_dictionary()]).clamp_min(1e-12)

    @checked
    def nearest(
        self, atom: int, n: int = 8
    ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Return the atoms with the largest cosine to `atom`, itself left out, and the cosines.

        The cosines of one atom are computed when asked for; the n_atoms × n_atoms matrix never is.
        """
        atom = check_atom(atom, self.n_atoms)
        direction = self.dictionary[atom].float()
        cosine = torch.cat([rows @ direction for rows in self._rows_of_dictionary()])
        cosine /= self._lengths * self._lengths[atom]
        cosine[atom] = -torch.inf
        best = cosine.topk(min(n, self.n_atoms - 1))
        return best.indices.numpy(), best.values.numpy()

    @checked
    def summary(self, atom: int, band: Band = "top", **choices: Any) -> AtomSummary:
        """Return everything a panel shows about one atom; `band` is the kind of its examples.

        `choices`: `n_examples` (12), `page` (0) of them, `seed` (0) of the random ones, `n_neighbours` (8);
        `model`, a language model for the tokens that it raises directly; `lens`, one with later blocks.
        """
        describe = above("sae_nb.atoms._atom", "describe_atom")
        return describe(self, atom, band=band, **choices)

    # --- what another solver keeps ----------------------------------------------------------------

    _seen: tuple[object, KeptFirings | None] = (None, None)

    @property
    def second_code(self) -> KeptFirings | None:
        """What `sn.second_code` or `sn.certificate` found of these atoms; None if neither was asked."""
        held = held_firings(self.sae)
        if held is None or held is not self._seen[0]:
            found = KeptFirings.of(self.sae)
            self._seen = (held_firings(self.sae), found)
        return self._seen[1]

    def keeps(self, atom: int) -> str:
        """Return how many firings of an atom another solver keeps, in a sentence; empty if not known."""
        found = self.second_code
        return "" if found is None else found.sentence(atom, self.n_rows)

    # --- what pushing an atom is expected to do ---------------------------------------------------

    _seen_forecast: tuple[object, Foretold | None] = (None, None)

    @property
    def forecast(self) -> Foretold | None:
        """What `sn.forecast` foretold of these atoms; None if it was not asked."""
        held = held_forecast(self.sae)
        if held is None or held is not self._seen_forecast[0]:
            found = Foretold.of(self.sae)
            self._seen_forecast = (held_forecast(self.sae), found)
        return self._seen_forecast[1]

    def foretold(self, atom: int) -> str:
        """Return how steady an atom's effect is expected to be, in a sentence; empty if not known."""
        return "" if self.forecast is None else self.forecast.sentence(atom)

    @checked
    def order(self, by: Order = "frequency", *, alive_only: bool = False) -> Int[np.ndarray, " m"]:
        """Return the atoms in order, most first (least first for "rarest" and "index").

        "steadiest" is by what `sn.forecast` foretold; atoms of which it said nothing follow by frequency.
        """
        if by != "steadiest":
            return super().order(by, alive_only=alive_only)
        known = np.full(self.n_atoms, np.nan) if self.forecast is None else self.forecast.stability
        atoms = np.lexsort((-self.frequency, np.where(np.isnan(known), np.inf, -known)))
        return atoms[self.alive[atoms]] if alive_only else atoms

    # --- where rows come from ---------------------------------------------------------------------

    @cached_property
    def samples(self) -> Int[np.ndarray, " n"]:
        """Sample of every row."""
        return self.acts.sample.cpu().numpy()

    @cached_property
    def positions(self) -> Int[np.ndarray, " n"]:
        """Position of every row in its sample."""
        return self.acts.position.cpu().numpy()

    @cached_property
    def of_whole_samples(self) -> bool:
        """Whether every row is of a whole sample, as an embedding is, and not of one of its tokens."""
        one_each = len(np.unique(self.samples)) == self.n_rows
        return one_each and not self.positions.any()

    @cached_property
    def rows_at_position(self) -> Int[np.ndarray, " length"]:
        """Number of rows captured at each position."""
        return np.bincount(self.positions)

    @cached_property
    def _rows_by_sample(self) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        order = np.argsort(self.samples, kind="stable")
        return order, self.samples[order]

    @property
    def rows_in_words(self) -> str:
        """Number of rows that were read, in the unit of its frequencies: "11 040 positions"."""
        return f"{format_count(self.n_rows)} {self.row_word}"

    @property
    def row_word(self) -> str:
        """What its rows are called: positions of an image or a text, images, pairs, rows."""
        context = self.acts.context
        if context.modality.is_plain:
            return "rows"
        if not self.of_whole_samples:
            return "positions"
        kinds = {site.acts.context.kind for site in self.side_by_side}
        return "pairs" if len(kinds) > 1 else f"{context.sample_word}s"

    @checked
    def rows_of_sample(self, sample: int) -> Int[np.ndarray, " m"]:
        """Return rows captured from one sample."""
        order, sorted_samples = self._rows_by_sample
        first, last = np.searchsorted(sorted_samples, [sample, sample + 1])
        return order[first:last]

    @checked
    def sample_strengths(self, atom: int, sample: int, length: int) -> Float[np.ndarray, " length"]:
        """Return strength of an atom at every position of a sample; NaN where nothing was captured."""
        rows = self.rows_of_sample(sample)
        fired, strength = self.strengths(atom)
        place = np.searchsorted(fired, rows)
        hit = place < len(fired)
        hit[hit] = fired[place[hit]] == rows[hit]
        values = np.zeros(len(rows), np.float32)
        values[hit] = strength[place[hit]]
        out = np.full(length, np.nan, np.float32)
        position = self.positions[rows]
        inside = position < length
        out[position[inside]] = values[inside]
        return out

    # --- searching --------------------------------------------------------------------------------

    @checked
    def search(self, query: str, *, limit: Count | None = None) -> Int[np.ndarray, " m"]:
        """Return atoms that answer to `query`, best first, all or the first `limit`; see `find_atoms`."""
        return above("sae_nb.atoms._searching", "find_atoms")(self, query).atoms[:limit]

    # --- what almost fires ------------------------------------------------------------------------

    @cached_property
    def _near_misses(self) -> tuple[SparseCodes, Int[np.ndarray, " m"]] | str:
        """Codes with twice the k on some rows, and those rows; or why there are none."""
        if self.no_near_misses:
            return self.no_near_misses
        k = int(self.sae.k)
        generator = np.random.default_rng(NEAR_MISS_SEED)
        n = len(self.acts)
        rows = np.arange(n)
        if n > NEAR_MISS_ROWS:
            rows = np.sort(generator.choice(n, NEAR_MISS_ROWS, replace=False))
        parts = []
        for start in range(0, len(rows), self._batch_size):
            chunk = torch.from_numpy(rows[start : start + self._batch_size])
            parts.append(self.encode_rows(chunk, k=2 * k))
        return SparseCodes.concatenate(parts), rows

    @property
    def no_near_misses(self) -> str:
        """Reason why rows just below an atom's threshold cannot be found; empty if they can."""
        if self._r2_of_source is not None:
            return (
                "Near-misses need raw activations, which this example set does not contain. Capture "
                "activations to see them."
            )
        k = None if self.reads_sequences else getattr(self.sae, "k", None)
        if isinstance(k, int) and 2 * k <= self.n_atoms:
            return ""
        return (
            f"Near-misses are found by doubling k, and {type(self.sae).__name__} has no k that can be "
            "doubled."
        )

    @property
    def near_misses_known(self) -> bool:
        """Whether `near_misses` answers at once; its first call encodes some rows again."""
        return self._r2_of_source is not None or "_near_misses" in self.__dict__

    @checked
    def near_misses(self, atom: int) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]] | str:
        """Return rows in which `atom` would fire if k were doubled, and how strongly; or why not known."""
        with self._near_lock:
            found = self._near_misses
        if isinstance(found, str):
            return found
        wide, rows = found
        local, strength = (part.numpy() for part in wide.strengths(atom))
        strength = strength.astype(np.float32)
        candidates = rows[local]
        fired, _ = self.strengths(atom)
        missed = ~np.isin(candidates, fired) & (strength != 0)
        return candidates[missed], strength[missed]


def share_explained(x: Float[Tensor, "m d"], x_hat: Float[Tensor, "m d"]) -> float | None:
    """Return R² of some rows around their mean; None where they are all alike."""
    x, x_hat = x.double().cpu(), x_hat.double().cpu()
    spread = (x - x.mean(dim=0)).square().sum()
    return float(1 - (x - x_hat).square().sum() / spread) if spread > 0 else None


def directions_of(sae: Any) -> list[Float[Tensor, "n_atoms d_m"]]:
    """Return directions of the atoms at each site of a dictionary, detached; of an SAE, its atoms."""
    found = getattr(sae, "at_sites", None)
    return [sae.dictionary.detach()] if found is None else found
