"""Figures of rows in memory: a file for each, and a line in `registry.py`."""
