"""The SAEs and the data of a training: the checks made before any work, and their identity for later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from sae_nb.activations import Activations, ActivationSource
from sae_nb.activations._context import content_of_samples
from sae_nb.activations._positions import PositionPolicy
from sae_nb.activations._sites import AND, HOW_TO_GET_GRADIENTS, WithGradient, acts_of_sites
from sae_nb.checks import (
    available_memory,
    check_finite,
    check_matrix,
    is_array,
    make_ordinary,
    warn_caller,
)
from sae_nb.temporal import Sequences
from sae_nb.temporal._sequences import in_order
from sae_nb.training._config import TrainConfig
from sae_nb.training._graph import sent_ahead
from sae_nb.training._process_group import Team

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder


ROWS_SHARE = 0.25
"""Share of a card's free memory that rows may take. Ours."""

HELD_OUT_SHARE, ENOUGH_ROWS, ENOUGH_SAMPLES = 0.1, 320, 10
"""Of the samples, kept out of a training that can be watched, where there are so many rows and samples. Ours:
R² of 32 rows tells what is memorised from what is learned, and ten samples are the fewest with a tenth."""

MOST_COPIED = 2**30
"""Bytes of rows in memory that are copied for that; of more rows none is likely to be memorised. Ours."""


class TrainingData:
    """The data of a training: checked and described here, once, for everything that asks later."""

    def __init__(self, data: object, saes: Sequence[SparseAutoencoder]) -> None:
        self.source = source = _as_source(data, saes)
        _check_fit(saes, source)
        if isinstance(data, Activations):
            for one in saes:  # one that is from elsewhere sees whether it fits
                if hasattr(one, "look_at"):  # whatever has a loss is trained
                    one.look_at(data)
        stored = _stored(source)
        self.n_rows = None if stored is None else len(stored)
        """Number of rows; None for a stream."""

        self.is_finite = stored is not None and not stored.on_disk
        """Whether every row was seen to be finite."""

        self.captured_at = captured_at(source)
        """Half a sentence for messages: where the rows come from; empty when it is not known."""

        if self.n_rows == 1:
            raise ValueError(
                "`data` must have at least two rows to learn from, got one: nothing varies, and R² is "
                "undefined. Capture more."
            )

    def hold_out(self, share: float | None) -> Activations | None:
        """Keep a share of the samples out and return their rows; None where all are trained on.

        `share`: None takes a tenth where there is enough. Equal texts stay on one side.
        """
        source, samples = self.source, 0
        # Several hook points, gradients, sequences and streams are not cut.
        acts = source if type(source) is Activations and len(source.sites) == 1 else None
        if share != 0 and acts is not None:
            content = content_of_samples(acts.context, "sample")
            present = torch.unique(acts.sample).tolist()
            samples = len({content[i] for i in present} if content else present)
        if share is None:
            held = samples and acts is not None and not acts.on_disk
            n_bytes = acts._rows.n_bytes if held and acts is not None else 0
            if min((self.n_rows or 0) / ENOUGH_ROWS, samples / ENOUGH_SAMPLES) < 1:
                samples = 0
            share = HELD_OUT_SHARE if samples and n_bytes <= MOST_COPIED else 0.0
        if share and samples < 2:
            raise ValueError(
                "`held_out` must be 0 or left out for rows that cannot be cut in two (one sample, a stream, "
                f"sequences, or several hook points), got {share}. Pass activations of other inputs."
            )
        if not share or acts is None:
            return None
        by: Literal["sample", "text"] = "sample" if acts.context.token_ids is None else "text"
        self.source, held_out = acts.split(1 - share, group_by=by)
        self.n_rows = len(self.source)
        return held_out

    def batches(self, device: torch.device, config: TrainConfig, start: int) -> Iterator[Tensor]:
        """Yield batches for ever from batch number `start` on.

        For a card, rows in memory go there where they fit; others that are kept are sent one batch ahead.
        """
        source, away = self.source, False
        if device.type == "cuda" and isinstance(source, Activations):
            rows = source.joined
            away = rows.on_disk or rows.device != device
            n_bytes = len(rows) * rows.d_in * rows.dtype.itemsize
            if (
                away
                and not rows.on_disk
                and n_bytes <= ROWS_SHARE * (available_memory(device) or 0)
            ):
                source, away = rows.to(device), False
        batches = source.batches(config.batch_size, seed=config.seed, start=start)
        return sent_ahead(batches, device) if away else batches

    def rows_of_batch(self, batch_size: int) -> int:
        """Return the rows of a batch: all where there are fewer than its size."""
        return min(batch_size, self.n_rows or batch_size)

    def check_team(self, team: Team, batch_size: int) -> Team:
        """Return the team if every worker gets a part of every batch."""
        if not team.alone and isinstance(self.source, Sequences):
            raise ValueError(
                f"Sequences must be trained on by one process, got {team.size} workers: a batch of them "
                "cannot be cut by rows. Run it without torchrun."
            )
        if (rows := self.rows_of_batch(batch_size)) < team.size:
            raise ValueError(
                f"`batch_size` must be at least the number of workers, {team.size}, got {rows} rows in a "
                "batch. Start fewer workers or take larger batches."
            )
        return team

    def identity(self, saes: Sequence[SparseAutoencoder]) -> dict[str, Any]:
        """Return flat facts that a checkpoint must agree with, named as a message would name them."""
        facts: dict[str, Any] = {"the number of SAEs": len(saes)}
        facts |= {f"the data's {name}": value for name, value in fingerprint(self.source).items()}
        for i, sae in enumerate(saes):
            whose = "the SAE's" if len(saes) == 1 else f"SAE {i}'s"
            facts[f"{whose} class"] = type(sae).__name__
            facts |= {f"{whose} {name}": value for name, value in sae.settings().items()}
            facts[f"{whose} tensors"] = {
                name: list(tensor.shape) for name, tensor in sae.state_dict().items()
            }
        # As it will be read back: tuples are lists there.
        return dict(json.loads(json.dumps(facts)))

    def note_origin(self, sae: SparseAutoencoder) -> None:
        """Note on an SAE where its training data come from, with a warning when that changes."""
        self.note_positions(sae)
        read, written = _places(sae, self.source)
        for name, value in (
            ("hook_point", read),
            ("target_hook_point", written),
            ("model_name", getattr(self.source, "model_name", None)),
        ):
            before = getattr(sae, name, None)
            if value is None or value == before:
                continue
            setattr(sae, name, value)
            if before is not None:
                warn_caller(
                    f"This SAE had {name}={before!r} and now trains on data with {name}={value!r}, which "
                    "it remembers from here on. If that is a mistake, train on data of its own."
                )

    def note_positions(self, sae: SparseAutoencoder) -> None:
        """Note on an SAE which positions of texts its training data are of, where they say it."""
        sae.position_policy = PositionPolicy.of(self.source) or getattr(
            sae, "position_policy", None
        )


def _as_source(data: object, saes: Sequence[object] = ()) -> ActivationSource:
    """Return a source for the user's data, checked."""
    readers = [sae for sae in saes if getattr(sae, "reads_sequences", False)]
    ordered = readers or [sae for sae in saes if getattr(sae, "trains_on_sequences", False)]
    if ordered and isinstance(data, tuple | list):
        data = [in_order(part) for part in data]
    if saes and hasattr(saes[0], "reads"):
        data = acts_of_sites(cast("SparseAutoencoder", saes[0]), data)
    if ordered and not isinstance(data, Sequences):
        limits = [sae.context for sae in ordered if sae.context is not None]  # type: ignore[attr-defined]
        gaps = "refuse" if readers else "cut"
        data = Sequences(data, context=min(limits, default=None), gaps=gaps)  # type: ignore[arg-type]
    if isinstance(data, Sequences):
        _as_source(data.acts)
        return data
    if is_array(data):
        data = Activations.from_tensor(check_matrix(data, name="data"))
    if not (hasattr(data, "d_in") and callable(getattr(data, "batches", None))):
        raise TypeError(
            "`data` must be activations (from `capture`, `stream` or `load_activations`) or rows of "
            f"shape (n, d_in), got {type(data).__name__}.{_instead(data)}"
        )
    if isinstance(data, Activations) and not data.on_disk:
        for side in dict.fromkeys(data.sides):
            check_matrix(side.x, name="data", finite=False)
            check_finite(side.x, name="data", where=captured_at(side), row_name=data.where)
    if any(getattr(sae, "reads_gradient", False) for sae in saes):
        return _with_gradient(data, saes)
    return data  # type: ignore[return-value]


def _with_gradient(data: object, saes: Sequence[object]) -> ActivationSource:
    """Return the gradient of each row, paired with the row and checked like it."""
    name = next(type(sae).__name__ for sae in saes if getattr(sae, "reads_gradient", False))
    if not getattr(data, "has_gradient", False):
        raise ValueError(
            f"`data` must bring the gradient of each row for {name}, got {type(data).__name__} without. "
            f"{HOW_TO_GET_GRADIENTS}"
        )
    if not isinstance(data, Activations):  # a stream, whose rows hold both
        return cast("ActivationSource", data)
    if not data.on_disk and data.gradient is not None:
        check_finite(
            data.gradient, name="data.gradient", where=captured_at(data), row_name=data.where
        )
    return WithGradient(data)


def _instead(data: object) -> str:
    """Suggest what to pass in place of inputs for other kinds of networks."""
    if isinstance(data, nn.Module) or hasattr(data, "hook_points"):
        return (
            " First read them from the model: acts = sn.capture(model, inputs, hook_point). The order "
            "is train(sae, data)."
        )
    if isinstance(data, torch.utils.data.Dataset | torch.utils.data.DataLoader):
        return (
            " Batches are cut here, `batch_size` rows at a time: pass the tensor itself, such as "
            "`dataset.tensors[0]`."
        )
    if isinstance(data, Sequence) and data and not isinstance(data, str):
        return " Join the parts: torch.cat(parts), or sn.concatenate(parts) for activations."
    return ""


def _check_fit(saes: Sequence[SparseAutoencoder], source: ActivationSource) -> None:
    """Refuse what cannot be trained together."""
    if not saes:
        raise ValueError("`sae` must be an SAE or a list of them, got an empty list.")
    for sae in saes:
        if isinstance(sae, type) or not callable(getattr(sae, "training_loss", None)):
            kind = f"the class {sae.__name__}" if isinstance(sae, type) else type(sae).__name__
            raise TypeError(
                f"`sae` must be a sparse autoencoder such as sn.TopK(d_in={source.d_in}, n_atoms=512, "
                f"k=16), got {kind}. The order is train(sae, data)."
            )
        if not any(parameter.requires_grad for parameter in sae.parameters()):
            raise ValueError(
                f"`sae` must have weights that can be trained, but those of this {type(sae).__name__} "
                "are frozen. Use sae.requires_grad_()."
            )
        make_ordinary(sae)
        _check_sites(sae, source)


def _check_sites(sae: SparseAutoencoder, source: ActivationSource) -> None:
    """Refuse data of another width, or of fewer or more hook points, than a dictionary has."""
    widths, name = sites_of(source), type(sae).__name__
    streamed = not isinstance(source, Activations) and getattr(source, "has_gradient", False)
    brings = isinstance(source, WithGradient) or streamed
    if brings and not getattr(sae, "reads_gradient", False):
        widths = widths[:1]
    # Anything with a loss can be trained; what does not speak of sites has one.
    sites, writes = getattr(sae, "sites", (sae.d_in,)), getattr(sae, "writes", None)
    if len(sites) == 1 and len(widths) > 1:
        raise ValueError(
            f"`data` must be of one hook point for {name}, which writes what it reads, got {len(widths)} of "
            f"widths {list(widths)}. Pass one of them, or train a Transcoder."
        )
    if len(sites) == 1 and sae.d_in != widths[0]:
        raise ValueError(
            f"`sae` must have the width of the data, d_in={source.d_in}, got d_in={sae.d_in}. "
            f"{captured_at(source)} Build the SAE with d_in={source.d_in}, or capture the hook "
            "point it is meant for.".replace("  ", " ")
        )
    if writes is None and len(widths) == 1 and sum(sites) != widths[0]:
        raise ValueError(
            f"`data` must be a list for {name}, one thing for each of its {len(sites)} hook points of widths "
            f"{list(sites)}, got one of width {widths[0]}. {captured_at(source)} Capture them in one call: "
            "sn.capture(model, inputs, [first, second]).".replace("  ", " ")
        )
    if writes is not None and len(widths) == 1:
        raise ValueError(
            f"`data` must be two things for {name}, what it reads and what it writes, got one hook point "
            f"of width {widths[0]}. {captured_at(source)} Use train(t, (x, y)) with both captured in one "
            "call: sn.capture(model, inputs, [first, second]).".replace("  ", " ")
        )
    if sum(sites) != sum(widths) or (len(widths) == len(sites) and widths != sites):
        raise ValueError(
            f"`data` must have the widths of {name}, {list(sites)}, what is read first, got "
            f"{list(widths)}. Build it with these widths, or pass what it reads before what it writes."
        )


def sites_of(source: ActivationSource) -> tuple[int, ...]:
    """Return the widths of the parts that lie side by side in a batch of the source."""
    sides = getattr(source, "sides", None)
    if sides is None:
        return tuple(getattr(source, "sites", (source.d_in,)))
    return tuple(width for side in dict.fromkeys(sides) for width in side.sites)


def _stored(source: ActivationSource) -> Activations | None:
    """The activations behind a source, where it has any."""
    rows = source.acts if isinstance(source, Sequences) else source
    return rows if isinstance(rows, Activations) else None


def hook_point(source: ActivationSource) -> str | None:
    """Return hook point of the rows, None when it is not known."""
    name = getattr(source, "hook_point", None)
    return None if name is None else str(name)


def _places(sae: SparseAutoencoder, source: ActivationSource) -> tuple[str | None, str | None]:
    """Hook points of what is read and, where that is another, of what is written."""
    if getattr(sae, "writes", None) is None:
        return hook_point(source), None
    names = getattr(source, "hook_points", None)
    if names is not None:
        n = len(sae.reads)
        return AND.join(names[:n]), AND.join(names[n:])
    read, written = (hook_point(side) for side in source.sides)  # type: ignore[attr-defined]
    return read, written


def captured_at(source: ActivationSource) -> str:
    """Return half a sentence for messages: where the rows come from; empty when it is not known."""
    name = hook_point(source)
    return "" if name is None else f"It was captured at {name!r}."


def fingerprint(source: ActivationSource) -> dict[str, Any]:
    """Return facts that identify a source: what a checkpoint must agree with.

    Stored rows are known by the bytes of 64 of them, evenly spaced; streams by their names alone.
    """
    of_workers: dict[str, Any] | None = getattr(source, "facts_of_workers", None)
    if of_workers is not None:
        return of_workers
    facts: dict[str, Any] = {
        "d_in": int(source.d_in),
        "hook_point": hook_point(source),
        "model_name": getattr(source, "model_name", None),
    }
    stored = _stored(source)
    if stored is not None:
        n = len(stored)
        even = torch.linspace(0, n - 1, min(64, n), dtype=torch.float64).long()
        picked = stored.joined.rows(even).cpu().contiguous()
        facts["rows"] = n
        facts["rows_sha256"] = hashlib.sha256(
            picked.view(torch.uint8).numpy().tobytes()
        ).hexdigest()
    if isinstance(source, Sequences):
        lengths = ",".join(map(str, source.lengths))
        facts["sequences"] = hashlib.sha256(lengths.encode()).hexdigest()
    return facts
