"""The report of a sweep: one self-contained HTML file with the trade-off as plots, as a table and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from raysynth.comparison.intervals import Estimate
from raysynth.evaluation.page import Heading, page_heading, table_name
from raysynth.evaluation.section import section_body
from raysynth.tuning.front import AGAINST, Candidate

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640.0, 340.0, 56.0, 44.0, 14.0, 20.0
MARKS = ("circle", "square", "triangle", "diamond", "cross", "bar")  # so that colour is not all that tells methods
TITLES = {"epsilon": "Utility against epsilon", "attack": "Utility against what the attack gains"}
AXES = {
    "epsilon": "epsilon (smaller protects better; 'none': no differential privacy)",
    "attack": "advantage of the membership attack (0: guessing)",
}

BADGES = {"internal": "Private.", "proxy": "Proxy.", "private": "Private selection."}
COVERS = {  # what epsilon covers, by the mode of selection
    "internal": "It covers the fit of one model. The choice among models by these figures is not covered: whoever sees "
    "the choice learns a little more.",
    "proxy": "It covers the fit of one model. The sweep ran on proxy rows, so the choice adds nothing; the ledger of "
    "the winner holds the proxy's own fit, too.",
    "private": "It covers statistics, fit and choice together; other trials, and how many there were, are not told.",
}


class Sweep(Protocol):
    """What the report asks of a sweep (`results.SweepResult`)."""

    @property
    def selection(self) -> str:
        """Who chose: internal, proxy or private."""
        ...

    @property
    def data(self) -> str:
        """Path of the table."""
        ...

    @property
    def rows(self) -> str:
        """How many were learned from, in words."""
        ...

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The settings that were tried."""
        ...

    def front(self, against: str = "epsilon") -> tuple[Candidate, ...]:
        """The Pareto front against a cost."""
        ...

    def explain(self) -> str:
        """The choice in words."""
        ...


@dataclass(frozen=True)
class Point:
    """One setting in a plot: where it is, its error bars, and what is read out at it."""

    x: float
    y: float
    y_low: float
    y_high: float
    x_low: float
    x_high: float
    mark: str
    series: int
    on_front: bool
    label_y: float
    label: str
    words: str


@dataclass(frozen=True)
class Plot:
    """A scatter plot: points, the front as a path, ticks (position, text) of both axes."""

    title: str
    x_title: str
    points: tuple[Point, ...]
    front: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def render_sweep(result: Sweep) -> str:
    """The report as HTML text."""
    found = result.candidates
    methods = sorted({c.setting.method for c in found})
    return section_body(
        "raysynth.tuning",
        "sweep.html.j2",
        heading=_heading(result),
        result=result,
        candidates=found,
        words=result.explain().splitlines() if found else [],
        plots=[draw(found, result.front(a), a, methods) for a in AGAINST] if found else [],
        methods=[(m, MARKS[i % len(MARKS)], i % len(MARKS)) for i, m in enumerate(methods)],
        size=(WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT),
        infinity=math.inf,
        badge=BADGES[result.selection],
        covers=COVERS[result.selection],
        front={c.setting for a in AGAINST for c in result.front(a)},
    )


def _heading(result: Sweep) -> Heading:
    """What was tried: methods, budgets and seeds; a private selection shows its winner alone."""
    found = result.candidates
    budgets = sorted({c.setting.epsilon for c in found})
    told = ", ".join("none" if math.isinf(e) else f"epsilon {e:g}" for e in budgets)
    many = [("Settings", str(len(found))), ("Seeds of each", str(max((len(c.results) for c in found), default=0)))]
    more = [] if result.selection == "private" else many
    return page_heading(
        "Privacy and utility, swept",
        table=table_name(result.data) if result.data else "in memory",
        method=", ".join(sorted({c.setting.method for c in found})),
        guarantee=told,
        rows=result.rows,
        more=[*more, ("Selection", result.selection)],
    )


def draw(found: Sequence[Candidate], front: Sequence[Candidate], against: str, methods: Sequence[str]) -> Plot:
    """The plot of utility against 'epsilon' or the 'attack' advantage."""
    known = [c for c in found if not math.isnan(c.cost(against))]
    place_x, x_ticks = _epsilon_axis(known) if against == "epsilon" else _attack_axis(known)
    place_y, y_ticks = _utility_axis(known)
    points = []
    for c in known:
        cost = Estimate(c.cost(against)) if against == "epsilon" else c.attack
        low, high = _bounds(cost)
        down, up = _bounds(c.utility)
        index = methods.index(c.setting.method)
        shift = 13.0 * (index - (len(methods) - 1) / 2) if against == "epsilon" else 0.0
        points.append(
            Point(
                *(place_x(cost.value) + shift, place_y(c.utility.value), place_y(down), place_y(up)),
                *(place_x(low) + shift, place_x(high) + shift, MARKS[index % len(MARKS)], index % len(MARKS)),
                on_front=c in front,
                label_y=0.0,
                label=c.setting.label if against == "epsilon" else f"{c.setting.label}, {c.setting.budget}",
                words=_words(c),
            )
        )
    points = _labelled(points)
    corners = [(p.x, p.y) for p in points if p.on_front]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in sorted(corners)) if len(corners) > 1 else ""
    return Plot(TITLES[against], AXES[against], tuple(points), path, x_ticks, y_ticks)


def _labelled(points: list[Point]) -> list[Point]:
    """The same points, the labels of those on the front moved apart where they would lie over each other."""
    placed: list[tuple[float, float, float]] = []  # left and right end, height
    result = []
    for p in sorted(points, key=lambda p: p.x):
        width = 7.0 * len(p.label)
        left = p.x + 12 if p.x < 0.7 * WIDTH else p.x - 12 - width
        heights = (p.y + dy for dy in (-10, 20, -25, 35, -40, 50))
        inside = [y for y in heights if TOP <= y <= HEIGHT - BOTTOM] or [p.y]
        taken = [h for a, b, h in placed if a < left + width and left < b]
        y = next((y for y in inside if all(abs(y - h) >= 13 for h in taken)), inside[0])
        if p.on_front:
            placed.append((left, left + width, y))
        result.append(replace(p, label_y=y))
    return result


def _epsilon_axis(found: Sequence[Candidate]) -> Any:
    """Epsilons side by side in their order, infinity last."""
    values = sorted({c.setting.epsilon for c in found})
    step = (WIDTH - LEFT - RIGHT) / max(len(values), 1)
    where = {e: LEFT + (i + 0.5) * step for i, e in enumerate(values)}
    ticks = tuple((x, "none" if math.isinf(e) else f"{e:g}") for e, x in where.items())
    return where.__getitem__, ticks


def _attack_axis(found: Sequence[Candidate]) -> Any:
    bounds = [b for c in found for b in _bounds(c.attack)]
    low, high = min([0.0, *bounds]), max([0.1, *bounds])
    return _linear(low, high, LEFT, WIDTH - RIGHT)


def _utility_axis(found: Sequence[Candidate]) -> Any:
    bounds = [b for c in found for b in _bounds(c.utility)]
    low, high = min(bounds, default=0.0), max(bounds, default=1.0)
    margin = max(0.02, 0.08 * (high - low))
    low, high = min(low, max(low - margin, -1.0)), max(high, min(high + margin, 1.0))  # a noised score may lie beyond
    return _linear(low, high, HEIGHT - BOTTOM, TOP)


def _linear(low: float, high: float, start: float, end: float) -> Any:
    """(value to position, ticks) of an axis from `low` to `high`."""
    span = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(span))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if span / s <= 6)
    first = math.ceil(low / step - 1e-9)
    values = [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]

    def place(value: float) -> float:
        return start + (min(max(value, low), high) - low) / span * (end - start)

    return place, tuple((place(v), f"{v:.3g}" if abs(v) > 1e-12 else "0") for v in values)


def _bounds(estimate: Estimate) -> tuple[float, float]:
    """The interval; the value twice where there is none."""
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return estimate.value, estimate.value
    return estimate.low, estimate.high


def _words(c: Candidate) -> str:
    n = len(c.results)
    figures = f"utility {c.utility}, attack advantage {c.attack}, {n} seed{'s' * (n > 1)}"
    return f"{c.setting.label}, {c.setting.budget}: {figures}"
