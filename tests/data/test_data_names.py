"""Promises of the data package's front door."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sae_nb.data


def test_importing_the_package_loads_nothing_heavy():
    """Names are resolved on first use: neither torch nor scikit-learn comes with the import."""
    code = (
        "import sys, sae_nb.data as d; assert 'scenes' in dir(d);"
        "print([m for m in ('torch', 'sklearn', 'PIL', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sae_nb.data.__all__)
def test_every_public_name_resolves_to_what_it_says(name):
    """No name is a module, and each is itself; a name in capitals is a choice of words."""
    value = getattr(sae_nb.data, name)
    if name.isupper():
        assert all(isinstance(word, str) for word in value)
        return
    assert callable(value)
    assert value.__name__ == name


def test_an_unknown_name_lists_the_known_ones():
    """A typing error is answered."""
    with pytest.raises(AttributeError, match="'sceens'.*scenes"):
        _ = sae_nb.data.sceens
