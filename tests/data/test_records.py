"""Records of data show what they are, never their numbers."""

from __future__ import annotations

from sae_nb import data


def test_a_record_shows_names_shapes_and_types() -> None:
    """One short line, also for thousands of pictures."""
    shown = repr(data.scenes(2000))
    assert shown.startswith("Scenes(images 2000×3×32×32 float32; digit 2000 int64")
    assert len(shown) < 300
    assert "tensor" not in shown


def test_every_record_is_short() -> None:
    """Digits, planted dictionaries, stories and prose too."""
    records = (
        data.digits(),
        data.planted_dictionary(n_atoms=64, d_in=32, n=1000, k=3),
        data.stories(100),
        data.prose(),
    )
    assert all(len(repr(record)) < 300 for record in records)
