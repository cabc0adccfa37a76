"""The Gaussian copula."""
