"""No package and no file imports itself in a circle, from the source."""

from __future__ import annotations

from collections import defaultdict
from graphlib import TopologicalSorter

import grimp
import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

pytestmark = pytest.mark.slow

PACKAGES = ("sae_nb", "sae_nb_widgets", "sae_nb_studies", "sae_nb_lessons")


def test_packages_stand_in_no_circle() -> None:
    """Function-local imports and those under `if TYPE_CHECKING` count; the top of a distribution does not."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    below: defaultdict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            (top, *inner), (other_top, *other_inner) = module.split("."), other.split(".")
            if top == other_top and inner and other_inner and inner[0] != other_inner[0]:
                below[f"{top}.{inner[0]}"].add(f"{top}.{other_inner[0]}")
    TopologicalSorter(below).prepare()


def test_files_stand_in_no_circle() -> None:
    """Within a package too. Function-local imports count; those under `if TYPE_CHECKING` do not."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None, exclude_type_checking_imports=True)
    below = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(below).prepare()


def test_at_most_three_files_know_one_another() -> None:
    """Imports under `if TYPE_CHECKING` count: such files are read together."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    modules = sorted(graph.modules)
    below = [graph.find_modules_directly_imported_by(module) for module in modules]
    importers = np.repeat(np.arange(len(modules)), [len(others) for others in below])
    imported = np.searchsorted(modules, [other for others in below for other in others])
    size = (len(modules), len(modules))
    links = coo_array((np.ones(len(imported)), (importers, imported)), shape=size)
    _, circle = connected_components(links, connection="strong")
    largest = np.bincount(circle).argmax()
    among = [module for module, where in zip(modules, circle) if where == largest]
    assert len(among) <= 3, f"{among} import one another"
