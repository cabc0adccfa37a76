"""Sequential trees: each column given those before it, by a few bagged trees over codes."""
