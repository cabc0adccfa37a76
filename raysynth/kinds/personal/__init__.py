"""Personal data: recognised by name and values, made anew with Faker."""
