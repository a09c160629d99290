"""A lens: per layer a map from its states to those that the head answers from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb._above import above
from sae_nb._hints import KnowsOtherWords
from sae_nb.checks import (
    Count,
    Seed,
    as_dictionary,
    as_tensor,
    check_data,
    check_finite,
    check_integer,
    check_memory,
    checked,
    warn_caller,
)
from sae_nb.lenses._attaching import last_part, layer_of, probed_head, weights_of
from sae_nb.lenses._checking import LensCheck, check_atoms, check_layers
from sae_nb.lenses._head import Head
from sae_nb.lenses._measuring import cut_at
from sae_nb.lenses._reading import LensReading, compare, compare_all, reading_of
from sae_nb.lenses._rows import Rows, kinds_of_places, point_of, rows_of

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


Kind = Literal["jacobian", "tuned", "logit"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Lens(KnowsOtherWords):
    """Maps from the states of each layer to the model's answer; made by `sn.fit_lens` or `sn.load_lens`.

    The answer read at a place is head(J h): `head` is the model's own final norm and unembedding or class
    head, J the map of the layer. A lens of images has a map each for cls, registers and patches; a lens of an
    encoder leads to the decoder's states.

    Parameters
    ----------
    kind
        "jacobian", "tuned" (with an offset: J h + b), or "logit", whose J is the identity.
    layers
        Blocks whose outputs it reads.
    n_layers
        Blocks of the model. The last one needs no map, since its output is what the head reads, but for an
        encoder's.
    places
        Kinds of places that have a map each: ("token",), or ("cls", "registers", "patches").
    counts
        Places of each kind in one sample, at which `effects` adds a direction; 1 for tokens.
    maps, offsets
        (layers, kinds, d, d) and (layers, kinds, d); None: identity, no offset. From an encoder of another
        width than the decoder's, (layers, kinds, d_decoder, d).
    model_name, weights
        Model that it was fitted on; a digest of its weights, and their type. None: not stated.
    head_name
        Of one of several class heads; None: the model's answer.
    skip_first
        First tokens of a text that the fit left out.
    n_done, n_wanted
        Samples (of a tuned lens: steps) of the fit; fewer are done if it was interrupted.
    course
        (points, 1 + layers): after how many samples or steps, and the measure of `curve` per layer.
    facts
        Further facts of the fit, as saved.
    stream
        "encoder" if it reads the encoder of an encoder–decoder; None: the blocks that are answered from.
    slope
        (d_read, d): mean derivative of the layers before the unembedding, in a masked language model; None:
        there is a norm alone.
    head
        The model's head; None: not attached to a model yet, see `on`.
    opens
        Opens that model where it comes with the library; None, or without an answer: `on` is asked for.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> lens = sn.fit_lens(gpt, ["The cat sat in the garden and slept."], kind="logit", progress=False)
    >>> reading = lens.read("Once upon a time")
    >>> reading.layers, reading.agreement.shape
    ((0, 1, 2), (3,))
    """

    kind: Kind
    layers: tuple[int, ...]
    n_layers: int
    places: tuple[str, ...]
    counts: tuple[int, ...]
    d: int
    """Width of the states."""

    maps: Float[Tensor, "layers kinds d_last d"] | None
    offsets: Float[Tensor, "layers kinds d"] | None = None
    model_name: str | None = None
    weights: tuple[str, str] | None = None
    head_name: str | None = None
    skip_first: int = 0
    n_done: int = 0
    n_wanted: int = 0
    course: Float[Tensor, "points columns"] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    stream: Literal["encoder"] | None = None
    slope: Float[Tensor, "d_read d"] | None = None
    head: Head | None = None
    opens: Callable[[], LiveModel | None] | None = None

    @property
    def partial(self) -> bool:
        """Whether the fit was stopped before its end."""
        return self.n_done < self.n_wanted

    def __repr__(self) -> str:
        first, last = self.layers[0], self.layers[-1]
        unit = "steps" if self.kind == "tuned" else "samples"
        parts = [
            f"blocks {first} … {last} of {self.n_layers}" if first < last else f"block {first}"
        ]
        if self.stream is not None:
            parts[0] = f"{self.stream} {parts[0]}"
        if self.kind != "logit":
            parts.append(f"fitted on {self.n_done} {unit}")
        if self.partial:
            parts.append(f"partial: stopped at {self.n_done} of {self.n_wanted}")
        return f"Lens({self.kind} of {self.model_name}: {'; '.join(parts)})"

    # The model it reads.

    @property
    def model(self) -> LiveModel:
        """The model that it reads.

        Raises
        ------
        ValueError: If it is not attached to one.
        """
        return self._head.model

    @property
    def _head(self) -> Head:
        head = self.head
        if head is None:
            model = None if self.opens is None else self.opens()
            if model is None:
                raise ValueError(
                    f"This lens must be attached to its model to read, and was loaded without one. Use "
                    f"lens.on(model), with model = sn.load_model({self.model_name or '…'!r})."
                )
            head = self.on(model).head
            object.__setattr__(self, "head", head)
        return cast(Head, head)

    @checked
    def on(self, model: LiveModel) -> Lens:
        """Return the lens attached to a model, whose head and states it reads from now on.

        Raises
        ------
        ValueError: If blocks or width differ, or it was fitted on a model with another name or other
            weights.
        """
        got = (model.n_layers, model.width() if model.n_layers else None)
        if self.stream is not None and self.stream in model.streams:
            got = (model.streams[self.stream].n_blocks, model.width(self._point(0)) or self.d)
        # A file with some layers alone states no number of blocks.
        several = len(self.layers) > 1 and self.layers == tuple(range(len(self.layers)))
        assumed = self.facts.get("blocks assumed") and not several
        blocks = max(got[0], self.n_layers) if assumed and got[0] is not None else self.n_layers
        if got != (blocks, self.d):
            raise ValueError(
                f"`model` must have {blocks} blocks of width {self.d}, as the lens of "
                f"{self.model_name} has, got {model.name} with {got[0]} of width {got[1]}. Fit one for it: "
                "sn.fit_lens(model, texts)."
            )
        if kinds_of_places(model) != self.places:
            raise ValueError(
                f"`model` must have places of the kinds {self.places}, as the lens of {self.model_name}, got "
                f"{kinds_of_places(model)}. Fit one for it: sn.fit_lens(model, inputs)."
            )
        self._check_weights(model)
        head = probed_head(model, self.head_name)
        return replace(
            self,
            n_layers=blocks,
            head=head if self.slope is None else replace(head, slope=self.slope),
        )

    def _check_weights(self, model: LiveModel) -> None:
        if self.weights is None:
            return
        here = weights_of(model)
        same_name = last_part(self.model_name) == last_part(model.name)
        if here == self.weights or (same_name and here[1] != self.weights[1]):
            return
        how = "other weights" if same_name else "another name and other weights"
        raise ValueError(
            f"`model` must be the one that the lens was fitted on, {self.model_name}, got {model.name}, which "
            f"has {how}. Fit one for it: sn.fit_lens(model, inputs)."
        )

    # What it is used for.

    def _point(self, layer: int) -> str:
        return point_of(layer, self.stream)

    @property
    def _last(self) -> int | None:
        """The block whose output the head reads; None in an encoder."""
        return self.n_layers - 1 if self.stream is None else None

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks at which effects are known: those of `layers`, and the last one, unless it is an encoder's."""
        return self.layers if self._last is None else (*self.layers, self._last)

    def layer_of(self, sae: object) -> int:
        """Return the block whose output an SAE's atoms are added to, `sae` or the name of its hook point.

        Raises
        ------
        ValueError: If that is in the other half of an encoder–decoder, or not added to the stream as it is.
        """
        return layer_of(sae, self.stream)

    def matrix(self, layer: int) -> Float[Tensor, "kinds d_last d"]:
        """Return the maps of one layer, one per kind of place; the identity after the last block.

        Raises
        ------
        ValueError: If it has no map of that layer.
        """
        layer = self._layer(layer)
        if self.maps is None or layer == self._last:
            return torch.eye(self.d).expand(len(self.places), -1, -1)
        return self.maps[self.layers.index(layer)].float()

    def _layer(self, layer: object) -> int:
        number = check_integer(layer, name="layer")
        if number not in self.blocks:
            raise ValueError(
                f"`layer` must be one of the lens's {[*self.blocks]}, got {number}. Fit it with "
                f"layers=[…, {number}]."
            )
        return number

    def _moved(self, layer: int, x: Tensor, kind: Tensor) -> Tensor:
        """Bring states of a layer to where the head reads."""
        if self.maps is None:
            return x
        i = self.layers.index(layer)
        found = torch.zeros_like(x)
        for number in range(len(self.places)):
            here = x @ self.maps[i, number].float().T
            if self.offsets is not None:
                here = here + self.offsets[i, number].float()
            found = torch.where((kind == number)[:, None], here, found)
        return found

    @checked(leave=("inputs",))
    def read(
        self, inputs: Inputs, *, k: Count = 10, batch_size: Count | None = None
    ) -> LensReading:
        """Read inputs: at each layer and place the outputs on top, next to the model's own answer.

        Parameters
        ----------
        inputs
            Texts or images, as the model takes them.
        k
            Outputs kept at each place.

        Raises
        ------
        ValueError, TypeError: If the model does not read such inputs, or the lens is not attached to one.

        Example
        -------
        >>> import sae_nb as sn
        >>> vit = sn.load_model("tiny-vit")
        >>> lens = sn.fit_lens(vit, sn.data.scenes(2).images, kind="logit", layers=[6], progress=False)
        >>> lens.read(sn.data.scenes(1).images).tokens[:6]
        ('cls', 'register 1', 'register 2', 'register 3', 'register 4', 'patch 0,0')
        """
        head = self._head
        rows = rows_of(
            head, inputs, [*map(self._point, self.layers)], skip_first=None, batch_size=batch_size
        )
        moved = [
            self._moved(layer, rows.states[i], rows.kind) for i, layer in enumerate(self.layers)
        ]
        found = compare_all(head, moved, rows, k=k)
        reading = reading_of(head, self.kind, self.layers, rows, found)
        self._warn_of_misfit(rows, reading)
        return reading

    @checked(leave=("inputs",))
    def read_both(self, inputs: Inputs, *, k: Count = 10) -> tuple[LensReading, LensReading]:
        """Read inputs by this lens and by the logit lens, from one pass of the model.

        Raises
        ------
        ValueError, TypeError: If the model does not read such inputs, or the lens is not attached to one, or
            is of an encoder, which has no logit lens.

        Example
        -------
        >>> import sae_nb as sn
        >>> own, plain = sn.load_lens("tiny-gpt").read_both("Once upon a time")
        >>> own.kind, plain.kind
        ('jacobian', 'logit')
        """
        return self.read_with(inputs, k=k)[:2]

    def read_with(
        self,
        inputs: Inputs,
        points: Sequence[str] = (),
        *,
        k: int = 10,
        plain_at: Sequence[int] | None = None,
    ) -> tuple[LensReading, LensReading, dict[str, Float[Tensor, "rows d"]]]:
        """Return what `read_both` does, and from the same pass the states at hook points of the same width.

        `plain_at`: Blocks that are read without the lens; None: those of the lens. States as they are can be
        read everywhere, also where no lens was fitted.
        """
        head, layers = self._head, self.layers
        self._check_direct()
        direct = layers if plain_at is None else tuple(plain_at)
        every = sorted({*layers, *direct})
        rows = rows_of(head, inputs, [*map(self._point, every), *points], skip_first=None)
        states, more = dict(zip(every, rows.states, strict=False)), rows.states[len(every) :]
        moved = [self._moved(layer, states[layer], rows.kind) for layer in layers]
        plain = [states[layer] for layer in direct]
        found = compare_all(head, [*moved, *plain], rows, k=k)
        own = reading_of(head, self.kind, layers, rows, found[: len(layers)])
        self._warn_of_misfit(replace(rows, states=states[layers[-1]][None]), own)
        without = reading_of(head, "logit", direct, rows, found[len(layers) :])
        return own, without, dict(zip(points, more, strict=True))

    def _warn_of_misfit(self, rows: Rows, reading: LensReading) -> None:
        """Warn once if a lens that does not state its model reads worse than none does."""
        if self.weights is not None or self.maps is None or len(rows) < LEAST_ROWS:
            return
        if self in _looked_at:
            return
        _looked_at.append(self)
        plain = float(compare(self._head, rows.states[-1], rows, k=1).kl.mean())
        own = float(reading.kl[-1].mean())
        if own > 2 * plain + 1:
            warn_caller(
                f"This lens may be of another model than {self.model.name}: at block {self.layers[-1]} it is "
                f"{own:.1f} nats from the model's answer, no lens {plain:.1f}. Check where it was fitted."
            )

    @checked(leave=("sae_or_directions", "layer"))
    def effects(
        self, sae_or_directions: object, layer: int | None = None
    ) -> Float[Tensor, "n n_outputs"]:
        """Return how each direction, added at every place, changes the answer, by one matrix product.

        Of a text W_U (γ ⊙ C J d), with γ the final norm's gain and C its centring; of an image the sum over its
        places, to the class logits. The norm's division by the state's size is left out, so effects compare
        outputs, not directions. `check` measures how far they hold in the running model.

        Parameters
        ----------
        sae_or_directions
            An SAE, for the effects of its atoms, or directions (n, d).
        layer
            Block whose output they are added to; None: the SAE's own.

        Raises
        ------
        ValueError: If the layer is not the lens's or not known, or the width differs.
        MemoryError: If the effects would not fit in memory.

        Example
        -------
        >>> import sae_nb as sn
        >>> gpt = sn.load_model("tiny-gpt")
        >>> lens = sn.fit_lens(gpt, ["The cat sat in the garden and slept."], kind="logit", progress=False)
        >>> lens.effects(sn.load_sae("tiny-gpt/resid_post.3")).shape
        torch.Size([1024, 1024])
        """
        head = self._head
        directions, number = self._directions(sae_or_directions, layer)
        check_memory(
            4 * len(directions) * head.n_outputs,
            f"Effects of {len(directions)} directions on {head.n_outputs} outputs",
            "Pass some of the directions.",
        )
        with torch.no_grad():
            return head.effects(directions @ self._whole(number).T).cpu()

    def _directions(self, given: object, layer: object) -> tuple[Tensor, int]:
        """Directions (n, d), and the layer where they are added."""
        given = as_dictionary(given, self.model_name)
        atoms = getattr(given, "dictionary", None)
        if layer is None:
            if atoms is None and len(self.layers) > 1:
                raise ValueError(
                    "`layer` must state where the directions are added, one of "
                    f"{list(self.layers)}, got None."
                )
            layer = self.layers[0] if atoms is None else self.layer_of(given)
        number = self._layer(layer)
        x = atoms if isinstance(atoms, Tensor) else as_tensor(given, name="sae_or_directions")
        x = check_data(x, name="sae_or_directions").detach().float().cpu()
        if x.ndim == 1:
            x = x[None]
        if x.ndim != 2 or x.shape[1] != self.d or not len(x):
            raise ValueError(
                f"`sae_or_directions` must have directions of width {self.d}, (n, {self.d}), got "
                f"{tuple(x.shape)}. Pass those of an SAE of {self.model_name}."
            )
        check_finite(x, name="sae_or_directions")
        return x, number

    def _whole(self, layer: int) -> Float[Tensor, "d d"]:
        """The map of a direction that is added at every place of a sample."""
        if self.kind != "jacobian" or layer == self._last:
            # The direct path leads from cls, or the token itself, alone.
            return self.matrix(layer)[0]
        return torch.einsum("k,kij->ij", torch.tensor(self.counts).float(), self.matrix(layer))

    @checked(leave=("token", "layer"))
    def direction(self, token: str | int, layer: int) -> Float[Tensor, " d"]:
        """Return the direction at a layer that raises a token or class: its row of W_U diag(γ) C J.

        Adding it to the states moves the lens's answer towards the token fastest. It is not normalised.

        Parameters
        ----------
        token
            Text of one token, name of a class, or an id.

        Raises
        ------
        ValueError: If it is not one token or class, or the layer is not the lens's.

        Example
        -------
        >>> import sae_nb as sn
        >>> gpt = sn.load_model("tiny-gpt")
        >>> lens = sn.fit_lens(gpt, ["The cat sat in the garden and slept."], kind="logit", progress=False)
        >>> lens.direction(" cat", 2).shape
        torch.Size([128])
        """
        head = self._head
        row = head.before_norm(head.rows(head.output(token)).cpu())
        return row @ self._whole(self._layer(layer))

    @checked(leave=("held_out", "sae", "layer"))
    def check(
        self,
        held_out: Inputs,
        sae: object = None,
        layer: int | None = None,
        *,
        n_atoms: Count = 24,
        seed: Seed = 0,
        context_length: Count | None = 128,
    ) -> LensCheck:
        """Measure the lens on inputs that it was not fitted on, next to no lens, a floor and a control.

        `check(…).table` has a line per layer (and kind of place), see `LensCheck`. With an SAE or directions,
        `.atoms` compares `effects` with what the running model does.

        Parameters
        ----------
        held_out
            Texts or images; of a text the places that the fit used, of an encoder all.
        sae, layer
            An SAE, or directions (n, d) and the layer where they are added; random ones are measured next to
            them.
        n_atoms
            Atoms that are measured, drawn among those that fire on `held_out`.
        context_length
            Tokens after which a text is cut; None: the model's own limit.

        Raises
        ------
        ValueError: If texts are too short, or SAE and layer do not fit.

        Example
        -------
        >>> import sae_nb as sn
        >>> gpt = sn.load_model("tiny-gpt")
        >>> lens = sn.fit_lens(gpt, ["The cat sat in the garden and slept."], kind="logit", progress=False)
        >>> found = lens.check(["Once upon a time there was a bear who lived alone."])
        >>> found.table["layer"].tolist()
        [0, 1, 2]
        """
        head = self._head
        rows = rows_of(
            head,
            held_out,
            [*map(self._point, self.layers)],
            skip_first=self.skip_first,
            context_length=cut_at(head.model, context_length),
        )
        if len(rows) < 2:
            raise ValueError(
                f"`held_out` must have at least two places after the first {self.skip_first} tokens of each "
                f"text, got {len(rows)}. Pass longer texts."
            )
        direct = self.stream is None
        found = check_layers(
            self.kind, self.layers, self.places, head, rows, self._moved, plain=direct, seed=seed
        )
        if sae is None:
            return found
        directions, number = self._directions(sae, layer)
        lenses = {"": self} | (
            {"logit ": replace(self.plain(), layers=(number,))} if direct else {}
        )
        return check_atoms(
            found,
            head,
            sae if hasattr(sae, "encode") else None,
            directions,
            number,
            self._point(number),
            held_out,
            {name: partial(lens.effects, layer=number) for name, lens in lenses.items()},
            skip_first=self.skip_first,
            n_atoms=n_atoms,
            seed=seed,
            context_length=context_length,
        )

    @checked
    def with_score(self, found: LensCheck) -> Lens:
        """Return the lens with the score of its effects, which cards then show and `save` keeps.

        Parameters
        ----------
        found
            What `check(held_out, sae)` returned.

        Raises
        ------
        ValueError: If no directions were measured there.
        """
        if found.atoms is None or found.layer is None:
            raise ValueError(
                "`found` must have measured directions, got one of layers alone. Use lens.check(held_out, sae)."
            )
        means, n = found.atoms_by_kind, int((found.atoms["kind"] != "random").sum())
        own, random = means.iloc[0], means.loc["random"]
        score = {
            "n": n,
            "correlation": float(own["correlation"]),
            "hits": float(own["hits"]),
            "random": float(random["correlation"]),
        }
        if "logit correlation" in own:
            score["direct"] = float(own["logit correlation"])
        scores = {**self.facts.get("scores", {}), str(found.layer): score}
        return replace(self, facts={**self.facts, "scores": scores})

    def plain(self) -> Lens:
        """Return the logit lens of the same layers and model: the states as they are.

        Raises
        ------
        ValueError: If it is of an encoder, whose states the head does not read.
        """
        self._check_direct()
        facts = {name: value for name, value in self.facts.items() if name != "scores"}
        return replace(
            self,
            kind="logit",
            maps=None,
            offsets=None,
            course=None,
            n_done=0,
            n_wanted=0,
            facts=facts,
        )

    def _check_direct(self) -> None:
        if self.stream is not None:
            raise ValueError(
                "The lens must be of blocks that are answered from to be compared with the logit lens, got "
                f"one of the {self.stream}. Use lens.read(inputs), or fit one of the decoder."
            )

    def score_in_words(self, layer: int) -> str:
        """Return in words how far effects at a layer hold in the running model, or that it was not measured."""
        score = self.facts.get("scores", {}).get(str(layer))
        if score is None:
            return "not measured against the running model: lens.check(held_out, sae)"
        direct = f", direct path {score['direct']:.2f}" if "direct" in score else ""
        return (
            f"rank correlation {score['correlation']:.2f} with the measured effects of {score['n']} on "
            f"held-out inputs (random directions {score['random']:.2f}{direct})"
        )

    def names(self, ids: Iterable[int]) -> dict[int, str]:
        """Return the text of tokens, or the names of classes."""
        return self._head.names(ids)

    # How it settled, and where it is kept.

    @property
    def curve(self) -> DataFrame:
        """The course of the fit: `n` samples (of a tuned lens: steps), and one column per layer.

        Of a Jacobian lens the cosine of the maps from every other sample with those from the rest: it nears
        1 as the mean settles. Of a tuned lens KL(model ‖ lens) in nats on a tenth of the samples, which is
        not trained on.
        """
        import pandas as pd

        names = ["n", *(f"layer {layer}" for layer in self.layers)]
        course = torch.zeros(0, len(names)) if self.course is None else self.course
        return pd.DataFrame(course.numpy(), columns=names)

    def plot(self) -> Any:
        """Draw `curve` as a plotly figure: first, middle and last layer."""
        from sae_nb.figures import Chart, Points, draw_chart

        curve = self.curve
        shown_layers = sorted({self.layers[0], self.layers[len(self.layers) // 2], self.layers[-1]})
        series = tuple(
            Points(f"block {layer}", curve["n"], curve[f"layer {layer}"]) for layer in shown_layers
        )
        tuned = self.kind == "tuned"
        titles = (
            ("steps", "KL to the answer, nats") if tuned else ("samples", "agreement of halves")
        )
        return draw_chart(Chart(series=series, x=titles[0], y=titles[1]))

    @checked
    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write the lens to a folder, in safetensors and JSON, whole or not at all; `sn.load_lens` reads it.

        Parameters
        ----------
        half
            Write the maps in fp16, as published lenses are.

        Raises
        ------
        FileExistsError: If the folder holds files that are not ours.
        """
        above("sae_nb.lenses._files", "write_lens")(self, folder, half=half)


LEAST_ROWS = 8
"""Places below which a misfit is not judged."""

_looked_at: list[Lens] = []
