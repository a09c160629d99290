"""One SAE in training: its optimiser, schedule and history, its best weights and its dead atoms."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import between, check_finite, check_k, check_real
from sae_nb.kernels._adam import FusedAdam
from sae_nb.kernels._coding import check_average_k
from sae_nb.kernels._dense import note
from sae_nb.kernels._memory import explain_out_of_memory
from sae_nb.temporal._sequences import SequenceRows
from sae_nb.training._adam import Adam
from sae_nb.training._config import TrainConfig
from sae_nb.training._dead_atoms import DeadAtoms, fire_counts
from sae_nb.training._graph import StepGraph, StepLog, Taken
from sae_nb.training._parts import Part
from sae_nb.training._process_group import Team
from sae_nb.training._records import History, TrainRecord
from sae_nb.training._schedule import Plateau, Schedule, growing
from sae_nb.training._shards import Shard

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder, TrainingDefaults, TrainingLoss


DEAD_AFTER_BATCHES = 20
"""Our method notes' choice at notebook scale, where the 10 M tokens of published runs never pass."""

ABSURD = 1e12
"""A parameter as large as this has diverged, whatever error it leads to. Ours."""

GROWS = "k"
"""The live number that may grow along a training."""

CAUSE = (
    "Most likely the steps were too large: use a smaller `learning_rate` or more `warmup_steps`."
)


class Learner:
    """One SAE in training."""

    def __init__(
        self,
        sae: SparseAutoencoder,
        config: TrainConfig,
        *,
        rows: int,
        index: int = 0,
        team: Team | None = None,
        shard: Shard | None = None,
        finite: bool = False,
    ) -> None:
        """`finite`: whether every row is known to be."""
        self.sae, self.config, self.index = sae, config, index
        self.team, self.shard = team or Team(), shard
        self.width = sum(sae.sites) if hasattr(sae, "sites") else None
        self.parameters = [p for p in sae.parameters() if p.requires_grad]
        recipe = sae.recipe()
        self.ks = self._ks(grow=recipe.grow_k if config.grow_k is None else config.grow_k)
        if config.sparsity is not None:
            self.set("sparsity", config.sparsity)
        phases = max(1, len(self.ks))
        warmup, decay = config.warmup_steps, config.decay_fraction
        self.schedule = Schedule(
            base=config.learning_rate or recipe.learning_rate,
            steps=config.steps,
            warmup_steps=(
                recipe.warmup_steps(config.steps // phases) if warmup is None else warmup
            ),
            decay_fraction=recipe.decay_fraction if decay is None else decay,
            phases=phases,
        )
        self.clip = config.gradient_clip or recipe.gradient_clip
        self.optimiser = self._optimiser(recipe)
        device, kind = self.parameters[0].device, type(sae).__name__
        self.log: StepLog | None = None
        """What steps left on the card; None where the host looks at every step."""
        if isinstance(self.optimiser, FusedAdam):
            self.log = StepLog(config.log_every, self.optimiser, keep_rows=not finite)
            self._graph = StepGraph(self._take, self._settings, self.parameters, kind)
        elif device.type != "cpu":
            note("training step", "eager", f"{kind} asks the host at every step here")
        self.last: dict[str, Any] = {}
        """Loss and gradient norm of the last step that was read."""

        self.n_massive = 0
        """Massive rows whose place a step gave to others."""

        self.dead_after = config.dead_after_tokens or DEAD_AFTER_BATCHES * rows
        n_atoms = sae.n_atoms if shard is None else shard.n_atoms
        self.dead = DeadAtoms(n_atoms, self.dead_after, device=device)
        self.best, self.plateau = BestState(sae), Plateau()
        self.history = History()

    def begin(self, x: Float[Tensor, "rows d_in"], seed: int) -> None:
        """Let the SAE look at its first rows, unless it was trained before."""
        if not bool(self.sae.initialised):
            generator = torch.Generator(device=self.parameters[0].device).manual_seed(seed)
            with torch.no_grad():
                (self.shard or self.sae).initialise(self.place(x), generator)
            self.team.share([*self.sae.parameters(), *self.sae.buffers()])

    def place(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch d_in"]:
        """Return rows where the parameters are, in their precision, fit for autograd."""
        like = self.parameters[0]
        if self.width is not None and x.shape[1] > self.width:
            x = x[:, : self.width]  # beside it lies what another SAE of this training reads
        placed = x.detach().to(device=like.device, dtype=like.dtype, non_blocking=True)
        placed = placed.clone() if placed.is_inference() else placed
        return SequenceRows.of(placed, x.lengths) if isinstance(x, SequenceRows) else placed

    def explain_out_of_memory(self, x: Float[Tensor, "batch d_in"]) -> AbstractContextManager[None]:
        """Report what would fit if a step runs out of memory: rows, their codes, gradients and moments."""
        item, numbers = x.element_size(), sum(p.numel() for p in self.parameters)
        to_come = 3 - (self.parameters[0].grad is not None) - 2 * bool(self.optimiser.state)
        k = getattr(self.sae, "k", None)
        entries = k if isinstance(k, int | float) else len(self.dead.mask) / 20
        row_bytes = item * (6 * x.shape[1] + int(8 * entries))
        return explain_out_of_memory(
            f"A training step of {type(self.sae).__name__}", x, row_bytes,
            "TrainConfig(batch_size={rows}) would.", besides=item * numbers * to_come,
        )  # fmt: skip

    def _optimiser(self, recipe: TrainingDefaults) -> torch.optim.Adam | FusedAdam:
        """Adam; by one kernel where no step asks the host anything."""
        how: dict[str, Any] = {
            "lr": self.schedule.base, "betas": recipe.betas, "eps": recipe.epsilon,
            "weight_decay": recipe.weight_decay,
        }  # fmt: skip
        if self.team.alone and self.shard is None and getattr(self.sae, "has_one_shape", False):
            return FusedAdam(self._groups(fused=True), most=self.clip, **how)
        # One pass over the parameters instead of ten.
        fused = all(p.is_floating_point() for p in self.parameters)
        return Adam(self._groups(), fused=fused, **how)

    def _groups(self, *, fused: bool = False) -> list[dict[str, Any]]:
        """Parameters by the share of the learning rate they take, those with all of it first.

        `fused`: and by what the fused Adam does with them; the rate lies on the card.
        """
        shares = self.sae.learning_rate_shares()
        on_sphere = {id(p) for p in self.sae.unit_rows()} if fused else set()
        halves = {id(p) for p in self._read_in_half()} if fused else set()
        groups: dict[tuple[object, ...], dict[str, Any]] = {}
        for p in sorted(self.parameters, key=lambda p: shares.get(p, 1.0) != 1.0):
            key = (shares.get(p, 1.0), id(p) in on_sphere, id(p) in halves)
            share, sphere, copy = key
            new: dict[str, Any] = {"params": [], "share": share}
            if fused:
                new |= {"sphere": sphere, "copy": copy, "lr": torch.zeros((), device=p.device)}
            groups.setdefault(key, new)["params"].append(p)
        return list(groups.values())

    def _read_in_half(self) -> list[torch.nn.Parameter]:
        """Matrices that products read in bf16. Atoms that are set anew would leave a copy behind."""
        way = self.sae._way_back
        if self.config.precision == "float32" or (way is not None and way.resamples):
            return []
        held = (
            self.sae.operator.atoms(),
            getattr(getattr(self.sae, "encoder", None), "weight", None),
        )
        return [p for p in self.parameters if any(p is one for one in held)]

    def step(
        self, x: Float[Tensor, "batch d_in"], number: int, *, rows: int, share: float
    ) -> Taken:
        """Take optimiser step `number`, counted from 0.

        `rows`: of the whole batch, of which x is a worker's `share`. What comes from the host is set here;
        the step itself (`_take`) is the same code on every device, and on a card a graph of it.
        """
        self.number = number
        self.enter(number)
        self.dead.begin(rows)
        rate = self.schedule(number)
        if self.log is None:
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["share"]
            return self._take(x, rows, share)
        for group in self.optimiser.param_groups:
            group["lr"].fill_(rate * group["share"])
        self.log.number.fill_(number + 1)
        self.log.unread += 1
        return self._graph(x)

    def _settings(self) -> tuple[object, ...]:
        """Numbers of the host that a step was captured with."""
        from sae_nb.kernels._triton_primitives import rooms

        sae = self.sae
        return (*(getattr(sae, name) for name in sae.live_numbers), self.clip, rooms())

    def _take(self, x: Float[Tensor, "batch d_in"], rows: int = 0, share: float = 1.0) -> Taken:
        if self.log is not None:
            x = self.log.ordinary(x)
        loss = self.loss(x)  # 2. its loss
        self.differentiate(loss, share)  # 3. the gradient
        norm = self.project_and_clip()  # 4. projected and clipped
        if self.log is None:
            self.read(loss, norm, x, share)
        else:
            self.log.add(loss, norm, x)
            loss = replace(loss, total=loss.total.detach())
        self.optimiser.step()  # 5. one step of Adam
        self.settle(loss, rows or len(x))  # 6. unit atoms, dead atoms
        return Taken(loss, norm, x)

    # The parts of a step, in their order

    def loss(self, x: Float[Tensor, "batch d_in"]) -> TrainingLoss:
        """Return loss of a batch at the step under way, with gradients cleared."""
        for parameter in self.parameters:
            parameter.grad = None
        fraction = self.number / self.schedule.steps
        if self.log is not None:
            fraction = self.log.fraction(self.schedule.steps)
        # A worker sees one row of `size`: atoms come up for resampling by what it sees.
        size = self.team.size
        dead = (self.dead.silent_tokens // size, max(1, self.dead.dead_after_tokens // size))
        try:
            return (self.shard or self.sae).training_loss(x, *dead, fraction)
        except torch.cuda.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:
            if max(float(p.detach().abs().max()) for p in self.parameters) < ABSURD:
                raise
            raise self._diverged("loss could not be computed", self.number, CAUSE) from error

    def differentiate(self, loss: TrainingLoss, share: float) -> None:
        """Set the gradients of the whole batch's loss."""
        total = loss.total if share == 1 else share * loss.total
        # nnsight makes a method `backward` of tensors that reads the source of whoever calls it, in any thread.
        torch.autograd.backward(total)
        self.team.sum_gradients(self.parameters)
        if self.shard is not None:
            self.shard.sum_gradients()

    def project_and_clip(self) -> Tensor:
        """Project and clip the gradients; return their global norm before clipping."""
        if isinstance(self.optimiser, FusedAdam):  # which does both as it moves them
            if not self.sae.unit_rows():
                self.sae.before_optimiser_step()
            return self.optimiser.norm()
        self.sae.before_optimiser_step()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if self.shard is None:
            norm = torch.nn.utils.get_total_norm(gradients)
        else:
            norm = self.shard.norm(self.parameters)
        # A factor of 1 changes nothing; only on a card would asking cost more than multiplying.
        short = norm.is_cpu and bool(norm + 1e-6 <= self.clip)
        if self.clip < math.inf and not short:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip, norm)
        return norm

    def read(self, loss: TrainingLoss, norm: Tensor, x: Tensor, share: float = 1.0) -> None:
        """Read loss and gradient norm; refuse one that is not finite while the weights are still good."""
        # The one host sync of a step.
        total = self.team.sum(share * loss.total.detach())
        value, length = torch.stack([total, norm]).tolist()
        if not (math.isfinite(value) and math.isfinite(length)):
            check_finite(x, name="data", where=f"Met at step {self.number + 1}.")
            terms = {name: float(part.detach()) for name, part in loss.parts.items()}
            raise self._not_finite(value, length, self.number, terms)
        self.last = {"loss": value, "gradient_norm": length}

    def catch_up(self, where: str = "") -> None:
        """Read what the steps since the last time left on a card; refuse one that was not finite.

        `where`: half a sentence for messages, of where rows come from.
        """
        if self.log is None or not self.log.unread:
            return
        from sae_nb.kernels._triton_primitives import make_room

        losses, norm, n_massive, (step, *wrong) = self.log.read()
        make_room()
        self.n_massive += n_massive
        if step:
            if self.log.rows is not None:
                check_finite(
                    self.log.rows,
                    name="data",
                    where=f"It is in the batch of step {step:.0f}. {where}".strip(),
                )
            terms = dict(zip(self.log.terms, wrong[2:], strict=True))
            raise self._not_finite(wrong[0], wrong[1], int(step) - 1, terms)
        for value in losses:
            self.best.see(value)
        self.last = {"loss": losses[-1], "gradient_norm": norm}

    def _not_finite(
        self, value: float, length: float, step: int, terms: dict[str, float]
    ) -> FloatingPointError:
        what, number = ("loss", value) if not math.isfinite(value) else ("gradient", length)
        return self._diverged(f"{what} is {number}", step, _cause(terms))

    def _diverged(self, what: str, step: int, cause: str) -> FloatingPointError:
        name = f"{type(self.sae).__name__}{f' number {self.index}' * (self.index > 0)}"
        return FloatingPointError(
            f"The loss and its gradient must stay finite, but the {what} at step {step + 1} for {name} "
            f"(learning rate {self.schedule(step):g}). The SAE keeps the weights of step {step}. {cause}"
        )

    def settle(self, loss: TrainingLoss, rows: int) -> None:
        """Finish a step: unit atoms again, dead atoms counted, the running loss."""
        if not self.team.alone:
            self.sae.to_resample = self.team.of_first(self.sae.to_resample, like=self.parameters[0])
            self.team.average(self.sae.buffers())
        if self.log is not None and self.sae.unit_rows():  # the optimiser has put them back
            self.sae.replace_resampled()
        else:
            self.sae.after_optimiser_step()
        self._forget_resampled()
        self.dead.count(self.team.sum(fire_counts(loss.codes, len(self.dead.mask))), rows)
        if self.log is None:
            self.best.see(self.last["loss"])

    @torch.no_grad()
    def _forget_resampled(self) -> None:
        """A resampled atom starts without Adam's memories of the one it replaces."""
        resampled = getattr(self.sae, "resampled", None)
        if resampled is None:
            return
        for parameter in self.sae.atom_parameters():
            state = self.optimiser.state.get(parameter, {})
            for name in ("exp_avg", "exp_avg_sq"):
                if name in state and resampled.dtype == torch.bool:
                    here = resampled.view(-1, *[1] * (state[name].ndim - 1))
                    state[name].masked_fill_(here, 0.0)
                elif name in state:
                    state[name].index_fill_(0, resampled, 0.0)

    @torch.no_grad()
    def record(self, taken: Taken, numbers: dict[str, Any], share: float = 1.0) -> TrainRecord:
        """Add a record of this step to the history; offer its weights as the best so far."""
        loss, _, x = taken
        target = self.sae.split(x)[1] if hasattr(self.sae, "split") else x
        mean = self.team.sum(share * target.mean(dim=0))
        residual = (target - loss.x_hat).square().sum()
        spread = (target - mean).square().sum()
        active = share * self._over_atoms((loss.codes.values.detach() != 0).sum()) / len(x)
        parts = {name: share * part.detach() for name, part in loss.parts.items()}
        sums = self.team.sum(
            torch.stack([s.float() for s in (residual, spread, active, *parts.values())])
        )
        dead = self._over_atoms(self.dead.mask.sum()).float() / self.sae.n_atoms
        lost, total, l0, *terms, dead_fraction = torch.cat([sums, dead[None]]).tolist()
        record = TrainRecord(
            **self.last,
            **numbers,
            steps=self.schedule.steps,
            parts=dict(zip(parts, terms, strict=True)),
            r2=1 - lost / total if total > 0 else math.nan,
            l0=l0,
            dead_fraction=dead_fraction,
            learning_rate=self.schedule(numbers["step"] - 1),
            sae=self.index,
        )
        self.history.append(record)
        self.best.offer(record.step)
        self.plateau.look(self.best.running_loss, record.step, self.schedule)
        return record

    def _over_atoms(self, number: Tensor) -> Tensor:
        """A sum over this worker's atoms as one over all."""
        return number if self.shard is None else self.shard.whole(number)

    # Numbers that may change between two steps; a k that grows

    def check(self, name: str, value: float) -> None:
        """Refuse a live number that does not exist or has an impossible value."""
        check_real(value, name=name)
        if name == "learning_rate":
            between(value, 0, math.inf, name=name, ends="()")
            return
        names = self._live_names()
        if name not in names:
            can = ", ".join(("learning_rate", *names))
            raise ValueError(
                f"`{name}` must be a number that {type(self.sae).__name__} can change in training "
                f"({can}). Choose one of these, or build a new SAE."
            )
        if name == "k" and isinstance(self.sae.k, float):
            check_average_k(value, self.sae.n_atoms)
        elif name == "k":
            check_k(value, self.sae.n_atoms)
        elif name == "l0":
            between(value, 0, self.sae.n_atoms, name="l0", ends="(]", high_name="n_atoms")
        else:
            between(value, 0, math.inf, name=name, ends="[)")

    def set(self, name: str, value: float) -> None:
        """Change a live number, checked, from the next step on."""
        self.check(name, value)
        if name == "learning_rate":
            self.schedule.base = value
        else:
            # A share stays a float when it is set to 1: a whole number could never be 0.5 again.
            setattr(self.sae, name, type(getattr(self.sae, name))(value))
            if hasattr(self, "best"):
                self._forget_losses()
        if hasattr(self, "plateau"):
            self.plateau.forget()

    def live(self) -> dict[str, float]:
        """Return every live number as it is now."""
        numbers: dict[str, float] = {"learning_rate": self.schedule.base}
        return numbers | {name: getattr(self.sae, name) for name in self._live_names()}

    def _live_names(self) -> tuple[str, ...]:
        """Return the numbers of the SAE that you may change; a k that grows is not one of them."""
        return tuple(name for name in self.sae.live_numbers if not (self.ks and name == GROWS))

    def _ks(self, *, grow: bool) -> list[float]:
        """Values of k along the training; none where it stays as it is."""
        if not grow:
            return []
        if GROWS not in self.sae.live_numbers:
            raise ValueError(
                f"`grow_k` needs an SAE whose k may change in training, which {type(self.sae).__name__} "
                "has not. Leave it out, or train a TopK, BatchTopK or MatchingPursuit."
            )
        ks = growing(getattr(self.sae, GROWS))
        if self.config.steps < len(ks):
            raise ValueError(
                f"`steps` must be at least {len(ks)} with grow_k=True, one for each k of {ks}, got "
                f"{self.config.steps}. Ask for more steps."
            )
        return ks

    def enter(self, step: int) -> None:
        """Give the SAE the k of a step; where k grows, what was known of losses and gradients is void."""
        if not self.ks:
            return
        setattr(self.sae, GROWS, self.ks[self.schedule.phase(step)])
        if step and self.schedule.begins(step):
            for moments in self.optimiser.state.values():
                for moment in moments.values():
                    moment.zero_()  # where they lie: a graph goes on reading them
            self._forget_losses()

    def _forget_losses(self) -> None:
        """Start the running loss over."""
        self.best.forget()
        if self.log is not None:
            self.log.unread = 0

    def leave(self) -> None:
        """Give the SAE its own k again, however far the training came."""
        if self.ks:
            setattr(self.sae, GROWS, self.ks[-1])

    # Its tensors: the atoms of one worker, and what a checkpoint holds

    @property
    def is_cut(self) -> bool:
        """Whether the SAE has this worker's atoms only."""
        return self.shard is not None and self.shard.is_cut

    def parts(self, moments: dict[str, Tensor] | None = None) -> dict[str, Part]:
        """Return the content of a checkpoint; `moments`: into which those of one are read."""
        if moments is None:
            moments = {
                f"{i}.{name}": value
                for i, parameter in enumerate(self.parameters)
                for name, value in self.optimiser.state[parameter].items()
            }
        held = {"sae": self.sae.state_dict(), "optimiser": moments, "dead": self.dead.state()}
        return {
            f"{group}.{self.index}.{name}": self._part(group, name, tensor)
            for group, tensors in held.items()
            for name, tensor in tensors.items()
        }

    def sae_parts(self) -> dict[str, Part]:
        """Return what the folder of the SAE holds."""
        held = self.sae.state_dict()
        return {name: self._part("sae", name, tensor) for name, tensor in held.items()}

    def _part(self, group: str, name: str, tensor: Tensor) -> Part:
        if self.shard is None or not self._is_part(group, name):
            return Part(tensor)
        return Part(tensor, self.shard.mine.start, self.sae.n_atoms)

    def take(self, read: dict[str, Part]) -> None:
        """Go on with what was read into `parts`."""
        groups = {
            group: {
                name.removeprefix(f"{group}.{self.index}."): part.tensor
                for name, part in read.items()
                if name.startswith(f"{group}.{self.index}.")
            }
            for group in ("sae", "optimiser", "dead")
        }
        self.sae.load_state_dict(groups["sae"])
        self.dead.load(groups["dead"])
        moments: dict[int, dict[str, Tensor]] = {}
        # Adam counts parameters group by group, files in the order of the SAE.
        in_order = (p for group in self.optimiser.param_groups for p in group["params"])
        place_of = {p: n for n, p in enumerate(in_order)}
        for key, moment in groups["optimiser"].items():
            index, name = key.split(".", 1)
            moments.setdefault(place_of[self.parameters[int(index)]], {})[name] = moment
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": moments})

    def room_for_moments(
        self, stored: dict[str, tuple[torch.dtype, list[int]]]
    ) -> dict[str, Tensor]:
        """Return tensors for what Adam knew, by the names of a checkpoint."""
        room, prefix = {}, f"optimiser.{self.index}."
        for full, (dtype, _) in stored.items():
            if full.startswith(prefix):
                key = full.removeprefix(prefix)
                index, name = key.split(".", 1)
                # In its parameter's layout: the fused step goes through memory, not through indices.
                like = torch.empty_like(self.parameters[int(index)], requires_grad=False)
                room[key] = torch.empty((), dtype=dtype) if name == "step" else like
        return room

    def _is_part(self, group: str, name: str) -> bool:
        """Whether this worker has a tensor's rows of its own atoms alone."""
        if self.shard is None or not self.is_cut:
            return False
        if group == "dead":
            return name in DeadAtoms.BY_ATOM
        own = set(self.shard.sae.atom_parameters())
        if group == "sae":
            return any(name == known and p in own for known, p in self.sae.named_parameters())
        index, moment = name.split(".", 1)
        return self.parameters[int(index)] in own and moment != "step"


def _cause(terms: dict[str, float]) -> str:
    """Return the most likely cause of an overflowing loss, by which of its terms overflowed."""
    listed = ", ".join(f"{name} {value:.3g}" for name, value in terms.items())
    bad = [name for name, value in terms.items() if not math.isfinite(value)]
    if bad and "reconstruction" not in bad:
        return f"Its terms are {listed}. Lower the weight of {bad[0]!r}."
    return f"Its terms are {listed}. {CAUSE}"


# -------------------------------------------------------------------------------------------------
# Learning-rate schedule: lr(t) = base · min(warm-up, 1, decay), linear at both ends.
#
# With W warm-up steps and decay over the last D of the T steps of a phase, step t = 0 … T − 1 has
# warm-up = (t + 1) / (W + 1) and decay = (T − t) / (D + 1): neither end is ever exactly 0, so no step
# is wasted.


# -------------------------------------------------------------------------------------------------
# The weights an interrupted training keeps: the last, unless it had diverged.
#
# The running loss is the bias-corrected exponential mean of the batch losses,
# m_t = β m_{t−1} + (1 − β) ℓ_t,  running_t = m_t / (1 − β^t),  β = 0.95.
# At records where it is within `PLATEAU` of the lowest so far, parameters and buffers are copied in
# memory (the later of two equals has seen more data). When a run is cut short with a running loss more
# than `TOLERANCE` above the lowest, the copy is put back. A run that reaches its last step keeps its
# last weights: the decay of the learning rate makes them the best.

BETA = 0.95
PLATEAU = 0.01
"""Share above the lowest running loss that counts as equal to it. Ours."""

TOLERANCE = 0.1
"""Share above the lowest running loss that still counts as noise of the batches. Ours."""


class BestState:
    """Running loss of one SAE and a copy of its weights where that was lowest."""

    def __init__(self, sae: SparseAutoencoder) -> None:
        self._sae = sae
        self._copy: dict[str, Tensor] = {}
        self.step: int | None = None
        self._lowest = math.inf
        self._mean, self._weight = 0.0, 0.0

    @property
    def running_loss(self) -> float:
        """Bias-corrected exponential mean of the losses seen."""
        return self._mean / self._weight if self._weight else math.inf

    @property
    def diverged(self) -> bool:
        """Whether the running loss has left its lowest by more than the tolerance."""
        return self.step is not None and self._is_above(TOLERANCE)

    def _is_above(self, share: float) -> bool:
        return self.running_loss - self._lowest > share * abs(self._lowest)

    def see(self, loss: float) -> None:
        """Take in the loss of one batch."""
        self._mean = BETA * self._mean + (1 - BETA) * loss
        self._weight = BETA * self._weight + (1 - BETA)

    def forget(self) -> None:
        """Start over: losses before and after a change of the objective do not compare."""
        self._mean, self._weight = 0.0, 0.0
        self._lowest, self.step = math.inf, None

    def mean_to_json(self) -> dict[str, float]:
        """Return the running loss as a checkpoint needs it to continue; the copy of the weights is not
        saved.
        """
        return {"mean": self._mean, "weight": self._weight}

    def load_mean(self, state: dict[str, float]) -> None:
        """Load the result of `mean_to_json`."""
        self._mean, self._weight = state["mean"], state["weight"]

    @torch.no_grad()
    def offer(self, step: int) -> None:
        """Copy the weights of `step` if the running loss is as low as it ever was."""
        if self.step is not None and self._is_above(PLATEAU):
            return
        self._lowest, self.step = min(self._lowest, self.running_loss), step
        for name, tensor in self._sae.state_dict().items():
            if name in self._copy:
                self._copy[name].copy_(tensor)
            else:
                self._copy[name] = tensor.clone()

    def restore(self) -> int:
        """Put the copied weights back and return their step."""
        if self.step is None:
            raise RuntimeError("There is no copy to restore. Call `offer` first.")
        self._sae.load_state_dict(self._copy)
        return self.step
