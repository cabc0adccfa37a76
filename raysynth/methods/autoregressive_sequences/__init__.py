"""The autoregressive network for sequences."""
