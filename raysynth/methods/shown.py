"""What a notebook shows of a synthesizer: how it was made, and the losses of its training as a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from raysynth.errors import NotFittedError, ParameterError
from raysynth.files.notebook import STYLE, Drawing, html_table
from raysynth.methods.parameters import Parameterised, declared

_WIDTH, _HEIGHT = 420.0, 130.0
_COLOURS = ("#1d5fd1", "#b3261e", "#0b6e3b", "#7a4b00", "#6a3fb5", "#566072")
_NO_LOSS = ("epoch", "seconds")
_MOST_ROWS = 12  # of the table of numbers: the first and the last epochs, and some between


class Shown(Parameterised):
    """The part of a synthesizer that is for the eye."""

    def plot_losses(self) -> Drawing:
        """The losses of a neural method by epoch (`history_`): shown by a notebook, or saved.

        Losses whose ranges overlap share an axis. Exact figures of the rows: private.

        Raises:
            NotFittedError: before `fit`.
            ParameterError: the method trains no network, or the model was loaded from a file of a fit under a budget,
                which holds no losses.
        """
        if not hasattr(self, "stages_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit(data) first")
        history = getattr(self, "history_", None)
        if history is None:
            raise ParameterError(f"{type(self).__name__} trains no network, so there are no losses to plot")
        if not history:
            raise ParameterError(
                "this model holds no losses: a model file of a fit under a privacy budget leaves them out; plot them "
                "where it was fitted"
            )
        return Drawing(_losses(type(self).__name__, history))

    def _repr_html_(self) -> str:
        defaults = declared(type(self))
        given = [(k, repr(v)) for k, v in self.get_params().items() if v is not defaults[k].default]
        given = [(k, text) for k, text in given if text != repr(defaults[k].default)]
        if not hasattr(self, "stages_"):
            return html_table(
                f"{type(self).__name__}, not fitted", ("parameter", "value"), given, ("All others: defaults.",)
            )
        model: Any = self  # fitted, so it has what `Synthesizer` sets
        spent = model.privacy_spent_
        facts = [
            ("rows", f"{model.n_rows_:,}" + ("" if spent is None else " (with noise)")),
            ("columns", f"{len(model.schema_.columns)}: {', '.join(model.schema_.names[:8])}"),
            ("guarantee", "none (fitted without a privacy budget)" if spent is None else str(spent)),
        ]
        return html_table(f"{type(self).__name__}, fitted", ("", ""), [*facts, *given])


def _losses(name: str, history: Sequence[Mapping[str, float]]) -> str:
    """All panels, and the numbers as a table."""
    series = {
        k: [float(e.get(k, math.nan)) for e in history]
        for k in dict.fromkeys(k for e in history for k in e if k not in _NO_LOSS)
    }
    series = {k: v for k, v in series.items() if any(map(math.isfinite, v))}
    epochs = [float(e.get("epoch", i)) for i, e in enumerate(history)]
    panels = "".join(_panel(epochs, {k: series[k] for k in group}) for group in _grouped(series))
    step = max(1, math.ceil(len(history) / _MOST_ROWS))
    shown = sorted({*range(0, len(history), step), len(history) - 1})
    rows = [[f"{epochs[i]:g}", *(f"{series[k][i]:.4g}" for k in series)] for i in shown]
    numbers = html_table(f"Losses of {name}", ("epoch", *series), rows)
    return (
        f'<figure style="{STYLE};max-width:34rem"><figcaption><b>Losses of {escape(name)}</b>, by epoch; private, as '
        f"the rows are</figcaption>{panels}<details><summary>The numbers</summary>{numbers}</details></figure>"
    )


def _grouped(series: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """Names of series that share an axis: those whose ranges overlap."""
    groups: list[tuple[float, float, list[str]]] = []
    for name, values in series.items():
        low, high = _range(values)
        k = next((i for i, (a, b, _) in enumerate(groups) if low <= b and a <= high), None)
        if k is None:
            groups.append((low, high, [name]))
        else:
            a, b, names = groups[k]
            groups[k] = (min(a, low), max(b, high), [*names, name])
    return [names for _, _, names in groups]


def _range(values: Sequence[float]) -> tuple[float, float]:
    known = [v for v in values if math.isfinite(v)]
    return min(known), max(known)


def _panel(epochs: Sequence[float], series: Mapping[str, Sequence[float]]) -> str:
    low, high = _range([v for values in series.values() for v in values])
    lines, legend = [], []
    for k, (name, values) in enumerate(series.items()):
        colour = _COLOURS[k % len(_COLOURS)]
        points = _points(epochs, values, low, high)
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        legend.append(f'<span style="color:{colour}">■</span> {escape(name)}')
    label = f"{', '.join(series)} by epoch, from {low:.4g} to {high:.4g}"
    return (
        f'<p style="margin:8px 0 2px">{" &nbsp; ".join(legend)}</p><div style="display:flex;gap:6px;color:#566072">'
        f'<div style="display:flex;flex-direction:column;justify-content:space-between;text-align:right;min-width:4em">'
        f"<span>{high:.4g}</span><span>{low:.4g}</span></div>"
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" width="100%" role="img" aria-label="{escape(label)}" '
        f'style="border-left:1px solid #7a869c;border-bottom:1px solid #7a869c">{"".join(lines)}</svg></div>'
        f'<div style="display:flex;justify-content:space-between;color:#566072;padding-left:5em">'
        f"<span>epoch {epochs[0]:g}</span><span>{epochs[-1]:g}</span></div>"
    )


def _points(epochs: Sequence[float], values: Sequence[float], low: float, high: float) -> str:
    """Corners of a line in the panel's box; what is not finite is left out."""
    across, up = max(epochs[-1] - epochs[0], 1e-9), max(high - low, 1e-9)
    return " ".join(
        f"{(e - epochs[0]) / across * _WIDTH:.1f},{(1 - (v - low) / up) * (_HEIGHT - 8) + 4:.1f}"
        for e, v in zip(epochs, values, strict=True)
        if math.isfinite(v)
    )
