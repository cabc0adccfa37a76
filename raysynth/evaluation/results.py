"""What an evaluation found: figures, a summary in words, JSON, and the report."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any

from raysynth.errors import ParameterError
from raysynth.evaluation.charts import draw
from raysynth.evaluation.decision import purposes
from raysynth.evaluation.figures import EvaluationFigures
from raysynth.evaluation.metrics.registry import metrics
from raysynth.evaluation.plain import results_to_dict
from raysynth.evaluation.profiles import ANALYST, write_profile
from raysynth.evaluation.report import render_card, write_report
from raysynth.evaluation.section import Section
from raysynth.evaluation.sequence_comparison import SequenceFigures
from raysynth.evaluation.similarity import Similarity
from raysynth.files.notebook import Drawing


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

    def _repr_html_(self) -> str:
        return render_card(self)


def _lines(results: EvaluationFigures) -> list[str]:
    failed = [d for d in results.diagnostics if not d.passed]
    lines = [_line("Diagnostics", f"{len(results.diagnostics) - len(failed)} of {len(results.diagnostics)} passed")]
    lines += [_line(f"  failed: {d.name}", d.detail) for d in failed]
    if results.similarity is not None:
        lines += _similarity_lines(results.similarity)
    for name, found in results.measured.items():
        lines += [_line(line.label, line.value, line.note) for line in metrics()[name].lines(found)]
    if results.sequences is not None:
        lines += _sequence_lines(results.sequences)
    for t in results.efficacy:
        best = max(t.models, key=lambda m: m.real.value)
        figures = f"{best.synthetic.value:.3f} against {best.real.value:.3f} trained on real rows"
        seen = "" if t.held_out else "; test rows may have been seen"
        lines.append(_line(f"ML efficacy, {t.target}", _text(t.score), f"{best.model}, {t.measure} {figures}{seen}"))
    if results.privacy is not None:
        lines.append(_line("Privacy risk", _text(results.privacy.risk), "0: no leak was found, which proves nothing"))
        for check in results.privacy.checks:
            verdict = check.in_words.upper() if check.passed is False else check.in_words
            baseline = "" if check.passed is None else f" (baseline {check.baseline:.3f})"
            lines.append(_line(f"  {check.title}", f"{verdict}: {check.figure}{baseline}"))
    return lines


def _similarity_lines(s: Similarity) -> list[str]:
    strong, intervals = sum(p.is_strong for p in s.pairs), s.estimates
    accuracy = {k: f"fresh real rows {fresh:.4f}" for k, (_, fresh) in s.accuracies.items()}
    return [
        _line("Quality", str(intervals["quality"]), "1 is alike; mean of the next two, as SDMetrics 0.32"),
        _line("  Column shapes", str(intervals["column_shapes"]), f"mean over {len(s.columns)} columns"),
        _line("  Column pair trends", str(intervals["column_pair_trends"]), f"mean over {strong} related pairs"),
        _line("  All pairs", _text(s.all_pair_trends), f"mean over {len(s.pairs)} pairs"),
        *(_line(f"  {k.title()} accuracy", _text(s.accuracies[k][0]), note) for k, note in accuracy.items()),
    ]


def _sequence_lines(s: SequenceFigures) -> list[str]:
    real = f"one step ahead, '{s.predicted}'; {s.predictive_real:.4f} trained on real sequences"
    return [
        _line("Sequences told from real (accuracy)", str(s.accuracy), "0.5: cannot be told apart"),
        _line("  Predictive score", _text(s.predictive), real),
        _line("  Autocorrelation difference", _text(s.autocorrelation_difference), "0 is alike"),
        _line("  Cross-correlation difference", _text(s.cross_correlation_difference), "0 is alike"),
    ]


def _line(label: str, value: str, note: str = "") -> str:
    return f"  {label:<42} {value}" + (f"  ({note})" if note else "")


def _text(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.4f}"
