"""Atoms that behave alike over a family of prompts that differ in a few words.

An atom's profile are its strengths z (prompts × positions). Its role is where it is strongest in most
prompts: at a position where the prompts differ (semantic), at the last one (say), or at a word that all of
them share (relationship). Atoms of one position, or of one word that they raise at the last, are a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations.tokens import token_texts
from sae_nb.atoms import effects_of
from sae_nb.capturing import capture
from sae_nb.checks import Between, Seed, checked, shown
from sae_nb.circuits import dictionaries_by_place
from sae_nb.findings import Finding

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.circuits import AttributionGraph
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel

ROLES = ("semantic", "relationship", "say")
WAYS = ("behaviour", "direction", "layer", "random")
"""Of making groups, each of as many groups; layers are as many as there are."""

N_RANDOM = 20
"""Draws of random groups, of which the mean is shown."""

SHOWN = 5
"""Atoms of a group that its row names."""


class PromptGroups(Finding):
    """Atoms that behave alike over prompts, judged on others; made by `probe_prompts`."""

    atoms: DataFrame
    """A row per atom: place, atom, role, position (where it is strongest in most prompts), steady (the share
    of the prompts that it fires on in which it is), group (a name; "" for an atom alone), strength (mean of
    its largest in a prompt)."""

    comparison: DataFrame
    """A row per way of making groups (behaviour, direction, layer, random), over the held-out prompts:
    consistency, similarity, transfer, and the number of groups."""

    prompts: tuple[str, ...]
    held_out: tuple[str, ...]

    @property
    def groups(self) -> DataFrame:
        """A row per group, the largest first: group, role, position, n_atoms, strongest (some of its atoms)."""
        import pandas as pd

        rows = [
            {
                "group": name,
                "role": of.role.iloc[0],
                "position": int(of.position.iloc[0]),
                "n_atoms": len(of),
                "strongest": ", ".join(
                    _some(of.sort_values("strength", ascending=False, kind="stable"))
                ),
            }
            for name, of in self.atoms[self.atoms.group != ""].groupby("group", sort=False)
        ]
        columns = ["group", "role", "position", "n_atoms", "strongest"]
        table = pd.DataFrame(rows, columns=columns)
        order = np.argsort(-table.n_atoms.to_numpy(int), kind="stable")
        return table.iloc[order].reset_index(drop=True)

    @property
    def headline(self) -> str:
        """Atoms and groups, and how well groups carry over."""
        one = self.comparison.set_index("way")
        groups = self.groups.group.tolist()
        named = "; ".join(groups[:3]) + ("; …" if len(groups) > 3 else "")
        return (
            f"{len(self.atoms)} atoms, {len(groups)} groups: {named} | transfer "
            f"{one.transfer['behaviour']:.2f}, by direction {one.transfer['direction']:.2f}, random "
            f"{one.transfer['random']:.2f}"
        )


@checked(leave=("transcoders", "prompts", "held_out"))
def probe_prompts(
    model: LiveModel,
    transcoders: Any,
    prompts: Sequence[str],
    *,
    held_out: Sequence[str] | None = None,
    graph: AttributionGraph | None = None,
    min_share: Annotated[float, Between(0, 1, "(]")] = 0.5,
    seed: Seed = 0,
    lens: Lens | None = None,
) -> PromptGroups:
    """Group atoms by what they do over a family of prompts, and try the groups on prompts of other words.

    Three numbers are taken on the held-out prompts. Consistency: the share of a group's atoms that are
    strongest where most of them are. Similarity: the mean cosine between profiles of two of its atoms.
    Transfer: the share that is strongest where the group was in `prompts`. The same numbers are given
    for clusters of the atoms' directions, for layers, and for groups of the same sizes drawn at random.

    Parameters
    ----------
    transcoders
        As in `attribution_graph`: dictionaries of different places.
    prompts
        At least 3 texts that differ in some words, each of as many tokens.
    held_out
        Others of the same family, with other words, of as many tokens. None: every second of `prompts`.
    graph
        Only the atoms of this graph (prune it first). None: all that fire often enough.
    min_share
        Of the prompts that an atom has to fire on, from 0 to 1.
    seed
        Of the random groups.
    lens
        A lens of the model, by which groups at the last token are named after the token they raise: "say
        “garden”". None: by the direct path alone, which the name then states.

    Raises
    ------
    ValueError, TypeError: If the prompts are of different lengths, too few or all the same, or no atom fires.

    Source
    ------
    After "Automated Circuit Interpretation via Probe Prompting" (2025), of which we had the abstract: the kinds
    of group are its own; the rules above, and that groups are judged on other prompts, are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> transcoders = [sn.load_sae(f"tiny-gpt/mlp.{layer}") for layer in range(gpt.n_layers)]
    >>> names = ("Tom", "Ben", "Max", "Jack", "Rose")
    >>> prompts = [f"One day {name} went to the" for name in names]
    >>> found = probe_prompts(gpt, transcoders, prompts)
    >>> sorted(set(found.atoms.role) - {"semantic", "relationship", "say"})
    []
    """
    rng = np.random.default_rng(seed)
    first, second = _families(prompts, held_out)
    saes = dictionaries_by_place(model, transcoders)
    ids = _token_ids(model, [*first, *second])
    profiles = _profiles(model, saes, [*first, *second], len(ids[0]), graph, min_share, len(first))
    varies = (ids != ids[:1]).any(axis=0)
    words = _words(model, ids[0])
    train, test = profiles.split(len(first))
    position, steady = _usual_peaks(train.strength)
    roles = _roles(position, varies)
    names = _group_names(model, saes, profiles, position, roles, words, lens)
    directions = np.stack([profiles.direction(saes, i) for i in range(len(profiles.atom))])
    labels = {"behaviour": names, "layer": profiles.place}
    labels["direction"] = _clusters(directions, len(set(names) - {""}))
    return PromptGroups(
        atoms=_table(profiles, train.strength, position, steady, roles, names),
        comparison=_comparison(labels, train.strength, test.strength, rng),
        prompts=tuple(first),
        held_out=tuple(second),
    )


# -------------------------------------------------------------------------------------------------
# The prompts, and what atoms do on them.


@dataclass(frozen=True, kw_only=True, eq=False)
class _Profiles:
    """Strengths of the atoms that are grouped."""

    place: list[str]
    atom: Int[np.ndarray, " n"]
    strength: Float[np.ndarray, "n prompts time"]

    def split(self, n_first: int) -> tuple[_Profiles, _Profiles]:
        """Return the prompts that groups are made from, and the others."""
        halves = self.strength[:, :n_first], self.strength[:, n_first:]
        one, other = (_Profiles(place=self.place, atom=self.atom, strength=half) for half in halves)
        return one, other

    def direction(self, saes: dict[str, SparseAutoencoder], i: int) -> Float[np.ndarray, " d_out"]:
        """Return what the i-th atom writes, at unit length."""
        row = saes[self.place[i]].dictionary[int(self.atom[i])].detach().float().cpu()
        return torch.nn.functional.normalize(row, dim=0).numpy()


def _families(
    prompts: Sequence[str], held_out: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """The prompts that make the groups, and those that judge them."""
    first = _texts(prompts, "prompts")
    second = first[1::2] if held_out is None else _texts(held_out, "held_out")
    n = len(first)
    if held_out is None:
        first = first[::2]
    if len(first) < 2 or not second:
        raise ValueError(
            f"`prompts` must be at least 3 texts, or 2 with `held_out` ones, got {n}. Write the same "
            "sentence with other names."
        )
    return first, second


def _texts(given: Any, name: str) -> list[str]:
    texts = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else None
    if texts is None or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"`{name}` must be a list of texts, got {shown(given)}.")
    return texts


def _token_ids(model: LiveModel, texts: list[str]) -> Int[np.ndarray, "prompts time"]:
    rows = [model.tokens(text)["id"].to_numpy() for text in texts]
    lengths = [len(row) for row in rows]
    if len(set(lengths)) > 1:
        odd = next(i for i, n in enumerate(lengths) if n != lengths[0])
        raise ValueError(
            f"Prompts must all have the same number of tokens, got {lengths[0]} in {texts[0]!r} and "
            f"{lengths[odd]} in {texts[odd]!r}. Change words to others of the same length: see "
            "model.tokens(text)."
        )
    ids = np.stack(rows)
    if (ids == ids[:1]).all():
        raise ValueError("Prompts must differ in some words, and all of them are the same.")
    return ids


def _words(model: LiveModel, ids: Int[np.ndarray, " time"]) -> list[str]:
    return token_texts(model.tokenizer, ids.tolist())


def _profiles(
    model: LiveModel,
    saes: dict[str, SparseAutoencoder],
    texts: list[str],
    time: int,
    graph: AttributionGraph | None,
    min_share: float,
    n_first: int,
) -> _Profiles:
    """Of every atom that fires on enough of the first prompts; dense in those alone."""
    reads = {
        place: str(model.hook_point(str(sae.hook_point or place))) for place, sae in saes.items()
    }
    acts = capture(model, texts, sorted(set(reads.values())), progress=False)
    places: list[str] = []
    atoms, strengths = [], []
    for place, sae in saes.items():
        rows = acts[reads[place]]
        at = torch.as_tensor(rows.sample).long() * time + torch.as_tensor(rows.position).long()
        with torch.no_grad():
            codes = sae.encode(rows.x)
        keep = _chosen(codes.atoms, graph, place)
        found, dense = _dense(
            codes.atoms[keep], at[codes.support.rows][keep], codes.values[keep], len(texts) * time
        )
        profile = dense.reshape(len(found), len(texts), time)
        often = (profile[:, :n_first].max(axis=2) > 0).mean(axis=1) >= min_share
        places += [place] * int(often.sum())
        atoms.append(found[often])
        strengths.append(profile[often])
    atom = np.concatenate(atoms)
    if not len(atom):
        raise ValueError(
            f"At least one atom must fire on {min_share:.0%} of the prompts, and none does. Lower "
            "`min_share`, or pass other transcoders or a graph that is pruned less."
        )
    return _Profiles(place=places, atom=atom, strength=np.concatenate(strengths))


def _chosen(
    atoms: Int[Tensor, " entries"],
    graph: AttributionGraph | None,
    place: str,
) -> Bool[Tensor, " entries"]:
    """Entries of the atoms that are asked about."""
    if graph is None:
        return torch.ones_like(atoms, dtype=torch.bool)
    nodes = graph.nodes
    of_place = nodes[(nodes.kind == "atom") & (nodes.place == place)].atom.unique()
    return torch.isin(atoms.long(), torch.as_tensor(of_place).long())


def _dense(
    atoms: Int[Tensor, " entries"],
    at: Int[Tensor, " entries"],
    values: Float[Tensor, " entries"],
    n: int,
) -> tuple[Int[np.ndarray, " found"], Float[np.ndarray, "found n"]]:
    """The atoms that fire at all, and their strengths at every position of every prompt."""
    found, row = torch.unique(atoms.long(), return_inverse=True)
    dense = torch.zeros(len(found), n)
    dense.index_put_((row, at), values.float().clamp(min=0), accumulate=True)
    return found.numpy(), dense.numpy()


# -------------------------------------------------------------------------------------------------
# Groups.


def _usual_peaks(
    strength: Float[np.ndarray, "n prompts time"],
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Where each atom is strongest in most of the prompts that it fires on, and in how many of those."""
    counts = _peak_counts(strength)
    return counts.argmax(axis=1), counts.max(axis=1) / np.maximum(counts.sum(axis=1), 1)


def _peak_counts(strength: Float[np.ndarray, "n prompts time"]) -> Int[np.ndarray, "n time"]:
    """In how many prompts each atom is strongest at each position."""
    n, _, time = strength.shape
    fires = strength.max(axis=2) > 0
    counts = np.zeros((n, time), int)
    rows, prompt = np.nonzero(fires)
    np.add.at(counts, (rows, strength[rows, prompt].argmax(axis=1)), 1)
    return counts


def _roles(position: Int[np.ndarray, " n"], varies: Bool[np.ndarray, " time"]) -> list[str]:
    last = len(varies) - 1
    return [
        "semantic" if varies[p] else "say" if p == last else "relationship"
        for p in position.tolist()
    ]


def _group_names(
    model: LiveModel,
    saes: dict[str, SparseAutoencoder],
    profiles: _Profiles,
    position: Int[np.ndarray, " n"],
    roles: list[str],
    words: list[str],
    lens: Lens | None,
) -> list[str]:
    """One name for atoms that belong together; "" for an atom that is alone."""
    names = []
    for i, role in enumerate(roles):
        if role == "say":
            sae = saes[profiles.place[i]]
            place = getattr(sae, "target_hook_point", None) or sae.hook_point
            direction = torch.from_numpy(profiles.direction(saes, i))
            found = effects_of(
                model, direction, lens=lens, hook_point=None if place is None else str(place), n=1
            )
            how = f" ({found.by})" if found.is_direct else ""
            names.append(f"say “{found.up[0][0].strip()}”{how}" if found.up else "say")
        elif role == "semantic":
            names.append(f"words in place of “{words[position[i]].strip()}”, {position[i]}")
        else:
            names.append(f"at “{words[position[i]].strip()}”, {position[i]}")
    return [name if names.count(name) > 1 else "" for name in names]


def _clusters(directions: Float[np.ndarray, "n d_out"], n_groups: int) -> list[str]:
    """As many clusters of the atoms' directions, by average linkage of their cosines."""
    from sklearn.cluster import AgglomerativeClustering

    n = min(max(n_groups, 1), len(directions))
    if len(directions) < 2:
        return ["0"] * len(directions)
    made = AgglomerativeClustering(n_clusters=n, metric="cosine", linkage="average")
    return [str(label) for label in made.fit_predict(directions)]


def _table(
    profiles: _Profiles,
    strength: Float[np.ndarray, "n prompts time"],
    position: Int[np.ndarray, " n"],
    steady: Float[np.ndarray, " n"],
    roles: list[str],
    names: list[str],
) -> DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "place": profiles.place,
            "atom": profiles.atom,
            "role": roles,
            "position": position,
            "steady": steady,
            "group": names,
            "strength": strength.max(axis=2).mean(axis=1),
        }
    )


def _some(of: DataFrame) -> list[str]:
    """The first atoms of a table, by place and number."""
    names = [f"{place} {j}" for place, j in zip(of.place[:SHOWN], of.atom[:SHOWN], strict=True)]
    return names + ["…"] * (len(of) > SHOWN)


# -------------------------------------------------------------------------------------------------
# The groups on other prompts.


def _comparison(
    labels: dict[str, list[str]],
    train: Float[np.ndarray, "n prompts time"],
    test: Float[np.ndarray, "n held_out time"],
    rng: np.random.Generator,
) -> DataFrame:
    """Every way of making groups, in the same three numbers."""
    import pandas as pd

    counts = _peak_counts(train), _peak_counts(test)
    flat = test.reshape(len(test), -1)
    unit = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    found = {way: _judged(_members(labels[way]), counts, unit) for way in WAYS[:-1]}
    drawn = [
        _judged(_members(rng.permutation(labels["behaviour"]).tolist()), counts, unit)
        for _ in range(N_RANDOM)
    ]
    found["random"] = tuple(np.nanmean(drawn, axis=0)) if np.isfinite(drawn).any() else drawn[0]
    columns = ["consistency", "similarity", "transfer", "n_groups"]
    table = pd.DataFrame([found[way] for way in WAYS], columns=columns)
    table.insert(0, "way", WAYS)
    return table


def _members(labels: list[str]) -> list[Int[np.ndarray, " members"]]:
    """The atoms of every group of two or more."""
    of = np.array(labels)
    groups = (np.flatnonzero(of == name) for name in dict.fromkeys(labels) if name)
    return [group for group in groups if len(group) > 1]


def _judged(
    groups: list[Int[np.ndarray, " members"]],
    counts: tuple[Int[np.ndarray, "n time"], Int[np.ndarray, "n time"]],
    unit: Float[np.ndarray, "n held_out_time"],
) -> tuple[float, float, float, float]:
    """Means over groups, each as much as it has atoms."""
    if not groups:
        return (float("nan"), float("nan"), float("nan"), 0.0)
    before, after = counts
    size = np.array([len(group) for group in groups])
    consistency, similarity, transfer = [], [], []
    for group in groups:
        peaks = after[group]
        total = max(int(peaks.sum()), 1)
        consistency.append(peaks.sum(axis=0).max() / total)
        transfer.append(peaks[:, before[group].sum(axis=0).argmax()].sum() / total)
        cosines = unit[group] @ unit[group].T
        similarity.append((cosines.sum() - np.trace(cosines)) / (len(group) * (len(group) - 1)))
    means = [float(np.average(of, weights=size)) for of in (consistency, similarity, transfer)]
    return (means[0], means[1], means[2], float(len(groups)))
