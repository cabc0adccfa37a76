"""The any-order autoregressive network for tables."""
