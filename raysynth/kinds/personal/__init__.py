"""Personal data: recognised by name and values, made anew with Faker."""

from raysynth.kinds.personal.kind import KIND as KIND
