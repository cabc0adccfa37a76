"""From data to what a method learns from: two doors, one encoder."""
