"""Change a live model while it runs: add, set, scale or remove atoms, or put something else in place.

`steer` adds a·d_j to the activation (or moves the latent z_j, error kept); `ablate` sets z_j = 0;
`splice` replaces x by edit(x). All are context managers that nest in order and undo themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations._hook_point_check import warn_of_place
from sae_nb.activations._positions import PositionPolicy
from sae_nb.checks import Count, Seed, check_callable, checked, warn_caller
from sae_nb.models._interventions import Backend, take_out
from sae_nb.models._stored_edits import check_travels
from sae_nb.steering._multi_site import named, splices
from sae_nb.steering._request import (
    Edit,
    Step,
    check_amounts,
    check_hook_point,
    check_width,
    first_look,
    named_step,
    policy_for,
    request_curve,
    request_steering,
    tap_of,
)
from sae_nb.steering.edits import Change, MaskedEdit, Positions, Steps, Where, replacing
from sae_nb.steering.modes import Mode, Unit

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.codes import SparseCodes
    from sae_nb.geometry import Curve
    from sae_nb.models import LiveModel
    from sae_nb.steering._request import Opens, Pointing

Asked = ParamSpec("Asked")
Given = TypeVar("Given")


class Active:
    """An edit that is in force inside a `with` block; its recipe's facts can be read off it too."""

    recipe: Any
    """The edit; it can be taken elsewhere, for example by `recipe.to_hooks(module)`."""

    def __init__(self, model: LiveModel, recipe: Edit, backend: Backend = "nnsight") -> None:
        self._model, self.recipe, self._edit = model, recipe, recipe.edit
        self._n_calls = model.editing.n_calls
        self._entries: list[object] = []
        """One for the block, and one for each call that it decorates and that has not ended."""

        self._interventions = recipe.interventions(backend)
        for intervention in self._interventions:
            check_travels(model, intervention)

    def __getattr__(self, name: str) -> Any:
        """Look up attributes of the recipe, and counts of its edit."""
        if name.startswith("_") or name == "recipe":
            raise AttributeError(name)
        for part in (self.recipe, self._edit):
            if hasattr(part, name):
                return getattr(part, name)
        raise AttributeError(
            f"An edit has no {name!r}. It is in force inside a block: `with sn.steer(…): "
            "model.generate(prompt)`.",
            name=name,
        )

    def __repr__(self) -> str:
        edit = f"{type(self.recipe).__name__} at {self.recipe.hook_point} of {self._model.name}"
        policy = self._edit.positions.chosen
        if isinstance(policy, PositionPolicy):
            edit += f", {policy.left_out()} left out (stated by {policy.source})"
        if any(own is one for own in self._interventions for one in self._model.interventions):
            return f"Active({edit}, in force)"
        return f"Active({edit}, not in force: write `with … :` before it, or `@…` above a function)"

    def __call__(self, function: Callable[Asked, Given]) -> Callable[Asked, Given]:
        """Return a function that runs with the edit in force: the edit as a decorator."""
        check_callable(function, name="function")

        @wraps(function)
        def edited(*args: Asked.args, **kwargs: Asked.kwargs) -> Given:
            entry = object()
            try:
                self._put_in(
                    entry
                )  # a call inside of a call, or beside it, finds the edit in force
                made = function(*args, **kwargs)
            finally:
                self._leave(entry)
            self.warn_of_idleness()
            return made

        return edited

    def __enter__(self) -> Active:
        """Put the edit in force, after those that already are."""
        block = object()
        try:
            with self._model.lock:
                if self._entries:
                    raise RuntimeError(
                        f"An edit must be entered once at a time, and this one, at {self.recipe.hook_point}, "
                        "is in force already. Make a second one to change the model twice."
                    )
                self._block = block
                self._put_in(block)
            return self
        except BaseException:
            self._leave(block)
            raise

    def _put_in(self, entry: object) -> None:
        with self._model.lock:
            if not self._entries:
                self._model.interventions.extend(self._interventions)
                self._n_calls = self._model.editing.n_calls
            self._entries.append(entry)
            self._model.editing.hold(entry)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take this very edit out again, whatever happened inside."""
        try:
            self._leave(self._block)
        except BaseException:  # Ctrl-C in the midst of it
            self._leave(self._block)
            raise
        if kind is None:
            self.warn_of_idleness()

    def _leave(self, entry: object) -> None:
        """Take out what an entry put in; whatever was done of it before is not done twice."""
        with self._model.lock:
            if entry in self._entries:
                self._entries.remove(entry)
            for own in () if self._entries else self._interventions:
                take_out(self._model.interventions, own, 0)
            self._model.editing.release(entry)

    def warn_of_idleness(self) -> None:
        """Warn that nothing was changed, if the model ran and nothing was."""
        if self._edit.n_touched:
            return
        where = f'Nothing was changed at "{self.recipe.hook_point}"'
        if self._edit.n_chosen:
            reason = (
                f"its gate, {self.recipe.where}, never opened at the {self._edit.n_chosen} positions it was "
                "asked about. Lower its threshold, or look at other inputs."
            )
        elif self._edit.n_runs:
            reason = "no position of the inputs was among `positions` and `steps`."
        elif self._model.editing.n_calls > self._n_calls:
            reason = "its module did not run when the model did."
        else:
            return
        warn_caller(f"{where}: {reason}")


@checked
def steer(
    model: LiveModel,
    hook_point: str,
    sae: SparseAutoencoder | None = None,
    atom: int | Sequence[int] | None = None,
    by: float | Sequence[float] | None = None,
    *,
    direction: Float[Tensor, " d_in"] | Pointing | None = None,
    where: Opens | tuple[Opens, float] | None = None,
    curve: Curve | None = None,
    to: float | None = None,
    mode: Mode = "add",
    unit: Unit = "coefficient",
    acts: Activations | Tensor | SparseCodes | Sequence[Any] | None = None,
    positions: Where = None,
    steps: Steps = "all",
    step: Step = None,
    keep_error: bool = True,
    site: int | None = None,
    backend: Backend = "nnsight",
) -> Active:
    """Make a live model run with atoms stronger, weaker or fixed, inside a `with` block.

    "add": x + Σ_j by_j·d_j / ‖d_j‖. "set": the latent becomes z'_j = by_j; "scale": z'_j = by_j·z_j; "cap":
    z'_j = min(z_j, by_j); "floor": z'_j = max(z_j, by_j); all give x + Σ_j (z'_j − z_j)·d_j. Without the
    error term, x becomes decode(z').

    `with … as steering` gives `steering.recipe`, the record of what is done, whose fields can be read off
    `steering` too; `steering.recipe.to_nnsight(model.nnsight)`, `.to_hooks(module)`, `.to_vectors(path)` and
    `.to_lm_eval(path)` take the edit elsewhere. Whatever runs the module inside the block is edited, once.
    Contexts nest, and a later one sees what an earlier one made. Other threads that run the same model are
    steered too: hold `model.lock` around the block where that matters.

    Parameters
    ----------
    sae, atom
        One atom, or several; the SAE's width must fit. Not needed with `direction`.
    by
        Amount in `unit`s, for "scale" a factor; one number for all atoms or one each. A `direction` is
        added once unless stated otherwise.
    direction
        A vector of your own instead of an atom, used as it is, such as `random_direction(d_in, seed)`; the
        modes but "add" then act on its coefficient ⟨x, d⟩ / ⟨d, d⟩. Or a `Direction` of this hook point.
    where
        Act only where an atom of `sae` fires, or where ⟨x, v⟩ of a `Direction` is above its `middle`; a pair
        (atom or direction, threshold) names another threshold. None: at all `positions`.
    curve, to
        A curve from `sn.geometry.curve`: each position moves from the curve's nearest point along it to the
        coordinate `to`, or `by` from where it is, and keeps what is off the curve.
    unit, acts
        "p99" multiplies `by` by the atom's 99th percentile of non-zero strengths on these activations
        or codes; by default it is `sae.strength_p99`. Of several sites, activations of each in a list.
    positions
        None or "all". Integers (negative from the end of the prompt), "last", "not_first", "cls", "registers",
        "patches", or a boolean mask, of a sample's own tokens, as `acts.position`. Of conversations
        "assistant", "user", "system", "tool": the tokens by their author, as in `acts.roles`.
    steps
        "all"; "prompt": only the prompt's tokens; "new": only generated ones.
    step
        Of a module that runs several times in one pass, the applications, from 0, or "last"; None: every one
        that `hook_point` means ("path@2" is one).
    keep_error
        Keep x − x̂, so that the edit is all that changes.
    site
        Of a dictionary of several sites: which of them, by its place in `widths`; None finds it by its hook
        point and model. A Crosscoder takes "set" and "scale" only where its other sites come earlier.
    backend
        "nnsight": `model(…)` and `model.generate(…)` run as nnsight traces, with every active edit
        written in them. "hooks": the edit sits in the module; the same numbers, to 1e-6.

    Raises
    ------
    HookPointNotFound: If there is no such hook point.
    ValueError: In the block: if the edit depends on positions and a call of the module does not tell them.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> from torch import nn
    >>> model = sn.wrap(nn.Sequential(nn.Identity(), nn.Linear(4, 2, bias=False)))
    >>> east = torch.tensor([1.0, 0.0, 0.0, 0.0])
    >>> with sn.steer(model, "0", direction=east, by=3.0) as steering:
    ...     steered = model(torch.zeros(1, 4))
    >>> torch.equal(steered[0], 3.0 * model.module[1].weight[:, 0]), steering.mode
    (True, 'add')
    """
    if curve is not None:
        others = {"sae": sae, "atom": atom, "direction": direction, "where": where}
        distance = None if by is None else check_amounts(by, 1)[0]
        moved = request_curve(
            model,
            hook_point,
            curve,
            to,
            distance,
            others=others,
            positions=positions,
            steps=steps,
            step=step,
        )
        return Active(model, moved, backend)
    if to is not None:
        raise ValueError(f"`to` is a place on a `curve`, got {to:g} without one. Pass curve=.")
    recipe = request_steering(
        model,
        hook_point,
        sae,
        atom,
        by,
        direction=direction,
        mode=mode,
        unit=unit,
        acts=acts,
        gate=where,
        positions=positions,
        steps=steps,
        step=step,
        keep_error=keep_error,
        site=site,
    )
    return Active(model, recipe, backend)


@checked
def ablate(
    model: LiveModel,
    hook_point: str,
    sae: SparseAutoencoder | None = None,
    atom: int | Sequence[int] | None = None,
    *,
    direction: Float[Tensor, " d_in"] | Pointing | None = None,
    positions: Where = None,
    steps: Steps = "all",
    step: Step = None,
    keep_error: bool = True,
    site: int | None = None,
    backend: Backend = "nnsight",
) -> Active:
    """Make a live model run without some atoms: x − Σ_j z_j·d_j, inside a `with` block.

    The same as `steer(…, mode="set", by=0.0)`, with its parameters; with `direction`,
    x − ⟨x, d⟩ d / ⟨d, d⟩.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
    >>> with sn.ablate(model, "0", direction=torch.tensor([0.0, 2.0])):
    ...     model(torch.tensor([[5.0, 7.0]]))
    tensor([[5., 0.]])
    """
    recipe = request_steering(
        model,
        hook_point,
        sae,
        atom,
        0.0,
        direction=direction,
        mode="set",
        positions=positions,
        steps=steps,
        step=step,
        keep_error=keep_error,
        site=site,
        asked="ablate",
    )
    return Active(model, recipe, backend)


@checked
def splice(
    model: LiveModel,
    hook_point: str | Sequence[str],
    edit: Change,
    positions: Where = None,
    *,
    keep: Where = None,
    keep_error: bool = False,
    steps: Steps = "all",
    step: Step = None,
    backend: Backend = "nnsight",
) -> Active:
    """Make a live model run with x replaced by edit(x), inside a `with` block.

    An SAE is itself such an edit: `splice(model, hook_point, sae)` runs on reconstructions. A transcoder takes
    the place of its layer, `splice(model, "mlp_out.3", transcoder)`, from what passes at its `hook_point`; a
    CrossLayerTranscoder that of all its layers, `splice(model, c.target_hook_point, c)`.
    `with … as splicing` gives `splicing.n_touched`, the positions replaced, and `splicing.recipe`.

    Parameters
    ----------
    hook_point
        A name; or several, in the order in which the model reaches them, in a list or joined by " + ".
        `edit` then gets them side by side, zero where the model has not been yet.
    edit
        From activations (batch, time, d_in) to others of that shape; not asked about padding.
    positions
        Positions that are replaced, as in `steer`, "all", or a `PositionPolicy`; the others pass through
        untouched. None: of an SAE those that it was trained on, `sae.position_policy`; of a function, all.
    keep
        An older name of `positions`.
    keep_error
        Add x − edit(x) as a constant: the model's answer stays, and gradients go through `edit` alone.
    steps, step, backend
        As in `steer`.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
    >>> with sn.splice(model, "0", torch.zeros_like):
    ...     model(torch.ones(1, 2))
    tensor([[0., 0.]])
    """
    if not callable(edit):
        raise TypeError(
            f"`edit` must be a function of activations, such as an SAE, got {type(edit).__name__}."
        )
    if _n_needed(edit) > 1:
        raise TypeError(
            "`edit` must be a function of the activations alone, got one that needs "
            f"{_n_needed(edit)} arguments. A hook of TransformerLens, lambda x, hook: …, is lambda x: … here, "
            "in `with sn.splice(…):`."
        )
    if keep is not None and positions is not None:
        raise TypeError("`keep` is an older name of `positions`; got both. Leave `keep` out.")
    positions, names = keep if positions is None else positions, named(hook_point)
    sae = getattr(edit, "__self__", edit)  # whose method it is, such as `sae.forward`
    if positions is None and hasattr(sae, "dictionary"):
        positions = policy_for(model, sae)
    where = Positions(positions, steps=steps, prefix_tokens=model.prefix_tokens)
    if len(names) > 1 and step is not None:
        raise ValueError(
            f"`step` must be None with several hook points, got {step!r}. Name the applications in them, such "
            'as "path@2".'
        )
    if len(names) > 1:
        return Active(model, splices(model, names, edit, where, keep_error=keep_error), backend)
    point = check_hook_point(model, names[0], step)
    width = getattr(edit, "d_out", getattr(edit, "d_in", None))
    if width is not None:
        check_width(model, point, width, "the SAE")
        warn_of_place(edit, point)
    change = replacing(edit, keep_error=keep_error)
    look = first_look(model, point, edit)
    masked = MaskedEdit(where, change, tap_of(model, point, edit), at=point, look=look)
    return Active(model, Edit(hook_point=point, step=named_step(point), edit=masked), backend)


def _n_needed(edit: Change) -> int:
    """Return how many arguments by place a function cannot do without; 1 where that is not known."""
    try:
        parameters = inspect.signature(edit).parameters.values()
    except (TypeError, ValueError):
        return 1
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in by_place and p.default is p.empty for p in parameters)


@checked
def random_direction(d_in: Count, seed: Seed) -> Float[Tensor, " d_in"]:
    """Return a unit vector drawn evenly from the sphere: the control of every steering effect.

    Example
    -------
    >>> round(float(random_direction(64, seed=0).norm()), 6)
    1.0
    """
    draw = torch.randn(d_in, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (draw / draw.norm()).float()
