"""Rows of activations, in memory or in shards on disk, and the shuffled batches drawn from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_memory

SHUFFLE_BYTES = 1 << 28
"""Rows on disk are shuffled through a buffer of this size (256 MiB)."""

CHUNKS_PER_BUFFER = 64
"""Runs of neighbouring rows that a buffer is filled from; more mix better and read slower."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """One run of rows: a tensor in memory, or the tensor `key` of a file; `picked` selects of it."""

    n: int
    tensor: Tensor | None = None
    file: Path | None = None
    key: str = "x"
    picked: Int[Tensor, " n"] | None = None

    def read(self, index: slice | Int[Tensor, " m"]) -> Float[Tensor, "m d_in"]:
        """Return some of the rows, as a copy when they come from disk."""
        if self.picked is not None:
            index = self.picked[index]
        if self.tensor is not None:
            return self.tensor[index]
        return _read_rows(self.file, self.key, index)


def _read_rows(file: Path | None, key: str, index: slice | Int[Tensor, " m"]) -> Tensor:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt") as opened:
            if isinstance(index, slice):
                # A copy, so that no mapped page keeps a deleted store alive.
                return opened.get_slice(key)[index].clone()
            # The file is mapped, so only the pages of these rows are read.
            return opened.get_tensor(key)[index]
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{str(file)!r} must be a complete shard of activations, but it cannot be read "
            f"({error}). It was cut short, altered or moved; capture it again."
        ) from error


class Rows:
    """`n` rows of width `d_in`, read when asked for."""

    def __init__(
        self, pieces: Sequence[Piece], d_in: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.pieces = tuple(piece for piece in pieces if piece.n)
        self.d_in, self.dtype, self.device = d_in, dtype, device
        self.starts = torch.tensor([0, *(piece.n for piece in self.pieces)]).cumsum(0)

    @classmethod
    def in_memory(cls, x: Float[Tensor, "n d_in"]) -> Rows:
        """Return rows that are all in memory."""
        return cls([Piece(n=len(x), tensor=x)], x.shape[1], x.dtype, x.device)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def sites(self) -> tuple[int, ...]:
        """Widths of what lies side by side in a row."""
        return (self.d_in,)

    @property
    def tensor(self) -> Float[Tensor, "n d_in"] | None:
        """All rows, where they are in memory in one piece."""
        piece = self.pieces[0] if len(self.pieces) == 1 else None
        return piece.tensor if piece is not None and piece.picked is None else None

    @property
    def held(self) -> bool:
        """Whether all rows lie in memory, each set of them in one piece."""
        return self.tensor is not None

    @property
    def on_disk(self) -> bool:
        """Whether any row has to be read from a file."""
        return any(piece.file is not None for piece in self.pieces)

    @property
    def n_bytes(self) -> int:
        """Size of all rows once read."""
        return len(self) * self.d_in * self.dtype.itemsize

    def read(self, start: int, stop: int) -> Float[Tensor, "m d_in"]:
        """Return a run of rows."""
        first = int(torch.searchsorted(self.starts, start, right=True)) - 1
        parts = []
        while start < stop:
            piece, offset = self.pieces[first], int(self.starts[first])
            end = min(stop, offset + piece.n)
            parts.append(self._cast(piece.read(slice(start - offset, end - offset))))
            start, first = end, first + 1
        if not parts:
            return torch.empty(0, self.d_in, dtype=self.dtype, device=self.device)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def take(self, indices: Int[Tensor, " m"]) -> Float[Tensor, "m d_in"]:
        """Return any rows, in the order asked for; always a copy."""
        if self.tensor is not None:
            return self._cast(self.tensor[indices.to(self.tensor.device)])
        out = torch.empty(len(indices), self.d_in, dtype=self.dtype, device=self.device)
        home = torch.searchsorted(self.starts, indices.cpu(), right=True) - 1
        for number in torch.unique(home).tolist():
            here = (home == number).nonzero().flatten()
            local = indices.cpu()[here] - self.starts[number]
            out[here.to(out.device)] = self._cast(self.pieces[number].read(local))
        return out

    def all(self) -> Float[Tensor, "n d_in"]:
        """Return every row in one tensor."""
        if self.tensor is not None:
            return self._cast(self.tensor)
        check_memory(
            self.n_bytes,
            f"All {len(self)} rows of these activations",
            "Use `.batches(...)`, which streams them, or `.subset(...)` for some of them.",
        )
        out = torch.empty(len(self), self.d_in, dtype=self.dtype, device=self.device)
        for piece, start in zip(self.pieces, self.starts.tolist()):
            out[start : start + piece.n] = self._cast(piece.read(slice(0, piece.n)))
        return out

    def select(self, indices: Int[Tensor, " m"]) -> Rows:
        """Return some rows in the order asked for; those on disk stay there while that is rising."""
        if not self.on_disk or not bool((indices.diff() > 0).all()):
            check_memory(
                len(indices) * self.d_in * self.dtype.itemsize,
                f"{len(indices)} rows of these activations",
                "Select rows in rising order: those stay on disk.",
            )
            return Rows.in_memory(self.take(indices))
        cuts = torch.searchsorted(indices, self.starts).tolist()
        pieces = []
        for piece, start, a, b in zip(self.pieces, self.starts.tolist(), cuts, cuts[1:]):
            local = indices[a:b] - start
            picked = local if piece.picked is None else piece.picked[local]
            pieces.append(replace(piece, n=b - a, picked=picked))
        return Rows(pieces, self.d_in, self.dtype, self.device)

    def to(self, device: torch.device, dtype: torch.dtype) -> Rows:
        """Return the same rows on another device or in another precision; disk is not touched."""
        if self.tensor is not None:
            return Rows.in_memory(self.tensor.to(device, dtype))
        return Rows(self.pieces, self.d_in, dtype, device)

    def _cast(self, x: Tensor) -> Tensor:
        return x.to(self.device, self.dtype)


class JoinedRows(Rows):
    """Rows of several sets side by side: row i is row i of each, one after the other."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = tuple(parts)
        first = self.parts[0]
        self.d_in = sum(part.d_in for part in self.parts)
        self.dtype, self.device = first.dtype, first.device
        for part in self.parts:  # half precision would round the gradients next to it to nothing
            self.dtype = torch.promote_types(self.dtype, part.dtype)

    def __len__(self) -> int:
        return len(self.parts[0])

    @property
    def sites(self) -> tuple[int, ...]:
        """Widths of what lies side by side in a row."""
        return tuple(width for part in self.parts for width in part.sites)

    @property
    def tensor(self) -> None:
        """They are never in one piece."""
        return

    @property
    def held(self) -> bool:
        """Whether all parts lie in memory, each in one piece."""
        return all(part.held for part in self.parts)

    @property
    def on_disk(self) -> bool:
        """Whether a part of a row has to be read from a file."""
        return any(part.on_disk for part in self.parts)

    def read(self, start: int, stop: int) -> Float[Tensor, "m d_in"]:
        """Return a run of rows."""
        return self._joined([part.read(start, stop) for part in self.parts])

    def take(self, indices: Int[Tensor, " m"]) -> Float[Tensor, "m d_in"]:
        """Return any rows, in the order asked for; always a copy."""
        return self._joined([part.take(indices) for part in self.parts])

    def all(self) -> Float[Tensor, "n d_in"]:
        """Return every row in one tensor."""
        check_memory(self.n_bytes, f"All {len(self)} rows of these sites", "Use `.batches(...)`.")
        return self._joined([part.all() for part in self.parts])

    def select(self, indices: Int[Tensor, " m"]) -> Rows:
        """Return some rows in the order asked for."""
        return JoinedRows([part.select(indices) for part in self.parts])

    def to(self, device: torch.device, dtype: torch.dtype) -> Rows:
        """Return the same rows on another device or in another precision; disk is not touched."""
        return JoinedRows([part.to(device, dtype) for part in self.parts])

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([self._cast(part) for part in parts], dim=1)


class MadeRows(Rows):
    """Rows that a function makes when they are asked for, such as what kept codes add up to.

    `make`: from a slice or row numbers to these rows. `like`: an empty tensor of their width and precision.
    """

    def __init__(
        self, n: int, make: Callable[[slice | Tensor], Tensor], like: Float[Tensor, "0 d_in"]
    ) -> None:
        self._n, self._make = n, make
        self.d_in, self.dtype, self.device = like.shape[1], like.dtype, like.device

    def __len__(self) -> int:
        return self._n

    @property
    def tensor(self) -> None:
        """They are not kept."""
        return

    @property
    def on_disk(self) -> bool:
        """No file is read for them."""
        return False

    def read(self, start: int, stop: int) -> Float[Tensor, "m d_in"]:
        """Return a run of rows."""
        return self._cast(self._make(slice(start, stop)))

    def take(self, indices: Int[Tensor, " m"]) -> Float[Tensor, "m d_in"]:
        """Return any rows, in the order asked for; always a copy."""
        return self._cast(self._make(indices))

    def all(self) -> Float[Tensor, "n d_in"]:
        """Return every row in one tensor."""
        check_memory(self.n_bytes, f"All {len(self)} rows", "Use `.batches(...)`.")
        return self.read(0, len(self))

    def select(self, indices: Int[Tensor, " m"]) -> Rows:
        """Return some rows in the order asked for; made when they are asked for, too."""
        like = torch.empty(0, self.d_in, dtype=self.dtype, device=self.device)
        return MadeRows(len(indices), lambda index: self._make(indices[index]), like)

    def to(self, device: torch.device, dtype: torch.dtype) -> Rows:
        """Return the same rows on another device or in another precision."""
        like = torch.empty(0, self.d_in, dtype=dtype, device=device)
        return MadeRows(self._n, self._make, like)


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts, one after the other; those on disk stay there."""
    first = parts[0]
    if isinstance(first, JoinedRows):
        sides = zip(*(part.parts for part in parts if isinstance(part, JoinedRows)), strict=True)
        return JoinedRows([join_rows(side) for side in sides])
    if any(part.on_disk for part in parts):
        pieces = [piece for part in parts for piece in part.pieces]
        return Rows(pieces, first.d_in, first.dtype, first.device)
    check_memory(
        sum(part.n_bytes for part in parts),
        "The joined activations",
        "Capture them with `store=` a folder.",
    )
    return Rows.in_memory(torch.cat([part.all().to(first.device, first.dtype) for part in parts]))


def generator_for(seed: int, *keys: int) -> torch.Generator:
    """Return a generator that depends on the seed and the keys alone, on every machine."""
    text = ":".join(map(str, (seed, *keys))).encode()
    number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
    return torch.Generator().manual_seed(number)


class Shuffle:
    """An endless shuffled sequence of rows: every row exactly once per epoch, in a fresh order.

    Any stretch can be asked for directly. Rows that fit the buffer are permuted as a whole; larger sets are cut
    into runs of neighbouring rows: each epoch permutes the runs, fills a buffer from many, and permutes inside.
    """

    def __init__(self, rows: Rows, *, seed: int, buffer_rows: int | None = None) -> None:
        self.rows, self.seed, self.n = rows, seed, len(rows)
        if buffer_rows is None:
            fits = SHUFFLE_BYTES // (rows.d_in * rows.dtype.itemsize)
            buffer_rows = max(fits, CHUNKS_PER_BUFFER) if rows.on_disk else self.n
        self.whole = buffer_rows >= self.n
        self.chunk = max(1, buffer_rows // CHUNKS_PER_BUFFER)
        self.chunks_per_group = max(1, buffer_rows // self.chunk)
        self._epoch = -1
        self._group = (-1, -1)

    def draw(self, position: int, count: int) -> Float[Tensor, "count d_in"]:
        """Return `count` rows of the sequence from `position` on."""
        parts = []
        while count:
            epoch, offset = divmod(position, self.n)
            self._enter_epoch(epoch)
            group = int(torch.searchsorted(self._group_starts, offset, right=True)) - 1
            self._enter_group(group)
            within = offset - int(self._group_starts[group])
            taken = self._order[within : within + count]
            parts.append(self._taken(taken))
            position, count = position + len(taken), count - len(taken)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _taken(self, order: Int[Tensor, " m"]) -> Float[Tensor, "m d_in"]:
        """Rows of the group by their place in it; what is in memory is read where it lies."""
        if self.whole and not self.rows.on_disk:
            return self.rows.take(order)
        return self._held[order.to(self._held.device)]

    def _enter_epoch(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        self._epoch = epoch
        if self.whole:
            self._group_starts = torch.tensor([0, self.n])
            return
        n_chunks = -(-self.n // self.chunk)
        self._chunks = torch.randperm(n_chunks, generator=generator_for(self.seed, epoch))
        sizes = torch.full((n_chunks,), self.chunk)
        sizes[self._chunks == n_chunks - 1] = self.n - (n_chunks - 1) * self.chunk
        ends = sizes.cumsum(0)[self.chunks_per_group - 1 :: self.chunks_per_group].tolist()
        self._group_starts = torch.tensor(sorted({0, *ends, self.n}))

    def _enter_group(self, group: int) -> None:
        if (self._epoch, group) == self._group:
            return
        self._group = (self._epoch, group)
        if self.whole:
            size = self.n
            if self.rows.on_disk and not hasattr(self, "_held"):
                self._held = self.rows.all()
        else:
            first = group * self.chunks_per_group
            chunks = self._chunks[first : first + self.chunks_per_group].sort().values
            # Free the old buffer before the new one is read, so that one is held at a time.
            self._held = torch.empty(0)
            self._held = self._read_chunks((chunks * self.chunk).tolist())
            size = len(self._held)
        # Keys (epoch, group) cannot collide with the chunk order's (epoch).
        generator = generator_for(self.seed, self._epoch, group)
        self._order = torch.randperm(size, generator=generator)
        if self.rows.device.type == "cuda" and self.rows.held:
            # Once an epoch, without a wait: rows are then gathered where they lie.
            order = self._order.pin_memory()
            self._order = order.to(self.rows.device, non_blocking=True)

    def _read_chunks(self, starts: Sequence[int]) -> Float[Tensor, "m d_in"]:
        stops = [min(start + self.chunk, self.n) for start in starts]
        size = sum(stops) - sum(starts)
        held = torch.empty(size, self.rows.d_in, dtype=self.rows.dtype, device=self.rows.device)
        filled = 0
        for start, stop in zip(starts, stops):
            held[filled : filled + stop - start] = self.rows.read(start, stop)
            filled += stop - start
        return held


def shuffled_batches(
    rows: Rows, batch_size: int, *, seed: int, start: int, buffer_rows: int | None = None
) -> Iterator[Float[Tensor, "batch d_in"]]:
    """Yield shuffled batches for ever; batch number t is the same wherever the iteration starts."""
    batch = min(batch_size, len(rows))
    shuffle = Shuffle(rows, seed=seed, buffer_rows=buffer_rows)
    while True:
        yield shuffle.draw(start * batch, batch)
        start += 1
