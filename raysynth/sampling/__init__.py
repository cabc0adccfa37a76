"""Chunks of rows from a generator: seeds, conditions, decoding and atomic files."""
