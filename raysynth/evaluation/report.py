"""What an evaluation found: figures, a summary in words, JSON, and the report, one self-contained HTML file.

Everything is in the file: style, a small script, charts as SVG and canvas. It asks for nothing over the network. Column
names and values reach the page through the template's escaping only.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from raysynth.errors import ParameterError
from raysynth.evaluation import wording
from raysynth.evaluation.attacks import attack_section
from raysynth.evaluation.charts import ColumnChart, column_chart, dots_path, draw, heat_matrix, line_path
from raysynth.evaluation.counting import Joint
from raysynth.evaluation.decision import attention, cards, purposes
from raysynth.evaluation.diagnostics import SyntheticColumn
from raysynth.evaluation.efficacy import TargetEfficacy
from raysynth.evaluation.figures import EvaluationFigures
from raysynth.evaluation.metrics.embedding import Embedding
from raysynth.evaluation.metrics.registry import metrics
from raysynth.evaluation.network_drawing import draw_network
from raysynth.evaluation.page import heading
from raysynth.evaluation.plain import results_to_dict
from raysynth.evaluation.profiles import ANALYST, write_profile
from raysynth.evaluation.section import Section, line, section_body
from raysynth.evaluation.sequence_comparison import SequenceFigures, sequence_section
from raysynth.evaluation.similarity import ColumnSimilarity, Similarity
from raysynth.files.notebook import Drawing
from raysynth.files.storage import check_replaced, write_atomically

_WORST_PAIRS = 40
_MAPPED = 100  # columns in the heat maps: more are no longer read, and slow the page
_SCATTER = (640.0, 420.0)


def write_report(
    results: EvaluationFigures,
    path: str | os.PathLike[str],
    *,
    shareable: bool = False,
    sections: Sequence[Section] = (),
) -> None:
    """Write the report; raises `StorageError` where the path cannot be written."""
    check_replaced(path, b"<")
    page = render_report(results, shareable=shareable, sections=sections)
    write_atomically(path, page.encode(), private=not shareable)


def render_report(results: EvaluationFigures, *, shareable: bool = False, sections: Sequence[Section] = ()) -> str:
    """The report as HTML text; `shareable` leaves out every figure that was computed from real rows."""
    found = [] if results.attacks is None else [attack_section(results.attacks)]
    if results.sequences is not None:
        found.append(sequence_section(results.sequences))
    found += [section for name, what in results.measured.items() for section in metrics()[name].sections(what)]
    last_of_each = {s.anchor: s for s in (*found, *results.sections, *sections)}
    shown = [s for s in last_of_each.values() if s.releasable or not shareable]
    return section_body("raysynth.evaluation", "report.html.j2", **_context(results, shareable), sections=shown)


def render_card(results: EvaluationFigures) -> str:
    """The deciding figures as a small HTML block."""
    return section_body("raysynth.evaluation", "card.html.j2", cards=cards(results))


NETWORK = "network"  # in model_info: (parent, child) pairs of a learned graph, a figure of the real rows
PRIVATE_INFO = (NETWORK, "rows")  # in model_info: exact figures of the real rows, not for a shareable report


def _context(results: EvaluationFigures, shareable: bool) -> dict[str, Any]:
    common = {
        "heading": heading(results, shareable),
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
        "cards": cards(results),
        "purposes": purposes(results),
        "attention": attention(results),
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
    names, shown = [c.name for c in similarity.columns], list(similarity.pairs)
    if len(names) > _MAPPED:  # the columns of the strongest pairs, in the table's order
        strongest = sorted(shown, key=lambda p: 0.0 if math.isnan(p.real) else -abs(p.real))
        kept = set(list(dict.fromkeys(name for p in strongest for name in (p.first, p.second)))[:_MAPPED])
        names, shown = [n for n in names if n in kept], [p for p in shown if {p.first, p.second} <= kept]
    differences = [abs(p.synthetic - p.real) for p in shown]
    most = max((d for d in differences if not math.isnan(d)), default=0.0)
    return {
        "names": names,
        "maps": {which: heat_matrix(names, shown, which) for which in ("real", "synthetic", "difference")},
        "scale": max(math.ceil(10 * most) / 10, 0.1),
        "worst": similarity.least_accurate[:_WORST_PAIRS],
        "joints": [_joint(j) for j in similarity.joints],
        "n": len(similarity.pairs),
        "n_possible": similarity.n_possible_pairs,
        "n_strong": sum(p.is_strong for p in similarity.pairs),
    }


def _joint(pair: Joint) -> dict[str, Any]:
    """A pair for the page's script: its labels, and its shares in tenths of a per cent."""
    shares = {which: np.round(1000 * getattr(pair, which), 2).tolist() for which in ("real", "synthetic")}
    return {"names": [pair.first, pair.second], "rows": pair.rows, "columns": pair.columns, **shares}


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


class EvaluationResults(EvaluationFigures):
    __doc__ = EvaluationFigures.__doc__

    def summary(self) -> str:
        """The verdicts as text, each with reason and next step, then the deciding figures, one a line."""
        verdicts = [f"  [{p.answer}] {p.name}. {p.reason}\n    Next: {p.next_step}" for p in purposes(self)]
        notes = [f"  Note: {note}" for note in self.notes]
        return "\n".join(["Evaluation of the synthetic table", *verdicts, "", *_lines(self), *notes])

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain JSON values; undefined figures are None."""
        return results_to_dict(self)

    def to_json(self, indent: int | None = 2) -> str:
        """`to_dict` as JSON text, indented by `indent` blanks; None: in one line."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    def generate_report(
        self,
        path: str | os.PathLike[str],
        shareable: bool = False,
        sections: Sequence[Section] = (),
        profile: str = ANALYST,
    ) -> None:
        """Write one self-contained HTML file, readable offline (JSON for an auditor).

        Args:
            path: where to; the folder is made where it is missing.
            shareable: leave out every figure that was computed from real rows without noise.
            sections: further sections, after those of these results.
            profile: whom it is for: 'analyst' (HTML, everything), 'committee' (HTML, two printed pages to decide by) or
                'auditor' (JSON: figures, verdicts, ledger, and epsilon composed again).

        Raises:
            ParameterError: no such profile, a file name of the other kind, or a shareable one of another profile.
            StorageError: the path cannot be written.
        """
        if profile != ANALYST:
            if shareable or sections:
                raise ParameterError(f"shareable and sections are for profile='{ANALYST}'; found profile={profile!r}")
            return write_profile(self, path, profile)
        write_report(self, path, shareable=shareable, sections=sections)

    write_report = generate_report  # the name that other results had; all have both

    def plot(self, *columns: str) -> Drawing:
        """One column's distribution, or the joint shares of two `columns`, of both tables, for a notebook or to save.

        Raises:
            ParameterError: no such column, or a pair that was not kept (those that differ most are).
        """
        return draw(self, *columns)

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return render_card(self)


def _lines(results: EvaluationFigures) -> list[str]:
    failed = [d for d in results.diagnostics if not d.passed]
    lines = [line("Diagnostics", f"{len(results.diagnostics) - len(failed)} of {len(results.diagnostics)} passed")]
    lines += [line(f"  failed: {d.name}", d.detail) for d in failed]
    if results.similarity is not None:
        lines += _similarity_lines(results.similarity)
    for name, found in results.measured.items():
        lines += [line(said.label, said.value, said.note) for said in metrics()[name].lines(found)]
    if results.sequences is not None:
        lines += _sequence_lines(results.sequences)
    for t in results.efficacy:
        best = max(t.models, key=lambda m: m.real.value)
        figures = f"{best.synthetic.value:.3f} against {best.real.value:.3f} trained on real rows"
        seen = "" if t.held_out else "; test rows may have been seen"
        lines.append(line(f"ML efficacy, {t.target}", _text(t.score), f"{best.model}, {t.measure} {figures}{seen}"))
    if results.privacy is not None:
        lines.append(line("Privacy risk", _text(results.privacy.risk), "0: no leak was found, which proves nothing"))
        for check in results.privacy.checks:
            verdict = check.in_words.upper() if check.passed is False else check.in_words
            baseline = "" if check.passed is None else f" (baseline {check.baseline:.3f})"
            more = f"; {check.to_decide}" if check.to_decide else ""
            lines.append(line(f"  {check.title}", f"{verdict}: {check.figure}{baseline}{more}"))
    return lines


def _similarity_lines(s: Similarity) -> list[str]:
    strong, intervals = sum(p.is_strong for p in s.pairs), s.estimates
    accuracy = {k: f"fresh real rows {fresh:.4f}" for k, (_, fresh) in s.accuracies.items()}
    return [
        line("Quality", str(intervals["quality"]), "1 is alike; mean of the next two, as SDMetrics 0.32"),
        line("  Column shapes", str(intervals["column_shapes"]), f"mean over {len(s.columns)} columns"),
        line("  Column pair trends", str(intervals["column_pair_trends"]), f"mean over {strong} related pairs"),
        line("  All pairs", _text(s.all_pair_trends), f"mean over {len(s.pairs)} pairs"),
        *(line(f"  {k.title()} accuracy", _text(s.accuracies[k][0]), note) for k, note in accuracy.items()),
    ]


def _sequence_lines(s: SequenceFigures) -> list[str]:
    real = f"one step ahead, '{s.predicted}'; {s.predictive_real:.4f} trained on real sequences"
    return [
        line("Sequences told from real (accuracy)", str(s.accuracy), "0.5: cannot be told apart"),
        line("  Predictive score", _text(s.predictive), real),
        line("  Autocorrelation difference", _text(s.autocorrelation_difference), "0 is alike"),
        line("  Cross-correlation difference", _text(s.cross_correlation_difference), "0 is alike"),
    ]


def _text(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.4f}"
