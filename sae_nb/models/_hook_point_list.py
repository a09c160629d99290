"""The hook points of a model as a list that is short when printed and a tree in a notebook."""

from __future__ import annotations

from html import escape
from itertools import groupby

from sae_nb.models._hook_points import HookPoint

_MOST_NAMES = 12


class HookPoints(list[HookPoint]):
    """Hook points in the order a forward pass reaches them; a list of their names."""

    def __repr__(self) -> str:
        if len(self) <= _MOST_NAMES:
            return super().__repr__()
        kinds: dict[str, list[HookPoint]] = {}
        for point in self:
            kinds.setdefault(point.kind, []).append(point)
        names = [
            f"{points[0]} … {points[-1]}" if len(points) > 1 else str(points[0])
            for points in kinds.values()
        ]
        if len(names) > _MOST_NAMES:
            names = [*names[: _MOST_NAMES - 2], "…", *names[-2:]]
        return f"{len(self)} hook points: {', '.join(names)}"

    def _repr_html_(self) -> str:
        branches = []
        for layer, group in groupby(self, key=lambda point: point.layer):
            points = list(group)
            leaves = "".join(map(_leaf, points))
            title = f"block {layer}: {escape(points[0])} … {escape(points[-1])}"
            branches.append(
                leaves
                if layer is None
                else f"<li><details><summary>{title}</summary><ul>{leaves}</ul></details></li>"
            )
        return f"<ul>{''.join(branches)}</ul>"


def _leaf(point: HookPoint) -> str:
    readable = "" if point.writable else ", to be read only"
    path = escape(point.path) or "the model"
    return f"<li><code>{escape(point)}</code> ({point.side} of {path}{readable})</li>"
