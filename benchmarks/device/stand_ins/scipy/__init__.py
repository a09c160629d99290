"""What a run on a bare machine asks of scipy (35 MB, which would not fit the pack): one conversion."""

__version__ = "1.17.1"  # Numba reads it, and wants 1.0 or later
