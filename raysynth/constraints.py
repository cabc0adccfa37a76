"""Constraints by their public names; they stand in `raysynth.schema.constraints`."""

from raysynth.schema.constraints import *  # noqa: F403  # one list of names, not two
from raysynth.schema.constraints import __all__ as __all__
