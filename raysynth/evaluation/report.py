"""The report: one self-contained HTML file, and the card that notebooks show.

Everything is in the file: style, a small script, charts as SVG and canvas. It asks for nothing over the network. Column
names and values reach the page through the template's escaping only.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from raysynth.comparison.intervals import Estimate
from raysynth.evaluation import wording
from raysynth.evaluation.attacks import attack_section
from raysynth.evaluation.charts import ColumnChart, column_chart, dots_path, heat_matrix, line_path
from raysynth.evaluation.efficacy import TargetEfficacy
from raysynth.evaluation.embedding import Embedding
from raysynth.evaluation.network_drawing import draw_network
from raysynth.evaluation.section import Section
from raysynth.evaluation.sequence_comparison import sequence_section
from raysynth.evaluation.similarity import ColumnSimilarity, Similarity
from raysynth.evaluation.synthetic_alone import SyntheticColumn
from raysynth.evaluation.templating import as_number, as_percent, environment

if TYPE_CHECKING:
    from raysynth.evaluation.figures import EvaluationFigures

_WORST_PAIRS = 40
_SCATTER = (640.0, 420.0)


def write_report(
    results: EvaluationFigures,
    path: str | os.PathLike[str],
    *,
    shareable: bool = False,
    sections: Sequence[Section] = (),
) -> None:
    """Write the report; raises `StorageError` where the path cannot be written."""
    from raysynth.files.storage import atomic_path

    page = render_report(results, shareable=shareable, sections=sections)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render_report(results: EvaluationFigures, *, shareable: bool = False, sections: Sequence[Section] = ()) -> str:
    """The report as HTML text; `shareable` leaves out every figure that was computed from real rows."""
    found = [] if results.attacks is None else [attack_section(results.attacks)]
    if results.sequences is not None:
        found.append(sequence_section(results.sequences))
    last_of_each = {s.anchor: s for s in (*found, *results.sections, *sections)}
    shown = [s for s in last_of_each.values() if s.releasable or not shareable]
    return _template("report.html.j2").render(**_context(results, shareable), sections=shown)


def render_card(results: EvaluationFigures) -> str:
    """The deciding figures as a small HTML block."""
    return _template("card.html.j2").render(cards=_cards(results))


NETWORK = "network"  # in model_info: (parent, child) pairs of a learned graph, a figure of the real rows
PRIVATE_INFO = (NETWORK, "rows")  # in model_info: exact figures of the real rows, not for a shareable report


def _context(results: EvaluationFigures, shareable: bool) -> dict[str, Any]:
    from raysynth.version import __version__

    common = {
        "version": __version__,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "shareable": shareable,
        "kinds": _kinds(results, shareable),
        "similarity": results.similarity,
        "columns": _columns_alone(results) if shareable else _columns(results.similarity),
        "model_info": _model_info(results, shareable),
        "network": None,
        "glossary": wording.GLOSSARY,
    }
    if shareable:
        return common
    return common | {
        "results": results,
        "cards": _cards(results),
        "attention": _attention(results),
        "in_short": wording.in_short(results),
        "reach_words": wording.REACH,
        "pairs": _pairs(results.similarity),
        "embedding": None if results.embedding is None else _scatter(results.embedding),
        "efficacy": [_efficacy_chart(t) for t in results.efficacy],
        "roc": _roc(results),
        "network": draw_network(edges) if (edges := (results.model_info or {}).get(NETWORK)) else None,
    }


def _model_info(results: EvaluationFigures, shareable: bool) -> dict[str, Any]:
    hidden = PRIVATE_INFO if shareable else (NETWORK,)
    return {k: v for k, v in (results.model_info or {}).items() if k not in hidden}


def _cards(results: EvaluationFigures) -> list[dict[str, Any]]:
    """The deciding figures: title, value, level ('good', 'fair', 'bad', 'none'), meter in [0, 1] or None, words."""
    cards = []
    n, failed = len(results.diagnostics), sum(not d.passed for d in results.diagnostics)
    words = (
        "The table is valid: right columns, kinds, ranges, categories."
        if not failed
        else f"Not valid: {', '.join(d.name.lower() for d in results.diagnostics if not d.passed)}."
    )
    cards.append(
        _card("Diagnostics passed", f"{n - failed} of {n}", "bad" if failed else "good", None, words, "diagnostics")
    )
    if (s := results.similarity) is not None:
        words = f"The synthetic columns and their relations are {wording.likeness(s.quality)} to the real ones."
        value, interval = as_percent(s.quality), s.estimates["quality"]
        cards.append(_card("Similarity", value, wording.level(s.quality), s.quality, words, "columns", interval))
    if results.efficacy:
        score, words = results.ml_efficacy, wording.usefulness(results.ml_efficacy, results.target)
        title = f"Usefulness for predicting {results.target}"
        cards.append(_card(title, as_percent(score), wording.level(score), score, words, "efficacy"))
    if results.realism is not None:
        auc = results.realism.auc.value
        level, value = "good" if auc < 0.6 else "fair" if auc < 0.8 else "bad", f"AUC {auc:.2f}"
        cards.append(_card("Told from real", value, level, None, wording.told(auc), "realism", results.realism.auc))
    if (p := results.privacy) is not None:
        bad, measured = sum(c.passed is False for c in p.checks), sum(c.passed is not None for c in p.checks)
        words = (
            "No leak was found. That is no proof of privacy." if not bad else "Rows may have been copied or given away."
        )
        value = f"{measured - bad} of {measured}"
        cards.append(_card("Privacy checks passed", value, "bad" if bad else "good", None, words, "privacy"))
    return cards


def _card(
    title: str,
    value: str,
    level: str,
    meter: float | None,
    words: str,
    anchor: str,
    interval: Estimate | None = None,
) -> dict[str, Any]:
    meter = None if meter is None or math.isnan(meter) else meter
    shown = "" if interval is None or math.isnan(interval.low) else _bounds(interval, percent=meter is not None)
    card = {"title": title, "value": value, "level": level, "meter": meter, "words": words, "anchor": anchor}
    return card | {"interval": shown}


def _bounds(interval: Estimate, *, percent: bool) -> str:
    low, high = ((as_percent(b) if percent else as_number(b, 2)) for b in (interval.low, interval.high))
    return f"{low} to {high}"


def _attention(results: EvaluationFigures) -> list[str]:
    """What a reader should look at first."""
    found = [f"{d.name}: {d.detail}" for d in results.diagnostics if not d.passed]
    if results.privacy is not None:
        failed = [c for c in results.privacy.checks if c.passed is False]
        found += [f"{c.title}: {c.figure}, where other people's rows give {c.baseline:.3f}" for c in failed]
    if results.similarity is not None:
        columns = sorted(results.similarity.columns, key=lambda c: c.score)
        found += [f"Column '{c.name}' has a shape score of {c.score:.2f}" for c in columns[:3] if c.score < 0.85]
        pairs = sorted((p for p in results.similarity.pairs if p.is_strong), key=lambda p: p.score)
        found += [f"Pair '{p.first}' and '{p.second}' scores {p.score:.2f}" for p in pairs[:3] if p.score < 0.85]
    return found


def _kinds(results: EvaluationFigures, shareable: bool) -> dict[str, str]:
    """Kinds by name; those that may be shared follow from the model or the synthetic table."""
    if shareable:
        return {c.name: str(c.kind) for c in results.shareable_columns}
    return {n: str(k) for n, k in results.kinds.items()}


def _columns(similarity: Similarity | None) -> list[tuple[ColumnSimilarity, ColumnChart, str]]:
    """Columns with chart and level of the score, the worst first."""
    if similarity is None:
        return []
    columns = sorted(similarity.columns, key=lambda c: (math.isnan(c.score), c.score))
    return [(c, column_chart(c.kind, c.real, c.synthetic), wording.level(c.score)) for c in columns]


def _columns_alone(results: EvaluationFigures) -> list[tuple[SyntheticColumn, ColumnChart, str]]:
    """The synthetic table's columns with their charts, in its order; no figure of the real rows."""
    if results.similarity is None:
        return []
    shown = [(c, c.synthetic) for c in results.shareable_columns if c.synthetic is not None]
    return [(c, column_chart(c.kind, None, own), "") for c, own in shown]


def _pairs(similarity: Similarity | None) -> dict[str, Any] | None:
    if similarity is None or not similarity.pairs:
        return None
    names = [c.name for c in similarity.columns]
    defined = [p for p in similarity.pairs if not math.isnan(p.accuracy - p.expected)]
    return {
        "names": names,
        "maps": {which: heat_matrix(names, similarity.pairs, which) for which in ("real", "synthetic", "difference")},
        "worst": sorted(defined, key=lambda p: p.accuracy - p.expected)[:_WORST_PAIRS],
        "n": len(similarity.pairs),
        "n_strong": sum(p.is_strong for p in similarity.pairs),
    }


def _scatter(embedding: Embedding) -> dict[str, Any]:
    everything = np.vstack([embedding.real_N2, embedding.synthetic_N2])
    low, high = np.quantile(everything, [0.005, 0.995], axis=0)
    width, height = _SCATTER
    return {
        "width": width,
        "height": height,
        "real": dots_path(embedding.real_N2, low, high, width, height),
        "synthetic": dots_path(embedding.synthetic_N2, low, high, width, height),
        "explained": embedding.explained,
        "n": (len(embedding.real_N2), len(embedding.synthetic_N2)),
    }


def _efficacy_chart(target: TargetEfficacy) -> dict[str, Any]:
    """A target with the scale of its bars: from the lowest figure or guessing (at most 0) to 1."""
    figures = [f for m in target.models for e in (m.real, m.synthetic) for f in (e.value, e.low) if not math.isnan(f)]
    low = target.guess if target.task == "classification" else 0.0
    low = max(min([low, *figures]), -1.0)

    def place(value: float) -> float:
        return 0.0 if math.isnan(value) else 100 * min(max((value - low) / (1 - low), 0), 1)

    return {"target": target, "low": low, "place": place}


def _roc(results: EvaluationFigures) -> str | None:
    if results.privacy is None or results.privacy.roc is None:
        return None
    return line_path(*results.privacy.roc, size=220.0)


def _template(name: str):  # type: ignore[no-untyped-def]
    return environment().get_template(name)
