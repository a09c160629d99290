"""Depth cut into segments."""
