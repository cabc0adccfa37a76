"""The Gaussian copula: any marginals, dependence by latent normals."""
