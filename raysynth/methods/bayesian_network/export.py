"""A network as a pgmpy `DiscreteBayesianNetwork`, to draw, query and write as BIF."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from raysynth.methods.bayesian_network.network import Network

if TYPE_CHECKING:
    from pgmpy.models import DiscreteBayesianNetwork

_RESERVED = re.compile(r'[,;{}()|"\\\r\n\t]|//|/\*')  # characters that a BIF file gives a meaning


def to_pgmpy(network: Network, names: Sequence[str], states: Sequence[Sequence[str]]) -> DiscreteBayesianNetwork:
    """The network with its probabilities in pgmpy's form.

    Args:
        network: parents and tables.
        names: of the columns, as nodes.
        states: for each column the names of its codes; characters that BIF cannot hold are replaced.
    """
    from pgmpy.factors.discrete import TabularCPD
    from pgmpy.models import DiscreteBayesianNetwork

    nodes = safe_names(names)
    state_names = {node: safe_names(own) for node, own in zip(nodes, states, strict=True)}
    result = DiscreteBayesianNetwork()
    result.add_nodes_from(nodes)
    result.add_edges_from((nodes[p], nodes[c]) for p, c in network.edges)
    for column, table in enumerate(network.tables):
        parents = [nodes[p] for p in network.parents[column]]
        cpd = TabularCPD(
            nodes[column],
            network.cardinalities[column],
            table.T,
            evidence=parents or None,
            evidence_card=[network.cardinalities[p] for p in network.parents[column]] or None,
            state_names={node: state_names[node] for node in (nodes[column], *parents)},
        )
        result.add_cpds(cpd)
    return result


def safe_names(names: Sequence[str]) -> list[str]:
    """Names without BIF's reserved characters, trimmed, and distinct."""
    result: list[str] = []
    taken: set[str] = set()
    for name in names:
        clean = _RESERVED.sub("_", str(name)).strip() or "_"
        distinct, k = clean, 2
        while distinct in taken:
            distinct, k = f"{clean}_{k}", k + 1
        taken.add(distinct)
        result.append(distinct)
    return result
