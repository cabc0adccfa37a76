"""Tables: what kinds of input there are, and one form for all of them."""
