"""The monitor: channels with their usual range and threshold, measured on neutral texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from jaxtyping import Float

from sae_nb.checks import Between, Count, Seed, checked, one_of
from sae_nb.findings import Finding
from sae_nb.monitoring._channels import Channel, Pool, channels_of, threshold_of
from sae_nb.monitoring._readings import Readings
from sae_nb.monitoring._rows import ReadText, read_texts
from sae_nb.monitoring._watching import Watch, watching

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.monitoring._cascade import Cascade
    from sae_nb.monitoring._report import MonitorReport

USUAL = (0.05, 0.5, 0.95)
Rate = Annotated[float, Between(0, 1, ends="()")]


class Monitor(Finding):
    """Directions, atoms and probes that are watched in a live model, with usual range and threshold.

    `sn.monitor` makes one. `read` scores texts, `watch` listens while the model reads or writes, `report`
    compares it with floors; `save` keeps it, and `sn.monitor(model, folder)` opens it again.
    """

    HEADLINE = (
        "{names} in {model_name}; {n_neutral} neutral texts, {pool}, false alarms at most {fpr:.3g}"
    )
    channels: tuple[Channel, ...]
    model_name: str
    pool: str
    """How a text's tokens become its score: mean, max, rolling; attention probes have their own."""

    k: int
    """Tokens of the rolling mean."""

    fpr: float
    """Chance that a neutral text is above the threshold, at most."""

    usual: Float[np.ndarray, "channels 3"]
    """5th percentile, median and 95th percentile of tokens of neutral texts."""

    neutral: Float[np.ndarray, "texts channels"]
    """Scores of neutral texts."""

    live: LiveModel | None = field(init=False, default=None)
    """The model that it watches; None of one from `Monitor.load`."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the channels."""
        return tuple(one.name for one in self.channels)

    @property
    def n_neutral(self) -> int:
        """Number of neutral texts."""
        return len(self.neutral)

    @property
    def thresholds(self) -> Float[np.ndarray, " channels"]:
        """Score of each channel that a neutral text exceeds with a chance of at most `fpr`."""
        return np.array(
            [threshold_of(self.neutral[:, i], self.fpr) for i in range(len(self.names))]
        )

    @property
    def table(self) -> pd.DataFrame:
        """A row per channel: where it is read, its usual range, its threshold."""
        import pandas as pd

        return pd.DataFrame(
            {
                "name": self.names,
                "hook point": [one.hook_point for one in self.channels],
                "made of": [one.origin for one in self.channels],
                "pool": [self.pool if one.query is None else "attention" for one in self.channels],
                "usual from": self.usual[:, 0],
                "median": self.usual[:, 1],
                "usual to": self.usual[:, 2],
                "threshold": self.thresholds,
            }
        )

    @property
    def model(self) -> LiveModel:
        """The model that it watches.

        Raises
        ------
        RuntimeError: If it was loaded without one.
        """
        if self.live is None:
            raise RuntimeError(
                "A monitor reads through its model, and was loaded without. Open it by "
                "sn.monitor(model, folder)."
            )
        return self.live

    def from_usual(
        self, values: Float[np.ndarray, "*tokens"], channel: int
    ) -> Float[np.ndarray, "*tokens"]:
        """Return a channel's values as distances from its usual median, in halves of the usual range.

        ±1 is at the ends of that range. `values`: As in `Readings.values`, in units of the channel. `channel`:
        Its number in `names`.
        """
        low, middle, high = (float(one) for one in self.usual[channel])
        above, below = max(high - middle, 1e-30), max(middle - low, 1e-30)
        return np.where(values >= middle, (values - middle) / above, (values - middle) / below)

    @checked
    def read(self, inputs: Inputs, *, batch_size: int | None = None) -> Readings:
        """Read texts: a value at each token, a score of each text.

        Raises
        ------
        ValueError: If a text has no token after the first, or an activation is NaN.
        """
        texts = list(self.texts(inputs, batch_size=batch_size))
        return Readings(
            names=self.names,
            tokens=tuple(one.text.tokens for one in texts),
            positions=tuple(one.text.position for one in texts),
            values=tuple(one.values for one in texts),
            scores=np.array([one.scores for one in texts]),
            thresholds=self.thresholds,
            usual=self.usual,
        )

    def texts(
        self,
        inputs: Any,
        names: tuple[str, ...] | None = None,
        batch_size: int | None = None,
        name: str = "inputs",
    ) -> Iterator[ReadText]:
        """Read texts by some channels, one after another; the model runs as far as these need."""
        channels = [one for one in self.channels if names is None or one.name in names]
        return read_texts(self.model, channels, inputs, self.pool, self.k, batch_size, name)

    def score(
        self, inputs: Any, names: tuple[str, ...] | None = None, batch_size: int | None = None
    ) -> Float[np.ndarray, "texts channels"]:
        """Return the scores of texts alone, of some channels; the model runs as far as these need."""
        return np.array([one.scores for one in self.texts(inputs, names, batch_size)])

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Listen inside the block: `seen.values` has a value at each token that the model reads or writes.

        What edits in force before make of the model is what it reads; it changes nothing itself.
        """
        with watching(self.model, Watch(self.model, self.channels)) as seen:
            yield seen

    @checked
    def cascade(
        self,
        inputs: Inputs,
        cheap: str,
        dear: str | Callable[[Any], Any],
        *,
        share: Rate = 0.2,
        neutral: Inputs | None = None,
        batch_size: int | None = None,
    ) -> Cascade:
        """Score all texts by one channel, and by a dearer one only those that it does not clear.

        A text is cleared if its cheap score is what all but `share` of neutral texts stay below. An alarm needs
        both, and of neutral texts raises at most `fpr`.

        Parameters
        ----------
        cheap, dear
            Names of channels: one of an early hook point, say, for which the rest of the model does not run.
            `dear` may be a function from texts to scores, such as a judge; it needs `neutral` texts.
        share
            Neutral texts that are passed on.

        Raises
        ------
        ValueError: If there is no such channel, or a function comes without `neutral` texts.
        """
        from sae_nb.monitoring._cascade import cascade

        for argument, name in (("cheap", cheap), ("dear", dear)):
            if isinstance(name, str):
                one_of(name, self.names, name=argument)
        return cascade(self, inputs, cheap, dear, share, neutral, batch_size)

    @checked(leave=("tests", "trained_on"))
    def report(
        self,
        tests: Mapping[str, tuple[Inputs, Inputs]],
        trained_on: tuple[Inputs, Inputs],
        *,
        fprs: tuple[float, ...] = (0.01, 0.05, 0.1),
        n_random: Count = 20,
        n_resamples: Count = 1000,
        seed: Seed = 0,
        batch_size: int | None = None,
    ) -> MonitorReport:
        """Compare every channel with mean pooling, a bag of words and random directions, on several tests.

        Parameters
        ----------
        tests
            Positive and negative texts by the name of the test: held out, longer, paraphrased.
        trained_on
            Positive and negative texts that mean-pooled probe and bag of words are trained on: those that
            channels were made of. None of them may be in a test.
        fprs
            False-positive rates, at which the rate of true positives is taken on each test's own texts.

        Raises
        ------
        ValueError: If a test has fewer than two texts of a group, or a text that was trained on.
        """
        from sae_nb.monitoring._report import report

        return report(self, tests, trained_on, fprs, n_random, n_resamples, seed, batch_size)


@checked(leave=("channels",))
def monitor(
    model: LiveModel,
    channels: Mapping[str, Any] | str | Path,
    neutral: Inputs | None = None,
    *,
    pool: Pool = "mean",
    k: Count = 8,
    fpr: Rate = 0.05,
    batch_size: int | None = None,
) -> Monitor:
    """Watch directions, atoms and probes in a live model, with their usual range on neutral texts.

    Parameters
    ----------
    channels
        By name: a direction of `sn.direction`; (sae, atom), whose projection is read, not its latent; (hook
        point, logistic probe or vector); an attention probe of `sn.monitoring`. Or the folder of a saved
        monitor, which is opened again.
    neutral
        Texts in which there is nothing to find. Of n of them, `fpr` is at least 1 / (n + 1).
    pool
        A text's score: "mean" or "max" of its tokens, or the largest mean of `k` neighbours ("rolling", of a
        shorter text its mean). An attention probe weighs tokens itself.
    fpr
        Chance at most that a neutral text, one like those given, is above the threshold.

    Raises
    ------
    ValueError: If there is no channel or no neutral text, too few for `fpr`, or a channel is of another model.
    HookPointNotFound: If the model has not the hook point of a channel.

    Source
    ------
    Threshold: the conformal quantile (Vovk et al., "Algorithmic Learning in a Random World", 2005).

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> d = sn.direction(gpt, "resid_post.2", ["a happy dog", "the glad cat"], ["a sad dog", "the sorry cat"])
    >>> meter = sn.monitor(gpt, {"glad": d}, sn.data.stories(24).texts, pool="max")
    >>> with meter.watch() as seen:
    ...     text = gpt.generate("Once there was a", max_new_tokens=5)
    >>> seen.values["glad"].shape == (seen.n_tokens,)
    True
    """
    if isinstance(channels, str | Path):
        return _bound(Monitor.load(channels), model)
    found = channels_of(model, channels)
    if neutral is None:
        raise ValueError(
            "`neutral` must be texts in which there is nothing to find, got None: usual range and threshold "
            "are measured on them. Pass such as sn.data.stories(100).texts."
        )
    texts = list(read_texts(model, found, neutral, pool, k, batch_size, "neutral"))
    if fpr * (len(texts) + 1) < 1:
        raise ValueError(
            f"`fpr` must be at least 1 / ({len(texts)} neutral texts + 1), got {fpr:g}: rarer alarms "
            "need more texts to be seen. Pass more neutral texts, or a larger fpr."
        )
    made = Monitor(
        channels=found,
        model_name=model.name,
        pool=pool,
        k=k,
        fpr=fpr,
        usual=np.quantile(np.concatenate([one.values for one in texts]), USUAL, axis=0).T.copy(),
        neutral=np.array([one.scores for one in texts]),
    )
    return _bound(made, model)


def _bound(meter: Monitor, model: LiveModel) -> Monitor:
    if meter.model_name != model.name:
        raise ValueError(
            f"The monitor must be of {model.name}, got one of {meter.model_name}. Open it on its own model."
        )
    for one in meter.channels:
        model.hook_point(one.hook_point)
    object.__setattr__(meter, "live", model)
    return meter
