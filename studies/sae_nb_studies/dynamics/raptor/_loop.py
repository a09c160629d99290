"""The training of a Raptor: its loss, its checkpoints, and the loop of two stages."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics import States, TokenKind, capture_states, check_cuts, check_states
from sae_nb.files import inputs_digest, read_tensors, write_json, write_tensors
from sae_nb.findings import Finding
from sae_nb.progress import progress_bar
from sae_nb.training import Callbacks, Change, Checkpoints, Control, History, Listeners, TrainRecord
from sae_nb_studies._muon import Muon
from sae_nb_studies.dynamics.raptor._config import OWN_BUSINESS, RaptorConfig
from sae_nb_studies.dynamics.raptor._raptor import BlockSizes, Raptor
from sae_nb_studies.dynamics.raptor._scores import RaptorFit, check_depth, raptor_fit

if TYPE_CHECKING:
    from sae_nb.models import LiveModel


# -------------------------------------------------------------------------------------------------
# What a Raptor's optimiser lowers: weighted squares of teacher-forced steps and of own roll-outs.


_WEIGHTED: tuple[TokenKind, ...] = ("cls", "register", "patch")


@dataclass(frozen=True, eq=False)
class Errors:
    """Squared errors of some layers on one batch."""

    layers: list[int]
    """The layers."""

    squares: list[Tensor]
    """Per layer (n, T), mean over channels."""

    @classmethod
    def of(cls, predicted: Sequence[Tensor], states: Tensor, first: int) -> Errors:
        """Return errors of what was predicted for the layers after `first`."""
        layers = list(range(first + 1, first + 1 + len(predicted)))
        pairs = zip(predicted, layers, strict=True)
        return cls(layers, [(x - states[:, layer]).square().mean(dim=-1) for x, layer in pairs])


class RaptorLoss:
    """Loss of one batch, by stage, with the weights of token kinds worked out once."""

    def __init__(
        self,
        raptor: Raptor,
        config: RaptorConfig,
        kinds: Sequence[TokenKind],
        variance: Tensor,
    ) -> None:
        self.raptor, self.config = raptor, config
        self.variance = variance.clamp_min(1e-12)
        self.scale = self.variance if config.normalise else torch.ones_like(variance)
        self.plain = torch.full((len(kinds),), 1 / len(kinds), device=variance.device)
        self.last = self._weights(kinds, config.last_weights)
        self.joint = self._weights(kinds, config.joint_weights)

    def terms(self, states: Tensor, step: int) -> Iterator[tuple[str, Tensor, Errors]]:
        """Yield (name, loss, errors) of each separate graph of a step; their sum is the loss."""
        whole, share = self.config.stage(step)[0] == 2, self.config.forced_share(step)
        cuts = (0, self.raptor.n_layers) if whole else self.raptor.cuts
        for first, last in pairwise(cuts):
            weights = self.plain
            if last == self.raptor.n_layers:
                weights = self.joint if whole else self.last
            if self.config.mix == "states":
                errors = self._own(states, first, last, share)
                yield "own roll-out", self._mean(errors, weights), errors
                continue
            if share > 0:
                layers = range(first + 1, last + 1)
                forced = [self.raptor.step(states[:, layer - 1], layer) for layer in layers]
                errors = Errors.of(forced, states, first)
                yield "teacher forcing", share * self._mean(errors, weights), errors
            if share < 1:
                errors = self._own(states, first, last)
                yield "own roll-out", (1 - share) * self._mean(errors, weights), errors

    def r2(self, several: Iterable[Errors]) -> float:
        """Return the mean over the layers seen of 1 − squared error / variance, all tokens alike."""
        shares = [
            float(square.detach().mean() / self.variance[layer])
            for errors in several
            for layer, square in zip(errors.layers, errors.squares, strict=True)
        ]
        return 1 - sum(shares) / len(shares)

    def _own(self, states: Tensor, first: int, last: int, share: float = 0.0) -> Errors:
        x, own = states[:, first], []
        for layer in range(first + 1, last + 1):
            x = self.raptor.step(x, layer)
            own.append(x)
            if share > 0:
                x = torch.lerp(x, states[:, layer], share)
        return Errors.of(own, states, first)

    def _weights(self, kinds: Sequence[TokenKind], weights: Sequence[float] | None) -> Tensor:
        return self.plain if weights is None else token_weights(kinds, weights).to(self.plain)

    def _mean(self, errors: Errors, weights: Tensor) -> Tensor:
        parts = [
            (square @ weights).mean() / self.scale[layer]
            for layer, square in zip(errors.layers, errors.squares, strict=True)
        ]
        return torch.stack(parts).mean()


def matrices(raptor: Raptor) -> list[Tensor]:
    """Return the weights of attention and MLP of every block: those that Muon moves."""
    parts = ("qkv", "out", "up", "down")
    names = [f"blocks.{j}.{part}.weight" for j in range(raptor.k) for part in parts]
    return [raptor.get_parameter(name) for name in names]


def _variance(layer: Tensor) -> Tensor:
    """Variance of a layer's states about their mean, mean over channels."""
    return layer.float().flatten(0, 1).var(dim=0, unbiased=False).mean()


def token_weights(kinds: Sequence[TokenKind], weights: Sequence[float]) -> Tensor:
    """Return weight of each token: its kind's weight, divided among the tokens of that kind; sum 1."""
    of = dict(zip(_WEIGHTED, weights, strict=True))
    of["token"] = of["patch"]
    counts = {kind: list(kinds).count(kind) for kind in set(kinds)}
    found = torch.tensor([of[kind] / counts[kind] for kind in kinds])
    if not float(found.sum()) > 0:
        return torch.full((len(kinds),), 1 / len(kinds))
    return found / found.sum()


# -------------------------------------------------------------------------------------------------
# A Raptor in training on disk: weights, moments, step and records, verified when read.


def save_raptor_checkpoint(checkpoints: Checkpoints, training: RaptorTraining) -> None:
    """Write one checkpoint, whole or not at all, then remove those before it."""
    with checkpoints.new(training.step) as unfinished:
        write_json(unfinished / "state.json", _facts(training))
        write_tensors(unfinished / "raptor.safetensors", training.raptor.state_dict())
        write_tensors(unfinished / "optimiser.safetensors", _moments(training))


def load_raptor_checkpoint(checkpoints: Checkpoints, training: RaptorTraining) -> None:
    """Put a checkpoint's tensors and numbers back; nothing happens where there is none."""
    found = checkpoints.latest()
    if found is None:
        return
    path, facts = found
    _check_same(facts, training, path)
    training.raptor.load_state_dict(read_tensors(path / "raptor.safetensors"))
    _load_moments(training, read_tensors(path / "optimiser.safetensors"))
    training.step, training.seconds = facts["step"], facts["seconds"]
    training.peak = facts["peak"]
    training.history[:] = History.from_json(facts["history"])
    training.changes = [Change(**change) for change in facts["changes"]]


def _facts(training: RaptorTraining) -> dict[str, Any]:
    return {
        "step": training.step,
        "seconds": training.seconds,
        "peak": training.peak,
        "config": training.config.to_json() | {"checkpoint": None},
        "identity": _identity(training),
        "history": [record.to_json() for record in training.history],
        "changes": [asdict(change) for change in training.changes],
    }


def _identity(training: RaptorTraining) -> dict[str, Any]:
    return {
        "states": inputs_digest(training.states, texts=False),
        "shape": list(training.states.shape),
        "cuts": list(training.raptor.cuts),
        "sizes": asdict(training.raptor.sizes),
    }


def _check_same(facts: dict[str, Any], training: RaptorTraining, path: Path) -> None:
    here = {
        name: value for name, value in training.config.to_json().items() if name not in OWN_BUSINESS
    }
    pairs = [(facts.get("config", {}), here), (facts.get("identity", {}), _identity(training))]
    different = [
        f"{name} was {saved.get(name)!r}, this call has {value!r}"
        for saved, now in pairs
        for name, value in now.items()
        if saved.get(name) != value
    ]
    if different:
        raise ValueError(
            f"A checkpoint is continued only by the same run, but in {str(path)!r}"
            f" {'; '.join(different)}. Use the same settings, another `checkpoint` folder, or"
            " `resume=False` to start afresh."
        )


def _moments(training: RaptorTraining) -> dict[str, Tensor]:
    return {
        f"{i}.{name}": value
        for i, parameter in enumerate(training.parameters)
        for name, value in training.optimiser_of(parameter).state[parameter].items()
    }


def _load_moments(training: RaptorTraining, moments: dict[str, Tensor]) -> None:
    for key, value in moments.items():
        index, name = key.split(".", 1)
        parameter = training.parameters[int(index)]
        # AdamW's count of steps stays on the CPU, as torch keeps it.
        where = value.device if name == "step" else parameter.device
        training.optimiser_of(parameter).state[parameter][name] = value.to(where)


class RaptorResult(Finding):
    """A trained Raptor, how well it follows its teacher, and how it got there."""

    raptor: Raptor
    """Trained in place, in eval mode."""

    fit: RaptorFit
    """On the test images."""

    history: History
    """Every record, those before a resume included; `l0` and `dead_fraction` mean nothing here."""

    config: RaptorConfig
    """The settings."""

    steps: int
    """Steps done."""

    seconds: float
    """Time trained, pauses left out."""

    skipped: tuple[str, ...] = ()
    """Kinds of token the teacher does not have, whose weight went to the others."""

    stopped: str | None = None
    """Reason it ended before its last step; None if it did not."""

    changes: tuple[Change, ...] = ()
    """Numbers changed while it ran."""

    @property
    def cuts(self) -> tuple[int, ...]:
        """Phases."""
        return self.raptor.cuts

    @property
    def r2(self) -> Float[Tensor, " layers"]:
        """R² of layers 1 … L on test images."""
        return self.fit.r2

    @property
    def relative_error(self) -> Float[Tensor, " layers"]:
        """‖A_l − Â_l‖ / ‖A_l‖ of layers 1 … L on test images."""
        return self.fit.relative_error

    @property
    def headline(self) -> str:
        """Phases, fit and steps; why it ended early."""
        ended = f", stopped={self.stopped!r}" * (self.stopped is not None)
        return f"cuts={self.cuts}, {self.fit}, steps={self.steps}{ended}"


class RaptorTraining:
    """One training under way: what `train_raptor` and `start_raptor` both run."""

    def __init__(
        self,
        raptor: Raptor,
        states: Tensor,
        kinds: Sequence[TokenKind],
        config: RaptorConfig,
        *,
        callbacks: Callbacks = None,
        resume: bool = True,
    ) -> None:
        check_depth(raptor, states)
        self.raptor, self.config, self.kinds = raptor, config, tuple(kinds)
        self.control, self.callbacks = Control(), Listeners(callbacks)
        self.checkpoints = None if config.checkpoint is None else Checkpoints(config.checkpoint)
        self.states = states
        order = torch.randperm(len(states), generator=torch.Generator().manual_seed(config.seed))
        n_test = config.n_test(len(states))
        self.train_rows, self.test_rows = order[n_test:].sort().values, order[:n_test].sort().values
        layers = (states[self.train_rows, layer] for layer in range(states.shape[1]))
        variance = torch.stack([_variance(layer) for layer in layers])
        self.loss = RaptorLoss(raptor, config, kinds, variance)
        self.parameters = list(raptor.parameters())
        self.peak = config.learning_rate
        self.optimisers = self._new_optimisers()
        self.step, self.seconds = 0, 0.0
        self.stopped: str | None = None
        self._not_saved, self._torn = "", False
        self.history, self.changes = History(), list[Change]()
        if self.checkpoints is not None:
            self.checkpoints.hold()
            try:
                if resume:
                    load_raptor_checkpoint(self.checkpoints, self)
            except BaseException:
                self._let_go()
                raise

    @classmethod
    def prepare(
        cls,
        source: LiveModel | Tensor,
        cuts: Sequence[int],
        config: RaptorConfig | None = None,
        *,
        inputs: Any = None,
        model: LiveModel | None = None,
        raptor: Raptor | None = None,
        token_kinds: Sequence[str] | None = None,
        callbacks: Callbacks = None,
        resume: bool = True,
    ) -> RaptorTraining:
        """Check what the user passed, capture states if need be, and make the Raptor."""
        settings = config or RaptorConfig()
        if not isinstance(source, Tensor):
            model = source
            made = raptor or Raptor.from_model(model, cuts, seed=settings.seed)
            if inputs is None:
                raise ValueError(
                    "`inputs` must be given with a model. Pass images, or the model's states."
                )
            source = capture_states(model, inputs)
        else:
            made = raptor or _raptor_for(source, cuts, model, settings)
        x, kinds = check_states(source, token_kinds, min_layers=1)
        check_cuts(cuts, n_layers=x.shape[1] - 1)
        _check_source(source, model, x, settings)
        if made.cuts != tuple(cuts):
            raise ValueError(
                f"`cuts` must be those of the Raptor, {made.cuts}, got {tuple(cuts)}. Leave `raptor`"
                " out for a new one."
            )
        return cls(made, x, kinds, settings, callbacks=callbacks, resume=resume)

    def run(self, *, progress: bool = False) -> None:
        """Train to the end, or until it is stopped; leaves the Raptor in eval mode."""
        self._started = time.perf_counter() - self.seconds
        self._mark = (self.step, self.seconds)
        total = self.config.steps
        try:
            with (
                torch.enable_grad(),
                progress_bar(total, "raptor", "step", enabled=progress) as bar,
            ):
                bar.update(self.step)
                self.stopped = self._until_stopped(bar) if self.step < total else None
                if self.stopped is not None:
                    self._save_what_is_there()
        finally:
            self.seconds = self._elapsed()
            self.raptor.eval()
            self._let_go()

    def _save_what_is_there(self) -> None:
        """Save a part; where that fails at an interrupt, the message of Ctrl-C names the reason."""
        if self._torn:  # the checkpoint before it is whole
            return
        try:
            self._save()
        except OSError as error:
            if self.stopped != "interrupted":
                raise
            self._not_saved = f"It could not be saved: {error} "

    def ending(self) -> str:
        """Explain an interrupt: what is there, and how to continue."""
        text = (
            f"Training was interrupted after step {self.step} of {self.config.steps}; the Raptor keeps the "
            f"weights of that step. {self._not_saved}`sn.interrupted()` returns the result so far. "
        )
        if self.checkpoints is None:
            return (
                text
                + "Set `checkpoint` in its config, and the same call goes on from there next time."
            )
        return (
            text + f"The same call goes on from its checkpoint in {str(self.checkpoints.folder)!r}."
        )

    def _until_stopped(self, bar: Any) -> str | None:
        try:
            return self._steps(bar)
        except KeyboardInterrupt:
            # A second Ctrl-C, or one raised by a callback.
            self.control.stop("interrupted")
            return "interrupted"

    def _steps(self, bar: Any) -> str | None:
        self.raptor.train()
        while self.step < self.config.steps:
            with self.control.turn() as go_on:
                if not go_on:
                    return self.control.stop_reason
                self._torn = True
                record = self._one_step()
                self._torn = False
            bar.update()
            if record is not None:
                bar.set_postfix({"loss": record.loss, "R²": record.r2}, refresh=False)
                self.callbacks.tell(record)
            if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps:
                self._save()
        return None

    def _one_step(self) -> TrainRecord | None:
        stage, at, _ = self.config.stage(self.step)
        if stage == 2 and at == 0:
            self.optimisers = self._new_optimisers()  # the authors start stage 2 afresh
        rate = self.peak * self.config.rate_share(self.step)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * group["per_rate"]
        # Images of this step, the same for the same seed and step.
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        order = torch.randperm(len(self.train_rows), generator=generator)
        rows = self.train_rows[order[: self.config.batch_size]]
        batch = self.states[rows].to(self.parameters[0].device, self.parameters[0].dtype)
        self.raptor.zero_grad(set_to_none=True)
        parts: dict[str, float] = {}
        seen: list[Errors] = []
        for name, loss, errors in self.loss.terms(batch, self.step):
            # Term by term: the blocks of stage 1 share nothing, and one graph at a time is small.
            loss.backward()  # type: ignore[no-untyped-call]
            parts[name] = parts.get(name, 0.0) + float(loss.detach())
            seen.append(errors)
        norm = self._clip(stage)
        total = sum(parts.values())
        if not (total < float("inf") and norm < float("inf")):
            raise FloatingPointError(
                f"The Raptor's loss must stay finite, but at step {self.step + 1} it is {total} with"
                f" a gradient of norm {norm}. Take a lower `learning_rate` than {self.peak:g}."
            )
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        if self.step in (1, self.config.steps) or self.step % self.config.log_every == 0:
            return self._record(parts, seen, norm, rate)
        return None

    def _clip(self, stage: int) -> float:
        limit = self.config.gradient_clip
        groups: list[Any] = list(self.raptor.blocks) if stage == 1 else [self.raptor]
        norms = [
            torch.nn.utils.clip_grad_norm_([p for p in g.parameters() if p.grad is not None], limit)
            for g in groups
        ]
        return float(torch.stack([norm.detach() for norm in norms]).square().sum().sqrt())

    def _record(
        self, parts: dict[str, float], seen: Sequence[Errors], norm: float, rate: float
    ) -> TrainRecord:
        steps_before, seconds_before = self._mark
        seconds, rows = self._elapsed(), min(self.config.batch_size, len(self.train_rows))
        done, per_step = self.step - steps_before, rows * self.states.shape[2]
        record = TrainRecord(
            step=self.step,
            steps=self.config.steps,
            tokens=self.step * per_step,
            loss=sum(parts.values()),
            parts=parts,
            r2=self.loss.r2(seen),
            l0=float("nan"),
            dead_fraction=float("nan"),
            gradient_norm=norm,
            learning_rate=rate,
            tokens_per_second=done * per_step / max(seconds - seconds_before, 1e-9),
            seconds=seconds,
        )
        self._mark = (self.step, seconds)
        self.history.append(record)
        return record

    def set(self, **numbers: float) -> None:
        """Change the peak learning rate from the next step on."""
        if set(numbers) != {"learning_rate"} or not 0 < numbers["learning_rate"] < float("inf"):
            raise ValueError(
                f"Only a positive `learning_rate` can be changed while a Raptor trains, got {numbers}."
            )
        with self.control.lock:
            self.peak = float(numbers["learning_rate"])
            self.changes.append(Change(step=self.step, name="learning_rate", value=self.peak))

    def result(self) -> RaptorResult:
        """Measure the Raptor as it is now and return all there is to know."""
        rows = self.test_rows if len(self.test_rows) else self.train_rows
        wanted = _WEIGHTED
        known = "token" not in self.kinds
        return RaptorResult(
            raptor=self.raptor,
            fit=raptor_fit(self.raptor, self.states[rows], token_kinds=self.kinds),
            history=self.history,
            config=self.config,
            steps=self.step,
            seconds=self.seconds,
            skipped=tuple(k for k in wanted if k not in self.kinds) if known else (),
            stopped=self.stopped,
            changes=tuple(self.changes),
        )

    def _new_optimisers(self) -> list[torch.optim.Optimizer]:
        config = self.config
        by_muon = matrices(self.raptor) if config.optimiser == "muon" else []
        chosen = {id(parameter) for parameter in by_muon}
        rest = [parameter for parameter in self.parameters if id(parameter) not in chosen]
        # A group's rate is `per_rate` times AdamW's, so that one number changes both.
        adamw = {"params": rest, "per_rate": 1.0}
        made: list[torch.optim.Optimizer] = [
            torch.optim.AdamW([adamw], lr=self.peak, weight_decay=config.weight_decay)
        ]
        if by_muon:
            muon = {
                "params": by_muon,
                "per_rate": config.muon_learning_rate / config.learning_rate,
            }
            made.append(Muon([muon], weight_decay=0.0))
        return made

    def optimiser_of(self, parameter: Tensor) -> torch.optim.Optimizer:
        """Return the optimiser that moves a parameter."""
        return next(
            optimiser
            for optimiser in self.optimisers
            for group in optimiser.param_groups
            if any(parameter is other for other in group["params"])
        )

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started - self.control.paused_seconds

    def _let_go(self) -> None:
        """Free the checkpoints for another training."""
        if self.checkpoints is not None:
            self.checkpoints.release()

    def _save(self) -> None:
        if self.checkpoints is not None:
            self.seconds = self._elapsed()
            save_raptor_checkpoint(self.checkpoints, self)


def _check_source(
    source: Tensor,
    model: LiveModel | None,
    x: Tensor,
    settings: RaptorConfig,
) -> None:
    """Refuse states of another model, and too few of them."""
    of = source.model_name if isinstance(source, States) else None
    if model is not None and of not in (None, model.name):
        raise ValueError(
            f"`source` must be states of `model`, {model.name}, got states of {of}. Use"
            " capture_states(model, inputs)."
        )
    check_batch(x, settings)


def check_batch(x: Tensor, settings: RaptorConfig) -> None:
    """Refuse fewer images than a step takes."""
    n_train = len(x) - settings.n_test(len(x))
    if settings.batch_size > n_train:
        raise ValueError(
            f"`batch_size` must be at most the {n_train} images to train on, got"
            f" {settings.batch_size}. Pass more than {len(x)} images, or a smaller `batch_size`."
        )


def _raptor_for(
    states: Tensor, cuts: Sequence[int], model: LiveModel | None, config: RaptorConfig
) -> Raptor:
    if model is not None:
        return Raptor.from_model(model, cuts, seed=config.seed)
    x, _ = check_states(states, None, min_layers=1, finite=False)
    d = x.shape[3]
    heads = d // 16 if d % 16 == 0 else 1
    sizes = BlockSizes(d_model=d, n_heads=heads, hidden=4 * d)
    return Raptor(sizes, check_cuts(cuts, n_layers=x.shape[1] - 1), seed=config.seed)
