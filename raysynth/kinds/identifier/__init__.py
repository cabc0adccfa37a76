"""Keys: recognised, described by a pattern, made anew in it."""

from raysynth.kinds.identifier.kind import KIND as KIND
