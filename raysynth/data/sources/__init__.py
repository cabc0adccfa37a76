"""One small file for each kind of input; each gives a `Table`."""
