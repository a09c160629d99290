"""Dictionaries: matching, stability, coherence, co-activation."""
