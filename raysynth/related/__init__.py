"""Several tables with keys between them: made one after the other, parents first."""
