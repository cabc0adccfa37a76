"""Attacks, one file each, and what runs and judges them; `raysynth.privacy` gives their public names."""
