"""One concept in several models."""
