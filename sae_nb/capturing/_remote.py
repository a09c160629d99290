"""Read activations of a model that runs on nnsight's server: the trace body travels, this library does not.

So the body is plain nnsight, everything read is saved, and what follows (rows, stores) happens here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sae_nb.capturing._forward_pass import ForwardPass, Place, module_input, never_ran

if TYPE_CHECKING:
    from sae_nb.models import LiveModel, Remote


def run_remotely(model: LiveModel, pass_: ForwardPass) -> None:
    """Send one pass to where the model runs, and hand on what comes back."""
    from nnsight.intervention.interleaver import OutOfOrderError

    if model.interventions:
        raise ValueError(
            f"A remote capture must be without edits, got {len(model.interventions)}: they are "
            "functions of this process. Leave `steer` or `ablate`, or load the model without `remote`."
        )
    places = _in_order(model, pass_.places)
    batch = pass_.batch
    try:
        values = traced(model.given_nnsight, batch.args, batch.kwargs, places, model.remote)
    except OutOfOrderError as error:
        raise never_ran(pass_.left) from error
    for place, value in zip(places, values, strict=True):
        if place[1] == "input":
            args, kwargs = value
            pass_.see(place, module_input(args, kwargs, pass_.places[place][0][1]))
        else:
            pass_.see(place, value)


def traced(
    wrapper: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    places: Sequence[Place],
    remote: Remote,
) -> list[Any]:
    """What modules gave, or got as (args, kwargs), in one pass."""
    import nnsight

    with wrapper.trace(*args, remote=remote, **kwargs) as tracer:
        values = []
        for path, side in places:
            envoy = wrapper.get(path)
            values.append(envoy.inputs if side == "input" else envoy.output)
        nnsight.save(values)
        tracer.stop()
    return values


def _in_order(model: LiveModel, places: Mapping[Place, Any]) -> list[Place]:
    """Places as a forward pass reaches them: a trace must read them so."""
    standard = [(point.path, point.side) for point in model.hook_points()]
    modules = [path for path, _ in model.module.named_modules()]

    def rank(place: Place) -> tuple[int, float]:
        if place in standard:
            return standard.index(place), 0
        # A module of the user's own runs inside the block that holds it.
        path, side = place
        block = [i for i, (known, _) in enumerate(standard) if path.startswith(f"{known}.")]
        return (min(block) if block else 0), modules.index(path) + (side == "output") / 2

    return sorted(places, key=rank)
