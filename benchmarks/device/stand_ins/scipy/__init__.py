"""What a run on a bare machine asks of scipy (35 MB, which would not fit the pack): one conversion."""
