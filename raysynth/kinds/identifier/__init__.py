"""Keys: recognised, described by a pattern, made anew in it."""
