"""A Bayesian network as inline SVG: parents above children, in layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ROW_HEIGHT = 84
NODE_HEIGHT = 30
CHARACTER = 7.4  # pixels, about, in the report's font
GAP = 26
BOW = 24  # pixels that an edge bows aside for each layer it passes
SWEEPS = 12


@dataclass(frozen=True)
class Node:
    """A column in the drawing: its name, middle and width in pixels."""

    name: str
    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Drawing:
    """What the template draws.

    Args:
        nodes: the columns.
        paths: an SVG path for each edge, from the parent's lower edge to the child's upper edge.
        edges: (parent, child), for the table behind the picture.
        width, height: of the picture in pixels.
    """

    nodes: tuple[Node, ...]
    paths: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    width: float
    height: float
    node_height: int = NODE_HEIGHT


def draw_network(edges: Sequence[Sequence[str]]) -> Drawing:
    """Layered drawing of an acyclic graph: layers by longest path, order by barycentre (Sugiyama et al. 1981).

    Args:
        edges: (parent, child) pairs of names.
    """
    pairs = tuple((str(a), str(b)) for a, b in edges)
    parents: dict[str, list[str]] = {}
    for a, b in pairs:
        parents.setdefault(a, [])
        parents.setdefault(b, []).append(a)
    layers = _ordered(_layers(parents), pairs)
    widths = {name: CHARACTER * len(name) + 22 for name in parents}
    row_of = {name: row for row, layer in enumerate(layers) for name in layer}
    longest = max((row_of[b] - row_of[a] for a, b in pairs), default=1)
    margin = BOW * longest if longest > 1 else 0
    total = max((sum(widths[n] + GAP for n in layer) for layer in layers), default=0.0) + GAP + 2 * margin
    nodes = {}
    for row, layer in enumerate(layers):
        left = (total - sum(widths[n] + GAP for n in layer) + GAP) / 2
        for name in layer:
            nodes[name] = Node(name, left + widths[name] / 2, 24 + row * ROW_HEIGHT, widths[name])
            left += widths[name] + GAP
    paths = tuple(
        _path(nodes[a], nodes[b])
        if row_of[b] - row_of[a] == 1
        else _bow(nodes[a], nodes[b], left=_freer_left(a, b, layers, otherwise=i % 2 == 0))
        for i, (a, b) in enumerate(pairs)
    )
    return Drawing(tuple(nodes.values()), paths, pairs, total, 48 + ROW_HEIGHT * max(len(layers) - 1, 0))


def _layers(parents: dict[str, list[str]]) -> list[list[str]]:
    """Names by the length of the longest path to them."""
    depth: dict[str, int] = {}
    waiting = dict(parents)
    while waiting:
        ready = [n for n, own in waiting.items() if all(p in depth for p in own)]
        if not ready:  # a cycle: not a Bayesian network, but the report is still to be written
            ready = list(waiting)
        for name in ready:
            depth[name] = 1 + max((depth.get(p, 0) for p in waiting.pop(name)), default=-1)
    return [[n for n, d in depth.items() if d == level] for level in sorted(set(depth.values()))]


def _ordered(layers: list[list[str]], pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Each layer in the order of the mean place of its neighbours, swept until it settles."""
    neighbours: dict[str, list[str]] = {n: [] for layer in layers for n in layer}
    for a, b in pairs:
        neighbours[a].append(b)
        neighbours[b].append(a)
    for _ in range(SWEEPS):
        place = {n: (i + 0.5) / len(layer) for layer in layers for i, n in enumerate(layer)}
        mean = {n: sum(place[m] for m in near) / len(near) if near else place[n] for n, near in neighbours.items()}
        layers = [sorted(layer, key=lambda n: mean[n]) for layer in layers]
    return layers


def _freer_left(a: str, b: str, layers: list[list[str]], otherwise: bool) -> bool:
    """Whether fewer columns stand left of both than right of them, where an edge would pass behind them."""
    places = [(layer.index(n), len(layer)) for n in (a, b) for layer in layers if n in layer]
    before, after = sum(i for i, _ in places), sum(n - 1 - i for i, n in places)
    return otherwise if before == after else before < after


def _path(a: Node, b: Node) -> str:
    top, bottom = a.y + NODE_HEIGHT / 2, b.y - NODE_HEIGHT / 2 - 5
    bend = (bottom - top) / 2
    return f"M{a.x:.0f},{top:.0f} C{a.x:.0f},{top + bend:.0f} {b.x:.0f},{bottom - bend:.0f} {b.x:.0f},{bottom:.0f}"


def _bow(a: Node, b: Node, left: bool) -> str:
    """An edge that passes layers goes round their columns, from side to side."""
    side = -1 if left else 1
    start, end = a.x + side * a.width / 2, b.x + side * (b.width / 2 + 5)
    out = side * BOW * 1.3 * abs(b.y - a.y) / ROW_HEIGHT
    turn = min(start + out, end + out) if left else max(start + out, end + out)
    return f"M{start:.0f},{a.y:.0f} C{turn:.0f},{a.y:.0f} {turn:.0f},{b.y:.0f} {end:.0f},{b.y:.0f}"
