"""One probe: scikit-learn's logistic regression behind every setting, in the units of its columns."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from sae_nb.statistics import logistic_probe
from sae_nb.statistics._probes import LogisticProbe


def data(n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns of unlike scale, one of which never changes, and classes that follow two of them."""
    generator = np.random.default_rng(n_classes)
    x = generator.exponential(size=(150, 4)) * [1, 20, 0.1, 3] * (generator.random((150, 4)) < 0.7)
    noisy = x[:, 0] + x[:, 1] / 20 + generator.normal(0, 0.3, 150)
    y = np.digitize(noisy, np.quantile(noisy, np.linspace(0, 1, n_classes + 1)[1:-1]))
    return np.column_stack((x, np.full(150, 5.0))), y


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("settings", "steps", "of_model"),
    [
        ({}, [StandardScaler()], {}),
        ({"balanced": True, "inverse_penalty": 0.1}, [StandardScaler()],
         {"C": 0.1, "class_weight": "balanced"}),
        ({"scale": "largest", "centred": False}, [MaxAbsScaler()], {}),
        ({"scale": 1.0, "centred": False}, [], {}),
    ],
    ids=["standardised", "balanced", "largest", "as they are"],
)  # fmt: skip
def test_a_probe_is_the_pipeline_of_scikit_learn(
    n_classes: int, sparse: bool, settings: dict, steps: list, of_model: dict
) -> None:
    """Scores and classes of new rows are those of scaler and regression; sparse columns are not centred."""
    x, y = data(n_classes)
    if sparse:
        steps = [
            StandardScaler(with_mean=False) if isinstance(s, StandardScaler) else s for s in steps
        ]
        x = csr_matrix(x)
    probe = logistic_probe(x[:100], y[:100], **settings)
    model = make_pipeline(*steps, LogisticRegression(max_iter=1000, **of_model))
    model.fit(x[:100], y[:100])
    np.testing.assert_allclose(
        probe.scores(x[100:]), model.decision_function(x[100:]), rtol=1e-6, atol=1e-9
    )
    np.testing.assert_array_equal(probe.predict(x[100:]), model.predict(x[100:]))


def test_weights_are_in_the_units_of_the_columns() -> None:
    x, y = data(2)
    named = np.where(y == 1, "yes", "no")
    probe = logistic_probe(x, named)
    turned = logistic_probe(x * 1000 + 7, named)
    np.testing.assert_allclose(turned.scores(x * 1000 + 7), probe.scores(x), atol=1e-6)
    assert (probe.predict(x) == named).mean() > 0.7
    assert set(probe.predict(x)) == {"yes", "no"}


def test_a_row_on_the_border_is_of_the_first_class() -> None:
    """As scikit-learn answers."""
    probe = LogisticProbe(classes=np.array([3, 5]), weight=np.array([[2.0]]), bias=np.array([-4.0]))
    assert probe.predict(np.array([[1.9], [2.0], [2.1]])).tolist() == [3, 3, 5]


def test_a_probe_that_has_not_converged_says_so_unless_told_not_to() -> None:
    x, y = data(3)
    with pytest.warns(match="converge"):
        logistic_probe(x, y, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logistic_probe(x, y, max_iter=1, quiet=True)
