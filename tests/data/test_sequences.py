"""Every data set is a sequence: chosen from, iterated, sampled, split and tabulated with its labels."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import train_test_split

from sae_nb import data
from sae_nb.data import TextFolder

SETS: dict[str, Callable[[], Any]] = {
    "scenes": lambda: data.scenes(12),
    "digits": lambda: data.digits("test"),
    "photos": lambda: data.Photos(
        torch.arange(12, dtype=torch.uint8)[:, None, None, None].expand(12, 3, 32, 32),
        torch.arange(12) % 2,
        ("cat", "dog"),
    ),
    "prose": lambda: data.prose("test"),
    "stories": lambda: data.stories(12),
    "text": lambda: TextFolder(tuple("abcdefghijkl"), ("a.txt",) * 6 + ("b.txt",) * 6),
    "planted_dictionary": lambda: data.planted_dictionary(8, 4, 12, 2),
    "planted_families": lambda: data.planted_families(2, 4, 8, 12, 2),
    "concept_tree": lambda: data.concept_tree(12),
    "six_gaussians": lambda: data.six_gaussians(2),
    "uneven_dimensions": lambda: data.uneven_dimensions(3),
    "planted_hulls": lambda: data.planted_hulls(12),
    "planted_manifolds": lambda: data.planted_manifolds(12),
    "slow_and_fast": lambda: data.slow_and_fast(12),
    "planted_events": lambda: data.planted_events(12),
}


@pytest.fixture(params=SETS)
def record(request: pytest.FixtureRequest) -> Any:
    return SETS[request.param]()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, data.Stories | data.Prose | TextFolder | str | tuple):
        return one == other
    return np.array_equal(np.asarray(one), np.asarray(other))


def first(record: Any) -> Any:
    return getattr(record, next(iter(vars(record))))


def test_it_shows_what_it_is_and_never_its_numbers(record: Any) -> None:
    shown = repr(record)
    assert shown.startswith(f"{type(record).__name__}(")
    assert len(shown) < 300
    assert "tensor" not in shown


@pytest.mark.parametrize(
    "index",
    [
        slice(None, None, -1),
        [5, 1, 5],
        [],
        torch.tensor([-1, 2]),
    ],
    ids=repr,
)
def test_a_part_is_of_the_same_type_with_its_labels(record: Any, index: Any) -> None:
    part, rows = record[index], np.arange(len(record))[index]
    assert type(part) is type(record)
    assert len(part) == len(rows)
    for name, values in vars(record).items():
        if name in record.shared:
            continue
        expected = (
            tuple(values[i] for i in rows)
            if isinstance(values, tuple)
            else torch.as_tensor(values)[torch.as_tensor(rows.copy())]
        )
        assert same(getattr(part, name), expected), name
    for name in set(record.shared) - {"clauses", "mentions", "boundary_story", "boundary"}:
        assert getattr(part, name) is getattr(record, name)


def test_masks_choose_from_every_data_set(record: Any) -> None:
    mask = np.arange(len(record)) % 3 == 0
    for one in (mask, torch.as_tensor(mask), mask.tolist()):
        assert same(first(record[one]), first(record[np.flatnonzero(mask)]))
    with pytest.raises(IndexError, match="A mask must have one entry per row"):
        record[mask[:-1]]


def test_elements_are_iterated_and_end(record: Any) -> None:
    """As many as there are; a list of them; the last by −1; beyond it an error that says so."""
    assert isinstance(record, Sequence)
    assert len(list(record)) == len(record) == len([*reversed(record)])
    last = record[-1]
    assert same(
        *(one if isinstance(one, str) else first(one) for one in (last, record[len(record) - 1]))
    )
    with pytest.raises(IndexError, match=f"between 0 and {len(record) - 1}, got {len(record)}"):
        record[len(record)]
    with pytest.raises(TypeError, match="got 'digit'"):
        record["digit"]


def test_pythons_and_scikit_learns_samplers_take_every_data_set(record: Any) -> None:
    assert len(random.Random(0).sample(record, 2)) == 2
    train, test = train_test_split(record, train_size=0.5, random_state=0)
    assert len(train) + len(test) == len(record)


def test_stories_chosen_are_the_stories_told_alone() -> None:
    stories = data.stories(6, seed=1)
    for part, alone in (
        (stories[2:5], data.stories(3, seed=1, start=2)),
        (stories[[5]], data.stories(1, seed=1, start=5)),
        (stories[:0][:0], stories[[]]),
    ):
        assert part.texts == alone.texts
        for group in ("clauses", "mentions"):
            for name, values in vars(getattr(part, group)).items():
                assert torch.equal(values, getattr(getattr(alone, group), name)), name
        assert torch.equal(part.boundary_story, alone.boundary_story)
        assert torch.equal(part.boundary, alone.boundary)
    turned = stories[::-1]
    clause = turned.clauses
    for row in range(len(clause)):
        story = int(clause.story[row])
        assert turned.texts[story][clause.start[row] : clause.end[row]].endswith(".")


def test_labels_are_tabulated_by_name() -> None:
    """One line per element, numbers of names as names; data without labels have no columns."""
    scenes = data.scenes(4)
    table = scenes.to_pandas()
    assert list(table.columns) == [
        "digit", "colour", "texture", "position", "distractor", "handwriting",
    ]  # fmt: skip
    assert table["digit"].tolist() == scenes.digit.tolist()
    assert table["colour"].tolist() == [scenes.colour_names[i] for i in scenes.colour]
    stories = data.stories(3)
    assert stories.to_pandas()["person"].tolist() == [stories.entities[i] for i in stories.person]
    assert stories.to_pandas()["texts"].tolist() == list(stories)
    assert data.prose().to_pandas().shape == (len(data.prose()), 2)
    planted = data.planted_dictionary(8, 4, 5, 2).to_pandas()
    assert isinstance(planted, pd.DataFrame)
    assert planted.shape == (5, 0)


def test_a_folder_of_images_is_chosen_from(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(3):
        Image.new("RGB", (4, 4), (number * 50, 0, 0)).save(tmp_path / f"{number}.png")
    folder = data.pictures(tmp_path)
    assert torch.equal(folder[[2, 0]].images, folder.images[[2, 0]])
    assert torch.equal(folder[np.array([False, True, False])][0], folder[1])
    assert [float(image[0, 0, 0]) for image in folder] == pytest.approx([0, 50 / 255, 100 / 255])
    assert folder[1:].class_names == folder.class_names


def test_numpy_takes_the_first_field() -> None:
    drawn, told = data.scenes(4), data.stories(3)
    assert np.array_equal(np.asarray(drawn), drawn.images.numpy())
    assert np.asarray(drawn, dtype=np.float64).dtype == np.float64
    assert np.asarray(told).tolist() == list(told.texts)
