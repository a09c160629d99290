"""Fitting a lens: sample by sample or step by step, with a course, checkpoints and an end at Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Count, Seed, above, at_least, check_integers, check_memory, checked
from sae_nb.files._atomic import MANIFEST, existing_folder, free_folder
from sae_nb.files._exchange import place
from sae_nb.files._fingerprints import check_same_call, inputs_digest, tensor_bytes
from sae_nb.interrupts import Interrupted
from sae_nb.lenses._attaching import weights_of
from sae_nb.lenses._files import read_lens, read_running, write_lens
from sae_nb.lenses._head import Head, head_of, mean_slope, reads_tokens
from sae_nb.lenses._jacobian import jacobian_of
from sae_nb.lenses._lens import Kind, Lens
from sae_nb.lenses._measuring import SKIPPED, check_lengths, sample_batches
from sae_nb.lenses._rows import Rows, joined, kind_at, kinds_of_places, point_of, rows_by_batch
from sae_nb.lenses._tuning import TunedState, mean_kl, tune_once
from sae_nb.models._running import run
from sae_nb.progress import progress_bar

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch


@dataclass(frozen=True, kw_only=True)
class LensRecord:
    """Progress of a fit after a sample or step."""

    n_done: int
    n_wanted: int
    """Samples; of a tuned lens, steps."""

    measure: float
    """Of `Lens.curve`, mean over layers; NaN where it is not known yet."""

    seconds: float


Progress = bool | Callable[[LensRecord], Any]


@checked(leave=("inputs", "layers"))
def fit_lens(
    model: LiveModel,
    inputs: Inputs,
    kind: Kind = "jacobian",
    layers: Sequence[int] | None = None,
    *,
    stream: Literal["decoder", "encoder"] | None = None,
    head: str | None = None,
    skip_first: Annotated[int, at_least(0)] = SKIPPED,
    context_length: Count | None = 128,
    store: str | Path | None = None,
    checkpoint_every: Count | None = None,
    steps: Count = 300,
    learning_rate: Annotated[float, above(0)] = 1e-3,
    rows_per_step: Count = 256,
    seed: Seed = 0,
    progress: bool | Callable[[LensRecord], Any] = True,
) -> Lens:
    """Fit a lens: maps from each layer's states to the model's answer.

    "jacobian": the mean Jacobian of the states that are answered from, by those of each layer; a handful of
    samples is a start. "tuned": per layer an affine map, trained so that the answer read there is the model's.
    "logit": no map, nothing is fitted. Ctrl-C reaches the caller as an `Interrupted`, whose `.result` is the
    lens of what was done, marked as partial.

    Parameters
    ----------
    inputs
        Texts or images, as the model takes them, of an encoder–decoder pairs.
    layers
        Blocks whose outputs are read; None: all but the last, of an encoder all.
    stream
        Of an encoder–decoder: the half whose blocks are read; None: the decoder.
    head
        Name of one of several class heads (`model.heads(images)`); None: the model's answer.
    skip_first
        First tokens of each text that are left out, as the last one is: sinks of attention, often huge.
    context_length
        Tokens after which a text is cut, at most what the model can read; None: that.
    store
        A folder for checkpoints and the result. Killed or interrupted, the same call continues from there,
        bit-equal; another call is refused.
    checkpoint_every
        Samples between checkpoints; None: 1, and 25 steps of a tuned lens.
    steps, learning_rate, rows_per_step, seed
        Of a tuned lens: Adam's steps, its first rate, places per step, and the seed of their order.
    progress
        Show a bar; or a function that gets a `LensRecord` after every sample or step.

    Raises
    ------
    ValueError: If the model has no blocks, or its answer is not a projection of the last block's output; if
        stream, kind and layers do not fit, a text is too short, or `store` holds another fit.
    MemoryError: If the maps would not fit in memory.

    Source
    ------
    Jacobian lens: Gurnee et al. 2026, "Verbalizable Representations Form a Global Workspace in Language
    Models". Tuned lens: arXiv 2303.08112. Logit lens: nostalgebraist 2020.

    Example
    -------
    >>> import sae_nb as sn
    >>> vit = sn.load_model("tiny-vit")
    >>> lens = fit_lens(vit, sn.data.scenes(1).images, layers=[9, 10], progress=False)
    >>> lens
    Lens(jacobian of tiny-vit: blocks 9 … 10 of 12; fitted on 1 samples)
    """
    _check_stream(model, stream, kind)
    encoder: Literal["encoder"] | None = "encoder" if stream == "encoder" else None
    fit = _Fit.of(model, inputs, kind, layers, encoder, head, skip_first, context_length)
    if kind == "logit":
        return fit.lens(None, n_done=0, n_wanted=0)
    work: _Jacobians | _Tuning = _Jacobians(fit)
    if kind == "tuned":
        work = _Tuning(fit, steps, learning_rate, rows_per_step, seed)
    call = fit.call(inputs, work.settings)
    every = checkpoint_every or work.CHECKPOINT
    begun = _stored(store, call)
    if isinstance(begun, Lens):
        return replace(begun, head=fit.head)
    return _carried_out(work, begun, store, call, every, progress)


def _check_stream(model: LiveModel, stream: str | None, kind: str) -> None:
    if stream is None:
        return
    if not model.streams:
        raise ValueError(
            f"`stream` must be None for {model.name}, which has one stream, got {stream!r}. Leave it out."
        )
    if stream == "encoder" and kind != "jacobian":
        raise ValueError(
            f"`kind` must be 'jacobian' for an encoder, got {kind!r}: the decoder's head does not read its "
            "states, and its places have no answers of their own to be trained on."
        )


# -------------------------------------------------------------------------------------------------
# What every fit needs, checked before any work.


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fit:
    head: Head
    kind: Kind
    layers: tuple[int, ...]
    stream: Literal["encoder"] | None
    n_layers: int
    d: int
    """Width of the states of the layers."""

    batches: list[Batch]
    skip_first: int
    context_length: int | None

    @classmethod
    def of(
        cls,
        model: LiveModel,
        inputs: Inputs,
        kind: Kind,
        layers: object,
        stream: Literal["encoder"] | None,
        head: str | None,
        skip_first: int,
        context_length: int | None,
    ) -> _Fit:
        skip_first = skip_first if reads_tokens(model) else 0
        batches = sample_batches(model, inputs, context_length)
        first = batches[0].to(model.device)
        found = head_of(model, first, head)
        if kind != "logit":
            check_lengths(batches, skip_first + 2)
        n, d = model.n_layers or 1, found.d
        if stream is not None:
            n, point = model.streams[stream].n_blocks, point_of(0, stream)
            d = run(model, first, read=[point], answer=False).states[point].shape[-1]
        numbers = _checked_layers(layers, n, model.name, all_of_them=stream is not None)
        size = len(numbers) * len(kinds_of_places(model)) * d * found.d
        check_memory(
            4 * (4 if kind == "jacobian" else 6) * size,
            f"Fitting maps of {len(numbers)} layers of width {d}",
            "Pass layers= to fit some of them.",
        )
        fit = cls(
            head=found, kind=kind, layers=numbers, stream=stream, n_layers=n, d=d, batches=batches,
            skip_first=skip_first, context_length=context_length,
        )  # fmt: skip
        if found.slope is None:
            return fit
        # The mean derivative of the head's own layers, over the places of all inputs.
        states = torch.cat([rows.last for rows in fit.rows([])])
        return replace(fit, head=replace(found, slope=mean_slope(found, states)))

    def rows(self, points: Sequence[str]) -> Iterator[Rows]:
        """Yield the states of each sample at the places of the fit."""
        moved = (batch.to(self.head.model.device) for batch in self.batches)
        return rows_by_batch(self.head, moved, points, skip_first=self.skip_first)

    @property
    def points(self) -> list[str]:
        return [point_of(layer, self.stream) for layer in self.layers]

    @property
    def n_kinds(self) -> int:
        return len(kinds_of_places(self.head.model))

    def call(self, inputs: Inputs, settings: Mapping[str, object]) -> dict[str, Any]:
        """Return everything that decides the result; two calls with equal facts give equal bits."""
        import hashlib

        digest = inputs_digest(inputs, texts=self.head.model.modality.is_text)
        if digest is None:
            seen = hashlib.blake2b(digest_size=16)
            for batch in self.batches:
                for value in (*batch.args, *batch.kwargs.values()):
                    if isinstance(value, Tensor):
                        seen.update(tensor_bytes(value))
            digest = seen.hexdigest()
        return {
            "kind": self.kind,
            "model": self.head.model.name,
            "weights": list(weights_of(self.head.model)),
            "head": self.head.name,
            "layers": list(self.layers),
            "skip_first": self.skip_first,
            "context_length": self.context_length,
            "inputs": digest,
            "n_samples": len(self.batches),
            **({} if self.stream is None else {"stream": self.stream}),
            **settings,
        }

    def lens(
        self,
        maps: Tensor | None,
        *,
        n_done: int,
        n_wanted: int,
        offsets: Tensor | None = None,
        course: Tensor | None = None,
        facts: Mapping[str, object] | None = None,
    ) -> Lens:
        """Return the lens with these maps."""
        model, places = self.head.model, kinds_of_places(self.head.model)
        counts = (1,)
        if places != ("token",):
            n = model.prefix_tokens + _n_patches(self.head, self.batches[0])
            kind = kind_at(places, torch.arange(n), model.prefix_tokens)
            counts = tuple(kind.bincount(minlength=len(places)).tolist())
        return Lens(
            kind=self.kind, layers=self.layers, n_layers=self.n_layers, places=places,
            counts=counts, d=self.d, maps=maps, model_name=model.name, weights=weights_of(model),
            head_name=self.head.name, skip_first=self.skip_first, n_done=n_done, n_wanted=n_wanted,
            stream=self.stream, slope=self.head.slope, head=self.head, offsets=offsets,
            course=course, facts=facts or {},
        )  # fmt: skip


def _n_patches(head: Head, batch: Batch) -> int:
    grid = head.model.patch_grid
    if grid is not None:
        return grid[0] * grid[1]
    rows = next(rows_by_batch(head, [batch.to(head.model.device)], [], skip_first=None))
    return len(rows) - head.model.prefix_tokens


def _checked_layers(
    layers: object, n_layers: int, name: str, *, all_of_them: bool
) -> tuple[int, ...]:
    """Return the layers that are read; `all_of_them`: the last one may be one of them."""
    end = n_layers if all_of_them else n_layers - 1
    if end < 1:
        raise ValueError(
            f"`model` must have at least two blocks for a lens, got {name} with {n_layers}. Its only block's "
            "output is what its head reads."
        )
    if layers is None:
        return tuple(range(end))
    numbers = check_integers(layers, name="layers")
    wrong = [layer for layer in numbers if not 0 <= layer < end]
    if wrong or not numbers:
        which = "the encoder's blocks" if all_of_them else f"blocks before the last of {name}"
        why = "" if all_of_them else " The last block's output is what the head reads."
        raise ValueError(
            f"`layers` must be between 0 and {end - 1}, {which}, got {wrong[0] if wrong else 'none'}.{why}"
        )
    return tuple(sorted(set(numbers)))


# -------------------------------------------------------------------------------------------------
# Jacobians: sums over samples, in two halves.


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sums:
    n_done: int
    halves: Float[Tensor, "two layers kinds d d"]
    """Sums over every other sample, and over the rest."""

    course: Float[Tensor, "points columns"]


class _Jacobians:
    """The Jacobian lens of a fit, one sample at a time."""

    CHECKPOINT = 1
    settings: Mapping[str, object] = {}
    """What decides the result, besides the fit itself."""

    def __init__(self, fit: _Fit) -> None:
        self.fit, self.n_wanted = fit, len(fit.batches)

    def begin(self, running: dict[str, Tensor] | None) -> _Sums:
        """Return sums of nothing, or those of a checkpoint."""
        if running is not None:
            return _Sums(
                n_done=int(running["n_done"]), halves=running["halves"], course=running["course"]
            )
        fit = self.fit
        shape = (2, len(fit.layers), fit.n_kinds, fit.head.d, fit.d)
        return _Sums(
            n_done=0, halves=torch.zeros(shape), course=torch.zeros(0, 1 + len(fit.layers))
        )

    def once(self, state: _Sums) -> _Sums:
        """Return the sums with one more sample."""
        fit = self.fit
        batch = fit.batches[state.n_done].to(fit.head.model.device)
        new = jacobian_of(fit.head, batch, fit.points, fit.skip_first)
        halves = state.halves.clone()
        halves[state.n_done % 2] += new
        n = state.n_done + 1
        a, b = halves[0].flatten(1), halves[1].flatten(1)
        cosine = torch.nn.functional.cosine_similarity(a, b, dim=1)
        if n < 2:
            cosine = torch.full_like(cosine, torch.nan)
        point = torch.cat([torch.tensor([float(n)]), cosine])[None]
        return _Sums(n_done=n, halves=halves, course=torch.cat([state.course, point]))

    def lens(self, state: _Sums, facts: Mapping[str, object]) -> Lens:
        """Return the lens of the mean so far."""
        maps = state.halves.sum(dim=0) / max(state.n_done, 1)
        return self.fit.lens(
            maps,
            n_done=state.n_done,
            n_wanted=self.n_wanted,
            course=state.course,
            facts=facts,
        )

    def running(self, state: _Sums) -> dict[str, Tensor]:
        """Return the content of a checkpoint."""
        return {
            "n_done": torch.tensor(state.n_done),
            "halves": state.halves,
            "course": state.course,
        }


# -------------------------------------------------------------------------------------------------
# Tuned maps: steps on rows that were read before.


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tuned:
    state: TunedState
    course: Float[Tensor, "points columns"]

    @property
    def n_done(self) -> int:
        return self.state.step


class _Tuning:
    """The tuned lens of a fit, one step at a time."""

    CHECKPOINT = 25

    def __init__(
        self, fit: _Fit, steps: int, learning_rate: float, rows_per_step: int, seed: int
    ) -> None:
        self.fit, self.n_wanted = fit, steps
        self.settings: Mapping[str, object] = {
            "steps": steps,
            "learning_rate": learning_rate,
            "rows_per_step": rows_per_step,
            "seed": seed,
        }
        self._rate, self._per_step, self._seed = learning_rate, rows_per_step, seed
        self._rows: tuple[Rows, Rows] | None = None

    def begin(self, running: dict[str, Tensor] | None) -> _Tuned:
        """Return maps that change nothing, or those of a checkpoint."""
        fit = self.fit
        if running is not None:
            kept = {name: running[name] for name in ("maps", "mean", "square")}
            return _Tuned(
                state=TunedState(step=int(running["n_done"]), **kept), course=running["course"]
            )
        fresh = TunedState.fresh(len(fit.layers), fit.n_kinds, fit.d)
        return _Tuned(state=fresh, course=torch.zeros(0, 1 + len(fit.layers)))

    @property
    def rows(self) -> tuple[Rows, Rows]:
        """Rows to train on, and those of every tenth sample, for the course; of one sample the same."""
        if self._rows is None:
            fit = self.fit
            rows = joined(list(fit.rows(fit.points)))
            held = rows.sample % 10 == 9
            if not bool(held.any()):
                held = rows.sample == int(rows.sample.max())
            train = ~held if bool((~held).any()) else held
            generator = torch.Generator().manual_seed(self._seed)
            kept = held.nonzero().flatten()
            kept = kept[torch.randperm(len(kept), generator=generator)[:HELD_ROWS]]
            self._rows = rows.chosen(train.nonzero().flatten()), rows.chosen(kept)
        return self._rows

    def once(self, done: _Tuned) -> _Tuned:
        """Return the maps after one more step."""
        state, course = done.state, done.course
        if state.step == 0:
            course = torch.cat([course, self._point(0, state)])
        state = tune_once(
            self.fit.head,
            state,
            self.rows[0],
            n_steps=self.n_wanted,
            learning_rate=self._rate,
            rows_per_step=self._per_step,
            seed=self._seed,
        )
        if state.step % COURSE_EVERY == 0 or state.step == self.n_wanted:
            course = torch.cat([course, self._point(state.step, state)])
        return _Tuned(state=state, course=course)

    def _point(self, step: int, state: TunedState) -> Tensor:
        kl = mean_kl(self.fit.head, state.maps, self.rows[1])
        return torch.cat([torch.tensor([float(step)]), kl])[None]

    def lens(self, done: _Tuned, facts: Mapping[str, object]) -> Lens:
        """Return the lens of the maps as they are."""
        maps = done.state.maps
        return self.fit.lens(
            maps[..., :-1] + torch.eye(self.fit.d),
            offsets=maps[..., -1].clone(),
            n_done=done.n_done,
            n_wanted=self.n_wanted,
            course=done.course,
            facts=facts,
        )

    def running(self, done: _Tuned) -> dict[str, Tensor]:
        """Return the content of a checkpoint."""
        state = done.state
        kept = {"maps": state.maps, "mean": state.mean, "square": state.square}
        return {"n_done": torch.tensor(state.step), "course": done.course, **kept}


HELD_ROWS = 512
"""Places on which the course is measured, at most."""

COURSE_EVERY = 10
"""Steps between two points of it."""


# -------------------------------------------------------------------------------------------------
# Carrying it out, with checkpoints.


def _carried_out(
    work: Any,
    running: dict[str, Tensor] | None,
    store: str | Path | None,
    call: dict[str, Any],
    every: int,
    progress: Progress,
) -> Lens:
    """Go through all samples or steps; each makes a new state, so that none is ever half done."""
    state = work.begin(running)
    unit = "step" if isinstance(work, _Tuning) else "sample"
    begin, first = time.perf_counter(), state.n_done

    def keep(*, end: bool = False) -> None:
        if store is not None:
            parts = None if end else work.running(state)
            write_lens(work.lens(state, {"call": call}), store, running=parts)

    try:
        with progress_bar(work.n_wanted, "lens", unit, enabled=progress is True) as bar:
            bar.update(first)
            while state.n_done < work.n_wanted:
                state = work.once(state)
                bar.update(1)
                if callable(progress):
                    last = state.course[-1:, 1:]
                    progress(
                        LensRecord(
                            n_done=state.n_done,
                            n_wanted=work.n_wanted,
                            measure=float(last.mean()) if len(last) else float("nan"),
                            seconds=time.perf_counter() - begin,
                        )
                    )
                if state.n_done % every == 0 and state.n_done < work.n_wanted:
                    keep()
    except KeyboardInterrupt as stop:
        if state.n_done == 0:
            raise Interrupted(
                f"Fitting a lens was interrupted before its first {unit} was done; nothing is kept."
            ) from stop
        keep()
        where = (
            "Pass store= a folder, and the same call continues from there next time."
            if store is None
            else f"{str(store)!r} keeps it, and the same call continues from there."
        )
        raise Interrupted(
            f"Fitting a lens was interrupted after {state.n_done} of {work.n_wanted} {unit}s; "
            f"`sn.interrupted()` returns the lens of these, marked as partial. {where}",
            work.lens(state, {"call": call}),
        ) from stop
    keep(end=True)
    return work.lens(state, {"call": call})


def _stored(store: str | Path | None, call: dict[str, Any]) -> Lens | dict[str, Tensor] | None:
    """Return what a folder has of this very fit: the lens, its sums, or None where it is new."""
    if store is None:
        return None
    folder = place(store)
    if not (folder / MANIFEST).is_file():
        free_folder(folder, replace=True)
        return None
    lens = read_lens(existing_folder(folder))
    check_same_call(folder, lens.facts.get("call"), call, work="fit")
    return read_running(folder) if lens.partial else lens
