"""Reading documents from a live model: a batch is run, encoded and pooled to CSR before the next one is.

v_ij = z_tj at the position t where |z_tj| is largest ("max"), Σ_t z_tj / T_i ("mean"), or the number of
positions t with z_tj ≠ 0 ("count"). Source: "Interpretable embeddings with sparse autoencoders", arXiv
2512.10092.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations._sites import check_one_place
from sae_nb.capturing._batch_rows import BatchRows
from sae_nb.capturing._harvest import CaptureSettings, Harvest, check_any_rows, reporting
from sae_nb.checks import Count, check_atom, check_memory, checked, warn_caller
from sae_nb.corpora._documents import Documents, Pool, csr_of, strongest_entries
from sae_nb.files._fingerprints import identity_of
from sae_nb.models._states import TokenAxes

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel

# 2048 rows × 16 384 atoms of pre-codes are 128 MiB, the most an encoder may need at once.
_PRE_CODE_ENTRIES = 2048 * 16384
_MUCH = 2**30  # bytes from which the caller hears what is needed
_ENTRY_BYTES = 12  # value, atom, position


@checked(leave=("hook_point", "texts_or_images", "labels"))
def documents(
    model: LiveModel,
    sae: SparseAutoencoder,
    texts_or_images: Inputs,
    hook_point: str,
    pool: Literal["max", "mean", "count"] = "max",
    *,
    labels: Mapping[int, str] | None = None,
    strongest: Count | None = None,
    batch_size: int | None = None,
    keep_special: bool = False,
    progress: bool | Callable[[Any], Any] = True,
) -> Documents:
    """Read texts or images once and keep, of each, which atoms fired, how strongly and where.

    One batch at a time is run, encoded and pooled. It keeps 12 bytes per atom that a document has, and its mean
    activation: beyond 1 GiB a warning states it after the first batch, and what would not fit is refused.

    Parameters
    ----------
    texts_or_images
        Inputs for `capture`; one sample is one document. Long texts are cut where the model ends.
    hook_point
        Hook point that the SAE reads.
    pool
        "max": the strength of largest |z|, sign kept. "mean": the sum of strengths over the number of
        tokens. "count": tokens in which the atom is active. The set of a document's atoms is the same.
    labels
        Names of atoms, such as `sn.load_examples(name).labels`: for tables, and queries in words.
    strongest
        Keep only so many atoms of each document, by |pooled strength|. Memory is then bounded beforehand.
    keep_special
        Also read special tokens (class, separator, registers); first tokens of decoders never are.

    Raises
    ------
    HookPointNotFound: If the model has no such hook point.
    ValueError: If inputs are empty, the SAE was trained elsewhere, or a label is of no atom.
    MemoryError: If the result would not fit.

    Example
    -------
    >>> from sae_nb.models import wrap
    >>> from sae_nb.architectures import TopK
    >>> model = wrap(torch.nn.Sequential(torch.nn.Linear(3, 4)))
    >>> docs = documents(model, TopK(4, 8, 2), torch.randn(5, 3), "0", progress=False)
    >>> docs.matrix.shape, docs.matrix.nnz, len(docs.subset(slice(2)))
    ((5, 8), 10, 2)
    """
    check_row_by_row(sae, may_write=True)
    point = check_reads(model, sae, hook_point)
    names = check_labels(labels, sae.n_atoms)
    settings = CaptureSettings(batch_size=batch_size, keep_special=keep_special)
    harvest = Harvest(model, {hook_point: model.hook_point(hook_point)}, settings)
    return _read(harvest, sae, texts_or_images, point, pool, strongest, names, progress)


def check_row_by_row(sae: SparseAutoencoder, *, may_write: bool = False) -> None:
    """Refuse an SAE of several places, and one whose codes depend on other rows.

    With `may_write` an SAE may write another place than it reads, as a transcoder does.

    Raises
    ------
    ValueError: Saying which of the two it is.
    """
    check_one_place(sae, may_write=may_write)
    if getattr(sae, "reads_sequences", False):
        raise ValueError(
            f"`sae` must encode row by row, got {type(sae).__name__}, whose codes depend on the rows "
            "before. Use an SAE such as sn.TopK."
        )


def check_reads(model: LiveModel, sae: SparseAutoencoder, hook_point: str) -> str:
    """Refuse an SAE that does not read at a hook point; return the hook point's own name.

    Raises
    ------
    HookPointNotFound: If the model has no such hook point.
    ValueError: If its width is not d_in, or the SAE was trained elsewhere.
    """
    point = str(model.hook_point(hook_point))
    width = model.width(hook_point)
    if width is not None and width != sae.d_in:
        raise ValueError(
            f"`sae` must have d_in={width}, the width at {hook_point!r}, got {sae.d_in}. "
            "Was it trained at another hook point? See `sae.hook_point`."
        )
    trained_at = getattr(sae, "hook_point", None)
    if trained_at is not None and str(trained_at) not in (point, hook_point):
        raise ValueError(
            f"`hook_point` must be where the SAE was trained, {str(trained_at)!r}, got {hook_point!r}."
        )
    return point


def check_labels(labels: Mapping[int, str] | None, n_atoms: int) -> dict[int, str]:
    """Return names of atoms as a dictionary, empty for None; refuse what is no mapping of atoms.

    Raises
    ------
    TypeError, IndexError: If it is no mapping, or names an atom that is not there.
    """
    if not isinstance(labels, Mapping | None):
        raise TypeError(
            f"`labels` must be a mapping of atoms to words, got {type(labels).__name__}. Pass "
            '{17: "bad story"} or sn.load_examples(name).labels.'
        )
    return {
        check_atom(atom, n_atoms, name="a label's atom"): text
        for atom, text in (labels or {}).items()
    }


class _Pooled(NamedTuple):
    """The pooled values of one batch."""

    values: Float[np.ndarray, " nnz"]
    atoms: Int[np.ndarray, " nnz"]
    position: Int[np.ndarray, " nnz"]
    lengths: Int[np.ndarray, " n"]
    n_rows: Int[np.ndarray, " n"]
    means: Float[np.ndarray, "n d_in"]


def _read(
    harvest: Harvest,
    sae: SparseAutoencoder,
    inputs: Inputs,
    point: str,
    pool: Pool,
    strongest: int | None,
    labels: Mapping[int, str],
    progress: bool | Callable[[Any], Any],
) -> Documents:
    (builder,) = harvest.builders().values()
    parts, n_rows = [], 0
    (name,) = harvest.points
    batches = harvest.batches(inputs)
    layout, dropped = TokenAxes(columns=None), Counter[str]()
    with reporting(progress, batches.n_samples) as report:
        for batch in batches:
            first = builder.n_samples
            builder.add(batch)
            rows = _own_rows(harvest, harvest.rows(batch, {name: n_rows})[name])
            parts.append(_pool_rows(sae, rows, first, builder.n_samples - first, pool, strongest))
            if len(parts) == 1:
                _say_memory(parts[0], batches.n_samples)
            n_rows += len(rows.x)
            layout = rows.layout
            dropped.update(rows.dropped)
            report(n_rows, builder.n_samples)
    check_any_rows(name, n_rows, dropped)
    joined = _Pooled(*(np.concatenate(column) for column in zip(*parts)))
    indptr = np.concatenate([[0], np.cumsum(joined.lengths)])
    return Documents(
        matrix=csr_of(joined.values, joined.atoms, indptr, sae.n_atoms),
        position=joined.position,
        n_rows=joined.n_rows,
        means=joined.means,
        sample=np.arange(len(joined.lengths)),
        context=builder.build(layout, harvest.policy(batches, builder, dropped)),
        pool=pool,
        hook_point=point,
        model_name=harvest.model.name,
        identity=identity_of(sae),
        dictionary=sae.dictionary.detach().cpu(),
        labels=dict(labels),
    )


def _own_rows(harvest: Harvest, rows: BatchRows) -> BatchRows:
    """Leave out the class token and registers of an image, unless special tokens are asked for."""
    prefix, columns = harvest.model.prefix_tokens, rows.layout.columns
    without_tokens = rows.layout.grid is not None or (columns is not None and columns <= prefix)
    if harvest.settings.keep_special or without_tokens:
        return rows
    kept = rows.position >= prefix
    return replace(rows, x=rows.x[kept], sample=rows.sample[kept], position=rows.position[kept])


def _say_memory(first: _Pooled, n_samples: int | None) -> None:
    """Refuse what would not fit; say beforehand what is much."""
    if n_samples is None or not len(first.lengths):
        return
    per_document = (len(first.values) * _ENTRY_BYTES + first.means.nbytes) / len(first.lengths)
    needed = round(per_document * n_samples)
    # The parts of all batches, and what they are joined to.
    check_memory(
        2 * needed, f"Pooling {n_samples} documents", "Pass strongest= to keep fewer atoms of each."
    )
    if needed > _MUCH:
        warn_caller(
            f"{n_samples} documents will need about {needed / 2**30:.1f} GiB, by those of the first "
            "batch. Pass strongest= to keep fewer atoms of each."
        )


@torch.no_grad()
def _pool_rows(
    sae: SparseAutoencoder, rows: BatchRows, first: int, n: int, pool: Pool, strongest: int | None
) -> _Pooled:
    """Pool the rows of one batch, which holds documents `first` … first + n − 1 whole."""
    document = (rows.sample - first).long()
    n_rows = np.bincount(document.numpy(), minlength=n)
    x = rows.x.to(sae.dictionary)
    sums = torch.zeros(n, x.shape[1], dtype=torch.float64)
    sums.index_add_(0, document, rows.x.double())
    values, atoms, row = _encoded(sae, x)
    owner = document.numpy()[row]
    key = owner.astype(np.int64) * sae.n_atoms + atoms
    # The strongest entry of each document and atom comes first; of equals, the earliest.
    order = np.lexsort((-np.abs(values), key))
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    peak = order[starts]
    pooled = values[peak]
    if pool == "count":
        pooled = np.diff(np.append(starts, len(order))).astype(np.float32)
    elif pool == "mean" and len(starts):
        pooled = (np.add.reduceat(values[order], starts) / n_rows[owner[peak]]).astype(np.float32)
    kept = strongest_entries(owner[peak], pooled, strongest)
    return _Pooled(
        pooled[kept],
        atoms[peak][kept],
        rows.position.numpy()[row[peak]][kept].astype(np.int32),
        np.bincount(owner[peak][kept], minlength=n),
        n_rows,
        (sums.numpy() / np.maximum(n_rows, 1)[:, None]).astype(np.float32),
    )


def _encoded(
    sae: SparseAutoencoder, x: Float[Tensor, "m d_in"]
) -> tuple[Float[np.ndarray, " nnz"], Int[np.ndarray, " nnz"], Int[np.ndarray, " nnz"]]:
    """Strength, atom and row of every active entry, encoded in pieces of bounded pre-codes."""
    size = max(1, _PRE_CODE_ENTRIES // sae.n_atoms)
    values, atoms, row, before = [], [], [], 0
    for piece in torch.split(x, size):
        codes = sae.encode(piece).detach().to("cpu")
        active = codes.values != 0
        values.append(codes.values[active].float().numpy())
        atoms.append(codes.atoms[active].numpy().astype(np.int32))
        row.append(codes.support.rows[active].numpy().astype(np.int64) + before)
        before += len(piece)
    none = np.zeros(0, np.int64)
    return (
        np.concatenate([none.astype(np.float32), *values]),
        np.concatenate([none.astype(np.int32), *atoms]),
        np.concatenate([none, *row]),
    )
