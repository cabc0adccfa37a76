"""Bayesian networks on codes: structure and probabilities from counts, exact sampling, exact conditions. Pure NumPy.

- `counting`: contingency tables of many column sets in few passes;
- `scores`, `families`, `climb`, `search`, `edge_rules`: the structure;
- `parameters`, `network`: the probabilities, the likelihood of rows;
- `sampler`, `conditioning`: rows, with or without evidence;
- `export`: the network as pgmpy holds it.
"""
